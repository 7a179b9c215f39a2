"""The vote against a naive reading of formats 6.3, and its exact answers."""

from fractions import Fraction

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from planner_pipeline.bench.vote import Ballot, Vote, take_vote, vote_scores


def a_ballot(**changes: object) -> Ballot:
    fields: dict[str, object] = {
        "confidence": 0.5, "lines": 10, "risk": "medium", "duration_ms": 1_000,
        "all_passed": True, "is_success": True,
    }  # fmt: skip
    return Ballot(**{**fields, **changes})  # type: ignore[arg-type]


BALLOTS = st.lists(
    st.builds(
        Ballot,
        confidence=st.integers(0, 10).map(lambda n: n / 10),
        lines=st.integers(0, 40),
        risk=st.sampled_from(["low", "medium", "high", "critical", "unheard-of"]),
        duration_ms=st.integers(0, 9_000),
        all_passed=st.booleans(),
        is_success=st.booleans(),
    ),
    min_size=1,
    max_size=5,
)


def naive_score(ballot: Ballot, ballots: list[Ballot]) -> Fraction:
    lines = max(b.lines for b in ballots)
    longest = max(b.duration_ms for b in ballots)
    score = Fraction(40) + 20 * Fraction(str(ballot.confidence))
    score += 15 * (1 - (Fraction(ballot.lines, lines) if lines else 0))
    score += {"low": 15, "medium": 10, "high": 5, "critical": 0}.get(ballot.risk, 5)
    return score + 10 * (1 - (Fraction(ballot.duration_ms, longest) if longest else 0))


@given(ballots=BALLOTS, threshold=st.sampled_from([0.0, 0.55, 0.7, 1.0]))
@settings(max_examples=200, deadline=None)
def test_the_vote_is_what_the_formats_say(ballots: list[Ballot], threshold: float) -> None:
    exact = [naive_score(b, ballots) if b.all_passed else None for b in ballots]
    passing = [i for i, b in enumerate(ballots) if b.all_passed]
    successful = [i for i, b in enumerate(ballots) if b.is_success]
    assume(all(s is None or abs(s - 100 * Fraction(str(threshold))) > 1e-9 for s in exact))
    vote = take_vote(ballots, threshold=threshold)
    assert vote.scores == vote_scores(ballots)
    for mine, theirs in zip(vote.scores, exact, strict=True):
        assert (mine is None) == (theirs is None)
        assert mine is None or abs(mine - float(theirs or 0)) < 1e-9
    best = max((s for s in exact if s is not None), default=None)
    if best is not None and best > 100 * Fraction(str(threshold)):
        assert vote.how == "vote"
        assert exact[vote.winner] is not None
        assert float(best - (exact[vote.winner] or 0)) < 1e-9
        assert ballots[vote.winner] not in ballots[: vote.winner]
    elif passing or successful:
        standing = passing or successful
        most = max(ballots[i].confidence for i in standing)
        assert vote.how == ("passing" if passing else "successful")
        assert vote.winner == next(i for i in standing if ballots[i].confidence == most)
    else:
        assert (vote.how, vote.winner) == ("first", 0)


def test_exact_scores_of_three_candidates() -> None:
    ballots = [
        a_ballot(),
        a_ballot(confidence=0.9, lines=20, risk="low", duration_ms=500),
        a_ballot(lines=40, duration_ms=4_000, all_passed=False),
    ]
    # 40 + 10 + 15 * 3/4 + 10 + 10 * 3/4 and 40 + 18 + 15 / 2 + 15 + 10 * 7/8
    assert take_vote(ballots, threshold=0.7) == Vote(
        winner=1, scores=(78.75, 89.25, None), how="vote"
    )


def test_a_score_at_the_threshold_wins_and_one_below_is_no_vote() -> None:
    at = a_ballot(confidence=1.0, risk="medium")  # 40 + 20 + 0 + 10 + 0
    assert take_vote([at], threshold=0.7) == Vote(winner=0, scores=(70.0,), how="vote")
    assert take_vote([at], threshold=0.71).how == "passing"


def test_of_equal_candidates_the_first_wins() -> None:
    assert take_vote([a_ballot(all_passed=False), a_ballot(), a_ballot()], threshold=0).winner == 1


def test_a_passing_candidate_comes_before_a_confident_failure() -> None:
    sure = a_ballot(confidence=1.0, all_passed=False)
    shy = a_ballot(confidence=0.0, is_success=False)
    assert take_vote([sure, shy], threshold=1.0) == Vote(
        winner=1, scores=(None, 50.0), how="passing"
    )
    failed = a_ballot(confidence=1.0, all_passed=False, is_success=False)
    shy = a_ballot(confidence=0.1, all_passed=False)
    vote = take_vote([failed, shy], threshold=0.7)
    assert (vote.winner, vote.how) == (1, "successful")
    assert take_vote([failed, failed], threshold=0.0).how == "first"


def test_nobody_is_divided_by_nothing() -> None:
    empty = a_ballot(confidence=0.0, lines=0, duration_ms=0, risk="critical")
    assert vote_scores([empty, empty]) == (65.0, 65.0)


def test_an_election_needs_a_candidate() -> None:
    with pytest.raises(ValueError, match="nobody"):
        take_vote([], threshold=0.7)
