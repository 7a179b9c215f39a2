"""Reading and checking the three tables: features, outcomes, folds.

Belongs here: what makes a table unusable (an error), what makes a row or a column unusable (it is
left out, with its reason), and the arrays that remain. Does not: choosing folds (``crossval``),
turning features into numbers (``design``). Source: docs/select.md.
"""

from pathlib import Path
from typing import Final

import numpy as np
import polars as pl

from planner_pipeline.selection.scenario import (
    LeftOut,
    Outcomes,
    Partition,
    Scenario,
    SelectionError,
    leave_out,
)
from planner_runtime.action_set import named_actions

RESERVED: Final = ("case_id", "started_ms", "group")
_NUMBERS: Final = ("passed", "duration_ms", "cost_usd")


def read_table(path: Path, table: str) -> pl.DataFrame:
    """A Parquet or CSV file.

    Raises:
        SelectionError: it cannot be read as one.
    """
    try:
        if path.suffix.lower() == ".csv":
            return pl.read_csv(path, infer_schema_length=None)
        return pl.read_parquet(path)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SelectionError(table, f"{path}: {' '.join(str(error).split())[:200]}") from error


def _with_ids(table: pl.DataFrame, name: str, *needed: str) -> pl.DataFrame:
    """The table with its ids as text.

    Raises:
        SelectionError: a column is not there, or an id is missing.
    """
    if missing := [column for column in needed if column not in table.columns]:
        raise SelectionError(name, f"no column {missing[0]!r}; it has {table.columns[:8]}")
    ids = [column for column in needed if column in ("case_id", "action")]
    try:
        table = table.with_columns(pl.col(ids).cast(pl.String))
    except pl.exceptions.PolarsError as error:
        raise SelectionError(name, f"ids are no text or numbers: {error}") from error
    for column in ids:
        if n_null := table[column].null_count():
            raise SelectionError(name, f"{n_null} rows have no {column}")
    return table


def _unique(table: pl.DataFrame, name: str, keys: list[str]) -> tuple[pl.DataFrame, int]:
    """The table with rows that say exactly the same twice taken once, and how many were dropped.

    Raises:
        SelectionError: rows of one key say different things.
    """
    once = table.unique(maintain_order=True)
    again = once.filter(once.select(keys).is_duplicated())
    if len(again):
        first = dict(again.select(keys).row(0, named=True))
        n = again.select(keys).n_unique()
        raise SelectionError(name, f"{n} of {keys} have rows that differ, first {first}")
    return once, len(table) - len(once)


def _features(table: pl.DataFrame) -> tuple[pl.DataFrame, list[LeftOut]]:
    """Feature columns, those of no usable type left out."""
    kept, refused = [], []
    for column in sorted(set(table.columns) - set(RESERVED)):
        kind = table.schema[column]
        if kind.is_temporal():
            kept.append(pl.col(column).to_physical().cast(pl.Float64).alias(column))
        elif kind.is_numeric() or kind == pl.Boolean:
            kept.append(pl.col(column).cast(pl.Float64))
        elif kind in (pl.String, pl.Categorical, pl.Enum):
            kept.append(pl.col(column).cast(pl.String))
        elif kind == pl.List(pl.String):
            kept.append(pl.col(column))
        elif kind == pl.Null:
            refused.append((column, "it holds nothing"))
        else:
            refused.append((column, f"its type {kind} is no feature"))
    left_out = []
    for reason in sorted({why for _, why in refused}):
        left_out += leave_out("column", reason, [name for name, why in refused if why == reason])
    return table.select(kept), left_out


def _number(table: pl.DataFrame, column: str) -> pl.Series:
    """A float column in which everything that is no finite number is null."""
    if column not in table.columns:
        return pl.Series(column, [None] * len(table), dtype=pl.Float64)
    kind = table.schema[column]
    if not (kind.is_numeric() or kind in (pl.Boolean, pl.Null)):
        raise SelectionError("outcomes", f"{column} is {kind}, not a number")
    series = table[column].cast(pl.Float64)
    return table.select(pl.when(series.is_finite()).then(series).alias(column)).to_series()


def _outcome_rows(
    table: pl.DataFrame, known: set[str]
) -> tuple[pl.DataFrame, list[LeftOut], list[str]]:
    """Outcome rows with clean columns, and what was left out of them."""
    notes: list[str] = []
    table, n_same = _unique(table, "outcomes", ["case_id", "action"])
    left_out = leave_out("outcome", "it is there twice, word for word", ["a row"] * n_same)
    had_censored = "censored" in table.columns
    flags = _number(table, "censored").fill_null(0.0) > 0
    rows = table.select("case_id", "action", *(_number(table, c) for c in _NUMBERS)).with_columns(
        censored=flags
    )
    stranger = ~rows["case_id"].is_in(sorted(known))
    strangers = rows.filter(stranger)["case_id"].unique().to_list()
    left_out += leave_out("case", "it has outcomes and no features", strangers)
    rows = rows.filter(~stranger)
    if "passed" not in table.columns:
        if had_censored:
            notes.append("no column passed: an outcome passed where it was not censored")
        else:
            notes.append("no column passed: every outcome counts as passed")
        rows = rows.with_columns(passed=(~pl.col("censored")).cast(pl.Float64))
    rows = rows.with_columns(
        passed=pl.when(pl.col("passed").is_null() & pl.col("censored"))
        .then(0.0)
        .otherwise(pl.col("passed"))
    )
    for column, low, high in (
        ("passed", 0.0, 1.0), ("duration_ms", 0.0, np.inf), ("cost_usd", 0.0, np.inf),
    ):  # fmt: skip
        wrong = ~rows[column].is_between(low, high)
        bad = rows.filter(wrong)
        names = [f"{case} {action}" for case, action in bad.select("case_id", "action").rows()]
        left_out += leave_out("outcome", f"{column} outside [{low:g}, {high:g}]: not used", names)
        rows = rows.with_columns(
            pl.when(pl.col(column).is_between(low, high)).then(pl.col(column)).alias(column)
        )
    empty = rows.filter(pl.all_horizontal(pl.col(c).is_null() for c in _NUMBERS))
    names = [f"{case} {action}" for case, action in empty.select("case_id", "action").rows()]
    left_out += leave_out("outcome", "neither passed, duration nor cost is known", names)
    rows = rows.filter(pl.any_horizontal(pl.col(c).is_not_null() for c in _NUMBERS))
    return rows, left_out, notes


def _outcomes(rows: pl.DataFrame, case_ids: list[str], names: list[str]) -> Outcomes:
    case_at = {case: n for n, case in enumerate(case_ids)}
    action_at = {action: n for n, action in enumerate(names)}
    at = (
        [case_at[case] for case in rows["case_id"]],
        [action_at[action] for action in rows["action"]],
    )
    shape = (len(case_ids), len(names))

    def spread(column: str) -> np.ndarray:
        values = np.full(shape, np.nan)
        values[at] = rows[column].to_numpy()
        return values

    censored = np.zeros(shape, dtype=bool)
    censored[at] = rows["censored"].to_numpy()
    return Outcomes(
        passed=spread("passed"),
        duration_ms=spread("duration_ms"),
        cost_usd=spread("cost_usd"),
        is_censored=censored,
    )


def _label(value: object) -> int | str:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else str(value)


def _in_order(labels: "set[int | str]") -> tuple[int | str, ...]:
    """Numbers by size, then texts."""
    return tuple(sorted(labels, key=lambda x: (isinstance(x, str), x if x != "" else "")))


def _partitions(
    table: pl.DataFrame, case_ids: list[str]
) -> tuple[tuple[Partition, ...], list[LeftOut]]:
    """Every repetition's folds.

    Raises:
        SelectionError: a case is in two folds of one repetition, or a repetition has fewer than
            two folds with cases.
    """
    table = _with_ids(table, "folds", "case_id", "fold")
    by = ["case_id", "repetition"] if "repetition" in table.columns else ["case_id"]
    if n_null := table["fold"].null_count():
        raise SelectionError("folds", f"{n_null} rows have no fold")
    table, n_same = _unique(table.select(*by, "fold"), "folds", by)
    left_out = leave_out("fold_row", "it is there twice, word for word", ["a row"] * n_same)
    known = table["case_id"].is_in(case_ids)
    strangers = table.filter(~known)["case_id"].unique().to_list()
    left_out += leave_out("fold_row", "its case has no features", strangers)
    table = table.filter(known)
    case_at = {case: n for n, case in enumerate(case_ids)}
    has_name = "repetition" in table.columns
    rows: dict[int | str, dict[int, int | str]] = {}
    for row in table.iter_rows(named=True):
        repetition = _label(row["repetition"]) if has_name else 0
        rows.setdefault(repetition, {})[case_at[row["case_id"]]] = _label(row["fold"])
    partitions = []
    for repetition in _in_order(set(rows)):
        fold_of = rows[repetition]
        names = _in_order(set(fold_of.values()))
        if len(names) < 2:
            where = f"repetition {repetition}" if has_name else "it"
            why = f"{where} has one fold with cases: nothing is left to learn from"
            raise SelectionError("folds", why)
        fold = np.full(len(case_ids), -1)
        for case, name in fold_of.items():
            fold[case] = names.index(name)
        missing = [case_ids[n] for n in np.flatnonzero(fold < 0)]
        left_out += leave_out(
            "case",
            f"no fold{f' in repetition {repetition}' if has_name else ''}: learned from, "
            "not decided",
            missing,
        )
        partitions.append(
            Partition(repetition=repetition if has_name else None, fold=fold, names=names)
        )
    if not partitions:
        raise SelectionError("folds", "none of its cases has features")
    return tuple(partitions), left_out


def build_scenario(
    features: pl.DataFrame, outcomes: pl.DataFrame, folds: pl.DataFrame | None = None
) -> Scenario:
    """The scenario that three tables hold, whatever the order of their rows.

    Raises:
        SelectionError: a table cannot be used as a whole.
    """
    features = _with_ids(features, "features", "case_id")
    outcomes = _with_ids(outcomes, "outcomes", "case_id", "action")
    features, n_same = _unique(features, "features", ["case_id"])
    left_out = leave_out("case", "its row is there twice, word for word", ["a row"] * n_same)
    features = features.sort("case_id")
    case_ids = features["case_id"].to_list()
    if len(case_ids) < 4:
        raise SelectionError("features", f"{len(case_ids)} cases are too few to learn and to test")
    rows, refused, notes = _outcome_rows(outcomes, set(case_ids))
    left_out += refused
    names = sorted(rows["action"].unique().to_list())
    gone = sorted(set(outcomes["action"].unique().to_list()) - set(names))
    left_out += leave_out("action", "it has no usable outcome", gone)
    if not names:
        raise SelectionError("outcomes", "no usable outcome of a case with features")
    silent = sorted(set(case_ids) - set(rows["case_id"].unique().to_list()))
    left_out += leave_out("case", "no outcome: decided, not learned from, not scored", silent)
    matrix, refused = _features(features)
    left_out += refused
    groups = tuple(case_ids)
    if "group" in features.columns:
        # a case without a group is its own; the blank keeps it apart from groups of that name
        given = features["group"].cast(pl.String).to_list()
        groups = tuple(
            f"group {g}" if g is not None else f"case {case}"
            for g, case in zip(given, case_ids, strict=True)
        )
    started = None
    if "started_ms" in features.columns:
        kind = features.schema["started_ms"]
        if kind.is_numeric():
            started = features["started_ms"].cast(pl.Float64).to_numpy()
    partitions: tuple[Partition, ...] = ()
    if folds is not None:
        partitions, refused = _partitions(folds, case_ids)
        left_out += refused
    return Scenario(
        case_ids=tuple(case_ids),
        actions=named_actions(names),
        features=matrix,
        outcomes=_outcomes(rows, case_ids, names),
        groups=groups,
        has_groups="group" in features.columns,
        started_ms=started,
        partitions=partitions,
        left_out=tuple(left_out),
        notes=tuple(notes),
    )
