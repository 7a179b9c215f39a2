"""The report with a what-if section, and without one."""

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from planner_pipeline.dataset.drift import DriftReport
from planner_pipeline.dataset.feasibility import Feasibility
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.evaluation.bootstrap import Interval
from planner_pipeline.evaluation.diagnostics import Evaluation
from planner_pipeline.evaluation.frontier import FrontierPoint, WhatIf
from planner_pipeline.experiments.shipping import shipping_of
from planner_pipeline.release.report import ReportInputs, write_report
from planner_pipeline.release.what_if import render_what_if, what_if_document
from planner_pipeline.training.fit import TrainingRecord
from planner_runtime.calibration import Calibration
from planner_runtime.contracts import BundleManifest, read_document
from planner_runtime.objective import Objective


def a_what_if() -> WhatIf:
    figure = Interval(value=0.5, low=0.4, high=0.6, n=9, n_issues=3)
    point = FrontierPoint(
        name="baseline", kind="baseline", pass_rate=figure, minutes=figure, usd=None,
        utility=figure, gain=None, differs=0.0,
    )  # fmt: skip
    return WhatIf(
        source="model", objective=msgspec.to_builtins(Objective()), n_cases=9, n_issues=3,
        points=(point,), differences=(), n_differences=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def inputs(built: Path) -> ReportInputs:
    def record(name: str, kind: Any) -> Any:
        return msgspec.json.decode((built / "assets" / f"{name}.json").read_bytes(), type=kind)

    return ReportInputs(
        dataset=Dataset(built / "dataset"),
        feasibility=record("feasibility", Feasibility),
        drift=record("drift", DriftReport),
        has_default_config=False,
        is_simulated=True,
        quarantine=pl.read_parquet(built / "assets" / "quarantine.parquet"),
        training=record("training_record", TrainingRecord),
        calibration=record("calibration", Calibration),
        evaluation=record("diagnostics", Evaluation),
        manifest=read_document((built / "bundle" / "manifest.json").read_bytes(), BundleManifest),
        shipping=shipping_of(built),
    )


@pytest.fixture
def folder(built: Path, tmp_path: Path) -> Path:
    shutil.copytree(built / "bundle", tmp_path / "bundle")
    return tmp_path


def test_a_report_without_one_has_no_trace_of_the_what_if_section(
    inputs: ReportInputs, folder: Path
) -> None:
    document = write_report(folder, inputs)
    page = (folder / "report.html").read_text()
    assert "what-if" not in page
    assert "prefers-color-scheme" not in page
    assert "what_if" not in document
    assert "what_if" not in json.loads((folder / "report.json").read_bytes())


def test_a_report_with_one_shows_links_and_carries_it(inputs: ReportInputs, folder: Path) -> None:
    what_if = a_what_if()
    before = write_report(folder, inputs)
    write_report(folder, msgspec.structs.replace(inputs, what_if=what_if))
    page = (folder / "report.html").read_text()
    assert render_what_if(what_if) in page
    assert '<a href="#what-if">' in page
    assert page.index("<h2>Ablations</h2>") < page.index('id="what-if"')
    written = json.loads((folder / "report.json").read_bytes())
    told = json.loads(msgspec.json.encode(what_if_document(what_if)))
    assert written.pop("what_if") == told
    assert written == json.loads(msgspec.json.encode(before))
