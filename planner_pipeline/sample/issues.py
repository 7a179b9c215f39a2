"""Simulated issues: what a person would have written, and how hard it truly is.

Belongs here: drawing issues. Does not: working on them (``kernel``).
"""

import random
from typing import Any, Final

import msgspec

from planner_runtime.heuristic import IssueView

VERBS: Final = ("Fix", "Add", "Refactor", "Speed up", "Document", "Port", "Guard", "Split")
PARTS: Final = (
    "parser", "scheduler", "event log", "login page", "cache", "importer", "retry loop",
    "report view", "config reader", "vote counter", "renderer", "billing export",
)  # fmt: skip
SYMPTOMS: Final = (
    "drops the last record when the input ends without a newline",
    "is slow on large repositories because it reads every file twice",
    "loses the selected filter after a reload",
    "raises on an empty list instead of returning an empty result",
    "retries forever when the server answers with a redirect",
    "shows stale numbers until the cache expires",
    "writes the same event twice under concurrent dispatch",
    "ignores the timeout that the configuration sets",
)
AREAS: Final = ("api", "ui", "cli", "storage", "docs", "perf", "security", "ci", "infra", "data")
DEEP_TAGS: Final = ("architecture", "complex", "kernel", "deep-reasoning")
SCENES: Final = (
    "A quiet reading room with tall shelves and warm lamps",
    "A greenhouse full of ferns under morning light",
    "A small harbour with wooden boats and a stone pier",
    "A workshop with benches and tools along the wall",
)
RISK_DIFFICULTY: Final = {"low": -0.6, "medium": 0.0, "high": 0.5, "critical": 0.9}
SIZE_DIFFICULTY: Final = {"XS": -0.8, "S": -0.4, "M": 0.0, "L": 0.5, "XL": 1.0}


class SimIssue(msgspec.Struct):
    """One issue with its hidden difficulty (logits, higher is harder)."""

    issue_id: str
    title: str
    description: str
    tags: list[str]
    dk_priority: str
    dk_risk: str
    dk_size: str
    dk_tool_hint: str | None
    dk_speculate: bool
    created_ms: int
    updated_ms: int
    difficulty: float
    attempts: int = 0
    status: str = "open"
    parent: str | None = None

    def view(self) -> IssueView:
        """What the kernel's rules read."""
        return IssueView(
            issue_id=self.issue_id,
            title=self.title,
            description=self.description,
            dk_priority=self.dk_priority,
            dk_risk=self.dk_risk,
            dk_size=self.dk_size,
            dk_tool_hint=self.dk_tool_hint,
            dk_speculate=self.dk_speculate,
            tags=frozenset(self.tags),
        )

    def beads(self, timestamps: tuple[str, str]) -> dict[str, Any]:
        """The issue as a line of ``.beads/issues.jsonl``; attempts are a string, as on disk."""
        line: dict[str, Any] = {
            "id": self.issue_id,
            "title": self.title,
            "status": self.status,
            "created": timestamps[0],
            "updated": timestamps[1],
            "tags": self.tags,
            "dk_priority": self.dk_priority,
            "description": self.description,
        }
        if self.parent is None:  # the kernel writes escalations without risk and size
            line |= {"dk_risk": self.dk_risk, "dk_size": self.dk_size}
        else:
            line["dk_parent"] = self.parent
        if self.dk_tool_hint is not None:
            line["dk_tool_hint"] = self.dk_tool_hint
        if self.dk_speculate:
            line["dk_speculate"] = True
        if self.attempts:
            line["dk_attempts"] = str(self.attempts)
        return line


def draw_issue(rng: random.Random, number: int, created_ms: int) -> SimIssue:
    """A new issue; about one in eight builds a world, one in twelve another asset."""
    risk = rng.choices(("low", "medium", "high", "critical"), (30, 42, 20, 8))[0]
    size = rng.choices(("XS", "S", "M", "L", "XL"), (12, 26, 36, 18, 8))[0]
    kind = rng.random()
    if kind < 0.12:
        scene = rng.choice(SCENES)
        title, text = f"World {rng.randrange(36**5):05x}", scene
        tags = ["asset:world", rng.choice(("runtime:three", "runtime:godot")), "output:viewer"]
        risk = rng.choices(("low", "medium", "high"), (30, 55, 15))[0]
    elif kind < 0.20:
        title, text = f"Prop {rng.randrange(36**4):04x}", rng.choice(SCENES)
        tags = ["asset:interior", "gate:asset-only", "gate:godot"]
    else:
        part = rng.choice(PARTS)
        symptom = rng.choice(SYMPTOMS)
        title, text = f"{rng.choice(VERBS)} {part}", f"The {part} {symptom}."
        tags = rng.sample(AREAS, k=rng.randint(1, 3))
        if rng.random() < 0.12:
            tags.append(rng.choice(DEEP_TAGS))
    hint = rng.choice(("codex", "claude", "opencode", "crush")) if rng.random() < 0.1 else None
    return SimIssue(
        issue_id=str(number),
        title=title,
        description=text,
        tags=tags,
        dk_priority=rng.choices(("P0", "P1", "P2", "P3"), (6, 24, 50, 20))[0],
        dk_risk=risk,
        dk_size=size,
        dk_tool_hint=hint,
        dk_speculate=rng.random() < 0.03,
        created_ms=created_ms,
        updated_ms=created_ms,
        difficulty=rng.gauss(0.0, 1.0) + RISK_DIFFICULTY[risk] + SIZE_DIFFICULTY[size],
    )
