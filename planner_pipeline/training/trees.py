"""Growing gradient-boosted trees, one LightGBM model a head.

Belongs here: settings of the library and when to stop. Does not: the model (``models.trees``).
Few leaves and many rows a leaf: on small noisy tables the library's defaults come out near the
prior (reference/models.md 5).
"""

from typing import Any

import lightgbm
import numpy as np

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.models.trees import TreeHead, TreeModel
from planner_pipeline.training.batches import build_targets
from planner_pipeline.training.config import TrainConfig


def grow_trees(train: Arrays, val: Arrays, config: TrainConfig) -> TreeModel:
    """Trees of every head on the rows where it had a choice; each stops on the validation rows.

    Args:
        val: May be empty; then every tree is kept.

    Raises:
        ValueError: another kind of output than a row of scores a head was asked for.
    """
    if config.decoding != "heads":
        raise ValueError(f"trees have no {config.decoding} output")
    weights = build_targets(train, class_weight=config.class_weight).weights.numpy()
    train_masks, val_masks = train.masks(), val.masks()
    heads = []
    for head in range(len(train.space.choices)):
        free = train_masks[head].sum(axis=1) > 1
        labels = train.labels[free, head]
        classes = tuple(np.unique(labels).tolist())
        if len(classes) < 2:
            heads.append(TreeHead(classes=classes))
            continue
        judged = (val_masks[head].sum(axis=1) > 1) & np.isin(val.labels[:, head], classes)
        heads.append(
            TreeHead(
                classes=classes,
                model=_grow(
                    (train.features[free], labels, weights[free, head]),
                    (val.features[judged], val.labels[judged, head]),
                    classes,
                    config,
                ),
            )
        )
    return TreeModel(spec=config.model_spec(train.space), heads=tuple(heads))


def _grow(
    train: tuple[np.ndarray, np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    classes: tuple[int, ...],
    config: TrainConfig,
) -> str:
    features, labels, weights = train
    params: dict[str, Any] = {
        "objective": "multiclass", "num_class": len(classes), "metric": "multi_logloss",
        "learning_rate": 0.05, "num_leaves": config.leaves, "min_data_in_leaf": config.least_rows,
        "lambda_l2": 1.0, "feature_fraction": 0.7, "bagging_fraction": 0.8, "bagging_freq": 1,
        "seed": config.seed, "deterministic": True, "force_row_wise": True, "num_threads": 1,
        "verbosity": -1, "max_bin": 63,
    }  # fmt: skip
    data = lightgbm.Dataset(features, np.searchsorted(classes, labels), weight=weights)
    callbacks: list[Any] = []
    judged: list[lightgbm.Dataset] = []
    if len(val[1]):
        judged = [data.create_valid(val[0], np.searchsorted(classes, val[1]))]
        callbacks = [lightgbm.early_stopping(config.patience * 2, verbose=False)]
    booster = lightgbm.train(
        params, data, num_boost_round=config.trees, valid_sets=judged, callbacks=callbacks
    )
    best = booster.best_iteration if judged else config.trees
    return booster.model_to_string(num_iteration=max(1, best))
