"""Models whose optimum is found, not walked to: the prior, logistic regression.

Belongs here: counting, and the convex fit. Does not: the models (``models.prior``,
``models.linear``).
"""

import numpy as np
import torch

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.evaluation.calibration import calibrated_nll
from planner_pipeline.models.linear import FeatureLinear
from planner_pipeline.models.prior import JobPrior
from planner_pipeline.training.batches import Inputs, build_targets
from planner_pipeline.training.config import TrainConfig
from planner_pipeline.training.losses import total_loss
from planner_pipeline.training.predict import network_outputs

MOST_STEPS = 200


def count_prior(train: Arrays, config: TrainConfig) -> JobPrior:
    """Shares of every action among the jobs of a type, each counted once more than it was seen."""
    model = JobPrior(config.model_spec(train.space))
    targets = build_targets(train)
    jobs = train.features[:, model.columns.numpy()].argmax(axis=1)
    counts = np.ones(tuple(model.table.shape))
    np.add.at(counts, (jobs, targets.joint.numpy()), 1.0)
    model.table.copy_(torch.from_numpy(np.log(counts)))
    return model


def fit_logistic(train: Arrays, val: Arrays, config: TrainConfig) -> tuple[FeatureLinear, float]:
    """Logistic regression at the optimum, and the strength of its L2 penalty: the one with the best
    calibrated validation loss, or the strongest without validation rows.
    """
    best: tuple[float, float, FeatureLinear] | None = None
    for l2 in sorted(config.l2, reverse=True):
        model = _fit(train, config, l2)
        nll = 0.0
        if len(val):
            nll, _ = calibrated_nll(network_outputs(model, val), val, config.decoding)
        if best is None or nll < best[0]:
            best = nll, l2, model
    assert best is not None
    return best[2], best[1]


def _fit(train: Arrays, config: TrainConfig, l2: float) -> FeatureLinear:
    torch.manual_seed(config.seed)
    model = FeatureLinear(config.model_spec(train.space))
    inputs, rows = Inputs(train, "features"), np.arange(len(train))
    targets = build_targets(train, class_weight=config.class_weight)
    (features,) = inputs.batch(rows)
    model.scaler.fit(features)
    for weight in model.parameters():
        torch.nn.init.zeros_(weight)
    optimizer = torch.optim.LBFGS(
        model.parameters(), max_iter=MOST_STEPS, tolerance_grad=1e-5, line_search_fn="strong_wolfe"
    )
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = total_loss(
            model(features), targets, config.decoding,
            head_weights=config.head_weights, focal=config.focal,
        )  # fmt: skip
        loss = loss + l2 / 2 * sum(weight.square().sum() for weight in matrices)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    model.eval()
    return model
