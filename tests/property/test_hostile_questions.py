"""A few thousand hostile questions to planners of every kind; ``make fuzz`` asks a million."""

import pytest

from planner_runtime.planner import Planner
from planner_runtime.session import FixedModel
from tests.fuzz.decisions import BadAnswerError, ask_all, check, ordinary_questions, planners
from tests.fuzz.hostile_questions import Hostility
from tests.imitation_bundles import an_imitation_bundle, fixed_logits
from tests.outcome_bundles import a_question


@pytest.mark.parametrize("kind", ["features", "tokens", "outcomes", "no bundle"])
def test_every_question_has_an_answer_that_it_offers(kind: str) -> None:
    asked = {kind: planners(None)[kind]}
    told = ask_all(Hostility(ordinary_questions(), seed=7, share_big=0.01), asked, 1_500)
    assert told.faults == []
    codes = {code.split(": ")[1] for code in told.reasons}
    followed = "bundle_dir_missing" if kind == "no bundle" else "model"
    assert {"invalid_input", "no_valid_action", followed} <= codes
    assert told.reasons[f"{kind}: {followed}"] > 100


def test_an_answer_that_is_not_offered_would_be_seen() -> None:
    question = a_question()
    planner = Planner(an_imitation_bundle(), FixedModel(fixed_logits()), deadline_ms=None)
    decision = planner.decide(question)
    check(question, decision)
    question["action_space"]["max_minutes_bins"] = [
        bin_
        for bin_ in question["action_space"]["max_minutes_bins"]
        if bin_ != decision.action.budgets.max_minutes_bin
    ]
    with pytest.raises(BadAnswerError, match="is not offered"):
        check(question, decision)


def test_equal_seeds_ask_equal_questions() -> None:
    one, other = (Hostility(ordinary_questions(), seed=3) for _ in range(2))
    for _ in range(50):
        a, b = next(one), next(other)
        assert type(a) is type(b)
        assert not isinstance(a, bytes) or a == b
