"""Learned policies of the trial study, each asked only about cases that it was not fitted on.

Belongs here: labels to learn from, a fit for every fold and seed, the run from files to files.
Does not: the study's data (``bench.trial_study``), figures, verdicts and words (``trial_report``).
Spec: sections 7.4 (Stage B), 8.2 and 9.

Two kinds of labels:
- ``winners``: the action of the highest utility on the case's own attempts, Stage B to the letter.
  One lucky attempt makes a winner, and what is most often best need not be best on average.
- ``values``: every action is a label of the case, as often as its utility is above the case's worst
  one. The shares are then utilities but for a constant of the case, so the likeliest action is the
  one of the highest expected utility (cost-sensitive learning by example weights; Zadrozny et al.
  2003). That holds for one joint output. Trees have a row of scores a head, which cannot say it:
  their ``values`` are kept to be seen, and are no fair try.

Folds: a model is fitted on all folds but two. One of those it is asked about; the next one stops or
chooses (and fits the temperatures, which independent heads need to be put together). What a case's
decision could see stays as it was: it may have seen attempts of another system at its own task, and
a training case may have seen attempts at a held-out task. Folds keep labels apart, not histories,
and not times: a training case may be later than the case it helps to decide.
Shapes: N cases, L labelled rows, A actions, H heads.
"""

import multiprocessing
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Final, cast, get_args

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.bench.trial_study import (
    JOB_TYPE,
    STUDY_ACTIONS,
    STUDY_SPACE,
    TrialStudy,
    build_trial_study,
    parse_study_tasks,
)
from planner_pipeline.dataset.arrays import Arrays, TokenRows, choose_rows
from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP
from planner_pipeline.evaluation.calibration import fit_temperatures
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_pipeline.evaluation.outcomes import choices_table
from planner_pipeline.evaluation.study import COST_WEIGHTS, study_table
from planner_pipeline.evaluation.yardsticks import best_action
from planner_pipeline.experiments.trial_report import (
    DECLARED_WEIGHT,
    NOT_APART,
    RULE,
    UPPER_BOUND,
    Labels,
    LearnedPolicy,
    Split,
    TrialReport,
    may_ship_recurrent,
    plain_verdict,
    policy_figures,
    render_report,
)
from planner_pipeline.models.spec import Arch
from planner_pipeline.sources.trials import read_trials
from planner_pipeline.tables import CHOICES, check_table, polars_schema
from planner_pipeline.training.checkpoint import decode_checkpoint
from planner_pipeline.training.config import TrainConfig, usual_config
from planner_pipeline.training.fit import fit_model
from planner_pipeline.training.predict import model_outputs
from planner_runtime.actions import action_to_indices
from planner_runtime.decode import ActionTable, action_log_probs, table_of

TOKEN_ARCHS: Final = ("transformer", "recurrent")
NO_LUCK: Final = ("prior", "logreg")  # counted, or at the optimum: every seed gives the same
VALUE_ROWS: Final = 30  # labelled rows that a case has on average
N_WORKERS: Final = 2
SPLITS: Final[tuple[Split, ...]] = ("task_fold", "system_fold")

# what differs from what is usual for an architecture. A fit sees about 200 cases, and the study
# makes hundreds of fits: the token models are small, take many small steps, and stop early
_SMALL: Final[dict[str, Any]] = {
    "width": 32, "n_layers": 1, "epochs": 20, "patience": 4, "batch_size": 16, "ema": 0.95,
}  # fmt: skip
STUDY_CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "transformer": {**_SMALL, "learning_rate": 4e-3},
    "recurrent": {
        **_SMALL, "learning_rate": 2e-3, "loops": 3, "grad_loops": 2, "warmup_steps": 10,
    },
}  # fmt: skip
VALUE_CONFIGS: Final[dict[str, dict[str, Any]]] = {
    "logreg": {"decoding": "joint", "l2": (1.0, 10.0)},
    "mlp": {"decoding": "joint", "batch_size": 512, "epochs": 40, "patience": 6},
}
ONE_LABEL_ONLY: Final = TOKEN_ARCHS  # thirty rows a case are too slow for them

Progress = Callable[[int, int], None]


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """One model to fit and one fold to ask it about."""

    split: Split
    fold: int
    arch: Arch
    labels: Labels
    cost_weight: float
    seed: int

    @property
    def policy(self) -> LearnedPolicy:
        """Whose choices they are."""
        return LearnedPolicy(arch=self.arch, labels=self.labels, split=self.split)


class StudyArrays(msgspec.Struct, frozen=True, kw_only=True):
    """The study as numbers, in the order of its cases.

    Attributes:
        cases: N rows; their labels are of no meaning.
        folds: By split (N,) int64.
        utility: By cost weight (N, A) expected utility; NaN where an action has no outcome.
    """

    cases: Arrays
    folds: Mapping[str, np.ndarray]
    utility: Mapping[float, np.ndarray]


def study_choices() -> np.ndarray:
    """(A, H) int64, what each of ``STUDY_ACTIONS`` chooses in every head."""
    indices = [action_to_indices(STUDY_SPACE, action) for action in STUDY_ACTIONS]
    return np.array(indices, dtype=np.int64)


def study_actions_table() -> ActionTable:
    """What a policy may pick. A vote over one candidate, which is valid, is not among it."""
    return table_of(STUDY_SPACE, study_choices())


def study_arrays(study: TrialStudy, cost_weights: Sequence[float]) -> StudyArrays:
    """Numbers of a study."""
    cases = study.cases
    bench = OutcomeBench(study.outcomes, n_resamples=0)
    if bench.case_ids != cases["case_id"].to_list():
        raise ValueError("outcomes and cases are not of the same study")
    n = cases.height
    return StudyArrays(
        cases=Arrays(
            np.array(cases["features"].to_list(), dtype=np.float32),
            TokenRows.of([ids.to_numpy() for ids in cases["token_ids"]]),
            np.tile(study_choices()[0], (n, 1)),
            np.zeros(n, dtype=np.int64),
            (JOB_TYPE,),
            STUDY_SPACE,
        ),
        folds={split: cases[split].to_numpy() for split in SPLITS},
        utility={weight: bench.expected_utility(weight) for weight in cost_weights},
    )


def labelled_rows(utility: np.ndarray, labels: Labels) -> tuple[np.ndarray, np.ndarray]:
    """(L,) cases and (L,) actions to learn, in the order of the cases.

    Args:
        utility: (N, A) expected; NaN where an action has no outcome: it is never a label.

    >>> [rows.tolist() for rows in labelled_rows(np.array([[0.0, 0.5, 0.25]]), "winners")]
    [[0], [1]]
    >>> cases, actions = labelled_rows(np.array([[0.0, 0.5, 0.25]]), "values")
    >>> np.bincount(actions).tolist()
    [0, 20, 10]
    """
    n_cases, n_actions = utility.shape
    if labels == "winners":
        # of limits that made no odds so far, the loosest is the last to cut
        return np.arange(n_cases), best_action(utility, "last")
    above = np.nan_to_num(utility - np.nanmin(utility, axis=1, keepdims=True))
    total = above.sum()
    if total <= 0:  # nothing makes any odds anywhere
        return labelled_rows(utility, "winners")
    # one sum over cases for each action, so that what is rounded off does not add up
    upto = np.floor(np.cumsum(above * (VALUE_ROWS * n_cases / total), axis=0) + 0.5)
    counts = np.diff(upto, axis=0, prepend=0.0).astype(np.int64)
    cells = np.repeat(np.arange(n_cases * n_actions), counts.ravel())
    return cells // n_actions, cells % n_actions


def fold_rows(folds: np.ndarray, fold: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cases to fit on, to stop by and to ask about: (N,) bool each, no fold in two of them.

    Raises:
        ValueError: there are fewer than three folds, or ``fold`` is none of them.
    """
    there = np.unique(folds).tolist()
    if fold not in there or len(there) < 3:
        raise ValueError(f"fold {fold} of {there}: three folds or more are needed")
    next_fold = there[(there.index(fold) + 1) % len(there)]
    asked, val = folds == fold, folds == next_fold
    return ~asked & ~val, val, asked


def config_of_fit(fit: Fit) -> TrainConfig:
    """How the model of a fit is trained."""
    changes = dict(STUDY_CONFIGS.get(fit.arch, {}))
    if fit.labels == "values":
        changes |= VALUE_CONFIGS.get(fit.arch, {})
    return usual_config(fit.arch, **changes, seed=fit.seed)


def _labelled(arrays: StudyArrays, fit: Fit, is_in: np.ndarray) -> Arrays:
    """Labelled rows of some cases."""
    cases, actions = labelled_rows(arrays.utility[fit.cost_weight][is_in], fit.labels)
    rows = choose_rows(arrays.cases, np.flatnonzero(is_in)[cases])
    return msgspec.structs.replace(rows, labels=study_choices()[actions])


def chosen_actions(arrays: StudyArrays, fit: Fit) -> np.ndarray:
    """For each case of the held-out fold, in order, the action that the fitted model picks."""
    config = config_of_fit(fit)
    is_train, is_val, is_asked = fold_rows(arrays.folds[fit.split], fit.fold)
    val = _labelled(arrays, fit, is_val)
    checkpoint, _ = fit_model(_labelled(arrays, fit, is_train), val, config)
    model = decode_checkpoint(checkpoint)
    temperatures, _ = fit_temperatures(model_outputs(model, val), val, config.decoding)
    outputs = model_outputs(model, choose_rows(arrays.cases, np.flatnonzero(is_asked)))
    log_probs = action_log_probs(outputs, temperatures, study_actions_table(), config.decoding)
    return best_action(log_probs)


def fits_of(
    arrays: StudyArrays,
    *,
    archs: Sequence[Arch],
    seeds: Sequence[int],
    splits: Sequence[Split] = SPLITS,
    token_weights: Sequence[float] = (DECLARED_WEIGHT,),
    token_splits: Sequence[Split] = SPLITS,
) -> list[Fit]:
    """Every fit of a study, the slowest first, so that no worker ends long after the others.

    Args:
        seeds: Of the architectures that have any luck in them; the others get the first.
        token_weights, token_splits: Of the cost weights and splits, those of the token models.
    """
    fits = [
        Fit(
            split=split, fold=fold, arch=arch, labels=labels, cost_weight=weight, seed=seed,
        )
        for arch in archs
        for labels in cast(tuple[Labels, ...], get_args(Labels))
        if labels == "winners" or arch not in ONE_LABEL_ONLY
        for weight in arrays.utility
        for split in splits
        if arch not in TOKEN_ARCHS or (weight in token_weights and split in token_splits)
        for seed in (seeds[:1] if arch in NO_LUCK else seeds)
        for fold in np.unique(arrays.folds[split]).tolist()
    ]  # fmt: skip
    speed = ("recurrent", "transformer", "mlp", "logreg", "gbt", "prior")
    return sorted(fits, key=lambda fit: (speed.index(fit.arch), fit.labels))


_held: list[StudyArrays] = []  # what a worker process was started with


def _start_worker(arrays: StudyArrays) -> None:
    _held[:] = [arrays]


def _timed(arrays: StudyArrays, fit: Fit) -> tuple[np.ndarray, float]:
    start = time.process_time()
    return chosen_actions(arrays, fit), time.process_time() - start


def _work(fit: Fit) -> tuple[np.ndarray, float]:
    return _timed(_held[0], fit)


def _results(
    arrays: StudyArrays, fits: Sequence[Fit], n_workers: int
) -> Iterator[tuple[np.ndarray, float]]:
    if n_workers < 2:
        yield from (_timed(arrays, fit) for fit in fits)
        return
    context = multiprocessing.get_context("spawn")  # a fork would copy locks that threads hold
    with ProcessPoolExecutor(
        n_workers, mp_context=context, initializer=_start_worker, initargs=(arrays,)
    ) as pool:
        yield from pool.map(_work, fits)


def learn_policies(
    study: TrialStudy,
    arrays: StudyArrays,
    fits: Sequence[Fit],
    *,
    n_workers: int = N_WORKERS,
    on_progress: Progress = lambda done, total: None,
) -> tuple[pl.DataFrame, dict[str, float]]:
    """``CHOICES`` of every policy and seed, and CPU seconds by architecture and labels.

    The choices do not depend on ``n_workers``.
    """
    chosen: dict[tuple[str, float, int], np.ndarray] = {}
    seconds: dict[str, float] = {}
    for done, (fit, (actions, spent)) in enumerate(
        zip(fits, _results(arrays, fits, n_workers), strict=True), start=1
    ):
        key = (fit.policy.name, fit.cost_weight, fit.seed)
        whole = chosen.setdefault(key, np.full(len(arrays.cases), -1))
        whole[arrays.folds[fit.split] == fit.fold] = actions
        what = f"{fit.arch}.{fit.labels}"
        seconds[what] = seconds.get(what, 0.0) + spent
        on_progress(done, len(fits))
    case_ids = study.cases["case_id"].to_list()
    nobody = np.zeros(len(case_ids), dtype=bool)
    tables = [pl.DataFrame(schema=polars_schema(CHOICES))]
    for (name, weight, seed), actions in sorted(chosen.items()):
        tables.append(
            choices_table(f"{name}#{seed}", case_ids, actions, cost_weight=weight, abstains=nobody)
        )
    return check_table(CHOICES, pl.concat(tables)), seconds


def write_report(report: TrialReport, choices: pl.DataFrame, folder: Path) -> None:
    """``figures.parquet``, ``choices.parquet``, ``report.json`` and ``report.md``."""
    write_parquet(report.figures, folder / "figures.parquet")
    write_parquet(choices, folder / "choices.parquet")
    told = {
        name: getattr(report, name)
        for name in report.__struct_fields__
        if name not in ("figures", "cpu_seconds")
    }
    told |= {"rule": RULE, "upper_bound": UPPER_BOUND, "folds": NOT_APART}
    data = msgspec.json.format(msgspec.json.encode(told, order="deterministic"), indent=1)
    write_bytes(data + b"\n", folder / "report.json")
    write_bytes(render_report(report).encode(), folder / "report.md")


def run_trial_study(
    trials_file: Path,
    tasks_file: Path | None,
    out: Path,
    *,
    archs: Sequence[Arch] = get_args(Arch),
    seeds: Sequence[int] = (0, 1, 2, 3, 4),
    cost_weights: Sequence[float] = COST_WEIGHTS,
    token_weights: Sequence[float] = (DECLARED_WEIGHT,),
    token_splits: Sequence[Split] = SPLITS,
    n_seen: int = 0,
    splits: Sequence[Split] = SPLITS,
    quick: bool = False,
    n_workers: int = N_WORKERS,
    on_progress: Progress = lambda done, total: None,
) -> TrialReport:
    """The whole study: files of trials in; figures, choices and a report in ``out/trials``.

    Args:
        n_seen: Own attempts that had ended when a case was decided.
        quick: One seed, the declared cost weight, no token models, 100 resamples: to see that it
            runs, not to believe.

    Raises:
        ValueError: a cost weight is none of ``COST_WEIGHTS``, no case can be decided, or a split
            has fewer than three folds.
    """
    if unknown := set(cost_weights) - set(COST_WEIGHTS):
        raise ValueError(f"cost weights {sorted(unknown)} are none of {COST_WEIGHTS}")
    if quick:
        archs = [arch for arch in archs if arch not in TOKEN_ARCHS]
        seeds, cost_weights = seeds[:1], (DECLARED_WEIGHT,)
    n_resamples = 100 if quick else N_BOOTSTRAP
    read = read_trials([trials_file])
    tasks = {} if tasks_file is None else parse_study_tasks(tasks_file.read_bytes())
    study = build_trial_study(read.trials, tasks, n_seen=n_seen)
    if not study.cases.height:
        why = Counter(left.reason for left in study.left_out).most_common()
        told = "; ".join(f"{n} cases: {reason}" for reason, n in why) or "it holds no attempt"
        raise ValueError(f"nothing of {trials_file} can be replayed: {told}")
    arrays = study_arrays(study, cost_weights)
    fits = fits_of(
        arrays, archs=archs, seeds=seeds, splits=splits, token_weights=token_weights,
        token_splits=token_splits,
    )  # fmt: skip
    choices, seconds = learn_policies(
        study, arrays, fits, n_workers=n_workers, on_progress=on_progress
    )
    table = study_table(study.cases, study.outcomes, {}, n_resamples=n_resamples)
    learned, by_seed = policy_figures(study, choices, n_resamples=n_resamples)
    figures = pl.concat([table.filter(pl.col("cost_weight").is_in(list(cost_weights))), learned])
    report = TrialReport(
        n_seen=n_seen,
        n_cases=study.cases.height,
        n_tasks=study.cases["issue_id"].n_unique(),
        n_systems=study.cases["system"].n_unique(),
        read=read.count,
        left_out=study.left_out,
        figures=figures,
        seeds=by_seed,
        splits=tuple(splits),
        shipping=may_ship_recurrent(figures),
        plain=plain_verdict(figures, splits),
        settings={f"{fit.arch}.{fit.labels}": config_of_fit(fit) for fit in reversed(fits)},
        cpu_seconds=seconds,
    )
    write_report(report, choices, out / "trials")
    return report
