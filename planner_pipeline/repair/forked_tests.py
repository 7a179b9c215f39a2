"""Running tests on trees that are on no disk: one pytest session, a forked child for each tree.

Belongs here: the session, what a child tells of its tests, and the bounds on a child that does not
end. Does not: which trees are tried (``climb``).

pytest starts once. The search runs inside its collection hook; ``verdict_of`` forks there, and the
child goes on to collect and run the tests with the sources it was given, tells its parent what
came of them, and ends. A loop without an end is met by counting executed lines, not by a clock, so
that a verdict does not depend on how busy the machine is: its test fails, and the tests after it
get less. The clock is the last resort, for what executes no lines.
"""

import gc
import importlib.abc
import importlib.machinery
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Generator, Mapping
from types import CodeType, FrameType, ModuleType
from typing import Any, Final

import pytest

from planner_pipeline.repair.verdict import FIRST_LINES, LATER_LINES, Verdict

HARD_LIMIT_SECONDS: Final = 0.4  # of a processor, so that the machine's other work is not counted
LOST_SECONDS: Final = 1.5  # after these a child is killed that sleeps, or has put off its own end
MEMORY_MB: Final = 1_024
_ARGUMENTS: Final = (
    "-o", "addopts=", "--assert=plain", "--disable-plugin-autoload", "-p", "no:terminal", "-p",
    "no:cacheprovider", "-p", "no:faulthandler", "-p", "no:junitxml", "-p", "no:pastebin", "-p",
    "no:doctest", "-p", "no:unraisableexception", "-p", "no:threadexception", "-p", "no:stepwise",
    "-p", "no:setuponly", "-s",
)  # fmt: skip
_ORDINARY: Final = (
    pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
)  # fmt: skip
Trace = Callable[[FrameType, str, Any], Any]


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads a module from a text instead of its file, and never from compiled leftovers."""

    def __init__(self, fullname: str, path: str, source: str, trace: Trace) -> None:
        super().__init__(fullname, path)
        self._source, self._trace = source, trace

    def get_code(self, fullname: str) -> CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)

    def exec_module(self, module: ModuleType) -> None:
        """Execute a module, its lines counted."""
        before = sys.gettrace()
        sys.settrace(self._trace)
        try:
            super().exec_module(module)
        finally:
            sys.settrace(before)


class _Finder(importlib.abc.MetaPathFinder):
    """Finds modules where Python does, and gives some of them other sources."""

    def __init__(self, sources: Mapping[str, str], trace: Trace) -> None:
        self._sources, self._trace = sources, trace

    def find_spec(
        self, fullname: str, path: Any, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        origin = os.path.realpath(spec.origin)
        if origin not in self._sources:
            return None
        spec.loader = _Loader(fullname, origin, self._sources[origin], self._trace)
        return spec


class _Child(Exception):
    """Unwinds the search in a child, where pytest takes over; nothing is wrong."""


class _EndlessError(BaseException):
    """A test executed too many lines; code that catches ordinary errors does not catch it."""


def _read(pipe: int) -> tuple[bytes, bool]:
    """The line a child tells, less where it ended before; and whether it neither told nor ended.

    Its end is not waited for: processes that a test has left behind may hold the pipe open.
    """
    told = b""
    until = time.monotonic() + LOST_SECONDS
    while not told.endswith(b"\n"):
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            return told, True
        part = os.read(pipe, 1 << 16)
        if not part:
            break
        told += part
    return told, False


class TestSession:
    """One pytest session that judges many trees.

    Attributes:
        most_lines: Lines of the tree that its tests may execute before one counts as endless.
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
        self._bound = FIRST_LINES
        self._has_overrun = False
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
        told, is_lost = _read(reading)
        os.close(reading)
        if is_lost:
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not told.endswith(b"\n"):
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
        signal.signal(signal.SIGPROF, signal.SIG_DFL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_PROF, HARD_LIMIT_SECONDS)
        most = resource.getrlimit(resource.RLIMIT_AS)[1]
        wanted = MEMORY_MB << 20
        limit = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_AS, (limit, most))
        gc.disable()
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        self._pipe, self._sources, self._stop_at = pipe, sources, stop_at
        self._bound = self.most_lines
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) in sources:
                del sys.modules[name]
        sys.meta_path.insert(0, _Finder(sources, self._on_call))

    def _tell(self, *, is_whole: bool) -> None:
        told = [self._n_failed, self._n_passed, is_whole, self._n_lines, self._coverage]
        with open(self._pipe, "wb") as pipe:
            pipe.write(json.dumps(told).encode() + b"\n")
        os._exit(0)

    def _on_call(self, frame: FrameType, event: str, arg: Any) -> Any:
        return self._on_line if frame.f_code.co_filename in self._sources else None

    def _on_line(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            self._n_lines += 1
            self._lines.add((frame.f_code.co_filename, frame.f_lineno))
            if self._n_lines > self._bound:
                self._has_overrun = True
                raise _EndlessError
        return self._on_line

    def pytest_runtest_logstart(self) -> None:
        """Another test begins."""
        self._lines = set()
        self._bound = self.most_lines
        if self._has_overrun:
            self._bound = min(self._bound, self._n_lines + LATER_LINES)

    def _watched(self) -> Generator[None, None, None]:
        """Watch the lines of what pytest does meanwhile; endless ones count as none."""
        before = self._n_lines
        sys.settrace(self._on_call)
        try:
            yield
        finally:
            sys.settrace(None)
            is_endless = self._n_lines > self._bound
            if is_endless:
                self._n_lines = before
        if is_endless:
            raise _EndlessError

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self) -> Generator[None, None, None]:
        """Watch a test's fixtures."""
        yield from self._watched()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self) -> Generator[None, None, None]:
        """Watch a test."""
        yield from self._watched()

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
        """Count, and note who executed which line; a skipped test says nothing."""
        if report.skipped or (report.when != "call" and not report.failed):
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
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """All tests ran, or something stopped them."""
        if self._pipe >= 0:
            self._tell(is_whole=exitstatus in _ORDINARY)
