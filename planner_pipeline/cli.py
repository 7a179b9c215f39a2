"""``cyntra-planner``: every command a person or another tool types.

Belongs here: arguments, exit codes, the lines printed. Does not: work. Heavy packages are imported
by the command that needs them, so that ``plan`` and ``verify`` run on the base distribution alone.
Exit codes: 0 done, 1 the work failed (one line why), 2 wrong use.
"""

import argparse
import json
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from planner_pipeline.bench_command import add_bench_arguments, run_bench
from planner_pipeline.select_command import add_select_command
from planner_runtime.commands import CommandError, add_commands

DEMO_DIR = Path(".planner/demo")
ARCHITECTURES = ("prior", "logreg", "mlp", "gbt", "transformer", "recurrent")
DECODINGS = ("heads", "joint", "autoregressive")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _positive(text: str) -> int:
    value = _count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return value


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 up")
    return int(text)


def _percent(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage")
    return value


def _print_json(document: dict[str, Any]) -> None:
    print(json.dumps(document, sort_keys=True), flush=True)


def run_sample(arguments: argparse.Namespace) -> int:
    """``sample``: a simulated workspace."""
    import msgspec

    from planner_pipeline.sample.workspace import write_workspace

    counts = write_workspace(arguments.out, n_runs=arguments.runs, seed=arguments.seed)
    _print_json({"out": str(arguments.out), "simulated": True} | msgspec.to_builtins(counts))
    return 0


def run_import_trials(arguments: argparse.Namespace) -> int:
    """``import-trials``: somebody else's attempts as a workspace."""
    from planner_pipeline.sources.trials import read_trials
    from planner_pipeline.trial_workspace import write_trial_workspace

    read = read_trials(arguments.files)
    for row in read.quarantined[:5]:
        _say(f"  quarantined {row.file}:{row.line}: {row.detail}")
    write_trial_workspace(arguments.out, read)
    _print_json(
        {
            "out": str(arguments.out),
            "trials": read.count.accepted,
            "issues": len({trial.issue_id for trial in read.trials}),
            "systems": len({trial.system for trial in read.trials}),
            "quarantined": read.count.quarantined,
        }
    )
    return 0


def _need_workspace(repo: Path, out: Path) -> None:
    if not repo.is_dir():
        raise CommandError(f"{repo}: no such directory")
    if out.resolve() == repo.resolve():
        raise CommandError("--out must not be the workspace itself")


def _dataset_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    return {
        "n_similar": arguments.n_similar,
        "window": arguments.window,
        "epoch": arguments.epoch,
        "min_examples": arguments.min_examples,
        "max_quarantined": arguments.max_quarantined / 100,
    }


def _say_made(n_made: int) -> None:
    _say("nothing new: everything was up to date" if n_made == 0 else f"made {n_made} assets")


def run_build(arguments: argparse.Namespace) -> int:
    """``build``: the data set alone."""
    from planner_pipeline.materialize import dataset_summary, materialize, materialize_by_month

    _need_workspace(arguments.repo, arguments.out)
    settings = _dataset_settings(arguments)
    if arguments.by_month:
        months = materialize_by_month(arguments.repo, arguments.out, **settings)
        _say(f"made {len(months)} months one by one")
    else:
        _say_made(materialize(arguments.repo, arguments.out, dataset_only=True, **settings))
    _print_json(dataset_summary(arguments.out))
    return 0


def run_run(arguments: argparse.Namespace) -> int:
    """``run``: data set, model, bundle and report."""
    from planner_pipeline.materialize import materialize, summary

    _need_workspace(arguments.repo, arguments.out)
    started = time.monotonic()
    _say(f"materializing {arguments.repo} into {arguments.out}")
    settings = _dataset_settings(arguments)
    settings |= _training_settings(arguments)
    _say_made(materialize(arguments.repo, arguments.out, **settings))
    _print_json(summary(arguments.out) | {"seconds": round(time.monotonic() - started, 1)})
    return 0


def _training_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    named = ("arch", "decoding", "seed", "epochs", "int8")
    winners = None if arguments.winners is None else str(arguments.winners)
    return {name: getattr(arguments, name) for name in named} | {"winners": winners}


def run_train(arguments: argparse.Namespace) -> int:
    """``train``: the data set and one model on it."""
    from planner_pipeline.definitions import TRAINED
    from planner_pipeline.materialize import dataset_summary, materialize

    _need_workspace(arguments.repo, arguments.out)
    settings = _dataset_settings(arguments) | _training_settings(arguments)
    _say_made(materialize(arguments.repo, arguments.out, job=TRAINED, **settings))
    assets = arguments.out / "assets"
    record = json.loads((assets / "training_record.json").read_bytes())
    del record["epochs"]
    told = {"checkpoint": str(assets / "model_checkpoint.bin"), **record}
    _print_json(dataset_summary(arguments.out) | told)
    return 0


def run_evaluate(arguments: argparse.Namespace) -> int:
    """``evaluate``: what the last trained model's predictions are worth; with --trials, what
    learned policies are worth on replayed attempts.
    """
    if arguments.trials is not None:
        return _evaluate_trials(arguments)
    from planner_pipeline.definitions import EVALUATED
    from planner_pipeline.materialize import evaluation_summary, last_training, materialize

    if arguments.repo is None:
        raise CommandError("--repo is needed, or --trials")
    _need_workspace(arguments.repo, arguments.out)
    settings = _dataset_settings(arguments) | last_training(arguments.out)
    _say_made(materialize(arguments.repo, arguments.out, job=EVALUATED, **settings))
    told = evaluation_summary(arguments.out)
    for name, figures in told["predictors"].items():
        match, gap = figures["exact_match"], figures["minus_heuristic"]
        if match is not None:
            line = f"  {name:<10} exact match {match['value']:.3f}"
            line += f" ({match['low']:.3f} to {match['high']:.3f})"
            if gap is not None:
                line += f", minus the heuristic {gap['value']:+.3f}"
                line += f" ({gap['low']:+.3f} to {gap['high']:+.3f})"
            _say(line)
    _print_json(told)
    return 0


def _evaluate_trials(arguments: argparse.Namespace) -> int:
    from planner_pipeline.experiments.trial_policies import run_trial_study

    report = run_trial_study(
        arguments.trials,
        arguments.tasks,
        arguments.out,
        quick=arguments.quick,
        on_progress=lambda done, of: _progress("fits", done, of),
    )
    _say((arguments.out / "trials" / "report.md").read_text(encoding="utf-8"))
    _print_json(
        {
            "report": str(arguments.out / "trials" / "report.md"),
            "cases": report.n_cases,
            "tasks": report.n_tasks,
            "systems": report.n_systems,
            "quarantined": report.read.quarantined,
            "may_ship_recurrent": report.shipping.may_ship,
        }
    )
    return 0


def _progress(what: str, done: int, of: int) -> None:
    if sys.stderr.isatty() or done == of:
        _say(f"  {what}: {done} of {of}")


def run_ablate(arguments: argparse.Namespace) -> int:
    """``ablate``: the declared grid, its table, and a report that shows it."""
    from planner_pipeline.definitions import ABLATED, EVERYTHING
    from planner_pipeline.experiments.ablation_table import as_markdown, read_table
    from planner_pipeline.materialize import materialize

    _need_workspace(arguments.repo, arguments.out)
    settings = _dataset_settings(arguments)
    started = time.monotonic()
    materialize(
        arguments.repo, arguments.out, job=ABLATED, always=["ablations"],
        ablation_quick=arguments.quick, **settings,
    )  # fmt: skip
    table = read_table(arguments.out)
    assert table is not None
    page = arguments.out / "ablation" / "results.md"
    page.write_text(as_markdown(table), encoding="utf-8")
    materialize(arguments.repo, arguments.out, job=EVERYTHING, always=["report"], **settings)
    for verdict in table.verdicts:
        _say(f"  {verdict}")
    _say(f"  may the recurrent model ship? {table.shipping.words}")
    _print_json(
        {
            "results": str(page),
            "report": str(arguments.out / "report.html"),
            "cells": len(table.rows),
            "may_ship_recurrent": table.shipping.may_ship,
            "seconds": round(time.monotonic() - started, 1),
        }
    )
    return 0


def run_show(arguments: argparse.Namespace) -> int:
    """``show``: one example with where every fact came from."""
    from planner_pipeline.dataset.show import show_example

    print(json.dumps(show_example(arguments.out, arguments.example), indent=2, ensure_ascii=False))
    return 0


def run_demo(arguments: argparse.Namespace) -> int:
    """``demo``: sample, run, and a decision about an open issue."""
    from planner_pipeline.demo import run_demo as demonstrate

    demonstrate(arguments.out, n_runs=arguments.runs, seed=arguments.seed, say=print)
    return 0


def run_ui(arguments: argparse.Namespace) -> int:
    """``ui``: Dagster's and MLflow's pages on loopback, until interrupted."""
    from planner_pipeline.ui import serve

    return serve(
        arguments.repo,
        arguments.out,
        dagster_port=arguments.dagster_port,
        mlflow_port=arguments.mlflow_port,
    )


def _add_dataset_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument(
        "--n-similar", type=_count, default=8, metavar="N", help="past runs a decision may see"
    )
    one.add_argument(
        "--window", type=_positive, metavar="N",
        help="newest runs of a kind that retrieval looks at (default: all)",
    )  # fmt: skip
    one.add_argument(
        "--epoch", default="all", metavar="ID", help="settings epoch: all, latest or an id"
    )
    one.add_argument(
        "--max-quarantined", type=_percent, default=1.0, metavar="PERCENT",
        help="of a source's files or lines that may be refused",
    )  # fmt: skip
    one.add_argument(
        "--min-examples", type=_positive, default=500, metavar="N",
        help="labelled decisions of code that feasibility asks for",
    )  # fmt: skip


def _add_training_arguments(one: argparse.ArgumentParser) -> None:
    one.add_argument("--arch", choices=ARCHITECTURES, default="mlp", help="default: mlp")
    one.add_argument(
        "--decoding", choices=DECODINGS, help="kind of output (default: the architecture's usual)"
    )
    one.add_argument(
        "--winners", type=Path, metavar="FILE",
        help="Parquet of winner labels, such as OUT/bench/winners.parquet",
    )  # fmt: skip
    one.add_argument("--seed", type=_count, default=0, metavar="S", help="of training")
    one.add_argument("--epochs", type=_positive, metavar="N", help="at most, of training")
    one.add_argument("--int8", action="store_true", help="ship weights as int8, calibrated as such")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(
        prog="cyntra-planner",
        description="How much compute, in which topology, should an agent swarm spend on a task?",
    )
    parser.add_argument("--debug", action="store_true", help="show a traceback when work fails")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, text: str, run: Any) -> argparse.ArgumentParser:
        one = commands.add_parser(name, help=text, description=run.__doc__)
        one.set_defaults(run=run)
        return one

    sample = command("sample", "write a simulated workspace", run_sample)
    sample.add_argument("--out", type=Path, required=True, metavar="DIR")
    sample.add_argument("--runs", type=_positive, default=1_500, metavar="N")
    sample.add_argument("--seed", type=int, default=0, metavar="S")

    trials = command("import-trials", "turn trial tables into a workspace", run_import_trials)
    trials.add_argument("files", type=Path, nargs="+", metavar="FILE", help="CSV or Parquet")
    trials.add_argument("--out", type=Path, required=True, metavar="DIR")

    for name, text, run in (
        ("build", "build the data set alone", run_build),
        ("train", "build the data set and train one model", run_train),
        (
            "evaluate",
            "what the trained model is worth; --trials: on replayed attempts",
            run_evaluate,
        ),
        ("ablate", "the declared grid of ablations", run_ablate),
        ("run", "data set, model, bundle and report", run_run),
    ):
        one = command(name, text, run)
        one.add_argument(
            "--repo", type=Path, required=name != "evaluate", metavar="DIR", help="the workspace"
        )
        one.add_argument("--out", type=Path, required=True, metavar="DIR")
        _add_dataset_arguments(one)
        if name == "build":
            one.add_argument(
                "--by-month", action="store_true", help="runs and examples a month at a time"
            )
        if name in ("train", "run"):
            _add_training_arguments(one)
        if name == "evaluate":
            one.add_argument("--trials", type=Path, metavar="FILE", help="CSV or Parquet")
            one.add_argument(
                "--tasks", type=Path, metavar="FILE", help="JSON lines about its tasks"
            )
        if name in ("evaluate", "ablate"):
            one.add_argument(
                "--quick",
                action="store_true",
                help="small: whether it runs, not what it says",
            )

    bench = command("bench", "run candidates for real, and see which was best", run_bench)
    add_bench_arguments(bench)

    show = command("show", "one example in full, with where every fact came from", run_show)
    show.add_argument("--out", type=Path, required=True, metavar="DIR", help="of build or run")
    show.add_argument("--example", metavar="ID", help="default: the newest one with a history")

    add_select_command(commands)
    add_commands(commands)

    demo = command("demo", "the whole way on a simulated workspace", run_demo)
    demo.add_argument("--out", type=Path, default=DEMO_DIR, metavar="DIR")
    demo.add_argument("--runs", type=_positive, default=1_500, metavar="N")
    demo.add_argument("--seed", type=_count, default=0, metavar="S")

    ui = command("ui", "Dagster's and MLflow's pages on loopback", run_ui)
    ui.add_argument("--repo", type=Path, default=DEMO_DIR / "workspace", metavar="DIR")
    ui.add_argument("--out", type=Path, default=DEMO_DIR / "out", metavar="DIR")
    ui.add_argument("--dagster-port", type=_positive, default=3000, metavar="PORT")
    ui.add_argument("--mlflow-port", type=_positive, default=5000, metavar="PORT")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; wrong use exits with 2."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        _say("interrupted")
        return 1
    except Exception as error:
        details = getattr(error, "details", "")
        if arguments.debug:
            traceback.print_exc()
        if details and (arguments.debug or not details.startswith("Traceback")):
            _say(details[:4_000])
        name = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and name not in (None, "planner_pipeline"):
            _say(f"error: this command needs pip install 'cyntra-planner[pipeline]' ({error})")
        else:
            _say(f"error: {' '.join(str(error).split()) or type(error).__name__}")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
