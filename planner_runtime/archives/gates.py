"""Gates as their writers leave them -> results and hard fail codes.

Belongs here: one gate's reading, for proofs and world stages alike. Does not: statuses.
Source: formats 2.4: real codes are in ``failures.hard``, scores in ``scores.overall``; entries
without a truth value in ``passed`` (``debug_analysis``) are no gates.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from planner_runtime.contracts.run_summary import GateResult

MAX_CODES: Final = 8  # of a kind, of one gate


def _codes(failures: Any, kind: str) -> list[str]:
    listed = failures.get(kind) if isinstance(failures, Mapping) else None
    return [code for code in listed if isinstance(code, str)] if isinstance(listed, list) else []


def gate_results(
    gates: Iterable[tuple[str, Any]],
) -> tuple[tuple[GateResult, ...], tuple[str, ...]]:
    """Results in the order given, and the hard fail codes of the gates that failed."""
    results: list[GateResult] = []
    codes: list[str] = []
    for name, gate in gates:
        if not isinstance(gate, Mapping) or not isinstance(gate.get("passed"), bool):
            continue
        scores, failures = gate.get("scores"), gate.get("failures")
        score = scores.get("overall") if isinstance(scores, Mapping) else None
        if isinstance(score, bool) or not isinstance(score, int | float):
            score = None
        hard, soft = (_codes(failures, kind) for kind in ("hard", "soft"))
        results.append(
            GateResult(
                name=name,
                passed=gate["passed"],
                score=None if score is None else float(score),
                hard=tuple(hard[:MAX_CODES]),
                soft=tuple(soft[:MAX_CODES]),
            )
        )
        if not gate["passed"]:
            codes += hard
    return tuple(results), tuple(dict.fromkeys(codes))
