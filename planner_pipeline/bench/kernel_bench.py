"""The kernel's own best-of-K reports -> outcomes.

Belongs here: reading ``bench_report.json`` and ``results/best_of_k.json`` of one bench directory,
with its archives for what was asked. Does not: running anything, judging (``labels``).
Source: formats 7.5. The kernel names a winner even where nothing passed; here such a case has none.
Otherwise its word is taken: nothing is recomputed.

The report does not say what a planner was asked. Where the archive of the winner, else of another
candidate, is there, its manifest does; where none is, a case's ``input_hash`` is that of its issue
as the report has it, and every outcome says so in its ``reason``.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal

import msgspec

from planner_runtime.archives.files import (
    Quarantine,
    Reason,
    SourceCount,
    as_text,
    count_rows,
    excerpt,
    read_json,
)
from planner_runtime.archives.moments import bounded_span
from planner_runtime.contracts.bench_outcome import BenchOutcome, OutcomeStatus
from planner_runtime.contracts.canonical import document_hash, input_hash
from planner_runtime.contracts.policy_trace import ActionChoice
from planner_runtime.decision import action_of

SOURCE: Final = "kernel_bench"
REPORT: Final = "bench_report.json"
RESULTS: Final = "results/best_of_k.json"
ARCHIVES: Final = "archives"
VERSION: Final = "cyntra.planner_best_of_k_bench.v1"
EXECUTOR: Final = "cyntra"
MINUTE_SECONDS: Final = 60.0
FROM_ISSUE: Final = "no manifest is archived: input_hash is that of the issue"
_BINS: Final = ("max_candidates_bin", "max_minutes_bin", "max_iterations_bin")
InputSource = Literal["manifest", "issue"]


class KernelCase(msgspec.Struct, frozen=True, kw_only=True):
    """One case of a report.

    Attributes:
        planner_input: As the kernel recorded it; None where no manifest tells.
        winner: Unit id of the candidate the kernel chose; None where none passed.
    """

    case_id: str
    issue_id: str
    title: str
    job_type: str
    input_hash: str
    input_source: InputSource
    planner_input: dict[str, Any] | None = None
    winner: str | None = None


class SkippedCase(msgspec.Struct, frozen=True, kw_only=True):
    """A case the kernel's bench did not run."""

    issue_id: str
    reason: str


class KernelBench(msgspec.Struct, frozen=True, kw_only=True):
    """A whole report, and what could not be read of it."""

    outcomes: tuple[BenchOutcome, ...]
    cases: tuple[KernelCase, ...]
    skipped: tuple[SkippedCase, ...]
    quarantined: tuple[Quarantine, ...]
    count: SourceCount


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    schema_version: str
    generated_at: str
    bench_config_hash: str
    seed: int = 0


class _Entry(msgspec.Struct, frozen=True, kw_only=True):
    issue_id: str | int
    title: str = ""
    job_type: str = "code"
    skipped: bool = False
    skip_reason: str | None = None
    candidates: list[Any] = []
    winner: Any = None


class _Candidate(msgspec.Struct, frozen=True, kw_only=True):
    action: Any
    verified: bool
    status: str | None = None
    duration_ms: int | float | None = None
    cost_usd: float | None = None
    workcell_id: str | None = None


class _RefusedError(Exception):
    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(detail)
        self.reason: Reason = reason


def _can_be_hashed(document: dict[str, Any]) -> bool:
    try:
        input_hash(document)
    except (ValueError, RecursionError):
        return False
    return True


def action_in(document: Any) -> ActionChoice:
    """The action in a report: flat bins, or a ``planner_action`` with its budgets.

    Raises:
        ValueError: it is in neither form, or a bin is none.
    """
    if not isinstance(document, Mapping):
        raise ValueError(f"an action must be an object, not {type(document).__name__}")
    budgets = document.get("budgets", document)
    if not isinstance(budgets, Mapping):
        raise ValueError("an action's budgets must be an object")
    told = {name: budgets[name] for name in _BINS if name in budgets}
    try:
        return msgspec.convert(
            {"swarm_id": document.get("swarm_id"), "budgets": told}, ActionChoice
        )
    except msgspec.ValidationError as error:
        raise ValueError(f"no action: {error}") from error


def status_of(verified: bool, status: str | None) -> OutcomeStatus:
    """A candidate's status: what was verified passed, whatever its toolchain ended with."""
    if verified:
        return "passed"
    if status == "timeout":
        return "timeout"
    return "error" if status == "error" else "failed"


def read_kernel_bench(folder: Path) -> KernelBench:
    """Outcomes of one bench directory (``.cyntra/benches/planner_best_of_k_v1/run_<ts>``).

    Whatever is malformed is quarantined, with the entry and the candidate in its detail, and spares
    the rest; without a readable report there is nothing.
    """
    reader = _Reader(folder)
    report = read_json(folder, folder / REPORT, _Report, SOURCE)
    entries = read_json(folder, folder / RESULTS, list[Any], SOURCE)
    for name, found in ((REPORT, report), (RESULTS, entries)):
        if isinstance(found, Quarantine):
            reader.refused.append(found)
        elif found is None:
            reader.refuse("no_content", "there is no such file", None, file=name)
    if isinstance(report, _Report) and report.schema_version != VERSION:
        reader.refuse("wrong_shape", f"not {VERSION}", report.schema_version, file=REPORT)
    elif isinstance(report, _Report) and isinstance(entries, list):
        for number, entry in enumerate(entries):
            reader.read_entry(report, number, entry)
    return KernelBench(
        outcomes=tuple(reader.outcomes),
        cases=tuple(reader.cases),
        skipped=tuple(reader.skipped),
        quarantined=tuple(reader.refused),
        count=count_rows(SOURCE, len(reader.outcomes) + len(reader.skipped), reader.refused),
    )


class _Reader:
    """Gathers what a report tells."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._seen: set[str] = set()
        self.outcomes: list[BenchOutcome] = []
        self.cases: list[KernelCase] = []
        self.skipped: list[SkippedCase] = []
        self.refused: list[Quarantine] = []

    def refuse(self, reason: Reason, detail: str, what: Any, *, file: str = RESULTS) -> None:
        """Note that a part of a file is refused."""
        text = b"" if what is None else msgspec.json.encode(what)
        row = Quarantine(
            source=SOURCE, file=file, reason=reason, detail=detail, excerpt=excerpt(text)
        )
        self.refused.append(row)

    def read_entry(self, report: _Report, number: int, raw: Any) -> None:
        """One case with its candidates; each that is bad is refused by itself."""
        try:
            entry = msgspec.convert(raw, _Entry)
        except msgspec.ValidationError as error:
            self.refuse("wrong_shape", f"entry {number}: {error}", raw)
            return
        issue_id = str(entry.issue_id)
        if entry.skipped:
            reason = entry.skip_reason or "the kernel does not say why"
            self.skipped.append(SkippedCase(issue_id=issue_id, reason=reason))
            return
        candidates: list[tuple[Any, _Candidate]] = []
        for place, document in enumerate(entry.candidates):
            try:
                candidates.append((document, msgspec.convert(document, _Candidate)))
            except msgspec.ValidationError as error:
                detail = f"entry {number}, candidate {place}: {error}"
                self.refuse("wrong_shape", detail, document)
        case = self._case(report, entry, issue_id)
        found: list[tuple[Any, BenchOutcome]] = []
        for document, candidate in candidates:
            try:
                outcome = self._outcome(report, case, candidate)
            except _RefusedError as refused:
                detail = f"entry {number}: {refused}"
                self.refuse(refused.reason, detail, document)
                continue
            self._seen.add(outcome.unit_id)
            found.append((document, outcome))
        self.outcomes += [outcome for _, outcome in found]
        winner = self._winner(entry, number, found)
        self.cases.append(msgspec.structs.replace(case, winner=winner))

    def _case(self, report: _Report, entry: _Entry, issue_id: str) -> KernelCase:
        asked = self._planner_input(entry)
        issue = {"issue_id": issue_id, "title": entry.title, "job_type": entry.job_type}
        created_at = as_text(asked.get("created_at")) if asked is not None else None
        return KernelCase(
            case_id=f"{issue_id}@{created_at or report.generated_at}",
            issue_id=issue_id,
            title=entry.title,
            job_type=entry.job_type,
            input_hash=document_hash(issue) if asked is None else input_hash(asked),
            input_source="issue" if asked is None else "manifest",
            planner_input=asked,
        )

    def _planner_input(self, entry: _Entry) -> dict[str, Any] | None:
        """What was asked: in the winner's manifest, else in the first candidate's that has one."""
        for document in (entry.winner, *entry.candidates):
            name = document.get("workcell_id") if isinstance(document, Mapping) else None
            if not isinstance(name, str) or not name.startswith("wc-") or "/" in name:
                continue
            path = self._folder / ARCHIVES / name / "manifest.json"
            manifest = read_json(self._folder, path, dict[str, Any], SOURCE)
            if isinstance(manifest, Quarantine):
                if manifest not in self.refused:
                    self.refused.append(manifest)
                continue
            planner = (manifest or {}).get("planner")
            asked = planner.get("planner_input") if isinstance(planner, Mapping) else None
            if isinstance(asked, dict) and asked and _can_be_hashed(asked):
                return asked
        return None

    def _outcome(self, report: _Report, case: KernelCase, candidate: _Candidate) -> BenchOutcome:
        try:
            choice = action_in(candidate.action)
        except ValueError as error:
            raise _RefusedError("bad_value", str(error)) from error
        duration_ms = bounded_span(candidate.duration_ms)
        if candidate.duration_ms is not None and duration_ms is None:
            raise _RefusedError("bad_value", f"duration_ms {candidate.duration_ms}")
        cost_usd = candidate.cost_usd
        if cost_usd is not None and cost_usd < 0:
            raise _RefusedError("bad_value", f"cost_usd {cost_usd}")
        if report.seed < 0 or report.seed > 2**53:
            raise _RefusedError("bad_value", f"seed {report.seed} of the report")
        action = list(action_of(choice))
        identity = [case.case_id, case.input_hash, action, 0, report.seed, report.bench_config_hash]
        unit_id = document_hash(identity)[:16]
        if unit_id in self._seen:
            raise _RefusedError("duplicate_id", f"candidate {action} is there twice")
        status = status_of(candidate.verified, candidate.status)
        metrics = {"overall": float(status == "passed")}
        if duration_ms is not None:
            metrics["duration_ms"] = float(duration_ms)
        if cost_usd is not None:
            metrics["cost_usd"] = cost_usd
        return BenchOutcome(
            unit_id=unit_id,
            # a hash of theirs need not be a sha256
            bench_config_hash=document_hash({"kernel_bench": report.bench_config_hash}),
            case_id=case.case_id,
            issue_id=case.issue_id,
            input_hash=case.input_hash,
            job_type=case.job_type,
            action=choice,
            seed=report.seed,
            executor=EXECUTOR,
            isolation="none",
            status=status,
            is_censored=status == "timeout",
            metrics=metrics,
            duration_ms=duration_ms,
            cost_usd=cost_usd,
            minute_seconds=MINUTE_SECONDS,
            reason=FROM_ISSUE if case.input_source == "issue" else None,
        )

    def _winner(
        self, entry: _Entry, number: int, found: list[tuple[Any, BenchOutcome]]
    ) -> str | None:
        """The kernel's winner, when it passed."""
        if entry.winner is None or not any(outcome.is_passed for _, outcome in found):
            return None
        for document, outcome in found:
            if document == entry.winner and outcome.is_passed:
                return outcome.unit_id
        self.refuse("bad_value", f"entry {number}: its winner did not pass", entry.winner)
        return None
