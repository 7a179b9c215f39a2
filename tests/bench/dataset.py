"""What building a data set costs; run by ``make bench-dataset``.

Belongs here: simulated workspaces of growing size, built stage by stage in a process of their own,
again with one run in a hundred new; retrieval and tokenizing at the sizes the issue names. Prints
ratios and CPU seconds. Does not: assertions on time, which would make the suite flaky.
"""

import argparse
import json
import math
import random
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from planner_pipeline.memory import rare_collections

PER_CENT = 100
QUERIES = 4_000


def cpu_seconds() -> float:
    """CPU time of this process and of those it waited for."""
    both = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def peak_mb() -> float:
    """Most memory this process ever held, and the largest of those it waited for."""
    both = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(resource.getrusage(who).ru_maxrss for who in both) / 1024


def build_once(repo: Path, out: Path) -> dict[str, Any]:
    """One build in this process: CPU seconds of every stage, peak memory, and the hash."""
    from collections import Counter

    import planner_pipeline.definitions  # noqa: F401  Dagster and all, as a user's build has them
    from planner_pipeline.dataset.blocks import write_examples
    from planner_pipeline.dataset.build import assembly_of, gather_dataset, recipe_of
    from planner_pipeline.history.assemble import write_runs
    from planner_pipeline.history.epochs import epochs_of
    from planner_pipeline.sources.workspace import read_workspace

    stages: dict[str, float] = {"imports": cpu_seconds()}

    def stage(name: str, work: Callable[[], Any]) -> Any:
        start = cpu_seconds()
        value = work()
        stages[name] = cpu_seconds() - start
        return value

    workspace = stage("read archives, worlds, log", lambda: read_workspace(repo, out / "store"))
    recipe = recipe_of(workspace)
    runs = stage("runs", lambda: write_runs(assembly_of(workspace), out / "parts" / "runs"))
    examples, not_examples = stage(
        "examples with tokens and features",
        lambda: write_examples(runs, recipe, out / "parts" / "examples"),
    )
    table, epochs = epochs_of(runs, workspace.settings_states)
    meta = stage(
        "splits, hash, shards",
        lambda: gather_dataset(
            out / "dataset", examples=examples, recipe=recipe, run_epochs=table,
            epochs=epochs, not_examples=not_examples,
            sources=workspace.source_report.counts,
            quarantined_by_reason=dict(Counter(workspace.quarantine["reason"])),
        ),
    )  # fmt: skip
    return {
        "stages": stages, "cpu": cpu_seconds(), "peak_mb": peak_mb(), "runs": runs.rows,
        "examples": examples.rows, "hash": meta.dataset_hash,
    }  # fmt: skip


def in_a_process(repo: Path, out: Path) -> dict[str, Any]:
    """``build_once`` alone in a fresh process."""
    command = [sys.executable, "-m", "tests.bench.dataset", "--repo", str(repo), "--out", str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def hold_back(repo: Path, aside: Path) -> Callable[[], None]:
    """Take the newest hundredth of a workspace away; the function returned puts it back."""
    moves: list[tuple[Path, Path]] = []
    for name in ("archives", "runs"):
        folder = repo / ".cyntra" / name
        written = sorted(folder.iterdir(), key=lambda p: p.stat().st_mtime_ns)  # as it happened
        for path in written[-max(1, len(written) // PER_CENT) :]:
            moves.append((path, aside / name / path.name))
    log = repo / ".cyntra/logs/events.jsonl"
    lines = log.read_bytes().splitlines(keepends=True)
    (aside / "archives").mkdir(parents=True)
    (aside / "runs").mkdir()
    for here, there in moves:
        here.rename(there)
    log.write_bytes(b"".join(lines[: -max(1, len(lines) // PER_CENT)]))

    def put_back() -> None:
        for here, there in moves:
            there.rename(here)
        log.write_bytes(b"".join(lines))

    return put_back


def bench_builds(folder: Path, sizes: list[int]) -> None:
    """Full builds, growth, and rebuilds."""
    from planner_pipeline.sample.workspace import write_workspace

    totals: dict[int, float] = {}
    for size in sizes:
        repo, out = folder / f"w{size}", folder / f"o{size}"
        if not repo.exists():
            write_workspace(repo, n_runs=size, seed=0)
        shutil.rmtree(out, ignore_errors=True)
        full = in_a_process(repo, out)
        totals[size] = full["cpu"]
        print(
            f"\n{size:,} runs written, {full['runs']:,} rows in the run table, "
            f"{full['examples']:,} examples"
        )
        for name, seconds in full["stages"].items():
            print(f"  {name:<36}{seconds:9.2f} CPU s")
        print(f"  {'whole':<36}{full['cpu']:9.2f} CPU s, {full['peak_mb']:,.0f} MB")
        idle = in_a_process(repo, out)
        put_back = hold_back(repo, folder / f"aside{size}")
        try:
            shutil.rmtree(out)
            in_a_process(repo, out)
        finally:
            put_back()
        again = in_a_process(repo, out)
        shutil.rmtree(folder / f"aside{size}")
        same = "equal to" if again["hash"] == full["hash"] else "DIFFERENT FROM"
        print(f"  nothing new: {idle['cpu']:.2f} CPU s, {idle['cpu'] / full['cpu']:.1%} of it")
        print(
            f"  1 % new:     {again['cpu']:.2f} CPU s, {again['cpu'] / full['cpu']:.1%} of it; "
            f"data set {same} the full build's"
        )
        for name, seconds in again["stages"].items():
            print(f"    {name:<34}{seconds:9.2f} CPU s")
        shutil.rmtree(out)
    for small, large in pairwise(sizes):
        exponent = math.log(totals[large] / totals[small]) / math.log(large / small)
        print(f"\ngrowth exponent {small:,} -> {large:,}: {exponent:.2f}")


def synthetic_runs(n: int, first: int, of: int) -> list[Any]:
    """Runs with 6 tags of a skewed 300-word vocabulary, 8 keywords of 2,000, 40 fail codes.

    Args:
        n: How many.
        first: Number of the first of them; 180 days hold ``of`` runs.
    """
    from planner_runtime.retrieval.similarity import DAY_MS, RunKeys

    luck = np.random.default_rng(first)

    def draw(n_words: int, k: int, letter: str) -> list[tuple[str, ...]]:
        shares = np.cumsum(1 / np.arange(1, n_words + 1))
        numbers = np.searchsorted(shares / shares[-1], luck.random((n, 4 * k)))
        names = [f"{letter}{i}" for i in range(n_words + 1)]
        return [tuple(names[i] for i in list(dict.fromkeys(row))[:k]) for row in numbers.tolist()]

    tags, keywords, codes = draw(300, 6, "t"), draw(2_000, 8, "k"), draw(40, 2, "f")
    span = 180 * DAY_MS
    started = np.sort(luck.integers(span * first // of, span * (first + n) // of, n)).tolist()
    lasted = luck.lognormal(math.log(15 * 60_000), 1, n).astype(int).tolist()
    failed, issues = (luck.random(n) < 0.5).tolist(), luck.integers(0, of // 3 + 1, n).tolist()
    return [
        RunKeys(
            run_id=f"r{first + i}", started_ms=started[i], ended_ms=started[i] + lasted[i],
            group_id=f"g{first + i}", issue_id=f"i{issues[i]}", tags=tags[i], keywords=keywords[i],
            fail_codes=codes[i] if failed[i] else (),
        )
        for i in range(n)
    ]  # fmt: skip


def bench_retrieval(n: int, window: int | None, n_checked: int) -> None:
    """The newest decisions of a long history, each asking for its eight most similar runs."""
    from planner_pipeline.history import compiled_search
    from planner_runtime.retrieval import search as numpy_search
    from planner_runtime.retrieval.shelf import Shelf, sort_runs
    from planner_runtime.similar_runs import DEFAULT_WEIGHTS, Query
    from tests.reference.retrieval import naive_similar_keys

    shelf, newest, checked, filled = Shelf(DEFAULT_WEIGHTS), [], [], 0.0
    for first in range(0, n, 20_000):
        batch = sort_runs(synthetic_runs(min(20_000, n - first), first, n))
        start = time.process_time()
        shelf.extend(batch, expected=n)
        filled += time.process_time() - start
        newest = batch[-QUERIES:]
        checked = (checked + batch)[-(window or n) - QUERIES :] if n_checked else []
    queries = [
        Query(
            job_type="code", domain="code", cutoff_ms=run.started_ms, issue_id=run.issue_id,
            group_id=run.group_id, tags=frozenset(run.tags), keywords=frozenset(run.keywords),
        )
        for run in newest
    ]  # fmt: skip
    loaded = time.process_time()
    compiled_search.search(shelf, queries[:1], 8, window=window)
    loaded = time.process_time() - loaded
    start = time.process_time()
    found = compiled_search.search(shelf, queries, 8, window=window)
    spent = time.process_time() - start
    in_numpy = time.process_time()
    same = numpy_search.search(shelf, queries, 8, window=window) == found
    in_numpy = time.process_time() - in_numpy
    one = time.process_time()
    for query in queries[:300]:
        numpy_search.search(shelf, [query], 8, window=window)
    one = time.process_time() - one
    first = len(shelf) - len(checked)

    def with_signals(query: Query) -> Query:  # an issue's own runs count however old they are
        return msgspec.structs.replace(query, failure_signals=shelf.failure_signals(query))

    chosen = random.Random(0).sample(range(len(queries)), n_checked)
    start = time.process_time()
    wrong = sum(
        naive_similar_keys(
            checked, with_signals(queries[i]), n=8, weights=DEFAULT_WEIGHTS, window=window
        )
        != [checked[position - first].run_id for position in found[i]]
        for i in chosen
    )
    naive = time.process_time() - start
    limit = "all" if window is None else f"the newest {window:,}"
    print(
        f"retrieval, n=8 over {limit} of {n:,} runs: {len(queries) / spent:,.0f} queries per CPU s "
        f"compiled (loaded in {loaded:.1f} CPU s), {len(queries) / in_numpy:,.0f} by numpy in batches, "
        f"{300 / one:,.0f} by numpy one by one; {'equal' if same else 'NOT EQUAL'}; filled in "
        f"{filled:.1f} CPU s, {peak_mb():,.0f} MB{' with the runs to check' if n_checked else ''}"
    )
    if n_checked:
        print(
            f"  the naive loop: {n_checked / naive:.1f} per CPU s; of {n_checked} rows checked "
            f"{wrong} differ"
        )


def bench_tokens() -> None:
    """Decisions of the simulated kernel with eight similar runs each, blocks of runs known."""
    from planner_pipeline.sample.kernel import SimulatedKernel
    from planner_runtime.contracts import PlannerInput, read_document
    from planner_runtime.features import feature_vector
    from planner_runtime.tokenizer import RunBlocks, tokenize

    inputs = [
        read_document(d.planner_input, PlannerInput) for d in SimulatedKernel(0).dispatches(1_500)
    ]
    runs = list({r.run_id: r for q in inputs for r in q.history.last_n_similar_runs}.values())
    luck = random.Random(0)
    filled = []
    for question in inputs:
        history = type(question.history)(last_n_similar_runs=tuple(luck.sample(runs, 8)))
        filled.append(
            type(question)(
                **{f: getattr(question, f) for f in question.__struct_fields__ if f != "history"},
                history=history,
            )
        )
    blocks, n_tokens = RunBlocks(64), 0
    start = time.process_time()
    for _ in range(5):
        n_tokens += sum(len(tokenize(question, blocks=blocks)) for question in filled)
    spent = time.process_time() - start
    n = 5 * len(filled)
    print(f"tokenizing: {n / spent:,.0f} examples per CPU s, {n_tokens / n:.0f} tokens each")
    start = time.process_time()
    for question in filled:
        feature_vector(question)
    print(f"features: {len(filled) / (time.process_time() - start):,.0f} examples per CPU s")


def main() -> None:
    """Print everything, or one build as JSON for ``in_a_process``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sizes", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--folder", type=Path, default=Path(".planner/bench"))
    parser.add_argument("--repo", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--retrieval", type=int, nargs=3, metavar=("N", "WINDOW", "CHECKED"))
    arguments = parser.parse_args()
    if arguments.repo is not None:
        with rare_collections():
            print(json.dumps(build_once(arguments.repo, arguments.out)))
        return
    if arguments.retrieval is not None:
        n, window, n_checked = arguments.retrieval
        bench_retrieval(n, window or None, n_checked)
        return
    arguments.folder.mkdir(parents=True, exist_ok=True)
    bench_tokens()
    for n, window, n_checked in (
        (100_000, 0, 100), (1_000_000, 262_144, 0), (1_000_000, 262_144, 20),
    ):  # fmt: skip
        command = [sys.executable, "-m", "tests.bench.dataset", "--retrieval"]
        subprocess.run([*command, str(n), str(window), str(n_checked)], check=True)
    bench_builds(arguments.folder, arguments.sizes)


if __name__ == "__main__":
    main()
