"""The gates of phase P0, and drift between epochs."""

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from planner_pipeline.dataset.arrays import build_arrays
from planner_pipeline.dataset.drift import bin_numbers, compare, drift_of, drift_report, psi
from planner_pipeline.dataset.feasibility import (
    agreement,
    balance_gate,
    baseline_losses,
    consistency_gate,
    count_gate,
    judge,
)
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import UnknownEpochError, chosen_epochs
from planner_pipeline.history.epochs import run_epochs
from planner_pipeline.sources.settings import SettingsState
from planner_runtime.actions import Action, ActionSpace
from planner_runtime.features import FEATURE_NAMES, N_FEATURES

ONE = Action("serial_handoff", 1, 60, "NA")
TWO = Action("speculate_vote", 2, 60, "NA")


@pytest.fixture(scope="session")
def dataset(built: Path) -> Dataset:
    return Dataset(built / "dataset")


def test_a_domain_needs_its_minimum() -> None:
    assert count_gate({"code": 500}, "code", 500).passed
    gate = count_gate({"code": 499}, "code", 500)
    assert not gate.passed
    assert "499" in gate.words


def test_agreement_is_the_share_of_pairs_with_one_label() -> None:
    groups = [Counter({ONE: 2, TWO: 1}), Counter({ONE: 1}), Counter({TWO: 2})]
    value, chance, pairs = agreement(groups)
    assert (value, pairs) == (0.5, 4)  # one of three, and one of one
    assert chance == pytest.approx((3 * 2 + 3 * 2) / (6 * 5))


def features(*sizes: int) -> np.ndarray:
    rows = np.zeros((len(sizes), N_FEATURES), dtype=np.float32)
    rows[:, FEATURE_NAMES.index("size_rank")] = 7  # no part of likeness by itself
    for row, size in enumerate(sizes):
        rows[row, FEATURE_NAMES.index(f"size={'SML'[size]}")] = 1
    return rows


def test_alike_decisions_must_be_answered_alike() -> None:
    alike = consistency_gate(features(0, 0, 1, 1), [ONE, ONE, TWO, TWO])
    assert alike.passed
    assert (alike.value, alike.n) == (1.0, 2)
    unlike = consistency_gate(features(0, 0, 0, 1), [ONE, TWO, ONE, TWO])
    assert not unlike.passed
    assert unlike.value == pytest.approx(1 / 3)
    assert not consistency_gate(features(0, 1, 2), [ONE, ONE, ONE]).passed  # nothing to compare


def test_one_action_alone_teaches_nothing() -> None:
    assert not balance_gate([ONE] * 9).passed
    assert not balance_gate([]).passed
    assert not balance_gate([ONE] * 99 + [TWO]).passed
    assert balance_gate([ONE] * 9 + [TWO]).passed


def test_the_baseline_learns_what_can_be_learned_and_nothing_else() -> None:
    luck = np.random.default_rng(3)
    sizes = luck.integers(0, 2, 300)
    labels = [TWO if size else ONE for size in sizes]
    told = build_arrays(features(*sizes), labels, ["code"] * 300, ActionSpace())
    learnt, guessed = baseline_losses(told, told)
    assert learnt.mean() < 0.3 < 0.6 < guessed.mean()
    luckless = [
        build_arrays(features(*luck.integers(0, 2, 300)), labels, ["code"] * 300, ActionSpace())
        for _ in range(2)
    ]
    learnt, guessed = baseline_losses(*luckless)
    assert learnt.mean() > guessed.mean() - 0.05


def test_the_verdict_names_what_fails_and_what_to_collect(dataset: Dataset) -> None:
    judged = judge(dataset)
    assert not judged.passed
    assert "enough examples: code" in judged.verdict
    assert any("more runs of code" in what for what in judged.collect_next)
    assert any("max_minutes_bin 15" in what for what in judged.collect_next)
    generous = judge(dataset, {"code": 1})
    assert "enough examples: code" not in generous.verdict


def test_psi_is_nothing_for_equal_shares_and_symmetric() -> None:
    a, b = np.array([90, 10]), np.array([50, 50])
    assert psi(a, a) == 0
    assert psi(a, b) == pytest.approx(psi(b, a))
    p, q = (a + 0.5) / 101, (b + 0.5) / 101
    assert psi(a, b) == pytest.approx(
        sum((x - y) * np.log(x / y) for x, y in zip(p, q, strict=True))
    )


def test_drift_is_told_from_luck() -> None:
    luck = np.random.default_rng(1)
    is_after = np.arange(400) >= 200
    same = [drift_of("x", luck.integers(0, 4, 400), is_after, seed).is_real for seed in range(60)]
    assert sum(same) <= 9  # one in twenty expected
    moved = np.where(is_after, luck.integers(0, 2, 400), luck.integers(0, 4, 400))
    assert drift_of("x", moved, is_after).is_real


def test_few_values_are_their_own_bins_and_many_fall_into_deciles() -> None:
    assert bin_numbers(np.array([5.0, 1.0, 5.0])).tolist() == [1, 0, 1]
    counts = np.bincount(bin_numbers(np.arange(1_000.0)))
    assert len(counts) == 10
    assert counts.min() >= 99


def test_epochs_of_the_sample_differ_by_a_toolchains_version(dataset: Dataset) -> None:
    shares = dataset.meta.epochs
    assert sum(share.n_examples for share in shares) == dataset.meta.n_examples
    assert all(
        share.epoch.kernel_config is None for share in shares
    )  # no git, so nothing proves it
    assert {share.epoch.epoch for share in shares} >= set(dataset.index["epoch"])


RUNS = pl.DataFrame(
    [("a", 10, "codex", "1"), ("b", 20, "claude", "7"), ("c", 30, "codex", "2"),
     ("d", 40, "claude", None), ("e", 50, "codex", "1"), ("f", None, None, None)],
    schema={"run_id": pl.String, "decided_ms": pl.Int64, "toolchain": pl.String,
            "toolchain_version": pl.String},
    orient="row",
)  # fmt: skip


def test_a_new_version_begins_an_epoch_and_the_old_one_comes_back() -> None:
    table, epochs = run_epochs(RUNS, [])
    of = dict(table.select("run_id", "epoch").iter_rows())
    assert of["a"] == of["b"] == of["e"] == of["f"]
    assert of["c"] == of["d"] != of["a"]
    assert [(e.versions, e.n_runs) for e in epochs] == [
        ({"claude": "7", "codex": "1"}, 4), ({"claude": "7", "codex": "2"}, 2),
    ]  # fmt: skip


def test_settings_that_git_knows_part_epochs_and_unknown_ones_are_their_own() -> None:
    states = [SettingsState(committed_ms=15, kernel_config="x", prompt_frontier="p"),
              SettingsState(committed_ms=35, kernel_config="y", prompt_frontier="p")]  # fmt: skip
    table, _ = run_epochs(RUNS.with_columns(toolchain_version=pl.lit("1")), states)
    assert table["kernel_config"].to_list() == [None, "x", "x", "y", "y", None]
    assert table["epoch"].n_unique() == 3


def test_an_epoch_is_chosen_by_name_or_the_latest() -> None:
    _, epochs = run_epochs(RUNS, [])
    first, second = (one.epoch for one in epochs)
    assert chosen_epochs("all", epochs) == {first, second}
    assert chosen_epochs("latest", epochs) == {first}  # it came back last
    assert chosen_epochs(second, epochs) == {second}
    with pytest.raises(UnknownEpochError, match="no epoch x; there are"):
        chosen_epochs("x", epochs)


def test_what_changed_between_epochs_is_found(dataset: Dataset) -> None:
    index = dataset.index
    middle = index.height // 2
    epochs = ["old"] * middle + ["new"] * (index.height - middle)
    moved = pl.Series(
        "swarm_id", ["serial_handoff"] * middle + ["speculate_vote"] * (index.height - middle)
    )
    planted = Dataset(dataset.folder)
    planted._index = index.with_columns(pl.Series("epoch", epochs), moved)
    pair = compare(planted, "old", "new")
    assert (pair.n_before, pair.n_after) == (middle, index.height - middle)
    (swarm,) = [one for one in pair.labels if one.name == "swarm_id"]
    assert swarm.is_real
    report = drift_report(dataset)
    assert report.words
