"""What is said over the sidecar's socket: JSON lines, their limits, what can go wrong.

Belongs here: the shapes, the errors as a closed set, bytes in and bytes out. Does not: sockets
(``wire``), answering (``sidecar``). Prose: docs/sidecar.md.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

import msgspec

from planner_runtime.contracts.reading import MAX_DOCUMENT_BYTES
from planner_runtime.decision import Situation

Kind = Literal["plan", "decide", "explain", "health", "metrics"]
MAX_REQUEST_BYTES: Final = MAX_DOCUMENT_BYTES

SIDECAR_ERRORS: Final[Mapping[str, str]] = {
    "bad_request": "the line is no request; the next one is read",
    "internal": "the server failed at this request; the next one is read",
    "overloaded": "as many decisions as may run are running; ask again later",
    "stopping": "the server is about to end; the connection is closed",
    "timeout": "the request was not complete in time; the connection is closed",
    "too_large": "the request is longer than it may be; the connection is closed",
    "too_many_connections": "no further connection is served; this one is closed",
    "truncated": "the connection ended within a request",
    "wrong_user": "the caller is another user; the connection is closed",
}


class RequestError(Exception):
    """A request cannot be answered.

    Attributes:
        reason: A code of ``SIDECAR_ERRORS``.
        detail: What happened.
        request_id: The request's own id, where it could be read.
    """

    def __init__(self, reason: str, detail: str, request_id: str | int | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason, self.detail, self.request_id = reason, detail, request_id


class ServingLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How much a server takes on.

    Attributes:
        max_request_bytes: Of one line without its end.
        max_connections: Open at a time.
        max_running: Decisions at a time; further ones wait for ``queue_seconds``.
        idle_seconds: A connection that asks nothing for so long is closed.
        read_seconds: From the first byte of a request to its last.
        write_seconds: For one answer to be taken.
        grace_seconds: For running requests when the server stops.
    """

    max_request_bytes: int = MAX_REQUEST_BYTES
    max_connections: int = 32
    max_running: int = 4
    queue_seconds: float = 0.1
    idle_seconds: float = 300.0
    read_seconds: float = 5.0
    write_seconds: float = 5.0
    grace_seconds: float = 5.0


class Request(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line.

    Attributes:
        id: Comes back with the answer.
        planner_input: A ``planner_input.v1``, left as the JSON it is until the planner reads it.
        now_ms, situation: As of ``Planner.decide``.
    """

    kind: Kind
    id: str | int | None = None
    planner_input: msgspec.Raw = msgspec.Raw()
    now_ms: int | None = None
    situation: Situation | None = None


class _Named(msgspec.Struct, frozen=True):
    id: str | int | None = None


_REQUEST: Final = msgspec.json.Decoder(Request)
_NAMED: Final = msgspec.json.Decoder(_Named)


def parse_request(line: bytes) -> Request:
    """A line as a request.

    Raises:
        RequestError: ``bad_request``.
    """
    try:
        request = _REQUEST.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise RequestError("bad_request", str(error), _id_of(line)) from error
    asks = request.kind in ("plan", "decide", "explain")
    if asks and not bytes(request.planner_input):
        raise RequestError("bad_request", f"{request.kind} needs a planner_input", request.id)
    return request


def _id_of(line: bytes) -> str | int | None:
    """The id of a line that is JSON but no request."""
    try:
        return _NAMED.decode(line).id
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def build_reply(request_id: str | int | None, **content: Any) -> bytes:
    """An answer as its line."""
    return msgspec.json.encode({"id": request_id, "ok": True, **content}) + b"\n"


def build_error(error: RequestError) -> bytes:
    """An error as its line."""
    told = {"reason": error.reason, "detail": error.detail.encode("utf-8", "replace").decode()}
    return msgspec.json.encode({"id": error.request_id, "ok": False, "error": told}) + b"\n"
