"""A CCOS marketplace and agent registry, exported as JSON, as cards.

Belongs here: manifests and agent descriptors, the three spellings of `:expects`, what is left out.
Does not: types (``ccos_types``), secrets (``redaction``).
Source: rtfs.md 2.3 and 2.4; docs/registries.md, "CCOS".

A listing of the marketplace is a clone with authentication tokens in it. What a card holds is
built up from fields that are known to be harmless, and even those are searched for every secret
that the export has anywhere.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from planner_synthesis.rtfs.errors import RtfsError
from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Sym, Vector
from planner_synthesis.rtfs.reader import read_expression
from planner_synthesis.snapshot.ccos_types import UnknownType, schema_of_type
from planner_synthesis.snapshot.json_schema import inputs_of_json_schema, secrets_in_schema
from planner_synthesis.snapshot.reading import (
    CardRefused,
    EntryKind,
    QuarantineRow,
    RegistryReading,
    capped_tier,
    checked_agent,
    checked_capability,
    merged_readings,
)
from planner_synthesis.snapshot.redaction import KnownSecrets, redact, secrets_in
from planner_synthesis.types import AgentCard, CapabilityCard

MAX_BYTES: Final = 256 * 1024 * 1024
MAX_EXPECTS_CHARS: Final = 100_000
CAPABILITY_LISTS: Final = ("capabilities", "manifests", "marketplace")
AGENT_LISTS: Final = ("agents", "agent_registry", "agent_definitions")
SCHEMA_FIELDS: Final = ("input_schema", "output_schema")

_TIERS: Final = {
    "t0": "T0", "t0sandbox": "T0", "sandbox": "T0", "t1": "T1", "t1trusted": "T1",
    "trusted": "T1", "t2": "T2", "t2privileged": "T2", "privileged": "T2",
}  # fmt: skip
_LOCAL_PROVIDERS: Final = ("local", "plugin")
_LOCAL_MODES: Final = ("rtfs", "externalprogram", "planner", "analyzer", "synthesizer", "composite")


class CcosExport(msgspec.Struct, frozen=True, kw_only=True):
    """A JSON export as a source.

    Attributes:
        highest_tier: No card gets a higher trust tier than this, whatever the export claims.
    """

    path: Path
    highest_tier: str = "T1"

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def read(self) -> RegistryReading:
        """See ``read_ccos_export``."""
        return read_ccos_export(self.path, highest_tier=self.highest_tier)


def read_ccos_export(path: Path, *, highest_tier: str = "T1") -> RegistryReading:
    """Cards of an export; a file that cannot be read is one row."""
    try:
        if path.stat().st_size > MAX_BYTES:
            return _refused(str(path), f"the file is larger than {MAX_BYTES} bytes")
        document = json.loads(path.read_bytes())
        return cards_of_ccos(document, source=str(path), highest_tier=highest_tier)
    except OSError as error:
        return _refused(str(path), f"the file cannot be read: {error.strerror}")
    except RecursionError:
        return _refused(str(path), "the file is nested too deeply")
    except ValueError:
        return _refused(str(path), "the file is not JSON")


def _refused(source: str, reason: str) -> RegistryReading:
    row = QuarantineRow(source=source, position="", reason=reason, kind="source")
    return RegistryReading(quarantine=(row,))


class _Notes:
    """What is worth telling of one entry."""

    def __init__(self) -> None:
        self.sentences: list[tuple[str, str]] = []

    def add(self, field: str, sentence: str) -> None:
        self.sentences.append((field, sentence))


def cards_of_ccos(document: Any, *, source: str, highest_tier: str = "T1") -> RegistryReading:
    """Cards of a decoded export.

    Args:
        document: An object with ``capabilities`` and ``agents``, each a list or a map by id; or a
            list of manifests and agents.
        source: What rows call it.

    What makes no card is a row.

    Raises:
        RecursionError: the document is nested deeper than this interpreter can go.
    """
    known = KnownSecrets(_secrets_of(document))
    capabilities: list[CapabilityCard] = []
    agents: list[AgentCard] = []
    rows: list[QuarantineRow] = list(_unread_lists(document, source, known))
    for position, kind, key, entry in _entries(document):
        notes = _Notes()
        try:
            if not isinstance(entry, Mapping):
                raise CardRefused("it is not an object")
            if kind == "agent":
                card = _agent_card(entry, key, notes, highest_tier)
                agents.append(checked_agent(card, known=known))
            else:
                made = _capability_card(entry, key, notes, highest_tier)
                capabilities.append(checked_capability(made, known=known))
        except CardRefused as error:
            rows.append(_row(source, position, error.reason, kind, known))
            continue
        rows += [
            _row(source, f"{position}.{field}", sentence, kind, known, is_left_out=False)
            for field, sentence in notes.sentences
        ]
    reading = RegistryReading(
        capabilities=tuple(capabilities), agents=tuple(agents), quarantine=tuple(rows)
    )
    return merged_readings([reading])


def _row(
    source: str,
    position: str,
    reason: str,
    kind: EntryKind,
    known: KnownSecrets,
    *,
    is_left_out: bool = True,
) -> QuarantineRow:
    return QuarantineRow(
        source=source,
        position=redact(position, known=known)[:200],
        reason=redact(reason, known=known),
        kind=kind,
        is_left_out=is_left_out,
    )


def _unread_lists(document: Any, source: str, known: KnownSecrets) -> Iterator[QuarantineRow]:
    if not isinstance(document, Mapping | list):
        yield _row(source, "", "the export is neither an object nor a list", "source", known)
    elif isinstance(document, Mapping):
        lists = [name for name in (*CAPABILITY_LISTS, *AGENT_LISTS) if name in document]
        if not lists:
            yield _row(source, "", "there is no list of capabilities or agents", "source", known)
        for name in lists:
            if not isinstance(document[name], list | Mapping):
                yield _row(source, name, "it is neither a list nor a map by id", "source", known)


def _entries(document: Any) -> Iterator[tuple[str, EntryKind, str | None, Any]]:
    """Position, kind, key in a map by id (None in a list), entry."""
    if isinstance(document, list):
        for at, entry in enumerate(document):
            is_agent = isinstance(entry, Mapping) and "agent_id" in entry
            yield f"[{at}]", "agent" if is_agent else "capability", None, entry
    if isinstance(document, Mapping):
        for name in (*CAPABILITY_LISTS, *AGENT_LISTS):
            kind: EntryKind = "agent" if name in AGENT_LISTS else "capability"
            listed = document.get(name)
            if isinstance(listed, list):
                for at, entry in enumerate(listed):
                    yield f"{name}[{at}]", kind, None, entry
            elif isinstance(listed, Mapping):
                for at, (key, entry) in enumerate(listed.items()):
                    yield f"{name}.{key} (entry {at})", kind, key, entry


def _secrets_of(document: Any) -> set[str]:
    """Secrets of the whole export; a schema is searched as a schema, where "type" is no secret."""
    found: set[str] = set()

    def without_schemas(node: Any) -> Any:
        if isinstance(node, Mapping):
            for field in SCHEMA_FIELDS:
                found.update(secrets_in_schema(node.get(field)))
            return {k: without_schemas(v) for k, v in node.items() if k not in SCHEMA_FIELDS}
        return [without_schemas(one) for one in node] if isinstance(node, list) else node

    return found | secrets_in(without_schemas(document))


def _text(entry: Mapping[str, Any], *fields: str) -> str:
    return next((entry[f] for f in fields if isinstance(entry.get(f), str) and entry[f]), "")


def _id_of(entry: Mapping[str, Any], field: str, key: str | None) -> str:
    given = entry.get(field, key)
    if not isinstance(given, str):
        raise CardRefused("it has no id")
    if key is not None and given != key:
        raise CardRefused("its id is not the one that it is listed under")
    return given


def _variant_of(entry: Mapping[str, Any], field: str) -> str:
    """Which variant of a Rust enum a field is: a text, or an object of one key or with a type."""
    value = entry.get(field)
    if isinstance(value, Mapping):
        value = value.get("type", next(iter(value), ""))
    return value.lower().replace("_", "") if isinstance(value, str) else ""


def _tier(claimed: Any, *, without: str, highest: str) -> str:
    tier = _TIERS.get(claimed.lower(), "") if isinstance(claimed, str) else ""
    return capped_tier(tier or without, at_most=highest)


def _metadata(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = entry.get("metadata")
    return metadata if isinstance(metadata, Mapping) else {}


def _effects(entry: Mapping[str, Any], *extra: str) -> tuple[str, ...]:
    listed = entry.get("effects")
    effects = [one for one in listed if isinstance(one, str)] if isinstance(listed, list) else []
    if isinstance(listed, list) and len(effects) != len(listed):
        raise CardRefused("an effect is not text, so what it does is not known")
    return tuple(dict.fromkeys([*effects, *extra]))


def _capability_card(
    entry: Mapping[str, Any], key: str | None, notes: _Notes, highest_tier: str
) -> CapabilityCard:
    approval = _variant_of(entry, "approval_status")
    if approval not in {"", "approved", "autoapproved"}:
        raise CardRefused("the marketplace has not approved it")
    provider = _variant_of(entry, "provider")
    is_local = provider in _LOCAL_PROVIDERS
    if provider == "":
        notes.add("provider", "it names no provider, so it counts as remote")
    inputs = _inputs(entry, notes)
    metadata = _metadata(entry)
    return CapabilityCard(
        id=_id_of(entry, "id", key),
        expects_context_keys=_expected_keys(entry, notes) + tuple(spec.key for spec in inputs),
        trust_tier=_tier(
            metadata.get("trust_tier", entry.get("trust_tier")),
            without="T1" if is_local else "T0",
            highest=highest_tier,
        ),
        local=is_local,
        doc=_text(entry, "description", "name") or None,
        inputs=inputs,
        effects=_effects(entry, *(() if is_local else (":network",))),
    )


def _inputs(entry: Mapping[str, Any], notes: _Notes) -> tuple[Any, ...]:
    if entry.get("input_schema") is None:
        return ()
    try:
        schema = schema_of_type(entry["input_schema"])
    except UnknownType as error:
        notes.add("input_schema", error.reason)
        return ()
    properties = schema.get("properties")
    inner = properties.get("context") if isinstance(properties, Mapping) else None
    if isinstance(properties, Mapping) and set(properties) == {"context"}:
        schema = dict(inner) if isinstance(inner, Mapping) else {}
    if schema.get("type") != "object" and "properties" not in schema:
        notes.add("input_schema", "it is not the type of a map, so it names no inputs")
        return ()
    reading = inputs_of_json_schema(schema)
    for path, sentence in reading.notes:
        notes.add(f"input_schema{'.' + path if path else ''}", sentence)
    return reading.inputs


def _expected_keys(entry: Mapping[str, Any], notes: _Notes) -> tuple[str, ...]:
    """Context keys by every spelling of ``:expects`` that the entry has; all of them together."""
    metadata = _metadata(entry)
    found: list[frozenset[str]] = []
    for holder in (entry, metadata):
        for field in (
            "context/keys",
            ":context/keys",
            "expects",
            ":expects",
            "expects_context_keys",
        ):
            if holder.get(field) is not None:
                keys = _keys_of(holder[field])
                if keys is None:
                    notes.add(field, "its :expects is in none of the three spellings")
                else:
                    found.append(keys)
    if len(set(found)) > 1:
        notes.add("metadata", "its spellings of :expects differ; all keys are taken")
    return tuple(sorted(frozenset().union(*found)))


def _keys_of(given: Any) -> frozenset[str] | None:
    if isinstance(given, Mapping):
        values = [given[name] for name in given if str(name).lstrip(":") == "context/keys"]
        return _keys_of(values[0]) if values else None
    if isinstance(given, list):
        keys = [one.strip().lstrip(":") for one in given if isinstance(one, str)]
        return frozenset(keys) if len(keys) == len(given) else None
    if not isinstance(given, str) or len(given) > MAX_EXPECTS_CHARS:
        return None
    if given.lstrip().startswith(("(", "{", "[")):
        return _keys_of_rtfs(given.strip())
    return frozenset(key for part in given.split(",") if (key := part.strip().lstrip(":")))


def _keys_of_rtfs(text: str) -> frozenset[str] | None:
    """``(:expects (:context/keys (:a :b)))`` or ``{:context/keys [:a :b]}``, or a list of keys."""
    try:
        form = read_expression(text)
    except RtfsError:
        return None
    while True:
        inner = _under(form, "expects")
        if inner is None:
            break
        form = inner
    listed = _under(form, "context/keys")
    if listed is None and isinstance(form, Vector):
        listed = form
    if not isinstance(listed, Vector | List):
        return None
    names = [one.name if isinstance(one, Kw | Sym) else one for one in listed.items]
    return frozenset(names) if all(isinstance(one, str) for one in names) else None  # type: ignore[arg-type]


def _under(form: Form, name: str) -> Form:
    """What stands under a keyword: in a map, or as the rest of a list that begins with it."""
    if isinstance(form, Map):
        return form.index.get(("keyword", name))
    if isinstance(form, List) and len(form.items) == 2 and form.items[0] == Kw(name):
        return form.items[1]
    return None


def _agent_card(
    entry: Mapping[str, Any], key: str | None, notes: _Notes, highest_tier: str
) -> AgentCard:
    mode = _variant_of(entry, "execution_mode")
    metadata = _metadata(entry)
    score = entry.get("trust_score")
    is_scored = isinstance(score, int | float) and not isinstance(score, bool)
    # upstream's governance refuses to delegate below 0.50
    without = "T1" if is_scored and 0.5 <= float(score or 0) <= 1 else "T0"
    skills = [
        one
        for field in ("skills", "capabilities")
        for one in (entry.get(field) if isinstance(entry.get(field), list) else ())  # type: ignore[union-attr]
    ]
    if not all(isinstance(skill, str) for skill in skills):
        raise CardRefused("a skill is not text")
    extra = {"externalprogram": (":process",)}.get(mode, ())
    extra = extra if mode in _LOCAL_MODES else (":network",)
    return AgentCard(
        agent_id=_id_of(entry, "agent_id", key),
        skills=tuple(dict.fromkeys(skills)),
        supported_context_keys=_expected_keys(entry, notes),
        trust_tier=_tier(
            entry.get("trust_tier", metadata.get("trust_tier")),
            without=without,
            highest=highest_tier,
        ),
        local=mode in _LOCAL_MODES,
        doc=_text(entry, "description", "name") or None,
        effects=_effects(entry, *extra),
    )
