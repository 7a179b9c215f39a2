"""Questions that nobody means well with: an ordinary one damaged, or nothing of the kind.

Belongs here: making them from one seed. Does not: asking them (``decisions``).
"""

import enum
import json
import random
from collections import OrderedDict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from types import MappingProxyType
from typing import Any, Final

import msgspec

BIG: Final = "x" * 10_000_000
STRINGS: Final = (
    "", "\x00", "\ud800", "\udfff\ud800", "\U0010ffff", "\u202e", "\ufeff", "a\u0301" * 50,
    "null", "NaN", "$.issue", "`", "{}", "../../etc/passwd", "\n" * 99, "x" * 5_000, "NA",
    "serial_handoff", "speculate_vote", "critical", "2026-13-01T00:00:00Z",
    "9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "2026-01-05T09:00:00." + "9" * 900 + "Z",
)  # fmt: skip
NUMBERS: Final = (
    0, -1, 1, 2**53, 2**53 + 1, 2**63, -(2**64), 10**40, 10**5_000, True, False, 0.0, -0.0, 1e-5,
    1e16, 1e300, 5e-324, float("nan"), float("inf"), float("-inf"), 15, 2.0,
)  # fmt: skip


class Raising(Mapping[str, Any]):
    """A mapping whose every method raises."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("read")

    def __iter__(self) -> Any:
        raise MemoryError("read")

    def __len__(self) -> int:
        raise OSError("read")


class Lying(dict[str, Any]):
    """A dict that says it is empty and never ends."""

    def __len__(self) -> int:
        return 0

    def items(self) -> Any:
        while True:
            yield "x", 1

    def __getitem__(self, key: str) -> Any:
        raise KeyError(key)


class Masked:
    """Nothing, under another class's name."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("asked")

    @__class__.setter
    def __class__(self, value: Any) -> None:
        raise RuntimeError("set")


class Word(str):
    def __len__(self) -> int:
        raise RuntimeError("read")

    def __str__(self) -> str:
        raise RuntimeError("read")


class Few(enum.IntEnum):
    TWO = 2


class Kind(enum.StrEnum):
    CODE = "code"


class Record(msgspec.Struct):
    x: int = 0


ODD: Final = (
    None, b"bytes", bytearray(b"x"), {1, 2}, frozenset("ab"), object(), Masked(), Raising(),
    Lying(a=1), MappingProxyType({}), OrderedDict(a=1), Word("w"), Few.TWO, Kind.CODE, Record(),
    Decimal("1.5"), datetime(2026, 1, 1, tzinfo=UTC), complex(1, 1), range(9), len, int, (1, 2),
    iter([1]), lambda: 1,
)  # fmt: skip


def deep(n: int) -> Any:
    """Lists or mappings in each other."""
    value: Any = 1
    for number in range(n):
        value = [value] if number % 2 else {"a": value}
    return value


def endless() -> Any:
    """What holds itself."""
    value: dict[str, Any] = {}
    value["a"] = [value]
    return value


def laughs() -> Any:
    """Small in memory, endless when it is written out."""
    value: Any = ["ha"]
    for _ in range(40):
        value = [value] * 10
    return value


class Hostility:
    """Endless questions; equal seeds give equal ones.

    Args:
        ordinary: Documents that a planner answers.
        share_big: Of the questions, those with a string of ten megabytes.
    """

    def __init__(
        self, ordinary: list[dict[str, Any]], *, seed: int = 0, share_big: float = 0.001
    ) -> None:
        self._texts = [json.dumps(one).encode() for one in ordinary]
        self._luck = random.Random(seed)
        self._share_big = share_big
        self._ways: tuple[tuple[Callable[[], Any], int], ...] = (
            (self.damaged, 60), (self.ordinary, 5), (self.strange_space, 8), (self.bytes_flipped, 12),
            (self.random_bytes, 3), (self.odd, 3), (self.cut, 3), (self.huge, 1),
        )  # fmt: skip

    def __next__(self) -> Any:
        ways, weights = zip(*self._ways, strict=True)
        return self._luck.choices(ways, weights)[0]()

    def __iter__(self) -> "Hostility":
        return self

    def _text(self) -> bytes:
        return self._luck.choice(self._texts)

    def ordinary(self) -> Any:
        """One that is meant well."""
        return msgspec.json.decode(self._text())

    def value(self) -> Any:
        """Anything at all."""
        luck = self._luck
        draw = luck.random()
        if draw < self._share_big / 10:
            return BIG
        if draw < 0.30:
            return luck.choice(STRINGS)
        if draw < 0.55:
            return luck.choice(NUMBERS)
        if draw < 0.75:
            return luck.choice(ODD)
        if draw < 0.85:
            return chr(luck.randrange(0x110000)) * luck.randrange(20)
        if draw < 0.95:
            return luck.choice(([], {}, [[]], [1], ["a"], {"a": 1}, {1: 2}, {None: 0, "b": 1}))
        return luck.choice((deep, lambda n: endless(), lambda n: laughs()))(luck.randrange(3_000))

    def damaged(self) -> Any:
        """An ordinary one with up to four places changed, dropped or added."""
        document = msgspec.json.decode(self._text())
        for _ in range(self._luck.randrange(1, 5)):
            self._damage(document)
        if self._luck.random() < 0.3:
            return Lying(document) if self._luck.random() < 0.1 else OrderedDict(document)
        return document

    def _damage(self, document: Any) -> None:
        luck, place = self._luck, document
        while True:
            keys = list(place) if isinstance(place, dict) else list(range(len(place)))
            if not keys:
                return
            key = luck.choice(keys)
            below = place[key]
            if type(below) in (dict, list) and below and luck.random() < 0.7:
                place = below
                continue
            break
        what = luck.random()
        if what < 0.6:
            place[key] = self.value()
        elif what < 0.8:
            del place[key]
        elif type(place) is dict:
            key = luck.choice((*STRINGS, 1, None, b"k", "extra", ("a",), Kind.CODE))
            place[key] = self.value()
        else:
            place.append(self.value())

    def strange_space(self) -> Any:
        """An ordinary one that offers other actions than usual."""
        luck = self._luck
        document = msgspec.json.decode(self._text())
        space = document["action_space"]
        if luck.random() < 0.7:
            n = luck.choice((1, 1, 2, 3, 32, 33))
            names = ("serial_handoff", "speculate_vote", "a", "\u00e9", "x" * 190, "x" * 20_000)
            space["swarm_ids"] = [
                luck.choice(names) + str(luck.randrange(3) or "") for _ in range(n)
            ]
        for name, bins in (
            ("max_candidates_bins", [1, 2, 3, "NA"]), ("max_minutes_bins", [15, 30, 45, 60, 120, "NA"]),
            ("max_iterations_bins", [1, 2, 3, 5, "NA"]),
        ):  # fmt: skip
            if luck.random() < 0.6:
                space[name] = luck.sample(bins, luck.randrange(1, len(bins) + 1))
        document["job_type"] = luck.choice(
            ("code", "fab-world", "other", "\U0001f600", "y" * 9_000)
        )
        return document

    def bytes_flipped(self) -> bytes:
        """The text of one with bytes changed."""
        text = bytearray(self._text())
        for _ in range(self._luck.choice((1, 1, 1, 2, 5, 50))):
            text[self._luck.randrange(len(text))] = self._luck.choice(
                b'0179"{}[],:\\x-.eE\xff\x80 nN'
            )
        return bytes(text)

    def random_bytes(self) -> Any:
        """Bytes or text of no meaning."""
        data = self._luck.randbytes(self._luck.randrange(300))
        return data if self._luck.random() < 0.5 else data.decode("utf-8", "surrogateescape")

    def cut(self) -> bytes:
        """The text of one up to somewhere."""
        text = self._text()
        return text[: self._luck.randrange(len(text))]

    def odd(self) -> Any:
        """Nothing that could be a question."""
        return self._luck.choice((*ODD, *NUMBERS, [], deep(5_000), b"[" * 9_999, b'{"a":' * 9_999))

    def huge(self) -> Any:
        """Ten megabytes in one place or another; or, mostly, ten kilobytes."""
        luck = self._luck
        big = BIG if luck.random() < self._share_big * 100 else BIG[:10_000]
        document = msgspec.json.decode(self._text())
        where = luck.randrange(6)
        if where == 0:
            document["job_type"] = big
        elif where == 1:
            document["issue"]["tags"] = [big]
        elif where == 2:
            document["action_space"]["swarm_ids"] = [big, "serial_handoff"]
        elif where == 3:
            document["issue"][big] = 1
        elif where == 4:
            document["issue"]["extra"] = [big] * 50
        else:
            return big.encode()
        return document if luck.random() < 0.5 else json.dumps(document)
