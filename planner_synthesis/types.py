"""The contracts of planner synthesis: what goes in, what comes out, and why.

Belongs here: frozen types without behaviour beyond look-ups, one for each contract of the spec.
Does not: settings (``config``), the security filter (``security``), any decision.
Spec: planner-synthesis, "Core contracts"; what it leaves open is settled in docs/adr/0020 to 0025.

Names of keys and ids are text from outside: they reach RTFS through the printer only.
"""

from typing import Annotated, Final, Literal

import msgspec

ParamType = Literal["string", "int", "float", "bool", "date", "enum"]
# what a candidate takes: "any" when nobody said, "other" for what no answer can be (lists, objects)
InputKind = Literal["string", "int", "float", "bool", "date", "enum", "any", "other"]
CandidateKind = Literal["capability", "agent"]
SecurityLevel = Literal["pure", "controlled", "full"]
Template = Literal["direct", "adapter", "requires-agent", "proposal"]
Scalar = str | int | float | bool | None
Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
# of lists whose items have a key each: two with one key are refused here, two that are wholly the
# same by the schema too
UNIQUE: Final = msgspec.Meta(extra_json_schema={"uniqueItems": True})

DEFAULT_EFFECT = ":compute"  # of a capability that declares none; rtfs.md 2.5


class InteractionTurn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question and its answer; None where nobody answered."""

    turn_index: Count
    prompt: str
    answer: str | None = None


class ParamSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One parameter that the interaction settled or asked for.

    Attributes:
        key: Context key, without a colon, e.g. ``trip/destination``.
        default: What stands in where the context has no value; None when there is no default.
        enum_values: What may be answered, in the order asked; of type ``enum`` only.
        answer: The latest answer as it was given, None where there was none.
        source_turn: Turn that asked first; None for a schema written by hand.
        n_refinements: How often the same thing was asked again and answered otherwise.
    """

    key: str
    type: ParamType = "string"
    required: bool = True
    default: Scalar = None
    enum_values: tuple[str, ...] = ()
    prompt: str = ""
    answer: str | None = None
    source_turn: Count | None = None
    n_refinements: Count = 0


class ParamSchema(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of a request; keys are unique."""

    params: Annotated[tuple[ParamSpec, ...], UNIQUE] = ()

    def __post_init__(self) -> None:
        """Refuse a schema that names one key twice, by a ValueError."""
        if len({param.key for param in self.params}) != len(self.params):
            raise ValueError("a key of a ParamSchema is there twice")

    def keys(self) -> tuple[str, ...]:
        """All keys, sorted."""
        return tuple(sorted(param.key for param in self.params))

    def required_keys(self) -> tuple[str, ...]:
        """Keys that must have a value, sorted."""
        return tuple(sorted(param.key for param in self.params if param.required))

    def param(self, key: str) -> ParamSpec | None:
        """The parameter of this key."""
        return next((param for param in self.params if param.key == key), None)


class ExtractedSkill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A skill that the interaction calls for.

    Attributes:
        confidence: n / (n + 1) for n different words that show it, within [0, 1].
        evidence: One sentence for each turn that showed it, in order.
    """

    skill: str
    confidence: Ratio = 1.0
    evidence: tuple[str, ...] = ()
    category: str = "domain"


class InputSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a candidate says of one of its inputs, e.g. in a JSON Schema.

    Attributes:
        required: Whether a call without it fails.
        default: What a call may send where the context has nothing.
    """

    key: str
    type: InputKind = "any"
    required: bool = True
    enum_values: tuple[str, ...] = ()
    default: Scalar = None


class CapabilityCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A capability as synthesis sees it; no address, no secret.

    Attributes:
        expects_context_keys: Keys it reads. One that ``inputs`` does not describe is required and
            of unknown type.
        inputs: What is known of its inputs; a key of ``inputs`` is expected too.
        trust_tier: See ``trust``: T0 (sandbox), T1 (trusted), T2 (privileged); others count 0.
        local: Runs on this machine.
        effects: Effect labels such as ``:network``; none declared means ``:compute``.
    """

    id: str
    expects_context_keys: tuple[str, ...] = ()
    trust_tier: str = ""
    local: bool = False
    doc: str | None = None
    inputs: Annotated[tuple[InputSpec, ...], UNIQUE] = ()
    effects: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse a card that describes one input twice, by a ValueError."""
        if self.inputs and len({spec.key for spec in self.inputs}) != len(self.inputs):
            raise ValueError("an input of a CapabilityCard is described twice")


class AgentCard(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An agent as synthesis sees it; it is called as a capability of the same id (ADR 0023)."""

    agent_id: str
    skills: tuple[str, ...] = ()
    supported_context_keys: tuple[str, ...] = ()
    trust_tier: str = ""
    local: bool = False
    doc: str | None = None
    effects: tuple[str, ...] = ()


class RegistrySnapshot(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.registry_snapshot.v1",
):
    """What a marketplace and an agent registry held when they were read; order means nothing.

    Attributes:
        sha256: Of the canonical text in which this field is empty; empty where nobody computed it.
    """

    capabilities: tuple[CapabilityCard, ...] = ()
    agents: tuple[AgentCard, ...] = ()
    sha256: str = ""


class RuntimeContext(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a program may call; as upstream's, see rtfs.md 2.5.

    Attributes:
        level: ``pure`` allows nothing, ``controlled`` exactly the listed ids, ``full`` any id.
        allowed_capabilities: Of ``controlled``; no patterns, case counts, a colon is a character.
        allowed_effects: None allows every effect that is not denied.
        denied_effects: Denied wins over allowed.
    """

    level: SecurityLevel = "pure"
    allowed_capabilities: tuple[str, ...] = ()
    allowed_effects: tuple[str, ...] | None = None
    denied_effects: tuple[str, ...] = ()

    def is_capability_allowed(self, capability_id: str) -> bool:
        """Whether the level allows this id; effects are another question."""
        if self.level == "controlled":
            return capability_id in self.allowed_capabilities
        return self.level == "full"

    def is_allowed(self, capability_id: str, /) -> bool:
        """As a host's gate, for an id whose effects are not known: ``:compute`` is assumed.

        Where effects are known, ``security.RegistryGate`` is the gate.
        """
        return self.is_capability_allowed(capability_id) and self.are_effects_allowed(())

    def are_effects_allowed(self, effects: tuple[str, ...]) -> bool:
        """Whether every effect is allowed; no effect declared means ``:compute``."""
        labels = {effect_label(effect) for effect in effects or (DEFAULT_EFFECT,)}
        if labels & {effect_label(effect) for effect in self.denied_effects}:
            return False
        if self.allowed_effects is None:
            return True
        return labels <= {effect_label(effect) for effect in self.allowed_effects}


def effect_label(effect: str) -> str:
    """An effect's one spelling: lower case, one leading colon."""
    return ":" + effect.strip().lower().lstrip(":")


class PlannerPreferences(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the asker prefers.

    Attributes:
        prefer_local: Being local counts in ``trust_bias``.
        prefer_trusted: The trust tier counts in ``trust_bias``.
        optimize_for_speed: Of equal totals, fewer adapter steps win before more inputs filled.
    """

    prefer_local: bool = True
    prefer_trusted: bool = True
    optimize_for_speed: bool = False


class TrackRecord(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.track_record.v1",
):
    """How often a capability or agent did what was asked of it."""

    id: str
    n_success: Count = 0
    n_failure: Count = 0


class PlannerGenContext(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.planner_gen_context.v1",
):
    """All that a planner is synthesized from.

    Attributes:
        track_records: Feedback, one record an id at most; a second one of the same id is added.
    """

    schema: ParamSchema
    history: tuple[InteractionTurn, ...] = ()
    skills: tuple[ExtractedSkill, ...] = ()
    security: RuntimeContext = RuntimeContext()
    registry_caps: tuple[CapabilityCard, ...] = ()
    registry_agents: tuple[AgentCard, ...] = ()
    preferences: PlannerPreferences = PlannerPreferences()
    track_records: tuple[TrackRecord, ...] = ()


class CandidateScore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A candidate's score; every part is computed exactly and rounded down at 1e-9.

    Attributes:
        coverage: Share of the required keys that reach the call.
        compatibility: Mean ease with which the inputs are met; an unmet required one is 0.
        trust_bias: Trust tier (moved by feedback) and locality, as the preferences weigh them.
        total: Weighted sum.
        is_viable: All required inputs are met, and coverage and total reach their thresholds.
        missing_inputs: Required inputs that nothing meets, sorted.
        why: Sentences for a reader: what is missing, how trust was moved.
    """

    id: str
    kind: CandidateKind
    coverage: Ratio
    compatibility: Ratio
    trust_bias: Ratio
    total: Ratio
    is_viable: bool = True
    missing_inputs: tuple[str, ...] = ()
    n_adapters: Count = 0
    why: tuple[str, ...] = ()


class AdapterStep(
    msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"from_": "from"}
):
    """How one input of the call gets its value.

    Attributes:
        from_: Context key (``from`` in JSON); empty where there is none.
        to: The candidate's key.
        coercion: E.g. ``string->int``, ``parse-date``; None when the value passes as it is.
        default_used: A default stands in where the context has no value.
        reason: Why these two keys are taken for one, e.g. ``same name``, ``synonym``; for people.
        is_own_default: No context key is read: the candidate's own default is sent.
    """

    from_: str
    to: str
    coercion: str | None = None
    default_used: bool = False
    reason: str = "same name"
    is_own_default: bool = False


class FallbackInfo(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why no candidate is called, and what is needed instead."""

    stub_id: str
    missing_required: tuple[str, ...]
    reason: str


class PlannerDecisionTrace(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was weighed and why it came out so.

    Attributes:
        candidates: The best, best first; ``n_considered`` says how many there were.
        n_considered: Cards that the runtime context allows and that share a key or skill.
        n_not_allowed: Cards left out by level or effects; their ids are not told.
        n_conflicting: Cards left out because another card has the same id and says otherwise.
        rejected: One sentence for each selection that preflight or the dry run refused, and for a
            proposer that failed.
        unused_keys: Schema keys that the planner does not read, sorted; when it calls something.
        template: Which template was emitted.
        agent_steps: Ids that a synthesized agent calls, in the order of its plan.
        notes: What went wrong beside the decision, such as an event that its sink did not take.
    """

    candidates: tuple[CandidateScore, ...] = ()
    selected: CandidateScore | None = None
    adapters: tuple[AdapterStep, ...] = ()
    fallback: FallbackInfo | None = None
    n_considered: Count = 0
    n_not_allowed: Count = 0
    n_conflicting: Count = 0
    rejected: tuple[str, ...] = ()
    unused_keys: tuple[str, ...] = ()
    template: Template = "requires-agent"
    complexity: tuple[str, ...] = ()
    agent_steps: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


class RtfsExecution(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="mode",
    tag="rtfs",
):
    """An agent that is an RTFS plan: one form over ``context``."""

    plan: str


class AgentDescriptor(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.agent_descriptor.v1",
):
    """An agent that can be registered and run; upstream's ``AgentDescriptor``, the RTFS mode.

    Attributes:
        required_capabilities: Ids that its plan calls, sorted.
        expects_context_keys: Keys that its plan reads, sorted.
        effects: Of all that it calls, sorted.
    """

    agent_id: str
    execution_mode: RtfsExecution
    skills: tuple[str, ...] = ()
    required_capabilities: tuple[str, ...] = ()
    expects_context_keys: tuple[str, ...] = ()
    trust_tier: str = "T0"
    effects: tuple[str, ...] = ()
    n_success: Count = 0
    n_failure: Count = 0


class PlannerSynthesis(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="schema_version",
    tag="cyntra.planner_synthesis.v1",
):
    """A planner that passed preflight and a dry run, and why it is this one.

    Attributes:
        rtfs: The planner's body: one form, free in ``context`` alone.
        required_capabilities: Ids that it calls, sorted.
        expects: Context keys that it reads, sorted.
        capability: The body as a ``(capability ...)`` form with ``:expects``, for a registry.
        stub: The stub capability that a fallback asks for, as a ``(capability ...)`` form.
        agent: The agent that was synthesized for a complex interaction.
    """

    rtfs: str
    required_capabilities: tuple[str, ...]
    decision_trace: PlannerDecisionTrace
    expects: tuple[str, ...] = ()
    capability: str = ""
    stub: str | None = None
    agent: AgentDescriptor | None = None
