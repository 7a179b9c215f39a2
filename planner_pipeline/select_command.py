"""``cyntra-planner select``: bring your own actions, from the command line.

Belongs here: its arguments, its files, the lines it prints. Does not: work (``selection``).
"""

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner_pipeline.bench_command import whole
from planner_runtime.commands import CommandError

if TYPE_CHECKING:
    from planner_pipeline.selection.report import SelectReport
    from planner_runtime.objective import Objective


def add_select_arguments(one: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    for name, what in (
        ("features", "case_id and its features"),
        ("outcomes", "case_id, action, what came of it"),
        ("folds", "case_id, fold[, repetition] (default: ten)"),
        ("objective", "JSON or YAML (default: by what the outcomes tell)"),
    ):
        one.add_argument(
            f"--{name}", type=Path, metavar="FILE", help=what,
            required=name in ("features", "outcomes"),
        )  # fmt: skip
    one.add_argument("--out", type=Path, required=True, metavar="DIR")
    one.add_argument("--seed", type=whole(0), default=0, metavar="S", help="default: 0")
    one.add_argument(
        "--jobs", type=whole(1), metavar="N", help="folds at a time (default: the cores)"
    )


def add_select_command(commands: Any) -> None:
    """Add ``select`` to a parser."""
    one = commands.add_parser(
        "select", help="bring your own actions: which one each case should get",
        description=run_select.__doc__,
    )  # fmt: skip
    one.set_defaults(run=run_select)
    add_select_arguments(one)


def _read_objective(path: Path) -> "Objective":
    import yaml

    from planner_runtime.objective import read_objective

    try:
        data = path.read_bytes()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    if path.suffix.lower() not in (".yaml", ".yml"):
        return read_objective(data)
    try:
        mapping = yaml.safe_load(data)
    except (yaml.YAMLError, UnicodeError) as error:
        raise CommandError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(mapping, dict):
        raise CommandError(f"{path}: an objective is a mapping")
    return read_objective(mapping)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty() or done == of:
        _say(f"  folds: {done} of {of}")


def run_select(arguments: argparse.Namespace) -> int:
    """``select``: cross-validate a choice between your own actions, and say what it is worth."""
    import msgspec

    from planner_pipeline.artifacts import write_bytes, write_parquet
    from planner_pipeline.selection.run import select_actions
    from planner_pipeline.selection.tables_in import read_table

    started = time.monotonic()
    objective = None if arguments.objective is None else _read_objective(arguments.objective)
    folds = None if arguments.folds is None else read_table(arguments.folds, "folds")
    decisions, report = select_actions(
        read_table(arguments.features, "features"),
        read_table(arguments.outcomes, "outcomes"),
        folds,
        objective,
        seed=arguments.seed,
        jobs=arguments.jobs or len(os.sched_getaffinity(0)),
        on_progress=_progress,
    )
    seconds = round(time.monotonic() - started, 1)
    report = msgspec.structs.replace(report, seconds=seconds)
    document = msgspec.json.format(msgspec.json.encode(report), indent=2)
    write_parquet(decisions, arguments.out / "decisions.parquet")
    write_bytes(document + b"\n", arguments.out / "select.json")
    for line in summary_lines(report):
        _say(f"  {line}")
    print(msgspec.json.encode(_summary(arguments.out, report)).decode(), flush=True)
    return 0


def _summary(out: Path, report: "SelectReport") -> dict[str, Any]:
    found = report.policy_against_best_single
    return {
        "report": str(out / "select.json"),
        "decisions": str(out / "decisions.parquet"),
        "objective": report.objective.name,
        "cases": report.counts.cases,
        "actions": report.counts.actions,
        "gap_closed": None if found.gap_closed is None else found.gap_closed.value,
        "abstain_share": report.abstain_share,
        "left_out": sum(one.n for one in report.left_out),
        "seconds": report.seconds,
    }


def summary_lines(report: "SelectReport") -> list[str]:
    """What a person reads."""
    lines = []
    for name, chooser in (
        ("policy", report.policy),
        ("best single", report.best_single),
        ("oracle", report.oracle),
    ):
        parts = [
            f"{words} {one.value:.4g} ({one.low:.4g} to {one.high:.4g})"
            for words, one in (
                ("value", chooser.value),
                ("pass rate", chooser.pass_rate),
                ("USD a pass", chooser.cost_usd_per_pass),
                ("penalised ms", chooser.penalised_mean_ms),
            )
            if one is not None
        ]
        lines.append(f"{name:<12} {', '.join(parts)}")
    gap = report.policy_against_best_single.gap_closed
    if gap is not None:
        lines.append(f"gap closed   {gap.value:.3f} ({gap.low:.3f} to {gap.high:.3f}), n {gap.n}")
    lines += [f"left out: {one.n} x {one.what}: {one.reason}" for one in report.left_out]
    return lines
