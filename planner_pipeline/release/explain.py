"""Decisions in words: what was asked, what was answered, and why.

Belongs here: one decision of a bundle as a record for people. Does not: choosing which to show.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from planner_pipeline.dataset.examples import Example
from planner_runtime.actions import Action
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document, to_document
from planner_runtime.explaining.explanation import ExplainedRun, explained_runs
from planner_runtime.explaining.words import action_words, reason_words
from planner_runtime.planner import Decision, Planner, action_of


class ExplainedDecision(msgspec.Struct, frozen=True, kw_only=True):
    """A decision with its reasons."""

    title: str
    issue: dict[str, Any]
    chosen: str
    baseline: str
    executed: str | None
    decided_by: str
    confidence: float | None
    reason: str
    alternatives: list[tuple[str, float]]
    similar_runs: list[ExplainedRun]
    action: dict[str, Any]


def explain(
    planner: Planner, document: dict[str, Any], *, title: str, executed: Action | None = None
) -> ExplainedDecision:
    """One decision of ``planner`` about a planner input."""
    decision = planner.decide(document, now_ms=0)
    question = read_document(document, PlannerInput)
    issue = to_document(question.issue)
    return ExplainedDecision(
        title=title,
        issue=issue,
        chosen=action_words(action_of(decision.action)),
        baseline=action_words(decision.baseline),
        executed=None if executed is None else action_words(executed),
        decided_by=decision.trace.decided_by,
        confidence=decision.action.confidence,
        reason=reason_words(decision.action, decision.trace, decision.baseline),
        alternatives=[(action_words(a), p) for a, p in decision.alternatives[:4]],
        similar_runs=explained_runs(question),
        action=to_document(decision.action),
    )


def three_to_explain(tests: Sequence[Example], planner: Planner) -> list[ExplainedDecision]:
    """The newest test examples where model and baseline agree and differ, and the least sure one.

    Fewer where there are not that many.

    Args:
        tests: Of the test split, in the order of decisions.
    """
    decisions = [(e, planner.decide(e.planner_input, now_ms=0)) for e in reversed(tests)]

    def agrees(decision: Decision) -> bool:  # also where the model is not followed
        return decision.model_choice in (None, decision.baseline)

    picks: dict[str, tuple[Example, str]] = {}
    for title, rows in (
        ("Model and baseline agree", [e for e, d in decisions if agrees(d)]),
        ("Model and baseline differ", [e for e, d in decisions if not agrees(d)]),
        (
            "Where the model is least sure",
            [e for e, _ in sorted(decisions, key=lambda row: row[1].action.confidence or 0.0)],
        ),
    ):
        fresh = [e for e in rows if e.example_id not in picks]
        if fresh:
            picks[fresh[0].example_id] = (fresh[0], title)
    return [
        explain(planner, e.planner_input, title=f"{title}: {e.example_id}", executed=e.label)
        for e, title in picks.values()
    ]
