"""The search: changes in a seeded order, every one that leaves fewer tests failing is kept.

Belongs here: the order of changes, hill climbing, the budget in evaluations. Does not: running
tests (``forked_tests``), reading and writing trees (``search``).

What is likely comes first but may come late: a change is drawn without replacement with the weight
of its line, which is Ochiai's suspicion (failed / sqrt(all failed x executed)); see Abreu et al.,
"On the accuracy of spectrum-based fault localization", 2007.
"""

import math
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import Final, Protocol

from planner_pipeline.repair.mutations import Mutation, apply, mutations
from planner_pipeline.repair.verdict import Verdict

Tree = Mapping[str, str]
Change = tuple[str, Mutation]
UNSEEN_WEIGHT: Final = 0.05  # no test executed the line: a constant, a default, dead code
LEAST_WEIGHT: Final = 0.02  # only tests that pass did
KILLED_COST: Final = 10  # evaluations that one takes which only the clock could stop


class NoTestsError(Exception):
    """There is nothing to be judged by."""


class Judge(Protocol):
    """Runs the tests on a tree."""

    def __call__(self, tree: Tree, *, stop_at: int | None = None) -> Verdict:
        """The verdict on a tree; from ``stop_at`` failures on the rest does not matter."""
        ...


@dataclass(frozen=True, slots=True)
class Kept:
    """A change that stayed, or one of a pair that did.

    Attributes:
        evaluation: Its number, from 1.
        n_failing: Tests that failed before and after.
    """

    path: str
    line: int
    kind: str
    evaluation: int
    n_failing: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Climb:
    """What a search did.

    Attributes:
        n_evaluations: What it took of its budget.
        n_failing: Tests that fail at the end; None where the tests of no tree could run.
        is_out_of_budget: It ended because its budget was used up, not its changes.
    """

    n_evaluations: int
    n_failing: int | None
    kept: tuple[Kept, ...]
    is_out_of_budget: bool


def suspicion(mutation: Mutation, coverage: Mapping[int, tuple[int, int]], n_failed: int) -> float:
    """How likely a line is to blame, in [LEAST_WEIGHT, 1]."""
    seen = [coverage[line] for line in (mutation.line, mutation.statement) if line in coverage]
    if not seen:
        return UNSEEN_WEIGHT
    return max(
        LEAST_WEIGHT,
        *(failed / math.sqrt(max(1, n_failed) * (failed + passed)) for failed, passed in seen),
    )


def _ranked(tree: Tree, verdict: Verdict, rng: random.Random) -> list[Change]:
    """All changes of a tree in a random order that prefers suspicious lines."""
    keyed: list[tuple[float, str, Mutation]] = []
    for path in sorted(tree):
        coverage = verdict.coverage.get(path, {})
        for mutation in mutations(tree[path]):
            weight = suspicion(mutation, coverage, verdict.n_failed)
            keyed.append((-math.log(1.0 - rng.random()) / weight, path, mutation))
    return [(path, mutation) for _, path, mutation in sorted(keyed)]


def _pairs(ranked: list[Change]) -> Iterator[tuple[Change, ...]]:
    """Pairs of changes, those high in the order first."""
    for far in range(1, 2 * len(ranked) - 2):
        for low in range(max(0, far - len(ranked) + 1), (far + 1) // 2):
            yield ranked[low], ranked[far - low]


def _changed(tree: Tree, changes: tuple[Change, ...]) -> dict[str, str] | None:
    """A tree with its changes made, the last place first; None where they meet."""
    changed = dict(tree)
    ordered = sorted(changes, reverse=True)
    for (path, mutation), (other_path, before) in pairwise(ordered):
        if path == other_path and before.end >= mutation.start:
            return None
    for path, mutation in ordered:
        changed[path] = apply(changed[path], mutation)
    return changed


class _Climber:
    """A search under way: where it stands, what it has spent."""

    def __init__(
        self, tree: Tree, judge: Judge, most: int, say: Callable[[str], None],
        pause: Callable[[int], None],
    ) -> None:  # fmt: skip
        self.tree = dict(tree)
        self.kept: list[Kept] = []
        self.spent = 0
        self.verdict = Verdict()
        self.failing: int | None = None
        self.is_out_of_budget = most <= 0
        self._judge, self._most, self._say, self._pause = judge, most, say, pause
        self._tried: set[tuple[str, ...]] = set()

    def is_new(self, tree: Tree) -> bool:
        """Whether a tree was never evaluated; asking counts as doing so."""
        key = tuple(tree[path] for path in sorted(tree))
        is_new = key not in self._tried
        self._tried.add(key)
        return is_new

    def evaluate(self, tree: Tree) -> Verdict:
        """Judge a tree and pay for it."""
        verdict = self._judge(tree, stop_at=self.failing)
        self.spent += 1 + KILLED_COST * verdict.was_killed
        self._pause(self.spent)
        return verdict

    def start(self) -> None:
        """Judge the tree as it is."""
        self.is_new(self.tree)
        self.verdict = self.evaluate(self.tree)
        if self.verdict.is_whole:
            self.failing = self.verdict.n_failed
            if not self._n_tests():
                raise NoTestsError("no tests ran")
        told = "the tests cannot run" if self.failing is None else f"{self.failing} failing"
        self._say(f"{told} of {self._n_tests()} tests")

    def _n_tests(self) -> int:
        return self.verdict.n_failed + self.verdict.n_passed

    def _is_better(self, found: Verdict) -> bool:
        n_found = found.n_failed + found.n_passed
        if not found.is_whole or n_found < max(1, self._n_tests()):
            return False
        return self.failing is None or found.n_failed < self.failing

    def improve(self, rng: random.Random, keep: Callable[[Tree, bool], bool]) -> bool:
        """Try changes until one is kept; False when the budget or the changes are used up."""
        ranked = _ranked(self.tree, self.verdict, rng)
        for move in chain(((change,) for change in ranked), _pairs(ranked)):
            if self.spent >= self._most:
                self.is_out_of_budget = True
                return False
            changed = _changed(self.tree, move)
            if changed is None or not self.is_new(changed):
                continue
            found = self.evaluate(changed)
            if self._is_better(found) and keep(changed, found.n_failed == 0):
                self._take(move, changed, found)
                return True
        return False

    def _take(self, move: tuple[Change, ...], changed: dict[str, str], found: Verdict) -> None:
        before = self._n_tests() if self.failing is None else self.failing
        for path, mutation in move:
            self._say(
                f"{self.spent} of {self._most}: {path}:{mutation.line} {mutation.kind}, "
                f"{before} -> {found.n_failed} failing"
            )
            n_failing = (before, found.n_failed)
            self.kept.append(Kept(path, mutation.line, mutation.kind, self.spent, n_failing))
        self.tree, self.verdict, self.failing = changed, found, found.n_failed


def climb(
    tree: Tree, judge: Judge, *, seed: str, most: int, keep: Callable[[Tree, bool], bool],
    say: Callable[[str], None], pause: Callable[[int], None],
) -> Climb:  # fmt: skip
    """Search until all tests pass or the budget is used up.

    Args:
        tree: Texts by path.
        seed: Equal seeds make equal searches.
        most: Evaluations it may make.
        keep: Takes a better tree, and whether it passes all tests; False refuses it.
        say: Takes a line for people.
        pause: Called with the number of evaluations made, after each.

    Raises:
        NoTestsError: no test ran.
        SyntaxError: a text of the tree does not parse.
    """
    climber = _Climber(tree, judge, most, say, pause)
    is_going = not climber.is_out_of_budget
    if is_going:
        climber.start()
    while is_going and climber.failing != 0:
        is_going = climber.improve(random.Random(f"{seed} {len(climber.kept)}"), keep)
    return Climb(climber.spent, climber.failing, tuple(climber.kept), climber.is_out_of_budget)
