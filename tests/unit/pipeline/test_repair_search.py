"""The toolchain ``repair-search`` as its users run it: a process in a tree, a request on stdin."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import planner_pipeline.repair
from planner_pipeline.bench.worktrees import Changes
from planner_pipeline.repair.request import RequestError, is_forbidden, parse_request
from planner_pipeline.repair.search import (
    END_SECONDS,
    PACE_SECONDS,
    PRICE_USD,
    SLACK,
    STARTUP_SECONDS,
    evaluations_for,
    main,
)

TEMPLATES = Path(planner_pipeline.repair.__file__).parent / "templates"
TEST_GATE = "python -m pytest -q -p no:cacheprovider tests"
RUFF_GATE = "python -m ruff check --no-cache --isolated toy.py"
PYPROJECT = '[tool.pytest.ini_options]\npythonpath = ["."]\n'

# two places to go wrong, few changes
TOY = '''\
"""Two small functions, é."""


def total(a, b):
    return a + b


def is_low(a):
    return a < 3
'''
TOY_TESTS = """\
from toy import is_low, total


def test_total():
    assert total(2, 5) == 7


def test_totals_of_nothing():
    assert total(0, 0) == 0


def test_low():
    assert is_low(2) and is_low(2.5)


def test_not_low():
    assert not is_low(3)


def test_all():
    assert is_low(total(-1, 3)) and not is_low(total(2, 2))
"""
ONE_BUG = TOY.replace("a + b", "a - b")
TWO_BUGS = ONE_BUG.replace("a < 3", "a <= 3")
NEVER = "\n\ndef test_never():\n    assert False\n"  # no change makes it pass


class Done(NamedTuple):
    """What a process did."""

    code: int
    lines: list[str]
    stderr: str
    seconds: float

    @property
    def report(self) -> dict[str, Any]:
        found = json.loads(self.lines[-1])
        assert isinstance(found, dict)
        return found


def a_tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in {"pyproject.toml": PYPROJECT, **files}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return folder


def a_toy(folder: Path, source: str, tests: str = TOY_TESTS) -> Path:
    return a_tree(folder, {"toy.py": source, "tests/test_toy.py": tests})


def a_request(*, most: int = 60, **changes: Any) -> dict[str, Any]:
    issue: dict[str, Any] = {"id": "7"}
    return {
        "issue": issue, "budget_seconds": most / 1000, "seed": 1, "attempt": 0,
        "gates": {"test": TEST_GATE},
    } | changes  # fmt: skip


def run(tree: Path, request: dict[str, Any] | bytes, *options: str) -> Done:
    """Run the search; at this pace a thousandth of a second buys an evaluation."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-P", "-m", "planner_pipeline.repair.search", "--startup=0",
         f"--pace={(1.0 - SLACK) / 1000}", *options],
        cwd=tree,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        input=request if isinstance(request, bytes) else json.dumps(request).encode(),
        capture_output=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    seconds = time.monotonic() - started
    return Done(done.returncode, done.stdout.decode().splitlines(), done.stderr.decode(), seconds)


def read_tree(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


# templates --------------------------------------------------------------------------------------


def a_template(folder: Path, name: str, *, bug: tuple[str, str] = ("", "")) -> Path:
    source = (TEMPLATES / f"{name}.py.txt").read_text(encoding="utf-8")
    tests = (TEMPLATES / f"{name}.tests.py.txt").read_text(encoding="utf-8")
    assert bug[0] in source
    source = source.replace(*bug) if bug[0] else source
    return a_tree(folder, {f"{name}.py": source, f"tests/test_{name}.py": tests})


def test_every_template_passes_its_own_tests(tmp_path: Path) -> None:
    names = [path.name.removesuffix(".tests.py.txt") for path in TEMPLATES.glob("*.tests.py.txt")]
    for name in names:
        a_template(tmp_path, name)
    done = subprocess.run(
        [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}, timeout=60,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout.decode()
    assert len(names) == len(list(TEMPLATES.iterdir())) / 2 >= 14


@pytest.mark.parametrize(
    ("name", "bug"),
    [
        ("roman", ("value < following", "value <= following")),
        ("lru", ("self.hits += 1", "self.hits -= 1")),
    ],
)
def test_a_bug_in_a_template_is_repaired_within_the_budget(
    name: str, bug: tuple[str, str], tmp_path: Path
) -> None:
    for seed in range(4):
        tree = a_template(tmp_path / str(seed), name, bug=bug)
        request = a_request(seed=seed, issue={"id": "7", "context_files": [f"{name}.py"]})
        done = run(tree, request)
        if done.code == 0:
            assert done.report["failing"] == 0
            return
        assert done.code == 1
    pytest.fail("no seed repairs it")


# the search -------------------------------------------------------------------------------------


def test_two_bugs_are_repaired_one_after_another(tmp_path: Path) -> None:
    tree = a_toy(tmp_path, TWO_BUGS)
    done = run(tree, a_request())
    assert done.code == 0
    assert (tree / "toy.py").read_text(encoding="utf-8") == TOY
    failing = [kept["failing"] for kept in done.report["kept"]]
    assert [before for before, _ in failing] == [3, failing[0][1]]
    assert 3 > failing[0][1] > failing[1][1] == 0


def test_equal_seeds_do_the_same_in_every_directory(tmp_path: Path) -> None:
    trees = [a_toy(tmp_path / name, TWO_BUGS) for name in ("a", "another/place")]
    one, other = (run(tree, a_request(seed=3)) for tree in trees)
    assert one.lines == other.lines
    assert (one.code, one.report["kept"] != []) == (other.code, True)
    assert read_tree(trees[0]) == read_tree(trees[1])


@pytest.mark.slow
def test_issues_and_attempts_order_the_changes_differently(tmp_path: Path) -> None:
    requests = [
        a_request(seed=1),
        a_request(issue={"id": "8"}),
        a_request(attempt=1),
    ]
    reports = [
        run(a_toy(tmp_path / str(n), TWO_BUGS), request).report["kept"]
        for n, request in enumerate(requests)
    ]
    assert len({json.dumps(report) for report in reports}) > 1


def test_at_the_end_of_its_budget_the_best_tree_stays_and_the_next_attempt_goes_on(
    tmp_path: Path,
) -> None:
    first = run(a_toy(tmp_path / "whole", TWO_BUGS), a_request()).report["kept"][0]
    tree = a_toy(tmp_path / "part", TWO_BUGS)
    stopped = run(tree, a_request(most=first["evaluation"]))
    assert stopped.code == 1
    assert stopped.report["tokens_used"] == stopped.report["budget"] == first["evaluation"]
    assert stopped.report["is_out_of_budget"] is True
    assert stopped.report["kept"] == [first]
    assert stopped.report["failing"] == first["failing"][1]
    left = (tree / "toy.py").read_text(encoding="utf-8")
    assert left not in (TOY, TWO_BUGS)
    following = run(tree, a_request(attempt=1))
    assert following.code == 0
    assert following.report["kept"][0]["failing"][0] == first["failing"][1]
    assert (tree / "toy.py").read_text(encoding="utf-8") == TOY


def test_a_repaired_tree_is_not_out_of_budget(tmp_path: Path) -> None:
    done = run(a_toy(tmp_path, TOY), a_request(most=1))
    assert done.code == 0
    assert (done.report["tokens_used"], done.report["is_out_of_budget"]) == (1, False)
    assert done.report["kept"] == []


def test_a_budget_that_buys_nothing_leaves_the_tree(tmp_path: Path) -> None:
    tree = a_toy(tmp_path, ONE_BUG)
    before = read_tree(tree)
    done = run(tree, a_request(most=0))
    assert done.code == 1
    assert (done.report["tokens_used"], done.report["failing"]) == (0, None)
    assert done.report["is_out_of_budget"] is True
    assert read_tree(tree) == before


def test_out_of_changes_is_not_out_of_budget(tmp_path: Path) -> None:
    tests = "from toy import f\n\n\ndef test_f():\n    assert f() == 'y'\n"
    done = run(a_toy(tmp_path, "def f():\n    return True\n", tests), a_request())
    assert done.code == 1
    assert (done.report["tokens_used"], done.report["is_out_of_budget"]) == (2, False)


def test_a_tree_that_cannot_be_imported_is_searched_too(tmp_path: Path) -> None:
    source = TOY + "\n\nFIRST = [1][1]\n"
    tree = a_toy(tmp_path, source)
    done = run(tree, a_request())
    assert done.code == 0
    assert done.lines[0] == "the tests cannot run of 0 tests"
    assert (tree / "toy.py").read_text(encoding="utf-8") == source.replace("[1][1]", "[1][0]")


# hostile changes --------------------------------------------------------------------------------

ENDLESS = """\
def countdown(n):
    seen = []
    while n > 0:
        seen.append(n)
        n -= 1
    return seen
"""
ENDLESS_TESTS = """\
from toy import countdown


def test_three():
    assert countdown(3) == [3, 2, 1]


def test_none():
    assert countdown(0) == []


def test_one():
    assert countdown(1) == [1]
"""


def test_endless_changes_are_survived(tmp_path: Path) -> None:
    tree = a_toy(tmp_path, ENDLESS, ENDLESS_TESTS + NEVER)
    done = run(tree, a_request(most=25))
    assert done.code == 1
    assert done.report["tokens_used"] == 25  # none was left to the clock, which takes 10 more
    assert (tree / "toy.py").read_text(encoding="utf-8") == ENDLESS


def test_an_endless_tree_has_failing_tests_like_any_other(tmp_path: Path) -> None:
    tree = a_toy(tmp_path, ENDLESS.replace("n -= 1", "n += 1"), ENDLESS_TESTS)
    done = run(tree, a_request())
    assert done.lines[0] == "2 failing of 3 tests"
    assert done.code == 0
    assert (tree / "toy.py").read_text(encoding="utf-8") == ENDLESS


def test_an_endless_import_is_survived(tmp_path: Path) -> None:
    source = ENDLESS.replace("def", "n = 3\nwhile n != 0:\n    n += 1\n\n\ndef")
    tree = a_toy(tmp_path, source, ENDLESS_TESTS)
    done = run(tree, a_request())
    assert done.code == 0
    assert done.report["tokens_used"] < 60


def test_what_only_the_clock_can_stop_costs_more(tmp_path: Path) -> None:
    source = "def zeros():\n    return sum(iter(int, 0))\n"  # endless, for any other number
    tests = "from toy import zeros\n\n\ndef test_zeros():\n    assert zeros() == 0\n"
    tree = a_toy(tmp_path, source, tests + NEVER)
    done = run(tree, a_request(most=20))
    assert done.code == 1
    assert done.report["tokens_used"] == 1 + 2 * 11 + 1  # two are endless, one fails at once
    assert (tree / "toy.py").read_text(encoding="utf-8") == source


@pytest.mark.parametrize(
    ("source", "call"),
    [
        pytest.param("def f(n):\n    return 0 if n < 1 else 1 + f(n - 1)\n", "f(5) == 5", id="deep"),
        pytest.param(
            "import sys\n\nsys.setrecursionlimit(10**9)\n\n\n"
            "def f(n):\n    return 0 if n < 1 else 1 + f(n - 1)\n",
            "f(5) == 5",
            id="deeper", marks=pytest.mark.slow,
        ),
        pytest.param("def f(n):\n    return len('x' * (n // 1_000))\n", "f(3_000_000) == 3_000",
                     id="memory"),
        pytest.param("def f(n):\n    return [n >> 60] * 2\n", "f(4) == [0, 0]", id="large numbers", marks=pytest.mark.slow),
        pytest.param("import os\n\n\ndef f(n):\n    if n == 0:\n        os._exit(0)\n    return n\n",
                     "f(3) == 3", id="exit", marks=pytest.mark.slow),
        pytest.param("import os\n\n\ndef f(n):\n    if n == 0:\n        os.abort()\n    return n\n",
                     "f(3) == 3", id="abort"),
        pytest.param("import sys\n\nif len(sys.path) < 0:\n    sys.exit(0)\n\n\n"
                     "def f(n):\n    return n\n", "f(3) == 3", id="exit on import", marks=pytest.mark.slow),
        pytest.param("import os\n\n\ndef f(n):\n    if n == 0:\n        os.closerange(0, 99)\n"
                     "    return n\n", "f(3) == 3", id="close all", marks=pytest.mark.slow),
        pytest.param("import signal\nimport time\n\n\ndef f(n):\n    if n == 0:\n"
                     "        signal.setitimer(signal.ITIMER_PROF, 0)\n        time.sleep(9)\n"
                     "    return n\n", "f(3) == 3", id="sleep"),
    ],
)  # fmt: skip
def test_hostile_changes_are_survived(source: str, call: str, tmp_path: Path) -> None:
    bug = "\n\ndef g():\n    return False\n"
    tests = (
        "from toy import f, g\n\n\n"
        f"def test_f():\n    assert {call}\n\n\ndef test_g():\n    assert g()\n"
    )
    tree = a_toy(tmp_path, source + bug, tests + NEVER)
    done = run(tree, a_request(most=16))
    assert (done.code, done.report["failing"]) == (1, 1), done
    assert (tree / "toy.py").read_text(encoding="utf-8") == source + bug.replace("False", "True")


def test_a_process_that_a_test_leaves_behind_is_not_waited_for(tmp_path: Path) -> None:
    tests = (
        "import os\nimport time\n\n\n"
        "def test_fork():\n    if os.fork() == 0:\n        time.sleep(5)\n        os._exit(0)\n"
    )
    done = run(a_toy(tmp_path, TOY, tests), a_request(most=1))
    assert done.code == 0
    assert done.seconds < 4


def test_tests_may_use_what_pytest_and_unittest_offer(tmp_path: Path) -> None:
    tests = (
        "import unittest\n\nimport pytest\n\nimport toy\n\n\n"
        "def test_output(capsys, caplog, tmp_path, monkeypatch):\n"
        "    print(toy.total(1, 2))\n    assert capsys.readouterr().out == '3\\n'\n\n\n"
        "class TotalTest(unittest.TestCase):\n"
        "    def test_total(self):\n        self.assertEqual(toy.total(1, 2), 3)\n\n\n"
        "@pytest.fixture\ndef three():\n    return toy.total(1, 2)\n\n\n"
        "def test_fixture(three):\n    assert three == 3\n\n\n"
        "@pytest.mark.parametrize('n', [1, 2])\ndef test_each(n):\n    assert toy.is_low(n)\n\n\n"
        "@pytest.mark.skip\ndef test_skip():\n    assert 0\n\n\n"
        "def test_skips():\n    pytest.skip('not here')\n\n\n"
        "@pytest.mark.xfail\ndef test_xfail():\n    assert 0\n"
    )
    done = run(a_toy(tmp_path, ONE_BUG, tests), a_request())
    assert done.lines[0] == "3 failing of 5 tests"
    assert done.code == 0


# gates and paths --------------------------------------------------------------------------------


@pytest.mark.parametrize("gate", ["sh -c false", RUFF_GATE])
def test_a_tree_that_another_gate_refuses_stays_as_it_was(gate: str, tmp_path: Path) -> None:
    tests = TOY_TESTS[: TOY_TESTS.index("\n\ndef test_totals")]  # nothing is repaired by half
    tree = a_toy(tmp_path, "import os\n" + ONE_BUG, tests)  # an import that is not used
    before = read_tree(tree)
    done = run(tree, a_request(most=20, gates={"test": TEST_GATE, "lint": gate}))
    assert done.code == 1
    assert done.report["kept"] == []
    assert read_tree(tree) == before


def test_a_good_tree_that_another_gate_refuses_is_not_done(tmp_path: Path) -> None:
    done = run(a_toy(tmp_path, TOY), a_request(gates={"test": TEST_GATE, "lint": "false"}))
    assert done.code == 1
    assert (done.report["failing"], done.report["is_out_of_budget"]) == (0, False)


def test_all_gates_pass_in_the_end(tmp_path: Path) -> None:
    tree = a_toy(tmp_path, ONE_BUG)
    done = run(tree, a_request(gates={"test": TEST_GATE, "lint": RUFF_GATE}), "--price=0.5")
    assert done.code == 0
    assert done.report["cost"] == done.report["tokens_used"] * 0.5
    assert (tree / "toy.py").read_text(encoding="utf-8") == TOY


def test_nothing_but_the_bug_is_changed(tmp_path: Path) -> None:
    files = {"toy.py": ONE_BUG, "tests/test_toy.py": TOY_TESTS, "other.py": "X = 1 < 2\n"}
    tree = a_tree(tmp_path, files)
    (tree / "toy.py").chmod(0o751)
    before = read_tree(tree)
    assert run(tree, a_request()).code == 0
    assert read_tree(tree) == before | {"toy.py": TOY.encode()}
    assert (tree / "toy.py").stat().st_mode & 0o777 == 0o751


@pytest.mark.parametrize(
    ("key", "names"), [("dk_forbidden_paths", []), ("forbidden_paths", ["toy.py", "other.py"])]
)
def test_forbidden_paths_are_not_touched(key: str, names: list[str], tmp_path: Path) -> None:
    files = {"toy.py": ONE_BUG, "tests/test_toy.py": TOY_TESTS, "other.py": "X = 1 < 2\n"}
    tree = a_tree(tmp_path, files)
    before = read_tree(tree)
    issue = {"id": "7", "context_files": names, key: ["toy.py", "tests/"]}
    done = run(tree, a_request(most=10, issue=issue))
    assert done.code == 1
    assert read_tree(tree) == before


@pytest.mark.parametrize("pattern", ["toy.py", "lib", "lib/", "*.py", "to?.py", "", "toy", "/"])
def test_what_is_forbidden_is_what_the_bench_forbids(pattern: str) -> None:
    for file in ("toy.py", "lib/toy.py", "library.py"):
        told = Changes(head_commit="", files=(file,)).forbidden([pattern])
        assert is_forbidden(file, (pattern,)) == bool(told)


def test_context_files_bound_the_search(tmp_path: Path) -> None:
    files = {"toy.py": ONE_BUG, "tests/test_toy.py": TOY_TESTS, "other.py": "X = 1 < 2\n"}
    tree = a_tree(tmp_path, files)
    before = read_tree(tree)
    issue = {"id": "7", "context_files": ["other.py", "tests/test_toy.py", "../out.py", "gone.py"]}
    assert run(tree, a_request(most=20, issue=issue)).code == 1
    assert read_tree(tree) == before


# requests and reports ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\xff", b"[]", b"null", b"{}", b'{"issue": []}', b"[" * 100_000,
        *(
            json.dumps(a_request(**changes)).encode()
            for changes in (
                {"budget_seconds": "1"}, {"budget_seconds": -1}, {"budget_seconds": None},
                {"budget_seconds": True}, {"budget_seconds": float("nan")},
                {"budget_seconds": float("inf")}, {"seed": "x"}, {"seed": 1.5}, {"attempt": None},
                {"gates": ["pytest"]}, {"gates": {"test": 1}}, {"issue": {"context_files": [1]}},
                {"issue": {"context_files": "toy.py"}}, {"issue": {"forbidden_paths": {}}},
            )
        ),
    ],
)  # fmt: skip
def test_a_request_is_checked(data: bytes) -> None:
    with pytest.raises(RequestError):
        parse_request(data)


def test_a_request_may_hold_more_than_the_search_reads() -> None:
    request = parse_request(json.dumps(a_request(more=[1], issue={"id": 7, "title": "é"})).encode())
    assert (request.issue_id, request.context_files, request.gates) == (
        "7",
        (),
        {"test": TEST_GATE},
    )


@pytest.mark.parametrize(
    "request_",
    [
        b"nonsense",
        a_request(budget_seconds=-1),
        a_request(issue={"context_files": ["gone.py"]}),
        a_request(issue={"dk_forbidden_paths": ["toy.py"]}),
    ],
)
def test_nonsense_is_refused(request_: dict[str, Any] | bytes, tmp_path: Path) -> None:
    done = run(a_toy(tmp_path, ONE_BUG), request_)
    assert (done.code, done.lines) == (2, [])
    assert done.stderr.startswith("repair-search: ")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "source",
    ["def f(:\n", "x = " + "1 + " * 9_000 + "1\n"],
    ids=["syntax", "deep"],
)
def test_a_tree_that_does_not_parse_is_refused(source: str, tmp_path: Path) -> None:
    done = run(a_toy(tmp_path, source), a_request())
    assert done.code == 2
    assert "Traceback" not in done.stderr


def test_a_tree_without_python_is_refused(tmp_path: Path) -> None:
    done = run(a_tree(tmp_path, {"tests/test_toy.py": TOY_TESTS}), a_request())
    assert (done.code, done.lines) == (2, [])


@pytest.mark.parametrize(
    "files",
    [{}, {"tests/test_toy.py": "X = 1\n"}, {"tests/conftest.py": "1 / 0\n"}],
    ids=["no tests", "no test in a test file", "a broken conftest"],
)
def test_without_tests_there_is_nothing_to_be_judged_by(
    files: dict[str, str], tmp_path: Path
) -> None:
    done = run(a_tree(tmp_path, {"toy.py": TOY, **files}), a_request())
    assert done.code == 3
    assert done.stderr.startswith("repair-search: ") or "conftest" in done.stderr
    assert not done.lines or not done.lines[-1].startswith("{")


def test_the_last_line_tells_what_was_spent(tmp_path: Path) -> None:
    done = run(a_toy(tmp_path, ONE_BUG), a_request())
    report = done.report
    assert list(report) == [
        "tokens_used", "cost", "toolchain", "budget", "failing", "is_out_of_budget", "kept"
    ]  # fmt: skip
    assert report["cost"] == pytest.approx(report["tokens_used"] * PRICE_USD)
    assert report["tokens_used"] == report["kept"][-1]["evaluation"] > 1
    assert report["toolchain"] == "repair-search 1"
    assert report["kept"] == [
        {"file": "toy.py", "line": 5, "kind": "arithmetic", "failing": [2, 0],
         "evaluation": report["tokens_used"]}
    ]  # fmt: skip


def test_it_tells_its_version(tmp_path: Path) -> None:
    done = run(tmp_path, b"", "--version")
    assert (done.code, done.lines) == (0, ["repair-search 1"])


@pytest.mark.parametrize("option", ["--pace=0", "--startup=-1", "--price=-1", "--pace=x"])
def test_options_are_checked(option: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([option])


def test_an_attempt_fills_its_time(tmp_path: Path) -> None:
    tree = a_toy(tmp_path, TOY, TOY_TESTS + NEVER)
    budget_seconds = STARTUP_SECONDS + 0.6
    options = (f"--startup={STARTUP_SECONDS}", f"--pace={PACE_SECONDS}")
    done = run(tree, a_request(budget_seconds=budget_seconds), *options)
    most = evaluations_for(budget_seconds)
    assert done.report["tokens_used"] == done.report["budget"] == most > 5
    assert done.seconds > STARTUP_SECONDS - END_SECONDS + most * PACE_SECONDS - 0.05
