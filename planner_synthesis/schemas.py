"""JSON Schemas of the contracts of synthesis, generated so that types and schemas cannot drift.

Belongs here: generation, `python -m planner_synthesis.schemas DIR`. Does not: the contracts.
"""

import json
import sys
from pathlib import Path
from typing import Any

import msgspec

from planner_synthesis.config import SynthesisConfig
from planner_synthesis.telemetry import PlannerGenerationEvent
from planner_synthesis.types import (
    AdapterStep,
    AgentCard,
    AgentDescriptor,
    CandidateScore,
    CapabilityCard,
    ExtractedSkill,
    FallbackInfo,
    InteractionTurn,
    ParamSchema,
    PlannerDecisionTrace,
    PlannerGenContext,
    PlannerPreferences,
    PlannerSynthesis,
    RegistrySnapshot,
    RuntimeContext,
    TrackRecord,
)

CONTRACTS: dict[str, type[msgspec.Struct]] = {
    "adapter_step": AdapterStep,
    "agent_card": AgentCard,
    "agent_descriptor": AgentDescriptor,
    "candidate_score": CandidateScore,
    "capability_card": CapabilityCard,
    "extracted_skill": ExtractedSkill,
    "fallback_info": FallbackInfo,
    "interaction_turn": InteractionTurn,
    "param_schema": ParamSchema,
    "planner_decision_trace": PlannerDecisionTrace,
    "planner_gen_context": PlannerGenContext,
    "planner_generation": PlannerGenerationEvent,
    "planner_preferences": PlannerPreferences,
    "planner_synthesis": PlannerSynthesis,
    "registry_snapshot": RegistrySnapshot,
    "runtime_context": RuntimeContext,
    "synthesis_config": SynthesisConfig,
    "track_record": TrackRecord,
}


def json_schema(name: str) -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of one contract.

    Raises:
        KeyError: no contract has this name.
    """
    # through JSON, because msgspec writes defaults as tuples
    schema = msgspec.json.decode(msgspec.json.encode(msgspec.json.schema(CONTRACTS[name])))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def write_schemas(folder: Path) -> None:
    """Write one ``<name>.schema.json`` for every contract; the folder is made where absent."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in CONTRACTS:
        text = json.dumps(json_schema(name), indent=2, ensure_ascii=False)
        (folder / f"{name}.schema.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1]))
