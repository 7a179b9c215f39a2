"""The evaluator: the rules of the language, the budget, the host, and laws over generated code."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner_synthesis.rtfs import (
    BUILTINS,
    BudgetExceeded,
    Form,
    HostFailure,
    Kw,
    Limits,
    List,
    Map,
    RtfsError,
    SecurityViolation,
    StubHost,
    Sym,
    Vector,
    evaluate,
    from_python,
    read_expression,
    read_program,
    to_json,
)
from planner_synthesis.rtfs.errors import BadJson
from planner_synthesis.rtfs.json_values import to_plain_json
from tests.rtfs_forms import CODE_LIKE, FORMS

SMALL = Limits(steps=3_000, depth=100, size=3_000)


def run(text: str, **given: Any) -> Any:
    """The value as JSON data, or the kind of the error."""
    try:
        return to_json(evaluate(text, **given))
    except RtfsError as error:
        return type(error).__name__


@pytest.mark.parametrize(
    ("text", "value"),
    [
        # values and equality
        ("(= 1 1.0)", False), ("(= [1] [1])", True), ("(= [[1]] [[1.0]])", False),
        ("(= ##NaN ##NaN)", False), ("(= + +)", True), ("(= (fn [] 1) (fn [] 1))", False),
        # let
        ("(let [x 1 x 2] x)", 2), ("(let [x 1] (let [y x] (+ x y)))", 2),
        ("(let [x 1 x (+ x 1)] x)", "RtfsTypeError"),
        ("(let [f (fn [n] (if (= n 0) 0 (f (- n 1))))] (f 20))", 0),
        ("(let [e (fn [n] (if (= n 0) true (o (- n 1)))) o (fn [n] (if (= n 0) false (e (- n 1))))] (e 7))", False),
        ("(let [f (fn [n] (if (= n 0) 0 (f (- n 1))))] (map f [1]))", "RtfsTypeError"),
        ("(let [{:keys [a] b :b & r} {:a 1 :b 2 :c 3}] [a b r])", [1, 2, {"$map": [[{"$kw": "c"}, 3]]}]),
        ("(let [[a [b & c] :as w] [1 [2 3 4]]] [a b c])", [1, 2, [3, 4]]),
        ("(let [[a & r :as w] [1 2]] [a r w])", [1, [2], [1, 2]]),
        ("(let [{:a [x y]} {:a [1 2]}] y)", 2), ("(let [[a b] [1]] b)", "RtfsTypeError"),
        ("(let [_x 1] 2)", "UndefinedSymbol"), ("(let [_ 1] _)", "UndefinedSymbol"),
        ("(let [x :int 5] x)", 5), ("(let [x :a] x)", "UndefinedSymbol"),
        # if, do, def, scope
        ("(if 0 1 2)", 1), ("(if nil 1)", None), ("(if true 1 2 3)", "UndefinedSymbol"),
        ("(do (def x 1) (def x 2) x)", 2), ("(do (let [a 1] (def z a)) z)", "UndefinedSymbol"),
        ("(def x 1) (defn f [] x) (def x 2) (f)", 1), ("(defn f [] (g)) (defn g [] 1) (f)", "UndefinedSymbol"),
        ("(def f (fn [n] (f n))) (f 1)", "UndefinedSymbol"),
        # functions
        ("((fn [] 1) 2 3)", 1), ("((fn [a & r] r) 1)", {"$list": []}), ("((fn [a] a))", "ArityMismatch"),
        ("((fn [[a b] {:keys [c]}] (+ a b c)) [1 2] {:c 3})", 6),
        ("((fn [x:int] x) \"a\")", "TypeValidationError"), ("((fn [x:foo] x) \"a\")", "TypeValidationError"), ("((fn [x: Int y:float] : Int x) 1 2)", 1), ("((fn [x:any] x) nil)", None),
        ("((fn [& r: :string] (count r)) \"a\" \"b\")", 2), ("((fn [x & r: :string] x) 1 2)", "TypeValidationError"),
        ("((fn [v : [:vector :int]] (reduce + v)) [1 2])", 3), ("((fn [v : [:vector :int]] v) [1 \"x\"])", "TypeValidationError"),
        ("((fn [[a b] : [:tuple :int :string]] a) [1 \"x\"])", 1), ("((fn [[a b] : [:tuple :int :string]] a) [1 2])", "TypeValidationError"),
        ("((fn [x : [:union :int :nil]] x) nil)", None), ("((fn [x : [:union :int :nil]] x) true)", "TypeValidationError"),
        ("((fn [x : int ?] x) nil)", None), ("((fn [x : int ?] x) \"a\")", "TypeValidationError"), ("((fn [x : [:enum :a 1]] x) 1.0)", "TypeValidationError"),
        ("((fn [{:a a} : [:map [:a :int] [:b :string ?] [:* :any]]] a) {:a 2})", 2), ("((fn [{:a a} : [:map [:a :int]]] a) {:b 2})", "TypeValidationError"),
        ("((fn [m : [:map {:a :int}]] (:a m)) {:a 2})", 2), ("((fn [m : [:map-of :keyword :int]] (:a m)) {:a 2})", 2), ("((fn [m : [:map-of :string :int]] 1) {:a 2})", "TypeValidationError"),
        ("((fn [x : [:and int [:> 0] [:<= 5]]] x) 5)", 5), ("((fn [x : [:and int [:> 0]]] x) 0)", "TypeValidationError"),
        ("((fn [s : [:and string [:min-length 2]]] s) \"a\")", "TypeValidationError"), ("((fn [f : [:fn [int] int]] (f 1)) inc)", 2),
        ("((fn [x : [:array int [2 ?]]] (count x)) [1])", 1), ("((fn [x : [:resource File]] x) 1)", "TypeValidationError"), ("((fn [x : [:val 3]] x) 3)", 3),

        ("(defn f [x]:string x) (f 1)", "TypeValidationError"),
        ("(map (fn [[k v]] v) [[1 2] [3 4]])", [2, 4]),
        ("(filter (fn [[k v]] v) [[1 2]])", "UndefinedSymbol"),
        ("(reduce (fn [a] a) 0 [1])", "ArityMismatch"),
        ("(#(+ %1 %2) 1 2)", 2), ("(map #(* % %) [2 3])", [2, 3]),
        ("(apply + 1 [2 3])", 6), ("(apply vector {:a 1})", [{"$kw": "a"}, 1]),
        ("(update {:a 1} :b str)", {"$map": [[{"$kw": "a"}, 1], [{"$kw": "b"}, "nil"]]}),
        # data lists hold their first element twice
        ("((do inc) 1)", "ArityMismatch"), ("(\"a\" 1)", "RtfsTypeError"), ("((if true + 1) 1 2)", "RtfsTypeError"),
        # keywords and get
        ("(:a nil 5)", 5), ("(:a {:a nil} 5)", None), ("(:a)", "ArityMismatch"), ("(:a \"x\")", "RtfsTypeError"),
        ("(let [k 3] (get :k))", 3), ("(get :nothing)", None), ("(get \"x\")", "InvalidArguments"),
        ("(let [get 1] (get {:a 2} :a))", "RtfsTypeError"), ("(get [1 2] -1 9)", 9), ("(get 1 :a)", "RtfsTypeError"),
        ("(get {:a 1} [1])", "RtfsTypeError"),
        # match
        ("(match [1 2] [1 x] x _ 0)", 2), ("(match [1 2] [a & r] r)", 2), ("(match [1] [a & r] r)", "MatchError"),
        ("(match {:a 1} {:a 1 & r} :yes)", {"$kw": "yes"}), ("(match 1 x when (> x 1) :a x x)", 1),
        ("(match 1 1.0 :f 1 :i)", {"$kw": "i"}), ("(match 1 [:vector int] 1)", "UnsupportedPattern"),
        ("(match \"a\" \"b\" 1 nil 2 true 3 :k 4 s s)", "a"),
        # try
        ("(try (/ 1 0) (catch E e (str e)))", "#<error: Division by zero>"),
        ("(try (/ 1 0) (catch e (type-name e)))", "error"), ("(try (nope) (finally 1))", "UndefinedSymbol"),
        ("(try 1 (catch e 2) (finally 3))", 1), ("(try (nope) (catch a b (nope2)) (finally 3))", "UndefinedSymbol"),
        ("(try (catch e 1) (finally 3))", None),
        ("(try (dotimes [i 1000000] i) (catch e 1))", "BudgetExceeded"),
        # and, or evaluate everything
        ("(and 1 nil false)", None), ("(or false nil)", None), ("(or nil 2 (nope))", "UndefinedSymbol"),
        # numbers
        ("(- 9007199254740993 0)", 9007199254740992), ("(/ 6 4)", 1.5), ("(/ 4.0 2)", 2), ("(/ 0.0)", 0),
        ("(+ 9223372036854775807 1)", "IntegerOverflow"), ("(* 4611686018427387904 2)", "IntegerOverflow"),
        ("(mod -7 3)", -1), ("(mod 7.5 2)", 1.5), ("(mod 1 0)", "DivisionByZero"), ("(pow 2 10)", 1024),
        ("(pow 2 -1)", 0.5), ("(pow 0 0)", 1), ("(pow 0 5)", 0), ("(pow -1 1000000001)", -1),
        ("(pow -1 1000000000)", 1), ("(pow 2 64)", "IntegerOverflow"),
        ("(< 1 2 3)", "ArityMismatch"), ("(> true false)", "RtfsTypeError"), ("(max 1 2.5 2)", 2.5), ("(inc \"a\")", "WrongOperand"),
        ("(parse-int \" -7 \")", -7), ("(parse-int \"9223372036854775808\")", None), ("(parse-int \"٣\")", None),
        ("(parse-int 1e9)", "UndefinedSymbol"), ("(parse-int ##Inf)", 9223372036854775807),
        ("(parse-float \"1.\")", 1.0), ("(parse-float \"1_0\")", None), ("(parse-float \"-INF\")", {"$float": "-inf"}),
        ("(int true)", 1), ("(float \"x\")", 0.0), ("(even? -2)", True), ("(odd? -1)", False),
        # text
        ("(str 1.0e21 \" \" 1.5e-7 \" \" -0.0)", "1000000000000000000000 0.00000015 -0"),
        ("(str [nil true :a/b \"q\" {:k [1]}])", "[nil true :a/b \"q\" {:k [1]}]"),
        ("(split \"abc\" \"\")", ["a", "b", "c"]), ("(substring \"héé\" 1)", "éé"), ("(substring \"a\" 2)", "IndexOutOfBounds"),
        ("(join \"-\" [1 \"a\" nil])", "1-a-nil"), ("(string-lower nil)", "RtfsTypeError"), ("(starts-with? nil \"a\")", False),
        ("(parse-json \"{\\\"a\\\": [1, 2.5, null]}\")", {"$map": [["a", [1, 2.5, None]]]}),
        ("(parse-json \"[NaN]\")", "BadJson"), ("(serialize-json {:b [1 nil] \"a\" \"x\"})", "{\"a\":\"x\",\"b\":[1,null]}"),
        ("(serialize-json +)", "BadJson"),
        # collections
        ("(conj [1] 2 3)", [1, 2, 3]), ("(conj nil 1)", "RtfsTypeError"), ("(assoc [1 2] 1 :x)", [1, {"$kw": "x"}]),
        ("(assoc {} 1.5 2)", "RtfsTypeError"), ("(sort [:b nil 2 \"a\" 1.5 true [1]])", [None, True, 1.5, 2, "a", {"$kw": "b"}, [1]]),
        ("(distinct [1 1.0 1 [2] [2]])", [1, 1.0, [2]]), ("(take -1 [1 2])", [1, 2]), ("(drop 5 \"ab\")", ""),
        ("(partition 2 [1 2 3])", [[1, 2], [3]]), ("(contains? \"abc\" \"b\")", True), ("(range 3 1)", []),
        ("(concat [1] \"ab\" 2)", [1, "a", "b", 2]), ("(group-by even? [1 2 4])", {"$map": [["false", [1]], ["true", [2, 4]]]}),
        ("(every? int? [])", True), ("(some? int? [1])", "Unsupported"), ("(count nil)", "RtfsTypeError"),
        ("(nth \"ab\" 1)", "b"), ("(last [])", None), ("(find {:a 1} :a)", [{"$kw": "a"}, 1]),
        # declarations, loops, the rest
        ("(plan \"p\" :body (+ 1 2))", {"$map": [["body", 3]]}), ("(module m (:exports [a]) (def a 1))", {"$map": [["exports", ["a"]], ["name", "m"]]}),
        ("(do (plan \"p\" :body 1))", "UndefinedSymbol"), ("(dotimes [i 3] i)", 2), ("(dotimes [i 0] i)", None),
        ("[(for [x [1 2] y [3 4]] (* x y))]", [[3, 4, 6, 8]]), ("[@x (resource:ref \"r\")]", ["@x", "@r"]),
        ("[^{:a 1} 5]", [5]), ("[(.inc 1)]", [2]), ("[`x]", "Unsupported"), ("(fn ^:delegation :remote \"m\" [] 1)", {"$fn": True}),
        ("((fn ^:delegation :remote \"m\" [] 1))", "Unsupported"), ("(llm-execute \"m\" \"p\")", "SecurityViolation"),
        ("(get-env \"HOME\")", "UndefinedSymbol"), ("", None),
    ],
)  # fmt: skip
def test_a_program_has_this_value(text: str, value: Any) -> None:
    found = run(text)
    assert found == value
    assert type(found) is type(value)


def test_an_expression_is_the_first_form_and_no_declaration() -> None:
    assert run("1 2 )", mode="expression") == 1
    assert run('(plan "p" :a 1)', mode="expression") == "UndefinedSymbol"
    assert run(" 1", mode="expression") == "RtfsSyntaxError"
    assert evaluate([List((Kw("a"), Map(((Kw("a"), 7),)))), 8], mode="expression") == 7


@pytest.mark.parametrize("given", [b"1", bytearray(b"1"), memoryview(b"1"), {"a": 1}])
def test_what_is_neither_text_nor_forms_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match="text or forms"):
        evaluate(given)


@pytest.mark.parametrize("mode", ["expr", "", None])
def test_a_mode_that_is_none_is_refused(mode: Any) -> None:
    with pytest.raises(ValueError, match="program or expression"):
        evaluate("1", mode=mode)


def test_the_context_is_bound_as_given() -> None:
    assert run("(:trip/dates context)", context={"trip/dates": [1]}) == [1]
    assert run('(get context "no key")', context={"no key": True}) is True
    assert run("context") == "UndefinedSymbol"
    assert run("context", context={1.5: 1}) == "BadJson"
    assert run("context", context=["x" * 10**6]) == "BudgetExceeded"


class Allowing:
    """A gate that lets through what it was made with."""

    def __init__(self, *ids: str) -> None:
        self.ids = ids

    def is_allowed(self, capability_id: str) -> bool:
        return capability_id in self.ids


def test_the_host_logs_every_call_in_order_and_refuses_what_the_gate_does() -> None:
    host = StubHost(Allowing("a", "fail.b"))
    text = '(step "S" (call :a 1)) (try (call "fail.b") (catch e 0)) (call :a:b 2) (call :c {:x 1})'
    assert run(text, host=host) == "SecurityViolation"
    assert host.log_as_json() == [
        {"step": "S"}, {"capability": "a", "args": [1]}, {"capability": "fail.b", "args": []},
        {"capability": "a", "args": [{"$kw": "b"}, 2]},
    ]  # fmt: skip
    assert host.refused == ["c"]


def test_a_host_answers_with_plain_data_and_its_failures_are_typed() -> None:
    answers = {
        "rows": lambda args: {"n": len(args)},
        "bad": lambda args: object(),
        "boom": lambda args: 1 / 0,
    }
    host = StubHost(answers=answers)
    assert run("(:n (call :rows 1 2))", host=host) == 2
    assert run("(call :bad)", host=host) == "BadJson"
    with pytest.raises(HostFailure, match="ZeroDivisionError") as failed:
        evaluate("(call :boom)", host=host)
    assert failed.value.capability_id == "boom"
    with pytest.raises(SecurityViolation) as refused:
        evaluate("(call :boom)", host=StubHost(Allowing()))
    assert refused.value.capability_id == "boom"


@pytest.mark.parametrize(
    ("text", "resource"),
    [
        ("(step-loop true 1)", "steps"), ("(dotimes [i 1000000000] i)", "steps"),
        ("(defn f [] (f)) (f)", "depth"), ("(defn f [x] (+ 1 (f x))) (f 1)", "depth"),
        ('(reduce (fn [a x] (str a a)) "ab" (range 0 60))', "size"),
        ("(reduce (fn [a x] [a a]) 1 (range 0 60))", "size"),
        ("(range 0 1000000000000)", "size"), ("(numbers 0 1.0e18)", "size"),
        ("(join (str (range 0 500)) (range 0 2000))", "size"),
        ("(dotimes [i 1000] (sort (range 0 2000)))", "steps"),
        ("(let [a (range 0 2000)] (dotimes [i 1000] (let [[x & r] a] x)))", "steps"),
        ("(let [a (range 0 2000)] (dotimes [i 1000] (apply (fn [& r] 1) a)))", "steps"),
        ("(dotimes [i 1000] (try (step-loop true 1) (catch e 1)))", "steps"),
        ("(do (for [a (range 0 900) b (range 0 900) c (range 0 900)] 1))", "steps"),
    ],
)  # fmt: skip
def test_a_budget_ends_what_would_not_end(text: str, resource: str) -> None:
    with pytest.raises(BudgetExceeded) as ended:
        evaluate(text, limits=SMALL)
    assert ended.value.resource == resource


def test_looking_through_a_binding_is_paid_for() -> None:
    text = "(let [x (if true 1 [" + "y " * 12_000 + "])] x)"
    assert run(text) == 1
    assert run(text, limits=Limits(steps=200)) == "BudgetExceeded"


def test_a_value_nested_too_deep_is_refused() -> None:
    assert run("(reduce (fn [a x] [a]) 1 (range 0 1000))") == "FormTooDeep"


def test_recursion_to_the_depth_that_planners_need_is_no_error() -> None:
    assert run("(defn f [n] (if (= n 0) 0 (+ 1 (f (- n 1))))) (f 100)") == 100


@given(FORMS)
@settings(max_examples=200)
def test_a_value_without_code_is_itself(form: Form) -> None:
    if not has_code(form):
        assert evaluate([form, form], context=1) == form


def has_code(form: Form) -> bool:
    if isinstance(form, Vector):
        return any(map(has_code, form.items))
    if isinstance(form, Map):
        return any(has_code(value) for _, value in form.entries)
    return isinstance(form, Sym | List)


NAMES_OF_CODE = st.sampled_from(
    [
        *BUILTINS,
        "call",
        "let",
        "if",
        "fn",
        "do",
        "def",
        "match",
        "try",
        "step",
        "x",
        "y",
        ":k",
        "[]",
    ]
)
ATOMS_OF_CODE = st.sampled_from(
    ["1", "-3", "2.5", '"s"', "nil", "true", ":k", "[1 2 3]", "{:k 1}", "x", "inc", "[[1] [2]]",
     "(fn [x] x)", "(fn [x y] y)", "##Inf", "9223372036854775807"]
)  # fmt: skip
CODE = st.recursive(
    ATOMS_OF_CODE,
    lambda inner: st.builds(
        lambda head, parts: f"({head} {' '.join(parts)})", NAMES_OF_CODE, st.lists(inner, max_size=3)
    ) | st.builds(lambda a, b: f"(let [x {a} y x] {b})", inner, inner),
    max_leaves=12,
)  # fmt: skip


@given(CODE | CODE_LIKE)
@settings(max_examples=400)
def test_evaluation_raises_nothing_but_its_own_errors(text: str) -> None:
    try:
        value = evaluate(text, limits=SMALL)
    except RtfsError:
        return
    assert to_json(value) == to_json(value)


@given(FORMS)
def test_evaluation_of_any_form_stays_within_its_budget(form: Form) -> None:
    host = StubHost()
    with suppress(RtfsError):
        evaluate([form, form], host=host, limits=Limits(steps=50, depth=10, size=50))
    assert len(host.log) <= 50


@pytest.mark.parametrize("source", ["(+ 1 2)", "[1 2]", "{:a 1}", "nil", "7", ":k", '"(+ 1 2)"'])
@pytest.mark.parametrize("mode", ["program", "expression"])
def test_what_a_reader_gives_can_be_evaluated(source: str, mode: Any) -> None:
    value, form = evaluate(source), read_expression(source)
    assert evaluate(read_program(source), mode=mode) == value
    assert evaluate((form,), mode=mode) == value
    assert isinstance(form, str) or evaluate(form, mode=mode) == value


@pytest.mark.parametrize(("source", "plain"), [
    ("{:a 1 \"b\" [:k nil 2.5]}", {"a": 1, "b": [":k", None, 2.5]}), ("{1 2}", {"1": 2}),
    ("{:a 1 \"a\" 2}", {"$map": [["a", 2], [{"$kw": "a"}, 1]]}), ("(fn [x] x)", {"$fn": True}),
])  # fmt: skip
def test_a_value_for_people_is_plain_where_nothing_is_lost_by_it(source: str, plain: Any) -> None:
    assert to_plain_json(evaluate(source)) == plain


def test_data_that_no_value_stands_for_is_refused() -> None:
    nested: Any = []
    for _ in range(100_000):
        nested = [nested]
    for data in (object(), {None: 1}, 2**63, {1, 2}, nested, "\ud800", {"\ud800": 1}, {2**63: 1}):
        with pytest.raises(RtfsError) as refused:
            from_python(data)
        assert isinstance(refused.value, BadJson) or data is nested


def test_a_subclass_of_plain_data_is_that_data() -> None:
    class Word(str):
        pass

    class Number(int):
        pass

    class Ratio(float):
        pass

    given = {Word("a"): [Word("x"), Number(3), Ratio(1.5)], Word("a b"): {Number(1): None}}
    value = evaluate("context", context=given)
    assert value == read_expression('{:a ["x" 3 1.5] "a b" {1 nil}}')
    assert type(value.entries[1][0]) is str
