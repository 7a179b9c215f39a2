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
# # 03 Training a planner
#
# From a data set to a calibrated model, step by step: baselines first, then a network, what its
# confidences are worth, and from which on it may be followed. Runs on a small simulated workspace,
# or on yours: set `CYNTRA_PLANNER_REPO`. On the simulated one the figures say nothing about agents.

# %%
import os
import tempfile
from pathlib import Path

import numpy as np
import polars as pl

from planner_pipeline.dataset.build import build_dataset
from planner_pipeline.evaluation.calibrate import calibrate
from planner_pipeline.evaluation.calibration import fit_temperatures, label_log_probs
from planner_pipeline.evaluation.diagnostics import diagnose
from planner_pipeline.evaluation.predictions import Said, heuristic_choices, predictions_table
from planner_pipeline.sample.workspace import write_workspace
from planner_pipeline.training.checkpoint import decode_checkpoint
from planner_pipeline.training.config import usual_config
from planner_pipeline.training.fit import fit_model
from planner_pipeline.training.predict import model_outputs
from planner_runtime.decode import action_table, output_widths
from planner_runtime.kernel_config import SHIPPED_CONFIG

here = Path(tempfile.mkdtemp())
repo = Path(os.environ.get("CYNTRA_PLANNER_REPO") or here / "workspace")
if not repo.exists():
    write_workspace(repo, n_runs=900, seed=7)
dataset = build_dataset(repo, here / "out")
train, val, certify, test = (
    dataset.role_arrays(role) for role in ("train", "val", "certify", "test")
)
{"train": len(train), "val": len(val), "certify": len(certify), "test": len(test)}

# %% [markdown]
# ## What is to be chosen
#
# A finite set. Each head's bins are masked by the job type; the joint table is what decoding ranges
# over.

# %%
pl.DataFrame(
    {"job type": job, "valid actions": len(action_table(dataset.space, job).choices)}
    for job in train.job_types
)

# %%
{kind: output_widths(dataset.space, kind) for kind in ("heads", "joint", "autoregressive")}

# %% [markdown]
# ## Baselines first, then networks
#
# Joint negative log-likelihood of the executed plan in nats: on the rows that stopped the training,
# and on the test split with the same temperatures.

# %%
fits = {}
for arch in ("prior", "logreg", "gbt", "mlp"):
    config = usual_config(arch, epochs=60)
    checkpoint, record = fit_model(train, val, config)
    model = decode_checkpoint(checkpoint)
    temperatures, notes = fit_temperatures(model_outputs(model, val), val, config.decoding)
    fits[arch] = config, model, record, temperatures
pl.DataFrame(
    {
        "model": arch,
        "fitted numbers": record.n_weights,
        "val NLL": record.val_nll,
        "test NLL": -float(
            label_log_probs(model_outputs(model, test), test, config.decoding, t).mean()
        ),
        "chosen on val": record.chosen,
    }
    for arch, (config, model, record, t) in fits.items()
)

# %% [markdown]
# ## What the network did, epoch by epoch
#
# The loss is with dropout on; the NLL is of the averaged weights, temperatures fitted. The best
# epoch is kept.

# %%
config, model, record, temperatures = fits["mlp"]
pl.DataFrame(
    {"epoch": e.epoch, "train loss": e.train_loss, "val NLL": e.val_nll, "raw": e.val_nll_raw}
    for e in record.epochs
).gather_every(5)

# %%
temperatures

# %% [markdown]
# ## From which confidence on may it be followed?
#
# Rows that neither stopped the training nor fitted a temperature decide. "Worse" is: the heuristic
# repeats what was executed and the model does not. Where nothing can be promised the model is never
# followed.

# %%
rows = dataset.role_rows("val", "certify", "test")
defaults = heuristic_choices(dataset.examples_of(rows), dataset.space, SHIPPED_CONFIG)
is_certify = (rows["role"] == "certify").to_numpy()
calibration = calibrate(
    (model_outputs(model, val), val),
    (model_outputs(model, certify), certify),
    defaults[is_certify],
    config.decoding,
)
calibration.risk

# %%
{"follows from": calibration.confidence_threshold, "never follows": calibration.always_abstains}

# %% [markdown]
# ## Everything beside everything, on the test split

# %%
held_out = dataset.arrays_of(rows)
prior_config, prior, _, prior_t = fits["prior"]
predictions = predictions_table(
    rows,
    held_out,
    model=Said(model_outputs(model, held_out), config.decoding, calibration.temperatures),
    calibration=calibration,
    defaults=defaults,
    references={"prior": Said(model_outputs(prior, held_out), prior_config.decoding, prior_t)},
)
told = diagnose(predictions, role="test")
pl.DataFrame(
    {
        "predictor": name,
        "exact match": f.exact_match.value if f.exact_match else None,
        "low": f.exact_match.low if f.exact_match else None,
        "high": f.exact_match.high if f.exact_match else None,
        "most frequent action": f.top1_share,
    }
    for name, f in told.predictors.items()
)

# %% [markdown]
# Imitation cannot beat its teacher: where the heuristic made the labels, the best a model can do is
# repeat it. What could be better is a question for outcomes, which a bench measures.

# %%
reliability = told.predictors["model"].reliability
assert reliability is not None
np.array(reliability.curve).round(3)
