"""What runs a program: parts that ask for values and calls, on a stack of its own.

Belongs here: the driver, the budget at each step, how an error reaches a ``try``. Does not: what a
form means (``evaluator``).

A running part is a generator that yields what it needs and is sent the value, so the depth of a
program costs memory that the meter counts, and never a RecursionError.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from planner_synthesis.rtfs.budget import Meter
from planner_synthesis.rtfs.errors import BudgetExceeded, RtfsError
from planner_synthesis.rtfs.forms import Form
from planner_synthesis.rtfs.values import Request, Run

# a request is answered by a value at once, or by a part that runs
Answered: TypeAlias = "tuple[Form, None] | tuple[None, Run]"
Answerer: TypeAlias = Callable[[Request], Answered]


def run_request(request: Request, answer: Answerer, meter: Meter) -> Form:
    """The value that ``request`` asks for.

    Raises:
        RtfsError: whatever the program does wrong and does not catch; a spent budget always.
    """
    waiting: list[Run] = []
    value: Form = None
    failure: RtfsError | None = None
    wanted: Request | None = request
    while True:
        if wanted is not None:
            value, failure, part = _answered(wanted, answer, meter, len(waiting))
            if part is not None:
                waiting.append(part)
        if not waiting:
            if failure is not None:
                raise failure
            return value
        wanted, value, failure = _resume(waiting, value, failure)


def _answered(
    wanted: Request, answer: Answerer, meter: Meter, depth: int
) -> tuple[Form, RtfsError | None, Run | None]:
    try:
        meter.spend()
        meter.admit_depth(depth)
        value, part = answer(wanted)
    except RtfsError as error:
        return None, error, None
    return value, None, part


def _resume(
    waiting: list[Run], value: Form, failure: RtfsError | None
) -> tuple[Request | None, Form, RtfsError | None]:
    part = waiting[-1]
    try:
        if isinstance(failure, BudgetExceeded):
            part.close()
            waiting.pop()
            return None, None, failure
        wanted = part.throw(failure) if failure is not None else part.send(value)
    except StopIteration as done:
        waiting.pop()
        return None, done.value, None
    except RtfsError as error:
        waiting.pop()
        return None, None, error
    return wanted, None, None
