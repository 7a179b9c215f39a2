"""The whole way, from a workspace to a decision."""

import json
import os
import random
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from planner_pipeline.dataset.examples import Example, build_examples, dataset_hash
from planner_pipeline.dataset.shards import DatasetMeta, altered_files
from planner_pipeline.definitions import EVERYTHING, build_defs
from planner_pipeline.history.runs import RunRecord
from planner_pipeline.materialize import PipelineError, dataset_summary, materialize
from planner_pipeline.tables import read_records
from planner_runtime import Planner, verify_bundle
from planner_runtime.actions import ActionSpace, is_valid_action
from planner_runtime.contracts import PlannerInput, canonical_json, read_document
from planner_runtime.planner import action_of


def examples_of(out: Path) -> list[Example]:
    return read_records(pl.read_parquet(out / "assets" / "examples.parquet"), Example)


def test_every_promised_file_is_there(built: Path) -> None:
    for name in (
        "dataset/meta.json",
        "bundle/manifest.json",
        "report.json",
        "report.html",
        "mlflow.db",
    ):
        assert (built / name).is_file(), name
    meta = json.loads((built / "dataset" / "meta.json").read_bytes())
    assert sum(meta["splits"].values()) == meta["n_examples"] > 150
    assert meta["quarantined"] >= 3
    rows = sum(pl.read_parquet(p).height for p in (built / "dataset" / "examples").iterdir())
    assert rows == meta["n_examples"]


def test_the_bundle_verifies_and_answers_every_example(built: Path) -> None:
    assert verify_bundle(built / "bundle") == []
    planner = Planner.open(built / "bundle")
    for example in examples_of(built):
        action = planner.plan(example.planner_input)
        assert is_valid_action(action_of(action), job_type=example.job_type)
        assert action.input_hash == example.input_hash
        assert (action.reason or "low_confidence").startswith("low_confidence")


def test_predictions_are_what_the_served_bundle_says(built: Path) -> None:
    planner = Planner.open(built / "bundle")
    by_id = {e.example_id: e for e in examples_of(built)}
    for row in pl.read_parquet(built / "assets" / "predictions.parquet").iter_rows(named=True):
        decision = planner.decide(by_id[row["example_id"]].planner_input)
        assert [str(choice) for choice in decision.model_choice or ()] == row["model"]
        assert decision.action.confidence == pytest.approx(row["confidence"], abs=1e-4)
        assert [str(choice) for choice in action_of(decision.action)] == row["served"]


def test_the_report_tells_what_was_and_was_not_read(built: Path) -> None:
    page = (built / "report.html").read_text()
    assert "This workspace is simulated" in page
    assert "wc-only-logs-20260105T090000Z" in page
    assert page.count('class="card"') == 3
    report = json.loads((built / "report.json").read_bytes())
    test = report["evaluation"]["test"]
    for who in ("model", "heuristic", "prior"):
        assert test["exact_match"][who]["low"] <= test["exact_match"][who]["value"]


def test_the_data_set_hash_ignores_place_order_and_mtime(
    workspace: Path, built: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "elsewhere" / "deeper"
    files = [path for path in workspace.rglob("*") if path.is_file()]
    random.Random(5).shuffle(files)
    for path in files:
        target = copy / path.relative_to(workspace)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    for path in copy.rglob("*"):
        os.utime(path, (random.Random(str(path)).randrange(10**9), 5))
    out = tmp_path / "out"
    materialize(copy, out, dataset_only=True, instance=dg.DagsterInstance.ephemeral())
    assert dataset_summary(out)["dataset_hash"] == dataset_summary(built)["dataset_hash"]
    original = DatasetMeta(**json.loads((built / "dataset" / "meta.json").read_bytes()))
    rebuilt = DatasetMeta(**json.loads((out / "dataset" / "meta.json").read_bytes()))
    assert rebuilt.files == original.files


def test_the_data_set_hash_sees_every_label_and_input(built: Path) -> None:
    examples = examples_of(built)
    before = dataset_hash(examples, {})
    assert dataset_hash(list(reversed(examples)), {}) == before
    assert dataset_hash(examples[:-1], {}) != before
    assert dataset_hash(examples, {"n_similar": 4}) != before


def test_time_travel_changes_no_example(built: Path) -> None:
    """Cut the runs down to what existed at a decision: its input stays byte-identical."""
    runs = read_records(pl.read_parquet(built / "assets" / "runs.parquet"), RunRecord)
    space = ActionSpace()
    for example in random.Random(3).sample(examples_of(built), 25):
        now = example.decided_ms
        then = []
        for run in runs:
            if run.run_id == example.example_id or (run.decided_ms or now) < now:
                unfinished = run.ended_ms is None or run.ended_ms > now
                unknown = {"ended_ms": None, "status": None, "fail_codes": (), "gates": ()}
                then.append(_replaced(run, **unknown) if unfinished else run)
        rebuilt = {e.example_id: e for e in build_examples(then, space=space)}[example.example_id]
        assert canonical_json(rebuilt.planner_input) == canonical_json(example.planner_input)


def _replaced(run: RunRecord, **changes: object) -> RunRecord:
    import msgspec

    return msgspec.structs.replace(run, **changes)


def test_a_flipped_bit_in_a_shard_is_found(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(built / "dataset", copy)
    meta = DatasetMeta(**json.loads((copy / "meta.json").read_bytes()))
    assert altered_files(copy, meta) == []
    shard = copy / "tokens" / "part-00000.parquet"
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert altered_files(copy, meta) == ["tokens/part-00000.parquet"]


def test_equal_seeds_give_equal_bundles(workspace: Path, built: Path, tmp_path: Path) -> None:
    out = tmp_path / "again"
    materialize(workspace, out, epochs=12, instance=dg.DagsterInstance.ephemeral())
    for path in sorted((built / "bundle").iterdir()):
        assert (out / "bundle" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_workspace_without_labels_fails_with_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    instance = dg.DagsterInstance.ephemeral()
    with pytest.raises(PipelineError, match="no labelled run to learn from"):
        materialize(tmp_path / "empty", tmp_path / "out", instance=instance)
    assert dataset_summary(tmp_path / "out")["examples"] == 0


def test_a_leak_is_caught_by_its_check(workspace: Path, tmp_path: Path) -> None:
    from planner_pipeline.dataset.examples import leaks

    materialize(workspace, tmp_path, dataset_only=True, instance=dg.DagsterInstance.ephemeral())
    examples = examples_of(tmp_path)
    assert leaks(examples) == []
    victim = next(e for e in examples if e.planner_input["history"]["last_n_similar_runs"])
    victim.planner_input["history"]["last_n_similar_runs"][0]["ended_ms"] = victim.decided_ms + 1
    assert len(leaks(examples)) == 1


def test_the_asset_graph_is_the_reviewed_one(tmp_path: Path) -> None:
    """A readable snapshot; after a wanted change, write what this test prints."""
    graph = build_defs(repo=tmp_path, out=tmp_path).resolve_asset_graph()
    lines = []
    for key in sorted(graph.get_all_asset_keys(), key=lambda k: k.to_user_string()):
        node = graph.get(key)
        above = ", ".join(sorted(parent.to_user_string() for parent in node.parent_keys))
        lines.append(f"{key.to_user_string()} [{node.group_name} v{node.code_version}] <- {above}")
    text = "\n".join(line.rstrip() for line in lines) + "\n"
    golden = Path(__file__).parents[1] / "golden" / "asset_graph.txt"
    assert text == golden.read_text(), text


def test_the_job_for_everything_holds_every_asset_and_check(tmp_path: Path) -> None:
    defs = build_defs(repo=tmp_path, out=tmp_path)
    job = defs.resolve_job_def(EVERYTHING)
    graph = defs.resolve_asset_graph()
    assert job.asset_layer.executable_asset_keys == graph.get_all_asset_keys()
    assert len(job.asset_layer.asset_graph.asset_check_keys) == 7


def test_real_beads_config_and_universe_beside_archives(
    shared_data: Path, workspace: Path, tmp_path: Path
) -> None:
    repo = tmp_path / "mixed"
    shutil.copytree(workspace, repo)
    for name in (".beads", "universes"):
        shutil.rmtree(repo / name)
        shutil.copytree(shared_data / "cyntra" / name, repo / name)
    shutil.copyfile(shared_data / "cyntra/.cyntra/config.yaml", repo / ".cyntra" / "config.yaml")
    out = tmp_path / "out"
    materialize(repo, out, epochs=3, instance=dg.DagsterInstance.ephemeral())
    sources = {
        s["source"]: s for s in json.loads((out / "dataset/meta.json").read_bytes())["sources"]
    }
    assert sources["issues"]["accepted"] == 14
    assert sources["config"]["accepted"] == sources["universes"]["accepted"] == 1
    for example in examples_of(out):
        read_document(example.planner_input, PlannerInput)


def _checked(examples: list[Example]) -> dict[str, bool]:
    from planner_pipeline.dataset.shards import examples_table
    from planner_pipeline.defs import checks

    table = examples_table(examples)
    of_examples = (
        checks.every_input_keeps_its_contract,
        checks.no_example_sees_its_future,
        checks.splits_are_in_time_order,
    )
    return {check.check_key.name: check(table).passed for check in of_examples}  # type: ignore[operator]


def test_the_checks_of_examples_fail_on_what_they_are_named_for(built: Path) -> None:
    import msgspec

    examples = examples_of(built)
    assert set(_checked(examples).values()) == {True}
    late = json.loads(json.dumps(examples[-1].planner_input))
    late["history"]["last_n_similar_runs"][0]["ended_ms"] = examples[-1].decided_ms + 1
    broken = json.loads(json.dumps(examples[-1].planner_input))
    broken["issue"]["dk_risk"] = "extreme"
    for change, failed in (
        ({"planner_input": late}, "no_example_sees_its_future"),
        ({"planner_input": broken}, "every_input_keeps_its_contract"),
        ({"split": "train"}, "splits_are_in_time_order"),
    ):
        planted = [*examples[:-1], msgspec.structs.replace(examples[-1], **change)]
        assert [name for name, passed in _checked(planted).items() if not passed] == [failed]


def test_a_source_that_loses_something_fails_its_check() -> None:
    from planner_pipeline.defs.checks import everything_found_is_accounted_for
    from planner_pipeline.sources.files import SourceCount
    from planner_pipeline.sources.workspace import SourceReport

    for lost, passed in ((0, True), (1, False)):
        count = SourceCount(source="archives", discovered=5, accepted=4 - lost, quarantined=1)
        report = SourceReport(counts=(count,), has_default_config=False)
        assert everything_found_is_accounted_for(report).passed is passed  # type: ignore[operator]
