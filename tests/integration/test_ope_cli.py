"""``cyntra-planner ope`` from a workspace with traces to figures, and its refusals."""

import json
from pathlib import Path

import polars as pl
import pytest

from planner_pipeline.cli import main
from planner_runtime.contracts import canonical_json, to_document
from planner_runtime.objective import Objective, Weights
from tests.reference.traced_workspace import (
    ACTIONS,
    PASS_RATIO,
    a_trace,
    write_archive,
    write_explored,
)
from tests.reference.trials import many_trials


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    repo = tmp_path_factory.mktemp("explored")
    write_explored(repo)
    write_archive(repo, 900, a_trace(mode="log"), issue="logged")
    write_archive(repo, 901, b"{}", issue="broken")
    write_archive(repo, 902, None, issue="untraced")
    write_archive(repo, 903, a_trace(ACTIONS[2]), issue="other", ran_seconds=900)
    return repo


def ope(repo: Path, out: Path, *more: str) -> tuple[int, dict]:  # type: ignore[type-arg]
    code = main(["ope", "--repo", str(repo), "--out", str(out), *more])
    return code, json.loads((out / "ope.json").read_text())


def always(action: int, repo: Path, file: Path) -> Path:
    issues = sorted({p.name.rsplit("-", 1)[0][3:] for p in (repo / ".cyntra/archives").iterdir()})
    one = ACTIONS[action]
    pl.DataFrame(
        {
            "issue_id": issues, "swarm_id": one.swarm_id, "max_candidates_bin": "1",
            "max_minutes_bin": str(one.max_minutes_bin), "max_iterations_bin": "NA",
            "probability": 1.0,
        }
    ).write_parquet(file)  # fmt: skip
    return file


def test_a_policy_nobody_ran_is_judged_near_its_truth(
    explored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = always(2, explored, tmp_path / "sixty.parquet")
    code, report = ope(explored, tmp_path / "out", "--policy", str(file))
    assert code == 0
    found = report["estimates"]["pass"]["dr"]
    assert found["low"] < PASS_RATIO[2] < found["high"]
    assert found["gain_low"] > 0  # surely better than what ran
    assert (report["n_decisions"], report["n_issues"], report["n_quarantined"]) == (180, 60, 1)
    assert report["left_out"] == {"no_trace": 1, "not_enforced": 1, "ran_otherwise": 1}
    assert report["n_archives"] == 180 + 1 + 3
    assert set(report["estimates"]) == {"utility", "pass", "minutes", "usd"}
    assert set(report["estimates"]["utility"]) == {"ips", "snips", "dm", "dr", "sndr", "switch_dr"}
    told = capsys.readouterr().out
    assert "| dr |" in told
    assert "These figures assume" in told
    rows = pl.read_parquet(tmp_path / "out" / "decisions.parquet")
    assert rows["weight"].mean() == pytest.approx(report["overlap"]["mean_weight"])
    refused = pl.read_parquet(tmp_path / "out" / "quarantine.parquet")
    assert refused["file"].to_list()[0].endswith("policy_trace.json")


@pytest.mark.parametrize("policy", ["baseline", "uniform", "logged"])
def test_the_policies_with_a_name_are_judged(explored: Path, tmp_path: Path, policy: str) -> None:
    code, report = ope(explored, tmp_path, "--policy", policy)
    assert code == 0
    assert report["estimates"]["utility"][report["preferred"]]["low"] is not None


def test_the_same_logs_tell_the_same(explored: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        assert ope(explored, tmp_path / name)[0] == 0
    one, two = ((tmp_path / name / "ope.json").read_bytes() for name in ("one", "two"))
    assert one == two


def test_another_objective_is_another_reward(explored: Path, tmp_path: Path) -> None:
    objective = Objective(name="passes", weights=Weights(passed=2, minute=0))
    (tmp_path / "o.json").write_bytes(canonical_json(to_document(objective)))
    _, report = ope(explored, tmp_path / "out", "--objective", str(tmp_path / "o.json"))
    utility, passes = (report["estimates"][name]["ips"]["value"] for name in ("utility", "pass"))
    assert utility == pytest.approx(2 * passes)
    assert report["reward"] == '2 x pass (objective "passes")'


def test_an_objective_of_a_universe_is_judged_by_its_weights_and_says_so(
    explored: Path, tmp_path: Path
) -> None:
    file = tmp_path / "objectives.yaml"
    file.write_text("objectives:\n  quick:\n    metrics: {pass_rate: max, duration_ms: min}\n")
    _, report = ope(explored, tmp_path / "out", "--objective", str(file))
    assert report["reward"] == (
        '1 x pass - 0.01 x agent-minutes (objective "quick"; its rule "lexicographic" is judged by '
        "its weights)"
    )


def test_what_is_no_objective_is_said_in_one_line(
    explored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "w.json").write_text('{"w_pass": 2}')
    arguments = ["ope", "--repo", str(explored), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--objective", str(tmp_path / "w.json")]) == 1
    told = capsys.readouterr().err
    assert "w.json" in told
    assert len(told.splitlines()) == 1


def test_logs_without_chance_are_refused_with_the_reason_and_the_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(4):
        write_archive(tmp_path / "repo", number, a_trace(), issue=str(number))
    code, report = ope(tmp_path / "repo", tmp_path / "out", "--policy", "uniform")
    assert code == 1
    assert report["refused"]["reason"] == "deterministic_logging"
    assert not report["estimates"]
    told = capsys.readouterr()
    assert "propensity 1" in told.err
    assert "turn exploration on" in told.err
    assert '`policy.json` has `"exploration": {"epsilon"' in told.err
    assert "`lab:planner_explore`" in told.err
    assert ope(tmp_path / "repo", tmp_path / "out", "--policy", "logged")[0] == 0


def test_a_workspace_without_traces_is_refused(tmp_path: Path) -> None:
    write_archive(tmp_path / "repo", 0, None)
    code, report = ope(tmp_path / "repo", tmp_path / "out")
    assert (code, report["refused"]["reason"]) == (1, "nothing_logged")
    assert report["left_out"] == {"no_trace": 1}


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--out", "o"], "--repo is needed"),
        (["--repo", "nowhere", "--out", "o"], "no such directory"),
        (["--repo", ".", "--out", "."], "must not be the workspace"),
        (["--repo", ".", "--out", "o", "--policy", "best"], "neither"),
    ],
)
def test_what_cannot_be_asked_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: list[str], why: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(["ope", *arguments]) == 1
    told = capsys.readouterr().err
    assert why in told
    assert len(told.splitlines()) == 1


@pytest.mark.slow
def test_the_study_writes_its_table_and_its_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        {"dataset": t.dataset, "issue_id": t.issue_id, "system": t.system, "attempt": t.attempt,
         "passed": int(t.passed), "duration_ms": t.duration_ms}
        for t in many_trials()
    ]  # fmt: skip
    pl.DataFrame(rows).write_parquet(tmp_path / "trials.parquet")
    arguments = ["ope", "--trials", str(tmp_path / "trials.parquet"), "--out", str(tmp_path)]
    assert main([*arguments, "--quick"]) == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(last["dr_coverage_at_500"]) >= {"softmax / task_prior"}
    assert pl.read_parquet(last["table"])["n"].unique().len() == 5
    assert "Kinds of interval" in Path(last["report"]).read_text()
