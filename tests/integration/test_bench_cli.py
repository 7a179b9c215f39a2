"""``cyntra-planner bench`` as a person and as another program meet it."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner_pipeline.bench.ledger import FILE
from planner_pipeline.bench.units import UnitStore
from planner_pipeline.cli import main
from tests.reference.toy_bench import SOLVE, a_repository, a_workspace, digest_of

# one of a candidate's attempts always gets it right, the only one of a serial run never
SCRIPT = f"""
read -r request; case $request in *'"attempt":2,'*) {SOLVE} ;; esac
echo '{{"cost": 0.25, "tokens_used": 10}}'
"""
SETTINGS: dict[str, Any] = {"k": 2, "handoffs": 1, "objective": {"overall": "max"}}
ROOT = Path(__file__).parents[2]
Bench = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(autouse=True)
def no_dagster_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAGSTER_HOME", raising=False)


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    return a_workspace(tmp_path / "repo", SCRIPT, **SETTINGS)


@pytest.fixture
def bench(repo: Path, capsys: pytest.CaptureFixture[str]) -> Bench:
    """Runs the command; its exit code, the document it printed, what it said beside."""

    def run(*arguments: str) -> tuple[int, dict[str, Any], str]:
        out = str(repo.parent / "out")
        code = main(["bench", "--repo", str(repo), "--out", out, *arguments])
        told = capsys.readouterr()
        lines = told.out.splitlines()
        assert len(lines) == (1 if code == 0 else 0)
        return code, json.loads(lines[0]) if lines else {}, told.err

    return run


def refusal(bench: Bench, *arguments: str) -> str:
    """The one line that says what is wrong."""
    code, _, said = bench(*arguments)
    assert code == 1
    last = said.splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in said
    return last.removeprefix("error: ")


def test_a_campaign_from_its_plan_over_a_cap_to_its_end(bench: Bench, repo: Path) -> None:
    before = digest_of(repo)
    units, ledger = repo.parent / "out/bench/units", repo.parent / "out/bench" / FILE

    code, plan, said = bench("--plan", "--max-attempts", "4", "--max-usd", "100")
    assert code == 0
    assert (plan["cases"], plan["units"], plan["to_run"]) == (2, 4, 4)
    assert plan["worst_case"]["attempts"] == 2 * (1 + 2)
    assert plan["worst_case"]["cost_usd"] is None
    assert plan["spent"]["attempts"] == 0
    assert (plan["caps"]["attempts"], plan["caps"]["cost_usd"]) == (4, 100.0)
    assert "cap on attempts: 4, spent or reserved 0" in said
    assert "the campaign may end at this cap" in said
    assert "no price is known, set usd_per_minute" in said
    assert not units.exists()
    assert not ledger.read_bytes()

    assert "no price is known" in refusal(bench, "--max-usd", "100")
    assert not units.exists()

    _, capped, _ = bench("--max-attempts", "4")
    assert (capped["ended"], capped["kept"]) == ("cap", 0)
    assert 0 < capped["ran"] < 4
    assert capped["reason"].startswith("cap on attempts: ")
    assert Path(capped["report"]).is_file()

    _, rest, _ = bench()
    assert (rest["ended"], rest["kept"], rest["ran"]) == ("done", capped["ran"], 4 - capped["ran"])
    assert (rest["cases"], rest["labels"], rest["infra_errors"]) == (2, 2, 0)

    stored = {path.name: path.stat().st_mtime_ns for path in units.rglob("*.jsonl")}
    _, again, _ = bench()
    assert (again["ran"], again["kept"], again["labels"]) == (0, 4, 2)
    assert {path.name: path.stat().st_mtime_ns for path in units.rglob("*.jsonl")} == stored
    assert len(stored) == 4

    _, done, _ = bench("--plan")
    assert (done["to_run"], done["worst_case"]["attempts"]) == (0, 0)
    assert done["spent"]["attempts"] == 2 * (1 + 2)
    assert done["spent"]["cost_usd"] == pytest.approx(0.25 * 6)
    assert digest_of(repo) == before


@pytest.mark.slow
def test_units_whose_harness_failed_run_again_when_asked(bench: Bench, repo: Path) -> None:
    missing = repo.parent / "missing.yaml"
    config = json.loads((repo / ".cyntra/bench.yaml").read_text())
    broken = {**config, "toolchains": {"toy": {"command": ["sh", "-c", "exec /nowhere/agent"]}}}
    missing.write_text(json.dumps(broken))
    arguments = ("--config", str(missing), "--issues", "1")
    _, told, said = bench(*arguments)
    assert (told["infra_errors"], told["labels"]) == (2, 0)
    assert "toolchain toy: " in said
    _, kept, _ = bench(*arguments)
    assert (kept["ran"], kept["kept"]) == (0, 2)
    _, again, said = bench(*arguments, "--retry-infra")
    assert "2 units whose harness failed will run again" in said
    assert (again["ran"], again["infra_errors"]) == (2, 2)


def test_an_issue_that_cannot_be_benched_is_said_and_the_others_are(bench: Bench) -> None:
    _, plan, said = bench("--plan", "--issues", "2,nope")
    assert (plan["cases"], plan["units"]) == (1, 2)
    assert plan["refused"] == {"nope": "no such issue in .beads/issues.jsonl"}
    assert "not benched: nope: no such issue" in said
    assert refusal(bench, "--issues", "nope,none") == (
        "nothing to bench: no such issue in .beads/issues.jsonl (nope and 1 more)"
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"toolchainz": {}}, "{file}: Object contains unknown field `toolchainz`"),
        ({"toolchains": {"a": {"command": ["x"], "cmd": 1}}}, "unknown field `cmd` - at `$.toolchains"),
        ({"gate_seconds": 0}, "{file}: Expected `float` > 0.0 - at `$.gate_seconds`"),
        ("a: [", "{file}: not YAML: "),
        ({"gates": {"check": "true"}}, "nothing to bench: no toolchain is configured"),
        ({"toolchains": {"a": {"command": ["x"]}}}, "nothing to bench: no gate, as a shell command"),
    ],
)  # fmt: skip
def test_a_configuration_that_cannot_be_used_is_named_with_its_field(
    bench: Bench, repo: Path, config: object, said: str
) -> None:
    file = repo / ".cyntra/bench.yaml"
    file.write_text(config if isinstance(config, str) else json.dumps(config))
    assert said.format(file=file) in refusal(bench, "--plan")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--config", "/nowhere/bench.yaml"), "/nowhere/bench.yaml: No such file"),
        (("--bundle", "/nowhere"), "/nowhere: there is no such bundle"),
        (("--executor", "command"), "--executor command needs --command"),
        (("--executor", "replay", "--trials", "/nowhere"), "/nowhere: No such file"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(
    bench: Bench, arguments: tuple[str, ...], said: str
) -> None:
    assert said in refusal(bench, *arguments, "--plan")


def test_directories_are_looked_at_before_anything_is_done(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gone, here = str(tmp_path / "gone"), str(tmp_path)
    assert main(["bench", "--repo", gone, "--out", here]) == 1
    assert capsys.readouterr().err == f"error: {gone}: no such directory\n"
    assert main(["bench", "--repo", here, "--out", here]) == 1
    assert "--out must not be the workspace itself" in capsys.readouterr().err
    empty = a_repository(tmp_path / "empty")
    assert main(["bench", "--repo", str(empty), "--out", str(tmp_path / "o")]) == 1
    assert "error: nothing to bench: no issue is open" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments",
    [
        ("--max-attempts", "0"), ("--max-attempts", "2.5"), ("--max-usd", "0"), ("--max-usd", "nan"),
        ("--max-usd", "-1"), ("--max-minutes", "inf"), ("--max-wall", "soon"), ("--k", "0"),
        ("--repeats", "-1"), ("--jobs", "x"), ("--seed", "-1"), ("--anchors", "1.5"),
        ("--minute", "0s"), ("--minute", "1h"), ("--executor", "unheard-of"), ("--select", "luck"),
    ],
)  # fmt: skip
def test_a_number_without_meaning_is_wrong_use(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...]
) -> None:
    """A cap of 0 above all: it must not be taken for none."""
    with pytest.raises(SystemExit) as left:
        main(["bench", "--repo", "r", "--out", "o", *arguments])
    assert left.value.code == 2
    assert f"argument {arguments[0]}: " in capsys.readouterr().err


def test_the_command_loads_nothing_heavy_until_it_runs() -> None:
    program = (
        "import sys, planner_pipeline.bench_command as c, argparse;"
        "c.add_bench_arguments(argparse.ArgumentParser());"
        "print([m for m in ('polars', 'dagster', 'torch', 'pandera', 'yaml', 'onnxruntime', 'mlflow')"
        " if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.stdout == "[]\n"


@pytest.mark.slow
def test_whoever_interrupts_the_command_loses_nothing_that_is_finished(tmp_path: Path) -> None:
    script = 'read -r request; case $request in *\'"id":"2"\'*) sleep 60 ;; esac'
    repo = a_workspace(tmp_path / "repo", script, minute_seconds=1.0, **SETTINGS)
    out = tmp_path / "out"
    process = subprocess.Popen(
        [sys.executable, "-m", "planner_pipeline.cli", "bench", "--repo", str(repo),
         "--out", str(out)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
    )  # fmt: skip
    until = time.monotonic() + 60
    while len(list(UnitStore(out / "bench").every())) < 2:
        assert time.monotonic() < until
        assert process.poll() is None
        time.sleep(0.05)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    printed, said = process.communicate(timeout=20)
    assert process.returncode == 1
    assert printed == ""
    assert said.splitlines()[-2:] == [
        "what is finished is kept; the same command goes on from there",
        "interrupted",
    ]
    assert len(list(UnitStore(out / "bench").every())) == 2
