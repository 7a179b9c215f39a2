"""Preflight lets through what a planner is, and none of upstream's holes."""

import json
from pathlib import Path

import pytest

from planner_synthesis.config import ProgramLimits
from planner_synthesis.preflight import callable_effects, check_planner
from planner_synthesis.types import AgentCard, CapabilityCard, RuntimeContext

FULL = RuntimeContext(level="full")
REGISTRY = {"x": (), "a.b": (":network",)}


def codes(text: str, security: RuntimeContext = FULL, **more: object) -> list[str]:
    report = check_planner(text, security=security, registry=REGISTRY, **more)  # type: ignore[arg-type]
    return [finding.code for finding in report.findings]


@pytest.mark.parametrize("text", [
    "(do (let [r (call :x {:context context})] r))",
    '(call "x" {:context context})',
    '(step "one" (call :x {:q (:q context)}))',
    "(let [{:keys [a]} context [b c] [1 2] f (fn [x] (+ x a))] (f b))",
    "(let [first 1] first)", "((fn [x] x) 1)", "(:a {:a 1})", "(reduce + 0 [1 2])",
    '(if (:a context) {:status "completed"})', "(let [r (call :x {})] {:status (:status r)})", "(do context)",
    '(capability "p" :expects {:context/keys [:q]} :implementation (fn [context] (get context :q)))',
])  # fmt: skip
def test_a_planner_passes(text: str) -> None:
    assert codes(text) == []


@pytest.mark.parametrize(("text", "code"), [
    ("", "one-form"), ("1 2", "one-form"), ("(call :x {}", "syntax"), ("{:a 1, :b 2}", "syntax"),
    ("(call :y {})", "unknown-id"), ('(call "y" {})', "unknown-id"), ("(call x {})", "computed-id"),
    ("(call (do :x) {})", "computed-id"), ("(let [c (do :x)] (call c 1))", "computed-id"),
    ("(let [c :x] (call c 1))", "computed-id"), ("(call)", "computed-id"),
    ('(call :x:y {})', "computed-id-or-shape"), ("(map call [:x])", "unbound"),
    ('(tool/http-fetch "http://x")', "head"), ('(get-env "HOME")', "head"), ("(llm-execute 1 2)", "head"),
    ('((fn ^:delegation :remote "m" [x] x) 1)', "shape"), ("(do (def f 1) f)", "head"),
    ("(fn [context] context)", "shape"), ("(let [context {}] 1)", "shape"), ("(let [call 1] call)", "shape"),
    ("(let [{:a b} context] b)", "shape"), ("(do (match 1 1 2))", "head"), ("(try 1 (catch e 2))", "head"),
    ("(step (str 1) 2)", "shape"), ('(step "n")', "shape"), ("(if 1 2 3 4)", "shape"), ("()", "shape"),
    ("(1 2)", "shape"), ("(undefined 1)", "head"), ("undefined", "unbound"), ("(let [x 1] y)", "unbound"),
    ("(do <missing>)", "unbound"), ('(capability "p" :implementation (do context))', "shape"),
    ('(capability "p" :expects {:context/keys [:q]} :implementation (fn [context] 1))', "expects"),
    ('(capability "p" :expects {:context/keys []} :implementation (fn [context] (:q context)))', "expects"),
    ('(capability "p" :description (call :x 1) :expects {:context/keys []} :implementation (fn [context] 1))', "shape"),
    ('(capability "p" :effects [] :expects {:context/keys []} :implementation (fn [context] 1))', "shape"),
])  # fmt: skip
def test_what_is_no_planner_is_refused_with_its_reason(text: str, code: str) -> None:
    found = codes(text)
    if code == "computed-id-or-shape":  # `:x:y` is two keywords: x is called with one more argument
        assert found == []
    else:
        assert code in found


def test_level_and_effects_are_both_asked() -> None:
    text = '(call "a.b" {})'
    assert codes(text) == []
    assert codes(text, RuntimeContext(level="pure")) == ["not-allowed"]
    assert codes(text, RuntimeContext(level="controlled", allowed_capabilities=("x",))) == [
        "not-allowed"
    ]
    assert codes(text, RuntimeContext(level="full", denied_effects=("network",))) == ["not-allowed"]


def test_a_branch_that_is_not_taken_is_looked_at_too() -> None:
    assert codes("(if true (call :x 1) (call :y 2))") == ["unknown-id"]


def test_ids_and_keys_must_be_those_that_were_announced() -> None:
    text = "(call :x {:q (:q context)})"
    assert codes(text, required_capabilities=["x"], expects=["q"]) == []
    assert codes(text, required_capabilities=[]) == ["required"]
    assert codes(text, required_capabilities=["x", "a.b"]) == ["required"]
    assert codes(text, expects=["q", "r"]) == ["expects"]
    assert codes(text, expects=[]) == ["expects"]
    whole = "(call :x {:context context})"
    assert codes(whole, expects=["anything"]) == []


@pytest.mark.parametrize("text", [
    "(let [m {:context context}] (call :x m))", "(do (let [m {:c context}] (call :x m)) {:status 1})",
    "(let [f (fn [] {:c context})] (call :x (f)))", "(let [m {:c context}] {:s (get-in m [:c :secret])})",
    "(call :x (get {:a context} :a))", "(let [m (if true {:c context} nil)] (call :x m))",
    '(let [m (step "s" {:c context})] (call :x m))', "(let [c context [d] [c]] (call :x d))",
    "(call :x context)", "(call :x {:q context})", "(call :x {:context {:context context}})", "(call :x {:context [context]})",
    "(call :x {:q (map (fn [k] (get context k)) [:secret])})", "(let [g get] (call :x {:q (g context :secret)}))",
    "(let [[c] [{:c context}]] (call :x {:q (get (:c c) :secret)}))", "(call :x {:q ((fn [m] (:secret m)) context)})",
    "(let [get (fn [m k] (:secret m))] (call :x {:q (get context :q)}))", "(call :x {:q (get-in context [])})",
    "(call :x {:q (get-in context (conj [] :secret))})", "(call :x {:q (get-in context [(do :secret)])})",
    "(call :x {:q (get context (do :secret))})", "(call :x {:q (str context)})", "(call :x {:q (vals context)})",
    "(let [c context m (dissoc c :q)] (call :x m))", "(if (= context {}) (call :x 1))", "(do {:context context} (call :x 1))",
])  # fmt: skip
def test_a_context_as_a_value_could_be_read_by_keys_that_no_text_shows(text: str) -> None:
    assert "context" in codes(text)


@pytest.mark.parametrize(("text", "keys"), [
    ("(call :x {:q (get-in context [:a :b] (:c context))})", ["a", "c"]), ('(call :x {:q (get context "a b" 1)})', ["a b"]),
    ("(call :x {:q (contains? context :a)})", ["a"]), ("(let [c context d c] (call :x {:q (:a d)}))", ["a"]),
    ("(let [{:keys [a b]} context] (call :x {:q a}))", ["a", "b"]), ("(call :x {:context {:q (:a context)}})", ["a"]),
    ("(let [c context] (call :x {:q (map (fn [n] (+ n (:a c))) [1])}))", ["a"]),
    ("(call :x {:context context :q (:a context)})", ["a"]), ("(let [c context c {:a 1}] (call :x {:q (:a c)}))", []),
])  # fmt: skip
def test_keys_that_are_written_out_are_what_is_read(text: str, keys: list[str]) -> None:
    report = check_planner(text, security=FULL, registry=REGISTRY)
    assert (report.findings, report.context_keys) == ((), tuple(keys))
    assert report.hands_context_on == ("{:context context" in text)


@pytest.mark.parametrize("text", [
    "nil", "1", '"x"', "[{}]", "{}", '{:status "great"}', "{:status 1}", '{"status" "completed"}', "(do)", "(fn [x] x)",
    "(do (call :x {}) nil)", "(let [r (call :x {})] {:result r})", '(step "s" (call :x {}) :q)', '(if true nil {:status "x"})',
    '(capability "p" :expects {:context/keys []} :implementation (fn [context] {:context context}))',
])  # fmt: skip
def test_a_body_that_cannot_give_a_status_is_no_planner(text: str) -> None:
    assert codes(text) == ["status"]


@pytest.mark.parametrize("text", [
    "{:context context}", "(do (call :x 1) {:context context})", "(let [c context] {:r {:context c}})",
    '(if true (step "s" {:context context}) (let [a 1] {:context context}))', "(if true context {:a context})",
])  # fmt: skip
def test_a_context_in_the_result_is_handed_to_nobody(text: str) -> None:
    assert not check_planner(text, security=FULL, registry=REGISTRY).hands_context_on


def test_size_and_depth_are_bounded() -> None:
    small = ProgramLimits(max_bytes=20, max_nodes=4, max_depth=3)
    assert codes("(+ 1 1)", limits=small) == []
    assert codes("[" * 4 + "]" * 4, limits=small) == ["depth"]
    assert codes("[1 2 3 4]", limits=small) == ["size"]
    assert codes('"' + "x" * 20 + '"', limits=small) == ["size"]
    assert codes("(do " * 5_000) in (["syntax"], ["depth"])


def test_an_id_with_two_cards_has_the_effects_of_both() -> None:
    effects = callable_effects(
        [CapabilityCard(id="x", effects=(":file",)), CapabilityCard(id="x")], [AgentCard(agent_id="x", effects=(":network",))])  # fmt: skip
    assert effects == {"x": (":compute", ":file", ":network")}


def test_upstreams_preflight_verdicts_hold_but_for_its_holes(shared_data: Path) -> None:
    """What upstream refuses is refused; what it lets through by a hole (see its notes) is not."""
    lines = (shared_data / "rtfs/semantics_cases.jsonl").read_text().splitlines()
    cases = [case for case in map(json.loads, lines) if case["kind"] == "preflight"]
    assert len(cases) == 10
    for case in cases:
        registry = dict.fromkeys(case["input"]["registered"], ())
        report = check_planner(case["input"]["plan"], security=FULL, registry=registry)
        # sem-018 calls `list`, which no version of the language has
        is_fine = (
            case["expect"] == "ok"
            and "HOLE" not in case.get("note", "")
            and case["id"] != "sem-018"
        )
        assert report.is_ok == is_fine, case["id"]
