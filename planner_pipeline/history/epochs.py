"""Under which settings every run was decided: configuration, universe, prompts, toolchain versions.

Belongs here: the hashes per run and the epochs they make. Does not: how epochs differ
(``dataset.drift``). Spec: section 12, P5. What nothing proves is null, and null is a value of its
own: runs whose configuration is unknown are not mixed with those whose configuration is known.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import polars as pl

from planner_pipeline.parts import Parts
from planner_pipeline.sources.settings import SettingsState
from planner_pipeline.tables import RUN_EPOCHS, RUNS, check_table, polars_schema
from planner_runtime.contracts.canonical import document_hash

HASHES: Final = ("kernel_config", "universe", "prompt_frontier", "toolchains")


class Epoch(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of runs under equal settings, oldest first; it may come back.

    Attributes:
        toolchains: Hash of the version in force of every toolchain that ever told one.
        versions: Those versions.
    """

    epoch: str
    kernel_config: str | None
    universe: str | None
    prompt_frontier: str | None
    toolchains: str | None
    versions: dict[str, str]
    n_runs: int
    first_ms: int | None
    last_ms: int | None


class _Versions:
    """The version of every toolchain at a moment: the last one told, before any the first.

    Attributes:
        changes: Moments at which some version changed.
    """

    def __init__(self, sightings: Sequence[tuple[int, str, str]]) -> None:
        self._told: dict[str, list[tuple[int, str]]] = {}
        for moment, toolchain, version in sorted(sightings):
            told = self._told.setdefault(toolchain, [])
            if not told or told[-1][1] != version:
                told.append((moment, version))
        changes = sorted(moment for told in self._told.values() for moment, _ in told[1:])
        self.changes = changes
        self._states = [self._at(moment) for moment in (None, *changes)]

    def _at(self, moment: int | None) -> dict[str, str]:
        state = {}
        for toolchain, told in sorted(self._told.items()):
            seen = [version for at, version in told if moment is not None and at <= moment]
            state[toolchain] = seen[-1] if seen else told[0][1]
        return state

    def state(self, number: int) -> dict[str, str]:
        """The versions after so many changes."""
        return self._states[number]


def run_epochs(
    runs: pl.DataFrame, states: Sequence[SettingsState]
) -> tuple[pl.DataFrame, list[Epoch]]:
    """The hashes and the epoch of every run, and the epochs in the order they began.

    Args:
        runs: ``run_id``, ``decided_ms``, ``toolchain`` and ``toolchain_version``.
        states: Changes of settings that git remembers, oldest first.
    """
    told = runs.drop_nulls(["decided_ms", "toolchain", "toolchain_version"]).unique(
        ["decided_ms", "toolchain", "toolchain_version"]
    )
    versions = _Versions(
        list(told.select("decided_ms", "toolchain", "toolchain_version").iter_rows())
    )
    placed = runs.select(
        "run_id",
        "decided_ms",
        state=_changes_before([state.committed_ms for state in states]),
        version=_changes_before(versions.changes),
    )
    cases = placed.group_by("state", "version", maintain_order=True).agg(
        n_runs=pl.len(),
        first_ms=pl.col("decided_ms").min(),
        last_ms=pl.col("decided_ms").max(),
    )
    hashes, described = [], []
    for row in cases.iter_rows(named=True):
        state = states[row["state"] - 1] if row["state"] else None
        version = versions.state(row["version"])
        case = {
            "kernel_config": state.kernel_config if state else None,
            "universe": state.universe if state else None,
            "prompt_frontier": state.prompt_frontier if state else None,
            "toolchains": document_hash(version) if version else None,
        }
        hashes.append({"epoch": document_hash(case)[:8], **case})
        described.append(version)
    schema = polars_schema(RUN_EPOCHS)
    del schema["run_id"]
    cases = pl.concat([cases, pl.DataFrame(hashes, schema=schema)], how="horizontal")
    table = placed.join(cases, on=["state", "version"], how="left", maintain_order="left")
    epochs = [
        _epoch(rows, described)
        for rows in cases.with_row_index("case").partition_by("epoch", maintain_order=True)
    ]
    epochs.sort(key=lambda one: (one.first_ms is None, one.first_ms or 0, one.epoch))
    return check_table(RUN_EPOCHS, table.select(polars_schema(RUN_EPOCHS).keys())), epochs


def _changes_before(changes: Sequence[int]) -> pl.Expr:
    """How many of some moments, in their order, are not after a run's decision; 0 where nobody
    knows when that was.
    """
    moments = pl.lit(pl.Series(changes, dtype=pl.Int64))
    return (
        pl.when(pl.col("decided_ms").is_not_null())
        .then(moments.search_sorted(pl.col("decided_ms"), side="right"))
        .otherwise(0)
    )


def _epoch(cases: pl.DataFrame, versions: Sequence[dict[str, str]]) -> Epoch:
    """An epoch of the cases that have its hashes; what it was is told of the last of them."""
    last = cases.row(-1, named=True)
    n_runs, first_ms, last_ms = cases.select(
        pl.col("n_runs").sum(), pl.col("first_ms").min(), pl.col("last_ms").max()
    ).row(0)
    return Epoch(
        **{name: last[name] for name in ("epoch", *HASHES)},
        versions=versions[last["case"]],
        n_runs=n_runs,
        first_ms=first_ms,
        last_ms=last_ms,
    )


def epochs_of(runs: Parts, settings_states: pl.DataFrame) -> tuple[pl.DataFrame, list[Epoch]]:
    """``run_epochs`` of a whole run table, from the states as ``sources`` tables them."""
    columns = ["run_id", "decided_ms", "toolchain", "toolchain_version"]
    states = [SettingsState(**row) for row in settings_states.iter_rows(named=True)]
    return run_epochs(runs.table(columns, polars_schema(RUNS)), states)
