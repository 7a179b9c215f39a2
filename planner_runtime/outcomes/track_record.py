"""What finished runs tell of a toolchain at an issue: skill, difficulty, time, price, by filter.

Belongs here: beliefs and their update by one run, what they say of a pair. Does not: reading runs,
the outcome model that learns on top (``model``), which runs may be known (the callers add
them in the order of their ends, up to the moment of decision).
Spec: section 7.4; sources: Rasch 1960 (skill minus difficulty); Spiegelhalter and Lauritzen 1990
(one run's update of a logistic belief); Kalman 1960 (log times).

The log-odds of passing are a base, plus the toolchain's skill, plus the issue's ease; log minutes
and log dollars a minute are sums of the same kind. Every effect is a normal belief, and a run moves
both of its effects by their shares of the doubt, in a time that does not depend on how many runs
there were. Tries of one toolchain at one issue resemble each other, so n of them count as
n / (1 + (n - 1) r) independent ones.
"""

import math
from collections import ChainMap
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Annotated, Any, Final

import msgspec

from planner_runtime.contracts.planner_input import RecordDocument
from planner_runtime.contracts.run_summary import RunSummary

Variance = Annotated[float, msgspec.Meta(gt=0.0, le=100.0)]
_MINUTE_MS: Final = 60_000
_LEAST_MINUTES: Final = 0.05
_LEAST_RATE: Final = 1e-6  # dollars a minute: less, or a million times more, is no price


class Priors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is believed before any run: fitted on training runs, kept in the bundle.

    Attributes:
        base: Log-odds of passing of an average toolchain at an average issue.
        toolchain, issue: Variances of skill and of ease.
        alike: r of the tries of one pair, for passing.
        minutes_pass, minutes_fail: Means of log minutes of tries that pass and that do not.
        minutes_toolchain, minutes_issue, minutes_pair, minutes_noise: Variances of log minutes.
        usd, usd_toolchain, usd_issue, usd_noise: The same of log dollars a minute.
    """

    base: float = 0.0
    toolchain: Variance = 1.0
    issue: Variance = 4.0
    alike: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.4
    minutes_pass: float = 1.6
    minutes_fail: float = 2.0
    minutes_toolchain: Variance = 0.05
    minutes_issue: Variance = 0.2
    minutes_pair: Variance = 0.3
    minutes_noise: Variance = 0.15
    usd: float = -2.0
    usd_toolchain: Variance = 1.0
    usd_issue: Variance = 0.1
    usd_noise: Variance = 0.3


class Belief(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A normal distribution."""

    mean: float
    variance: Variance


class Pair(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Tries of one toolchain at one issue: how many, how many passed, how many had a time."""

    n: int = 0
    passed: int = 0
    timed: int = 0


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What is believed of the next try of a toolchain at an issue.

    Attributes:
        logit, logit_variance: Of passing in the end.
        log_minutes_pass, log_minutes_fail, log_minutes_variance: Of its time; the variance holds
            the doubt about effects and the pair's own deviation, not the noise of a single try.
        log_usd: Of its dollars a minute.
        n_toolchain, n_issue, n_pair: Runs that this rests on.
        pair_pass: Of the pair's own tries, the share that passed; 0.5 without any.
    """

    logit: float
    logit_variance: float
    log_minutes_pass: float
    log_minutes_fail: float
    log_minutes_variance: float
    log_usd: float
    n_toolchain: int = 0
    n_issue: int = 0
    n_pair: int = 0
    pair_pass: float = 0.5


class TrackRecordState(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True,
    tag_field="schema_version", tag="cyntra.track_record.v1",
):  # fmt: skip
    """A track record as a bundle carries it.

    Attributes:
        until_ms: Latest end of a run in it; 0 without any.
        skill, ease, time, price: Beliefs by name, "t:" before a toolchain and "i:" before an issue.
        runs: Counts by the same names.
        pairs: By toolchain, by issue.
    """

    priors: Priors
    until_ms: int = 0
    logits: dict[str, Belief] = msgspec.field(default_factory=dict)
    minutes: dict[str, Belief] = msgspec.field(default_factory=dict)
    usd: dict[str, Belief] = msgspec.field(default_factory=dict)
    runs: dict[str, int] = msgspec.field(default_factory=dict)
    pairs: dict[str, dict[str, Pair]] = msgspec.field(default_factory=dict)


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))


def logit_of(p: float) -> float:
    """Log-odds of a chance, which is held within a millionth of 0 and 1."""
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))


def mean_chance(logit: float, variance: float) -> float:
    """Chance whose log-odds are normal. Source: MacKay 1992, equation 4.

    >>> mean_chance(0.0, 3.0)
    0.5
    """
    return _sigmoid(logit / math.sqrt(1 + math.pi * variance / 8))


def _effective(n: int, alike: float) -> float:
    """Independent tries that n alike ones count as."""
    return n / (1 + (n - 1) * alike) if n else 0.0


class TrackRecord:
    """Beliefs after some runs. Starting from a state and adding a run take the same time however
    many there were: what is learned lies over the state, which stays as it is.
    """

    def __init__(self, state: TrackRecordState | None = None) -> None:
        self._state = state = state or TrackRecordState(priors=Priors())
        self.priors, self._until_ms = state.priors, state.until_ms
        self._logits, self._minutes = ChainMap({}, state.logits), ChainMap({}, state.minutes)
        self._usd, self._runs = ChainMap({}, state.usd), ChainMap({}, state.runs)
        self._pairs: dict[tuple[str, str], Pair] = {}

    def state(self) -> TrackRecordState:
        """Everything that is known, to be carried on."""
        pairs = {t: dict(of) for t, of in self._state.pairs.items()}
        for (toolchain, issue), pair in self._pairs.items():
            pairs.setdefault(toolchain, {})[issue] = pair
        return TrackRecordState(
            priors=self.priors,
            until_ms=self._until_ms,
            logits=dict(sorted(self._logits.items())),
            minutes=dict(sorted(self._minutes.items())),
            usd=dict(sorted(self._usd.items())),
            runs=dict(sorted(self._runs.items())),
            pairs={t: dict(sorted(of.items())) for t, of in sorted(pairs.items())},
        )

    def add_summary(self, run: RunSummary) -> bool:
        """Learn from one finished run, unless the state that was carried in knows it already.

        It does where it has met the pair and the run ended by its ``until_ms``. Runs without an
        issue, a toolchain or an end tell nothing.

        Returns:
            Whether anything was learned.
        """
        if run.issue_id is None or run.toolchain is None or run.ended_ms is None:
            return False
        carried = self._state.pairs.get(run.toolchain, {})
        if run.issue_id in carried and run.ended_ms <= self._state.until_ms:
            return False
        ms = run.runtime.duration_ms
        self.add(
            run.toolchain,
            run.issue_id,
            passed=run.outcome.status == "success",
            timed_out=run.outcome.status == "timeout",
            minutes=None if ms is None else ms / _MINUTE_MS,
            usd=run.cost_usd_est,
            ended_ms=run.ended_ms,
        )
        return True

    def add(
        self,
        toolchain: str,
        issue: str,
        *,
        passed: bool,
        timed_out: bool = False,
        minutes: float | None = None,
        usd: float | None = None,
        ended_ms: int = 0,
    ) -> None:
        """Learn from one finished try; a time that a limit cut is a lower bound."""
        pair = self._pair(toolchain, issue)
        names = (f"t:{toolchain}", f"i:{issue}")
        self._learn_pass(names, pair, passed)
        timed = pair.timed
        if minutes is not None:
            self._learn_minutes(names, pair, passed, max(minutes, _LEAST_MINUTES), timed_out)
            timed += 1
            if usd is not None and usd > 0:
                rate = usd / max(minutes, _LEAST_MINUTES)
                self._learn_usd(names, math.log(min(max(rate, _LEAST_RATE), 1 / _LEAST_RATE)))
        self._pairs[toolchain, issue] = Pair(pair.n + 1, pair.passed + int(passed), timed)
        for name in names:
            self._runs[name] = self._runs.get(name, 0) + 1
        self._until_ms = max(self._until_ms, ended_ms)

    def _pair(self, toolchain: str, issue: str) -> Pair:
        own = self._pairs.get((toolchain, issue))
        return own or self._state.pairs.get(toolchain, {}).get(issue, Pair())

    def _two(
        self, beliefs: Mapping[str, Belief], names: tuple[str, str], priors: tuple[float, float]
    ) -> tuple[Belief, Belief]:
        toolchain, issue = (
            beliefs.get(name, Belief(0.0, prior)) for name, prior in zip(names, priors, strict=True)
        )
        return toolchain, issue

    @staticmethod
    def _move(
        beliefs: MutableMapping[str, Belief],
        names: tuple[str, str],
        both: tuple[Belief, Belief],
        shift: float,
        shrink: float,
    ) -> None:
        """Move two effects by their shares of the doubt about their sum.

        Args:
            shift: Of the sum's mean, for each unit of its variance.
            shrink: Precision gained, for each unit of the sum's variance squared.
        """
        for name, belief in zip(names, both, strict=True):
            beliefs[name] = Belief(
                belief.mean + belief.variance * shift,
                max(1e-4, belief.variance - belief.variance**2 * shrink),
            )

    def _learn_pass(self, names: tuple[str, str], pair: Pair, passed: bool) -> None:
        p = self.priors
        both = self._two(self._logits, names, (p.toolchain, p.issue))
        mean, variance = p.base + both[0].mean + both[1].mean, both[0].variance + both[1].variance
        weight = _effective(pair.n + 1, p.alike) - _effective(pair.n, p.alike)
        chance = mean_chance(mean, variance)
        information = weight * chance * (1 - chance)
        after = 1 / (1 / variance + information)
        shift = after * weight * (float(passed) - chance) / variance
        self._move(self._logits, names, both, shift, (variance - after) / variance**2)

    def _learn_minutes(
        self, names: tuple[str, str], pair: Pair, passed: bool, minutes: float, timed_out: bool
    ) -> None:
        p = self.priors
        both = self._two(self._minutes, names, (p.minutes_toolchain, p.minutes_issue))
        base = p.minutes_pass if passed else p.minutes_fail
        mean, variance = base + both[0].mean + both[1].mean, both[0].variance + both[1].variance
        single = p.minutes_pair + p.minutes_noise
        weight = _effective(pair.timed + 1, p.minutes_pair / single)
        weight -= _effective(pair.timed, p.minutes_pair / single)
        seen = math.log(minutes)
        if timed_out:
            seen = _above(seen, mean, math.sqrt(variance + single))
        gain = 1 / (variance + single / weight)
        self._move(self._minutes, names, both, gain * (seen - mean), gain)

    def _learn_usd(self, names: tuple[str, str], log_usd: float) -> None:
        p = self.priors
        both = self._two(self._usd, names, (p.usd_toolchain, p.usd_issue))
        mean, variance = p.usd + both[0].mean + both[1].mean, both[0].variance + both[1].variance
        gain = 1 / (variance + p.usd_noise)
        self._move(self._usd, names, both, gain * (log_usd - mean), gain)

    def of(self, toolchain: str | None, issue: str | None) -> Record:
        """What is believed of a pair; an unknown name is an average one, with all its doubt."""
        p = self.priors
        names = (f"t:{toolchain}" if toolchain else "", f"i:{issue}" if issue else "")
        skill, ease = self._two(self._logits, names, (p.toolchain, p.issue))
        slow, long = self._two(self._minutes, names, (p.minutes_toolchain, p.minutes_issue))
        dear, priced = self._two(self._usd, names, (p.usd_toolchain, p.usd_issue))
        logit, variance = p.base + skill.mean + ease.mean, skill.variance + ease.variance
        pair = self._pair(toolchain or "", issue or "")
        if pair.n and p.alike > 0:  # its own tries say more of it than their effects do
            strength = 1 / p.alike - 1  # a Beta prior worth so many tries makes them so alike
            chance = mean_chance(logit, variance)
            own = (strength * chance + pair.passed) / (strength + pair.n)
            variance = variance * strength / (strength + pair.n)
            # the log-odds whose mean chance is that share
            logit = logit_of(own) * math.sqrt(1 + math.pi * variance / 8)
        minutes = slow.mean + long.mean
        return Record(
            logit=logit,
            logit_variance=variance,
            log_minutes_pass=p.minutes_pass + minutes,
            log_minutes_fail=p.minutes_fail + minutes,
            log_minutes_variance=slow.variance + long.variance + p.minutes_pair,
            log_usd=p.usd + dear.mean + priced.mean,
            n_toolchain=self._runs.get(names[0], 0),
            n_issue=self._runs.get(names[1], 0),
            n_pair=pair.n,
            pair_pass=pair.passed / pair.n if pair.n else 0.5,
        )


def _above(bound: float, mean: float, spread: float) -> float:
    """Mean of a normal number that is known to lie above a bound."""
    z = (bound - mean) / spread
    tail = 0.5 * math.erfc(z / math.sqrt(2))
    if tail < 1e-9:  # far above what was thought: the bound itself is news enough
        return bound
    return mean + spread * math.exp(-z * z / 2) / math.sqrt(2 * math.pi) / tail


def record_of_runs(
    runs: Iterable[RunSummary], state: TrackRecordState | None = None
) -> TrackRecord:
    """The record after some runs, in the order of their ends whatever order they come in."""
    record = TrackRecord(state)
    for run in sorted(runs, key=lambda run: (run.ended_ms or 0, run.run_id)):
        record.add_summary(run)
    return record


def record_document(record: Record) -> dict[str, Any]:
    """A record as ``system_state.track_record`` of a planner input carries it."""
    told: dict[str, Any] = msgspec.to_builtins(record)
    return {name: round(v, 6) if isinstance(v, float) else v for name, v in told.items()}


def record_of_document(document: RecordDocument) -> Record:
    """The record that a planner input carries."""
    return Record(**msgspec.structs.asdict(document))
