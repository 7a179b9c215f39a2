"""Telemetry: the `planner_generation` event, and where it may go.

Belongs here: the event, the `Sink` protocol, the sinks that need no library.
Does not: OpenTelemetry (``telemetry_otel``), deciding anything.
Spec: planner-synthesis, "Telemetry & metrics".

An event names ids, keys and scores. It holds no answer and no prompt: what people said stays out
of logs.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Protocol

import msgspec

from planner_synthesis.types import (
    AdapterStep,
    CandidateScore,
    Count,
    FallbackInfo,
    ParamSchema,
    PlannerSynthesis,
    Ratio,
)


class CoverageMetrics(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much of what is required was answered, and how much reaches the call.

    Attributes:
        answered_ratio: Absent (None) when nothing is required.
        covered_ratio: Required keys that the planner reads; None when nothing is required.
    """

    n_required: Count
    n_answered: Count
    n_covered: Count
    answered_ratio: Ratio | None = None
    covered_ratio: Ratio | None = None


class PlannerGenerationEvent(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.planner_generation.v1",
):
    """One synthesis, as told to whoever listens.

    Attributes:
        durations_ms: By stage, in milliseconds of the clock that was given.
    """

    template: str
    coverage: CoverageMetrics
    event: Literal["planner_generation"] = "planner_generation"
    candidates: tuple[CandidateScore, ...] = ()
    selected: CandidateScore | None = None
    adapters: tuple[AdapterStep, ...] = ()
    fallback: FallbackInfo | None = None
    n_considered: Count = 0
    n_not_allowed: Count = 0
    n_conflicting: Count = 0
    rejected: tuple[str, ...] = ()
    agent_id: str | None = None
    durations_ms: dict[str, float] = {}


class Sink(Protocol):
    """Somewhere an event goes."""

    def emit(self, event: PlannerGenerationEvent) -> None:
        """Take one event."""
        ...


class MemorySink:
    """Keeps events in a list, oldest first."""

    def __init__(self) -> None:
        self.events: list[PlannerGenerationEvent] = []

    def emit(self, event: PlannerGenerationEvent) -> None:
        """Keep the event."""
        self.events.append(event)


class JsonLinesSink:
    """Appends one line of JSON an event to a file, whose folder is made where it is absent."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def emit(self, event: PlannerGenerationEvent) -> None:
        """Append the event in one write, so that lines of two processes do not mix.

        Raises:
            OSError: the file cannot be written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = msgspec.json.encode(event, order="deterministic") + b"\n"
        with self.path.open("ab", buffering=0) as file:
            file.write(line)


def coverage_metrics(schema: ParamSchema, used_keys: tuple[str, ...]) -> CoverageMetrics:
    """Coverage of a schema by the keys that a planner reads."""
    required = [param for param in schema.params if param.required]
    n = len(required)
    n_answered = sum(param.answer is not None for param in required)
    n_covered = sum(param.key in used_keys for param in required)
    return CoverageMetrics(
        n_required=n,
        n_answered=n_answered,
        n_covered=n_covered,
        answered_ratio=n_answered / n if n else None,
        covered_ratio=n_covered / n if n else None,
    )


def build_event(
    synthesis: PlannerSynthesis, *, schema: ParamSchema, durations_ms: Mapping[str, float]
) -> PlannerGenerationEvent:
    """The event of one synthesis."""
    trace = synthesis.decision_trace
    return PlannerGenerationEvent(
        template=trace.template,
        coverage=coverage_metrics(schema, synthesis.expects),
        candidates=trace.candidates,
        selected=trace.selected,
        adapters=trace.adapters,
        fallback=trace.fallback,
        n_considered=trace.n_considered,
        n_not_allowed=trace.n_not_allowed,
        n_conflicting=trace.n_conflicting,
        rejected=trace.rejected,
        agent_id=synthesis.agent.agent_id if synthesis.agent else None,
        durations_ms=dict(durations_ms),
    )
