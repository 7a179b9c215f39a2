"""Preflight: whether a program is a planner that may run, before anything runs.

Belongs here: the checks on a text and the findings. Does not: running it (``dry_run``), walking
its expressions (``program_walk``).
Source: rtfs.md 6 (Validate) and 3 (what upstream's preflight lets through: string ids, ids without
``ccos.``, computed ids, text that does not parse, impure builtins, delegation by metadata, no look
at the runtime context). All of it is refused here.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from planner_synthesis.config import DEFAULT_CONFIG, ProgramLimits
from planner_synthesis.program_walk import Finding, ProgramFacts, walk_program
from planner_synthesis.rtfs.errors import FormTooDeep, RtfsSyntaxError, UnprintableForm
from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Sym, Vector
from planner_synthesis.rtfs.printer import print_form
from planner_synthesis.rtfs.reader import read_program
from planner_synthesis.security import permits
from planner_synthesis.statuses import upstream_status
from planner_synthesis.types import AgentCard, CapabilityCard, RuntimeContext


@dataclass(frozen=True, kw_only=True)
class PreflightReport:
    """What preflight found.

    Attributes:
        findings: Why the program may not run; empty when it may.
        text: The program as the printer writes it; empty when it cannot.
        capability_ids: Ids that it calls, sorted.
        context_keys: Context keys that it reads itself, sorted.
        hands_context_on: It hands the whole context to a capability, which may read more.
        body: The planner's body; None when the text could not be read.
    """

    findings: tuple[Finding, ...]
    text: str = ""
    capability_ids: tuple[str, ...] = ()
    context_keys: tuple[str, ...] = ()
    hands_context_on: bool = False
    body: Form = None

    @property
    def is_ok(self) -> bool:
        """Whether nothing was found."""
        return not self.findings


def callable_effects(
    capabilities: Iterable[CapabilityCard], agents: Iterable[AgentCard]
) -> dict[str, tuple[str, ...]]:
    """Effects of every id of a snapshot; of an id with several cards, those of all of them."""
    effects: dict[str, set[str]] = {}
    for card in capabilities:
        effects.setdefault(card.id, set()).update(card.effects or (":compute",))
    for agent in agents:
        effects.setdefault(agent.agent_id, set()).update(agent.effects or (":compute",))
    return {card_id: tuple(sorted(found)) for card_id, found in effects.items()}


def check_planner(
    text: str,
    *,
    security: RuntimeContext,
    registry: Mapping[str, tuple[str, ...]],
    required_capabilities: Iterable[str] | None = None,
    expects: Iterable[str] | None = None,
    limits: ProgramLimits = DEFAULT_CONFIG.limits,
) -> PreflightReport:
    """Check a planner's text: a body, or a ``(capability ...)`` around one.

    Args:
        text: The whole program.
        security: What may be called, by level and by effects.
        registry: Effects of each id that exists; see ``callable_effects``.
        required_capabilities: Ids that it must call, all and no others; None does not ask.
        expects: Context keys that it must read, all and no others; where it hands the whole
            context on, it may itself read fewer. None takes a capability's own ``:expects``.
        limits: Size and depth.
    """
    if len(text.encode("utf-8", "surrogatepass")) > limits.max_bytes:
        return _refused("size", f"longer than {limits.max_bytes} bytes")
    try:
        forms = read_program(text)
    except RtfsSyntaxError as error:
        return _refused("syntax", str(error))
    except FormTooDeep as error:
        return _refused("depth", str(error))
    if len(forms) != 1:
        return _refused("one-form", f"{len(forms)} top-level forms instead of one")
    return _check_form(forms[0], security, registry, required_capabilities, expects, limits)


def _refused(code: str, message: str) -> PreflightReport:
    return PreflightReport(findings=(Finding(code=code, message=message),))


def _check_form(
    form: Form,
    security: RuntimeContext,
    registry: Mapping[str, tuple[str, ...]],
    required_capabilities: Iterable[str] | None,
    expects: Iterable[str] | None,
    limits: ProgramLimits,
) -> PreflightReport:
    body, own_expects, findings = _body_of(form)
    facts = walk_program(body, limits=limits)
    findings += facts.findings
    try:
        printed = print_form(form)
    except (UnprintableForm, FormTooDeep) as error:
        printed = ""
        findings.append(Finding(code="shape", message=str(error)))
    if not findings and not _may_give_a_status(body):
        findings.append(Finding(code="status", message="its result has no status that is known"))
    findings += _check_ids(facts, security, registry, required_capabilities)
    declared = [set(keys) for keys in (expects, own_expects) if keys is not None]
    for keys in declared:
        findings += _check_keys(facts, keys)
    return PreflightReport(
        findings=tuple(dict.fromkeys(findings)),
        text=printed,
        capability_ids=tuple(sorted(facts.capability_ids)),
        context_keys=tuple(sorted(facts.context_keys)),
        hands_context_on=facts.hands_context_on,
        body=body,
    )


def _body_of(form: Form) -> tuple[Form, set[str] | None, list[Finding]]:
    """The planner's body, and the keys that a capability around it declares."""
    match form:
        case List((Sym("capability"), str(), *properties)):
            pass
        case _:
            return form, None, []
    named = {k.name: v for k, v in zip(properties[::2], properties[1::2], strict=False)
             if isinstance(k, Kw)}  # fmt: skip
    findings = []
    if len(named) * 2 != len(properties):
        findings.append(
            Finding(code="shape", message="a property of the capability is there twice")
        )
    code = {"description", "parameters", "expects", "implementation"}
    findings += [
        Finding(code="shape", message=f"unknown property :{n}") for n in named.keys() - code
    ]
    match named.get("implementation"):
        case List((Sym("fn"), Vector((Sym("context"),)), body)):
            pass
        case _:
            findings.append(
                Finding(code="shape", message=":implementation must be (fn [context] body)")
            )
            return None, None, findings
    for name in ("description", "parameters"):
        if not _is_data(named.get(name)):
            findings.append(Finding(code="shape", message=f":{name} must be data"))
    keys = _declared_keys(named.get("expects"))
    if keys is None:
        findings.append(
            Finding(code="expects", message=":expects must be {:context/keys [key ...]}")
        )
    return body, keys, findings


def _may_give_a_status(form: Form) -> bool:
    """Whether a body's value may be a map with a status; only a run knows of what is computed."""
    match form:
        case Map():
            status = form.index.get(("keyword", "status"))
            if isinstance(status, str):
                return upstream_status(status) is not None
            return isinstance(status, Sym | List)
        case List((Sym("if"), _, *branches)):
            return any(map(_may_give_a_status, branches))
        case List((Sym("do" | "let" | "step"), *_, last)):
            return _may_give_a_status(last)
        case List((Sym("do" | "fn"), *_)):
            return False
        case Sym() | List():
            return True
        case _:
            return False


def _is_data(form: Form) -> bool:
    if isinstance(form, Map):
        return all(_is_data(value) for _, value in form.entries)
    if isinstance(form, Vector):
        return all(map(_is_data, form.items))
    return form is None or isinstance(form, str | int | float | Kw)


def _declared_keys(form: Form) -> set[str] | None:
    match form:
        case Map(((Kw("context/keys"), Vector(items)),)) if all(
            isinstance(item, Kw | str) for item in items
        ):
            return {item.name if isinstance(item, Kw) else str(item) for item in items}
        case _:
            return None


def _check_ids(
    facts: ProgramFacts,
    security: RuntimeContext,
    registry: Mapping[str, tuple[str, ...]],
    required_capabilities: Iterable[str] | None,
) -> list[Finding]:
    findings = []
    for capability_id in sorted(facts.capability_ids):
        if capability_id not in registry:
            findings.append(
                Finding(code="unknown-id", message=f"no capability is called {capability_id!r}")
            )
        elif not permits(security, capability_id, effects=registry[capability_id]):
            findings.append(
                Finding(code="not-allowed", message=f"{capability_id!r} is not allowed here")
            )
    if required_capabilities is not None and set(required_capabilities) != facts.capability_ids:
        findings.append(
            Finding(code="required", message="required_capabilities are not the ids that it calls")
        )
    return findings


def _check_keys(facts: ProgramFacts, expected: set[str]) -> list[Finding]:
    undeclared = sorted(facts.context_keys - expected)
    unread = sorted(expected - facts.context_keys) if not facts.hands_context_on else []
    return [
        *(Finding(code="expects", message=f"reads {key!r}, not expected") for key in undeclared),
        *(Finding(code="expects", message=f"expects {key!r}, never read") for key in unread),
    ]
