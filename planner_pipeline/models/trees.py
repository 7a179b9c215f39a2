"""Gradient-boosted trees over the features: one LightGBM model a head, as text.

Belongs here: the whole model but its growing (``training.trees``): scores, and the same as arrays
that ONNX can hold. Does not: masking (``planner_runtime.decode``).
"""

from typing import Any, Final

import lightgbm
import msgspec
import numpy as np

from planner_pipeline.models.spec import ModelSpec

ZERO: Final = float(np.float32(1e-35))  # LightGBM's kZeroThreshold: what is no larger is 0 to it
NEVER: Final = -30.0  # score of a choice that no training row made


class TreeHead(msgspec.Struct, frozen=True, kw_only=True):
    """One head.

    Attributes:
        classes: Choices that training rows made, in the order of the trees' classes.
        model: LightGBM's own text; empty where there was one class at most.
    """

    classes: tuple[int, ...]
    model: str = ""


class TreeModel(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="schema_version", tag="cyntra.trees.v1"
):
    """Trees of all heads."""

    spec: ModelSpec
    heads: tuple[TreeHead, ...]

    def outputs(self, features: np.ndarray) -> list[np.ndarray]:
        """Per head (N, C) float32 scores of (N, F) features."""
        return [
            _head_scores(head, n, features)
            for head, n in zip(self.heads, self.spec.n_choices, strict=True)
        ]


def _head_scores(head: TreeHead, n_choices: int, features: np.ndarray) -> np.ndarray:
    scores = np.full((len(features), n_choices), NEVER, dtype=np.float32)
    if not head.model:
        scores[:, list(head.classes)] = 0.0
    elif len(features):
        booster = lightgbm.Booster(model_str=head.model)
        scores[:, list(head.classes)] = booster.predict(features, raw_score=True, num_threads=1)
    return scores


class FlatTrees(msgspec.Struct, frozen=True):
    """Every node of a head's trees, as ONNX's TreeEnsembleRegressor wants them.

    Attributes:
        attributes: By name of the operator's attribute.
    """

    attributes: dict[str, Any]


def float32_below(threshold: float) -> float:
    """The greatest float32 that is not above a threshold: x <= threshold holds for the same float32
    x before and after.

    >>> found = np.float32(float32_below(0.1))
    >>> float(found) <= 0.1 < float(np.nextafter(found, np.float32(1)))
    True
    """
    rounded = np.float32(threshold)
    if float(rounded) > threshold:
        rounded = np.nextafter(rounded, np.float32(-np.inf))
    return float(rounded)


def _split_value(threshold: float) -> float:
    """A split of LightGBM's for numbers as they are: it reads those next to 0 as 0."""
    if 0 <= threshold < ZERO:
        threshold = ZERO
    elif -ZERO <= threshold < 0:
        threshold = float(np.nextafter(-ZERO, -np.inf))
    return float32_below(threshold)


def flat_trees(head: TreeHead, n_choices: int) -> FlatTrees:
    """The nodes of a head with at least one tree.

    Raises:
        ValueError: a tree splits on something other than a number's size.
    """
    dump = lightgbm.Booster(model_str=head.model).dump_model()
    names = (
        "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_modes", "nodes_values",
        "nodes_truenodeids", "nodes_falsenodeids", "nodes_missing_value_tracks_true",
        "target_treeids", "target_nodeids", "target_ids", "target_weights",
    )  # fmt: skip
    flat: dict[str, list[Any]] = {name: [] for name in names}

    def add(tree: int, node: dict[str, Any], target: int, counter: list[int]) -> int:
        number = counter[0]
        counter[0] += 1
        place = len(flat["nodes_nodeids"])
        is_leaf = "leaf_value" in node
        if not is_leaf and node["decision_type"] != "<=":
            raise ValueError(f"a split by {node['decision_type']}")
        values = {
            "nodes_treeids": tree, "nodes_nodeids": number,
            "nodes_featureids": 0 if is_leaf else node["split_feature"],
            "nodes_modes": "LEAF" if is_leaf else "BRANCH_LEQ",
            "nodes_values": 0.0 if is_leaf else _split_value(node["threshold"]),
            "nodes_truenodeids": 0, "nodes_falsenodeids": 0, "nodes_missing_value_tracks_true": 0,
        }  # fmt: skip
        for name, value in values.items():
            flat[name].append(value)
        if is_leaf:
            flat["target_treeids"].append(tree)
            flat["target_nodeids"].append(number)
            flat["target_ids"].append(target)
            flat["target_weights"].append(float(node["leaf_value"]))
            return number
        flat["nodes_truenodeids"][place] = add(tree, node["left_child"], target, counter)
        flat["nodes_falsenodeids"][place] = add(tree, node["right_child"], target, counter)
        return number

    for number, tree in enumerate(dump["tree_info"]):
        target = head.classes[number % len(head.classes)]
        add(number, tree["tree_structure"], target, [0])
    number = len(dump["tree_info"])
    for choice in set(range(n_choices)) - set(head.classes):  # a leaf that every row falls into
        add(number, {"leaf_value": NEVER}, choice, [0])
        number += 1
    return FlatTrees({**flat, "n_targets": n_choices})
