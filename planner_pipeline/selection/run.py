"""From three tables to decisions and a report: what the command and a notebook both call.

Belongs here: the order of the steps, and what is assumed about folds, groups and time, in words.
Does not: files (``select_command``), any step itself.
"""

from collections.abc import Callable

import numpy as np
import polars as pl

from planner_pipeline.selection.crossval import cross_validate
from planner_pipeline.selection.fold_plan import default_folds
from planner_pipeline.selection.report import SelectReport, build_report, decisions_table
from planner_pipeline.selection.scenario import Scenario, SelectionError
from planner_pipeline.selection.tables_in import build_scenario
from planner_pipeline.selection.worth import build_stakes
from planner_runtime.objective import Objective


def free_actions(scenario: Scenario) -> list[str]:
    """Actions whose known costs are all 0 where others' are not: perhaps nobody wrote them down."""
    cost = scenario.outcomes.cost_usd
    known = np.isfinite(cost)
    is_free = known.any(axis=0) & ~(known & (cost > 0)).any(axis=0)
    names = scenario.actions.names()
    return [] if is_free.all() else [names[a] for a in np.flatnonzero(is_free)]


def _assumptions(scenario: Scenario) -> list[str]:
    notes = [
        "each case is decided by what was learned from the other folds alone; the best single "
        "action is that of the training cases too, the oracle knows the outcome",
        "intervals: 95 % percentile bootstrap over "
        f"{'groups' if scenario.has_groups else 'cases'}, 1,000 resamples; repetitions of a case "
        "stay together",
        "a decision is scored where the outcomes of its action and of the best single action are "
        "known; a missing outcome is never a label",
    ]
    if not scenario.partitions:
        held = "groups stay in one fold" if scenario.has_groups else "cases are independent"
        notes.append(f"no folds given: at most ten, by chance; {held}")
    elif scenario.has_groups:
        notes.append("folds are given and kept as they are, whatever the groups")
    free = free_actions(scenario)
    if free:
        notes.append(f"every known cost of {', '.join(free)} is 0: read as free, not as unknown")
    if scenario.started_ms is not None:
        notes.append(
            "started_ms does not order the folds: a case may be decided by what was learned from "
            "later ones"
        )
    return notes


def select_actions(
    features: pl.DataFrame,
    outcomes: pl.DataFrame,
    folds: pl.DataFrame | None = None,
    objective: Objective | None = None,
    *,
    seed: int = 0,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[pl.DataFrame, SelectReport]:
    """Cross-validated decisions and their report.

    Raises:
        SelectionError: a table or the objective cannot be used, or no fold could be decided.
    """
    scenario = build_scenario(features, outcomes, folds)
    stakes = build_stakes(scenario.outcomes, objective)
    partitions = scenario.partitions or (default_folds(scenario.groups, seed),)
    runs, notes = cross_validate(
        scenario, stakes, partitions, seed=seed, jobs=jobs, on_progress=on_progress
    )
    if not runs:
        raise SelectionError("folds", f"no fold could be decided: {notes[0]}")
    report = build_report(
        scenario,
        stakes,
        partitions,
        runs,
        objective_is_given=objective is not None,
        notes=[*_assumptions(scenario), *notes],
        seed=seed,
    )
    return decisions_table(scenario, runs), report
