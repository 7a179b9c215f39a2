"""Under which settings every run was decided: configuration, universe, prompts, toolchain versions.

Belongs here: the hashes per run and the epochs they make. Does not: how epochs differ
(``dataset.drift``). Spec: section 12, P5. What nothing proves is null, and null is a value of its
own: runs whose configuration is unknown are not mixed with those whose configuration is known.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import msgspec
import polars as pl

from planner_pipeline.parts import Parts
from planner_pipeline.sources.settings import SettingsState
from planner_pipeline.tables import RUN_EPOCHS, RUNS, check_table, polars_schema
from planner_runtime.contracts.canonical import document_hash


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
    """The version of every toolchain at a moment: the last one told, before any the first."""

    def __init__(self, sightings: Sequence[tuple[int, str, str]]) -> None:
        self._told: dict[str, list[tuple[int, str]]] = {}
        for moment, toolchain, version in sorted(sightings):
            told = self._told.setdefault(toolchain, [])
            if not told or told[-1][1] != version:
                told.append((moment, version))
        changes = sorted(moment for told in self._told.values() for moment, _ in told[1:])
        self._changes = changes
        self._states = [self._at(moment) for moment in (None, *changes)]

    def _at(self, moment: int | None) -> dict[str, str]:
        state = {}
        for toolchain, told in sorted(self._told.items()):
            seen = [version for at, version in told if moment is not None and at <= moment]
            state[toolchain] = seen[-1] if seen else told[0][1]
        return state

    def number(self, moment: int) -> int:
        return bisect_right(self._changes, moment)

    def state(self, number: int) -> dict[str, str]:
        return self._states[number]


def run_epochs(
    runs: pl.DataFrame, states: Sequence[SettingsState]
) -> tuple[pl.DataFrame, list[Epoch]]:
    """The hashes and the epoch of every run, and the epochs in the order they began.

    Args:
        runs: ``run_id``, ``decided_ms``, ``toolchain`` and ``toolchain_version``.
        states: Changes of settings that git remembers, oldest first.
    """
    told = runs.drop_nulls(["decided_ms", "toolchain", "toolchain_version"])
    versions = _Versions(
        list(told.select("decided_ms", "toolchain", "toolchain_version").iter_rows())
    )
    changes = [state.committed_ms for state in states]
    cases: dict[tuple[int | None, int], dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    found: dict[str, list[int]] = {}
    described: dict[str, tuple[dict[str, Any], dict[str, str]]] = {}
    for run_id, decided_ms in runs.select("run_id", "decided_ms").iter_rows():
        place = None if decided_ms is None else bisect_right(changes, decided_ms)
        number = 0 if decided_ms is None else versions.number(decided_ms)
        if (place, number) not in cases:
            state = states[place - 1] if place else None
            version = versions.state(number)
            hashes = {
                "kernel_config": state.kernel_config if state else None,
                "universe": state.universe if state else None,
                "prompt_frontier": state.prompt_frontier if state else None,
                "toolchains": document_hash(version) if version else None,
            }
            epoch = document_hash(hashes)[:8]
            cases[place, number] = {"epoch": epoch, **hashes}
            described[epoch] = hashes, version
        rows.append({"run_id": run_id, **cases[place, number]})
        found.setdefault(cases[place, number]["epoch"], []).append(
            -1 if decided_ms is None else decided_ms
        )
    table = pl.DataFrame(rows, schema=polars_schema(RUN_EPOCHS), orient="row")
    return check_table(RUN_EPOCHS, table), _epochs(found, described)


def epochs_of(runs: Parts, settings_states: pl.DataFrame) -> tuple[pl.DataFrame, list[Epoch]]:
    """``run_epochs`` of a whole run table, from the states as ``sources`` tables them."""
    columns = ["run_id", "decided_ms", "toolchain", "toolchain_version"]
    states = [SettingsState(**row) for row in settings_states.iter_rows(named=True)]
    return run_epochs(runs.table(columns, polars_schema(RUNS)), states)


def _epochs(
    found: dict[str, list[int]], described: dict[str, tuple[dict[str, Any], dict[str, str]]]
) -> list[Epoch]:
    epochs = []
    for epoch, moments in found.items():
        dated = [moment for moment in moments if moment >= 0]
        hashes, versions = described[epoch]
        epochs.append(
            Epoch(
                epoch=epoch,
                **hashes,
                versions=versions,
                n_runs=len(moments),
                first_ms=min(dated, default=None),
                last_ms=max(dated, default=None),
            )
        )
    return sorted(epochs, key=lambda one: (one.first_ms is None, one.first_ms or 0, one.epoch))
