"""``cyntra-planner evaluate`` and ``ablate``: what models are worth, from the command line.

Belongs here: their lines and exit codes. Does not: work, arguments (``cli``).
"""

import argparse
import time

from planner_pipeline.command_parts import (
    dataset_settings,
    need_workspace,
    print_json,
    progress,
    say,
    say_made,
)
from planner_runtime.commands import CommandError


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
    need_workspace(arguments.repo, arguments.out)
    settings = dataset_settings(arguments) | last_training(arguments.out)
    say_made(materialize(arguments.repo, arguments.out, job=EVALUATED, **settings))
    told = evaluation_summary(arguments.out)
    for name, figures in told["predictors"].items():
        match, gap = figures["exact_match"], figures["minus_heuristic"]
        if match is not None:
            line = f"  {name:<10} exact match {match['value']:.3f}"
            line += f" ({match['low']:.3f} to {match['high']:.3f})"
            if gap is not None:
                line += f", minus the heuristic {gap['value']:+.3f}"
                line += f" ({gap['low']:+.3f} to {gap['high']:+.3f})"
            say(line)
    print_json(told)
    return 0


def _evaluate_trials(arguments: argparse.Namespace) -> int:
    from planner_pipeline.experiments.trial_policies import run_trial_study

    report = run_trial_study(
        arguments.trials,
        arguments.tasks,
        arguments.out,
        quick=arguments.quick,
        on_progress=lambda done, of: progress("fits", done, of),
    )
    say((arguments.out / "trials" / "report.md").read_text(encoding="utf-8"))
    print_json(
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


def run_ablate(arguments: argparse.Namespace) -> int:
    """``ablate``: the declared grid, its table, and a report that shows it."""
    from planner_pipeline.definitions import ABLATED, EVERYTHING
    from planner_pipeline.experiments.ablation_table import as_markdown, read_table
    from planner_pipeline.materialize import materialize

    need_workspace(arguments.repo, arguments.out)
    settings = dataset_settings(arguments)
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
        say(f"  {verdict}")
    say(f"  may the recurrent model ship? {table.shipping.words}")
    print_json(
        {
            "results": str(page),
            "report": str(arguments.out / "report.html"),
            "cells": len(table.rows),
            "may_ship_recurrent": table.shipping.may_ship,
            "seconds": round(time.monotonic() - started, 1),
        }
    )
    return 0
