"""Objectives from files: three ways to write one, and one line about what is none."""

import json
from pathlib import Path

import msgspec
import pytest

from planner_pipeline.policy_command import read_objective_file
from planner_pipeline.sources.objectives import MAX_BYTES, ObjectiveFileError, read_objective_at
from planner_runtime.commands import CommandError
from planner_runtime.objective import Objective, Step, Weights

MINE = Objective(name="mine", weights=Weights(minute=0.05, usd=0.5))
UNIVERSE = """\
objectives:
  fast:
    metrics: {overall: max, duration_ms: min, gate_score: max}
"""


def written(folder: Path, data: str | bytes, name: str = "o.yaml") -> Path:
    path = folder / name
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def test_json_and_yaml_say_the_same(tmp_path: Path) -> None:
    document = msgspec.json.encode(MINE)
    assert read_objective_at(written(tmp_path, document, "o.json")) == MINE
    yaml_text = (
        "schema_version: cyntra.planner_objective.v1\nname: mine\n"
        "weights: {minute: 0.05, usd: 0.5}\n"
    )
    assert read_objective_at(written(tmp_path, yaml_text)) == MINE


def test_the_only_objective_of_a_universe_is_read(tmp_path: Path) -> None:
    found = read_objective_at(written(tmp_path, UNIVERSE))
    assert (found.name, found.rule) == ("fast", "lexicographic")
    assert found.steps == (Step(metric="p_pass", within=0.01), Step(metric="wall_minutes"))


def document(**fields: object) -> str:
    return json.dumps({"schema_version": "cyntra.planner_objective.v1", **fields})


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"x: " + b"1" * MAX_BYTES, "bytes are too many"),
        ("- 1\n- 2\n", "a mapping of fields"),
        ("7", "a mapping of fields"),
        ("", "a mapping of fields"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: !!python/name:os.system ''", "could not determine a constructor"),
        ("a: [", "while parsing"),
        ("a: &x [*x]\nb: *y\n", "undefined alias"),
        (b"\xff\xfe\x00", "decode"),
        ("[" * 5000, "recursion"),
        ("{}", "schema_version"),
        (document(schema_version="cyntra.planner_objective.v9"), "schema_version"),
        (document(colour="red"), "colour"),
        (document(weights={"minute": -1}), "$.weights.minute"),
        (document(weights={"minute": "1"}), "$.weights.minute"),
        (document(rule="magic"), "$.rule"),
        (document(guardrails={"odd": {}}), "$.guardrails"),
        ("schema_version: cyntra.planner_objective.v1\nweights: {minute: .nan}\n", "$.weights"),
        ("schema_version: cyntra.planner_objective.v1\nweights: {minute: .inf}\n", "$.weights"),
        ("schema_version: cyntra.planner_objective.v1\n1: 2\n", "$"),
        ("schema_version: cyntra.planner_objective.v1\nname: 2026-01-01\n", "$.name"),
        ("objectives: {a: {metrics: {}}, b: {metrics: {}}}", "2 objectives"),
        ("objectives: {a: 1}", "$.objectives.a"),
        ("objectives: {}", "0 objectives"),
    ],
)
def test_what_is_no_objective_is_refused_in_one_line_that_names_the_file(
    tmp_path: Path, data: str | bytes, why: str
) -> None:
    path = written(tmp_path, data)
    with pytest.raises(ObjectiveFileError) as told:
        read_objective_at(path)
    message = str(told.value)
    assert message.startswith(f"{path}: ")
    assert why in message
    assert "\n" not in message
    assert len(message) < 1000
    with pytest.raises(CommandError):
        read_objective_file(path)


def test_an_alias_bomb_is_refused_before_it_unfolds(tmp_path: Path) -> None:
    levels = ["a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]"]
    for n in range(1, 12):
        levels.append(f"a{n}: &a{n} [" + ", ".join([f"*a{n - 1}"] * 10) + "]")
    with pytest.raises(ObjectiveFileError) as told:
        read_objective_at(written(tmp_path, "\n".join(levels)))
    assert len(str(told.value)) < 1000


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    with pytest.raises(ObjectiveFileError, match="No such file"):
        read_objective_at(tmp_path / "none.json")
    with pytest.raises(ObjectiveFileError, match="directory"):
        read_objective_at(tmp_path)
    assert read_objective_file(None) is None
