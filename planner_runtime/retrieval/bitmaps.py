"""Which documents hold which terms: one bitmap a frequent term, a short list a rare one.

Belongs here: numbering terms, storing them, counting how many of a query's terms each document
holds, bit by bit. Does not: scores or runs (``similar_runs``). Source: reference/reliability.md 6.
Shapes: W 64-bit words of a stretch of documents; document d is bit d % 64 of word d // 64.
"""

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Final, NamedTuple

import numpy as np

WORD: Final = 64
LEAST_FREQUENT: Final = 64  # documents that make a term worth a bitmap, in a small index
FREQUENT_RATIO: Final = 1024  # in a large one: one document in so many
MANY_WORDS: Final = 4_096
MANY_ROWS: Final = 4_096
MANY_TERMS: Final = 1 << 16
NO_ROW: Final = 0  # the row without any document


class Terms(NamedTuple):
    """What some documents hold, in columns.

    Attributes:
        names: Distinct terms, each of which some document has.
        numbers: (T,) int64 places in ``names``, document after document, distinct in each.
        sizes: (N,) int64, how many of them each document has.
    """

    names: Sequence[str]
    numbers: np.ndarray
    sizes: np.ndarray


def number_terms(documents: Iterable[Iterable[str]]) -> Terms:
    """Documents as columns; a term that a document repeats counts once.

    >>> number_terms([("a", "b"), (), ("b", "b")]).sizes.tolist()
    [2, 0, 1]
    """
    listed = [tuple(document) for document in documents]
    distinct = [
        one if len(one) < 2 or len(set(one)) == len(one) else tuple(dict.fromkeys(one))
        for one in listed
    ]
    flat = list(chain.from_iterable(distinct))
    names = list(dict.fromkeys(flat))
    ids = dict(zip(names, range(len(names)), strict=True))
    return Terms(
        names,
        np.fromiter(map(ids.__getitem__, flat), dtype=np.int64, count=len(flat)),
        np.fromiter(map(len, distinct), dtype=np.int64, count=len(distinct)),
    )


class TermBitmaps:
    """Terms of one kind (tags, say) over documents that are numbered as they come.

    Attributes:
        matrix: (rows, capacity) uint64, a row for each frequent term; row ``NO_ROW`` is empty.
        sizes: For each document how many distinct terms it has.
        smallest: Least number of terms among documents that have any.
    """

    def __init__(self) -> None:
        self._ids: dict[str, int] = {}
        self._row_of: array[int] = array("q")  # by term; NO_ROW while it is rare
        self._rare: list[array[int]] = []  # by term: documents, ascending, while it is rare
        self._n_rows = 1
        self.matrix = np.zeros((8, 16), dtype=np.uint64)
        self.sizes: array[int] = array("q")
        self.smallest = 1

    def extend(self, terms: Terms, *, expected: int = 0) -> None:
        """Number the next documents and note their terms.

        Args:
            expected: How many will come in all, where that is known: room is made at once.
        """
        first, ids = len(self.sizes), self._ids
        own = [ids.setdefault(name, len(ids)) for name in terms.names]
        self.sizes.frombytes(terms.sizes.astype(np.int64, copy=False).tobytes())
        held = terms.sizes[terms.sizes > 0]
        if held.size:
            least = int(held.min())
            self.smallest = least if first == 0 else min(self.smallest, least)
        new = len(ids) - len(self._rare)
        self._row_of.extend([NO_ROW] * new)
        self._rare += [array("q") for _ in range(new)]
        self._note(
            np.array(own, dtype=np.int64)[terms.numbers],
            np.repeat(np.arange(first, len(self.sizes)), terms.sizes),
            max(len(self.sizes), expected),
        )

    def _note(self, terms: np.ndarray, numbers: np.ndarray, n_documents: int) -> None:
        self._make_room(0, n_documents // WORD + 1)
        rows = np.array(self._row_of, dtype=np.int64)[terms]
        is_frequent = rows != NO_ROW
        self._set(rows[is_frequent], numbers[is_frequent])
        terms, numbers = terms[~is_frequent], numbers[~is_frequent]
        # of two bytes numpy sorts by digits, ten times faster
        narrow = terms.astype(np.uint16) if len(self._ids) <= MANY_TERMS else terms
        order = np.argsort(narrow, kind="stable")  # documents stay ascending within a term
        terms, numbers = terms[order], numbers[order]
        edges = (np.flatnonzero(np.diff(terms)) + 1).tolist()
        firsts, documents = terms[[0, *edges]].tolist() if len(terms) else [], numbers.tolist()
        limit = max(LEAST_FREQUENT, len(self.sizes) // FREQUENT_RATIO)
        bounds = pairwise([0, *edges, len(documents)])
        for term, (start, stop) in zip(firsts, bounds, strict=False):
            rare = self._rare[term]
            rare.extend(documents[start:stop])
            if len(rare) < limit:
                continue
            self._make_room(1, 0)
            self._row_of[term] = self._n_rows
            found = np.array(rare, dtype=np.int64)
            self._set(np.full(len(found), self._n_rows), found)
            self._n_rows += 1
            self._rare[term] = array("q")

    def _set(self, rows: np.ndarray, documents: np.ndarray) -> None:
        """Note documents in rows of the matrix."""
        places = rows * self.matrix.shape[1] + (documents >> 6)
        bits = np.uint64(1) << (documents & 63).astype(np.uint64)
        np.bitwise_or.at(self.matrix.reshape(-1), places, bits)

    def _make_room(self, n_rows: int, n_words: int) -> None:
        rows, words = self.matrix.shape
        if self._n_rows + n_rows <= rows and n_words <= words:
            return
        if self._n_rows + n_rows > rows:
            rows *= 2
        if n_words > MANY_WORDS:  # untouched rows of zeros take no memory, copying them later would
            rows = max(rows, MANY_ROWS)
        larger = np.zeros((rows, words if n_words <= words else n_words + words // 4), np.uint64)
        larger[: self._n_rows, :words] = self.matrix[: self._n_rows]
        self.matrix = larger

    def look_up(self, terms: Iterable[str]) -> tuple[list[int], list[np.ndarray]]:
        """Rows of the frequent terms and document lists of the rare ones; unknown terms none."""
        rows, rare = [], []
        for term in terms:
            number = self._ids.get(term)
            if number is None:
                continue
            if (row := self._row_of[number]) != NO_ROW:
                rows.append(row)
            else:
                rare.append(np.array(self._rare[number], dtype=np.int64))
        return rows, rare

    def look_up_flat(self, terms: Iterable[str]) -> tuple[list[int], np.ndarray]:
        """``look_up`` with the documents of all rare terms in one (D,) int64 array."""
        rows, listed = [], array("q")
        for term in terms:
            number = self._ids.get(term)
            if number is None:
                continue
            if (row := self._row_of[number]) != NO_ROW:
                rows.append(row)
            else:
                listed.extend(self._rare[number])
        return rows, np.array(listed, dtype=np.int64)

    def documents_of(self, term: str) -> list[int]:
        """Documents that hold a term, ascending."""
        rows, listed = self.look_up_flat([term])
        if not rows:
            return list(listed.tolist())
        words, bits = positions(self.matrix[rows[0]])
        return list((words * WORD + bits).tolist())


def count_planes(rows: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Binary digits, lowest first, of how many of ``rows`` have each bit set.

    Args:
        rows: Any number of uint64 arrays of one shape. Full and half adders add all at once.

    >>> [int(p[0]) for p in count_planes([np.array([b], dtype=np.uint64) for b in (1, 3, 3)])]
    [1, 3]
    """
    planes: list[np.ndarray] = []
    level = list(rows)
    while level:
        carries: list[np.ndarray] = []
        while len(level) > 2:
            a, b, c = level.pop(), level.pop(), level.pop()
            differ = a ^ b
            both = a & b
            both |= differ & c
            carries.append(both)
            differ ^= c
            level.append(differ)
        if len(level) == 2:
            a, b = level
            carries.append(a & b)
            level = [a ^ b]
        planes.append(level[0])
        level = carries
    return planes


def at_least(planes: Sequence[np.ndarray], k: int) -> np.ndarray:
    """uint64 with a bit where the count that ``planes`` spell is ``k`` or more.

    Raises:
        ValueError: ``k`` is below 1, or more digits long than ``planes``.
    """
    if not 0 < k < 1 << len(planes):
        raise ValueError(f"no count of {len(planes)} digits can be told from {k}")
    more: np.ndarray | None = None
    equal: np.ndarray | None = None
    for digit in range(len(planes) - 1, -1, -1):
        plane = planes[digit]
        if k >> digit & 1:
            equal = plane if equal is None else equal & plane
        else:
            above = plane if equal is None else equal & plane
            more = above if more is None else more | above
    if more is None:
        assert equal is not None
        return equal
    return more if equal is None else more | equal


def positions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where bits are set in a uint64 array: (P,) ascending word numbers of the flattened array,
    and (P,) bit numbers, both int64.
    """
    flat = mask.ravel()
    words = np.flatnonzero(flat)
    bits = np.unpackbits(flat[words].view(np.uint8), bitorder="little")
    found = np.flatnonzero(bits.view(bool))
    return words[found >> 6], found & 63
