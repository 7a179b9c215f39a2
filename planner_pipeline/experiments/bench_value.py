"""What a bench's own outcomes teach the bench: utilities of every action of its next cases.

Belongs here: the value model that chooses candidates, what it is fitted on, when there is too
little for one. Does not: the model (``training.value_fit``), rows of outcomes (``bench_rows``), the
choice (``bench.candidates``). Spec: sections 7.4 and 9.1.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from planner_pipeline.bench.candidates import Decision, Lesson
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.pass_counts import PassCounts
from planner_pipeline.bench.protocol import Case
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.experiments.bench_rows import BenchData, bench_data, numbers_of, ran_of
from planner_pipeline.parts import Parts
from planner_pipeline.tables import RUNS, polars_schema
from planner_pipeline.training.outcome_data import Decisions, Tries, tries_of_runs
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import OutcomeData, Scored, features_of
from planner_pipeline.training.outcome_workspace import (
    RUN_COLUMNS,
    outcome_runs,
    workspace_outcomes,
)
from planner_pipeline.training.value_fit import (
    FittedValue,
    expected_of,
    fit_value,
    outcomes_by_case,
)
from planner_runtime.actions import Action
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.objective import DEFAULT_OBJECTIVE, Outlook, Weights, utility
from planner_runtime.outcomes.features import (
    CHOICES,
    OUTCOME_FEATURES,
    RECORD_FEATURES,
    outcome_spec_hash,
    plain_vector,
)
from planner_runtime.outcomes.track_record import TrackRecord

NAME: Final = "outcomes.v1"
LEAST_TRIES: Final = 20  # fewer tell of their own luck
LEAST_ISSUES: Final = 5


def together(first: OutcomeData, second: OutcomeData) -> OutcomeData:
    """Both, the decisions of ``first`` before those of ``second``."""

    def joined(name: str, of: str) -> np.ndarray:
        return np.concatenate([getattr(getattr(one, of), name) for one in (first, second)])

    n = len(first.decisions)
    scored = {name: joined(name, "scored") for name in Scored.__struct_fields__}
    scored["decision"] = np.concatenate([first.scored.decision, second.scored.decision + n])
    return OutcomeData(
        tries=Tries(*(joined(name, "tries") for name in Tries.__struct_fields__)),
        case=np.concatenate([first.case, np.where(second.case < 0, -1, second.case + n)]),
        decisions=Decisions(*(joined(name, "decisions") for name in Decisions.__struct_fields__)),
        base=np.concatenate([first.base, second.base]),
        choices=np.concatenate([first.choices, second.choices]),
        scored=Scored(**scored),
        mode="as_of",
    )


def archived(out: Path) -> OutcomeData | None:
    """Runs of the workspace that was built in ``out``, with its decisions where there is a data
    set, else as history alone; None without any run that tells of an outcome.
    """
    runs = Parts.load(out / "parts" / "run_summaries").table(list(RUN_COLUMNS), polars_schema(RUNS))
    told = outcome_runs(runs)
    if not told.height:
        return None
    try:
        dataset = Dataset(out / "dataset")
    except (OSError, msgspec.DecodeError):
        dataset = None
    if dataset is not None and dataset.index.height:
        return workspace_outcomes(dataset, runs, dataset.index).data
    names, nothing = np.zeros(0, dtype=object), np.zeros(0)
    tries, width = tries_of_runs(told), len(OUTCOME_FEATURES) - len(RECORD_FEATURES)
    return OutcomeData(
        tries=tries,
        case=np.full(len(tries), -1, dtype=np.int64),
        decisions=Decisions(names, names, np.zeros(0, dtype=np.int64)),
        base=np.zeros((0, width), dtype=np.float32),
        choices=np.zeros((0, len(CHOICES)), dtype=np.float32),
        scored=Scored(np.zeros(0, dtype=np.int64), nothing, nothing, nothing),
        mode="as_of",
    )


class OutcomeValues:
    """Utilities of actions as an outcome model sees them; a ``bench.candidates.UtilityModel``."""

    def __init__(
        self, fitted: FittedValue, cases: Iterable[Case], usual: str, *, config: BenchConfig,
        weights: Weights, is_replayed: bool = False,
    ) -> None:  # fmt: skip
        self._fitted, self._usual = fitted, usual
        self._cases = {case.case_id: case for case in cases}
        self._config, self._weights, self._is_replayed = config, weights, is_replayed
        self._record = TrackRecord(fitted.state)

    def utilities(self, actions: Sequence[Action], case: Decision) -> np.ndarray:
        """(R, A) utility in every row: doubts of the model, and of the case among its like.

        Rows that stand for parts are rough, so their mean is moved to the model's own.
        """
        known = self._cases[case.case_id]
        question = read_document(known.planner_input, PlannerInput)
        record = self._record.of(known.system or self._usual, case.issue_id)
        features = features_of([record], plain_vector(question)[None])
        asked = (
            self._fitted,
            np.repeat(features, len(actions), axis=0),
            numbers_of(actions, self._config, is_replayed=self._is_replayed),
        )
        mean = utility(Outlook(**expected_of(*asked)), self._weights).mean(axis=0)
        rows = utility(Outlook(**outcomes_by_case(*asked)), self._weights)
        moved: np.ndarray = rows + (mean - rows.mean(axis=0))
        return moved

    def spread(self, actions: Sequence[Action], case: Decision | None = None) -> np.ndarray:
        """(A,) standard deviation of each action's utility.

        Raises:
            ValueError: no case is given.
        """
        if case is None:
            raise ValueError("an outcome model tells of a case")
        deviation: np.ndarray = self.utilities(actions, case).std(axis=0)
        return deviation


class OutcomeLearner:
    """Learns a value model from what a bench recorded and what the workspace archived.

    Args:
        out: Where the workspace's data set was built.
        weights: What utility is.
    """

    def __init__(
        self,
        out: Path,
        *,
        weights: Weights = DEFAULT_OBJECTIVE.weights,
        fit: OutcomeConfig = OutcomeConfig(),  # noqa: B008 - frozen
    ) -> None:
        self._out, self._weights, self._fit = out, weights, fit

    def __call__(
        self, outcomes: Sequence[BenchOutcome], cases: Sequence[Case], config: BenchConfig
    ) -> Lesson:
        """What to choose candidates by: this model, or counts where it has too little.

        Its hash is of all it is fitted on and how, so that it is known before anything is fitted.
        """
        questions = {case.case_id: case.planner_input for case in cases}
        ran = [one for one in ran_of(outcomes) if one.case_id in questions]
        of_bench = bench_data(ran, questions, config) if ran else None
        parts = [None if of_bench is None else of_bench.data, archived(self._out)]
        known = [part for part in parts if part is not None]
        data = together(*known) if len(known) > 1 else known[0] if known else None
        why = too_little(data)
        if data is None or why is not None:
            counted = list(outcomes)
            return Lesson(f"pass_counts (fallback: {why})", lambda: PassCounts(counted))
        told: OutcomeData = data
        return Lesson(
            words=f"{NAME}:{self.hash_of(told, config)[:16]}",
            fit=lambda: OutcomeValues(
                fit_value(told, self._fit),
                cases,
                _usual(told, of_bench),
                config=config,
                weights=self._weights,
                is_replayed=of_bench is not None and of_bench.is_replayed,
            ),
        )

    def hash_of(self, data: OutcomeData, config: BenchConfig) -> str:
        """sha256 of the data, the fit, the features and the weights of the utility."""
        arrays: list[Any] = [
            getattr(part, name).tolist()
            for part in (data.tries, data.decisions, data.scored)
            for name in part.__struct_fields__
        ]
        arrays += [data.case.tolist(), data.base.tolist(), data.choices.tolist()]
        bins = [config.default_candidates, config.default_minutes]
        told = [repr(arrays), repr(self._fit), repr(self._weights), outcome_spec_hash(), bins]
        return document_hash(told)


def _usual(data: OutcomeData, of_bench: BenchData | None) -> str:
    """The toolchain that most cases of the bench are of; without a bench, most tries."""
    names = data.tries.toolchain.tolist() if of_bench is None else of_bench.toolchain.values()
    counts = Counter(map(str, names))
    return min(counts, key=lambda name: (-counts[name], name))


def too_little(data: OutcomeData | None) -> str | None:
    """Why data tells too little to learn a value model from; None where it tells enough."""
    if data is None:
        return "nothing was tried yet"
    rows = data.case >= 0
    n, issues = int(rows.sum()), len(set(data.tries.issue[rows].tolist()))
    if n < LEAST_TRIES or issues < LEAST_ISSUES:
        return f"{n} tries at {issues} issues, {LEAST_TRIES} at {LEAST_ISSUES} are needed"
    if data.tries.passed[rows].all() or not data.tries.passed[rows].any():
        return "every try came to the same"
    return None
