"""A real HTTP server on loopback that answers as a test tells it to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Request"], None]


class Request(BaseHTTPRequestHandler):
    """One request; a behaviour answers it."""

    server: "LocalServer"

    def _take(self) -> None:
        n_bytes = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(n_bytes)
        self.server.seen.append((self.command, self.path, dict(self.headers), body))
        try:
            self.server.behaviour(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    do_GET = do_POST = _take

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def reply(
        self, body: bytes | str, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def reply_chat(self, content: Any) -> None:
        choice = {
            "index": 0,
            "message": {"role": "assistant", "content": content},
            "finish_reason": "stop",
        }
        self.reply(json.dumps({"id": "1", "object": "chat.completion", "choices": [choice]}))

    def drip(self, data: bytes, *, pause_s: float = 0.05) -> None:
        """Send the data one byte at a time."""
        for at in range(len(data)):
            self.wfile.write(data[at : at + 1])
            self.wfile.flush()
            if self.server.is_over.wait(pause_s):
                return


class LocalServer(ThreadingHTTPServer):
    """Remembers every request it saw."""

    daemon_threads = True

    def __init__(self, behaviour: Behaviour) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.behaviour = behaviour
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.is_over = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is what these tests are about."""


@contextmanager
def a_local_server(behaviour: Behaviour) -> Iterator[LocalServer]:
    server = LocalServer(behaviour)
    thread = threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
    )
    thread.start()
    try:
        yield server
    finally:
        server.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join(5)


def elapsed_s(work: Callable[[], Any]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started
