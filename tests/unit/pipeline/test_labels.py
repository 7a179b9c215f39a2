"""Winner labels against a naive rule, their laws, exact probabilities, and what is no label."""

import json
import random
from collections import defaultdict
from fractions import Fraction
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
import pandera.errors
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.label_rule import CaseFigures, Direction, Evidence, Rule, in_steps
from planner_pipeline.bench.labels import (
    WinnerLabel,
    label_table,
    metric_of,
    training_winners,
    winner_labels,
)
from planner_pipeline.bench.outcome_rows import action_outcomes, outcome_rows
from planner_pipeline.bench.protocol import Case, words_of
from planner_pipeline.evaluation.outcome_bench import OutcomeBench
from planner_runtime.actions import HEADS, NA, Action, ActionSpace, valid_actions
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.decision import action_of, choice_of

SPACE = ActionSpace()
SERIAL = Action("serial_handoff", 1, 60, NA)
PAIR = Action("speculate_vote", 2, 60, NA)
TRIO = Action("speculate_vote", 3, 60, NA)
OBJECTIVE: dict[str, Direction] = {"overall": "max", "duration_ms": "min"}


def an_outcome(action: Action, status: str = "passed", **changes: Any) -> BenchOutcome:
    repeat, replayed = changes.get("repeat", 0), changes.get("replayed")
    document = {
        "schema_version": "cyntra.bench_outcome.v1",
        "unit_id": document_hash([changes.get("case_id"), list(action), repeat])[:16],
        "bench_config_hash": "c" * 64, "case_id": "case", "issue_id": "issue",
        "input_hash": "1" * 64, "job_type": "code",
        "action": msgspec.to_builtins(choice_of(action)), "seed": repeat,
        "executor": "replay" if replayed is not None else "test", "status": status,
        "duration_ms": 1_000, "agent_ms": 1_000, "minute_seconds": 60.0, **changes,
    }  # fmt: skip
    return msgspec.convert(document, BenchOutcome)


def labels_of(outcomes: list[BenchOutcome], **options: Any) -> list[WinnerLabel]:
    config = BenchConfig(**{"stable_from": 0.0, **options.pop("config", {})})
    return winner_labels(
        outcomes, **{"objective": OBJECTIVE, "config": config, "space": SPACE, **options}
    )


def label_of(outcomes: list[BenchOutcome], **options: Any) -> WinnerLabel:
    (label,) = labels_of(outcomes, **options)
    return label


@st.composite
def cases(draw: st.DrawFn) -> list[BenchOutcome]:
    """One case of a few actions with a few repeats each; values from so few that many are equal."""
    actions = draw(
        st.lists(st.sampled_from(valid_actions(SPACE, "code")), min_size=1, max_size=4, unique=True)
    )
    outcomes = []
    for action in actions:
        for repeat in range(draw(st.integers(1, 3))):
            status = draw(st.sampled_from(["passed", "passed", "failed", "timeout"]))
            metrics = {"overall": draw(st.integers(0, 3))} if draw(st.integers(0, 5)) else {}
            outcomes.append(
                an_outcome(
                    action, status, repeat=repeat, metrics=metrics,
                    duration_ms=draw(st.integers(1, 4)),
                )
            )  # fmt: skip
    return outcomes


def naive_ties(outcomes: list[BenchOutcome], step: int) -> set[Action]:
    rows = defaultdict(list)
    for outcome in outcomes:
        rows[action_of(outcome.action)].append(outcome)
    figures: dict[Action, tuple[Any, ...]] = {}
    for action, found in rows.items():
        passing = [o for o in found if o.is_passed]
        n = max(1, len(passing))
        lacks = any("overall" not in o.metrics for o in passing) or not passing
        overall = (
            Fraction(-1) if lacks else Fraction(sum(o.metrics["overall"] for o in passing)) / n
        )
        duration = Fraction(sum(o.duration_ms or 0 for o in passing), n)
        steps = (duration / step + Fraction(1, 2)) // 1
        figures[action] = (Fraction(len(passing), len(found)), overall, -steps)
    best = max(figures.values())
    return {action for action, figure in figures.items() if figure == best} if best[0] else set()


def naive_winner(ties: set[Action]) -> Action | None:
    def worth(a: Action) -> tuple[Any, ...]:
        candidates = 2 if a.max_candidates_bin == NA else a.max_candidates_bin
        minutes = 60 if a.max_minutes_bin == NA else a.max_minutes_bin
        serial_last = a.swarm_id == "speculate_vote"
        return candidates, minutes, serial_last, valid_actions(SPACE, "code").index(a)

    return min(ties, key=worth, default=None)


@given(outcomes=cases(), step=st.sampled_from([1, 2, 3]))
@settings(max_examples=150, deadline=None)
def test_winner_and_ties_are_those_of_the_naive_rule(
    outcomes: list[BenchOutcome], step: int
) -> None:
    label = label_of(outcomes, config={"resolution": {"duration_ms": step}}, n_bootstrap=0)
    ties = naive_ties(outcomes, step)
    assert set(label.ties) == {words_of(action) for action in ties}
    assert label.action == naive_winner(ties)
    assert label.reason == ("label" if ties else "nothing_passed")
    assert label.is_label == bool(ties)
    if label.action is not None:
        mine = [o for o in outcomes if action_of(o.action) == label.action]
        assert any(o.is_passed for o in mine)
        assert label.pass_ratio == pytest.approx(sum(o.is_passed for o in mine) / len(mine))
        assert words_of(label.action) in label.ties


@given(outcomes=cases(), order=st.randoms(use_true_random=False))
@settings(max_examples=50, deadline=None)
def test_the_order_of_outcomes_changes_nothing(
    outcomes: list[BenchOutcome], order: random.Random
) -> None:
    more = [msgspec.structs.replace(o, case_id="another") for o in outcomes]
    before = labels_of(outcomes + more, n_bootstrap=20)
    mixed = outcomes + more
    order.shuffle(mixed)
    assert labels_of(mixed, n_bootstrap=20) == before
    # nor does another case in the campaign
    assert label_of(outcomes, n_bootstrap=20) == before[1]


@given(outcomes=cases(), data=st.data())
@settings(max_examples=80, deadline=None)
def test_making_the_winner_better_keeps_it(
    outcomes: list[BenchOutcome], data: st.DataObject
) -> None:
    label = label_of(outcomes, n_bootstrap=0)
    mine = [i for i, o in enumerate(outcomes) if action_of(o.action) == label.action]
    if not mine:
        return
    place = data.draw(st.sampled_from(mine))
    old = outcomes[place]
    better = msgspec.structs.replace(
        old,
        status="passed",
        metrics={"overall": old.metrics.get("overall", 0) + data.draw(st.integers(0, 2))},
        duration_ms=max(0, (old.duration_ms or 0) - 1),
    )
    improved = [*outcomes[:place], better, *outcomes[place + 1 :]]
    # a repeat that newly passes raises the pass ratio, whatever it does to the means
    again = label_of(improved, n_bootstrap=0)
    assert again.action == label.action
    assert set(again.ties) <= set(label.ties)


@given(outcomes=cases())
@settings(max_examples=50, deadline=None)
def test_actions_with_equal_outcomes_tie_and_share_their_wins(outcomes: list[BenchOutcome]) -> None:
    """A twin of the first action, made from the same draws, is best exactly when that is."""
    first = action_of(outcomes[0].action)
    used = {action_of(o.action) for o in outcomes}
    twin = next(a for a in valid_actions(SPACE, "code") if a not in used)
    replayed = [
        msgspec.structs.replace(o, replayed=(o.repeat,)) if action_of(o.action) == first else o
        for o in outcomes
    ]
    both = replayed + [
        msgspec.structs.replace(o, action=choice_of(twin), unit_id=f"{o.repeat:016x}")
        for o in replayed
        if action_of(o.action) == first
    ]
    label = label_of(both, n_bootstrap=30)
    assert (words_of(first) in label.ties) == (words_of(twin) in label.ties)
    if len(label.ties) == 2 and words_of(twin) in label.ties and label.probability is not None:
        assert label.ties_probability == pytest.approx(2 * label.probability)


def test_the_first_of_equals_has_the_least_budget_and_is_serial() -> None:
    order = [
        Action("serial_handoff", 1, 30, NA),
        Action("speculate_vote", 1, 30, NA),
        Action("serial_handoff", 1, 60, NA),
        Action("serial_handoff", 1, NA, NA),  # amounts to 60: later in the valid actions
        Action("speculate_vote", 2, 15, NA),
        Action("speculate_vote", NA, 15, NA),
        Action("speculate_vote", 3, 15, NA),
    ]
    for i in range(len(order)):
        label = label_of([an_outcome(action) for action in reversed(order[i:])])
        assert label.action == order[i]
        assert len(label.ties) == len(order) - i
    worlds = [Action("serial_handoff", 1, 30, i) for i in (2, 5, NA)]
    rows = [an_outcome(action, job_type="fab-world") for action in reversed(worlds)]
    assert label_of(rows).action == worlds[0]
    assert label_of(rows[:2]).action == worlds[1]  # five before what amounts to five
    quick = Action("speculate_vote", 1, 30, 2)
    rows = [an_outcome(action, job_type="fab-world") for action in (worlds[1], quick)]
    assert label_of(rows).action == quick  # fewer iterations come before being serial
    space = ActionSpace(swarm_ids=("relay", "serial_handoff"))
    rows = [an_outcome(Action(swarm, 1, 30, NA)) for swarm in space.swarm_ids]
    assert label_of(rows, space=space).action == order[0]  # not just the first swarm


def test_values_within_a_step_are_equal_and_halves_go_up() -> None:
    def ties(*durations: int) -> tuple[str, ...]:
        actions = (SERIAL, PAIR, TRIO)
        rows = [an_outcome(a, duration_ms=d) for a, d in zip(actions, durations, strict=False)]
        return label_of(
            rows, objective={"duration_ms": "min"}, config={"resolution": {"duration_ms": 100}}
        ).ties

    assert ties(149, 51) == (words_of(SERIAL), words_of(PAIR))
    assert ties(150, 149) == (words_of(PAIR),)
    assert ties(150, 249, 250) == (words_of(SERIAL), words_of(PAIR))


def test_the_order_of_a_sums_terms_makes_no_difference() -> None:
    """0.1 + 0.2 + 0.3 and 0.3 + 0.2 + 0.1 differ in their last bit, as do their halves of 0.4."""
    rows = [
        an_outcome(action, metrics={"overall": value}, repeat=i)
        for action, values in ((SERIAL, (0.1, 0.2, 0.3)), (PAIR, (0.3, 0.2, 0.1)))
        for i, value in enumerate(values)
    ]
    assert in_steps(np.array([(0.7 + 0.1 + 0.1) / 3]), 0.2).tolist() == [2.0]  # of 1.4999999999
    for resolution in ({}, {"overall": 0.4}):
        label = label_of(rows, config={"resolution": resolution})
        assert label.ties == (words_of(SERIAL), words_of(PAIR))


def test_the_objectives_order_decides_and_passing_comes_first() -> None:
    rows = [
        an_outcome(SERIAL, metrics={"overall": 0.7}, duration_ms=10),
        an_outcome(PAIR, metrics={"overall": 0.8}, duration_ms=90),
        an_outcome(TRIO, "failed", metrics={"overall": 0.99}, duration_ms=1),
    ]
    assert label_of(rows).action == PAIR
    assert label_of(rows, objective={"duration_ms": "min", "overall": "max"}).action == SERIAL
    assert label_of(rows, objective={}).ties == (words_of(SERIAL), words_of(PAIR))


def test_a_metric_that_a_passing_outcome_lacks_is_the_worst_and_is_told() -> None:
    rows = [
        an_outcome(SERIAL, metrics={"overall": 0.1}),
        an_outcome(PAIR, metrics={"overall": 0.9}),
        an_outcome(PAIR, metrics={"overall": float("nan")}, repeat=1),
    ]
    label = label_of(rows)
    assert label.action == SERIAL
    assert label.missing == (f"overall: {words_of(PAIR)}",)
    alone = label_of(rows[1:])
    assert alone.action == PAIR
    assert alone.metrics == {"overall": None, "duration_ms": 1_000.0}
    failed = an_outcome(SERIAL, "failed", repeat=1)
    spared = label_of([rows[0], failed])  # who fails need not measure
    assert (spared.missing, spared.metrics["overall"]) == ((), 0.1)


def test_a_metric_is_the_outcomes_own_before_it_is_a_field() -> None:
    outcome = an_outcome(SERIAL, metrics={"duration_ms": 5.0}, agent_ms=7, cost_usd=None)
    assert metric_of(outcome, "duration_ms") == 5.0
    assert metric_of(outcome, "agent_ms") == 7.0
    assert metric_of(outcome, "cost_usd") is None
    assert metric_of(outcome, "status") is None


def test_a_candidate_that_only_the_harness_failed_makes_the_case_incomplete() -> None:
    rows = [an_outcome(SERIAL), an_outcome(PAIR, "infra_error")]
    label = label_of(rows)
    assert (label.reason, label.is_label, label.action) == ("incomplete", False, None)
    assert (label.n_candidates, label.n_outcomes, label.n_infra_errors) == (2, 1, 1)
    mended = label_of([*rows, an_outcome(PAIR, "failed", repeat=1)])
    assert (mended.reason, mended.n_infra_errors, mended.action) == ("label", 1, SERIAL)
    assert label_of([an_outcome(SERIAL)], planned={"case": [SERIAL, PAIR]}).reason == "incomplete"
    assert label_of([an_outcome(SERIAL)], planned={"other": [PAIR]}).reason == "label"
    assert label_of([an_outcome(SERIAL, "infra_error")]).reason == "incomplete"


def test_where_nothing_passed_there_is_no_winner() -> None:
    label = label_of([an_outcome(SERIAL, "failed"), an_outcome(PAIR, "timeout")])
    assert (label.reason, label.action, label.ties) == ("nothing_passed", None, ())
    assert label.pass_ratio is None


@pytest.mark.parametrize(
    "change",
    [
        {"universe_hash": "2" * 64},
        {"base_commit": "fed"},
        {"bench_config_hash": "2" * 64},
        {"input_hash": "2" * 64},
    ],
)
def test_outcomes_that_were_made_differently_are_not_compared(change: dict[str, str]) -> None:
    rows = [
        an_outcome(SERIAL, base_commit="abc"),
        an_outcome(PAIR, **{"base_commit": "abc"} | change),
    ]
    label = label_of(rows)
    assert (label.reason, label.is_label, label.action) == ("mixed", False, None)
    assert len(label.bench_config_hashes) == 1 + ("bench_config_hash" in change)


def test_what_is_no_campaign_is_refused() -> None:
    row = an_outcome(SERIAL)
    for rows in ([row, row], [row, an_outcome(PAIR, issue_id="another")]):
        with pytest.raises(ValueError, match="twice, or is of two"):
            label_of(rows)
    with pytest.raises(ValueError, match="no valid action"):
        label_of([an_outcome(Action("serial_handoff", 2, 60, NA))])


def repeats(action: Action, statuses: str) -> list[BenchOutcome]:
    """One outcome a letter, p for passed."""
    words = {"p": "passed", "f": "failed"}
    return [an_outcome(action, words[s], repeat=i) for i, s in enumerate(statuses)]


def test_exact_probability_of_a_winner() -> None:
    """Weighted pass ratios of (p, f) and (p, p, f) are uniform and Beta(2, 1): the second is
    higher with probability 2/3.
    """
    rows = repeats(SERIAL, "pf") + repeats(PAIR, "ppf")
    label = label_of(rows, n_bootstrap=40_000)
    assert label.action == PAIR
    assert label.probability == pytest.approx(2 / 3, abs=0.01)
    assert label.ties_probability == label.probability


def test_every_case_has_luck_of_its_own() -> None:
    rows = repeats(SERIAL, "pf") + repeats(PAIR, "ppf")
    more = [msgspec.structs.replace(o, case_id="another") for o in rows]
    one, other = labels_of(rows + more)
    assert one.probability != other.probability


def test_a_winner_below_the_bound_is_ambiguous_but_stays_on_record() -> None:
    rows = repeats(SERIAL, "pf") + repeats(PAIR, "ppf")
    label = label_of(rows, config={"stable_from": 0.8})
    assert (label.reason, label.is_label, label.action) == ("ambiguous", False, PAIR)
    assert label_of(rows, config={"stable_from": 0.6}).is_label


def test_equals_from_the_same_attempts_share_their_wins_and_are_not_doubtful() -> None:
    """Shorter limits that cut nothing: five actions, each a fifth of the wins, all together sure."""
    rows = [
        an_outcome(
            Action("serial_handoff", 1, minutes, NA), "passed" if i else "failed",
            replayed=(i,), unit_id=f"{minutes:016x}",
        )
        for minutes in (15, 30, 45, 60, 120)
        for i in range(4)
    ]  # fmt: skip
    label = label_of(rows, config={"stable_from": 0.9})
    assert label.probability == pytest.approx(0.2)
    assert label.ties_probability == pytest.approx(1.0)
    assert (label.is_label, label.action) == (True, Action("serial_handoff", 1, 15, NA))


def test_one_repeat_tells_nothing_of_luck() -> None:
    rows = [*repeats(SERIAL, "pp"), an_outcome(PAIR, "failed")]
    label = label_of(rows, config={"stable_from": 1.0})
    assert (label.probability, label.ties_probability, label.is_label) == (None, None, True)
    assert label_of(rows[:2]).probability == 1.0


@given(
    passed=st.lists(st.booleans(), min_size=10, max_size=10),
    values=st.lists(st.integers(0, 5), min_size=10, max_size=10),
    resolution=st.sampled_from([None, 2.0]),
)
@settings(max_examples=25, deadline=None)
def test_wins_under_resampling_are_those_of_a_slow_loop(
    passed: list[bool], values: list[int], resolution: float | None
) -> None:
    """Four attempts, replayed singly and in pairs; weights drawn from the same generator."""
    draws = [*((i,) for i in range(4)), *combinations(range(4), 2)]
    candidate = np.array([0] * 4 + [1] * 6)
    evidence = Evidence(
        candidate=candidate, passed=np.array(passed),
        metrics=np.array(values, dtype=float)[:, None], draws=draws,
    )  # fmt: skip
    rule = Rule(directions=("max",), resolutions=(resolution,))
    mine = CaseFigures(evidence, np.random.default_rng(3), 40).win_ratio(rule)
    wins = [0.0, 0.0]
    for weights in np.random.default_rng(3).exponential(size=(40, 4)):
        figures = []
        for c in range(2):
            rows = [j for j in range(10) if candidate[j] == c]
            weight = {j: float(np.prod([weights[d] for d in draws[j]])) for j in rows}
            total = sum(weight[j] for j in rows if passed[j])
            mean = sum(weight[j] * values[j] for j in rows if passed[j]) / total if total else -9.0
            steps = mean if resolution is None else float(np.floor(mean / resolution + 0.5))
            figures.append((round(total / sum(weight.values()), 9), round(steps, 9)))
        best = [c for c in range(2) if figures[c] == max(figures)]
        for c in best:
            wins[c] += 1 / len(best) / 40
    assert mine.tolist() == pytest.approx(wins)


def test_a_table_of_labels_gives_the_winners_to_learn_from() -> None:
    rows = [
        an_outcome(SERIAL, case_id="a", example_id="example of a", toolchain_versions={"t": "1"}),
        an_outcome(PAIR, case_id="b"),
        an_outcome(PAIR, "failed", case_id="c"),
        *(msgspec.structs.replace(o, case_id="d") for o in repeats(SERIAL, "pf")),
        *(msgspec.structs.replace(o, case_id="d") for o in repeats(PAIR, "ppf")),
    ]
    table = label_table(labels_of(rows, config={"stable_from": 0.9}))
    assert table["reason"].to_list() == ["label", "label", "nothing_passed", "ambiguous"]
    assert table[HEADS[0]].to_list() == ["serial_handoff", "speculate_vote", None, "speculate_vote"]
    assert list(json.loads(table["objective"][0])) == ["overall", "duration_ms"]
    assert json.loads(table["metrics"][0]) == {"overall": None, "duration_ms": 1_000.0}
    assert json.loads(table["toolchain_versions"][0]) == {"t": "1"}
    winners = training_winners(table)
    assert winners.rows() == [("example of a", *map(str, SERIAL)), ("b", *map(str, PAIR))]
    assert training_winners(label_table([])).is_empty()
    two = label_table(labels_of([*rows[:1], an_outcome(PAIR, example_id="example of a")]))
    with pytest.raises(pandera.errors.SchemaError):
        training_winners(two)


def a_case(case_id: str = "case") -> Case:
    return Case(
        case_id=case_id, issue_id="issue", job_type="code", issue={},
        planner_input={"b": 1, "a": "ä"}, input_hash="1" * 64, baseline=SERIAL,
    )  # fmt: skip


def test_rows_of_the_data_set_tell_what_they_were_made_with_and_count_what_is_left_out() -> None:
    rows = [
        an_outcome(PAIR, "timeout", is_censored=True, isolation="bubblewrap", duration_ms=None),
        an_outcome(SERIAL, "infra_error"),
        an_outcome(SERIAL, "passed", repeat=1, metrics={"overall": 0.5}),
    ]
    table = outcome_rows(rows, [a_case()])
    first, second = table.iter_rows(named=True)
    assert [first[head] for head in HEADS] == list(map(str, SERIAL))
    assert (first["passed"], first["repeat"], first["n_infra_errors"]) == (True, 1, 1)
    assert first["planner_input"] == '{"a":"ä","b":1}'
    assert first["metrics"] == '{"overall":0.5}'
    assert (second["passed"], second["is_timeout"], second["is_censored"]) == (False, True, True)
    assert (second["isolation"], second["duration_ms"], second["n_infra_errors"]) == (
        "bubblewrap", None, 0,
    )  # fmt: skip
    assert outcome_rows(rows[::-1], [a_case()]).equals(table)
    assert outcome_rows([], []).is_empty()
    for wrong in ([], [msgspec.structs.replace(a_case(), input_hash="2" * 64)]):
        with pytest.raises(ValueError, match="no known case with the same input"):
            outcome_rows(rows, wrong)


def test_outcomes_become_what_policies_are_scored_on() -> None:
    rows = [
        an_outcome(SERIAL, repeat=0, duration_ms=300, agent_ms=200, minute_seconds=0.1),
        an_outcome(SERIAL, "failed", repeat=1, agent_ms=600),
        an_outcome(PAIR, "infra_error"),
        an_outcome(PAIR, replayed=(4, 7), agent_ms=90_000, cost_usd=0.5),
    ]
    table = action_outcomes(rows, SPACE)
    valid = valid_actions(SPACE, "code")
    assert table.select(
        "action", "attempts", "passed", "agent_minutes", "minutes_to_pass", "cost_usd"
    ).rows() == [
        (valid.index(SERIAL), [8], True, 2.0, 3.0, None),
        (valid.index(SERIAL), [9], False, 0.01, None, None),
        (valid.index(PAIR), [4, 7], True, 1.5, 1_000 / 60_000, 0.5),
    ]
    assert OutcomeBench(table, n_resamples=3).n_cases == 1
    assert action_outcomes(rows[::-1], SPACE).equals(table)
    with pytest.raises(ValueError, match="no agent time"):
        action_outcomes([an_outcome(SERIAL, agent_ms=None)], SPACE)
    with pytest.raises(ValueError, match="no valid action"):
        action_outcomes([an_outcome(Action("serial_handoff", 2, 60, NA))], SPACE)


def test_labels_and_scores_weigh_the_same_attempts_alike() -> None:
    """The winner by pass ratio is the action of the highest pass ratio in the bench's resamples."""
    passing = {1, 2}
    rows = [
        an_outcome(
            action, "passed" if passing & set(drawn) else "failed",
            replayed=drawn, unit_id=f"{k:016x}",
        )
        for k, action in ((1, SERIAL), (2, PAIR))
        for drawn in combinations(range(1, 5), k)
    ]  # fmt: skip
    label = label_of(rows, objective={}, n_bootstrap=200)
    bench = OutcomeBench(action_outcomes(rows, SPACE), n_resamples=0)
    scores = {
        a: bench.score(bench.policy([valid_actions(SPACE, "code").index(a)]))
        for a in (SERIAL, PAIR)
    }
    assert label.action == max(scores, key=lambda a: float(scores[a].passed[0, 0])) == PAIR
    assert label.pass_ratio == pytest.approx(float(scores[PAIR].passed[0, 0]))
    assert label.probability == 1.0
