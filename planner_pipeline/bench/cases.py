"""Cases of a bench: issues as decisions, with what a planner would have been asked.

Belongs here: an issue's question, its baseline, the commit to start from; cases on disk. Does not:
choosing candidates (``candidates``). Spec: sections 3.1 and 9.

An issue that is open is asked now: after everything the workspace holds, from HEAD. One that is
closed is asked as it was at its newest decision in the data set, from the commit that decision's
workcell started from, so that its winner is a label for that very example.

A case is stored when it is first made and stays until its issue, its baseline or the action space
is another, or until somebody asks for fresh ones: a bench that goes on tomorrow goes on with the
same questions from the same commit.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec

from planner_pipeline.artifacts import write_bytes
from planner_pipeline.bench.crash_points import crash_point
from planner_pipeline.bench.protocol import Case
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.history.past_runs import COLUMNS
from planner_pipeline.history.planner_inputs import BuiltInput, InputBuilder
from planner_pipeline.parts import Parts
from planner_pipeline.sources.settings import read_kernel_config, read_universes
from planner_pipeline.tables import RUNS, polars_schema, read_records
from planner_runtime.actions import ActionSpace, action_space_for_swarms
from planner_runtime.archives.beads import IssueRecord, read_issues
from planner_runtime.archives.git_history import head_commit
from planner_runtime.archives.runs import RunRecord
from planner_runtime.archives.workcell_files import FOLDER as ARCHIVES
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.reading import read_document
from planner_runtime.heuristic import baseline_action
from planner_runtime.inputs import domain_of, issue_document, job_type_of
from planner_runtime.kernel_config import KernelConfig

FOLDER: Final = "cases"
OPEN: Final = ("open", "ready")
ASKED_NOW: Final = "asked now"


class CasesError(ValueError):
    """No case can be made of what was asked for."""


class NoCase(msgspec.Struct, frozen=True, kw_only=True):
    """An issue that is no case, and why."""

    issue_id: str
    reason: str


class _Proof(msgspec.Struct):
    patch: dict[str, object] = {}


class CaseBuilder:
    """Makes cases of the issues of one workspace.

    Args:
        repo: The workspace.
        out: Where its runs and data set were built; without them questions have no history.

    Attributes:
        issues: As they stand, by id, in file order.
    """

    def __init__(self, repo: Path, out: Path) -> None:
        self._repo = repo
        self._config: KernelConfig = read_kernel_config(repo).config
        universes = read_universes(repo).universes
        self.space: ActionSpace = action_space_for_swarms(
            [swarm for universe in universes for swarm in universe.swarm_ids]
        )
        self.issues: dict[str, IssueRecord] = {
            record.issue_id: record for record in read_issues(repo).issues
        }
        runs = Parts.load(out / "parts" / "run_summaries").table(
            [*COLUMNS, "decided_ms", "record_json"], polars_schema(RUNS)
        )
        self._builder = InputBuilder(runs, space=self.space, n_similar=8)
        moments = [*runs["decided_ms"].drop_nulls(), *runs["ended_ms"].drop_nulls()]
        self._now_ms = max(moments, default=0) + 1
        newest = runs.drop_nulls("decided_ms").sort("decided_ms").tail(50)
        states = [run.system_state for run in read_records(newest, RunRecord) if run.system_state]
        self._state = states[-1] if states else None
        self._dataset = _dataset(out / "dataset")

    def open_issues(self) -> list[str]:
        """Ids of the issues that wait for work, in file order."""
        return [issue_id for issue_id, record in self.issues.items() if record.status in OPEN]

    def case(self, issue_id: str) -> Case | NoCase:
        """The case of one issue."""
        record = self.issues.get(issue_id)
        if record is None:
            return NoCase(issue_id=issue_id, reason="no such issue in .beads/issues.jsonl")
        if record.status in OPEN:
            built = self.question_now(record)
            document = msgspec.json.decode(built.text)
            return self._case(
                record, document, built.input_hash, base_commit=head_commit(self._repo)
            )
        return self._case_then(record)

    def question_now(self, record: IssueRecord) -> BuiltInput:
        """The planner input of an issue, asked after everything the workspace holds, with the
        newest system state that was recorded.
        """
        issue = issue_document(record.raw)
        job_type = job_type_of(issue["tags"])
        asked = RunRecord(
            run_id=ASKED_NOW,
            kind="workcell",
            group_id=ASKED_NOW,
            issue_id=record.issue_id,
            job_type=job_type,
            domain=domain_of(job_type, issue["tags"]),
            issue=issue,
            has_attempts=True,
            system_state=self._state,
            decided_ms=self._now_ms,
        )
        return self._builder.planner_inputs([asked])[0]

    def _case_then(self, record: IssueRecord) -> Case | NoCase:
        """The newest decision about a closed issue whose starting commit is known."""
        refuse = f"it is {record.status}, and no decision about it is in the data set"
        if self._dataset is None:
            return NoCase(issue_id=record.issue_id, reason=refuse)
        rows = self._dataset.index.filter(issue_id=record.issue_id).sort("decided_ms")
        for row in rows.reverse().iter_slices(1):
            example = next(self._dataset.examples_of(row))
            commit = self._base_commit(example.example_id)
            if commit is None:
                refuse = "nobody knows the commit its decision started from"
                continue
            return self._case(
                record, example.planner_input, example.input_hash,
                example_id=example.example_id, base_commit=commit,
            )  # fmt: skip
        return NoCase(issue_id=record.issue_id, reason=refuse)

    def _case(
        self,
        record: IssueRecord,
        document: dict[str, Any],
        input_hash: str,
        *,
        example_id: str | None = None,
        base_commit: str | None = None,
    ) -> Case:
        question = read_document(document, PlannerInput)
        baseline = baseline_action(self.space, question, self._config)
        key = [record.raw, list(baseline), self.space.to_document(), example_id, base_commit]
        return Case(
            case_id=f"{record.issue_id}@{document_hash(key)[:8]}",
            issue_id=record.issue_id,
            job_type=question.job_type,
            issue=record.raw,
            planner_input=document,
            input_hash=input_hash,
            baseline=baseline,
            example_id=example_id,
            base_commit=base_commit,
        )

    def _base_commit(self, workcell_id: str) -> str | None:
        path = self._repo / ARCHIVES / workcell_id / "proof.json"
        try:
            commit = msgspec.json.decode(path.read_bytes(), type=_Proof).patch.get("base_commit")
        except (OSError, msgspec.MsgspecError):
            return None
        return commit if isinstance(commit, str) and len(commit) == 40 else None


def _dataset(folder: Path) -> Dataset | None:
    try:
        return Dataset(folder)
    except (OSError, msgspec.DecodeError):
        return None


def read_case(path: Path) -> Case | None:
    """A stored case; None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Case)
    except (OSError, msgspec.MsgspecError):
        return None


def still_holds(kept: Case, made: Case) -> bool:
    """Whether a stored case asks what a new one would, if from an older commit."""
    space = "action_space"
    return (
        (kept.issue, kept.baseline, kept.example_id)
        == (made.issue, made.baseline, made.example_id)
        and kept.planner_input[space] == made.planner_input[space]
    )  # fmt: skip


def stored_cases(
    builder: CaseBuilder, issue_ids: Iterable[str], bench: Path, *, fresh: bool = False
) -> tuple[list[Case], list[NoCase]]:
    """Cases of some issues: those stored before, where they still hold, else new ones, stored now.

    Args:
        fresh: Ask again, with today's history and from today's commit.

    Returns:
        The cases in the order of their ids, and the issues that are none.
    """
    cases, refused = [], []
    for issue_id in dict.fromkeys(issue_ids):
        made = builder.case(issue_id)
        if isinstance(made, NoCase):
            refused.append(made)
            continue
        path = bench / FOLDER / f"{quote(issue_id, safe='')}.json"
        kept = read_case(path)
        if kept is None or not still_holds(kept, made) or (fresh and kept.case_id != made.case_id):
            write_bytes(msgspec.json.encode(made, order="deterministic"), path)
            crash_point("case_stored")
            kept = made
        cases.append(kept)
    return sorted(cases, key=lambda case: case.case_id), refused


def every_stored_case(bench: Path) -> list[Case]:
    """Every case of a bench directory, by case id."""
    found = [read_case(path) for path in sorted((bench / FOLDER).glob("*.json"))]
    return sorted((case for case in found if case is not None), key=lambda case: case.case_id)
