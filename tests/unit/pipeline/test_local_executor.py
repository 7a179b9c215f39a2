"""The local executor on toolchains of a few lines: handoffs, votes, limits, and what is kept."""

import json
import os
import time
from pathlib import Path

import pytest

from planner_pipeline.bench.config import Toolchain
from planner_pipeline.bench.executors.local import MOST_ROUNDED, LocalExecutor, declared_rest
from planner_pipeline.bench.protocol import Executor, HarnessError, Result
from planner_pipeline.dataset.examples import label_of
from planner_pipeline.sources.workspace import read_workspace
from planner_runtime.actions import Action, ActionSpace
from tests.building import runs_of
from tests.reference.campaigns import a_case
from tests.reference.toy_bench import (
    SOLVE,
    a_config,
    a_repository,
    a_unit,
    an_executor,
    digest_of,
    git,
    serial,
    side_by_side,
    statuses,
    toolchains,
)

# gets it right when it finds what an earlier attempt left in the tree
TWICE = f"if [ -e half ]; then {SOLVE}; else touch half; fi"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    a_repository(tmp_path / "repo", {"src/own.py": "x = 1\n", "key.pem": "secret\n"})
    return tmp_path


def run(
    folder: Path, *scripts: str, action: Action | None = None, issue: dict[str, object] | None = None,
    **settings: object,
) -> Result:  # fmt: skip
    config = a_config(*scripts, **settings)
    case = a_case("7", issue={"id": "7", "title": "t", **(issue or {})})
    unit = a_unit(config, action or serial(), case)
    (result,) = an_executor(folder, config).run(unit)
    return result


def archives(folder: Path) -> list[Path]:
    return sorted((folder / "bench/workspace/.cyntra/archives").glob("*"))


def read_json(path: Path) -> dict[str, object]:
    document: dict[str, object] = json.loads(path.read_bytes())
    return document


def test_the_second_handoff_goes_on_from_the_tree_of_the_first(folder: Path) -> None:
    result = run(folder, TWICE)
    assert (result.status, result.winner, result.is_censored) == ("passed", 2, False)
    assert statuses(result.attempts) == [("success", False), ("success", True)]
    assert result.attempts[0].failed_gates == ("check",)
    assert result.attempts[0].seed != result.attempts[1].seed
    assert [gate.passed for gate in result.gates] == [True]
    assert result.metrics["overall"] == 1.0
    assert result.base_commit == git(folder / "repo", "rev-parse", "HEAD")
    assert result.agent_ms == sum(one.duration_ms for one in result.attempts)


def test_handoffs_end_when_one_passes_or_there_are_no_more(folder: Path) -> None:
    assert len(run(folder, SOLVE).attempts) == 1
    result = run(folder, "true", handoffs=2)
    assert statuses(result.attempts) == [("success", False)] * 2
    assert (result.status, result.is_censored, result.metrics["overall"]) == ("failed", False, 0.0)


def test_candidates_run_side_by_side_in_trees_of_their_own_and_vote(folder: Path) -> None:
    script = f"""
read -r request; date +%s%N; sleep 0.6
case "$request" in *'"attempt":1,'*) ;; *'"attempt":2,'*) {SOLVE}; echo '# and more' >> answer.py ;;
*) {SOLVE} ;; esac; [ -e trace ] && exit 2; touch trace; date +%s%N
"""
    result = run(folder, script, action=side_by_side(3))
    assert statuses(result.attempts) == [("success", False), ("success", True), ("success", True)]
    assert [one.vote_score is None for one in result.attempts] == [True, False, False]
    assert (result.status, result.winner) == ("passed", 3)  # of two that pass, the shorter patch
    logs = [path / "logs" / "one-stdout.log" for path in archives(folder)]
    spans = [[int(line) for line in log.read_text().split()] for log in logs]
    assert len(spans) == 3
    assert max(start for start, _ in spans) < min(end for _, end in spans)
    assert (result.agent_ms or 0) > 1_700


def test_time_that_is_over_ends_an_attempt_and_says_so(folder: Path) -> None:
    began = time.monotonic()
    result = run(folder, f"{SOLVE}; trap '' TERM; sleep 60", minute_seconds=0.02)
    assert time.monotonic() - began < 5.0
    assert (result.status, result.is_censored) == ("timeout", True)
    assert statuses(result.attempts) == [("timeout", False)]
    assert result.attempts[0].failed_gates == ("timeout", "status:timeout")
    assert result.gates == ()  # though it would have passed
    assert result.attempts[0].n_killed >= 1
    (archive,) = archives(folder)
    assert not (archive / "rollout.json").exists()
    assert read_json(archive / "proof.json")["status"] == "timeout"


@pytest.mark.parametrize("action", [serial(), side_by_side(2)])
def test_no_unit_takes_more_than_its_worst_case(folder: Path, action: Action) -> None:
    """Also where every attempt has to be killed; with a grace, and the killing, on top."""
    config = a_config("trap '' TERM; sleep 60", minute_seconds=0.02, handoff_share=0.5)
    executor, unit = an_executor(folder, config), a_unit(config, action)
    (result,) = executor.run(unit)
    worst = executor.worst_case(unit)
    assert len(result.attempts) > 1
    assert len(result.attempts) <= worst.attempts
    assert (result.agent_ms or 0) / 20 <= worst.agent_minutes
    assert (result.duration_ms or 0) / 1_000 <= worst.wall_seconds


@pytest.mark.parametrize("limit", [0.3, 900.0, 7_200.0])
def test_what_is_declared_to_be_left_is_hardly_more_than_there_is(limit: float) -> None:
    for step in range(1, 1_001):
        left = limit * step / 1_000
        assert 0 <= declared_rest(left, limit) <= left + MOST_ROUNDED * limit + 1e-9
    assert declared_rest(limit, limit) == limit


def test_a_vote_without_a_passing_candidate_is_censored_where_one_was_cut_short(
    folder: Path,
) -> None:
    result = run(folder, "true", action=side_by_side(2), minute_seconds=0.02)
    assert (result.status, result.is_censored) == ("failed", False)
    script = 'read -r request; case "$request" in *\'"attempt":2,\'*) sleep 60 ;; esac'
    result = run(folder, script, action=side_by_side(2), minute_seconds=0.02)
    assert (result.status, result.is_censored) == ("timeout", True)
    solved = script.replace("sleep 60 ;;", f"sleep 60 ;; *) {SOLVE} ;;")
    result = run(folder, solved, action=side_by_side(2), minute_seconds=0.02)
    assert (result.status, result.is_censored, result.winner) == ("passed", False, 1)


@pytest.mark.parametrize("pattern", ["key.pem", "src", "src/", "*.pem", "src/*.py"])
def test_whoever_changes_a_forbidden_path_does_not_pass_and_no_gate_is_run(
    folder: Path, pattern: str
) -> None:
    canary = "touch \"$HOME/ran\"; grep -q 'answer = 42' answer.py"
    result = run(
        folder, f"{SOLVE}; echo y >> key.pem; echo y > src/own.py",
        gates={"check": canary}, issue={"dk_forbidden_paths": [pattern]},
    )  # fmt: skip
    assert (result.status, result.gates) == ("failed", ())
    assert len(result.attempts) == 1
    assert "forbidden paths" in (result.reason or "")
    (archive,) = archives(folder)
    assert '"critical"' in (archive / "proof.json").read_text()


@pytest.mark.parametrize("command", [("no-such-program",), ("/etc/passwd",), ("sh", "-c", "nope")])
def test_a_toolchain_that_cannot_be_started_is_the_harnesss_failure(
    folder: Path, command: tuple[str, ...]
) -> None:
    with pytest.raises(HarnessError) as failed:
        run(folder, toolchains={"one": Toolchain(command=command)})
    assert failed.value.what == "toolchain one"
    assert archives(folder) == []


@pytest.mark.parametrize(
    ("line", "cost", "tokens"),
    [
        ('{"cost": 0.25, "tokens_used": 900}', 0.25, 900), ('{"cost": -1, "tokens_used": -2}', None, None),
        ('{"cost": true, "tokens_used": 1.5}', None, None), ("[1]", None, None), ("{", None, None),
        ('{"cost": NaN}', None, None), ('{"cost": 0}', 0.0, None), ("", 7.0, None),
    ],
)  # fmt: skip
def test_cost_and_tokens_are_what_the_last_line_says_in_earnest(
    folder: Path, line: str, cost: float | None, tokens: int | None
) -> None:
    result = run(folder, f"{SOLVE}; echo '{{\"cost\": 7}}'; echo '{line}'")
    assert (result.attempts[0].cost_usd, result.attempts[0].tokens) == (cost, tokens)
    assert result.cost_usd == cost
    assert result.metrics.get("cost_usd") == cost


def test_a_declared_price_stands_in_for_a_cost_that_is_not_told(folder: Path) -> None:
    priced = toolchains(f"{SOLVE}; sleep 0.3", usd_per_minute=2.0)
    result = run(folder, toolchains=priced)
    spent = 2.0 * result.attempts[0].duration_ms / 300
    assert result.cost_usd == pytest.approx(spent)
    config = a_config(toolchains=priced)
    worst = an_executor(folder, config).worst_case(a_unit(config, serial()))
    assert (worst.cost_usd or 0) == pytest.approx(2.0 * worst.agent_minutes)
    assert spent < (worst.cost_usd or 0)


def test_the_users_repository_stays_as_it_is_to_the_byte(folder: Path) -> None:
    before = digest_of(folder / "repo")
    run(folder, f"rm -rf .git src; {SOLVE}; git init -q . 2>/dev/null; chmod 777 key.pem")
    run(folder, f"{SOLVE}; echo x > new", action=side_by_side(2))
    assert digest_of(folder / "repo") == before
    own = {path.stat().st_ino for path in (folder / "repo").rglob("*") if path.is_file()}
    kept = {path.stat().st_ino for path in (folder / "bench").rglob("*") if path.is_file()}
    assert not own & kept
    assert not list((folder / "bench" / "work").iterdir())
    assert not list((folder / "bench" / "repository.git" / "worktrees").iterdir())


def test_toolchains_and_gates_can_ask_git_what_was_changed(folder: Path) -> None:
    asked = f"""
{SOLVE}; [ "$(git status --porcelain)" = " M answer.py" ] || exit 9
git diff --stat | grep -q answer.py || exit 9; git log --oneline | grep -q first || exit 9
git show HEAD:answer.py | grep -q 'answer = 0' || exit 9
git init -q "$HOME/own" && cd "$HOME/own" && git -c user.name=x -c user.email=x@x commit -qm. --allow-empty
"""
    result = run(folder, asked, gates={"diff": "git diff --name-only HEAD~1 | grep -qx answer.py"})
    assert statuses(result.attempts) == [("success", True)]


def test_a_commit_that_came_after_the_copy_was_made_is_fetched(folder: Path) -> None:
    first = run(folder, SOLVE).base_commit
    (folder / "repo" / "answer.py").write_text("answer = 1\n")
    git(folder / "repo", "commit", "-qam", "second")
    second = run(folder, "grep -q 'answer = 1' answer.py || exit 9; " + SOLVE)
    assert (second.status, second.base_commit) == (
        "passed",
        git(folder / "repo", "rev-parse", "HEAD"),
    )
    config = a_config("grep -q 'answer = 0' answer.py || exit 9; " + SOLVE)
    unit = a_unit(config, serial(), a_case("7", base_commit=first))
    (then,) = an_executor(folder, config).run(unit)
    assert (then.status, then.base_commit) == ("passed", first)


def test_a_repository_of_another_user_is_copied_all_the_same(folder: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("only root can give a file away")
    for path in [folder / "repo", *(folder / "repo").rglob("*")]:
        os.chown(path, 12_345, 12_345, follow_symlinks=False)
    assert run(folder, SOLVE).status == "passed"


def test_the_toolchain_that_the_issue_hints_at_goes_first(folder: Path) -> None:
    scripts = ("echo one; false", "echo two; false")
    result = run(folder, *scripts, issue={"dk_tool_hint": "two"})
    assert [one.toolchain for one in result.attempts] == ["two", "one", "two"]
    assert statuses(result.attempts) == [("partial", False)] * 3
    result = run(folder, *scripts, issue={"dk_tool_hint": "unheard-of"}, handoffs=1)
    assert [one.toolchain for one in result.attempts] == ["one"]


def test_every_attempt_is_kept_as_the_kernel_would_have_and_reads_back(folder: Path) -> None:
    """Losers and timeouts too; minutes are the action's, whatever a minute was."""
    script = f"""
read -r request; case "$request" in *'"attempt":1,'*) {SOLVE} ;; *'"attempt":2,'*) sleep 60 ;; esac
"""
    action = side_by_side(3, minutes=30)
    result = run(folder, script, action=action, minute_seconds=0.02)
    assert [one.status for one in result.attempts] == ["success", "timeout", "success"]
    assert {path.name for path in archives(folder)} == {one.workcell_id for one in result.attempts}
    workspace = folder / "bench" / "workspace"
    assert read_workspace(workspace, folder / "store").quarantine.is_empty()
    runs = {record.run_id: record for record in runs_of(workspace)}
    assert len(runs) == 3
    for attempt in result.attempts:
        record = runs[attempt.workcell_id or ""]
        assert record.plan is not None
        assert record.plan.timeout_seconds_executed == 30 * 60
        assert label_of(record.plan, record.decided_ms, record.job_type, ActionSpace()) == action
        assert record.status == {"timeout": "timeout"}.get(
            attempt.status, "success" if attempt.is_passed else "failed"
        )


@pytest.mark.parametrize("name", ["7", "bd-7.1"])
def test_a_unit_that_runs_again_leaves_its_attempts_once(folder: Path, name: str) -> None:
    case = a_case(name, issue={"id": name, "title": "t"})

    def run(folder: Path, script: str) -> None:
        config = a_config(script)
        an_executor(folder, config).run(a_unit(config, serial(), case))

    for script in ("true", SOLVE):  # three attempts, then one
        run(folder, script)
        half = archives(folder)[-1].name
        (folder / f"bench/workspace/.cyntra/unfinished/{half}.1").mkdir(parents=True, exist_ok=True)
    assert len(archives(folder)) == 1
    other = a_config(SOLVE)
    an_executor(folder, other).run(a_unit(other, serial(), case, seed=6))
    assert len(archives(folder)) == 2
    run(folder, SOLVE)
    assert len(archives(folder)) == 2


def test_an_issues_id_is_never_a_path(folder: Path) -> None:
    config = a_config(SOLVE)
    for name in ("a/b", "../../../up", "x" * 300):
        case = a_case(name, issue={"id": name, "title": "t"})
        (result,) = an_executor(folder, config).run(a_unit(config, serial(), case))
        assert result.status == "passed"
        (kept,) = archives(folder)[-1:]
        assert kept.parent == folder / "bench/workspace/.cyntra/archives"
    assert {path.name for path in folder.iterdir()} == {"repo", "bench"}


def test_who_waits_is_told_why_a_case_cannot_be_run(folder: Path) -> None:
    def why(executor: LocalExecutor, **changes: object) -> str:
        return executor.why_not(a_case("7", **changes)) or ""

    good: Executor = an_executor(folder, a_config(SOLVE))
    assert good.why_not(a_case("7")) is None
    executor = an_executor(folder, a_config(SOLVE))
    assert "code jobs, not fab-world" in why(executor, job_type="fab-world")
    assert "no swarm of" in why(executor, baseline=Action("of", 1, 15, "NA"))
    own = {"id": "7", "dk_quality_gates": {"check": ["a", "b"]}}
    assert "no gate, as a shell command" in why(executor, issue=own)
    assert "no toolchain" in why(an_executor(folder, a_config()))
    (folder / "repo").rename(folder / "gone")
    assert "is no git repository" in why(executor)


def test_the_harness_costs_little_beside_the_work(folder: Path) -> None:
    """That it is told at all; how much it is, ``make bench-harness`` measures."""
    result = run(folder, SOLVE)
    assert result.harness_ms is not None
    assert result.duration_ms is not None
    assert 0 < result.harness_ms <= result.duration_ms
