"""Corners of the builtins and call forms, where upstream has a rule that nobody would guess.

Belongs here: one row for each rule, with the value or the kind of the error. Does not: the rules of
evaluation (``test_rtfs_evaluator``), the probes (``test_rtfs_probes``).
"""

import inspect
import sys
import tracemalloc
from typing import Any

import pytest

from planner_synthesis.rtfs import RtfsError, StubHost, evaluate, to_json


def value_or_kind(text: str) -> Any:
    try:
        return to_json(evaluate(text))
    except RtfsError as error:
        return error.kind


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # some builtins fail without a kind of their own
        ("(inc nil)", "Generic"), ("(dec true)", "Generic"), ("(max 1 \"a\")", "Generic"), ("(min nil 1)", "Generic"),
        ("(max \"a\")", "a"), ("(reduce + nil)", "Generic"), ("(reduce + 0 {:a 1})", "Generic"), ("(abs nil)", "TypeError"),
        ("(sqrt -1)", "InvalidArgument"), ("(factorial -1)", "InvalidArgument"), ("(factorial 1.0)", "TypeError"),
        # parity beyond 53 bits, and of what is below zero
        ("(odd? 9007199254740993)", True), ("(even? 9007199254740993)", False), ("(odd? -3)", False), ("(even? -4)", True),
        ("(odd? 3.7)", True), ("(even? ##Inf)", False), ("(even? ##NaN)", True), ("(even? nil)", "TypeError"),
        # remove keeps all but true, and calls: patterns and keywords work
        ("(remove (fn [x] 1) [1 2])", [1, 2]), ("(remove even? [1 2 3])", [1, 3]),
        ("(remove (fn [[a b]] (= a b)) [[1 1] [1 2]])", [[1, 2]]), ("(remove :a [{:a true} {:b 2}])", [{"$map": [[{"$kw": "b"}, 2]]}]),
        ("(remove (fn [x y] true) [1])", "ArityMismatch"), ("(remove 5 [1])", "TypeError"), ("(remove 5 [])", []),
        # what goes over a string or list gives one back; map gives a vector
        ("(remove (fn [c] (= c \"a\")) \"abc\")", '"b""c"'), ("(map-indexed (fn [i c] i) \"ab\")", "01"),
        ("((fn [& r] (map-indexed (fn [i x] i) r)) :a :b)", {"$list": [0, 1]}), ("((fn [& r] (map inc r)) 1)", [2]),
        ("(map call [:a])", "TypeError"), ("(map filter [inc])", "TypeError"), ("(map (fn [c] (:stub (call c))) [:a])", ["a"]), ("(apply call [:a 1])", {"$map": [[{"$kw": "n-args"}, 1], [{"$kw": "stub"}, "a"]]}),
        ("(map string-upper \"ab\")", ["A", "B"]), ("(filter nil? \"ab\")", "TypeError"), ("(map-indexed vector {})", "TypeError"),
        ("(map-indexed (fn [i [a b]] (+ i b)) [[1 2] [3 4]])", [2, 5]), ("(map-indexed :k [1])", "TypeError"),
        # every? and some? can ask a keyword
        ("(every? :a [{:a true} {:a false}])", False), ("(some? :a [{:a false} {:a true}])", True),
        ("(every? :a [{:a 1}])", "TypeError"), ("(some? 5 [1])", "TypeError"), ("(every? nil? [1])", "Generic"), ("(some? 5 [])", False),
        # find looks for the text of what can be no key
        ("(find {\"nil\" 3} nil)", ["nil", 3]), ("(find {:a 1} 1.5)", None), ("(find nil :a)", "TypeError"),
        # what is blank: Unicode's White_Space
        ("(parse-int \"\u00a07\u3000\")", 7), ("(parse-int \"\u001c7\")", None), ("(string-trim \"\u001f a\u2003\")", "\u001f a"),
        ("(parse-int \"-0000000000000000000000000000000000000000000000000007\")", -7),
        # JSON
        ("(parse-json \"[1e400]\")", "Generic"), ("(parse-json \"-0\")", -0.0), ("(parse-json \"18446744073709551615\")", 18446744073709551615.0),
        ("(parse-json \"\\\"\\\\ud800\\\"\")", "Generic"), ("(parse-json \"{\\\"\\\\udc00\\\": 1}\")", "Generic"), ("(parse-json \"{\")", "Generic"),
        ("(serialize-json {:a [1.5 nil \"x\"] 2 {}})", '{"2":{},"a":[1.5,null,"x"]}'), ("(serialize-json :a)", "Generic"), ("((fn [& r] (serialize-json r)) 1)", "Generic"),
        # a function of a recursive let that is not bound yet
        ("(let [f (f 1)] f)", "InternalError"), ("(let [[a] [1] f (fn [] (f)) x (do x)] a)", "NotImplemented"),
        # forms whose shape does not fit
        ("[(for x y)]", "TypeError"), ("(do (for [a [1]]))", "ArityMismatch"),
        ("(match 1 1 :a (f) :b)", {"$kw": "a"}), ("(match 2 (f) :b x x)", 2), ("(match 2 (f) :b _ 7)", 7), ("(match 2 (f) :b 3 4)", "MatchError"),
        # steps
        ("(step-loop true 1)", "Generic"), ("(try (step-loop true 1) (catch e 2))", 2),
        ("(step-parallel :merge-policy :overwrite :expose-context true 1 2)", [1, 2]), ("(step-parallel :context-keys [\"a\"] 1)", [1]),
        ("(step-parallel :merge-policy :other 1)", "InvalidArguments"), ("(step-parallel :context-keys [1] 1)", "InvalidArguments"),
        ("(step-parallel :expose-context [] 1)", "InvalidArguments"), ("(step-parallel :x 1)", "InvalidArguments"), ("(step-parallel :x :y)", [{"$kw": "x"}, {"$kw": "y"}]),
        ("(step-parallel 1 :x (+ 1 1))", [1, {"$kw": "x"}, 2]), ("(step-parallel (def a 1) a)", [1, 1]),
    ],
)  # fmt: skip
def test_a_corner_has_upstreams_value_or_kind_of_error(text: str, expected: Any) -> None:
    found = value_or_kind(text)
    assert found == expected
    assert type(found) is type(expected)


def test_a_step_loop_runs_ten_thousand_rounds_and_no_more() -> None:
    host = StubHost()
    with pytest.raises(RtfsError, match="10000"):
        evaluate("(step-loop true (call :a))", host=host)
    assert len(host.log) == 1 + 10_000


def test_a_string_that_is_joined_again_stays_within_the_size() -> None:
    big = '(reduce (fn [s i] (str s s)) "x" (range 0 15))'
    source = f"(let [big {big}] (map-indexed (fn [& r] big) big))"
    assert value_or_kind(source) == "BudgetExceeded"


def doubled(start: str, n_times: int, joined: str) -> str:
    return f"(reduce (fn [a i] ({joined} a a)) {start} (range 0 {n_times}))"


@pytest.mark.parametrize(
    "source",
    [
        # what is small as a node and long as a text: a name, the message of an error, a number
        f"(let [v {doubled('[:' + 'k' * 90_000 + ']', 15, 'concat')}] (str v))",
        f"(let [v {doubled('[1]', 15, 'concat')} t {doubled(chr(34) + 'x' + chr(34), 15, 'str')}]"
        ' (try (call (str "fail." t)) (catch e (str (map (fn [i] e) v)))))',
        f"(let [v {doubled('[1.0e308]', 8, 'concat')}] (dotimes [i 1000000] (str v)))",
        # a function whose text is looked through is looked through once, and pays for it
        "(dotimes [i 1000000] #(f % [1 2 3 4 5 6 7 8 [1 2 3 4 5 6 7 8 %1]]))",
    ],
    ids=["names", "messages", "numbers", "short functions"],
)
def test_what_is_long_as_text_pays_for_it(source: str) -> None:
    tracemalloc.start()
    kind = value_or_kind(source)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kind == "BudgetExceeded"
    assert peak_bytes < 50_000_000


def called_from(depth: int, source: str) -> Any:
    return value_or_kind(source) if depth == 0 else called_from(depth - 1, source)


@pytest.mark.parametrize("call", ["(count (distinct v))", "(count (sort v))", "(= v v)", "(str v)"])
def test_a_caller_deep_in_its_stack_gets_a_value_or_a_typed_error(call: str) -> None:
    deep = "(reduce (fn [a i] {:a [a]}) {} (range 0 99))"
    source = f"(let [d {deep} v [d d]] {call})"
    depths = [(sys.getrecursionlimit() - len(inspect.stack())) * part // 8 for part in range(8)]
    found = [called_from(depth, source) for depth in depths]
    assert found[0] == found[1] == value_or_kind(source) != "BudgetExceeded"
    assert set(found) <= {found[0], "BudgetExceeded"}
