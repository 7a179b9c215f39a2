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

from planner_pipeline.dataset.examples import build_examples, count_not_examples
from planner_pipeline.history.runs import RunRecord
from planner_pipeline.history.tables import assemble_runs_table
from planner_pipeline.sample.workspace import write_workspace
from planner_pipeline.sources.workspace import read_workspace
from planner_pipeline.tables import read_records
from planner_runtime.actions import action_space_for_swarms, valid_actions
from planner_runtime.contracts import PlannerInput, read_document
from planner_runtime.tokenizer import VOCABULARY, tokenize

repo = Path(os.environ.get("CYNTRA_PLANNER_REPO") or Path(tempfile.mkdtemp()) / "workspace")
if not repo.exists():
    print(write_workspace(repo, n_runs=400, seed=7))

# %% [markdown]
# ## What was found, and what could not be read
#
# Every reader accounts for everything it met: found = used + quarantined.

# %%
workspace = read_workspace(repo)
pl.DataFrame(
    [
        {
            "source": c.source,
            "found": c.discovered,
            "used": c.accepted,
            "quarantined": c.quarantined,
        }
        for c in workspace.source_report.counts
    ]
)

# %%
workspace.quarantine.select("file", "line", "reason", "detail")

# %% [markdown]
# ## Runs
#
# An archive is manifest, proof, rollout and telemetry, any of them missing. Which files exist
# depends on how the run ended: a serial timeout, for example, leaves no proof.

# %%
runs = assemble_runs_table(
    workspace.issues, workspace.archives, workspace.workcell_ends, workspace.world_runs
)
runs.group_by("kind", "status").len().sort("kind", "status")

# %%
workspace.archives.group_by("has_manifest", "has_proof", "has_rollout").len().sort(
    "len", descending=True
)

# %% [markdown]
# Where the facts of one timed-out run came from:

# %%
records = read_records(runs, RunRecord)
late = next(run for run in records if run.status == "timeout")
late.evidence

# %% [markdown]
# ## Decisions
#
# A run is an example when the kernel recorded its executed plan. The label is that plan in bins.

# %%
swarms = [swarm for swarms in workspace.universes["swarm_ids"] for swarm in swarms]
space = action_space_for_swarms(swarms)
examples = build_examples(records, space=space)
print(len(examples), "examples; runs that are none:", count_not_examples(records, space))
print("valid actions:", {job: len(valid_actions(space, job)) for job in ("code", "fab-world")})
pl.DataFrame(
    {
        "action": [" ".join(map(str, e.label)) for e in examples],
        "job": [e.job_type for e in examples],
    }
).group_by("job", "action").len().sort("len", descending=True).head(12)

# %% [markdown]
# ## What one decision could see
#
# Only runs that had started and ended before it. The gap to the newest one is never negative.

# %%
example = examples[-1]
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
gaps = pl.Series([(e.decided_ms - e.newest_seen_ms) / 60_000 for e in examples if e.newest_seen_ms])
assert gaps.min() >= 0
gaps.describe()

# %% [markdown]
# The same decision as a model reads it:

# %%
ids = tokenize(read_document(example.planner_input, PlannerInput))
print(len(ids), "tokens")
print(" ".join(VOCABULARY[i] for i in ids[:90]))
