"""Winner labels: which action was best among those a bench evaluated, where one did.

Belongs here: reading them, and putting them in the place of executed plans. Does not: choosing
winners (``bench``). Spec: sections 7.4 (Stage B) and 9.4.
"""

from pathlib import Path

import numpy as np
import polars as pl

from planner_pipeline.dataset.arrays import Arrays, choose_rows
from planner_pipeline.dataset.examples import read_action
from planner_pipeline.tables import WINNERS, check_table
from planner_runtime.actions import HEADS, action_to_indices


class WinnersError(ValueError):
    """A table of winners cannot be used."""


def read_winners(path: Path) -> pl.DataFrame:
    """``WINNERS`` from a Parquet file.

    Raises:
        WinnersError: it cannot be read, or is no such table.
    """
    try:
        return check_table(WINNERS, pl.read_parquet(path))
    except Exception as error:  # of polars, pandera or the file system
        raise WinnersError(f"{path}: {' '.join(str(error).split())[:300]}") from error


def with_winners(arrays: Arrays, rows: pl.DataFrame, winners: pl.DataFrame) -> Arrays:
    """The rows that have a winner, with it as their label.

    Args:
        rows: Of the index, the same as ``arrays``.

    Raises:
        WinnersError: a winner is not a valid action of its example's job type.
    """
    placed = rows.with_row_index("place").join(
        winners.select("example_id", *(pl.col(head).alias(f"won_{head}") for head in HEADS)),
        on="example_id",
        maintain_order="left",
    )
    chosen = choose_rows(arrays, placed["place"].to_numpy().astype(np.int64))
    try:
        labels = [
            action_to_indices(arrays.space, read_action(row))
            for row in placed.select([f"won_{head}" for head in HEADS]).iter_rows()
        ]
        found = Arrays(
            chosen.features, chosen.tokens,
            np.array(labels, dtype=np.int64).reshape(-1, len(HEADS)),
            chosen.jobs, chosen.job_types, chosen.space,
        )  # fmt: skip
        for job, table in enumerate(found.tables):
            table.column_of(found.labels[found.jobs == job])
    except ValueError as error:
        raise WinnersError(f"a winner is no action of the data set: {error}") from error
    return found
