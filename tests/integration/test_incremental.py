"""Building again: only what is new or changed is read and made, and the result is as from scratch."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from planner_pipeline.dataset import blocks
from planner_pipeline.dataset.build import assembly_of, build_dataset, recipe_of
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.definitions import build_defs
from planner_pipeline.history.assemble import write_runs
from planner_pipeline.materialize import dataset_summary, materialize, materialize_by_month
from planner_pipeline.parts import DamagedPartError, Parts, read_part, write_part
from planner_pipeline.sources import store
from planner_pipeline.sources.workspace import ARCHIVES, read_workspace
from planner_pipeline.staleness import stale_assets
from tests.building import all_examples

COUNTED = ("archives", "world_runs")


@pytest.fixture
def repo(workspace: Path, tmp_path: Path) -> Path:
    """A copy of the sample that may be changed."""
    shutil.copytree(workspace, tmp_path / "w")
    return tmp_path / "w"


def counts(dataset: Dataset) -> dict[str, tuple[int, int]]:
    """Directories read anew and taken over, by source."""
    return {
        c.source: (c.accepted, c.unchanged) for c in dataset.meta.sources if c.source in COUNTED
    }


def newest_archive(repo: Path) -> Path:
    return max((repo / ".cyntra/archives").iterdir(), key=lambda p: p.name.split("-2026")[-1])


def test_a_second_build_reads_and_makes_nothing(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_dataset(repo, tmp_path / "o")
    made: list[object] = []
    real = blocks.make_blocks

    def spy(
        runs: Parts, recipe: object, plan: object, missing: list[object], folder: Path
    ) -> object:
        made.extend(missing)
        return real(runs, recipe, plan, missing, folder)  # type: ignore[arg-type]

    monkeypatch.setattr(blocks, "make_blocks", spy)
    second = build_dataset(repo, tmp_path / "o")
    assert made == []
    assert all(read == 0 and unchanged > 0 for read, unchanged in counts(second).values())
    assert second.meta.dataset_hash == first.meta.dataset_hash
    assert second.meta.files == first.meta.files


def change_proof(repo: Path) -> None:
    path = next(
        p for p in sorted(repo.glob(".cyntra/archives/*/proof.json")) if p.stat().st_size > 900
    )
    document = json.loads(path.read_text())
    document["verification"] |= {"all_passed": False, "blocking_failures": ["planted"]}
    path.write_text(json.dumps(document))


def remove_archive(repo: Path) -> None:
    shutil.rmtree(sorted((repo / ".cyntra/archives").glob("wc-1*"))[0])


def remove_log(repo: Path) -> None:
    (repo / ".cyntra/logs/events.jsonl").unlink()


def change_evolution(repo: Path) -> None:
    path = sorted(repo.glob(".cyntra/runs/evolve_world_*/evolve_world.json"))[0]
    path.write_text(path.read_text().replace('"population_size":', '"population_size": 1,"was":'))


CHANGES: dict[str, Callable[[Path], None]] = {
    "a proof tells another outcome": change_proof,
    "an archive is gone": remove_archive,
    "the event log is gone": remove_log,
    "an evolution had another population": change_evolution,
}


@pytest.mark.parametrize("name", CHANGES)
def test_what_changed_changes_just_what_a_build_from_scratch_would(
    repo: Path, tmp_path: Path, name: str
) -> None:
    before = build_dataset(repo, tmp_path / "o").meta.dataset_hash
    CHANGES[name](repo)
    again = build_dataset(repo, tmp_path / "o")
    scratch = build_dataset(repo, tmp_path / "other")
    assert again.meta.dataset_hash == scratch.meta.dataset_hash != before
    assert again.meta.files == scratch.meta.files
    assert sum(read for read, _ in counts(again).values()) <= 1


def test_a_file_rewritten_in_place_with_its_old_mtime_and_size_is_noticed(
    repo: Path, tmp_path: Path
) -> None:
    build_dataset(repo, tmp_path / "o")
    path = newest_archive(repo) / "manifest.json"
    status, data = path.stat(), path.read_bytes()
    path.write_bytes(data.replace(b'"id"', b'"iD"', 1))
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert (path.stat().st_size, path.stat().st_mtime_ns) == (len(data), status.st_mtime_ns)
    assert counts(build_dataset(repo, tmp_path / "o"))["archives"][0] == 1


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_part_that_appears_or_vanishes_is_noticed(repo: Path, tmp_path: Path, kind: str) -> None:
    folder = next(p for p in (repo / ".cyntra/archives").iterdir() if (p / "proof.json").exists())
    shutil.move(folder / "proof.json", tmp_path / "proof.json")
    build_dataset(repo, tmp_path / "o")
    if kind == "file":
        shutil.copy(tmp_path / "proof.json", folder / "proof.json")
    else:
        (folder / "proof.json").symlink_to(tmp_path / "nowhere")
    appeared = build_dataset(repo, tmp_path / "o")
    assert counts(appeared)["archives"][0] == 1
    (folder / "proof.json").unlink()
    assert counts(build_dataset(repo, tmp_path / "o"))["archives"][0] == 1


def test_runs_that_come_later_leave_earlier_blocks_alone(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 16)
    late = newest_archive(repo)
    shutil.move(late, tmp_path / "held back")
    before = build_dataset(repo, tmp_path / "o")
    shutil.move(tmp_path / "held back", late)
    after = build_dataset(repo, tmp_path / "o")
    assert counts(after)["archives"][0] == 1
    shared = set(before.meta.parts) & set(after.meta.parts)
    assert len(shared) >= len(before.meta.parts) - 2
    assert after.meta.dataset_hash == build_dataset(repo, tmp_path / "p").meta.dataset_hash


def test_block_size_and_many_segments_change_no_example(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build_dataset(repo, tmp_path / "o")
    monkeypatch.setattr(blocks, "BLOCK_ROWS", 7)
    monkeypatch.setattr(store, "SEGMENT_ROWS", 20)
    monkeypatch.setattr(store, "CHUNK", 6)
    small = build_dataset(repo, tmp_path / "p")
    assert small.meta.dataset_hash == whole.meta.dataset_hash
    monkeypatch.setattr(store, "MOST_SEGMENTS", 1)
    compacted = build_dataset(repo, tmp_path / "p")
    assert compacted.meta.dataset_hash == whole.meta.dataset_hash


def test_several_processes_read_what_one_reads(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone, refused, count = store.read_stored(ARCHIVES, repo, tmp_path / "a")
    monkeypatch.setattr(store, "WORTH_WORKERS", 1)
    monkeypatch.setattr(store, "CHUNK", 40)
    several, refused_too, count_too = store.read_stored(ARCHIVES, repo, tmp_path / "b")
    assert (several.version, refused_too, count_too) == (alone.version, refused, count)


@pytest.mark.parametrize(
    "pattern", ["store/archives/segment-*.parquet", "store/archives/index.json"]
)
def test_a_damaged_store_is_read_anew(repo: Path, tmp_path: Path, pattern: str) -> None:
    first = build_dataset(repo, tmp_path / "o")
    for path in (tmp_path / "o").glob(pattern):
        data = bytearray(path.read_bytes())
        data[len(data) // 3] ^= 4
        path.write_bytes(data)
    again = build_dataset(repo, tmp_path / "o")
    assert again.meta.dataset_hash == first.meta.dataset_hash
    assert counts(again)["archives"][0] == counts(first)["archives"][0]


@pytest.mark.parametrize("table", ["runs", "examples"])
def test_a_flipped_bit_in_a_part_is_found_and_the_part_made_anew(
    repo: Path, tmp_path: Path, table: str
) -> None:
    first = build_dataset(repo, tmp_path / "o")
    parts = Parts.load(tmp_path / "o" / "parts" / table)
    path = tmp_path / "o" / "parts" / table / parts.parts[0].file
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(DamagedPartError, match="not the bytes"):
        list(parts.tables())
    assert build_dataset(repo, tmp_path / "o").meta.files == first.meta.files


def test_a_file_of_ours_that_was_written_to_is_hashed_again(tmp_path: Path) -> None:
    table = pl.DataFrame({"a": [1, 2]})
    part = write_part(tmp_path, "2026-01", "k", table)
    assert read_part(tmp_path, part).equals(table)
    path = tmp_path / part.file
    status, data = path.stat(), bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    with pytest.raises(DamagedPartError):
        read_part(tmp_path, part)


def test_a_full_disk_leaves_nothing_half_visible(
    repo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = build_dataset(repo, tmp_path / "o")
    files = {p: p.read_bytes() for p in (tmp_path / "o" / "dataset").rglob("*") if p.is_file()}
    change_proof(repo)
    left = [0]

    def no_space(source: object, target: object) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(source, target)  # type: ignore[arg-type]

    real = os.replace
    for room in range(12):
        left[0] = room
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", no_space)
            try:
                build_dataset(repo, tmp_path / "o")
            except OSError as error:
                assert error.errno == 28  # noqa: PT017
            else:
                break
        folder = tmp_path / "o" / "dataset"
        if folder.exists() and Dataset(folder).meta.dataset_hash == first.meta.dataset_hash:
            assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == files
        assert not list((tmp_path / "o").rglob("*.part"))
    after = build_dataset(repo, tmp_path / "o")
    assert after.meta.dataset_hash == build_dataset(repo, tmp_path / "p").meta.dataset_hash
    assert len(all_examples(after)) == after.meta.n_examples


def test_months_one_by_one_are_the_whole(repo: Path, tmp_path: Path) -> None:
    for path in sorted((repo / ".cyntra/archives").iterdir())[::3]:  # a third of them a month later
        path.rename(path.with_name(path.name.replace("-202601", "-202602")))
    whole = build_dataset(repo, tmp_path / "whole")
    workspace = read_workspace(repo, tmp_path / "o" / "store")
    assembly = assembly_of(workspace)
    months = list(assembly.months)
    assert len(months) >= 3
    runs = Parts.load(tmp_path / "o/runs")
    for month in reversed(months):
        runs = write_runs(assembly, tmp_path / "o/runs", months=[month])
    recipe = recipe_of(workspace)
    for month in reversed(months):
        parts, _ = blocks.write_examples(runs, recipe, tmp_path / "o/examples", months=[month])
    expected = Parts.load(tmp_path / "whole" / "parts" / "examples")
    assert [(p.month, p.key, p.sha256) for p in parts.parts] == [
        (p.month, p.key, p.sha256) for p in expected.parts
    ]
    months_made = materialize_by_month(repo, tmp_path / "dagster")
    assert months_made == months
    assert dataset_summary(tmp_path / "dagster")["dataset_hash"] == whole.meta.dataset_hash


def test_dagster_knows_that_nothing_changed_and_what_a_change_makes_stale(
    repo: Path, tmp_path: Path
) -> None:
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:

        def run(**settings: object) -> int:
            same = dg.DagsterInstance.from_ref(instance.get_ref())
            return materialize(repo, tmp_path / "o", dataset_only=True, instance=same, **settings)

        assert run() == 6
        assert run() == 0
        assert run(n_similar=3) == 4  # not the runs, nor their epochs
        change_proof(repo)
        assert run(n_similar=3) == 6
        index = tmp_path / "o" / "dataset" / "index.parquet"
        index.write_bytes(index.read_bytes()[:-1] + b"x")
        assert run(n_similar=3) == 6
        shutil.rmtree(tmp_path / "o" / "dataset")
        assert run(n_similar=3) == 6
        assert run(n_similar=3) == 0
        defs = build_defs(repo=repo, out=tmp_path / "o", dataset_only=True)
        graph = defs.resolve_asset_graph()
        keys = {
            key
            for key in graph.materializable_asset_keys
            if graph.get(key).group_name not in ("bench", "serving")
        }
        assert stale_assets(instance, defs, keys) == set()


def test_an_archive_that_is_completed_later_is_used_then(repo: Path, tmp_path: Path) -> None:
    path = newest_archive(repo) / "manifest.json"
    data = path.read_bytes()
    whole = build_dataset(repo, tmp_path / "whole")
    path.write_bytes(data[: len(data) // 2])
    half = build_dataset(repo, tmp_path / "o")
    assert [c.pending for c in half.meta.sources if c.source == "archives"] != [0]
    assert half.meta.n_examples == whole.meta.n_examples - 1
    assert path.parent.name not in half.index["example_id"]
    path.write_bytes(data)
    assert build_dataset(repo, tmp_path / "o").meta.dataset_hash == whole.meta.dataset_hash


def test_an_example_reads_back_as_it_was_made(repo: Path, tmp_path: Path) -> None:
    dataset = build_dataset(repo, tmp_path / "o")
    rows = dataset.index.sample(20, seed=1, shuffle=True)
    for row, example in zip(rows.iter_rows(named=True), dataset.examples_of(rows), strict=True):
        assert (example.example_id, example.input_hash) == (row["example_id"], row["input_hash"])
    features = dataset.features(rows)
    again = dataset.features(rows.reverse())
    assert (features == again[::-1]).all()
    assert dataset.index["decided_ms"].is_sorted()
    assert set(dataset.index["part"]) <= set(range(len(dataset.meta.parts)))
    assert dataset.rows("train").height == dataset.meta.splits["train"]
