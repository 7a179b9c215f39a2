"""Hostile questions by the million: ``python -m tests.fuzz.decisions --n 1000000``; ``make fuzz``.

Belongs here: asking them, holding every answer against the question. Does not: making them
(``hostile_questions``).

Of every question: no exception leaves ``decide``; the action is valid in the space that the question
offers, or in the default one where the question cannot be read; the answer and its trace can be
written as JSON and read back. Of all together: the memory stays as it is.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from planner_runtime import ActionSpace, Decision, Planner, PlannerAction
from planner_runtime.actions import is_valid_action
from planner_runtime.contracts import ActionExecuted, Outcome, PolicyTrace, RunSummary, Runtime
from planner_runtime.decision import action_of
from planner_runtime.outcomes.features import OUTCOME_FEATURES
from planner_runtime.outcomes.track_record import TrackRecord, record_document
from planner_runtime.session import OnnxOutcomeModel
from tests.fuzz.hostile_questions import Hostility
from tests.imitation_bundles import TokenCounts, a_session, an_imitation_bundle
from tests.outcome_bundles import NOW_MS, a_question, an_outcome_bundle, tiny_onnx

MOST_GROWTH_MB = 5.0
_ACTION = msgspec.json.Decoder(PlannerAction)
_TRACE = msgspec.json.Decoder(PolicyTrace)


def planners(deadline_ms: float | None) -> dict[str, Planner]:
    """Planners of every kind."""
    outcomes = OnnxOutcomeModel(tiny_onnx(), input_width=len(OUTCOME_FEATURES))
    return {
        "features": Planner(an_imitation_bundle(), a_session(), deadline_ms=deadline_ms),
        "tokens": Planner(
            an_imitation_bundle(reads_tokens=True), TokenCounts(), deadline_ms=deadline_ms
        ),
        "outcomes": Planner(an_outcome_bundle(), outcomes, deadline_ms=deadline_ms),
        "no bundle": Planner(None, None, deadline_ms=deadline_ms),
    }


def ordinary_questions() -> list[dict[str, Any]]:
    """Some that are answered, with runs and without."""
    runs = tuple(
        RunSummary(
            run_id=f"r{n}", started_ms=NOW_MS - n * 10**7, ended_ms=NOW_MS - n * 10**7 + 60_000,
            job_type="code", domain="code", issue_id=str(n % 3), toolchain="codex",
            action_executed=ActionExecuted(swarm_id="serial_handoff", max_candidates=1),
            outcome=Outcome(status="failed" if n % 2 else "success", fail_codes=("lint",)),
            runtime=Runtime(duration_ms=60_000 * n), tags=("ui", "api"), cost_usd_est=0.25 * n,
        )
        for n in range(1, 9)
    )  # fmt: skip
    record = record_document(TrackRecord().of("claude", "7"))
    state = {
        "active_workcells_bin": "1_2", "available_toolchains": ["codex", "claude"],
        "hour_bucket": "09",
    }  # fmt: skip
    return [
        a_question(),
        a_question(similar_runs=runs, system_state=state, dk_risk="critical"),
        a_question(similar_runs=runs[:3], dk_speculate=True, tags=["asset:world"]),
        a_question(system_state={**state, "track_record": record}, dk_tool_hint="claude"),
        a_question(id="world:w1", similar_runs=runs),
    ]


class BadAnswerError(AssertionError):
    """An answer that is none to its question."""


def check(question: Any, decision: Decision) -> None:
    """Hold an answer against its question. Raises ``BadAnswerError``."""
    action, trace = decision.action, decision.trace
    space, job_type = ActionSpace().to_document(), "code"
    unread = (action.reason or "").startswith(("invalid_input:", "no_valid_action:the input"))
    if not unread:
        raw: Any = question
        if isinstance(raw, bytes | str):
            raw = msgspec.json.decode(raw)
        space, job_type = (
            dict.__getitem__(raw, "action_space"),
            str.__str__(dict.__getitem__(raw, "job_type")),
        )
    chosen = action_of(action)
    names = ("swarm_ids", "max_candidates_bins", "max_minutes_bins", "max_iterations_bins")
    offered = [dict.__getitem__(space, name) for name in names]
    for choice, choices in zip(chosen, offered, strict=True):
        if choice not in choices:
            raise BadAnswerError(f"{choice!r} is not offered")
    if not is_valid_action(chosen, job_type=job_type):
        raise BadAnswerError(f"{chosen} is not valid for {job_type[:40]!r}")
    if _ACTION.decode(msgspec.json.encode(action)) != action:
        raise BadAnswerError("the action is another once it is read back")
    if _TRACE.decode(msgspec.json.encode(trace)) != trace:
        raise BadAnswerError("the trace is another once it is read back")
    if action.confidence is None or not 0 <= action.confidence <= 1:
        raise BadAnswerError(f"a confidence of {action.confidence}")


def resident_mb() -> float:
    """Memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4_096 / 1e6


class Told:
    """What came of some questions."""

    def __init__(self) -> None:
        self.reasons: Counter[str] = Counter()
        self.faults: list[str] = []
        self.slowest_ms = 0.0
        self.seconds = 0.0


def ask_all(
    hostility: Hostility,
    asked: Mapping[str, Planner],
    n: int,
    *,
    say: Callable[[int, Told], None] = lambda i, told: None,
) -> Told:
    """Put ``n`` questions to planners in turn."""
    told, kinds = Told(), list(asked)
    for i in range(n):
        question, kind = next(hostility), kinds[i % len(kinds)]
        began = time.perf_counter()
        try:
            decision = asked[kind].decide(question)
            took = time.perf_counter() - began
            check(question, decision)
            code = (decision.action.reason or decision.trace.decided_by).split(":")[0]
        except Exception as error:
            took = time.perf_counter() - began
            code = "FAULT"
            if len(told.faults) < 20:
                told.faults.append(f"{kind}, question {i}: {type(error).__name__}: {error}"[:300])
        told.seconds += took
        told.slowest_ms = max(told.slowest_ms, 1_000 * took)
        told.reasons[f"{kind}: {code}"] += 1
        say(i, told)
    return told


def main() -> int:
    """Ask, say how often what came of it; 1 when anything was wrong."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--n", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--bundle", type=Path, action="append", default=[], help="also this one")
    arguments = parser.parse_args()
    asked = planners(100.0)
    for folder in arguments.bundle:
        asked[folder.name] = Planner.open(folder)
        assert asked[folder.name].bundle is not None, asked[folder.name].plan({}).reason
    hostility = Hostility(ordinary_questions(), seed=arguments.seed)
    warm_up = min(100_000, arguments.n // 5)
    first = ask_all(hostility, asked, warm_up)
    before, peaks = resident_mb(), []

    def say(i: int, told: Told) -> None:
        if i % 10_000 == 9_999:
            peaks.append(resident_mb())
        if i % 100_000 == 99_999:
            print(f"  {i + 1:>9,} after the warm-up, {peaks[-1]:.1f} MB", flush=True)

    told = ask_all(hostility, asked, arguments.n - warm_up, say=say)
    growth = resident_mb() - before
    for code, count in sorted((first.reasons + told.reasons).items()):
        print(f"  {code:<40}{count:>10,}")
    seconds = first.seconds + told.seconds
    faults = first.faults + told.faults
    print(
        f"{arguments.n:,} decisions in {seconds:.0f} s of deciding, "
        f"{arguments.n / seconds:,.0f} a second; slowest {told.slowest_ms:.0f} ms; memory "
        f"{before:.1f} MB after {warm_up:,}, {growth:+.1f} MB since (at most "
        f"{max(peaks, default=before) - before:+.1f}); {len(faults)} faults"
    )
    for fault in faults:
        print(f"FAULT {fault}")
    if growth >= MOST_GROWTH_MB:
        print(f"FAULT memory grew by {growth:.1f} MB, at most {MOST_GROWTH_MB}")
    return 1 if faults or growth >= MOST_GROWTH_MB else 0


if __name__ == "__main__":
    sys.exit(main())
