"""Fixtures of the pipeline's unit tests: every sandbox that works here, and places to use it."""

import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from planner_pipeline.bench.protocol import HarnessError
from planner_pipeline.bench.sandbox import Isolation, Sandbox, open_sandbox
from tests.hostile import Place, an_open_python


@pytest.fixture(scope="session", params=["bubblewrap", "subreaper"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each isolation in turn, where it works."""
    try:
        return open_sandbox(cast(Isolation, request.param), python=an_open_python())
    except HarnessError as error:
        pytest.skip(str(error))


@pytest.fixture
def place(sandbox: Sandbox) -> Iterator[Place]:
    """A tree of its own; not in ``tmp_path``, which pytest closes to other users."""
    python = an_open_python()
    if python is None:
        pytest.skip("this process is root's, and every Python is closed to other users")
    folder = Path(tempfile.mkdtemp(prefix="sandbox-test-"))
    folder.chmod(0o755)
    yield Place(sandbox, python, folder)
    subprocess.run(["rm", "-rf", "--", str(folder)], check=False)
