"""The kernel's side of the sidecar: an action from it in time, or the baseline with the reason.

Belongs here: the connection, its deadline, when to try again. Does not: the server (``sidecar``).
This module imports the standard library alone and never loads onnxruntime; the baseline, which
answers where the sidecar does not, is imported when it is first needed.
"""

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

MIN_BACKOFF_SECONDS: Final = 0.05
MAX_BACKOFF_SECONDS: Final = 5.0
_MAX_REPLY_BYTES: Final = 4 * 1024 * 1024
_BUDGETS: Final = {
    "max_candidates_bin": "max_candidates_bins",
    "max_minutes_bin": "max_minutes_bins",
    "max_iterations_bin": "max_iterations_bins",
}


class _NoAnswer(Exception):
    """The sidecar has no answer; the text says why.

    Attributes:
        is_broken: Whether to leave it alone for a while.
    """

    def __init__(self, why: str, *, is_broken: bool = True) -> None:
        super().__init__(why)
        self.is_broken = is_broken


class SidecarPlanner:
    """Asks a sidecar; may be called from any thread, one question at a time.

    After a failure nothing is asked for a while, which doubles from 0.05 to 5 seconds as long as
    it fails, and the baseline answers at once.

    Args:
        timeout_ms: For the whole of one answer: waiting for our turn, connecting, asking, reading.
        kernel_config: The ``KernelConfig`` for the baseline; None takes the shipped one.
    """

    def __init__(
        self, path: str | Path, timeout_ms: float = 100.0, *, kernel_config: Any = None
    ) -> None:
        self._path, self._timeout = str(path), timeout_ms / 1000
        self._config = kernel_config
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._sock: socket.socket | None = None
        self._rest = b""
        self._n_asked = 0
        self._backoff = 0.0
        self._retry_at = 0.0
        self._last_failure = ""

    def predict_action(self, planner_input: Mapping[str, Any]) -> dict[str, Any]:
        """The ``planner_action.v1`` for one planner input. Never raises."""
        action: dict[str, Any] = self.decide(planner_input)["action"]
        return action

    def decide(
        self,
        planner_input: Mapping[str, Any],
        *,
        now_ms: int | None = None,
        situation: Any = None,
    ) -> dict[str, Any]:
        """The parts of a ``Decision`` as JSON values: ``action``, ``trace``, ``model_choice`` and
        ``alternatives``. Never raises.

        Where the sidecar has no answer they are the baseline's, with the reason
        ``sidecar_unavailable:`` and why.

        Args:
            now_ms, situation: As of ``Planner.decide``.
        """
        deadline = time.monotonic() + self._timeout
        if self._pid != os.getpid():
            self._after_fork()
        try:
            if not self._turn.acquire(timeout=max(self._timeout, 0.0)):
                raise _NoAnswer("busy with another question", is_broken=False)
            try:
                return self._asked(planner_input, now_ms, situation, deadline)
            finally:
                self._turn.release()
        except _NoAnswer as error:
            why = str(error)
        except Exception as error:  # whatever a caller's mapping or this machine does
            why = f"{type(error).__name__}: {error}"
        from planner_runtime.contracts.reading import to_document

        own = self.baseline(planner_input, why, now_ms=now_ms, situation=situation)
        documents = {"action": to_document(own.action), "trace": to_document(own.trace)}
        return {**documents, "model_choice": None, "alternatives": []}

    def close(self) -> None:
        """Let go of the connection; the next question opens another."""
        with self._turn:
            self._disconnect()

    def _after_fork(self) -> None:
        """Leave the connection to the parent: two askers would read each other's answers."""
        self._pid, self._turn = os.getpid(), threading.Lock()
        self._disconnect()

    def _asked(
        self,
        planner_input: Mapping[str, Any],
        now_ms: int | None,
        situation: Any,
        deadline: float,
    ) -> dict[str, Any]:
        if time.monotonic() < self._retry_at:
            raise _NoAnswer(f"not asked again yet after: {self._last_failure}", is_broken=False)
        self._n_asked += 1
        line = self._line(planner_input, now_ms, situation)
        try:
            reply = self._exchanged(line, deadline)
            answer = _answer_of(reply, self._n_asked, planner_input)
        except _NoAnswer as error:
            if error.is_broken:
                self._failed(str(error))
            raise
        except BaseException as error:
            self._failed(f"{type(error).__name__}: {error}")
            raise
        self._backoff = 0.0
        return answer

    def _line(self, planner_input: Mapping[str, Any], now_ms: int | None, situation: Any) -> bytes:
        request = {"id": self._n_asked, "kind": "decide", "planner_input": dict(planner_input)}
        if now_ms is not None:
            request["now_ms"] = now_ms
        if situation is not None:
            open_ = situation.enforceable
            request["situation"] = {
                "baseline": situation.baseline,
                "enforceable": None if open_ is None else list(open_),
                "confidence_threshold": situation.confidence_threshold,
            }
        try:
            text = json.dumps(request, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
            return text.encode() + b"\n"
        except (TypeError, ValueError, RecursionError) as error:
            raise _NoAnswer(f"the question is no JSON: {error}", is_broken=False) from error

    def _failed(self, why: str) -> None:
        self._disconnect()
        self._last_failure = why.removeprefix("not asked again yet after: ")
        self._backoff = min(max(2 * self._backoff, MIN_BACKOFF_SECONDS), MAX_BACKOFF_SECONDS)
        self._retry_at = time.monotonic() + self._backoff

    def _disconnect(self) -> None:
        if self._sock is not None:
            with contextlib.suppress(OSError):
                self._sock.close()
        self._sock, self._rest = None, b""

    def _exchanged(self, line: bytes, deadline: float) -> bytes:
        """The reply's line. A connection from before that has ended meanwhile is opened anew."""
        is_old = self._sock is not None
        try:
            return self._one_exchange(line, deadline)
        except (ConnectionError, EOFError) as error:
            self._disconnect()
            if not is_old:
                raise _NoAnswer(_told(error)) from error
        except OSError as error:
            raise _NoAnswer(_told(error)) from error
        try:
            return self._one_exchange(line, deadline)
        except (OSError, EOFError) as error:
            raise _NoAnswer(_told(error)) from error

    def _one_exchange(self, line: bytes, deadline: float) -> bytes:
        if self._sock is None:
            self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._wait_until(deadline)
            self._sock.connect(self._path)
        self._wait_until(deadline)
        try:
            self._sock.sendall(line)
        except BrokenPipeError:  # it may have said why before it closed
            if not self._rest and not self._peek(deadline):
                raise
        parts = [self._rest]
        size = len(self._rest)
        while b"\n" not in parts[-1]:
            self._wait_until(deadline)
            parts.append(self._sock.recv(65_536))
            size += len(parts[-1])
            if not parts[-1]:
                raise EOFError("the sidecar ended the connection")
            if size > _MAX_REPLY_BYTES:
                raise _NoAnswer(f"a reply of more than {_MAX_REPLY_BYTES} bytes")
        reply, _, self._rest = b"".join(parts).partition(b"\n")
        return reply

    def _peek(self, deadline: float) -> bool:
        assert self._sock is not None
        self._wait_until(deadline)
        return bool(self._sock.recv(1, socket.MSG_PEEK))

    def _wait_until(self, deadline: float) -> None:
        assert self._sock is not None
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)

    def baseline(
        self,
        planner_input: Mapping[str, Any],
        why: str,
        *,
        now_ms: int | None = None,
        situation: Any = None,
    ) -> Any:
        """The ``Decision`` that there is without a sidecar. Never raises."""
        from planner_runtime.planner import Planner

        why = why.encode("utf-8", "replace").decode()
        planner = Planner(
            None,
            None,
            kernel_config=self._config,
            no_model_reason=f"sidecar_unavailable:{why}",
            deadline_ms=None,
        )
        return planner.decide(planner_input, now_ms=now_ms, situation=situation)


def _told(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    return str(error) or type(error).__name__


def _answer_of(reply: bytes, request_id: int, planner_input: Mapping[str, Any]) -> dict[str, Any]:
    """Action and trace of a reply that answers our question with choices that it offered."""
    try:
        told = json.loads(reply)
    except (ValueError, RecursionError) as error:
        raise _NoAnswer("the reply is no JSON") from error
    if not isinstance(told, dict):
        raise _NoAnswer("the reply is no object")
    if told.get("ok") is not True:
        said = told.get("error")
        reason = said.get("reason") if isinstance(said, dict) else None
        # a busy or a failing server may answer the next question; its connection is in order
        usable = reason in ("overloaded", "internal", "bad_request")
        detail = str(said.get("detail"))[:200] if isinstance(said, dict) else ""
        raise _NoAnswer(f"the sidecar says {reason}: {detail}", is_broken=not usable)
    if told.get("id") != request_id:
        raise _NoAnswer("the reply answers another question")
    action, trace = told.get("action"), told.get("trace")
    if not isinstance(action, dict) or not isinstance(trace, dict):
        raise _NoAnswer("the reply has no action or no trace")
    _check_action(action, planner_input)
    rest = {key: told.get(key) for key in ("model_choice", "alternatives")}
    return {"action": action, "trace": trace, **rest}


def _check_action(action: dict[str, Any], planner_input: Mapping[str, Any]) -> None:
    """Refuse an action whose choices the question did not offer. Whether they go together, whoever
    enforces it asks once more (formats 7.3).

    A question that cannot be read gets the answer to a blank one, which is left as it is.
    """
    if action.get("schema_version") != "cyntra.planner_action.v1":
        raise _NoAnswer("the reply's action is of another contract")
    if str(action.get("reason") or "").startswith(("invalid_input", "no_valid_action")):
        return
    offered = planner_input["action_space"]
    if action.get("swarm_id") not in offered["swarm_ids"]:
        raise _NoAnswer("the reply's swarm was not offered")
    budgets = action.get("budgets")
    if not isinstance(budgets, dict):
        raise _NoAnswer("the reply's action has no budgets")
    for name, bins in _BUDGETS.items():
        if not any(
            type(b) is type(budgets.get(name)) and b == budgets[name] for b in offered[bins]
        ):
            raise _NoAnswer(f"the reply's {name} was not offered")
