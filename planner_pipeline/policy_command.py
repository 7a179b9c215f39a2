"""``cyntra-planner policy`` and ``replay``: learn outcomes and choose by them; judge a bundle.

Belongs here: their arguments, lines and exit codes. Does not: work.
Exit codes: 0 done, 1 the work failed with one line why, 2 wrong use.
"""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner_pipeline.command_parts import (
    add_dataset_arguments,
    count,
    dataset_settings,
    need_workspace,
    print_json,
    read_objective_file,
    say,
    say_made,
)
from planner_runtime.commands import CommandError

if TYPE_CHECKING:
    from planner_runtime.objective import Objective


def _add_objective(one: argparse.ArgumentParser, instead: str) -> None:
    one.add_argument(
        "--objective", type=Path, metavar="FILE",
        help=f"what an outcome is worth, JSON or YAML (default: {instead})",
    )  # fmt: skip


def add_policy_arguments(one: argparse.ArgumentParser) -> None:
    """Arguments of ``policy``."""
    one.add_argument("--repo", type=Path, metavar="DIR", help="the workspace")
    one.add_argument(
        "--trials", type=Path, metavar="FILE", help="instead of a workspace: CSV or Parquet"
    )
    one.add_argument("--tasks", type=Path, metavar="FILE", help="JSON lines about their tasks")
    one.add_argument("--out", type=Path, required=True, metavar="DIR")
    _add_objective(one, "the universe's, else passes less a hundredth an agent-minute")
    one.add_argument(
        "--kind", choices=("networks", "trees"), default="networks", help="of the ensemble"
    )
    one.add_argument("--seed", type=count, default=0, metavar="S", help="of training")
    one.add_argument(
        "--report", action="store_true",
        help="the what-if page and the report anew; with --trials: each system held out in turn",
    )  # fmt: skip
    add_dataset_arguments(one)


def add_replay_arguments(one: argparse.ArgumentParser) -> None:
    """Arguments of ``replay``."""
    one.add_argument("--bundle", type=Path, required=True, metavar="DIR")
    one.add_argument(
        "--trials", type=Path, required=True, nargs="+", metavar="FILE", help="CSV or Parquet"
    )
    one.add_argument("--out", type=Path, required=True, metavar="DIR")
    _add_objective(one, "the bundle's own")


def run_policy(arguments: argparse.Namespace) -> int:
    """``policy``: an outcome model, a bundle that chooses by an objective, and what it would do."""
    objective = read_objective_file(arguments.objective)
    if arguments.trials is not None:
        return _policy_of_trials(arguments, objective)
    if arguments.repo is None:
        raise CommandError("--repo is needed, or --trials")
    need_workspace(arguments.repo, arguments.out)
    print_json(train_outcomes(arguments, dataset_settings(arguments), report=arguments.report))
    return 0


def train_outcomes(
    arguments: argparse.Namespace, settings: dict[str, Any], *, report: bool
) -> dict[str, Any]:
    """Bring the assets of the policy up to date, and what they say for one line of JSON."""
    from planner_pipeline.definitions import EVERYTHING, POLICY
    from planner_pipeline.materialize import materialize, policy_summary

    objective = getattr(arguments, "objective", None)
    settings = settings | {
        "objective": None if objective is None else str(objective.resolve()),
        "outcome_kind": getattr(arguments, "kind", "networks"),
        "seed": arguments.seed,
    }
    say_made(materialize(arguments.repo, arguments.out, job=POLICY, **settings))
    if report:
        materialize(arguments.repo, arguments.out, job=EVERYTHING, always=["report"], **settings)
    return policy_summary(arguments.out)


def _policy_of_trials(arguments: argparse.Namespace, objective: "Objective | None") -> int:
    from planner_pipeline.experiments.policy_trial_report import run_policy_trials
    from planner_pipeline.release.trial_bundle import write_trial_bundle
    from planner_pipeline.training.outcome_fit import OutcomeConfig

    if not arguments.trials.is_file():
        raise CommandError(f"{arguments.trials}: no such file")
    config = OutcomeConfig(kind=arguments.kind, seed=arguments.seed)
    told: dict[str, Any] = {}
    if arguments.report:
        found = run_policy_trials(
            arguments.trials, arguments.tasks, arguments.out, config=config,
            on_progress=lambda what: say(f"  {what}"),
        )  # fmt: skip
        path = arguments.out / "policy_trials" / "report.md"
        say(path.read_text(encoding="utf-8"))
        told["report"] = str(path)
        told["gap_closed"] = {name: list(gap) for name, gap in found.gap.items()}
    manifest = write_trial_bundle(
        arguments.trials, arguments.tasks, arguments.out / "outcome_bundle", objective=objective,
        config=config, on_progress=lambda what: say(f"  {what}"),
    )  # fmt: skip
    bundle = {
        "bundle": str(arguments.out / "outcome_bundle"), "bundle_id": manifest.bundle_id,
    }  # fmt: skip
    print_json(told | bundle)
    return 0


def run_replay(arguments: argparse.Namespace) -> int:
    """``replay``: decide every (issue, system) of trial tables that a bundle never saw, from the
    history available at that moment, and score the decisions.
    """
    from planner_pipeline.experiments.bundle_replay import run_bundle_replay

    for path in arguments.trials:
        if not path.is_file():
            raise CommandError(f"{path}: no such file")
    report = run_bundle_replay(
        arguments.bundle, arguments.trials, arguments.out,
        objective=read_objective_file(arguments.objective),
        on_progress=lambda what: say(f"  {what}"),
    )  # fmt: skip
    overall = report.overall
    for name, found in (
        ("utility", overall.value),
        ("best fixed action", overall.best_fixed),
        ("oracle", overall.oracle),
        ("gap closed", overall.gap_closed),
        ("pass rate", overall.pass_rate),
    ):
        if found is not None:
            say(f"  {name:<18} {found.value:.4f} ({found.low:.4f} to {found.high:.4f})")
    print_json(
        {
            "replay": str(arguments.out / "replay.json"),
            "decisions": str(arguments.out / "decisions.parquet"),
            "bundle_id": report.bundle_id,
            "cases": overall.n_cases,
            "systems": len(report.by_system),
            "quarantined": report.quarantined,
            "left_out": report.left_out,
        }
    )
    return 0
