"""``Scripted``: an executor that runs nothing and answers as it was told.

Belongs here: the fake that campaigns are tried on. Does not: anything that a bench is judged by.
"""

import threading
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from planner_pipeline.bench.protocol import Case, HarnessError, Result, Spend, Unit
from planner_runtime.actions import Action
from planner_runtime.contracts.bench_outcome import AttemptOutcome

NAME: Final = "scripted"
AGENT_MS: Final = 1_000
Key = tuple[str, Action, int]


def result_of(unit: Unit) -> Result:
    """What a unit comes to where nothing else is said: every other seed passes, one attempt."""
    is_passed = unit.seed % 2 == 0
    attempt = AttemptOutcome(
        attempt=1,
        toolchain=NAME,
        seed=unit.seed,
        status="success" if is_passed else "failed",
        is_passed=is_passed,
        duration_ms=AGENT_MS,
    )
    return Result(
        status="passed" if is_passed else "failed",
        metrics={"overall": float(is_passed), "duration_ms": float(AGENT_MS)},
        duration_ms=AGENT_MS,
        agent_ms=AGENT_MS,
        attempts=(attempt,),
        winner=1 if is_passed else None,
    )


def key_of(unit: Unit) -> Key:
    """How a script names a unit: case id, action, repeat."""
    return (unit.case.case_id, unit.action, unit.repeat)


class Scripted:
    """Answers units from a script.

    Args:
        results: By case id, action and repeat; ``otherwise`` tells the rest.
        errors: Raised instead, one a start, until there are no more; by the same key.
        worst: Of every unit.
        seconds: How long each unit takes; ``interrupt`` ends it sooner.
        refuses: Why a case cannot be run, by case id.

    Attributes:
        started: Every unit that was started, as often as it was, in this order.
        n_interrupts: How often somebody interrupted it.
    """

    def __init__(
        self,
        results: Mapping[Key, Result] | None = None,
        *,
        otherwise: Callable[[Unit], Result] = result_of,
        errors: Mapping[Key, tuple[Exception, ...]] | None = None,
        worst: Spend | None = None,
        seconds: float = 0.0,
        refuses: Mapping[str, str] | None = None,
    ) -> None:
        self._results, self._otherwise = dict(results or {}), otherwise
        self._errors = {key: list(some) for key, some in (errors or {}).items()}
        self._worst = worst or Spend(attempts=1, agent_minutes=1.0, wall_seconds=1.0)
        self._seconds, self._refuses = seconds, dict(refuses or {})
        self._lock, self._interrupted = threading.Lock(), threading.Event()
        self.started: list[Unit] = []
        self.n_interrupts = 0

    @property
    def name(self) -> str:
        """As written into every outcome."""
        return NAME

    def versions(self) -> dict[str, str]:
        """There is one."""
        return {NAME: "1"}

    def why_not(self, case: Case) -> str | None:
        """What the script says."""
        return self._refuses.get(case.case_id)

    def worst_case(self, unit: Unit) -> Spend:
        """The same for every unit, times its candidates."""
        worst, n = self._worst, unit.n_candidates
        return msgspec.structs.replace(
            worst,
            attempts=worst.attempts * n,
            agent_minutes=worst.agent_minutes * n,
            cost_usd=None if worst.cost_usd is None else worst.cost_usd * n,
        )

    def run(self, unit: Unit) -> tuple[Result, ...]:
        """The script's answer, or its error, after its time.

        Raises:
            HarnessError: it was interrupted.
        """
        with self._lock:
            self.started.append(unit)
            errors = self._errors.get(key_of(unit))
            error = errors.pop(0) if errors else None
        if self._interrupted.wait(self._seconds):
            raise HarnessError(NAME, "it was interrupted")
        if error is not None:
            raise error
        return (self._results.get(key_of(unit)) or self._otherwise(unit),)

    def interrupt(self) -> None:
        """Wake whatever sleeps, and let nothing sleep again."""
        self.n_interrupts += 1
        self._interrupted.set()
