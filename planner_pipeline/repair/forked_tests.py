"""Running tests on trees that are on no disk: one pytest session, a forked child for each tree.

Belongs here: the session, what a child tells of its tests, and the bounds on a child that does not
end. Does not: which trees are tried (``search``).

pytest starts once. The search runs inside its collection hook; ``verdict_of`` forks there, and the
child goes on to collect and run the tests with the sources it was given, tells its parent what
came of them, and ends. A loop without an end is met by counting executed lines, not by a clock, so
that a verdict does not depend on how busy the machine is; the clock is the last resort.
"""

import gc
import importlib.abc
import importlib.machinery
import json
import os
import resource
import signal
import sys
from collections.abc import Callable, Generator, Mapping
from types import CodeType, FrameType, ModuleType
from typing import Any, Final

import pytest

from planner_pipeline.repair.verdict import FIRST_LINES, Verdict

HARD_LIMIT_SECONDS: Final = 0.5
MEMORY_MB: Final = 2_048
_ARGUMENTS: Final = (
    "-o", "addopts=", "--assert=plain", "--disable-plugin-autoload", "-p", "no:terminal", "-p",
    "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:junitxml", "-p", "no:pastebin", "-p",
    "no:doctest", "-p", "no:debugging", "-p", "no:logging", "-p", "no:unraisableexception", "-p",
    "no:threadexception", "-p", "no:stepwise", "-p", "no:setuponly", "-p", "no:capture",
)  # fmt: skip


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a text instead of its file, and never from compiled leftovers."""

    def __init__(self, fullname: str, path: str, source: str) -> None:
        super().__init__(fullname, path)
        self._source = source

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules where Python does, and gives some of them other sources."""

    def __init__(self, sources: Mapping[str, str]) -> None:
        self._sources = sources

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        origin = os.path.realpath(spec.origin)
        if origin not in self._sources:
            return None
        spec.loader = _Loader(fullname, origin, self._sources[origin])
        return spec


class _Child(Exception):
    """Unwinds the search in a child, where pytest takes over; nothing is wrong."""


class TestSession:
    """One pytest session that judges many trees.

    Attributes:
        most_lines: Lines a tree may execute before it counts as endless.
    """

    __test__ = False

    def __init__(self, work: Callable[["TestSession"], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self.most_lines = FIRST_LINES
        # of a child
        self._pipe = -1
        self._sources: Mapping[str, str] = {}
        self._stop_at: int | None = None
        self._n_failed = self._n_passed = self._n_lines = 0
        self._lines: set[tuple[str, int]] = set()
        self._coverage: dict[str, dict[int, list[int]]] = {}

    def run(self, tests: list[str]) -> int:
        """Start pytest on some tests, do the work inside; returns pytest's exit code.

        Whatever the work raises is raised again.
        """
        sys.dont_write_bytecode = True
        code = int(pytest.main([*_ARGUMENTS, *tests], plugins=[self]))
        if self._error is not None:
            raise self._error
        return code

    def verdict_of(self, sources: Mapping[str, str], *, stop_at: int | None = None) -> Verdict:
        """Run the tests on a tree.

        Args:
            sources: Texts by absolute path; all other files are as they are on disk.
            stop_at: Failures after which the rest does not matter.
        """
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reading)
            self._begin(writing, sources, stop_at)
            raise _Child
        os.close(writing)
        with open(reading, "rb") as pipe:
            told = pipe.read()
        _, status = os.waitpid(child, 0)
        if not told:
            return Verdict(was_killed=os.WIFSIGNALED(status))
        n_failed, n_passed, is_whole, n_lines, coverage = json.loads(told)
        return Verdict(
            n_failed=n_failed,
            n_passed=n_passed,
            is_whole=is_whole,
            n_lines=n_lines,
            coverage={
                path: {int(line): (counts[0], counts[1]) for line, counts in lines.items()}
                for path, lines in coverage.items()
            },
        )

    # hooks, in the parent ----------------------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection(self, session: pytest.Session) -> None:
        """The search happens here; a child returns and has its tests collected."""
        gc.collect()
        gc.freeze()
        try:
            self._work(self)
        except _Child:
            return
        except BaseException as error:
            self._error = error
        pytest.exit("done", returncode=0)

    # hooks, in a child -------------------------------------------------------------------------

    def _begin(self, pipe: int, sources: Mapping[str, str], stop_at: int | None) -> None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, HARD_LIMIT_SECONDS)
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = MEMORY_MB << 20
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
        gc.disable()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        self._pipe, self._sources, self._stop_at = pipe, sources, stop_at
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) in sources:
                del sys.modules[name]
        sys.meta_path.insert(0, _Finder(sources))

    def _tell(self, *, is_whole: bool) -> None:
        told = [self._n_failed, self._n_passed, is_whole, self._n_lines, self._coverage]
        with open(self._pipe, "wb") as pipe:
            pipe.write(json.dumps(told).encode())
        os._exit(0)

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._on_line if frame.f_code.co_filename in self._sources else None

    def _on_line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._n_lines += 1
            self._lines.add((frame.f_code.co_filename, frame.f_lineno))
            if self._n_lines > self.most_lines:
                self._n_failed = self._n_passed = 0
                self._tell(is_whole=False)
        return self._on_line

    @pytest.hookimpl(wrapper=True)
    def pytest_pyfunc_call(self, pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
        """Watch a test's lines."""
        self._lines = set()
        sys.settrace(self._on_call)
        try:
            return (yield)
        finally:
            sys.settrace(None)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> pytest.TestReport:
        """A report without the costly picture of the failure."""
        outcome: Any = "passed"
        if call.excinfo is not None:
            has_skipped = isinstance(call.excinfo.value, pytest.skip.Exception)
            outcome = "skipped" if has_skipped else "failed"
        assert call.when != "collect"  # that has reports of its own
        return pytest.TestReport(item.nodeid, item.location, {}, outcome, None, call.when)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count, and note who executed which line."""
        if report.when != "call" and not report.failed:
            return
        self._n_failed += report.failed
        self._n_passed += not report.failed
        for path, line in self._lines:
            counts = self._coverage.setdefault(path, {}).setdefault(line, [0, 0])
            counts[not report.failed] += 1
        self._lines = set()
        if self._stop_at is not None and self._n_failed >= self._stop_at:
            self._tell(is_whole=False)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A tree that cannot be imported has no more to say."""
        if report.failed:
            self._tell(is_whole=False)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """All tests ran."""
        if self._pipe >= 0:
            self._tell(is_whole=True)
