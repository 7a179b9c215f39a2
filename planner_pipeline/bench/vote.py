"""The vote among candidates that ran side by side, as the kernel takes it.

Belongs here: scores, the winner, and what is done where the vote finds none. Does not: running
candidates, telling their confidence or risk.
Source: reference/cyntra-formats.md 6.3; spec section 9.2.
"""

from collections.abc import Callable, Sequence
from typing import Final, Literal

import msgspec

RISK_POINTS: Final = {"low": 15.0, "medium": 10.0, "high": 5.0, "critical": 0.0}
OTHER_RISK_POINTS: Final = 5.0

How = Literal["vote", "passing", "successful", "first"]


class Ballot(msgspec.Struct, frozen=True, kw_only=True):
    """What the vote looks at in one candidate.

    Attributes:
        confidence: In [0, 1], the toolchain's own.
        lines: Of its patch, added and removed.
        risk: The proof's risk class.
        duration_ms: Of its toolchain.
        all_passed: Whether every required gate passed.
        is_success: Whether its toolchain said that it succeeded.
    """

    confidence: float
    lines: int
    risk: str
    duration_ms: int
    all_passed: bool
    is_success: bool


class Vote(msgspec.Struct, frozen=True, kw_only=True):
    """Who won, and by what.

    Attributes:
        winner: Index into the ballots.
        scores: Of every ballot, in order; None where it did not pass and so was not voted on.
        how: "vote"; else the most confident that passed, the most confident that succeeded, or
            just the first, which then failed.
    """

    winner: int
    scores: tuple[float | None, ...]
    how: How


def _saved(value: int, most: int) -> float:
    """Which share of the largest value was not needed; all of it where the largest is 0."""
    return 1.0 - value / most if most > 0 else 1.0


def vote_scores(ballots: Sequence[Ballot]) -> tuple[float | None, ...]:
    """The score of every candidate, at most 100; None where it did not pass.

    Lines and durations are measured by the largest among all candidates, also those that failed.
    Where that is 0 the kernel would divide by it; here everybody gets the full points.
    """
    most_lines = max((ballot.lines for ballot in ballots), default=0)
    longest = max((ballot.duration_ms for ballot in ballots), default=0)
    return tuple(
        40
        + 20 * ballot.confidence
        + 15 * _saved(ballot.lines, most_lines)
        + RISK_POINTS.get(ballot.risk, OTHER_RISK_POINTS)
        + 10 * _saved(ballot.duration_ms, longest)
        if ballot.all_passed
        else None
        for ballot in ballots
    )


def take_vote(ballots: Sequence[Ballot], *, threshold: float) -> Vote:
    """The winner among candidates, ties to the first.

    Args:
        threshold: The best score wins from 100 times this on (the kernel's ``vote_threshold``).

    Raises:
        ValueError: there is no ballot.

    >>> quick = Ballot(confidence=0.9, lines=5, risk="low", duration_ms=100, all_passed=True,
    ...                is_success=True)
    >>> take_vote([quick], threshold=0.7)
    Vote(winner=0, scores=(73.0,), how='vote')
    """
    if not ballots:
        raise ValueError("nobody stands for election")
    scores = vote_scores(ballots)
    voted = [i for i, score in enumerate(scores) if score is not None]
    best = max(voted, key=lambda i: scores[i] or 0.0, default=None)
    if best is not None and (scores[best] or 0.0) >= 100 * threshold:
        return Vote(winner=best, scores=scores, how="vote")

    def most_confident(stands: Callable[[Ballot], bool]) -> int | None:
        standing = [i for i, ballot in enumerate(ballots) if stands(ballot)]
        return max(standing, key=lambda i: ballots[i].confidence, default=None)

    passing = most_confident(lambda ballot: ballot.all_passed)
    if passing is not None:
        return Vote(winner=passing, scores=scores, how="passing")
    successful = most_confident(lambda ballot: ballot.is_success)
    if successful is not None:
        return Vote(winner=successful, scores=scores, how="successful")
    return Vote(winner=0, scores=scores, how="first")
