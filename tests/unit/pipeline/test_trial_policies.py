"""Learned policies of the trial study: what they may learn from, what they pick, what it means."""

from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from planner_pipeline.bench.trial_study import (
    STUDY_ACTIONS,
    STUDY_SPACE,
    StudyTask,
    TrialStudy,
    build_trial_study,
    study_labels,
)
from planner_pipeline.evaluation.outcomes import DEFAULT, SYSTEM_PRIOR, outcome_figures
from planner_pipeline.experiments import trial_policies
from planner_pipeline.experiments.trial_policies import (
    SPLITS,
    VALUE_ROWS,
    Fit,
    StudyArrays,
    chosen_actions,
    fits_of,
    fold_rows,
    labelled_rows,
    learn_policies,
    run_trial_study,
    study_actions_table,
    study_arrays,
)
from planner_pipeline.experiments.trial_report import (
    CANDIDATE,
    LearnedPolicy,
    may_ship_recurrent,
    plain_verdict,
    policy_figures,
)
from planner_pipeline.sources.trials import Trial
from planner_pipeline.tables import OUTCOME_FIGURES, polars_schema
from planner_runtime.actions import valid_actions
from tests.reference.trials import HOUR_MS, a_trial, many_trials

FIXED = "best_fixed_task_fold"
RIVALS = ("prior.winners", "logreg.values", "gbt.winners", "mlp.winners", "transformer.winners")


def a_world(n_systems: int = 4, n_issues: int = 30) -> TrialStudy:
    """Easy tasks take 25 minutes, hard ones cannot be done, and a tag tells which are which."""
    tasks = {
        f"task-{n:02}": StudyTask(task_id=f"task-{n:02}", difficulty="hard" if n % 2 else "easy")
        for n in range(n_issues)
    }
    trials = [
        a_trial(
            attempt, system=f"system-{system}", issue=name, passed=task.difficulty == "easy",
            minutes=25.0, started_ms=((system * 5 + attempt) * n_issues + n) * HOUR_MS,
        )
        for system in range(n_systems)
        for n, (name, task) in enumerate(tasks.items())
        for attempt in range(1, 6)
    ]  # fmt: skip
    return build_trial_study(trials, tasks)


@pytest.fixture(scope="module")
def small() -> TrialStudy:
    return build_trial_study(many_trials(n_systems=4, n_issues=15))


@pytest.fixture(scope="module")
def small_arrays(small: TrialStudy) -> StudyArrays:
    return study_arrays(small, [0.01])


def a_fit(**changes: object) -> Fit:
    given = {
        "split": "task_fold", "fold": 0, "arch": "gbt", "labels": "winners", "cost_weight": 0.01,
        "seed": 0,
    }  # fmt: skip
    return msgspec.convert({**given, **changes}, Fit)


@pytest.mark.parametrize("split", SPLITS)
def test_nothing_of_the_held_out_fold_is_among_the_rows_to_learn_from(
    small: TrialStudy, split: str
) -> None:
    of = small.cases["issue_id" if split == "task_fold" else "system"].to_numpy()
    folds = small.cases[split].to_numpy()
    asked_about = np.zeros(len(folds), dtype=int)
    for fold in np.unique(folds):
        train, val, asked = fold_rows(folds, fold)
        assert (train.astype(int) + val + asked == 1).all()
        assert train.any()
        assert val.any()
        groups = [set(of[rows]) for rows in (train, val, asked)]
        assert sum(map(len, groups)) == len(set().union(*groups))
        asked_about += asked
    assert (asked_about == 1).all()


def test_the_outcomes_of_the_held_out_fold_change_nothing(small_arrays: StudyArrays) -> None:
    fit = a_fit(labels="values")
    _, _, asked = fold_rows(small_arrays.folds[fit.split], fit.fold)
    other = small_arrays.utility[0.01].copy()
    other[asked] = other[asked][:, ::-1]
    changed = msgspec.structs.replace(small_arrays, utility={0.01: other})
    assert chosen_actions(changed, fit).tolist() == chosen_actions(small_arrays, fit).tolist()


def test_two_folds_are_too_few() -> None:
    with pytest.raises(ValueError, match="three folds"):
        fold_rows(np.array([0, 0, 1]), 1)


def test_winners_are_the_labels_of_the_study(small: TrialStudy, small_arrays: StudyArrays) -> None:
    cases, actions = labelled_rows(small_arrays.utility[0.01], "winners")
    assert cases.tolist() == list(range(small.cases.height))
    assert actions.tolist() == study_labels(small, cost_weight=0.01, ties="last").tolist()


def test_labels_of_values_have_the_action_of_the_best_mean_most_often() -> None:
    utility = np.random.default_rng(0).normal(size=(400, 12))
    utility[:, 11] = np.nan
    cases, actions = labelled_rows(utility, "values")
    above = np.nan_to_num(utility - np.nanmin(utility, axis=1, keepdims=True))
    counts = np.bincount(actions, minlength=12)
    assert len(actions) == pytest.approx(VALUE_ROWS * 400, abs=12)
    assert counts == pytest.approx(above.sum(axis=0) * VALUE_ROWS * 400 / above.sum(), abs=1)
    assert counts.argmax() == np.nanmean(utility[:, :11], axis=0).argmax()
    assert counts[11] == 0
    assert (np.diff(cases) >= 0).all()


def test_where_nothing_makes_any_odds_values_are_winners() -> None:
    cases, actions = labelled_rows(np.zeros((2, 12)), "values")
    assert (cases.tolist(), actions.tolist()) == ([0, 1], [11, 11])


def test_a_vote_over_one_candidate_is_valid_and_never_picked() -> None:
    votes_of_one = set(valid_actions(STUDY_SPACE, "code")) - set(STUDY_ACTIONS)
    assert {(a.swarm_id, a.max_candidates_bin) for a in votes_of_one} == {("speculate_vote", 1)}
    table = study_actions_table()
    names = [
        tuple(head[choice] for head, choice in zip(STUDY_SPACE.choices, row, strict=True))
        for row in table.choices.tolist()
    ]
    assert names == [tuple(action) for action in STUDY_ACTIONS]


@pytest.mark.parametrize("n_workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_equal_seeds_give_equal_choices_whoever_does_the_work(
    small: TrialStudy, small_arrays: StudyArrays, n_workers: int
) -> None:
    fits = [
        fit
        for fit in fits_of(small_arrays, archs=["gbt", "prior"], seeds=[0, 1])
        if fit.labels == "winners" and fit.split == "task_fold"
    ]
    seen: list[tuple[int, int]] = []
    alone, seconds = learn_policies(
        small, small_arrays, fits, n_workers=1, on_progress=lambda *at: seen.append(at)
    )
    together, _ = learn_policies(small, small_arrays, list(reversed(fits)), n_workers=n_workers)
    assert alone.equals(together)
    assert alone["policy"].unique().sort().to_list() == [
        "gbt.winners/task_fold#0", "gbt.winners/task_fold#1", "prior.winners/task_fold#0",
    ]  # fmt: skip
    assert alone["action"].is_between(0, len(STUDY_ACTIONS) - 1).all()
    assert seen == [(n + 1, len(fits)) for n in range(len(fits))]
    assert set(seconds) == {"gbt.winners", "prior.winners"}


@pytest.mark.parametrize("arch", ["transformer", "recurrent"])
def test_a_token_model_answers_for_its_fold(
    small_arrays: StudyArrays, arch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"width": 16, "n_layers": 1, "n_heads": 2, "epochs": 1}
    monkeypatch.setitem(trial_policies.STUDY_CONFIGS, arch, few)
    actions = chosen_actions(small_arrays, a_fit(arch=arch))
    assert len(actions) == (small_arrays.folds["task_fold"] == 0).sum()
    assert ((actions >= 0) & (actions < len(STUDY_ACTIONS))).all()


@pytest.mark.parametrize(("arch", "labels"), [("gbt", "winners"), ("logreg", "values")])
def test_a_world_whose_tags_tell_the_best_action_is_learned(arch: str, labels: str) -> None:
    study = a_world()
    arrays = study_arrays(study, [0.01])
    fits = [
        fit
        for fit in fits_of(arrays, archs=[arch], seeds=[0], splits=["task_fold"])  # type: ignore[list-item]
        if fit.labels == labels
    ]
    choices, _ = learn_policies(study, arrays, fits, n_workers=1)
    figures, seeds = policy_figures(study, choices, n_resamples=200)
    row = figures.filter(figure="utility_difference", against=FIXED).row(0, named=True)
    assert row["low"] > 0, row
    assert len(seeds[0].utility) == 1


def test_figures_of_one_seed_are_those_of_the_outcome_metrics(small: TrialStudy) -> None:
    case_ids = small.cases["case_id"].to_list()
    n, rng = len(case_ids), np.random.default_rng(1)
    name = LearnedPolicy("mlp", "winners", "task_fold").name
    choices = pl.DataFrame(
        {
            "policy": [f"{name}#7"] * n, "cost_weight": [0.01] * n, "case_id": case_ids,
            "action": rng.integers(0, 12, n), "abstains": [False] * n,
        }
    )  # fmt: skip
    mine, _ = policy_figures(small, choices, n_resamples=50)
    theirs = outcome_figures(
        small.outcomes, choices, n_resamples=50, cost_weights=[0.01],
        defaults=dict(zip(case_ids, small.cases["default_action"], strict=True)),
        folds={s: dict(zip(case_ids, small.cases[s], strict=True)) for s in SPLITS},
    ).filter(policy=f"{name}#7").with_columns(policy=pl.lit(name))  # fmt: skip
    keys = ["cost_weight", "policy", "figure", "against"]
    both = mine.join(theirs, on=keys, nulls_equal=True, suffix="_theirs")
    told = {(row["figure"], row["against"]) for row in both.iter_rows(named=True)}
    assert {
        ("utility", None),
        ("utility_difference", DEFAULT),
        ("utility_difference", FIXED),
    } <= told
    assert {("regret", "oracle"), ("gap_closed", f"{FIXED} to oracle"), ("pass_rate", None)} <= told
    for column in ("value", "low", "high", "n", "n_issues"):
        assert both[column].to_list() == pytest.approx(both[f"{column}_theirs"].to_list())


def test_a_policy_of_two_seeds_is_their_mean(small: TrialStudy) -> None:
    case_ids = small.cases["case_id"].to_list()
    n = len(case_ids)
    choices = pl.DataFrame(
        {
            "policy": [f"gbt.winners/task_fold#{seed}" for seed in (0, 1) for _ in range(n)],
            "cost_weight": [0.01] * 2 * n, "case_id": case_ids * 2,
            "action": [0] * n + [3] * n, "abstains": [False] * 2 * n,
        }
    )  # fmt: skip
    figures, (seeds,) = policy_figures(small, choices, n_resamples=20)
    mean = figures.filter(figure="utility")["value"].item()
    assert mean == pytest.approx(sum(seeds.utility) / 2)
    assert seeds.utility[0] != pytest.approx(seeds.utility[1])


def differences(low: float, rivals: tuple[str, ...], weight: float = 0.01) -> pl.DataFrame:
    """Figures in which the recurrent model is ``low`` or more above each of some rivals."""
    rows = [
        (weight, CANDIDATE, "utility_difference", rival, low + 0.1, low, low + 0.2, 330, 64)
        for rival in rivals
    ] + [
        (weight, rival, "utility", None, 0.4, 0.3, 0.5, 330, 64) for rival in rivals
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=polars_schema(OUTCOME_FIGURES), orient="row")


def every_rival() -> tuple[str, ...]:
    return (DEFAULT, FIXED, *(f"{rival}/task_fold" for rival in RIVALS))


def test_a_recurrent_model_above_all_may_ship() -> None:
    verdict = may_ship_recurrent(differences(0.001, every_rival()))
    assert verdict.may_ship
    assert "may ship" in verdict.words
    assert len(verdict.details) == 7


@pytest.mark.parametrize("one", every_rival())
def test_one_rival_that_is_as_good_is_enough_to_say_no(one: str) -> None:
    others = tuple(rival for rival in every_rival() if rival != one)
    figures = pl.concat([differences(0.001, others), differences(0.0, (one,))])
    verdict = may_ship_recurrent(figures)
    assert not verdict.may_ship
    assert "above 6 of 7" in verdict.words
    assert any(detail.startswith(f"not above {one}") for detail in verdict.details)


@pytest.mark.parametrize("one", every_rival())
def test_a_figure_that_is_missing_says_no_and_which(one: str) -> None:
    others = tuple(rival for rival in every_rival() if rival != one)
    verdict = may_ship_recurrent(differences(0.001, others))
    assert not verdict.may_ship
    assert one.partition(".")[0] in verdict.words


@pytest.mark.parametrize("weight", [0.003, 0.02])
def test_figures_of_another_cost_weight_do_not_count(weight: float) -> None:
    assert not may_ship_recurrent(differences(0.001, every_rival(), weight)).may_ship


def test_the_plain_verdict_says_when_a_simple_baseline_is_as_good() -> None:
    beaten, prior = plain_verdict(differences(0.001, (FIXED, SYSTEM_PRIOR)).vstack(
        differences(0.0, every_rival()[2:])), ["task_fold"])  # fmt: skip
    assert "recurrent.winners at w = 0.01 +0.1010" in beaten
    assert "recurrent.winners" in prior
    said = plain_verdict(differences(-0.1, (FIXED, SYSTEM_PRIOR)), ["task_fold"])
    assert all("none: the simple baseline is as good or better" in one for one in said)


def a_file(folder: Path, trials: list[Trial]) -> Path:
    rows = [
        {
            "dataset": t.dataset, "issue_id": t.issue_id, "system": t.system, "attempt": t.attempt,
            "passed": int(t.passed), "duration_ms": t.duration_ms, "fail_code": t.fail_code,
            "started_at": "2026-01-01T00:00:00Z" if t.started_ms is None else _text(t.started_ms),
        }
        for t in trials
    ]  # fmt: skip
    path = folder / "trials.csv"
    pl.DataFrame(rows).write_csv(path)
    return path


def _text(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def test_the_whole_study_writes_the_same_bytes_twice_and_tells_what_it_left_out(
    tmp_path: Path,
) -> None:
    trials = many_trials(n_systems=4, n_issues=10)
    no_time = [a_trial(n, system="silent", minutes=None) for n in (1, 2)]
    file = a_file(tmp_path, trials + no_time)
    file.write_text(file.read_text() + file.read_text().splitlines()[1] + "\n")  # a row twice
    told = [
        run_trial_study(
            file, None, tmp_path / name, archs=["prior", "gbt"], splits=["task_fold"], quick=True,
            n_workers=1,
        )
        for name in ("a", "b")
    ]  # fmt: skip
    for name in ("figures.parquet", "choices.parquet", "report.json", "report.md"):
        one, other = (tmp_path / run / "trials" / name for run in ("a", "b"))
        assert one.read_bytes() == other.read_bytes()
    assert (told[0].read.quarantined, len(told[0].left_out)) == (1, 1)
    text = (tmp_path / "a" / "trials" / "report.md").read_text()
    for said in (
        "quarantined: 1", "no attempt has a duration: 1", "upper bound on voting", "may not ship",
        "| honest_oracle |", "| gbt.values |",
    ):  # fmt: skip
        assert said in text
    assert not told[0].shipping.may_ship


def test_a_cost_weight_without_yardsticks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cost weights \[0.5\]"):
        run_trial_study(tmp_path / "none.csv", None, tmp_path, cost_weights=[0.5])


def test_a_table_of_which_nothing_can_be_replayed_is_refused_with_the_reasons(
    tmp_path: Path,
) -> None:
    timeless = [
        msgspec.structs.replace(trial, duration_ms=None) for trial in many_trials(n_systems=2)
    ]
    with pytest.raises(ValueError, match=r"can be replayed: \d+ cases: no attempt has a duration"):
        run_trial_study(a_file(tmp_path, timeless), None, tmp_path / "out", quick=True)
