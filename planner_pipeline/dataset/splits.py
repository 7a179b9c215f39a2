"""Time splits: the past trains, the later past calibrates, the newest tests.

Belongs here: the split rule. Does not: examples. Spec: section 5.3.
"""

from typing import Final, Literal

import polars as pl

Split = Literal["train", "val", "test"]
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
