"""From turns to parameters, types, skills and triggers."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_synthesis.complexity import complexity_reasons
from planner_synthesis.config import ComplexityRule
from planner_synthesis.schema import context_from_schema, schema_from_history, typed_value
from planner_synthesis.skills import extract_skills
from planner_synthesis.types import InteractionTurn, ParamSchema, ParamSpec

TURNS = st.lists(
    st.builds(InteractionTurn, turn_index=st.integers(0, 9), prompt=st.text(max_size=60),
              answer=st.none() | st.text(max_size=20)), max_size=5)  # fmt: skip


def turns(*pairs: tuple[str, str | None]) -> list[InteractionTurn]:
    return [InteractionTurn(turn_index=i, prompt=p, answer=a) for i, (p, a) in enumerate(pairs)]


def keys(*prompts: str) -> list[str]:
    return [p.key for p in schema_from_history(turns(*((q, "x") for q in prompts))).params]


def only(prompt: str, answer: str | None = None) -> ParamSpec:
    (param,) = schema_from_history(turns((prompt, answer))).params
    return param


def semantics(shared_data: Path) -> dict[str, dict]:
    lines = (shared_data / "rtfs/semantics_cases.jsonl").read_text().splitlines()
    return {case["id"]: case for case in map(json.loads, lines)}


def test_two_questions_that_begin_alike_are_two_parameters() -> None:
    assert keys("What GitHub repository should I monitor for issues?",
                "What criteria should trigger automatic triage? (e.g., label:critical, no assignee)",
                ) == ["github_repository", "criteria"]  # fmt: skip
    assert keys("What criteria should trigger triage?", "What criteria should close an issue?") == [
        "criteria", "criteria_close"]  # fmt: skip


def test_the_same_question_in_other_little_words_is_one_parameter() -> None:
    assert keys("What is the budget?", "What budget do you have?") == ["budget"]


TRIAGE = "What criteria should trigger automatic triage? (e.g., label:critical, no assignee)"


@pytest.mark.parametrize(("first", "again"), [
    (TRIAGE, "What criteria should trigger automatic triage instead?"), (TRIAGE, "What criteria instead?"),
    (TRIAGE, "Now what criteria should trigger automatic triage?"), (TRIAGE, "What should the criteria be instead?"),
    (TRIAGE, "Could you narrow the criteria that trigger triage?"), (TRIAGE, "Please clarify what criteria you want."),
    ("What is your budget?", "What budget should we change it to?"), ("What is your budget now?", "What is your budget?"),
    ("Could you refine your budget?", "What is your budget?"),
    ("Which labels?", "Which labels would you rather use?"), ("Please enter the city", "Please enter another city instead"),
    (TRIAGE, "What other criteria should trigger triage instead?"),
    ("How many issues at most?", "Could you change how many issues you want?"),
    ("Which repository should I monitor?", "Which repository should I actually monitor?"),
])  # fmt: skip
def test_a_refinement_phrased_anew_is_the_same_parameter(first: str, again: str) -> None:
    (param,) = schema_from_history(turns((first, "one"), (again, "another"))).params
    assert (param.key, param.answer, param.n_refinements) == (only(first).key, "another", 1)
    assert param.prompt == first


@pytest.mark.parametrize(("first", "other"), [
    (TRIAGE, "What criteria should close an issue instead?"), (TRIAGE, "What criteria should trigger an update?"),
    (TRIAGE, "Could you refine the criteria for closing issues?"), (TRIAGE, "What criteria should trigger manual triage now?"),
    (TRIAGE, "What triage?"), ("What version should I install?", "What version should I update?"),
    ("Which repository should I monitor?", "How should I update the repository?"),
    ("Which repository should I monitor?", "Which repository should I change?"),
    ("What file should I delete?", "What file do you need now?"), ("What is your budget?", "What is the laptop budget instead?"),
    ("How many issues?", "How many labels instead?"),
])  # fmt: skip
def test_another_question_stays_another_parameter_however_it_begins_or_ends(
    first: str, other: str
) -> None:
    params = schema_from_history(turns((first, "one"), (other, "another"))).params
    assert [(param.answer, param.n_refinements) for param in params] == [("one", 0), ("another", 0)]
    assert params[0].key == only(first).key


def test_a_revision_is_of_the_parameter_that_it_names() -> None:
    asked = (TRIAGE, "What criteria should close an issue?")
    assert keys(*asked, "Could you refine the criteria that close an issue?") == keys(*asked)
    named = schema_from_history(turns(*((q, "x") for q in asked), (f"{asked[1]} Again?", "y")))
    assert [param.answer for param in named.params] == ["x", "y"]


@pytest.mark.parametrize(
    "anew", ["What criteria instead?", "Could you refine the criteria?", "Instead?"]
)
def test_a_revision_of_what_could_be_two_changes_neither(anew: str) -> None:
    asked = ((TRIAGE, "a"), ("What criteria should close an issue?", "b"), (anew, "c"))
    params = schema_from_history(turns(*asked)).params
    assert [(param.answer, param.n_refinements) for param in params] == [
        ("a", 0), ("b", 0), ("c", 0)]  # fmt: skip


def test_one_concept_asked_of_two_things_is_two_parameters() -> None:
    assert keys("What is the budget for hotels?", "What is the budget for flights?",
                "What should the budget for flights be instead?") == [
        "trip/budget", "trip/budget_flights"]  # fmt: skip
    assert keys("When do you leave Paris?", "When do you leave London?", "Which hotel?")[:2] == [
        "trip/dates", "trip/dates_london"]  # fmt: skip
    assert keys("What is your name?", "What is your name for the badge?") == [
        "person/name", "person/name_badge"]  # fmt: skip
    assert keys("Which risk tolerance for stocks?", "Which risk appetite for bonds?",
                "Change the risk tolerance for bonds") == [
        "investment/risk_tolerance", "investment/risk_tolerance_bonds"]  # fmt: skip


def test_one_concept_in_other_words_is_one_parameter() -> None:
    assert keys("Where would you like to go?", "Which city do you want to visit?") == [
        "trip/destination"]  # fmt: skip
    assert keys("What is the budget of the trip?", "What cost?", "Refine your budget") == [
        "trip/budget"]  # fmt: skip


def test_a_question_of_nothing_but_little_words_does_not_vanish() -> None:
    for prompt in ("Now?", "What now?", "Again?", "What instead?", "Please change it."):
        assert (only(prompt, "x").answer, only(prompt).key != "") == ("x", True)


@pytest.mark.parametrize("secret", [
    "sk-abcdefghijklmnopqrstuvwx123456", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "token=hunter2hunter2",
])  # fmt: skip
def test_a_secret_in_a_question_reaches_no_key(secret: str) -> None:
    (key,) = keys(f"Which repository should {secret} open?")
    assert "repository" in key
    assert not set(key.split("_")) & {
        "sk",
        "ghp",
        "hunter2hunter2",
        secret.rsplit("_", maxsplit=1)[-1],
    }


def test_a_filename_is_nobodys_name() -> None:
    assert keys("What is the filename?", "What is your name?") == ["filename", "person/name"]
    assert keys("What is the name of your cat?", "Which user name?") == ["cat_name", "user_name"]


def test_a_place_to_meet_is_no_destination() -> None:
    assert keys("When and where do you meet?") == ["when_where_meet"]
    assert keys("Where would you like to go?") == ["trip/destination"]


@pytest.mark.parametrize(("one", "other", "expected"), [
    ("From which account?", "To which account?", ["from_account", "to_account"]),
    ("Which account should I transfer from?", "Which account should I transfer into?", ["from_account", "to_account"]),
    ("Where do you want to leave from?", "Where do you want to fly to?", ["trip/origin", "trip/destination"]),
    ("Where are you flying from?", "Where are you flying to?", ["trip/origin", "trip/destination"]),
    ("From which city do you travel?", "Which city do you want to travel to?", ["trip/origin", "trip/destination"]),
    ("From what date?", "To what date?", ["from_date", "to_date"]), ("Who is it from?", "Who is it to?", ["from_who", "to_who"]),
    ("What is your name?", "What is his name?", ["person/name", "person/name_his"]),
    ("What is the check-in date?", "What is the check-out date?", ["check_in_date", "check_out_date"]),
])  # fmt: skip
def test_two_ends_or_two_people_are_two_parameters(
    one: str, other: str, expected: list[str]
) -> None:
    params = schema_from_history(turns((one, "a"), (other, "b"))).params
    assert [(p.key, p.answer) for p in params] == list(zip(expected, "ab", strict=True))


def test_one_end_alone_is_named_by_what_is_asked() -> None:
    assert keys("Which channel should I post to?", "What level should we change it to?") == [
        "channel", "level"]  # fmt: skip
    assert keys("Where do you depart from?") == ["trip/origin"]


def test_what_somebody_has_is_not_that_somebody() -> None:
    assert keys("What is the customer's phone number?", "What's your name?", "Who is the assignee?",
                "Who is?", "Who is it?") == [
        "customer_phone", "person/name", "assignee", "who"]  # fmt: skip


def test_who_does_something_is_named_by_the_role() -> None:
    assert keys("Who should be assigned?", "Who should receive the email?", "Who should review it?",
                "What is the recipient's email address?") == [
        "assignee", "recipient", "reviewer", "recipient_email"]  # fmt: skip


def test_a_moment_is_named_by_what_happens_then() -> None:
    assert keys("When do you want to return?", "When does the project start?", "Since when?",
                "When do you meet?") == [
        "return_date", "project_start_date", "since", "when_meet"]  # fmt: skip


def test_little_words_do_not_name_a_thing_nor_hide_it() -> None:
    assert keys("What would you like to order?", "What should the message say?", "How many?",
                "State?", "Type?") == ["order", "message", "count", "state", "type"]  # fmt: skip
    assert keys("   ", "???") == []


def test_a_list_is_options_where_the_answer_is_in_it() -> None:
    for prompt in ("Which currency? (USD, EUR)", "Currency [usd|eur]", "USD or EUR?"):
        assert (only(prompt, "EUR").type, len(only(prompt, "EUR").enum_values)) == ("enum", 2)
        assert only(prompt, "CHF").type == "string"
    assert only("Triage by what? (e.g., bug, docs)", "bug").enum_values == ()


def test_options_are_those_of_the_list_and_not_of_the_sentence() -> None:
    assert only("What's your budget? (low, medium, or high)").enum_values == (
        "low",
        "medium",
        "high",
    )
    assert only("Pick size: small, medium, or large").enum_values == ("small", "medium", "large")
    assert only("Which URL https://a.b/c should I fetch?").enum_values == ()
    assert only("Triage by what? (e.g., label:critical, no assignee)").enum_values == ()


def test_an_answer_outside_of_the_options_makes_them_examples() -> None:
    param = only("What size? (small, medium, or large)", "about 30 cm")
    assert (param.type, param.enum_values) == ("string", ())


@pytest.mark.parametrize(("prompt", "answer", "kind"), [
    ("How many tickets do you need?", None, "int"), ("How many tickets?", "3", "int"),
    ("How many tickets?", "three", "string"), ("What is your zip code?", "01234", "string"),
    ("What is your zip code?", "12345", "string"), ("Which number?", "007", "string"),
    ("What ratio?", "0.25", "float"), ("What is the due date?", None, "date"),
    ("From which day on?", "2025-02-28", "date"), ("From which day on?", "2025-02-30", "string"),
    ("Do you want a window seat?", "yes", "bool"), ("Notify? (yes/no)", None, "bool"),
    ("What word?", "yes", "string"), ("Which total?", "9" * 19, "string"), ("Which country?", "no", "string"),
    ("Enable the canary?", "yes", "bool"), ("Use TLS? (default: yes)", None, "bool"), ("WhatsApp?", "+4930123", "string"),
    ("Which Python?", "3.10", "string"), ("Which Python?", "3.11", "float"), ("What price?", "3.10", "float"),
    ("What ratio?", "0.12345678901234567", "string"),
])  # fmt: skip
def test_a_type_is_what_the_answer_is_and_else_what_was_asked(
    prompt: str, answer: str | None, kind: str
) -> None:
    assert only(prompt, answer).type == kind


@pytest.mark.parametrize(("prompt", "key"), [
    ("Number of people?", "people_count"), ("Number of nights", "nights_count"), ("What is the number of guests?", "guests_count"),
    ("Enter the number of rows", "rows_count"), ("Max number of results?", "max_results_count"), ("No. of guests?", "guests_count"),
    ("Total number of seats", "total_seats_count"), ("Count of items?", "items_count"), ("Quantity of apples?", "apples_count"),
    ("How many invoice lines?", "invoice_lines_count"), ("Number of the tickets?", "tickets_count"), ("For how many people?", "people_count"),
])  # fmt: skip
def test_a_number_of_things_is_a_count(prompt: str, key: str) -> None:
    assert (only(prompt).key, only(prompt).type, only(prompt, "4").type) == (key, "int", "int")


@pytest.mark.parametrize(("prompt", "key"), [
    ("Phone number?", "contact/phone"), ("Order number?", "order_number"), ("What is the phone number of the guest?", "guest_phone"),
    ("Number of the order?", "order_number"), ("Number of your account?", "account_number"), ("Tracking number", "tracking_number"),
    ("Number?", "number"), ("Flat number of the tenants", "tenants_flat_number"), ("Total invoice number", "total_invoice_number"),
    ("Price code", "price_code"), ("Which ticket?", "ticket"),
])  # fmt: skip
def test_a_number_that_names_a_thing_is_no_count(prompt: str, key: str) -> None:
    assert (only(prompt).key, only(prompt, "4").type) == (key, "string")


@pytest.mark.parametrize(("prompt", "answer", "kind"), [
    ("What is the invoice total?", "99.5", "float"), ("What is the invoice total?", "99.50", "float"), ("Ticket price in EUR?", "10", "int"),
    ("Account balance?", "10.5", "float"), ("Card limit", "100", "int"), ("Build timeout", "30", "int"), ("Amount of the invoice?", "9.90", "float"),
    ("Dry run?", "true", "bool"), ("Dry run?", None, "bool"), ("Dry-run?", "yes", "bool"), ("Verbose?", "no", "bool"), ("Read only?", None, "bool"),
    ("Recursive", "yes", "bool"), ("Debug mode?", "n", "bool"), ("Send a copy?", "yes", "bool"), ("Include archived?", "false", "bool"),
    ("Anything else?", "true", "bool"), ("Should this be a dry run?", None, "bool"), ("Is it urgent, yes or no?", None, "bool"),
    ("Country?", "no", "string"), ("Public IP?", "no", "string"), ("Public IP?", None, "string"), ("Which flag?", "true", "string"),
])  # fmt: skip
def test_quantities_of_what_has_a_number_too_and_flags_are_told_by_their_words(
    prompt: str, answer: str | None, kind: str
) -> None:
    assert only(prompt, answer).type == kind


def test_one_thing_of_another_is_named_by_both_with_and_without_a_question_word() -> None:
    assert keys("What is the path of the file?", "Please enter the name of the cat to feed", "Date of birth?", "URL of the repo") == [
        "file_path", "cat_name", "birth_date", "repo_url"]  # fmt: skip


def test_an_offered_default_makes_a_parameter_optional() -> None:
    port = only("Which port? (default: 8080)")
    assert (port.type, port.default, port.required) == ("int", 8080, False)
    assert not only("Notes (optional)").required


def test_an_optional_question_that_is_passed_over_has_no_answer() -> None:
    assert only("Whom should I cc? (optional)", "None").answer is None
    rows = only("How many rows? (default: 20)", "default")
    assert (rows.type, rows.default, rows.answer) == ("int", 20, None)
    assert only("Whom should I cc?", "none").answer == "none"
    assert only("Which fade, optionally? (none or slow)", "none").answer == "none"
    assert only("Which fade? (default: none)", "none").answer == "none"


def test_words_of_sequence_name_nothing() -> None:
    assert keys("Which city then?", "Finally, which date?", "Which city?") == ["city", "date"]


def test_the_latest_answer_counts_and_changes_are_counted() -> None:
    (param,) = schema_from_history(turns(
        ("What is your budget?", "100"), ("What is your budget?", None),
        ("Could you refine your budget?", "200"), ("Can you adjust the budget again?", "250"),
    )).params  # fmt: skip
    assert (param.answer, param.n_refinements, param.type, param.source_turn) == (
        "250",
        2,
        "int",
        0,
    )


def test_answers_become_typed_values_and_what_is_no_value_is_left_out() -> None:
    schema = ParamSchema(params=(
        ParamSpec(key="n", type="int", answer="3"), ParamSpec(key="m", type="int", answer="many"),
        ParamSpec(key="s", answer="3"), ParamSpec(key="b", type="bool", answer="No"),
        ParamSpec(key="e", type="enum", enum_values=("Low",), answer="low"), ParamSpec(key="u"),
    ))  # fmt: skip
    assert context_from_schema(schema) == {"n": 3, "s": "3", "b": False, "e": "Low"}


@given(TURNS)
def test_any_history_has_a_schema_with_unique_keys_that_ignores_the_order_of_its_list(
    some: list[InteractionTurn],
) -> None:
    schema = schema_from_history(some)
    assert schema == schema_from_history(reversed(some))
    assert all(p.source_turn in {t.turn_index for t in some} for p in schema.params)
    assert all(
        typed_value(str(v), "string") is not None for v in context_from_schema(schema).values()
    )


@pytest.mark.parametrize(("case", "departs"), [
    # keys of upstream that are kept; None where all are
    ("sem-037", None), ("sem-044", None), ("sem-045", None), ("sem-046", None),
    ("sem-038", {"unknown/what": "investment_type"}), ("sem-048", {"unknown/pick": "size"}),
    ("sem-043", {"unknown/q1": "q1", "unknown/q2": "q2"}),
    ("sem-042", {"unknown/what": "message", "unknown/confirm": "confirm"}),
])  # fmt: skip
def test_keys_agree_with_upstream_but_for_its_faults(
    shared_data: Path, case: str, departs: dict | None
) -> None:
    """Departures: `unknown/<first word>` collapses questions, so the thing asked for names the key."""
    asked = semantics(shared_data)[case]
    ours = {
        p.key
        for p in schema_from_history(InteractionTurn(**t) for t in asked["input"]["turns"]).params
    }
    assert ours == {
        (departs or {}).get(row["key"], row["key"]) for row in asked["expect"]["schema"]
    }


@pytest.mark.parametrize("case", ["sem-037", "sem-038", "sem-039", "sem-041", "sem-045", "sem-047"])
def test_skills_have_upstreams_names(shared_data: Path, case: str) -> None:
    asked = semantics(shared_data)[case]
    ours = {s.skill for s in extract_skills(InteractionTurn(**t) for t in asked["input"]["turns"])}
    assert ours == {row["skill"] for row in asked["expect"]["skills"]}


@pytest.mark.parametrize("part", ["a-", "a.b+", "a://", "a's ", "(a, ", "from ", "default "])
def test_a_megabyte_of_anything_is_read_without_going_over_it_again_and_again(part: str) -> None:
    """A quadratic pattern would take hours here; the first of them once did."""
    said = turns((part * (1_000_000 // len(part)), "x"), ("Which repo?", part * 100_000))
    assert "repo" in {param.key for param in schema_from_history(said).params}
    assert extract_skills(said) == ()


def test_a_skill_is_shown_by_whole_words_and_names_its_turns() -> None:
    (skill,) = extract_skills(turns(("Which issue?", "the bug"), ("Which tissue?", "debugging")))
    assert (skill.skill, skill.evidence) == ("issue-triage", ("turn 0: bug, issue",))
    assert skill.confidence == pytest.approx(2 / 3)


def test_each_trigger_of_an_agent_says_why() -> None:
    rule = ComplexityRule()
    calm = turns(("What city?", "Rome"), ("Which stocks?", "none thenceforth"))
    assert complexity_reasons(calm, ParamSchema(), rule=rule) == ()
    assert complexity_reasons(calm * 2, ParamSchema(), rule=rule) == ("4 turns, more than 3",)
    refined = ParamSchema(
        params=(ParamSpec(key="a", n_refinements=2), ParamSpec(key="b", n_refinements=1))
    )
    assert complexity_reasons(calm, refined, rule=rule) == ("3 refinements, more than 2",)
    (why,) = complexity_reasons(turns(("What?", "book it and then pay")), ParamSchema(), rule=rule)
    assert why == "words of sequence: and then, then"
    assert complexity_reasons(calm, refined, rule=ComplexityRule(max_refinements=3)) == ()
