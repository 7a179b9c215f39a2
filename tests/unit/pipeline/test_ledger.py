"""What a bench promises before it starts is what it may spend: no crash, no neighbour, no more."""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_pipeline.bench.config import Caps
from planner_pipeline.bench.ledger import FILE, CapReachedError, Ledger, LedgerError
from planner_pipeline.bench.protocol import Spend


def a_spend(attempts: int = 1, **changes: Any) -> Spend:
    told = {"agent_minutes": 10.0 * attempts, "wall_seconds": 60.0, "cost_usd": 0.5 * attempts}
    return Spend(attempts=attempts, **{**told, **changes})


def a_ledger(folder: Path, session: str = "s1", **caps: Any) -> Ledger:
    return Ledger(folder, Caps(**caps), session=session)


def lines_of(folder: Path) -> list[bytes]:
    return (folder / FILE).read_bytes().splitlines()


def test_a_new_ledger_has_spent_nothing(tmp_path: Path) -> None:
    totals = a_ledger(tmp_path / "not" / "there").totals()
    assert (totals.attempts, totals.agent_minutes, totals.wall_seconds, totals.n_open) == (
        0, 0.0, 0.0, 0,
    )  # fmt: skip


def test_a_settlement_takes_the_place_of_its_reservation(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path)
    ledger.reserve("u1", a_spend(3), session_seconds=0.0)
    ledger.reserve("u2", a_spend(2), session_seconds=0.0)
    held = ledger.totals()
    assert (held.attempts, held.agent_minutes, held.cost_usd, held.n_open) == (5, 50.0, 2.5, 2)
    ledger.settle("u1", a_spend(1, agent_minutes=4.0), session_seconds=7.0)
    left = ledger.totals()
    assert (left.attempts, left.agent_minutes, left.cost_usd, left.n_open) == (3, 24.0, 1.5, 1)


def test_a_unit_that_runs_again_counts_as_often_as_it_ran(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path)
    for _ in range(2):
        ledger.reserve("u", a_spend(2), session_seconds=0.0)
        ledger.settle("u", a_spend(2), session_seconds=1.0)
    assert (ledger.totals().attempts, ledger.totals().n_open) == (4, 0)


@pytest.mark.parametrize(
    ("cap", "most", "left", "wanted"),
    [
        ("attempts", 5, 2, 3), ("agent_minutes", 50.0, 20.0, 30.0), ("cost_usd", 2.0, 0.5, 1.5),
        ("wall_seconds", 100.0, 55.0, 60.0),
    ],
)  # fmt: skip
def test_every_cap_refuses_what_it_does_not_leave_and_says_how_much(
    tmp_path: Path, cap: str, most: float, left: float, wanted: float
) -> None:
    ledger = a_ledger(tmp_path, **{cap: most})
    ledger.reserve("u1", a_spend(3), session_seconds=0.0)
    with pytest.raises(CapReachedError) as refused:
        ledger.reserve("u2", a_spend(3), session_seconds=45.0)
    assert (refused.value.cap, refused.value.left, refused.value.wanted) == (cap, left, wanted)
    assert f"cap on {cap.replace('_', ' ')}: {left:g} left, {wanted:g} needed" == str(refused.value)
    assert len(lines_of(tmp_path)) == 1


def test_a_cap_can_be_used_to_its_last_cent(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, cost_usd=0.3)
    for number in range(3):  # 0.1 + 0.1 + 0.1 is more than 0.3 in floating point
        ledger.reserve(f"u{number}", a_spend(cost_usd=0.1), session_seconds=0.0)
    with pytest.raises(CapReachedError):
        ledger.reserve("u3", a_spend(cost_usd=0.01), session_seconds=0.0)


def test_what_a_dead_session_had_reserved_stays_spent(tmp_path: Path) -> None:
    a_ledger(tmp_path, "dead").reserve("u", a_spend(4), session_seconds=0.0)
    ledger = a_ledger(tmp_path, "alive", attempts=5)
    with pytest.raises(CapReachedError):
        ledger.reserve("u", a_spend(2), session_seconds=0.0)
    ledger.reserve("u", a_spend(1), session_seconds=0.0)
    ledger.settle("u", a_spend(0), session_seconds=1.0)
    assert (ledger.totals().attempts, ledger.totals().n_open) == (4, 1)


def test_wall_time_adds_up_over_sessions_one_after_another(tmp_path: Path) -> None:
    for session, age in (("s1", 30.0), ("s2", 40.0)):
        ledger = a_ledger(tmp_path, session)
        for unit, seconds in (("a", age / 2), ("b", age)):
            ledger.reserve(unit, a_spend(wall_seconds=1.0), session_seconds=seconds - 1)
            ledger.settle(unit, a_spend(), session_seconds=seconds)
    assert ledger.totals().wall_seconds == 70.0
    third = a_ledger(tmp_path, "s3", wall_seconds=100.0)
    third.reserve("c", a_spend(wall_seconds=25.0), session_seconds=5.0)
    with pytest.raises(CapReachedError) as refused:
        third.reserve("d", a_spend(wall_seconds=25.0), session_seconds=6.0)
    assert refused.value.left == pytest.approx(24.0)


def test_a_session_that_died_may_have_lasted_as_long_as_it_had_promised(tmp_path: Path) -> None:
    """Nobody settled anything, and yet its time is gone."""
    a_ledger(tmp_path, "dead").reserve("u", a_spend(wall_seconds=60.0), session_seconds=20.0)
    ledger = a_ledger(tmp_path, "alive", wall_seconds=100.0)
    assert ledger.totals().wall_seconds == 80.0
    with pytest.raises(CapReachedError) as refused:
        ledger.reserve("u", a_spend(wall_seconds=30.0), session_seconds=0.0)
    assert (refused.value.cap, refused.value.left) == ("wall_seconds", 20.0)


def test_units_side_by_side_take_the_time_of_the_longest(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, wall_seconds=100.0)
    for unit, seconds in (("a", 90.0), ("b", 60.0), ("c", 10.0)):
        ledger.reserve(unit, a_spend(wall_seconds=seconds), session_seconds=5.0)
    assert ledger.totals().wall_seconds == 95.0


def test_a_line_that_a_crash_cut_short_never_took_effect(tmp_path: Path) -> None:
    a_ledger(tmp_path).reserve("u1", a_spend(), session_seconds=0.0)
    whole = (tmp_path / FILE).read_bytes()
    for length in range(1, len(whole)):
        (tmp_path / FILE).write_bytes(whole + whole[:length])
        ledger = a_ledger(tmp_path)
        assert ledger.totals().attempts == 1
        assert (tmp_path / FILE).read_bytes() == whole
    ledger.settle("u1", a_spend(), session_seconds=1.0)
    assert len(lines_of(tmp_path)) == 2
    assert a_ledger(tmp_path).totals().n_open == 0


@pytest.mark.parametrize("line", [b"{", b'{"kind":"reserve"}', b"\xff", b'{"kind":"lend"}'])
def test_a_whole_line_that_nobody_can_read_stops_everything(tmp_path: Path, line: bytes) -> None:
    a_ledger(tmp_path).reserve("u1", a_spend(), session_seconds=0.0)
    good = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(good + line + b"\n" + good)
    damaged = (tmp_path / FILE).read_bytes()
    for attempt in (
        lambda one: one.totals(),
        lambda one: one.reserve("u2", a_spend(), session_seconds=0.0),
    ):
        with pytest.raises(LedgerError, match=FILE):
            attempt(a_ledger(tmp_path))
    assert (tmp_path / FILE).read_bytes() == damaged


def test_dollars_can_only_be_capped_where_a_unit_has_a_price(tmp_path: Path) -> None:
    ledger = a_ledger(tmp_path, cost_usd=10.0)
    with pytest.raises(LedgerError, match="no price is known"):
        ledger.reserve("u", a_spend(cost_usd=None), session_seconds=0.0)
    assert ledger.totals().attempts == 0
    free = a_ledger(tmp_path)
    free.reserve("u", a_spend(cost_usd=None), session_seconds=0.0)
    assert (free.totals().cost_usd, free.totals().n_unpriced) == (0.0, 1)


def test_two_ledgers_on_one_file_see_each_other(tmp_path: Path) -> None:
    one, other = a_ledger(tmp_path, "s1"), a_ledger(tmp_path, "s2", attempts=3)
    one.reserve("u1", a_spend(2), session_seconds=0.0)
    with pytest.raises(CapReachedError):
        other.reserve("u2", a_spend(2), session_seconds=0.0)
    one.settle("u1", a_spend(1), session_seconds=1.0)
    other.reserve("u2", a_spend(2), session_seconds=0.0)
    assert one.totals() == other.totals()
    (tmp_path / FILE).unlink()  # somebody begins anew
    assert one.totals().attempts == 0


WRITER = """
import sys
from pathlib import Path
from planner_pipeline.bench.config import Caps
from planner_pipeline.bench.ledger import CapReachedError, Ledger
from planner_pipeline.bench.protocol import Spend
folder, session = Path(sys.argv[1]), sys.argv[2]
ledger = Ledger(folder, Caps(attempts=150), session=session)
spend = Spend(attempts=1, agent_minutes=1.0, wall_seconds=1.0)
n = 0
print("ready", flush=True)
sys.stdin.readline()
for number in range(100):
    try:
        ledger.reserve(f"{session}-{number}", spend, session_seconds=0.0)
    except CapReachedError:
        continue
    n += 1
    if number % 2:
        ledger.settle(f"{session}-{number}", spend, session_seconds=1.0)
print(n)
"""


def test_processes_that_append_at_once_lose_nothing_and_share_one_cap(tmp_path: Path) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), f"s{number}"], text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        )
        for number in range(2)
    ]  # fmt: skip
    for writer in writers:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
    told = [writer.communicate("go\n", timeout=60)[0] for writer in writers]
    assert sum(map(int, told)) == 150
    totals = a_ledger(tmp_path).totals()
    assert totals.attempts == 150
    assert len(lines_of(tmp_path)) == 150 + (150 - totals.n_open)


# what a schedule does to one session: start a unit of some size, end its oldest one, or die
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("reserve"), st.integers(1, 4), st.integers(0, 1)),
        st.tuples(st.just("settle"), st.floats(0.0, 1.0), st.integers(0, 1)),
        st.tuples(st.just("kill"), st.integers(1, 200), st.integers(0, 1)),
    ),
    max_size=40,
)


@settings(max_examples=150, deadline=None)
@given(steps=STEPS, cap=st.integers(3, 15))
def test_no_schedule_of_starts_ends_and_kills_overspends(
    steps: list[tuple[str, Any, int]], cap: int
) -> None:
    """Two harnesses share a ledger; each may die at any moment, also in the middle of a line."""
    caps = Caps(attempts=cap, agent_minutes=cap * 10.0, cost_usd=cap * 0.5, wall_seconds=500.0)
    with tempfile.TemporaryDirectory() as name:
        folder, n_sessions, really = Path(name), 2, 0.0
        ledgers = [Ledger(folder, caps, session=f"s{one}") for one in range(2)]
        running: list[list[tuple[str, int]]] = [[], []]
        for number, (what, value, who) in enumerate(steps):
            if what == "reserve":
                try:
                    ledgers[who].reserve(str(number), a_spend(value), session_seconds=0.0)
                except CapReachedError:
                    continue
                running[who].append((str(number), value))
            elif what == "settle" and running[who]:
                unit, attempts = running[who].pop(0)
                took = a_spend(attempts, agent_minutes=10.0 * attempts * value)
                really += took.agent_minutes
                ledgers[who].settle(unit, took, session_seconds=0.0)
            elif what == "kill":
                if (folder / FILE).exists():
                    with (folder / FILE).open("ab") as file:
                        file.write(b'{"kind":"reserve","session":"x"'[: value % 30])
                really += sum(10.0 * attempts for _, attempts in running[who])  # at worst
                running[who] = []
                ledgers[who] = Ledger(folder, caps, session=f"s{n_sessions}")
                n_sessions += 1
            for ledger in ledgers:
                totals = ledger.totals()
                assert totals.attempts <= cap
                assert totals.agent_minutes <= cap * 10.0 + 1e-6
                assert totals.cost_usd <= cap * 0.5 + 1e-6
                assert totals.wall_seconds <= 500.0
                assert really <= totals.agent_minutes + 1e-6
