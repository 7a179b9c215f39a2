"""From scores to one valid action: every kind of output against plain enumeration."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_runtime.actions import HEADS, Action, ActionSpace, is_valid_action, valid_actions
from planner_runtime.decode import (
    ANY_JOB,
    ActionTable,
    Decoding,
    JointDecision,
    NonFiniteLogitsError,
    action_log_probs,
    action_table,
    decode,
    log_softmax,
    n_prefixes,
    output_widths,
    prefix_index,
    table_of,
    temperature_names,
)

SPACE = ActionSpace()
OTHER_SPACE = ActionSpace(
    swarm_ids=("a", "serial_handoff", "z"), max_candidates_bins=(1, "NA"),
    max_minutes_bins=(60,), max_iterations_bins=("NA", 3),
)  # fmt: skip
JOBS = ("code", "fab-world", "unheard-of")
DECODINGS: tuple[Decoding, ...] = ("heads", "joint", "autoregressive")
Choice = tuple[int, ...]


def some_outputs(
    decoding: Decoding, seed: int = 0, *, space: ActionSpace = SPACE, spread: float = 3.0
) -> list[np.ndarray]:
    luck = np.random.default_rng(seed)
    return [luck.normal(size=width) * spread for width in output_widths(space, decoding).values()]


def level(decoding: Decoding, value: float = 1.0) -> dict[str, float]:
    """The same temperature for everything."""
    return dict.fromkeys(temperature_names(decoding), value)


def decided(
    outputs: list[np.ndarray], decoding: Decoding, job: str = "code", heat: float = 1.0
) -> JointDecision:
    return decode(outputs, level(decoding, heat), action_table(SPACE, job), decoding)


def valid_choices(space: ActionSpace, job: str) -> list[Choice]:
    """VALID_ACTIONS by trying every combination, in their order."""
    return [
        choice
        for choice in itertools.product(*(range(len(bins)) for bins in space.choices))
        if is_valid_action(
            Action(*(bins[c] for bins, c in zip(space.choices, choice, strict=True))),  # type: ignore[arg-type]
            job_type=job,
        )
    ]


def softmax_of(scores: dict[Any, float], heat: float) -> dict[Any, float]:
    top = max(scores.values())
    parts = {key: math.exp((score - top) / heat) for key, score in scores.items()}
    return {key: part / sum(parts.values()) for key, part in parts.items()}


def naive_probabilities(
    outputs: list[np.ndarray],
    heats: dict[str, float],
    decoding: Decoding,
    space: ActionSpace,
    job: str,
) -> dict[Choice, float]:
    """Probability of every valid action, one at a time."""
    valid = valid_choices(space, job)
    if decoding == "joint":
        columns = valid_choices(space, "a job that no rule knows")
        return softmax_of({c: outputs[0][columns.index(c)] for c in valid}, heats["joint"])
    widths = [len(bins) for bins in space.choices]
    weights = {}
    for choice in valid:
        weight = 1.0
        for head, name in enumerate(HEADS):
            if decoding == "heads":
                scores = outputs[head]
                allowed = {c[head] for c in valid}
            else:
                before = list(itertools.product(*map(range, widths[:head]))).index(choice[:head])
                scores = outputs[head][before * widths[head] : (before + 1) * widths[head]]
                allowed = {c[head] for c in valid if c[:head] == choice[:head]}
            weight *= softmax_of({c: scores[c] for c in allowed}, heats[name])[choice[head]]
        weights[choice] = weight
    total = sum(weights.values())
    return {choice: weight / total for choice, weight in weights.items()}


# -- probabilities


@given(
    st.sampled_from(DECODINGS),
    st.sampled_from([SPACE, OTHER_SPACE]),
    st.sampled_from(JOBS),
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.1, 1.0, 10.0]),
    st.lists(st.floats(0.3, 5.0), min_size=4, max_size=4),
)
@settings(max_examples=60, deadline=None)
def test_probabilities_are_those_of_plain_enumeration(
    decoding, space, job, seed, spread, heats
) -> None:
    outputs = some_outputs(decoding, seed, space=space, spread=spread)
    named = dict(zip(temperature_names(decoding), heats, strict=False))
    expected = naive_probabilities(outputs, named, decoding, space, job)
    table = action_table(space, job)
    assert list(map(tuple, table.choices.tolist())) == list(expected)
    log_probs = action_log_probs([o[np.newaxis] for o in outputs], named, table, decoding)
    assert log_probs.shape == (1, len(expected))
    assert np.exp(log_probs[0]) == pytest.approx(list(expected.values()), rel=1e-9, abs=1e-300)
    assert np.exp(log_probs).sum() == pytest.approx(1, abs=1e-12)
    decision = decode(outputs, named, table, decoding)
    assert decision.joint_probs == pytest.approx(list(expected.values()), abs=1e-12)
    assert decision.confidence == max(decision.joint_probs) == decision.joint_probs[decision.index]


def test_after_an_autoregressive_model_nothing_has_to_be_renormalised() -> None:
    """Conditional masks follow VALID_ACTIONS, so the product over heads sums to 1 by itself."""
    outputs = some_outputs("autoregressive", 4)
    table = action_table(SPACE, "fab-world")
    total = 0.0
    for choice, prefixes in zip(table.choices.tolist(), table.prefixes.tolist(), strict=True):
        weight = 1.0
        for head, (c, p) in enumerate(zip(choice, prefixes, strict=True)):
            steps = outputs[head].reshape(table.step_masks[head].shape)
            weight *= math.exp(log_softmax(steps[p], table.step_masks[head][p])[c])
        total += weight
    assert total == pytest.approx(1)


@pytest.mark.parametrize("decoding", DECODINGS)
def test_rows_are_decoded_together_as_they_are_alone(decoding: Decoding) -> None:
    rows = [some_outputs(decoding, seed) for seed in range(6)]
    stacked = [np.stack(parts) for parts in zip(*rows, strict=True)]
    table, heats = action_table(SPACE, "fab-world"), level(decoding, 1.7)
    together = action_log_probs(stacked, heats, table, decoding)
    for outputs, log_probs in zip(rows, together, strict=True):
        decision = decode(outputs, heats, table, decoding)
        assert decision.index == int(np.argmax(log_probs))
        assert decision.joint_probs == pytest.approx(np.exp(log_probs))
    nothing = action_log_probs([part[:0] for part in stacked], heats, table, decoding)
    assert nothing.shape == (0, 120)


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("decoding", DECODINGS)
def test_head_probabilities_are_of_the_head_alone_or_what_the_actions_add_up_to(
    decoding: Decoding, job: str
) -> None:
    outputs = some_outputs(decoding, 5)
    decision = decided(outputs, decoding, job, heat=2.0)
    valid = valid_choices(SPACE, job)
    for head, probabilities in enumerate(decision.head_probs):
        assert probabilities.sum() == pytest.approx(1)
        if decoding == "heads":
            allowed = {choice[head] for choice in valid}
            expected = softmax_of({c: outputs[head][c] for c in allowed}, 2.0)
        else:
            expected = {}
            for choice, p in zip(valid, decision.joint_probs, strict=True):
                expected[choice[head]] = expected.get(choice[head], 0.0) + p
        told = [expected.get(c, 0.0) for c in range(len(SPACE.choices[head]))]
        assert probabilities == pytest.approx(told)


# -- ties, masks, heat


@pytest.mark.parametrize("job", JOBS)
@pytest.mark.parametrize("decoding", ["heads", "joint"])
def test_equal_scores_go_to_the_first_action(decoding: Decoding, job: str) -> None:
    widths = output_widths(SPACE, decoding).values()
    decision = decided([np.zeros(width) for width in widths], decoding, job)
    assert decision.index == 0
    assert decision.confidence == pytest.approx(1 / len(valid_actions(SPACE, job)))


@pytest.mark.parametrize("decoding", DECODINGS)
def test_of_two_equal_best_actions_the_lower_row_wins(decoding: Decoding) -> None:
    table = action_table(SPACE, "fab-world")
    first, second = 37, 38  # they differ in iterations alone
    assert (table.choices[first, :3] == table.choices[second, :3]).all()
    outputs = [np.zeros(width) for width in output_widths(SPACE, decoding).values()]
    if decoding == "joint":
        outputs[0][table.columns[[second, first]]] = 9.0
    for head in range(0 if decoding == "joint" else 4):
        step = outputs[head].reshape(-1, len(SPACE.choices[head]))
        before = table.prefixes[[first, second], head] if decoding == "autoregressive" else 0
        step[before, table.choices[[second, first], head]] = 9.0
    decision = decided(outputs, decoding, "fab-world")
    assert decision.joint_probs[first] == decision.joint_probs[second]
    assert decision.index == first


@pytest.mark.parametrize("decoding", DECODINGS)
def test_an_invalid_choice_cannot_win_however_high_it_scores(decoding: Decoding) -> None:
    outputs = some_outputs(decoding, 1, spread=0.1)
    columns = valid_choices(SPACE, "a job that no rule knows")
    last = -1 if decoding != "joint" else 0
    for place in range(len(outputs[last])):
        iterations = columns[place][3] if decoding == "joint" else place % 5
        if iterations < 4:  # code jobs have no iterations
            outputs[last][place] = 100.0
    decision = decided(outputs, decoding, "code")
    assert valid_actions(SPACE, "code")[decision.index].max_iterations_bin == "NA"
    assert decision.head_probs[3] == pytest.approx([0, 0, 0, 0, 1])
    for value in (float("nan"), float("inf"), float("-inf")):  # nobody looks there
        outputs[last][outputs[last] == 100.0] = value
        assert decided(outputs, decoding, "code").index == decision.index


@given(st.integers(0, 2**32 - 1), st.floats(0.05, 20), st.sampled_from(JOBS))
@settings(max_examples=100, deadline=None)
def test_heat_never_moves_a_heads_favourite(seed: int, heat: float, job: str) -> None:
    heads = some_outputs("heads", seed)
    favourites = [int(p.argmax()) for p in decided(heads, "heads", job).head_probs]
    heated = decided(heads, "heads", job, heat)
    assert [int(p.argmax()) for p in heated.head_probs] == favourites
    joint = some_outputs("joint", seed)
    assert decided(joint, "joint", job, heat).index == decided(joint, "joint", job).index


@pytest.mark.parametrize("decoding", DECODINGS)
def test_heat_flattens(decoding: Decoding) -> None:
    outputs = some_outputs(decoding, 3)
    confidences = [decided(outputs, decoding, "code", heat).confidence for heat in (0.5, 1, 2, 20)]
    assert confidences == sorted(confidences, reverse=True)
    assert confidences[0] > 2 * confidences[-1]


def test_heating_one_head_can_move_the_joint_choice() -> None:
    """So whoever reports a temperature must decode with it."""
    moved = 0
    for seed in range(50):
        outputs = some_outputs("heads", seed)
        table = action_table(SPACE, "code")
        heats = {**level("heads"), "swarm_id": 20.0}
        plain, heated = (decode(outputs, t, table, "heads").index for t in (level("heads"), heats))
        moved += plain != heated
    assert moved > 0


# -- what is refused


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    ("decoding", "head", "place"),
    [("heads", 0, 1), ("heads", 2, 1), ("joint", 0, 4), ("autoregressive", 1, 4), ("autoregressive", 3, 4)],
)  # fmt: skip
def test_what_is_not_finite_is_refused_with_its_head(decoding, head, place, bad) -> None:
    outputs = some_outputs(decoding)
    outputs[head][place] = bad
    with pytest.raises(NonFiniteLogitsError) as refused:
        decided(outputs, decoding, "code")
    assert refused.value.head == head


def test_one_bad_row_of_many_is_refused() -> None:
    rows = [np.stack([a, b]) for a, b in zip(some_outputs("heads", 0), some_outputs("heads", 1), strict=True)]  # fmt: skip
    rows[1][1, 0] = np.nan
    with pytest.raises(NonFiniteLogitsError) as refused:
        action_log_probs(rows, level("heads"), action_table(SPACE, "code"), "heads")
    assert refused.value.head == 1


@pytest.mark.parametrize("decoding", DECODINGS)
def test_without_a_valid_action_nothing_is_chosen(decoding: Decoding) -> None:
    nothing = table_of(SPACE, np.zeros((0, 4), dtype=np.int64))
    with pytest.raises(ValueError, match="no valid action"):
        decode(some_outputs(decoding), level(decoding), nothing, decoding)


# -- tables and widths


def test_outputs_have_their_names_and_widths() -> None:
    names = [f"logits_{head}" for head in HEADS]
    assert output_widths(SPACE, "heads") == dict(zip(names, (2, 4, 6, 5), strict=True))
    assert output_widths(SPACE, "joint") == {"logits_joint": 150}
    by_prefix = dict(zip(names, (2, 2 * 4, 2 * 4 * 6, 2 * 4 * 6 * 5), strict=True))
    assert output_widths(SPACE, "autoregressive") == by_prefix
    assert [temperature_names(d) for d in DECODINGS] == [HEADS, ("joint",), HEADS]


@given(st.lists(st.integers(1, 6), min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_prefixes_are_numbered_as_they_are_counted_off(widths: list[int]) -> None:
    every = np.array(list(itertools.product(*map(range, widths))))
    index = prefix_index(every, widths)
    for head, count in enumerate(n_prefixes(widths)):
        before = list(itertools.product(*map(range, widths[:head])))
        assert len(before) == count
        back = [before[i] for i in index[:, head]]
        assert back == [tuple(row[:head]) for row in every.tolist()]


@pytest.mark.parametrize("space", [SPACE, OTHER_SPACE])
@pytest.mark.parametrize("job", JOBS)
def test_a_table_says_what_the_rules_say(space: ActionSpace, job: str) -> None:
    table: ActionTable = action_table(space, job)
    valid, columns = valid_choices(space, job), valid_choices(space, ANY_JOB)
    assert list(map(tuple, table.choices.tolist())) == valid
    assert table.columns.tolist() == [columns.index(choice) for choice in valid]
    widths = [len(bins) for bins in space.choices]
    for head, width in enumerate(widths):
        assert set(np.flatnonzero(table.masks[head]).tolist()) == {c[head] for c in valid}
        for number, before in enumerate(itertools.product(*map(range, widths[:head]))):
            allowed = {c[head] for c in valid if c[:head] == before}
            assert set(np.flatnonzero(table.step_masks[head][number]).tolist()) == allowed
        assert table.step_masks[head].shape == (math.prod(widths[:head]), width)
    assert (table.column_of(table.choices[::-1]) == np.arange(len(valid))[::-1]).all()


def test_an_action_outside_the_table_has_no_column() -> None:
    table = action_table(SPACE, "code")
    with pytest.raises(ValueError, match="no valid action"):
        table.column_of(np.array([[0, 1, 0, 4]]))  # one agent, two candidates


@given(
    st.lists(st.floats(-700, 700), min_size=5, max_size=5),
    st.lists(st.booleans(), min_size=5, max_size=5),
)
def test_log_softmax_sums_to_one_over_its_mask_and_is_nothing_elsewhere(scores, mask) -> None:
    got = log_softmax(np.array(scores), np.array(mask))
    assert (np.isneginf(got) == ~np.array(mask)).all()
    if any(mask):
        assert np.exp(got).sum() == pytest.approx(1)
        shifted = log_softmax(np.array(scores) + 100.0, np.array(mask))
        assert np.exp(shifted) == pytest.approx(np.exp(got))
