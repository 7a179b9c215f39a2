"""``serve``: a sidecar in the foreground, until it is told to stop.

Belongs here: the command's options, signals, its log. Does not: the server (``sidecar``).
Exit codes: 0 stopped as asked, 1 it could not start, 2 wrong use.
"""

import argparse
import signal
import sys
import threading
from pathlib import Path
from types import FrameType

from planner_runtime.command_error import CommandError
from planner_runtime.deadline import DEFAULT_DEADLINE_MS
from planner_runtime.inputs import blank_planner_input
from planner_runtime.live import LivePlanner
from planner_runtime.metrics import Metrics
from planner_runtime.served_planner import ServedPlanner
from planner_runtime.sidecar.owned_socket import SocketError
from planner_runtime.sidecar.protocol import ServingLimits
from planner_runtime.sidecar.server import Sidecar


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is not above 0")
    return number


def _duration(text: str) -> float:
    number = float(text)
    if not 0 < number < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is no time above 0")
    return number


def add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``serve`` to a parser."""
    usual = ServingLimits()
    serve = commands.add_parser("serve", help="answer over a Unix socket, for one user")
    serve.add_argument(
        "--bundle", type=Path, required=True, metavar="DIR|FILE",
        help="a bundle, a link to one, or a channel's pointer; followed while serving",
    )  # fmt: skip
    serve.add_argument("--socket", type=Path, required=True, metavar="PATH")
    serve.add_argument(
        "--max-connections", type=_positive, default=usual.max_connections, metavar="N"
    )
    serve.add_argument(
        "--max-running", type=_positive, default=usual.max_running, metavar="N",
        help="decisions at a time",
    )  # fmt: skip
    serve.add_argument(
        "--idle-seconds", type=_duration, default=usual.idle_seconds, metavar="S",
        help="a connection that asks nothing for so long is closed",
    )  # fmt: skip
    serve.add_argument(
        "--grace-seconds", type=_duration, default=usual.grace_seconds, metavar="S",
        help="for running requests when stopped",
    )  # fmt: skip
    serve.add_argument(
        "--deadline-ms", type=_duration, default=DEFAULT_DEADLINE_MS, metavar="MS",
        help="of one decision; then the baseline answers",
    )  # fmt: skip
    serve.add_argument(
        "--public-key", type=Path, metavar="PEM|DIR", help="check signatures of bundles with it"
    )
    serve.add_argument(
        "--require-signature", action="store_true", help="refuse bundles without one"
    )
    serve.add_argument(
        "--require-bundle", action="store_true",
        help="do not start on the baseline when the bundle is refused",
    )  # fmt: skip
    serve.set_defaults(run=run_serve)


def _say(text: str) -> None:
    print(f"cyntra-planner serve: {text}", file=sys.stderr, flush=True)


def run_serve(arguments: argparse.Namespace) -> int:
    """Serve until SIGTERM or SIGINT; SIGHUP looks for another bundle at once."""
    limits = ServingLimits(
        max_connections=arguments.max_connections,
        max_running=arguments.max_running,
        idle_seconds=arguments.idle_seconds,
        grace_seconds=arguments.grace_seconds,
    )
    metrics = Metrics()
    served = LivePlanner(
        arguments.bundle,
        metrics=metrics,
        public_key=arguments.public_key,
        require_signature=arguments.require_signature,
        deadline_ms=arguments.deadline_ms,
        log=_say,
    )
    if arguments.require_bundle and served.planner.bundle is None:
        served.close()
        raise CommandError(served.planner.plan(blank_planner_input()).reason or "no bundle")
    try:
        sidecar = Sidecar(served, arguments.socket, metrics=metrics, limits=limits, log=_say)
    except SocketError as error:
        served.close()
        raise CommandError(str(error)) from error
    health = sidecar.health()
    _follow_signals(sidecar, served)
    what = health["bundle_id"] or f"the baseline ({health['reason']})"
    _say(f"listens on {sidecar.path}: {what}")
    abandoned = sidecar.serve()
    _say("stopped" if not abandoned else f"stopped, {abandoned} requests were still running")
    return 0


def _follow_signals(sidecar: Sidecar, served: ServedPlanner) -> None:
    def stop(_signal: int, _frame: FrameType | None) -> None:
        sidecar.stop()

    def look(_signal: int, _frame: FrameType | None) -> None:  # a load is too long for a handler
        threading.Thread(target=served.check_now, daemon=True).start()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGHUP, look)
