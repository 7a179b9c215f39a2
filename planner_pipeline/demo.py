"""The demonstration: a simulated workspace becomes a bundle, the bundle decides, a bench runs.

Belongs here: the story and its last lines. Does not: any of the work it calls.
"""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from planner_pipeline.bench.cases import CaseBuilder
from planner_pipeline.bench.session import told_of
from planner_pipeline.definitions import POLICY
from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.defs.resources import Settings
from planner_pipeline.experiments.bench_report import report_of, short_lines
from planner_pipeline.materialize import materialize, policy_summary, summary
from planner_pipeline.release.explain import explain
from planner_pipeline.sample.repair_workspace import MARK, write_repair_workspace
from planner_pipeline.sample.workspace import SIMULATED_MARK, write_workspace
from planner_runtime.planner import Planner

BENCH_ISSUES: Final = 6
BENCH_K: Final = 3


def open_question(repo: Path, out: Path) -> tuple[dict[str, object], str]:
    """A planner input for the first open issue of a workspace, asked after everything in it.

    Raises:
        ValueError: no issue is open.
    """
    builder = CaseBuilder(repo, out)
    for issue_id in builder.open_issues():
        question = builder.question_now(builder.issues[issue_id])
        return msgspec.json.decode(question.text), issue_id
    raise ValueError(f"no issue of {repo} is open")


def run_small_bench(folder: Path, bundle: Path, *, seed: int, say: Callable[[str], None]) -> None:
    """Generate issues that need no model, run candidates on them for real, and say what came of it.

    Raises:
        FileExistsError: ``folder`` holds a workspace that is not an earlier demonstration's.
    """
    repo, out = folder / "bench_workspace", folder / "bench_out"
    _clear(repo, MARK)
    shutil.rmtree(out, ignore_errors=True)
    counts = write_repair_workspace(repo, n_issues=BENCH_ISSUES, seed=seed)
    bench = BenchSettings(k=BENCH_K, seed=seed, bundle=str(bundle))
    session = bench.session(Settings(repo=str(repo), out=str(out)), None)
    say(
        f"5. A bench that really runs: {counts.issues} issues, {BENCH_K} candidates each, "
        f"{counts.bugs} bugs, in a {session.executor_words()}:"
    )
    end = session.run(lambda unit, outcomes: say(f"   {told_of(unit, outcomes)}"))
    report = report_of(session, session.judge())
    say(
        f"   {end.n_run} candidates in {end.wall_seconds:.0f} s, {report.n_labels} winners; "
        "a search without a model worked, so this tells nothing of agents"
    )
    for line in short_lines(report):
        say(f"   {line}")


def _clear(repo: Path, mark: str) -> None:
    """Remove an earlier demonstration's workspace, and nothing else."""
    if repo.exists():
        if not (repo / mark).exists():
            raise FileExistsError(f"{repo} is not an earlier demonstration; choose another --out")
        shutil.rmtree(repo)


def run_policy(repo: Path, out: Path, *, seed: int, say: Callable[[str], None]) -> None:
    """Learn what comes of actions, and say what a policy by outcomes would do."""
    materialize(repo, out, job=POLICY, seed=seed)
    materialize(repo, out, always=["report"], seed=seed)
    told = policy_summary(out)
    value = next((p for p in told["points"] if p["kind"] == "value"), None)
    say(f"   Outcomes learned from {told['n_attempts']} tries, bundle {told['bundle_id']}:")
    if value is not None and value["gain"] is not None:
        gain = value["gain"]
        say(
            f"   by its own estimates a policy gains {gain['value']:+.4f} utility a decision "
            f"({gain['low']:+.4f} to {gain['high']:+.4f}, n={gain['n']}); nothing has "
            "checked that, so it abstains"
        )


def run_demo(folder: Path, *, n_runs: int, seed: int, say: Callable[[str], None]) -> None:
    """Simulate, materialize, decide; everything below ``folder``.

    Raises:
        FileExistsError: ``folder`` holds a workspace that is not an earlier demonstration's.
        PipelineError: a step failed.
    """
    repo, out = folder / "workspace", folder / "out"
    _clear(repo, SIMULATED_MARK)
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
    run_policy(repo, out, seed=seed, say=say)
    document, issue_id = open_question(repo, out)
    told = explain(
        Planner.open(out / "bundle", deadline_ms=None), document, title=f"issue {issue_id}"
    )
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
    say("4. Ask again, or see the pages:")
    say(f"   cyntra-planner plan --bundle {out / 'bundle'} --input {question}")
    say("   make ui")
    run_small_bench(folder, out / "bundle", seed=seed, say=say)
    say("6. The reports:")
    say(f"   {(folder / 'bench_out' / 'bench' / 'report.md').resolve()}")
    say(f"   {(out / 'report.html').resolve()}")
    say(f"   {(out / 'what_if.html').resolve()}")
