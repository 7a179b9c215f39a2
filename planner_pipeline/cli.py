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
from planner_pipeline.bundle_command import add_bundle_commands
from planner_pipeline.command_parts import (
    OUTCOME,
    add_dataset_arguments,
    add_training_arguments,
    count,
    dataset_settings,
    need_workspace,
    positive,
    print_json,
    say,
    say_made,
    training_settings,
)
from planner_pipeline.evaluate_command import run_ablate, run_evaluate
from planner_pipeline.ope_command import add_ope_arguments, run_ope
from planner_pipeline.policy_command import (
    add_policy_arguments,
    add_replay_arguments,
    run_policy,
    run_replay,
    train_outcomes,
)
from planner_pipeline.select_command import add_select_command
from planner_runtime.commands import add_commands

DEMO_DIR = Path(".planner/demo")


def run_sample(arguments: argparse.Namespace) -> int:
    """``sample``: a simulated workspace."""
    import msgspec

    from planner_pipeline.sample.workspace import write_workspace

    counts = write_workspace(arguments.out, n_runs=arguments.runs, seed=arguments.seed)
    print_json({"out": str(arguments.out), "simulated": True} | msgspec.to_builtins(counts))
    return 0


def run_import_trials(arguments: argparse.Namespace) -> int:
    """``import-trials``: somebody else's attempts as a workspace."""
    from planner_pipeline.sources.trials import read_trials
    from planner_pipeline.trial_workspace import write_trial_workspace

    read = read_trials(arguments.files)
    for row in read.quarantined[:5]:
        say(f"  quarantined {row.file}:{row.line}: {row.detail}")
    write_trial_workspace(arguments.out, read)
    print_json(
        {
            "out": str(arguments.out),
            "trials": read.count.accepted,
            "issues": len({trial.issue_id for trial in read.trials}),
            "systems": len({trial.system for trial in read.trials}),
            "quarantined": read.count.quarantined,
        }
    )
    return 0


def run_build(arguments: argparse.Namespace) -> int:
    """``build``: the data set alone."""
    from planner_pipeline.materialize import dataset_summary, materialize, materialize_by_month

    need_workspace(arguments.repo, arguments.out)
    settings = dataset_settings(arguments)
    if arguments.by_month:
        months = materialize_by_month(arguments.repo, arguments.out, **settings)
        say(f"made {len(months)} months one by one")
    else:
        say_made(materialize(arguments.repo, arguments.out, dataset_only=True, **settings))
    print_json(dataset_summary(arguments.out))
    return 0


def run_run(arguments: argparse.Namespace) -> int:
    """``run``: data set, model, bundle and report."""
    from planner_pipeline.materialize import materialize, summary

    need_workspace(arguments.repo, arguments.out)
    started = time.monotonic()
    say(f"materializing {arguments.repo} into {arguments.out}")
    settings = dataset_settings(arguments)
    if arguments.arch == OUTCOME:
        print_json(train_outcomes(arguments, settings, report=True))
        return 0
    settings |= training_settings(arguments)
    say_made(materialize(arguments.repo, arguments.out, **settings))
    print_json(summary(arguments.out) | {"seconds": round(time.monotonic() - started, 1)})
    return 0


def run_train(arguments: argparse.Namespace) -> int:
    """``train``: the data set and one model on it."""
    from planner_pipeline.definitions import TRAINED
    from planner_pipeline.materialize import dataset_summary, materialize

    need_workspace(arguments.repo, arguments.out)
    if arguments.arch == OUTCOME:
        print_json(train_outcomes(arguments, dataset_settings(arguments), report=False))
        return 0
    settings = dataset_settings(arguments) | training_settings(arguments)
    say_made(materialize(arguments.repo, arguments.out, job=TRAINED, **settings))
    assets = arguments.out / "assets"
    record = json.loads((assets / "training_record.json").read_bytes())
    del record["epochs"]
    told = {"checkpoint": str(assets / "model_checkpoint.bin"), **record}
    print_json(dataset_summary(arguments.out) | told)
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
    sample.add_argument("--runs", type=positive, default=1_500, metavar="N")
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
        add_dataset_arguments(one)
        if name == "build":
            one.add_argument(
                "--by-month", action="store_true", help="runs and examples a month at a time"
            )
        if name in ("train", "run"):
            add_training_arguments(one)
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
    add_ope_arguments(command("ope", "judge a policy on what another one logged", run_ope))

    show = command("show", "one example in full, with where every fact came from", run_show)
    show.add_argument("--out", type=Path, required=True, metavar="DIR", help="of build or run")
    show.add_argument("--example", metavar="ID", help="default: the newest one with a history")

    policy = command("policy", "learn outcomes, choose by an objective, say why", run_policy)
    add_policy_arguments(policy)

    replay = command("replay", "what a bundle would do on trials it never saw", run_replay)
    add_replay_arguments(replay)

    add_select_command(commands)
    add_commands(commands)
    add_bundle_commands(commands)

    demo = command("demo", "the whole way on a simulated workspace", run_demo)
    demo.add_argument("--out", type=Path, default=DEMO_DIR, metavar="DIR")
    demo.add_argument("--runs", type=positive, default=1_500, metavar="N")
    demo.add_argument("--seed", type=count, default=0, metavar="S")

    ui = command("ui", "Dagster's and MLflow's pages on loopback", run_ui)
    ui.add_argument("--repo", type=Path, default=DEMO_DIR / "workspace", metavar="DIR")
    ui.add_argument("--out", type=Path, default=DEMO_DIR / "out", metavar="DIR")
    ui.add_argument("--dagster-port", type=positive, default=3000, metavar="PORT")
    ui.add_argument("--mlflow-port", type=positive, default=5000, metavar="PORT")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code; wrong use exits with 2."""
    arguments = build_parser().parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except KeyboardInterrupt:
        say("interrupted")
        return 1
    except Exception as error:
        details = getattr(error, "details", "")
        if arguments.debug:
            traceback.print_exc()
        if details and (arguments.debug or not details.startswith("Traceback")):
            say(details[:4_000])
        name = getattr(error, "name", None)
        if isinstance(error, ModuleNotFoundError) and name not in (None, "planner_pipeline"):
            say(f"error: this command needs pip install 'cyntra-planner[pipeline]' ({error})")
        else:
            say(f"error: {' '.join(str(error).split()) or type(error).__name__}")
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
