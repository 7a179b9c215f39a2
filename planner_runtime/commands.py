"""The serving commands, shared by ``python -m planner_runtime`` and ``cyntra-planner``.

Belongs here: ``plan`` and ``verify``, with no dependency beyond the runtime's own.
Does not: anything that trains. Exit codes: 0 done, 1 the work failed, 2 wrong use.
"""

import argparse
import sys
from pathlib import Path

import msgspec

from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import ContractError, read_document
from planner_runtime.objective import Objective, read_objective
from planner_runtime.planner import Planner, verify_bundle


class CommandError(Exception):
    """A command could not do its work; the text is the one line a person reads."""


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``plan`` and ``verify`` to a parser."""
    plan = commands.add_parser("plan", help="answer one planner input from a bundle")
    plan.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    plan.add_argument("--input", required=True, metavar="FILE|-", help="planner_input.v1 JSON")
    plan.add_argument(
        "--objective",
        type=Path,
        metavar="FILE",
        help="planner_objective.v1 JSON in the place of an outcome bundle's own",
    )
    plan.add_argument("--trace", action="store_true", help="print the policy trace as well")
    plan.set_defaults(run=run_plan)
    verify = commands.add_parser("verify", help="check every file of a bundle")
    verify.add_argument("dir", type=Path, metavar="DIR")
    verify.set_defaults(run=run_verify)


def _objective(path: Path | None) -> Objective | None:
    if path is None:
        return None
    try:
        return read_objective(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except ContractError as error:
        raise CommandError(f"{path}: {error}") from error


def run_plan(arguments: argparse.Namespace) -> int:
    """Print a ``planner_action.v1``; a bad bundle gives the baseline, a bad input is refused."""
    try:
        if arguments.input == "-":
            text = sys.stdin.buffer.read()
        else:
            text = Path(arguments.input).read_bytes()
        read_document(text, PlannerInput)
    except OSError as error:
        raise CommandError(f"{arguments.input}: {error.strerror}") from error
    except ContractError as error:
        raise CommandError(str(error)) from error
    objective = _objective(arguments.objective)
    planner = Planner.open(arguments.bundle, objective=objective)
    if objective is not None and planner.bundle is not None and planner.bundle.outcome is None:
        raise CommandError(f"--objective: the bundle in {arguments.bundle} imitates and has none")
    decision = planner.decide(text)
    print(msgspec.json.encode(decision.action).decode())
    if arguments.trace:
        print(msgspec.json.encode(decision.trace).decode())
    return 0


def run_verify(arguments: argparse.Namespace) -> int:
    """Print one line for everything wrong with a bundle; 0 when nothing is."""
    faults = verify_bundle(arguments.dir)
    for fault in faults:
        print(f"FAULT {fault}")
    if not faults:
        print(f"ok {arguments.dir}")
    return 1 if faults else 0
