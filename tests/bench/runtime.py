"""What a decision costs inside a kernel, beside naive ways in one run; ``python -m tests.bench.runtime``.

Belongs here: a printed table with the bars of issue 7. Does not: assertions on time, which would make
the suite flaky; bundles and histories (``served``).

Every row is timed call by call, after a warm-up, on one thread: CPU time is the thread's own, and the
bar is held against its median (and 99th percentile where the issue names one). Imports, opening and
memory are of fresh processes. The naive ways are written here and in ``tests.reference`` from what is
usual; the peer's own code is not opened, its figures stand in the issue.
"""

import argparse
import hashlib
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import msgspec
import numpy as np
import onnxruntime

from planner_runtime import Planner
from planner_runtime.actions import HEADS, Action, ActionSpace, is_valid_action
from planner_runtime.contracts import PlannerInput, RunSummary, canonical_json, read_document
from planner_runtime.decision import read_question
from planner_runtime.features import feature_vector
from planner_runtime.inputs import issue_document
from planner_runtime.kernel.asking import build_question
from planner_runtime.kernel.dispatch import KernelPlanner
from planner_runtime.kernel.settings import PlannerSettings
from planner_runtime.similar_runs import DEFAULT_WEIGHTS, RunIndex
from planner_runtime.tokenizer import tokenize
from tests.bench.served import NOW_MS, made_up_issues, made_up_runs, prepare, query_of
from tests.reference.named_features import named_features
from tests.reference.retrieval import naive_similar_runs

N_SIMILAR = 8
SPACE = ActionSpace()
SYSTEM = {
    "active_workcells_bin": "1_2", "queue_depth_bin": None, "hour_bucket": "09",
    "available_toolchains": ["codex", "claude", "opencode"], "toolchain_health": None,
    "budget_remaining_bin": None,
}  # fmt: skip


class Timed(NamedTuple):
    """Milliseconds: CPU median and 99th percentile, the same of wall time."""

    n: int
    cpu: float
    cpu_p99: float
    wall: float
    wall_p99: float


def timed(work: Callable[[int], object], n: int) -> Timed:
    """``work(i)`` n times, after a tenth of that to warm up."""
    for i in range(max(1, n // 10)):
        work(i)
    cpu, wall = np.empty(n), np.empty(n)
    for i in range(n):
        began, on_cpu = time.perf_counter_ns(), time.thread_time_ns()
        work(i)
        cpu[i], wall[i] = time.thread_time_ns() - on_cpu, time.perf_counter_ns() - began
    cpu, wall = cpu / 1e6, wall / 1e6
    return Timed(
        n, float(np.median(cpu)), float(np.percentile(cpu, 99)),
        float(np.median(wall)), float(np.percentile(wall, 99)),
    )  # fmt: skip


def print_head(title: str) -> None:
    print(f"\n{title}")
    print(f"  {'':<49}{'n':>7}{'CPU p50':>9}{'p99':>8}{'wall p50':>10}{'p99':>8}  bar (CPU)")


def print_row(
    name: str, told: Timed, bar: float | None = None, bar_p99: float | None = None
) -> None:
    said = ""
    for limit, value, word in ((bar, told.cpu, "p50"), (bar_p99, told.cpu_p99, "p99")):
        if limit is not None:
            said += f"  {word} <= {limit:g} {'ok' if value <= limit else 'MISSED'}"
    print(
        f"  {name:<49}{told.n:>7,}{told.cpu:>9.3f}{told.cpu_p99:>8.3f}{told.wall:>10.3f}"
        f"{told.wall_p99:>8.3f}{said}"
    )


def plain_plan(session: Any, text: bytes) -> Action:
    """A decision as one would write it first: no contract, no bounds, no record."""
    document = json.loads(text)
    rest = {k: v for k, v in document.items() if k != "created_at"}
    digest = hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode())
    assert digest.hexdigest()
    question = read_document(document, PlannerInput)  # the features need attributes
    row = np.array([[value for _, value in named_features(question)]], dtype=np.float32)
    logits = [head[0].tolist() for head in session.run(None, {"features": row})]
    log_probs = []
    for head in logits:
        total = math.log(sum(math.exp(x - max(head)) for x in head)) + max(head)
        log_probs.append([x - total for x in head])
    offered = document["action_space"]
    choices = [offered[f"{head}s"] for head in HEADS]
    best, chosen = -math.inf, None
    for places in product(*(range(len(one)) for one in choices)):
        action = Action(*(one[place] for one, place in zip(choices, places, strict=True)))
        score = sum(row[place] for row, place in zip(log_probs, places, strict=True))
        if score > best and is_valid_action(action, job_type=document["job_type"]):
            best, chosen = score, action
    assert chosen is not None
    return chosen


def bench_plans(documents: Sequence[dict[str, Any]], bundles: dict[str, Path], n: int) -> None:
    """Decisions whose history is in the question."""
    texts = [canonical_json(document) for document in documents]
    inputs = [read_document(document, PlannerInput) for document in documents]
    k = len(documents)
    lengths = [len(tokenize(one)) for one in inputs]
    print_head(
        f"plan(), ms; {k} questions of the simulated workspace, "
        f"{statistics.mean(map(len, texts)) / 1_000:.1f} kB, "
        f"{statistics.mean(lengths):.0f} tokens (at most {max(lengths)})"
    )
    planners = {name: Planner.open(folder) for name, folder in bundles.items()}
    mlp = planners["mlp"]
    whole = timed(lambda i: mlp.plan(documents[i % k]), n)
    print_row("MLP", whole, 0.35)
    print_row("MLP, from JSON", timed(lambda i: mlp.plan(texts[i % k]), n), 0.35)
    free = Planner.open(bundles["mlp"], deadline_ms=None)
    print_row("MLP, no deadline", timed(lambda i: free.plan(documents[i % k]), n))
    print_row("  read, check, hash", timed(lambda i: read_question(documents[i % k]), n))
    print_row("  features", timed(lambda i: feature_vector(inputs[i % k]), n))
    print_row("  tokens (no part of an MLP's)", timed(lambda i: tokenize(inputs[i % k]), n))
    transformer = planners["transformer"]
    name = "Transformer, 2 layers, its real length"
    print_row(name, timed(lambda i: transformer.plan(documents[i % k]), n // 4), 4.0)
    by_outcomes = planners["outcome"]
    print_row("by outcomes", timed(lambda i: by_outcomes.plan(documents[i % k]), n // 2), 0.8)
    none = Planner.open(None)
    print_row("no bundle: the baseline", timed(lambda i: none.plan(documents[i % k]), n))
    print_row("no JSON at all: refused", timed(lambda i: none.plan(b"{"), n))
    session = onnxruntime.InferenceSession((bundles["mlp"] / "planner.onnx").read_bytes())
    naive = timed(lambda i: plain_plan(session, texts[i % k]), n // 10)
    print_row("the plain way (MLP, from JSON)", naive)
    print(f"  the plain way takes {naive.cpu / whole.cpu:.1f} times as long")


def bench_whole(
    runs: list[RunSummary], bundle: Path, n: int, bars: tuple[float, float | None]
) -> None:
    """A kernel's decision: issue, retrieval, question, action."""
    issues = made_up_issues(2_000, len(runs))
    planner = Planner.open(bundle)
    newest = runs[-500:]
    index = RunIndex(runs[:-500])
    first = issue_document(issues[0])
    index.similar_runs(query_of(issues[0], tuple(first["keywords"])), n=N_SIMILAR)

    def whole(i: int) -> Any:
        return planner.plan(
            build_question(
                issue=issues[i % len(issues)], job_type="code", history=index, now_ms=NOW_MS,
                space=SPACE, system_state=SYSTEM,
            )
        )  # fmt: skip

    kernel = KernelPlanner(PlannerSettings(mode="enforce", bundle_dir=bundle))
    history = SimpleNamespace(index=index)

    def dispatch(i: int) -> Any:
        return kernel.decide(
            issue=issues[i % len(issues)], job_type="code", universe_id="unknown",
            universe_defaults={}, action_space=SPACE, history_candidates=history,
            system_state=SYSTEM, now_ms=NOW_MS, baseline_swarm_id="serial_handoff",
            baseline_max_candidates=1, baseline_timeout_cap_seconds=3_600,
        )  # fmt: skip

    def retrieval(i: int) -> Any:
        issue = issues[i % len(issues)]
        return index.similar_runs(query_of(issue, tuple(issue["tags"])), n=N_SIMILAR)

    print_head(f"a kernel's whole decision with the MLP, ms; {len(runs):,} runs in memory")
    print_row("issue -> similar runs -> question -> plan()", timed(whole, n), *bars)
    print_row("the same, judged and recorded: KernelPlanner", timed(dispatch, n))
    kernel.close()
    print_row("  similar runs alone", timed(retrieval, n))

    began = time.thread_time()
    for run in newest:
        index.add(run)
    index.similar_runs(query_of(issues[0], tuple(first["keywords"])), n=N_SIMILAR)
    each = 1e6 * (time.thread_time() - began) / len(newest)
    print(
        f"  adding a run, {len(newest)} at once and one query: {each:.1f} us each"
        f"  <= 50 {'ok' if each <= 50 else 'MISSED'}"
    )
    later = [run_again(run, number) for number, run in enumerate(newest[:200])]
    one = [0.0, 0.0]
    for i, run in enumerate(later):
        began = time.thread_time()
        retrieval(i)
        between = time.thread_time()
        index.add(run)
        retrieval(i)
        one[0] += between - began
        one[1] += time.thread_time() - between
    each = 1e6 * (one[1] - one[0]) / len(later)
    print(f"  adding a run before every query: {each:.1f} us above the query alone")


def run_again(run: RunSummary, number: int) -> RunSummary:
    """A run like one that is known, after all of them."""
    return msgspec.structs.replace(
        run, run_id=f"later-{number:07d}", started_ms=NOW_MS + number, ended_ms=NOW_MS + number + 1
    )


def bench_naive(runs: list[RunSummary], n: int) -> None:
    """The full scan in Python beside the index, on the same queries."""
    issues = made_up_issues(n, len(runs))
    queries = [query_of(issue, tuple(issue["tags"])) for issue in issues]
    index = RunIndex(runs)
    index.similar_runs(queries[0], n=N_SIMILAR)
    began = time.thread_time()
    slow = [
        naive_similar_runs(runs, query, n=N_SIMILAR, weights=DEFAULT_WEIGHTS) for query in queries
    ]
    between = time.thread_time()
    fast = [[run.run_id for run in index.similar_runs(q, n=N_SIMILAR)] for q in queries]
    ended = time.thread_time()
    assert slow == fast
    ratio = (between - began) / (ended - between)
    print(
        f"\nsimilar runs of {n} queries among {len(runs):,}: a full scan in Python takes "
        f"{1e3 * (between - began) / n:.1f} ms each, {ratio:.0f} times the index; all lists equal"
    )


def in_a_process(code: str, *arguments: str) -> list[float]:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True
    )
    return [float(word) for word in done.stdout.split()]


IMPORT = """
import sys, time
began = time.process_time()
{statement}
print(1e3 * (time.process_time() - began), float("onnxruntime" in sys.modules))
"""
OPEN = """
import sys, time
from pathlib import Path
from planner_runtime import Planner
import onnxruntime, planner_runtime.planner
cpu, wall = time.process_time(), time.perf_counter()
planner = Planner.open(Path(sys.argv[1]))
print(1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall))
assert planner.bundle is not None
"""
MEMORY = """
import sys
from pathlib import Path
import msgspec
from planner_runtime import Planner
from planner_runtime.contracts import RunSummary
from planner_runtime.similar_runs import Query, RunIndex
planner = Planner.open(Path(sys.argv[1]))
assert planner.bundle is not None
lines = Path(sys.argv[2]).open("rb")
index = RunIndex(msgspec.json.decode(line, type=RunSummary) for line in lines)
question = Path(sys.argv[3]).read_bytes()
for _ in range(100):
    index.similar_runs(Query(job_type="code", domain="code", cutoff_ms=1_767_603_600_000), n=8)
    assert planner.plan(question).reason is None
told = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
print(int(told["VmRSS"].split()[0]) / 1024, len(index))
"""


def bench_processes(
    documents: Sequence[dict[str, Any]], bundles: dict[str, Path], folder: Path, turns: int
) -> None:
    """Imports, opening and memory, each in fresh processes."""
    print(f"\nfresh processes, medians of {turns}")
    for statement, bar in (
        ("import planner_runtime", 60.0),
        ("from planner_runtime import Planner", None),
    ):
        told = [in_a_process(IMPORT.format(statement=statement)) for _ in range(turns)]
        cpu = statistics.median(one[0] for one in told)
        said = "" if bar is None else f"  <= {bar:g} {'ok' if cpu <= bar else 'MISSED'}"
        without = "without" if not any(one[1] for one in told) else "WITH"
        print(f"  {statement:<49}{cpu:>9.1f} ms CPU, {without} onnxruntime{said}")
    for name, bundle in bundles.items():
        opened = [in_a_process(OPEN, str(bundle)) for _ in range(turns)]
        cpu, wall = (statistics.median(one[i] for one in opened) for i in (0, 1))
        title = f"bundle opened and verified: {name}"
        said = f"  <= 150 {'ok' if cpu <= 150 else 'MISSED'}"
        print(f"  {title:<49}{cpu:>9.1f} ms CPU, {wall:.1f} wall{said}")
    lines, question = folder / "runs.jsonl", folder / "question.json"
    lines.write_bytes(b"".join(msgspec.json.encode(run) + b"\n" for run in made_up_runs(10_000)))
    question.write_bytes(canonical_json(documents[-1]))
    mb, held = in_a_process(MEMORY, str(bundles["mlp"]), str(lines), str(question))
    title = f"resident set, MLP bundle, {held:,.0f} runs"
    print(f"  {title:<49}{mb:>9.1f} MB  <= 110 {'ok' if mb <= 110 else 'MISSED'}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path(".planner/bench_runtime"))
    parser.add_argument("--demo", type=Path, default=Path(".planner/demo/out"))
    parser.add_argument("--n", type=int, default=4_000)
    parser.add_argument("--runs", type=int, nargs="*", default=[10_000, 100_000])
    parser.add_argument("--turns", type=int, default=7)
    arguments = parser.parse_args()
    dataset, bundles = prepare(arguments.folder, arguments.demo)
    examples = dataset.examples("train", "val", "test")
    documents = [one.planner_input for one in examples]
    bench_processes(documents, bundles, arguments.folder, arguments.turns)
    bench_plans(documents, bundles, arguments.n)
    bars: dict[int, tuple[float, float | None]] = {10_000: (0.8, 3.0), 100_000: (2.0, None)}
    for n_runs in arguments.runs:
        runs = made_up_runs(n_runs)
        bench_whole(runs, bundles["mlp"], arguments.n // 2, bars.get(n_runs, (math.inf, None)))
        if n_runs <= 10_000:
            bench_naive(runs, 200)


if __name__ == "__main__":
    main()
