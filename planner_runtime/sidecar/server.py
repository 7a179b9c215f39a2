"""The sidecar: decisions over a Unix socket, for kernels that want no onnxruntime of their own.

Belongs here: the server's life, its connections, what each kind of request is answered with.
Does not: framing (``wire``), shapes and errors (``protocol``), the socket's
permissions (``owned_socket``), the caller's side (``client``). Prose: docs/sidecar.md.

One thread serves one connection, so that a slow decision holds up nobody else; how many decisions
run at a time is bounded, and the rest wait shortly or are told to come again.
"""

import contextlib
import os
import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import msgspec

from planner_runtime.contracts.reading import ContractError
from planner_runtime.explaining.explanation import explain_question
from planner_runtime.explaining.text import explanation_text
from planner_runtime.inputs import blank_planner_input
from planner_runtime.metrics import Metrics
from planner_runtime.planner import open_model
from planner_runtime.prometheus_text import CONTENT_TYPE, exposition
from planner_runtime.served_planner import ServedPlanner
from planner_runtime.sidecar.counts import SidecarCounts
from planner_runtime.sidecar.owned_socket import OwnedSocket, peer_uid
from planner_runtime.sidecar.protocol import (
    Request,
    RequestError,
    ServingLimits,
    build_error,
    build_reply,
    parse_request,
)
from planner_runtime.sidecar.wire import Connection, http_response, http_target

_CLOSING = frozenset({"timeout", "too_large", "truncated", "stopping"})


class Sidecar:
    """A server on one socket.

    Args:
        log: Told one line of what a person should know.
        allowed_uids: Users that may ask; None: our own and root, who can do as we anyway.

    Raises:
        SocketError: nobody can safely listen at ``path``.
    """

    def __init__(
        self,
        served: ServedPlanner,
        path: Path,
        *,
        metrics: Metrics,
        limits: ServingLimits | None = None,
        log: Callable[[str], object] = lambda _: None,
        allowed_uids: frozenset[int] | None = None,
    ) -> None:
        self._served, self._metrics, self._log = served, metrics, log
        self._limits = limits or ServingLimits()
        self._uids = frozenset({os.geteuid(), 0}) if allowed_uids is None else allowed_uids
        self._counts = SidecarCounts()
        self._slots = threading.BoundedSemaphore(self._limits.max_running)
        self._lock = threading.Lock()  # of who is connected
        self._connected: dict[socket.socket, threading.Thread] = {}
        self._stopping = False
        self._started = time.monotonic()
        self._woken, self._waker = socket.socketpair()
        self._waker.setblocking(False)
        self._socket = OwnedSocket(path, backlog=self._limits.max_connections)
        self._socket.listener.setblocking(False)

    @property
    def path(self) -> Path:
        """Where it listens."""
        return self._socket.path

    def stop(self) -> None:
        """Ask the server to end; takes no lock, so that a signal's handler may call it."""
        with contextlib.suppress(OSError):
            self._waker.send(b"x")

    def serve(self) -> int:
        """Accept and answer until ``stop``; then take the socket away and let running requests end.

        Returns:
            Requests that were still running after the grace; their threads end with the process.
        """
        try:
            with selectors.DefaultSelector() as selector:
                selector.register(self._woken, selectors.EVENT_READ)
                selector.register(self._socket.listener, selectors.EVENT_READ)
                while self._woken not in (ready.fileobj for ready, _ in selector.select()):
                    self._accept()
        finally:
            self._stopping = True
            self._socket.close()
        return self._wind_up()

    def _wind_up(self) -> int:
        deadline = time.monotonic() + self._limits.grace_seconds
        with self._lock:
            left = dict(self._connected)
        for sock in left:  # whoever waits for a request reads the end; an answer can still leave
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)
        for thread in left.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        n_running = sum(thread.is_alive() for thread in left.values())
        self._served.close()
        self._woken.close()
        self._waker.close()
        return n_running

    def _accept(self) -> None:
        try:
            sock, _ = self._socket.listener.accept()
        except BlockingIOError:
            return
        except OSError as error:  # out of file descriptors, most likely
            self._log(f"a connection could not be accepted: {error}")
            time.sleep(0.05)
            return
        refusal = self._refusal(sock)
        if refusal is None:
            thread = threading.Thread(target=self._serve_connection, args=(sock,), daemon=True)
            with self._lock:
                self._connected[sock] = thread
            try:
                thread.start()
                return
            except RuntimeError as error:  # no thread to be had
                with self._lock:
                    del self._connected[sock]
                refusal = RequestError("too_many_connections", str(error))
        self._counts.observe_error(refusal.reason)
        with contextlib.suppress(OSError):
            sock.setblocking(False)
            sock.send(build_error(refusal))
        sock.close()

    def _refusal(self, sock: socket.socket) -> RequestError | None:
        try:
            uid = peer_uid(sock)
        except OSError as error:
            return RequestError("wrong_user", f"nobody knows whose it is: {error}")
        if uid is not None and uid not in self._uids:
            self._log(f"user {uid} was turned away")
            return RequestError("wrong_user", f"user {uid} may not ask here")
        most = self._limits.max_connections
        with self._lock:
            if len(self._connected) >= most:
                return RequestError("too_many_connections", f"{most} are open")
        return None

    def _serve_connection(self, sock: socket.socket) -> None:
        connection = Connection(sock, self._limits)
        self._counts.observe_connection(1)
        drain = False
        try:
            drain = self._talk(connection)
        except OSError:
            pass  # the caller has left; there is nobody to tell
        except Exception as error:  # a fault of ours ends this connection and no other
            self._counts.observe_error("internal")
            self._log(f"a connection failed: {type(error).__name__}: {error}")
        finally:
            connection.close(drain=drain)
            self._counts.observe_connection(-1)
            with self._lock:
                del self._connected[sock]

    def _talk(self, connection: Connection) -> bool:
        """Answer one line after the other. Whether the caller may still be sending at the end."""
        while True:
            try:
                line = connection.read_line()
                if line is None:
                    return False
                if self._stopping:
                    raise RequestError("stopping", "the server ends")
                if (http := http_target(line)) is not None:
                    connection.read_http_headers()
                    connection.send(self._answer_http(*http))
                    return False
                connection.send(self._answer(line))
            except RequestError as error:
                self._counts.observe_error(error.reason)
                connection.send(build_error(error))
                if error.reason in _CLOSING:
                    return True

    def _answer(self, line: bytes) -> bytes:
        """The reply to one line. Raises ``RequestError``."""
        request = parse_request(line)
        self._counts.observe_request(request.kind)
        try:
            return build_reply(request.id, **self._content(request))
        except RequestError:
            raise
        except ContractError as error:  # of a question to explain; others are answered
            raise RequestError("bad_request", str(error), request.id) from error
        except Exception as error:
            self._log(f"a {request.kind} failed: {type(error).__name__}: {error}")
            detail = f"{type(error).__name__}: {error}"
            raise RequestError("internal", detail, request.id) from error

    def _content(self, request: Request) -> dict[str, Any]:
        if request.kind == "health":
            return {"health": self.health()}
        if request.kind == "metrics":
            return {"metrics": self._metrics.snapshot(), "text": self.prometheus()}
        question = bytes(request.planner_input)
        with self._slot(request):
            if request.kind == "explain":
                bundle = self._served.planner.bundle
                model = None if bundle is None else open_model(bundle)
                explained = explain_question(question, bundle, model, reason=self._no_bundle())
                return {"explanation": explained, "text": explanation_text(explained)}
            decision = self._served.decide(
                question, now_ms=request.now_ms, situation=request.situation
            )
        if request.kind == "plan":
            return {"action": decision.action}
        return {
            "action": decision.action,
            "trace": decision.trace,
            "model_choice": decision.model_choice,
            "alternatives": decision.alternatives,
        }

    @contextlib.contextmanager
    def _slot(self, request: Request) -> Iterator[None]:
        """One of the places for running decisions. Raises ``RequestError`` when none gets free."""
        if not self._slots.acquire(timeout=self._limits.queue_seconds):
            detail = f"{self._limits.max_running} decisions are running"
            raise RequestError("overloaded", detail, request.id)
        self._counts.observe_running(1)
        try:
            yield
        finally:
            self._counts.observe_running(-1)
            self._slots.release()

    def _no_bundle(self) -> str | None:
        """Why there is no bundle; None when there is one."""
        planner = self._served.planner
        return planner.plan(blank_planner_input()).reason if planner.bundle is None else None

    def health(self) -> dict[str, Any]:
        """Whether a bundle serves, and which."""
        bundle = self._served.planner.bundle
        return {
            "status": "stopping" if self._stopping else "baseline" if bundle is None else "serving",
            "bundle_id": None if bundle is None else bundle.manifest.bundle_id,
            "reason": self._no_bundle(),
            "uptime_seconds": round(time.monotonic() - self._started, 3),
            "open_connections": self._counts.open_connections,
            "pid": os.getpid(),
        }

    def prometheus(self) -> str:
        """Counts of decisions and of the server in the text format of Prometheus."""
        bundle = self._served.planner.bundle
        self._metrics.observe_bundle(None if bundle is None else bundle.manifest.bundle_id)
        return exposition([*self._metrics.families(), *self._counts.families()])

    def _answer_http(self, method: str, target: str) -> bytes:
        self._counts.observe_request("http")
        if method not in ("GET", "HEAD"):
            return http_response(
                HTTPStatus.METHOD_NOT_ALLOWED, b"GET and HEAD only\n", "text/plain"
            )
        status, body, kind = HTTPStatus.OK, b"", "application/json"
        path = target.partition("?")[0]
        if path == "/metrics":
            body, kind = self.prometheus().encode(), CONTENT_TYPE
        elif path == "/healthz":
            body = msgspec.json.encode(self.health()) + b"\n"
        else:
            status, kind = HTTPStatus.NOT_FOUND, "text/plain"
            body = b"/metrics and /healthz are here\n"
        return http_response(status, body, kind, with_body=method == "GET")
