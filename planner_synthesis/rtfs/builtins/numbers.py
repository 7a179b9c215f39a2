"""Arithmetic, comparison and coercion of numbers.

Belongs here: what works on numbers. Does not: their text (``values.float_text``).
Source: rtfs.md 1.4 (arithmetic), 1.5 (coercions and what they give on failure).

As upstream: ``-`` and ``/`` reckon in floats even for integers, ``/`` gives an integer where the
result is whole, ``mod`` has the sign of the dividend. A result beyond 64 bits is an
``IntegerOverflow`` here (a panic there).
"""

import math
import operator
import re
from collections.abc import Callable

from planner_synthesis.rtfs.builtins.arguments import (
    WHITE_SPACE,
    integer_in,
    is_integer,
    number_in,
)
from planner_synthesis.rtfs.errors import (
    DivisionByZero,
    IntegerOverflow,
    OutOfDomain,
    RtfsTypeError,
    WrongOperand,
)
from planner_synthesis.rtfs.forms import INT_MAX, INT_MIN, Form, Vector, same, type_name
from planner_synthesis.rtfs.values import Arguments, Builtin

_INTEGER = re.compile(r"([+-]?)0*([0-9]{1,19})")
_FLOAT = re.compile(
    r"[+-]?(?:inf|infinity|nan|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:e[+-]?[0-9]+)?)", re.IGNORECASE
)


def _fitted(result: int | float, operation: str) -> int | float:
    if isinstance(result, int) and not INT_MIN <= result <= INT_MAX:
        raise IntegerOverflow(operation)
    return result


def saturated(number: float) -> int:
    """A float cut to an integer within 64 bits; NaN is 0."""
    if math.isnan(number):
        return 0
    return int(max(min(number, float(INT_MAX)), float(INT_MIN))) if abs(number) < 2**63 else (
        INT_MAX if number > 0 else INT_MIN
    )  # fmt: skip


def _add(args: Arguments) -> Form:
    total: int | float = number_in(args[0], "+")
    for value in args[1:]:
        total = _fitted(total + number_in(value, "+"), "+")
    return total


def _multiply(args: Arguments) -> Form:
    total: int | float = number_in(args[0], "*")
    for value in args[1:]:
        total = _fitted(total * number_in(value, "*"), "*")
    return total


def _subtract(args: Arguments) -> Form:
    first = number_in(args[0], "-")
    if len(args) == 1:
        return _fitted(-first, "-")
    total = float(first)
    for value in args[1:]:
        total -= float(number_in(value, "-"))
    return saturated(total) if all(map(is_integer, args)) else total


def _divide(args: Arguments) -> Form:
    total = float(number_in(args[0], "/"))
    for value in args[1:]:
        divisor = float(number_in(value, "/"))
        if divisor == 0:
            raise DivisionByZero
        total /= divisor
    is_whole = math.isfinite(total) and total.is_integer()
    return saturated(total) if is_whole else total


def _mod(args: Arguments) -> Form:
    left, right = (number_in(value, "mod") for value in args)
    if right == 0:
        raise DivisionByZero
    if isinstance(left, int) and isinstance(right, int):
        remainder = abs(left) % abs(right)
        return -remainder if left < 0 else remainder
    return math.nan if math.isinf(left) else math.fmod(left, right)


def _pow(args: Arguments) -> Form:
    base, exponent = (number_in(value, "pow") for value in args)
    if isinstance(base, int) and isinstance(exponent, int) and exponent >= 0:
        if abs(base) > 1 and exponent > 63:
            raise IntegerOverflow("pow")
        power = base**exponent if abs(base) > 1 else base ** (exponent % 2 + 2 * (exponent > 0))
        return _fitted(power, "pow")
    try:
        return math.pow(base, exponent)
    except OverflowError:
        return math.inf if base > 0 or float(exponent) % 2 == 0 else -math.inf
    except ValueError:
        return math.inf if base == 0 else math.nan


def _sqrt(args: Arguments) -> Form:
    number = number_in(args[0], "sqrt")
    if number < 0:
        raise OutOfDomain("sqrt", "a number that is not negative")
    return math.sqrt(number)


def _factorial(args: Arguments) -> Form:
    number = integer_in(args[0], "factorial")
    if number < 0:
        raise OutOfDomain("factorial", "a number that is not negative")
    if number > 20:
        raise IntegerOverflow("factorial")
    return math.factorial(number)


def _operand(value: Form, operation: str) -> int | float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    raise WrongOperand(operation, "a number", type_name(value))


def _step_by(operation: str, by: int) -> Callable[[Arguments], Form]:
    def run(args: Arguments) -> Form:
        return _fitted(_operand(args[0], operation) + by, operation)

    return run


def _abs(args: Arguments) -> Form:
    return _fitted(abs(number_in(args[0], "abs")), "abs")


def _extreme(name: str, beats: Callable[[float, float], bool]) -> Callable[[Arguments], Form]:
    def run(args: Arguments) -> Form:
        if len(args) == 1:
            return args[0]  # as upstream: what is compared with nothing may be anything
        best = _operand(args[0], name)
        for value in args[1:]:
            number = _operand(value, name)
            best = number if beats(number, best) else best
        return best

    return run


def _ordered(name: str, holds: Callable[[int], bool]) -> Callable[[Arguments], Form]:
    def run(args: Arguments) -> Form:
        left, right = args
        if isinstance(left, str) and isinstance(right, str):
            return holds((left > right) - (left < right))
        numbers = [v for v in args if isinstance(v, int | float) and not isinstance(v, bool)]
        if len(numbers) < 2:
            actual = f"{type_name(left)} and {type_name(right)}"
            raise RtfsTypeError(name, "comparable types", actual)
        first, second = map(float, numbers)
        is_ordered = not (math.isnan(first) or math.isnan(second))
        return is_ordered and holds((first > second) - (first < second))

    return run


def _parity(name: str, remainder: int) -> Callable[[Arguments], Form]:
    def run(args: Arguments) -> Form:
        number = number_in(args[0], name)
        whole = saturated(number) if isinstance(number, float) else number
        return whole % 2 == remainder and (whole >= 0 or remainder == 0)

    return run


def _equal(args: Arguments) -> Form:
    return all(same(args[0], value) for value in args[1:])


def _differ(args: Arguments) -> Form:
    return not same(args[0], args[1])


def read_integer(text: str) -> int | None:
    """A string as a 64-bit integer: blanks around it, a sign, digits, and nothing else."""
    found = _INTEGER.fullmatch(text.strip(WHITE_SPACE))
    number = int(found[1] + found[2]) if found else INT_MAX + 1
    return number if INT_MIN <= number <= INT_MAX else None


def read_float(text: str) -> float | None:
    """A string as a float, in any notation that upstream's ``parse`` takes."""
    text = text.strip(WHITE_SPACE)
    return float(text) if _FLOAT.fullmatch(text) else None


def _parse_int(args: Arguments) -> Form:
    match args[0]:
        case str(text):
            return read_integer(text)
        case float(number):
            return saturated(number)
        case int() if is_integer(args[0]):
            return args[0]
    return None


def _parse_float(args: Arguments) -> Form:
    match args[0]:
        case str(text):
            return read_float(text)
        case int() | float() if not isinstance(args[0], bool):
            return float(args[0])
    return None


def _int(args: Arguments) -> Form:
    return int(args[0]) if isinstance(args[0], bool) else _parse_int(args) or 0


def _float(args: Arguments) -> Form:
    return float(args[0]) if isinstance(args[0], bool) else _parse_float(args) or 0.0


def _range(args: Arguments) -> Form:
    start, end = (integer_in(value, "range") for value in args)
    return Vector(tuple(range(start, end)))


def _numbers(args: Arguments) -> Form:
    start, end = (saturated(float(number_in(value, "numbers"))) for value in args)
    return Vector(tuple(range(start, end + 1)))


def _span(args: Arguments) -> int:
    ends = [saturated(float(v)) for v in args if isinstance(v, int | float)]
    return abs(ends[1] - ends[0]) if len(ends) == 2 else 0


NUMBERS = (
    Builtin("+", 1, None, _add),
    Builtin("-", 1, None, _subtract),
    Builtin("*", 1, None, _multiply),
    Builtin("/", 1, None, _divide),
    Builtin("mod", 2, 2, _mod),
    Builtin("pow", 2, 2, _pow),
    Builtin("sqrt", 1, 1, _sqrt),
    Builtin("factorial", 1, 1, _factorial),
    Builtin("inc", 1, 1, _step_by("inc", 1)),
    Builtin("dec", 1, 1, _step_by("dec", -1)),
    Builtin("abs", 1, 1, _abs),
    Builtin("max", 1, None, _extreme("max", operator.gt)),
    Builtin("min", 1, None, _extreme("min", operator.lt)),
    Builtin("<", 2, 2, _ordered("<", lambda sign: sign < 0), cost="arguments"),
    Builtin(">", 2, 2, _ordered(">", lambda sign: sign > 0), cost="arguments"),
    Builtin("<=", 2, 2, _ordered("<=", lambda sign: sign <= 0), cost="arguments"),
    Builtin(">=", 2, 2, _ordered(">=", lambda sign: sign >= 0), cost="arguments"),
    Builtin("=", 1, None, _equal, cost="arguments"),
    Builtin("!=", 2, 2, _differ, cost="arguments"),
    Builtin("not=", 2, 2, _differ, cost="arguments"),
    Builtin("even?", 1, 1, _parity("even?", 0)),
    Builtin("odd?", 1, 1, _parity("odd?", 1)),
    Builtin("parse-int", 1, 1, _parse_int, cost="arguments"),
    Builtin("parse-float", 1, 1, _parse_float, cost="arguments"),
    Builtin("int", 1, 1, _int, cost="arguments"),
    Builtin("float", 1, 1, _float, cost="arguments"),
    Builtin("range", 2, 2, _range, cost="result", predict_size=_span),
    Builtin("numbers", 2, 2, _numbers, cost="result", predict_size=_span),
)
