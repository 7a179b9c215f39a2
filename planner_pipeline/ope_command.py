"""``cyntra-planner ope``: judge a policy on what was logged, from the command line.

Belongs here: its arguments, the lines it prints, its exit codes. Does not: work.
Exit codes: 0 figures, 1 a refusal with its reason and remedy, or the work failed, 2 wrong use.
"""

import argparse
import json
import sys
from pathlib import Path

from planner_pipeline.command_parts import read_objective_file
from planner_runtime.commands import CommandError


def add_ope_arguments(one: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    one.add_argument("--repo", type=Path, metavar="DIR", help="the workspace with the archives")
    one.add_argument("--out", type=Path, required=True, metavar="DIR")
    one.add_argument(
        "--policy", default="baseline", metavar="baseline|logged|uniform|FILE.parquet",
        help="who is judged (default: baseline); a file has a row for every action of every "
        "run_id or issue_id, with its probability",
    )  # fmt: skip
    one.add_argument(
        "--objective", type=Path, metavar="FILE",
        help="what an outcome is worth, JSON or YAML, as for `policy`; its weights of a pass, an "
        "agent-minute and a dollar count (default: passes less a hundredth an agent-minute)",
    )  # fmt: skip
    one.add_argument("--seed", type=int, default=0, metavar="S", help="of folds and resamples")
    one.add_argument(
        "--trials", type=Path, metavar="FILE",
        help="instead of a workspace: how well estimators do on replayed attempts, where the "
        "truth is known",
    )  # fmt: skip
    one.add_argument("--quick", action="store_true", help="with --trials: few replays")


def run_ope(arguments: argparse.Namespace) -> int:
    """``ope``: what a policy would have come to, from decisions that another one logged; with
    --trials, how far such figures can be trusted.
    """
    if arguments.trials is not None:
        return _run_study(arguments)
    from planner_pipeline.evaluation.ope_report import render_report
    from planner_pipeline.evaluation.rewards import reward_words, weighted
    from planner_pipeline.experiments.off_policy import POLICIES, run_off_policy
    from planner_runtime.objective import DEFAULT_OBJECTIVE

    if arguments.repo is None:
        raise CommandError("--repo is needed, or --trials")
    if not arguments.repo.is_dir():
        raise CommandError(f"{arguments.repo}: no such directory")
    if arguments.out.resolve() == arguments.repo.resolve():
        raise CommandError("--out must not be the workspace itself")
    if arguments.policy not in POLICIES and not Path(arguments.policy).is_file():
        raise CommandError(f"--policy {arguments.policy}: neither {', '.join(POLICIES)} nor a file")
    objective = read_objective_file(arguments.objective) or DEFAULT_OBJECTIVE
    report = run_off_policy(
        arguments.repo,
        arguments.out,
        policy=arguments.policy,
        reward=weighted(objective.weights),
        reward_words=reward_words(objective),
        seed=arguments.seed,
    )
    print(render_report(report), end="", flush=True)
    if report.refused is None:
        return 0
    print(f"error: {report.refused.why}. {report.refused.remedy}", file=sys.stderr, flush=True)
    return 1


def _run_study(arguments: argparse.Namespace) -> int:
    from planner_pipeline.experiments.off_policy_trials import run_off_policy_trials

    done = run_off_policy_trials(
        arguments.trials, arguments.out, quick=arguments.quick, seed=arguments.seed
    )
    print(done.page.read_text(encoding="utf-8"), end="")
    print(json.dumps(done.to_document(), sort_keys=True), flush=True)
    return 0
