"""Figures against naive code, and what is said of too little data."""

import math

import numpy as np
import polars as pl
import pytest

from planner_pipeline.dataset.arrays import Arrays, build_arrays
from planner_pipeline.evaluation.calibrate import calibrate
from planner_pipeline.evaluation.calibration import fit_temperature, masked_nll
from planner_pipeline.evaluation.diagnostics import Diagnostics, diagnose
from planner_pipeline.evaluation.plots import wilson_interval
from planner_pipeline.evaluation.predictions import Said, answers_of, predictions_table
from planner_pipeline.evaluation.reliability import (
    augrc,
    aurc,
    calibration_error,
    equal_mass_bins,
    expected_calibration_error,
    risk_coverage,
)
from planner_pipeline.evaluation.risk import choose_threshold, least_rows, upper_bound
from planner_pipeline.release.report import verdict
from planner_pipeline.tables import PREDICTIONS, check_table, polars_schema
from planner_runtime.actions import ActionSpace, action_to_indices, valid_actions
from planner_runtime.calibration import Calibration

SPACE = ActionSpace()
RIGHT = ["serial_handoff", "1", "60", "NA"]
WRONG = ["speculate_vote", "2", "60", "NA"]


def a_row(number: int, **fields: object) -> dict[str, object]:
    return {
        "predictor": "model", "example_id": f"e{number}", "issue_id": f"i{number // 2}",
        "job_type": "code", "role": "test", "label": RIGHT, "action": RIGHT,
        "is_forced": [False, False, False, True], "abstains": False, "confidence": 0.8,
        "label_prob": 0.5, "brier": 0.3,
    } | fields  # fmt: skip


def a_table(
    model: list[list[str]],
    heuristic: list[list[str]] | None = None,
    prior: list[list[str]] | None = None,
    **fields: list[object],
) -> pl.DataFrame:
    """Rows of three predictors; ``fields`` hold a value for each example."""
    rows = []
    for name, actions in (
        ("model", model),
        ("heuristic", heuristic or [RIGHT] * len(model)),
        ("prior", prior or [WRONG] * len(model)),
    ):
        for number, action in enumerate(actions):
            told: dict[str, object] = {key: values[number] for key, values in fields.items()}
            if name == "heuristic":
                told |= {"confidence": None, "label_prob": None, "brier": None}
            rows.append(a_row(number, **{**told, "predictor": name, "action": action}))
    return check_table(PREDICTIONS, pl.DataFrame(rows, schema=polars_schema(PREDICTIONS)))


def exact(told: Diagnostics, who: str) -> float:
    figure = told.predictors[who].exact_match
    assert figure is not None
    return figure.value


def test_ece_is_the_naive_loop() -> None:
    rng = np.random.default_rng(0)
    confidence, correct = rng.random(500), (rng.random(500) < 0.6) * 1.0
    total = 0.0
    for low in range(10):
        rows = [i for i in range(500) if low / 10 <= confidence[i] < (low + 1) / 10]
        if rows:
            gap = sum(correct[i] for i in rows) / len(rows) - sum(
                confidence[i] for i in rows
            ) / len(rows)
            total += len(rows) / 500 * abs(gap)
    assert expected_calibration_error(confidence, correct) == pytest.approx(total)
    assert expected_calibration_error(np.array([1.0]), np.array([1.0])) == 0.0


def test_calibration_error_and_nll_are_those_of_a_library() -> None:
    import torch
    from torch.nn.functional import cross_entropy
    from torchmetrics.classification import MulticlassCalibrationError

    rng = np.random.default_rng(9)
    logits, labels = rng.normal(size=(800, 5)) * 2, rng.integers(0, 5, 800)
    probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    theirs = MulticlassCalibrationError(num_classes=5, n_bins=10, norm="l1")(
        torch.from_numpy(probs), torch.from_numpy(labels)
    )
    ours = expected_calibration_error(probs.max(axis=1), (probs.argmax(axis=1) == labels) * 1.0)
    assert ours == pytest.approx(float(theirs), abs=1e-6)
    nll = masked_nll(logits, labels, np.ones_like(logits, dtype=bool), 1.7)
    expected = cross_entropy(torch.from_numpy(logits / 1.7), torch.from_numpy(labels))
    assert nll == pytest.approx(float(expected))


def test_bins_of_equal_mass_hold_as_many_rows_and_part_no_equal_confidences() -> None:
    rng = np.random.default_rng(4)
    spread = rng.random(200)
    assert np.bincount(equal_mass_bins(spread)).tolist() == [20] * 10
    ties = np.repeat([0.2, 0.5, 0.9], [10, 50, 40])
    bins = equal_mass_bins(ties)
    assert [len(set(bins[ties == value].tolist())) for value in (0.2, 0.5, 0.9)] == [1, 1, 1]
    correct = (rng.random(200) < spread) * 1.0
    order = np.argsort(spread)
    naive = sum(
        abs(correct[part].mean() - spread[part].mean()) * len(part) / 200
        for part in np.array_split(order, 10)
    )
    assert calibration_error(spread, correct, equal_mass_bins(spread)) == pytest.approx(naive)


@pytest.mark.parametrize("seed", range(5))
def test_selective_risk_is_the_naive_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    confidence, correct = rng.permutation(40) / 40, (rng.random(40) < 0.7) * 1.0
    surest = sorted(range(40), key=lambda i: -confidence[i])
    errors = [sum(1 - correct[i] for i in surest[:k]) for k in range(1, 41)]
    assert aurc(confidence, correct) == pytest.approx(
        sum(e / k for k, e in enumerate(errors, start=1)) / 40
    )
    assert augrc(confidence, correct) == pytest.approx(sum(e / 40 for e in errors) / 40)
    curve = risk_coverage(confidence, correct, 4)
    assert curve == tuple((k / 40, pytest.approx(errors[k - 1] / k)) for k in (10, 20, 30, 40))


def test_rows_that_are_equally_sure_count_in_any_order() -> None:
    confidence, correct = np.full(6, 0.5), np.array([0, 0, 1, 1, 1, 1.0])
    for _ in range(3):
        assert aurc(confidence, correct) == pytest.approx(1 / 3)
        correct = np.roll(correct, 1)


def test_masked_nll_is_the_naive_loop() -> None:
    rng = np.random.default_rng(1)
    logits, labels = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
    mask = np.ones((50, 4), dtype=bool)
    mask[:, 3] = False
    naive = -sum(
        math.log(math.exp(row[y] / 2) / sum(math.exp(x / 2) for x in row[:3]))
        for row, y in zip(logits, labels, strict=True)
    ) / 50  # fmt: skip
    assert masked_nll(logits, labels, mask, 2.0) == pytest.approx(naive)


def test_small_validation_sets_are_shrunk_and_hopeless_ones_left_alone() -> None:
    rng = np.random.default_rng(2)
    clean = rng.normal(size=(400, 4))
    p = np.exp(clean) / np.exp(clean).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(4, p=row) for row in p])
    mask = np.ones_like(clean, dtype=bool)
    full, _ = fit_temperature(clean * 4, labels, mask)
    few, note = fit_temperature(clean[:30] * 4, labels[:30], mask[:30])
    assert full == pytest.approx(4, rel=0.3)
    assert 1 < few < full
    assert note == "shrunk: only 30 rows with a choice"
    assert fit_temperature(clean * 0.25, labels, mask)[0] == pytest.approx(0.25, rel=0.3)
    few, note = fit_temperature(clean[:60] * 0.25, labels[:60], mask[:60])
    assert (few, note) == (1.0, "60 rows with a choice are too few to sharpen")
    assert fit_temperature(clean[:0], labels[:0], mask[:0]) == (1.0, "no row with a choice")
    right = np.eye(4)[labels]
    assert fit_temperature(right, labels, mask) == (1.0, "all 400 rows are right")
    assert fit_temperature(-right, labels, mask)[1] in ("all 400 rows are wrong",)


def test_forced_rows_say_nothing_about_temperature() -> None:
    rng = np.random.default_rng(3)
    logits, labels = rng.normal(size=(300, 3)) * 3, rng.integers(0, 3, 300)
    mask = np.ones((300, 3), dtype=bool)
    forced = np.zeros((50, 3), dtype=bool)
    forced[:, 0] = True
    alone = fit_temperature(logits, labels, mask)
    both = fit_temperature(
        np.vstack([logits, np.full((50, 3), 99.0)]),
        np.append(labels, np.zeros(50, int)),
        np.vstack([mask, forced]),
    )
    assert both == alone


def some_rows(n: int, seed: int) -> Arrays:
    rng = np.random.default_rng(seed)
    actions = valid_actions(SPACE, "code")
    labels = [actions[i] for i in rng.integers(0, len(actions), n)]
    return build_arrays(np.zeros((n, 3), dtype=np.float32), labels, ["code"] * n, SPACE)


def sure_outputs(arrays: Arrays, right: np.ndarray, sureness: np.ndarray) -> list[np.ndarray]:
    """Scores that favour the label where ``right``, else another action, by so much."""
    other = action_to_indices(SPACE, valid_actions(SPACE, "code")[0])
    outputs = []
    for head, choices in enumerate(SPACE.choices):
        scores = np.zeros((len(arrays), len(choices)))
        chosen = np.where(right, arrays.labels[:, head], other[head])
        scores[np.arange(len(arrays)), chosen] = sureness
        outputs.append(scores)
    return outputs


def test_predictions_are_decoded_as_the_runtime_does_and_served_by_the_threshold() -> None:
    arrays = some_rows(40, 0)
    right = np.arange(40) % 4 > 0
    outputs = sure_outputs(arrays, right, np.where(right, 9.0, 2.0))
    plain = dict.fromkeys(
        ("swarm_id", "max_candidates_bin", "max_minutes_bin", "max_iterations_bin"), 1.0
    )
    answers = answers_of(outputs, arrays, "heads", plain)
    assert ((answers.actions == arrays.labels).all(axis=1) >= right).all()
    index = pl.DataFrame({
        "example_id": [f"e{i}" for i in range(40)], "issue_id": [f"i{i}" for i in range(40)],
        "job_type": ["code"] * 40, "role": ["test"] * 40,
    })  # fmt: skip
    calibration = Calibration(temperatures=plain, confidence_threshold=0.9, n_validation=1)
    table = predictions_table(
        index, arrays, model=Said(outputs, "heads", plain), calibration=calibration,
        defaults=arrays.labels, references={"same": Said(outputs, "heads", plain)},
    )  # fmt: skip
    told = diagnose(table, role="test")
    assert exact(told, "served") == exact(told, "heuristic") == 1.0
    assert exact(told, "model") == exact(told, "same") < 1.0
    assert told.abstain_ratio == pytest.approx((answers.confidence < 0.9).mean())


def test_a_threshold_keeps_its_promise_in_nine_of_ten_worlds() -> None:
    broken, acted, n_worlds = 0, 0, 300
    for seed in range(n_worlds):
        rng = np.random.default_rng(seed)

        def world(n: int, rng: np.random.Generator = rng) -> tuple[np.ndarray, np.ndarray]:
            confidence = rng.random(n)
            return confidence, rng.random(n) < 0.35 * (1 - confidence)  # worse, the less sure

        threshold, promise = choose_threshold(*world(400), measure="worse")
        if threshold is None:
            continue
        acted += 1
        assert promise.n_followed >= least_rows(0.1, 0.1)
        confidence, worse = world(20_000)
        broken += worse[confidence >= threshold].mean() > promise.target
    assert acted > 0.7 * n_worlds
    assert broken <= 0.1 * n_worlds + 3 * math.sqrt(0.09 * n_worlds)


def test_without_enough_or_good_enough_rows_nothing_is_promised() -> None:
    sure, fine = np.full(37, 0.99), np.zeros(37, dtype=bool)
    assert choose_threshold(sure, fine, measure="worse")[0] is None
    threshold, promise = choose_threshold(np.full(60, 0.9), np.arange(60) % 3 == 0, measure="worse")
    assert threshold is None
    assert (promise.n_followed, promise.bound) == (0, 1.0)
    threshold, promise = choose_threshold(np.full(60, 0.9), np.zeros(60, dtype=bool), measure="w")
    assert threshold == 0.0
    assert promise.bound == pytest.approx(1 - 0.1 ** (1 / 60))


def test_the_upper_bound_is_where_so_few_would_be_one_in_ten() -> None:
    for n_worse, n in ((0, 10), (2, 30), (5, 40)):
        p = upper_bound(n_worse, n, 0.1)
        tail = sum(math.comb(n, k) * p**k * (1 - p) ** (n - k) for k in range(n_worse + 1))
        assert tail == pytest.approx(0.1)


def test_a_calibration_certifies_on_other_rows_than_it_fits() -> None:
    fitting, certifying = some_rows(120, 1), some_rows(120, 2)
    always, never = np.ones(120, dtype=bool), np.zeros(120, dtype=bool)
    sure = np.full(120, 9.0)
    good = calibrate(
        (sure_outputs(fitting, never, sure), fitting),
        (sure_outputs(certifying, always, sure), certifying), certifying.labels, "heads",
    )  # fmt: skip
    bad = calibrate(
        (sure_outputs(fitting, always, sure), fitting),
        (sure_outputs(certifying, never, sure), certifying), certifying.labels, "heads",
    )  # fmt: skip
    assert not good.always_abstains
    assert bad.always_abstains
    assert not bad.follows(1.0)
    assert "it takes at least 38 followed ones" in bad.notes[-1]


def test_accuracy_and_its_paired_difference_are_the_counts() -> None:
    model = [RIGHT if i % 4 else WRONG for i in range(40)]
    told = diagnose(
        a_table([*model, WRONG, RIGHT], [*[RIGHT] * 40, WRONG, RIGHT],
                label=[*[RIGHT] * 40, WRONG, WRONG]),
        role="test",
    )  # fmt: skip
    assert exact(told, "model") == 31 / 42
    assert exact(told, "heuristic") == 41 / 42
    assert exact(told, "prior") == 2 / 42
    assert (told.n, told.n_issues) == (42, 21)
    gap = told.predictors["model"].minus_heuristic
    assert gap is not None
    assert gap.value == -10 / 42
    assert gap.low <= -10 / 42 <= gap.high < 0
    heads = told.predictors["model"].head_accuracy
    assert heads["swarm_id"].value == 31 / 42
    assert heads["max_minutes_bin"].value == 1.0
    assert "max_iterations_bin" not in heads  # always forced: no figure
    held = told.predictors["model"].reliability
    assert held is not None
    assert held.nll is not None
    assert held.nll.value == pytest.approx(math.log(2))
    assert told.predictors["heuristic"].reliability is None
    assert told.predictors["model"].top1_share == 31 / 42
    assert told.promise is not None
    assert (told.promise.n_followed, told.promise.n_worse) == (42, 10)
    assert "better than the model" in verdict(told, 2)


def test_a_simple_baseline_that_is_as_good_is_named() -> None:
    labels = [RIGHT if i % 2 else WRONG for i in range(60)]
    told = diagnose(a_table(labels, labels, labels, label=labels), role="test")
    assert "A simple baseline is as good here" in verdict(told, 2)
    worse = diagnose(a_table(labels, labels, [RIGHT] * 60, label=labels), role="test")
    assert "simple baseline" not in verdict(worse, 2)


def test_intervals_draw_whole_issues() -> None:
    model = [RIGHT if i < 20 else WRONG for i in range(40)]
    issues = ["one" if i < 20 else "two" for i in range(40)]
    figure = diagnose(a_table(model, issue_id=issues), role="test").predictors["model"].exact_match
    assert figure is not None
    assert (figure.low, figure.high) == (0.0, 1.0)  # two issues: anything is possible


def test_one_issue_or_one_action_decides_nothing() -> None:
    alone = diagnose(a_table([WRONG] * 6, issue_id=["one"] * 6), role="test")
    assert alone.predictors["model"].exact_match is None
    same = diagnose(a_table([RIGHT] * 20, [WRONG] * 20), role="test")
    assert exact(same, "model") == 1.0
    assert same.predictors["model"].minus_heuristic is None


def test_nothing_is_claimed_of_no_rows() -> None:
    told = diagnose(pl.DataFrame(schema=polars_schema(PREDICTIONS)), role="test")
    assert (told.n, told.predictors, told.abstain_ratio) == (0, {}, None)
    assert "Nothing can be said" in verdict(told, 2)
    assert "nothing to tell apart" in verdict(told, 1)


def test_the_wilson_interval_holds_its_ratio_and_stays_a_ratio() -> None:
    for n in (1, 5, 200):
        for ratio in (0.0, 0.3, 1.0):
            low, high = wilson_interval(ratio, n)
            assert 0 <= low <= ratio <= high <= 1
