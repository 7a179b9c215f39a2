"""Which context key each input of a candidate gets its value from.

Belongs here: worth of a pair, the assignment for one candidate, the adapter steps, what is unmet.
Does not: the score (``scoring``), code (``templates``).
Spec: planner-synthesis, "Matching and adaptation"; ADR 0021.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from planner_synthesis.assignment import best_assignment
from planner_synthesis.coercions import Coercion, find_coercion, is_value_of
from planner_synthesis.names import NameLink, NameMatcher
from planner_synthesis.trust import UNIT
from planner_synthesis.types import AdapterStep, CapabilityCard, InputSpec, ParamSchema

OWN_DEFAULT_WORTH: Final = 60  # percent: the candidate's own default is nobody's answer


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """A candidate's inputs, met or not.

    Attributes:
        steps: One for each input that is met, by input.
        coverage: Share of required schema keys used, in 1e-9; of all keys when none is required.
        compatibility: Mean worth of inputs that are required or met, in 1e-9.
        missing: Required inputs that are not met, sorted; without those that were only counted.
        n_missing: How many required inputs are not met.
        optional: Inputs of ``steps`` that a call can do without, sorted.
        n_adapters: Steps that change a name or a value.
        leaves_out: Some schema key reaches no input.
    """

    steps: tuple[AdapterStep, ...]
    coverage: int
    compatibility: int
    missing: tuple[str, ...]
    optional: tuple[str, ...]
    n_adapters: int
    leaves_out: bool
    n_missing: int = 0


class SchemaView:
    """A schema as matching needs it: parameters by sorted key, and the names they go by."""

    def __init__(self, schema: ParamSchema, skills: Iterable[str]) -> None:
        """Prepare one schema for many candidates."""
        self.params = tuple(sorted(schema.params, key=lambda param: param.key))
        self.names = NameMatcher([param.key for param in self.params], skills)
        counted = [i for i, param in enumerate(self.params) if param.required]
        self.counted = frozenset(counted or range(len(self.params)))
        self._links: dict[str, tuple[NameLink, ...]] = {}

    def links(self, key: str) -> tuple[NameLink, ...]:
        """Links of a candidate's key, looked up once."""
        found = self._links.get(key)
        if found is None:
            found = self._links[key] = self.names.links(key)
        return found

    def coverage(self, used: frozenset[int]) -> int:
        """Share of the keys that count, in 1e-9; 0 when there are none: nothing was asked."""
        return UNIT * len(used & self.counted) // len(self.counted) if self.counted else 0

    def uncounted(self, used_keys: Iterable[str]) -> tuple[str, ...]:
        """Keys that count for coverage and are not among these, sorted."""
        used = set(used_keys)
        keys = (self.params[at].key for at in sorted(self.counted))
        return tuple(key for key in keys if key not in used)


def input_specs(card: CapabilityCard) -> tuple[InputSpec, ...]:
    """All inputs of a card by key; one that it does not describe is required, of any type."""
    known = {spec.key: spec for spec in card.inputs}
    for key in card.expects_context_keys:
        if key not in known:
            known[key] = InputSpec(key=key)
    return tuple(known[key] for key in sorted(known))


def match_inputs(specs: Sequence[InputSpec], view: SchemaView, *, n_unmet: int = 0) -> Match:
    """The best way to meet inputs from a schema.

    First as many required inputs as can be, then as many required keys, then the greatest worth;
    each key is used once.

    Args:
        n_unmet: Further required inputs, which are known to be met by nothing.
    """
    pairs = _pairs(specs, view)
    chosen = _chosen(pairs, specs, view)
    steps: list[AdapterStep] = []
    missing: list[str] = []
    worths = [0] * n_unmet
    for column, spec in enumerate(specs):
        row = chosen.get(column)
        if row is not None:
            worth, link, coercion = pairs[row][column]
            worths.append(worth)
            steps.append(_step(spec, view, row, link, coercion))
        elif spec.required and spec.default is not None and is_value_of(spec.default, spec):
            worths.append(OWN_DEFAULT_WORTH)
            steps.append(_own_default(spec))
        elif spec.required:
            worths.append(0)
            missing.append(spec.key)
    used = frozenset(chosen.values())
    return Match(
        steps=tuple(steps),
        coverage=view.coverage(used),
        compatibility=UNIT * sum(worths) // (100 * len(worths)) if worths else 0,
        missing=tuple(missing),
        optional=tuple(
            spec.key for i, spec in enumerate(specs) if i in chosen and not spec.required
        ),
        n_adapters=sum(not is_plain(step) for step in steps),
        leaves_out=len(used) < len(view.params),
        n_missing=len(missing) + n_unmet,
    )


def is_plain(step: AdapterStep) -> bool:
    """Whether the input is the context's value under its own name."""
    return step.from_ == step.to and step.coercion is None and not step.default_used


Pairs = list[dict[int, tuple[int, NameLink, Coercion]]]


def _pairs(specs: Sequence[InputSpec], view: SchemaView) -> Pairs:
    """For each schema key, the inputs it can meet: worth in percent, and why."""
    pairs: Pairs = [{} for _ in view.params]
    for column, spec in enumerate(specs):
        for link in view.links(spec.key):
            coercion = find_coercion(view.params[link.at], spec)
            if coercion is not None:
                worth = link.sureness * coercion.ease // 100
                pairs[link.at][column] = (worth, link, coercion)
    return pairs


def _chosen(pairs: Pairs, specs: Sequence[InputSpec], view: SchemaView) -> dict[int, int]:
    """The schema key of each input that gets one."""
    columns = [column for row in pairs for column in row]
    if len(columns) == len(set(columns)) and all(len(row) <= 1 for row in pairs):
        return {column: row for row, found in enumerate(pairs) for column in found}
    many = 101 * (min(len(pairs), len(specs)) + 1)
    worth = [
        {
            column: pair[0] + many * (row in view.counted) + many * many * specs[column].required
            for column, pair in found.items()
        }
        for row, found in enumerate(pairs)
    ]
    assigned = best_assignment(worth, len(specs))
    return {column: row for row, column in enumerate(assigned) if column is not None}


def _step(
    spec: InputSpec, view: SchemaView, row: int, link: NameLink, coercion: Coercion
) -> AdapterStep:
    param = view.params[row]
    return AdapterStep(
        from_=param.key,
        to=spec.key,
        coercion=coercion.name,
        default_used=is_value_of(param.default, InputSpec(key="", type=param.type)),
        reason=link.reason,
    )


def _own_default(spec: InputSpec) -> AdapterStep:
    why = "the candidate's default"
    return AdapterStep(from_="", to=spec.key, default_used=True, reason=why, is_own_default=True)
