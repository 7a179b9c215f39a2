# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 01 The data
#
# What lies in a workspace, what of it becomes a labelled decision, and what a decision may see.
# Runs on a small simulated workspace, or on yours: set `CYNTRA_PLANNER_REPO`. Nothing is trained.

# %%
import os
import tempfile
from pathlib import Path

import polars as pl

from planner_pipeline.dataset.build import build_dataset
from planner_pipeline.parts import Parts
from planner_pipeline.sample.workspace import write_workspace
from planner_pipeline.sources.workspace import read_workspace
from planner_pipeline.tables import RUNS, polars_schema, read_records
from planner_runtime.actions import valid_actions
from planner_runtime.archives.runs import RunRecord

here = Path(tempfile.mkdtemp())
repo = Path(os.environ.get("CYNTRA_PLANNER_REPO") or here / "workspace")
if not repo.exists():
    print(write_workspace(repo, n_runs=400, seed=7))
dataset = build_dataset(repo, here / "out")

# %% [markdown]
# ## What was found, and what could not be read
#
# Every reader accounts for everything it met. What is still being written waits as pending; what
# was read in an earlier build and did not change is not read again.

# %%
pl.DataFrame(
    [
        {
            "source": c.source,
            "found": c.discovered,
            "read": c.accepted,
            "quarantined": c.quarantined,
            "pending": c.pending,
            "unchanged": c.unchanged,
        }
        for c in dataset.meta.sources
    ]
)

# %%
again = read_workspace(repo, here / "out" / "store")
again.quarantine.select("file", "line", "reason", "detail")

# %% [markdown]
# ## Runs
#
# An archive is manifest, proof, rollout and telemetry, any of them missing. Which files exist
# depends on how the run ended: a serial timeout, for example, leaves no proof. Losing candidates
# leave no archive at all, and are known from the event log alone: nobody can say how they ended.

# %%
runs = Parts.load(here / "out" / "parts" / "runs")
table = runs.table([*RUNS.columns], polars_schema(RUNS))
table.group_by("kind", "status").len().sort("kind", "status")

# %% [markdown]
# Where the facts of one timed-out run came from:

# %%
records = read_records(table, RunRecord)
late = next(run for run in records if run.status == "timeout")
late.evidence

# %% [markdown]
# ## Decisions
#
# A run is an example when the kernel recorded its executed plan. The label is that plan in bins.

# %%
print(dataset.meta.n_examples, "examples; runs that are none:", dataset.meta.not_examples)
print("valid actions:", {j: len(valid_actions(dataset.space, j)) for j in ("code", "fab-world")})
dataset.index.group_by("job_type", "swarm_id", "max_candidates_bin", "max_minutes_bin").len().sort(
    "len", descending=True
).head(12)

# %% [markdown]
# ## What one decision could see
#
# Only runs that had started and ended before it. The gap to the newest one is never negative.

# %%
example = dataset.examples("train", "val", "test")[-1]
seen = example.planner_input["history"]["last_n_similar_runs"]
pl.DataFrame(
    [
        {
            "run": run["run_id"],
            "status": run["outcome"]["status"],
            "ended_minutes_before": round((example.decided_ms - run["ended_ms"]) / 60_000, 1),
        }
        for run in seen
    ]
)

# %%
seeing = dataset.index.filter(pl.col("newest_seen_ms") > 0)
gaps = (seeing["decided_ms"] - seeing["newest_seen_ms"]) / 60_000
assert gaps.min() >= 0
gaps.describe()
