"""The assignment of keys to inputs that is worth most, each key used once.

Belongs here: maximum-weight bipartite matching over integers.
Does not: what a pair is worth (``matching``).
Source: H. W. Kuhn, "The Hungarian method for the assignment problem" (1955), in its form with
shortest augmenting paths and potentials. Rows may stay free: each has a free column of its own.
"""

from collections.abc import Mapping, Sequence


def best_assignment(worth: Sequence[Mapping[int, int]], n_columns: int) -> list[int | None]:
    """The column of each row in an assignment of greatest total worth.

    Args:
        worth: For each row, what each column that it may take is worth; positive integers.
        n_columns: How many columns there are.

    Returns:
        A column or None for each row; no column twice. Equal worths always give the same answer.

    Time: rows^2 x (rows + columns).

    >>> best_assignment([{0: 3, 1: 2}, {0: 2}], 2)
    [1, 0]
    """
    n_rows = len(worth)
    width = n_columns + n_rows
    row_of: list[int] = [-1] * width
    row_price, column_price = [0] * n_rows, [0] * width
    for start in range(n_rows):
        _augment(start, worth, n_columns, row_of, row_price, column_price)
    columns: list[int | None] = [None] * n_rows
    for column in range(n_columns):
        if row_of[column] >= 0:
            columns[row_of[column]] = column
    return columns


def _costs(row: int, worth: Sequence[Mapping[int, int]], n_columns: int) -> list[tuple[int, int]]:
    """Columns that a row may take, with their costs; the row's free column costs nothing."""
    return [*((column, -worth[row][column]) for column in sorted(worth[row])), (n_columns + row, 0)]


def _augment(
    start: int,
    worth: Sequence[Mapping[int, int]],
    n_columns: int,
    row_of: list[int],
    row_price: list[int],
    column_price: list[int],
) -> None:
    """Give ``start`` a column along the cheapest path, and keep the prices true."""
    distance: dict[int, int] = {}
    came_from: dict[int, int] = {}
    settled: dict[int, int] = {}
    row, base, last = start, 0, -1
    rows_seen = {start: 0}
    while True:
        for column, cost in _costs(row, worth, n_columns):
            reduced = base + cost - row_price[row] - column_price[column]
            if column not in settled and (column not in distance or reduced < distance[column]):
                distance[column], came_from[column] = reduced, row
        column = min((c for c in distance if c not in settled), key=lambda c: (distance[c], c))
        base = settled[column] = distance[column]
        if row_of[column] < 0:
            last = column
            break
        row = row_of[column]
        rows_seen[row] = base
    for seen, reached in rows_seen.items():
        row_price[seen] += base - reached
    for column, reached in settled.items():
        column_price[column] -= base - reached
    while True:
        row = came_from[last]
        previous = next((c for c in range(len(row_of)) if row_of[c] == row), None)
        row_of[last] = row
        if previous is None:
            return
        row_of[previous] = -1
        last = previous
