"""Objectives as data: utilities, ranks, and what an objective file may say."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.contracts import ContractError, canonical_json, to_document
from planner_runtime.objective import (
    DEFAULT_OBJECTIVE,
    Objective,
    Outlook,
    Step,
    Weights,
    cautious,
    lower_bounds,
    pareto_front,
    priced,
    ranked,
    read_objective,
    utility,
)

MEDICA = Path("/work/shared/data/cyntra/universes/medica/objectives.yaml")
NAN = float("nan")


def an_outlook(**metrics: list[list[float]] | list[float]) -> Outlook:
    """Of two or more actions; a list of numbers is one member's, and what is left out is 0."""
    arrays = {
        name: np.atleast_2d(np.array(values, dtype=float)) for name, values in metrics.items()
    }
    shape = next(iter(arrays.values())).shape
    names = ("p_pass", "p_timeout", "minutes", "wall_minutes", "cost_usd")
    return Outlook(**{name: arrays.get(name, np.zeros(shape)) for name in names})


def order(
    outlook: Outlook, objective: Objective, allowed: list[int] | None = None, reference: int = -1
) -> list[int]:
    """Ranks, gains measured from an action: the first allowed one if none is named."""
    mask = np.ones(outlook.p_pass.shape[1], dtype=bool)
    if allowed is not None:
        mask = np.isin(np.arange(len(mask)), allowed)
    if reference < 0:
        reference = int(np.flatnonzero(mask)[0]) if mask.any() else 0
    return ranked(outlook, objective, mask, reference).tolist()


def test_utility_gains_passes_and_pays_for_the_rest() -> None:
    outlook = an_outlook(
        p_pass=[0.8], minutes=[30.0], wall_minutes=[20.0], cost_usd=[2.0], p_timeout=[0.1]
    )
    weights = Weights(passed=10, minute=0.1, wall_minute=0.05, usd=0.5, risk=3)
    assert utility(outlook, weights)[0, 0] == pytest.approx(8 - 3 - 1 - 1 - 0.3)


def test_a_metric_without_weight_may_be_unknown_and_one_with_weight_may_not() -> None:
    outlook = an_outlook(p_pass=[0.5, 0.6], cost_usd=[NAN, 1.0])
    assert np.isfinite(utility(outlook, Weights())).all()
    assert np.isnan(utility(outlook, Weights(usd=1.0))[0, 0])
    with pytest.raises(ValueError, match="not known"):
        order(outlook, Objective(weights=Weights(usd=1.0)))
    assert order(outlook, Objective(weights=Weights(usd=1.0)), allowed=[1]) == [1]


def test_changing_a_weight_changes_the_choice_and_nothing_else() -> None:
    outlook = an_outlook(p_pass=[0.5, 0.7], minutes=[10.0, 60.0])
    assert order(outlook, Objective(weights=Weights(minute=0.01))) == [0, 1]
    assert order(outlook, Objective(weights=Weights(minute=0.001))) == [1, 0]


def test_actions_compare_by_lower_bounds_of_gains_and_equal_ones_keep_their_order() -> None:
    outlook = an_outlook(p_pass=[[0.9, 0.6, 0.6], [0.3, 0.6, 0.6]])
    careful = Objective(weights=Weights(minute=0.0), caution=1.0)
    careless = Objective(weights=Weights(minute=0.0), caution=0.0)
    assert order(outlook, careful, reference=1) == [1, 2, 0]
    assert order(outlook, careful, reference=0) == [0, 1, 2]  # a change has to outweigh the doubt
    assert order(outlook, careless, reference=1) == [0, 1, 2]


@given(st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_what_members_get_wrong_for_every_action_alike_changes_no_bound(
    seed: int, caution: float
) -> None:
    rng = np.random.default_rng(seed)
    values, together = rng.normal(size=(4, 5)), rng.normal(size=(4, 1))
    one = lower_bounds(values, caution, 2)
    other = lower_bounds(values + together, caution, 2)
    assert np.allclose(other - one, together.mean())
    assert one[2] == pytest.approx(values[:, 2].mean())


def test_lexicographic_goes_step_by_step_within_tolerances() -> None:
    outlook = an_outlook(
        p_pass=[0.80, 0.795, 0.70], minutes=[60.0, 30.0, 5.0], cost_usd=[1.0, 9.0, 0.0]
    )
    by_pass = Objective(rule="lexicographic")
    assert order(outlook, by_pass) == [1, 0, 2]  # within 0.01 of the best, then fewer minutes
    steps = (Step(metric="p_pass", within=0.01), Step(metric="cost_usd"))
    assert order(outlook, Objective(rule="lexicographic", steps=steps)) == [0, 1, 2]


def test_a_step_that_nobody_can_tell_of_is_passed_over() -> None:
    outlook = an_outlook(p_pass=[0.8, 0.8], cost_usd=[NAN, NAN], minutes=[9.0, 5.0])
    steps = (Step(metric="p_pass"), Step(metric="cost_usd"), Step(metric="minutes"))
    assert order(outlook, Objective(rule="lexicographic", steps=steps)) == [1, 0]


@given(st.integers(1, 3), st.integers(1, 7), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.6]))
def test_the_front_is_what_brute_force_finds(s: int, a: int, seed: int, margin: float) -> None:
    values = np.random.default_rng(seed).integers(0, 4, (s, a)).astype(float)
    margins = np.full(s, margin)
    naive = [
        not any(
            all(values[k, i] >= values[k, j] for k in range(s))
            and any(values[k, i] > values[k, j] + margin for k in range(s))
            for i in range(a)
        )
        for j in range(a)
    ]
    front = pareto_front(values, margins)
    assert front.tolist() == naive
    assert front.any()


def test_pareto_takes_the_best_utility_of_the_front() -> None:
    outlook = an_outlook(p_pass=[0.9, 0.8, 0.8], minutes=[80.0, 20.0, 21.0])
    assert order(outlook, Objective(rule="pareto")) == [1, 0, 2]  # the last is dominated


def test_a_constrained_objective_is_refused_until_it_has_a_price() -> None:
    outlook = an_outlook(p_pass=[0.5, 0.7], minutes=[10.0, 60.0], cost_usd=[0.1, 2.0])
    objective = Objective(rule="constrained")
    with pytest.raises(ValueError, match="price"):
        order(outlook, objective)
    assert order(outlook, priced(objective, 0.01)) == [0, 1]
    assert order(outlook, priced(objective, 0.001)) == [1, 0]
    in_dollars = priced(Objective(rule="constrained", spend="cost_usd"), 0.2)
    assert (in_dollars.weights.usd, in_dollars.weights.minute) == (0.2, 0.0)


def test_caution_goes_to_the_bad_side() -> None:
    values = np.array([[1.0, 2.0], [3.0, 2.0]])
    assert cautious(values, 1.0).tolist() == [1.0, 2.0]
    assert cautious(values, 1.0, "min").tolist() == [3.0, 2.0]


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["utility", "lexicographic", "pareto"]))
def test_every_rule_ranks_each_allowed_action_once(seed: int, rule: str) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 8))
    outlook = an_outlook(p_pass=rng.random((3, n)).tolist(), minutes=rng.random((3, n)).tolist())
    allowed = np.flatnonzero(rng.random(n) < 0.7).tolist()
    found = order(outlook, Objective(rule=rule), allowed)  # type: ignore[arg-type]
    assert sorted(found) == allowed


def test_an_objective_survives_a_round_trip() -> None:
    objective = Objective(name="x", rule="pareto", steps=(Step(metric="minutes", within=5.0),))
    assert read_objective(canonical_json(to_document(objective))) == objective


@pytest.mark.parametrize(
    ("document", "path"),
    [
        (b"{", "$"),
        (b"[]", "$"),
        (b"\xff", "$"),
        ({}, "$.schema_version"),
        ({"schema_version": "cyntra.planner_objective.v2"}, "$.schema_version"),
        ({"weights": {"minute": -1}}, "$.weights.minute"),
        ({"weights": {"minuet": 1}}, "$.weights"),
        ({"rule": "vibes"}, "$.rule"),
        ({"steps": [{"metric": "overall"}]}, "$.steps[0].metric"),
        ({"guardrails": {"extreme": {}}}, "$.guardrails"),
        ({"guardrails": {"high": {"saving": 2}}}, "$.guardrails[...].saving"),
        ({"caution": NAN}, "$.caution"),
        ({"objectives": {}}, "$.objectives"),
        ({"objectives": {"a": {"metrics": {}}, "b": {"metrics": {}}}}, "$.objectives"),
        ({"objectives": {"a": 3}}, "$.objectives.a"),
    ],
)
def test_a_refused_objective_names_the_field(document: object, path: str) -> None:
    if (
        isinstance(document, dict)
        and document
        and not {"schema_version", "objectives"} & {*document}
    ):
        document = {"schema_version": "cyntra.planner_objective.v1", **document}
    with pytest.raises(ContractError) as refused:
        read_objective(document)  # type: ignore[arg-type]
    assert refused.value.path.startswith(path)


def test_a_universe_objective_is_passing_first_then_what_a_plan_tells_of() -> None:
    universe = {
        "objectives": {
            "fast": {"metrics": {"overall": "max", "duration_ms": "min", "beauty": "max"}}
        }
    }
    objective = read_objective(universe)
    assert (objective.name, objective.rule) == ("fast", "lexicographic")
    assert [step.metric for step in objective.steps] == ["p_pass", "wall_minutes"]


def test_a_metric_with_the_goal_turned_round_is_passed_over() -> None:
    universe = {"objectives": {"slow": {"metrics": {"duration_ms": "max", "cost_usd": "min"}}}}
    assert [s.metric for s in read_objective(universe).steps] == ["p_pass", "cost_usd"]


@pytest.mark.skipif(not MEDICA.exists(), reason="the shared data is not part of a checkout")
def test_the_real_universe_is_read() -> None:
    yaml = pytest.importorskip("yaml")
    objective = read_objective(yaml.safe_load(MEDICA.read_text()))
    assert objective.name == "realism_perf_v1"
    assert [step.metric for step in objective.steps] == ["p_pass", "wall_minutes"]
    outlook = an_outlook(p_pass=[0.8, 0.8], wall_minutes=[30.0, 20.0])
    assert order(outlook, objective) == [1, 0]


def test_the_default_asks_most_of_critical_issues() -> None:
    guards = DEFAULT_OBJECTIVE.guardrails
    assert guards["critical"].pass_within < guards["high"].pass_within
    assert guards["critical"].saving > guards["high"].saving
    assert "low" not in guards
