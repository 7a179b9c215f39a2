"""Which keys of a context reach a call: what a program reads and throws away is of no use.

Belongs here: values that can be told apart, runs on them, what of them was sent.
Does not: what follows for a program (``proposals``); the dry run of every planner (``dry_run``).
Source: ADR 0025.

A key reaches a call where a value that stands for it alone is in what some call was sent, or where
another value of its type changes what is called or sent. A text shows neither: a name that is bound
and never used is read like any other.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, timedelta
from typing import Final

from planner_synthesis.dry_run import calls_of_run
from planner_synthesis.rtfs.forms import Form, List, Map, Vector
from planner_synthesis.rtfs.host import HostCall
from planner_synthesis.templates import context_form
from planner_synthesis.types import ParamSchema, ParamSpec, RuntimeContext, Scalar

FIRST_MARK: Final = 7_310_001  # seven digits, in no example and no default that is likely
FIRST_DAY: Final = date(2101, 1, 1)
MAX_TRIALS: Final = 32  # runs with another value of one key

Values = dict[str, Scalar]


class Trials:
    """A program's runs on values that can be told apart."""

    def __init__(
        self,
        text: str,
        schema: ParamSchema,
        *,
        security: RuntimeContext,
        registry: Mapping[str, tuple[str, ...]],
    ) -> None:
        self.text, self.security, self.registry = text, security, registry
        self.params = {param.key: param for param in schema.params}
        self.places = {key: n for n, key in enumerate(sorted(self.params))}
        # a text may be taken for a number or for a day
        self.contexts = [
            {key: self._marked(param, is_day) for key, param in self.params.items()}
            for is_day in (False, True)
        ]
        self.n_trials_left = MAX_TRIALS
        self.calls = [self._run(values) for values in self.contexts]

    def unreached(self, keys: Iterable[str]) -> tuple[str, ...]:
        """Those of the keys that reach no call, sorted; so does one without a trial left."""
        left = sorted(set(keys))
        for values, calls in zip(self.contexts, self.calls, strict=True):
            if any(_is_sent_whole(call, values) for call in calls):
                return ()
            sent = "\n".join(leaf for call in calls for arg in call.args for leaf in _leaves(arg))
            left = [key for key in left if not self._is_marked_in(sent, key, values[key])]
        return tuple(key for key in left if not self._makes_a_difference(key))

    def _run(self, values: Values) -> tuple[HostCall, ...]:
        return calls_of_run(self.text, values, security=self.security, registry=self.registry)

    def _marked(self, param: ParamSpec, is_day: bool) -> Scalar:
        place = self.places[param.key]
        if param.type == "date" or (param.type == "string" and is_day):
            return (FIRST_DAY + timedelta(days=place)).isoformat()
        mark = FIRST_MARK + place
        options = param.enum_values[0] if param.enum_values else str(mark)
        marks: dict[str, Scalar] = {
            "string": str(mark), "int": mark, "float": mark + 0.5, "bool": True, "enum": options,
        }  # fmt: skip
        return marks[param.type]

    def _is_marked_in(self, sent: str, key: str, value: Scalar) -> bool:
        if self.params[key].type in ("bool", "enum"):  # other keys may have the same value
            return False
        is_text = isinstance(value, str)
        return (str(value) if is_text else str(FIRST_MARK + self.places[key])) in sent

    def _makes_a_difference(self, key: str) -> bool:
        base, calls = self.contexts[0], self.calls[0]
        for value in self._others(key):
            if self.n_trials_left == 0:
                return False
            self.n_trials_left -= 1
            if self._run({**base, key: value}) != calls:
                return True
        return False

    def _others(self, key: str) -> Iterator[Scalar]:
        """Other values of the key's type."""
        param = self.params[key]
        if param.type == "bool":
            yield False
        elif param.type == "enum":
            yield from (*param.enum_values[1:], str(FIRST_MARK + len(self.places)))
        else:
            later = FIRST_MARK + len(self.places)
            day = (FIRST_DAY + timedelta(days=len(self.places))).isoformat()
            others: dict[str, Scalar] = {"int": later, "float": later + 0.25, "date": day}
            yield others.get(param.type, f"{later} and longer")


def _is_sent_whole(call: HostCall, values: Values) -> bool:
    whole = context_form(values)
    given = (arg.index.get(("keyword", "context")) for arg in call.args if isinstance(arg, Map))
    return any(isinstance(one, Map) and one == whole for one in given)


def _leaves(form: Form) -> Iterator[str]:
    """Texts and numbers of a value."""
    if isinstance(form, Vector | List):
        for item in form.items:
            yield from _leaves(item)
    elif isinstance(form, Map):
        for key, value in form.entries:
            yield from _leaves(key)
            yield from _leaves(value)
    elif isinstance(form, str | int | float):
        yield str(form)
