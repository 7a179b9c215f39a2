"""Counters of a planner that serves, and the time its decisions take.

Belongs here: what is counted, in one process, under threads. Does not: the text's format
(``prometheus_text``), which reasons there are (``reasons``), asking the clock.
An observation costs a few microseconds at most and allocates nothing that grows: every label has a
closed set of values, and what is outside it is counted as ``other``.
"""

import math
from bisect import bisect_left
from typing import Any, Final, get_args

from planner_runtime.contracts.policy_trace import DecidedBy
from planner_runtime.decision import Decision
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.prometheus_text import Family, Sample, exposition, histogram_samples
from planner_runtime.reasons import LOAD_REASONS, OTHER, reason_code

# seconds; a decision has 0.1 by default, a good one takes under a thousandth
LATENCY_BOUNDS: Final = (
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
)  # fmt: skip
PREFIX: Final = "cyntra_planner"

_HELP: Final = {
    "decisions_total": "Decisions by who decided.",
    "fallbacks_total": "Decisions of the baseline by why the model was not followed.",
    "abstentions_total": "Decisions where the model had an answer and the baseline was taken.",
    "exploration_draws_total": "Decisions in which chance could have chosen.",
    "loads_total": "Bundles opened and verified.",
    "load_failures_total": "Bundles refused, by why.",
    "bundle_info": "The bundle that serves, as a label; none while the baseline answers.",
    "decision_seconds": "Time of a decision.",
}


class Metrics:
    """Counts of one process. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = ForkSafeLock()
        self._decided: dict[str, int] = dict.fromkeys(get_args(DecidedBy), 0)
        self._fallbacks: dict[str, int] = {}
        self._abstentions = self._draws = self._loads = 0
        self._load_failures: dict[str, int] = {}
        self._buckets = [0] * (len(LATENCY_BOUNDS) + 1)
        self._seconds = 0.0
        self._bundle_id: str | None = None

    def observe_decision(self, decision: Decision, seconds: float) -> None:
        """Count one decision.

        Args:
            seconds: How long it took; below 0, as after a step of the clock, it counts as 0, and
                what is no number as above every bound without adding to the sum.
        """
        trace = decision.trace
        decided_by = trace.decided_by
        is_finite = math.isfinite(seconds)
        bucket = bisect_left(LATENCY_BOUNDS, seconds) if is_finite else len(LATENCY_BOUNDS)
        code = None
        if decided_by == "baseline":
            code = reason_code(trace.fallback_reason or OTHER)
        with self._lock:
            self._decided[decided_by] += 1
            self._buckets[bucket] += 1
            if is_finite and seconds > 0:
                self._seconds += seconds
            self._draws += trace.exploration.enabled
            self._bundle_id = trace.bundle_id
            if code is not None:
                self._fallbacks[code] = self._fallbacks.get(code, 0) + 1
                self._abstentions += decision.model_choice is not None

    def observe_refusal(self, reason: str) -> None:
        """Count a dispatch that kept the baseline for a reason that no decision told: the kernel's
        mode or caps, or that nobody could be asked.
        """
        code = reason_code(reason)
        with self._lock:
            self._fallbacks[code] = self._fallbacks.get(code, 0) + 1

    def observe_load(self, ok: bool, reason: str | None = None) -> None:
        """Count one bundle that was opened, or one that was refused and why.

        Args:
            reason: A code of ``LOAD_REASONS`` or ``FALLBACK_REASONS``, with or without its detail.
        """
        code = reason_code(reason or OTHER, LOAD_REASONS)
        if code == OTHER:
            code = reason_code(reason or OTHER)
        with self._lock:
            if ok:
                self._loads += 1
            else:
                self._load_failures[code] = self._load_failures.get(code, 0) + 1

    def observe_bundle(self, bundle_id: str | None) -> None:
        """Name the bundle that serves from now on, before it has decided anything."""
        with self._lock:
            self._bundle_id = bundle_id

    def snapshot(self) -> dict[str, Any]:
        """All counts of one moment, as JSON values.

        ``latency`` has ``bounds`` in seconds and, one longer, the ``counts`` of each bucket alone.
        """
        with self._lock:
            return {
                "bundle_id": self._bundle_id,
                "decisions": dict(self._decided),
                "fallbacks": dict(sorted(self._fallbacks.items())),
                "abstentions": self._abstentions,
                "exploration_draws": self._draws,
                "loads": self._loads,
                "load_failures": dict(sorted(self._load_failures.items())),
                "latency": {
                    "bounds": list(LATENCY_BOUNDS),
                    "counts": list(self._buckets),
                    "sum_seconds": self._seconds,
                    "count": sum(self._buckets),
                },
            }

    def families(self) -> list[Family]:
        """All counts of one moment, as metric families."""
        now = self.snapshot()
        bundle_id, latency = now["bundle_id"], now["latency"]
        info = () if bundle_id is None else (Sample(1, (("bundle_id", bundle_id),)),)
        return [
            _counter("decisions_total", now["decisions"], "decided_by"),
            _counter("fallbacks_total", now["fallbacks"], "reason"),
            _counter("abstentions_total", now["abstentions"]),
            _counter("exploration_draws_total", now["exploration_draws"]),
            _counter("loads_total", now["loads"]),
            _counter("load_failures_total", now["load_failures"], "reason"),
            Family(f"{PREFIX}_bundle_info", "gauge", _HELP["bundle_info"], info),
            Family(
                f"{PREFIX}_decision_seconds",
                "histogram",
                _HELP["decision_seconds"],
                histogram_samples(latency["bounds"], latency["counts"], latency["sum_seconds"]),
            ),
        ]

    def prometheus(self) -> str:
        """All counts of one moment in the text format of Prometheus, version 0.0.4."""
        return exposition(self.families())


def _counter(name: str, value: int | dict[str, int], label: str = "") -> Family:
    samples: tuple[Sample, ...]
    if isinstance(value, int):
        samples = (Sample(value),)
    else:
        samples = tuple(Sample(n, ((label, key),)) for key, n in value.items())
    return Family(f"{PREFIX}_{name}", "counter", _HELP[name], samples)
