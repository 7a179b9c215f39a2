"""Stable hash buckets for open sets of names (tags, keywords, fail codes, toolchains).

Belongs here: the one bucket function. Does not: bucket counts, which their users choose.
Spec: section 6.2. Python's own ``hash`` changes with PYTHONHASHSEED, so it is never used.
"""

from functools import lru_cache
from hashlib import blake2b


@lru_cache(maxsize=65_536)
def bucket(name: str, n_buckets: int) -> int:
    """A number in [0, n_buckets) that is the same in every process and on every machine.

    >>> bucket("ui", 1024) == bucket("ui", 1024)
    True
    """
    digest = blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big") % n_buckets
