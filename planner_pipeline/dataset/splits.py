"""Time splits: the past trains, the later past calibrates, the newest tests.

Belongs here: the split rule, and what each split is for. Does not: examples. Spec: section 5.3.
The validation split has two roles: its earlier half stops the training and fits temperatures, its
later half, which the model has then not seen, certifies from which confidence on it is followed.
"""

from collections.abc import Sequence
from typing import Final, Literal

import polars as pl

Split = Literal["train", "val", "test"]
Role = Literal["train", "val", "certify", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")
TRAIN_SHARE: Final = 0.8
VAL_SHARE: Final = 0.1


def time_splits(decided_ms: pl.Series, group_id: pl.Series) -> pl.Series:
    """A split for every example, 80/10/10 in time order, in the order they came.

    Examples of one group, or of one moment, are never parted, so shares are approximate for small
    data: all that starts with its group at one moment goes where the first of it would.

    >>> time_splits(pl.Series(range(10)), pl.Series(list("abcdefghij"))).to_list()[7:]
    ['train', 'val', 'test']
    """
    start = pl.col("decided_ms").min().over("group_id")
    first = start.rank("min") - 1  # how many start earlier
    n = len(decided_ms)
    is_test = first >= int((TRAIN_SHARE + VAL_SHARE) * n)
    is_val = first >= int(TRAIN_SHARE * n)
    return (
        pl.DataFrame({"decided_ms": decided_ms, "group_id": group_id})
        .select(
            split=pl.when(is_test).then(pl.lit("test")).when(is_val).then(pl.lit("val"))
            .otherwise(pl.lit("train"))
        )["split"]
    )  # fmt: skip


def roles(rows: Sequence[tuple[str, int, str]]) -> list[Role]:
    """The role of every example.

    Args:
        rows: Split, decided_ms and group_id of each; a group is never parted.

    >>> roles([("train", 1, "a"), ("val", 2, "b"), ("val", 3, "c"), ("test", 4, "d")])
    ['train', 'val', 'certify', 'test']
    """
    moments = [(moment, group) for split, moment, group in rows if split == "val"]
    start: dict[str, int] = {}
    for moment, group in moments:
        start[group] = min(moment, start.get(group, moment))
    ordered = sorted(moments, key=lambda row: (start[row[1]], row[1]))
    later: set[str] = set()
    if len(ordered) > 1:
        middle = ordered[len(ordered) // 2][1]
        key = (start[middle], middle)
        later = {group for group in start if (start[group], group) >= key}
    told: dict[str, Role] = {"train": "train", "val": "val", "test": "test"}
    return [
        "certify" if split == "val" and group in later else told[split] for split, _, group in rows
    ]
