"""What a prompt offers, and what is left of it: defaults, options, examples."""

import pytest

from planner_synthesis import generate_planner_generic
from planner_synthesis.schema import schema_from_history
from planner_synthesis.types import (
    CapabilityCard,
    InteractionTurn,
    ParamSpec,
    PlannerGenContext,
    RuntimeContext,
)


def only(prompt: str, answer: str | None = None) -> ParamSpec:
    turn = InteractionTurn(turn_index=0, prompt=prompt, answer=answer)
    (param,) = schema_from_history([turn]).params
    return param


@pytest.mark.parametrize("prompt", [
    "What default branch should I use?", "What is the repo's default branch?", "Which default?", "What is the default?",
    "By default, which branch?", "Which branch should be used by default?", "What should it default to?",
    "Which repo, default branch?", "Which repo? Default branch?", "What is the default: main or dev?",
    "Should it default to main?", "What's the default region and zone?", "Default region?", "Default: yes?",
    "Which default value should the port have?", "Set default language", "Which branch is the default?", "Enabled by default?",
    "Is the default branch main?", "What branch should it default to when none is given?", "Should we keep the default settings?",
    "Which repo (default branch)?", "Which repo? The default branch is main.", "Notifications, enabled by default?",
    "Override the default limit?", "Does the default apply?", "What is the default timeout in seconds?",
    "Do you want the default 20?", "Would you like the default: 20?", "Leave blank for the default model. Which model?",
    "Which color theme: default or dark?", "What is the default language: English or French?", "Is default OK?",
    "Which format do you want by default: csv or json?", "Who is the default assignee?", "Should I use the default branch (main)?",
])  # fmt: skip
def test_a_question_about_a_default_offers_none(prompt: str) -> None:
    assert (only(prompt).default, only(prompt).required) == (None, True)


@pytest.mark.parametrize(("prompt", "default"), [
    ("How many issues? (default: 20)", 20), ("How many rows, default 20?", 20), ("How many rows default 20?", 20),
    ("Branch, defaults to main", "main"), ("Branch defaults to main?", "main"), ("Port [default=5]", 5), ("Port (default 8080)?", 8080),
    ("What is the limit? By default 10", 10), ("Limit? 10 by default", 10), ("Timeout [30 default]", 30),
    ("Which branch? (main by default)", "main"), ("Which branch (main is the default)?", "main"), ("Which branch? main by default", "main"),
    ("Which branch? The default is main.", "main"), ("Which branch? The default branch is main", "main"),
    ("Which branch should be the base? default main", "main"), ("Max results (1-100, default 20)", 20), ("How many? (20 is default)", 20),
    ("Which size: small, medium or large? Default: medium", "medium"), ("Which size (small, medium, large; default medium)?", "medium"),
    ("Which branch, main or dev, default main?", "main"), ("Timeout (default: 30 seconds)?", "30 seconds"),
    ("How many issues? (default: 20 issues)", 20), ("Use TLS? (yes/no, default no)", False), ("Which range? (default: last 30 days)", "last 30 days"),
    ("Which version? Default: 1.2.3.", "1.2.3"), ("Limit: (optional, default = 5)", 5), ("What limit? It defaults to 5.", 5),
    ("Which file, default 'a b.txt'?", "a b.txt"), ("Which ratio? default=0.5", 0.5), ("Page size? Default value: 20", 20),
    ("Which format should I use? If unsure, the default is csv", "csv"), ("Which repo, e.g. foo/bar, default x/y?", "x/y"),
    ("Which branch should I use - default: main?", "main"), ("Which path? (default ./out)", "./out"),
    ("Which mode: fast (default) or slow?", "fast"), ("Mode (fast [default] / slow)", "fast"), ("Which plan? free (default), pro", "free"),
    ("What file? If none is given, README.md is used by default.", "README.md"), ("What port? It's 8080 by default.", 8080),
    ("What port? The default one is 8080.", 8080), ("What port? Default port is 8080", 8080), ("Name your project (default: my-app)", "my-app"),
    ("limit, optional, default: 100", 100), ("Choose a color (red, green) - default is red", "red"), ("page_size (int, default 20)", 20),
    ("Retries? (default of 3)", 3), ("Retries? Leave empty to use the default of 3.", 3), ("Retries? If blank, it defaults to 3", 3),
    ("Which branch {default: main}?", "main"), ("Which branch <default: main>?", "main"), ("Which branch (default: main, optional)?", "main"),
    # offered, but none or only described: it may be left out, and nothing is sent in its place
    ("Which label? default is none", None), ("Which labels? (default: none)", None), ("Which folder? (default: the current folder)", None),
    ("Which url? (default: https://a.b/c?x=1)", None), ("Which tags? (default: bug, docs)", None), ("Which repo? (default: ghp_abcdefghijklmnopqrstuvwxyz0123456789)", None),
])  # fmt: skip
def test_an_offered_default_is_taken_however_it_is_put(
    prompt: str, default: str | float | None
) -> None:
    param = only(prompt)
    assert (param.default, type(param.default), param.required) == (default, type(default), False)
    assert "default" not in param.key


def test_no_noun_is_sent_as_a_default_that_was_asked_for() -> None:
    turn = InteractionTurn(turn_index=0, prompt="What default branch should I use?")
    card = CapabilityCard(id="git.clone", expects_context_keys=("branch",), trust_tier="T1")
    context = PlannerGenContext(schema=schema_from_history([turn]), history=(turn,),
                                security=RuntimeContext(level="full"), registry_caps=(card,))  # fmt: skip
    assert '"branch should I use"' not in generate_planner_generic(context).rtfs


@pytest.mark.parametrize("prompt", [
    "What is the password (default: hunter22)?", "Which API key? (default: hunter22)", "Which token: hunter22, b22 or c22?",
    "What's the production read only database password? (default: hunter22)", "Passphrase (hunter22/b22)?",
    "Client secret, default hunter22?", "Access token? The default is hunter22.",
])  # fmt: skip
def test_a_secrets_default_and_options_reach_no_planner(prompt: str) -> None:
    param = only(prompt)
    assert (param.default, param.enum_values) == (None, ())
    turn = InteractionTurn(turn_index=0, prompt=prompt)
    card = CapabilityCard(id="vault.log_in", expects_context_keys=(param.key,), trust_tier="T1")
    context = PlannerGenContext(schema=schema_from_history([turn]), history=(turn,),
                                security=RuntimeContext(level="full"), registry_caps=(card,))  # fmt: skip
    synthesis = generate_planner_generic(context)
    assert "hunter22" not in f"{synthesis.rtfs}{synthesis.capability}"


@pytest.mark.parametrize(("prompt", "key"), [
    ("Which repo, e.g. foo/bar?", "repo"), ("Which repo (e.g. foo/bar)?", "repo"), ("Which repo such as foo/bar?", "repo"),
    ("Which repo, for example foo/bar, should I use?", "repo"), ("Which repo, like foo/bar?", "repo"), ("Which repo like foo/bar?", "repo"),
    ("Repo (owner/name), e.g. foo/bar", "repo"), ("Region, e.g. us-east-1 or eu-west-1", "region"), ("Region eg us-east-1", "region"),
    ("Select a region, e.g. us-east-1, foo/bar", "region"), ("Which region (for instance us-east-1)?", "region"),
    ("Period, i.e. 30d?", "period"), ("Which labels? Examples: bug, docs", "labels"), ("Which city, say Paris or Rome?", "city"),
    ("Which repo: foo/bar?", "repo"), ("What would you like to drink?", "drink"),
])  # fmt: skip
def test_examples_name_nothing_and_are_no_options(prompt: str, key: str) -> None:
    for answer in (None, "foo/bar", "x/y", "us-east-1"):
        param = only(prompt, answer)
        assert (param.key, param.type, param.enum_values) == (key, "string", ())


@pytest.mark.parametrize(("prompt", "key", "options"), [
    ("Which city - Paris or Rome?", "city", "Paris Rome"), ("Which city \u2014 Paris or Rome?", "city", "Paris Rome"),
    ("Which city, Paris or Rome?", "city", "Paris Rome"), ("Select a region: us-east-1, eu-west-1", "region", "us-east-1 eu-west-1"),
    ("Please select a plan: free, pro", "plan", "free pro"), ("What format? csv or json", "format", "csv json"),
    ("What format? Options: csv, json", "format", "csv json"), ("What format (options: csv, json)?", "format", "csv json"),
    ("What format? (one of csv, json)", "format", "csv json"), ("What format? Choose one: csv, json", "format", "csv json"),
    ("Which of the following formats: csv, json, xml?", "formats", "csv json xml"), ("Format: csv | json", "format", "csv json"),
    ("Which format:\n- csv\n- json", "format", "csv json"), ("Which format?\n1) csv\n2) json", "format", "csv json"),
    ("Pick a format: 1. csv 2. json", "format", "csv json"), ("Which format: 'csv' or `json`?", "format", "csv json"),
    ("Sort by name or size?", "sort", "name size"), ("Should the list be sorted by name or by size?", "sorted", "name size"),
    ("Order by price, rating or date?", "order", "price rating date"), ("Available sizes: S, M, L. Which size?", "size", "S M L"),
    ("When do you leave, today or tomorrow?", "departure_date", "today tomorrow"), ("Region? Valid values: us, eu", "region", "us eu"),
    ("Which repos: foo/bar, baz/qux?", "repos", "foo/bar baz/qux"), ("Priority: low/medium/high", "priority", "low medium high"),
    ("Which size (small, medium, large; default medium)?", "size", "small medium large"), ("Type of room: single, double", "room_type", "single double"),
    ("What frequency; daily or monthly?", "frequency", "daily monthly"), ("Delivery method? (1) courier (2) pickup", "delivery_method", "courier pickup"),
    ("Type: bug | chore", "type", "bug chore"), ("Report type (short vs long)", "report_type", "short long"), ("What time: 10:30 or 11:00?", "time", "10:30 11:00"),
    ("Theme? default, dark or light", "theme", "default dark light"), ("How would you like to pay: cash, card?", "how_pay", "cash card"),
])  # fmt: skip
def test_a_list_that_is_offered_is_options_and_no_part_of_the_key(
    prompt: str, key: str, options: str
) -> None:
    param = only(prompt)
    assert (param.key, param.type, " ".join(param.enum_values)) == (key, "enum", options)
    assert only(prompt, "something else").type == "string"


@pytest.mark.parametrize(("prompt", "key", "answer"), [
    ("What format? csv, json", "format", "json"), ("Priority - low, medium, high", "priority", "low"),
    ("Export as PDF or CSV?", "export", "CSV"), ("Do you want email or SMS?", "email_sms", "SMS"),
    ("Environment (dev, staging, prod)", "environment", "dev"), ("Format: [csv, json]", "format", "csv"),
])  # fmt: skip
def test_a_list_that_may_be_examples_is_options_where_the_answer_is_in_it(
    prompt: str, key: str, answer: str
) -> None:
    assert (only(prompt).key, only(prompt).type) == (key, "string")
    assert (only(prompt, answer).type, answer in only(prompt, answer).enum_values) == ("enum", True)


@pytest.mark.parametrize("prompt", [
    "Provide your details: name, email", "Enter your address: street, city", "Which size, in cm or inches?",
    "What is your name, age and city?", "Which repo (owner/name)?",
])  # fmt: skip
def test_a_list_of_what_should_be_told_is_no_options(prompt: str) -> None:
    assert (only(prompt).type, only(prompt).enum_values) == ("string", ())


def test_an_aside_names_nothing_but_tells_two_questions_apart() -> None:
    asked = ("Which city - the one you live in?", "Which city - the one you work in?")
    turns = [InteractionTurn(turn_index=i, prompt=p, answer="x") for i, p in enumerate(asked)]
    assert [param.key for param in schema_from_history(turns).params] == ["city", "city_one"]


def test_two_choices_between_other_things_stay_two_parameters() -> None:
    asked = ("Sort by name or size?", "Sort by price or age?")
    turns = [InteractionTurn(turn_index=i, prompt=p, answer="x") for i, p in enumerate(asked)]
    assert len(schema_from_history(turns).params) == 2
