"""The whole outcome model: priors, records, ensemble, calibration, from tries to what is shipped.

Belongs here: the order of those steps, cross-fitting. Does not: each step (``track_record_fit``,
``outcome_data``, ``outcome_fit``, ``outcome_trees``, ``outcome_calibration``), export, policies.
Spec: section 7.4. Shapes: N tries, G decisions, S scored rows, F features.
"""

from collections.abc import Sequence
from typing import Final, Literal

import msgspec
import numpy as np
import torch

from planner_pipeline.models.outcome import OUTPUTS, ActionOutcomes, AttemptModel
from planner_pipeline.training.novelty import Novelty, fit_novelty
from planner_pipeline.training.outcome_calibration import fit_knots, fit_platt
from planner_pipeline.training.outcome_data import (
    Decisions,
    Tries,
    records_apart,
    records_as_of,
)
from planner_pipeline.training.outcome_fit import (
    Attempts,
    OutcomeConfig,
    OutcomeRecord,
    fit_networks,
)
from planner_pipeline.training.outcome_trees import fit_trees
from planner_pipeline.training.track_record_fit import fit_track_record
from planner_runtime.outcomes.features import DOUBT, OFFSETS, RECORD_FEATURES, record_features
from planner_runtime.outcomes.model import calibrated
from planner_runtime.outcomes.track_record import Record, TrackRecordState

Mode = Literal["as_of", "apart", "both"]
N_FOLDS: Final = 5


class Scored(msgspec.Struct, frozen=True):
    """What came of actions that can be scored, to calibrate on. S rows.

    Attributes:
        decision: (S,) int64.
        candidates, minutes: (S,) float32 of the action.
        ratio: (S,) share of its tries that passed within the limit.
    """

    decision: np.ndarray
    candidates: np.ndarray
    minutes: np.ndarray
    ratio: np.ndarray


class OutcomeData(msgspec.Struct, frozen=True):
    """Everything to learn an outcome model from.

    Attributes:
        tries: N.
        case: (N,) int64, the decision a try belongs to; -1 for tries that are history alone.
        decisions: G.
        base: (G, F0) float32 features of the decisions without records.
        choices: (G, C) float32 of the actions that were executed.
        scored: Rows to calibrate on.
        mode: How a decision's record is made; "both" learns from each decision once with either,
            for half, since a planner meets issues that others have tried and issues that nobody
            has.
    """

    tries: Tries
    case: np.ndarray
    decisions: Decisions
    base: np.ndarray
    choices: np.ndarray
    scored: Scored
    mode: Mode


class FittedOutcomes(msgspec.Struct, frozen=True):
    """What is shipped, but for its form.

    Attributes:
        state: The track record that decisions start from.
        pass_slope, pass_bias, pass_knots: Of the calibration.
        novelty: Of the training decisions.
        held_out: (S,) calibrated chances of the scored rows, from fits without their fold.
    """

    model: AttemptModel
    record: OutcomeRecord
    state: TrackRecordState
    pass_slope: float
    pass_bias: float
    pass_knots: tuple[tuple[float, float], ...]
    novelty: Novelty
    held_out: np.ndarray


def features_of(records: Sequence[Record], base: np.ndarray) -> np.ndarray:
    """(G, F) float32: records first, then the decision's own features."""
    told = [record_features(record) for record in records]
    record = np.array(told, dtype=np.float32).reshape(len(told), len(RECORD_FEATURES))
    return np.concatenate([record, base.astype(np.float32)], axis=1)


def training_records(data: OutcomeData, state: TrackRecordState) -> list[list[Record]]:
    """(V, G) records of every decision that know nothing of its own tries, in one view or two."""
    views = []
    if data.mode != "as_of":
        views.append(records_apart(data.tries, data.decisions, priors=state.priors))
    if data.mode != "apart":
        start = TrackRecordState(priors=state.priors)
        views.append(records_as_of(data.tries, data.decisions, start))
    return views


def blocks_of(data: OutcomeData) -> np.ndarray:
    """(G,) what is held out together: toolchains where records are made apart, else issues."""
    names = data.decisions.issue if data.mode == "as_of" else data.decisions.toolchain
    _, block = np.unique(names.astype(str), return_inverse=True)
    return block


def _attempts(data: OutcomeData, features: np.ndarray, block: np.ndarray) -> Attempts:
    """Tries of the decisions in every view.

    Args:
        features: (V x G, F), view after view.
    """
    rows = np.flatnonzero(data.case >= 0)
    n, n_views = len(data.decisions), len(features) // max(1, len(data.decisions))
    case = data.case[rows]
    tries = data.tries.choose(rows)
    _, issue = np.unique(data.decisions.issue.astype(str), return_inverse=True)
    one = Attempts(
        features[case], data.choices[case], tries.passed, tries.timed_out, tries.minutes, tries.usd,
        case, issue[case], block[case], np.full(len(rows), 1 / n_views, dtype=np.float32),
    )  # fmt: skip
    views = [
        msgspec.structs.replace(one, features=features[view * n + case]) for view in range(n_views)
    ]
    columns = ([getattr(v, name) for v in views] for name in Attempts.__struct_fields__)
    return Attempts(*(np.concatenate(column) for column in columns))


def outcomes_of(
    model: AttemptModel,
    log_kappa: float,
    features: np.ndarray,
    choices: np.ndarray,
    candidates: np.ndarray,
    minutes: np.ndarray,
    *,
    knows_cost: bool = False,
) -> dict[str, np.ndarray]:
    """Outcomes of a row of features under one action each: (R, S) by name, not yet calibrated."""
    layer = ActionOutcomes(log_kappa, knows_cost=knows_cost)
    with torch.no_grad():
        parameters = model(torch.tensor(features), torch.tensor(choices))
        told = layer(
            parameters,
            torch.tensor(candidates, dtype=torch.float32),
            torch.tensor(minutes, dtype=torch.float32),
        )
    return {name: values.double().numpy() for name, values in zip(OUTPUTS, told, strict=True)}


def _fold_of(block: np.ndarray, seed: int) -> np.ndarray:
    """(G,) a fold of every block, ``N_FOLDS`` at most."""
    n = int(block.max()) + 1
    fold = np.random.default_rng(seed).permutation(n) % min(N_FOLDS, n)
    folds: np.ndarray = fold[block]
    return folds


def _fit(attempts: Attempts, config: OutcomeConfig) -> tuple[AttemptModel, OutcomeRecord]:
    if config.kind == "trees":
        return fit_trees(attempts, config, offsets=OFFSETS, doubt=DOUBT)
    return fit_networks(attempts, config, offsets=OFFSETS, doubt=DOUBT)


def fit_outcomes(data: OutcomeData, config: OutcomeConfig) -> FittedOutcomes:
    """An outcome model on all of the data, calibrated on folds that it did not see.

    Raises:
        ValueError: there is nothing to learn from.
    """
    state = fit_track_record(data.tries.cells())
    views = [features_of(records, data.base) for records in training_records(data, state)]
    features = np.concatenate(views)  # (V x G, F)
    block = blocks_of(data)
    attempts = _attempts(data, features, block)
    model, record = _fit(attempts, config)
    fold, n = _fold_of(block, config.seed), len(data.decisions)
    scored = data.scored
    raw = np.full((len(views), len(scored.ratio)), np.nan)
    for held in np.unique(fold).tolist():
        asked = fold[scored.decision] == held
        train = attempts.choose(fold[attempts.case] != held)
        if not asked.any() or not len(train):
            continue
        apart, apart_record = _fit(train, config)
        rows = scored.decision[asked]
        for view in range(len(views)):
            raw[view, asked] = outcomes_of(
                apart, apart_record.log_kappa, features[view * n + rows], data.choices[rows],
                scored.candidates[asked], scored.minutes[asked],
            )["p_pass"].mean(axis=0)  # fmt: skip
    known = np.isfinite(raw[0])
    slope, bias = 1.0, 0.0
    knots: tuple[tuple[float, float], ...] = ()
    if known.any():
        counts = np.bincount(scored.decision[known], minlength=n) * len(views)
        weight = np.tile(1 / counts[scored.decision[known]], len(views))
        told, ratio = raw[:, known].ravel(), np.tile(scored.ratio[known], len(views))
        slope, bias = fit_platt(told, ratio, weight)
        once = calibrated(told, slope, bias)
        knots = fit_knots(once, ratio, weight, int((counts > 0).sum()))
    return FittedOutcomes(
        model=model,
        record=record,
        state=state,
        pass_slope=slope,
        pass_bias=bias,
        pass_knots=knots,
        novelty=fit_novelty(features, np.tile(block, len(views)), seed=config.seed),
        held_out=calibrated(raw.mean(axis=0), slope, bias, knots),
    )
