"""What the outcome model reads of a decision and of an action, as numbers.

Belongs here: features of a planner input with its track record, numbers of an action's choices.
Does not: beliefs (``track_record``), features that imitation shares (``features``).
Spec: sections 4 and 7.4.
"""

import math
from typing import Final

import numpy as np

from planner_runtime.action_set import ActionSet
from planner_runtime.actions import NA
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.features import PLAIN_NAMES, plain_features
from planner_runtime.heuristic import SERIAL, SPECULATE
from planner_runtime.outcomes.track_record import Record, mean_chance

RECORD_FEATURES: Final = (
    "record.logit", "record.log_minutes_pass", "record.log_minutes_spread",
    "record.log_minutes_fail", "record.log_usd", "record.doubt", "record.chance",
    "record.n_toolchain", "record.n_issue", "record.n_pair", "record.pair_pass",
)  # fmt: skip
# of the parameters of an attempt, the feature each starts from (models.outcome.PARAMETERS)
OFFSETS: Final = (0, 1, 2, 3, 2, 4)
DOUBT: Final = 5
CHOICES: Final = ("is_serial", "is_speculate", "log_iterations", "has_iterations")
DEFAULT_MINUTES: Final = 60.0  # what "NA" amounts to: claude's limit in the shipped configuration
DEFAULT_SPECULATION: Final = 2
_SINGLE_TRY_VARIANCE: Final = 0.15


def record_features(record: Record) -> np.ndarray:
    """(R,) float32 in the order of ``RECORD_FEATURES``."""
    spread = 0.5 * math.log(record.log_minutes_variance + _SINGLE_TRY_VARIANCE)
    values = (
        record.logit,
        record.log_minutes_pass,
        spread,
        record.log_minutes_fail,
        record.log_usd,
        math.sqrt(record.logit_variance),
        mean_chance(record.logit, record.logit_variance),
        math.log1p(record.n_toolchain),
        math.log1p(record.n_issue),
        math.log1p(record.n_pair),
        record.pair_pass,
    )
    return np.array(values, dtype=np.float32)


def outcome_features(record: Record, planner_input: PlannerInput) -> np.ndarray:
    """(F,) float32 in the order of ``OUTCOME_FEATURES``: the track record, then the decision."""
    return np.concatenate([record_features(record), plain_vector(planner_input)])


def plain_vector(planner_input: PlannerInput) -> np.ndarray:
    """(F0,) float32: the part of ``outcome_features`` that needs no record."""
    return np.array(plain_features(planner_input), dtype=np.float32)


OUTCOME_FEATURES: Final = (*RECORD_FEATURES, *PLAIN_NAMES)


def action_numbers(actions: ActionSet) -> np.ndarray:
    """(A, 2 + C) float32: candidates, minutes, then ``CHOICES``; "NA" as what it amounts to.

    Heads that an action set does not have count as one candidate, the default limit, and nothing
    else.
    """
    rows = []
    for row in actions.rows:
        choice = dict(zip(actions.heads, row, strict=True))
        swarm = choice.get("swarm_id", SERIAL)
        candidates = choice.get("max_candidates_bin", 1)
        if candidates == NA:
            candidates = DEFAULT_SPECULATION if swarm == SPECULATE else 1
        minutes = choice.get("max_minutes_bin", NA)
        iterations = choice.get("max_iterations_bin", NA)
        rows.append(
            (
                float(candidates),
                DEFAULT_MINUTES if minutes == NA else float(minutes),
                float(swarm == SERIAL),
                float(swarm == SPECULATE),
                0.0 if iterations == NA else math.log(float(iterations)),
                float(iterations != NA),
            )
        )
    return np.array(rows, dtype=np.float32).reshape(len(rows), 2 + len(CHOICES))


def outcome_spec_hash() -> str:
    """sha256 of what an outcome model reads: equal when two programs mean the same numbers."""
    return document_hash([list(OUTCOME_FEATURES), list(CHOICES)])
