"""Reading what the kernel writes, whole and broken."""

import json
from pathlib import Path
from typing import Any

import pytest

from planner_pipeline.sources.settings import read_kernel_config, read_universes
from planner_pipeline.sources.store import ReaderOf, read_stored
from planner_pipeline.sources.workspace import ARCHIVES, WORLD_RUNS, read_workspace
from planner_runtime.archives.beads import read_issues
from planner_runtime.archives.events import read_events
from planner_runtime.archives.files import Quarantine, SourceCount
from planner_runtime.archives.workcell_files import ArchiveRecord, split_workcell_id
from planner_runtime.archives.world_files import WorldRunRecord
from planner_runtime.kernel_config import SHIPPED_CONFIG


def read(
    reader: ReaderOf[Any], kind: type[Any], root: Path
) -> tuple[list[Any], list[Quarantine], SourceCount]:
    """Records by name, what was refused, and the count of a first reading."""
    stored, refused, count = read_stored(reader, root, root / "store")
    assert count.is_balanced
    return list(stored.records(kind, stored.live_table())), refused, count


def read_archives(root: Path) -> tuple[list[ArchiveRecord], list[Quarantine], SourceCount]:
    return read(ARCHIVES, ArchiveRecord, root)


def put(root: Path, name: str, content: object) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content if isinstance(content, bytes) else json.dumps(content).encode()
    path.write_bytes(data)
    return path


def test_issues_are_read_as_the_kernel_reads_them(tmp_path: Path) -> None:
    lines = [
        b"# a comment", b"", b'{"id": 3, "title": "t", "dk_attempts": "2"}', b'{"id": "4"',
        b'{"title": "no id"}', b'{"id": "3", "title": "again"}', b'["no", "issue"]',
    ]  # fmt: skip
    put(tmp_path, ".beads/issues.jsonl", b"\n".join(lines) + b"\n")
    read = read_issues(tmp_path)
    assert [(i.issue_id, i.raw["title"]) for i in read.issues] == [("3", "again")]
    assert [(q.line, q.reason) for q in read.quarantined] == [
        (4, "bad_json"), (5, "bad_value"), (3, "duplicate_id"), (7, "wrong_shape"),
    ]  # fmt: skip
    assert read.count.discovered == 5 == read.count.accepted + read.count.quarantined


def test_the_real_issues_are_read(shared_data: Path) -> None:
    read = read_issues(shared_data / "cyntra")
    assert len(read.issues) == 14
    assert read.quarantined == ()
    assert {i.raw.get("dk_attempts") for i in read.issues} == {"3", "2", None}


def test_the_real_config_is_the_one_we_ship_with(shared_data: Path) -> None:
    read = read_kernel_config(shared_data / "cyntra")
    assert not read.is_default
    assert read.config == SHIPPED_CONFIG


def test_the_real_universe_has_its_two_swarms(shared_data: Path) -> None:
    (medica,) = read_universes(shared_data / "cyntra").universes
    assert medica.universe_id == "medica"
    assert sorted(medica.swarm_ids) == ["serial_handoff", "speculate_vote"]
    assert medica.population_sizes == {"speculate_vote": 3, "serial_handoff": 1}
    assert medica.default_objective_id == "realism_perf_v1"
    assert medica.objectives == {"realism_perf_v1": {"overall": "max", "duration_ms": "min"}}


MANIFEST = {"workcell_id": "wc-1-20260105T090000Z", "issue": {"id": 1}, "job_type": "code"}


def test_any_part_of_an_archive_may_be_missing(tmp_path: Path) -> None:
    put(tmp_path, ".cyntra/archives/wc-1-20260105T090000Z/manifest.json", MANIFEST)
    put(tmp_path, ".cyntra/archives/wc-2-20260105T090000Z/proof.json", {"status": "failed"})
    put(tmp_path, ".cyntra/archives/wc-3-20260105T090000Z/rollout.json", {"issue_id": 3})
    put(tmp_path, ".cyntra/archives/wc-4-20260105T090000Z/logs/x.log", b"")
    archives, refused, count = read_archives(tmp_path)
    assert [a.issue_id for a in archives] == ["1", "2", "3"]
    assert [(q.file, q.reason) for q in refused] == [
        (".cyntra/archives/wc-4-20260105T090000Z", "nothing_yet")
    ]
    assert (count.discovered, count.accepted, count.pending) == (4, 3, 1)


def test_a_bad_planner_section_spares_the_rest_of_its_manifest(tmp_path: Path) -> None:
    put(tmp_path, ".cyntra/archives/wc-1-20260105T090000Z/manifest.json", MANIFEST | {"planner": 3})
    archives, refused, _ = read_archives(tmp_path)
    assert archives[0].manifest is not None
    assert [q.reason for q in refused] == ["wrong_shape"]
    assert "planner: Expected" in refused[0].detail


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b'{"workcell_id": NaN}', "bad_json"),
        (b"\xff\xfe{}", "bad_json"),
        (b'{"a":' * 5_000, "bad_json"),
        (b"[]", "wrong_shape"),
        (b'{"workcell_id": 3}', "wrong_shape"),
        (b'{"workcell_id": "x", "issue": []}', "wrong_shape"),
    ],
)
def test_a_broken_manifest_is_quarantined_and_its_proof_still_counts(
    tmp_path: Path, content: bytes, reason: str
) -> None:
    folder = ".cyntra/archives/wc-1-20260105T090000Z"
    put(tmp_path, f"{folder}/manifest.json", content)
    put(tmp_path, f"{folder}/proof.json", {"status": "failed", "issue_id": "1"})
    archives, refused, _ = read_archives(tmp_path)
    assert len(archives) == 1
    assert [(q.file, q.reason) for q in refused] == [(f"{folder}/manifest.json", reason)]


@pytest.mark.parametrize("content", [b"", b'{"workcell_id": "wc', b'{"workcell_id": "wc-1", "iss'])
def test_an_archive_that_is_being_written_waits_until_it_is_whole(
    tmp_path: Path, content: bytes
) -> None:
    folder = ".cyntra/archives/wc-1-20260105T090000Z"
    put(tmp_path, f"{folder}/proof.json", {"status": "failed", "issue_id": "1"})
    put(tmp_path, f"{folder}/manifest.json", content)
    archives, refused, count = read_archives(tmp_path)
    assert (archives, count.pending, count.quarantined) == ([], 1, 0)
    assert [(q.file, q.reason) for q in refused] == [(f"{folder}/manifest.json", "unfinished_file")]
    put(tmp_path, f"{folder}/manifest.json", MANIFEST)
    archives, refused, count = read_archives(tmp_path)
    assert (len(archives), refused, count.accepted) == (1, [], 1)


def test_links_and_directories_in_place_of_files_are_refused(tmp_path: Path) -> None:
    archives = tmp_path / ".cyntra" / "archives"
    (archives / "wc-1-20260105T090000Z" / "manifest.json").mkdir(parents=True)
    secret = put(tmp_path, "secret.json", MANIFEST)
    (archives / "wc-2-20260105T090000Z").mkdir()
    (archives / "wc-2-20260105T090000Z" / "manifest.json").symlink_to(secret)
    (archives / "loop").symlink_to(archives)
    found, refused, count = read_archives(tmp_path)
    assert found == []
    assert count.discovered == 3 == count.quarantined
    assert {q.reason for q in refused} == {"not_regular", "no_content"}


def test_a_line_being_written_is_told_from_a_broken_one(tmp_path: Path) -> None:
    whole = b'{"type": "issue.started", "timestamp": "2026-01-01T00:00:00Z"}\n'
    put(tmp_path, ".cyntra/logs/events.jsonl", whole + b"{broken}\n" + whole + b'{"type": "iss')
    read = read_events(tmp_path)
    assert [(q.line, q.reason) for q in read.quarantined] == [
        (2, "bad_json"),
        (4, "unfinished_line"),
    ]


def test_the_last_ending_of_a_workcell_counts(tmp_path: Path) -> None:
    lines = [
        {"type": kind, "timestamp": f"2026-01-0{day}T00:00:00Z", "issue_id": 1, "workcell_id": "w",
         "data": {"error": "Execution timed out"} if "failed" in kind else {}}
        for day, kind in ((1, "workcell.started"), (2, "workcell.failed"), (3, "issue.failed"))
    ]  # fmt: skip
    put(
        tmp_path,
        ".cyntra/logs/events.jsonl",
        b"\n".join(json.dumps(x).encode() for x in lines) + b"\n",
    )
    (dispatch,) = read_events(tmp_path).dispatches
    (end,) = dispatch.workcells
    assert (dispatch.ended_at, dispatch.is_success) == ("2026-01-03T00:00:00Z", False)
    assert (end.ended_at, end.is_success, end.error) == (
        "2026-01-03T00:00:00Z",
        False,
        "Execution timed out",
    )


def test_includes_are_merged_below_the_file_and_never_leave_the_workspace(tmp_path: Path) -> None:
    put(
        tmp_path,
        ".cyntra/base.yaml",
        b"speculation: {max_parallelism: 5, default_parallelism: 4}\n",
    )
    put(
        tmp_path,
        ".cyntra/config.yaml",
        b"include: [base.yaml, /etc/passwd]\nspeculation: {max_parallelism: 2}\n",
    )
    read = read_kernel_config(tmp_path)
    assert read.config.speculation.max_parallelism == 2
    assert read.config.speculation.default_parallelism == 4
    assert [q.reason for q in read.quarantined] == ["bad_value"]


@pytest.mark.parametrize(
    "text", [b"a: [", b"- a\n- b\n", b"\x00", b"speculation: {max_parallelism: many}"]
)
def test_an_unusable_config_gives_the_shipped_one_and_says_so(tmp_path: Path, text: bytes) -> None:
    put(tmp_path, ".cyntra/config.yaml", text)
    read = read_kernel_config(tmp_path)
    assert read.is_default
    assert read.config == SHIPPED_CONFIG
    assert len(read.quarantined) == 1
    assert read.count.quarantined == 1


def test_world_runs_keep_the_directorys_name(tmp_path: Path) -> None:
    put(
        tmp_path, ".cyntra/runs/evo_x/manifest.json", {"world_id": "w", "run_id": "world_w_seed1_x"}
    )
    put(tmp_path, ".cyntra/runs/nothing/terminal.log", b"")
    put(tmp_path, ".cyntra/runs/run_1767603600000_job/job_result.json", {"exit_code": 0})
    runs, refused, count = read(WORLD_RUNS, WorldRunRecord, tmp_path)
    assert [r.run_id for r in runs] == ["evo_x", "run_1767603600000_job"]
    assert [q.reason for q in refused] == ["nothing_yet"]
    assert (count.accepted, count.pending) == (2, 1)


def test_workcell_ids_are_split_at_their_stamp() -> None:
    assert split_workcell_id("wc-a-b-20260105T090000Z-spec-x") == ("a-b", "20260105T090000Z")
    assert split_workcell_id("something else") == (None, None)


def test_an_empty_workspace_is_an_empty_table_of_everything(tmp_path: Path) -> None:
    workspace = read_workspace(tmp_path, tmp_path / "store")
    assert workspace.archives.live.rows == workspace.quarantine.height == 0
    assert all(count.discovered == 0 for count in workspace.source_report.counts)
    with pytest.raises(NotADirectoryError):
        read_workspace(tmp_path / "none", tmp_path / "store")
