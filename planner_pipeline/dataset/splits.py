"""Time splits: the past trains, the later past calibrates, the newest tests.

Belongs here: the split rule, and what each split is for. Does not: examples. Spec: section 5.3.
The validation split has two roles: its earlier half stops the training and fits temperatures, its
later half, which the model has then not seen, certifies from which confidence on it is followed.
"""

from collections.abc import Sequence
from typing import Final, Literal

Split = Literal["train", "val", "test"]
Role = Literal["train", "val", "certify", "test"]
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


def roles(rows: Sequence[tuple[Split, int, str]]) -> list[Role]:
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
    return ["certify" if split == "val" and group in later else split for split, _, group in rows]
