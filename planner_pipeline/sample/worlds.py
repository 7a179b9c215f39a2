"""Simulated world runs: evolutions, single builds, and the builds inside fab-world workcells.

Belongs here: ``.cyntra/runs/*``. Does not: archives (``archives``).
Source: reference/cyntra-formats.md 3.1 to 3.4 and 6.4.
"""

import hashlib
import random
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_pipeline.sample.kernel import Attempt, stamp
from planner_runtime.inputs import rfc3339

WORLD: Final = "outora_library"
UNIVERSE: Final = "medica"
OBJECTIVE: Final = "realism_perf_v1"
STAGES: Final = ("prepare", "generate", "bake", "export", "validate")
HARD_CODES: Final = ("GEOM_NON_MANIFOLD", "SCALE_OUT_OF_RANGE", "MISSING_COLLIDER")


def _json(value: Any) -> bytes:
    return msgspec.json.encode(value)


def _offset(epoch_ms: int) -> str:
    return rfc3339(epoch_ms).replace("Z", "+00:00")


def _stages(
    rng: random.Random, started_ms: int, ending: str, minutes: float
) -> list[dict[str, Any]]:
    each_ms = round(minutes * 60_000 / len(STAGES))
    stages: list[dict[str, Any]] = []
    for number, stage_id in enumerate(STAGES):
        is_last = stage_id == "validate"
        status = "success"
        metadata: dict[str, Any] = {"duration_ms": each_ms}
        if is_last:
            passed = ending == "passed"
            status = "success" if passed else "failed"
            gate: dict[str, Any] = {
                "gate": "interior_library_v001",
                "passed": passed,
                "exit_code": 0 if passed else 1,
                "verdict": "pass" if passed else "fail",
                "verdict_reason": None,
                "config": "fab/gates/interior_library_v001.yaml",
                "scores": {"overall": round(rng.uniform(0.7, 0.95) - 0.3 * (not passed), 3)},
            }
            if not passed:
                gate["failures"] = {"hard": [rng.choice(HARD_CODES)], "soft": []}
            metadata = {"gates": [gate]}
        if ending == "crashed" and number == 2:
            stages.append({"id": stage_id, "status": "running",
                           "started_at": _offset(started_ms + number * each_ms)})  # fmt: skip
            return stages
        stages.append(
            {
                "id": stage_id,
                "status": status,
                "started_at": _offset(started_ms + number * each_ms),
                "duration_ms": each_ms,
                "outputs": [],
                "metadata": metadata,
                "errors": [],
            }
        )
    return stages


def _write_world(
    folder: Path, rng: random.Random, started_ms: int, ending: str, minutes: float, seed: int
) -> int:
    """Write one world run and return when it ended, Unix ms."""
    folder.mkdir(parents=True)
    stages = _stages(rng, started_ms, ending, minutes)
    manifest = {
        "schema_version": "1.0",
        "world_id": WORLD,
        "world_config_id": "outora_library_gothic_v001",
        "world_version": "0.5.0",
        # not the directory's name: the kernel does not put that here
        "run_id": f"world_{WORLD}_seed{seed}_{stamp(started_ms)}",
        "created_at": _offset(started_ms),
        "generator": {},
        "determinism": {"seed": seed},
        "versions": {"dev_kernel_version": "simulated", "git_commit": "0" * 40},
        "parameters": {},
        "stages": stages,
        "final_outputs": [],
    }
    (folder / "manifest.json").write_bytes(_json(manifest))
    ended_ms = started_ms + round(minutes * 60_000)
    if ending != "crashed":
        gate = stages[-1]["metadata"]["gates"][0]
        verdict = {
            "schema_version": "1.0",
            "run_id": folder.name,
            "asset_id": WORLD,
            "gate_config_id": f"world_validate_{WORLD}",
            "verdict": gate["verdict"],
            "verdict_reason": None,
            "scores": {"overall": gate["scores"]["overall"], "by_critic": {}},
            "failures": {
                "hard": [f"interior:{code}" for code in gate.get("failures", {}).get("hard", [])],
                "soft": [],
            },
            "next_actions": [],
            "artifacts": {},
            "timing": {"completed_at": _offset(ended_ms), "duration_ms": ended_ms - started_ms},
        }
        (folder / "verdict").mkdir()
        (folder / "verdict" / "gate_verdict.json").write_bytes(_json(verdict))
    return ended_ms


def _write_context(folder: Path, swarm_id: str) -> None:
    context = {
        "schema_version": "1.0",
        "universe_id": UNIVERSE,
        "world_id": WORLD,
        "objective_id": OBJECTIVE,
        "swarm_id": swarm_id,
        "issue_id": None,
    }
    (folder / "context.json").write_bytes(_json(context))


def write_workcell_world(runs: Path, rng: random.Random, attempt: Attempt) -> None:
    """The world run inside one fab-world workcell: no context, its own manifest."""
    minutes = (attempt.completed_ms - attempt.started_ms) / 60_000
    ending = "passed" if attempt.ending == "passed" else "failed"
    _write_world(
        runs / f"fab-world_{attempt.workcell_id}", rng, attempt.started_ms, ending, minutes, 42
    )


def write_build(runs: Path, rng: random.Random, started_ms: int) -> None:
    """One ``cyntra world build``; about one in twelve crashes and leaves a stage running."""
    seed = rng.randrange(100)
    luck = rng.random()
    ending = "crashed" if luck < 0.08 else "passed" if luck < 0.7 else "failed"
    folder = runs / f"world_{WORLD}_seed{seed}_{stamp(started_ms)}"
    _write_world(folder, rng, started_ms, ending, rng.uniform(8, 30), seed)
    if rng.random() < 0.6:  # built with --universe
        _write_context(folder, "speculate_vote")


def write_evolution(runs: Path, rng: random.Random, started_ms: int) -> int:
    """One ``cyntra evolve`` with its candidates, and when it ended, Unix ms."""
    swarm_id, population = rng.choices(
        (("speculate_vote", 3), ("serial_handoff", 1), ("speculate_vote", 2)), (6, 2, 2)
    )[0]
    seed = rng.randrange(1_000)
    now_ms = started_ms
    history = []
    for generation in range(2):
        candidates = []
        for index in range(population):
            label = f"{started_ms}.{generation}.{index}"
            digest = hashlib.sha256(label.encode()).hexdigest()[:12]
            run_id = f"evo_{UNIVERSE}_{WORLD}_seed{seed}_g{generation}_c{index}_{digest}"
            passed = rng.random() < 0.55
            minutes = rng.uniform(6, 20)
            now_ms = _write_world(
                runs / run_id, rng, now_ms + 2_000, "passed" if passed else "failed", minutes, seed
            )
            _write_context(runs / run_id, swarm_id)
            candidates.append(
                {
                    "run_id": run_id, "digest": digest, "overrides": {}, "delta": {},
                    "passed": passed, "metrics": {"duration_ms": round(minutes * 60_000)},
                    "reused": False,
                }
            )  # fmt: skip
        chosen = next((c["run_id"] for c in candidates if c["passed"]), None)
        history.append(
            {
                "generation": generation, "population_size": population, "parent_run_id": None,
                "selected_run_id": chosen, "candidates": candidates,
                "selection": {"mode": "objectives", "require_all_gates_pass": True},
            }
        )  # fmt: skip
    folder = runs / f"evolve_world_{WORLD}_{stamp(started_ms)}"
    folder.mkdir()
    summary = {
        "schema_version": "cyntra.evolve_world.v1",
        "run_id": folder.name,
        "generated_at": _offset(now_ms + 500),
        "universe_id": UNIVERSE,
        "world_id": WORLD,
        "objective_id": OBJECTIVE,
        "swarm_id": swarm_id,
        "seed": seed,
        "generations": len(history),
        "population_size": population,
        "objectives": {"overall": "max", "duration_ms": "min"},
        "genome_id": "outora_library_genome_surface_v1",
        "genes": [],
        "history": history,
    }
    (folder / "evolve_world.json").write_bytes(_json(summary))
    _write_context(folder, swarm_id)
    return now_ms + 500
