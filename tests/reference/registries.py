"""Random registries and requests for the tests of synthesis, small enough to collide."""

from hypothesis import strategies as st

from planner_synthesis.types import (
    AgentCard,
    CapabilityCard,
    ExtractedSkill,
    InputSpec,
    ParamSchema,
    ParamSpec,
    PlannerGenContext,
    PlannerPreferences,
    RuntimeContext,
    TrackRecord,
)

KEYS = st.sampled_from(
    ["repo", "repository", "Repo-Name", "trip/dates", "date", "dates", "q", "query", "criteria",
     "limit", "n", "github_repository", "unknown/q", "labels", "label", "reposiory", "a b", 'x"y'])  # fmt: skip
IDS = st.sampled_from(
    ["a", "b", "acme.x/y", "com.acme:v1.0:book", "fail.x", "c", "d", 'e"f', "true", "1"]
)
KINDS = st.sampled_from(["string", "int", "float", "bool", "date"])
EFFECTS = st.lists(st.sampled_from([":network", ":compute"]), max_size=1).map(tuple)
TIERS = st.sampled_from(["T0", "T1", "trusted", "T2Privileged", "", "odd"])
INPUTS = st.builds(
    InputSpec, key=KEYS, type=KINDS | st.sampled_from(["any", "other", "enum"]), required=st.booleans(),
    enum_values=st.lists(st.sampled_from(["low", "High", "LOW"]), max_size=3).map(tuple),
    default=st.sampled_from([None, 1, True, "low", 0.5]))  # fmt: skip
CAPS = st.builds(
    CapabilityCard, id=IDS, expects_context_keys=st.lists(KEYS, max_size=4).map(tuple), trust_tier=TIERS,
    local=st.booleans(), inputs=st.just(()) | st.lists(INPUTS, max_size=4).map(tuple), effects=EFFECTS)  # fmt: skip
AGENTS = st.builds(
    AgentCard, agent_id=IDS, skills=st.lists(st.sampled_from(["issue triage", "research", "cook"]), max_size=2).map(tuple),
    supported_context_keys=st.lists(KEYS, max_size=3).map(tuple), trust_tier=TIERS, effects=EFFECTS)  # fmt: skip
PARAMS = st.builds(
    ParamSpec, key=KEYS, type=KINDS, required=st.booleans(), answer=st.none() | st.text(max_size=5)
) | st.builds(
    ParamSpec,
    key=KEYS,
    type=st.just("enum"),
    enum_values=st.just(("low", "high")),
    default=st.just("low"),
)
SCHEMAS = st.lists(PARAMS, max_size=4, unique_by=lambda p: p.key).map(
    lambda ps: ParamSchema(params=tuple(ps))
)
SECURITY = st.builds(
    RuntimeContext, level=st.sampled_from(["controlled", "full", "full", "pure"]),
    allowed_capabilities=st.lists(IDS, max_size=6).map(tuple),
    denied_effects=st.sampled_from([(), (), (":network",)]))  # fmt: skip
RECORDS = st.builds(TrackRecord, id=IDS, n_success=st.integers(0, 50), n_failure=st.integers(0, 50))
CONTEXTS = st.builds(
    PlannerGenContext, schema=SCHEMAS, security=SECURITY,
    skills=st.lists(st.sampled_from(["issue-triage", "research"]), unique=True).map(
        lambda names: tuple(ExtractedSkill(skill=name) for name in names)),
    registry_caps=st.lists(CAPS, max_size=7).map(tuple),
    registry_agents=st.lists(AGENTS, max_size=3).map(tuple),
    track_records=st.lists(RECORDS, max_size=2).map(tuple),
    preferences=st.builds(PlannerPreferences, prefer_local=st.booleans(), prefer_trusted=st.booleans(),
                          optimize_for_speed=st.booleans()))  # fmt: skip
