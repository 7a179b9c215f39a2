"""Figures against naive code, and what is said of too little data."""

import math

import numpy as np
import polars as pl
import pytest

from planner_pipeline.evaluation.calibration import fit_temperature, masked_nll
from planner_pipeline.evaluation.diagnostics import diagnose, expected_calibration_error
from planner_pipeline.evaluation.plots import wilson_interval
from planner_pipeline.release.report import verdict
from planner_pipeline.tables import PREDICTIONS, check_table, polars_schema

RIGHT = ["serial_handoff", "1", "60", "NA"]
WRONG = ["speculate_vote", "2", "60", "NA"]


def a_row(
    number: int, *, model: list[str], heuristic: list[str] = RIGHT, **fields: object
) -> dict[str, object]:
    return {
        "example_id": f"e{number}", "issue_id": f"i{number // 2}", "job_type": "code", "split": "test",
        "label": RIGHT, "model": model, "heuristic": heuristic, "prior": WRONG, "served": model,
        "is_forced": [False, False, False, True], "abstains": False, "confidence": 0.8,
        "label_prob": 0.5, "prior_label_prob": 0.1, "brier": 0.3,
    } | fields  # fmt: skip


def a_table(rows: list[dict[str, object]]) -> pl.DataFrame:
    return check_table(PREDICTIONS, pl.DataFrame(rows, schema=polars_schema(PREDICTIONS)))


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


def test_accuracy_and_its_paired_difference_are_the_counts() -> None:
    rows = [a_row(i, model=RIGHT if i % 4 else WRONG) for i in range(40)]
    rows.append(a_row(40, model=WRONG, heuristic=WRONG, label=WRONG, label_prob=0.5))
    rows.append(a_row(41, model=RIGHT, heuristic=RIGHT, label=WRONG, label_prob=0.5))
    told = diagnose(a_table(rows), split="test")
    assert told.exact_match["model"].value == 31 / 42
    assert told.exact_match["heuristic"].value == 41 / 42
    assert told.exact_match["prior"].value == 2 / 42
    assert (told.exact_match["model"].n, told.exact_match["model"].n_issues) == (42, 21)
    gap = told.model_minus_heuristic
    assert gap is not None
    assert gap.value == -10 / 42
    assert gap.low <= -10 / 42 <= gap.high < 0
    assert told.head_accuracy["model"]["swarm_id"].value == 31 / 42
    assert told.head_accuracy["model"]["max_minutes_bin"].value == 1.0
    assert "max_iterations_bin" not in told.head_accuracy["model"]  # always forced: no figure
    assert told.nll["model"].value == pytest.approx(math.log(2))
    assert told.top1_share == 31 / 42
    assert "better than the model" in verdict(told, 2)


def test_intervals_draw_whole_issues() -> None:
    rows = [
        a_row(i, model=RIGHT if i < 20 else WRONG, issue_id="one" if i < 20 else "two")
        for i in range(40)
    ]
    figure = diagnose(a_table(rows), split="test").exact_match["model"]
    assert (figure.low, figure.high) == (0.0, 1.0)  # two issues: anything is possible


def test_one_issue_or_one_action_decides_nothing() -> None:
    alone = diagnose(
        a_table([a_row(i, model=WRONG, issue_id="one") for i in range(6)]), split="test"
    )
    assert alone.exact_match == {}
    same = diagnose(
        a_table([a_row(i, model=RIGHT, heuristic=WRONG) for i in range(20)]), split="test"
    )
    assert same.exact_match["model"].value == 1.0
    assert same.model_minus_heuristic is None


def test_nothing_is_claimed_of_no_rows() -> None:
    told = diagnose(a_table([]), split="test")
    assert told.n == 0
    assert told.exact_match == {}
    assert told.ece is None
    assert told.abstain_ratio is None
    assert "Nothing can be said" in verdict(told, 2)
    assert "nothing to tell apart" in verdict(told, 1)


def test_the_wilson_interval_holds_its_ratio_and_stays_a_ratio() -> None:
    for n in (1, 5, 200):
        for ratio in (0.0, 0.3, 1.0):
            low, high = wilson_interval(ratio, n)
            assert 0 <= low <= ratio <= high <= 1
