"""What tests say of a tree, and when a tree counts as endless.

Belongs here: the verdict and the bound on executed lines. Does not: running tests, in a session
(``forked_tests``) or in this process (``trial_run``).
"""

from dataclasses import dataclass, field
from typing import Final

LEAST_LINES: Final = 20_000
LINES_FACTOR: Final = 10
FIRST_LINES: Final = 100_000  # of a tree that is not known yet
LATER_LINES: Final = 2_000  # of a test, where one before it was endless


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said of a tree.

    Attributes:
        n_failed, n_passed: Tests; both 0 where it could not be imported or did not end.
        is_whole: Every test ran; False as well where too many had failed to go on.
        was_killed: The clock stopped it.
        n_lines: Lines of the tree that were executed.
        coverage: By file and line: failed and passed tests that executed it.
    """

    n_failed: int = 0
    n_passed: int = 0
    is_whole: bool = False
    was_killed: bool = False
    n_lines: int = 0
    coverage: dict[str, dict[int, tuple[int, int]]] = field(default_factory=dict)


def most_lines(first: Verdict) -> int:
    """Lines that a changed tree may execute before it counts as endless."""
    return max(LEAST_LINES, LINES_FACTOR * first.n_lines) if first.is_whole else FIRST_LINES
