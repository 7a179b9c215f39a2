"""Outcomes of a bench as data for the outcome model: what each try was, and of which decision.

Belongs here: tries, decisions and scored rows of units that ran or were replayed. Does not: the
model (``training.value_fit``), choosing by it (``bench_value``). Spec: sections 7.4 and 9.1.

What a try was: a serial unit is one try of its toolchain, handoffs included; side by side, each
attempt that was recorded is one. Where a unit of K tells only of itself, a failed one was K failed
tries, and of a passed one as many passed as the pass ratio of such units makes likely, the rest
failed at a time that nobody knows. A logged attempt that was replayed counts once, under the
loosest limit of a serial unit where there is one.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.dataset.examples import read_action
from planner_pipeline.training.outcome_data import NEVER, Decisions, Tries
from planner_pipeline.training.outcome_model import OutcomeData, Scored
from planner_runtime.action_set import ActionSet
from planner_runtime.actions import HEADS, Action
from planner_runtime.archives.moments import moment_ms
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.decision import action_of
from planner_runtime.inputs import epoch_ms
from planner_runtime.outcomes.features import action_numbers, plain_vector


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """What a bench knows of one unit, or of one subset of logged attempts.

    Attributes:
        is_cut: A limit ended it before anything passed.
        minutes: Of the budget's kind, of all its agents together; None where nobody knows.
        replayed: Logged attempts it was made from; empty where something ran.
        attempts: Toolchain, passed, cut, minutes, dollars of each that was recorded.
        ended_ms: ``NEVER`` where nobody knows.
    """

    case_id: str
    issue_id: str
    toolchain: str
    action: Action
    is_passed: bool
    is_cut: bool
    minutes: float | None
    cost_usd: float | None
    replayed: tuple[int, ...] = ()
    attempts: tuple[tuple[str, bool, bool, float, float | None], ...] = ()
    ended_ms: int = NEVER


def ran_of(outcomes: Iterable[BenchOutcome]) -> list[Ran]:
    """Stored outcomes, without the harness's failures, in a total order."""
    found = []
    for one in outcomes:
        if one.status == "infra_error":
            continue
        minute_ms = one.minute_seconds * 1_000
        ms = one.duration_ms if one.agent_ms is None else one.agent_ms
        attempts = tuple(
            (a.toolchain, a.is_passed, a.status == "timeout", a.duration_ms / minute_ms, a.cost_usd)
            for a in one.attempts
        )
        first = attempts[0][0] if attempts else ""
        found.append(
            Ran(
                case_id=one.case_id,
                issue_id=one.issue_id,
                toolchain=one.system or first or one.executor,
                action=action_of(one.action),
                is_passed=one.is_passed,
                is_cut=one.is_censored or one.status == "timeout",
                minutes=None if ms is None else ms / minute_ms,
                cost_usd=one.cost_usd,
                replayed=one.replayed or (),
                attempts=attempts,
                ended_ms=moment_ms(one.ended_at) or NEVER,
            )
        )
    return sorted(found, key=_order)


def ran_of_table(outcomes: pl.DataFrame) -> list[Ran]:
    """The same of ``OUTCOMES_DATASET``, which knows of no single attempts."""
    found = []
    for row in outcomes.iter_rows(named=True):
        ms = row["duration_ms"] if row["agent_ms"] is None else row["agent_ms"]
        found.append(
            Ran(
                case_id=row["case_id"],
                issue_id=row["issue_id"],
                toolchain=row["system"] or row["executor"],
                action=read_action([row[head] for head in HEADS]),
                is_passed=row["passed"],
                is_cut=row["is_censored"] or row["is_timeout"],
                minutes=None if ms is None else ms / (row["minute_seconds"] * 1_000),
                cost_usd=row["cost_usd"],
                replayed=tuple(row["replayed"] or ()),
            )
        )
    return sorted(found, key=_order)


def _order(one: Ran) -> tuple[str, tuple[str, ...], tuple[int, ...], bool, float]:
    cells = tuple(map(str, one.action))
    return (one.case_id, cells, one.replayed, one.is_passed, one.minutes or 0.0)


def numbers_of(
    actions: Sequence[Action], config: BenchConfig, *, is_replayed: bool = False
) -> np.ndarray:
    """(A, 2 + C) of actions, "NA" as this bench runs it.

    Args:
        is_replayed: Whether all is replayed: that attempts ran in a vote then makes no odds.
    """
    distinct = list(dict.fromkeys(actions))
    rows = action_numbers(ActionSet(heads=HEADS, rows=tuple(map(tuple, distinct))))
    place = {action: i for i, action in enumerate(distinct)}
    rows[:, 0] = [config.n_candidates(action) for action in distinct]
    rows[:, 1] = [config.minutes(action) for action in distinct]
    if is_replayed:
        rows[:, 2:] = 0.0
    found: np.ndarray = rows[[place[action] for action in actions]]
    return found


Try = tuple[str, bool, bool, float, float]


def _once(ran: Sequence[Ran], config: BenchConfig) -> Iterator[Ran]:
    """Every unit that ran, and replayed ones so that no logged attempt counts twice."""
    used: dict[str, set[int]] = defaultdict(set)

    def first(one: Ran) -> tuple[int, int]:
        return (len(one.replayed), -config.minutes(one.action))

    for one in sorted(ran, key=first):
        if used[one.case_id].isdisjoint(one.replayed):
            used[one.case_id].update(one.replayed)
            yield one


def _tries(one: Ran, likely: Mapping[int, float], n: int) -> list[Try]:
    """The tries of a unit: toolchain, passed, cut, minutes, dollars."""
    if n > 1 and one.attempts:
        return [
            (t, p, cut, m, np.nan if usd is None else usd) for t, p, cut, m, usd in one.attempts
        ]
    usd = np.nan if one.cost_usd is None else one.cost_usd / n
    minutes = np.nan if one.minutes is None else one.minutes / n
    if not one.is_passed:
        return [(one.toolchain, False, one.is_cut, minutes, usd)] * n
    passed = max(1, round(likely[n] * n))
    late = [(one.toolchain, False, False, np.nan, np.nan)] * (n - passed)
    return [(one.toolchain, True, False, minutes, usd)] * passed + late


def _likely(ran: Sequence[Ran], config: BenchConfig) -> dict[int, float]:
    """By K, the share of K tries that passed where any did, from the pass ratio of units of K."""
    counts: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for one in ran:
        n = config.n_candidates(one.action)
        counts[n][0] += one.is_passed
        counts[n][1] += 1
    found = {}
    for n, (passed, units) in counts.items():
        any_ = (passed + 0.5) / (units + 1)
        found[n] = (1 - (1 - any_) ** (1 / n)) / any_
    return found


class BenchData(msgspec.Struct, frozen=True):
    """Outcomes of a bench as data.

    Attributes:
        data: A decision for every case, toolchain and kind of action that was tried.
        case_of: (G,) object array, the case of every decision.
        toolchain: By case id, the one its single tries are of.
        is_replayed: Whether nothing ran and all was replayed.
    """

    data: OutcomeData
    case_of: np.ndarray
    toolchain: Mapping[str, str]
    is_replayed: bool


def bench_data(
    ran: Sequence[Ran], questions: Mapping[str, Mapping[str, Any]], config: BenchConfig
) -> BenchData:
    """Data of outcomes and of what was asked.

    Args:
        questions: By case id, the planner input.

    Raises:
        ValueError: there is no outcome.
    """
    if not ran:
        raise ValueError("nothing was benched yet")
    is_replayed = all(one.replayed for one in ran)
    likely, issue = _likely(ran, config), {one.case_id: one.issue_id for one in ran}
    place: dict[tuple[str, str, tuple[float, ...]], int] = {}
    rows: list[tuple[Try, str, int, int]] = []
    for one in _once(ran, config):
        numbers = numbers_of([one.action], config, is_replayed=is_replayed)[0]
        kind = tuple(map(float, numbers[2:]))
        for told in _tries(one, likely, int(numbers[0])):
            key = (one.case_id, told[0], kind)
            rows.append((told, one.issue_id, place.setdefault(key, len(place)), one.ended_ms))
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for told, _, row, _ in rows:
        counts[list(place)[row][0]][told[0]] += 1
    toolchain = {case: min(of, key=lambda t: (-of[t], t)) for case, of in counts.items()}
    grouped: dict[tuple[str, Action], list[bool]] = defaultdict(list)
    for one in ran:
        grouped[one.case_id, one.action].append(one.is_passed)
    scored = []
    for (case_id, action), passed in grouped.items():
        numbers = numbers_of([action], config, is_replayed=is_replayed)[0]
        key = (case_id, toolchain[case_id], tuple(map(float, numbers[2:])))
        row = place.setdefault(key, len(place))
        scored.append((row, numbers[0], numbers[1], np.mean(passed)))
    asked = {case: read_document(questions[case], PlannerInput) for case in toolchain}
    plain = {case: plain_vector(question) for case, question in asked.items()}
    columns = list(zip(*(told for told, _, _, _ in rows), strict=True))
    decision, candidates, minutes, ratio = map(np.array, zip(*scored, strict=True))
    data = OutcomeData(
        tries=Tries(
            np.array(columns[0], dtype=object),
            np.array([name for _, name, _, _ in rows], dtype=object),
            np.array(columns[1], dtype=bool),
            np.array(columns[2], dtype=bool),
            np.array(columns[3], dtype=np.float64),
            np.array(columns[4], dtype=np.float64),
            np.array([ended for _, _, _, ended in rows], dtype=np.int64),
        ),
        case=np.array([row for _, _, row, _ in rows], dtype=np.int64),
        decisions=Decisions(
            np.array([key[1] for key in place], dtype=object),
            np.array([issue[key[0]] for key in place], dtype=object),
            np.array([epoch_ms(asked[key[0]].created_at) for key in place], dtype=np.int64),
        ),
        base=np.array([plain[key[0]] for key in place], dtype=np.float32),
        choices=np.array([key[2] for key in place], dtype=np.float32),
        scored=Scored(
            decision.astype(np.int64), candidates.astype(np.float32), minutes.astype(np.float32),
            ratio.astype(np.float64),
        ),
        mode="as_of",
    )  # fmt: skip
    return BenchData(
        data, np.array([key[0] for key in place], dtype=object), toolchain, is_replayed
    )
