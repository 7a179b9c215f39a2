"""The trial study: past decisions of logged attempts, and the outcome of every action they had.

Belongs here: one decision a case with a real planner input, its default, folds, labels, outcomes.
Does not: training anything, judging (``evaluation.study``). Spec: sections 5.3, 8.2 and 9.

A case is one system at one task. Its decision is made at the start of its first attempt, or of a
later one when earlier attempts are history by then; outcomes are replayed on the attempts that were
still to come, so a decision never sees what scores it. An attempt's outcome counts as known at its
recorded end, else when its duration is over, which may leave out the tests that followed. The issue
is the task, so ``dk_attempts`` counts the failures of every system at it, as a kernel would.

The study offers 5 and 10 minutes, which ``planner_input.v1`` has no bins for. ``STUDY_SPACE`` holds
the actions that are scored; the document declares ``INPUT_SPACE``, the bins of it that the contract
knows. Neither tokens nor features read that section.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec
import numpy as np
import polars as pl

from planner_pipeline.bench.replay import (
    Budget,
    LeftOut,
    case_id_of,
    cases_of,
    expected_outcomes,
    replay,
    winners,
)
from planner_pipeline.history.past_runs import table_of_summaries
from planner_pipeline.history.planner_inputs import BuiltInput, InputBuilder
from planner_pipeline.sources.trials import Trial
from planner_pipeline.tables import STUDY_CASES, check_table, polars_schema
from planner_runtime.actions import NA, ActionSpace, valid_actions
from planner_runtime.archives.runs import RunRecord
from planner_runtime.contracts.run_summary import ActionExecuted, Outcome, RunSummary, Runtime
from planner_runtime.features import feature_vector
from planner_runtime.heuristic import SERIAL, baseline_action
from planner_runtime.inputs import issue_document
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.tokenizer import tokenize

JOB_TYPE: Final = "code"
STUDY_SPACE: Final = ActionSpace(
    max_candidates_bins=(1, 2, 3), max_minutes_bins=(5, 10, 15, 30), max_iterations_bins=(NA,)
)
INPUT_SPACE: Final = ActionSpace(
    max_candidates_bins=(1, 2, 3), max_minutes_bins=(15, 30), max_iterations_bins=(NA,)
)
# a vote over one candidate is a serial run under another name
STUDY_ACTIONS: Final = tuple(
    action
    for action in valid_actions(STUDY_SPACE, JOB_TYPE)
    if (action.swarm_id == SERIAL) == (action.max_candidates_bin == 1)
)
STUDY_BUDGETS: Final = tuple(
    Budget(int(action.max_candidates_bin), int(action.max_minutes_bin)) for action in STUDY_ACTIONS
)
_AS_RUN: Final = ActionExecuted(
    swarm_id=SERIAL, max_candidates=1, max_minutes=NA, max_iterations=NA
)


class StudyTask(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a task beside its attempts."""

    task_id: str
    difficulty: str | None = None
    keywords: tuple[str, ...] = ()


class TrialStudy(msgspec.Struct, frozen=True, kw_only=True):
    """The data of the study.

    Attributes:
        cases: ``STUDY_CASES``, one decision a case, by case id; ``default_action`` and every other
            action is an index into ``STUDY_ACTIONS``.
        outcomes: ``ACTION_OUTCOMES`` of these cases on their attempts still to come.
        left_out: Cases without a decision, with the reason.
    """

    cases: pl.DataFrame
    outcomes: pl.DataFrame
    left_out: tuple[LeftOut, ...]


def parse_study_tasks(lines: bytes) -> dict[str, StudyTask]:
    """Tasks by their ids from JSON lines; other keys are passed over.

    Raises:
        msgspec.MsgspecError: a line is no task.
    """
    return {task.task_id: task for task in msgspec.json.Decoder(StudyTask).decode_lines(lines)}


def _ended_ms(trial: Trial) -> int | None:
    if trial.ended_ms is not None or trial.started_ms is None or trial.duration_ms is None:
        return trial.ended_ms
    return trial.started_ms + trial.duration_ms


def _issue(trial: Trial, tasks: Mapping[str, StudyTask]) -> dict[str, Any]:
    """The ``issue`` section of an attempt's task; attempts are counted by whoever asks."""
    task = tasks.get(trial.issue_id)
    tags = [tag for tag in (trial.dataset, trial.repo) if tag]
    if task is not None and task.difficulty:
        tags.append(f"difficulty:{task.difficulty}")
    issue = issue_document({"id": trial.issue_id, "title": trial.issue_id, "tags": tags})
    if task is not None and task.keywords:
        issue["keywords"] = list(task.keywords)
    return issue


def _status(trial: Trial) -> Literal["success", "failed", "timeout"]:
    if trial.passed:
        return "success"
    return "timeout" if trial.fail_code == "agent_timeout" else "failed"


def _run_id(trial: Trial) -> str:
    return f"{case_id_of(trial)}#{trial.attempt}"


def _summary(trial: Trial, started_ms: int, tasks: Mapping[str, StudyTask]) -> RunSummary:
    """An attempt as history shows it: one serial candidate under a limit that nobody recorded."""
    issue = _issue(trial, tasks)
    return RunSummary(
        run_id=_run_id(trial),
        group_id=_run_id(trial),
        started_ms=started_ms,
        ended_ms=_ended_ms(trial),
        issue_id=trial.issue_id,
        job_type=JOB_TYPE,
        domain="code",
        toolchain=trial.system,
        tags=tuple(issue["tags"]),
        keywords=tuple(issue["keywords"]),
        action_executed=_AS_RUN,
        outcome=Outcome(
            status=_status(trial),
            fail_codes=(trial.fail_code,) if trial.fail_code and not trial.passed else (),
        ),
        runtime=Runtime(duration_ms=trial.duration_ms),
        cost_usd_est=trial.cost_usd,
        tokens_in=trial.tokens_in,
        tokens_out=trial.tokens_out,
    )


class _Decision(msgspec.Struct, frozen=True, kw_only=True):
    """One case at the moment of its decision."""

    case_id: str
    decided_ms: int
    to_come: tuple[Trial, ...]  # by start; the first of them starts at ``decided_ms``


def _decision(case_id: str, attempts: Sequence[Trial], n_seen: int) -> _Decision | LeftOut:
    starts = [trial.started_ms for trial in attempts if trial.started_ms is not None]
    if len(starts) < len(attempts):
        return LeftOut(case_id=case_id, reason="some attempts have no start")
    if len(attempts) <= n_seen:
        return LeftOut(case_id=case_id, reason=f"no attempt is left after {n_seen}")
    ordered = sorted(attempts, key=lambda trial: (trial.started_ms or 0, trial.attempt))
    decided_ms = sorted(starts)[n_seen]
    ends = [end for trial in ordered[:n_seen] if (end := _ended_ms(trial)) is not None]
    if len(ends) < n_seen:
        return LeftOut(case_id=case_id, reason="some earlier attempts have no known end")
    if max(ends, default=decided_ms) > decided_ms:
        return LeftOut(case_id=case_id, reason="earlier attempts were still running")
    return _Decision(case_id=case_id, decided_ms=decided_ms, to_come=tuple(ordered[n_seen:]))


def _decided_run(decision: _Decision, example_id: str, tasks: Mapping[str, StudyTask]) -> RunRecord:
    trial = decision.to_come[0]
    return RunRecord(
        run_id=example_id,
        kind="workcell",
        group_id=example_id,
        issue_id=trial.issue_id,
        job_type=JOB_TYPE,
        domain="code",
        toolchain=trial.system,
        universe_id=trial.dataset or "unknown",
        issue=_issue(trial, tasks),
        system_state={"available_toolchains": [trial.system]},
        decided_ms=decision.decided_ms,
    )


def _folds(names: Iterable[str], n_folds: int, seed: int) -> dict[str, int]:
    """A fold for every name, of sizes that differ by one at most."""
    ordered = sorted(set(names))
    order = np.random.default_rng(seed).permutation(len(ordered))
    return {ordered[i]: rank % n_folds for rank, i in enumerate(order)}


def _case_row(decision: _Decision, run: RunRecord, built: BuiltInput) -> dict[str, Any]:
    default = baseline_action(STUDY_SPACE, built.question, SHIPPED_CONFIG)
    seen = built.question.history.last_n_similar_runs
    own = (run.issue_id, run.toolchain)
    return {
        "case_id": decision.case_id,
        "example_id": run.run_id,
        "system": run.toolchain,
        "issue_id": run.issue_id,
        "decided_ms": decision.decided_ms,
        "n_similar": len(seen),
        "n_own_seen": sum((past.issue_id, past.toolchain) == own for past in seen),
        "newest_seen_ms": built.newest_seen_ms,
        "attempts": [trial.attempt for trial in decision.to_come],
        "default_action": STUDY_ACTIONS.index(default),
        "planner_input": built.text,
        "token_ids": tokenize(built.question),
        "features": feature_vector(built.question),
    }


def build_trial_study(
    trials: Sequence[Trial],
    tasks: Mapping[str, StudyTask] | None = None,
    *,
    n_seen: int = 0,
    n_similar: int = 8,
    n_task_folds: int = 5,
    seed: int = 0,
) -> TrialStudy:
    """One decision for every case, after ``n_seen`` of its own attempts.

    The default is the kernel's own plan under the configuration it ships (``baseline_action``):
    one serial candidate, whose limit of an hour snaps to the loosest bin, 30 minutes.

    Folds are the same whatever ``n_seen``: ``task_fold`` keeps all systems of a task together,
    ``system_fold`` is a system's own.

    Args:
        trials: Attempts of all cases; those of cases that are left out are history all the same.
        tasks: Difficulty and keywords by issue id.
        n_seen: Own attempts that had ended when the decision was made. Whether they are among the
            similar runs is up to retrieval, as in serving: ``n_own_seen`` tells how many are.

    Raises:
        ValueError: ``n_seen`` is negative.
    """
    if n_seen < 0:
        raise ValueError(f"n_seen must not be negative, got {n_seen}")
    tasks = tasks or {}
    decisions: dict[str, _Decision] = {}
    left_out: list[LeftOut] = []
    played: list[Trial] = []
    for case_id, attempts in cases_of(trials).items():
        decision = _decision(case_id, attempts, n_seen)
        if isinstance(decision, LeftOut):
            left_out.append(decision)
        else:
            decisions[case_id] = decision
            played.extend(decision.to_come)
    replayed = replay(played, STUDY_BUDGETS)
    for unknown in replayed.left_out:
        del decisions[unknown.case_id]
    builder = InputBuilder(
        table_of_summaries(
            _summary(t, t.started_ms, tasks) for t in trials if t.started_ms is not None
        ),
        space=INPUT_SPACE,
        n_similar=n_similar,
    )
    runs = [_decided_run(d, f"{d.case_id}@{n_seen}", tasks) for d in decisions.values()]
    task_fold = _folds((trial.issue_id for trial in trials), n_task_folds, seed)
    systems = {trial.system for trial in trials}
    system_fold = _folds(systems, max(1, len(systems)), seed)
    rows = [
        {
            **_case_row(decision, run, built),
            "n_seen": n_seen,
            "task_fold": task_fold[run.issue_id or ""],
            "system_fold": system_fold[run.toolchain or ""],
        }
        for decision, run, built in zip(
            decisions.values(), runs, builder.planner_inputs(runs), strict=True
        )
    ]
    table = pl.DataFrame(rows, schema=polars_schema(STUDY_CASES), orient="row")
    return TrialStudy(
        cases=check_table(STUDY_CASES, table),
        outcomes=replayed.outcomes,
        left_out=tuple(sorted((*left_out, *replayed.left_out), key=lambda left: left.case_id)),
    )


def study_labels(
    study: TrialStudy, *, cost_weight: float, ties: Literal["first", "last"] = "first"
) -> np.ndarray:
    """(N,) int64, the winner of each case in the order of ``study.cases``: to learn from only.

    Args:
        ties: "last" takes the loosest of limits that make no odds to these attempts.
    """
    expected = expected_outcomes(study.outcomes, STUDY_BUDGETS)
    best = winners(expected, cost_weight=cost_weight, ties=ties)
    labels = study.cases.select("case_id").join(best, on="case_id", maintain_order="left")
    return labels["action"].to_numpy()
