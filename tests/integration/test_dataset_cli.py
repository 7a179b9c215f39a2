"""Commands about the data set: epochs, months, what is shown of one example."""

import json
from pathlib import Path

import pytest

from planner_pipeline.cli import main
from planner_pipeline.dataset.reader import Dataset
from planner_runtime.contracts import input_hash


@pytest.fixture(scope="module")
def out(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli") / "o"
    assert main(["build", "--repo", str(workspace), "--out", str(folder)]) == 0
    return folder


def test_a_second_build_says_that_nothing_is_new(
    workspace: Path, out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--repo", str(workspace), "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "nothing new" in told.err
    assert json.loads(told.out)["dataset_hash"] == Dataset(out / "dataset").meta.dataset_hash


def test_an_example_is_shown_with_where_every_fact_came_from(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["evidence"]["plan"]
    assert input_hash(told["planner_input"]) == told["input_hash"]
    seen = told["planner_input"]["history"]["last_n_similar_runs"]
    assert [run["run_id"] for run in seen] == [run["run_id"] for run in told["similar_runs"]]
    scores = [run["score"] for run in told["similar_runs"]]
    assert scores == sorted(scores, reverse=True)
    parts = ("tags", "failures", "keywords", "same_issue", "recency")
    assert scores == [sum(run[part] for part in parts) for run in told["similar_runs"]]


def test_an_example_that_is_not_there_is_one_clear_line(
    out: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--out", str(out), "--example", "nobody"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == "error: no example nobody in the data set"


def test_one_epoch_can_be_chosen_and_an_unknown_one_is_refused(
    workspace: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shares = {s.epoch.epoch: s.n_examples for s in Dataset(out / "dataset").meta.epochs}
    epoch = max(shares, key=lambda one: shares[one])
    build = ["build", "--repo", str(workspace), "--out", str(tmp_path), "--epoch"]
    assert main([*build, epoch]) == 0
    assert json.loads(capsys.readouterr().out)["examples"] == shares[epoch]
    chosen = Dataset(tmp_path / "dataset")
    assert set(chosen.index["epoch"]) == {epoch}
    assert not chosen.meta.mixes_epochs
    assert main([*build, "nothing"]) == 1
    assert "no epoch nothing; there are" in capsys.readouterr().err


def test_the_examples_that_feasibility_asks_for_can_be_set(
    workspace: Path, out: Path, tmp_path: Path
) -> None:
    build = ["build", "--repo", str(workspace), "--out", str(tmp_path)]
    for wanted in (500, 10):
        assert main([*build, "--min-examples", str(wanted)]) == 0
        judged = json.loads((tmp_path / "assets/feasibility.json").read_text())
        (gate,) = [g for g in judged["gates"] if g["name"] == "enough examples: code"]
        assert gate["passed"] == (gate["n"] >= wanted)
        assert f"at least {wanted}" in gate["words"]


@pytest.mark.parametrize("share", ["-1", "101", "x"])
def test_a_share_that_is_none_is_wrong_use(share: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["build", "--repo", ".", "--out", "x", "--max-quarantined", share])
