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
# # 04 Reading the bench
#
# What a bench ran, what came of it, and what may be concluded. It runs a small one for real: three
# generated issues, worked on by `repair-search`, which needs no model. To read a bench of yours,
# set `CYNTRA_PLANNER_REPO` and `CYNTRA_PLANNER_OUT`; nothing then runs that was not run before.
# What is measured with `repair-search` says nothing about coding agents.

# %%
import os
import tempfile
from pathlib import Path

import polars as pl

from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.defs.resources import Settings
from planner_pipeline.experiments.bench_report import as_markdown, report_of
from planner_pipeline.sample.repair_workspace import write_repair_workspace

here = Path(tempfile.mkdtemp())
given = os.environ.get("CYNTRA_PLANNER_REPO")
repo = Path(given) if given else here / "workspace"
out = Path(os.environ.get("CYNTRA_PLANNER_OUT") or here / "out")
if not given:
    write_repair_workspace(repo, n_issues=3, seed=3)
settings = Settings(repo=str(repo), out=str(out))
bench = BenchSettings(k=3, repeats=1 if given else 2)
session = bench.everything(settings) if given else bench.session(settings, None)
{"cases": len(session.cases), "refused": [one.reason for one in session.refused]}

# %% [markdown]
# ## What is tried, and why
#
# The baseline first, then its opposite topology, then something cheaper or dearer, balanced over
# the campaign. The reason of every candidate is kept.

# %%
session.candidates().select(
    "issue_id", "position", "reason", "swarm_id", "max_candidates_bin", "max_minutes_bin"
)

# %% [markdown]
# ## What it may cost, before it starts
#
# The worst case: every attempt to its limit. Reserved unit by unit, settled by what it took.

# %%
n_waiting, worst, so_far = session.plan()
{"units to run": n_waiting, "worst case": worst, "spent so far": so_far}

# %%
end = None if given else session.run()
judged = session.judge()
end

# %% [markdown]
# ## What came of it
#
# One row for every outcome that tells something. `is_censored`: a limit ended it before anything
# passed, so with more time it might have. A row says with what it was made: executor, isolation,
# seed, hashes, and how long a minute was.

# %%
judged.outcomes.select(
    "issue_id", "swarm_id", "max_candidates_bin", "max_minutes_bin", "repeat", "status",
    "is_censored", "duration_ms", "agent_ms", "cost_usd", "isolation", "minute_seconds",
)  # fmt: skip

# %% [markdown]
# ## Luck
#
# The same action on the same issue with another seed: how often do two tries agree? Where they
# rarely do, one try a candidate says little, and more repeats are worth more than more candidates.

# %%
cell = ["issue_id", "swarm_id", "max_candidates_bin", "max_minutes_bin"]
judged.outcomes.group_by(cell, maintain_order=True).agg(
    n=pl.len(), passed=pl.col("passed").sum(), seeds=pl.col("seed").n_unique()
)

# %% [markdown]
# ## Winners
#
# Gates first, then the universe's metrics in its order, then declared tie-breaks. `probability` is
# the winner's share of bootstrap resamples; null where one try tells nothing of luck. A case
# without a winner is no label, and says why.

# %%
judged.labels.select(
    "issue_id", "swarm_id", "max_candidates_bin", "max_minutes_bin", "is_label", "reason", "ties",
    "probability", "pass_ratio", "objective",
)  # fmt: skip

# %% [markdown]
# ## Heuristic, best fixed action, oracle
#
# The oracle chooses on the outcomes that score it, so every regret is too high, the more so the
# fewer repeats there are. Read the intervals and `n` before the figures.

# %%
report = report_of(session, judged)
print(as_markdown(report))

# %% [markdown]
# ## Where an attempt went
#
# Every attempt is archived in the kernel's format, losers and timeouts too, and can be built from
# like any workspace: `cyntra-planner build --repo OUT/bench/workspace --out ...`.

# %%
archives = sorted((session.bench / "workspace" / ".cyntra" / "archives").glob("*"))
pl.DataFrame({"archive": [path.name for path in archives[:8]]})

# %%
session.ledger.totals()
