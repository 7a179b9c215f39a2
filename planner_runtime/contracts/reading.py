"""Reading a document into its contract, or refusing it with the path of the field.

Belongs here: the one way in for bytes, text or mappings, and the error that says where it failed.
Does not: the contracts themselves.
Spec: section 3; design/style.md rules 2 and 3.
"""

import json
import re
from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from planner_runtime.contracts.canonical import first_non_finite

ContractT = TypeVar("ContractT", bound=msgspec.Struct)

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024  # a planner input of eight runs has some ten thousand

# of a key that a mapping may not have, msgspec says "at `key` in `$.mapping`"
_PATH = re.compile(r"^(?P<why>.*) - at `(?:key` in `)?(?P<path>[^`]*)`$", re.DOTALL)


class ContractError(ValueError):
    """A document does not keep its contract.

    Attributes:
        contract: Name of the contract, e.g. ``cyntra.planner_input.v1``.
        path: JSON path of the offending field, ``$`` for the whole document.
        why: What is wrong there.
    """

    def __init__(self, contract: str, path: str, why: str) -> None:
        super().__init__(f"{contract}: {path}: {why}")
        self.contract, self.path, self.why = contract, path, why


def contract_name(contract: type[msgspec.Struct]) -> str:
    """The schema version of a tagged contract, else the name of its class."""
    tag = contract.__struct_config__.tag
    return str(tag) if tag is not None else contract.__name__


def _contract_error(contract: type[msgspec.Struct], why: str) -> ContractError:
    found = _PATH.match(why)
    if found is None:
        return ContractError(contract_name(contract), "$", why)
    return ContractError(contract_name(contract), found["path"], found["why"])


def _path_of_nan(document: bytes | str) -> str | None:
    """Where a text that is no JSON holds NaN or Infinity, which Python's own reader lets pass."""
    try:
        return first_non_finite(json.loads(document))
    except (ValueError, RecursionError):
        return None


def decode_json(document: bytes | str, contract: type[msgspec.Struct]) -> Any:
    """Untyped value of a JSON text.

    Raises:
        ContractError: the text is not JSON (NaN and Infinity are not), not UTF-8, or too long.
    """
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ContractError(contract_name(contract), "$", f"longer than {MAX_DOCUMENT_BYTES} bytes")
    try:
        return msgspec.json.decode(document)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        path = _path_of_nan(document)
        why = str(error) if path is None else "number is not finite"
        raise ContractError(contract_name(contract), path or "$", why) from error


def read_document(
    document: bytes | str | Mapping[str, Any], contract: type[ContractT]
) -> ContractT:
    """``document`` as its contract.

    Args:
        document: JSON as bytes or text, or the mapping it decodes to.
        contract: A tagged contract, e.g. ``PlannerInput``.

    Raises:
        ContractError: wrong version, unknown field or bin, wrong type, NaN or infinity.
    """
    raw = decode_json(document, contract) if isinstance(document, bytes | str) else document
    if not isinstance(raw, Mapping):
        raise ContractError(contract_name(contract), "$", "expected an object")
    value = read_checked(raw, contract)
    # JSON text cannot hold NaN; of a mapping, the C encoder tells without a walk in Python
    if raw is document:
        _refuse_what_json_cannot_say(raw, contract)
    return value


def read_checked(raw: Mapping[str, Any], contract: type[ContractT]) -> ContractT:
    """A mapping as its contract, where somebody has seen to it that it holds no NaN.

    Raises:
        ContractError: wrong version, unknown field or bin, wrong type.
    """
    tag_field = contract.__struct_config__.tag_field
    if tag_field is not None and tag_field not in raw:
        # msgspec checks a tag only when it is there; a contract without its version is no contract
        raise ContractError(contract_name(contract), f"$.{tag_field}", "required and missing")
    try:
        return msgspec.convert(raw, contract)
    except msgspec.ValidationError as error:
        raise _contract_error(contract, str(error)) from error
    except RecursionError as error:
        raise ContractError(contract_name(contract), "$", "nested too deeply") from error
    except UnicodeError as error:
        raise ContractError(contract_name(contract), "$", f"not valid text: {error}") from error
    except (TypeError, ValueError) as error:
        raise _no_json(raw, contract, error) from error


def _refuse_what_json_cannot_say(raw: Mapping[str, Any], contract: type[msgspec.Struct]) -> None:
    try:
        json.dumps(raw, allow_nan=False)
    except RecursionError as error:
        raise ContractError(contract_name(contract), "$", "nested too deeply") from error
    except (TypeError, ValueError) as error:
        raise _no_json(raw, contract, error) from error


def _no_json(
    raw: Mapping[str, Any], contract: type[msgspec.Struct], error: Exception
) -> ContractError:
    path = first_non_finite(raw)
    why = str(error) if path is None else "number is not finite"
    return ContractError(contract_name(contract), path or "$", why)


def to_document(value: msgspec.Struct) -> dict[str, Any]:
    """A contract as plain JSON values, ready for ``canonical_json``."""
    document: dict[str, Any] = msgspec.to_builtins(value)
    return document
