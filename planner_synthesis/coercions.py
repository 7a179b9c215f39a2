"""Whether a value of one type can be given where another is taken, and the RTFS that does it.

Belongs here: the table of coercions, how easy each is, each as a tree over a bound symbol.
Does not: which key goes where (``matching``), whole programs (``templates``).
Spec: planner-synthesis, "Adaptation" (simple coercions); rtfs.md 1.5 and 6 rule 7.

Every coercion gives nil where the value is none of the type: ``parse-int`` and not ``int``, which
gives 0. A value that already is of the type passes. nil stays nil.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec

from planner_synthesis.rtfs.building import list_form as _call
from planner_synthesis.rtfs.forms import Form, List, Map, Sym, Vector
from planner_synthesis.schema import typed_value
from planner_synthesis.types import InputSpec, ParamSpec, ParamType


class Coercion(msgspec.Struct, frozen=True, kw_only=True):
    """How a value gets from one type to another.

    Attributes:
        ease: Percent; 100 when nothing can go wrong.
        name: None when the value passes as it is.
    """

    ease: int
    name: str | None = None


AS_IT_IS: Final = Coercion(ease=100)
_EXACT_FLOATS: Final = 2.0**53
_EASE: Final[dict[tuple[str, str], Coercion]] = {
    ("int", "string"): Coercion(ease=95, name="int->string"),
    ("float", "string"): Coercion(ease=90, name="float->string"),
    ("bool", "string"): Coercion(ease=90, name="bool->string"),
    ("int", "float"): Coercion(ease=95, name="int->float"),
    ("float", "int"): Coercion(ease=60, name="float->int"),
    ("string", "int"): Coercion(ease=75, name="string->int"),
    ("string", "float"): Coercion(ease=75, name="string->float"),
    ("string", "bool"): Coercion(ease=70, name="string->bool"),
    ("string", "date"): Coercion(ease=65, name="parse-date"),
}


def find_coercion(param: ParamSpec, target: InputSpec) -> Coercion | None:
    """The coercion from a parameter to an input; None where there is none.

    An input of unknown type takes a value as it is. Options of an enum are looked at: an enum goes
    into an int where every option is one, into another enum where they share an option.
    """
    source: ParamType = param.type
    if target.type == "any":
        return AS_IT_IS
    if target.type == "other":
        return None
    if target.type == "enum":
        return _into_enum(param, target)
    if source == "enum":
        return _out_of_enum(param, target)
    if source == target.type or (source, target.type) == ("date", "string"):
        return AS_IT_IS
    return _EASE.get((source, target.type))


def _into_enum(param: ParamSpec, target: InputSpec) -> Coercion | None:
    if not target.enum_values:
        return AS_IT_IS if param.type in ("enum", "string") else None
    if param.type == "enum":
        if set(param.enum_values) <= set(target.enum_values):
            return AS_IT_IS
        shared = {v.lower() for v in param.enum_values} & {v.lower() for v in target.enum_values}
        return Coercion(ease=70, name="enum->enum") if shared else None
    return Coercion(ease=70, name="string->enum") if param.type == "string" else None


def _out_of_enum(param: ParamSpec, target: InputSpec) -> Coercion | None:
    if target.type == "string":
        return AS_IT_IS
    kinds: dict[str, ParamType] = {"int": "int", "float": "float", "bool": "bool", "date": "date"}
    kind = kinds[target.type]
    if any(typed_value(option, kind) is None for option in param.enum_values):
        return None
    return _EASE[("string", target.type)]


def is_value_of(value: object, target: InputSpec) -> bool:
    """Whether a literal may be sent to an input as it is; RTFS has ints of 64 bits, and no NaN.

    >>> target = InputSpec(key="limit", type="int")
    >>> is_value_of(10, target), is_value_of(2**64 - 1, target), is_value_of(True, target)
    (True, False, False)
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return False
    if isinstance(value, float) and not math.isfinite(value):
        return False
    if target.type == "enum":
        return isinstance(value, str) and (not target.enum_values or value in target.enum_values)
    if target.type == "any":
        return value is not None
    kinds: dict[str, type] = {"string": str, "date": str, "int": int, "float": float, "bool": bool}
    return target.type in kinds and type(value) is kinds[target.type]


def coercion_form(name: str, value: Sym, enum_values: tuple[str, ...]) -> Form:
    """The expression that coerces ``value``, which is bound and evaluated many times.

    Args:
        name: As in ``Coercion.name``.
        enum_values: Of the input, for coercions into an enum.

    Raises:
        KeyError: no coercion has this name.
    """
    if name in ("string->enum", "enum->enum"):
        return _enum_form(value, enum_values)
    return _FORMS[name](value)


def _if(test: Form, then: Form, otherwise: Form = None) -> List:
    return _call("if", test, then, otherwise)


def _one_of(values: tuple[str, ...], value: Form) -> List:
    return _call("contains?", Vector(values), value)


def _text_of_number(value: Sym) -> Form:
    return _if(_call("string?", value), value, _if(_call("number?", value), _call("str", value)))


def _text_of_bool(value: Sym) -> Form:
    return _if(_call("string?", value), value, _if(_call("bool?", value), _call("str", value)))


def _whole_number(value: Sym) -> Form:
    """``parse-int`` would cut the fraction off a float."""
    return _if(_call("float?", value), None, _call("parse-int", value))


def _whole_float(value: Sym) -> Form:
    whole = Sym("whole")
    checked = _if(_call("=", _call("parse-float", whole), value), whole)
    from_float = _call("let", Vector((whole, _call("parse-int", value))), checked)
    return _if(_call("float?", value), from_float, _if(_call("int?", value), value))


def _finite_float(value: Sym) -> Form:
    """``parse-float`` takes "nan" and "inf", of which x - x is not 0.

    From 2^53 on a float is not every whole number: 9007199254740993 would become another one.
    """
    number = Sym("number")
    is_finite = _call("=", 0.0, _call("-", number, number))
    is_exact = _call(
        "or", _call("float?", value), _call("<", _call("abs", number), _EXACT_FLOATS)
    )  # fmt: skip
    finite = _if(_call("and", is_finite, is_exact), number)
    checked = _if(_call("nil?", number), None, finite)
    return _call("let", Vector((number, _call("parse-float", value))), checked)


def _truth(value: Sym) -> Form:
    word = Sym("word")
    spelled = _call("string-lower", _call("string-trim", value))
    read = _if(
        _one_of(("true", "yes", "y"), word), True, _if(_one_of(("false", "no", "n"), word), False)
    )
    from_text = _call("let", Vector((word, spelled)), read)
    return _if(_call("bool?", value), value, _if(_call("string?", value), from_text))


def _date(value: Sym) -> Form:
    """A text ``YYYY-MM-DD`` from the year 1000 on, of a day that exists.

    The text is written again from its numbers and compared, because ``parse-int`` takes "+5".
    """
    parts, year, month, day = Sym("parts"), Sym("year"), Sym("month"), Sym("day")
    numbers: list[Form] = []
    for at, name in enumerate((year, month, day)):
        numbers += [name, _call("parse-int", _call("nth", parts, at))]
    is_nil = _call("or", *(_call("nil?", name) for name in (year, month, day)))
    read = _call("let", Vector(tuple(numbers)), _if(is_nil, None, _checked_date(value)))
    split = Vector((parts, _call("split", value, "-")))
    has_three = _call("=", 3, _call("count", parts))
    return _if(_call("string?", value), _call("let", split, _if(has_three, read)))


def _checked_date(value: Sym) -> Form:
    year, month, day = Sym("year"), Sym("month"), Sym("day")
    last_day, text = Sym("last-day"), Sym("text")
    february = _if(
        _call("=", 0, _call("mod", year, 400)),
        29,
        _if(_call("=", 0, _call("mod", year, 100)), 28,
            _if(_call("=", 0, _call("mod", year, 4)), 29, 28)),
    )  # fmt: skip
    short = Map(((2, february), (4, 30), (6, 30), (9, 30), (11, 30)))
    spelled = [
        _call("str", _if(_call("<", name, 10), "0", ""), name) for name in (month, day)
    ]  # fmt: skip
    bindings = Vector(
        (last_day, _call("get", short, month, 31),
         text, _call("str", year, "-", spelled[0], "-", spelled[1]))
    )  # fmt: skip
    is_date = _call(
        "and", _call("=", value, text), _call("<=", 1000, year), _call("<=", year, 9999),
        _call("<=", 1, month), _call("<=", month, 12), _call("<=", 1, day),
        _call("<=", day, last_day),
    )  # fmt: skip
    return _call("let", bindings, _if(is_date, value))


def _enum_form(value: Sym, enum_values: tuple[str, ...]) -> Form:
    """The option as the candidate spells it; exact where case tells options apart."""
    lower = {option.lower(): option for option in enum_values}
    if len(lower) < len(set(enum_values)):
        return _if(_one_of(enum_values, value), value)
    found = _call("get", Map(tuple(sorted(lower.items()))), _call("string-lower", value))
    return _if(_call("string?", value), found)


_FORMS: Final[dict[str, Callable[[Sym], Form]]] = {
    "int->string": _text_of_number,
    "float->string": _text_of_number,
    "bool->string": _text_of_bool,
    "int->float": _finite_float,
    "float->int": _whole_float,
    "string->int": _whole_number,
    "string->float": _finite_float,
    "string->bool": _truth,
    "parse-date": _date,
}
COERCION_NAMES: Final = frozenset(_FORMS) | {"string->enum", "enum->enum"}
