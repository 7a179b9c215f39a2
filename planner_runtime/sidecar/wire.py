"""Bytes on a sidecar's connection: lines under limits of size and time, and the least of HTTP.

Belongs here: framing. Does not: what a line means (``protocol``), who answers
(``sidecar``). Source: RFC 9112 for the request line, headers and ``Connection: close``.
"""

import contextlib
import re
import socket
import time
from http import HTTPStatus
from typing import Final

from planner_runtime.sidecar.protocol import RequestError, ServingLimits

_CHUNK: Final = 64 * 1024
_MAX_HEADER_BYTES: Final = 16 * 1024
_DRAIN_SECONDS: Final = 0.5
_HTTP: Final = re.compile(rb"(?P<method>[A-Z]+) (?P<target>\S+) HTTP/1\.[01]\r?")


class Connection:
    """One caller's socket, read line by line."""

    def __init__(self, sock: socket.socket, limits: ServingLimits) -> None:
        self._sock, self._limits = sock, limits
        self._rest = bytearray()

    def read_line(self) -> bytes | None:
        """The next line without its end; None when the caller has left, or asks nothing.

        Raises:
            RequestError: ``too_large``, ``timeout`` or ``truncated``.
            OSError: the connection broke.
        """
        return self._read_line(self._limits.max_request_bytes)

    def _read_line(self, limit: int) -> bytes | None:
        deadline = time.monotonic() + self._limits.read_seconds if self._rest else None
        searched = 0
        while (end := self._rest.find(b"\n", searched)) < 0:
            searched = len(self._rest)
            if searched > limit:
                break
            chunk = self._receive(deadline)
            if not chunk:
                if self._rest:
                    raise RequestError("truncated", f"{searched} bytes and no end of line")
                return None
            deadline = deadline or time.monotonic() + self._limits.read_seconds
            self._rest += chunk
        if not 0 <= end <= limit:
            raise RequestError("too_large", f"a request has at most {limit} bytes")
        line = bytes(self._rest[:end])
        del self._rest[: end + 1]
        return line

    def _receive(self, deadline: float | None) -> bytes:
        """What comes next; nothing at the end, and when no request has begun for too long."""
        seconds = self._limits.idle_seconds if deadline is None else deadline - time.monotonic()
        try:
            self._sock.settimeout(max(seconds, 1e-3))
            return self._sock.recv(_CHUNK)
        except TimeoutError as error:
            if deadline is None:
                return b""
            detail = f"not complete after {self._limits.read_seconds:g} seconds"
            raise RequestError("timeout", detail) from error

    def send(self, data: bytes) -> None:
        """Write an answer. Raises ``OSError`` when it is not taken in time."""
        self._sock.settimeout(self._limits.write_seconds)
        self._sock.sendall(data)

    def read_http_headers(self) -> None:
        """Skip the headers of an HTTP request. Raises as ``read_line``."""
        total = 0
        while (line := self._read_line(_MAX_HEADER_BYTES)) not in (b"\r", b""):
            if line is None:
                raise RequestError("truncated", "the headers have no end")
            total += len(line)
            if total > _MAX_HEADER_BYTES:
                raise RequestError("too_large", f"headers have at most {_MAX_HEADER_BYTES} bytes")

    def close(self, *, drain: bool = False) -> None:
        """End the connection.

        Args:
            drain: First read what the caller is still sending, for half a second, so that it gets
                to read the error it was sent.
        """
        with contextlib.suppress(OSError):
            if drain:
                self._sock.shutdown(socket.SHUT_WR)
                deadline = time.monotonic() + _DRAIN_SECONDS
                while (left := deadline - time.monotonic()) > 0:
                    self._sock.settimeout(left)
                    if not self._sock.recv(_CHUNK):
                        break
        self._sock.close()


def http_target(line: bytes) -> tuple[str, str] | None:
    """Method and target when a line opens an HTTP request.

    >>> http_target(b"GET /metrics HTTP/1.1")
    ('GET', '/metrics')
    >>> http_target(b'{"kind":"health"}')
    """
    found = _HTTP.fullmatch(line)
    if found is None:
        return None
    return found["method"].decode("ascii"), found["target"].decode("latin-1")


def http_response(
    status: HTTPStatus, body: bytes, content_type: str, *, with_body: bool = True
) -> bytes:
    """A whole HTTP response, after which the connection ends."""
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {content_type}\r\n"
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + (body if with_body else b"")
