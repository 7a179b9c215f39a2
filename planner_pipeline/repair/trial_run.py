"""Which tests fail on some texts of a module: a process that answers on stdout.

Belongs here: running plain test functions on texts, bounded in executed lines. Does not: whole test
suites (``forked_tests``), choosing texts (``bugs``). Stdlib only, but for what the tests import.

Run as ``python -m planner_pipeline.repair.trial_run`` with ``{module, tests, sources}`` on stdin.
The answer is a list: for each text the names of the tests that fail, or null where it cannot be
imported or does not end. Loops are met by counting lines, so that the answer is the same on every
machine; what hangs inside one line is killed by the clock.
"""

import json
import os
import resource
import signal
import sys
from types import FrameType, ModuleType
from typing import Any, Final

from planner_pipeline.repair.verdict import LEAST_LINES

HARD_LIMIT_SECONDS: Final = 1.0
MEMORY_MB: Final = 2_048


class _EndlessError(BaseException):
    """A text executed too many lines; no test may catch this as an ordinary error."""


class _Budget:
    """Counts executed lines of one file."""

    def __init__(self, file: str) -> None:
        self._file, self._left = file, LEAST_LINES

    def __call__(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename != self._file:
            return None
        self._left -= 1
        if self._left < 0:
            raise _EndlessError
        return self


def failing_tests(module: str, source: str, tests: str) -> list[str] | None:
    """Names of the tests that fail on a text, in their order; None where it cannot be imported."""
    file = f"<{module}>"
    made = ModuleType(module)
    sys.modules[module] = made
    namespace: dict[str, Any] = {"__name__": f"test_{module}"}
    sys.settrace(_Budget(file))
    try:
        exec(compile(source, file, "exec"), made.__dict__)
        exec(compile(tests, "<tests>", "exec"), namespace)
    except (Exception, _EndlessError):
        return None
    finally:
        sys.settrace(None)
    failing = []
    for name, test in namespace.items():
        if name.startswith("test_"):
            sys.settrace(_Budget(file))
            try:
                test()
            except (Exception, _EndlessError):
                failing.append(name)
            except BaseException as error:  # pytest's own refusals are no ordinary errors
                if isinstance(error, KeyboardInterrupt):
                    raise
                failing.append(name)
            finally:
                sys.settrace(None)
    return failing


def failing_in_child(module: str, source: str, tests: str) -> list[str] | None:
    """``failing_tests`` in a process of its own, which may be killed."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        signal.setitimer(signal.ITIMER_REAL, HARD_LIMIT_SECONDS)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MB << 20, MEMORY_MB << 20))
        sys.setrecursionlimit(300)
        told = json.dumps(failing_tests(module, source, tests))
        os.write(writing, told.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)
    found: list[str] | None = json.loads(answer) if answer else None
    return found


def main() -> int:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    module, tests = request["module"], request["tests"]
    if "import pytest" in tests:
        import pytest  # noqa: F401 - once here, and not again in every child
    answers = [failing_in_child(module, source, tests) for source in request["sources"]]
    print(json.dumps(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
