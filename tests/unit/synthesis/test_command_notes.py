"""What a command says beside its answer: one line each on the error output."""

import json
from pathlib import Path

import pytest

from planner_synthesis.__main__ import main
from planner_synthesis.snapshot import write_snapshot
from planner_synthesis.types import CapabilityCard, RegistrySnapshot

GOOD = '(do (call "x.y" {:context {:q (get context :q)}}) {:status "processing"})'
NOT_LOOKED_UP = "note: no --registry: ids were not looked up\n"


def said(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, dict, str]:
    code = main([str(word) for word in argv])
    out, err = capsys.readouterr()
    return code, json.loads(out), err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    snapshot = RegistrySnapshot(capabilities=(CapabilityCard(id="x.y"),))
    write_snapshot(tmp_path / "r.json", snapshot)
    (tmp_path / "c.json").write_text('{"q": 1}')
    return tmp_path


def test_check_says_that_it_looked_no_id_up(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    planner = folder / "p.rtfs"
    planner.write_text(GOOD)
    assert said(capsys, "check", planner)[::2] == (0, NOT_LOOKED_UP)
    assert said(capsys, "check", planner, "--registry", folder / "r.json")[::2] == (0, "")
    planner.write_text(GOOD.replace("x.y", "x.z"))
    code, report, err = said(capsys, "check", planner, "--registry", folder / "r.json")
    assert (code, [f["code"] for f in report["findings"]], err) == (1, ["unknown-id"], "")


def test_check_refuses_what_cannot_give_a_status(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "nil.rtfs").write_text("nil")
    code, report, err = said(capsys, "check", folder / "nil.rtfs")
    assert (code, report["is_ok"], err) == (1, False, NOT_LOOKED_UP)
    assert [finding["code"] for finding in report["findings"]] == ["status"]


@pytest.mark.parametrize(("text", "notes"), [
    (GOOD, []), (GOOD.replace('"processing"', "(str (vals context))"), ["context"]), ("nil", ["status"]),
    ('(do (call "x.z" {:q (slurp "\x1b[31m")}) {:status "processing"})', ["head"]), ("(do", ["syntax"]),
])  # fmt: skip
def test_a_run_against_stubs_tells_what_preflight_finds_and_runs_all_the_same(
    text: str, notes: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "p.rtfs").write_text(text)
    run = ("run", folder / "p.rtfs", "--context", folder / "c.json", "--stub")
    code, ran, err = said(capsys, *run)
    assert [line.split(": ")[:3] for line in err.splitlines()] == [
        ["note", "preflight", note] for note in notes
    ]
    assert "\x1b" not in err
    assert (code == 0) == ("value" in ran)
    assert (code == 0) == (notes not in (["head"], ["syntax"]))


def test_a_run_against_stubs_looks_ids_up_where_there_is_a_registry(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "p.rtfs").write_text(GOOD.replace("x.y", "x.z"))
    run = ("run", folder / "p.rtfs", "--context", folder / "c.json", "--stub")
    code, ran, err = said(capsys, *run, "--registry", folder / "r.json")
    assert (code, len(ran["log"])) == (0, 1)
    assert err == "note: preflight: unknown-id: no capability is called 'x.z'\n"


def test_events_that_cannot_be_written_cost_no_planner(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "h.json").write_text("[]")
    events = folder / "c.json" / "events.jsonl"
    code, synthesis, err = said(
        capsys, "generate", "--history", folder / "h.json", "--events", events
    )
    assert (code, synthesis["required_capabilities"]) == (2, [])
    assert err.startswith("error: the sink did not take the event: ")
    assert err.count("\n") == 1
