"""The files of a workspace that people write: configuration, universe, world.

Belongs here: their text, with the values the kernel ships with. Does not: what the kernel writes.
Source: reference/cyntra-formats.md 4 and 5.
"""

from typing import Final

import yaml

from planner_runtime.kernel_config import SHIPPED_CONFIG, KernelConfig

UNIVERSE_YAML: Final = """\
schema_version: "1.0"
universe_id: medica
name: Medica (simulated)
description: One world to evolve, and code issues beside it.
worlds:
  - {world_id: outora_library, world_kind: fab_world,
     path: fab/worlds/outora_library/world.yaml, enabled: true, tags: [fab]}
policies:
  determinism: {enforce_cpu_only: true, pythonhashseed: 0}
  budgets: {max_concurrent_workcells: 3, max_run_minutes: 120}
  routing_overrides: []
defaults: {swarm_id: speculate_vote, objective_id: realism_perf_v1}
"""
SWARMS_YAML: Final = """\
schema_version: "1.0"
swarms:
  speculate_vote:
    {type: parallel_compete, population_size: 3,
     selection: {mode: objectives, require_all_gates_pass: true}}
  serial_handoff:
    {type: serial_handoff, population_size: 1,
     selection: {mode: objectives, require_all_gates_pass: true}}
"""
OBJECTIVES_YAML: Final = """\
schema_version: "1.0"
objectives:
  realism_perf_v1: {metrics: {overall: max, duration_ms: min}}
"""
WORLD_YAML: Final = """\
schema_version: "1.0"
world_id: outora_library
world_config_id: outora_library_gothic_v001
world_type: interior_architecture
version: "0.5.0"
"""


def config_yaml(config: KernelConfig = SHIPPED_CONFIG) -> str:
    """``.cyntra/config.yaml`` for a configuration."""
    document = {
        "version": "1.0",
        "scheduling": {
            "max_concurrent_workcells": config.scheduling.max_concurrent_workcells,
            "max_concurrent_tokens": config.scheduling.max_concurrent_tokens,
            "starvation_threshold_hours": config.scheduling.starvation_threshold_hours,
        },
        "toolchain_priority": list(config.toolchain_priority),
        "toolchains": {
            name: {"enabled": True, "timeout_minutes": seconds // 60}
            for name, seconds in config.timeout_seconds.items()
        },
        "routing": {
            "rules": [
                {
                    "match": rule.match,
                    **(
                        {"speculate": True, "parallelism": rule.parallelism}
                        if rule.speculate
                        else {}
                    ),
                    "use": list(rule.use),
                }
                for rule in config.rules
            ],
            "fallbacks": {name: list(others) for name, others in config.fallbacks.items()},
        },
        "speculation": {"enabled": True, "default_parallelism": 2, "max_parallelism": 3},
    }
    return str(yaml.safe_dump(document, sort_keys=False))
