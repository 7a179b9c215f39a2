"""Whether a data set can teach anything: counts, consistency, balance, coverage, a first baseline.

Belongs here: the gates of phase P0 and their verdict in plain words. Does not: models that are
shipped (``models``). Spec: section 12, P0.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.dataset.reader import Dataset
from planner_runtime.actions import HEADS, Action
from planner_runtime.features import FEATURE_NAMES

MINIMUM: Final = {"code": 500, "fab_asset": 200, "fab_world": 200}  # examples; spec names code's
LEAST_AGREEMENT: Final = 0.8  # spec, P0
MOST_ONE_LABEL: Final = 0.95
N_RESAMPLES: Final = 500
MOST_ROWS: Final = 20_000  # that the baseline is fitted on
RIDGE: Final = 1e-2
STEPS: Final = 150
# what an issue is to a person deciding: near-duplicates agree in all of it
SAME: Final = ("job_type=", "is_world_evolution", "is_asset", "priority=", "risk=", "size=",
               "attempts", "has_tool_hint", "tool_hint#", "tag#", "n_tags")  # fmt: skip


class Gate(msgspec.Struct, frozen=True, kw_only=True):
    """One question with its answer; ``value`` and its interval where there is a number."""

    name: str
    passed: bool
    words: str
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0


class Feasibility(msgspec.Struct, frozen=True, kw_only=True):
    """All gates, the verdict, and what to collect next."""

    gates: tuple[Gate, ...]
    verdict: str
    collect_next: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every gate is passed."""
        return all(gate.passed for gate in self.gates)


def count_gate(counts: dict[str, int], domain: str, minimum: int) -> Gate:
    """Whether a domain has enough examples."""
    n = counts.get(domain, 0)
    words = f"{n} labelled decisions in {domain}, at least {minimum} are wanted"
    return Gate(name=f"enough examples: {domain}", passed=n >= minimum, words=words, value=n, n=n)


def agreement(groups: Sequence[Counter[Action]]) -> tuple[float, float, int]:
    """Share of pairs of near-duplicates with one label, that of any two examples, and the pairs."""
    pairs = sum(g.total() * (g.total() - 1) // 2 for g in groups)
    same = sum(n * (n - 1) // 2 for g in groups for n in g.values())
    total: Counter[Action] = Counter()
    for group in groups:
        total.update(group)
    n_all = total.total()
    chance = sum(n * (n - 1) for n in total.values()) / max(1, n_all * (n_all - 1))
    return same / max(1, pairs), chance, pairs


def consistency_gate(features: np.ndarray, labels: Sequence[Action]) -> Gate:
    """Whether near-duplicate decisions were answered alike; interval by resampling groups."""
    name = "near-duplicates were decided alike"
    columns = [i for i, f in enumerate(FEATURE_NAMES) if f.startswith(SAME)]
    groups: dict[bytes, Counter[Action]] = defaultdict(Counter)
    for row, label in zip(np.ascontiguousarray(features[:, columns]), labels, strict=True):
        groups[row.tobytes()][label] += 1
    several = [group for group in groups.values() if group.total() > 1]
    value, _, pairs = agreement(several)
    if not pairs:
        words = "no two decisions are alike in job, priority, risk, size, attempts, hint and tags"
        return Gate(name=name, passed=False, words=words)
    _, chance, _ = agreement(list(groups.values()))
    luck = np.random.default_rng(0)
    same = np.array([sum(n * (n - 1) // 2 for n in g.values()) for g in several])
    of = np.array([g.total() * (g.total() - 1) // 2 for g in several])
    picks = luck.integers(0, len(several), (N_RESAMPLES, len(several)))
    shares = same[picks].sum(axis=1) / of[picks].sum(axis=1)
    low, high = np.quantile(shares, (0.025, 0.975))
    words = (
        f"{value:.0%} of {pairs} pairs alike in job, priority, risk, size, attempts, hint and tags "
        f"got one action ({low:.0%} to {high:.0%}); any two decisions do in {chance:.0%}; "
        f"{LEAST_AGREEMENT:.0%} are wanted"
    )
    return Gate(
        name=name, passed=bool(value >= LEAST_AGREEMENT), words=words,
        value=value, low=float(low), high=float(high), n=pairs,
    )  # fmt: skip


def balance_gate(labels: Sequence[Action]) -> Gate:
    """Whether more than one action was really executed."""
    name = "more than one action was executed"
    if not labels:
        return Gate(name=name, passed=False, words="there is no labelled decision")
    (_, most), *_ = Counter(labels).most_common(1)
    share, kinds = most / len(labels), len(set(labels))
    words = f"{kinds} different actions; the most frequent one is {share:.0%} of {len(labels)}"
    return Gate(
        name=name, passed=kinds > 1 and share <= MOST_ONE_LABEL, words=words,
        value=share, n=len(labels),
    )  # fmt: skip


def unseen_choices(dataset: Dataset) -> list[str]:
    """Choices that no executed plan ever took."""
    return [
        f"{head} {choice}"
        for head, choices in zip(HEADS, dataset.space.choices, strict=True)
        for choice in choices
        if str(choice) not in dataset.meta.labels.get(head, {})
    ]


def coverage_gate(dataset: Dataset) -> Gate:
    """Whether every bin of every head was executed at least once."""
    n_choices = sum(len(choices) for choices in dataset.space.choices)
    unseen = unseen_choices(dataset)
    words = f"{n_choices - len(unseen)} of {n_choices} bins were executed at least once"
    if unseen:
        words += f"; never: {', '.join(unseen)}"
    return Gate(
        name="every bin was executed", passed=not unseen, words=words,
        value=1 - len(unseen) / n_choices, n=n_choices,
    )  # fmt: skip


def _masked_log_probs(logits: np.ndarray, mask: np.ndarray) -> np.ndarray:
    shifted = np.where(mask, logits, -np.inf)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    logs: np.ndarray = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs


def _fit(inputs: np.ndarray, labels: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(F, C) weights of a ridge multinomial regression, by accelerated gradient descent."""
    n, width = inputs.shape
    target = np.eye(mask.shape[1])[labels]
    weights = np.zeros((width, mask.shape[1]))
    ahead, momentum = weights.copy(), 1.0
    step = 1.0 / (0.5 * np.linalg.norm(inputs, 2) ** 2 / n + RIDGE)
    for _ in range(STEPS):
        error = np.exp(_masked_log_probs(inputs @ ahead, mask)) - target
        following = ahead - step * (inputs.T @ error / n + RIDGE * ahead)
        later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
        ahead = following + (momentum - 1) / later * (following - weights)
        weights, momentum = following, later
    return weights


def _prior(labels: np.ndarray, jobs: Sequence[str], n_choices: int) -> dict[str, np.ndarray]:
    """Add-one smoothed log shares of a head's choices for every job type."""
    shares = {}
    for job in sorted(set(jobs)):
        mine = labels[[one == job for one in jobs]]
        counts = np.bincount(mine, minlength=n_choices) + 1.0
        shares[job] = np.log(counts / counts.sum())
    return shares


def baseline_losses(train: Arrays, val: Arrays) -> tuple[np.ndarray, np.ndarray]:
    """(N,) loss of every validation example, in nats over all heads: a logistic regression on the
    features, and the prior of its job type.
    """
    center = train.features.mean(axis=0)
    spread = train.features.std(axis=0)
    spread[spread == 0] = 1.0

    def scaled(features: np.ndarray) -> np.ndarray:
        values = np.clip((features - center) / spread, -5, 5)
        return np.hstack([values, np.ones((len(values), 1))])

    learnt, guessed = np.zeros(len(val)), np.zeros(len(val))
    rows, train_masks, val_masks = np.arange(len(val)), train.masks(), val.masks()
    train_jobs = [train.job_types[job] for job in train.jobs]
    val_jobs = [val.job_types[job] for job in val.jobs]
    for head in range(train.labels.shape[1]):
        labels, mask = train.labels[:, head], train_masks[head]
        weights = _fit(scaled(train.features), labels, mask)
        logs = _masked_log_probs(scaled(val.features) @ weights, val_masks[head])
        learnt -= logs[rows, val.labels[:, head]]
        prior = _prior(labels, train_jobs, mask.shape[1])
        flat = np.full(mask.shape[1], -np.log(mask.shape[1]))
        table = np.array([prior.get(job, flat) for job in val_jobs])
        guessed -= _masked_log_probs(table, val_masks[head])[rows, val.labels[:, head]]
    return learnt, guessed


def loss_gate(dataset: Dataset) -> Gate:
    """Whether what is known of a decision says anything of the action, beyond its job type."""
    name = "inputs say more than the prior"
    rows = dataset.rows("train").tail(MOST_ROWS)
    train, val = dataset.arrays_of(rows, tokens=False), dataset.arrays("val", tokens=False)
    if len(train) < 2 or len(val) < 2:
        return Gate(name=name, passed=False, words="too few examples to fit and judge a baseline")
    learnt, guessed = baseline_losses(train, val)
    if not np.isfinite(learnt).all():
        return Gate(name=name, passed=False, words="the baseline's loss is not finite")
    luck = np.random.default_rng(0)
    issues = dataset.rows("val")["issue_id"].fill_null("").to_list()
    numbers = np.unique(issues, return_inverse=True)[1]
    gain = np.bincount(numbers, weights=guessed - learnt)
    size = np.bincount(numbers)
    picks = luck.integers(0, len(gain), (N_RESAMPLES, len(gain)))
    means = gain[picks].sum(axis=1) / size[picks].sum(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    value = float((guessed - learnt).mean())
    words = (
        f"a logistic regression needs {learnt.mean():.3f} nats a decision, the prior alone "
        f"{guessed.mean():.3f}: {value:+.3f} gained ({low:+.3f} to {high:+.3f}, n={len(val)}, "
        f"resampled by issue)"
    )
    return Gate(
        name=name, passed=bool(low > 0), words=words,
        value=value, low=float(low), high=float(high), n=len(val),
    )  # fmt: skip


def judge(dataset: Dataset, minimum: dict[str, int] = MINIMUM) -> Feasibility:
    """Every gate of a data set, with the verdict.

    Args:
        minimum: Examples wanted of a domain; domains without any run are not asked for, but code.
    """
    index = dataset.index
    labels = dataset.labels(index)
    domains = dataset.meta.domains
    asked = {d: n for d, n in minimum.items() if d == "code" or domains.get(d)}
    gates = [count_gate(domains, domain, n) for domain, n in asked.items()]
    gates.append(balance_gate(labels))
    gates.append(consistency_gate(dataset.features(index), labels))
    gates.append(coverage_gate(dataset))
    gates.append(loss_gate(dataset))
    missing = _collect_next(dataset, gates, asked)
    failed = [gate.name for gate in gates if not gate.passed]
    verdict = "Feasible: every gate is passed."
    if failed:
        verdict = (
            f"Not feasible yet, {len(failed)} of {len(gates)} gates fail: {'; '.join(failed)}."
        )
    return Feasibility(gates=tuple(gates), verdict=verdict, collect_next=tuple(missing))


def _collect_next(dataset: Dataset, gates: Sequence[Gate], minimum: dict[str, int]) -> list[str]:
    advice = []
    for domain, n in minimum.items():
        short = n - dataset.meta.domains.get(domain, 0)
        if short > 0:
            advice.append(f"{short} more runs of {domain} whose archives hold an executed plan")
    unseen = unseen_choices(dataset)
    if unseen:
        advice.append(f"runs, or bench cases, that execute {', '.join(unseen)}")
    if any(not gate.passed for gate in gates if gate.name == "near-duplicates were decided alike"):
        advice.append("what made alike decisions differ: system state, history, hints not recorded")
    if dataset.index.height and not dataset.index["n_similar"].sum():
        advice.append("ends of runs: without them no decision has a history")
    return advice


def gates_table(feasibility: Feasibility) -> pl.DataFrame:
    """Gates as a table for people."""
    return pl.DataFrame(
        [{"gate": g.name, "passed": g.passed, "n": g.n, "told": g.words} for g in feasibility.gates]
    )
