"""How Python's collector behaves while many records are made.

Belongs here: one context manager. Does not: what is made.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

THRESHOLDS: Final = (200_000, 50, 100)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Look for cycles rarely: our records hold none, and looking for them among hundreds of
    thousands took a quarter of a rebuild's CPU time (docs/log.md).
    """
    before = gc.get_threshold()
    gc.set_threshold(*THRESHOLDS)
    try:
        yield
    finally:
        gc.set_threshold(*before)
