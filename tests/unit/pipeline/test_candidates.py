"""Candidates of a bench: who is always there, what a campaign covers, what nothing can change."""

import random
from collections import Counter

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.bench.candidates import (
    DEFAULT_ITERATIONS,
    other_topology,
    select,
    select_campaign,
    worst_cost,
)
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.pass_counts import PassCounts
from planner_pipeline.bench.protocol import Case
from planner_pipeline.bench.selections import (
    Coverage,
    Selection,
    candidate_table,
    read_selections,
)
from planner_runtime.actions import (
    NA,
    Action,
    ActionSpace,
    candidate_set_hash,
    valid_actions,
)
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.decision import choice_of

SPACE = ActionSpace()
SERIAL = Action("serial_handoff", 1, 60, NA)
SPECULATE = Action("speculate_vote", 2, 60, NA)
JOBS = ("code", "fab-world", "other")


def a_case(case_id: str, baseline: Action = SERIAL, job_type: str = "code") -> Case:
    return Case(
        case_id=case_id, issue_id=f"issue of {case_id}", job_type=job_type, issue={},
        planner_input={}, input_hash="0" * 64, baseline=baseline,
    )  # fmt: skip


def sixty_cases(job_type: str = "code") -> list[Case]:
    """Every third of them would speculate."""
    return [a_case(f"c{i:02}", SERIAL if i % 3 else SPECULATE, job_type) for i in range(60)]


@st.composite
def campaigns(draw: st.DrawFn) -> tuple[list[Case], BenchConfig]:
    cases = []
    for i in range(draw(st.integers(1, 6))):
        job = draw(st.sampled_from(JOBS))
        cases.append(a_case(f"c{i}", draw(st.sampled_from(valid_actions(SPACE, job))), job))
    config = BenchConfig(
        k=draw(st.integers(1, 12)), seed=draw(st.integers(0, 9)),
        anchors=draw(st.sampled_from([0.0, 0.3])),
        select=draw(st.sampled_from(["coverage", "uncertainty"])),
    )  # fmt: skip
    return cases, config


def of_reason(selection: Selection, reason: str) -> list[Action]:
    pairs = zip(selection.actions, selection.reasons, strict=True)
    return [action for action, why in pairs if why == reason]


@given(campaign=campaigns())
@settings(max_examples=80, deadline=None)
def test_the_baseline_is_first_and_all_are_valid_different_and_as_many_as_asked(
    campaign: tuple[list[Case], BenchConfig],
) -> None:
    cases, config = campaign
    for case, found in zip(
        cases, select_campaign(cases, space=SPACE, config=config, model=PassCounts()), strict=True
    ):
        valid = valid_actions(SPACE, case.job_type)
        assert found.actions[0] == case.baseline
        assert found.reasons[0] == "baseline"
        assert len(set(found.actions)) == len(found.actions) == len(found.reasons)
        assert set(found.actions) <= set(valid)
        assert len(found.actions) == (len(valid) if found.is_anchor else config.k)
        assert found.candidate_set_hash == document_hash([list(a) for a in found.actions])
        assert found.valid_set_hash == candidate_set_hash(SPACE, case.job_type)
        if config.k > 1:
            assert {action.swarm_id for action in found.actions} == set(SPACE.swarm_ids)
        if not found.is_anchor:
            cost = worst_cost(case.baseline, config)
            assert all(worst_cost(a, config) < cost for a in of_reason(found, "cheaper"))
            assert all(worst_cost(a, config) > cost for a in of_reason(found, "dearer"))
            assert len(of_reason(found, "other_topology")) == (config.k > 1)


@given(campaign=campaigns(), order=st.randoms(use_true_random=False))
@settings(max_examples=40, deadline=None)
def test_the_order_of_cases_is_no_matter_and_what_was_selected_stays(
    campaign: tuple[list[Case], BenchConfig], order: random.Random
) -> None:
    cases, config = campaign
    expected = select_campaign(cases, space=SPACE, config=config)
    order.shuffle(cases)
    assert select_campaign(cases, space=SPACE, config=config) == expected
    # going on from a prefix of the campaign comes to the same as the whole
    kept = expected[: len(expected) // 2]
    order.shuffle(kept)
    assert select_campaign(cases, space=SPACE, config=config, already=kept) == expected
    other = msgspec.structs.replace(config, k=1, seed=77)
    assert select_campaign(cases, space=SPACE, config=other, already=expected) == expected


def test_equal_seeds_choose_alike_and_others_do_not() -> None:
    def chosen(seed: int) -> list[tuple[Action, ...]]:
        config = BenchConfig(seed=seed)
        return [s.actions for s in select_campaign(sixty_cases(), space=SPACE, config=config)]

    assert chosen(1) == chosen(1)
    assert chosen(1) != chosen(2)


@pytest.mark.parametrize("job_type", ["code", "fab-world"])
@pytest.mark.parametrize("k", [4, 6])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_campaign_covers_minutes_evenly_and_every_bin(job_type: str, k: int, seed: int) -> None:
    """Declared bound: minutes that no baseline has differ by at most 3 in sixty cases; every bin
    of every head is there at least once in ten cases.
    """
    cases = sixty_cases(job_type)
    found = select_campaign(cases, space=SPACE, config=BenchConfig(k=k, seed=seed))
    minutes = Counter(a.max_minutes_bin for s in found for a in s.actions)
    free = [minutes[bin_] for bin_ in SPACE.max_minutes_bins if bin_ != 60]
    assert max(free) - min(free) <= 3
    for head in range(4):
        seen = Counter(action[head] for s in found for action in s.actions)
        possible = {action[head] for action in valid_actions(SPACE, job_type)}
        assert all(seen[choice] >= len(cases) / 10 for choice in possible)


def test_free_slots_are_even_over_the_bins_of_every_head_that_rules_leave_free() -> None:
    """With nothing but speculation no rule ties the heads, and eight candidates leave room to make
    up for what had to be taken. Declared bound: bins of 120 or 80 each differ by at most 3.
    """
    space = ActionSpace(swarm_ids=("speculate_vote",))
    cases = [a_case(f"c{i:02}", SPECULATE) for i in range(60)]
    found = select_campaign(cases, space=space, config=BenchConfig(k=8))
    assert all("other_topology" not in s.reasons for s in found)
    candidates = Counter(a.max_candidates_bin for s in found for a in s.actions)
    assert max(candidates.values()) - min(candidates.values()) <= 3
    minutes = Counter(a.max_minutes_bin for s in found for a in s.actions)
    assert max(minutes.values()) - min(minutes.values()) <= 3


def test_both_topologies_recur_with_the_same_minutes_in_every_case() -> None:
    found = select_campaign(sixty_cases(), space=SPACE, config=BenchConfig(k=2))
    assert all(set(selection.actions) == {SERIAL, SPECULATE} for selection in found)


@pytest.mark.parametrize(
    ("baseline", "job_type", "expected"),
    [
        (SERIAL, "code", SPECULATE),
        (Action("speculate_vote", 3, 45, NA), "code", Action("serial_handoff", 1, 45, NA)),
        (Action("speculate_vote", NA, NA, 5), "other", Action("serial_handoff", 1, NA, 5)),
        (Action("serial_handoff", 1, NA, 3), "fab-world", Action("speculate_vote", 2, NA, 3)),
    ],
)
def test_the_counterpart_of_an_action_keeps_its_other_budgets(
    baseline: Action, job_type: str, expected: Action
) -> None:
    assert other_topology(baseline, valid_actions(SPACE, job_type), BenchConfig()) == expected


def test_where_the_space_has_no_such_counterpart_the_nearest_stands_in() -> None:
    three = ActionSpace(swarm_ids=("relay", "serial_handoff", "speculate_vote"))
    valid = valid_actions(three, "code")
    assert other_topology(Action("relay", 2, 30, NA), valid, BenchConfig()) == Action(
        "serial_handoff", 1, 30, NA
    )
    few = ActionSpace(max_candidates_bins=(1, 3), max_minutes_bins=(60,))
    assert other_topology(SERIAL, valid_actions(few, "code"), BenchConfig()) == Action(
        "speculate_vote", 1, 60, NA
    )
    unknown_first = ActionSpace(max_candidates_bins=(NA, 1, 2))
    assert other_topology(SERIAL, valid_actions(unknown_first, "code"), BenchConfig()) == SPECULATE
    alone = ActionSpace(swarm_ids=("serial_handoff",))
    assert other_topology(SERIAL, valid_actions(alone, "code"), BenchConfig()) is None


def test_exact_candidates_of_one_case() -> None:
    """Three candidates in, 3 and NA candidates were seen least; then serial 30 at 1 x 2 swarms +
    1 x 4 candidates beats speculation at 3 x 2 + 1 x 4; the hash chooses among equal minutes.
    """
    found = select(a_case("c"), space=SPACE, config=BenchConfig(k=5, seed=3, anchors=0.01))
    assert found == Selection(
        case_id="c",
        issue_id="issue of c",
        job_type="code",
        actions=(
            SERIAL,
            SPECULATE,
            Action("speculate_vote", 3, 15, NA),
            Action("speculate_vote", NA, 120, NA),
            Action("serial_handoff", 1, 30, NA),
        ),
        reasons=("baseline", "other_topology", "cheaper", "dearer", "coverage"),
        policy="candidates.v1 select=coverage k=5 anchors=0.01 na=2x60x5",
        seed=3,
        candidate_set_hash="5b325042d6d0f242397ebe754160955fdc0c6c4ad22808defc5d0a5205ed86ee",
        valid_set_hash=candidate_set_hash(SPACE, "code"),
        n_valid=30,
    )


def test_with_room_for_one_of_them_cheaper_and_dearer_take_turns() -> None:
    found = select_campaign(sixty_cases(), space=SPACE, config=BenchConfig(k=3))
    reasons = [selection.reasons[2] for selection in found]
    assert reasons == ["cheaper", "dearer"] * 30


def test_nothing_is_cheaper_than_the_least_budget_and_its_slot_is_filled() -> None:
    least = Action("serial_handoff", 1, 15, NA)
    found = select(a_case("c", least), space=SPACE, config=BenchConfig(k=4))
    assert found.reasons == ("baseline", "other_topology", "dearer", "coverage")


def test_unknown_budgets_cost_what_they_amount_to() -> None:
    config = BenchConfig(default_minutes=50, default_candidates=3)
    assert worst_cost(Action("speculate_vote", NA, NA, NA), config) == 150 * DEFAULT_ITERATIONS
    assert worst_cost(Action("serial_handoff", 1, 30, 2), config) == 60


def test_what_a_model_would_choose_comes_right_after_the_baseline() -> None:
    choice = Action("speculate_vote", 3, 30, NA)
    cases = [a_case("a"), a_case("b")]
    found = select_campaign(
        cases, space=SPACE, config=BenchConfig(k=3), also={"a": [SERIAL, choice]}
    )
    assert found[0].actions == (SERIAL, choice, SPECULATE)
    assert found[0].reasons == ("baseline", "model", "other_topology")
    assert "model" not in found[1].reasons
    alone = select(a_case("a"), space=SPACE, config=BenchConfig(k=1), also=[choice])
    assert alone.reasons == ("baseline",)


def test_anchors_try_every_valid_action_and_are_about_the_share_asked_for() -> None:
    config = BenchConfig(k=2, anchors=0.2, seed=5)
    found = select_campaign([a_case(f"c{i}") for i in range(300)], space=SPACE, config=config)
    anchors = [selection for selection in found if selection.is_anchor]
    assert 0.12 < len(anchors) / 300 < 0.28
    for selection in anchors:
        assert set(selection.actions) == set(valid_actions(SPACE, "code"))
        assert selection.reasons == ("baseline", *["anchor"] * 29)
    every = select_campaign(
        [a_case("x")], space=SPACE, config=msgspec.structs.replace(config, anchors=1.0)
    )
    assert every[0].is_anchor


def test_more_candidates_than_there_are_actions_are_all_of_them() -> None:
    found = select(a_case("c", SPECULATE), space=SPACE, config=BenchConfig(k=1_000))
    rest = [action for action in valid_actions(SPACE, "code") if action != SPECULATE]
    assert found.actions == (SPECULATE, *rest)
    assert not found.is_anchor


def test_uncertain_slots_take_the_largest_spread_and_say_so() -> None:
    valid = valid_actions(SPACE, "code")
    config = BenchConfig(k=6, select="uncertainty")
    spread = np.linspace(0.0, 0.3, len(valid))
    found = select(a_case("c"), space=SPACE, config=config, spread=spread)
    assert found.actions[4:] == tuple(
        [action for action in reversed(valid) if action not in found.actions[:4]][:2]
    )
    assert found.reasons[4:] == ("uncertainty", "uncertainty")
    assert "select=uncertainty" in found.policy
    covering = BenchConfig(k=6)
    assert select(a_case("c"), space=SPACE, config=covering, spread=spread) == select(
        a_case("c"), space=SPACE, config=covering
    )
    blind = select(a_case("c"), space=SPACE, config=config)
    assert blind.reasons[4:] == ("coverage", "coverage")
    assert "select=coverage" in blind.policy


def test_a_campaign_does_not_ask_the_most_uncertain_thing_of_every_case() -> None:
    config = BenchConfig(k=5, select="uncertainty")
    found = select_campaign(sixty_cases(), space=SPACE, config=config, model=PassCounts())
    assert len({action for s in found for action in s.actions}) == 30


def test_what_cannot_be_selected_is_refused() -> None:
    bad = Action("serial_handoff", 2, 60, NA)
    config = BenchConfig(select="uncertainty")
    with pytest.raises(ValueError, match=r"baseline .* is no valid action"):
        select(a_case("c", bad), space=SPACE, config=config)
    with pytest.raises(ValueError, match=r"model .* is no valid action"):
        select(a_case("c"), space=SPACE, config=config, also=[bad])
    for spread in (np.zeros(3), np.full(30, np.nan), np.full(30, -1.0)):
        with pytest.raises(ValueError, match="30 finite numbers"):
            select(a_case("c"), space=SPACE, config=config, spread=spread)
    with pytest.raises(ValueError, match="twice"):
        select_campaign([a_case("c"), a_case("c")], space=SPACE, config=config)


def test_selecting_changes_nothing_of_what_was_seen() -> None:
    seen = Coverage()
    select(a_case("c"), space=SPACE, config=BenchConfig(), seen=seen)
    assert seen.of_action("code", SERIAL) == 0


def test_selections_come_back_from_their_table_in_any_order_of_rows() -> None:
    config = BenchConfig(k=5, anchors=0.1)
    cases = [a_case(f"c{i}", SPECULATE, JOBS[i % 2]) for i in range(12)]
    found = sorted(select_campaign(cases, space=SPACE, config=config), key=lambda s: s.case_id)
    table = candidate_table(found, bench_config_hash="a" * 64)
    assert read_selections(table.sample(fraction=1.0, shuffle=True, seed=1)) == found
    assert table["position"].to_list()[:5] == [0, 1, 2, 3, 4]
    assert read_selections(candidate_table([])) == []
    with pytest.raises(msgspec.ValidationError):
        read_selections(table.with_columns(reason=pl.lit("whim")))


def an_outcome(
    action: Action, status: str, *, case_id: str = "c", replayed: tuple[int, ...] | None = None
) -> BenchOutcome:
    return msgspec.convert(
        {
            "schema_version": "cyntra.bench_outcome.v1", "unit_id": "0" * 16,
            "bench_config_hash": "0" * 64, "case_id": case_id, "issue_id": "i",
            "input_hash": "0" * 64, "job_type": "code",
            "action": msgspec.to_builtins(choice_of(action)), "seed": 0, "executor": "test",
            "status": status, "replayed": replayed, "minute_seconds": 60.0,
        },
        BenchOutcome,
    )  # fmt: skip


def test_posteriors_back_off_from_an_action_to_its_like_to_all() -> None:
    ran = [an_outcome(SERIAL, status) for status in ("passed", "passed", "failed", "infra_error")]
    counts = PassCounts(ran)
    # all: Beta(3, 2); the group: 2 x 3/5 + 2; the action once more
    group = (2 * 0.6 + 2, 2 * 0.4 + 1)
    mean = group[0] / sum(group)
    assert counts.posterior(SERIAL) == pytest.approx((2 * mean + 2, 2 * (1 - mean) + 1))
    like = Action("serial_handoff", 1, 30, NA)
    assert counts.posterior(like) == pytest.approx((2 * mean, 2 * (1 - mean)))
    assert counts.posterior(SPECULATE) == pytest.approx((2 * 0.6, 2 * 0.4))
    a, b = counts.posterior(SERIAL)
    expected = (a * b / ((a + b) ** 2 * (a + b + 1))) ** 0.5
    assert counts.spread([SERIAL]).tolist() == pytest.approx([expected])
    assert counts.chance([like]).tolist() == pytest.approx([mean])
    assert PassCounts().posterior(SERIAL) == (1.0, 1.0)


def test_what_ran_often_is_less_uncertain_than_what_never_did() -> None:
    often = PassCounts([an_outcome(SERIAL, s) for s in ("passed", "failed") * 20])
    spread = often.spread([SERIAL, SPECULATE])
    assert spread[0] < spread[1] / 2


def test_outcomes_that_share_attempts_count_as_often_as_their_attempts_suffice_for() -> None:
    pairs = [(1, 2), (1, 3), (2, 3), (1, 4), (2, 4), (3, 4)]
    shared = [an_outcome(SPECULATE, "passed", replayed=pair) for pair in pairs]
    apart = [an_outcome(SPECULATE, "passed") for _ in range(2)]
    assert PassCounts(shared).posterior(SPECULATE) == pytest.approx(
        PassCounts(apart).posterior(SPECULATE)
    )
