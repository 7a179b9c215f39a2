"""The demonstration: a simulated workspace becomes a bundle, and the bundle decides.

Belongs here: the story and its last lines. Does not: any of the work it calls.
"""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.history.past_runs import COLUMNS
from planner_pipeline.history.planner_inputs import InputBuilder
from planner_pipeline.history.runs import RunRecord
from planner_pipeline.materialize import materialize, summary
from planner_pipeline.parts import Parts
from planner_pipeline.release.explain import explain
from planner_pipeline.sample.workspace import SIMULATED_MARK, write_workspace
from planner_pipeline.sources.beads import read_issues
from planner_pipeline.tables import RUNS, polars_schema, read_records
from planner_runtime.inputs import domain_of, issue_document, job_type_of
from planner_runtime.planner import Planner


def open_question(repo: Path, out: Path) -> tuple[dict[str, object], str]:
    """A planner input for the first open issue of a workspace, asked after everything in it, with
    the newest system state that was recorded.

    Raises:
        ValueError: no issue is open.
    """
    table = Parts.load(out / "parts" / "run_summaries").table(
        [*COLUMNS, "decided_ms", "record_json"], polars_schema(RUNS)
    )
    moments = [*table["decided_ms"].drop_nulls(), *table["ended_ms"].drop_nulls()]
    now_ms = max(moments, default=0) + 1
    newest = table.drop_nulls("decided_ms").sort("decided_ms").tail(50)
    states = [run.system_state for run in read_records(newest, RunRecord) if run.system_state]
    for record in read_issues(repo).issues:
        if record.status in ("open", "ready"):
            issue = issue_document(record.raw)
            job_type = job_type_of(issue["tags"])
            asked = RunRecord(
                run_id="asked now",
                kind="workcell",
                group_id="asked now",
                issue_id=record.issue_id,
                job_type=job_type,
                domain=domain_of(job_type, issue["tags"]),
                issue=issue,
                has_attempts=True,
                system_state=states[-1] if states else None,
                decided_ms=now_ms,
            )
            builder = InputBuilder(
                table,
                space=Dataset(out / "dataset").space,
                n_similar=8,
            )
            return builder.planner_input(asked), record.issue_id
    raise ValueError(f"no issue of {repo} is open")


def run_demo(folder: Path, *, n_runs: int, seed: int, say: Callable[[str], None]) -> None:
    """Simulate, materialize, decide; everything below ``folder``.

    Raises:
        FileExistsError: ``folder`` holds a workspace that is not an earlier demonstration's.
        PipelineError: a step failed.
    """
    repo, out = folder / "workspace", folder / "out"
    if repo.exists():
        if not (repo / SIMULATED_MARK).exists():
            raise FileExistsError(f"{repo} is not an earlier demonstration; choose another --out")
        shutil.rmtree(repo)
    counts = write_workspace(repo, n_runs=n_runs, seed=seed)
    say(f"1. A simulated kernel at work: {counts.dispatches} dispatches, {counts.issues} issues.")
    say(f"   No agent ever ran; nothing here measures quality. Workspace: {repo}")
    say("2. Artifacts -> data set -> model -> calibrated ONNX bundle, through Dagster:")
    materialize(repo, out, seed=seed)
    done = summary(out)
    say(
        f"   {done['examples']} examples, {done['quarantined']} rows in quarantine, "
        f"bundle {done['bundle_id']}"
    )
    say(f"   {done['verdict']}")
    document, issue_id = open_question(repo, out)
    told = explain(Planner.open(out / "bundle"), document, title=f"issue {issue_id}")
    issue = told.issue
    say(f"3. A decision about the open issue {issue_id}: {issue['title']}")
    say(
        f"   {issue['dk_priority']}, risk {issue['dk_risk']}, size {issue['dk_size']}, "
        f"{issue['dk_attempts']} failed attempts, tags {', '.join(issue['tags'])}"
    )
    say(f"   decision  {told.chosen}")
    say(f"   because   {told.reason}")
    say(f"   baseline  {told.baseline}")
    say(f"   confidence {told.confidence:.2f}, decided by the {told.decided_by}")
    question = folder / "question.json"
    question.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n")
    say("4. Ask again, see the pages, or read the report:")
    say(f"   cyntra-planner plan --bundle {out / 'bundle'} --input {question}")
    say("   make ui")
    say(f"   {(out / 'report.html').resolve()}")
