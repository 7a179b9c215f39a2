"""Which tests fail on some texts of a module: a process that answers on stdout.

Belongs here: running plain test functions on texts, bounded in executed lines. Does not: whole test
suites (``forked_tests``), choosing texts (``bugs``). Stdlib only, but for what the tests import.

Run as ``python -m planner_pipeline.repair.trial_run`` with ``{module, tests, sources}`` on stdin.
The answer is a list: for each text the names of the tests that fail, or null where it cannot be
imported. What does not end is met by counting lines, so the answer is the same on every machine.
"""

import json
import sys
from types import FrameType, ModuleType
from typing import Any

from planner_pipeline.repair.verdict import LEAST_LINES


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


def main() -> int:
    """Answer the request on stdin."""
    request = json.load(sys.stdin)
    sys.setrecursionlimit(300)
    answers = [
        failing_tests(request["module"], source, request["tests"]) for source in request["sources"]
    ]
    print(json.dumps(answers))
    return 0


if __name__ == "__main__":
    sys.exit(main())
