"""Planner input -> token ids, over a fixed vocabulary that no data set can change.

Belongs here: the vocabulary, the sequence layout, truncation. Does not: dense features
(``features``). Spec: section 6.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from planner_runtime.actions import CANDIDATES_BINS, ITERATIONS_BINS, MINUTES_BINS
from planner_runtime.contracts.canonical import document_hash
from planner_runtime.contracts.planner_input import PlannerInput
from planner_runtime.contracts.run_summary import RunSummary
from planner_runtime.hashing import bucket
from planner_runtime.inputs import PRIORITIES, RISKS, SIZES, epoch_ms

SPECIALS: Final = ("[PAD]", "[UNK]", "[BOS]", "[EOS]", "[SEP]", "[=]", "[RUN]")
N_TAG_BUCKETS: Final = 1024
N_KEYWORD_BUCKETS: Final = 1024
N_CODE_BUCKETS: Final = 256
N_NAME_BUCKETS: Final = 128

DURATION_EDGES_MS: Final = (10_000, 30_000, 60_000, 180_000, 600_000, 1_800_000, 3_600_000)
DURATION_BINS: Final = (
    "0_10S", "10_30S", "30_60S", "1_3M", "3_10M", "10_30M", "30_60M", "60M_PLUS",
)  # fmt: skip
AGE_EDGES_MS: Final = tuple(h * 3_600_000 for h in (1, 24, 168, 720, 2160))
AGE_BINS: Final = ("LT_1H", "LT_1D", "LT_7D", "LT_30D", "LT_90D", "GE_90D")
COST_EDGES_USD: Final = (0.1, 0.5, 1.0, 2.0, 5.0, 10.0)
COST_BINS: Final = ("LT_10C", "LT_50C", "LT_1D", "LT_2D", "LT_5D", "LT_10D", "GE_10D")
COUNTS: Final = ("0", "1", "2", "3_PLUS")
UNKNOWN: Final = "NONE"

KEYS: Final[dict[str, tuple[str, ...]]] = {
    # key -> its closed set of values; open sets are hashed
    "JOB_TYPE": ("code", "fab-world", "other"),
    "DOMAIN": ("code", "fab_asset", "fab_world"),
    "DEFAULT_SWARM": ("serial_handoff", "speculate_vote", "other", UNKNOWN),
    "PRIORITY": (*PRIORITIES, UNKNOWN),
    "RISK": (*RISKS, UNKNOWN),
    "SIZE": (*SIZES, UNKNOWN),
    "ATTEMPTS": COUNTS,
    "ACTIVE_WORKCELLS": ("0", "1_2", "3_5", "6_plus", "other", UNKNOWN),
    "QUEUE_DEPTH": ("0", "1_2", "3_5", "6_plus", "other", UNKNOWN),
    "HOUR": (*(f"{hour:02d}" for hour in range(24)), "other", UNKNOWN),
    "BUDGET_REMAINING": ("other", UNKNOWN),
    "N_TOOLCHAINS": (*COUNTS, UNKNOWN),
    "STATUS": ("success", "failed", "timeout"),
    "SAME_ISSUE": ("yes", "no"),
    "AGE": AGE_BINS,
    "SWARM": ("serial_handoff", "speculate_vote", "other", UNKNOWN),
    "CANDIDATES": (*(str(b) for b in CANDIDATES_BINS), "other", UNKNOWN),
    "MINUTES": (*(str(b) for b in MINUTES_BINS), "other", UNKNOWN),
    "ITERATIONS": (*(str(b) for b in ITERATIONS_BINS), "other", UNKNOWN),
    "DURATION": (*DURATION_BINS, UNKNOWN),
    "WALL": (*DURATION_BINS, UNKNOWN),
    "COST": (*COST_BINS, UNKNOWN),
    "GATES_FAILED": COUNTS,
}
HASHED: Final[dict[str, tuple[str, int]]] = {
    # key -> token family and number of buckets
    "TAG": ("TAG_HASH", N_TAG_BUCKETS),
    "KEYWORD": ("KW_HASH", N_KEYWORD_BUCKETS),
    "FAIL_CODE": ("CODE_HASH", N_CODE_BUCKETS),
    "TOOLCHAIN": ("NAME_HASH", N_NAME_BUCKETS),
    "TOOL_HINT": ("NAME_HASH", N_NAME_BUCKETS),
    "UNIVERSE": ("NAME_HASH", N_NAME_BUCKETS),
    "OBJECTIVE": ("NAME_HASH", N_NAME_BUCKETS),
}


class TokenBudget(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of a sequence, in tokens. Spec: section 6.4."""

    seq_len: int = 512
    per_run: int = 64


DEFAULT_BUDGET: Final = TokenBudget()
MIN_SEQ_LEN: Final = 5  # [BOS], three [SEP], [EOS]


def _build_vocabulary() -> tuple[str, ...]:
    keys = sorted({*KEYS, *HASHED})
    values = sorted({value for values in KEYS.values() for value in values})
    families = sorted(set(HASHED.values()))
    return (
        *SPECIALS,
        *(f"[KEY:{key}]" for key in keys),
        *(f"[VAL:{value}]" for value in values),
        *(f"[{family}_{i}]" for family, size in families for i in range(size)),
    )


VOCABULARY: Final = _build_vocabulary()
TOKEN_IDS: Final = {token: i for i, token in enumerate(VOCABULARY)}
PAD_ID: Final = TOKEN_IDS["[PAD]"]
UNK_ID: Final = TOKEN_IDS["[UNK]"]
EQUALS: Final = TOKEN_IDS["[=]"]
_SEP, _RUN = TOKEN_IDS["[SEP]"], TOKEN_IDS["[RUN]"]

Entry = tuple[int, int, int]  # key, equals, value: never split


def vocab_document() -> dict[str, Any]:
    """The vocabulary as ``vocab.json`` carries it. Source: formats 7.4."""
    return {
        "schema_version": "cyntra.vocab.v1",
        "tokens": list(VOCABULARY),
        "pad_id": PAD_ID,
        "unk_id": UNK_ID,
    }


def vocab_hash() -> str:
    """sha256 of the vocabulary document."""
    return document_hash(vocab_document())


_ENTRIES: Final = {
    (key, value): (TOKEN_IDS[f"[KEY:{key}]"], EQUALS, TOKEN_IDS[f"[VAL:{value}]"])
    for key, values in KEYS.items()
    for value in values
}
_FAMILIES: Final = {
    key: (TOKEN_IDS[f"[KEY:{key}]"], TOKEN_IDS[f"[{family}_0]"], size)
    for key, (family, size) in HASHED.items()
}


def _closed(key: str, value: str | None) -> Entry:
    entry = _ENTRIES.get((key, UNKNOWN if value is None else value))
    if entry is None:
        entry = _ENTRIES.get((key, "other")) or _ENTRIES[key, UNKNOWN]
    return entry


def _hashed(key: str, name: str) -> Entry:
    key_id, first, size = _FAMILIES[key]
    return key_id, EQUALS, first + bucket(name, size)


def _count(n: int) -> str:
    return COUNTS[min(max(n, 0), 3)]


def _binned(value: float | None, edges: Sequence[float], bins: Sequence[str]) -> str | None:
    return None if value is None else bins[bisect_right(edges, value)]


def _run_entries(run: RunSummary) -> Iterable[Entry]:
    """What a run says of itself, most telling first; the same in every query."""
    done = run.action_executed
    yield _closed("STATUS", run.outcome.status)
    yield _closed("SWARM", done.swarm_id)
    for key, budget in (
        ("CANDIDATES", done.max_candidates),
        ("MINUTES", done.max_minutes),
        ("ITERATIONS", done.max_iterations),
    ):
        yield _closed(key, None if budget is None else f"{budget}")
    yield _closed("DURATION", _binned(run.runtime.duration_ms, DURATION_EDGES_MS, DURATION_BINS))
    yield _closed("WALL", _binned(run.runtime.wall_ms, DURATION_EDGES_MS, DURATION_BINS))
    yield _closed("COST", _binned(run.cost_usd_est, COST_EDGES_USD, COST_BINS))
    yield _closed("GATES_FAILED", _count(sum(not gate.passed for gate in run.outcome.gates)))
    if run.toolchain is not None:
        yield _hashed("TOOLCHAIN", run.toolchain)
    for code in run.outcome.fail_codes[:3]:
        yield _hashed("FAIL_CODE", code)
    for tag in run.tags[:3]:
        yield _hashed("TAG", tag)


class RunBlocks:
    """Blocks of past runs, each made once however many decisions see the run.

    Args:
        per_run: Most tokens of a block. Spec: section 6.4.
    """

    def __init__(self, per_run: int) -> None:
        self.per_run = per_run
        self._n_entries = max(0, per_run - 1) // 3
        self._told: dict[str, list[int]] = {}  # by run id: what is the same in every query

    def block(self, run: RunSummary, *, age_ms: int, is_own: bool) -> list[int]:
        """Token ids of one past run, at most ``per_run``; whole entries are dropped from the end.

        Args:
            age_ms: Since its start.
            is_own: Whether it was an attempt at the issue that the decision is about.
        """
        told = self._told.get(run.run_id)
        if told is None:
            n_told = max(0, self._n_entries - 2)
            entries = list(_run_entries(run))[:n_told]
            told = self._told[run.run_id] = [token for entry in entries for token in entry]
        if self._n_entries >= 2:
            age = _ENTRIES["AGE", AGE_BINS[bisect_right(AGE_EDGES_MS, age_ms)]]
            return [_RUN, *(_OWN if is_own else _OTHERS), *age, *told]
        return [_RUN, *(_OWN if is_own else _OTHERS)][: 1 + 3 * self._n_entries]


_OWN: Final = _ENTRIES["SAME_ISSUE", "yes"]
_OTHERS: Final = _ENTRIES["SAME_ISSUE", "no"]


def _issue_entries(planner_input: PlannerInput) -> Iterable[Entry]:
    issue = planner_input.issue
    yield _closed("PRIORITY", issue.dk_priority)
    yield _closed("RISK", issue.dk_risk)
    yield _closed("SIZE", issue.dk_size)
    yield _closed("ATTEMPTS", _count(issue.dk_attempts))
    if issue.dk_tool_hint is not None:
        yield _hashed("TOOL_HINT", issue.dk_tool_hint)
    for tag in issue.tags[:16]:
        yield _hashed("TAG", tag)
    for keyword in issue.keywords[:16]:
        yield _hashed("KEYWORD", keyword)


def _universe_entries(planner_input: PlannerInput) -> Iterable[Entry]:
    job = planner_input.job_type
    defaults = planner_input.universe_defaults
    yield _closed("JOB_TYPE", job if job in KEYS["JOB_TYPE"] else "other")
    yield _hashed("UNIVERSE", planner_input.universe_id)
    yield _closed("DEFAULT_SWARM", defaults.swarm_id)
    if defaults.objective_id is not None:
        yield _hashed("OBJECTIVE", defaults.objective_id)


def _system_entries(planner_input: PlannerInput) -> Iterable[Entry]:
    state = planner_input.system_state
    if state is None:
        return
    yield _closed("ACTIVE_WORKCELLS", state.active_workcells_bin)
    yield _closed("QUEUE_DEPTH", state.queue_depth_bin)
    yield _closed("HOUR", state.hour_bucket)
    yield _closed("BUDGET_REMAINING", state.budget_remaining_bin)
    names = state.available_toolchains
    yield _closed("N_TOOLCHAINS", None if names is None else _count(len(names)))
    for name in (names or ())[:8]:
        yield _hashed("TOOLCHAIN", name)


def fold(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A sequence as a model reads it: a key and its value in one place (docs/adr/0008).

    Args:
        ids: (T,) of ``tokenize``, or several such sequences one after another.

    Returns:
        (P,) ids of values and of single tokens, and (P,) ids of their keys, [PAD] where a token has
        none; P is about a third of T.

    >>> ids = [TOKEN_IDS[token] for token in ("[BOS]", "[KEY:RISK]", "[=]", "[VAL:low]", "[EOS]")]
    >>> values, keys = fold(np.array(ids))
    >>> [VOCABULARY[i] for i in values], [VOCABULARY[i] for i in keys]
    (['[BOS]', '[VAL:low]', '[EOS]'], ['[PAD]', '[KEY:RISK]', '[PAD]'])
    """
    equals = np.flatnonzero(ids == EQUALS)
    kept = np.ones(len(ids), dtype=bool)
    kept[equals] = kept[equals - 1] = False
    keys = np.full(len(ids), PAD_ID, dtype=ids.dtype)
    keys[equals + 1] = ids[equals - 1]
    return ids[kept], keys[kept]


def tokenize(
    planner_input: PlannerInput,
    *,
    budget: TokenBudget = DEFAULT_BUDGET,
    blocks: RunBlocks | None = None,
) -> list[int]:
    """Token ids of one decision: universe, issue, system state, then runs, most recent first.

    A section's entries are dropped whole from its end, runs whole from the last, so that the
    sequence is at most ``budget.seq_len`` long and never splits a key from its value.

    Args:
        blocks: Keeps the blocks of runs between calls, where many inputs share runs that no two
            inputs tell differently; made with the budget's ``per_run``.

    Returns:
        (T,) ids below ``len(VOCABULARY)``, from [BOS] to [EOS].

    Raises:
        ValueError: ``created_at`` names no moment of the calendar, the budget is below the five
            tokens that every sequence has, or ``blocks`` were made for another.
    """
    if budget.seq_len < MIN_SEQ_LEN:
        raise ValueError(f"a sequence needs {MIN_SEQ_LEN} tokens, the budget is {budget.seq_len}")
    if blocks is None:
        blocks = RunBlocks(budget.per_run)
    elif blocks.per_run != budget.per_run:
        raise ValueError(f"blocks of {blocks.per_run} tokens, the budget is {budget.per_run}")
    now_ms = epoch_ms(planner_input.created_at)
    ids = [TOKEN_IDS["[BOS]"]]
    room = budget.seq_len - 1  # for [EOS]
    sections = (_universe_entries, _issue_entries, _system_entries)
    for done, section in enumerate(sections):
        n_separators = len(sections) - done  # this section's and those still to come
        for entry in section(planner_input):
            if len(ids) + len(entry) + n_separators > room:
                break
            ids.extend(entry)
        ids.append(_SEP)
    issue_id = planner_input.issue.issue_id
    runs = planner_input.history.last_n_similar_runs
    for run in sorted(runs, key=lambda run: (-run.started_ms, run.run_id)):
        block = blocks.block(run, age_ms=now_ms - run.started_ms, is_own=run.issue_id == issue_id)
        if len(ids) + len(block) + 1 > room:
            break
        ids.extend(block)
        ids.append(_SEP)
    ids.append(TOKEN_IDS["[EOS]"])
    return ids
