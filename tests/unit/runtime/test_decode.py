import numpy as np
import pytest

from planner_runtime.actions import ActionSpace, choice_matrix, head_masks, valid_actions
from planner_runtime.decode import NonFiniteLogitsError, decode_joint

SPACE = ActionSpace()


def decode(
    logits: list[np.ndarray], job: str = "code", temperatures: tuple[float, ...] = (1, 1, 1, 1)
):
    return decode_joint(logits, temperatures, choice_matrix(SPACE, job), head_masks(SPACE, job))


def some_logits(seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.normal(size=len(choices)) * 3 for choices in SPACE.choices]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("job", ["code", "fab-world"])
def test_the_joint_choice_is_the_best_by_hand(seed: int, job: str) -> None:
    logits = some_logits(seed)
    masks = head_masks(SPACE, job)
    log_p = []
    for raw, mask in zip(logits, masks, strict=True):
        total = sum(np.exp(x) for x, ok in zip(raw, mask, strict=True) if ok)
        log_p.append([x - np.log(total) for x in raw])
    scores = [
        sum(log_p[h][SPACE.choices[h].index(choice)] for h, choice in enumerate(action))
        for action in valid_actions(SPACE, job)
    ]
    decision = decode(logits, job)
    assert decision.index == int(np.argmax(scores))
    weights = np.exp(scores)
    assert decision.joint_probs == pytest.approx(weights / weights.sum())
    assert decision.confidence == pytest.approx(max(weights) / weights.sum())


def test_equal_scores_go_to_the_first_action() -> None:
    assert decode([np.zeros(len(choices)) for choices in SPACE.choices]).index == 0


def test_an_invalid_choice_cannot_win_however_high_it_scores() -> None:
    logits = [np.zeros(len(choices)) for choices in SPACE.choices]
    logits[3][:4] = 100.0  # iterations, which code jobs do not have
    decision = decode(logits)
    assert valid_actions(SPACE, "code")[decision.index].max_iterations_bin == "NA"
    assert decision.head_probs[3].tolist() == [0, 0, 0, 0, 1]


def test_heat_flattens_and_never_moves_a_heads_favourite() -> None:
    logits = some_logits(3)
    cold, hot = decode(logits), decode(logits, temperatures=(5, 5, 5, 5))
    assert hot.confidence < cold.confidence
    assert [int(p.argmax()) for p in hot.head_probs] == [int(p.argmax()) for p in cold.head_probs]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_is_refused_with_its_head(bad: float) -> None:
    logits = some_logits(0)
    logits[2][1] = bad
    with pytest.raises(NonFiniteLogitsError) as refused:
        decode(logits)
    assert refused.value.head == 2
