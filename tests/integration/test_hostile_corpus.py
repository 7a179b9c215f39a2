"""Everything bad at once: nothing crashes, nothing vanishes, good examples keep every byte.

What is planted is dated after the last good decision, so that none may see even the usable parts.
"""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner_pipeline.dataset.build import build_dataset
from planner_pipeline.parts import Parts
from planner_pipeline.sources.workspace import read_workspace
from planner_runtime.archives.files import MAX_FILE_BYTES
from planner_runtime.contracts import canonical_json
from tests.building import all_examples, records_of

STAMP = "20270105T090000Z"
PLAN = {"swarm_id_executed": "serial_handoff", "max_candidates_executed": 1}
GOOD = {"issue": {"id": "9", "tags": ["ui"]}, "planner": {"executed_plan": PLAN}}
PROOF = {
    "status": "success", "verification": {"all_passed": True, "gates": {}},
    "metadata": {"started_at": "2027-01-05T09:01:00Z", "completed_at": "2027-01-05T09:05:00Z"},
}  # fmt: skip


def manifest(**changes: Any) -> bytes:
    return json.dumps({"workcell_id": "x"} | GOOD | changes).encode()


def clock_jump(minutes: int) -> bytes:
    metadata = {
        "started_at": "2027-01-05T09:01:00Z",
        "completed_at": f"2027-01-05T{9 + minutes:02d}:00:00Z",
    }
    return json.dumps(PROOF | {"metadata": metadata}).encode()


Plant = Callable[[Path], None]


def write(name: str, data: bytes) -> Plant:
    def plant(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return plant


def large(name: str, size: int) -> Plant:
    def plant(folder: Path) -> None:
        with (folder / name).open("wb") as file:
            file.truncate(size)

    return plant


CORPUS: dict[str, tuple[list[Plant], str | None]] = {
    # what is planted beside a good manifest, and the reason it is refused for; None: it is used
    "truncated": ([write("proof.json", b'{"status": "succ')], "unfinished_file"),
    "empty": ([write("proof.json", b"")], "unfinished_file"),
    "nan": ([write("proof.json", b'{"status": "success", "confidence": NaN}')], "bad_json"),
    "infinity": ([write("proof.json", b'{"status": "failed", "confidence": -Infinity}')], "bad_json"),
    "huge-integer": ([write("proof.json", b'{"status": "failed", "metadata": {"exit_code": 1' + b"0" * 5_000 + b"}}")], "wrong_shape"),
    "large-integer": ([write("proof.json", b'{"status": "failed", "metadata": {"tokens_used": 1' + b"0" * 30 + b"}}")], None),
    "deep": ([write("proof.json", b'{"status": "failed", "patch": ' + b'{"a":' * 3_000 + b"1" + b"}" * 3_001)], "bad_json"),
    "duplicate-keys": ([write("proof.json", b'{"status": "failed", "status": "success", "verification": {"all_passed": true}}')], None),
    "bad-utf8": ([write("proof.json", b'{"status": "\xff\xfe"}')], "bad_json"),
    "lone-surrogate": ([write("proof.json", b'{"status": "\\ud800"}')], "bad_json"),
    "byte-order-mark": ([write("proof.json", b'\xef\xbb\xbf{"status": "failed"}')], "bad_json"),
    "a-list": ([write("proof.json", b"[]")], "wrong_shape"),
    "text-for-number": ([write("proof.json", b'{"status": "failed", "metadata": {"cost_usd": "1"}}')], "wrong_shape"),
    "directory": ([lambda f: (f / "proof.json").mkdir()], "not_regular"),
    "pipe": ([lambda f: os.mkfifo(f / "proof.json")], "not_regular"),
    "link-out": ([lambda f: (f / "proof.json").symlink_to("/etc/hostname")], "not_regular"),
    "link-to-itself": ([lambda f: (f / "proof.json").symlink_to("proof.json")], "not_regular"),
    "links-in-a-ring": ([lambda f: (f / "logs").symlink_to(f)], None),
    "a-hundred-megabytes": ([large("proof.json", 100 * 1024 * 1024)], "too_large"),
    "just-too-large": ([large("rollout.json", MAX_FILE_BYTES + 1)], "too_large"),
    "long-gate-output": ([write("proof.json", json.dumps(PROOF | {"verification": {"all_passed": True, "gates": {"t": {"passed": True, "output": "x" * 20_000_000}}}}).encode())], None),
    "clock-back": ([write("proof.json", clock_jump(-8))], None),
    "clock-forward": ([write("proof.json", clock_jump(14))], None),
    "bad-telemetry-line": ([write("proof.json", json.dumps(PROOF).encode()), write("telemetry.jsonl", b'{"type": "started"}\n{broken}\n')], "bad_json"),
    "telemetry-being-written": ([write("telemetry.jsonl", b'{"type": "started"}\n{"type": "comp')], "unfinished_line"),
    "manifest-of-another-type": ([write("manifest.json", b'{"workcell_id": 5}')], "wrong_shape"),
    "planner-of-nonsense": ([write("manifest.json", manifest(planner={"planner_input": 3, "executed_plan": PLAN}))], "wrong_shape"),
    "nothing-but-logs": ([lambda f: (f / "manifest.json").unlink(), lambda f: (f / "logs").mkdir()], "nothing_yet"),
    "unreadable": ([lambda f: (f / "proof.json").write_bytes(b"{}"), lambda f: (f / "proof.json").chmod(0)], None if os.geteuid() == 0 else "unreadable"),
}  # fmt: skip


@pytest.fixture(scope="module")
def spoiled(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sample, and the same with everything bad beside the good."""
    repo = tmp_path_factory.mktemp("spoiled") / "w"
    shutil.copytree(workspace, repo)
    for name, (plants, _) in CORPUS.items():
        folder = repo / ".cyntra/archives" / f"wc-9-{STAMP}-{name}"
        folder.mkdir()
        (folder / "manifest.json").write_bytes(manifest())
        for plant in plants:
            plant(folder)
    (repo / ".cyntra/archives/stray.txt").write_bytes(b"x")
    (repo / ".cyntra/archives/loop").symlink_to(repo / ".cyntra/archives")
    twin = repo / ".cyntra/runs" / f"wc-9-{STAMP}-clock-back" / "manifest.json"
    twin.parent.mkdir()
    twin.write_text('{"world_id": "w", "stages": []}')
    with (repo / ".cyntra/logs/events.jsonl").open("ab") as log:
        log.write(b'\n{"type": 5}\n\xff\xfe\n{"type": "issue.started", "timestamp": "2027-')
    with (repo / ".beads/issues.jsonl").open("ab") as issues:
        issues.write(b'{"id": "1' + b"0" * 40 + b'"}\n[1]\n{"id": null}\n{"id": "x", "dk_')
    return workspace, repo


def test_good_examples_keep_every_byte_beside_bad_files(
    spoiled: tuple[Path, Path], tmp_path: Path
) -> None:
    clean, repo = (build_dataset(one, tmp_path / str(i)) for i, one in enumerate(spoiled))
    good = {e.example_id: canonical_json(e.planner_input) for e in all_examples(clean)}
    kept = {e.example_id: canonical_json(e.planner_input) for e in all_examples(repo)}
    assert {name: kept[name] for name in good} == good
    assert {name for name in kept if name not in good} <= {f"wc-9-{STAMP}-{n}" for n in CORPUS}


def test_everything_bad_is_used_or_listed_with_file_and_reason(
    spoiled: tuple[Path, Path], tmp_path: Path
) -> None:
    workspace = read_workspace(spoiled[1], tmp_path / "store")
    for count in workspace.source_report.counts:
        assert count.is_balanced, count
    refused: dict[str, set[str]] = {}
    for file, reason in workspace.quarantine.select("file", "reason").iter_rows():
        parts = file.split("/")
        refused.setdefault(parts[2] if len(parts) > 2 else file, set()).add(reason)
    used = set(workspace.archives.live_table()["name"])
    for name, (_, reason) in CORPUS.items():
        folder = f"wc-9-{STAMP}-{name}"
        if reason is None:
            assert folder in used, name
        else:
            assert reason in refused[folder], name
    assert refused["stray.txt"] == refused["loop"] == {"not_regular"}
    assert {"wrong_shape", "bad_json", "unfinished_line"} <= refused["events.jsonl"]
    lines = workspace.quarantine.drop_nulls("line")
    assert lines.height >= 7
    assert lines["line"].min() == 2  # of a telemetry file; lines of the logs are further down


def test_a_clock_that_jumped_dates_nothing_it_cannot(
    spoiled: tuple[Path, Path], tmp_path: Path
) -> None:
    build_dataset(spoiled[1], tmp_path)
    runs = {r.run_id: r for r in records_of(Parts.load(tmp_path / "parts" / "runs"))}
    back = runs[f"wc-9-{STAMP}-clock-back"]
    assert (back.ended_ms, back.duration_ms) == (None, None)
    assert runs[f"runs/wc-9-{STAMP}-clock-back"].kind == "world"  # two runs, two ids
    assert (
        runs[f"wc-9-{STAMP}-duplicate-keys"].status == "success"
    )  # the last one, as every decoder
