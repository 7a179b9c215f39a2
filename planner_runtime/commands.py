"""The serving commands, shared by ``python -m planner_runtime`` and ``cyntra-planner``.

Belongs here: ``plan``, ``verify`` and ``explain``, with no dependency beyond the runtime's own.
Does not: ``serve`` (``sidecar.command``), anything that trains. Exit codes: 0 done, 1 the work
failed, 2 wrong use.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import msgspec

from planner_runtime.bundle import BundleError
from planner_runtime.command_error import CommandError
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import ContractError, decode_json, read_document
from planner_runtime.explaining.explanation import (
    Explanation,
    Record,
    explain_question,
    explain_record,
)
from planner_runtime.explaining.text import explanation_text
from planner_runtime.objective import Objective, read_objective
from planner_runtime.planner import Planner, load_bundle
from planner_runtime.sidecar.command import add_serve

__all__ = ["CommandError", "add_commands", "run_explain", "run_plan", "run_verify"]


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add ``plan``, ``verify``, ``explain`` and ``serve`` to a parser."""
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
    explain = commands.add_parser("explain", help="why a bundle decides so, or why it was so")
    source = explain.add_mutually_exclusive_group(required=True)
    source.add_argument("--bundle", type=Path, metavar="DIR", help="with --input")
    source.add_argument(
        "--trace",
        metavar="FILE|-",
        help='a recorded decision: a run\'s manifest.json, or its "planner" object alone',
    )
    explain.add_argument("--input", metavar="FILE|-", help="planner_input.v1 JSON")
    explain.add_argument("--json", action="store_true", help="print JSON instead of tables")
    explain.set_defaults(run=run_explain)
    add_serve(commands)


def _objective(path: Path | None) -> Objective | None:
    if path is None:
        return None
    try:
        return read_objective(path.read_bytes())
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    except ContractError as error:
        raise CommandError(f"{path}: {error}") from error


def _read(source: str) -> bytes:
    """A file's bytes, or those of the standard input where its name is ``-``."""
    try:
        return sys.stdin.buffer.read() if source == "-" else Path(source).read_bytes()
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}") from error


def run_plan(arguments: argparse.Namespace) -> int:
    """Print a ``planner_action.v1``; a bad bundle gives the baseline, a bad input is refused."""
    text = _read(arguments.input)
    try:
        read_document(text, PlannerInput)
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
    """Print one line for everything wrong with a bundle, or what is right; 0 when nothing is."""
    try:
        bundle, _ = load_bundle(arguments.dir)
    except BundleError as error:
        for fault in error.faults:
            print(f"FAULT {fault}")
        return 1
    print(f"ok {arguments.dir}")
    manifest = bundle.manifest
    print(f"bundle {manifest.bundle_id}: {manifest.model.arch}, decoding {manifest.model.decoding}")
    print(f"golden {manifest.n_golden} of {manifest.n_golden} answered as shipped")
    print(f"dataset {manifest.dataset_hash}")
    print(f"data until {manifest.data_until}")
    return 0


def run_explain(arguments: argparse.Namespace) -> int:
    """Print why a bundle decides as it does, or why a recorded decision came out as it did."""
    try:
        told = _record_told(arguments) if arguments.trace else _question_told(arguments)
    except (ContractError, ValueError) as error:
        raise CommandError(str(error)) from error
    if arguments.json:
        print(msgspec.json.encode(told).decode())
    else:
        print(explanation_text(told), end="")
    return 0


def _question_told(arguments: argparse.Namespace) -> Explanation:
    if arguments.input is None:
        raise CommandError("--bundle needs --input")
    question = _read(arguments.input)
    try:
        bundle, model = load_bundle(arguments.bundle)
    except BundleError as error:
        raise CommandError(f"{arguments.bundle}: {error}") from error
    return explain_question(question, bundle, model)


def _record_told(arguments: argparse.Namespace) -> Explanation:
    if arguments.input is not None:
        raise CommandError("--trace brings its own input")
    manifest: Any = decode_json(_read(arguments.trace), Record)
    if isinstance(manifest, dict) and isinstance(manifest.get("planner"), dict):
        manifest = manifest["planner"]
    try:
        record = msgspec.convert(manifest, Record)
    except msgspec.ValidationError as error:
        raise CommandError(f"{arguments.trace}: no recorded decision: {error}") from error
    return explain_record(record)
