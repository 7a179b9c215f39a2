"""A planner that follows its bundle: a new one is verified, then takes over between two decisions.

Belongs here: watching a place, swapping one reference, going back from a bundle that fails. Does
not: what makes a bundle good (``bundle``, ``planner.load_bundle``), pointers
(``bundles.channels``). Source: issue 7, "Hot reload"; reference/reliability.md 1.

A decision reads one reference and never waits for a load, which a thread of its own does; so a
plain call of ``decide`` is as right under asyncio as under threads. ``check_now`` loads in the
caller's thread.
"""

import contextlib
import os
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from planner_runtime.bundle import Bundle, BundleError, Trust
from planner_runtime.bundles.place import Place, Sight
from planner_runtime.contracts.planner_action import PlannerAction
from planner_runtime.decision import Decision, Question, Situation
from planner_runtime.fork_safe_lock import ForkSafeLock
from planner_runtime.outcomes.model import OutcomeModel
from planner_runtime.planner import Planner, load_bundle, no_model_reason
from planner_runtime.served_planner import PinnedPlanner
from planner_runtime.session import Model

POLL_SECONDS: Final = 2.0
TRIAL_DECISIONS: Final = 100
TRIAL_FAILURE_RATIO: Final = 0.1
MAX_RETRY_SECONDS: Final = 60.0
_MAX_EPOCHS: Final = 16

_ALL: "weakref.WeakSet[LivePlanner]" = weakref.WeakSet()


class LoadMetrics(Protocol):
    """What is told of loads and decisions; ``planner_runtime.metrics.Metrics`` is one."""

    def observe_decision(self, decision: Decision, seconds: float) -> None:
        """One decision, and how long it took."""
        ...

    def observe_load(self, ok: bool, reason: str | None) -> None:
        """A bundle that took over, or the reason code of one that did not."""
        ...


class LiveStatus(msgspec.Struct, frozen=True, kw_only=True):
    """What a live planner does now.

    Attributes:
        bundle_id: None: the baseline answers.
        is_on_trial: Whether the bundle can still be rolled back by itself.
        last_refusal: Why the newest bundle that was refused was; None: the place's bundle serves.
    """

    bundle_id: str | None
    path: str | None
    protocol: int | None
    is_signed: bool
    is_on_trial: bool
    n_loads: int
    n_refused: int
    n_rollbacks: int
    last_refusal: str | None


class _Trial:
    """The first decisions of a new bundle. Not frozen: it counts, under the planner's lock."""

    def __init__(self, n_decisions: int, failure_ratio: float) -> None:
        self.n_left = n_decisions
        self.n_allowed = int(failure_ratio * n_decisions)

    def count(self, *, failed: bool) -> bool | None:
        """True: passed; False: failed; None: not yet known."""
        self.n_left -= 1
        self.n_allowed -= int(failed)
        if self.n_allowed < 0:
            return False
        return True if self.n_left <= 0 else None


class _Serving:
    """One planner in service, and what to go back to while it is on trial."""

    def __init__(
        self,
        planner: Planner,
        model: Model | OutcomeModel | None,
        trial: _Trial | None = None,
        before: "_Serving | None" = None,
    ) -> None:
        self.planner, self.model = planner, model
        self.trial, self.before = trial, before

    @property
    def bundle_id(self) -> str | None:
        bundle = self.planner.bundle
        return None if bundle is None else bundle.manifest.bundle_id


class LivePlanner:
    """Answers as ``Planner`` does, always from the newest good bundle of a place.

    Args:
        path: A bundle's folder, a link to one, or a pointer file of a store (``channels/current``).
        poll_seconds: How often the place is looked at, by a thread; None: by ``check_now`` alone.
        public_key, require_signature: As of ``Trust``.
        log: Told one line when a bundle takes over, is refused, or is rolled back.
        trial_decisions, trial_failure_ratio: A new bundle goes back to the one before when more
            than this share of that many first decisions end in ``inference_failed``.
        planner_options: As of ``Planner``. ``exploration_counts`` are carried on from bundle to
            bundle as long as the kernel's configuration is the same.

    Raises:
        TypeError: an option that ``Planner`` does not have.
    """

    def __init__(
        self,
        path: Path,
        *,
        metrics: LoadMetrics | None = None,
        poll_seconds: float | None = POLL_SECONDS,
        public_key: Path | None = None,
        require_signature: bool = False,
        log: Callable[[str], object] | None = None,
        trial_decisions: int = TRIAL_DECISIONS,
        trial_failure_ratio: float = TRIAL_FAILURE_RATIO,
        **planner_options: Any,
    ) -> None:
        self._place = Place(path)
        self._metrics, self._log = metrics, log
        self._trust = Trust(public_key=public_key, require_signature=require_signature)
        self._trial = (trial_decisions, trial_failure_ratio)
        self._first_counts: tuple[int, int] = planner_options.pop("exploration_counts", (0, 0))
        self._options = planner_options
        self._counts: dict[bytes, tuple[int, int]] = {}
        self._seen: Sight | None = None
        self._said: str | None = None  # the newest line of the log
        self._refusal: str | None = None
        self._told: str | None = None  # the newest refusal that was told and counted
        self._rolled_back: set[str] = set()
        self._n_loads = self._n_refused = self._n_rollbacks = 0
        self._retry_at = self._retry_after = 0.0
        self._poll_seconds = poll_seconds
        self._serving = _Serving(Planner(None, None, **self._options), None)
        self._check_lock = ForkSafeLock()  # one look at the place at a time
        self._swap_lock = ForkSafeLock()  # who serves, and the counts of its trial
        self.check_now()
        self._start_thread()
        _ALL.add(self)

    def _start_thread(self) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        if self._poll_seconds is not None:
            self._thread = threading.Thread(
                target=_poll,
                args=(weakref.ref(self), self._stop, self._poll_seconds),
                name="planner-bundle",
                daemon=True,
            )
            self._thread.start()

    def plan(self, planner_input: Question, *, now_ms: int | None = None) -> PlannerAction:
        """The action for one planner input. Never raises."""
        return self.decide(planner_input, now_ms=now_ms).action

    def decide(
        self,
        planner_input: Question,
        *,
        now_ms: int | None = None,
        situation: Situation | None = None,
    ) -> Decision:
        """The action for one planner input together with its record. Never raises."""
        return self._answer(self._serving, planner_input, now_ms, situation)

    def pinned(self) -> PinnedPlanner:
        """The planner in service now, for a decision of several steps; counted like any other."""
        serving = self._serving
        return PinnedPlanner(serving.planner, partial(self._answer, serving))

    def _answer(
        self,
        serving: _Serving,
        planner_input: Question,
        now_ms: int | None,
        situation: Situation | None,
    ) -> Decision:
        started = time.perf_counter()
        decision = serving.planner.decide(planner_input, now_ms=now_ms, situation=situation)
        seconds = time.perf_counter() - started
        if serving.trial is not None:
            self._count(serving, decision)
        if self._metrics is not None:
            try:
                self._metrics.observe_decision(decision, seconds)
            except Exception as error:  # whoever counts must not stop who decides
                self._say(f"metrics failed: {type(error).__name__}: {error}")
        return decision

    @property
    def planner(self) -> Planner:
        """The planner in service now; who keeps it, keeps its bundle."""
        return self._serving.planner

    def status(self) -> LiveStatus:
        """What serves, and what was refused."""
        with self._swap_lock:
            bundle = self._serving.planner.bundle
            return LiveStatus(
                bundle_id=None if bundle is None else bundle.manifest.bundle_id,
                path=None if bundle is None else bundle.path,
                protocol=None if bundle is None else bundle.protocol,
                is_signed=bundle is not None and bundle.is_signed,
                is_on_trial=self._serving.trial is not None,
                n_loads=self._n_loads,
                n_refused=self._n_refused,
                n_rollbacks=self._n_rollbacks,
                last_refusal=self._refusal,
            )

    def check_now(self) -> bool:
        """Look at the place, and load what is new there. Whether another bundle took over."""
        with self._check_lock:
            sight = self._place.look()
            is_due = self._retry_after > 0 and time.monotonic() >= self._retry_at
            if sight == self._seen and not is_due:
                return False
            is_new = sight != self._seen
            self._seen = sight
            return self._load(sight, is_new=is_new)

    def close(self) -> None:
        """Stop looking. The planner in service goes on answering."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=10)

    def __enter__(self) -> "LivePlanner":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _load(self, sight: Sight, *, is_new: bool) -> bool:
        try:
            bundle, model = load_bundle(self._place.folder_of(sight), trust=self._trust)
        except BundleError as error:
            why = no_model_reason(error, self._place.path)
            self._refuse(error.faults[0].reason, str(error), why, is_new=is_new)
            return False
        except Exception as error:  # no memory, no file descriptors: the last good one serves on
            text = f"{type(error).__name__}: {error}"
            self._refuse("load_failed", text, f"bundle_load_failed:{text}", is_new=is_new)
            return False
        self._retry_after = 0.0
        bundle_id = bundle.manifest.bundle_id
        if bundle_id in self._rolled_back:
            text = f"bundle {bundle_id} failed before"
            self._refuse("rolled_back", text, f"bundle_load_failed:{text}", is_new=is_new)
            return False
        with self._swap_lock:
            self._refusal = self._told = None
            if bundle_id == self._serving.bundle_id:
                return False
            self._swap(bundle, model, self._serving)
            self._n_loads += 1
        self._observe(ok=True, reason=None)
        self._say(f"bundle {bundle_id} serves, from {bundle.path}")
        return True

    def _swap(
        self, bundle: Bundle, model: Model | OutcomeModel | None, before: _Serving | None
    ) -> None:
        """Put a bundle into service; ``before`` is what its trial may go back to."""
        self._keep_counts()
        planner = Planner(
            bundle, model, exploration_counts=self._counts_of(bundle), **self._options
        )
        if before is None or before.planner.bundle is None:
            self._serving = _Serving(planner, model)
            return
        if before.trial is not None and before.before is not None:
            before = before.before  # it has not shown yet that it is good
        self._serving = _Serving(planner, model, _Trial(*self._trial), before)

    def _epoch_of(self, bundle: Bundle) -> bytes:
        config = self._options.get("kernel_config") or bundle.kernel_config
        return msgspec.json.encode(config)

    def _keep_counts(self) -> None:
        bundle = self._serving.planner.bundle
        if bundle is not None and bundle.outcome is not None:
            epoch = self._epoch_of(bundle)
            self._counts.pop(epoch, None)
            self._counts[epoch] = self._serving.planner.exploration_counts
            while len(self._counts) > _MAX_EPOCHS:
                del self._counts[next(iter(self._counts))]

    def _counts_of(self, bundle: Bundle) -> tuple[int, int]:
        if bundle.outcome is None:
            return (0, 0)
        counts = self._counts.get(self._epoch_of(bundle), self._first_counts)
        self._first_counts = (0, 0)
        return counts

    def _count(self, serving: _Serving, decision: Decision) -> None:
        """One decision of a bundle on trial."""
        failed = (decision.action.reason or "").startswith("inference_failed")
        with self._swap_lock:
            if serving is not self._serving or serving.trial is None:
                return
            passed = serving.trial.count(failed=failed)
            if passed is None:
                return
            if passed:
                serving.trial = serving.before = None
                return
            bundle_id, before = serving.bundle_id, serving.before
            if before is None or before.planner.bundle is None:
                return
            self._rolled_back.add(str(bundle_id))
            self._swap(before.planner.bundle, before.model, None)
            self._n_rollbacks += 1
            self._refusal = f"rolled_back: {decision.action.reason}"
        self._observe(ok=False, reason="rolled_back")
        self._say(
            f"bundle {bundle_id} rolled back to {before.bundle_id}: too many of its first "
            f"{self._trial[0]} decisions failed, the last by {decision.action.reason}"
        )

    def _refuse(self, code: str, text: str, no_model: str, *, is_new: bool) -> None:
        """Keep what serves; say why once. It is tried again, ever less often: a copy may go on, or
        memory be short, with nothing at the place that would look any different.

        Args:
            no_model: The reason of decisions while no bundle serves.
        """
        least = self._poll_seconds or POLL_SECONDS
        longer = least if is_new else 2 * self._retry_after
        self._retry_after = min(max(least, longer), MAX_RETRY_SECONDS)
        self._retry_at = time.monotonic() + self._retry_after
        with self._swap_lock:
            self._refusal = f"{code}: {text}"
            serving = self._serving
            if serving.planner.bundle is None:
                baseline = Planner(None, None, no_model_reason=no_model, **self._options)
                self._serving = _Serving(baseline, None)
            kept = serving.bundle_id or "the baseline"
            is_told = self._told == self._refusal
            self._told = self._refusal
            self._n_refused += int(not is_told)
        if not is_told:
            self._observe(ok=False, reason=code)
            self._say(f"bundle refused, {kept} serves on: {code}: {text}")

    def _observe(self, *, ok: bool, reason: str | None) -> None:
        if self._metrics is not None:
            try:
                self._metrics.observe_load(ok, reason)
            except Exception as error:
                self._say(f"metrics failed: {type(error).__name__}: {error}")

    def _say(self, text: str) -> None:
        if self._log is None or text == self._said:
            self._said = text
            return
        self._said = text
        with contextlib.suppress(Exception):  # a broken log must not stop a kernel
            self._log(text)


def _poll(planner: "weakref.ref[LivePlanner]", stop: threading.Event, seconds: float) -> None:
    """Look at a planner's place every so often, for as long as somebody has the planner."""
    while not stop.wait(seconds):
        live = planner()
        if live is None:
            return
        try:
            live.check_now()
        except Exception as error:  # a fault of ours must not end the watch
            live._say(f"check failed: {type(error).__name__}: {error}")
        del live


def _after_fork() -> None:
    """A child process has none of its parent's threads."""
    for live in list(_ALL):
        if not live._stop.is_set():
            live._start_thread()


os.register_at_fork(after_in_child=_after_fork)
