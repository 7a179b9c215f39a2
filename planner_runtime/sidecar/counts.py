"""What a sidecar counts beside its decisions: connections, requests, what went wrong.

Belongs here: the counts and their metric families. Does not: decisions (``metrics``).
"""

import threading
from typing import Final

from planner_runtime.metrics import PREFIX
from planner_runtime.prometheus_text import Family, Sample
from planner_runtime.sidecar.protocol import SIDECAR_ERRORS

REQUEST_KINDS: Final = ("plan", "decide", "explain", "health", "metrics", "http")


class SidecarCounts:
    """Counts of one server; every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests = dict.fromkeys(REQUEST_KINDS, 0)
        self._errors = dict.fromkeys(SIDECAR_ERRORS, 0)
        self._accepted = self._open = self._running = 0

    def observe_request(self, kind: str) -> None:
        """Count a request that could be read."""
        with self._lock:
            self._requests[kind] += 1

    def observe_error(self, reason: str) -> None:
        """Count an error that a caller got, or would have got."""
        with self._lock:
            self._errors[reason] += 1

    def observe_connection(self, change: int) -> None:
        """Count a connection that opened (1) or ended (-1)."""
        with self._lock:
            self._open += change
            self._accepted += max(change, 0)

    def observe_running(self, change: int) -> None:
        """Count a decision that began (1) or ended (-1)."""
        with self._lock:
            self._running += change

    @property
    def open_connections(self) -> int:
        """Connections being served."""
        with self._lock:
            return self._open

    def families(self) -> list[Family]:
        """All counts of one moment."""
        with self._lock:
            requests = tuple(Sample(n, (("kind", k),)) for k, n in self._requests.items())
            errors = tuple(Sample(n, (("reason", k),)) for k, n in self._errors.items())
            accepted, open_, running = self._accepted, self._open, self._running
        name = f"{PREFIX}_sidecar"
        one = {
            "connections_total": ("counter", "Connections served.", accepted),
            "open_connections": ("gauge", "Connections open now.", open_),
            "running_decisions": ("gauge", "Decisions running now.", running),
        }
        return [
            Family(f"{name}_requests_total", "counter", "Requests read, by kind.", requests),
            Family(f"{name}_errors_total", "counter", "Errors answered, by reason.", errors),
            *(
                Family(f"{name}_{key}", kind, told, (Sample(value),))  # type: ignore[arg-type]
                for key, (kind, told, value) in one.items()
            ),
        ]
