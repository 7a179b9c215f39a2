"""The event as a span, through the real SDK into its in-memory exporter."""

import msgspec
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from planner_synthesis.telemetry import CoverageMetrics, PlannerGenerationEvent
from planner_synthesis.telemetry_otel import OtelSink
from planner_synthesis.types import AdapterStep, CandidateScore, FallbackInfo

SECRET = "sk-CANARY0000000000000000"


@pytest.fixture
def spans() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def sink(spans: InMemorySpanExporter) -> OtelSink:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    return OtelSink(provider)


def a_score(card_id: str = "gh.monitor") -> CandidateScore:
    return CandidateScore(
        id=card_id, kind="capability", coverage=1.0, compatibility=0.9, trust_bias=0.5, total=0.865
    )


def an_event() -> PlannerGenerationEvent:
    return PlannerGenerationEvent(
        template="adapter",
        coverage=CoverageMetrics(
            n_required=2, n_answered=1, n_covered=2, answered_ratio=0.5, covered_ratio=1.0
        ),
        candidates=tuple(a_score(f"c.{n:02}") for n in range(30)),
        selected=a_score(),
        adapters=(AdapterStep(from_="repo", to="repository", coercion="string->int"),),
        n_considered=30,
        n_not_allowed=3,
        durations_ms={"score": 12.5, "emit": 7.5, "total": 20.0},
    )


def test_an_event_is_one_span_with_its_numbers(sink: OtelSink, spans: InMemorySpanExporter) -> None:
    sink.emit(an_event())
    (span,) = spans.get_finished_spans()
    assert span.name == "planner_generation"
    attributes = dict(span.attributes or {})
    assert attributes["cyntra.planner.template"] == "adapter"
    assert attributes["cyntra.planner.selected.id"] == "gh.monitor"
    assert attributes["cyntra.planner.selected.total"] == 0.865
    assert attributes["cyntra.planner.n_not_allowed"] == 3
    assert attributes["cyntra.planner.answered_ratio"] == 0.5
    assert attributes["cyntra.planner.duration_ms.score"] == 12.5
    assert "cyntra.planner.fallback.reason" not in attributes
    assert span.end_time is not None
    assert span.start_time is not None
    assert span.end_time - span.start_time == 20_000_000
    names = [event.name for event in span.events]
    assert names == ["candidate"] * 10 + ["adapter"]
    assert dict(span.events[-1].attributes or {}) == {
        "from": "repo", "to": "repository", "coercion": "string->int", "reason": "same name", "default_used": False,
    }  # fmt: skip


def test_why_something_was_rejected_is_told_and_what_a_step_lacks_is_absent(
    sink: OtelSink, spans: InMemorySpanExporter
) -> None:
    step = AdapterStep(from_="", to="limit", default_used=True, reason="its own default")
    event = msgspec.structs.replace(
        an_event(), adapters=(step,), rejected=("proposal: arbiter: timeout: x",)
    )
    sink.emit(event)
    (span,) = spans.get_finished_spans()
    assert dict(span.attributes or {})["cyntra.planner.rejected"] == (
        "proposal: arbiter: timeout: x",
    )
    assert dict(span.events[-1].attributes or {}).keys() == {"to", "reason", "default_used"}


def test_a_fallback_tells_its_reason_and_what_is_unknown_is_absent(
    sink: OtelSink, spans: InMemorySpanExporter
) -> None:
    sink.emit(
        PlannerGenerationEvent(
            template="requires-agent",
            coverage=CoverageMetrics(n_required=0, n_answered=0, n_covered=0),
            fallback=FallbackInfo(stub_id="s", missing_required=("a",), reason="no candidate"),
        )
    )
    attributes = dict(spans.get_finished_spans()[0].attributes or {})
    assert attributes["cyntra.planner.fallback.reason"] == "no candidate"
    assert attributes["cyntra.planner.fallback.missing_required"] == ("a",)
    assert not [name for name in attributes if "ratio" in name or "selected" in name]


def test_no_secret_reaches_a_span(sink: OtelSink, spans: InMemorySpanExporter) -> None:
    event = PlannerGenerationEvent(
        template="requires-agent",
        coverage=CoverageMetrics(n_required=0, n_answered=0, n_covered=0),
        candidates=(a_score(SECRET),),
        selected=a_score(SECRET),
        adapters=(AdapterStep(from_=SECRET, to=SECRET),),
        fallback=FallbackInfo(stub_id=SECRET, missing_required=(SECRET,), reason=f"x {SECRET}"),
        agent_id=SECRET,
        rejected=(f"proposal: {SECRET}",),
    )
    sink.emit(event)
    assert "CANARY" not in spans.get_finished_spans()[0].to_json()
