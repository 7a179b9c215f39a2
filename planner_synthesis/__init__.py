"""Planner synthesis: RTFS planner programs from an interaction history and a capability registry.

Belongs here: the public names of the deterministic synthesis that the planner-synthesis spec
describes; it knows nothing of the learned planner. Does not: anything else.
"""

from planner_synthesis.agent_host import AgentHost
from planner_synthesis.agent_registry import AgentRegistry
from planner_synthesis.config import DEFAULT_CONFIG, SynthesisConfig
from planner_synthesis.documents import ContractError, read_contract
from planner_synthesis.explain import explain_synthesis
from planner_synthesis.generate import generate_planner_generic
from planner_synthesis.preflight import PreflightReport, check_planner
from planner_synthesis.proposals import ProposalError, Proposer
from planner_synthesis.schema import context_from_schema, schema_from_history
from planner_synthesis.scoring import score_candidates
from planner_synthesis.skills import extract_skills
from planner_synthesis.snapshot.reading import discover_registry_snapshots
from planner_synthesis.telemetry import JsonLinesSink, MemorySink, PlannerGenerationEvent, Sink
from planner_synthesis.templates import (
    emit_planner_rtfs_adapter,
    emit_planner_rtfs_direct,
    emit_planner_rtfs_requires_agent,
    emit_stub_capability,
)
from planner_synthesis.types import (
    AdapterStep,
    AgentCard,
    AgentDescriptor,
    CandidateScore,
    CapabilityCard,
    ExtractedSkill,
    FallbackInfo,
    InputSpec,
    InteractionTurn,
    ParamSchema,
    ParamSpec,
    PlannerDecisionTrace,
    PlannerGenContext,
    PlannerPreferences,
    PlannerSynthesis,
    RegistrySnapshot,
    RtfsExecution,
    RuntimeContext,
    TrackRecord,
)

__all__ = [
    "DEFAULT_CONFIG",
    "AdapterStep",
    "AgentCard",
    "AgentDescriptor",
    "AgentHost",
    "AgentRegistry",
    "CandidateScore",
    "CapabilityCard",
    "ContractError",
    "ExtractedSkill",
    "FallbackInfo",
    "InputSpec",
    "InteractionTurn",
    "JsonLinesSink",
    "MemorySink",
    "ParamSchema",
    "ParamSpec",
    "PlannerDecisionTrace",
    "PlannerGenContext",
    "PlannerGenerationEvent",
    "PlannerPreferences",
    "PlannerSynthesis",
    "PreflightReport",
    "ProposalError",
    "Proposer",
    "RegistrySnapshot",
    "RtfsExecution",
    "RuntimeContext",
    "Sink",
    "SynthesisConfig",
    "TrackRecord",
    "check_planner",
    "context_from_schema",
    "discover_registry_snapshots",
    "emit_planner_rtfs_adapter",
    "emit_planner_rtfs_direct",
    "emit_planner_rtfs_requires_agent",
    "emit_stub_capability",
    "explain_synthesis",
    "extract_skills",
    "generate_planner_generic",
    "read_contract",
    "schema_from_history",
    "score_candidates",
]
