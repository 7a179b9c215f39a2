"""A bundle of a trial table, verified, and replayed on systems it never saw."""

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from planner_pipeline.bench.trial_study import STUDY_BUDGETS
from planner_pipeline.cli import main
from planner_pipeline.experiments.bundle_replay import SEEN, run_bundle_replay
from planner_pipeline.experiments.trial_outcomes import TOO_FEW
from planner_pipeline.release.trial_bundle import write_trial_bundle
from planner_pipeline.sources.trials import Trial, read_trials
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_runtime.objective import DEFAULT_OBJECTIVE, Objective, Weights
from planner_runtime.planner import load_bundle
from tests.reference.trials import HOUR_MS, a_trial, many_trials, naive_outcome

SMALL = OutcomeConfig(members=2, epochs=20)
COLUMNS = (
    "dataset", "issue_id", "system", "attempt", "passed", "cost_usd", "duration_ms", "started_at",
    "fail_code",
)  # fmt: skip
KNOWN, NEW = ("system-0", "system-1"), "system-2"


def moment(ms: int) -> str:
    return f"{np.datetime64(ms, 'ms')}Z"


def write_table(path: Path, trials: Iterable[Trial], extra: Iterable[str] = ()) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for t in trials:
            writer.writerow(
                (
                    t.dataset, t.issue_id, t.system, t.attempt, int(t.passed), t.cost_usd,
                    t.duration_ms, "" if t.started_ms is None else moment(t.started_ms),
                    t.fail_code,
                )
            )  # fmt: skip
        file.writelines(f"{line}\n" for line in extra)
    return path


def some_trials() -> list[Trial]:
    return many_trials(n_systems=3, n_issues=5, n_attempts=4)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The attempts of two systems."""
    folder = tmp_path_factory.mktemp("trials")
    return write_table(folder / "known.csv", (t for t in some_trials() if t.system in KNOWN))


@pytest.fixture(scope="module")
def bundle(table: Path) -> Path:
    folder = table.parent / "outcome_bundle"
    write_trial_bundle(table, None, folder, config=SMALL)
    return folder


@pytest.fixture(scope="module")
def others(table: Path) -> Path:
    """The attempts of a third system, late, and those of one that was learned from."""
    return write_table(
        table.parent / "others.csv", (t for t in some_trials() if t.system in (NEW, KNOWN[0]))
    )


def test_the_bundle_verifies_and_says_what_it_was_made_of(bundle: Path, table: Path) -> None:
    opened, _ = load_bundle(bundle)
    assert opened.manifest.model.arch == "outcome"
    assert opened.manifest.n_golden == 8
    assert opened.outcome is not None
    assert set(opened.outcome.track_record.pairs) == set(KNOWN)
    assert opened.outcome.policy.objective == DEFAULT_OBJECTIVE
    risk = opened.outcome.calibration.risk
    assert risk is not None
    assert "votes as upper bounds" in risk.measure
    assert opened.outcome.calibration.always_abstains  # ten cases can promise nothing
    assert opened.outcome.calibration.notes == ("no threshold keeps its promise",)
    assert all(t.ended_ms is None for t in read_trials([table]).trials)


def test_equal_tables_and_seeds_give_equal_bundles(bundle: Path, table: Path) -> None:
    again = table.parent / "again"
    write_trial_bundle(table, None, again, config=SMALL)
    for path in sorted(bundle.iterdir()):
        assert (again / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_replay_decides_what_the_bundle_never_saw_and_says_what_it_left_out(
    bundle: Path, others: Path, tmp_path: Path
) -> None:
    report = run_bundle_replay(bundle, [others], tmp_path)
    assert json.loads((tmp_path / "replay.json").read_bytes()) == json.loads(
        msgspec.json.encode(report)
    )
    assert report.left_out == {SEEN: 5}
    assert (report.read, report.quarantined) == (40, 0)
    assert (report.arch, list(report.by_system)) == ("outcome", [NEW])
    assert report.n_before == 0  # all of it came after what the bundle knows
    assert report.objective == msgspec.to_builtins(DEFAULT_OBJECTIVE)
    overall = report.overall
    assert overall == report.by_system[NEW]
    assert (overall.n_cases, overall.n_issues) == (5, 5)
    decisions = pl.read_parquet(tmp_path / "decisions.parquet")
    assert decisions["case_id"].is_sorted()
    assert decisions.height == 5
    trials = [t for t in some_trials() if t.system == NEW]
    for row in decisions.iter_rows(named=True):
        attempts = [t for t in trials if t.issue_id == row["issue_id"]]
        passed, cost, _ = naive_outcome(attempts, row["candidates"], row["minutes"])
        assert row["pass_ratio"] == pytest.approx(passed)
        assert row["agent_minutes"] == pytest.approx(cost)
        assert row["utility"] == pytest.approx(passed - 0.01 * cost)
        assert 0 <= row["p_pass"] <= 1
        assert row["decided_ms"] == min(t.started_ms or 0 for t in attempts)
    assert overall.value is not None
    assert overall.value.value == pytest.approx(decisions["utility"].mean())
    assert report.abstained == pytest.approx(decisions["abstained"].mean())
    for name in ("best_fixed", "oracle", "gain_on_best_fixed", "regret", "gap_closed", "pass_rate"):
        interval = getattr(overall, name)
        assert interval.low <= interval.value <= interval.high, name
    assert overall.regret is not None
    assert overall.oracle is not None
    assert overall.regret.value == pytest.approx(overall.oracle.value - overall.value.value)
    assert report.as_of is not None
    assert b"NaN" not in (tmp_path / "replay.json").read_bytes()


def test_a_replay_is_the_same_again(bundle: Path, others: Path, tmp_path: Path) -> None:
    shuffled = write_table(tmp_path / "shuffled.csv", read_trials([others]).trials[::-1])
    for name, file in (("a", others), ("b", others), ("c", shuffled)):
        run_bundle_replay(bundle, [file], tmp_path / name)
    for name in ("replay.json", "decisions.parquet"):
        first = (tmp_path / "a" / name).read_bytes()
        assert (tmp_path / "b" / name).read_bytes() == first
        assert (tmp_path / "c" / name).read_bytes() == first, name


def test_no_later_attempt_reaches_a_replayed_decision(
    bundle: Path, others: Path, tmp_path: Path
) -> None:
    trials = read_trials([others]).trials
    last = max(t.started_ms or 0 for t in trials if t.system == NEW and t.attempt == 1)
    turned = [
        msgspec.structs.replace(t, passed=not t.passed)
        if t.system == NEW and (t.started_ms or 0) >= last
        else t
        for t in trials
    ]
    run_bundle_replay(bundle, [others], tmp_path / "a")
    run_bundle_replay(bundle, [write_table(tmp_path / "t.csv", turned)], tmp_path / "b")
    one, other = (pl.read_parquet(tmp_path / name / "decisions.parquet") for name in "ab")
    assert one["action"].to_list() == other["action"].to_list()
    assert one["p_pass"].to_list() == other["p_pass"].to_list()
    assert one["utility"].to_list() != other["utility"].to_list()


def test_what_nobody_can_score_is_left_out_and_counted(
    bundle: Path, others: Path, tmp_path: Path
) -> None:
    late = 400 * HOUR_MS
    odd = [
        *(a_trial(n, system=NEW, issue="untimed", minutes=None, started_ms=late) for n in (1, 2, 3)),
        *(a_trial(n, system=NEW, issue="half", started_ms=late, minutes=n - 1 or None)
          for n in (1, 2, 3)),
        *(a_trial(n, system=NEW, issue="few", started_ms=late + n) for n in (1, 2)),
        *(msgspec.structs.replace(a_trial(n, system=NEW, issue="startless"), started_ms=None)
          for n in (1, 2, 3)),
    ]  # fmt: skip
    bad = [
        "bench,task-9,system-2,x,1,,60000,,",
        "bench,task-9,,1,1,,60000,,",
        "bench,task-9,s,1,?,,1,,",
    ]
    file = write_table(tmp_path / "odd.csv", [*read_trials([others]).trials, *odd], bad)
    report = run_bundle_replay(bundle, [file], tmp_path / "out")
    assert report.left_out == {
        SEEN: 5,
        "no attempt has a duration": 1,
        "some attempts have no duration": 1,
        "some attempts have no start": 1,
        TOO_FEW: 1,
    }
    assert (report.read, report.quarantined) == (40 + len(odd) + 3, 3)
    assert report.overall.n_cases == 5
    assert b"NaN" not in (tmp_path / "out" / "replay.json").read_bytes()


def test_another_objective_decides_otherwise_and_nothing_is_fitted(
    bundle: Path, others: Path, tmp_path: Path
) -> None:
    before = {path.name: path.read_bytes() for path in bundle.iterdir()}
    told = {}
    for name, minute in (("free", 0.0), ("dear", 10.0)):
        objective = Objective(name=name, weights=Weights(minute=minute))
        told[name] = run_bundle_replay(bundle, [others], tmp_path / name, objective=objective)
        assert told[name].objective["name"] == name
    minutes = {
        name: pl.read_parquet(tmp_path / name / "decisions.parquet")["agent_minutes"].sum()
        for name in told
    }
    assert minutes["dear"] < minutes["free"]
    assert {path.name: path.read_bytes() for path in bundle.iterdir()} == before
    assert told["free"].bundle_id == told["dear"].bundle_id
    constrained = Objective(rule="constrained", weights=Weights(minute=0.01))
    same = run_bundle_replay(bundle, [others], tmp_path / "c", objective=constrained)
    assert same.objective["rule"] == "utility"


def test_a_bundle_of_imitation_is_replayed_as_a_kernel_asks_it(
    built: Path, others: Path, tmp_path: Path
) -> None:
    report = run_bundle_replay(built / "bundle", [others], tmp_path)
    assert report.arch != "outcome"
    assert report.left_out == {}  # it carries no track record to tell what it saw
    assert (report.overall.n_cases, len(report.by_system)) == (10, 2)
    assert report.as_of is None
    assert report.overall.ece is None
    assert 0 <= report.abstained <= 1
    decisions = pl.read_parquet(tmp_path / "decisions.parquet")
    assert decisions["p_pass"].null_count() == 10
    assert set(zip(decisions["candidates"], decisions["minutes"], strict=True)) <= {
        tuple(budget) for budget in STUDY_BUDGETS
    }


def test_the_command_replays_and_prints_one_line_of_json(
    bundle: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    objective = tmp_path / "objective.json"
    objective.write_bytes(
        msgspec.json.encode(Objective(name="mine", weights=Weights(minute=0.011)))
    )
    arguments = ["replay", "--bundle", str(bundle), "--out", str(tmp_path / "out")]
    asked = [*arguments, "--trials", str(others), "--objective", str(objective)]
    assert main(asked) == 0
    told = capsys.readouterr()
    line = json.loads(told.out)
    assert (line["cases"], line["systems"], line["left_out"]) == (5, 1, {SEEN: 5})
    assert "gap closed" in told.err
    assert "best fixed action" in told.err
    assert json.loads(Path(line["replay"]).read_bytes())["objective"]["name"] == "mine"
    assert Path(line["decisions"]).is_file()


def test_a_replay_that_cannot_be_is_one_clear_line_and_code_one(
    bundle: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def failing(trials: Path, *more: str, folder: Path = bundle) -> str:
        arguments = ["--trials", str(trials), "--out", str(tmp_path / "out"), *more]
        assert main(["replay", "--bundle", str(folder), *arguments]) == 1
        told = capsys.readouterr()
        assert told.out == ""
        assert "Traceback" not in told.err
        errors = [line for line in told.err.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1
        return errors[0]

    assert f"no case to decide: {SEEN}: 10" in failing(table)
    few = write_table(tmp_path / "few.csv", [a_trial(1, system="s"), a_trial(2, system="s")])
    assert f"no case to decide: {TOO_FEW}: 1" in failing(few)
    empty = write_table(tmp_path / "empty.csv", [])
    assert "no case to decide: the tables hold no attempt" in failing(empty)
    assert "no such file" in failing(tmp_path / "none.csv")
    (tmp_path / "bad.csv").write_text("a,b\n1,2\n")
    assert "columns" in failing(tmp_path / "bad.csv")
    (tmp_path / "o.json").write_text("[]")
    assert "a mapping of fields" in failing(table, "--objective", str(tmp_path / "o.json"))
    assert failing(table, folder=tmp_path)


def test_a_table_that_cannot_be_learned_from_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = write_table(tmp_path / "few.csv", [a_trial(1), a_trial(2)])
    for more in ([], ["--report"]):
        arguments = ["policy", "--trials", str(few), "--out", str(tmp_path / "out"), *more]
        assert main(arguments) == 1
        assert "can be replayed" in capsys.readouterr().err
    assert not (tmp_path / "out" / "outcome_bundle").exists()
    assert main(["policy", "--trials", str(tmp_path / "no.csv"), "--out", str(tmp_path)]) == 1
    assert main(["policy", "--out", str(tmp_path)]) == 1


@pytest.mark.slow
def test_the_command_learns_from_a_table_and_reports_on_systems_held_out(
    table: Path, others: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tasks = tmp_path / "tasks.jsonl"
    tasks.write_text('{"task_id": "task-0", "difficulty": "hard", "keywords": ["maze"]}\n')
    arguments = ["policy", "--trials", str(table), "--tasks", str(tasks), "--report"]
    assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr()
    line = json.loads(told.out)
    page = Path(line["report"]).read_text()
    assert "nan" not in page
    assert "### w = 0.02" in page
    assert set(line["gap_closed"]) == {"value", "value_as_of", "value_safe"}
    replay = ["replay", "--bundle", line["bundle"], "--trials", str(others)]
    assert main([*replay, "--out", str(tmp_path / "replay")]) == 0
    assert json.loads(capsys.readouterr().out)["bundle_id"] == line["bundle_id"]
