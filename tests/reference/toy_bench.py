"""A toy workspace to bench on: one file to get right, a gate that greps, toolchains of a few lines.

Belongs here: what tests of the local executor and of whole benches share. Does not: anything that
is shipped.
"""

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from planner_pipeline.bench.config import BenchConfig, Limits, Toolchain
from planner_pipeline.bench.executors.local import LocalExecutor
from planner_pipeline.bench.protocol import Case, Unit
from planner_pipeline.bench.sandbox import open_sandbox
from planner_runtime.actions import Action
from planner_runtime.heuristic import SERIAL
from tests.hostile import an_open_python
from tests.reference.campaigns import a_case

GATE = "grep -q 'answer = 42' answer.py"
SOLVE = "echo 'answer = 42' > answer.py"
# solves it for every third seed: deterministic, so that who runs it again finds the same
BY_SEED = f"if [ $((CYNTRA_SEED % 3)) -eq 0 ]; then {SOLVE}; else echo '# no' >> answer.py; fi"
LIMITS = Limits(grace_seconds=0.2)
MARK = "bench-0123456789ab"


def git(repo: Path, *arguments: str) -> str:
    """Run git as somebody, at a moment that is always the same; what it printed."""
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    dates = dict.fromkeys(("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"), "2026-01-01T00:00:00Z")
    done = subprocess.run(
        ["git", *identity, "-C", str(repo), *arguments],
        check=True, capture_output=True, text=True, env={**os.environ, **dates},
    )  # fmt: skip
    return done.stdout.strip()


def a_repository(folder: Path, files: Mapping[str, str] | None = None) -> Path:
    """A git repository with one commit."""
    folder.mkdir(parents=True)
    for name, text in {"answer.py": "answer = 0\n", **(files or {})}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-qm", "first")
    return folder


def a_workspace(folder: Path, script: str = BY_SEED, n_issues: int = 2, **settings: Any) -> Path:
    """A repository with open issues and a bench of its own."""
    issues = [
        {"id": str(n), "title": f"issue {n}", "status": "open"} for n in range(1, n_issues + 1)
    ]
    config = {
        "toolchains": {"toy": {"command": ["sh", "-c", script]}},
        "gates": {"check": GATE},
        "gate_seconds": 5.0,
        "minute_seconds": 0.1,
        "handoffs": 2,
        "limits": {"grace_seconds": 0.2},
        "k": 3,
        **settings,
    }
    files = {
        ".beads/issues.jsonl": "".join(json.dumps(issue) + "\n" for issue in issues),
        ".cyntra/bench.yaml": json.dumps(config),
    }
    return a_repository(folder, files)


def toolchains(*scripts: str, **settings: Any) -> dict[str, Toolchain]:
    """Shell scripts as toolchains ``one``, ``two``, ..."""
    names = ("one", "two", "three")
    return {
        name: Toolchain(command=("sh", "-c", script), **settings)
        for name, script in zip(names, scripts, strict=False)
    }


def a_config(*scripts: str, **settings: Any) -> BenchConfig:
    told = {"gates": {"check": GATE}, "gate_seconds": 5.0, "minute_seconds": 0.3, "limits": LIMITS}
    return BenchConfig(**{"toolchains": toolchains(*scripts), **told, **settings})


def an_executor(folder: Path, config: BenchConfig) -> LocalExecutor:
    sandbox = open_sandbox(python=an_open_python())
    return LocalExecutor(folder / "repo", folder / "bench", config, sandbox, mark=MARK)


def a_unit(config: BenchConfig, action: Action, case: Case | None = None, seed: int = 5) -> Unit:
    return Unit(
        unit_id=f"{seed:016x}", case=case or a_case("7"), action=action, repeat=0, seed=seed,
        n_candidates=config.n_candidates(action), limit_seconds=config.limit_seconds(action),
    )  # fmt: skip


def serial(minutes: int = 15) -> Action:
    return Action(SERIAL, 1, minutes, "NA")  # type: ignore[arg-type]


def side_by_side(n: int, minutes: int = 15) -> Action:
    return Action("speculate_vote", n, minutes, "NA")  # type: ignore[arg-type]


def digest_of(folder: Path) -> dict[str, str]:
    """Every file below a folder with its mode and the hash of its bytes, links by their target."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name, status = path.relative_to(folder).as_posix(), path.lstat()
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = f"{status.st_mode:o} {status.st_nlink} {status.st_uid} {content}"
        else:
            found[name] = f"{status.st_mode:o} {status.st_uid}"
    return found


def statuses(attempts: Sequence[Any]) -> list[tuple[str, bool]]:
    return [(one.status, one.is_passed) for one in attempts]
