"""What the trial study says: figures of learned policies, two verdicts, a report.

Belongs here: figures over seeds, what may be concluded from them, the words. Does not: fitting
(``trial_policies``), yardsticks (``evaluation.study``). Spec: section 8.2.

A learned policy is the mean of its seeds, case by case: what somebody may expect who trains it
once. Its intervals are over issues and attempts, with the resamples of the yardsticks; how far
seeds lie apart is told beside them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple, get_args

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.bench.replay import LeftOut
from planner_pipeline.bench.trial_study import STUDY_ACTIONS, TrialStudy
from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP, interval_of
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.evaluation.outcomes import BEST_FIXED, DEFAULT, ORACLE, SYSTEM_PRIOR
from planner_pipeline.evaluation.yardsticks import (
    best_fixed,
    best_fixed_out_of_fold,
    oracle,
    prior_of_other_systems,
)
from planner_pipeline.models.spec import Arch
from planner_pipeline.tables import OUTCOME_FIGURES, check_table, polars_schema
from planner_pipeline.training.config import TrainConfig
from planner_runtime.archives.files import SourceCount

Labels = Literal["winners", "values"]
Split = Literal["task_fold", "system_fold"]

DECLARED_WEIGHT: Final = 0.01
DECLARED_SPLIT: Final[Split] = "task_fold"
SPLIT_WORDS: Final[Mapping[Split, str]] = {
    "task_fold": "on tasks no model was fitted on",
    "system_fold": "on systems no model was fitted on",
}
RULE: Final = (
    "The recurrent model may ship only if, at w = .01 on held-out tasks, its utility is above that "
    "of the default, of the best fixed action (chosen on other folds) and of every other learned "
    "policy, each by a paired difference whose 95 % interval lies wholly above 0."
)
UPPER_BOUND: Final = (
    "A vote is assumed to find a passing candidate whenever there is one: every figure of an "
    "action with more than one candidate is an upper bound on voting."
)
NOT_APART: Final = (
    "Folds keep labels apart. Histories are as they were: a decision may have seen other systems' "
    "earlier attempts at its own task, and a training case may be later than the case it helps "
    "with. The prior of other systems sees all other systems at the task, later ones too."
)


class LearnedPolicy(NamedTuple):
    """What a learned policy is called: architecture, labels, split."""

    arch: Arch
    labels: Labels
    split: Split

    @property
    def name(self) -> str:
        """As in the tables.

        >>> LearnedPolicy("mlp", "winners", "task_fold").name
        'mlp.winners/task_fold'
        """
        return f"{self.arch}.{self.labels}/{self.split}"


CANDIDATE: Final = LearnedPolicy("recurrent", "winners", DECLARED_SPLIT).name


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the recurrent model may ship, in words, and what each rival says."""

    may_ship: bool
    words: str
    details: tuple[str, ...]


class SeedFigure(msgspec.Struct, frozen=True, kw_only=True):
    """Utility of each seed of a policy, in the order of the seeds."""

    policy: str
    cost_weight: float
    utility: tuple[float, ...]


class TrialReport(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the study has to tell.

    Attributes:
        figures: ``OUTCOME_FIGURES`` of yardsticks and of learned policies.
        settings: How each model was trained, by architecture and labels; its seed is the first.
        cpu_seconds: Of fits by architecture and labels; of the machine, so in no file.
    """

    n_seen: int
    n_cases: int
    n_tasks: int
    n_systems: int
    read: SourceCount
    left_out: tuple[LeftOut, ...]
    figures: pl.DataFrame
    seeds: tuple[SeedFigure, ...]
    splits: tuple[Split, ...]
    shipping: Verdict
    plain: tuple[str, ...]
    settings: Mapping[str, TrainConfig]
    cpu_seconds: Mapping[str, float]


class _Played:
    """Every action played in every case under every resample, so that a policy is a look-up.

    The resamples are those of ``study_table``, whose seed is 0.
    Shapes: A actions, R resamples, N cases.
    """

    def __init__(self, study: TrialStudy, n_resamples: int) -> None:
        self.bench = OutcomeBench(study.outcomes, n_resamples=n_resamples, seed=0)
        self.folds = {name: study.cases[name].to_numpy() for name in get_args(Split)}
        self.defaults = study.cases["default_action"].to_numpy()
        n, shape = self.bench.n_cases, (len(STUDY_ACTIONS), *self.bench.counts.shape)
        self._passed, self._minutes = np.zeros(shape), np.zeros(shape)
        self._is_known = np.zeros((shape[0], n), dtype=bool)
        for action in range(shape[0]):
            scores = self.bench.score(self.bench.policy(np.full(n, action)))
            self._passed[action], self._minutes[action] = scores.passed, scores.agent_minutes
            self._is_known[action] = scores.is_scored

    def of(self, actions: np.ndarray) -> "_Mean":
        """What a policy comes to: (S, N) actions of its seeds, whose mean it is."""
        cases = np.arange(self.bench.n_cases)
        return _Mean(
            np.mean([self._passed[one, :, cases].T for one in actions], axis=0),
            np.mean([self._minutes[one, :, cases].T for one in actions], axis=0),
            self._is_known[actions, cases].all(axis=0),
        )

    def yardsticks(self, cost_weight: float) -> dict[str, "_Mean"]:
        """The yardsticks that learned policies are held against."""
        utility = self.bench.expected_utility(cost_weight)
        prior = prior_of_other_systems(utility, self.bench.issues, self.bench.systems)
        chosen = {
            DEFAULT: self.defaults,
            BEST_FIXED: best_fixed(utility),
            **{
                f"{BEST_FIXED}_{name}": best_fixed_out_of_fold(utility, fold_of)
                for name, fold_of in self.folds.items()
            },
            SYSTEM_PRIOR: np.where(prior < 0, self.defaults, prior),
            ORACLE: oracle(utility),
        }
        return {name: self.of(actions[np.newaxis]) for name, actions in chosen.items()}


class _Mean(NamedTuple):
    """Expected outcome in every case, (R + 1, N), and (N,) whether it is known."""

    passed: np.ndarray
    minutes: np.ndarray
    is_known: np.ndarray


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """``part / whole``, NaN where ``whole`` is not above 0."""
    result = np.full(len(part), np.nan)
    np.divide(part, whole, out=result, where=whole > 1e-12)
    return result


def _rows(
    counts: np.ndarray, mine: _Mean, others: Mapping[str, _Mean], cost_weight: float, fixed: str
) -> Iterator[tuple[str, str | None, np.ndarray, np.ndarray]]:
    """Figures of one learned policy, by itself and against others: name, against what, (R + 1,)
    draws, and (N,) the cases they are over.
    """

    def total(values: np.ndarray, mask: np.ndarray) -> np.ndarray:
        summed: np.ndarray = np.einsum("rn,rn->r", counts * mask, values)
        return summed

    def utility(one: _Mean, mask: np.ndarray) -> np.ndarray:
        return _ratio(total(one.passed - cost_weight * one.minutes, mask), counts @ mask)

    alone = mine.is_known.astype(float)
    passes, minutes = total(mine.passed, alone), total(mine.minutes, alone)
    yield "pass_rate", None, _ratio(passes, counts @ alone), alone
    yield "minutes_per_pass", None, _ratio(minutes, passes), alone
    yield "utility", None, utility(mine, alone), alone
    for name, other in others.items():
        mask = alone * other.is_known
        gain = utility(mine, mask) - utility(other, mask)
        if name == ORACLE:
            yield "regret", name, -gain, mask
            mask = mask * others[fixed].is_known
            base = utility(others[fixed], mask)
            gap = _ratio(utility(mine, mask) - base, utility(other, mask) - base)
            yield "gap_closed", f"{fixed} to {name}", gap, mask
        else:
            yield "utility_difference", name, gain, mask


def policy_figures(
    study: TrialStudy, choices: pl.DataFrame, *, n_resamples: int = N_BOOTSTRAP
) -> tuple[pl.DataFrame, tuple[SeedFigure, ...]]:
    """``OUTCOME_FIGURES`` of learned policies, means over seeds, and the utility of each seed.

    A policy is held against the yardsticks and against the other policies of its split.

    Args:
        choices: ``CHOICES`` of every case; the policies are named ``<name>/<split>#<seed>``.
    """
    played = _Played(study, n_resamples)
    bench, issues = played.bench, np.array(played.bench.issues)
    seeds: list[SeedFigure] = []
    rows: list[tuple[Any, ...]] = []
    for (weight,), of_weight in choices.group_by(["cost_weight"], maintain_order=True):
        cost_weight = float(weight)
        actions: dict[str, dict[int, np.ndarray]] = {}
        for (full_name,), part in of_weight.group_by(["policy"], maintain_order=True):
            name, _, seed = str(full_name).rpartition("#")
            ordered = part.sort("case_id")
            if ordered["case_id"].to_list() != bench.case_ids:
                raise ValueError(f"policy {full_name!r} has not one action for each case")
            actions.setdefault(name, {})[int(seed)] = ordered["action"].to_numpy()
        utility = bench.expected_utility(cost_weight)
        yardsticks = played.yardsticks(cost_weight)
        learned = {name: played.of(np.stack(list(a.values()))) for name, a in actions.items()}
        for name, by_seed in actions.items():
            each = tuple(float(utility[range(bench.n_cases), a].mean()) for a in by_seed.values())
            seeds.append(SeedFigure(policy=name, cost_weight=cost_weight, utility=each))
            split = name.rpartition("/")[2]
            rivals = {other: mean for other, mean in learned.items() if other != name}
            others = yardsticks | {o: m for o, m in rivals.items() if o.endswith(f"/{split}")}
            fixed = f"{BEST_FIXED}_{split}"
            for figure, against, draws, mask in _rows(
                bench.counts, learned[name], others, cost_weight, fixed
            ):
                n, n_issues = int(mask.sum()), len(np.unique(issues[mask > 0]))
                found = interval_of(draws, n=n, n_issues=n_issues)
                told = (None,) * 3 if found is None else (found.value, found.low, found.high)
                rows.append((cost_weight, name, figure, against, *told, n, n_issues))
    table = pl.DataFrame(rows, schema=polars_schema(OUTCOME_FIGURES), orient="row")
    return check_table(OUTCOME_FIGURES, table), tuple(seeds)


def _difference(
    figures: pl.DataFrame, policy: str, against: str, cost_weight: float
) -> dict[str, Any] | None:
    """The row of a utility difference with its interval; None where there is none."""
    rows = figures.filter(
        (pl.col("policy") == policy)
        & (pl.col("against") == against)
        & (pl.col("figure") == "utility_difference")
        & (pl.col("cost_weight") == cost_weight)
        & pl.col("low").is_not_null()
    )
    return rows.row(0, named=True) if rows.height else None


def _policies(figures: pl.DataFrame, split: Split, cost_weight: float | None = None) -> list[str]:
    """Learned policies of a split, in the order of the table."""
    at = pl.lit(True) if cost_weight is None else pl.col("cost_weight") == cost_weight
    names = figures.filter(at & pl.col("policy").str.ends_with(f"/{split}"))["policy"]
    return names.unique(maintain_order=True).to_list()


def _told(row: Mapping[str, Any]) -> str:
    return f"{row['value']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}, n={row['n']})"


def may_ship_recurrent(figures: pl.DataFrame) -> Verdict:
    """Whether ``RULE`` lets the recurrent model ship; a figure that is missing says no.

    Args:
        figures: ``OUTCOME_FIGURES`` of yardsticks and learned policies.
    """
    there = _policies(figures, DECLARED_SPLIT, DECLARED_WEIGHT)
    rivals = [DEFAULT, f"{BEST_FIXED}_{DECLARED_SPLIT}"]
    missing, details, n_beaten = [], [], 0
    for arch in (arch for arch in get_args(Arch) if arch != "recurrent"):
        of_arch = [name for name in there if name.startswith(f"{arch}.")]
        rivals += of_arch or [f"{arch}.*/{DECLARED_SPLIT}"]
    for rival in rivals:
        row = _difference(figures, CANDIDATE, rival, DECLARED_WEIGHT)
        if row is None:
            missing.append(rival)
        else:
            n_beaten += row["low"] > 0
            details.append(f"{'above' if row['low'] > 0 else 'not above'} {rival}: {_told(row)}")
    if missing:
        words = f"no figure of {CANDIDATE} against {', '.join(missing)}"
    else:
        words = (
            f"at w = {DECLARED_WEIGHT} on held-out tasks it is clearly above {n_beaten} of "
            f"{len(rivals)} rivals, and the rule asks for all"
        )
    may_ship = not missing and n_beaten == len(rivals)
    words = f"The recurrent model {'may' if may_ship else 'may not'} ship: {words}."
    return Verdict(may_ship=may_ship, words=words, details=tuple(details))


def plain_verdict(figures: pl.DataFrame, splits: Sequence[Split]) -> tuple[str, ...]:
    """In plain words whether learning beats the best fixed action and the task prior.

    Every policy counts that was tried: of many intervals one in forty is above 0 by luck alone.
    """
    sentences = []
    for split in splits:
        for against, words in (
            (f"{BEST_FIXED}_{split}", "the best fixed action of the other folds"),
            (SYSTEM_PRIOR, "the prior of other systems at the same task"),
        ):
            rows = [
                {"name": f"{name.partition('/')[0]} at w = {weight:g}", **row}
                for weight in figures["cost_weight"].unique().sort()
                for name in _policies(figures, split, weight)
                if (row := _difference(figures, name, against, weight)) is not None
            ]
            above = [f"{row['name']} {_told(row)}" for row in rows if row["low"] > 0]
            n_below = sum(row["high"] < 0 for row in rows)
            told = (
                f"{'; '.join(above)}" if above else "none: the simple baseline is as good or better"
            )
            sentences.append(
                f"{SPLIT_WORDS[split].capitalize()}, learned policies clearly above {words}: "
                f"{told}. Of {len(rows)}, {n_below} are clearly below it."
            )
    return tuple(sentences)


def _cell(
    figures: pl.DataFrame, policy: str, figure: str, against: str | None, weight: float
) -> str:
    told = pl.col("against").is_null() if against is None else pl.col("against") == against
    rows = figures.filter(
        (pl.col("policy") == policy) & (pl.col("figure") == figure) & told
        & (pl.col("cost_weight") == weight) & pl.col("value").is_not_null()
    )  # fmt: skip
    if not rows.height:
        return "-"
    row = rows.row(0, named=True)
    sign = "" if against is None else "+"
    return f"{row['value']:{sign}.4f} ({row['low']:{sign}.4f} to {row['high']:{sign}.4f})"


def _lines_of(report: TrialReport, split: Split, weight: float) -> Iterator[str]:
    """One table: yardsticks first, then the learned policies of a split."""
    spread = {(one.policy, one.cost_weight): one for one in report.seeds}
    fixed = f"{BEST_FIXED}_{split}"
    here = report.figures.filter(pl.col("cost_weight") == weight)
    names = here["policy"].unique(maintain_order=True).to_list()
    yardsticks = [name for name in names if "/" not in name]
    yield f"### w = {weight:g}, {SPLIT_WORDS[split]}"
    yield ""
    yield f"| policy | utility | less {fixed} | less the default | n | seeds, least to most |"
    yield "|---|---|---|---|---|---|"
    for name in [*yardsticks, *_policies(report.figures, split, weight)]:
        n = here.filter((pl.col("policy") == name) & (pl.col("figure") == "utility"))["n"]
        one = spread.get((name, weight))
        seeds = "" if one is None else f"{min(one.utility):.4f} to {max(one.utility):.4f}"
        cells = [
            name.partition("/")[0],
            _cell(here, name, "utility", None, weight),
            _cell(here, name, "utility_difference", fixed, weight),
            _cell(here, name, "utility_difference", DEFAULT, weight),
            str(n.item()) if len(n) == 1 else "-",
            f"{seeds} (x{len(one.utility)})" if one is not None else "",
        ]
        yield f"| {' | '.join(cells)} |"
    yield ""


def render_report(report: TrialReport) -> str:
    """The report as Markdown; equal reports give equal text."""
    reasons: dict[str, int] = {}
    for left in report.left_out:
        reasons[left.reason] = reasons.get(left.reason, 0) + 1
    lines = [
        "# The trial study",
        "",
        f"{report.n_cases} cases of {report.n_tasks} tasks and {report.n_systems} systems, decided "
        f"after {report.n_seen} of their own attempts. Utility = pass - w x agent-minutes. "
        "In brackets: 95 % bootstrap intervals over tasks and attempts.",
        "",
        f"Rows read: {report.read.accepted}; quarantined: {report.read.quarantined}. Cases left "
        f"out: {len(report.left_out)}"
        + "".join(f"; {reason}: {n}" for reason, n in sorted(reasons.items())),
        "",
        UPPER_BOUND,
        "",
        NOT_APART,
        "",
        "## Verdicts",
        "",
        *(f"- {sentence}" for sentence in report.plain),
        f"- {report.shipping.words}",
        "",
        f"The rule: {RULE}",
        "",
        *(f"- {detail}" for detail in report.shipping.details),
        "",
        "## Figures",
        "",
    ]
    for split in report.splits:
        for weight in report.figures["cost_weight"].unique().sort():
            lines += _lines_of(report, split, weight)
    return "\n".join(lines)
