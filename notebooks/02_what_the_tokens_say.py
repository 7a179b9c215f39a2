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
# # 02 What the tokens say
#
# A decision as a model reads it: which tokens, how many, what is cut off, and what alike decisions
# have in common. Runs on a small simulated workspace, or on yours: set `CYNTRA_PLANNER_REPO`.

# %%
import os
import tempfile
from collections import Counter
from pathlib import Path

import polars as pl

from planner_pipeline.dataset.build import build_dataset
from planner_pipeline.dataset.feasibility import gates_table, judge
from planner_pipeline.sample.workspace import write_workspace
from planner_runtime.contracts import PlannerInput, read_document
from planner_runtime.tokenizer import UNK_ID, VOCABULARY, TokenBudget, tokenize, vocab_hash

here = Path(tempfile.mkdtemp())
repo = Path(os.environ.get("CYNTRA_PLANNER_REPO") or here / "workspace")
if not repo.exists():
    write_workspace(repo, n_runs=500, seed=7)
dataset = build_dataset(repo, here / "out")
rows = pl.concat(
    pl.read_parquet(here / "out" / "dataset" / name, columns=["n_tokens", "token_ids", "n_similar"])
    for name in dataset.meta.parts
)

# %% [markdown]
# ## A vocabulary that no data set can change
#
# Tags, keywords, fail codes and names are hashed into fixed buckets, numbers into bins. So a token
# means the same in training and in a kernel that meets a tag for the first time: none is unknown.

# %%
print(len(VOCABULARY), "tokens, vocabulary", vocab_hash()[:12])
families = Counter(
    token.rsplit("_", 1)[0] if "HASH" in token else token[:5] for token in VOCABULARY
)
used = Counter(token for ids in rows["token_ids"].to_list() for token in ids)
assert UNK_ID not in used
print(len(used), "of them occur here")
families.most_common(8)

# %% [markdown]
# ## One decision, entry by entry
#
# Universe, issue, system state, then past runs, the most recent first.

# %%
example = dataset.examples("train", "val", "test")[-1]
question = read_document(example.planner_input, PlannerInput)
text = " ".join(VOCABULARY[i] for i in tokenize(question))
print(text.replace("[SEP]", "[SEP]\n").replace(" [=] ", "=")[:2400])

# %% [markdown]
# ## How long sequences are, and what a smaller budget costs
#
# Whole entries go first from the end of a section, whole runs from the oldest: no key is parted
# from its value, so the length of a sequence minus its marks is always a multiple of three.

# %%
rows.group_by("n_similar").agg(
    pl.len().alias("decisions"),
    pl.col("n_tokens").mean().round(1).alias("mean_tokens"),
    pl.col("n_tokens").max().alias("most_tokens"),
).sort("n_similar")

# %%
run_mark = VOCABULARY.index("[RUN]")
sample = [read_document(e.planner_input, PlannerInput) for e in dataset.examples("val", "test")]
pl.DataFrame(
    [
        {
            "seq_len": seq_len,
            "mean_tokens": sum(map(len, cut)) / len(cut),
            "mean_runs_left": sum(ids.count(run_mark) for ids in cut) / len(cut),
        }
        for seq_len in (128, 192, 256, 384, 512)
        for cut in [[tokenize(q, budget=TokenBudget(seq_len=seq_len)) for q in sample]]
    ]
)

# %% [markdown]
# ## Which bucket clashes there are
#
# Two tags in one bucket look alike to a model. With 1,024 buckets and few tags that is rare.

# %%
from planner_runtime.hashing import bucket
from planner_runtime.tokenizer import N_KEYWORD_BUCKETS, N_TAG_BUCKETS

names = {"tags": set(), "keywords": set()}
for question in sample:
    names["tags"] |= set(question.issue.tags)
    names["keywords"] |= set(question.issue.keywords)
{
    kind: (len(found), len(found) - len({bucket(name, size) for name in found}))
    for (kind, found), size in zip(names.items(), (N_TAG_BUCKETS, N_KEYWORD_BUCKETS), strict=True)
}

# %% [markdown]
# ## Do alike decisions get one answer?
#
# The gates of phase P0, on this workspace.

# %%
judged = judge(dataset)
print(judged.verdict)
for what in judged.collect_next:
    print("collect:", what)
gates_table(judged)
