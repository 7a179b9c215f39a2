"""Types beside parameters: what each admits, predicates and aliases among them.

Belongs here: one row for each rule of ``value_types`` that is not plain from the type's name. Does
not: the grammar of types (``test_rtfs_reader``).
"""

import pytest

from planner_synthesis.rtfs import RtfsError, evaluate


def is_admitted(kind: str, value: str) -> bool | str:
    try:
        evaluate(f"((fn [x : {kind}] 1) {value})")
    except RtfsError as error:
        return False if error.kind == "TypeValidationError" else error.kind
    return True


@pytest.mark.parametrize(
    ("kind", "admitted", "refused"),
    [
        ("int?", ["1", "nil"], ["1.0", '"a"']), (":string?", ["nil", '"a"'], [":a"]), ("Int", ["1"], ["1.0"]),
        ("float", ["1", "1.5"], ["nil"]), ("nope?", ["nil"], ["1"]), ("fn", [], ["inc"]), ("never", [], ["nil"]),
        ("[:map [:a int]]", ["{:a 1 :b 2}", '{"a" 1}'], ["{}", "{:a nil}", "[1]"]),
        ("[:record [:a int] [:b string ?]]", ["{:a 1}", '{:a 1 :b "x"}'], ["{:b 1}", "{:a 1 :b nil}"]),
        ("[:dict :keyword int]", ["{:a 1}", "{}"], ['{"a" 1}', "{:a nil}"]),
        ("[:array int [2]]", ["[1 2]"], ["[1]", "[1 :a]", "{}"]), ("[:array int [?]]", ["[]", "[1]"], ["[nil]"]),
        ("[:and int [:> 0] [:<= 5]]", ["5"], ["0", "6", "1.0"]), ("[:and float [:>= 0.5]]", ["0.5"], ["1", "0.4"]),
        ("[:and int [:> 0.5]]", [], ["1"]), ("[:and string [:> \"a\"]]", [], ['"b"']),
        ("[:and any [:= 1]]", ["1"], ["2", "1.0", "[1]"]), ("[:and any [:!= 1]]", ["2", "nil"], ["1", "[2]"]),
        ("[:and int [:in-range 1 5]]", ["1", "5"], ["0", "6"]), ("[:and float [:in-range 1 5]]", ["2"], ["2.0"]),
        ("[:and string [:min-length 2]]", ['"é"', '"ab"'], ['"a"']), ("[:and string [:length 1] [:max-length 1]]", ['"a"'], ['"é"', '""']),
        ("[:and any [:min-length 0]]", ['""'], ["[]"]), ("[:and [:vector int] [:non-empty]]", ["[1]"], ["[]"]),
        ("[:and any [:non-empty]]", ['"a"', "{:a 1}"], ['""', "{}", "1"]), ("[:and any [:min-count 1] [:max-count 2]]", ["[1]", "{:a 1}"], ["[]", "[1 2 3]", '"a"']),
        ("[:and any [:count 1]]", ["[[]]"], ["[]"]), ("[:and any [:has-key :a]]", ["{:a nil}"], ["{:b 1}", "[]"]),
        ("[:and any [:required-keys [:a :b]]]", ["{:a 1 :b 2}"], ["{:a 1}", "1"]),
        ("[:and string [:is-url]]", ['"https://x"'], ['"x"']), ("[:and string [is-email]]", ['"a.b@c.de"'], ['"a@b"', '"a@b.c"']),
        ("[:and string [:unknown 1]]", [], ['"x"']), ("[:and any [:vector :int]]", [], ["[1]"]),
        ("[:and int [:union int string]]", ["1"], ['"a"']), ("[:and int any [:> 5]]", ["1"], ["nil"]),
    ],
)  # fmt: skip
def test_a_type_admits_these_values_and_refuses_those(
    kind: str, admitted: list[str], refused: list[str]
) -> None:
    assert [value for value in admitted if is_admitted(kind, value) is not True] == []
    assert [value for value in refused if is_admitted(kind, value) is not False] == []


def test_a_pattern_that_no_budget_bounds_is_refused_and_never_taken_as_met() -> None:
    assert (
        is_admitted('[:and string [:matches-regex "^(a+)+$"]]', '"aaaaaaaaaaaaaaaaaaaaaaaaaaaa!"')
        == "Generic"
    )
