import json

import pytest

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import (
    ContractError,
    PlannerAction,
    PlannerInput,
    canonical_json,
    document_hash,
    input_hash,
    read_document,
    to_document,
)
from planner_runtime.inputs import build_planner_input, issue_document, rfc3339


def a_question(**changes: object) -> dict[str, object]:
    question = build_planner_input(
        created_at_ms=1_767_603_600_000,
        universe_id="medica",
        job_type="code",
        universe_defaults={"swarm_id": None, "objective_id": None},
        issue=issue_document({"id": "7", "title": "Fix the parser", "tags": ["ui"]}),
        similar_runs=(),
        space=ActionSpace(),
        system_state=None,
    )
    return question | changes


def test_canonical_json_does_not_depend_on_key_order() -> None:
    assert (
        canonical_json({"b": 1, "a": "é"})
        == canonical_json({"a": "é", "b": 1})
        == '{"a":"é","b":1}'.encode()
    )


def test_canonical_json_refuses_nan() -> None:
    with pytest.raises(ValueError):
        canonical_json({"a": float("nan")})


def test_the_input_hash_is_the_sha256_of_the_canonical_rest() -> None:
    question = a_question()
    later = a_question(created_at="2030-01-01T00:00:00Z")
    assert input_hash(question) == input_hash(later)
    rest = {k: v for k, v in question.items() if k != "created_at"}
    assert input_hash(question) == document_hash(rest)
    assert input_hash(question) != input_hash(a_question(universe_id="other"))


def test_extra_keys_of_an_issue_are_accepted_and_hashed() -> None:
    question = a_question()
    more = json.loads(json.dumps(question))
    more["issue"]["assignee"] = "somebody"
    read_document(more, PlannerInput)
    assert input_hash(more) != input_hash(question)


@pytest.mark.parametrize("section", ["universe_defaults", "history", "action_space"])
def test_closed_sections_refuse_unknown_keys(section: str) -> None:
    question = json.loads(json.dumps(a_question()))
    question[section]["mood"] = "good"
    with pytest.raises(ContractError) as refused:
        read_document(question, PlannerInput)
    assert refused.value.path == f"$.{section}"


def test_open_sections_accept_unknown_keys() -> None:
    question = json.loads(json.dumps(a_question(system_state={"moon": "full"})))
    assert read_document(question, PlannerInput).system_state is not None


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"schema_version": "cyntra.planner_input.v9"}, "$.schema_version"),
        ({"created_at": "yesterday"}, "$.created_at"),
        ({"job_type": 3}, "$.job_type"),
        ({"system_state": {"hour_bucket": 12}}, "$.system_state.hour_bucket"),
        ({"system_state": {"extra": float("nan")}}, "$.system_state.extra"),
    ],
)
def test_a_refusal_names_the_field(change: dict[str, object], path: str) -> None:
    with pytest.raises(ContractError) as refused:
        read_document(a_question(**change), PlannerInput)
    assert refused.value.path == path
    assert refused.value.contract == "cyntra.planner_input.v1"


def test_a_document_without_its_version_is_refused() -> None:
    question = a_question()
    del question["schema_version"]
    with pytest.raises(ContractError) as refused:
        read_document(question, PlannerInput)
    assert refused.value.path == "$.schema_version"


def test_nan_in_json_text_is_no_json() -> None:
    with pytest.raises(ContractError):
        read_document(b'{"schema_version": NaN}', PlannerInput)


def test_absent_optional_fields_stay_absent() -> None:
    document = {
        "schema_version": "cyntra.planner_action.v1",
        "created_at": rfc3339(0),
        "swarm_id": "serial_handoff",
        "budgets": {"max_minutes_bin": "NA", "max_candidates_bin": 1, "max_iterations_bin": "NA"},
    }
    assert to_document(read_document(document, PlannerAction)) == document


def test_documents_survive_a_round_trip() -> None:
    question = a_question()
    back = to_document(read_document(json.dumps(question), PlannerInput))
    assert canonical_json(back) == canonical_json(question)
