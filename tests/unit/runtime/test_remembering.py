"""What is remembered of action spaces and names cannot fill the memory."""

import pytest

from planner_runtime.actions import ActionSpace
from planner_runtime.hashing import LONGEST_REMEMBERED, bucket
from planner_runtime.remembering import MOST_REMEMBERED, MOST_WEIGHT, remembered


class Counted:
    """How often each space was worked out."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.ask = remembered(self._answer)

    def _answer(self, space: ActionSpace, job_type: str) -> str:
        self.calls.append(space.swarm_ids[0])
        return f"{space.swarm_ids[0]} {job_type}"


def test_a_small_space_is_worked_out_once() -> None:
    counted = Counted()
    for _ in range(3):
        assert counted.ask(ActionSpace(swarm_ids=("a",)), "code") == "a code"
        assert counted.ask(ActionSpace(swarm_ids=("a",)), "other") == "a other"
    assert counted.calls == ["a", "a"]


@pytest.mark.parametrize(
    "large", [("x" * (MOST_WEIGHT + 1),), tuple("abcdefghijk")], ids=["long", "wide"]
)
def test_a_large_space_is_remembered_until_the_next(large: tuple[str, ...]) -> None:
    counted = Counted()
    one, other = ActionSpace(swarm_ids=large), ActionSpace(swarm_ids=("y", *large))
    for space in (one, one, other, other, one):
        assert counted.ask(space, "code") == f"{space.swarm_ids[0]} code"
    assert counted.calls == [large[0], "y", large[0]]


def test_a_long_job_type_makes_a_space_large() -> None:
    counted = Counted()
    for job in ("j" * (MOST_WEIGHT + 1), "k" * (MOST_WEIGHT + 1)) * 2:
        counted.ask(ActionSpace(swarm_ids=("a",)), job)
    assert len(counted.calls) == 4


def test_of_small_spaces_the_last_ones_are_remembered() -> None:
    counted = Counted()
    spaces = [ActionSpace(swarm_ids=(f"s{n}",)) for n in range(MOST_REMEMBERED + 1)]
    for space in (*spaces, spaces[-1], spaces[0]):
        counted.ask(space, "code")
    assert len(counted.calls) == MOST_REMEMBERED + 2


def test_a_long_name_has_its_bucket_whether_remembered_or_not() -> None:
    from planner_runtime import hashing

    before = hashing._remembered.cache_info().currsize
    longer = "x" * (LONGEST_REMEMBERED + 1)
    assert 0 <= bucket(longer, 7) == bucket(longer, 7) < 7
    assert hashing._remembered.cache_info().currsize == before
    assert bucket("ui", 1024) == hashing._bucket("ui", 1024)
