"""Real MCP servers for tests: started here, ended here."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from planner_synthesis.snapshot.mcp import McpServer

FIXTURES = Path(__file__).parents[2] / "fixtures"
SERVER = FIXTURES / "mcp_server.py"
RUDE = FIXTURES / "rude_mcp_server.py"


def a_stdio_server(name: str = "gh", *options: str, **fields: Any) -> McpServer:
    command = (sys.executable, str(SERVER), "stdio", *options)
    return McpServer(server=name, command=command, **{"timeout_s": 90, **fields})


def a_rude_server(mode: str, **fields: Any) -> McpServer:
    command = (sys.executable, str(RUDE), mode)
    return McpServer(server="rude", command=command, **{"timeout_s": 90, **fields})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def an_http_server(name: str = "web", **fields: Any) -> Iterator[McpServer]:
    """A server over streamable HTTP on loopback, in a process of its own."""
    port = free_port()
    process = subprocess.Popen([sys.executable, str(SERVER), "http", str(port)])
    try:
        deadline = time.monotonic() + 90
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
        url = f"http://127.0.0.1:{port}/mcp"
        yield McpServer(server=name, url=url, **{"timeout_s": 90, **fields})
    finally:
        process.terminate()
        process.wait(10)
