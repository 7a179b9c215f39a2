"""A session of a bench: everything that one command or one asset needs to go on with it.

Belongs here: opening what is in a bench directory and putting the parts together: configuration,
executor, cases, candidates, units, labels. Does not: any of these parts.
Spec: section 9; the directory is described in docs/bench.md.
"""

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

import msgspec
import polars as pl

from planner_pipeline.artifacts import only_one, write_bytes, write_parquet
from planner_pipeline.bench.campaign import (
    Campaign,
    CampaignEnd,
    CampaignRunner,
    Tell,
    units_of,
    worst_case_of,
)
from planner_pipeline.bench.candidates import Lesson, policy_of, rule_of, select_campaign
from planner_pipeline.bench.cases import CaseBuilder, NoCase, every_stored_case, stored_cases
from planner_pipeline.bench.config import (
    CONFIG_FILE,
    BenchConfig,
    BenchConfigError,
    config_of,
    read_config,
    unit_config_hash,
)
from planner_pipeline.bench.crash_points import crash_point
from planner_pipeline.bench.executors.command import CommandExecutor
from planner_pipeline.bench.executors.cyntra import CyntraExecutor
from planner_pipeline.bench.executors.local import LocalExecutor
from planner_pipeline.bench.executors.replay import REPLAY_SPACE, ReplayExecutor, replay_cases
from planner_pipeline.bench.labels import label_table, training_winners, winner_labels
from planner_pipeline.bench.ledger import Ledger, Totals
from planner_pipeline.bench.outcome_rows import outcome_rows
from planner_pipeline.bench.pass_counts import PassCounts
from planner_pipeline.bench.protocol import Case, Executor, Spend, Unit, words_of
from planner_pipeline.bench.sandbox import open_sandbox, reap_orphans
from planner_pipeline.bench.selections import Selection, candidate_table, read_selections
from planner_pipeline.bench.units import UnitStore
from planner_pipeline.sources.settings import UniverseRecord, read_universes
from planner_pipeline.sources.trials import read_trials
from planner_runtime.actions import Action, ActionSpace
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.planner import Planner, action_of

Learner = Callable[[Sequence[BenchOutcome], Sequence[Case], BenchConfig], Lesson]
ExecutorName = Literal["local", "cyntra", "command", "replay"]
CANDIDATES_FILE: Final = "candidates.parquet"
LABELS_FILE: Final = "labels.parquet"
WINNERS_FILE: Final = "winners.parquet"
OUTCOMES_FILE: Final = "outcomes.parquet"
DEFAULT_OBJECTIVE: Final[dict[str, Literal["max", "min"]]] = {
    "overall": "max",
    "duration_ms": "min",
}


class BenchRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody asks of a bench.

    Attributes:
        out: The output directory; everything of the bench is in ``out/bench``.
        issues: Ids; None for every open issue, or every case of the trials.
        trials: For ``replay``; none takes the workspace's ``trials.parquet``.
        command: For ``command``.
        bundle: Whose choices are evaluated as well; None for none.
        fresh: Whether cases are asked again, with today's history and commit.
    """

    repo: Path
    out: Path
    executor: ExecutorName
    config: BenchConfig
    issues: tuple[str, ...] | None = None
    trials: tuple[Path, ...] = ()
    command: tuple[str, ...] = ()
    bundle: Path | None = None
    fresh: bool = False

    @property
    def bench(self) -> Path:
        """The bench directory."""
        return self.out / "bench"


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """The tables of a bench.

    Attributes:
        labels: ``WINNER_LABELS``.
        outcomes: ``OUTCOMES``, one row for every outcome that tells something.
    """

    labels: pl.DataFrame
    outcomes: pl.DataFrame


def workspace_config(repo: Path, file: Path | None) -> BenchConfig:
    """The configuration in ``file``, else the workspace's own, else the defaults.

    Raises:
        BenchConfigError: it cannot be used.
    """
    if file is not None:
        return read_config(file)
    own = repo / CONFIG_FILE
    return read_config(own) if own.exists() else BenchConfig()


def overridden(config: BenchConfig, given: Mapping[str, Any]) -> BenchConfig:
    """A configuration with what was given in the place of its own; None is not given.

    Raises:
        BenchConfigError: a value has no meaning.
    """
    document = msgspec.to_builtins(config) | {
        name: value for name, value in given.items() if value is not None
    }
    return config_of(document)


def objective_of(config: BenchConfig, universes: Sequence[UniverseRecord]) -> dict[str, str]:
    """Metrics by priority: the configuration's, else of the first universe with a default one."""
    if config.objective:
        return dict(config.objective)
    for universe in universes:
        named = universe.objectives.get(universe.default_objective_id or "")
        if named:
            return named
    return dict(DEFAULT_OBJECTIVE)


class BenchSession:
    """One bench, open.

    Attributes:
        cases: Those the executor can run.
        refused: Issues that are no case, with the reason.
        choices: What the bundle would have decided, by case id; empty without one.
        selections: Candidates of every case.
        units: Everything that is to run.

    Args:
        learner: Makes the model of ``select: value`` of outcomes so far; without one passes are
            counted.

    Raises:
        BenchConfigError: what was asked for does not fit together.
    """

    def __init__(self, request: BenchRequest, learner: Learner | None = None) -> None:
        self.request, self.bench, self._learner = request, request.bench, learner
        config = request.config
        if request.executor == "replay":  # logged minutes are minutes
            config = msgspec.structs.replace(config, minute_seconds=60.0)
        self.config = config
        universes = read_universes(request.repo).universes
        self.objective = objective_of(config, universes)
        self.store = UnitStore(self.bench)
        self.mark = f"bench-{sha256(str(self.bench.resolve()).encode()).hexdigest()[:12]}"
        self.ledger = Ledger(self.bench, config.caps, session=uuid.uuid4().hex[:12])
        self.executor = self._executor()
        self.campaign = Campaign(
            config=config,
            config_hash=unit_config_hash(config, request.executor, self.executor.versions()),
            universe_hash=document_hash(msgspec.to_builtins(universes)) if universes else None,
            versions=self.executor.versions(),
        )
        self._others: list[Case] = []
        self.cases, self.refused, self.space = self._cases()
        self.choices = model_choices(request.bundle, self.cases)
        with only_one(self.bench / "candidates.lock"):  # who reads them adds to them
            self.selections = self._selected()
        actions = {one.case_id: one.actions for one in self.selections}
        self.units = units_of(self.campaign, self.cases, actions)

    def _executor(self) -> Executor:
        request, config = self.request, self.config
        if request.executor == "local":
            return LocalExecutor(request.repo, self.bench, config, open_sandbox(), mark=self.mark)
        if request.executor == "cyntra":
            return CyntraExecutor(request.repo, config=config, keep=self.bench / "workspaces")
        if request.executor == "command":
            if not request.command:
                raise BenchConfigError("--executor command needs --command")
            return CommandExecutor(request.command, repository=request.repo, config=config)
        self._trials = read_trials(list(request.trials or (request.repo / "trials.parquet",)))
        return ReplayExecutor(self._trials.trials, config)

    def _cases(self) -> tuple[list[Case], list[NoCase], ActionSpace]:
        wanted = self.request.issues
        if self.request.executor == "replay":
            cases, refused = replay_cases(self._trials.trials)
            self._others = cases
            chosen = [case for case in cases if wanted is None or case.issue_id in wanted]
            return chosen, refused, REPLAY_SPACE
        builder = CaseBuilder(self.request.repo, self.request.out)
        ids = builder.open_issues() if wanted is None else wanted
        found, refused = stored_cases(builder, ids, self.bench, fresh=self.request.fresh)
        whys = {case.case_id: self.executor.why_not(case) for case in found}
        self._others = every_stored_case(self.bench)
        refused += [
            NoCase(issue_id=case.issue_id, reason=why)
            for case in found
            if (why := whys[case.case_id]) is not None
        ]
        return [case for case in found if whys[case.case_id] is None], refused, builder.space

    def _lesson(self, outcomes: Sequence[BenchOutcome]) -> Lesson | None:
        """What outcomes so far teach about candidates; None where coverage alone decides."""
        if self.config.select == "coverage":
            return None
        if self.config.select == "value" and self._learner is not None:
            known = {case.case_id: case for case in (*self._others, *self.cases)}
            return self._learner(outcomes, list(known.values()), self.config)
        fallback = "pass_counts (fallback: nothing here learns utilities)"
        words = fallback if self.config.select == "value" else ""
        return Lesson(words=words, fit=lambda: PassCounts(outcomes))

    def _selected(self) -> list[Selection]:
        """Candidates of every case: as chosen before under the same rule, else chosen now.

        A case of which nothing ran yet is chosen for again where outcomes taught another model.
        """
        path = self.bench / CANDIDATES_FILE
        before = read_selections(pl.read_parquet(path)) if path.exists() else []
        asks = self.config.select != "coverage"
        outcomes = [outcome for some in self.store.every() for outcome in some] if asks else []
        lesson = self._lesson(outcomes)
        words = "" if lesson is None else lesson.words
        also = {case_id: (choice,) for case_id, choice in self.choices.items()}
        policy = policy_of(self.config, has_model=lesson is not None, words=words)
        waiting = {case.case_id for case in self.cases} - {one.case_id for one in outcomes}
        kept = [
            one
            for one in before
            if (rule_of(one.policy), one.seed) == (rule_of(policy), self.config.seed)
            and (one.policy == policy or one.case_id not in waiting)
            and set(also.get(one.case_id, ())) <= set(one.actions)
        ]
        is_new = {case.case_id for case in self.cases} - {one.case_id for one in kept}
        chosen = select_campaign(
            self.cases,
            space=self.space,
            config=self.config,
            model=lesson.fit() if lesson is not None and is_new else None,
            words=words,
            also=also,
            already=kept,
        )
        ids = {one.case_id for one in chosen}
        every = [*(one for one in kept if one.case_id not in ids), *chosen]
        write_parquet(candidate_table(every, bench_config_hash=self.campaign.config_hash), path)
        crash_point("candidates_stored")
        return chosen

    def plan(self) -> tuple[int, Spend, Totals]:
        """Units that are not recorded yet, the most they may take, and what was spent so far."""
        waiting = [unit for unit in self.units if unit.unit_id not in self.store]
        return *worst_case_of(self.executor, waiting), self.ledger.totals()

    def run(self, tell: Tell | None = None) -> CampaignEnd:
        """Run what is not recorded yet. Raises as ``CampaignRunner.run``."""
        for unit_id in self.store.abandoned():
            reap_orphans(f"{self.mark}:{unit_id}")
        runner = CampaignRunner(self.campaign, self.executor, self.store, self.ledger, tell=tell)
        return runner.run(self.units)

    def forget_infra_errors(self) -> int:
        """Remove the records of units whose harness failed, so that they run again."""
        failed = [
            unit.unit_id
            for unit in self.units
            if unit.unit_id in self.store
            and self.store.read(unit.unit_id)[-1].status == "infra_error"
        ]
        for unit_id in failed:
            self.store.forget(unit_id)
        return len(failed)

    def outcomes(self) -> list[BenchOutcome]:
        """Outcomes of all units of this session that are recorded."""
        return list(recorded(self.store, self.units))

    def executor_words(self) -> str:
        """What runs the units, and how it is confined."""
        isolation = getattr(self.executor, "isolation", None)
        return self.executor.name + ("" if isolation is None else f" sandbox of {isolation}")

    def candidates(self) -> pl.DataFrame:
        """``CANDIDATES`` of this session's cases."""
        return candidate_table(self.selections, bench_config_hash=self.campaign.config_hash)

    def stale_issues(self) -> list[str]:
        """Issues some unit of which is not recorded under today's configuration and toolchains."""
        missing = (unit for unit in self.units if unit.unit_id not in self.store)
        return sorted({unit.case.issue_id for unit in missing})

    def judge(self, *, is_part: bool = False) -> Judged:
        """Labels and outcomes of what is recorded, and their files in the bench directory.

        Args:
            is_part: Whether this session holds some issues of a bench only: no files then.
        """
        outcomes = self.outcomes()
        labels = winner_labels(
            outcomes,
            objective=self.objective,  # type: ignore[arg-type]
            config=self.config,
            space=self.space,
            planned={one.case_id: one.actions for one in self.selections},
        )
        judged = Judged(labels=label_table(labels), outcomes=outcome_rows(outcomes, self.cases))
        if is_part:
            return judged
        write_parquet(judged.labels, self.bench / LABELS_FILE)
        write_parquet(judged.outcomes, self.bench / OUTCOMES_FILE)
        write_parquet(training_winners(judged.labels), self.bench / WINNERS_FILE)
        told = msgspec.to_builtins(self.config) | {
            "executor": self.executor.name,
            "bench_config_hash": self.campaign.config_hash,
            "universe_hash": self.campaign.universe_hash,
            "toolchain_versions": self.campaign.versions,
            "objective": self.objective,
        }
        write_bytes(msgspec.json.format(msgspec.json.encode(told)), self.bench / "config.json")
        crash_point("labels_written")
        return judged


def told_of(unit: Unit, outcomes: Sequence[BenchOutcome]) -> str:
    """What came of a unit, in a line."""
    last = outcomes[-1]
    took = "" if last.duration_ms is None else f" {last.duration_ms / 1_000:.2f} s"
    why = "" if last.reason is None else f" ({last.reason})"
    words = f"issue {unit.case.issue_id} {words_of(unit.action)} #{unit.repeat}"
    return f"{words}: {last.status}{took}{why}"


def recorded(store: UnitStore, units: Iterable[Unit]) -> Iterable[BenchOutcome]:
    """Outcomes of those units that are recorded, in their order."""
    for unit in units:
        if unit.unit_id in store:
            yield from store.read(unit.unit_id)


def model_choices(bundle: Path | None, cases: Iterable[Case]) -> dict[str, Action]:
    """What a bundle would have decided in every case, by case id; nothing without a bundle."""
    if bundle is None:
        return {}
    planner = Planner.open(bundle, deadline_ms=None)
    return {case.case_id: action_of(planner.decide(case.planner_input).action) for case in cases}


def benched_issues(bench: Path) -> list[str]:
    """Ids of the issues that have a case."""
    return [case.issue_id for case in every_stored_case(bench)]
