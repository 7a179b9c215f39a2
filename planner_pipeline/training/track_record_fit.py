"""Fitting a track record to all training runs at once: empirical Bayes, and Laplace.

Belongs here: the joint fit that the runtime's filter starts from. Does not: the filter itself
(``planner_runtime.outcomes.track_record``), choosing runs. Sources: Rasch 1960; the beta-binomial
likelihood (Skellam 1948) of the tries of one pair; Laplace's approximation of the evidence
(Tierney and Kadane 1986). Shapes: J cells (pairs with their tries), S toolchains, I issues.

Issues outnumber toolchains by far and touch each other through toolchains alone, so they are
eliminated first: a Newton step costs as much as one pass over the cells. A time that a limit cut is
a lower bound: in its place stands what is expected above it, in turns with the effects.
"""

from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
from scipy import optimize, special

from planner_pipeline.training.track_record_cells import Cells
from planner_runtime.outcomes.track_record import Belief, Pair, Priors, TrackRecordState

_TURNS: Final = 5  # of expected times and effects
BASE_VARIANCE: Final = 4.0  # of the base log-odds
_LIMIT: Final = 4.0  # of the logs of the priors that are fitted


class _Effects(msgspec.Struct, frozen=True):
    """A base, an effect of every toolchain and one of every issue, with their variances."""

    base: float
    toolchain: np.ndarray
    issue: np.ndarray
    toolchain_variance: np.ndarray
    issue_variance: np.ndarray
    evidence: float


class _Arrow:
    """A precision matrix of the base, S toolchains and I issues, issues eliminated."""

    def __init__(self, cells: Cells, weight: np.ndarray, variances: tuple[float, float]) -> None:
        s, i = len(cells.toolchains), len(cells.issues)
        self._top = np.zeros((1 + s, 1 + s))
        self._top[0, 0] = 1 / BASE_VARIANCE + weight.sum()
        by_toolchain = np.bincount(cells.toolchain, weights=weight, minlength=s)
        self._top[0, 1:] = self._top[1:, 0] = by_toolchain
        self._top[1:, 1:] = np.diag(by_toolchain + 1 / variances[0])
        self._issue = np.bincount(cells.issue, weights=weight, minlength=i) + 1 / variances[1]
        self._side = np.zeros((1 + s, i))  # (1 + S, I)
        self._side[0] = self._issue - 1 / variances[1]
        np.add.at(self._side, (1 + cells.toolchain, cells.issue), weight)
        self._scaled = self._side / self._issue
        self._inverse = np.linalg.inv(self._top - self._scaled @ self._side.T)

    def solve(self, top: np.ndarray, issue: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        head = self._inverse @ (top - self._scaled @ issue)
        return head, (issue - self._side.T @ head) / self._issue

    def variances(self) -> tuple[np.ndarray, np.ndarray]:
        below = 1 / self._issue + np.einsum(
            "ai,ab,bi->i", self._scaled, self._inverse, self._scaled
        )
        return np.diag(self._inverse)[1:], below

    def log_determinant(self) -> float:
        return float(np.log(self._issue).sum() - np.linalg.slogdet(self._inverse)[1])


def _effects(
    arrow: _Arrow, head: np.ndarray, issue: np.ndarray, fit: float, variances: tuple[float, float]
) -> _Effects:
    """Effects at their mode.

    Args:
        head: (1 + S,) the base, then toolchains.
        fit: Log-likelihood there, less the penalties.
    """
    prior = (len(head) - 1) * np.log(variances[0]) + len(issue) * np.log(variances[1])
    prior += np.log(BASE_VARIANCE)
    toolchain_variance, issue_variance = arrow.variances()
    return _Effects(
        base=float(head[0]),
        toolchain=head[1:],
        issue=issue,
        toolchain_variance=toolchain_variance,
        issue_variance=issue_variance,
        evidence=fit - 0.5 * (arrow.log_determinant() + float(prior)),
    )


def _beta_binomial(
    cells: Cells, logit: np.ndarray, kappa: float
) -> tuple[float, np.ndarray, np.ndarray]:
    """Log-likelihood, its (J,) gradient by the log-odds, and minus its curvature (at least 0)."""
    p = np.clip(special.expit(logit), 1e-5, 1 - 1e-5)
    a, b = kappa * p, kappa * (1 - p)
    failed = cells.n - cells.passed
    value = special.betaln(cells.passed + a, failed + b) - special.betaln(a, b)
    slope = kappa * (
        special.digamma(cells.passed + a) - special.digamma(a)
        - special.digamma(failed + b) + special.digamma(b)
    )  # fmt: skip
    curve = kappa**2 * (
        special.polygamma(1, a) - special.polygamma(1, cells.passed + a)
        + special.polygamma(1, b) - special.polygamma(1, failed + b)
    )  # fmt: skip
    spread = p * (1 - p)
    return float(value.sum()), slope * spread, np.maximum(curve * spread**2, 1e-9)


def _fit_passing(cells: Cells, variances: tuple[float, float], kappa: float) -> _Effects:
    """The mode of the base and all effects by damped Newton steps, and Laplace's evidence."""
    s = len(cells.toolchains)
    head, issue = np.zeros(1 + s), np.zeros(len(cells.issues))

    def logit(head: np.ndarray, issue: np.ndarray) -> np.ndarray:
        logits: np.ndarray = head[0] + head[1:][cells.toolchain] + issue[cells.issue]
        return logits

    def penalty(head: np.ndarray, issue: np.ndarray) -> float:
        square = head[0] ** 2 / BASE_VARIANCE + (head[1:] ** 2).sum() / variances[0]
        return 0.5 * float(square + (issue**2).sum() / variances[1])

    value, slope, weight = _beta_binomial(cells, logit(head, issue), kappa)
    value -= penalty(head, issue)
    for _ in range(100):
        arrow = _Arrow(cells, weight, variances)
        top = np.concatenate(
            [[slope.sum()], np.bincount(cells.toolchain, weights=slope, minlength=s)]
        )
        top -= np.concatenate([[head[0] / BASE_VARIANCE], head[1:] / variances[0]])
        side = np.bincount(cells.issue, weights=slope, minlength=len(issue)) - issue / variances[1]
        step, issue_step = arrow.solve(top, side)
        size, before = 1.0, value
        while True:
            tried = head + size * step, issue + size * issue_step
            found, slope_now, weight_now = _beta_binomial(cells, logit(*tried), kappa)
            found -= penalty(*tried)
            if found >= before - 1e-9 or size < 1e-3:
                break
            size /= 2
        head, issue = tried
        value, slope, weight = found, slope_now, weight_now
        if abs(value - before) < 1e-7:
            break
    arrow = _Arrow(cells, weight, variances)
    return _effects(arrow, head, issue, value, variances)


def _fit_normal(
    cells: Cells,
    mean: np.ndarray,
    variance: np.ndarray,
    has: np.ndarray,
    variances: tuple[float, float],
) -> _Effects:
    """Effects on cell means with known variances: the normal case, solved at once, base 0."""
    weight = np.where(has, 1 / variance, 0.0)
    pull = np.where(has, weight * mean, 0.0)
    arrow = _Arrow(cells, weight, variances)
    s = len(cells.toolchains)
    top = np.concatenate([[pull.sum()], np.bincount(cells.toolchain, weights=pull, minlength=s)])
    side = np.bincount(cells.issue, weights=pull, minlength=len(cells.issues))
    head, issue = arrow.solve(top, side)
    left = mean - head[0] - head[1:][cells.toolchain] - issue[cells.issue]
    fit = -0.5 * float((weight * left**2).sum() - np.log(np.where(has, weight, 1.0)).sum())
    fit -= 0.5 * float((head[1:] ** 2).sum() / variances[0] + (issue**2).sum() / variances[1])
    fit -= 0.5 * float(head[0] ** 2) / BASE_VARIANCE
    return _effects(arrow, head, issue, fit, variances)


def fit_track_record(cells: Cells, priors: Priors | None = None) -> TrackRecordState:
    """The state of a track record after all cells.

    Args:
        priors: As fitted before; None fits them here, by the evidence with weak normal priors on
            their logs, so that few runs leave them near the defaults.

    Raises:
        ValueError: there is no cell.
    """
    if not len(cells):
        raise ValueError("no run to learn a track record from")
    found = priors or _fit_priors(cells)
    kappa = 1 / found.alike - 1
    passing = _fit_passing(cells, (found.toolchain, found.issue), kappa)
    times = _fit_times(cells, found)
    prices = _fit_prices(cells, found)
    if priors is None:
        found = msgspec.structs.replace(
            found,
            base=passing.base,
            minutes_pass=found.minutes_pass + times.base,
            minutes_fail=found.minutes_fail + times.base,
            usd=found.usd + prices.base,
        )
    shift = passing.base - found.base, times.base, prices.base
    if priors is None:
        shift = 0.0, 0.0, 0.0
    seen = (np.unique(cells.toolchain), np.unique(cells.issue))

    def beliefs(effects: _Effects, moved: float) -> dict[str, Belief]:
        told = {
            f"t:{cells.toolchains[t]}": Belief(
                float(effects.toolchain[t]) + moved, float(effects.toolchain_variance[t])
            )
            for t in seen[0].tolist()
        }
        return told | {
            f"i:{cells.issues[i]}": Belief(
                float(effects.issue[i]), float(effects.issue_variance[i])
            )
            for i in seen[1].tolist()
        }

    runs: dict[str, int] = {}
    pairs: dict[str, dict[str, Pair]] = {}
    for t, i, n, passed, timed in zip(
        cells.toolchain.tolist(), cells.issue.tolist(), cells.n.tolist(), cells.passed.tolist(),
        cells.n_timed.sum(axis=1).tolist(), strict=True,
    ):  # fmt: skip
        toolchain, issue = cells.toolchains[t], cells.issues[i]
        for name in (f"t:{toolchain}", f"i:{issue}"):
            runs[name] = runs.get(name, 0) + int(n)
        pairs.setdefault(toolchain, {})[issue] = Pair(int(n), int(passed), int(timed))
    return TrackRecordState(
        priors=found,
        until_ms=int(cells.ended_ms.max()),
        logits=beliefs(passing, shift[0]),
        minutes=beliefs(times, shift[1]),
        usd=beliefs(prices, shift[2]) if cells.n_priced.any() else {},
        runs=runs,
        pairs=pairs,
    )


def _time_means(cells: Cells, priors: Priors) -> tuple[np.ndarray, np.ndarray]:
    """(J,) mean of log minutes above what its passes and failures have on average, and counts."""
    n = cells.n_timed.sum(axis=1)
    above = cells.log_minutes - cells.n_timed * np.array([priors.minutes_fail, priors.minutes_pass])
    return above.sum(axis=1) / np.maximum(n, 1), n


def lifted(cells: Cells, mean: np.ndarray, spread: np.ndarray) -> Cells:
    """The cells with what is expected above their limits in the place of these.

    Args:
        mean, spread: (J,) of log minutes of tries that fail.
    """
    has = cells.n_cut > 0
    bound = cells.log_limit / np.maximum(cells.n_cut, 1)
    z = np.clip((bound - mean) / spread, -8.0, 8.0)
    ratio = np.exp(-0.5 * z**2 - 0.5 * np.log(2 * np.pi) - special.log_ndtr(-z))
    expected = np.where(has, np.maximum(mean + spread * ratio, bound), 0.0)
    sums = cells.log_minutes.copy()
    sums[:, 0] += cells.n_cut * expected - cells.log_limit
    return msgspec.structs.replace(cells, log_minutes=sums)


def _fit_times(cells: Cells, priors: Priors) -> _Effects:
    """Effects on times; those of tries that were cut are expected anew in every turn."""
    found = _fit_seen_times(cells, priors)
    for _ in range(_TURNS if cells.n_cut.any() else 0):
        mean = priors.minutes_fail + found.base
        mean = mean + found.toolchain[cells.toolchain] + found.issue[cells.issue]
        doubt = found.toolchain_variance[cells.toolchain] + found.issue_variance[cells.issue]
        spread = np.sqrt(doubt + priors.minutes_pair + priors.minutes_noise)
        found = _fit_seen_times(lifted(cells, mean, spread), priors)
    return found


def _fit_seen_times(cells: Cells, priors: Priors) -> _Effects:
    mean, n = _time_means(cells, priors)
    variance = priors.minutes_pair + priors.minutes_noise / np.maximum(n, 1)
    scales = (priors.minutes_toolchain, priors.minutes_issue)
    return _fit_normal(cells, mean, variance, n > 0, scales)


def _fit_prices(cells: Cells, priors: Priors) -> _Effects:
    n = cells.n_priced
    mean = cells.log_usd / np.maximum(n, 1) - priors.usd
    variance = priors.usd_noise / np.maximum(n, 1)
    return _fit_normal(cells, mean, variance, n > 0, (priors.usd_toolchain, priors.usd_issue))


def _search(start: np.ndarray, loss: Callable[[np.ndarray], float]) -> np.ndarray:
    first = np.array(start)
    simplex = np.vstack([first, *(first + 0.7 * row for row in np.eye(len(first)))])
    found = optimize.minimize(
        loss, first, method="Nelder-Mead",
        options={"maxiter": 120, "xatol": 0.03, "fatol": 0.03, "initial_simplex": simplex},
    )  # fmt: skip
    best: np.ndarray = np.clip(found.x, -_LIMIT, _LIMIT)
    return best


def _fit_priors(cells: Cells) -> Priors:
    """Priors by the evidence of each of the three layers."""
    usual = Priors()
    start = np.log([usual.toolchain, usual.issue, 1 / usual.alike - 1])

    def passing(logs: np.ndarray) -> float:
        toolchain, issue, kappa = np.exp(np.clip(logs, -_LIMIT, _LIMIT))
        fitted = _fit_passing(cells, (toolchain, issue), kappa)
        return -fitted.evidence + 0.1 * float(((logs - start) ** 2).sum())

    toolchain, issue, kappa = np.exp(_search(start, passing))
    told = {"toolchain": toolchain, "issue": issue, "alike": 1 / (1 + kappa)}
    told |= _time_priors(cells, usual) | _price_priors(cells, usual)
    return msgspec.structs.replace(usual, **{name: float(value) for name, value in told.items()})


def _within(cells: Cells) -> np.ndarray:
    """(J, 2) sums of squares around the mean of a cell."""
    squares: np.ndarray = cells.log_minutes2 - cells.log_minutes**2 / np.maximum(cells.n_timed, 1)
    return squares


def _time_priors(cells: Cells, usual: Priors) -> dict[str, float]:
    n = cells.n_timed.sum(axis=0)  # (2,)
    if not n.all():
        return {}
    spread = np.full(len(cells), np.sqrt(usual.minutes_issue + usual.minutes_pair))
    seen = cells
    for _ in range(_TURNS if cells.n_cut.any() else 0):
        fail = float(seen.log_minutes[:, 0].sum() / n[0])
        seen = lifted(cells, np.full(len(cells), fail), spread)
    cells, within = seen, _within(cells)
    fail, passed = (cells.log_minutes.sum(axis=0) / n).tolist()
    means = msgspec.structs.replace(usual, minutes_fail=fail, minutes_pass=passed)
    freedom = np.maximum(cells.n_timed - 1, 0).sum()
    noise = float((within.sum() + 10 * usual.minutes_noise) / (freedom + 10))
    start = np.log([usual.minutes_toolchain, usual.minutes_issue, usual.minutes_pair])

    def loss(logs: np.ndarray) -> float:
        toolchain, issue, pair = np.exp(np.clip(logs, -_LIMIT, _LIMIT)).tolist()
        priors = msgspec.structs.replace(
            means, minutes_toolchain=toolchain, minutes_issue=issue, minutes_pair=pair,
            minutes_noise=noise,
        )  # fmt: skip
        return -_fit_seen_times(cells, priors).evidence + 0.1 * float(((logs - start) ** 2).sum())

    toolchain, issue, pair = np.exp(_search(start, loss)).tolist()
    return {
        "minutes_pass": passed, "minutes_fail": fail, "minutes_noise": noise,
        "minutes_toolchain": toolchain, "minutes_issue": issue, "minutes_pair": pair,
    }  # fmt: skip


def _price_priors(cells: Cells, usual: Priors) -> dict[str, float]:
    if not cells.n_priced.any():
        return {}
    mean = float(cells.log_usd.sum() / cells.n_priced.sum())
    centred = msgspec.structs.replace(usual, usd=mean)
    start = np.log([usual.usd_toolchain, usual.usd_issue, usual.usd_noise])

    def loss(logs: np.ndarray) -> float:
        toolchain, issue, noise = np.exp(np.clip(logs, -_LIMIT, _LIMIT)).tolist()
        priors = msgspec.structs.replace(
            centred, usd_toolchain=toolchain, usd_issue=issue, usd_noise=noise
        )
        return -_fit_prices(cells, priors).evidence + 0.1 * float(((logs - start) ** 2).sum())

    toolchain, issue, noise = np.exp(_search(start, loss)).tolist()
    return {"usd": mean, "usd_toolchain": toolchain, "usd_issue": issue, "usd_noise": noise}
