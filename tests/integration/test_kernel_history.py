"""A kernel's own history is the pipeline's: the same runs, the same answers, the same inputs."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.history.kernel_snapshot import write_kernel_snapshot
from planner_pipeline.parts import Parts
from planner_pipeline.sample.workspace import write_workspace
from planner_runtime.archives.runs import RunRecord, run_summary
from planner_runtime.contracts.canonical import canonical_json, input_hash
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.kernel.asking import decision_query, question_about
from planner_runtime.kernel.history import KernelHistory
from tests.building import all_examples, records_of, runs_of

# runs of the pipeline's table that a kernel's history lacks, by id, and why; none is known
DIFFERENCES: dict[str, str] = {}
FOLDERS = (".cyntra/archives", ".cyntra/runs")


def summaries_of(runs: list[RunRecord]) -> list[RunSummary]:
    told = [summary for run in runs if (summary := run_summary(run)) is not None]
    return sorted(told, key=lambda run: (run.started_ms, run.run_id))


@pytest.fixture(scope="module")
def table(built: Path) -> list[RunRecord]:
    return records_of(Parts.load(built / "parts" / "run_summaries"))


@pytest.fixture(scope="module")
def history(workspace: Path) -> KernelHistory:
    return KernelHistory(workspace)


def test_every_run_of_the_table_is_known_to_the_kernel(
    table: list[RunRecord], history: KernelHistory
) -> None:
    expected = [run for run in summaries_of(table) if run.run_id not in DIFFERENCES]
    assert len(expected) > 300
    assert history.runs() == expected


def test_every_example_asks_the_same_question_of_a_kernels_history(
    built: Path, table: list[RunRecord], history: KernelHistory
) -> None:
    run_of = {run.run_id: run for run in table}
    examples = all_examples(Dataset(built / "dataset"))
    assert len(examples) > 150
    for example in examples:
        run, document = run_of[example.example_id], example.planner_input
        is_evolution = run.kind == "evolution"
        query = decision_query(
            run.issue, job_type=run.job_type, domain=run.domain, cutoff_ms=example.decided_ms,
            issue_id=run.issue_id, group_id=run.group_id,
            world_id=run.world_id if is_evolution else None,
            objective_id=run.objective_id if is_evolution else None,
        )  # fmt: skip
        asked = history.index.similar_documents(query, n=8)
        shown = document["history"]["last_n_similar_runs"]
        assert asked == shown
        assert all(one["ended_ms"] <= example.decided_ms for one in shown)
        question = question_about(
            document["issue"], job_type=document["job_type"], history=history,
            now_ms=example.decided_ms, space=_space_of(document),
            universe_id=document["universe_id"], universe_defaults=document["universe_defaults"],
            system_state=document["system_state"], world_id=query.world_id,
            objective_id=query.objective_id,
        )  # fmt: skip
        assert input_hash(question) == example.input_hash
        assert canonical_json(question) == canonical_json(document)


def _space_of(document: dict[str, object]) -> object:
    from planner_runtime.actions import action_space_of
    from planner_runtime.contracts.planner_input import ActionSpaceDocument

    return action_space_of(msgspec.convert(document["action_space"], ActionSpaceDocument))


def test_without_worlds_only_workcells_are_runs(table: list[RunRecord], workspace: Path) -> None:
    cells = [run for run in table if run.kind == "workcell"]
    assert KernelHistory(workspace, include_world=False).runs() == summaries_of(cells)


def arrivals(source: Path, target: Path, luck: random.Random) -> Iterator[str]:
    """A workspace that fills up: directories in any order, some half written first, the log line
    by line.
    """
    shutil.copytree(source / ".beads", target / ".beads")
    for folder in FOLDERS:
        (target / folder).mkdir(parents=True)
    log = (source / ".cyntra/logs/events.jsonl").read_bytes()
    (target / ".cyntra/logs").mkdir()
    told, at = (target / ".cyntra/logs/events.jsonl"), 0
    names = [path for folder in FOLDERS for path in sorted((source / folder).iterdir())]
    luck.shuffle(names)
    for number, path in enumerate(names):
        place = target / path.relative_to(source)
        if luck.random() < 0.2 and (manifest := path / "manifest.json").exists():
            place.mkdir()
            data = manifest.read_bytes()
            (place / "manifest.json").write_bytes(data[: luck.randrange(len(data))])
            yield f"half of {path.name}"
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, place)
        if luck.random() < 0.3:
            upto = len(log) if number == len(names) - 1 else luck.randint(at, len(log))
            upto = min(upto, at + 9_000) if number < len(names) - 1 else upto
            with told.open("ab") as file:
                file.write(log[at:upto])
            at = upto
        yield path.name
    with told.open("ab") as file:
        file.write(log[at:])
    yield "the rest of the log"


@pytest.mark.parametrize("seed", range(3))
def test_a_history_that_grew_is_one_that_was_read_at_once(tmp_path: Path, seed: int) -> None:
    luck = random.Random(seed)
    write_workspace(tmp_path / "source", n_runs=60, seed=seed)
    target = tmp_path / "target"
    target.mkdir()
    grown, snapshot = KernelHistory(target), tmp_path / "history.snapshot"
    for number, _ in enumerate(arrivals(tmp_path / "source", target, luck)):
        grown.refresh()
        if number % 15 == 7:
            fresh = KernelHistory(target)
            assert grown.runs() == fresh.runs()
            assert grown.quarantined == fresh.quarantined
            assert grown.counts == fresh.counts
            assert grown.runs() == summaries_of(runs_of(target))
        if number % 15 == 9:
            rested(grown, target).write_snapshot(snapshot)
        if number % 15 == 12:
            resumed = KernelHistory(target, snapshot=snapshot)
            assert resumed.snapshot_error is None
            assert resumed.runs() == grown.runs()
            assert resumed.quarantined == grown.quarantined
    assert grown.runs() == summaries_of(runs_of(target))
    for folder in FOLDERS:  # and one that shrinks
        for path in luck.sample(sorted((target / folder).iterdir()), 12):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
            grown.refresh()
    assert grown.runs() == summaries_of(runs_of(target))


def rested(history: KernelHistory, repo: Path) -> KernelHistory:
    """A history of directories that were last written to long ago, as far as it knows."""
    later = KernelHistory(repo, clock=lambda: os.stat(repo).st_mtime + 10_000)
    assert later.runs() == history.runs()
    return later


def test_the_pipeline_leaves_a_kernel_the_file_to_start_from(
    built: Path, workspace: Path, history: KernelHistory
) -> None:
    resumed = KernelHistory(workspace, snapshot=built / "history.snapshot")
    assert resumed.snapshot_error is None
    assert resumed.runs() == history.runs()


def test_the_file_is_written_anew_from_the_one_before(tmp_path: Path) -> None:
    write_workspace(tmp_path / "repo", n_runs=40, seed=4)
    for path in (tmp_path / "repo/.cyntra").rglob("*"):
        os.utime(path, (1e9, 1e9))
    path = tmp_path / "history.snapshot"
    first, n_young = write_kernel_snapshot(tmp_path / "repo", path)
    assert (first.n_runs, n_young) == (len(KernelHistory(tmp_path / "repo")), 0)
    path.write_bytes(path.read_bytes()[:-1])
    again, _ = write_kernel_snapshot(tmp_path / "repo", path)
    assert again.n_runs == first.n_runs
    assert KernelHistory(tmp_path / "repo", snapshot=path).snapshot_error is None
