"""The one test that catches every leak: cut the workspace down to what existed at a moment.

The input of a decision at T, built from the whole workspace, is byte-identical to the one built from
the files as they lay on disk at T. Whatever looks past T, in whatever way, makes them differ.
"""

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from planner_pipeline.dataset.examples import Example
from planner_runtime.contracts import canonical_json
from planner_runtime.inputs import epoch_ms
from tests.building import examples_of, runs_of


def moments(value: Any) -> list[int]:
    """Every timestamp anywhere in a document."""
    if isinstance(value, dict):
        return [moment for child in value.values() for moment in moments(child)]
    if isinstance(value, list):
        return [moment for child in value for moment in moments(child)]
    if (
        isinstance(value, str)
        and len(value) >= 20
        and value[4:5] == value[7:8] == "-"
        and "T" in value
    ):
        return [epoch_ms(value)]
    return []


def newest(folder: Path) -> int:
    """The latest moment that the files of a directory tell of, stage durations included."""
    found = [0]
    for path in folder.rglob("*.json*"):
        for line in (
            path.read_text().splitlines() if path.suffix == ".jsonl" else [path.read_text()]
        ):
            try:
                document = json.loads(line)
            except ValueError:
                continue
            found += moments({k: v for k, v in document.items() if k != "planner"})
            for stage in document.get("stages", ()):
                found.append(epoch_ms(stage["started_at"]) + stage.get("duration_ms", 10**12))
    return max(found)


def cut(repo: Path, out: Path, now_ms: int, deciding: str) -> None:
    """What lay on disk at ``now_ms``; of the deciding workcell only what its dispatch wrote."""
    for name in (".cyntra/config.yaml", "universes"):
        source, target = repo / name, out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    lines = (repo / ".cyntra/logs/events.jsonl").read_text().splitlines(keepends=True)
    past = [
        line for line in lines if line.endswith("}\n") and moments(json.loads(line))[0] <= now_ms
    ]
    (out / ".cyntra/logs").mkdir()
    (out / ".cyntra/logs/events.jsonl").write_text("".join(past))
    ended = {json.loads(line).get("workcell_id") for line in past if '"type":"issue.' in line}
    for folder in (repo / ".cyntra/archives").iterdir():
        if folder.name == deciding:
            (out / ".cyntra/archives" / deciding).mkdir(parents=True)
            shutil.copy(folder / "manifest.json", out / ".cyntra/archives" / deciding)
        elif folder.name in ended and newest(folder) <= now_ms:  # archived when its issue run ended
            shutil.copytree(folder, out / ".cyntra/archives" / folder.name)
    for folder in (repo / ".cyntra/runs").iterdir():
        if folder.name == deciding or 0 < newest(folder) <= now_ms:
            shutil.copytree(folder, out / ".cyntra/runs" / folder.name)


def test_every_decision_is_the_same_from_the_files_of_its_moment(
    workspace: Path, tmp_path: Path
) -> None:
    whole = examples_of(runs_of(workspace))
    recorded = [e for e in whole if (workspace / ".cyntra/archives" / e.example_id).exists()]
    evolutions = [e for e in whole if e.example_id.startswith("evolve_world")]
    luck = random.Random(11)
    chosen = luck.sample(recorded, 12) + luck.sample(evolutions, 4)
    with_history = 0
    for number, example in enumerate(chosen):
        then = tmp_path / str(number)
        cut(workspace, then, example.decided_ms, example.example_id)
        rebuilt = {e.example_id: e for e in examples_of(runs_of(then))}
        assert canonical_json(rebuilt[example.example_id].planner_input) == canonical_json(
            example.planner_input
        ), example.example_id
        with_history += bool(example.newest_seen_ms)
        shutil.rmtree(then)
    assert with_history >= 12


LEAKS = {
    "outcomes of runs that had not finished": ("ended_ms", lambda run: run.started_ms),
    "the end guessed from the start": ("ended_ms", lambda run: (run.started_ms or 0) + 1),
}


@pytest.mark.parametrize("name", LEAKS)
def test_the_test_would_notice(workspace: Path, tmp_path: Path, name: str) -> None:
    """A planted leak makes some decision differ from the files of its moment."""
    import msgspec

    field, wrong = LEAKS[name]

    def planted(repo: Path) -> dict[str, Example]:
        runs = [msgspec.structs.replace(run, **{field: wrong(run)}) for run in runs_of(repo)]
        return {e.example_id: e for e in examples_of(runs)}

    whole = planted(workspace)
    recorded = [
        e for e in whole.values() if (workspace / ".cyntra/archives" / e.example_id).exists()
    ]
    differing = 0
    for number, example in enumerate(random.Random(4).sample(recorded, 8)):
        cut(workspace, tmp_path / str(number), example.decided_ms, example.example_id)
        then = planted(tmp_path / str(number))[example.example_id]
        differing += canonical_json(then.planner_input) != canonical_json(example.planner_input)
    assert differing > 0
