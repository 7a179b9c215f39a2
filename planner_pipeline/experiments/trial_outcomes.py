"""The outcome model on replayed attempts: data from trials, and predictions of systems held out.

Belongs here: outcome data of a trial study, one fit a held-out system, expected outcomes of every
action. Does not: the model (``training.outcome_model``), scoring what is chosen (``evaluation``).
Spec: sections 7.4 and 8.2. Shapes: G cases, A actions of the study.

A held-out system's attempts are in no fit. At each of its decisions the model knows the other
systems' attempts, whenever they were, and its own that had ended; with ``as_of`` it knows nothing
of anybody that had not ended then, and the fit gives it priors and weights alone.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.bench.replay import LeftOut, case_id_of, expected_outcomes
from planner_pipeline.bench.trial_study import (
    STUDY_ACTIONS,
    STUDY_BUDGETS,
    TrialStudy,
    build_trial_study,
    parse_study_tasks,
)
from planner_pipeline.sources.trials import Trial, read_trials
from planner_pipeline.training.outcome_data import (
    NEVER,
    Decisions,
    Tries,
    records_apart,
    records_as_of,
    tries_of_trials,
)
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import (
    FittedOutcomes,
    OutcomeData,
    Scored,
    features_of,
    fit_outcomes,
    outcomes_of,
)
from planner_runtime.action_set import ActionSet
from planner_runtime.actions import HEADS
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.objective import Outlook
from planner_runtime.outcomes.features import (
    OUTCOME_FEATURES,
    RECORD_FEATURES,
    action_numbers,
    plain_vector,
)
from planner_runtime.outcomes.model import calibrated
from planner_runtime.outcomes.track_record import Record, TrackRecordState

ACTIONS: Final = ActionSet(
    heads=HEADS,
    rows=tuple(tuple(action) for action in STUDY_ACTIONS),
    budgets=("max_candidates_bin", "max_minutes_bin"),
    topologies=("swarm_id",),
)


_ATTEMPTS: Final = OUTCOME_FEATURES.index("attempts") - len(RECORD_FEATURES)
_IS_FIRST: Final = OUTCOME_FEATURES.index("is_first_attempt") - len(RECORD_FEATURES)
TOO_FEW: Final = f"fewer attempts than the {max(b.k for b in STUDY_BUDGETS)} candidates of a vote"


class TrialOutcomes(msgspec.Struct, frozen=True):
    """A trial study as data for the outcome model.

    Attributes:
        case_ids: G, in the order of the study's cases.
        system: (G,) object array.
        pass_ratio, minutes: (G, A) expected, by enumeration.
    """

    data: OutcomeData
    case_ids: tuple[str, ...]
    system: np.ndarray
    pass_ratio: np.ndarray
    minutes: np.ndarray


def playable(study: TrialStudy) -> TrialStudy:
    """The study's cases with an outcome of every action; the others are left out, since neither a
    choice of theirs that nobody can score nor an oracle is any figure.
    """
    told = study.outcomes.group_by("case_id").agg(pl.col("action").n_unique())
    whole = told.filter(pl.col("action") == len(STUDY_ACTIONS))["case_id"].implode()
    is_whole = pl.col("case_id").is_in(whole)
    few = study.cases.filter(~is_whole)["case_id"]
    left_out = (*study.left_out, *(LeftOut(case_id=case, reason=TOO_FEW) for case in few))
    return msgspec.structs.replace(
        study,
        cases=study.cases.filter(is_whole),
        outcomes=study.outcomes.filter(is_whole),
        left_out=tuple(sorted(left_out, key=lambda left: left.case_id)),
    )


def trial_outcomes(trials: Sequence[Trial], study: TrialStudy) -> TrialOutcomes:
    """Data of a study whose outcomes are of ``STUDY_ACTIONS``, of all of them in every case.

    Attempts of systems without a time are evidence of their issues; no case is made of them.
    """
    cases = study.cases
    ids = tuple(cases["case_id"].to_list())
    place = {case_id: i for i, case_id in enumerate(ids)}
    expected = expected_outcomes(study.outcomes, STUDY_BUDGETS)
    shape = (len(ids), len(STUDY_ACTIONS))
    ratio, minutes = np.full(shape, np.nan), np.full(shape, np.nan)
    rows = np.array([place[case_id] for case_id in expected["case_id"]], dtype=np.int64)
    actions = expected["action"].to_numpy()
    ratio[rows, actions] = expected["pass_ratio"].to_numpy()
    minutes[rows, actions] = expected["agent_minutes"].to_numpy()
    numbers = action_numbers(ACTIONS)
    known = np.isfinite(ratio)
    questions = [read_document(text.encode(), PlannerInput) for text in cases["planner_input"]]
    decision, action = np.nonzero(known)
    data = OutcomeData(
        tries=tries_of_trials(trials),
        case=np.array([place.get(case_id_of(trial), -1) for trial in trials], dtype=np.int64),
        decisions=Decisions(
            np.array(cases["system"].to_list(), dtype=object),
            np.array(cases["issue_id"].to_list(), dtype=object),
            cases["decided_ms"].to_numpy(),
        ),
        base=np.array([plain_vector(q) for q in questions], dtype=np.float32),
        # what candidates and minutes do is known; that they ran in a vote makes no odds
        choices=np.tile(numbers[0, 2:], (len(ids), 1)),
        scored=Scored(decision, numbers[action, 0], numbers[action, 1], ratio[known]),
        mode="both",
    )
    return TrialOutcomes(
        data, ids, np.array(cases["system"].to_list(), dtype=object), ratio, minutes
    )


def _with_failures(data: OutcomeData) -> OutcomeData:
    """The data with the features of earlier failures counted over its own tries."""
    ends: dict[str, list[int]] = {}
    failed = ~data.tries.passed & (data.tries.ended_ms != NEVER)
    for row in np.flatnonzero(failed):
        ends.setdefault(data.tries.issue[row], []).append(int(data.tries.ended_ms[row]))
    ordered = {issue: np.sort(some) for issue, some in ends.items()}
    none = np.empty(0, dtype=np.int64)
    asked = zip(data.decisions.issue, data.decisions.decided_ms, strict=True)
    n = np.array([np.searchsorted(ordered.get(i, none), ms, side="right") for i, ms in asked])
    base = data.base.copy()
    base[:, _ATTEMPTS] = np.minimum(n, 10) / 3  # as ``planner_runtime.features`` counts them
    base[:, _IS_FIRST] = n == 0
    return msgspec.structs.replace(data, base=base)


def without_system(data: OutcomeData, system: str) -> OutcomeData:
    """The data of all other systems; the failures at an issue before a decision are theirs too."""
    keep = data.decisions.toolchain != system
    place = np.full(len(keep) + 1, -1)
    place[:-1][keep] = np.arange(int(keep.sum()))
    rows = data.tries.toolchain != system
    scored = keep[data.scored.decision]
    others = OutcomeData(
        tries=data.tries.choose(rows),
        case=place[data.case[rows]],
        decisions=Decisions(
            *(getattr(data.decisions, name)[keep] for name in Decisions.__struct_fields__)
        ),
        base=data.base[keep],
        choices=data.choices[keep],
        scored=Scored(
            place[data.scored.decision[scored]],
            data.scored.candidates[scored],
            data.scored.minutes[scored],
            data.scored.ratio[scored],
        ),
        mode=data.mode,
    )
    return _with_failures(others)


def predict_actions(
    fitted: FittedOutcomes, features: np.ndarray, choices: np.ndarray
) -> list[Outlook]:
    """(G,) outlooks on the study's actions, calibrated."""
    numbers, n = action_numbers(ACTIONS), len(features)
    a = len(ACTIONS)
    told = outcomes_of(
        fitted.model, fitted.record.log_kappa, np.repeat(features, a, axis=0),
        np.repeat(choices, a, axis=0), np.tile(numbers[:, 0], n), np.tile(numbers[:, 1], n),
        knows_cost=fitted.record.knows_cost,
    )  # fmt: skip
    told["p_pass"] = calibrated(
        told["p_pass"], fitted.pass_slope, fitted.pass_bias, fitted.pass_knots
    )
    by_case = {name: values.reshape(len(values), n, a) for name, values in told.items()}
    return [Outlook(**{name: values[:, g] for name, values in by_case.items()}) for g in range(n)]


def held_out_outlooks(
    outcomes: TrialOutcomes,
    config: OutcomeConfig,
    *,
    as_of: bool = False,
    on_fit: Callable[[str, FittedOutcomes], None] = lambda system, fitted: None,
) -> list[Outlook]:
    """(G,) outlooks on every case from a model that never met its system.

    Args:
        as_of: Whether only attempts that had ended before a decision are evidence for it.
    """
    data = outcomes.data
    found: dict[int, Outlook] = {}
    for system in sorted(set(outcomes.system.tolist())):
        fitted = fit_outcomes(without_system(data, system), config)
        on_fit(system, fitted)
        asked = np.flatnonzero(outcomes.system == system)
        decisions = Decisions(
            *(getattr(data.decisions, name)[asked] for name in Decisions.__struct_fields__)
        )
        records = records_of(data.tries, decisions, fitted, system, as_of=as_of)
        features = features_of(records, data.base[asked])
        outlooks = predict_actions(fitted, features, data.choices[asked])
        found |= dict(zip(asked.tolist(), outlooks, strict=True))
    return [found[row] for row in range(len(outcomes.case_ids))]


def records_of(
    tries: Tries, decisions: Decisions, fitted: FittedOutcomes, system: str, *, as_of: bool
) -> list[Record]:
    """Records of one system's decisions: from the fit and its own past, or from the past alone."""
    if as_of:
        return records_as_of(tries, decisions, TrackRecordState(priors=fitted.state.priors))
    return records_apart(
        tries, decisions, priors=fitted.state.priors, states={system: fitted.state}
    )


def utilities(outcomes: TrialOutcomes, cost_weight: float) -> np.ndarray:
    """(G, A) expected utility, pass - weight x agent-minutes."""
    values: np.ndarray = outcomes.pass_ratio - cost_weight * outcomes.minutes
    return values


def read_trial_outcomes(
    trials_file: Path, tasks_file: Path | None
) -> tuple[TrialOutcomes, TrialStudy]:
    """A file of trials as data, and its study: the cases that can be played.

    Raises:
        ValueError: nothing of the file can be replayed.
    """
    read = read_trials([trials_file])
    tasks = {} if tasks_file is None else parse_study_tasks(tasks_file.read_bytes())
    study = playable(build_trial_study(read.trials, tasks))
    if not study.cases.height:
        raise ValueError(f"nothing of {trials_file} can be replayed")
    return trial_outcomes(read.trials, study), study
