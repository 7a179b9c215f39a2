"""Writing a simulated workspace: the order of things, and the oddities real ones have.

Belongs here: ``write_workspace``. Does not: what single files look like (``archives``, ``worlds``).
"""

import random
from pathlib import Path
from typing import Final

import msgspec

from planner_pipeline.sample.archives import event_lines, write_archive
from planner_pipeline.sample.kernel import SimulatedKernel
from planner_pipeline.sample.settings import (
    OBJECTIVES_YAML,
    SWARMS_YAML,
    UNIVERSE_YAML,
    WORLD_YAML,
    config_yaml,
)
from planner_pipeline.sample.worlds import write_build, write_evolution, write_workcell_world
from planner_runtime.inputs import rfc3339

OLD_KERNEL_SHARE: Final = 0.06  # archives from before the kernel wrote a planner section
SIMULATED_MARK: Final = "SIMULATED.txt"
NOTICE: Final = """\
This workspace is simulated by `cyntra-planner sample`. No agent ever worked on it, and nothing
measured on it says anything about real agents.
"""


class SampleCounts(msgspec.Struct, frozen=True):
    """What was written; ``world_runs`` counts run directories, candidates and builds alike."""

    dispatches: int
    archives: int
    world_runs: int
    issues: int
    damaged: int


def _write_settings(out: Path) -> None:
    for name, text in {
        SIMULATED_MARK: NOTICE,
        ".cyntra/config.yaml": config_yaml(),
        "universes/medica/universe.yaml": UNIVERSE_YAML,
        "universes/medica/swarms.yaml": SWARMS_YAML,
        "universes/medica/objectives.yaml": OBJECTIVES_YAML,
        "fab/worlds/outora_library/world.yaml": WORLD_YAML,
    }.items():
        path = out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _damage(folder: Path, rng: random.Random) -> None:
    """Leave one archive as a full disk or a killed process would."""
    victims = sorted(path for path in folder.iterdir() if path.suffix == ".json")
    victim = rng.choice(victims)
    data = victim.read_bytes()
    victim.write_bytes(data[: rng.randrange(1, len(data) - 1)])


def write_workspace(out: Path, *, n_runs: int = 1_500, seed: int = 0) -> SampleCounts:
    """Simulate a kernel at work and write its workspace.

    Args:
        out: A directory that does not exist or is empty.
        n_runs: Workcells to simulate, nine in ten, and world builds or evolutions, one in ten;
            an evolution leaves a directory for each candidate as well.
        seed: Equal seeds give byte-identical workspaces.

    Raises:
        FileExistsError: ``out`` holds something already.
        ValueError: ``n_runs`` is not positive.
    """
    if n_runs < 1:
        raise ValueError(f"a sample needs at least one run, got {n_runs}")
    if out.exists() and any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty")
    _write_settings(out)
    archives, runs = out / ".cyntra" / "archives", out / ".cyntra" / "runs"
    for folder in (archives, runs, out / ".cyntra" / "logs", out / ".beads"):
        folder.mkdir(parents=True, exist_ok=True)
    kernel = SimulatedKernel(seed)
    rng = random.Random(f"files {seed}")
    n_dispatches = n_archives = n_worlds = n_damaged = 0
    n_workcells = n_runs - n_runs // 10
    next_world_ms = kernel.now_ms
    with (out / ".cyntra" / "logs" / "events.jsonl").open("wb") as events:
        for dispatch in kernel.dispatches(n_workcells):
            n_dispatches += 1
            events.write(event_lines(dispatch))
            if dispatch.attempts:
                winner = dispatch.attempts[dispatch.winner]  # the kernel keeps no other
                is_new = n_dispatches > OLD_KERNEL_SHARE * n_workcells
                write_archive(archives, dispatch, winner, has_planner=is_new)
                n_archives += 1
                if winner.toolchain == "fab-world" and winner.ending != "exception":
                    write_workcell_world(runs, rng, winner)
                if rng.random() < 0.004:
                    _damage(archives / winner.workcell_id, rng)
                    n_damaged += 1
            if n_worlds < (n_runs // 10) * n_dispatches // max(1, n_workcells):
                start_ms = max(next_world_ms, kernel.now_ms)
                if rng.random() < 0.7:
                    next_world_ms = write_evolution(runs, rng, start_ms) + 60_000
                else:
                    write_build(runs, rng, start_ms)
                    next_world_ms = start_ms + 2_000_000
                n_worlds += 1
        if n_runs >= 100:
            events.write(b'{"type":"issue.started","timest')  # the kernel is writing this line
    issues = sorted([*kernel.closed, *kernel.open_issues], key=lambda issue: int(issue.issue_id))
    with (out / ".beads" / "issues.jsonl").open("wb") as beads:
        beads.write(b"# simulated issues\n\n")
        for issue in issues:
            stamps = (rfc3339(issue.created_ms), rfc3339(issue.updated_ms))
            beads.write(msgspec.json.encode(issue.beads(stamps)) + b"\n")
        if n_runs >= 100:
            beads.write(b'{"id": "half", "title": "a line cut sho\n')
    if n_runs >= 100:
        (archives / "wc-only-logs-20260105T090000Z" / "logs").mkdir(parents=True)
        (runs / "run_1767603600000_viewer").mkdir()
        (runs / "run_1767603600000_viewer" / "terminal.log").write_bytes(b"(simulated)\n")
        n_damaged += 3
    n_world_runs = sum(1 for _ in runs.iterdir())
    return SampleCounts(n_dispatches, n_archives, n_world_runs, len(issues), n_damaged)
