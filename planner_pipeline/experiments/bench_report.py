"""What a bench says: heuristic, best fixed action and model on outcomes of candidates that ran.

Belongs here: the figures that people ask of a bench, and the words beside them. Does not: labels
(``bench.labels``), the estimators (``evaluation.outcomes``). Spec: sections 8.2 and 9.

Every figure is over the cases in which its policy's action has an outcome; ``n`` tells how many. An
action that some case did not evaluate cannot be the best fixed one. The oracle chooses on the
outcomes that score it, so regret is pessimistic, the more so the fewer repeats there are.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.artifacts import write_bytes
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.outcome_rows import action_outcomes
from planner_pipeline.bench.protocol import Case
from planner_pipeline.bench.session import BenchSession, Judged
from planner_pipeline.evaluation.outcomes import (
    BEST_FIXED,
    DEFAULT,
    ORACLE,
    choices_table,
    outcome_figures,
)
from planner_pipeline.tables import CHOICES, polars_schema
from planner_runtime.actions import Action, ActionSpace, valid_actions
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.decision import action_of

COST_WEIGHT: Final = 0.01  # of a pass, for each agent-minute; as the trial study's declared one
MODEL: Final = "model"
POLICIES: Final = {DEFAULT: "heuristic", BEST_FIXED: "best fixed action", MODEL: "model",
                   ORACLE: "oracle"}  # fmt: skip
FIGURES: Final = {
    "pass_rate": "pass rate",
    "usd_per_pass": "dollars per pass",
    "minutes_per_pass": "agent-minutes per pass",
    "regret": "regret",
}


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One figure of one policy, with its 95 % interval over issues; null where not known."""

    policy: str
    figure: str
    value: float | None
    low: float | None
    high: float | None
    n: int
    n_issues: int


class BenchReport(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of a bench and what they rest on.

    Attributes:
        cost_weight: Utility = pass - weight x agent-minutes.
        made_with: Executor and isolation of the outcomes.
        notes: What must be said beside the figures.
    """

    job_type: str
    cost_weight: float
    n_cases: int
    n_outcomes: int
    n_infra_errors: int
    n_labels: int
    made_with: tuple[str, ...]
    figures: tuple[Figure, ...]
    notes: tuple[str, ...]


def _choices(
    cases: Sequence[Case], choices: Mapping[str, Action], valid: Sequence[Action]
) -> pl.DataFrame:
    known = [case for case in cases if choices.get(case.case_id) in valid]
    if not known:
        return pl.DataFrame(schema=polars_schema(CHOICES))
    actions = np.array([valid.index(choices[case.case_id]) for case in known])
    return choices_table(
        MODEL, [case.case_id for case in known], actions, abstains=np.zeros(len(known), dtype=bool)
    )


def bench_report(
    outcomes: Iterable[BenchOutcome],
    cases: Sequence[Case],
    *,
    job_type: str,
    space: ActionSpace,
    choices: Mapping[str, Action],
    n_labels: int,
    config: BenchConfig,
    cost_weight: float = COST_WEIGHT,
) -> BenchReport:
    """Figures of the cases of one job type.

    Where nobody knows how long the agents of an outcome worked, as of losers that a kernel does not
    archive, all of them are taken to have worked until its end: an upper bound, and said so.

    Args:
        choices: By case id, what a model chose; empty without one.
    """
    every = [outcome for outcome in outcomes if outcome.job_type == job_type]
    bounded = [_bounded(one, config) for one in every if one.status != "infra_error"]
    told = [one for one in bounded if one.agent_ms is not None]
    scored = {one.case_id for one in told}
    mine = [case for case in cases if case.job_type == job_type and case.case_id in scored]
    figures: tuple[Figure, ...] = ()
    if mine:
        valid = valid_actions(space, job_type)
        table = outcome_figures(
            action_outcomes(told, space),
            _choices(mine, choices, valid),
            defaults={case.case_id: valid.index(case.baseline) for case in mine},
            cost_weights=[cost_weight],
        )
        figures = tuple(_picked(table))
    return BenchReport(
        job_type=job_type,
        cost_weight=cost_weight,
        n_cases=len(mine),
        n_outcomes=len(told),
        n_infra_errors=sum(one.status == "infra_error" for one in every),
        n_labels=n_labels,
        made_with=tuple(sorted({_made_with(one) for one in every})),
        figures=figures,
        notes=tuple(_notes(every, told)),
    )


def report_of(session: BenchSession, judged: Judged) -> BenchReport:
    """Figures of a session's cases, of the job type that most of them have, and their files."""
    jobs = Counter(case.job_type for case in session.cases)
    job_type = max(sorted(jobs), key=lambda job: jobs[job], default="code")
    is_mine = pl.col("job_type") == job_type
    report = bench_report(
        session.outcomes(),
        session.cases,
        job_type=job_type,
        space=session.space,
        choices=session.choices,
        n_labels=int(judged.labels.filter(is_mine)["is_label"].sum()),
        config=session.config,
    )
    write_bytes(msgspec.json.format(msgspec.json.encode(report)), session.bench / "report.json")
    write_bytes(as_markdown(report).encode(), session.bench / "report.md")
    return report


def _picked(table: pl.DataFrame) -> Iterable[Figure]:
    against = pl.col("against")
    rows = table.filter(
        pl.col("policy").is_in(list(POLICIES)),
        pl.col("figure").is_in(list(FIGURES)),
        against.is_null() | ((pl.col("figure") == "regret") & (against == ORACLE)),
    )
    for row in rows.iter_rows(named=True):
        yield Figure(**{name: row[name] for name in Figure.__struct_fields__})


def _bounded(outcome: BenchOutcome, config: BenchConfig) -> BenchOutcome:
    """The outcome with an upper bound where its agents' time is not known."""
    if outcome.agent_ms is not None or outcome.duration_ms is None:
        return outcome
    n = config.n_candidates(action_of(outcome.action))
    return msgspec.structs.replace(outcome, agent_ms=n * outcome.duration_ms)


def _made_with(outcome: BenchOutcome) -> str:
    return " ".join(part for part in (outcome.executor, outcome.isolation) if part)


def _notes(every: Sequence[BenchOutcome], told: Sequence[BenchOutcome]) -> Iterable[str]:
    minutes = {one.minute_seconds for one in told if one.replayed is None} - {60.0}
    if minutes:
        scales = ", ".join(f"{scale:g} s" for scale in sorted(minutes))
        yield f"A minute of a budget was {scales} of the clock."
    if any(one.replayed is not None for one in told):
        yield (
            "Replayed: a vote is taken to find a passing candidate whenever there is one, so every "
            "figure of more than one candidate is an upper bound."
        )
    if max((one.repeat for one in told), default=0) == 0 and not any(o.replayed for o in told):
        yield "One seed a candidate: the oracle, and so every regret, is partly luck."
    unknown = [one for one in every if one.status != "infra_error" and one.agent_ms is None]
    if unknown:
        left_out = sum(one.duration_ms is None for one in unknown)
        yield (
            f"Nobody knows how long the agents of {len(unknown)} outcomes worked: taken as until "
            f"its end for each candidate, an upper bound; {left_out} without an end are left out."
        )


def _cell(figure: Figure | None) -> str:
    if figure is None or figure.value is None:
        return "not known"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3g} (n={figure.n})"
    return f"{figure.value:.3g} ({figure.low:.3g} to {figure.high:.3g}, n={figure.n})"


def as_markdown(report: BenchReport) -> str:
    """The report for people."""
    found = {(figure.policy, figure.figure): figure for figure in report.figures}
    header = ("policy", *FIGURES.values())
    rows = [
        (words, *(_cell(found.get((policy, figure))) for figure in FIGURES))
        for policy, words in POLICIES.items()
        if any(key[0] == policy for key in found)
    ]
    lines = [
        f"{report.n_cases} cases of {report.job_type}, {report.n_outcomes} outcomes made with "
        f"{' and '.join(report.made_with) or 'nothing yet'}, {report.n_labels} labels, "
        f"{report.n_infra_errors} failures of the harness.",
        f"Utility = pass - {report.cost_weight:g} x agent-minutes; 95 % intervals over issues.",
        "",
        *(" | ".join(cells) for cells in (header, ("---",) * len(header), *rows)),
        "",
        *(f"- {note}" for note in report.notes),
    ]
    return "\n".join(lines) + "\n"


def short_lines(report: BenchReport) -> list[str]:
    """The figures for a terminal, a policy a line."""
    found = {(figure.policy, figure.figure): figure for figure in report.figures}
    lines = []
    for policy, words in POLICIES.items():
        if any(key[0] == policy for key in found):
            cells = [
                f"{FIGURES[figure]} {_cell(found.get((policy, figure)))}"
                for figure in ("pass_rate", "usd_per_pass", "regret")
            ]
            lines.append(f"{words:<18} {', '.join(cells)}")
    return lines
