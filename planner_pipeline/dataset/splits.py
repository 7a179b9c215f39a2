"""Time splits: the past trains, the later past calibrates, the newest tests.

Belongs here: the split rule. Does not: examples. Spec: section 5.3.
"""

from collections.abc import Sequence
from typing import Final, Literal

Split = Literal["train", "val", "test"]
SPLITS: Final[tuple[Split, ...]] = ("train", "val", "test")
TRAIN_SHARE: Final = 0.8
VAL_SHARE: Final = 0.1


def time_splits(moments: Sequence[tuple[int, str]]) -> list[Split]:
    """A split for every example, 80/10/10 in time order.

    Args:
        moments: (decided_ms, group_id) of each example. Examples of one group, or of one moment,
            are never parted, so shares are approximate for small data.

    Returns:
        Splits in the order of ``moments``.

    >>> time_splits([(t, str(t)) for t in range(10)])[7:]
    ['train', 'val', 'test']
    """
    group_start: dict[str, int] = {}
    for moment, group in moments:
        group_start[group] = min(moment, group_start.get(group, moment))
    order = sorted(range(len(moments)), key=lambda i: (group_start[moments[i][1]], moments[i][1]))
    splits: list[Split] = ["train"] * len(moments)
    n = len(moments)
    current: Split = "train"
    last_start: int | None = None
    for rank, i in enumerate(order):
        start = group_start[moments[i][1]]
        if start != last_start:
            if rank >= int((TRAIN_SHARE + VAL_SHARE) * n):
                current = "test"
            elif rank >= int(TRAIN_SHARE * n):
                current = "val"
        splits[i], last_start = current, start
    return splits
