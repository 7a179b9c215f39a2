"""A kernel's own history: built once, then grown with the archives that appear.

Belongs here: one object for all threads of a kernel. Does not: which runs there are
(``archives.run_book``), the index (``similar_runs``), the snapshot's format (``history_snapshot``).
Source: formats 2 and 3, the same code that the pipeline reads by.
"""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from planner_runtime.archives.files import Quarantine, SourceCount
from planner_runtime.archives.run_book import RunBook
from planner_runtime.archives.run_parts import Change, KeptRuns
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.kernel.history_snapshot import (
    SnapshotError,
    SnapshotHeader,
    read_snapshot,
    write_snapshot,
)
from planner_runtime.retrieval.similarity import DEFAULT_WEIGHTS, SimilarityWeights
from planner_runtime.similar_runs import RunIndex


class KernelHistory:
    """Every run that a workspace tells of, and an index of those that are over.

    The first reading happens at once. Nothing that lies in a workspace stops it: what cannot be
    used is in ``quarantined`` with file, line and reason, and is looked at again when it changes.

    Args:
        include_world: Whether world runs and evolutions are runs; inside a fab-world workcell they
            are evidence in any case.
        snapshot: A file of ``write_snapshot``; what is newer than it, or different, is read from
            archives. One that cannot be used leaves a reason, and everything is read.
        weights: Of similarity.
        window: Of retrieval; None for all earlier runs.
        clock: Seconds since the epoch, as the file system counts them.

    Attributes:
        index: Of the runs; a refresh changes it in one step.
        snapshot_error: Why the snapshot was not used; None where it was, or none was given.
    """

    def __init__(
        self,
        repo_root: Path | str,
        *,
        include_world: bool = True,
        snapshot: Path | str | None = None,
        weights: SimilarityWeights = DEFAULT_WEIGHTS,
        window: int | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._lock = ForkSafeLock()  # one refresh at a time; readers do not wait for it
        self.snapshot_error: SnapshotError | None = None
        self.index = RunIndex(weights=weights, window=window)
        self._ordered: tuple[RunSummary, ...] | None = None
        with _rare_collections():
            kept = None if snapshot is None else self._read_snapshot(Path(snapshot))
            self._book = RunBook(
                Path(repo_root), include_world=include_world, kept=kept, clock=clock
            )
            del kept
            self._book.refresh()
            self._publish(Change(changed=self._book.runs))

    def _read_snapshot(self, path: Path) -> KeptRuns | None:
        try:
            return read_snapshot(path)
        except SnapshotError as error:
            self.snapshot_error = error
            return None

    def refresh(self, *, thorough: bool = False) -> int:
        """Add what appeared, was completed or changed; how many archives and run directories are
        new.

        Cheap when nothing did: what is at rest is not read, nor even looked at, again.

        Args:
            thorough: Look at every part of every directory, for those that were written into long
                after they were archived.
        """
        with self._lock:
            change = self._book.refresh(thorough=thorough)
            self._publish(change)
            return change.n_new

    @property
    def ordered(self) -> tuple[RunSummary, ...]:
        """Every run with a known start and outcome, by (started_ms, run_id); the same object until
        a refresh finds another. Waits for a refresh that is going on.
        """
        ordered = self._ordered
        if ordered is None:
            with self._lock:
                runs = sorted(self._book.runs.values(), key=lambda r: (r.started_ms, r.run_id))
                ordered = self._ordered = tuple(runs)
        return ordered

    def runs(self) -> list[RunSummary]:
        """``ordered``, as a list of one's own."""
        return list(self.ordered)

    def __len__(self) -> int:
        return len(self.index)

    @property
    def quarantined(self) -> tuple[Quarantine, ...]:
        """What could not be used; ``is_pending`` is what is still being written."""
        with self._lock:
            return tuple(self._book.quarantined)

    @property
    def counts(self) -> tuple[SourceCount, ...]:
        """Of each source how many directories were met, and what became of them."""
        with self._lock:
            return self._book.counts

    def write_snapshot(self, path: Path | str) -> SnapshotHeader:
        """Write what a later start goes on from, whole or not at all.

        What is not at rest yet is left out: that start reads it again.

        Raises:
            OSError: the file cannot be written.
        """
        with self._lock:
            return write_snapshot(self._book.kept(), Path(path))

    def _publish(self, change: Change) -> None:
        if change.changed or change.removed:
            self.index.update(change.changed.values(), removed=change.removed)
            self.index.settle()
            self._ordered = None


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Few garbage collections while many records are made, none of which is garbage."""
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
