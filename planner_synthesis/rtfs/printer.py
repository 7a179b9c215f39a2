"""Forms to text: the one place in the package where RTFS code is written.

Belongs here: how each node is spelt, the order of keys, the emit rules that make text read back as
the same form. Does not: choosing what to emit (templates).
Source: rtfs.md 6, emit rules 1 to 6.

Keys are sorted and blanks are single, so equal forms have equal texts.
"""

import math
import re
from collections.abc import Callable, Iterable
from decimal import Decimal

from planner_synthesis.rtfs.errors import RtfsSyntaxError, UnprintableForm
from planner_synthesis.rtfs.forms import (
    INT_MAX,
    INT_MIN,
    NAME,
    Form,
    Kw,
    List,
    Map,
    Sym,
    Vector,
    map_key,
    type_name,
)
from planner_synthesis.rtfs.reader import read_expression, read_program

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\t": "\\t", "\r": "\\r"})
_PLACEHOLDER = re.compile(r"<.+>")
# heads that the reader takes apart, because these words need no boundary after them
_EATEN_HEADS = ("if", "def", "try")
_FORM_HEADS = frozenset({"if", "def", "defn", "try"})
# names whose beginning the reader takes for a literal
_LITERAL_LIKE = re.compile(
    r"true|false|nil$|[+-][0-9]|[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
)


def print_program(forms: Iterable[Form]) -> str:
    """Top-level forms, one a line, each line ended.

    Raises:
        UnprintableForm: as ``print_form``; also for a form that cannot stand at the top.
    """
    text = "".join(_text(form) + "\n" for form in forms)
    _check_reads_back(text, lambda: "".join(_text(form) + "\n" for form in read_program(text)))
    return text


def print_form(form: Form) -> str:
    """One form on one line: ``read_expression(print_form(form)) == form``, and that is checked.

    Raises:
        UnprintableForm: no text stands for the form (a symbol ``a b``, a function, syntax beyond
            the subset, a string that is not Unicode), or an emit rule forbids it: a symbol that
            starts like ``true``, a head that starts like ``if``, a placeholder ``<...>``, a bare
            keyword bound by ``let`` or ``def`` or opening a function's body (it would be read as a
            type).

    >>> print_form(List((Sym("call"), "a:b", Map(((Kw("z"), 1.0), (Kw("a"), None))))))
    '(call "a:b" {:a nil :z 1.0})'
    """
    text = _text(form)
    _check_reads_back(text, lambda: _text(read_expression(text)))
    return text


def _check_reads_back(text: str, read_and_print: Callable[[], str]) -> None:
    """Whatever rule the printer may lack: what is not read as it was meant is not written."""
    try:
        is_same = read_and_print() == text
    except RtfsSyntaxError as error:
        raise UnprintableForm(f"the text would not be read: {error}") from None
    if not is_same:
        raise UnprintableForm("the text would be read as another form")


def _text(form: Form) -> str:
    match form:
        case None:
            return "nil"
        case bool():
            return "true" if form else "false"
        case int():
            return _print_int(form)
        case float():
            return _print_float(form)
        case str():
            return _print_string(form)
        case Sym():
            return _print_symbol(form.name)
        case Kw():
            return _print_keyword(form.name)
        case Vector():
            return f"[{' '.join(map(_text, form.items))}]"
        case List():
            _refuse_traps(form.items)
            return f"({' '.join(map(_text, form.items))})"
        case Map():
            pairs = sorted(form.entries, key=lambda pair: _key_order(pair[0]))
            return f"{{{' '.join(f'{_text(k)} {_text(v)}' for k, v in pairs)}}}"
        case _:
            raise UnprintableForm(f"a {type_name(form)} has no text in the planner subset")


def is_keyword_name(name: str) -> bool:
    """Whether ``:name`` reads as this one keyword (emit rule 1); if not, use a string."""
    return NAME.fullmatch(name) is not None


def _key_order(key: str | int | Kw) -> tuple[str, str, int]:
    kind, name = map_key(key)
    return (kind, name, 0) if isinstance(name, str) else (kind, "", name)


def _print_string(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UnprintableForm("half of a surrogate pair can be written to no file") from None
    return f'"{text.translate(_ESCAPES)}"'


def _print_int(number: int) -> str:
    if not INT_MIN <= number <= INT_MAX:
        raise UnprintableForm(f"{number} does not fit 64 bits")
    return str(number)


def _print_float(number: float) -> str:
    if math.isnan(number):
        return "##NaN"
    if math.isinf(number):
        return "##Inf" if number > 0 else "##-Inf"
    text = format(Decimal(repr(number)), "f")
    return text if "." in text else text + ".0"


def _print_keyword(name: str) -> str:
    if not is_keyword_name(name):
        raise UnprintableForm(f"no keyword can be called {name!r}")
    return f":{name}"


def _print_symbol(name: str) -> str:
    if name == "&":  # in a pattern; anywhere else it does not read back
        return name
    if not NAME.fullmatch(name):
        raise UnprintableForm(f"no symbol can be called {name!r}")
    if _LITERAL_LIKE.match(name):
        raise UnprintableForm(f"the symbol {name!r} would be read as a literal")
    if _PLACEHOLDER.fullmatch(name):
        raise UnprintableForm(f"{name!r} is a placeholder that was not filled")
    return name


def _refuse_traps(items: tuple[Form, ...]) -> None:
    head = items[0].name if items and isinstance(items[0], Sym) else ""
    if head.startswith(_EATEN_HEADS) and head not in _FORM_HEADS:
        raise UnprintableForm(f"a call of {head!r} would be read as another form")
    if any(isinstance(value, Kw) for value in _annotated(head, items)):
        raise UnprintableForm(f"a bare keyword here in {head!r} would be read as a type")


def _annotated(head: str, items: tuple[Form, ...]) -> tuple[Form, ...]:
    """The expressions of a form before which a type could stand."""
    match head, items:
        case "let", (_, Vector(bindings), *_):
            return bindings[1::2]
        case "def", (_, _, value, *_):
            return (value,)
        case "fn", (_, Vector(), value, *_):
            return (value,)
        case "defn", (_, _, Vector(), value, *_):
            return (value,)
        case _:
            return ()
