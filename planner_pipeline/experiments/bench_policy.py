"""What a bench tells of the value policy: the promise of its threshold, the page of real outcomes.

Belongs here: benched cases put to an outcome bundle, decisions that were worse than the baseline's,
the certificate, the what-if page's data. Does not: reading cases (``benched_cases``), the test
behind a certificate (``evaluation.risk``), a bundle's documents (``release.workspace_bundle``).
Spec: sections 7.4, 8.2 and 9.4. Shapes: N cases, A actions.

A promise needs decisions that the fit has not seen. It learns from archived runs and never from
outcomes of a bench; but a case that was asked of the past may be one whose own run was archived, so
a case that is not later than all runs of the fit only counts where the fit knows no run of its
issue. What was worse is told by means over the repeats that ran: noise counts as it falls, and
hides a loss as often as it feigns one. Of the actions that were never benched nothing is known, so
the promise is of decisions like those where the preferred action was. Decisions count as if they
were independent; several about one issue are not, so notes tell of how many issues they are.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.evaluation.frontier import Kind, Promise, WhatIf, frontier_points
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.evaluation.rewards import left_out_words, reward_words
from planner_pipeline.evaluation.risk import FAILURE, TARGET, choose_threshold, least_rows
from planner_pipeline.experiments.benched_cases import (
    BenchedCase,
    benched_cases,
    may_be_learned,
    mean_utility,
    outcome_table,
    read_bench,
)
from planner_pipeline.experiments.policy_trials import EARLIER, TOLERANCE
from planner_pipeline.experiments.policy_workspace import (
    CODE,
    N_SHOWN,
    AskedDecision,
    differences_of,
    what_if_of_bundle,
)
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.actions import Action, valid_actions
from planner_runtime.bundle import Bundle
from planner_runtime.calibration import RiskControl
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document, to_document
from planner_runtime.decision import Decision
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.objective import Objective, Weights
from planner_runtime.outcome_planner import record_of_question
from planner_runtime.outcomes.model import OutcomeModel
from planner_runtime.planner import Planner, load_bundle

LEAST: Final = least_rows(TARGET, FAILURE / 2)  # half of the failure is spent on following all
LEAST_CASES: Final = 2  # of a page
FEW_FOLLOWED: Final = 10  # later ones, of which nothing is said
_CONFIDENCE_ALONE: Final = ("not_certified", "low_confidence")


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """Benched cases and what a bundle decides in them, earliest first.

    Attributes:
        n_learned: Cases left out because the fit may know what became of them.
    """

    cases: tuple[BenchedCase, ...]
    decisions: tuple[Decision, ...]
    n_learned: int


class Compared(msgspec.Struct, frozen=True, kw_only=True):
    """A decision that differs from the baseline's, where outcomes of both are known.

    Attributes:
        gain: Mean utility above the baseline's.
    """

    case_id: str
    issue_id: str
    asked_ms: int
    confidence: float
    gain: float

    @property
    def is_worse(self) -> bool:
        """Whether it loses more than ``TOLERANCE`` of utility."""
        return self.gain < -TOLERANCE


class Certificate(msgspec.Struct, frozen=True, kw_only=True):
    """What a bench certifies.

    Attributes:
        threshold: None: no confidence can be followed.
        later: Decisions after those it rests on.
    """

    threshold: float | None
    risk: RiskControl
    notes: tuple[str, ...]
    later: tuple[Compared, ...] = ()


def evidence_of(planner: Planner, bundle: Bundle, cases: Sequence[BenchedCase]) -> Evidence:
    """What a bundle decides in the cases that its fit cannot know."""
    assert bundle.outcome is not None
    state = bundle.outcome.track_record
    kept = tuple(case for case in cases if not may_be_learned(case, state))
    return Evidence(
        cases=kept,
        decisions=tuple(planner.decide(case.question, now_ms=0) for case in kept),
        n_learned=len(cases) - len(kept),
    )


def bundle_evidence(folder: Path, outcomes: pl.DataFrame, config: KernelConfig) -> Evidence:
    """The same of a bundle on disk and a table.

    Raises:
        BundleError: it is no whole bundle.
    """
    bundle, model = load_bundle(folder)
    planner = Planner(bundle, model, kernel_config=config, deadline_ms=None)
    return evidence_of(planner, bundle, benched_cases(outcomes))


def compared(evidence: Evidence, weights: Weights) -> list[Compared]:
    """Decisions that a high enough confidence would have changed, where both actions were tried."""
    found = []
    for case, decision in zip(evidence.cases, evidence.decisions, strict=True):
        preferred, reason = decision.model_choice, decision.trace.fallback_reason
        if preferred is None or preferred == decision.baseline:
            continue
        if reason is not None and not reason.startswith(_CONFIDENCE_ALONE):
            continue  # a question unlike the training rows is never followed
        mine = mean_utility(case.tried.get(preferred, ()), weights)
        base = mean_utility(case.tried.get(decision.baseline, ()), weights)
        confidence = decision.trace.confidence
        if mine is None or base is None or confidence is None:
            continue
        found.append(
            Compared(
                case_id=case.case_id,
                issue_id=case.issue_id,
                asked_ms=case.asked_ms,
                confidence=confidence,
                gain=mine - base,
            )
        )
    return found


def split_in_time(decisions: Sequence[Compared]) -> tuple[list[Compared], list[Compared]]:
    """Those that a promise rests on and later ones that check it: all and none, unless the earlier
    are enough by themselves and no moment is on both sides.
    """
    ordered = sorted(decisions, key=lambda one: (one.asked_ms, one.case_id))
    cut = round(len(ordered) * EARLIER)
    while 0 < cut < len(ordered) and ordered[cut].asked_ms == ordered[cut - 1].asked_ms:
        cut += 1
    if cut < LEAST or cut >= len(ordered):
        return ordered, []
    return ordered[:cut], ordered[cut:]


def certify(decisions: Sequence[Compared], objective: Objective) -> Certificate:
    """The threshold that benched decisions can promise something of, or why there is none."""
    earlier, later = split_in_time(decisions)
    threshold, risk = choose_threshold(
        np.array([one.confidence for one in earlier]),
        np.array([one.is_worse for one in earlier], dtype=bool),
        measure=f"mean utility on the bench more than {TOLERANCE:g} below the baseline's: "
        f"{reward_words(objective)}",
        whole_first=True,
    )
    n_worse = sum(one.is_worse for one in earlier)
    n_issues = len({one.issue_id for one in earlier})
    told = (
        f"{len(earlier)} decisions of the bench about {n_issues} issues differ from the baseline "
        f"and have outcomes of both actions, {n_worse} of them worse"
    )
    if threshold is not None:
        notes: tuple[str, ...] = (f"certified: {told}",)
    elif len(earlier) < LEAST:
        notes = (f"no promise: {told}; {LEAST} are needed, of which one may be worse",)
    else:
        notes = (f"no promise: {told}; no threshold keeps it ({LEAST} followed are needed)",)
    return Certificate(threshold=threshold, risk=risk, notes=notes, later=tuple(later))


def promise_of(bundle: Bundle, decisions: Sequence[Compared]) -> tuple[Promise | None, str | None]:
    """The promise of a bundle, checked on later decisions, and what else is to be said of it.

    None without a certificate. Where the bench is another than the bundle was certified on, nothing
    says which of its decisions are later, so that nothing is checked.
    """
    assert bundle.outcome is not None
    calibration = bundle.outcome.calibration
    risk = calibration.risk
    if risk is None:
        return None, None
    threshold = None if calibration.always_abstains else calibration.confidence_threshold
    known = certify(decisions, bundle.outcome.policy.objective)
    is_same = known.risk == risk
    later = known.later if is_same else ()
    followed = [one for one in later if threshold is not None and one.confidence >= threshold]
    n_worse = sum(one.is_worse for one in followed)
    enough = len(followed) >= FEW_FOLLOWED
    promise = Promise(
        threshold=threshold,
        target=risk.target,
        failure=risk.failure,
        n=risk.n,
        n_followed=risk.n_followed,
        n_worse=risk.n_worse,
        bound=risk.bound,
        later_n=len(later),
        later_followed=len(followed),
        later_worse=n_worse,
        kept=n_worse / len(followed) <= risk.target if enough else None,
    )
    if not is_same:
        return promise, "The bench has changed since the bundle was certified on it."
    if not later:
        return promise, "The promise rests on all benched decisions: none is left to check it."
    return promise, None


def what_if_of_bench(
    bundle: Bundle, evidence: Evidence, config: KernelConfig, imitation: Mapping[str, Action]
) -> WhatIf | None:
    """The what-if page's data from a bench's outcomes; None where it has fewer than two cases about
    code with an outcome of the baseline.

    Args:
        imitation: By example id, what the imitation model chose.
    """
    assert bundle.outcome is not None
    objective = bundle.outcome.policy.objective
    actions = valid_actions(bundle.action_space, CODE)
    place = {action: i for i, action in enumerate(actions)}
    pairs = sorted(
        (
            (case, decision)
            for case, decision in zip(evidence.cases, evidence.decisions, strict=True)
            if case.job_type == CODE and _has_baseline(case, decision, place)
        ),
        key=lambda pair: pair[0].case_id,  # as ``OutcomeBench`` orders them
    )
    if len(pairs) < LEAST_CASES:
        return None
    table = outcome_table([case for case, _ in pairs], place)
    bench = OutcomeBench(table)
    knows_usd = not table["cost_usd"].has_nulls()
    baseline = np.array([place[decision.baseline] for _, decision in pairs])
    preferred = np.array(
        [place.get(decision.model_choice or decision.baseline, -1) for _, decision in pairs]
    )
    policies: dict[str, tuple[Kind, np.ndarray]] = {"value policy": ("value", preferred)}
    copied = [imitation.get(case.example_id or "") for case, _ in pairs]
    if any(copied):
        rows = [-1 if action is None else place.get(action, -1) for action in copied]
        policies["imitation"] = ("imitation", np.array(rows))
    scored = sum(
        any(one.minutes is not None for one in case.tried.get(actions[row], ()))
        for (case, _), row in zip(pairs, preferred.tolist(), strict=True)
        if row >= 0
    )
    of_bundle = compared(evidence, objective.weights)
    promise, besides = promise_of(bundle, of_bundle)
    asked = [_asked(case, bundle, config) for case, _ in pairs]
    differences = differences_of(asked, [decision for _, decision in pairs])
    issues = {case.issue_id for case, _ in pairs}
    notes = [
        f"Outcomes of {len(pairs)} benched cases of {len(issues)} issues that have one of the "
        f"baseline; the action that the value policy prefers was benched in {scored} of them, and "
        "every point is over the cases that have its action.",
        f"{evidence.n_learned} benched cases are left out: the model may know what became of them.",
        *([besides] if besides else []),
        *(f"Of the objective, {words}." for words in left_out_words(objective)),
        *([] if knows_usd else ["Dollars are in no utility: those of some outcome are not known."]),
        "What decisions differ in is the model's own expectation.",
    ]
    return WhatIf(
        source="bench",
        objective=to_document(objective),
        n_cases=len(pairs),
        n_issues=len(issues),
        points=frontier_points(
            bench,
            action_names=[" ".join(map(str, action)) for action in actions],
            baseline=baseline,
            policies=policies,
            minute_weight=objective.weights.minute,
            usd_weight=objective.weights.usd if knows_usd else 0.0,
        ),
        differences=tuple(differences[:N_SHOWN]),
        n_differences=len(differences),
        promise=promise,
        notes=tuple(notes),
    )


def _has_baseline(case: BenchedCase, decision: Decision, place: Mapping[Action, int]) -> bool:
    tried = case.tried.get(decision.baseline, ())
    return decision.baseline in place and any(one.minutes is not None for one in tried)


def _asked(case: BenchedCase, bundle: Bundle, config: KernelConfig) -> AskedDecision:
    assert bundle.outcome is not None
    question = read_document(case.question, PlannerInput)
    record = record_of_question(question, bundle.outcome.track_record, config)
    return AskedDecision(case.case_id, case.issue_id, case.job_type, case.question, record)


def what_if_best_known(
    folder: Path, fitted: FittedOutcomes, dataset: Dataset, runs: pl.DataFrame,
    config: KernelConfig, imitation: Mapping[str, Action], bench: Path,
) -> WhatIf:  # fmt: skip
    """The page's data of a bundle on disk: from a bench's outcomes where there are enough, else the
    model's own estimates.
    """
    outcomes = read_bench(bench)
    if outcomes is not None:
        bundle, model = load_bundle(folder)
        assert isinstance(model, OutcomeModel)
        planner = Planner(bundle, model, kernel_config=config, deadline_ms=None)
        evidence = evidence_of(planner, bundle, benched_cases(outcomes))
        page = what_if_of_bench(bundle, evidence, config, imitation)
        if page is not None:
            return page
    return what_if_of_bundle(folder, fitted, dataset, runs, config, imitation)
