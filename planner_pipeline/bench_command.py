"""``cyntra-planner bench``: plan, run, judge, from the command line.

Belongs here: its arguments and the lines it prints. Does not: work.
"""

import argparse
import json
import math
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from planner_runtime.commands import CommandError

EXECUTORS: Final = ("local", "cyntra", "command", "replay")


def seconds(text: str) -> float:
    """A duration such as ``1s``, ``0.05s``, ``500ms``, ``1m``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        number = text.removesuffix(unit)
        if number != text:
            try:
                value = float(number) * factor
            except ValueError:
                break
            if 0 < value < float("inf"):
                return value
    raise argparse.ArgumentTypeError(f"{text} is no duration such as 1s, 500ms or 1m")


def whole(least: int) -> Callable[[str], int]:
    """A parser of whole numbers from ``least`` up."""

    def parse(text: str) -> int:
        if text.isdecimal() and int(text) >= least:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from {least} up")

    return parse


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def amount(text: str) -> float:
    """A finite number above 0.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    value = _number(text)
    if 0 < value < math.inf:
        return value
    raise argparse.ArgumentTypeError(f"{text} is not a number above 0")


def share(text: str) -> float:
    """A number from 0 to 1.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    value = _number(text)
    if 0 <= value <= 1:
        return value
    raise argparse.ArgumentTypeError(f"{text} is not a number from 0 to 1")


def add_bench_arguments(one: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    one.add_argument("--repo", type=Path, metavar="DIR", help="the workspace")
    one.add_argument("--out", type=Path, required=True, metavar="DIR")
    one.add_argument("--executor", choices=EXECUTORS, default="local", help="default: local")
    one.add_argument(
        "--config", type=Path, metavar="FILE", help="default: REPO/.cyntra/bench.yaml where it is"
    )
    one.add_argument("--k", type=whole(1), metavar="N", help="candidates a case")
    one.add_argument("--repeats", type=whole(1), metavar="N", help="seeds a candidate")
    one.add_argument("--seed", type=whole(0), metavar="S", help="of the campaign")
    one.add_argument("--jobs", type=whole(1), metavar="N", help="units at a time")
    one.add_argument(
        "--select", choices=("coverage", "uncertainty", "value"),
        help="how further candidates are chosen",
    )  # fmt: skip
    one.add_argument(
        "--anchors", type=share, metavar="SHARE", help="of cases that try every valid action"
    )
    one.add_argument(
        "--minute", type=seconds, metavar="TIME", help="of the clock for a minute of a budget"
    )
    one.add_argument(
        "--issues", type=lambda text: tuple(text.split(",")), metavar="ID,ID",
        help="default: every open one",
    )  # fmt: skip
    one.add_argument(
        "--trials", type=Path, nargs="+", default=[], metavar="FILE",
        help="of replay (default: REPO/trials.parquet), or of --learning-curve",
    )  # fmt: skip
    one.add_argument("--command", type=shlex.split, default=[], metavar="TEXT", help="of command")
    one.add_argument(
        "--bundle", type=Path, metavar="DIR",
        help="whose choices are tried as well (default: OUT/bundle where it is)",
    )  # fmt: skip
    one.add_argument("--max-attempts", type=whole(1), metavar="N", help="most attempts in all")
    for cap, what in (
        ("minutes", "agent-minutes"), ("usd", "dollars"), ("wall", "seconds of the clock"),
    ):  # fmt: skip
        one.add_argument(f"--max-{cap}", type=amount, metavar="N", help=f"most {what} in all")
    one.add_argument(
        "--fresh", action="store_true", help="ask again: today's history, today's commit"
    )
    one.add_argument(
        "--retry-infra", action="store_true", help="run units again whose harness failed"
    )
    one.add_argument(
        "--import-report", type=Path, metavar="DIR",
        help="judge a report of the kernel's own bench, and stop",
    )  # fmt: skip
    one.add_argument(
        "--learning-curve", action="store_true",
        help="whether more cases would pay, by what is recorded in OUT or by --trials, and stop",
    )  # fmt: skip
    one.add_argument(
        "--decisions", type=whole(1), default=1_000, metavar="N",
        help="of --learning-curve: future ones that share what is learned (default: 1000)",
    )  # fmt: skip
    one.add_argument(
        "--orders", type=whole(1), default=8, metavar="N",
        help="of --learning-curve: orders of the issues it is measured in (default: 8)",
    )  # fmt: skip
    one.add_argument("--plan", action="store_true", help="what it would run and cost, and stop")


def run_bench(arguments: argparse.Namespace) -> int:
    """``bench``: candidates that really run, and which of them was best; with --learning-curve,
    whether more cases would pay.
    """
    if arguments.learning_curve:
        return _run_curve(arguments)
    from planner_pipeline.definitions import HISTORY
    from planner_pipeline.defs.bench_resource import BenchSettings
    from planner_pipeline.defs.resources import Settings
    from planner_pipeline.materialize import judge_bench, materialize

    repo, out = arguments.repo, arguments.out
    if repo is None:
        raise CommandError("--repo is needed, but for --learning-curve")
    if not repo.is_dir():
        raise CommandError(f"{repo}: no such directory")
    if out.resolve() == repo.resolve():
        raise CommandError("--out must not be the workspace itself")
    named = (
        "executor", "k", "repeats", "seed", "jobs", "select", "anchors", "max_attempts",
        "max_minutes", "max_usd", "max_wall",
    )  # fmt: skip
    bench = BenchSettings(
        **{name: getattr(arguments, name) for name in named},
        command=arguments.command,
        config=_text(arguments.config),
        bundle=_text(arguments.bundle),
        trials=[str(path) for path in arguments.trials],
        minute_seconds=arguments.minute,
    )
    settings = Settings(repo=str(repo), out=str(out))
    bench.request(settings, arguments.issues)  # what cannot be used is said before anything is done
    if arguments.executor != "replay":
        materialize(repo, out, dataset_only=True, job=HISTORY)
    session = bench.session(settings, arguments.issues, fresh=arguments.fresh)
    if arguments.import_report is not None:
        return _import(session, arguments.import_report)
    if arguments.retry_infra:
        _say(f"{session.forget_infra_errors()} units whose harness failed will run again")
    if not session.cases:
        raise CommandError(f"nothing to bench: {why_nothing(session)}")
    _say_plan(session)
    if arguments.plan:
        print(json.dumps(plan_document(session), sort_keys=True), flush=True)
        return 0
    try:
        with _interruptible():
            end = session.run(_teller(session))
    except KeyboardInterrupt:
        _say("what is finished is kept; the same command goes on from there")
        raise
    judge_bench(repo, out, bench, session.selections)
    _say((session.bench / "report.md").read_text(encoding="utf-8"))
    print(json.dumps(run_document(session, end), sort_keys=True), flush=True)
    return 0


@contextmanager
def _interruptible() -> Iterator[None]:
    """Both ways to ask for an end are heard, also where whoever started this had them ignored."""
    before = {
        number: signal.signal(number, signal.default_int_handler)
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _import(session: Any, folder: Path) -> int:
    """Judge a report of the kernel's own bench."""
    from planner_pipeline.bench.imported import import_report

    if not folder.is_dir():
        raise CommandError(f"{folder}: no such directory")
    done = import_report(
        folder,
        session.bench,
        config=session.config,
        objective=session.objective,
        space=session.space,
    )
    for row in done.report.quarantined[:5]:
        _say(f"  quarantined {row.file}: {row.detail}")
    print(
        json.dumps(
            {
                "bench": str(session.bench),
                "cases": len(done.report.cases),
                "outcomes": len(done.report.outcomes),
                "labels": int(done.labels["is_label"].sum()),
                "skipped": len(done.report.skipped),
                "quarantined": len(done.report.quarantined),
            },
            sort_keys=True,
        ),
        flush=True,
    )
    return 0


def _run_curve(arguments: argparse.Namespace) -> int:
    """Write the curve and its page, print both."""
    import msgspec

    from planner_pipeline.bench.session import OUTCOMES_FILE
    from planner_pipeline.experiments.curve_learners import curve_of
    from planner_pipeline.experiments.learning_curve import CurveConfig

    out, trials = arguments.out, arguments.trials
    recorded = out / "bench" / OUTCOMES_FILE
    if not trials and not recorded.is_file():
        raise CommandError(f"{recorded}: nothing was benched there; or name --trials")
    config = CurveConfig(
        seeds=arguments.orders, decisions=arguments.decisions, seed=arguments.seed or 0
    )
    curve, page = curve_of(out, trials, config, progress=_progress)
    _say(page.read_text(encoding="utf-8"))
    told = msgspec.to_builtins(
        {
            name: getattr(curve, name)
            for name in ("n_cases", "n_issues", "is_known", "rise", "law", "more", "best_more")
        }
    )
    print(json.dumps({"page": str(page), **told}, sort_keys=True), flush=True)
    return 0


def _progress(done: int, of: int) -> None:
    if sys.stderr.isatty() and done % 6 == 0:
        _say(f"  fits: {done} of {of}")


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def why_nothing(session: Any) -> str:
    """Why a session has no case: every reason once, with the first issue it is given for."""
    if not session.refused:
        return "no issue is open"
    firsts: dict[str, list[str]] = {}
    for one in session.refused:
        firsts.setdefault(one.reason, []).append(one.issue_id)
    return "; ".join(
        f"{reason} ({ids[0]}{f' and {len(ids) - 1} more' if ids[1:] else ''})"
        for reason, ids in firsts.items()
    )


def plan_document(session: Any) -> dict[str, Any]:
    """What would run, and what it may take at worst."""
    import msgspec

    n_waiting, worst, totals = session.plan()
    return {
        "executor": session.executor.name,
        "cases": len(session.cases),
        "refused": {one.issue_id: one.reason for one in session.refused},
        "units": len(session.units),
        "to_run": n_waiting,
        "worst_case": msgspec.to_builtins(worst),
        "spent": msgspec.to_builtins(totals),
        "caps": msgspec.to_builtins(session.config.caps),
        "minute_seconds": session.config.minute_seconds,
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_plan(session: Any) -> None:
    from planner_pipeline.bench.protocol import words_of

    for one in session.selections:
        words = ", ".join(
            f"{words_of(action)} ({reason.replace('_', ' ')})"
            for action, reason in zip(one.actions, one.reasons, strict=True)
        )
        _say(f"  {one.case_id}: {words}")
    for refused in session.refused[:20]:
        _say(f"  not benched: {refused.issue_id}: {refused.reason}")
    n_waiting, worst, totals = session.plan()
    usd = "unknown" if worst.cost_usd is None else f"${worst.cost_usd:.2f}"
    _say(
        f"{n_waiting} of {len(session.units)} units to run; at worst {worst.attempts} attempts, "
        f"{worst.agent_minutes:,.0f} agent-minutes, {usd}, {worst.wall_seconds:,.0f} s one by one "
        f"(a minute is {session.config.minute_seconds:g} s)"
    )
    for cap in ("attempts", "agent_minutes", "cost_usd", "wall_seconds"):
        most, spent = getattr(session.config.caps, cap), getattr(totals, cap)
        if most is not None:
            _say(f"  cap on {cap.replace('_', ' ')}: {most:g}, spent or reserved {spent:g}")
            if n_waiting and getattr(worst, cap) is None:
                _say("  nothing can start under it: no price is known, set usd_per_minute")
            if spent + (getattr(worst, cap) or 0) > most:
                _say("  the campaign may end at this cap, with what is finished by then")


def _teller(session: Any) -> Callable[[Any, Any], None]:
    """Prints a line for every unit that really ran."""
    from planner_pipeline.bench.session import told_of

    lock, n_done = threading.Lock(), [0]

    def tell(unit: Any, outcomes: Any) -> None:
        if outcomes[-1].replayed is not None:
            return
        with lock:
            n_done[0] += 1
            _say(f"  {n_done[0]:>4} {told_of(unit, outcomes)}")

    return tell


def run_document(session: Any, end: Any) -> dict[str, Any]:
    """How a campaign ended and what the bench says by now."""
    report = json.loads((session.bench / "report.json").read_bytes())
    figures: dict[str, dict[str, Any]] = {}
    for row in report["figures"]:
        told = {name: row[name] for name in ("value", "low", "high", "n")}
        figures.setdefault(row["policy"], {})[row["figure"]] = told
    return {
        "bench": str(session.bench),
        "report": str(session.bench / "report.md"),
        "ended": end.ending,
        "reason": end.reason,
        "units": end.n_units,
        "ran": end.n_run,
        "kept": end.n_kept,
        "refused": {one.issue_id: one.reason for one in session.refused},
        "seconds": end.wall_seconds,
        "infra_errors": report["n_infra_errors"],
        "cases": report["n_cases"],
        "labels": report["n_labels"],
        "made_with": report["made_with"],
        "figures": figures,
    }
