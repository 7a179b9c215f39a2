"""Without the extras: what needs none works, what needs one says which, in one line."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from planner_synthesis.extras import MissingExtra, missing_extra

ROOT = Path(__file__).parents[3]


def bare(folder: Path, *argv: str) -> "subprocess.CompletedProcess[bytes]":
    """The program in an interpreter that has msgspec and what ``folder/libraries`` has."""
    libraries = folder / "libraries"
    libraries.mkdir(exist_ok=True)
    (libraries / "msgspec").symlink_to(Path(msgspec.__file__).parent)
    return subprocess.run(
        [sys.executable, "-S", "-m", "planner_synthesis", *argv],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(libraries)))},
        cwd=folder, capture_output=True, timeout=60, check=False,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("argv", "extra"),
    [
        (("snapshot", "mcp", "--stdio", "x"), b"mcp"),
        (("snapshot", "mcp", "--http", "http://127.0.0.1:9"), b"mcp"),
        (("snapshot", "a2a", "http://127.0.0.1:9"), b"arbiter"),
        (
            ("generate", "--history", "h.json", "--arbiter", "http://127.0.0.1:9", "--model", "m"),
            b"arbiter",
        ),
        (("run", "p.rtfs", "--context", "c.json", "--mcp", "a=x", "--security", "full"), b"mcp"),
    ],
)
def test_what_needs_an_extra_says_which(
    tmp_path: Path, argv: tuple[str, ...], extra: bytes
) -> None:
    (tmp_path / "p.rtfs").write_text('(do {:status "processing"})')
    (tmp_path / "c.json").write_text("{}")
    (tmp_path / "h.json").write_text("[]")
    done = bare(tmp_path, *argv)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"pip install 'cyntra-planner[" + extra + b"]'" in done.stderr


@pytest.mark.parametrize("code", ["import no_such_part", "from msgspec import no_such_part"])
@pytest.mark.parametrize(
    ("library", "argv"),
    [
        ("anyio", ("snapshot", "mcp", "--stdio", "x")),
        ("httpx", ("snapshot", "a2a", "http://127.0.0.1:9")),
    ],
)
def test_a_library_that_is_there_and_broken_is_not_told_to_be_installed(
    tmp_path: Path, library: str, argv: tuple[str, ...], code: str
) -> None:
    (tmp_path / "libraries").mkdir()
    (tmp_path / "libraries" / f"{library}.py").write_text(code)
    done = bare(tmp_path, *argv)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
    assert b"no_such_part" in done.stderr
    assert b"pip install" not in done.stderr


def test_absent_and_broken_are_told_apart_by_the_name_that_was_not_found() -> None:
    absent = ModuleNotFoundError("no", name="httpx")
    told = missing_extra(absent, "arbiter", libraries=("httpx",))
    assert isinstance(told, MissingExtra)
    assert told.extra == "arbiter"
    for broken in (ModuleNotFoundError("no", name="anyio"), ImportError("no", name="httpx")):
        assert missing_extra(broken, "arbiter", libraries=("httpx",)) is broken


@pytest.mark.parametrize(
    "argv",
    [("demo",), ("generate", "--help"), ("run", "p.rtfs", "--context", "c.json", "--stub")],
)
def test_what_needs_no_extra_works_without(tmp_path: Path, argv: tuple[str, ...]) -> None:
    (tmp_path / "p.rtfs").write_text('(do {:status "processing"})')
    (tmp_path / "c.json").write_text("{}")
    done = bare(tmp_path, *argv)
    assert (done.returncode, done.stderr) == (0, b"")
