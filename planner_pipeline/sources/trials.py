"""Trial tables: attempts of any orchestrator as CSV or Parquet.

Belongs here: reading and checking rows. Does not: turning them into a workspace
(``trial_workspace``). A system is a toolchain, a task an issue, an attempt a workcell; an empty
cell is not known and never 0.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec
import polars as pl

from planner_runtime.archives.files import Quarantine, SourceCount, read_json
from planner_runtime.inputs import epoch_ms

SOURCE: Final = "trials"
IMPORT_FILE: Final = "trials_import.json"
REQUIRED: Final = ("issue_id", "system", "attempt", "passed")
LARGEST: Final = 2**53
EARLIEST_MS: Final = 0
LATEST_MS: Final = 4_102_444_800_000  # the year 2100


class TrialImport(msgspec.Struct, frozen=True, kw_only=True):
    """What an import took and refused; kept in the workspace, so that later builds can tell."""

    count: SourceCount
    quarantined: tuple[Quarantine, ...] = ()


class TrialTableError(ValueError):
    """A file is no trial table at all."""


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt of one system at one task."""

    dataset: str | None
    issue_id: str
    repo: str | None
    system: str
    model: str | None
    attempt: int
    passed: bool
    cost_usd: float | None
    duration_ms: int | None
    tokens_in: int | None
    tokens_out: int | None
    started_ms: int | None
    ended_ms: int | None
    fail_code: str | None
    gates_passed: int | None
    gates_total: int | None


class TrialRead(msgspec.Struct, frozen=True, kw_only=True):
    """All attempts of some tables and what could not be read."""

    trials: tuple[Trial, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


def read_trial_import(repo: Path) -> TrialImport:
    """What the import that made a workspace took and refused; nothing where none did."""
    nothing = TrialImport(count=SourceCount(source=SOURCE, discovered=0, accepted=0, quarantined=0))
    found = read_json(repo, repo / IMPORT_FILE, TrialImport, SOURCE)
    if isinstance(found, Quarantine):
        count = SourceCount(source=SOURCE, discovered=1, accepted=0, quarantined=1)
        return TrialImport(count=count, quarantined=(found,))
    return found or nothing


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return None if value is None or str(value).strip() == "" else str(value).strip()


def _number(row: Mapping[str, Any], name: str) -> float | None:
    text = _text(row, name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{name} is {text!r}, not a number") from None
    if not math.isfinite(value) or value < 0:
        raise ValueError(f"{name} is {text}, not a finite number from 0 up")
    return value


def _whole(row: Mapping[str, Any], name: str) -> int | None:
    value = _number(row, name)
    if value is not None and (value != int(value) or value > LARGEST):
        raise ValueError(f"{name} is {value}, not a whole number up to 2^53")
    return None if value is None else int(value)


def _moment(row: Mapping[str, Any], name: str) -> int | None:
    text = _text(row, name)
    if text is None:
        return None
    try:
        moment = epoch_ms(text)
    except (ValueError, OverflowError):
        raise ValueError(f"{name} is {text!r}, not an RFC 3339 time") from None
    if not EARLIEST_MS <= moment <= LATEST_MS:
        raise ValueError(f"{name} is {text}, not between 1970 and 2100")
    return moment


def _passed(row: Mapping[str, Any]) -> bool:
    text = (_text(row, "passed") or "").lower()
    if text not in ("0", "1", "true", "false"):
        raise ValueError(f"passed is {text!r}, neither 0 nor 1")
    return text in ("1", "true")


def parse_trial(row: Mapping[str, Any]) -> Trial:
    """One row of a trial table.

    Raises:
        ValueError: a required cell is empty or a cell has no meaning; the text names it.
    """
    for name in REQUIRED:
        if _text(row, name) is None:
            raise ValueError(f"{name} is empty")
    attempt = _whole(row, "attempt")
    if not attempt:
        raise ValueError("attempt counts from 1")
    started_ms, ended_ms = _moment(row, "started_at"), _moment(row, "ended_at")
    if started_ms is not None and ended_ms is not None and ended_ms < started_ms:
        raise ValueError("ended_at is before started_at")
    return Trial(
        dataset=_text(row, "dataset"),
        issue_id=_text(row, "issue_id") or "",
        repo=_text(row, "repo"),
        system=_text(row, "system") or "",
        model=_text(row, "model"),
        attempt=attempt,
        passed=_passed(row),
        cost_usd=_number(row, "cost_usd"),
        duration_ms=_whole(row, "duration_ms"),
        tokens_in=_whole(row, "tokens_in"),
        tokens_out=_whole(row, "tokens_out"),
        started_ms=started_ms,
        ended_ms=ended_ms,
        fail_code=_text(row, "fail_code"),
        gates_passed=_whole(row, "gates_passed"),
        gates_total=_whole(row, "gates_total"),
    )


def _read_table(path: Path) -> pl.DataFrame:
    try:
        if path.suffix == ".parquet":
            table = pl.read_parquet(path)
        else:
            table = pl.read_csv(path, infer_schema=False, truncate_ragged_lines=False)
    except OSError as error:
        raise TrialTableError(f"{path}: {error.strerror or error}") from error
    except (pl.exceptions.PolarsError, UnicodeError) as error:
        detail = str(error).splitlines()[0]
        raise TrialTableError(f"{path}: not a CSV or Parquet table: {detail}") from error
    missing = [name for name in REQUIRED if name not in table.columns]
    if missing:
        raise TrialTableError(f"{path}: columns {missing} are missing; {REQUIRED} are required")
    return table


def read_trials(paths: list[Path]) -> TrialRead:
    """Every attempt of some tables, in file and row order.

    A row that cannot be read, and a second row of one attempt, is quarantined.

    Raises:
        TrialTableError: a file is missing, no table, or lacks a required column.
    """
    trials: dict[tuple[str | None, str, str, int], Trial] = {}
    refused: list[Quarantine] = []
    n = 0
    for path in paths:
        for number, row in enumerate(_read_table(path).iter_rows(named=True), start=2):
            n += 1
            try:
                trial = parse_trial(row)
                key = (trial.dataset, trial.issue_id, trial.system, trial.attempt)
                if key in trials:
                    raise ValueError(f"attempt {trial.attempt} of this system stands here twice")
            except ValueError as error:
                text = ",".join("" if value is None else str(value) for value in row.values())
                refused.append(
                    Quarantine(
                        source=SOURCE, file=path.name, line=number, reason="bad_value",
                        detail=str(error), excerpt=text[:160],
                    )
                )  # fmt: skip
                continue
            trials[key] = trial
    count = SourceCount(source=SOURCE, discovered=n, accepted=len(trials), quarantined=len(refused))
    return TrialRead(trials=tuple(trials.values()), quarantined=tuple(refused), count=count)
