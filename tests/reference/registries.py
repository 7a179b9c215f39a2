"""Random registries and requests for the tests of synthesis, small enough to collide."""

from hypothesis import strategies as st
from msgspec.structs import replace

from planner_synthesis.types import (
    AgentCard,
    CapabilityCard,
    ExtractedSkill,
    InputSpec,
    InteractionTurn,
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
    [
        "a",
        "b",
        "acme.x/y",
        "com.acme:v1.0:book",
        "fail.x",
        "c",
        "d",
        'e"f',
        "true",
        "1",
        "users.delete",
        "repo.listFiles",
        "file_edit",
    ]
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
    local=st.booleans(), inputs=st.just(()) | st.lists(INPUTS, max_size=4, unique_by=lambda i: i.key).map(tuple), effects=EFFECTS)  # fmt: skip
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
HISTORIES = st.lists(
    st.builds(InteractionTurn, turn_index=st.integers(0, 3),
              prompt=st.sampled_from(["Which user should I delete?", "Listing which repo?", "Which file?", "Change it?"])),
    max_size=3).map(tuple)  # fmt: skip
CONTEXTS = st.builds(
    PlannerGenContext, schema=SCHEMAS, security=SECURITY, history=HISTORIES,
    skills=st.lists(st.sampled_from(["issue-triage", "research"]), unique=True).map(
        lambda names: tuple(ExtractedSkill(skill=name) for name in names)),
    registry_caps=st.lists(CAPS, max_size=7).map(tuple),
    registry_agents=st.lists(AGENTS, max_size=3).map(tuple),
    track_records=st.lists(RECORDS, max_size=2).map(tuple),
    preferences=st.builds(PlannerPreferences, prefer_local=st.booleans(), prefer_trusted=st.booleans(),
                          optimize_for_speed=st.booleans()))  # fmt: skip

SPELLINGS = {
    "repository": ("repository", "repo", "Repository", "reposiory"), "trip/dates": ("trip/dates", "dates", "date"),
    "query": ("query", "q", "unknown/q"), "criteria": ("criteria", "filter", "query"), "limit": ("limit", "n"),
    'x"y': ('x"y', "X-\"Y"), "a b": ("a b", "ab"),
}  # fmt: skip


@st.composite
def fitting_contexts(draw: st.DrawFn) -> PlannerGenContext:
    """Requests whose cards mostly take what the schema has, under one name or another."""
    context = draw(CONTEXTS)
    keys = draw(st.lists(st.sampled_from(sorted(SPELLINGS)), min_size=1, max_size=3, unique=True))
    kinds = [draw(KINDS) for _ in keys]
    params = tuple(
        ParamSpec(key=key, type=kind, required=draw(st.booleans()), answer=draw(st.none() | st.text(max_size=4)))
        for key, kind in zip(keys, kinds, strict=True)
    )  # fmt: skip
    caps = tuple(_fitting_card(draw, keys, kinds, card) for card in context.registry_caps)
    security = draw(SECURITY.filter(lambda s: s.level != "pure"))
    schema = ParamSchema(params=params)
    return replace(context, schema=schema, registry_caps=caps, security=security)


def _fitting_card(
    draw: st.DrawFn, keys: list[str], kinds: list[str], card: CapabilityCard
) -> CapabilityCard:
    names = [draw(st.sampled_from(SPELLINGS[key])) for key in keys]
    if draw(st.booleans()):
        return replace(card, expects_context_keys=tuple(names), inputs=())
    inputs = tuple(
        InputSpec(key=name, type=draw(st.just(kind) | st.sampled_from(["string", "any", "float"])),
                  required=draw(st.booleans()))
        for name, kind in zip(dict.fromkeys(names), kinds, strict=False)
    )  # fmt: skip
    return replace(card, expects_context_keys=(), inputs=inputs)
