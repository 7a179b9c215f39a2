"""``report.html`` for people and ``report.json`` for programs.

Belongs here: gathering what a run is worth telling. Does not: computing it, or the page's text
(``report.html.jinja``).
"""

from pathlib import Path
from typing import Any, Final

import jinja2
import msgspec
import polars as pl

from planner_pipeline.artifacts import write_bytes
from planner_pipeline.dataset.drift import DriftReport
from planner_pipeline.dataset.examples import Example
from planner_pipeline.dataset.feasibility import Feasibility
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.evaluation.diagnostics import Diagnostics, Evaluation
from planner_pipeline.evaluation.plots import losses_plot, reliability_plot
from planner_pipeline.release.explain import three_to_explain
from planner_pipeline.training.fit import TrainingRecord
from planner_runtime.actions import HEADS
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.bundle_manifest import BundleManifest
from planner_runtime.planner import Planner

TEMPLATE: Final = Path(__file__).with_name("report.html.jinja")
MAX_QUARANTINE_ROWS: Final = 50
MAX_TESTS_SHOWN: Final = 2_000  # newest, among which decisions to explain are chosen


class ReportInputs(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the report tells of."""

    dataset: Dataset
    feasibility: Feasibility
    drift: DriftReport
    has_default_config: bool
    is_simulated: bool
    quarantine: pl.DataFrame
    training: TrainingRecord
    calibration: Calibration
    evaluation: Evaluation
    manifest: BundleManifest


def headline_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The numbers a table of runs shows, from the test split; an absent one is left out."""
    test = evaluation.test
    metrics = {f"test_exact_match_{who}": f.value for who, f in test.exact_match.items()}
    metrics |= {f"test_nll_{who}": f.value for who, f in test.nll.items()}
    for name, figure in (
        ("test_ece", test.ece),
        ("test_brier", test.brier),
        ("test_model_minus_heuristic", test.model_minus_heuristic),
    ):
        if figure is not None:
            metrics[name] = figure.value
    return metrics


def verdict(test: Diagnostics, n_labels: int) -> str:
    """What the test split says of the model beside the heuristic, in one plain sentence.

    Args:
        n_labels: Different actions among the executed plans.
    """
    if n_labels == 1:
        return "Every executed plan was the same action: there is nothing to tell apart."
    gap = test.model_minus_heuristic
    if gap is None:
        return (
            f"Nothing can be said of the model: the test split has {test.n} examples, of fewer "
            "than two issues or of one action alone."
        )
    figure = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}, n={gap.n})"
    if gap.high < 0:
        return f"The heuristic repeats the executed plans better than the model: {figure}."
    if gap.low > 0:
        return f"The model repeats the executed plans better than the heuristic: {figure}."
    return f"Model and heuristic cannot be told apart on executed plans: {figure}."


def _n_labels(inputs: ReportInputs) -> int:
    return inputs.dataset.index.select(HEADS).unique().height


def _warnings(inputs: ReportInputs) -> list[str]:
    notes = []
    if inputs.is_simulated:
        notes.append(
            "This workspace is simulated. The figures show that the machinery works; they say "
            "nothing about real agents."
        )
    if inputs.has_default_config:
        notes.append(
            "No usable .cyntra/config.yaml was found: the heuristic used the shipped configuration."
        )
    if _n_labels(inputs) == 1:
        notes.append(
            "Full accuracy on a single action is no achievement. Learning to choose needs runs "
            "with different swarms or budgets."
        )
    if not inputs.dataset.index["n_similar"].sum():
        notes.append(
            "No decision sees any past run: for none of them is it known when it ended. Histories "
            "and attempt counts are therefore empty, not zero."
        )
    test = inputs.evaluation.test
    if test.ece is not None and test.ece_null is not None and test.ece.value > test.ece_null[1]:
        notes.append(
            f"The confidences do not hold on the test split: their calibration error is "
            f"{test.ece.value:.3f}, and would stay below {test.ece_null[1]:.3f} if they did. "
            "The temperatures were fitted on an earlier and small validation split."
        )
    if not inputs.feasibility.passed:
        notes.append(inputs.feasibility.verdict)
    if inputs.dataset.meta.mixes_epochs:
        notes.append(
            "The data set mixes settings epochs: "
            + ", ".join(
                f"{share.epoch.epoch} ({share.n_examples} examples)"
                for share in inputs.dataset.meta.epochs
                if share.n_examples
            )
            + ". Build with --epoch to keep them apart."
        )
    return notes


def report_document(folder: Path, inputs: ReportInputs) -> dict[str, Any]:
    """``report.json``: the page's content as data.

    Args:
        folder: The output directory, whose bundle answers the three decisions.
    """
    planner = Planner.open(folder / "bundle")
    document: dict[str, Any] = msgspec.to_builtins(
        {
            "schema_version": "cyntra.planner_report.v1",
            "warnings": _warnings(inputs),
            "verdict": verdict(inputs.evaluation.test, _n_labels(inputs)),
            "dataset": inputs.dataset.meta,
            "feasibility": inputs.feasibility,
            "drift": inputs.drift,
            "training": inputs.training,
            "calibration": inputs.calibration,
            "evaluation": inputs.evaluation,
            "bundle": {
                "bundle_id": inputs.manifest.bundle_id,
                "data_until": inputs.manifest.data_until,
                "versions": inputs.manifest.versions,
            },
            "decisions": three_to_explain(_newest_tests(inputs.dataset), planner),
        }
    )
    return document


def _newest_tests(dataset: Dataset) -> list[Example]:
    tests = dataset.rows("test")
    if not tests.height:
        tests = dataset.index.tail(3)
    return list(dataset.examples_of(tests.tail(MAX_TESTS_SHOWN)))


def _page(document: dict[str, Any], inputs: ReportInputs) -> str:
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    test = inputs.evaluation.test
    return template.render(
        report=document,
        quarantine=inputs.quarantine.head(MAX_QUARANTINE_ROWS).to_dicts(),
        n_quarantine=inputs.quarantine.height,
        reliability_svg=reliability_plot(test.reliability) if test.reliability else None,
        losses_svg=losses_plot(
            [epoch.train_loss for epoch in inputs.training.epochs],
            [epoch.val_loss for epoch in inputs.training.epochs],
            best_epoch=inputs.training.best_epoch,
        ),
    )


def write_report(folder: Path, inputs: ReportInputs) -> dict[str, Any]:
    """Write both reports and return ``report.json``."""
    document = report_document(folder, inputs)
    write_bytes(
        msgspec.json.format(msgspec.json.encode(document), indent=2), folder / "report.json"
    )
    write_bytes(_page(document, inputs).encode(), folder / "report.html")
    return document
