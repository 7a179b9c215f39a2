"""The whole way, from a workspace to a decision."""

import hashlib
import json
import os
import random
import shutil
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from planner_pipeline.dataset.examples import Example, count_leaks
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import altered_files, dataset_hash
from planner_pipeline.definitions import EVERYTHING, build_defs
from planner_pipeline.materialize import PipelineError, dataset_summary, materialize
from planner_pipeline.parts import DamagedPartError
from planner_runtime import Planner, verify_bundle
from planner_runtime.actions import is_valid_action
from planner_runtime.contracts import PlannerInput, read_document
from planner_runtime.planner import action_of
from tests.building import all_examples


def examples_of(out: Path) -> list[Example]:
    return all_examples(Dataset(out / "dataset"))


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
    planner = Planner.open(built / "bundle", deadline_ms=None)
    for example in examples_of(built):
        action = planner.plan(example.planner_input)
        assert is_valid_action(action_of(action), job_type=example.job_type)
        assert action.input_hash == example.input_hash
        assert (action.reason or "low_confidence").startswith(("low_confidence", "not_certified"))


def test_predictions_are_what_the_served_bundle_says(built: Path) -> None:
    planner = Planner.open(built / "bundle", deadline_ms=None)
    by_id = {e.example_id: e for e in examples_of(built)}
    predictions = pl.read_parquet(built / "assets" / "predictions.parquet")
    served = predictions.filter(predictor="served")
    model = predictions.filter(predictor="model").join(served, on="example_id", suffix="_served")
    assert model.height > 20
    for row in model.iter_rows(named=True):
        decision = planner.decide(by_id[row["example_id"]].planner_input)
        assert [str(choice) for choice in decision.model_choice or ()] == row["action"]
        assert decision.action.confidence == pytest.approx(row["confidence"], abs=1e-4)
        assert [str(choice) for choice in action_of(decision.action)] == row["action_served"]


def test_the_report_tells_what_was_and_was_not_read(built: Path) -> None:
    page = (built / "report.html").read_text()
    assert "This workspace is simulated" in page
    assert "wc-only-logs-20260105T090000Z" in page
    assert page.count('class="card"') == 3
    report = json.loads((built / "report.json").read_bytes())
    test = report["evaluation"]["test"]
    for who in ("model", "served", "heuristic", "prior", "logreg"):
        figure = test["predictors"][who]["exact_match"]
        assert figure["low"] <= figure["value"] <= figure["high"]


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
    assert Dataset(out / "dataset").meta.files == Dataset(built / "dataset").meta.files


def test_the_data_set_hash_sees_every_label_and_input(built: Path) -> None:
    index = Dataset(built / "dataset").index
    before = dataset_hash(index, {})
    assert dataset_hash(index.reverse(), {}) == before
    assert dataset_hash(index.head(-1), {}) != before
    assert dataset_hash(index, {"n_similar": 4}) != before
    for column in ("input_hash", "split", "max_minutes_bin"):
        assert dataset_hash(index.with_columns(pl.lit("x").alias(column)), {}) != before


def test_a_flipped_bit_in_a_shard_is_found(built: Path, tmp_path: Path) -> None:
    copy = tmp_path / "dataset"
    shutil.copytree(built / "dataset", copy)
    dataset = Dataset(copy)
    assert altered_files(copy, dataset.meta) == []
    shard = copy / dataset.meta.parts[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    assert altered_files(copy, dataset.meta) == [dataset.meta.parts[0]]
    with pytest.raises(DamagedPartError, match="not the bytes that were written"):
        all_examples(dataset)


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


def test_a_run_that_was_not_over_counts_as_a_leak(built: Path) -> None:
    example = next(e for e in reversed(examples_of(built)) if e.newest_seen_ms)
    at, group = example.decided_ms, example.group_id

    def count(**changes: object) -> int:
        document = json.loads(json.dumps(example.planner_input))
        document["history"]["last_n_similar_runs"][0] |= changes
        question = read_document(document, PlannerInput)
        return count_leaks(question, decided_ms=at, group_id=group)

    assert count() == 0
    assert count(ended_ms=at + 1) == count(ended_ms=None) == count(group_id=group) == 1
    assert count(started_ms=at) == 1


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


def test_the_job_for_everything_holds_every_asset_but_those_with_a_job_of_their_own(
    tmp_path: Path,
) -> None:
    defs = build_defs(repo=tmp_path, out=tmp_path)
    job = defs.resolve_job_def(EVERYTHING)
    graph = defs.resolve_asset_graph()
    apart = {
        key
        for key in graph.get_all_asset_keys()
        if graph.get(key).group_name in ("ablation", "bench", "policy")
    }
    assert len(apart) == 14
    assert job.asset_layer.executable_asset_keys == graph.get_all_asset_keys() - apart
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


def _check(check: object, *arguments: object) -> bool:
    passed: bool = check(*arguments).passed  # type: ignore[operator]
    return passed


def test_the_checks_of_the_data_set_fail_on_what_they_are_named_for(
    built: Path, tmp_path: Path
) -> None:
    from planner_pipeline.defs import checks
    from planner_pipeline.defs.resources import Settings

    out = tmp_path / "out"
    shutil.copytree(built / "dataset", out / "dataset")
    shutil.copytree(built / "parts", out / "parts")
    settings = Settings(repo="", out=str(out))
    meta = Dataset(out / "dataset").meta
    assert _check(checks.no_example_sees_its_future, settings)
    assert _check(checks.splits_are_in_time_order, meta, settings)
    assert _check(checks.files_are_what_the_manifest_says, meta, settings)
    manifest = out / "parts" / "examples" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"leaks":0', '"leaks":1', 1))
    assert not _check(checks.no_example_sees_its_future, settings)
    index = Dataset(out / "dataset").index
    path = out / "dataset" / "index.parquet"
    index.with_columns(split=index["split"].reverse()).write_parquet(path)
    assert not _check(checks.files_are_what_the_manifest_says, meta, settings)
    text = (out / "dataset" / "meta.json").read_text()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (out / "dataset" / "meta.json").write_text(text.replace(meta.files["index.parquet"], digest))
    assert not _check(checks.splits_are_in_time_order, meta, settings)


def test_a_source_that_loses_something_or_refuses_too_much_fails_its_check() -> None:
    from planner_pipeline.defs.checks import everything_found_is_accounted_for
    from planner_pipeline.defs.resources import Settings
    from planner_pipeline.sources.workspace import SourceReport, quarantine_table
    from planner_runtime.archives.files import SourceCount

    def check(tolerated: float = 0.01, **counts: int) -> bool:
        count = SourceCount(source="archives", **counts)
        report = SourceReport(counts=(count,), has_default_config=False, knows_git_history=False)
        settings = Settings(repo="", out="", max_quarantined=tolerated)
        nothing = quarantine_table([])
        return _check(everything_found_is_accounted_for, report, nothing, settings)

    assert check(discovered=500, accepted=300, quarantined=5, pending=45, unchanged=150)
    assert not check(discovered=500, accepted=299, quarantined=5, pending=45, unchanged=150)
    assert not check(discovered=500, accepted=494, quarantined=6)
    assert check(0.02, discovered=500, accepted=494, quarantined=6)
    assert check(discovered=5, accepted=4, quarantined=1)  # one accident in a small workspace
    assert not check(discovered=5, accepted=3, quarantined=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "decoding"),
    [("prior", None), ("logreg", "joint"), ("gbt", None), ("mlp", "autoregressive"),
     ("transformer", None)],
)  # fmt: skip
def test_a_bundle_of_any_architecture_answers_as_its_predictions(
    workspace: Path, tmp_path: Path, arch: str, decoding: str | None
) -> None:
    instance = dg.DagsterInstance.ephemeral()
    settings = {"arch": arch, "decoding": decoding, "epochs": 2}
    materialize(workspace, tmp_path, instance=instance, **settings)
    assert verify_bundle(tmp_path / "bundle") == []
    planner = Planner.open(tmp_path / "bundle", deadline_ms=None)
    by_id = {e.example_id: e for e in examples_of(tmp_path)}
    predictions = pl.read_parquet(tmp_path / "assets" / "predictions.parquet")
    for row in predictions.filter(predictor="model").iter_rows(named=True):
        decision = planner.decide(by_id[row["example_id"]].planner_input)
        assert [str(choice) for choice in decision.model_choice or ()] == row["action"]
        assert decision.action.confidence == pytest.approx(row["confidence"], abs=1e-4)


@pytest.mark.slow
def test_a_recurrent_model_is_trained_and_judged_but_not_shipped(
    workspace: Path, tmp_path: Path
) -> None:
    with pytest.raises(PipelineError, match="no bundle of a recurrent model"):
        materialize(
            workspace, tmp_path, instance=dg.DagsterInstance.ephemeral(), arch="recurrent", epochs=1
        )
    assert (tmp_path / "assets" / "diagnostics.json").is_file()
    assert not (tmp_path / "bundle").exists()
