"""Calls: what happens when a function, a keyword or a capability is given arguments.

Belongs here: arity, binding of parameters, keyword lookup, ``call``, what a call costs. Does not:
forms (``evaluator``).
Source: rtfs.md 1.3 (call), 1.4 (keywords); upstream: a function without parameters takes any
number of arguments; the types beside parameters and results are checked.
"""

from __future__ import annotations

from planner_synthesis.rtfs.budget import Meter
from planner_synthesis.rtfs.errors import (
    ArityMismatch,
    HostFailure,
    RtfsError,
    RtfsTypeError,
    UnboundFunction,
    Unsupported,
)
from planner_synthesis.rtfs.forms import Form, Kw, List, Map, Sym, map_key, type_name, weight_of
from planner_synthesis.rtfs.host import Host, NestingHost
from planner_synthesis.rtfs.json_values import from_python
from planner_synthesis.rtfs.machine import Answered
from planner_synthesis.rtfs.patterns import bind_pattern
from planner_synthesis.rtfs.shapes import Fn
from planner_synthesis.rtfs.value_types import check_type
from planner_synthesis.rtfs.values import (
    Arguments,
    Builtin,
    Call,
    Closure,
    Environment,
    Evaluate,
    Forward,
    Run,
)

_TYPE_DISCOUNT = 8  # a part of a type is about so many characters


class Caller:
    """Answers requests for calls."""

    def __init__(self, host: Host, meter: Meter) -> None:
        self.host = host
        self.meter = meter
        self.call = Builtin("call", 1, None, self._capability, cost="arguments")

    def body(self, forms: tuple[Form, ...], environment: Environment) -> Run:
        """Every form in order; the value of the last, ``nil`` for none."""
        value: Form = None
        for form in forms:
            value = yield Evaluate(form, environment)
        return value

    def bind(self, pattern: Form, value: Form, environment: Environment) -> None:
        """Binds a pattern; taking a value apart costs its weight."""
        if not isinstance(pattern, Sym):
            self.meter.spend_weight(weight_of(value))
        bind_pattern(pattern, value, environment.names)

    def host_step(self, name: str) -> None:
        """Tells the host that a step begins.

        Raises:
            HostFailure: the host failed.
        """
        try:
            self.host.step(name)
        except RtfsError:
            raise
        except Exception as error:
            raise HostFailure(name, f"{type(error).__name__}: {error}") from error

    def called(self, request: Call) -> Answered:
        """The result at once, or the part that makes it."""
        function, arguments = request.function, request.arguments
        while isinstance(function, Forward) and function.function is not None:
            function = function.function
        match function:
            case Builtin(nested=None):
                return self._builtin(function, arguments), None
            case Builtin():
                return None, self._nested(function, arguments)
            case Closure():
                return None, self._closure(function, arguments, request.by_name)
            case Kw():
                return self._keyword(function, arguments), None
            case Forward():
                raise UnboundFunction
        raise RtfsTypeError("function call", "function", type_name(function))

    # --- builtins ---

    def _builtin(self, function: Builtin, arguments: Arguments) -> Form:
        self._admit(function, arguments)
        if function.plain is None:
            raise Unsupported(function.name)
        return self._paid(function, function.plain(arguments))

    def _nested(self, function: Builtin, arguments: Arguments) -> Run:
        self._admit(function, arguments)
        if function.nested is None:
            raise Unsupported(function.name)
        return self._paid(function, (yield from function.nested(arguments)))

    def _admit(self, function: Builtin, arguments: Arguments) -> None:
        n_given = len(arguments)
        if n_given < function.fewest or (function.most is not None and n_given > function.most):
            raise ArityMismatch(function.name, _arity(function), n_given)
        weight = sum(map(weight_of, arguments))
        self.meter.admit_size(weight // 2)  # two of the largest values may be compared
        if function.predict_size is not None:
            self.meter.admit_size(function.predict_size(arguments))
        if function.cost == "arguments":
            self.meter.spend_weight(weight)
        if function.cost == "sorting":
            self.meter.spend_weight(weight * weight.bit_length())

    def _paid(self, function: Builtin, result: Form) -> Form:
        if function.cost != "none":
            self.meter.admit(result)
            self.meter.spend_weight(weight_of(result))
        return result

    # --- functions of the program ---

    def _closure(self, function: Closure, arguments: Arguments, by_name: bool) -> Run:
        shape = function.shape
        if shape.delegated:
            raise Unsupported("a function that is delegated to a model")
        inner = Environment(function.environment)
        if by_name:
            _bind_by_name(shape, arguments, inner)
        else:
            self._bind_in_order(shape, arguments, inner)
        result = yield from self.body(shape.body, inner)
        self._check_type(shape.result, result)
        return result

    def _bind_in_order(self, shape: Fn, arguments: Arguments, inner: Environment) -> None:
        n_wanted, n_given = len(shape.patterns), len(arguments)
        if shape.rest is not None and n_given < n_wanted:
            raise ArityMismatch("user-defined function", f"at least {n_wanted}", n_given)
        if shape.rest is None and n_wanted and n_given != n_wanted:
            raise ArityMismatch("user-defined function", str(n_wanted), n_given)
        for pattern, kind, value in zip(shape.patterns, shape.types, arguments, strict=False):
            self._check_type(kind, value)
            self.bind(pattern, value, inner)
        if shape.rest is not None:
            for value in arguments[n_wanted:]:
                self._check_type(shape.rest_type, value)
            inner.names[shape.rest.name] = List(arguments[n_wanted:])

    def _check_type(self, kind: Form, value: Form) -> None:
        if kind is not None:
            self.meter.spend_weight(weight_of(kind) * weight_of(value) // _TYPE_DISCOUNT)
            check_type(kind, value)

    # --- keywords and capabilities ---

    def _keyword(self, keyword: Kw, arguments: Arguments) -> Form:
        if len(arguments) not in (1, 2):
            raise ArityMismatch(f":{keyword.name}", "1 or 2", len(arguments))
        default = arguments[1] if len(arguments) == 2 else None
        match arguments[0]:
            case Map() as found:
                return found.index.get(map_key(keyword), default)
            case None:
                return default
        raise RtfsTypeError("keyword lookup", "map", type_name(arguments[0]))

    def _capability(self, arguments: Arguments) -> Form:
        match arguments[0]:
            case str(capability_id) | Kw(capability_id):
                pass
            case other:
                raise RtfsTypeError("call", "string or keyword", type_name(other))
        try:
            return from_python(self._asked(capability_id, list(arguments[1:])))
        except RtfsError:
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise HostFailure(capability_id, reason) from error

    def _asked(self, capability_id: str, args: list[Form]) -> object:
        if isinstance(self.host, NestingHost):
            return self.host.call_within(capability_id, args, self.meter)
        return self.host.call(capability_id, args)


def _arity(function: Builtin) -> str:
    if function.most is None:
        return f"at least {function.fewest}"
    if function.fewest == function.most:
        return str(function.most)
    return f"between {function.fewest} and {function.most}"


def _bind_by_name(shape: Fn, arguments: Arguments, inner: Environment) -> None:
    if len(shape.patterns) < len(arguments):
        raise ArityMismatch("user-defined function", str(len(arguments)), len(shape.patterns))
    for pattern, value in zip(shape.patterns, arguments, strict=False):
        if isinstance(pattern, Sym):
            inner.names[pattern.name] = value
