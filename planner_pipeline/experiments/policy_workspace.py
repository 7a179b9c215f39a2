"""A workspace's value policy: fitted on its earlier decisions, asked about its later ones.

Belongs here: which decisions learn and which are asked, what an outcome bundle would do in the
latter, the what-if page's data. Does not: fitting (``training``), the policy (``planner_runtime``).
Spec: sections 5.3, 7.4 and 8. Shapes: N decisions asked, A actions.

A later decision knows every run that had ended when it was made. Its outcome is that of the action
that ran; of all other actions there is the model's own estimate, unless a bench tried them.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.examples import read_action
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.evaluation.frontier import (
    Difference,
    Expected,
    Kind,
    WhatIf,
    expected_points,
)
from planner_pipeline.evaluation.reliability import (
    equal_width_bins,
    expected_calibration_error,
    null_level,
)
from planner_pipeline.parts import Parts
from planner_pipeline.tables import RUNS, polars_schema
from planner_pipeline.training.outcome_data import Decisions, records_as_of, tries_of_runs
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import FittedOutcomes, fit_outcomes
from planner_pipeline.training.outcome_workspace import (
    RUN_COLUMNS,
    WorkspaceOutcomes,
    outcome_runs,
    workspace_outcomes,
)
from planner_runtime.action_set import cyntra_actions
from planner_runtime.actions import Action, ActionSpace
from planner_runtime.bundle import Bundle
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document, to_document
from planner_runtime.decision import Decision
from planner_runtime.kernel.running_record import with_record
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.outcome_planner import toolchain_of
from planner_runtime.outcomes.features import action_numbers, outcome_features
from planner_runtime.outcomes.model import OutcomeModel, outlook_of
from planner_runtime.outcomes.track_record import Record, TrackRecord
from planner_runtime.planner import Planner, load_bundle

N_SHOWN: Final = 200
CODE: Final = "code"


class AskedDecision(msgspec.Struct, frozen=True):
    """One later decision: its question, with the record it could have had."""

    example_id: str
    issue_id: str
    job_type: str
    question: dict[str, Any]
    record: Record


def fit_workspace(
    dataset: Dataset, runs: pl.DataFrame, config: OutcomeConfig
) -> tuple[FittedOutcomes, WorkspaceOutcomes]:
    """A model of the decisions of the training and validation roles.

    Raises:
        ValueError: no decision of theirs has an outcome.
    """
    rows = dataset.role_rows("train", "val")
    if not rows.height:
        raise ValueError("no labelled decision to learn outcomes from")
    newest = rows["decided_ms"].max()
    assert isinstance(newest, int)
    data = workspace_outcomes(dataset, runs, rows, until_ms=newest)
    if not len(data.data.decisions):
        raise ValueError("no labelled decision has a run with an outcome")
    return fit_outcomes(data.data, config), data


def later_decisions(
    dataset: Dataset, runs: pl.DataFrame, fitted: FittedOutcomes, config: KernelConfig
) -> list[AskedDecision]:
    """Decisions after those that the model was fitted on, each with the record as of then."""
    rows = dataset.role_rows("certify", "test").unique(
        "group_id", keep="first", maintain_order=True
    )
    if not rows.height:
        return []
    examples = list(dataset.examples_of(rows))
    questions = [read_document(example.planner_input, PlannerInput) for example in examples]
    told = outcome_runs(runs).filter(pl.col("ended_ms") > fitted.state.until_ms)
    decisions = Decisions(
        np.array([toolchain_of(question, config) for question in questions], dtype=object),
        np.array([question.issue.issue_id for question in questions], dtype=object),
        np.array([example.decided_ms for example in examples], dtype=np.int64),
    )
    if told.height:
        records = records_as_of(tries_of_runs(told), decisions, fitted.state)
    else:
        start = TrackRecord(fitted.state)
        records = [
            start.of(str(t), str(i))
            for t, i in zip(decisions.toolchain, decisions.issue, strict=True)
        ]
    return [
        AskedDecision(
            example.example_id,
            str(example.issue_id or ""),
            example.job_type,
            with_record(example.planner_input, record),
            record,
        )
        for example, record in zip(examples, records, strict=True)
    ]


def decide_later(planner: Planner, asked: Sequence[AskedDecision]) -> list[Decision]:
    """What the planner decides, at the moments of the questions."""
    return [planner.decide(one.question, now_ms=0) for one in asked]


def differences_of(
    asked: Sequence[AskedDecision], decisions: Sequence[Decision]
) -> list[Difference]:
    """Decisions whose preferred action is not the baseline, the largest expected gain first."""
    found = []
    for one, decision in zip(asked, decisions, strict=True):
        trace = decision.trace
        preferred = decision.model_choice
        if trace.expected is None or preferred is None or preferred == decision.baseline:
            continue
        mine, base = trace.expected.preferred, trace.expected.baseline
        if mine.utility is None or base.utility is None:
            continue
        binding = trace.binding
        found.append(
            Difference(
                case_id=one.example_id,
                issue_id=one.issue_id,
                baseline=" ".join(map(str, decision.baseline)),
                chosen=" ".join(map(str, preferred)),
                p_pass=mine.p_pass or 0.0,
                p_pass_baseline=base.p_pass or 0.0,
                minutes=mine.minutes,
                minutes_baseline=base.minutes,
                gain=mine.utility - base.utility,
                confidence=trace.confidence or 0.0,
                why=_why(decision),
                bound=None if binding is None else binding.bound,
            )
        )
    return sorted(found, key=lambda d: (-d.gain, d.case_id))


def _why(decision: Decision) -> str:
    """What a preferred action gains, and whether it was done."""
    expected = decision.trace.expected
    assert expected is not None
    mine, base = expected.preferred, expected.baseline
    words = []
    if mine.minutes is not None and base.minutes is not None:
        words.append(f"{base.minutes - mine.minutes:+.1f} agent-minutes saved")
    if mine.p_pass is not None and base.p_pass is not None:
        words.append(f"{mine.p_pass - base.p_pass:+.3f} chance to pass")
    reason = decision.trace.fallback_reason
    words.append("done" if reason is None else f"not done: {reason}")
    return ", ".join(words)


def _code_rows(space: ActionSpace) -> tuple[list[Action], tuple[str, ...]]:
    actions = cyntra_actions(space, CODE)
    return [Action(*row) for row in actions.rows], actions.names()  # type: ignore[arg-type]


def what_if_of(
    bundle: Bundle,
    model: OutcomeModel,
    asked: Sequence[AskedDecision],
    decisions: Sequence[Decision],
    imitation: Mapping[str, Action],
) -> WhatIf | None:
    """The what-if page's data from the model's own estimates; None without a decision about code.

    Args:
        imitation: By example id, what the imitation model chose.
    """
    assert bundle.outcome is not None
    parts = bundle.outcome
    rows, names = _code_rows(bundle.action_space)
    place = {action: i for i, action in enumerate(rows)}
    numbers = action_numbers(cyntra_actions(bundle.action_space, CODE))
    kept = [
        (one, decision)
        for one, decision in zip(asked, decisions, strict=True)
        if one.job_type == CODE and decision.baseline in place
    ]
    if not kept:
        return None
    p_pass, minutes, usd = [], [], []
    for one, _ in kept:
        question = read_document(one.question, PlannerInput)
        features = outcome_features(one.record, question)
        outlook = outlook_of(model.outcomes(features, numbers), parts.calibration)
        p_pass.append(outlook.p_pass.mean(axis=0))
        minutes.append(outlook.minutes.mean(axis=0))
        usd.append(outlook.cost_usd.mean(axis=0))
    issues = [one.issue_id for one, _ in kept]
    baseline = np.array([place[decision.baseline] for _, decision in kept])
    preferred = np.array(
        [
            place.get(decision.model_choice or decision.baseline, b)
            for (_, decision), b in zip(kept, baseline, strict=True)
        ]
    )
    policies: dict[str, tuple[Kind, np.ndarray]] = {"value policy": ("value", preferred)}
    if imitation:
        copied = [
            place.get(imitation.get(one.example_id, decision.baseline), int(b))
            for (one, decision), b in zip(kept, baseline, strict=True)
        ]
        policies["imitation"] = ("imitation", np.array(copied))
    weights = parts.policy.objective.weights
    differences = differences_of(asked, decisions)
    return WhatIf(
        source="model",
        objective=to_document(parts.policy.objective),
        n_cases=len(kept),
        n_issues=len(set(issues)),
        points=expected_points(
            Expected(np.array(p_pass), np.array(minutes), np.array(usd), issues),
            action_names=names,
            baseline=baseline,
            policies=policies,
            minute_weight=weights.minute,
            usd_weight=weights.usd,
        ),
        differences=tuple(differences[:N_SHOWN]),
        n_differences=len(differences),
        notes=NOTES,
    )


NOTES: Final = (
    "Every figure is what the outcome model itself expects of decisions after those it was fitted "
    "on; only a bench or exploration can check it.",
    "The value policy is shown as it would choose; while its promise is not certified, the "
    "kernel's own plan is served.",
    "A vote is assumed to find a passing candidate whenever there is one.",
)


def runs_of(folder: Path) -> pl.DataFrame:
    """The run table's columns that outcomes are learned from."""
    return Parts.load(folder).table(list(RUN_COLUMNS), polars_schema(RUNS))


def imitated(predictions: pl.DataFrame) -> dict[str, Action]:
    """By example id, the action of the imitation model."""
    rows = predictions.filter(predictor="model").select("example_id", "action").iter_rows()
    return {example_id: read_action(action) for example_id, action in rows}


def outcome_metrics(fitted: FittedOutcomes, workspace: WorkspaceOutcomes) -> dict[str, float]:
    """Figures of held-out chances under the names MLflow shows."""
    ratio = workspace.data.scored.ratio
    known = np.isfinite(fitted.held_out)
    p, told = fitted.held_out[known], ratio[known]
    if not len(p):
        return {"kappa": float(np.exp(fitted.record.log_kappa))}
    return {
        "kappa": float(np.exp(fitted.record.log_kappa)),
        "ece": expected_calibration_error(p, told),
        "ece_null": null_level(p, equal_width_bins(p), seed=0)[0],
        "brier": float(((p - told) ** 2).mean()),
        "brier_of_the_mean": float(told.var()),
    }


def what_if_of_bundle(
    folder: Path,
    fitted: FittedOutcomes,
    dataset: Dataset,
    runs: pl.DataFrame,
    config: KernelConfig,
    imitation: Mapping[str, Action],
) -> WhatIf:
    """The what-if page's data of a bundle on disk and the decisions it did not learn from."""
    bundle, model = load_bundle(folder)
    assert isinstance(model, OutcomeModel)
    asked = later_decisions(dataset, runs, fitted, config)
    decisions = decide_later(Planner(bundle, model, kernel_config=config, deadline_ms=None), asked)
    page = what_if_of(bundle, model, asked, decisions, imitation)
    if page is not None:
        return page
    assert bundle.outcome is not None
    return WhatIf(
        source="model", objective=to_document(bundle.outcome.policy.objective), n_cases=0,
        n_issues=0, points=(), differences=(), n_differences=0,
        notes=("No later decision about code is there to ask about.",),
    )  # fmt: skip
