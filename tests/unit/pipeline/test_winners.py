"""Winners take the place of executed plans, or are refused."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from planner_pipeline.dataset.arrays import Arrays, build_arrays
from planner_pipeline.dataset.winners import WinnersError, read_winners, with_winners
from planner_runtime.actions import HEADS, ActionSpace, valid_actions

SPACE = ActionSpace()
ACTIONS = valid_actions(SPACE, "code")


def some_rows(n: int) -> tuple[pl.DataFrame, Arrays]:
    features = np.arange(n * 2, dtype=np.float32).reshape(n, 2)
    rows = pl.DataFrame({"example_id": [f"e{i}" for i in range(n)]})
    tokens = [[i, i + 1] for i in range(n)]
    return rows, build_arrays(features, [ACTIONS[0]] * n, ["code"] * n, SPACE, tokens)


def a_table(ids: list[str], action: tuple[object, ...] = ACTIONS[7]) -> pl.DataFrame:
    cells = {head: [str(choice)] * len(ids) for head, choice in zip(HEADS, action, strict=True)}
    return pl.DataFrame({"example_id": ids, **cells})


def test_only_rows_with_a_winner_are_learned_from_and_with_it() -> None:
    rows, arrays = some_rows(5)
    found = with_winners(arrays, rows, a_table(["e3", "e1", "unknown"]))
    assert found.features[:, 0].tolist() == [2.0, 6.0]
    assert [found.tokens.row(i).tolist() for i in range(2)] == [[1, 2], [3, 4]]
    chosen = [
        tuple(SPACE.choices[h][c] for h, c in enumerate(row)) for row in found.labels.tolist()
    ]
    assert chosen == [tuple(ACTIONS[7])] * 2


def test_a_winner_that_is_no_valid_action_is_refused() -> None:
    rows, arrays = some_rows(2)
    for action in (("serial_handoff", 3, 60, "NA"), ("serial_handoff", 1, 61, "NA")):
        with pytest.raises(WinnersError, match="no action of the data set"):
            with_winners(arrays, rows, a_table(["e0"], action))


def test_a_file_that_is_no_table_of_winners_is_refused_by_name(tmp_path: Path) -> None:
    for name, write in (
        ("text", lambda path: path.write_text("hello")),
        ("columns", lambda path: pl.DataFrame({"example_id": ["e0"]}).write_parquet(path)),
        ("twice", lambda path: a_table(["e0", "e0"]).write_parquet(path)),
    ):
        path = tmp_path / name
        write(path)
        with pytest.raises(WinnersError, match=name):
            read_winners(path)
    a_table(["e0"]).with_columns(more=1).write_parquet(tmp_path / "good")
    assert read_winners(tmp_path / "good").columns == ["example_id", *HEADS]
