"""Long histories of one shelf, and questions about them, for measurements and properties.

Belongs here: runs like those of the sample, drawn from a seed. Does not: what is measured on them.
All runs have one job type and domain: a history on several shelves is searched faster.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Final

from planner_runtime.contracts import ActionExecuted, Outcome, RunSummary, Runtime
from planner_runtime.similar_runs import Query

FIRST_MS: Final = 1_767_600_000_000
BETWEEN_MS: Final = 7 * 60_000  # one start and the next, on average: 200 runs a day
_TAGS: Final = [f"area-{number}" for number in range(30)]
_WORDS: Final = [f"word{number}" for number in range(3_000)]
_CODES: Final = ["test", "lint", "typecheck", "timeout", "error", *(f"gate-{n}" for n in range(15))]
_TOOLS: Final = ("codex", "claude", "opencode", "crush")


def _skewed(luck: random.Random, names: Sequence[str], most: int) -> tuple[str, ...]:
    """Some distinct names; early ones are frequent, late ones rare."""
    drawn = (names[int(len(names) * luck.random() ** 3)] for _ in range(luck.randint(1, most)))
    return tuple(sorted(set(drawn)))


def long_history(n: int, *, seed: int = 1) -> Iterator[RunSummary]:
    """Runs in the order of their starts; a tenth start at the moment of the one before."""
    luck = random.Random(seed)
    issues: list[tuple[str, tuple[str, ...], tuple[str, ...]]] = []
    started = FIRST_MS
    for number in range(n):
        started += 0 if luck.random() < 0.1 else luck.randint(1, 2 * BETWEEN_MS)
        if not issues or luck.random() < 0.4:
            told = _skewed(luck, _TAGS, 4), _skewed(luck, _WORDS, 12)
            issues.append((str(len(issues) + 1), *told))
        issue_id, tags, words = luck.choice(issues[-200:])
        passed = luck.random() < 0.6
        span = luck.randint(60_000, 90 * 60_000)
        yield RunSummary(
            run_id=f"wc-{issue_id}-{number:07}", started_ms=started, ended_ms=started + span,
            job_type="code", domain="code", group_id=f"{issue_id}@{started // 10_000}",
            issue_id=issue_id, toolchain=luck.choice(_TOOLS), tags=tags, keywords=words,
            action_executed=ActionExecuted(
                swarm_id="serial_handoff", max_candidates=1, max_minutes=60, max_iterations="NA"
            ),
            outcome=Outcome(
                status="success" if passed else "failed",
                fail_codes=() if passed else _skewed(luck, _CODES, 3),
            ),
            runtime=Runtime(duration_ms=span), cost_usd_est=round(luck.random() * 5, 4),
        )  # fmt: skip


def questions_about(runs: Sequence[RunSummary], n: int, *, seed: int = 2) -> list[Query]:
    """What decisions at the end of a history ask: four in five about an issue that ran before."""
    luck = random.Random(seed)
    latest = max(run.started_ms for run in runs)
    asked = []
    for number in range(n):
        run = luck.choice(runs[-2_000:])
        is_known = luck.random() < 0.8
        asked.append(
            Query(
                job_type="code", domain="code", cutoff_ms=latest + luck.randint(-3_600_000, 3_600_000),
                issue_id=run.issue_id if is_known else f"new-{number}",
                group_id=run.group_id if luck.random() < 0.2 else f"own-{number}",
                tags=frozenset(run.tags if is_known else _skewed(luck, _TAGS, 4)),
                keywords=frozenset(run.keywords if is_known else _skewed(luck, _WORDS, 12)),
            )
        )  # fmt: skip
    return asked
