"""A campaign: the units of some cases, run until they are done, stopped, or a cap is reached.

Belongs here: which units there are, in which order, what they would cost, and running them.
Does not: choosing candidates, running one unit (``executors``), judging (``labels``).
Spec: sections 9.2 and 9.3.

Whatever ends a campaign, what was finished is recorded and counts: units run repeat by repeat, so
that an early end leaves every case with few repeats, rather than few cases with many.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from hashlib import sha256
from typing import Final, Literal

import msgspec

from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.crash_points import crash_point
from planner_pipeline.bench.ledger import CapReachedError, Ledger
from planner_pipeline.bench.protocol import Case, Executor, HarnessError, Result, Spend, Unit
from planner_pipeline.bench.units import MAX_TRIES, Lease, UnitStore, why_unreadable
from planner_runtime.actions import Action
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.decision import choice_of
from planner_runtime.inputs import rfc3339

SEED_BITS: Final = 31
REASON_CHARS: Final = 2_000
POLL_SECONDS: Final = 0.2  # until an interrupt is seen, or what began meanwhile killed as well
Ending = Literal["done", "stopped", "cap"]
Tell = Callable[[Unit, list[BenchOutcome]], None]


class Campaign(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is the same for all units of a campaign.

    Attributes:
        config_hash: Of ``config.unit_config_hash``.
        versions: Of what works on the issues.
    """

    config: BenchConfig
    config_hash: str
    universe_hash: str | None = None
    versions: dict[str, str] = {}


class CampaignEnd(msgspec.Struct, frozen=True, kw_only=True):
    """How a campaign ended.

    Attributes:
        n_run, n_kept, n_busy: Units that ran, were there already, or run in another process.
        n_infra_errors: Of those that ran.
        reason: Which cap, when one was reached.
    """

    ending: Ending
    n_units: int
    n_run: int
    n_kept: int
    n_busy: int
    n_infra_errors: int
    wall_seconds: float
    reason: str | None = None


def seed_of(campaign_seed: int, case_id: str, action: Action, repeat: int) -> int:
    """The seed of one candidate: candidates are lucky or not independently of one another."""
    text = document_hash([campaign_seed, case_id, list(action), repeat])
    return int(text, 16) >> (256 - SEED_BITS)


def attempt_seed(unit_seed: int, attempt: int) -> int:
    """The seed of one attempt of a candidate."""
    digest = sha256(f"{unit_seed} {attempt}".encode()).digest()
    return int.from_bytes(digest[:8]) >> (64 - SEED_BITS)


def unit_of(campaign: Campaign, case: Case, action: Action, repeat: int) -> Unit:
    """One candidate with one seed, and the name it is recorded under."""
    config = campaign.config
    seed = seed_of(config.seed, case.case_id, action, repeat)
    identity = [case.case_id, case.input_hash, list(action), repeat, seed, campaign.config_hash]
    return Unit(
        unit_id=document_hash(identity)[:16],
        case=case,
        action=action,
        repeat=repeat,
        seed=seed,
        n_candidates=config.n_candidates(action),
        limit_seconds=config.limit_seconds(action),
    )


def units_of(
    campaign: Campaign, cases: Iterable[Case], actions: Mapping[str, Sequence[Action]]
) -> list[Unit]:
    """Every unit, repeat by repeat, case by case, candidate by candidate.

    Args:
        actions: Candidates by case id.
    """
    ordered = sorted(cases, key=lambda case: case.case_id)
    return [
        unit_of(campaign, case, action, repeat)
        for repeat in range(campaign.config.repeats)
        for case in ordered
        for action in actions[case.case_id]
    ]


def worst_case_of(executor: Executor, units: Iterable[Unit]) -> tuple[int, Spend]:
    """How many units, and the most they may take together, one after another."""
    spends = [executor.worst_case(unit) for unit in units]
    priced = [spend.cost_usd for spend in spends if spend.cost_usd is not None]
    return len(spends), Spend(
        attempts=sum(spend.attempts for spend in spends),
        agent_minutes=sum(spend.agent_minutes for spend in spends),
        wall_seconds=sum(spend.wall_seconds for spend in spends),
        cost_usd=sum(priced) if len(priced) == len(spends) else None,
    )


def outcome_of(
    campaign: Campaign,
    executor: str,
    unit: Unit,
    result: Result,
    *,
    moments_ms: tuple[int, int],
    tries: int,
) -> BenchOutcome:
    """The record of a unit's result.

    Args:
        moments_ms: When it started and ended, Unix epoch.
    """
    told = {name: getattr(result, name) for name in Result.__struct_fields__}
    case = unit.case
    return BenchOutcome(
        unit_id=unit.unit_id,
        bench_config_hash=campaign.config_hash,
        universe_hash=campaign.universe_hash,
        case_id=case.case_id,
        issue_id=case.issue_id,
        example_id=case.example_id,
        system=case.system,
        input_hash=case.input_hash,
        job_type=case.job_type,
        action=choice_of(unit.action),
        repeat=unit.repeat,
        seed=unit.seed,
        executor=executor,
        minute_seconds=campaign.config.minute_seconds,
        toolchain_versions=campaign.versions,
        started_at=rfc3339(moments_ms[0]),
        ended_at=rfc3339(moments_ms[1]),
        tries=tries,
        **told,
    )


def spend_of(outcomes: Sequence[BenchOutcome], worst: Spend, minute_seconds: float) -> Spend:
    """What a unit took; what it does not tell is taken at its worst.

    A replayed unit takes nothing: its attempts were paid for long ago.
    """
    if all(outcome.replayed is not None for outcome in outcomes):
        return Spend(attempts=0, agent_minutes=0.0, wall_seconds=0.0, cost_usd=0.0)
    last = outcomes[-1]
    minutes = worst.agent_minutes
    if last.agent_ms is not None:
        minutes = last.agent_ms / (minute_seconds * 1_000)
    return Spend(
        attempts=len(last.attempts) or worst.attempts,
        agent_minutes=minutes,
        wall_seconds=worst.wall_seconds,
        cost_usd=worst.cost_usd if last.cost_usd is None else last.cost_usd,
    )


class CampaignRunner:
    """Runs the units of one campaign in this process.

    Args:
        tell: Called with every unit that was recorded, from the thread that ran it.
    """

    def __init__(
        self,
        campaign: Campaign,
        executor: Executor,
        store: UnitStore,
        ledger: Ledger,
        *,
        tell: Tell | None = None,
    ) -> None:
        self._campaign, self._executor = campaign, executor
        self._store, self._ledger, self._tell = store, ledger, tell
        self._stop = threading.Event()
        self._cap: CapReachedError | None = None
        self._began = time.monotonic()

    def stop(self) -> None:
        """Start nothing more, and record nothing of what is running: it runs again next time."""
        self._stop.set()

    def run(self, units: Sequence[Unit]) -> CampaignEnd:
        """Run what is not recorded yet. Interrupted, it kills what is running before it leaves.

        Raises:
            LedgerError: what was spent so far cannot be told, or a capped unit has no price.
        """
        waiting = [unit for unit in units if unit.unit_id not in self._store]
        found: list[list[BenchOutcome] | None] = []
        with ThreadPoolExecutor(max_workers=self._jobs) as pool:
            queue = iter(waiting)
            running: set[Future[list[BenchOutcome] | None]] = set()
            try:
                running |= {pool.submit(self._one, unit) for unit in _take(queue, self._jobs)}
                while running:
                    # with a timeout, since the system may give a signal to a thread that cannot
                    # wake this one
                    done, running = wait(running, POLL_SECONDS, return_when=FIRST_COMPLETED)
                    found += [future.result() for future in done]
                    if not self._is_ending:
                        running |= {pool.submit(self._one, one) for one in _take(queue, len(done))}
            except BaseException:
                self.stop()
                self._interrupt(running)
                raise
        ran = [outcomes for outcomes in found if outcomes]
        ending: Ending = "done"
        if self._is_ending:
            ending = "stopped" if self._cap is None else "cap"
        return CampaignEnd(
            ending=ending,
            n_units=len(units),
            n_run=len(ran),
            n_kept=len(units) - len(waiting),
            n_busy=sum(outcomes == [] for outcomes in found),
            n_infra_errors=sum(some[-1].status == "infra_error" for some in ran),
            wall_seconds=round(self._age(), 3),
            reason=None if self._cap is None else str(self._cap),
        )

    def _interrupt(self, running: set[Future[list[BenchOutcome] | None]]) -> None:
        """Kill what is running, until every thread has seen the end of its own."""
        while True:
            self._executor.interrupt()
            if not wait(running, timeout=POLL_SECONDS).not_done:
                return

    @property
    def _jobs(self) -> int:
        return self._campaign.config.jobs

    @property
    def _is_ending(self) -> bool:
        """Whether nothing more is to start: stopped, or at a cap."""
        return self._stop.is_set() or self._cap is not None

    def _age(self) -> float:
        return time.monotonic() - self._began

    def _one(self, unit: Unit) -> list[BenchOutcome] | None:
        """Outcomes of a unit; none while another process has it; None when it was not run."""
        if self._is_ending:
            return None
        lease = self._store.lease(unit.unit_id)
        if lease is None:
            return []
        if unit.unit_id in self._store:  # recorded by whoever held the lease just before
            lease.release()
            return []
        crash_point("unit_leased")
        try:
            outcomes = self._tried(unit, lease)
        except CapReachedError as reached:  # what runs beside it still ends, and counts
            self._cap = reached
            outcomes = None
        except BaseException:
            lease.leave()
            raise
        if outcomes is None:
            lease.leave()
            return None
        lease.release()
        crash_point("lease_released")
        if self._tell is not None:
            self._tell(unit, outcomes)
        return outcomes

    def _tried(self, unit: Unit, lease: Lease) -> list[BenchOutcome] | None:
        """Run a unit, once more where the harness failed, and say so where it failed again.

        Every try has a reservation of its own; of one that failed, nobody can tell how far it came.
        """
        why = "the harness died while it ran"
        while lease.tries <= MAX_TRIES:
            worst = self._executor.worst_case(unit)
            self._ledger.reserve(unit.unit_id, worst, session_seconds=self._age())
            crash_point("spend_reserved")
            started_ms = _now_ms()
            try:
                results = self._executor.run(unit)
                outcomes = self._outcomes(unit, results, started_ms, lease.tries)
            except HarnessError as error:
                why = str(error)
            except Exception as error:  # whatever breaks in the harness is no verdict
                why = f"{type(error).__name__}: {error}"
            else:
                if self._stop.is_set():  # it may have been killed by us
                    return None
                self._store.save(unit.unit_id, outcomes)
                self._settle(unit, spend_of(outcomes, worst, self._campaign.config.minute_seconds))
                return outcomes
            if self._stop.is_set():
                return None
            self._settle(unit, worst)
            lease.count()
        why = why.encode(errors="replace").decode()[:REASON_CHARS]
        failed = Result(status="infra_error", reason=why)
        outcomes = self._outcomes(unit, (failed,), _now_ms(), lease.tries - 1)
        self._store.save(unit.unit_id, outcomes)
        return outcomes

    def _settle(self, unit: Unit, spent: Spend) -> None:
        self._ledger.settle(unit.unit_id, spent, session_seconds=self._age())
        crash_point("spend_settled")

    def _outcomes(
        self, unit: Unit, results: Iterable[Result], started_ms: int, tries: int
    ) -> list[BenchOutcome]:
        """Records of a unit's results.

        Raises:
            HarnessError: there is none, or nobody could read one again.
        """
        moments = (started_ms, max(started_ms, _now_ms()))
        outcomes = [
            outcome_of(
                self._campaign, self._executor.name, unit, result, moments_ms=moments, tries=tries
            )
            for result in results
        ]
        why = why_unreadable(outcomes)
        if why is not None:
            raise HarnessError(f"result of {self._executor.name}", why)
        return outcomes


def _take(units: Iterator[Unit], n: int) -> list[Unit]:
    return [unit for _, unit in zip(range(n), units, strict=False)]


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
