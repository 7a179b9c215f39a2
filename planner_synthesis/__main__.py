"""`python -m planner_synthesis`: planners, snapshots, checks and runs from the command line.

Belongs here: the arguments. Does not: what commands do (``commands``, ``snapshot_commands``).
Source: issue 8, "CLI". Data goes to the standard output as JSON, everything else to the error
output, one line each. Exit codes: 0 done; 1 the answer is no; 2 something given cannot be used.
"""

import argparse
import io
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from planner_synthesis import commands, snapshot_commands
from planner_synthesis.command_inputs import add_security


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        """End with exit code 2."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def build_parser() -> argparse.ArgumentParser:
    """Every command and option."""
    parser = _Parser(
        prog="python -m planner_synthesis",
        description="From an interaction to a checked RTFS planner.",
    )
    every = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_generate(every)
    _add_check_and_run(every)
    _add_snapshot(every)
    one = _command(every, "feedback", "record how a capability or agent did", commands.feedback)
    one.add_argument("id", metavar="ID")
    one.add_argument("outcome", choices=("success", "failure"))
    one.add_argument("--agents", type=Path, required=True, metavar="DIR")
    one = _command(every, "demo", "ask the demo's two questions and write the turns", commands.demo)
    one.add_argument("--out", type=Path, metavar="FILE", help="where the turns go")
    one.add_argument(
        "--answer",
        action="append",
        default=[],
        metavar="TEXT",
        help="an answer, in order; with CCOS_INTERACTIVE_ASK=1 they are read from the input",
    )
    return parser


def _command(every: Any, name: str, what: str, action: Callable[..., int]) -> Any:
    parser = every.add_parser(name, help=what, description=what)
    parser.set_defaults(action=action)
    return parser


def _add_registry(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--registry",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="a snapshot; may be given again",
    )


def _add_generate(every: Any) -> None:
    one = _command(every, "generate", "write a planner for a history", commands.generate)
    one.add_argument("--history", type=Path, required=True, metavar="FILE", help="turns, JSON")
    _add_registry(one)
    add_security(one)
    one.add_argument("--explain", action="store_true", help="a page for people instead of JSON")
    one.add_argument("--out", type=Path, metavar="FILE", help="where the RTFS text goes")
    one.add_argument("--events", type=Path, metavar="FILE", help="planner_generation, JSON lines")
    one.add_argument("--agents", type=Path, metavar="DIR", help="registered agents and feedback")
    one.add_argument("--arbiter", metavar="URL", help="OpenAI-compatible endpoint to ask")
    one.add_argument(
        "--arbiter-first", action="store_true", help="ask it before all else, not last"
    )
    one.add_argument("--model", metavar="M", help="the arbiter's model")
    one.add_argument("--arbiter-key-env", metavar="VAR", help="variable that holds its key")
    one.add_argument("--arbiter-timeout-s", type=float, default=60.0, metavar="S")


def _add_check_and_run(every: Any) -> None:
    one = _command(every, "check", "say whether a planner may run", commands.check)
    one.add_argument("file", type=Path, metavar="FILE.rtfs")
    one.add_argument("--agents", type=Path, metavar="DIR", help="registered agents may be called")
    _add_registry(one)
    add_security(one)
    one = _command(every, "run", "run a planner", commands.run)
    one.add_argument("file", type=Path, metavar="FILE.rtfs")
    context = one.add_mutually_exclusive_group(required=True)
    context.add_argument("--context", type=Path, metavar="FILE", help="JSON object")
    context.add_argument(
        "--history", type=Path, metavar="FILE", help="turns: the context is what was answered"
    )
    one.add_argument("--stub", action="store_true", help="call stubs, nothing real")
    one.add_argument("--mcp", action="append", default=[], metavar="NAME=COMMAND")
    one.add_argument("--mcp-http", action="append", default=[], metavar="NAME=URL")
    one.add_argument("--env", action="append", default=[], metavar="NAME:VAR")
    one.add_argument("--header-env", action="append", default=[], metavar="NAME:HEADER=VAR")
    one.add_argument("--timeout-s", type=float, default=30.0, metavar="S")
    one.add_argument("--agents", type=Path, metavar="DIR", help="registered agents may be called")
    _add_registry(one)
    add_security(one)


def _add_snapshot(every: Any) -> None:
    group = every.add_parser("snapshot", help="make a registry snapshot")
    kinds = group.add_subparsers(required=True, metavar="KIND")
    one = _command(kinds, "mcp", "tools of an MCP server", snapshot_commands.snapshot_mcp)
    one.add_argument("--stdio", metavar="COMMAND")
    one.add_argument("--http", metavar="URL")
    one.add_argument("--name", metavar="NAME", help="of the server, in ids: mcp.NAME.tool")
    one.add_argument(
        "--env",
        action="append",
        default=[],
        metavar="VAR",
        help="variable that the server is given",
    )
    one.add_argument("--header-env", action="append", default=[], metavar="HEADER=VAR")
    one.add_argument("--trust-hints", action="store_true", help="believe readOnlyHint and such")
    _add_output(one, tier="T0")
    one = _command(kinds, "a2a", "A2A agent cards", snapshot_commands.snapshot_a2a)
    one.add_argument("location", nargs="+", metavar="FILE|URL")
    _add_output(one, tier="T0")
    one = _command(kinds, "ccos", "a CCOS export", snapshot_commands.snapshot_ccos)
    one.add_argument("file", nargs="+", type=Path, metavar="FILE")
    _add_output(one, tier="T1")
    one = _command(kinds, "merge", "several snapshots as one", snapshot_commands.snapshot_merge)
    one.add_argument("file", nargs="+", type=Path, metavar="FILE")
    _add_output(one, tier="")


def _add_output(parser: argparse.ArgumentParser, *, tier: str) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="else the standard output")
    if tier:
        parser.add_argument(
            "--trust", default=tier, choices=("T0", "T1", "T2"), help=f"trust tier, else {tier}"
        )
        parser.add_argument("--timeout-s", type=float, default=30.0, metavar="S")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    # the SDK logs what servers send, which may be anything; rows say what went wrong
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    args = build_parser().parse_args(argv)
    return commands.guarded(args.action, args)


if __name__ == "__main__":
    sys.exit(main())
