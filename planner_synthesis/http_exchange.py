"""One HTTP request with a total deadline and a cap on the answer; the only import of httpx.

Belongs here: the exchange. Does not: its failures (``exchange_failures``), what is asked
(``arbiter_http``, ``snapshot.a2a``).
Source: pyproject.toml, extra ``arbiter``.

A read timeout starts anew with every byte, so a server that drips could hold a caller for ever. The
exchange runs in a thread of its own, with a deadline for all of it, and is left behind when that
passes.
"""

import asyncio
import threading
from collections.abc import Mapping
from typing import Any, Final

from planner_synthesis.addresses import is_this_machine
from planner_synthesis.exchange_failures import ExchangeFailed
from planner_synthesis.extras import missing_extra

try:
    import httpx
except ImportError as error:
    raise missing_extra(error, "arbiter", libraries=("httpx",)) from error

GRACE_S: Final = 0.5  # for the cancelled exchange to end by itself


async def _exchange(
    method: str,
    url: str,
    headers: Mapping[str, str],
    body: bytes | None,
    timeout_s: float,
    max_bytes: int,
) -> bytes:
    # redirects are not followed: they could take the request, with its key, anywhere; so could the
    # proxy that the environment names, for what is meant to stay on this machine
    is_proxied = not is_this_machine(url)
    async with (
        asyncio.timeout(timeout_s),
        httpx.AsyncClient(
            timeout=timeout_s, follow_redirects=False, trust_env=is_proxied
        ) as client,
        client.stream(method, url, headers=dict(headers), content=body) as response,
    ):
        if response.is_redirect:
            raise ExchangeFailed("redirect", "it redirects elsewhere", status=response.status_code)
        if response.status_code != httpx.codes.OK:
            told = f"it answers with status {response.status_code}"
            raise ExchangeFailed("status", told, status=response.status_code)
        chunks: list[bytes] = []
        n_bytes = 0
        async for chunk in response.aiter_bytes():
            n_bytes += len(chunk)
            if n_bytes > max_bytes:
                raise ExchangeFailed("too large", f"it answers with more than {max_bytes} bytes")
            chunks.append(chunk)
        return b"".join(chunks)


def exchange(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    timeout_s: float,
    max_bytes: int,
) -> bytes:
    """Send one request and read the body of the answer, which has status 200.

    Args:
        timeout_s: For everything: name, connection, every byte.
        max_bytes: Of the answer, unpacked.

    Raises:
        ExchangeFailed: in time, whatever the server does. Messages hold no part of the URL, of a
            header or of the answer.
    """
    outcome: list[Any] = []

    def run() -> None:
        try:
            work = _exchange(method, url, headers or {}, body, timeout_s, max_bytes)
            outcome.append(asyncio.run(work))
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, name="planner-http", daemon=True)
    thread.start()
    thread.join(timeout_s + GRACE_S)
    result = outcome[0] if outcome else TimeoutError()
    if isinstance(result, bytes):
        return result
    raise _typed(result, timeout_s) from None


def _typed(error: BaseException, timeout_s: float) -> BaseException:
    if isinstance(error, ExchangeFailed):
        return error
    if isinstance(error, TimeoutError | httpx.TimeoutException):
        return ExchangeFailed("timeout", f"no whole answer within {timeout_s:g} s")
    if isinstance(error, httpx.HTTPError | httpx.InvalidURL | OSError | ValueError):
        return ExchangeFailed("unreachable", f"it cannot be reached: {type(error).__name__}")
    return error
