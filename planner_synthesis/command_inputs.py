"""What a command reads: files, servers, security; one typed error for whatever is wrong with it.

Belongs here: arguments to values. Does not: what commands do with them (``commands``).
Source: issue 8, "CLI".
"""

import argparse
import json
import os
import re
import shlex
import sys
from codecs import BOM_UTF8
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from planner_synthesis.documents import ContractError, read_contract
from planner_synthesis.security import SecurityTextError, parse_runtime_context
from planner_synthesis.snapshot.files import SnapshotFile
from planner_synthesis.snapshot.mcp import McpServer
from planner_synthesis.snapshot.reading import QuarantineRow, RegistryReading, read_registries
from planner_synthesis.snapshot.redaction import redact
from planner_synthesis.types import InteractionTurn, RuntimeContext

# control characters but for line ends, and those that turn the direction of writing
_UNSEEN: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
MAX_BYTES: Final = 64 * 1024 * 1024


class BadInput(Exception):
    """Something given to a command cannot be used; one line says what."""

    def __init__(self, message: str) -> None:
        super().__init__(redact(" ".join(message.split()))[:500])


def add_security(parser: argparse.ArgumentParser) -> None:
    """The options that say what may be called."""
    parser.add_argument(
        "--security",
        metavar="LEVEL",
        help="what may be called: pure (nothing), controlled:ID,ID or full; full unless given, "
        "but pure where real servers would be called",
    )
    parser.add_argument("--allow-effects", metavar="E,E", help="only these effects, e.g. :read")
    parser.add_argument("--deny-effects", metavar="E,E", help="none of these effects")


def runtime_context(args: argparse.Namespace, *, unless_given: str = "full") -> RuntimeContext:
    """What ``add_security`` read.

    Args:
        unless_given: The level where nobody said one.

    Raises:
        BadInput: the level is none.
    """
    try:
        security = parse_runtime_context(args.security or unless_given)
    except SecurityTextError as error:
        raise BadInput(str(error)) from error
    allowed = None if args.allow_effects is None else _split(args.allow_effects)
    return msgspec.structs.replace(
        security, allowed_effects=allowed, denied_effects=_split(args.deny_effects or "")
    )


def _split(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def read_bytes(path: Path) -> bytes:
    """A file, or what comes out of a pipe.

    Raises:
        BadInput: it cannot be read, or is larger than ``MAX_BYTES``.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    if len(data) > MAX_BYTES:
        raise BadInput(f"{path}: larger than {MAX_BYTES} bytes")
    return data


def read_text(path: Path) -> str:
    """A file of UTF-8 text.

    Raises:
        BadInput: it cannot be read, or is no UTF-8.
    """
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BadInput(f"{path}: not UTF-8 text") from error


def _json_bytes(path: Path) -> bytes:
    """A file of JSON without the mark that some editors put before UTF-8; RFC 8259, 8.1."""
    return read_bytes(path).removeprefix(BOM_UTF8)


T = TypeVar("T")


def _decoded(path: Path, data: bytes, kind: type[T]) -> T:
    try:
        return read_contract(data, kind)
    except ContractError as error:
        raise BadInput(f"{path}: {error}") from error


class _Turns(msgspec.Struct, frozen=True):
    turns: tuple[InteractionTurn, ...]


def read_history(path: Path) -> tuple[InteractionTurn, ...]:
    """Turns: a JSON list of them, or an object with a list under ``turns``.

    Raises:
        BadInput: it is neither.
    """
    data = _json_bytes(path)
    if data.lstrip()[:1] == b"[":
        return _decoded(path, data, tuple[InteractionTurn, ...])
    return _decoded(path, data, _Turns).turns


def read_context(path: Path) -> dict[str, Any]:
    """A planner's context: one JSON object.

    Raises:
        BadInput: it is none.
    """
    return _decoded(path, _json_bytes(path), dict[str, Any])


def read_registry(paths: Iterable[Path]) -> RegistryReading:
    """Snapshot files as one registry; rows go to the error output, one line each.

    Raises:
        BadInput: a file holds no snapshot.
    """
    reading = read_registries(SnapshotFile(path) for path in dict.fromkeys(paths))
    for row in reading.quarantine:
        if row.kind == "source" and row.position == "":
            raise BadInput(f"{row.source}: {row.reason}")
    tell_rows(reading.quarantine)
    return reading


def tell_rows(rows: Iterable[QuarantineRow]) -> None:
    """Say on the error output what did not become a card."""
    for row in rows:
        verb = "left out" if row.is_left_out else "note"
        place = f"{row.source}: {row.position}" if row.position else row.source
        print(f"{verb}: {_one_line(place)}: {_one_line(row.reason)}", file=sys.stderr)


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text)


def secret_of(variable: str | None) -> str:
    """A secret from the environment, where command lines do not show it.

    Raises:
        BadInput: the variable is not set.
    """
    if not variable:
        return ""
    if variable not in os.environ:
        raise BadInput(f"the environment has no {variable}")
    return os.environ[variable]


def mcp_server(
    name: str, *, stdio: str | None = None, url: str | None = None, **fields: Any
) -> McpServer:
    """A server from a command line or a URL.

    Raises:
        BadInput: no server is described.
    """
    try:
        command = tuple(shlex.split(stdio)) if stdio else ()
        return McpServer(server=name, command=command, url=url or "", **fields)
    except (ValueError, TypeError) as error:
        raise BadInput(f"MCP server {name!r}: {error}") from error


def read_headers(given: Iterable[str]) -> dict[str, str]:
    """Headers from ``NAME=VARIABLE``, their values from the environment.

    Raises:
        BadInput: a text is not of that shape, or the variable is not set.
    """
    headers = {}
    for text in given:
        name, equals, variable = text.partition("=")
        if not (name and equals and variable):
            raise BadInput("a header is given as NAME=VARIABLE, its value in the environment")
        headers[name] = secret_of(variable)
    return headers


def read_variables(given: Iterable[str]) -> dict[str, str]:
    """Variables that a server is given, by name, from our own environment.

    Raises:
        BadInput: one is not set.
    """
    return {name: secret_of(name) for name in given if name}


def named_servers(
    stdio: Iterable[str],
    urls: Iterable[str],
    *,
    timeout_s: float,
    variables: Iterable[str] = (),
    headers: Iterable[str] = (),
) -> list[McpServer]:
    """Servers from ``NAME=COMMAND`` and ``NAME=URL``.

    Args:
        variables: ``NAME:VARIABLE``, so that no server gets what is meant for another.
        headers: ``NAME:HEADER=VARIABLE``.

    Raises:
        BadInput: a text has no name, a name is there twice, or is that of no server.
    """
    kinds = {"stdio": list(stdio), "url": list(urls)}
    names = [text.partition("=")[0] for texts in kinds.values() for text in texts]
    own_variables, own_headers = _by_server(variables, names), _by_server(headers, names)
    if len(set(names)) != len(names):
        raise BadInput("two MCP servers have one name")
    servers: list[McpServer] = []
    for kind, texts in kinds.items():
        for text in texts:
            name, equals, where = text.partition("=")
            if not equals or not where:
                raise BadInput("an MCP server is given as NAME=COMMAND or NAME=URL")
            fields: dict[str, Any] = {
                kind: where,
                "env": read_variables(own_variables.get(name, ())),
                "headers": read_headers(own_headers.get(name, ())),
            }
            servers.append(mcp_server(name, timeout_s=timeout_s, **fields))
    return servers


def _by_server(given: Iterable[str], names: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for text in given:
        name, _, rest = text.partition(":")
        if name not in names or not rest:
            raise BadInput("what a server is given begins with its name and a colon")
        found.setdefault(name, []).append(rest)
    return found


def print_json(data: Any) -> None:
    """Data on the standard output, as readable JSON, in ASCII where that is not UTF-8."""
    plain = msgspec.to_builtins(data)
    encoding = (sys.stdout.encoding or "").lower().replace("-", "")
    text = json.dumps(plain, indent=1, ensure_ascii=encoding != "utf8", sort_keys=True)
    print(without_controls(text))


def without_controls(text: str) -> str:
    r"""A text that a terminal shows and does not obey: control characters are written ``\u001b``.

    What JSON leaves as it is stays the same JSON.
    """
    return _UNSEEN.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
