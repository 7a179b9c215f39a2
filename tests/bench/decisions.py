"""How long a decision and its parts take, as ratios inside one run; run by ``make bench``.

Belongs here: a printed table. Does not: assertions on time, which would make the suite flaky.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from planner_pipeline.dataset.reader import Dataset
from planner_runtime import Planner
from planner_runtime.contracts import PlannerInput, canonical_json, input_hash, read_document
from planner_runtime.features import feature_vector
from planner_runtime.tokenizer import tokenize


def measure(work: Callable[[int], object], n: int) -> tuple[float, float]:
    """Median and 99th percentile of ``work(i)`` in milliseconds of CPU time."""
    times = np.empty(n)
    for i in range(n):
        start = time.process_time_ns()
        work(i)
        times[i] = (time.process_time_ns() - start) / 1e6
    return float(np.median(times)), float(np.percentile(times, 99))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--bundle", type=Path, required=True)
    parser.add_argument("--dataset", type=Path, required=True)
    parser.add_argument("--n", type=int, default=2_000)
    arguments = parser.parse_args()
    if not arguments.dataset.exists():
        parser.exit(1, "no demo output yet: run `make demo` first\n")
    examples = Dataset(arguments.dataset).examples("train", "val", "test")
    documents = [example.planner_input for example in examples]
    texts = [canonical_json(document) for document in documents]
    inputs = [read_document(document, PlannerInput) for document in documents]
    start = time.process_time()
    planner = Planner.open(arguments.bundle)
    opened_ms = 1_000 * (time.process_time() - start)
    k = len(examples)
    rows = {
        "plan(), whole": measure(lambda i: planner.plan(documents[i % k]), arguments.n),
        "plan(), from JSON": measure(lambda i: planner.plan(texts[i % k]), arguments.n),
        "  read and check": measure(
            lambda i: read_document(documents[i % k], PlannerInput), arguments.n
        ),
        "  input hash": measure(lambda i: input_hash(documents[i % k]), arguments.n),
        "  features": measure(lambda i: feature_vector(inputs[i % k]), arguments.n),
        "tokens (no part of an MLP plan)": measure(lambda i: tokenize(inputs[i % k]), arguments.n),
        "plan() from the baseline": measure(
            lambda i: Planner.open(None).plan(documents[i % k]), arguments.n
        ),
    }
    whole = rows["plan(), whole"][0]
    print(
        f"CPU ms over {arguments.n} decisions about {k} inputs; bundle opened in {opened_ms:.0f} ms"
    )
    print(f"{'':<34}{'median':>9}{'p99':>9}{'of plan()':>11}")
    for name, (median, p99) in rows.items():
        print(f"{name:<34}{median:>9.3f}{p99:>9.3f}{median / whole:>11.2f}")


if __name__ == "__main__":
    main()
