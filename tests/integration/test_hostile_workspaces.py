"""Broken workspaces: nothing crashes, nothing vanishes, good rows stay as they were."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner_pipeline.cli import main
from planner_runtime.contracts import canonical_json
from tests.building import build


@pytest.fixture
def repo(workspace: Path, tmp_path: Path) -> Path:
    """The newest archives and a few world runs of the sample."""
    for name in (".cyntra/config.yaml", "universes", ".beads"):
        source, target = workspace / name, tmp_path / "w" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target) if source.is_dir() else shutil.copyfile(source, target)
    by_age = sorted(
        (workspace / ".cyntra/archives").iterdir(), key=lambda p: p.name.split("-2026")[-1]
    )
    for folder in by_age[-12:]:
        shutil.copytree(folder, tmp_path / "w/.cyntra/archives" / folder.name)
    for folder in sorted((workspace / ".cyntra/runs").glob("evo*"))[:4]:
        shutil.copytree(folder, tmp_path / "w/.cyntra/runs" / folder.name)
    return tmp_path / "w"


def edit(repo: Path, pattern: str, change: Callable[[Any], object]) -> str:
    """Apply a change to the first file that fits, and tell its workcell."""
    path = sorted(repo.glob(pattern))[0]
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))
    return path.parent.name


MANIFESTS = ".cyntra/archives/*/manifest.json"
PROOFS = ".cyntra/archives/*/proof.json"
EVOLUTIONS = ".cyntra/runs/*/evolve_world.json"
RUNS = ".cyntra/runs/evo_*/manifest.json"


def planner_input(document: Any) -> Any:
    return document["planner"]["planner_input"]


EDITS: dict[str, tuple[str, Callable[[Any], object]]] = {
    "system state with a number": (MANIFESTS, lambda d: planner_input(d)["system_state"].update(hour_bucket=9)),
    "system state with an unknown bin": (MANIFESTS, lambda d: planner_input(d)["system_state"].update(queue_depth_bin="many")),
    "universe defaults with another key": (MANIFESTS, lambda d: planner_input(d)["universe_defaults"].update(mood="x")),
    "created in the year 1": (MANIFESTS, lambda d: planner_input(d).update(created_at="0001-01-01T00:00:00+14:00")),
    "created in the year 9999": (MANIFESTS, lambda d: planner_input(d).update(created_at="9999-12-31T23:59:59Z")),
    "tags a number": (MANIFESTS, lambda d: planner_input(d)["issue"].update(tags=1)),
    "tags a text": (MANIFESTS, lambda d: planner_input(d)["issue"].update(tags="urgent")),
    "manifest tags true": (MANIFESTS, lambda d: (d["issue"].update(tags=True), d["planner"].pop("planner_input"))),
    "attempts beyond reason": (MANIFESTS, lambda d: planner_input(d)["issue"].update(dk_attempts=10**30)),
    "a plan of nonsense": (MANIFESTS, lambda d: d["planner"].update(executed_plan={"swarm_id_executed": 3})),
    "a limit beyond reason": (MANIFESTS, lambda d: d["planner"]["executed_plan"].update(timeout_seconds_executed=10**18)),
    "a swarm nobody knows": (MANIFESTS, lambda d: d["planner"]["executed_plan"].update(swarm_id_executed="hive")),
    "a duration beyond int64": (PROOFS, lambda d: d["metadata"].update(duration_ms=10**19)),
    "a duration of 1e308": (PROOFS, lambda d: d["metadata"].update(duration_ms=1e308)),
    "a negative duration": (PROOFS, lambda d: d["metadata"].update(duration_ms=-5)),
    "a gate's duration beyond reason": (PROOFS, lambda d: d["verification"]["gates"].update(x={"passed": True, "duration_ms": 1e300})),
    "gates of every type": (PROOFS, lambda d: d["verification"].update(gates={"a": 1, "b": None, "c": {"passed": "yes"}, "d": {"passed": False, "failures": [], "scores": 3}})),
    "a world started in the far future": (RUNS, lambda d: d.update(created_at="9999-12-31T23:59:59+00:00")),
    "a stage that took less than nothing": (RUNS, lambda d: d["stages"][0].update(duration_ms=-1)),
    "a stage that took for ever": (RUNS, lambda d: d["stages"][0].update(duration_ms=10**19)),
    "stage metadata of other types": (RUNS, lambda d: d["stages"][-1].update(metadata={"gates": [3, {"passed": True}, {"gate": 4, "passed": False, "failures": {"hard": "x"}}]})),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_one_strange_value_stops_nothing_and_spares_the_others(repo: Path, name: str) -> None:
    _, before = build(repo)
    pattern, change = EDITS[name]
    touched = edit(repo, pattern, change)
    _, after = build(repo)
    kept = {e.example_id: e for e in after}
    for example in before:
        seen = example.planner_input["history"]["last_n_similar_runs"]
        if touched not in {example.example_id, *(run["run_id"] for run in seen)}:
            now = canonical_json(kept[example.example_id].planner_input)
            assert now == canonical_json(example.planner_input)
    assert len(after) >= len(before) - 1


FILES: dict[str, bytes] = {
    ".cyntra/archives/stray.txt": b"x",
    ".cyntra/runs/.DS_Store": b"\x00",
    ".cyntra/archives/wc-9-20260105T090000Z/manifest.json": b'{"a": ' * 3_000,
    ".cyntra/archives/wc-8-20260105T090000Z/manifest.json": b'{"workcell_id": "\\ud800"}',
    ".cyntra/archives/wc-7-20260105T090000Z/proof.json": b'{"status": "failed", "status": NaN}',
    ".cyntra/runs/run_99999999999999_x/manifest.json": b'{"world_id": "w", "stages": []}',
    ".cyntra/runs/wc-x/run_meta.json": b'{"started_ms": 1000000000000000000}',
    ".cyntra/logs/events.jsonl": b"\xff\xfe\n{}\n[1]\n",
    "universes/other/universe.yaml": b"universe_id: medica\n",
    "universes/bomb/universe.yaml": b"a: &a [1,1,1,1,1,1,1,1,1,1]\n" + b"".join(
        b"%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n" % ((c + 1,) * 2 + (c,) * 8) for c in range(97, 110)
    ),
    "universes/loop/universe.yaml": b"universe_id: &x [*x]\n",
    "universes/odd/universe.yaml": b'universe_id: "\\ud800"\n',
    "universes/odder/universe.yaml": b"a: !!int ''\nb: !!timestamp x\n",
    ".cyntra/base.yaml": b"include: config.yaml\n",
    "trials_import.json": b"[]",
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_one_strange_file_stops_nothing_and_is_told(repo: Path, name: str) -> None:
    before, _ = build(repo)
    path = repo / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(FILES[name])
    after, examples = build(repo)
    assert examples
    told = after.quarantine.height - before.quarantine.height
    unused = {".cyntra/base.yaml", ".cyntra/runs/run_99999999999999_x/manifest.json"}
    assert told >= (0 if name in unused else 1)


@pytest.mark.parametrize(
    "text",
    [
        b"include: 5\n", b'include: ["\\0"]\n', b"include: [base.yaml, base.yaml, config.yaml]\n",
        b"toolchains: {codex: {timeout_minutes: .inf}}\n", b"routing: {rules: 5}\n",
        b"toolchain_priority: 5\n", b"speculation: {default_parallelism: -4}\n", b"{}\n", b"",
        b"a: &a\n  b: *a\n", b"routing: {rules: [{match: {tags_any: [[x]]}, use: [codex]}]}\n",
    ],
)  # fmt: skip
def test_no_configuration_stops_a_build(repo: Path, text: bytes) -> None:
    (repo / ".cyntra/config.yaml").write_bytes(text)
    (repo / ".cyntra/base.yaml").write_bytes(b"include: config.yaml\n")
    build(repo)


def test_names_that_are_no_text_and_links_that_lead_away(repo: Path, tmp_path: Path) -> None:
    os.mkdir(os.fsencode(repo / ".cyntra/archives") + b"/wc-\xff-20260105T090000Z")
    (repo / ".cyntra/runs/up").symlink_to(tmp_path)
    (repo / "universes/link").symlink_to(repo / "universes/medica")
    workspace, _ = build(repo)
    refused = workspace.quarantine.filter(workspace.quarantine["reason"] == "not_regular")
    assert refused.height == 3


def test_one_name_in_both_places_is_two_runs(repo: Path) -> None:
    name = sorted((repo / ".cyntra/archives").iterdir())[0].name
    stage = {"id": "a", "status": "success"}
    path = repo / ".cyntra/runs" / name / "manifest.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"world_id": "w", "stages": [stage]}))
    build(repo)


def test_a_huge_line_is_refused_and_the_rest_of_the_log_read(repo: Path) -> None:
    end = {
        "type": "issue.failed",
        "timestamp": "2026-01-01T00:00:00Z",
        "workcell_id": "w",
        "issue_id": "1",
        "data": {},
    }
    lines = [b'{"type": "' + b"x" * 5_000_000 + b'"}', json.dumps(end).encode(), b""]
    path = repo / ".cyntra/logs/events.jsonl"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"\n".join(lines))
    workspace, _ = build(repo)
    assert workspace.dispatches.height == 1
    assert "too_large" in workspace.quarantine["reason"].to_list()


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(data=st.data())
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_any_value_anywhere_in_a_manifest_or_proof_is_survived(
    repo: Path, data: st.DataObject
) -> None:
    path = data.draw(st.sampled_from(sorted([*repo.glob(MANIFESTS), *repo.glob(PROOFS)])[:6]))
    original = path.read_bytes()
    document = json.loads(original)
    for _ in range(data.draw(st.integers(1, 3))):
        parent = document
        key = data.draw(st.sampled_from(sorted(parent)))
        while isinstance(parent[key], dict) and parent[key] and data.draw(st.booleans()):
            parent = parent[key]
            key = data.draw(st.sampled_from(sorted(parent)))
        parent[key] = data.draw(JSON_VALUES)
    try:
        path.write_text(json.dumps(document))
        build(repo)
    finally:
        path.write_bytes(original)


@pytest.mark.parametrize(
    "row",
    ["d,i,r,s,m,1,1,0.5,1e300,,,2026-01-01T00:00:00Z,,,", "d,i,r,s,m,1e30,1,,,,,,,,",
     "d,i,r,s,m,1,1,,9e15,,,9999-12-31T23:59:59Z,,,", "d,i,r,s,m,1,1,,,,,0001-01-01T00:00:00+05:00,,,"],
)  # fmt: skip
def test_a_trial_beyond_reason_is_quarantined_and_leaves_nothing_half_written(
    tmp_path: Path, row: str, capsys: pytest.CaptureFixture[str]
) -> None:
    header = (
        "dataset,issue_id,repo,system,model,attempt,passed,cost_usd,duration_ms,tokens_in,tokens_out,"
        "started_at,fail_code,gates_passed,gates_total"
    )
    (tmp_path / "t.csv").write_text(f"{header}\n{row}\n")
    assert main(["import-trials", str(tmp_path / "t.csv"), "--out", str(tmp_path / "w")]) == 0
    assert json.loads(capsys.readouterr().out)["quarantined"] == 1
    build(tmp_path / "w")


def test_an_issue_id_that_holds_a_stamp_dates_no_trial(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("issue_id,system,attempt,passed\na-20200101T000000Z-b,s,1,1\n")
    assert main(["import-trials", str(tmp_path / "t.csv"), "--out", str(tmp_path / "w")]) == 0
    _, examples = build(tmp_path / "w")
    assert examples == []
