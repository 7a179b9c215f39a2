"""The `planner_generation` event as an OpenTelemetry span.

Belongs here: the sink, which attributes a span has; the only import of OpenTelemetry.
Does not: the event (``telemetry``), exporters, which whoever runs the process sets up.
Source: OpenTelemetry specification, "Attributes" (scalars and lists of one type, no objects); the
event in docs/registries.md. An extra: ``otel``.
"""

import time
from typing import Final

from planner_synthesis.extras import missing_extra
from planner_synthesis.snapshot.redaction import redact
from planner_synthesis.telemetry import PlannerGenerationEvent
from planner_synthesis.types import AdapterStep, CandidateScore

try:
    from opentelemetry import trace
    from opentelemetry.util.types import AttributeValue
except ImportError as error:
    names = ("opentelemetry", "opentelemetry.trace", "opentelemetry.util")
    raise missing_extra(error, "otel", libraries=names) from error

SPAN_NAME: Final = "planner_generation"
PREFIX: Final = "cyntra.planner."
MAX_LISTED: Final = 10
MAX_CHARS: Final = 256


class OtelSink:
    """Emits one finished span for each event; it is as long as the event's durations say.

    Args:
        provider: Where spans go; by default the one that the process has set up.
    """

    def __init__(self, provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("planner_synthesis", tracer_provider=provider)

    def emit(self, event: PlannerGenerationEvent) -> None:
        """Take one event."""
        end_ns = time.time_ns()
        durations_ms = event.durations_ms
        length_ns = int(durations_ms.get("total", sum(durations_ms.values())) * 1_000_000)
        span = self._tracer.start_span(
            SPAN_NAME, attributes=attributes_of(event), start_time=end_ns - max(0, length_ns)
        )
        for candidate in event.candidates[:MAX_LISTED]:
            span.add_event("candidate", attributes=_score(candidate), timestamp=end_ns)
        for step in event.adapters[:MAX_LISTED]:
            span.add_event("adapter", attributes=_step(step), timestamp=end_ns)
        span.end(end_time=end_ns)


def _text(text: str) -> str:
    return redact(text)[:MAX_CHARS]


def _score(candidate: CandidateScore) -> dict[str, AttributeValue]:
    return {
        "id": _text(candidate.id),
        "kind": candidate.kind,
        "coverage": candidate.coverage,
        "compatibility": candidate.compatibility,
        "trust_bias": candidate.trust_bias,
        "total": candidate.total,
        "is_viable": candidate.is_viable,
    }


def _step(step: AdapterStep) -> dict[str, AttributeValue]:
    found = {
        "from": step.from_,
        "to": step.to,
        "coercion": step.coercion or "",
        "reason": step.reason,
    }
    told: dict[str, AttributeValue] = {name: _text(text) for name, text in found.items() if text}
    return told | {"default_used": step.default_used}


def attributes_of(event: PlannerGenerationEvent) -> dict[str, AttributeValue]:
    """Attributes of an event's span; what is not known is absent, never zero.

    Names begin with ``cyntra.planner.``; durations are in milliseconds.
    """
    coverage = event.coverage
    found: dict[str, AttributeValue | None] = {
        "template": event.template,
        "n_candidates": len(event.candidates),
        "n_considered": event.n_considered,
        "n_not_allowed": event.n_not_allowed,
        "n_conflicting": event.n_conflicting,
        "n_adapters": len(event.adapters),
        "n_rejected": len(event.rejected),
        "n_required": coverage.n_required,
        "n_answered": coverage.n_answered,
        "n_covered": coverage.n_covered,
        "answered_ratio": coverage.answered_ratio,
        "covered_ratio": coverage.covered_ratio,
        "agent_id": _text(event.agent_id) if event.agent_id else None,
        "rejected": [_text(why) for why in event.rejected[:MAX_LISTED]] or None,
    }
    if event.selected is not None:
        found |= {f"selected.{name}": value for name, value in _score(event.selected).items()}
    if event.fallback is not None:
        found |= {
            "fallback.stub_id": _text(event.fallback.stub_id),
            "fallback.reason": _text(event.fallback.reason),
            "fallback.missing_required": [
                _text(key) for key in event.fallback.missing_required[:MAX_LISTED]
            ],
        }
    for stage, duration_ms in sorted(event.durations_ms.items()):
        found[f"duration_ms.{stage}"] = duration_ms
    return {PREFIX + name: value for name, value in found.items() if value is not None}
