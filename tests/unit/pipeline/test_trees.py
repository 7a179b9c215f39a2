"""Gradient-boosted trees: LightGBM's own scores, the same nodes as flat arrays, exact thresholds."""

import lightgbm
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.dataset.arrays import Arrays, build_arrays, choose_rows
from planner_pipeline.models.trees import NEVER, TreeHead, TreeModel, flat_trees, float32_below
from planner_pipeline.training.checkpoint import (
    CheckpointError,
    decode_checkpoint,
    encode_checkpoint,
)
from planner_pipeline.training.config import TrainConfig, usual_config
from planner_pipeline.training.predict import model_outputs
from planner_pipeline.training.trees import grow_trees
from planner_runtime.actions import Action, ActionSpace
from planner_runtime.features import N_FEATURES

SPACE = ActionSpace()
N_CHOICES = [len(choices) for choices in SPACE.choices]
FINITE = st.floats(allow_nan=False, allow_infinity=False, width=32)


def some_rows(n: int, seed: int = 0, *, job: str = "fab-world") -> Arrays:
    """Labels that follow from features, with luck; nobody takes 30 or 45 minutes, and a world of
    one agent has one candidate.
    """
    luck = np.random.default_rng(seed)
    features = luck.normal(size=(n, N_FEATURES)).astype(np.float32)
    features[:, 1] = luck.integers(0, 3, n) / 10  # few values, no float32 among them
    noisy = features + luck.normal(size=features.shape) * 0.3
    labels = [
        Action(
            "speculate_vote" if row[0] > 0 else "serial_handoff",
            (2 if row[1] > 0.15 else 3) if row[0] > 0 else 1,
            (15, 60, 120)[int(row[2] > 0) + int(row[3] > 0.5)],
            "NA" if job == "code" or row[4] > 0 else 5,
        )
        for row in noisy
    ]
    return build_arrays(features, labels, [job] * n, SPACE)


NO_ROWS = some_rows(0)


def a_config(**changes: int) -> TrainConfig:
    return usual_config("gbt", **{"trees": 8, "leaves": 5, "least_rows": 5, **changes})


@pytest.fixture(scope="module")
def model() -> TreeModel:
    return grow_trees(some_rows(300), NO_ROWS, a_config())


def thresholds(head: TreeHead) -> list[tuple[int, float]]:
    """Feature and threshold of every split, as LightGBM writes them."""
    found = []

    def walk(node: dict) -> None:
        if "leaf_value" not in node:
            found.append((node["split_feature"], node["threshold"]))
            walk(node["left_child"])
            walk(node["right_child"])

    for tree in lightgbm.Booster(model_str=head.model).dump_model()["tree_info"]:
        walk(tree["tree_structure"])
    return found


def rows_at_thresholds(head: TreeHead, seed: int = 0) -> np.ndarray:
    """For every split a row that stands at it, one just above it, one just below it."""
    luck = np.random.default_rng(seed)
    rows = []
    for feature, threshold in thresholds(head):
        at = np.float32(threshold)
        for value in (
            at,
            np.nextafter(at, np.float32(np.inf)),
            np.nextafter(at, np.float32(-np.inf)),
        ):
            row = luck.normal(size=N_FEATURES).astype(np.float32)
            row[feature] = value
            rows.append(row)
    return np.array(rows, dtype=np.float32)


def naive_walk(flat: dict, row: np.ndarray) -> list[float]:
    """Scores by ONNX's definition of a tree ensemble: branch on x <= value, add up the leaves."""
    assert set(flat["nodes_modes"]) <= {"LEAF", "BRANCH_LEQ"}
    places = {
        (tree, node): place
        for place, (tree, node) in enumerate(
            zip(flat["nodes_treeids"], flat["nodes_nodeids"], strict=True)
        )
    }
    weights: dict[tuple[int, int], list[tuple[int, float]]] = {}
    for tree, node, target, weight in zip(
        flat["target_treeids"], flat["target_nodeids"], flat["target_ids"],
        flat["target_weights"], strict=True,
    ):  # fmt: skip
        weights.setdefault((tree, node), []).append((target, weight))
    scores = list(flat.get("base_values", [0.0] * flat["n_targets"]))
    for tree in sorted(set(flat["nodes_treeids"])):
        node = 0
        while flat["nodes_modes"][places[tree, node]] != "LEAF":
            place = places[tree, node]
            # both are float32 in the graph
            goes_left = row[flat["nodes_featureids"][place]] <= np.float32(
                flat["nodes_values"][place]
            )
            node = flat["nodes_truenodeids" if goes_left else "nodes_falsenodeids"][place]
        for target, weight in weights[tree, node]:
            scores[target] += weight
    return scores


def test_outputs_are_lightgbms_raw_scores_in_the_columns_of_their_choices(model) -> None:
    rows = some_rows(40, 1)
    outputs = model_outputs(model, rows)
    assert [o.shape for o in outputs] == [(40, n) for n in N_CHOICES]
    assert [o.dtype for o in outputs] == [np.float32] * 4
    assert model.heads[2].classes == (0, 3, 4)
    for output, head, n in zip(outputs, model.heads, N_CHOICES, strict=True):
        raw = lightgbm.Booster(model_str=head.model).predict(rows.features, raw_score=True)
        for place, choice in enumerate(head.classes):
            assert output[:, choice] == pytest.approx(raw[:, place], abs=1e-6)
        never_made = sorted(set(range(n)) - set(head.classes))
        assert (output[:, never_made] == NEVER).all()


def test_what_was_grown_is_right_more_often_than_the_commonest_choice(model) -> None:
    rows = some_rows(300, 2)
    for head, output in enumerate(model.outputs(rows.features)):
        commonest = np.bincount(rows.labels[:, head]).max() / 300
        assert (output.argmax(axis=1) == rows.labels[:, head]).mean() > commonest + 0.1


@pytest.mark.parametrize("number", range(4))
def test_flat_trees_score_as_lightgbm_does_also_at_thresholds(model, number: int) -> None:
    head = model.heads[number]
    flat = flat_trees(head, N_CHOICES[number]).attributes
    rows = np.concatenate([some_rows(20, 3).features, rows_at_thresholds(head)])
    assert len(rows) > 80
    expected = model.outputs(rows)[number]
    for row, scores in zip(rows, expected, strict=True):
        assert naive_walk(flat, row) == pytest.approx(scores.tolist(), abs=1e-5)


def test_thresholds_rounded_to_the_nearest_would_go_wrong_on_some_row(model) -> None:
    """That the rows above can tell: with ordinary rounding a row at a threshold changes sides."""
    changed = 0
    for number, head in enumerate(model.heads):
        rows = rows_at_thresholds(head)
        flat = flat_trees(head, N_CHOICES[number]).attributes
        exact = {feature: [] for feature in range(N_FEATURES)}
        for feature, threshold in thresholds(head):
            exact[feature].append(threshold)
        nearest = [
            float(np.float32(min(exact[f], key=lambda t: abs(t - value))))
            if mode != "LEAF"
            else 0.0
            for f, value, mode in zip(
                flat["nodes_featureids"], flat["nodes_values"], flat["nodes_modes"], strict=True
            )
        ]
        rounded = {**flat, "nodes_values": nearest}
        changed += sum(naive_walk(rounded, row) != naive_walk(flat, row) for row in rows)
    assert changed > 0


@given(st.floats(-1e30, 1e30), st.integers(-2, 2))
@settings(max_examples=300, deadline=None)
def test_a_float32_is_below_a_threshold_exactly_when_it_is_below_the_rounded_one(
    threshold: float, steps: int
) -> None:
    x = np.float32(threshold)
    for _ in range(abs(steps)):
        x = np.nextafter(x, np.float32(np.copysign(np.inf, steps)))
    rounded = float32_below(threshold)
    assert float(np.float32(rounded)) == rounded
    assert (float(x) <= threshold) == (x <= np.float32(rounded))


@given(FINITE)
def test_a_float32_threshold_stays_as_it_is(threshold: float) -> None:
    assert float32_below(threshold) == threshold


def test_a_head_with_one_class_has_no_trees_and_says_so() -> None:
    rows = some_rows(60)
    rows.labels[:, 3] = 4
    model = grow_trees(rows, NO_ROWS, a_config())
    assert model.heads[3] == TreeHead(classes=(4,))
    assert model.outputs(rows.features)[3].tolist() == [[NEVER] * 4 + [0.0]] * 60


def test_a_head_that_every_row_was_forced_in_prefers_nothing() -> None:
    rows = some_rows(60, job="code")
    model = grow_trees(rows, NO_ROWS, a_config())
    assert model.heads[3] == TreeHead(classes=())
    assert set(model.outputs(rows.features)[3].ravel().tolist()) == {NEVER}


def test_too_few_rows_for_a_split_give_the_shares_of_the_choices() -> None:
    rows = some_rows(12)
    model = grow_trees(rows, NO_ROWS, a_config(least_rows=20, trees=3))
    for head, output in enumerate(model.outputs(rows.features)):
        assert (output == output[0]).all()
        counts = np.bincount(rows.labels[:, head], minlength=N_CHOICES[head])
        seen = np.flatnonzero(counts)
        shares = np.exp(output[0, seen]) / np.exp(output[0, seen]).sum()
        assert shares == pytest.approx(counts[seen] / 12, abs=1e-3)
        flat = flat_trees(model.heads[head], N_CHOICES[head]).attributes
        assert naive_walk(flat, rows.features[0]) == pytest.approx(output[0].tolist(), abs=1e-5)


def test_validation_rows_end_the_growing_and_choices_never_made_do_not_upset_it() -> None:
    train, val = some_rows(120), some_rows(80, 1)
    val.labels[:5, 2] = 1  # 30 minutes, which no training row took
    config = a_config(trees=150)
    alone, judged = grow_trees(train, NO_ROWS, config), grow_trees(train, val, config)
    n_alone, n_judged = (
        [head.model.count("\nTree=") for head in model.heads] for model in (alone, judged)
    )
    assert n_alone == [150 * len(head.classes) for head in alone.heads]
    assert any(few < many for few, many in zip(n_judged, n_alone, strict=True))
    assert all(head.model.count("\nTree=") > 0 for head in judged.heads)


def test_equal_seeds_give_equal_trees_and_a_checkpoint_comes_back_as_it_was(model) -> None:
    data = encode_checkpoint(model)
    assert encode_checkpoint(grow_trees(some_rows(300), NO_ROWS, a_config())) == data
    assert encode_checkpoint(grow_trees(some_rows(300), NO_ROWS, a_config(seed=1))) != data
    back = decode_checkpoint(data)
    assert back == model
    assert encode_checkpoint(back) == data
    rows = some_rows(10, 4)
    for mine, its in zip(model_outputs(model, rows), model_outputs(back, rows), strict=True):
        assert (mine == its).all()
    for broken in (
        data[:-1],
        data[: len(data) // 2],
        b"{",
        b'{"schema_version":"cyntra.trees.v2"}',
    ):
        with pytest.raises(CheckpointError):
            decode_checkpoint(broken)


def test_no_rows_have_no_scores_and_other_kinds_of_output_are_refused(model) -> None:
    nothing = choose_rows(some_rows(5), np.arange(0))
    assert [o.shape for o in model_outputs(model, nothing)] == [(0, n) for n in N_CHOICES]
    for decoding in ("joint", "autoregressive"):
        config = msgspec.structs.replace(a_config(), decoding=decoding)
        with pytest.raises(ValueError, match=f"no {decoding} output"):
            grow_trees(some_rows(20), NO_ROWS, config)
