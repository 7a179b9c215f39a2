"""The rules of design/style.md that a machine can hold, so that nobody has to remember them."""

import ast
import re
from pathlib import Path

import pytest

import planner_runtime
from planner_pipeline.cli import build_parser
from planner_runtime.contracts import ContractError, read_document
from planner_runtime.schemas import CONTRACTS, json_schema

ROOT = Path(__file__).parents[2]
PACKAGES = ("planner_runtime", "planner_pipeline", "planner_synthesis")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# code that must not look at the clock, the environment or global luck
PURE = (
    "planner_runtime/contracts", "planner_runtime/actions.py", "planner_runtime/similar_runs.py",
    "planner_runtime/tokenizer.py", "planner_runtime/features.py", "planner_runtime/decode.py",
    "planner_runtime/calibration.py", "planner_runtime/heuristic.py",
    "planner_runtime/scheduler.py", "planner_runtime/inputs.py", "planner_runtime/keywords.py",
    "planner_runtime/action_set.py", "planner_runtime/objective.py", "planner_runtime/policy.py",
    "planner_runtime/exploration.py", "planner_runtime/outcomes/track_record.py",
    "planner_runtime/outcomes/features.py", "planner_runtime/outcomes/model.py",
    "planner_runtime/outcomes/policy_file.py", "planner_runtime/outcome_planner.py",
    "planner_runtime/decision.py",
    *(f"planner_runtime/archives/{name}.py" for name in (
        "moments", "gates", "evidence", "runs", "workcells", "logged", "worlds", "issues_then",
        "events", "workcell_files", "world_files",
    )),
    "planner_pipeline/history", "planner_pipeline/dataset", "planner_pipeline/evaluation",
    "planner_pipeline/bench/bench_tables.py", "planner_pipeline/bench/candidates.py",
    "planner_pipeline/bench/label_rule.py", "planner_pipeline/bench/labels.py",
    "planner_pipeline/bench/outcome_rows.py", "planner_pipeline/bench/pass_counts.py",
    "planner_pipeline/bench/replay.py", "planner_pipeline/bench/selections.py",
    "planner_pipeline/bench/trial_study.py", "planner_pipeline/bench/vote.py",
    "planner_pipeline/repair/mutations.py", "planner_pipeline/repair/places.py",
    "planner_pipeline/repair/verdict.py", "planner_pipeline/selection",
)  # fmt: skip
IMPURE = {"time", "random", "datetime.now", "datetime.utcnow", "os.environ", "os.getenv"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_opens_by_saying_what_belongs_in_it(path: Path) -> None:
    opening = ast.get_docstring(ast.parse(path.read_text())) or ""
    assert "Belongs here:" in opening
    assert "Does not:" in " ".join(opening.split())


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_one_idea(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= 420
    assert path.stem not in {"utils", "util", "helpers", "common", "manager", "misc", "base"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_nothing_is_pickled_and_no_plan_hides_in_a_comment(path: Path) -> None:
    text = path.read_text()
    assert not re.search(r"^\s*(import|from) (pickle|joblib|dill|cloudpickle|shelve)\b", text, re.M)
    assert "torch.load(" not in text
    assert not re.search(r"#.*\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", text)


@pytest.mark.parametrize("path", [m for m in MODULES if name_of(m).startswith(PURE)], ids=name_of)
def test_pure_modules_see_no_clock_environment_or_global_luck(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name for alias in node.names} & {"time", "random"}
        if isinstance(node, ast.ImportFrom):
            assert node.module not in ("time", "random")
        if isinstance(node, ast.Attribute):
            assert ast.unparse(node) not in IMPURE
            assert not ast.unparse(node).startswith(("np.random.rand", "np.random.seed"))


def test_definitions_never_postpone_annotations() -> None:
    for path in (ROOT / "planner_pipeline" / "defs").rglob("*.py"):
        assert "from __future__ import annotations" not in path.read_text(), path


def _is_asset(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef) and any(
        ast.unparse(d).startswith(("dg.asset", "dg.multi_asset")) for d in node.decorator_list
    )


@pytest.mark.parametrize(
    "path", sorted((ROOT / "planner_pipeline/defs").rglob("*.py")), ids=name_of
)
def test_an_asset_is_a_doorway(path: Path) -> None:
    """At most fifteen statements, counting every nested one; arguments may take many lines."""
    for node in filter(_is_asset, ast.walk(ast.parse(path.read_text()))):
        assert isinstance(node, ast.FunctionDef)
        statements = sum(isinstance(child, ast.stmt) for child in ast.walk(node)) - 1
        assert statements <= 15, f"{node.name}: {statements} statements"


def test_every_public_name_is_there_and_no_other_is_promised() -> None:
    assert sorted(planner_runtime.__all__) == planner_runtime.__all__
    assert all(hasattr(planner_runtime, name) for name in planner_runtime.__all__)


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_a_schema_file_is_what_its_type_generates(name: str) -> None:
    import json

    written = json.loads((ROOT / "schemas" / f"{name}.schema.json").read_text())
    assert written == json_schema(name), "run `make schemas` and review the difference"


@pytest.mark.parametrize("name", sorted(CONTRACTS))
def test_every_contract_has_a_valid_example(name: str) -> None:
    text = (ROOT / "schemas/examples/valid" / f"{name}.json").read_bytes()
    assert isinstance(read_document(text, CONTRACTS[name]), CONTRACTS[name])


def _invalid() -> list[tuple[Path, str]]:
    import json

    folder = ROOT / "schemas" / "examples" / "invalid"
    paths = json.loads((folder / "paths.json").read_text())
    return [(path, paths[path.stem]) for path in sorted(folder.glob("*.*.json"))]


@pytest.mark.parametrize(("path", "where"), _invalid(), ids=lambda x: getattr(x, "stem", x))
def test_every_invalid_example_is_refused_with_the_path(path: Path, where: str) -> None:
    with pytest.raises(ContractError) as refused:
        read_document(path.read_bytes(), CONTRACTS[path.name.split(".")[0]])
    assert refused.value.path == where


def test_the_readme_names_every_command() -> None:
    readme = (ROOT / "README.md").read_text()
    actions = build_parser()._subparsers._group_actions  # type: ignore[union-attr]
    for command in actions[0].choices:  # type: ignore[union-attr]
        assert f"`cyntra-planner {command}" in readme or f"cyntra-planner {command}" in readme, (
            command
        )


def test_the_readme_names_every_make_target() -> None:
    targets = re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.M)
    assert set(targets) >= {"help", "demo", "test", "check", "bench", "ui", "clean"}
    readme = (ROOT / "README.md").read_text()
    assert all(f"make {target}" in readme for target in targets)


def test_nothing_of_the_shared_data_is_in_the_repository() -> None:
    names = {"issues.6402cbb2.jsonl", "terminal_bench.trials.csv.gz", "parse_probes.jsonl"}
    assert not [p for p in ROOT.rglob("*") if p.name in names and ".venv" not in p.parts]
