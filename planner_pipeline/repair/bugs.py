"""Seeded bugs: changes of a good module that its own tests notice.

Belongs here: the templates, drawing bugs, asking what fails. Does not: changes themselves
(``mutations``), issues about them (``sample.repair_workspace``).
"""

import json
import random
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Final

from planner_pipeline.repair.mutations import Mutation, apply, mutations

TRIAL_SECONDS: Final = 120
DRAWN: Final = 12  # candidates that are tried at a time
SUFFIX: Final = ".tests.py.txt"


@dataclass(frozen=True, slots=True)
class Template:
    """A good module and its tests.

    Attributes:
        name: Of the module; the tests import it by this name.
    """

    name: str
    source: str
    tests: str

    def renamed(self, name: str) -> "Template":
        """The same under another name."""
        tests = re.sub(rf"^from {self.name} import", f"from {name} import", self.tests, flags=re.M)
        return Template(name=name, source=self.source, tests=tests)


@dataclass(frozen=True, slots=True)
class Broken:
    """A module with bugs in it.

    Attributes:
        bugs: What was changed, in the order it was.
        failing: Tests that fail because of it.
    """

    template: Template
    source: str
    bugs: tuple[Mutation, ...]
    failing: tuple[str, ...]


class BugsError(Exception):
    """A template cannot be broken as asked."""


def templates() -> list[Template]:
    """Every template, by name."""
    folder = files("planner_pipeline.repair") / "templates"
    names = sorted(
        entry.name.removesuffix(SUFFIX) for entry in folder.iterdir() if entry.name.endswith(SUFFIX)
    )
    return [
        Template(
            name=name,
            source=(folder / f"{name}.py.txt").read_text(encoding="utf-8"),
            tests=(folder / f"{name}{SUFFIX}").read_text(encoding="utf-8"),
        )
        for name in names
    ]


def failing_of(template: Template, sources: Sequence[str]) -> list[list[str] | None]:
    """For each text in the module's place the tests that fail; None where it cannot be imported.

    Raises:
        BugsError: the tests cannot be run.
    """
    request = {"module": template.name, "tests": template.tests, "sources": list(sources)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", "planner_pipeline.repair.trial_run"],
        input=json.dumps(request), capture_output=True, text=True, timeout=TRIAL_SECONDS,
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        raise BugsError(f"{template.name}: {done.stderr.strip()[-300:]}")
    answers: list[list[str] | None] = json.loads(done.stdout)
    return answers


def _candidates(
    source: str, taken: set[int], rng: random.Random
) -> Iterator[list[tuple[Mutation, str]]]:
    """Changes in a seeded order, some at a time, none in a statement that has a bug already."""
    found = [one for one in mutations(source) if one.statement not in taken]
    rng.shuffle(found)
    for start in range(0, len(found), DRAWN):
        yield [(one, apply(source, one)) for one in found[start : start + DRAWN]]


def break_template(template: Template, n_bugs: int, rng: random.Random) -> Broken:
    """A template with so many bugs, each of which makes another test fail; with fewer where it has
    no room for more.

    Raises:
        BugsError: it has no room for any.
    """
    source, failing = template.source, tuple[str, ...]()
    bugs: list[Mutation] = []
    while len(bugs) < n_bugs:
        found = _next_bug(template, source, failing, {bug.statement for bug in bugs}, rng)
        if found is None and bugs:
            break
        if found is None:
            raise BugsError(f"{template.name} has no room for a bug")
        bug, source, failing = found
        bugs.append(bug)
    return Broken(template=template, source=source, bugs=tuple(bugs), failing=failing)


def _next_bug(
    template: Template, source: str, failing: tuple[str, ...], taken: set[int], rng: random.Random
) -> tuple[Mutation, str, tuple[str, ...]] | None:
    """A change that makes more tests fail than fail already, but not all of them."""
    n_tests = template.tests.count("\ndef test_")
    for some in _candidates(source, taken, rng):
        for (bug, changed), found in zip(
            some, failing_of(template, [changed for _, changed in some]), strict=True
        ):
            if found is not None and set(failing) < set(found) and len(found) < n_tests:
                return bug, changed, tuple(found)
    return None
