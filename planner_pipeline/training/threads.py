"""One thread for torch: faster on models as small as ours, and equal sums on every machine.

Belongs here: the setting, put back afterwards. Does not: work on several cores (``experiments``),
which uses processes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Torch computes on one thread inside."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
