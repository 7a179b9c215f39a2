"""Reading a document as its contract, or refusing it with the path of the field; and its bytes.

Belongs here: the one way in for JSON that somebody wrote, the error that says where it failed, the
one text that a value is written as. Does not: the contracts (``types``), files, how large they are.
Source: design/style.md, rules 2 and 3; docs/synthesis.md, "Contracts".

JSON Schemas of the contracts require their version; msgspec looks at it only where it is there.
"""

import re
from collections.abc import Mapping
from typing import Any, Final, TypeVar

import msgspec

T = TypeVar("T")

_PATH: Final = re.compile(r"^(?P<why>.*) - at `(?:key` in `)?(?P<path>[^`]*)`$", re.DOTALL)


class ContractError(ValueError):
    """A document does not keep its contract.

    Attributes:
        path: JSON path of the field, ``$`` for the whole document.
        why: What is wrong there; msgspec's words, which name types and fields and quote no value.
    """

    def __init__(self, path: str, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


def read_contract(document: bytes | str | msgspec.Raw, contract: type[T]) -> T:
    """A JSON text as its contract.

    Args:
        document: UTF-8 or text.
        contract: A contract, or a list of one, e.g. ``tuple[InteractionTurn, ...]``.

    Raises:
        ContractError: it is not JSON or not UTF-8, a version is missing or another one, a field is
            missing, unknown or of another type.
    """
    try:
        value = msgspec.json.decode(document, type=contract)
        if _tag_field(value) is not None:  # a contract without a version holds none that has one
            _check_versions(value, msgspec.json.decode(document), "$")
    except RecursionError as error:
        raise ContractError("$", "nested too deeply") from error
    except UnicodeError as error:
        raise ContractError("$", "not UTF-8 text") from error
    except msgspec.DecodeError as error:
        found = _PATH.match(str(error))
        path, why = (found["path"], found["why"]) if found else ("$", str(error))
        raise ContractError(path, why) from error
    return value


def _tag_field(value: Any) -> str | None:
    return value.__struct_config__.tag_field if isinstance(value, msgspec.Struct) else None


def _check_versions(value: Any, raw: Any, path: str) -> None:
    """Refuse a document in which a part has no version; the two are the same document."""
    if isinstance(value, msgspec.Struct) and isinstance(raw, Mapping):
        tag = _tag_field(value)
        if tag is not None and tag not in raw:
            raise ContractError(f"{path}.{tag}", "required and missing")
        names = zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True)
        for own, written in names:
            if written in raw:
                _check_versions(getattr(value, own), raw[written], f"{path}.{written}")
    elif isinstance(value, tuple):
        for at, (part, raw_part) in enumerate(zip(value, raw, strict=True)):
            _check_versions(part, raw_part, f"{path}[{at}]")


def canonical_bytes(value: msgspec.Struct) -> bytes:
    """A value's one JSON text; equal for equal values, and it tells 1 from true, unlike ``==``."""
    return msgspec.json.encode(value, order="deterministic")
