"""Winner labels: which action was best on each case of a campaign, and how sure that is.

Belongs here: outcomes to labels, the declared tie-breaks, what is no label and why, their table.
Does not: the comparison itself (``label_rule``), learning from labels (``dataset.winners``).
Spec: section 9.4.

A case is a label when every candidate has an outcome that the harness did not spoil, at least one
passed, and the winner is stable. Equal candidates are kept as ties; the winner among them has fewer
candidates, then fewer minutes, fewer iterations, is serial, comes first in the valid actions, with
"NA" as what it amounts to.

Stable is what wins in at least ``stable_from`` of the resamples, all ties together: that equals
share their wins makes none of them doubtful. With one outcome a candidate nothing tells of luck:
there is no probability, and such a label is taken on trust.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.bench.bench_tables import WINNER_LABELS
from planner_pipeline.bench.candidates import iterations_of
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.label_rule import CaseFigures, Direction, Draws, Evidence, Rule
from planner_pipeline.bench.protocol import words_of
from planner_pipeline.tables import WINNERS, check_table, polars_schema
from planner_runtime.actions import HEADS, Action, ActionSpace, valid_actions
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.decision import action_of
from planner_runtime.heuristic import SERIAL

N_BOOTSTRAP: Final = 1_000
NO_ACTION: Final = (None,) * len(HEADS)

LabelReason = Literal["label", "incomplete", "mixed", "nothing_passed", "ambiguous"]


class WinnerLabel(msgspec.Struct, frozen=True, kw_only=True):
    """The winner of one case, or why it has none.

    Attributes:
        action: None where nothing passed, and where candidates cannot be compared.
        reason: "incomplete": a candidate has no outcome but the harness's failures; "mixed":
            outcomes of several inputs, universes, commits or configurations; "ambiguous": there is
            a winner, but with ``ties_probability`` below ``stable_from``.
        ties: All that are equally good, in the order of the valid actions, the winner among them.
        probability: Share of resamples the winner wins, ties sharing; null where a candidate has
            one outcome only.
        ties_probability: The same of all ``ties`` together.
        n_outcomes: Without the harness's failures.
        pass_ratio: Of the winner, as ``metrics``: means over its passing outcomes, null where one
            of them lacks it.
        missing: Metrics that passing outcomes of a candidate lack, which makes it the worst in
            them, as "metric: action".
        bench_config_hashes: One, unless the case is mixed.
    """

    case_id: str
    example_id: str | None
    issue_id: str
    system: str
    job_type: str
    input_hash: str
    action: Action | None = None
    is_label: bool = False
    reason: LabelReason
    ties: tuple[str, ...] = ()
    probability: float | None = None
    ties_probability: float | None = None
    n_candidates: int
    n_outcomes: int
    n_infra_errors: int
    pass_ratio: float | None = None
    metrics: dict[str, float | None] = {}
    missing: tuple[str, ...] = ()
    objective: dict[str, Direction]
    bench_config_hashes: tuple[str, ...]
    universe_hash: str | None
    base_commit: str | None
    toolchain_versions: dict[str, str]


def metric_of(outcome: BenchOutcome, name: str) -> float | None:
    """A metric of an objective: as the outcome measured it, else its own field of that name.

    None where it has neither, or no number.
    """
    value = outcome.metrics.get(name)
    if value is None and name in ("duration_ms", "agent_ms", "cost_usd"):
        value = getattr(outcome, name)
    return None if value is None or not np.isfinite(value) else float(value)


class _Case:
    """The outcomes of one case, in an order of their own."""

    def __init__(
        self,
        outcomes: Sequence[BenchOutcome],
        space: ActionSpace,
        planned: Sequence[Action],
        objective: Mapping[str, Direction],
    ) -> None:
        first = outcomes[0]
        valid = valid_actions(space, first.job_type)
        self.place = {action: i for i, action in enumerate(valid)}
        actions = {action_of(outcome.action) for outcome in outcomes} | set(planned)
        if not actions <= set(valid):
            raise ValueError(f"case {first.case_id!r} tries what is no valid action")

        def order(outcome: BenchOutcome) -> tuple[int, int, Draws, str]:
            action = self.place[action_of(outcome.action)]
            return (action, outcome.repeat, outcome.replayed or (), outcome.unit_id)

        self.all = sorted(outcomes, key=order)
        self.outcomes = [o for o in self.all if o.status != "infra_error"]
        self.actions = sorted(actions, key=self.place.__getitem__)
        self.objective = objective
        keys = [(o.unit_id, o.replayed) for o in self.outcomes]
        names = {(o.issue_id, o.system, o.job_type, o.example_id) for o in self.all}
        if len(set(keys)) < len(keys) or len(names) > 1:
            raise ValueError(
                f"case {first.case_id!r} has an outcome twice, or is of two issues, systems, job"
                " types or examples"
            )

    @property
    def is_mixed(self) -> bool:
        """Whether its outcomes answer different questions, or were made differently."""
        made = {(o.input_hash, o.universe_hash, o.bench_config_hash) for o in self.outcomes}
        commits = {o.base_commit for o in self.outcomes if o.base_commit is not None}
        return len(made) > 1 or len(commits) > 1

    def counts(self) -> list[int]:
        """Outcomes of every candidate."""
        of = [action_of(outcome.action) for outcome in self.outcomes]
        return [of.count(action) for action in self.actions]

    def missing(self) -> tuple[str, ...]:
        """What passing outcomes lack."""
        found = {
            (self.place[action_of(o.action)], name): f"{name}: {words_of(action_of(o.action))}"
            for o in self.outcomes
            if o.is_passed
            for name in self.objective
            if metric_of(o, name) is None
        }
        return tuple(found[key] for key in sorted(found))

    def evidence(self) -> Evidence:
        """Its outcomes as arrays; attempts have numbers from 0 on, what ran has negative ones."""
        number = {action: i for i, action in enumerate(self.actions)}
        values = [[metric_of(o, name) for name in self.objective] for o in self.outcomes]
        return Evidence(
            candidate=np.array([number[action_of(o.action)] for o in self.outcomes]),
            passed=np.array([o.is_passed for o in self.outcomes]),
            metrics=np.array(values, dtype=np.float64).reshape(len(values), len(self.objective)),
            draws=[
                tuple(sorted(o.replayed)) if o.replayed is not None else (-1 - i,)
                for i, o in enumerate(self.outcomes)
            ],
        )

    def label(self, reason: LabelReason) -> WinnerLabel:
        """Its label so far: without a winner."""
        first = (self.outcomes or self.all)[0]
        commits = (o.base_commit for o in self.outcomes)
        return WinnerLabel(
            case_id=first.case_id,
            example_id=first.example_id,
            issue_id=first.issue_id,
            system=first.system,
            job_type=first.job_type,
            input_hash=first.input_hash,
            reason=reason,
            n_candidates=len(self.actions),
            n_outcomes=len(self.outcomes),
            n_infra_errors=len(self.all) - len(self.outcomes),
            missing=self.missing(),
            objective=dict(self.objective),
            bench_config_hashes=tuple(sorted({o.bench_config_hash for o in self.all})),
            universe_hash=first.universe_hash,
            base_commit=next((commit for commit in commits if commit is not None), None),
            toolchain_versions=dict(
                sorted(item for o in self.all for item in o.toolchain_versions.items())
            ),
        )


def _labelled(case: _Case, config: BenchConfig, n_bootstrap: int) -> WinnerLabel:
    counts = case.counts()
    if case.is_mixed or 0 in counts:
        return case.label("mixed" if case.is_mixed else "incomplete")
    if not any(outcome.is_passed for outcome in case.outcomes):
        return case.label("nothing_passed")
    label = case.label("label")
    rule = Rule(
        directions=tuple(case.objective.values()),
        resolutions=tuple(config.resolution.get(name) for name in case.objective),
    )
    knows_luck = min(counts) > 1 and n_bootstrap > 0
    rng = np.random.default_rng([config.seed, int(document_hash(label.case_id)[:8], 16)])
    figures = CaseFigures(case.evidence(), rng, n_bootstrap if knows_luck else 0)

    def tie_break(candidate: int) -> tuple[int, int, int, bool, int]:
        action = case.actions[candidate]
        return (
            config.n_candidates(action),
            config.minutes(action),
            iterations_of(action),
            action.swarm_id != SERIAL,
            case.place[action],
        )

    ties = [int(i) for i in np.flatnonzero(figures.is_best(rule)[0])]
    winner = min(ties, key=tie_break)
    wins = figures.win_ratio(rule) if knows_luck else None
    is_stable = wins is None or float(wins[ties].sum()) >= config.stable_from - 1e-9
    means = figures.means[0, winner].tolist()
    return msgspec.structs.replace(
        label,
        action=case.actions[winner],
        is_label=is_stable,
        reason="label" if is_stable else "ambiguous",
        ties=tuple(words_of(case.actions[i]) for i in ties),
        probability=None if wins is None else float(wins[winner]),
        ties_probability=None if wins is None else float(wins[ties].sum()),
        pass_ratio=float(figures.pass_ratio[0, winner]),
        metrics={
            name: None if np.isnan(mean) else mean
            for name, mean in zip(case.objective, means, strict=True)
        },
    )


def winner_labels(
    outcomes: Iterable[BenchOutcome],
    *,
    objective: Mapping[str, Direction],
    config: BenchConfig,
    space: ActionSpace,
    planned: Mapping[str, Sequence[Action]] | None = None,
    n_bootstrap: int = N_BOOTSTRAP,
) -> list[WinnerLabel]:
    """A label for every case with an outcome, by case id; the order of outcomes is no matter.

    Args:
        objective: Metrics by priority, the universe's or the configuration's.
        config: Its ``resolution``, ``stable_from``, ``seed`` and what "NA" amounts to count.
        planned: By case, all candidates that were to run; one without an outcome makes its case
            incomplete. Otherwise candidates are those that have one.

    Raises:
        ValueError: an outcome is there twice or of no valid action, or a case is of two issues.
    """
    by_case: dict[str, list[BenchOutcome]] = defaultdict(list)
    for outcome in outcomes:
        by_case[outcome.case_id].append(outcome)
    return [
        _labelled(
            _Case(rows, space, (planned or {}).get(case_id, ()), objective), config, n_bootstrap
        )
        for case_id, rows in sorted(by_case.items())
    ]


def label_table(labels: Iterable[WinnerLabel]) -> pl.DataFrame:
    """``WINNER_LABELS``, in the order given; objective and metrics keep their order."""
    rows = []
    for label in labels:
        row = {name: getattr(label, name) for name in WinnerLabel.__struct_fields__}
        action = row.pop("action")
        cells = NO_ACTION if action is None else tuple(map(str, action))
        row |= dict(zip(HEADS, cells, strict=True))
        for name in ("metrics", "objective", "toolchain_versions"):
            row[name] = msgspec.json.encode(row[name]).decode()
        for name in ("ties", "missing", "bench_config_hashes"):
            row[name] = list(row[name])
        rows.append(row)
    return check_table(WINNER_LABELS, pl.DataFrame(rows, schema=polars_schema(WINNER_LABELS)))


def training_winners(table: pl.DataFrame) -> pl.DataFrame:
    """``WINNERS`` of the labels in a ``WINNER_LABELS`` table, as ``dataset.winners`` reads them:
    under the example of the same decision, or under the case's own id where there is none.

    Raises:
        pandera.errors.SchemaError: two labels are of one example.
    """
    labels = check_table(WINNER_LABELS, table).filter("is_label")
    example = pl.coalesce("example_id", "case_id").alias("example_id")
    return check_table(WINNERS, labels.select(example, *HEADS))
