"""What is open, what is preferred, how sure that is, and which constraint was felt."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.action_set import ActionSet, cyntra_actions, named_actions
from planner_runtime.actions import ActionSpace
from planner_runtime.objective import Guardrail, Objective, Outlook, Weights
from planner_runtime.policy import (
    NO_LIMITS,
    Limits,
    NothingOpenError,
    confidence_of,
    held_to_caps,
    prefer,
    preferred_without_limits,
)

CODE = cyntra_actions(ActionSpace(), "code")
WORLD = cyntra_actions(ActionSpace(), "fab-world")
NAN = float("nan")


def row(*choices: object, actions: ActionSet = CODE) -> int:
    return actions.rows.index(choices)  # type: ignore[arg-type]


SERIAL_60 = row("serial_handoff", 1, 60, "NA")


def an_outlook(actions: ActionSet = CODE, **metrics: object) -> Outlook:
    """One member on every action: 0.5, or what a number or an array of a metric says."""
    told = {"p_pass": 0.5, "p_timeout": 0.0, "minutes": 10.0, "wall_minutes": 10.0, "cost_usd": 1.0}
    arrays = {
        name: np.broadcast_to(np.asarray(value, dtype=float), (2, len(actions))).copy()
        for name, value in {**told, **metrics}.items()
    }
    return Outlook(**arrays)


def by_row(values: dict[int, float], default: float = 0.5) -> np.ndarray:
    """(A,) a number of its own for some rows."""
    found = np.full(len(CODE), default, dtype=float)
    for place, value in values.items():
        found[place] = value
    return found


@st.composite
def outlooks(draw: st.DrawFn, actions: ActionSet = CODE) -> Outlook:
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = (draw(st.integers(1, 4)), len(actions))
    cost = rng.random(shape) * 5
    if draw(st.booleans()):
        cost[:] = NAN
    return Outlook(
        p_pass=rng.random(shape), p_timeout=rng.random(shape), minutes=rng.random(shape) * 100,
        wall_minutes=rng.random(shape) * 60, cost_usd=cost,
    )  # fmt: skip


OBJECTIVES = st.builds(
    Objective,
    rule=st.sampled_from(["utility", "lexicographic", "pareto"]),
    weights=st.builds(Weights, minute=st.floats(0, 1), risk=st.floats(0, 1)),
    caution=st.floats(0, 3),
)
RISKS = st.sampled_from([None, "low", "medium", "high", "critical"])


@settings(max_examples=200)
@given(st.data(), st.sampled_from(["code", "fab-world"]), OBJECTIVES, RISKS)
def test_reductions_only_never_exceeds_the_baseline(data, job, objective, risk) -> None:
    actions = CODE if job == "code" else WORLD
    baseline = data.draw(st.integers(0, len(actions) - 1))
    found = prefer(data.draw(outlooks(actions)), objective, actions, baseline, risk=risk)
    for head in actions.budgets:
        assert actions.budget(head)[found.chosen] <= actions.budget(head)[baseline]
    assert actions.rows[found.chosen][0] == actions.rows[baseline][0]


@settings(max_examples=200)
@given(
    st.data(), OBJECTIVES, RISKS, st.booleans(), st.booleans(),
    st.dictionaries(st.sampled_from(CODE.budgets[:2]), st.sampled_from([1, 2, 15, 45, 200])),
)  # fmt: skip
def test_caps_hold_whatever_else_is_allowed_and_for_the_baseline_too(
    data, objective, risk, reductions_only, topology_changes, caps
) -> None:
    limits = Limits(caps=caps, reductions_only=reductions_only, topology_changes=topology_changes)
    baseline = data.draw(st.integers(0, len(CODE) - 1))
    fallback = held_to_caps(CODE, baseline, limits)
    try:
        chosen = prefer(
            data.draw(outlooks()), objective, CODE, baseline, limits=limits, risk=risk
        ).chosen
    except NothingOpenError:
        chosen = None
    for decided in (chosen, fallback):
        if decided is not None:
            assert all(CODE.budget(head)[decided] <= cap for head, cap in caps.items())
            assert topology_changes or CODE.rows[decided][0] == CODE.rows[baseline][0]


def test_the_baseline_held_to_a_cap_is_the_reduction_most_like_it() -> None:
    def held(baseline: int, **caps: float) -> object:
        found = held_to_caps(CODE, baseline, Limits(caps=caps))
        return None if found is None else CODE.rows[found]

    speculation = row("speculate_vote", 3, 60, "NA")
    assert held(SERIAL_60) == CODE.rows[SERIAL_60]
    assert held(SERIAL_60, max_minutes_bin=50) == ("serial_handoff", 1, 45, "NA")
    assert held(speculation, max_candidates_bin=2) == ("speculate_vote", 2, 60, "NA")
    assert held(speculation, max_candidates_bin=2, max_minutes_bin=20) == (
        "speculate_vote", 2, 15, "NA",
    )  # fmt: skip
    assert held(SERIAL_60, max_minutes_bin=5) is None


def test_a_topology_is_open_where_it_is_allowed_and_still_no_dearer() -> None:
    speculation = row("speculate_vote", 2, 60, "NA")
    outlook = an_outlook(p_pass=by_row({SERIAL_60: 0.9}))
    closed = prefer(outlook, Objective(), CODE, speculation)
    assert closed.bounds[SERIAL_60] == "topology"
    open_ = prefer(outlook, Objective(), CODE, speculation, limits=Limits(topology_changes=True))
    assert open_.chosen == SERIAL_60
    assert open_.bounds[row("serial_handoff", 1, 120, "NA")] == "not_a_reduction"


def test_a_cap_of_no_budget_is_refused() -> None:
    with pytest.raises(ValueError, match="no budgets"):
        prefer(an_outlook(), Objective(), CODE, SERIAL_60, limits=Limits(caps={"swarm_id": 1.0}))


def test_nothing_open_is_said_with_what_closed_everything() -> None:
    with pytest.raises(NothingOpenError) as closed:
        prefer(an_outlook(minutes=NAN), Objective(), CODE, SERIAL_60)
    assert {*closed.value.bounds} == {"topology", "not_a_reduction", "unknown_outcome"}


def test_a_guardrail_on_passing_closes_what_passes_less_than_the_baseline() -> None:
    short = row("serial_handoff", 1, 15, "NA")
    outlook = an_outlook(
        p_pass=by_row({short: 0.75}, default=0.8), minutes=by_row({short: 5}, default=60)
    )
    strict = Objective(guardrails={"high": Guardrail(pass_within=0.02)})
    assert prefer(outlook, strict, CODE, SERIAL_60, risk="low").chosen == short
    assert prefer(outlook, strict, CODE, SERIAL_60, risk=None).chosen == short
    guarded = prefer(outlook, strict, CODE, SERIAL_60, risk="high")
    assert guarded.bounds[short] == "guardrail_pass"
    assert guarded.chosen != short


def test_a_guardrail_on_saving_closes_changes_that_save_too_little() -> None:
    short = row("serial_handoff", 1, 45, "NA")
    outlook = an_outlook(minutes=by_row({short: 57}, default=60))
    strict = Objective(guardrails={"critical": Guardrail(saving=0.1)})
    guarded = prefer(outlook, strict, CODE, SERIAL_60, risk="critical")
    assert guarded.bounds[short] == "guardrail_saving"
    assert guarded.chosen == SERIAL_60  # the baseline itself need not save
    assert prefer(outlook, strict, CODE, SERIAL_60, risk="low").chosen == short


def test_a_guardrail_on_spending_that_nobody_knows_closes_every_change() -> None:
    strict = Objective(spend="cost_usd", guardrails={"critical": Guardrail(saving=0.1)})
    found = prefer(an_outlook(cost_usd=NAN), strict, CODE, SERIAL_60, risk="critical")
    assert found.chosen == SERIAL_60


def test_a_guard_compares_member_by_member_so_that_common_doubt_cancels() -> None:
    short = row("serial_handoff", 1, 15, "NA")
    together = np.array([[0.2], [0.9]]) + np.zeros((2, len(CODE)))
    together[:, short] += 0.01
    outlook = an_outlook(p_pass=together, minutes=by_row({short: 5}, default=60))
    strict = Objective(caution=3.0, guardrails={"high": Guardrail(pass_within=0.0)})
    assert prefer(outlook, strict, CODE, SERIAL_60, risk="high").chosen == short


def test_an_outcome_that_is_not_known_closes_its_action_alone() -> None:
    short = row("serial_handoff", 1, 15, "NA")
    outlook = an_outlook(minutes=by_row({short: NAN}, default=60))
    found = prefer(outlook, Objective(), CODE, SERIAL_60)
    assert found.bounds[short] == "unknown_outcome"
    assert found.chosen != short


def test_a_baseline_of_unknown_outcome_inspires_no_confidence() -> None:
    outlook = an_outlook(minutes=by_row({SERIAL_60: NAN}, default=60))
    found = prefer(outlook, Objective(), CODE, SERIAL_60)
    assert found.chosen != SERIAL_60
    assert found.confidence == 0.0


def test_confidence_is_the_chance_that_the_gain_is_no_loss() -> None:
    gains = np.array([0.1, 0.3])
    z = gains.mean() / gains.std(ddof=1)
    assert confidence_of(gains) == pytest.approx(0.5 * (1 + math.erf(z / math.sqrt(2))))
    assert confidence_of(np.array([0.2])) == confidence_of(np.array([0.0, 0.0])) == 1.0
    assert confidence_of(np.array([-0.2])) == 0.0
    assert confidence_of(np.array([NAN, 1.0])) == 0.0


@given(st.integers(0, 2**32 - 1))
def test_confidence_is_a_chance_that_rises_with_the_gain(seed: int) -> None:
    gains = np.random.default_rng(seed).normal(size=5)
    low, high = confidence_of(gains), confidence_of(gains + 0.5)
    assert 0 <= low <= high <= 1


def test_what_the_objective_would_take_freely_names_the_constraint_that_was_felt() -> None:
    wide = row("speculate_vote", 3, 15, "NA")
    long = row("serial_handoff", 1, 120, "NA")
    for best, limits, bound in (
        (wide, Limits(), "topology"),
        (long, Limits(), "not_a_reduction"),
        (long, Limits(reductions_only=False, caps={"max_minutes_bin": 60}), "cap"),
        (long, NO_LIMITS, None),
        (SERIAL_60, Limits(), None),
    ):
        outlook = an_outlook(p_pass=by_row({best: 0.9}))
        free = preferred_without_limits(outlook, Objective(), SERIAL_60)
        assert free == best
        assert prefer(outlook, Objective(), CODE, SERIAL_60, limits=limits).binding(free) == bound


def test_where_nothing_is_known_nothing_would_be_taken() -> None:
    assert preferred_without_limits(an_outlook(minutes=NAN), Objective(), SERIAL_60) is None


def test_actions_of_other_heads_are_chosen_alike() -> None:
    models = named_actions(["small", "middle", "large"])
    outlook = an_outlook(models, p_pass=[0.4, 0.7, 0.71], minutes=[1.0, 2.0, 50.0])
    assert prefer(outlook, Objective(), models, 2).chosen == 1  # no budgets: all are reductions
    with pytest.raises(ValueError, match="outlook on 3"):
        prefer(outlook, Objective(), CODE, SERIAL_60)


@settings(max_examples=150)
@given(outlooks(), OBJECTIVES, RISKS, st.integers(0, 2**32 - 1))
def test_a_choice_among_equals_does_not_depend_on_the_last_bits_of_float32(
    outlook, objective, risk, seed: int
) -> None:
    """Half of the actions amount to what another one does, as "NA" amounts to an hour."""
    rng = np.random.default_rng(seed)
    twin = np.arange(len(CODE)) // 2 * 2

    def rounded(values: np.ndarray) -> np.ndarray:
        single = values[:, twin].astype(np.float32)
        steps = rng.integers(-1, 2, single.shape)
        return np.where(steps, np.nextafter(single, np.float32(np.inf) * steps), single).astype(
            float
        )

    def chosen() -> int:
        names = Outlook.__struct_fields__
        with np.errstate(invalid="ignore"):
            machine = Outlook(**{name: rounded(getattr(outlook, name)) for name in names})
        limits = Limits(topology_changes=True)
        return prefer(machine, objective, CODE, SERIAL_60, limits=limits, risk=risk).chosen

    assert chosen() == chosen()
