"""The deciding half of synthesis sees no clock, environment, file or global luck."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "planner_synthesis"
DECIDING = (
    "agents assignment coercions complexity config drafts dry_run explain matching names preflight program_walk"
    " proposals questions schema scoring security skills statuses templates trust types vocabulary"
).split()
WORLD = {
    "time",
    "random",
    "os",
    "pathlib",
    "subprocess",
    "socket",
    "tempfile",
    "secrets",
    "uuid",
    "io",
}


@pytest.mark.parametrize("name", DECIDING)
def test_a_deciding_module_imports_nothing_of_the_world(name: str) -> None:
    for node in ast.walk(ast.parse((PACKAGE / f"{name}.py").read_text())):
        if isinstance(node, ast.Import):
            assert not {alias.name.split(".")[0] for alias in node.names} & WORLD
        if isinstance(node, ast.ImportFrom):
            assert (node.module or "").split(".")[0] not in WORLD
        if isinstance(node, ast.Call):
            assert ast.unparse(node.func) not in {
                "open",
                "eval",
                "exec",
                "datetime.date.today",
                "datetime.datetime.now",
                "hash",
                "id",
            }
