"""A workspace's value policy: learned from earlier decisions, asked about later ones."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import msgspec
import polars as pl
import pytest

from planner_pipeline.cli import main
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.evaluation.frontier import WhatIf
from planner_pipeline.experiments.policy_workspace import (
    decide_later,
    fit_workspace,
    imitated,
    later_decisions,
    outcome_metrics,
    runs_of,
    what_if_of_bundle,
)
from planner_pipeline.materialize import assets_gone, materialize
from planner_pipeline.release.outcome_export import export_outcomes
from planner_pipeline.release.what_if import write_what_if
from planner_pipeline.release.workspace_bundle import write_workspace_bundle
from planner_pipeline.training.outcome_checkpoint import decode_outcomes, encode_outcomes
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.bundle import CALIBRATION, MODEL, TRACK_RECORD
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.objective import Objective, Weights
from planner_runtime.planner import Planner, load_bundle

SMALL = OutcomeConfig(members=2, epochs=10)
MINE = Objective(name="mine", weights=Weights(minute=0.05))


@pytest.fixture(scope="module")
def data(built: Path) -> tuple[Dataset, pl.DataFrame]:
    return Dataset(built / "dataset"), runs_of(built / "parts" / "run_summaries")


@pytest.fixture(scope="module")
def fitted(data: tuple[Dataset, pl.DataFrame]) -> FittedOutcomes:
    return fit_workspace(*data, SMALL)[0]


def write_bundle(folder: Path, fitted: FittedOutcomes, dataset: Dataset, goal: Objective) -> Path:
    write_workspace_bundle(
        folder, fitted, onnx_bytes=export_outcomes(fitted), checkpoint=encode_outcomes(fitted),
        objective=goal, kernel_config=SHIPPED_CONFIG, dataset=dataset, bench=folder / "none",
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def bundle(
    data: tuple[Dataset, pl.DataFrame], fitted: FittedOutcomes,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    folder = tmp_path_factory.mktemp("policy") / "outcome_bundle"
    return write_bundle(folder, decode_outcomes(encode_outcomes(fitted)), data[0], MINE)


@pytest.fixture(scope="module")
def page(
    built: Path, bundle: Path, data: tuple[Dataset, pl.DataFrame], fitted: FittedOutcomes
) -> WhatIf:
    predictions = pl.read_parquet(built / "assets" / "predictions.parquet")
    return what_if_of_bundle(bundle, fitted, *data, SHIPPED_CONFIG, imitated(predictions))


def test_runs_that_ended_after_the_last_learned_decision_are_not_learned_from(
    data: tuple[Dataset, pl.DataFrame], fitted: FittedOutcomes
) -> None:
    dataset, runs = data
    newest = dataset.role_rows("train", "val")["decided_ms"].max()
    assert isinstance(newest, int)
    assert 0 < fitted.state.until_ms <= newest
    later = pl.col("ended_ms") > newest
    turned = runs.with_columns(
        status=pl.when(later & pl.col("status").is_not_null())
        .then(pl.lit("failed"))
        .otherwise("status")
    )
    assert turned["status"].to_list() != runs["status"].to_list()
    again, _ = fit_workspace(dataset, turned, SMALL)
    assert encode_outcomes(again) == encode_outcomes(fitted)


def test_a_later_decision_knows_what_had_ended_and_nothing_later(
    data: tuple[Dataset, pl.DataFrame], fitted: FittedOutcomes
) -> None:
    dataset, runs = data
    asked = later_decisions(dataset, runs, fitted, SHIPPED_CONFIG)
    assert len(asked) > 10
    rows = dataset.role_rows("certify", "test").unique(
        "group_id", keep="first", maintain_order=True
    )
    assert [one.example_id for one in asked] == [e.example_id for e in dataset.examples_of(rows)]
    moments = [example.decided_ms for example in dataset.examples_of(rows)]
    middle = sorted(moments)[len(moments) // 2]
    known = runs.filter(pl.col("ended_ms") <= middle)
    before = later_decisions(dataset, known, fitted, SHIPPED_CONFIG)
    for moment, one, other in zip(moments, asked, before, strict=True):
        if moment <= middle:
            assert other.record == one.record
    assert before != asked


def test_the_bundle_serves_the_kernels_plan_until_something_is_certified(
    bundle: Path, data: tuple[Dataset, pl.DataFrame], fitted: FittedOutcomes
) -> None:
    opened, model = load_bundle(bundle)
    assert opened.outcome is not None
    assert opened.outcome.policy.objective == MINE
    assert opened.outcome.calibration.always_abstains
    assert "no promise" in opened.outcome.calibration.notes[0]
    asked = later_decisions(*data, fitted, SHIPPED_CONFIG)
    decisions = decide_later(
        Planner(opened, model, kernel_config=SHIPPED_CONFIG, deadline_ms=None), asked
    )
    for decision in decisions:
        assert decision.trace.expected is not None
        assert decision.model_choice == decision.baseline or decision.action.abstain_to_default


def test_the_page_is_of_the_models_own_estimates_and_has_every_policy(
    page: WhatIf, tmp_path: Path
) -> None:
    assert page.source == "model"
    assert page.n_cases > 5
    names = {point.name for point in page.points}
    assert {"baseline", "best fixed action", "value policy", "imitation"} <= names
    assert page.n_differences >= len(page.differences)
    gains = [difference.gain for difference in page.differences]
    assert gains == sorted(gains, reverse=True)
    assert all(d.chosen != d.baseline for d in page.differences)
    assert all("not done: " in d.why for d in page.differences)
    write_what_if(page, tmp_path)
    assert (tmp_path / "what_if.json").is_file()
    html = (tmp_path / "what_if.html").read_text()
    assert not re.search(
        r"\b(nan|None)\b", re.sub(r"<(style|script).*?</\1>", "", html, flags=re.S)
    )


def test_another_objective_is_another_bundle_of_the_same_model(
    bundle: Path, fitted: FittedOutcomes, data: tuple[Dataset, pl.DataFrame], tmp_path: Path
) -> None:
    other = write_bundle(tmp_path / "b", fitted, data[0], Objective(rule="constrained"))
    for name in (MODEL, TRACK_RECORD, CALIBRATION):
        assert (other / name).read_bytes() == (bundle / name).read_bytes(), name
    opened, _ = load_bundle(other)
    assert opened.outcome is not None
    assert opened.outcome.policy.objective.rule == "utility"  # priced at its minute


def test_metrics_are_of_chances_that_no_fit_saw(
    data: tuple[Dataset, pl.DataFrame],
) -> None:
    fitted, workspace = fit_workspace(*data, SMALL)
    metrics = outcome_metrics(fitted, workspace)
    assert set(metrics) == {"kappa", "ece", "ece_null", "brier", "brier_of_the_mean"}
    assert all(value >= 0 for value in metrics.values())
    bare = msgspec.structs.replace(fitted, held_out=fitted.held_out * float("nan"))
    assert set(outcome_metrics(bare, workspace)) == {"kappa"}


def test_plan_answers_with_an_outcome_bundle(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = (bundle / "golden.jsonl").read_text().splitlines()[-1]
    question = tmp_path / "question.json"
    question.write_text(json.dumps(json.loads(line)["planner_input"]))
    assert main(["plan", "--bundle", str(bundle), "--input", str(question)]) == 0
    assert (
        json.loads(capsys.readouterr().out)["model"]["checkpoint_id"]
        == json.loads((bundle / "manifest.json").read_bytes())["bundle_id"]
    )


def test_a_bad_objective_is_one_line_before_anything_is_made(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "o.yaml").write_text("weights: {minute: much}\n")
    arguments = ["policy", "--repo", str(workspace), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--objective", str(tmp_path / "o.yaml")]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def made(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """The whole way once, by Dagster."""
    out = tmp_path_factory.mktemp("made") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("DAGSTER_HOME", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        n_made = materialize(workspace, out, job="policy", epochs=3)
        yield out, str(n_made)


@pytest.mark.slow
def test_a_changed_objective_makes_the_bundle_and_its_page_again_and_never_the_model(
    workspace: Path, made: tuple[Path, str], tmp_path: Path
) -> None:
    out, _ = made
    not_of_it = {dg.AssetKey(name) for name in ("history_snapshot", "planner_bundle", "report")}
    assert assets_gone(out) == not_of_it
    assert materialize(workspace, out, job="policy", epochs=3) == 0
    model = (out / "assets" / "outcome_model.bin").stat().st_mtime_ns
    first = json.loads((out / "assets" / "outcome_bundle.json").read_bytes())["bundle_id"]
    path = tmp_path / "o.json"
    path.write_bytes(msgspec.json.encode(MINE))
    for n_made in (2, 0):
        assert materialize(workspace, out, job="policy", epochs=3, objective=str(path)) == n_made
    assert (out / "assets" / "outcome_model.bin").stat().st_mtime_ns == model
    opened, _ = load_bundle(out / "outcome_bundle")
    assert opened.outcome is not None
    assert opened.outcome.policy.objective == MINE
    assert opened.manifest.bundle_id != first
    shutil.rmtree(out / "outcome_bundle")
    assert materialize(workspace, out, job="policy", epochs=3, objective=str(path)) == 1
    assert load_bundle(out / "outcome_bundle")[0].manifest == opened.manifest


@pytest.mark.slow
def test_the_commands_leave_a_bundle_a_page_and_a_section_of_the_report(
    workspace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for name in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    out = tmp_path / "out"
    where = ["--repo", str(workspace), "--out", str(out)]
    (tmp_path / "o.json").write_bytes(msgspec.json.encode(MINE))
    objective = ["--objective", str(tmp_path / "o.json")]
    assert main(["policy", *where, *objective, "--report"]) == 0
    told = capsys.readouterr()
    line = json.loads(told.out)
    assert line["objective"] == "mine"
    assert told.err.count("model_checkpoint") == 1  # trained once
    for name in ("outcome_bundle/manifest.json", "what_if.html", "what_if.json", "report.html"):
        assert (out / name).is_file(), name
    assert "What if it were decided otherwise?" in (out / "report.html").read_text()
    assert main(["train", *where, "--arch", "outcome"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert again["n_cases"] == line["n_cases"]
    assert again["objective"] != "mine"  # that of the universe, as no file was named
