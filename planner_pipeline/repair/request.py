"""What the bench asks of the toolchain, and which files and tests that means.

Belongs here: the JSON on stdin, its checking, the sources an issue is about, the tests among its
gates. Does not: the search. Stdlib only, since it starts with every attempt.
"""

import json
import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, Final

_NO_SOURCES: Final = {"tests", "test", "build", "dist", "node_modules", "__pycache__"}


class RequestError(ValueError):
    """What stands on stdin is no request, or nothing can be done about it."""


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt at one issue.

    Attributes:
        budget_seconds: Wall time the whole attempt has.
        attempt: 0 for the first of a row; a later one goes on from what the one before left.
        gates: Shell commands by name.
    """

    issue_id: str
    context_files: tuple[str, ...]
    forbidden_paths: tuple[str, ...]
    seed: int
    budget_seconds: float
    attempt: int
    gates: dict[str, str]


def _texts(value: Any, name: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise RequestError(f"{name} must be a list of texts")
    return tuple(value)


def _number(document: Mapping[str, Any], name: str, kinds: tuple[type, ...], default: Any) -> Any:
    value = document.get(name, default)
    if type(value) not in kinds:
        raise RequestError(f"{name} must be a number")
    return value


def parse_request(data: bytes) -> Request:
    """A request from its JSON; keys it does not know are left alone.

    Raises:
        RequestError: it is none.
    """
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise RequestError(f"stdin is not JSON: {error}") from error
    issue = document.get("issue") if isinstance(document, dict) else None
    if not isinstance(issue, dict):
        raise RequestError("stdin holds no object with an issue")
    gates = document.get("gates") or {}
    if not isinstance(gates, dict) or not all(isinstance(gate, str) for gate in gates.values()):
        raise RequestError("gates must be shell commands by name")
    budget = _number(document, "budget_seconds", (int, float), None)
    if not 0 <= budget < float("inf"):
        raise RequestError("budget_seconds must be a finite number, not below 0")
    forbidden = issue.get("dk_forbidden_paths", issue.get("forbidden_paths"))
    return Request(
        issue_id=str(issue.get("id", "")),
        context_files=_texts(issue.get("context_files"), "context_files"),
        forbidden_paths=_texts(forbidden, "forbidden paths"),
        seed=_number(document, "seed", (int,), 0),
        budget_seconds=float(budget),
        attempt=_number(document, "attempt", (int,), 0),
        gates=dict(gates),
    )


def _is_source(path: Path) -> bool:
    name = path.name
    is_test = name.startswith("test_") or name.endswith("_test.py") or name == "conftest.py"
    is_hidden = any(part.startswith(".") or part in _NO_SOURCES for part in path.parts[:-1])
    return path.suffix == ".py" and not is_test and not is_hidden


def is_forbidden(file: str, patterns: tuple[str, ...]) -> bool:
    """Whether an issue forbids a file: by path, folder above it, or glob; as the bench does.

    >>> [is_forbidden("lib/a.py", (p,)) for p in ("lib", "lib/", "lib/*.py", "lib/a", "")]
    [True, True, True, False, False]
    """
    return any(
        file == pattern.rstrip("/")
        or file.startswith(pattern.rstrip("/") + "/")
        or fnmatch(file, pattern)
        for pattern in patterns
    )


def read_sources(root: Path, request: Request) -> dict[str, str]:
    """Texts by absolute path: the issue's context files, else everything that is not a test.

    Raises:
        RequestError: there is no Python to change.
    """
    named = [Path(name) for name in request.context_files if _is_source(Path(name))]
    paths = named or [path.relative_to(root) for path in root.rglob("*.py")]
    sources: dict[str, str] = {}
    for path in paths:
        full = Path(os.path.realpath(root / path))
        inside = full.relative_to(root).as_posix() if full.is_relative_to(root) else ""
        if not inside or not _is_source(Path(inside)) or not full.is_file():
            continue
        if is_forbidden(inside, request.forbidden_paths):
            continue
        try:
            sources[str(full)] = full.read_bytes().decode("utf-8")
        except UnicodeDecodeError:
            continue
    if not sources:
        raise RequestError("there is no Python file to change")
    return sources


def split_gates(root: Path, gates: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """The test paths that pytest gates name, and the commands of all other gates."""
    tests: list[str] = []
    others: list[str] = []
    for _, command in sorted(gates.items()):
        try:
            words = shlex.split(command)
        except ValueError:
            words = []
        starts = [n for n, word in enumerate(words) if word.rsplit("/", 1)[-1] == "pytest"]
        if not starts:
            others.append(command)
            continue
        for word in words[starts[0] + 1 :]:
            is_path = not word.startswith("-") and (root / word.split("::")[0]).exists()
            if is_path and word not in tests:
                tests.append(word)
    return tests, others
