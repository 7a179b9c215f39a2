"""A walk over a planner's body: what it calls, what it reads, what may not be there.

Belongs here: shapes of forms, scope of names, heads that are allowed, keys of the context.
Does not: the registry and the runtime context (``preflight``).
Source: rtfs.md 1.2-1.5 and 6 (Validate).

The language of planners is small: do, let, if, fn, call, step, keyword look-up and pure builtins.
Whatever is not listed is refused, so a new form of the language is no new hole.

The context is read by keys that are written out, or handed to a call as a whole; as any other value
it could be read by keys that no text shows, so it is none.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec

from planner_synthesis.config import ProgramLimits
from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Sym, Vector

BUILTINS: Final = frozenset(
    "+ - * / = != not= < > <= >= and or not abs mod max min inc dec str substring string-length"
    " string-contains string-lower string-upper string-trim get get-in assoc dissoc merge count"
    " length first rest last nth cons conj concat keys vals map filter reduce contains? empty?"
    " nil? int? float? number? string? bool? map? vector? keyword? split starts-with? join"
    " parse-int parse-float int float type-name".split()
)
SPECIAL_FORMS: Final = frozenset("do let if fn call step".split())
# words that may be bound by nobody: what they mean is looked at here
RESERVED: Final = SPECIAL_FORMS | frozenset(
    "context def defn match try catch finally for module capability plan resource".split()
)


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One reason why a program may not run.

    Attributes:
        code: size, depth, syntax, one-form, shape, unbound, head, context, computed-id,
            unknown-id, not-allowed, required, expects or status.
    """

    code: str
    message: str


class ProgramFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What a body does, as far as a text can tell.

    Attributes:
        hands_context_on: A call is given the whole context as its ``:context``, so that what is
            read of it is not for this program to say.
    """

    findings: list[Finding]
    capability_ids: set[str]
    context_keys: set[str]
    hands_context_on: bool


def walk_program(body: Form, *, limits: ProgramLimits) -> ProgramFacts:
    """Walk a body in which ``context`` is bound and nothing else."""
    walker = _Walker(limits)
    walker.expression(body, {"context": "context"}, depth=1, is_result=True)
    return ProgramFacts(
        findings=walker.findings,
        capability_ids=walker.ids,
        context_keys=walker.keys,
        hands_context_on=walker.hands_on,
    )


# names that are bound; one that stands for the whole context says so
Scope = Mapping[str, str]


class _Walker:
    def __init__(self, limits: ProgramLimits) -> None:
        self.limits = limits
        self.findings: list[Finding] = []
        self.ids: set[str] = set()
        self.keys: set[str] = set()
        self.hands_on = False
        self.n_nodes = 0

    def refuse(self, code: str, message: str) -> None:
        self.findings.append(Finding(code=code, message=message))

    def expression(self, form: Form, scope: Scope, depth: int, *, is_result: bool = False) -> None:
        """Check one expression; ``is_result`` where its value is the program's."""
        self.n_nodes += 1
        if self.n_nodes > self.limits.max_nodes:
            if self.n_nodes == self.limits.max_nodes + 1:
                self.refuse("size", f"more than {self.limits.max_nodes} forms")
            return
        if depth > self.limits.max_depth:
            self.refuse("depth", f"nested deeper than {self.limits.max_depth}")
            return
        match form:
            case None | bool() | int() | float() | str() | Kw():
                return
            case Sym(name):
                self.symbol(name, scope, is_result=is_result)
            case Vector(items):
                self.all(items, scope, depth)
            case Map(entries):
                for _, value in entries:
                    self.expression(value, scope, depth + 1, is_result=is_result)
            case List((Sym(head), *arguments)) if head in SPECIAL_FORMS:
                _SPECIAL[head](self, arguments, scope, depth, is_result)
            case List((Sym(head), *arguments)):
                self.headed(head, arguments, scope, depth)
            case List((Kw() as key, *arguments)):
                self.look_up([*arguments[:1], key, *arguments[1:]], "keyword", scope, depth)
            case List((List((Sym("fn"), *_)) as function, *arguments)):
                self.all([function, *arguments], scope, depth)
            case _:
                self.refuse("shape", "a form outside of the planner subset")

    def all(self, items: Sequence[Form], scope: Scope, depth: int) -> None:
        for item in items:
            self.expression(item, scope, depth + 1)

    def body(self, forms: Sequence[Form], scope: Scope, depth: int, is_result: bool) -> None:
        """Check forms of which the last one's value is used."""
        self.all(forms[:-1], scope, depth)
        for last in forms[-1:]:
            self.expression(last, scope, depth + 1, is_result=is_result)

    def symbol(self, name: str, scope: Scope, *, is_result: bool) -> None:
        if scope.get(name) == "context":
            if not is_result:  # in the result it goes back to whoever had it
                self.refuse("context", f"{name!r} is the whole context and is used as a value")
        elif name not in scope and name not in BUILTINS:
            self.refuse("unbound", f"{name!r} is bound by nothing")

    def headed(self, head: str, arguments: Sequence[Form], scope: Scope, depth: int) -> None:
        if head in ("get", "get-in", "contains?") and head not in scope:
            self.look_up(arguments, head, scope, depth)
        elif head in scope or head in BUILTINS:
            self.all(arguments, scope, depth)
        else:
            self.refuse("head", f"{head!r} may not be called in a planner")
            self.all(arguments, scope, depth)

    def look_up(self, arguments: Sequence[Form], head: str, scope: Scope, depth: int) -> None:
        """``(get m k)`` and ``(:k m)``: a literal key of the context is a key that is read."""
        if not arguments or len(arguments) > 3:
            self.refuse("shape", f"{head} takes a map, a key and a default")
            return
        if not _is_context(arguments[0], scope):
            self.all(arguments, scope, depth)
            return
        match arguments[1:]:
            case [Kw(key) | str(key), *rest] if head != "get-in":
                self.keys.add(key)
                self.all(rest, scope, depth)
            case [Vector((Kw(key) | str(key), *path)), *rest] if head == "get-in":
                self.keys.add(key)
                self.all([*path, *rest], scope, depth)
            case _:
                self.refuse("context", f"{head} reads a key of the context that is not written out")
                self.all(arguments[1:], scope, depth)

    def form_do(self, arguments: Sequence[Form], scope: Scope, depth: int, is_result: bool) -> None:
        self.body(arguments, scope, depth, is_result)

    def form_if(self, arguments: Sequence[Form], scope: Scope, depth: int, is_result: bool) -> None:
        if len(arguments) not in (2, 3):
            self.refuse("shape", "if takes a test and one or two branches")
        self.all(arguments[:1], scope, depth)
        for branch in arguments[1:]:
            self.expression(branch, scope, depth + 1, is_result=is_result)

    def form_let(
        self, arguments: Sequence[Form], scope: Scope, depth: int, is_result: bool
    ) -> None:
        match arguments:
            case [Vector(bindings), _, *_] if len(bindings) % 2 == 0:
                pass
            case _:
                self.refuse("shape", "let takes names with values, and a body")
                return
        inner = dict(scope)
        for pattern, value in zip(bindings[::2], bindings[1::2], strict=True):
            is_alias = _is_context(value, inner) and isinstance(pattern, Sym | Map)
            if not is_alias:
                self.expression(value, inner, depth + 1)
            self.bind(pattern, inner, "context" if is_alias else "value")
        self.body(arguments[1:], inner, depth, is_result)

    def form_fn(self, arguments: Sequence[Form], scope: Scope, depth: int, _: bool) -> None:
        match arguments:
            case [Vector() as parameters, _, *_]:
                inner = dict(scope)
                self.bind(parameters, inner, "value")
                self.all(arguments[1:], inner, depth)
            case _:
                self.refuse("shape", "fn takes parameters and a body")

    def form_call(self, arguments: Sequence[Form], scope: Scope, depth: int, _: bool) -> None:
        match arguments:
            case [Kw(capability_id) | str(capability_id), *rest]:
                self.ids.add(capability_id)
                for argument in rest:
                    self.argument(argument, scope, depth + 1)
            case _:
                self.refuse("computed-id", "call takes an id that is written out")
                self.all(arguments, scope, depth)

    def argument(self, form: Form, scope: Scope, depth: int) -> None:
        """Check what a call is given: here alone the whole context may go, as ``:context``."""
        match form:
            case Map(entries) if _is_context(form.index.get(("keyword", "context")), scope):
                self.hands_on = True
                others = [value for key, value in entries if key != Kw("context")]
                self.expression(Map(), scope, depth)
                self.all(others, scope, depth)
            case _:
                self.expression(form, scope, depth)

    def form_step(
        self, arguments: Sequence[Form], scope: Scope, depth: int, is_result: bool
    ) -> None:
        match arguments:
            case [str(), first, *_] if not isinstance(first, Kw):
                self.body(arguments[1:], scope, depth, is_result)
            case _:
                self.refuse("shape", "step takes a name that is written out, and a body")

    def bind(self, pattern: Form, scope: dict[str, str], what: str) -> None:
        """Bind a pattern's names: a symbol, a vector of patterns, or {:keys [name ...]}."""
        match pattern:
            case Sym(name) if name in RESERVED:
                self.refuse("shape", f"{name!r} may not be bound")
            case Sym(name):
                scope[name] = what
            case Vector(items):
                for item in items:
                    if item != Sym("&"):
                        self.bind(item, scope, "value")
            case Map(((Kw("keys"), Vector(names)),)) if all(isinstance(n, Sym) for n in names):
                if what == "context":
                    self.keys |= {name.name for name in names if isinstance(name, Sym)}
                for item in names:
                    self.bind(item, scope, "value")
            case _:
                self.refuse("shape", "a pattern outside of the planner subset")


def _is_context(form: Form, scope: Scope) -> bool:
    return isinstance(form, Sym) and scope.get(form.name) == "context"


_Check: TypeAlias = Callable[[_Walker, Sequence[Form], Scope, int, bool], None]
_SPECIAL: Final[Mapping[str, _Check]] = {
    "do": _Walker.form_do, "let": _Walker.form_let, "if": _Walker.form_if, "fn": _Walker.form_fn,
    "call": _Walker.form_call, "step": _Walker.form_step,
}  # fmt: skip
