"""The command line as a person and as another program meet it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from planner_pipeline.cli import main
from planner_pipeline.parts import Parts
from planner_runtime.contracts import PlannerAction, read_document
from tests.building import records_of

HEADER = (
    "dataset,issue_id,repo,system,model,attempt,passed,cost_usd,duration_ms,tokens_in,tokens_out,"
    "started_at,fail_code,gates_passed,gates_total"
)
ROWS = [
    "d,fix/it,r,sys|m|1,m,1,1,0.5,60000,10,20,2026-01-01T00:00:00+00:00,,2,2",
    "d,fix/it,r,sys|m|1,m,2,0,,1200000,,,2026-01-02T00:00:00Z,agent_timeout,1,2",
    "d,other,r,sys|m|1,m,1,0,,,,,,,,",
    "d,other,r,sys|m|1,m,1,0,,,,,,,,",
    "d,other,r,sys|m|1,m,x,0,,,,,,,,",
    "d,other,r,,m,3,0,,,,,,,,",
    "d,third,r,sys|m|1,m,1,maybe,,,,,,,,",
    "d,third,r,sys|m|1,m,1,1,nan,,,,,,,",
    "d,third,r,sys|m|1,m,1,1,,,,,soon,,,",
]


@pytest.fixture
def question(built: Path, tmp_path: Path) -> Path:
    line = (built / "bundle" / "golden.jsonl").read_text().splitlines()[-1]
    path = tmp_path / "question.json"
    path.write_text(json.dumps(json.loads(line)["planner_input"]))
    return path


def test_plan_prints_a_planner_action(
    built: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plan", "--bundle", str(built / "bundle"), "--input", str(question)]) == 0
    action = read_document(capsys.readouterr().out, PlannerAction)
    assert action.model is not None


def test_plan_accepts_a_hand_written_input_with_extra_keys(
    built: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(question.read_text())
    document["issue"] |= {"assignee": "somebody", "labels": {"a": [1]}}
    question.write_text(json.dumps(document))
    assert main(["plan", "--bundle", str(built / "bundle"), "--input", str(question)]) == 0
    assert '"reason":"invalid' not in capsys.readouterr().out


def test_plan_refuses_a_bad_input_with_the_path_of_the_field(
    built: Path, question: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    document = json.loads(question.read_text())
    document["issue"]["dk_risk"] = "extreme"
    question.write_text(json.dumps(document))
    assert main(["plan", "--bundle", str(built / "bundle"), "--input", str(question)]) == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert "$.issue.dk_risk" in told.err
    assert "Traceback" not in told.err


def test_plan_answers_with_the_baseline_when_the_bundle_is_broken(
    built: Path, question: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(built / "bundle", tmp_path / "bundle")
    (tmp_path / "bundle" / "calibration.json").write_text("{}")
    arguments = ["plan", "--bundle", str(tmp_path / "bundle"), "--input", str(question)]
    assert main(arguments) == 0
    action = json.loads(capsys.readouterr().out)
    assert action["abstain_to_default"] is True
    assert action["reason"].startswith("bundle_load_failed:calibration.json: size_mismatch")
    assert main(["verify", str(tmp_path / "bundle")]) == 1
    assert capsys.readouterr().out.startswith("FAULT calibration.json: size_mismatch")


def test_sample_tells_what_it_wrote_and_never_overwrites(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sample", "--out", str(tmp_path / "w"), "--runs", "20", "--seed", "4"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["simulated"] is True
    assert told["archives"] > 0
    assert main(["sample", "--out", str(tmp_path / "w"), "--runs", "20"]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_samples_of_equal_seeds_are_byte_identical(tmp_path: Path) -> None:
    for name in ("a", "b"):
        main(["sample", "--out", str(tmp_path / name), "--runs", "40", "--seed", "9"])
    a, b = (
        {
            p.relative_to(tmp_path / n): p.read_bytes()
            for p in (tmp_path / n).rglob("*")
            if p.is_file()
        }
        for n in ("a", "b")
    )
    assert a == b


def test_trials_become_a_workspace_and_nothing_vanishes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("\n".join([HEADER, *ROWS]) + "\n")
    assert main(["import-trials", str(table), "--out", str(tmp_path / "w")]) == 0
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "out": str(tmp_path / "w"), "trials": 3, "issues": 2, "systems": 1, "quarantined": 6,
    }  # fmt: skip
    rows = json.loads((tmp_path / "w/trials_import.json").read_text())["quarantined"]
    assert [row["line"] for row in rows] == [5, 6, 7, 8, 9, 10]
    trials = pl.read_parquet(tmp_path / "w" / "trials.parquet")
    assert trials["duration_ms"].to_list() == [60_000, 1_200_000, None]
    assert trials["cost_usd"].to_list() == [0.5, None, None]
    build = ["build", "--repo", str(tmp_path / "w"), "--out", str(tmp_path / "o")]
    assert main(build) == 1
    told = capsys.readouterr()
    assert "6 of 9 trials are quarantined" in told.err
    assert "t.csv:5: bad value" in told.err
    assert main([*build, "--max-quarantined", "70"]) == 0
    built = json.loads(capsys.readouterr().out)
    assert built["examples"] == 2  # the third attempt has no known start
    assert built["quarantined"] == 6
    runs = records_of(Parts.load(tmp_path / "o/parts/run_summaries"))
    assert [run.status for run in runs] == ["success", "timeout", "failed"]
    assert runs[2].ended_ms is None


def test_parquet_trials_read_as_csv_does(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\n".join([HEADER, *ROWS[:3]]) + "\n")
    pl.read_csv(tmp_path / "t.csv").write_parquet(tmp_path / "t.parquet")
    for name in ("t.csv", "t.parquet"):
        assert (
            main(["import-trials", str(tmp_path / name), "--out", str(tmp_path / f"w {name}")]) == 0
        )
    a, b = (pl.read_parquet(tmp_path / f"w {n}" / "trials.parquet") for n in ("t.csv", "t.parquet"))
    assert a.equals(b)


@pytest.mark.parametrize(
    ("text", "why"),
    [("issue_id,system\na,b\n", "are missing"), ("", "not a CSV or Parquet table")],
)
def test_what_is_no_trial_table_is_refused_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, why: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    assert main(["import-trials", str(tmp_path / "t.csv"), "--out", str(tmp_path / "w")]) == 1
    told = capsys.readouterr().err
    assert why in told
    assert len(told.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [[], ["unheard-of"], ["run"], ["sample", "--out", "x", "--runs", "0"]]
)
def test_wrong_use_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    capsys.readouterr()


def test_a_traceback_is_shown_only_when_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ["run", "--repo", str(tmp_path / "none"), "--out", str(tmp_path / "o")]
    assert main(missing) == 1
    assert "Traceback" not in capsys.readouterr().err
    assert main(["--debug", *missing]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_the_sidecar_module_answers_too(built: Path, question: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "planner_runtime", "plan", "--bundle", str(built / "bundle"),
         "--input", "-", "--trace"],
        input=question.read_bytes(), capture_output=True, check=True,
    )  # fmt: skip
    action, trace = (json.loads(line) for line in done.stdout.splitlines())
    assert action["schema_version"] == "cyntra.planner_action.v1"
    assert trace["schema_version"] == "cyntra.policy_trace.v1"


def test_run_ends_in_one_line_of_json_and_shows_its_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    main(["sample", "--out", str(tmp_path / "w"), "--runs", "60"])
    capsys.readouterr()
    arguments = [
        "run",
        "--repo",
        str(tmp_path / "w"),
        "--out",
        str(tmp_path / "o"),
        "--epochs",
        "2",
    ]
    assert main(arguments) == 0
    told = capsys.readouterr()
    (line,) = told.out.splitlines()
    document = json.loads(line)
    assert document["examples"] == sum(document["splits"].values()) > 20
    assert Path(document["report"]).is_file()
    assert main(["verify", document["bundle"]]) == 0
    assert "planner_bundle" in told.err


def test_a_run_that_cannot_learn_says_so_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    (tmp_path / "w").mkdir()
    assert main(["run", "--repo", str(tmp_path / "w"), "--out", str(tmp_path / "o")]) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert re.match(
        "error: (model_training|reference_outputs): no labelled run to learn from", last
    )
    assert main(["run", "--repo", str(tmp_path / "w"), "--out", str(tmp_path / "w")]) == 1


@pytest.mark.parametrize(
    ("name", "trials", "refused", "examples"),
    [("terminal_bench", 2_560, 0, 1_863), ("swe_bench_verified", 10_999, 5, 10_999)],
)
def test_real_trials_become_a_data_set(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    name: str, trials: int, refused: int, examples: int,
) -> None:  # fmt: skip
    import dagster as dg

    from planner_pipeline.materialize import dataset_summary, materialize

    table = shared_data / "agent-trials" / f"{name}.trials.csv.gz"
    assert main(["import-trials", str(table), "--out", str(tmp_path / "w")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["trials"], told["quarantined"]) == (trials, refused)
    instance = dg.DagsterInstance.ephemeral()
    materialize(tmp_path / "w", tmp_path / "o", dataset_only=True, instance=instance)
    built = dataset_summary(tmp_path / "o")
    assert (built["examples"], built["quarantined"]) == (examples, refused)


def test_a_model_of_any_kind_is_trained_and_then_evaluated(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    out = ["--repo", str(workspace), "--out", str(tmp_path / "o")]
    assert main(["evaluate", *out]) == 1
    assert "nothing was trained" in capsys.readouterr().err
    assert main(["train", *out, "--arch", "gbt", "--seed", "3"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["config"]["arch"], told["config"]["seed"]) == ("gbt", 3)
    assert Path(told["checkpoint"]).is_file()
    assert main(["evaluate", *out]) == 0
    printed = capsys.readouterr()
    test = json.loads(printed.out)
    assert set(test["predictors"]) == {"model", "served", "heuristic", "prior", "logreg"}
    assert "minus the heuristic" in printed.err
    assert main(["evaluate", *out]) == 0
    assert "nothing new" in capsys.readouterr().err
    assert main(["train", *out, "--arch", "prior", "--decoding", "heads"]) == 1
    assert "a prior is over joint actions" in capsys.readouterr().err
    assert main(["evaluate", "--out", str(tmp_path / "o")]) == 1
    assert "--repo is needed" in capsys.readouterr().err


def test_winner_labels_are_learned_from_where_a_bench_chose_them(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import polars as pl

    from planner_runtime.actions import HEADS

    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    command = ["train", "--repo", str(workspace), "--out", str(tmp_path / "o"), "--arch", "prior"]
    assert main(command) == 0
    plain = json.loads(capsys.readouterr().out)
    index = pl.read_parquet(tmp_path / "o/dataset/index.parquet").filter(job_type="code").head(30)
    won = dict(zip(HEADS, ("speculate_vote", "3", "120", "NA"), strict=True))
    winners = index.select("example_id").with_columns(pl.lit(v).alias(k) for k, v in won.items())
    winners.write_parquet(tmp_path / "winners.parquet")
    assert main([*command, "--winners", str(tmp_path / "winners.parquet")]) == 0
    taught = json.loads(capsys.readouterr().out)
    assert taught["n_train"] == 30 < plain["n_train"]
    (tmp_path / "o/bench").mkdir()
    winners.head(20).write_parquet(tmp_path / "o/bench/winners.parquet")
    assert main(command) == 0  # nobody named them
    assert json.loads(capsys.readouterr().out)["n_train"] == plain["n_train"]


@pytest.mark.slow
def test_ablations_end_in_a_table_a_page_and_a_run_for_every_cell(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    import sqlite3

    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    out = tmp_path / "o"
    assert main(["ablate", "--quick", "--repo", str(workspace), "--out", str(out)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["cells"] == 21
    assert not told["may_ship_recurrent"]
    page = Path(told["results"]).read_text()
    assert "## gradient loops K" in page
    assert "A quick grid" in page
    assert "May the recurrent model ship?" in (out / "report.html").read_text()
    with sqlite3.connect(out / "mlflow.db") as database:
        (children,) = database.execute(
            "select count(*) from tags where key = 'mlflow.parentRunId'"
        ).fetchone()
    assert children == 21
