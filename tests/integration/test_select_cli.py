"""``cyntra-planner select`` as a person meets it, and the example of its page."""

import json
import re
from pathlib import Path

import polars as pl
import pytest

from planner_pipeline.cli import main
from tests.reference.scenarios import a_routing_table, a_scenario, some_folds

PAGE = Path(__file__).parents[2] / "docs" / "select.md"


def write(folder: Path, **tables: pl.DataFrame) -> list[str]:
    """The tables as files, and the arguments that name them."""
    arguments = ["select"]
    for name, table in tables.items():
        table.write_parquet(folder / f"{name}.parquet")
        arguments += [f"--{name}", str(folder / f"{name}.parquet")]
    return [*arguments, "--out", str(folder / "out"), "--jobs", "1"]


def test_three_tables_become_decisions_and_figures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features, outcomes = a_scenario(n_cases=60)
    folds = some_folds(features, 2, repetitions=2)
    assert main(write(tmp_path, features=features, outcomes=outcomes, folds=folds)) == 0
    told = capsys.readouterr()
    assert json.loads(told.out)["gap_closed"] > 0.3
    assert "gap closed" in told.err
    decisions = pl.read_parquet(tmp_path / "out" / "decisions.parquet")
    assert len(decisions) == 120
    report = json.loads((tmp_path / "out" / "select.json").read_text())
    assert report["schema_version"] == "cyntra.selection.v1"
    assert report["time_penalty"]["factor"] == 10
    assert report["policy"]["pass_rate"]["n"] == 120
    assert report["seconds"] > 0
    assert report["ece"]["n"] == 120
    assert "cost_usd_per_pass" not in report["policy"]  # no cost is known


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_an_objective_file_rules(tmp_path: Path, form: str) -> None:
    features, outcomes = a_routing_table(60)
    text = {
        "json": '{"schema_version": "cyntra.planner_objective.v1", "name": "mine",'
        ' "weights": {"passed": 1, "minute": 0, "usd": 0.2}}',
        "yaml": "schema_version: cyntra.planner_objective.v1\nname: mine\n"
        "weights: {passed: 1, minute: 0, usd: 0.2}\n",
    }[form]
    (tmp_path / f"objective.{form}").write_text(text)
    folds = some_folds(features, 2)
    arguments = write(tmp_path, features=features, outcomes=outcomes, folds=folds)
    assert main([*arguments, "--objective", str(tmp_path / f"objective.{form}")]) == 0
    report = json.loads((tmp_path / "out" / "select.json").read_text())
    assert report["objective"]["name"] == "mine"
    assert report["objective_is_given"] is True
    assert report["policy"]["value"]["value"] > report["best_single"]["value"]["value"]


def test_what_is_wrong_is_one_line_and_code_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    features, outcomes = a_scenario(n_cases=8)
    assert main(write(tmp_path, features=features, outcomes=outcomes.drop("action"))) == 1
    assert "error: outcomes: no column 'action'" in capsys.readouterr().err
    arguments = write(tmp_path, features=features, outcomes=outcomes)
    (tmp_path / "o.yaml").write_text("- 1")
    assert main([*arguments, "--objective", str(tmp_path / "o.yaml")]) == 1
    assert "an objective is a mapping" in capsys.readouterr().err


def test_the_example_of_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    example = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert example is not None
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(example[1], str(PAGE), "exec"), names)
    command = re.search(r"```console\n\$ cyntra-planner (select .*?)\n", PAGE.read_text())
    assert command is not None
    assert main([*command[1].split(), "--jobs", "1"]) == 0
    report = json.loads((tmp_path / "out" / "select.json").read_text())
    assert report["policy_against_best_single"]["gap_closed"]["value"] > 0.5
