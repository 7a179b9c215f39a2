"""Cross-validation: every case is decided by what was learned from the other folds.

Belongs here: training and held-out cases of each fold, its seed, its record, folds side by side.
Does not: learning (``members``, ``choice``), figures (``report``).
Shapes: N cases, A actions.
"""

import multiprocessing
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Final

import msgspec
import numpy as np

from planner_pipeline.selection.choice import choose
from planner_pipeline.selection.lesson import Effort, build_lesson, effort_for
from planner_pipeline.selection.members import forecast
from planner_pipeline.selection.scenario import Partition, Scenario
from planner_pipeline.selection.worth import Stakes

LEAST_TRAINING: Final = 3


class FoldRun(msgspec.Struct, frozen=True, kw_only=True):
    """One fold, decided.

    Attributes:
        repetition, fold: Names.
        cases: (M,) rows of the held-out cases.
        action: (M,).
        utility: (M,) expected, in the objective's unit.
        p_pass: (M,) calibrated.
        abstained: (M,) bool.
        single: The best single action of the training cases.
        came: (M, A) utility that came, in the objective's unit (with the fold's price).
        price: Of a unit of spending, where the objective is constrained.
        n_training: Cases with an outcome that were learned from.
        gain, gain_error: Over the best single action, out of bag, on training cases.
        is_followed: Whether that gain was enough.
        n_columns: Of the matrix.
        members: Names of what was blended.
    """

    repetition: int | str | None
    fold: int | str
    cases: np.ndarray
    action: np.ndarray
    utility: np.ndarray
    p_pass: np.ndarray
    abstained: np.ndarray
    single: int
    came: np.ndarray
    price: float | None
    n_training: int
    gain: float
    gain_error: float
    is_followed: bool
    n_columns: int
    members: tuple[str, ...]


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    scenario: Scenario
    stakes: Stakes
    repetition: int | str | None
    fold: int | str
    training: np.ndarray
    held_out: np.ndarray
    effort: Effort
    seed: int


def _seed(seed: int, repetition: object, fold: object) -> int:
    return seed * 100_003 + zlib.crc32(f"{repetition} {fold}".encode()) % 1_000_003


def run_fold(task: _Task) -> FoldRun:
    """Learn from the training cases and decide the held-out ones."""
    stakes = task.stakes
    lesson = build_lesson(
        task.scenario, stakes, task.training, task.held_out, effort=task.effort, seed=task.seed
    )
    told = forecast(lesson, stakes.kind)
    choice = choose(lesson, told, stakes)
    scale = stakes.scale
    came = stakes.utility[task.held_out]
    if choice.price:
        came = came - choice.price * stakes.spend[task.held_out]
    return FoldRun(
        repetition=task.repetition,
        fold=task.fold,
        cases=task.held_out,
        action=choice.action,
        utility=choice.utility * scale,
        p_pass=choice.p_pass,
        abstained=choice.abstained,
        single=choice.single,
        came=came,
        price=choice.price,
        n_training=len(task.training),
        gain=choice.gain * scale,
        gain_error=choice.gain_error * scale,
        is_followed=choice.is_followed,
        n_columns=lesson.columns.shape[1],
        members=told.members,
    )


def _tasks(
    scenario: Scenario, stakes: Stakes, partitions: Sequence[Partition], seed: int
) -> tuple[list[_Task], list[str]]:
    """One task a fold, and notes on folds that could not be one."""
    tells = np.isfinite(stakes.utility).any(axis=1)
    n_folds = sum(len(partition.names) for partition in partitions)
    tasks, notes = [], []
    for partition in partitions:
        for number, name in enumerate(partition.names):
            training = np.flatnonzero((partition.fold != number) & tells)
            if len(training) < LEAST_TRAINING:
                of = (
                    "" if partition.repetition is None else f" of repetition {partition.repetition}"
                )
                why = f"{len(training)} cases with outcomes outside it"
                notes.append(f"fold {name}{of} was not decided: {why}")
                continue
            tasks.append(
                _Task(
                    scenario=scenario,
                    stakes=stakes,
                    repetition=partition.repetition,
                    fold=name,
                    training=training,
                    held_out=np.flatnonzero(partition.fold == number),
                    effort=effort_for(len(tells), n_folds),
                    seed=_seed(seed, partition.repetition, name),
                )
            )
    return tasks, notes


def cross_validate(
    scenario: Scenario,
    stakes: Stakes,
    partitions: Sequence[Partition],
    *,
    seed: int,
    jobs: int = 1,
    on_progress: Callable[[int, int], None] = lambda done, of: None,
) -> tuple[list[FoldRun], list[str]]:
    """Every fold of every repetition, in their order, and notes on what could not be decided.

    The answer does not depend on ``jobs``.
    """
    tasks, notes = _tasks(scenario, stakes, partitions, seed)
    runs: list[FoldRun] = []
    if jobs <= 1 or len(tasks) < 2:
        for task in tasks:
            runs.append(run_fold(task))
            on_progress(len(runs), len(tasks))
        return runs, notes
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    with ProcessPoolExecutor(min(jobs, len(tasks)), mp_context=context) as pool:
        for run in pool.map(run_fold, tasks):
            runs.append(run)
            on_progress(len(runs), len(tasks))
    return runs, notes
