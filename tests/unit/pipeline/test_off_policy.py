"""Off-policy estimators against naive lines, their intervals, and what the logs cannot tell."""

import msgspec
import numpy as np
import pytest

from planner_pipeline.evaluation.off_policy import (
    ESTIMATORS,
    LoggedDecisions,
    known_estimators,
    point_estimates,
    row_sums,
    switch_threshold,
    thresholds,
)
from planner_pipeline.evaluation.off_policy_intervals import (
    INTERVAL_KINDS,
    cluster_sums,
    draw_counts,
    effective_df,
    estimate,
    influence,
    interval,
    resample,
    standard_error,
)
from planner_pipeline.evaluation.overlap import (
    OverlapError,
    check_overlap,
    effective_sample_size,
    measure_overlap,
)
from planner_pipeline.evaluation.reward_model import cross_fitted, folds_of, ridge_rewards
from tests.reference.off_policy import (
    naive_error,
    naive_estimates,
    naive_ridge,
    naive_threshold,
    some_decisions,
)

replace = msgspec.structs.replace


@pytest.mark.parametrize("tau", [0.5, 1.5, float("inf")])
def test_every_estimator_is_its_naive_lines(tau: float) -> None:
    logs = some_decisions(seed=3)
    assert point_estimates(logs, tau) == pytest.approx(naive_estimates(logs, tau))


@pytest.mark.parametrize("seed", range(6))
def test_switch_chooses_the_threshold_that_trying_each_finds(seed: int) -> None:
    logs = some_decisions(60, seed=seed, epsilon=0.2)
    assert switch_threshold(logs) == pytest.approx(naive_threshold(logs, thresholds(logs.weights)))


def test_switch_without_known_chances_estimates_the_mass_above_its_threshold() -> None:
    known = some_decisions(4_000, seed=1)
    blind = replace(known, logging=None)
    assert switch_threshold(blind) == pytest.approx(switch_threshold(known), rel=0.5)


def test_without_a_reward_model_two_estimators_are_told() -> None:
    logs = replace(some_decisions(), q_hat=None)
    assert set(estimate(logs)) == set(known_estimators(logs)) == {"ips", "snips"}
    with pytest.raises(ValueError, match="no"):
        switch_threshold(logs)


def test_the_logger_judged_by_its_own_logs_has_weights_of_one() -> None:
    logs = some_decisions()
    own = replace(logs, target=logs.logging)
    assert own.weights == pytest.approx(np.ones(len(own.action)))
    found = point_estimates(own)
    assert found["ips"] == found["snips"] == pytest.approx(own.reward.mean())
    assert measure_overlap(own).effective_n == pytest.approx(len(own.action))


def test_dr_is_exact_where_the_model_is() -> None:
    logs = some_decisions()
    exact = np.tile(np.linspace(-1, 1, 4), (len(logs.action), 1))
    perfect = replace(logs, reward=exact[np.arange(40), logs.action], q_hat=exact)
    truth = (perfect.target * exact).sum(axis=1).mean()
    found = point_estimates(perfect)
    assert [found[name] for name in ("dm", "dr", "sndr", "switch_dr")] == pytest.approx([truth] * 4)


def test_ips_and_dr_are_unbiased_and_snips_and_dm_need_not_be() -> None:
    """Many logs of one small world whose truth is known, with a model that is wrong."""
    rng = np.random.default_rng(0)
    logging, target = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.2, 0.7])
    mean, n = np.array([0.2, 0.5, 0.8]), 30
    found: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for _ in range(3_000):
        action = rng.choice(3, n, p=logging)
        logs = LoggedDecisions(
            action=action, propensity=logging[action], cluster=np.arange(n),
            reward=(rng.random(n) < mean[action]).astype(float), target=np.tile(target, (n, 1)),
            logging=np.tile(logging, (n, 1)), q_hat=np.full((n, 3), 0.3),
        )  # fmt: skip
        for name, value in point_estimates(logs, threshold=5.0).items():
            found[name].append(value)
    truth = float(target @ mean)
    for name in ("ips", "dr"):
        error = np.std(found[name]) / np.sqrt(3_000)
        assert np.mean(found[name]) == pytest.approx(truth, abs=4 * error), name
    assert np.mean(found["dm"]) == pytest.approx(0.3)


def test_the_standard_error_is_of_issues() -> None:
    logs = some_decisions(60, per_issue=3)
    sums = cluster_sums(row_sums(logs), logs.cluster)
    data = resample(sums, draw_counts(len(sums)))
    moves = influence(ESTIMATORS["dr"], data)
    assert moves.sum() == pytest.approx(0, abs=1e-12)
    assert standard_error(moves) == pytest.approx(naive_error(logs))


@pytest.mark.parametrize("kind", INTERVAL_KINDS)
def test_saying_everything_four_times_makes_no_interval_narrower(kind: str) -> None:
    once = some_decisions(40)
    fourfold = replace(
        once, **{name: np.concatenate([getattr(once, name)] * 4) for name in once.__struct_fields__}
    )
    as_if_new = replace(fourfold, cluster=np.arange(160))
    told, lied = estimate(fourfold, kind=kind), estimate(as_if_new, kind=kind)  # type: ignore[arg-type]
    first = estimate(once, kind=kind)  # type: ignore[arg-type]
    for name in ("ips", "snips", "dr", "sndr"):
        assert told[name].low == pytest.approx(first[name].low)
        width = told[name].high - told[name].low  # type: ignore[operator]
        assert width > 1.5 * (lied[name].high - lied[name].low)  # type: ignore[operator]


def test_all_kinds_of_interval_agree_where_there_is_plenty() -> None:
    logs = some_decisions(4_000, seed=2)
    sums = cluster_sums(row_sums(logs), logs.cluster)
    data = resample(sums, draw_counts(len(sums)))
    found = np.array([interval(ESTIMATORS["dr"], data, kind) for kind in INTERVAL_KINDS])
    assert np.ptp(found, axis=0).max() < 0.15 * (found[:, 1] - found[:, 0]).min()


def test_an_interval_rests_on_as_many_squares_as_move_it() -> None:
    assert effective_df(np.array([1.0, -1.0] * 20)) == pytest.approx(39)
    assert effective_df(np.array([10.0, -10.0, *[0.001] * 500])) == pytest.approx(1, abs=0.01)
    assert effective_df(np.zeros(5)) == 4


def test_one_issue_has_a_value_and_no_interval() -> None:
    logs = replace(some_decisions(10), cluster=np.zeros(10, dtype=int))
    found = estimate(logs)["ips"]
    assert found.value is not None
    assert (found.low, found.standard_error) == (None, None)


def test_dm_has_no_interval_because_its_error_is_the_models() -> None:
    found = estimate(some_decisions())["dm"]
    assert found.value is not None
    assert found.gain is not None
    assert (found.low, found.gain_low) == (None, None)


def test_a_gain_is_told_more_surely_than_its_two_sides() -> None:
    """The judged policy is nearly the logger: what the issues have in common cancels."""
    logs = some_decisions(200, seed=5, per_issue=2)
    near = replace(logs, target=0.95 * logs.logging + 0.05 * logs.target)
    found = estimate(near)["dr"]
    assert found.gain == pytest.approx(found.value - logs.reward.mean())  # type: ignore[operator]
    assert found.gain_high - found.gain_low < 0.5 * (found.high - found.low)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"propensity": np.zeros(40)}, "propensity"),
        ({"action": np.full(40, 9)}, "actions"),
        ({"target": np.full((40, 4), 0.3)}, "sum to 1"),
        ({"target": np.full((39, 4), 0.25)}, "shape"),
        ({"q_hat": np.zeros((40, 3))}, "shape"),
        ({"reward": np.full(40, np.nan)}, "finite"),
        ({"cluster": np.zeros(3)}, "shape"),
    ],
)
def test_what_are_no_logged_decisions_is_refused(change: dict[str, np.ndarray], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        replace(some_decisions(), **change)


def test_kish_counts_equal_weights_fully_and_one_large_weight_as_one() -> None:
    assert effective_sample_size(np.full(7, 0.3)) == pytest.approx(7)
    assert effective_sample_size(np.array([1e6, 1.0, 1.0])) == pytest.approx(1, abs=1e-4)
    assert effective_sample_size(np.zeros(3)) == 0.0


def test_effective_decisions_on_average_do_not_depend_on_what_was_drawn() -> None:
    logging = np.tile([0.98, 0.02], (100, 1))
    logs = LoggedDecisions(
        action=np.zeros(100, dtype=int), propensity=logging[:, 0], reward=np.zeros(100),
        cluster=np.arange(100), target=np.full((100, 2), 0.5), logging=logging,
    )  # fmt: skip
    overlap = measure_overlap(logs)
    assert overlap.effective_n == pytest.approx(100)
    assert overlap.expected_effective_n == pytest.approx(100 / (0.25 / 0.98 + 0.25 / 0.02))
    assert any("rare large weights are missing" in text for text in overlap.warnings)
    assert measure_overlap(replace(logs, logging=None)).expected_effective_n is None


def a_deterministic_log() -> LoggedDecisions:
    logs = some_decisions()
    logging = np.eye(4)[logs.action]
    return replace(logs, propensity=np.ones(40), logging=logging)


def test_logs_without_chance_are_refused_with_their_numbers() -> None:
    with pytest.raises(OverlapError, match="propensity 1") as refused:
        check_overlap(a_deterministic_log())
    assert refused.value.reason == "deterministic_logging"
    assert refused.value.overlap is not None
    assert refused.value.overlap.is_deterministic


def test_a_policy_that_takes_what_could_not_be_drawn_is_refused() -> None:
    logs = some_decisions()
    assert logs.logging is not None
    half = logs.logging.copy()
    half[:20] = np.eye(4)[logs.action[:20]]
    propensity = np.where(np.arange(40) < 20, 1.0, logs.propensity)
    with pytest.raises(OverlapError) as refused:
        check_overlap(replace(logs, logging=half, propensity=propensity))
    assert refused.value.reason == "uncovered_target"
    assert refused.value.overlap is not None
    assert refused.value.overlap.uncovered_mass > 0.2


def test_a_policy_that_never_takes_what_ran_is_refused() -> None:
    logs = replace(some_decisions(), action=np.zeros(40, dtype=int), logging=None)
    elsewhere = np.tile([0.0, 0.5, 0.5, 0.0], (40, 1))
    with pytest.raises(OverlapError) as refused:
        check_overlap(replace(logs, target=elsewhere))
    assert refused.value.reason == "no_shared_action"


def test_no_logs_and_logs_of_one_issue_are_refused() -> None:
    empty = LoggedDecisions(
        action=np.zeros(0, dtype=int), propensity=np.zeros(0), reward=np.zeros(0),
        cluster=np.zeros(0), target=np.zeros((0, 3)),
    )  # fmt: skip
    for logs, reason in (
        (empty, "nothing_logged"),
        (replace(some_decisions(), cluster=np.zeros(40)), "one_cluster"),
    ):
        with pytest.raises(OverlapError) as refused:
            check_overlap(logs)
        assert refused.value.reason == reason


def test_warnings_say_what_to_worry_about() -> None:
    logs = some_decisions(200, seed=4, epsilon=0.9)
    assert measure_overlap(replace(logs, target=logs.logging)).warnings == ()
    assert logs.logging is not None
    rare = logs.propensity.copy()
    rare[0] = 0.001
    told = " / ".join(measure_overlap(replace(logs, propensity=rare)).warnings)
    assert "one decision carries" in told
    assert "are worth" in told
    wrong = measure_overlap(replace(logs, propensity=np.full(200, 0.9), logging=None))
    assert any("propensities may be wrong" in text for text in wrong.warnings)
    assert any("whose chance nothing tells" in text for text in wrong.warnings)


@pytest.mark.parametrize(("n", "n_features"), [(200, 3), (25, 9)])
def test_the_reward_model_is_ridge_however_it_is_solved(n: int, n_features: int) -> None:
    rng = np.random.default_rng(0)
    x, asked = rng.normal(size=(n, n_features)), rng.normal(size=(5, n_features))
    action, reward = rng.integers(0, 4, n), rng.normal(size=n)
    x[:, -1] = 7.0  # a feature that never varies is no feature
    found = ridge_rewards(x, action, reward, asked, n_actions=4)
    assert found == pytest.approx(naive_ridge(x, action, reward, asked, 4))


def test_the_reward_model_never_saw_the_issue_it_tells_of() -> None:
    rng = np.random.default_rng(1)
    cluster, x = np.repeat(np.arange(20), 3), rng.normal(size=(60, 2))
    action, reward = rng.integers(0, 3, 60), rng.normal(size=60)
    before = cross_fitted(x, action, reward, cluster, n_actions=3)
    changed = np.where(cluster == 7, reward + 100, reward)
    after = cross_fitted(x, action, changed, cluster, n_actions=3)
    assert after[cluster == 7] == pytest.approx(before[cluster == 7])
    assert not np.allclose(after[cluster == 8], before[cluster == 8]) or (
        folds_of(cluster)[cluster == 7][0] == folds_of(cluster)[cluster == 8][0]
    )
    with pytest.raises(ValueError, match="two issues"):
        cross_fitted(x, action, reward, np.zeros(60), n_actions=3)
