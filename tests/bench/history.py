"""What a kernel's own history costs; ``python -m tests.bench.history [--bundle DIR]``.

Belongs here: a printed table. Does not: assertions on time, which would make the suite flaky.
Milliseconds of processor time unless said. All runs are of one job type and domain, which is the
slowest case. Archives are read for the first size alone; for the others their directories are made,
empty, beside the snapshot that names them.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np

from planner_runtime.actions import ActionSpace
from planner_runtime.archives.dispatch_log import KeptLog
from planner_runtime.archives.run_parts import Cell, KeptRuns
from planner_runtime.archives.watched import Mark
from planner_runtime.archives.workcell_files import FOLDER
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.inputs import rfc3339, run_document
from planner_runtime.kernel.asking import CandidateIndex, question_about
from planner_runtime.kernel.history import KernelHistory
from planner_runtime.kernel.history_snapshot import write_snapshot
from planner_runtime.similar_runs import RunIndex
from tests.reference.long_histories import long_history, questions_about

OLD_S = 1_000_000_000  # an mtime of directories at rest
N_QUESTIONS = 2_000
N_ADDED = 3_200


def cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time_ns()
    work()
    return (time.process_time_ns() - began) / 1e6


def row(name: str, figures: str) -> None:
    print(f"  {name:46}{figures}", flush=True)


def spread(times: Sequence[float]) -> str:
    return f"p50 {np.median(times):8.3f}   p99 {np.percentile(times, 99):8.3f}"


def write_archive(folder: Path, run: RunSummary) -> None:
    """An archive that tells of a run, as a kernel with a planner writes it."""
    folder.mkdir(parents=True)
    ended = run.ended_ms or run.started_ms
    manifest = {
        "workcell_id": folder.name, "job_type": "code", "toolchain": run.toolchain,
        "issue": {"id": run.issue_id, "title": " ".join(run.keywords), "description": None,
                  "tags": list(run.tags)},
    }  # fmt: skip
    proof = {
        "status": "success" if run.outcome.status == "success" else "partial",
        "verification": {
            "gates": {"test": {"passed": run.outcome.status == "success", "duration_ms": 10}},
            "all_passed": run.outcome.status == "success",
            "blocking_failures": list(run.outcome.fail_codes),
        },
        "metadata": {"started_at": rfc3339(run.started_ms), "completed_at": rfc3339(ended),
                     "duration_ms": ended - run.started_ms, "cost_usd": run.cost_usd_est},
    }  # fmt: skip
    (folder / "manifest.json").write_text(json.dumps(manifest))
    (folder / "proof.json").write_text(json.dumps(proof))
    os.utime(folder, (OLD_S, OLD_S))


def of_archives(repo: Path, runs: Sequence[RunSummary]) -> None:
    """Reading them all, then refreshes."""
    for run in runs:
        write_archive(repo / FOLDER / run.run_id, run)
    histories: list[KernelHistory] = []
    row(
        "load from archives, and index",
        f"{cpu_ms(lambda: histories.append(KernelHistory(repo))):8.0f}",
    )
    history = histories[0]
    ahead = KernelHistory(repo, clock=lambda: time.time() + 10_000)
    row("refresh, nothing new", spread([cpu_ms(ahead.refresh) for _ in range(200)]))
    row(
        "refresh, nothing new, all written just now",
        spread([cpu_ms(history.refresh) for _ in range(20)]),
    )
    row(
        "refresh, thorough",
        spread([cpu_ms(lambda: ahead.refresh(thorough=True)) for _ in range(5)]),
    )
    times = []
    for number, run in enumerate(runs[:100]):
        write_archive(repo / FOLDER / f"{run.run_id}-{number}", run)
        times.append(cpu_ms(ahead.refresh))
    row("refresh, one new archive", spread(times))
    plain = [run_document(run) for run in runs]
    taken = CandidateIndex()
    row("a plain list, the first time", f"{cpu_ms(lambda: taken.taking(plain)):8.0f}")
    row("  the same list again", f"{cpu_ms(lambda: taken.taking(plain)):8.3f}")
    plain.append(run_document(runs[0]))
    row("  one longer", f"{cpu_ms(lambda: taken.taking(plain)):8.3f}")


def a_snapshot(repo: Path, runs: Sequence[RunSummary], path: Path) -> None:
    """A snapshot of runs whose directories are there, and at rest."""
    cells = {}
    for run in runs:
        folder = repo / FOLDER / run.run_id
        folder.mkdir(parents=True, exist_ok=True)
        os.utime(folder, (OLD_S, OLD_S))
        cells[run.run_id] = (Mark(OLD_S * 10**9, 0), Cell(summary=run))
    kept = KeptRuns(cells=cells, worlds={}, failures={}, versions={}, log=KeptLog())
    took = cpu_ms(lambda: write_snapshot(kept, path))
    row("snapshot: write", f"{took:8.0f}   {path.stat().st_size / 1e6:.1f} MB")


def of_snapshot(repo: Path, path: Path) -> KernelHistory:
    histories: list[KernelHistory] = []
    took = cpu_ms(lambda: histories.append(KernelHistory(repo, snapshot=path)))
    (history,) = histories
    assert history.snapshot_error is None
    took += cpu_ms(lambda: history.index.similar_runs(questions_about(history.runs(), 1)[0], n=8))
    row("snapshot: load, check directories, index, ask", f"{took:8.0f}")
    return history


def of_index(index: RunIndex, runs: Sequence[RunSummary], later: Sequence[RunSummary]) -> None:
    """Queries, whole questions, additions."""
    asked = questions_about(runs, N_QUESTIONS)
    row("query", spread([cpu_ms(lambda q=q: index.similar_runs(q, n=8)) for q in asked]))
    sections = [
        {"issue_id": q.issue_id, "title": "t", "dk_priority": "P2", "dk_risk": "low",
         "dk_size": "M", "dk_tool_hint": None, "dk_attempts": 0, "tags": sorted(q.tags),
         "keywords": sorted(q.keywords)}
        for q in asked
    ]  # fmt: skip
    space = ActionSpace()
    times = [
        cpu_ms(lambda s=s, q=q: question_about(
            s, job_type="code", history=index, now_ms=q.cutoff_ms, space=space
        ))
        for s, q in zip(sections, asked, strict=True)
    ]  # fmt: skip
    row("question: query, documents, planner_input", spread(times))
    by_end = sorted(later, key=lambda run: run.ended_ms or 0)
    first, second = by_end[: len(later) // 2], by_end[len(later) // 2 :]
    nothing = [msgspec.structs.replace(q, tags=frozenset()) for q in asked[:1]]

    def put() -> None:
        for run in first:
            index.add(run)
            index.similar_runs_of(nothing, n=0)  # puts what waits on its shelf, and looks at none

    row("add, in microseconds", f"{cpu_ms(put) * 1e3 / len(first):8.1f}")
    with_add, alone = 0.0, 0.0
    for number, run in enumerate(second):
        query = asked[number % N_QUESTIONS]
        alone += cpu_ms(lambda q=query: index.similar_runs(q, n=8))
        with_add += cpu_ms(lambda r=run, q=query: (index.add(r), index.similar_runs(q, n=8)))
    row(
        "add and query, less a query: microseconds",
        f"{(with_add - alone) * 1e3 / len(second):8.1f}",
    )
    late = [
        msgspec.structs.replace(run, run_id=f"late-{n}")
        for n, run in enumerate(runs[-4_000:-3_500])
    ]
    times = [cpu_ms(lambda r=r: (index.add(r), index.similar_runs_of(nothing, n=0))) for r in late]
    row("add one that started long ago: mean, worst", f"{np.mean(times):8.3f}  {max(times):8.1f}")


_MEMORY = """
import resource, sys
from pathlib import Path
from planner_runtime.kernel.history import KernelHistory
from planner_runtime.kernel.asking import question_about
from planner_runtime.actions import ActionSpace
def resident():
    return int(next(l for l in open("/proc/self/status") if l.startswith("VmRSS")).split()[1]) / 1024
told = [resident()]
if sys.argv[3]:
    from planner_runtime import Planner
    planner = Planner.open(Path(sys.argv[3]))
    assert planner.bundle is not None
told.append(resident())
history = KernelHistory(Path(sys.argv[1]), snapshot=Path(sys.argv[2]))
runs = history.runs()
for run in runs[-500:]:
    section = {"issue_id": run.issue_id, "title": "t", "dk_priority": "P2", "dk_risk": "low",
        "dk_size": "M", "dk_tool_hint": None, "dk_attempts": 0, "tags": list(run.tags),
        "keywords": list(run.keywords)}
    question = question_about(section, job_type="code", history=history, now_ms=run.ended_ms,
        space=ActionSpace())
    if sys.argv[3]:
        planner.plan(question)
told.append(resident())
print(*(f"{one:.0f}" for one in told))
"""


def of_memory(repo: Path, path: Path, bundle: str) -> None:
    told = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(repo), str(path), bundle],
        check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    row(
        "resident MB: imported, bundle open, after 500 plans" if bundle else
        "resident MB: imported, same, after 500 questions", "  ".join(told),
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--bundle", default="", help="an MLP bundle, for the resident set")
    arguments = parser.parse_args()
    for number, n in enumerate(arguments.sizes):
        print(f"{n} runs; CPU ms")
        everything = list(long_history(n + N_ADDED))
        runs, later = everything[:n], everything[n:]
        folder = Path(tempfile.mkdtemp(prefix="bench-history-"))
        try:
            if number == 0:
                of_archives(folder / "archived", runs)
            repo, path = folder / "repo", folder / "history.snapshot"
            a_snapshot(repo, runs, path)
            of_index(of_snapshot(repo, path).index, runs, later)
            of_memory(repo, path, arguments.bundle)
        finally:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
