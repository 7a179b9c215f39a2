"""``report.html`` for people and ``report.json`` for programs.

Belongs here: gathering what a run is worth telling. Does not: computing it, or the page's text
(``report.html.jinja``).
"""

from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from planner_pipeline.artifacts import write_bytes
from planner_pipeline.dataset.drift import DriftReport
from planner_pipeline.dataset.examples import Example
from planner_pipeline.dataset.feasibility import Feasibility
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.evaluation.bootstrap import Interval
from planner_pipeline.evaluation.diagnostics import Diagnostics, Evaluation
from planner_pipeline.evaluation.frontier import WhatIf
from planner_pipeline.evaluation.plots import coverage_plot, losses_plot, reliability_plot
from planner_pipeline.evaluation.predictions import MODEL
from planner_pipeline.experiments.ablation_table import AblationTable, Shipping
from planner_pipeline.release.explain import three_to_explain
from planner_pipeline.release.pages import page_environment
from planner_pipeline.release.what_if import render_what_if, what_if_document
from planner_pipeline.training.fit import TrainingRecord
from planner_runtime.actions import HEADS
from planner_runtime.calibration import Calibration
from planner_runtime.contracts.bundle_manifest import BundleManifest
from planner_runtime.planner import Planner

PREDICTOR_NAMES: Final = {
    "model": "the model",
    "served": "what is served (model, or heuristic where it abstains)",
    "heuristic": "heuristic (the kernel's own rules)",
    "prior": "prior (most frequent action of a job type)",
    "logreg": "logistic regression",
}
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
    shipping: Shipping
    ablations: AblationTable | None = None
    what_if: WhatIf | None = None


def headline_metrics(evaluation: Evaluation) -> dict[str, float]:
    """The numbers a table of runs shows, from the test split; an absent one is left out."""
    metrics: dict[str, float | None] = {}
    for who, told in evaluation.test.predictors.items():
        metrics[f"test_exact_match_{who}"] = _value(told.exact_match)
        if told.reliability is not None:
            metrics[f"test_nll_{who}"] = _value(told.reliability.nll)
    model = evaluation.test.predictors.get(MODEL)
    if model is not None and model.reliability is not None:
        metrics["test_ece"] = _value(model.reliability.ece)
        metrics["test_brier"] = _value(model.reliability.brier)
        metrics["test_aurc"] = _value(model.reliability.aurc)
        metrics["test_augrc"] = _value(model.reliability.augrc)
        metrics["test_model_minus_heuristic"] = _value(model.minus_heuristic)
    return {name: value for name, value in metrics.items() if value is not None}


def _value(figure: Interval | None) -> float | None:
    return None if figure is None else figure.value


def verdict(test: Diagnostics, n_labels: int) -> str:
    """What the test split says of the model beside the heuristic and the simplest models.

    Args:
        n_labels: Different actions among the executed plans.
    """
    if n_labels == 1:
        return "Every executed plan was the same action: there is nothing to tell apart."
    model = test.predictors.get(MODEL)
    gap = None if model is None else model.minus_heuristic
    if gap is None:
        return (
            f"Nothing can be said of the model: the test split has {test.n} examples, of fewer "
            "than two issues or of one action alone."
        )
    figure = f"{gap.value:+.3f} ({gap.low:+.3f} to {gap.high:+.3f}, n={gap.n})"
    if gap.high < 0:
        told = f"The heuristic repeats the executed plans better than the model: {figure}."
    elif gap.low > 0:
        told = f"The model repeats the executed plans better than the heuristic: {figure}."
    else:
        told = f"Model and heuristic cannot be told apart on executed plans: {figure}."
    return " ".join([told, *_as_good(test)])


def _as_good(test: Diagnostics) -> list[str]:
    """A sentence where a simpler model does as well by the interval of its own."""
    mine = test.predictors[MODEL].exact_match
    simpler = [
        name
        for name in ("prior", "logreg")
        if (told := test.predictors.get(name)) is not None
        and (theirs := told.exact_match) is not None
        and mine is not None
        and theirs.high >= mine.value
    ]
    if not simpler:
        return []
    names = " and ".join(PREDICTOR_NAMES[name] for name in simpler)
    return [f"A simple baseline is as good here, by its own interval: {names}."]


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
    model = test.predictors.get(MODEL)
    held = None if model is None else model.reliability
    if (
        held is not None
        and held.ece is not None
        and held.ece_null is not None
        and held.ece.value > held.ece_null.p95
    ):
        notes.append(
            f"The confidences do not hold on the test split: their calibration error is "
            f"{held.ece.value:.3f}, and would stay below {held.ece_null.p95:.3f} if they did. "
            "The temperatures were fitted on an earlier and small validation split."
        )
    risk, promise = inputs.calibration.risk, test.promise
    if inputs.calibration.always_abstains and risk is not None:
        notes.append(
            f"The planner will not follow this model at all: on {risk.n} rows kept for it, no "
            f"confidence could be promised to be worse than the default in at most "
            f"{risk.target:.0%} of decisions. The baseline answers, and says so."
        )
    elif (
        risk is not None
        and promise is not None
        and promise.worse_ratio is not None
        and promise.worse_ratio > risk.target
    ):
        notes.append(
            f"The promise did not hold on the test split: {promise.n_worse} of "
            f"{promise.n_followed} followed decisions were worse than the default, "
            f"{promise.worse_ratio:.0%} where {risk.target:.0%} were promised. Times changed, or "
            "it was the bad luck that was allowed for."
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
    planner = Planner.open(folder / "bundle", deadline_ms=None)
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
            "ablations": inputs.ablations,
            "shipping": inputs.shipping,
            "bundle": {
                "bundle_id": inputs.manifest.bundle_id,
                "data_until": inputs.manifest.data_until,
                "versions": inputs.manifest.versions,
            },
            "decisions": three_to_explain(_newest_tests(inputs.dataset), planner),
        }
    )
    if inputs.what_if is not None:
        document["what_if"] = what_if_document(inputs.what_if)
    return document


def _newest_tests(dataset: Dataset) -> list[Example]:
    tests = dataset.rows("test")
    if not tests.height:
        tests = dataset.index.tail(3)
    return list(dataset.examples_of(tests.tail(MAX_TESTS_SHOWN)))


def _page(document: dict[str, Any], inputs: ReportInputs) -> str:
    template = page_environment().get_template("report.html.jinja")
    test = inputs.evaluation.test
    model = test.predictors.get(MODEL)
    held = None if model is None else model.reliability
    return template.render(
        report=document,
        what_if=None if inputs.what_if is None else render_what_if(inputs.what_if),
        quarantine=inputs.quarantine.head(MAX_QUARANTINE_ROWS).to_dicts(),
        n_quarantine=inputs.quarantine.height,
        predictor_names=PREDICTOR_NAMES,
        reliability_svg=None if held is None else reliability_plot(held.bins),
        coverage_svg=None if held is None else coverage_plot(_curves(test)),
        losses_svg=losses_plot(
            [epoch.train_loss for epoch in inputs.training.epochs],
            [epoch.val_nll for epoch in inputs.training.epochs],
            best_epoch=inputs.training.best_epoch,
        )
        if inputs.training.epochs
        else None,
    )


def _curves(test: Diagnostics) -> dict[str, tuple[tuple[float, float], ...]]:
    return {
        PREDICTOR_NAMES[name]: told.reliability.curve
        for name, told in test.predictors.items()
        if told.reliability is not None
    }


def write_report(folder: Path, inputs: ReportInputs) -> dict[str, Any]:
    """Write both reports and return ``report.json``."""
    document = report_document(folder, inputs)
    write_bytes(
        msgspec.json.format(msgspec.json.encode(document), indent=2), folder / "report.json"
    )
    write_bytes(_page(document, inputs).encode(), folder / "report.html")
    return document
