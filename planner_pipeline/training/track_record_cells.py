"""Tries by pair of a toolchain and an issue: the sums that a joint fit reads.

Belongs here: the cells, building them. Does not: fitting (``track_record_fit``).
Shapes: J cells, N tries.
"""

from collections.abc import Sequence

import msgspec
import numpy as np


class Cells(msgspec.Struct, frozen=True):
    """Tries by pair of a toolchain and an issue.

    Attributes:
        toolchain, issue: (J,) int64 positions in ``toolchains`` and ``issues``.
        n, passed: (J,) float64 counts.
        n_timed: (J, 2) tries with a known time: of those that failed, and of those that passed.
        log_minutes, log_minutes2: (J, 2) sums of their log minutes, and of the squares; limits
            stand for the times that they cut.
        n_cut, log_limit: (J,) tries with a known limit that cut them, and the sum of its logs.
        n_priced, log_usd: (J,) tries with known dollars a minute, and the sum of their logs.
        ended_ms: (J,) latest known end; 0 without any.
    """

    toolchains: tuple[str, ...]
    issues: tuple[str, ...]
    toolchain: np.ndarray
    issue: np.ndarray
    n: np.ndarray
    passed: np.ndarray
    n_timed: np.ndarray
    log_minutes: np.ndarray
    log_minutes2: np.ndarray
    n_cut: np.ndarray
    log_limit: np.ndarray
    n_priced: np.ndarray
    log_usd: np.ndarray
    ended_ms: np.ndarray

    def __len__(self) -> int:
        return len(self.n)

    def without(self, toolchain: str) -> "Cells":
        """The cells of the other toolchains; names stay, so that positions do."""
        if toolchain not in self.toolchains:
            return self
        rows = self.toolchain != self.toolchains.index(toolchain)
        per_cell = {
            name: getattr(self, name)[rows]
            for name in self.__struct_fields__
            if isinstance(getattr(self, name), np.ndarray)
        }
        return Cells(toolchains=self.toolchains, issues=self.issues, **per_cell)


def build_cells(
    toolchains: Sequence[str],
    issues: Sequence[str],
    passed: np.ndarray,
    minutes: np.ndarray,
    usd: np.ndarray,
    ended_ms: np.ndarray,
    timed_out: np.ndarray | None = None,
) -> Cells:
    """Cells of N tries.

    Args:
        passed: (N,) bool.
        minutes, usd: (N,) NaN where not known.
        ended_ms: (N,) int64.
        timed_out: (N,) bool, whether the minutes are a limit; None where none are.
    """
    names, t = np.unique(np.asarray(toolchains, dtype=object).astype(str), return_inverse=True)
    tasks, i = np.unique(np.asarray(issues, dtype=object).astype(str), return_inverse=True)
    keys, cell = np.unique(t * max(1, len(tasks)) + i, return_inverse=True)
    j = len(keys)

    def total(values: np.ndarray) -> np.ndarray:
        sums: np.ndarray = np.bincount(cell, weights=values, minlength=j)
        return sums

    log_minutes = np.log(np.maximum(minutes, 0.05))
    is_timed = np.isfinite(log_minutes)
    is_priced = is_timed & np.isfinite(usd) & (usd > 0)
    log_usd = np.where(is_priced, np.log(np.where(is_priced, usd, 1.0)) - log_minutes, 0.0)
    by_end = [is_timed & ~passed, is_timed & passed]
    cut = np.zeros(len(passed), dtype=bool) if timed_out is None else timed_out
    cut = cut & is_timed & ~passed
    known = np.where(is_timed, log_minutes, 0.0)
    last = np.zeros(j, dtype=np.int64)
    np.maximum.at(last, cell, ended_ms)
    return Cells(
        toolchains=tuple(names.tolist()),
        issues=tuple(tasks.tolist()),
        toolchain=keys // max(1, len(tasks)),
        issue=keys % max(1, len(tasks)),
        n=total(np.ones(len(passed))),
        passed=total(passed.astype(float)),
        n_timed=np.stack([total(rows.astype(float)) for rows in by_end], axis=1),
        log_minutes=np.stack([total(known * rows) for rows in by_end], axis=1),
        log_minutes2=np.stack([total(known**2 * rows) for rows in by_end], axis=1),
        n_cut=total(cut.astype(float)),
        log_limit=total(known * cut),
        n_priced=total(is_priced.astype(float)),
        log_usd=total(log_usd),
        ended_ms=last,
    )
