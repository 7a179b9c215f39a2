"""Finished runs as tries to learn outcomes from, and what was known of each at its decision.

Belongs here: tries from the run table and from trials, records as of a moment, records of others.
Does not: fitting (``track_record_fit``, ``outcome_fit``), features (``planner_runtime``).
Spec: sections 5.3 and 7.4. Shapes: N tries, G decisions.

A decision may know the runs that had ended when it was made. Two ways to give a training decision
its record: *as of* it, with every toolchain's runs in the order of their ends; and *apart*, with a
joint fit of all other toolchains' runs at any time, plus the own ones that had ended. The second is
how a new toolchain meets issues that others have tried, and no try is ever in its own record.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.sources.trials import Trial
from planner_pipeline.training.track_record_cells import Cells, build_cells
from planner_pipeline.training.track_record_fit import fit_track_record
from planner_runtime.outcomes.track_record import Priors, Record, TrackRecord, TrackRecordState

MINUTE_MS: Final = 60_000
NEVER: Final = -1  # end of a run whose end nobody knows: it is history to nobody


class Tries(msgspec.Struct, frozen=True):
    """Finished runs. N rows.

    Attributes:
        toolchain, issue: (N,) object arrays of names.
        passed, timed_out: (N,) bool.
        minutes, usd: (N,) float64, NaN where not known.
        ended_ms: (N,) int64; ``NEVER`` where not known.
    """

    toolchain: np.ndarray
    issue: np.ndarray
    passed: np.ndarray
    timed_out: np.ndarray
    minutes: np.ndarray
    usd: np.ndarray
    ended_ms: np.ndarray

    def __len__(self) -> int:
        return len(self.passed)

    def choose(self, rows: np.ndarray) -> "Tries":
        """Some rows, by positions or by a mask."""
        return Tries(*(getattr(self, name)[rows] for name in self.__struct_fields__))

    def cells(self) -> Cells:
        """The tries by pair."""
        return build_cells(
            self.toolchain.tolist(), self.issue.tolist(), self.passed, self.minutes, self.usd,
            np.maximum(self.ended_ms, 0), self.timed_out,
        )  # fmt: skip


def _tries(rows: Sequence[tuple[str, str, bool, bool, float, float, int]]) -> Tries:
    toolchain, issue, passed, timed_out, minutes, usd, ended = zip(*rows, strict=True)
    return Tries(
        np.array(toolchain, dtype=object),
        np.array(issue, dtype=object),
        np.array(passed, dtype=bool),
        np.array(timed_out, dtype=bool),
        np.array(minutes, dtype=np.float64),
        np.array(usd, dtype=np.float64),
        np.array(ended, dtype=np.int64),
    )


def trial_end_ms(trial: Trial) -> int:
    """When an attempt's outcome was known; ``NEVER`` where nobody can tell.

    One that took no time ends after its start all the same: decisions are made at starts, and must
    not know what they start.
    """
    if trial.started_ms is None:
        return NEVER if trial.ended_ms is None else trial.ended_ms
    if trial.ended_ms is not None:
        return max(trial.ended_ms, trial.started_ms + 1)
    if trial.duration_ms is None:
        return NEVER
    return trial.started_ms + max(trial.duration_ms, 1)


def tries_of_trials(trials: Sequence[Trial]) -> Tries:
    """Tries of trials, in their order.

    Raises:
        ValueError: there is none.
    """
    if not trials:
        raise ValueError("no trial")
    return _tries(
        [
            (
                trial.system,
                trial.issue_id,
                bool(trial.passed),
                not trial.passed and trial.fail_code == "agent_timeout",
                np.nan if trial.duration_ms is None else trial.duration_ms / MINUTE_MS,
                np.nan if trial.cost_usd is None else trial.cost_usd,
                trial_end_ms(trial),
            )
            for trial in trials
        ]
    )


def tries_of_runs(runs: pl.DataFrame) -> Tries:
    """Tries of the run table's rows with an outcome, a toolchain and an issue, in its order.

    Raises:
        ValueError: there is none.
    """
    told = runs.filter(
        pl.col("status").is_not_null()
        & pl.col("toolchain").is_not_null()
        & pl.col("issue_id").is_not_null()
    )
    if not told.height:
        raise ValueError("no run tells of an outcome, a toolchain and an issue")
    columns = told.select(
        "toolchain", "issue_id", "status", "duration_ms", "cost_usd", "ended_ms"
    ).iter_rows()
    return _tries(
        [
            (
                toolchain, issue, status == "success", status == "timeout",
                np.nan if ms is None else ms / MINUTE_MS,
                np.nan if usd is None else usd,
                NEVER if ended is None else ended,
            )
            for toolchain, issue, status, ms, usd, ended in columns
        ]
    )  # fmt: skip


class Decisions(msgspec.Struct, frozen=True):
    """Who decided about what, and when. G rows.

    Attributes:
        toolchain, issue: (G,) object arrays; a toolchain may be None where several would run.
        decided_ms: (G,) int64.
    """

    toolchain: np.ndarray
    issue: np.ndarray
    decided_ms: np.ndarray

    def __len__(self) -> int:
        return len(self.decided_ms)


def learn(record: TrackRecord, tries: Tries, row: int) -> None:
    """Let a record learn from one row."""
    minutes, usd = float(tries.minutes[row]), float(tries.usd[row])
    record.add(
        str(tries.toolchain[row]),
        str(tries.issue[row]),
        passed=bool(tries.passed[row]),
        timed_out=bool(tries.timed_out[row]),
        minutes=None if np.isnan(minutes) else minutes,
        usd=None if np.isnan(usd) else usd,
        ended_ms=max(0, int(tries.ended_ms[row])),
    )


def _in_time(
    record: TrackRecord, tries: Tries, rows: np.ndarray, decisions: Decisions, asked: np.ndarray
) -> Iterator[tuple[int, Record]]:
    """Each asked decision with what ``record`` believes of it after the rows that had ended."""
    ended = rows[tries.ended_ms[rows] != NEVER]
    ended = ended[np.lexsort((ended, tries.ended_ms[ended]))]
    upto = 0
    for decision in asked[np.argsort(decisions.decided_ms[asked], kind="stable")]:
        while upto < len(ended) and tries.ended_ms[ended[upto]] <= decisions.decided_ms[decision]:
            learn(record, tries, int(ended[upto]))
            upto += 1
        toolchain = decisions.toolchain[decision]
        yield (
            int(decision),
            record.of(
                None if toolchain is None else str(toolchain), str(decisions.issue[decision])
            ),
        )


def records_as_of(
    tries: Tries, decisions: Decisions, state: TrackRecordState | None = None
) -> list[Record]:
    """(G,) what each decision could know from runs that had ended, on top of ``state``."""
    found: dict[int, Record] = {}
    every = np.arange(len(tries)), np.arange(len(decisions))
    for row, record in _in_time(TrackRecord(state), tries, every[0], decisions, every[1]):
        found[row] = record
    return [found[row] for row in range(len(decisions))]


def records_apart(
    tries: Tries,
    decisions: Decisions,
    *,
    priors: Priors,
    states: dict[str, TrackRecordState] | None = None,
) -> list[Record]:
    """(G,) records from all other toolchains' runs, and the own ones that had ended.

    Args:
        priors: As fitted on runs that may be used.
        states: By toolchain, the joint fit of all others; what is missing is fitted here and put
            there.
    """
    cells, found = tries.cells(), dict[int, Record]()
    states = {} if states is None else states
    for toolchain in sorted(set(decisions.toolchain.tolist())):
        if toolchain not in states:
            others = cells.without(toolchain)
            empty = TrackRecordState(priors=priors)
            states[toolchain] = fit_track_record(others, priors) if len(others) else empty
        rows = np.flatnonzero(tries.toolchain == toolchain)
        asked = np.flatnonzero(decisions.toolchain == toolchain)
        start = TrackRecord(states[toolchain])
        for row, record in _in_time(start, tries, rows, decisions, asked):
            found[row] = record
    return [found[row] for row in range(len(decisions))]
