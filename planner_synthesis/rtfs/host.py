"""The world outside a program: capabilities that can be called, and who says which.

Belongs here: the protocols, the log, the stub that ships for tests and dry runs. Does not: real
capabilities; what a security level means (``planner_synthesis.security``).
Source: rtfs.md 2.5 (the gate runs in the host, before the call); data/rtfs/README.md (the stub).
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

import msgspec

from planner_synthesis.rtfs.budget import Meter
from planner_synthesis.rtfs.errors import HostFailure, SecurityViolation
from planner_synthesis.rtfs.forms import Form, Kw, Map
from planner_synthesis.rtfs.json_values import to_json


class Gate(Protocol):
    """Says what may be called; a ``RuntimeContext`` is one."""

    def is_allowed(self, capability_id: str, /) -> bool:
        """Whether this capability may be called, by level and by effects."""


class Host(Protocol):
    """Where ``call`` and ``step`` of a program go."""

    def call(self, capability_id: str, args: list[Form]) -> object:
        """A capability's answer, as an RTFS value or as plain Python data.

        Raises:
            SecurityViolation: the capability is not allowed.
            HostFailure: it failed.
        """

    def step(self, name: str) -> None:
        """A step of this name begins."""


@runtime_checkable
class NestingHost(Host, Protocol):
    """A host that runs programs itself: what they do is paid by the run that calls it."""

    def call_within(self, capability_id: str, args: list[Form], meter: Meter) -> object:
        """As ``Host.call``; ``meter`` is that of the run that calls."""


class HostCall(msgspec.Struct, frozen=True, tag="call"):
    """One call that the host let through, whether it then failed or not."""

    capability: str
    args: tuple[Form, ...]

    def as_json(self) -> dict[str, Any]:
        """The entry in the encoding of the probes' ``host_log``."""
        return {"capability": self.capability, "args": [to_json(arg) for arg in self.args]}


class HostStep(msgspec.Struct, frozen=True, tag="step"):
    """One step that began."""

    name: str

    def as_json(self) -> dict[str, Any]:
        """The entry in the encoding of the probes' ``host_log``."""
        return {"step": self.name}


Answer: TypeAlias = "Callable[[list[Form]], object]"


class StubHost:
    """A host without a world: logs, asks the gate, and answers from a table or with a stub.

    Args:
        gate: What may be called; without one, everything.
        answers: By capability id, what to answer: a function of the arguments. A capability
            without one answers ``{:stub id :n-args n}``, and one whose id starts ``fail.`` fails.

    ``log`` holds calls and steps in order, ``refused`` the ids that the gate did not let through.
    """

    def __init__(
        self, gate: Gate | None = None, answers: Mapping[str, Answer] | None = None
    ) -> None:
        self.log: list[HostCall | HostStep] = []
        self.refused: list[str] = []
        self._gate = gate
        self._answers = dict(answers or {})

    def call(self, capability_id: str, args: list[Form]) -> object:
        """As ``Host.call``."""
        if self._gate is not None and not self._gate.is_allowed(capability_id):
            self.refused.append(capability_id)
            raise SecurityViolation(capability_id)
        self.log.append(HostCall(capability_id, tuple(args)))
        if capability_id in self._answers:
            return self._answers[capability_id](args)
        if capability_id.startswith("fail."):
            raise HostFailure(capability_id, f"stub failure {capability_id}")
        return Map(((Kw("stub"), capability_id), (Kw("n-args"), len(args))))

    def step(self, name: str) -> None:
        """As ``Host.step``."""
        self.log.append(HostStep(name))

    def log_as_json(self) -> list[dict[str, Any]]:
        """The log in the encoding of the probes."""
        return [entry.as_json() for entry in self.log]
