"""A naive second reading of RTFS's grammar, rule by rule, to hold the reader against.

Belongs here: the grammar as parsing expressions, and whether a text is a program by them. Does not:
forms, places, speed or depth: this one recurses, and is for short texts.
Source: rtfs.md 1.1, 1.2.
"""

import re
from collections.abc import Callable
from functools import lru_cache

Peg = Callable[[str, int], int]  # the offset after what is matched; -1 for no match


class Refused(Exception):
    """The grammar takes the text and the language does not."""


def skip(text: str, at: int) -> int:
    found = re.compile(r"(?:[ \t\r\n]|;[^\n]*|#\|(?s:.*?)\|#)*").match(text, at)
    return found.end() if found else at


def rx(pattern: str) -> Peg:
    compiled = re.compile(pattern, re.DOTALL)

    def run(text: str, at: int) -> int:
        found = compiled.match(text, at)
        return found.end() if found else -1

    return run


def word(text_of_word: str) -> Peg:
    return rx(re.escape(text_of_word))


def seq(*parts: Peg) -> Peg:
    def run(text: str, at: int) -> int:
        for index, part in enumerate(parts):
            at = part(text, skip(text, at) if index else at)
            if at < 0:
                return -1
        return at

    return run


def alt(*parts: Peg) -> Peg:
    def run(text: str, at: int) -> int:
        return next((end for end in (part(text, at) for part in parts) if end >= 0), -1)

    return run


def ends_of(part: Peg, text: str, at: int) -> list[tuple[int, int]]:
    """Where each of as many as fit begins and ends, blanks between them."""
    found: list[tuple[int, int]] = []
    while True:
        start = skip(text, at)
        end = part(text, start)
        if end < 0:
            return found
        found.append((start, end))
        at = end


def many(part: Peg, least: int = 0) -> Peg:
    """Blanks before the first are the business of ``seq``, which skips them as well."""

    def run(text: str, at: int) -> int:
        found = ends_of(part, text, at)
        if len(found) < least:
            return -1
        return found[-1][1] if found else at

    return run


def opt(part: Peg) -> Peg:
    def run(text: str, at: int) -> int:
        end = part(text, at)
        return at if end < 0 else end

    return run


def later(name: str) -> Peg:
    @lru_cache(maxsize=4_096)
    def run(text: str, at: int) -> int:
        return RULES[name](text, at)

    return run


def checked(part: Peg, refusal: Callable[[str], bool]) -> Peg:
    def run(text: str, at: int) -> int:
        end = part(text, at)
        if end >= 0 and refusal(text[at:end]):
            raise Refused(text[at:end])
        return end

    return run


IDENT = (
    r"(?:\.[A-Za-z_$+\-*/=<>!?][A-Za-z0-9_$+\-*/=<>!?.]*"
    r"|[A-Za-z_$+\-*/=<>!?%][A-Za-z0-9_$+\-*/=<>!?%.@]*)"
)
NAME = rf"(?:{IDENT}:v[0-9]+(?:\.[0-9]+)*/{IDENT}|{IDENT})"
AFTER_WORD = r"(?:[ \t\r\n]|(?=[)(\"\[\]{}:;]))"
OPEN, CLOSE = word("("), word(")")

expr, kind, pattern, fits = later("expr"), later("kind"), later("pattern"), later("fits")
symbol, keyword = rx(NAME), rx(":" + NAME)
string = checked(
    rx(r'"(?:[^"\\]|\\.)*"'), lambda s: bool(re.search(r"(?s)\\[^ntr\\\"]", s.replace("\\\\", "")))
)
integer = checked(rx(r"[+-]?[0-9]+"), lambda s: not -(2**63) <= int(s) < 2**63)
literal = alt(
    rx(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:_[0-9]{3})?Z"),
    rx(r"[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}"),
    rx(r"resource://[^ \t\r\n]+"), rx(r"##Inf|##-Inf|##NaN"),
    rx(r"[+-]?[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?"), integer, string, rx("true|false"),
    rx(r"nil(?![A-Za-z0-9_$+\-*/=<>!?%.@])"), keyword,
)  # fmt: skip
key = alt(keyword, string, integer)
entries = many(seq(key, expr))
named_kind = alt(symbol, keyword)


def tagged(tag: str, *parts: Peg) -> Peg:
    return seq(word("["), word(tag), *parts, word("]"))


kind_entry = alt(
    seq(word("["), word(":*"), kind, word("]")),
    seq(word("["), keyword, kind, opt(word("?")), word("]")),
    seq(word("{"), many(seq(keyword, kind, opt(word("?"))), 1), word("}")),
)
predicate = alt(
    seq(word("["), alt(word(":has-key"), word(":required-keys")),
        seq(word("["), many(keyword), word("]")), word("]")),
    seq(word("["), alt(keyword, symbol), many(literal), word("]")),
)  # fmt: skip
note = opt(seq(word(":"), kind))
wildcard = word("_")
names = seq(word("["), many(symbol), word("]"))
binding_entry = alt(seq(word(":keys"), names), seq(key, pattern), seq(symbol, key))
tail = seq(opt(seq(word("&"), symbol)), opt(seq(word(":as"), symbol)))
meta = alt(
    seq(word("^"), word(":delegation"), alt(
        seq(word(":local-model"), opt(string)), seq(word(":remote"), opt(string)),
        rx(r":local(?!-)"))),
    seq(word("^"), word("{"), entries, word("}")),
)  # fmt: skip
params = seq(word("["), many(seq(pattern, note)), opt(seq(word("&"), symbol, note)), word("]"))
body = many(expr, 1)
catch = seq(OPEN, word("catch"), symbol, opt(symbol), body, CLOSE)
finally_ = seq(OPEN, word("finally"), body, CLOSE)


def not_handler(text: str, at: int) -> int:
    return -1 if alt(catch, finally_)(text, at) >= 0 else expr(text, at)


def has_no_handler(form: str) -> bool:
    at = skip(form, skip(form, 1) + len("try"))
    inner = ends_of(not_handler, form, at)
    at = skip(form, inner[-1][1] if inner else at)
    handlers = ends_of(catch, form, at)
    unbound = seq(OPEN, word("catch"), rx(rf"_(?!{IDENT[3:-1]})"), body, CLOSE)
    bound = seq(OPEN, word("catch"), symbol, symbol, body, CLOSE)
    for start, _ in handlers:
        name = re.compile(NAME).match(form, skip(form, skip(form, start + 1) + len("catch")))
        if name and name.group() == "_" and bound(form, start) < 0 and unbound(form, start) >= 0:
            return True
    at = handlers[-1][1] if handlers else at
    return not handlers and finally_(form, skip(form, at)) < 0


clause = seq(fits, opt(seq(rx("when" + AFTER_WORD), expr)), expr)
match_head = seq(OPEN, rx("match" + AFTER_WORD), expr)


def has_as_pattern(form: str) -> bool:
    """Upstream reads ``(:as name pattern)`` and then fails on it."""
    clauses = ends_of(clause, form, match_head(form, 0))
    patterns = [form[start : fits(form, start)] for start, _ in clauses]
    return any(re.search(r"\([ \t\r\n]*:as", text) for text in patterns)


let = seq(OPEN, word("let"), word("["), many(seq(pattern, note, expr)), word("]"), body, CLOSE)
defstruct = seq(OPEN, word("defstruct"), symbol, many(seq(keyword, kind)), CLOSE)
defmacro = seq(OPEN, word("defmacro"), symbol, params, body, CLOSE)
vector = seq(word("["), many(expr), word("]"))
for_ = seq(OPEN, word("for"), vector, expr, CLOSE)
def_ = seq(OPEN, word("def"), symbol, note, expr, CLOSE)
defn = seq(OPEN, word("defn"), many(meta), symbol, many(meta), params, note, body, CLOSE)
special = alt(
    let,
    seq(OPEN, word("if"), expr, expr, opt(expr), CLOSE),
    seq(OPEN, rx("do" + AFTER_WORD), many(expr), CLOSE),
    seq(OPEN, rx("fn|λ"), many(meta), params, note, body, CLOSE),
    def_, defn, defmacro, defstruct,
    checked(seq(OPEN, word("try"), many(not_handler), many(catch), opt(finally_), CLOSE), has_no_handler),
    checked(seq(match_head, many(clause, 1), CLOSE), has_as_pattern),
    for_,
)  # fmt: skip
LEAST = {"fn": 1, "if": 2, "def": 2, "let": 2, "do": 1, "defn": 1, "defstruct": 1, "try": 1,
         "match": 1, "for": 1}  # fmt: skip


def is_bad_list(form: str) -> bool:
    items = [form[start:end] for start, end in ends_of(expr, form, 1)]
    if not items:
        return False
    word_ = items[0]
    if len(items) - 1 < LEAST.get(word_, 0):
        return True
    return word_ == "let" and not items[1].startswith("[")


resource_ref = seq(OPEN, word("resource:ref"), string, CLOSE)
nested_only = alt(
    seq(word("#"), OPEN, many(expr), CLOSE),
    seq(OPEN, word("."), rx(IDENT), body, CLOSE),
    seq(word("@"), alt(keyword, symbol)),
    seq(word("`"), expr), seq(word("~"), expr), seq(word("~@"), expr), seq(meta, expr),
)  # fmt: skip
RULES: dict[str, Peg] = {
    "expr": alt(
        nested_only, keyword, literal, symbol,
        resource_ref, special,
        checked(seq(OPEN, many(expr), CLOSE), is_bad_list), vector,
        seq(word("{"), entries, word("}")),
    ),
    "kind": alt(
        seq(named_kind, word("?")), named_kind, tagged(":vector", kind),
        tagged(":map", many(kind_entry)), tagged(":record", many(kind_entry)),
        tagged(":map-of", kind, kind), tagged(":dict", kind, kind), tagged(":tuple", many(kind, 1)),
        tagged(":fn", seq(word("["), many(kind), opt(seq(word("&"), kind)), word("]")), kind),
        tagged(":=>", seq(word("["), many(kind), opt(seq(word("&"), kind)), word("]")), kind),
        tagged(":resource", symbol), tagged(":enum", many(literal, 1)), tagged(":union", many(kind, 1)),
        tagged(":and", kind, many(alt(predicate, kind), 1)), tagged(":val", literal),
        tagged(":array", kind, opt(seq(word("["), many(alt(integer, word("?"))), word("]")))),
    ),
    "pattern": alt(
        wildcard, symbol, seq(word("{"), many(binding_entry), tail, word("}")),
        seq(word("["), many(pattern), tail, word("]")),
    ),
    "fits": alt(
        literal, wildcard, symbol, kind, seq(OPEN, word(":as"), symbol, fits, CLOSE),
        seq(word("["), many(fits), opt(seq(word("&"), symbol)), word("]")),
        seq(word("{"), many(seq(key, fits)), opt(seq(word("&"), symbol)), word("}")),
    ),
}  # fmt: skip
exports = seq(OPEN, word(":exports"), seq(word("["), many(symbol, 1), word("]")), CLOSE)
module = seq(OPEN, word("module"), symbol, opt(exports), many(alt(def_, defn)), CLOSE)
property_ = seq(OPEN, word("property"), keyword, body, CLOSE)


def is_bad_at_the_top(form: str) -> bool:
    if nested_only(form, 0) >= 0 or (defstruct(form, 0) >= 0 and def_(form, 0) < 0):
        return True
    if (for_(form, 0) >= 0 or defmacro(form, 0) >= 0) and def_(form, 0) < 0:
        return True
    if not form.startswith("(") or special(form, 0) >= 0 or resource_ref(form, 0) >= 0:
        return False
    items = [form[start:end] for start, end in ends_of(expr, form, 1)]
    if items and items[0] in ("capability", "plan"):
        keys = items[2::2]
        is_named = len(items) > 1 and items[1].startswith('"')
        return not is_named or len(items) % 2 == 1 or not all(k.startswith(":") for k in keys)
    if items and items[0] == "resource":
        is_named = (
            len(items) > 1 and symbol(items[1], 0) == len(items[1]) and literal(items[1], 0) < 0
        )
        calls = [part for part in items[2:] if re.match(r"\((?!\.)", part)]
        heads = {part: [part[a:b] for a, b in ends_of(expr, part, 1)][:1] for part in calls}
        return not is_named or any(
            heads[part] == ["property"] and property_(part, 0) < 0 for part in calls
        )
    return False


def is_special_form(text: str) -> bool:
    """Whether a text that reads as a list is a special form and no call."""
    return special(text, 0) == len(text)


def is_program(text: str) -> bool:
    """Whether the language takes a text as a program."""
    at = skip(text, 0)
    try:
        while at < len(text):
            end = module(text, at)
            if end < 0:
                end = RULES["expr"](text, at)
                if end < 0 or is_bad_at_the_top(text[at:end]):
                    return False
            at = skip(text, end)
    except Refused:
        return False
    return True
