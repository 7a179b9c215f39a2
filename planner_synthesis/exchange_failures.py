"""Why an HTTP exchange gave nothing.

Belongs here: the error and its reasons, which are there without the HTTP library.
Does not: exchanges (``http_exchange``).
Source: docs/registries.md, "Arbiter".
"""

from typing import Literal

ExchangeReason = Literal["timeout", "unreachable", "too large", "redirect", "status"]


class ExchangeFailed(Exception):
    """No answer that can be used; ``status`` is that of HTTP, where there was one."""

    def __init__(self, reason: ExchangeReason, message: str, *, status: int | None = None) -> None:
        super().__init__(message)
        self.reason, self.status = reason, status
