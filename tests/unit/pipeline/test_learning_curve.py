"""Learning curves: a known law comes back, a flat world is not known, nothing held out is seen."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest

from planner_pipeline.bench.outcome_rows import outcome_rows
from planner_pipeline.cli import main
from planner_pipeline.defs.assets.learning_curve import CurveAsked, log_curve
from planner_pipeline.defs.assets.learning_curve import learning_curve as asset
from planner_pipeline.defs.resources import Settings, Tracking
from planner_pipeline.evaluation.saturation import best_more, fit_laws, law_at
from planner_pipeline.experiments.curve_learners import bench_curve
from planner_pipeline.experiments.learning_curve import (
    FIXED,
    LEARNED,
    CurveConfig,
    CurveData,
    CurveError,
    as_markdown,
    learning_curve_of,
    measure,
)
from planner_pipeline.tracking import MemoryTracker
from planner_pipeline.training.outcome_data import Decisions, Tries
from planner_pipeline.training.value_fit import records_of_others
from planner_runtime.outcomes.track_record import Priors
from tests.reference.trials import many_trials
from tests.unit.pipeline.test_value_selection import a_world

QUICK = CurveConfig(seeds=6, resamples=300)


def a_curve(top: float, drop: float, power: float, *, n: int = 240, **told: Any) -> CurveData:
    """A world of one case an issue whose learner is right as often as a law says."""

    def learner(train: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
        luck = np.random.default_rng([7, seed]).random(n)[asked]
        is_right = luck < top - drop * len(train) ** -power
        return np.stack([is_right, ~is_right], axis=1).astype(float)

    utility = np.tile([1.0, 0.0], (n, 1))
    issues = np.array([f"i{row:03}" for row in range(n)], dtype=object)
    return CurveData(
        utility, issues, learner, **{"minutes_per_case": 2.0, "usd_per_case": None, **told}
    )


def test_a_known_law_comes_back_and_tells_what_twice_as_many_cases_add() -> None:
    data = a_curve(0.9, 0.8, 0.5)
    curve = learning_curve_of(data, msgspec.structs.replace(QUICK, more=(1.0,)))
    assert curve.is_known
    (twice,) = curve.more
    truth = 0.8 * (240**-0.5 - 480**-0.5)
    assert twice.gain.low <= truth <= twice.gain.high
    assert twice.gain.value == pytest.approx(truth, abs=0.02)
    measured = curve.table.filter(kind="measured", policy=LEARNED).sort("n_cases")
    for row in measured.iter_rows(named=True):
        assert row["low"] <= 0.9 - 0.8 * row["n_cases"] ** -0.5 <= row["high"]
    assert (curve.table.filter(kind="measured", policy=FIXED)["value"] == 1.0).all()
    page = as_markdown(curve)
    assert "240 more cases would add" in page
    assert "cost 480 agent-minutes, 4.8 of utility once" in page


def test_whether_more_cases_pay_follows_from_the_decisions_that_share_them() -> None:
    def pays(decisions: int) -> bool | None:
        config = msgspec.structs.replace(QUICK, decisions=decisions, more=(1.0,))
        return learning_curve_of(a_curve(0.9, 0.8, 0.5), config).more[0].pays

    assert (pays(1), pays(1_000_000)) == (False, True)
    laws = np.array([[0.9, 0.8, 0.5], [0.9, 0.0, 0.5]])
    won = best_more(laws, 240, price=0.02, decisions=2_000, most=5_000)
    # where decisions x the law's slope is the price: 2000 x .4 x n^-1.5 = .02
    assert won[0] == pytest.approx((2_000 * 0.4 / 0.02) ** (2 / 3) - 240, rel=0.05)
    assert won[1] == 0
    free = learning_curve_of(a_curve(0.9, 0.8, 0.5, minutes_per_case=None), QUICK)
    assert {one.pays for one in free.more} == {None}
    assert "was not measured" in as_markdown(free)


def test_a_flat_world_says_not_known() -> None:
    curve = learning_curve_of(a_curve(0.6, 0.0, 0.5), QUICK)
    assert not curve.is_known
    assert {one.pays for one in curve.more} == {None}
    page = as_markdown(curve)
    assert "What more cases would add is not known" in page
    assert "would add 0" not in page


def test_a_law_is_the_one_that_made_its_points_and_keeps_below_its_ceiling() -> None:
    n = np.array([4, 8, 16, 32, 64])
    laws = fit_laws(n, (0.7 - 0.5 * n**-0.5)[None], np.array([1.0]))
    assert law_at(laws, 256.0) == pytest.approx(0.7 - 0.5 * 256**-0.5, abs=2e-3)
    straight = fit_laws(n, (0.1 * np.log(n))[None], np.array([0.45]))
    assert straight[0, 0] <= 0.45
    assert fit_laws(n, (1.0 - 0.1 * np.log(n))[None], np.array([2.0]))[0, 1] == 0.0
    with pytest.raises(ValueError, match="three sizes"):
        fit_laws(n[:2], np.zeros((1, 2)), np.ones(1))


def test_subsets_are_nested_and_never_touch_a_held_out_issue() -> None:
    data = a_curve(0.9, 0.8, 0.5, n=40)
    issues = np.array([f"i{row // 2}" for row in range(40)], dtype=object)
    seen: dict[int, list[set[str]]] = {}

    def spy(train: np.ndarray, asked: np.ndarray, seed: int) -> np.ndarray:
        assert not set(issues[train]) & set(issues[asked])
        seen.setdefault(seed, []).append(set(issues[train]))
        return data.learner(train, asked, seed)

    told = measure(CurveData(data.utility, issues, spy, None, None), QUICK)
    for subsets in seen.values():
        assert [len(one) for one in subsets] == told.n_issues.tolist()
        assert all(a < b for a, b in pairwise(subsets))
    assert told.n_cases.tolist() == (2 * told.n_issues).tolist()
    few = CurveData(data.utility[:10], issues[:10], spy, None, None)
    with pytest.raises(CurveError, match="5 issues have outcomes"):
        measure(few, QUICK)


def test_a_training_record_knows_nothing_of_its_own_issue_that_had_not_ended() -> None:
    n = 12
    issue = np.array([f"i{row}" for row in range(n)], dtype=object)
    toolchain = np.array(["one", "two"] * 6, dtype=object)

    def records(passed: np.ndarray) -> list[Any]:
        ended = np.full(n, 1_000)
        tries = Tries(toolchain, issue, passed, np.zeros(n, bool), np.ones(n), np.ones(n), ended)
        decisions = Decisions(toolchain, issue, np.full(n, 500))
        return records_of_others(tries, decisions, Priors())

    before, after = np.arange(n) % 3 == 0, np.arange(n) % 3 == 0
    after[4] = not after[4]
    first, second = records(before), records(after)
    assert first[4] == second[4]
    assert {one.n_issue for one in first} == {0}
    assert sum(a != b for a, b in zip(first, second, strict=True)) > 0


def test_the_curve_of_a_bench_from_its_table_and_what_a_tracker_is_told(tmp_path: Path) -> None:
    cases, outcomes = a_world(10, repeats=1)
    data = bench_curve(outcome_rows(outcomes, cases), cost_weight=0.01)
    assert data.minutes_per_case == 4.0
    assert data.utility.shape == (10, 2)
    curve = learning_curve_of(data, CurveConfig(seeds=1, sizes=3, resamples=100))
    tracker = MemoryTracker()
    log_curve(tracker, curve, Settings(repo="r", out=str(tmp_path)))
    (run,) = tracker.runs
    assert run.name == "learning_curve"
    assert run.files == ["learning_curve.md"]
    assert {"curve_value", "curve_best_fixed", "rise"} <= {
        name for _, m in run.metrics for name in m
    }
    assert (
        pl.read_parquet(tmp_path / "bench" / "learning_curve.parquet").height == curve.table.height
    )


def test_the_command_on_a_tiny_table_and_what_it_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"dataset": t.dataset, "issue_id": t.issue_id, "repo": None, "system": t.system,
         "model": None, "attempt": t.attempt, "passed": t.passed, "cost_usd": None,
         "duration_ms": t.duration_ms, "started_at": f"2026-01-{1 + t.attempt:02}T00:00:00Z",
         "fail_code": t.fail_code}
        for t in many_trials(n_systems=2, n_issues=8, n_attempts=3)
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(tmp_path / "trials.parquet")
    out = str(tmp_path / "out")
    ask = ["bench", "--learning-curve", "--out", out, "--orders", "1"]
    assert main(ask) == 1
    assert "nothing was benched there" in capsys.readouterr().err
    assert main(["bench", "--out", out]) == 1
    assert "--repo is needed" in capsys.readouterr().err
    assert main([*ask, "--trials", str(tmp_path / "trials.parquet"), "--decisions", "50"]) == 0
    told = capsys.readouterr()
    document = json.loads(told.out)
    assert (document["n_cases"], document["n_issues"]) == (16, 8)
    assert len(document["more"]) == 3
    assert "## Would more cases pay?" in told.err
    assert Path(document["page"]).read_text() in told.err
    assert (tmp_path / "out" / "learning_curve.parquet").is_file()


def test_the_asset_of_a_small_bench_is_an_empty_table_with_the_reason(tmp_path: Path) -> None:
    cases, outcomes = a_world(3)
    settings, tracking = Settings(repo="r", out=str(tmp_path)), Tracking(folder=str(tmp_path))
    made: Any = asset(
        outcome_rows(outcomes, cases), config=CurveAsked(), settings=settings, tracking=tracking
    )
    assert made.value.is_empty()
    assert made.metadata["not_known"] == "3 issues have outcomes, a curve needs 8"
