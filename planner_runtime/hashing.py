"""Stable hash buckets for open sets of names (tags, keywords, fail codes, toolchains).

Belongs here: the one bucket function. Does not: bucket counts, which their users choose.
Spec: section 6.2. Python's own ``hash`` changes with PYTHONHASHSEED, so it is never used.
"""

from functools import lru_cache
from hashlib import blake2b
from typing import Final

MOST_REMEMBERED: Final = 8_192
LONGEST_REMEMBERED: Final = 64  # characters: what a caller makes up must not fill the memory


def bucket(name: str, n_buckets: int) -> int:
    """A number in [0, n_buckets) that is the same in every process and on every machine.

    >>> bucket("ui", 1024) == bucket("ui", 1024)
    True
    """
    return (_remembered if len(name) <= LONGEST_REMEMBERED else _bucket)(name, n_buckets)


def _bucket(name: str, n_buckets: int) -> int:
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % n_buckets


_remembered: Final = lru_cache(maxsize=MOST_REMEMBERED)(_bucket)
