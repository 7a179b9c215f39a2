"""Tables that somebody brings: what is refused, what is left out, and that nothing vanishes."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from planner_pipeline.selection.run import select_actions
from planner_pipeline.selection.scenario import LeftOut, Scenario, SelectionError
from planner_pipeline.selection.tables_in import build_scenario, read_table
from tests.reference.scenarios import a_scenario, some_folds


def left_out(scenario: Scenario) -> dict[str, LeftOut]:
    return {one.reason: one for one in scenario.left_out}


def test_a_table_without_its_ids_is_refused() -> None:
    features, outcomes = a_scenario(n_cases=8)
    with pytest.raises(SelectionError, match="features: no column 'case_id'"):
        build_scenario(features.drop("case_id"), outcomes)
    with pytest.raises(SelectionError, match="outcomes: no column 'action'"):
        build_scenario(features, outcomes.drop("action"))
    with pytest.raises(SelectionError, match="folds: no column 'fold'"):
        build_scenario(features, outcomes, features.select("case_id"))


def test_two_rows_that_differ_are_refused_and_two_that_agree_are_one() -> None:
    features, outcomes = a_scenario(n_cases=8)
    twice = pl.concat([features, features[:1].with_columns(f4=pl.lit(7.0))])
    with pytest.raises(SelectionError, match="case-0000"):
        build_scenario(twice, outcomes)
    with pytest.raises(SelectionError, match="solver-a"):
        build_scenario(
            features,
            pl.concat([outcomes, outcomes[:1].with_columns(passed=False, duration_ms=pl.lit(3.0))]),
        )
    again = build_scenario(features, pl.concat([outcomes, outcomes[:2]]))
    assert left_out(again)["it is there twice, word for word"].n == 2
    folds = pl.DataFrame({"case_id": ["case-0000"] * 2, "fold": [1, 2]})
    with pytest.raises(SelectionError, match=r"folds: .*differ"):
        build_scenario(features, outcomes, folds)


def test_strangers_and_silent_cases_are_left_out_by_name() -> None:
    features, outcomes = a_scenario(n_cases=8)
    some = outcomes.filter(pl.col("case_id") != "case-0003")
    stranger = some[:1].with_columns(case_id=pl.lit("who"))
    folds = pl.concat(
        [some_folds(features)[1:], pl.DataFrame({"case_id": ["nobody"], "fold": [1]})],
        how="vertical_relaxed",
    )
    scenario = build_scenario(features, pl.concat([some, stranger]), folds)
    found = left_out(scenario)
    assert found["it has outcomes and no features"].first == ("who",)
    assert found["no outcome: decided, not learned from, not scored"].first == ("case-0003",)
    assert found["its case has no features"].first == ("nobody",)
    assert found["no fold: learned from, not decided"].first == ("case-0000",)


def test_impossible_numbers_are_not_used_and_counted() -> None:
    features, outcomes = a_scenario(n_cases=8)
    wrong = outcomes.with_columns(
        duration_ms=pl.when(pl.int_range(pl.len()) == 0).then(-1.0)
        .when(pl.int_range(pl.len()) == 1).then(float("inf")).otherwise("duration_ms")
    )  # fmt: skip
    scenario = build_scenario(features, wrong)
    assert left_out(scenario)["duration_ms outside [0, inf]: not used"].n == 1
    assert int(np.isnan(scenario.outcomes.duration_ms).sum()) == 2


def test_a_pass_may_be_a_share_and_nothing_beyond_one() -> None:
    features, outcomes = a_scenario(n_cases=8)
    share = outcomes.with_columns(passed=pl.lit(0.25))
    assert build_scenario(features, share).outcomes.passed.max() == 0.25
    percent = outcomes.with_columns(passed=pl.lit(25.0))
    assert left_out(build_scenario(features, percent))["passed outside [0, 1]: not used"].n == 32
    with pytest.raises(SelectionError, match="passed is String"):
        build_scenario(features, outcomes.with_columns(passed=pl.lit("yes")))


def test_a_censored_run_did_not_pass() -> None:
    features, outcomes = a_scenario(n_cases=8)
    silent = outcomes.with_columns(passed=pl.lit(None, pl.Boolean))
    scenario = build_scenario(features, silent)
    assert (scenario.outcomes.passed[scenario.outcomes.is_censored] == 0).all()
    assert "not censored" in build_scenario(features, outcomes.drop("passed")).notes[0]


def test_ids_and_times_are_no_features() -> None:
    features, outcomes = a_scenario(n_cases=8)
    told = features.with_columns(
        started_ms=pl.int_range(pl.len()), group=pl.lit("g"), odd=pl.struct("f4")
    )
    scenario = build_scenario(told, outcomes)
    assert not {"case_id", "started_ms", "group", "odd"} & set(scenario.features.columns)
    assert any("no feature" in reason for reason in left_out(scenario))
    with pytest.raises(SelectionError, match="one group"):
        select_actions(told, outcomes)


def test_one_fold_is_refused_and_a_fold_that_leaves_nothing_is_told() -> None:
    features, outcomes = a_scenario(n_cases=12, n_actions=2)
    with pytest.raises(SelectionError, match="one fold"):
        build_scenario(features, outcomes, some_folds(features, 1))
    folds = some_folds(features, 2)
    only_first = folds.filter(pl.col("fold") == 1)["case_id"]
    half = outcomes.filter(pl.col("case_id").is_in(only_first.implode()))
    decisions, report = select_actions(features, half, folds)
    assert any("fold 1 was not decided" in note for note in report.assumptions)
    assert decisions["fold"].unique().to_list() == [2]
    assert report.policy.value is None  # nothing to score it on
    assert report.counts.scored == 0


def test_an_action_without_outcomes_in_training_is_never_chosen() -> None:
    features, outcomes = a_scenario(n_cases=30, n_actions=2)
    folds = some_folds(features, 2)
    first = folds.filter(pl.col("fold") == 1)["case_id"].implode()
    late = outcomes.filter((pl.col("action") == "solver-a") | pl.col("case_id").is_in(first))
    decisions, _ = select_actions(features, late, folds)
    of_first = decisions.filter(pl.col("fold") == 1)
    assert of_first["action"].unique().to_list() == ["solver-a"]


@pytest.mark.parametrize("what", ["one action", "no features", "no time", "sparse", "four cases"])
def test_a_poor_table_is_decided_all_the_same(what: str) -> None:
    features, outcomes = a_scenario(n_cases=20, n_actions=3)
    folds = some_folds(features, 2)
    if what == "one action":
        outcomes = outcomes.filter(pl.col("action") == "solver-a")
    elif what == "no features":
        features = features.select("case_id")
    elif what == "no time":
        outcomes = outcomes.with_columns(duration_ms=pl.lit(0.0))
    elif what == "sparse":
        outcomes = outcomes.sample(fraction=0.4, seed=1)
    else:
        features, folds = features[:4], some_folds(features[:4], 4)
    decisions, report = select_actions(features, outcomes, folds)
    assert len(decisions) == report.counts.decisions == len(features)
    assert decisions["action"].null_count() == 0
    assert report.policy_against_best_single.gap_closed is None or report.counts.scored > 1


def test_a_file_that_is_no_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "f.parquet").write_text("no")
    with pytest.raises(SelectionError, match=r"f\.parquet"):
        read_table(tmp_path / "f.parquet", "features")
    with pytest.raises(SelectionError, match="missing"):
        read_table(tmp_path / "missing.csv", "folds")
