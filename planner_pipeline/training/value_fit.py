"""An outcome model for new issues: what others' issues and one's own past tell of every action.

Belongs here: records that leave a decision's own issue out, fitting on them, expected outcomes.
Does not: data (``experiments.bench_value``, ``trial_outcomes``), networks (``outcome_fit``), what
is served (``outcome_model``, which is about new toolchains or about a workspace in its own order).
Spec: sections 7.4 and 9.1. Shapes: N tries, G decisions, S asked rows, R rows of an ensemble.

A bench asks about issues in no order of time, so its records are made by issue: all tries at other
issues, whenever they were, and those at the own issue that had ended when the question was asked.
While fitting, issues are left out in ``N_FOLDS`` groups, so that a record of a training decision
rests on seven eighths of the others.
"""

import math
from typing import Final

import msgspec
import numpy as np
import torch
from scipy import special

from planner_pipeline.models.outcome import OUTPUTS, ActionOutcomes, AttemptNetworks
from planner_pipeline.training.outcome_calibration import fit_platt
from planner_pipeline.training.outcome_data import Decisions, Tries, records_as_of
from planner_pipeline.training.outcome_fit import Attempts, OutcomeConfig, fit_networks
from planner_pipeline.training.outcome_model import OutcomeData, features_of, outcomes_of
from planner_pipeline.training.track_record_fit import fit_track_record
from planner_runtime.outcomes.features import DOUBT, OFFSETS
from planner_runtime.outcomes.model import calibrated
from planner_runtime.outcomes.track_record import Priors, Record, TrackRecordState

N_FOLDS: Final = 8  # of issues; as many as there are where they are fewer
N_CALIBRATION_FOLDS: Final = 4
PARTS: Final = tuple((i + 0.5) / 7 for i in range(7))  # middles of equally likely parts
PACES: Final = (1 / 6, 1 / 2, 5 / 6)
INDEPENDENT: Final = math.log(1e5)  # a concentration at which tries share nothing more


class FittedValue(msgspec.Struct, frozen=True):
    """An outcome model that can be asked about new issues.

    Attributes:
        state: The track record of all tries it was fitted on.
        slope, bias: Of the calibration on the log-odds of passing; 1 and 0 without any.
    """

    model: AttemptNetworks
    log_kappa: float
    knows_cost: bool
    state: TrackRecordState
    slope: float = 1.0
    bias: float = 0.0


def issue_folds(issues: np.ndarray, n_folds: int, seed: int) -> np.ndarray:
    """(G,) a fold of every issue, drawn with ``seed``; as many as issues where they are fewer."""
    names, place = np.unique(issues.astype(str), return_inverse=True)
    fold = np.random.default_rng(seed).permutation(len(names)) % min(n_folds, len(names))
    folds: np.ndarray = fold[place]
    return folds


def _decisions(decisions: Decisions, rows: np.ndarray) -> Decisions:
    return Decisions(*(getattr(decisions, name)[rows] for name in Decisions.__struct_fields__))


def records_with(state: TrackRecordState, tries: Tries, decisions: Decisions) -> list[Record]:
    """(G,) records of decisions about issues that ``state`` has not met: what it tells, and the
    tries at each one's own issue that had ended by then.
    """
    found: dict[int, Record] = {}
    for issue in sorted(set(decisions.issue.tolist())):
        asked = np.flatnonzero(decisions.issue == issue)
        own = tries.choose(tries.issue == issue)
        records = records_as_of(own, _decisions(decisions, asked), state)
        found |= dict(zip(asked.tolist(), records, strict=True))
    return [found[row] for row in range(len(decisions))]


def records_of_others(
    tries: Tries, decisions: Decisions, priors: Priors, *, seed: int = 0
) -> list[Record]:
    """(G,) records of training decisions, each without the tries of its own fold of issues but
    those at its own issue that had ended.
    """
    fold = issue_folds(decisions.issue, N_FOLDS, seed)
    found: dict[int, Record] = {}
    for held in np.unique(fold).tolist():
        asked = np.flatnonzero(fold == held)
        out = np.isin(tries.issue.astype(str), decisions.issue[asked].astype(str))
        state = TrackRecordState(priors=priors)
        if not out.all():
            state = fit_track_record(tries.choose(~out).cells(), priors)
        records = records_with(state, tries, _decisions(decisions, asked))
        found |= dict(zip(asked.tolist(), records, strict=True))
    return [found[row] for row in range(len(decisions))]


def _attempts(data: OutcomeData, features: np.ndarray) -> Attempts:
    rows = np.flatnonzero(data.case >= 0)
    case, tries = data.case[rows], data.tries.choose(rows)
    _, issue = np.unique(data.decisions.issue.astype(str), return_inverse=True)
    return Attempts(
        features[case], data.choices[case], tries.passed, tries.timed_out, tries.minutes, tries.usd,
        case, issue[case], issue[case], np.ones(len(rows), dtype=np.float32),
    )  # fmt: skip


def choose_decisions(data: OutcomeData, keep: np.ndarray) -> OutcomeData:
    """The data of some decisions; tries at issues of none of them are left out as well.

    Args:
        keep: (G,) bool.
    """
    place = np.full(len(keep) + 1, -1)
    place[:-1][keep] = np.arange(int(keep.sum()))
    kept, dropped = (set(data.decisions.issue[mask].tolist()) for mask in (keep, ~keep))
    # history of issues that no decision is about is evidence of toolchains to all
    rows = np.array([issue in kept or issue not in dropped for issue in data.tries.issue])
    scored = keep[data.scored.decision]
    told = (getattr(data.scored, name)[scored] for name in ("candidates", "minutes", "ratio"))
    return OutcomeData(
        tries=data.tries.choose(rows),
        case=place[data.case[rows]],
        decisions=_decisions(data.decisions, keep),
        base=data.base[keep],
        choices=data.choices[keep],
        scored=type(data.scored)(place[data.scored.decision[scored]], *told),
        mode=data.mode,
    )


def fit_value(
    data: OutcomeData, config: OutcomeConfig, *, is_calibrated: bool = True
) -> FittedValue:
    """An outcome model of all of the data; calibrated on folds of issues that it did not see.

    Raises:
        ValueError: there is nothing to learn from.
    """
    state = fit_track_record(data.tries.cells())
    records = records_of_others(data.tries, data.decisions, state.priors, seed=config.seed)
    features = features_of(records, data.base)
    attempts = _attempts(data, features)
    model, record = fit_networks(attempts, config, offsets=OFFSETS, doubt=DOUBT)
    slope, bias = 1.0, 0.0
    if is_calibrated:
        slope, bias = _calibration(data, features, attempts, config)
    return FittedValue(model, record.log_kappa, record.knows_cost, state, slope, bias)


def _calibration(
    data: OutcomeData, features: np.ndarray, attempts: Attempts, config: OutcomeConfig
) -> tuple[float, float]:
    """Platt's line on the scored rows; the identity where no fold can be held out."""
    fold = issue_folds(data.decisions.issue, N_CALIBRATION_FOLDS, config.seed)
    scored = data.scored
    raw = np.full(len(scored.ratio), np.nan)
    for held in np.unique(fold).tolist():
        asked = fold[scored.decision] == held
        train = attempts.choose(fold[attempts.case] != held)
        if not asked.any() or not len(train):
            continue
        apart, record = fit_networks(train, config, offsets=OFFSETS, doubt=DOUBT)
        rows = scored.decision[asked]
        raw[asked] = outcomes_of(
            apart, record.log_kappa, features[rows], data.choices[rows],
            scored.candidates[asked], scored.minutes[asked],
        )["p_pass"].mean(axis=0)  # fmt: skip
    known = np.isfinite(raw)
    if not known.any():
        return 1.0, 0.0
    counts = np.bincount(scored.decision[known], minlength=len(data.decisions))
    return fit_platt(raw[known], scored.ratio[known], 1 / counts[scored.decision[known]])


def expected_of(
    fitted: FittedValue, features: np.ndarray, numbers: np.ndarray
) -> dict[str, np.ndarray]:
    """Outcomes of rows of features under one action each, by name: (R, S), calibrated.

    Args:
        features: (S, F), records first.
        numbers: (S, 2 + C) of the actions: candidates, minutes, then the other choices.
    """
    told = outcomes_of(
        fitted.model, fitted.log_kappa, features, numbers[:, 2:], numbers[:, 0], numbers[:, 1],
        knows_cost=fitted.knows_cost,
    )  # fmt: skip
    told["p_pass"] = calibrated(told["p_pass"], fitted.slope, fitted.bias)
    return told


def outcomes_by_case(
    fitted: FittedValue, features: np.ndarray, numbers: np.ndarray
) -> dict[str, np.ndarray]:
    """Outcomes as of one case each, by name: (R x 21, S), with what cases alike differ by.

    ``expected_of`` is uncertain of the mean over cases with such features. A bench asks about one
    case, and tries of one case resemble each other: every row of the ensemble is split in seven
    equally likely chances to pass (middles of the parts of the Beta distribution, their mean kept)
    and three equally likely paces, by the share of the variance of log minutes that lies between
    pairs of a toolchain and an issue. Given both, tries are independent.

    Args:
        features, numbers: As of ``expected_of``.
    """
    priors = fitted.state.priors
    shared = priors.minutes_pair / (priors.minutes_pair + priors.minutes_noise)
    kappa, levels, paces = math.exp(fitted.log_kappa), np.array(PARTS), np.array(PACES)
    with torch.no_grad():
        told = fitted.model(torch.tensor(features), torch.tensor(numbers[:, 2:])).double()
        rows = told.numpy()  # (R, S, P)
        z = fitted.slope * rows[..., 0] + fitted.bias
        mean = np.clip(1 / (1 + np.exp(-z)), 1e-4, 1 - 1e-4)
        chance = special.betaincinv(kappa * mean, kappa * (1 - mean), levels[:, None, None])
        chance = np.clip(chance, 1e-6, 1 - 1e-6)
        chance = np.clip(chance * mean / chance.mean(axis=0), 1e-6, 1 - 1e-6)  # the mean stays
        several = np.repeat(rows[None], len(levels) * len(paces), axis=0)  # (21, R, S, P)
        several[..., 0] = np.repeat(np.log(chance / (1 - chance)), len(paces), axis=0)
        pace = np.tile(special.ndtri(paces), len(levels))[:, None, None] * math.sqrt(shared)
        for place in (1, 3):
            several[..., place] += pace * np.exp(np.clip(rows[..., place + 1], -2.0, 1.0))
            several[..., place + 1] += 0.5 * math.log(1 - shared)
        layer = ActionOutcomes(INDEPENDENT, knows_cost=fitted.knows_cost)
        outputs = layer(
            torch.tensor(several.reshape(-1, *rows.shape[1:]), dtype=torch.float32),
            torch.tensor(numbers[:, 0], dtype=torch.float32),
            torch.tensor(numbers[:, 1], dtype=torch.float32),
        )
    return {name: out.double().numpy() for name, out in zip(OUTPUTS, outputs, strict=True)}
