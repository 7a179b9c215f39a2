"""Every way in which RTFS text, forms or programs can fail, as types that carry their data.

Belongs here: the tree of errors. Does not: decide when one is raised.

    RtfsError
    ├── RtfsSyntaxError      text that is not RTFS; line and column
    ├── UnprintableForm      a form that no text can stand for, or that the emit rules forbid
    ├── FormTooDeep          a form or value nested beyond ``forms.MAX_DEPTH``
    ├── BudgetExceeded       steps, depth or size ran out
    ├── HostFailure          a capability was called and failed
    ├── SecurityViolation    a capability was called that the host does not allow
    ├── Unsupported          syntax that is read and understood, and not run here
    │   └── UnsupportedPattern
    └── UndefinedSymbol, UnboundFunction, RtfsTypeError, WrongOperand, TypeValidationError,
        ArityMismatch, InvalidArguments, OutOfDomain, MatchError, DivisionByZero,
        IndexOutOfBounds, IntegerOverflow, BadJson

``kind`` is the name that upstream gives to the same failure, where it has one.
Source: rtfs.md 1.4; evaluation probes (``error_kind``).
"""

from typing import ClassVar


class RtfsError(Exception):
    """Anything that RTFS text or a program can do wrong. Nothing else leaves this package."""

    kind: ClassVar[str] = "Generic"


class RtfsSyntaxError(RtfsError):
    """The text is not RTFS: where (line and column from 1) and why."""

    kind = "ParseError"

    def __init__(self, reason: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {reason}")
        self.reason, self.line, self.column = reason, line, column


class UnprintableForm(RtfsError):
    """No text reads back as this form, or the emit rules (rtfs.md 6) forbid it."""

    kind = "UnprintableForm"

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class FormTooDeep(RtfsError):
    """A form or value would be nested deeper than ``limit``."""

    kind = "BudgetExceeded"

    def __init__(self, limit: int) -> None:
        super().__init__(f"nested deeper than {limit}")
        self.limit = limit


class BudgetExceeded(RtfsError):
    """An evaluation used up its ``resource``: steps, depth, size, or Python's own stack."""

    kind = "BudgetExceeded"

    def __init__(self, resource: str, limit: int) -> None:
        super().__init__(f"more {resource} than {limit}")
        self.resource, self.limit = resource, limit


class HostFailure(RtfsError):
    """A capability was called and failed; the message is the host's."""

    def __init__(self, capability_id: str, message: str) -> None:
        super().__init__(f"Runtime error: {message}")
        self.capability_id, self.message = capability_id, message


class SecurityViolation(RtfsError):
    """The host does not allow this capability in its context."""

    kind = "SecurityViolation"

    def __init__(self, capability_id: str, reason: str = "not allowed in this context") -> None:
        super().__init__(f"capability {capability_id!r} is {reason}")
        self.capability_id, self.reason = capability_id, reason


class UndefinedSymbol(RtfsError):
    """A name that is neither bound nor a builtin."""

    kind = "UndefinedSymbol"

    def __init__(self, name: str) -> None:
        super().__init__(f"Undefined symbol: {name}")
        self.name = name


class RtfsTypeError(RtfsError):
    """An operation was given a value of a type that it does not take."""

    kind = "TypeError"

    def __init__(self, operation: str, expected: str, actual: str) -> None:
        super().__init__(f"Type error in {operation}: expected {expected}, got {actual}")
        self.operation, self.expected, self.actual = operation, expected, actual


class WrongOperand(RtfsError):
    """As ``RtfsTypeError``, from the few builtins for which upstream has no kind of error."""

    def __init__(self, operation: str, expected: str, actual: str) -> None:
        super().__init__(f"Runtime error: {operation} expects {expected}, got {actual}")
        self.operation, self.expected, self.actual = operation, expected, actual


class UnboundFunction(RtfsError):
    """A function of a recursive let was called before it was bound."""

    kind = "InternalError"

    def __init__(self) -> None:
        super().__init__("Internal error: a function was called before it was bound")


class ArityMismatch(RtfsError):
    """A function was given too few or too many arguments."""

    kind = "ArityMismatch"

    def __init__(self, function: str, expected: str, actual: int) -> None:
        super().__init__(f"Arity mismatch in {function}: expected {expected}, got {actual}")
        self.function, self.expected, self.actual = function, expected, actual


class InvalidArguments(RtfsError):
    """A form such as ``step`` has a shape that it does not know."""

    kind = "InvalidArguments"

    def __init__(self, form: str, expected: str) -> None:
        super().__init__(f"Invalid arguments: {form} expected {expected}")
        self.form, self.expected = form, expected


class OutOfDomain(RtfsError):
    """A number for which an operation has no result."""

    kind = "InvalidArgument"

    def __init__(self, operation: str, expected: str) -> None:
        super().__init__(f"Invalid argument: {operation} expects {expected}")
        self.operation, self.expected = operation, expected


class MatchError(RtfsError):
    """No clause of a ``match`` fits the value."""

    kind = "MatchError"

    def __init__(self) -> None:
        super().__init__("Match error: No matching clause")


class DivisionByZero(RtfsError):
    """Division or remainder by zero."""

    kind = "DivisionByZero"

    def __init__(self) -> None:
        super().__init__("Division by zero")


class IndexOutOfBounds(RtfsError):
    """An index outside [0, length)."""

    kind = "IndexOutOfBounds"

    def __init__(self, index: int, length: int) -> None:
        super().__init__(f"Index {index} out of bounds for collection of length {length}")
        self.index, self.length = index, length


class TypeValidationError(RtfsError):
    """A parameter or result does not have the type that is written beside it."""

    kind = "TypeValidationError"

    def __init__(self, expected: str, actual: str) -> None:
        super().__init__(f"Type validation error: expected {expected}, got {actual}")
        self.expected, self.actual = expected, actual


class Unsupported(RtfsError):
    """Syntax or an operation that is known and not run here."""

    def __init__(self, what: str) -> None:
        super().__init__(f"Runtime error: {what} is not supported")
        self.what = what


class UnsupportedPattern(Unsupported):
    """A pattern that is read and that nothing can be matched with."""

    kind = "NotImplemented"


class IntegerOverflow(RtfsError):
    """A result that does not fit a signed 64-bit integer."""

    kind = "IntegerOverflow"

    def __init__(self, operation: str) -> None:
        super().__init__(f"{operation}: the result does not fit 64 bits")
        self.operation = operation


class BadJson(RtfsError):
    """Text that is not JSON, or a value that JSON cannot hold."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Runtime error: {reason}")
        self.reason = reason
