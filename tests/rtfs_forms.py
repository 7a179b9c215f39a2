"""What tests of RTFS share: printable forms of every kind, and the probes of ../shared/data.

Belongs here: hypothesis strategies for forms and texts, readers of the probes. Does not: laws.
"""

import json
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from planner_synthesis.rtfs.forms import INT_MAX, INT_MIN, Form, Kw, List, Map, Sym, Vector

_NAME_START = "abzAZ_$+-*/=<>!?%"
NAMES = st.builds(
    "".join,
    st.tuples(
        st.sampled_from(_NAME_START), st.text("abyzAZ019_$+-*/=<>!?%.@", max_size=6),
        st.sampled_from(["", "", "", ":v1.0/b"]),
    ),
)  # fmt: skip
# the printer refuses names that read as a literal or that open another form; laws are for the rest
SYMBOLS = st.builds(
    Sym, st.sampled_from(["x", "call", "->", "a/b", "a.b/c", "do", "let", "if", "empty?", "n:v2/f"])
)
KEYWORDS = st.builds(Kw, NAMES)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
ATOMS: st.SearchStrategy[Form] = st.one_of(
    st.none(), st.booleans(), st.integers(INT_MIN, INT_MAX), st.floats(allow_nan=False), TEXTS,
    SYMBOLS, KEYWORDS,
)  # fmt: skip
KEYS = st.one_of(KEYWORDS, TEXTS, st.integers(INT_MIN, INT_MAX))


def _grown(inner: st.SearchStrategy[Form]) -> st.SearchStrategy[Form]:
    several = st.lists(inner, max_size=4).map(tuple)
    entries = st.lists(st.tuples(KEYS, inner), max_size=4).map(tuple)
    bindings = st.lists(st.tuples(SYMBOLS, inner), max_size=3)
    return st.one_of(
        st.builds(Vector, several),
        st.builds(List, several),
        st.builds(Map, entries),
        st.builds(lambda b, x: List((Sym("let"), _flat(b), x)), bindings, inner),
        st.builds(lambda c, a, b: List((Sym("if"), c, a, b)), inner, inner, inner),
        st.builds(lambda x: List((Sym("fn"), Vector((Sym("x"),)), x)), inner),
    )


def _flat(bindings: list[tuple[Form, Form]]) -> Vector:
    return Vector(tuple(form for binding in bindings for form in binding))


FORMS: st.SearchStrategy[Form] = st.recursive(ATOMS, _grown, max_leaves=25)
# texts that look like programs more often than chance would have it
CODE_LIKE = st.lists(
    st.sampled_from(
        "( ) [ ] { } ( ) [ ] { } let if fn def defn match try catch finally do when & _ : :a :keys "
        ':as :int x y 1 -2 1.5 "s" " nil true # #( @x ^ ` ~ ; #| |# , :vector ? get call map'.split(
            " "
        )
    ),
    max_size=40,
).flatmap(lambda words: st.sampled_from([" ".join(words), "".join(words)]))

# places where a piece of text may stand, and pieces that are at home in one or the other
HOLES = st.sampled_from(
    ["(let [x ...] x)", "(let [... 1] 2)", "(let [x: ... 1] x)", "(fn [...] 1)", "(fn [x] ... x)",
     "(match 1 ... 2)", "(match 1 x ... 2)", "(try 1 ...)", "(try ... (catch e x))", "(def x ...)",
     "(def ... 1)", "(defn f [x] ... x)", "(defn f ... x)", "{:a ...}", "{... 1}", "[...]", "...",
     "(module m ...)", "(plan ...)", "(resource r ...)", "(defstruct S ...)", "(if ...)", "(do ...)"]
)  # fmt: skip
PIECES = st.lists(
    st.sampled_from(
        ["x", "_", "_x", "truex", "nil", ":a", ":keys", ":as", "&", "1", '"s"', "[]", "[x]", "{}",
         "{:a x}", "{x :a}", "{:keys [x] & y}", "[x & y :as z]", "[:vector int]", "int ?", "when",
         "[:map [:a int ?] [:* any]]", "[:union :a [:fn [int & x] y]]", "[:and int [:> 0]]", ":",
         "(:as n x)", "(catch e 1)", "(catch _ 1)", "(catch e x 1)", "(finally 1)", "(def y 1)",
         "(property :a 1)", "(property 1)", "^{:a 1}", "^:delegation :local", "(f)", "()", "(try 1)",
         "(for [x []] 1)", "#(f %)", "@x", "`x", ", ", "; c\n", "#| c |#", "-5", "+x", "λ"]
    ),
    max_size=4,
).map(" ".join)  # fmt: skip


def read_rows(shared_data: Path, name: str) -> list[dict[str, Any]]:
    """The rows of one file of probes."""
    text = (shared_data / "rtfs" / f"{name}.jsonl").read_text()
    return [json.loads(line) for line in text.splitlines()]
