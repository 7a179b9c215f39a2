"""Which keys are taken for one, and how sure that is."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from planner_synthesis.matching import SchemaView, input_specs, match_inputs
from planner_synthesis.names import NameMatcher, words_of_name
from planner_synthesis.types import CapabilityCard, InputSpec, ParamSchema, ParamSpec
from planner_synthesis.vocabulary import FROM_ENDS, SKILL_HINTS, SYNONYMS, TO_ENDS


def link(schema_key: str, candidate_key: str, *skills: str) -> tuple[int, str] | None:
    found = NameMatcher([schema_key], skills).links(candidate_key)
    return (found[0].sureness, found[0].reason) if found else None


@pytest.mark.parametrize(("ours", "theirs", "sureness"), [
    ("repo_name", "repo_name", 100), ("repo_name", "repoName", 95), ("repo_name", "Repo-Name", 95),
    ("trip/dates", "dates", 90), ("q1", "unknown/q1", 90), ("label", "labels", 90),
    ("repository", "repo", 85), ("github_repository", "repo", 70), ("github_repository", "repository", 70),
    ("criteria", "critera", 65), ("criteria", "criterria", 65), ("criteria", "crietria", 65), ("-", "-", 100),
    ("maximum_budget", "budget", 70), ("from_date", "start_date", 85), ("to_date", "end_date", 85),
    ("departure_city", "origin", 85), ("departure_city", "city", 70), ("file_name", "name", 70),
    ("from_account", "sourceAccount", 85), ("to_account", "destination-account", 85), ("maximum_price", "max_price", 85),
    ("trip/destination", "trip/city", 85), ("a/b", "a.b", 95),
    ("issues_count", "limit", 70), ("issues_count", "issues", 80), ("people_count", "number_of_people", 85),
    ("people_count", "numPeople", 85), ("max_results_count", "limit", 80), ("max_results_count", "max_results", 80), ("sort", "sort_by", 85),
])  # fmt: skip
def test_keys_that_mean_the_same_are_linked(ours: str, theirs: str, sureness: int) -> None:
    found = link(ours, theirs)
    assert found is not None
    assert found[0] == sureness


@pytest.mark.parametrize(("ours", "theirs"), [
    ("minimum_price", "maximum_price"), ("start_date", "end_date"), ("point_a", "point_b"), ("line1", "line2"),
    ("name", "game"), ("filename", "name"), ("person/name", "file_name"), ("person/name", "project/name"), ("file_name", "full_name"),
    ("departure_city", "destination"), ("origin/city", "destination/city"), ("origin/city", "destination"),
    ("origin/city", "toCity"), ("start_date", "from"), ("from", "start_date"), ("departure_date", "departure"),
    ("billing/address", "shipping/address"), ("delivery_address", "url"), ("order_number", "quantity"),
    ("order_count", "order_number"), ("max_price_count", "limit"),
    ("passport_number", "limit"), ("max_amount", "amount"), ("budget", "price"), ("excluded_labels", "labels"),
    ("tax_amount", "amount"), ("days", "day"), ("days", "date"), ("minutes", "minute"), ("country", "county"),
    ("county", "country"), ("contact", "contract"), ("status", "stats"), ("password_length", "duration"),
    ("from_account", "target_account"), ("end_date", "date"), ("return_date", "date"), ("birth_date", "date"), ("max_price", "min_price"), ("tax_return", "end_date"), ("minimum_budget", "budget"), ("from_account", "to_account"), ("", "x"), ("a", "b"), ("latitude", "altitude"),
])  # fmt: skip
def test_keys_that_only_look_alike_are_not_linked(ours: str, theirs: str) -> None:
    assert link(ours, theirs) is None


@given(st.sampled_from(sorted(FROM_ENDS)), st.sampled_from(sorted(TO_ENDS)),
       st.sampled_from(["", "city", "account", "date", "file", "email", "name", "id"]),
       st.sampled_from(["{0}_{1}", "{0}/{1}", "{0}-{1}", "trip/{0}_{1}", "{1}_{0}"]), st.sampled_from(["_", "."]))  # fmt: skip
def test_no_link_joins_two_ends_of_one_thing_however_they_are_spelled(
    one: str, other: str, of: str, spelling: str, mark: str
) -> None:
    skills = sorted(SKILL_HINTS)
    ours = spelling.format(one, of) if of else one
    for theirs in (spelling.format(other, of) if of else other, f"{other}{of.title()}", other,
                   f"{other}{mark}{of}"):  # fmt: skip
        assert link(ours, theirs, *skills) is None
        assert link(theirs, ours, *skills) is None


def test_a_skill_links_keys_that_nothing_else_does() -> None:
    assert link("criteria", "labels") is None
    assert link("criteria", "labels", "issue-triage") == (80, "a skill takes criteria for labels")


def test_no_word_is_in_two_groups_of_synonyms() -> None:
    words = [word for group in SYNONYMS for word in group]
    assert len(words) == len(set(words))


@given(st.text(max_size=20), st.text(max_size=20))
def test_a_link_is_there_whatever_the_keys_and_always_to_itself(ours: str, theirs: str) -> None:
    assert link(ours, ours) == (100, "same name")
    found = link(ours, theirs)
    assert found is None or 0 < found[0] <= 100


PARTS = st.sampled_from(
    ["repo", "Repo_Name", "reponame", "reponames", "criteria", "critera", "criterria", "limit", "n",
     "\u03a3", "\u03c3", "A", "ns", "1", "\u0130", "b c", "\n", ""])  # fmt: skip
NAMED = st.lists(st.tuples(PARTS, st.sampled_from(["", "/", ".", "-", "_", ":"])), max_size=4).map(
    lambda parts: "".join(part + mark for part, mark in parts)
)


@given(st.sets(NAMED, max_size=4), st.sets(NAMED | st.text(max_size=6), max_size=8))
@example({"\u03c3"}, {"A.\u03a3"})
def test_the_quick_pass_over_many_keys_misses_none_that_has_a_link(
    ours: set[str], theirs: set[str]
) -> None:
    matcher = NameMatcher(sorted(ours), ())
    linked = {key for key in theirs if matcher.links(key)}
    assert linked <= set(matcher.that_may_be_linked(theirs))


def matched(params: list[ParamSpec], card: CapabilityCard, *skills: str) -> dict[str, str]:
    view = SchemaView(ParamSchema(params=tuple(params)), skills)
    return {step.to: step.from_ for step in match_inputs(input_specs(card), view).steps}


def test_one_key_is_not_used_twice_and_a_better_pair_gives_way_where_all_gain() -> None:
    card = CapabilityCard(id="x", expects_context_keys=("query", "labels"))
    both = [ParamSpec(key="criteria"), ParamSpec(key="search")]
    assert matched(both, card, "issue-triage") == {"labels": "criteria", "query": "search"}
    assert matched(both[:1], card, "issue-triage") in (
        {"labels": "criteria"},
        {"query": "criteria"},
    )


def test_required_inputs_come_before_optional_ones() -> None:
    inputs = (InputSpec(key="repository", required=False), InputSpec(key="repo"))
    assert matched([ParamSpec(key="repository")], CapabilityCard(id="x", inputs=inputs)) == {
        "repo": "repository"
    }


def test_a_required_input_with_a_default_of_its_type_is_met_by_it() -> None:
    view = SchemaView(ParamSchema(params=(ParamSpec(key="q"),)), ())
    specs = (
        InputSpec(key="q"),
        InputSpec(key="n", type="int", default=5),
        InputSpec(key="m", type="int", default="5"),
    )
    match = match_inputs(specs, view)
    assert match.missing == ("m",)
    assert {(step.to, step.reason) for step in match.steps} == {
        ("q", "same name"), ("n", "the candidate's default")}  # fmt: skip


def test_a_capital_letter_begins_a_word_of_a_name() -> None:
    assert words_of_name("github.listIssues_v2") == ["github", "list", "issues", "v"]
    assert words_of_name("HTTPPort RESET_ALL") == ["http", "port", "reset", "all"]
