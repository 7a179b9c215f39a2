"""An isolated copy of a workspace, in which one issue is ready and nothing has run yet.

Belongs here: which files of a workspace are in the copy, and moving out what the kernel left there.
Does not: what is changed in them (``cyntra_overlay``), running the kernel (``cyntra``).
Source: formats 1.1 (where issues come from), 1.4, 2.1, 5.

The code is a clone at the case's commit. What a workspace carries uncommitted comes from its
working tree: issues, configuration, universes, prompts. Archives, runs and logs do not: all that is
there afterwards, this run wrote.
"""

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml

from planner_pipeline.bench.executors.repositories import clone_at
from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.sources.settings import CONFIG_FILE
from planner_runtime.archives import workcell_files, world_files
from planner_runtime.archives.beads import FILE as ISSUES
from planner_runtime.archives.events import LOG
from planner_runtime.archives.files import as_text

DEPS: Final = ".beads/deps.jsonl"
CARRIED: Final = ("universes", "prompts")
KEPT: Final = (".cyntra", ".beads")  # of a copy, when it is over
_LEFT_OUT: Final = (workcell_files.FOLDER, world_files.FOLDER, str(Path(LOG).parent), ".workcells")


def copy_workspace(
    workspace: Path, target: Path, *, base_commit: str | None, carried: Sequence[str] = CARRIED
) -> str:
    """Copy a workspace without its past, and tell at which commit.

    Args:
        carried: Paths that are taken from the working tree, links followed.

    Raises:
        HarnessError: no clone can be made.
    """
    commit = clone_at(workspace, target, base_commit)
    # a link that the repository holds would lead writes out of the copy
    for name in (".cyntra", ".beads"):
        if (target / name).is_symlink():
            (target / name).unlink()
    for name in _LEFT_OUT:
        _clear(target / name)
    for name in carried:
        _clear(target / name)
        source = workspace / name
        if source.is_dir():
            shutil.copytree(source, target / name)
        elif source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, target / name)
    return commit


def _clear(path: Path) -> None:
    if path.is_symlink() or path.is_file():
        path.unlink()
    elif path.is_dir():
        shutil.rmtree(path)


def write_config(target: Path, document: Mapping[str, Any]) -> None:
    """Write a copy's configuration, which includes nothing."""
    path = target / CONFIG_FILE
    _clear(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True), "utf-8")


def write_beads(workspace: Path, target: Path, issue: Mapping[str, Any]) -> None:
    """Write a copy's issues: one as given, without anything that blocks it, the others as they are.

    Only the files of formats 1.1 and 1.4 that come first are written, so no other source counts.
    """
    issue_id = as_text(issue.get("id"))
    if issue_id is None:
        raise HarnessError("workspace copy", "the issue has no id")
    line = msgspec.json.encode(dict(issue))
    others = [row for row, document in _rows(workspace / ISSUES) if _id(document, "id") != issue_id]
    edges = [
        row
        for row, document in _edges(workspace)
        if (_id(document, "to") or _id(document, "to_id")) != issue_id
    ]
    _clear(target / ".beads")
    (target / ".beads").mkdir()
    (target / ISSUES).write_bytes(b"".join(row + b"\n" for row in (*others, line)))
    (target / DEPS).write_bytes(b"".join(row + b"\n" for row in edges))


def _id(document: Any, name: str) -> str | None:
    return as_text(document.get(name)) if isinstance(document, dict) else None


def _rows(path: Path) -> list[tuple[bytes, Any]]:
    """Lines of a JSON-lines file with what they hold; those that hold nothing are left out."""
    rows = []
    for line in path.read_bytes().split(b"\n") if path.is_file() else ():
        try:
            rows.append((line.strip(), msgspec.json.decode(line)))
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            continue
    return rows


def _edges(workspace: Path) -> list[tuple[bytes, Any]]:
    """Every dependency of a workspace as a line of JSON, from the first file that has some."""
    if rows := _rows(workspace / DEPS):
        return rows
    for path in ((workspace / DEPS).with_suffix(suffix) for suffix in (".yaml", ".yml")):
        try:
            document = yaml.safe_load(path.read_bytes()) if path.is_file() else None
        except (yaml.YAMLError, ValueError) as error:
            raise HarnessError("workspace copy", f"{path.name}: not YAML: {error}") from error
        listed = document.get("deps") if isinstance(document, dict) else document
        if isinstance(listed, list):
            return [(msgspec.json.encode(edge), edge) for edge in listed]
    return []


def hide_beads_program(folder: Path) -> str:
    """A search path on which ``bd`` answers nothing, so that the kernel reads the copy's files
    (formats 1.1): the real one would find another database, or start a daemon in the copy.
    """
    folder.mkdir()
    program = folder / "bd"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    return os.pathsep.join((str(folder), os.environ.get("PATH", os.defpath)))


def keep_what_ran(target: Path, keep: Path, name: str, said: Mapping[str, bytes]) -> Path:
    """Move what the kernel left in a copy to where it can be read later, as a workspace.

    Args:
        name: Of its directory; a number is added where a try before had it.
        said: Further files: what the kernel printed.
    """
    keep.mkdir(parents=True, exist_ok=True)
    number = 1
    while True:
        folder = keep / (name if number == 1 else f"{name}.{number}")
        try:
            folder.mkdir()
            break
        except FileExistsError:
            number += 1
    for part in KEPT:
        if (target / part).exists():
            shutil.move(target / part, folder / part)
    for file, data in said.items():
        (folder / file).write_bytes(data)
    return folder
