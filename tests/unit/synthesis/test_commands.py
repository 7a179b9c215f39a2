"""The command line: data on the output, one line for an error, exit codes that mean something."""

import io
import json
import os
import shlex
import subprocess
import sys
from codecs import BOM_UTF8
from pathlib import Path
from typing import Any

import msgspec
import pytest

from planner_synthesis.__main__ import build_parser, main
from planner_synthesis.agent_registry import AgentRegistry
from planner_synthesis.snapshot import read_snapshot, write_snapshot
from planner_synthesis.types import (
    AgentDescriptor,
    CapabilityCard,
    InputSpec,
    InteractionTurn,
    RegistrySnapshot,
    RtfsExecution,
)
from tests.unit.synthesis.local_http import a_local_server
from tests.unit.synthesis.mcp_servers import SERVER

MONITOR = CapabilityCard(
    id="gh.monitor",
    inputs=(InputSpec(key="repository", type="string"), InputSpec(key="criteria", type="string")),
)
ALLOWED = "controlled:gh.monitor"


class Cli:
    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys

    def __call__(self, *argv: Any) -> tuple[int, str, str]:
        try:
            code = main([str(word) for word in argv])
        except SystemExit as left:
            code = int(left.code or 0)
        said = self._capsys.readouterr()
        return code, said.out, said.err

    def json(self, *argv: Any, code: int = 0) -> Any:
        got, out, err = self(*argv)
        assert got == code, (out, err)
        return json.loads(out)

    def file(self, name: str, content: str) -> Path:
        path = self.folder / name
        path.write_text(content)
        return path


@pytest.fixture
def cli(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Cli:
    return Cli(tmp_path, capsys)


@pytest.fixture
def history(cli: Cli) -> Path:
    cli("demo", "--out", cli.folder / "turns.json")
    return cli.folder / "turns.json"


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    write_snapshot(
        tmp_path / "s.json", RegistrySnapshot(capabilities=(MONITOR, CapabilityCard(id="z")))
    )
    return tmp_path / "s.json"


def test_demo_writes_turns_that_generate_reads(cli: Cli, history: Path) -> None:
    turns = msgspec.json.decode(history.read_bytes(), type=list[InteractionTurn])
    assert [turn.answer for turn in turns] == ["mandubian/ccos", "label:bug no:assignee"]
    assert (
        cli.json("generate", "--history", history)["decision_trace"]["template"] == "requires-agent"
    )


def test_demo_takes_answers_from_the_command_line_and_from_people(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [turn["answer"] for turn in cli.json("demo", "--answer", "a/b")] == [
        "a/b",
        "label:bug no:assignee",
    ]
    monkeypatch.setenv("CCOS_INTERACTIVE_ASK", "1")
    monkeypatch.setattr(sys, "stdin", io.StringIO("c/d\n"))
    code, out, err = cli("demo")
    assert [turn["answer"] for turn in json.loads(out)] == ["c/d", None]
    assert (code, err.count("\n")) == (0, 2)


def test_generate_check_and_run_go_together(cli: Cli, history: Path, registry: Path) -> None:
    planner, events = cli.folder / "p.rtfs", cli.folder / "events.jsonl"
    options = ("--registry", registry, "--security", ALLOWED)
    made = cli.json(
        "generate", "--history", history, *options, "--out", planner, "--events", events
    )
    assert made["required_capabilities"] == ["gh.monitor"]
    assert planner.read_text() == made["rtfs"] + "\n"
    (event,) = [json.loads(line) for line in events.read_text().splitlines()]
    assert (event["event"], event["selected"]["id"]) == ("planner_generation", "gh.monitor")
    assert cli.json("check", planner, *options)["is_ok"] is True
    context = cli.file("c.json", json.dumps({"github_repository": "a/b", "criteria": "x"}))
    ran = cli.json("run", planner, "--context", context, "--stub", *options)
    assert [call["capability"] for call in ran["log"]] == ["gh.monitor"]
    bare = cli.json("run", planner, "--context", context, "--stub")
    assert bare == ran  # stubs do nothing, so that all may be called where nobody says otherwise
    answered = cli.json("run", planner, "--history", history, "--stub")
    told = {"repository": "mandubian/ccos", "criteria": "label:bug no:assignee"}
    assert answered["log"] == [{"capability": "gh.monitor", "args": [{"context": told}]}]
    assert answered["value"]["status"] == "processing"
    refused = cli.json("run", planner, "--context", context, "--stub", "--security", "pure", code=1)
    assert refused["error"] == "SecurityViolation"


def test_without_a_level_every_card_of_the_registry_may_be_called(
    cli: Cli, history: Path, registry: Path
) -> None:
    made = cli.json("generate", "--history", history, "--registry", registry)
    assert made["required_capabilities"] == ["gh.monitor"]
    assert made["decision_trace"]["n_not_allowed"] == 0


def test_explain_is_a_page_and_a_note_says_what_is_not_allowed(
    cli: Cli, history: Path, registry: Path
) -> None:
    code, out, err = cli(
        "generate", "--history", history, "--registry", registry, "--security", ALLOWED, "--explain"
    )
    assert code == 0
    assert "gh.monitor won" in out
    assert err == "note: --security does not allow 1 of the cards\n"


def test_effects_are_allowed_and_denied(cli: Cli, history: Path, registry: Path) -> None:
    options = ("generate", "--history", history, "--registry", registry, "--security", "full")
    assert cli.json(*options)["required_capabilities"] == ["gh.monitor"]
    assert cli.json(*options, "--deny-effects", ":compute")["required_capabilities"] == []
    assert cli.json(*options, "--allow-effects", ":read")["required_capabilities"] == []
    assert cli.json(*options, "--allow-effects", "compute")["required_capabilities"] == [
        "gh.monitor"
    ]


def test_a_terminal_is_told_nothing_to_obey(cli: Cli, history: Path) -> None:
    hostile = "a\x1b[31m\x9b2J\u202e\x07é"
    card = msgspec.structs.replace(MONITOR, id=hostile)
    path = cli.folder / "hostile.json"
    write_snapshot(path, RegistrySnapshot(capabilities=(card,)))
    made = cli.json("generate", "--history", history, "--registry", path)
    assert made["required_capabilities"] == [hostile], "the same JSON"
    for more in ((), ("--explain",)):
        _, out, _ = cli("generate", "--history", history, "--registry", path, *more)
        assert "é" in out
        assert all(char.isprintable() or char == "\n" for char in out)


def test_check_says_no_with_exit_code_one(cli: Cli) -> None:
    planner = cli.file("p.rtfs", '(do (call "gh.monitor" {}))')
    assert cli.json("check", planner, "--security", ALLOWED)["is_ok"] is True
    assert cli.json("check", planner)["capability_ids"] == ["gh.monitor"]
    report = cli.json("check", planner, "--security", "pure", code=1)
    assert [finding["code"] for finding in report["findings"]] == ["not-allowed"]
    assert cli.json("check", cli.file("q.rtfs", "(("), code=1)["findings"][0]["code"] == "syntax"


def test_check_knows_registered_agents_and_run_refuses_what_check_refuses(
    cli: Cli, history: Path, registry: Path
) -> None:
    folder = cli.folder / "agents"
    plan = RtfsExecution(plan='(do {:status "completed"})')
    AgentRegistry(folder).register(AgentDescriptor(agent_id="ag", execution_mode=plan))
    planner = cli.file("p.rtfs", '(do (call "ag" {:context context}) {:status "processing"})')
    options = ("--registry", registry, "--security", "controlled:ag")
    run = ("run", planner, "--context", cli.file("c.json", "{}"), "--mcp", "x=/no/such/program")
    refused = cli.json("check", planner, *options, code=1)["findings"]
    assert [finding["code"] for finding in refused] == ["unknown-id"]
    assert cli.json(*run, *options, code=1)["findings"] == refused
    assert cli.json("check", planner, *options, "--agents", folder)["is_ok"] is True
    cli.json(*run, *options, "--agents", folder)


def test_feedback_is_counted_by_a_later_generate(cli: Cli, history: Path, registry: Path) -> None:
    options = ("generate", "--history", history, "--registry", registry, "--security", ALLOWED)
    agents = ("--agents", cli.folder / "agents")
    before = cli.json(*options, *agents)["decision_trace"]["selected"]["total"]
    for _ in range(8):
        cli("feedback", "gh.monitor", "failure", *agents)
    assert cli.json("feedback", "gh.monitor", "success", *agents)["n_failure"] == 8
    assert cli.json(*options, *agents)["decision_trace"]["selected"]["total"] != before


def test_an_arbiter_is_asked_with_its_key_from_the_environment(
    cli: Cli, history: Path, registry: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARBITER_KEY", "CANARY-KEY")
    code = '(do (let [result (call "z" {:context context})] {:status "processing" :result result}))'
    with a_local_server(lambda request: request.reply_chat(code)) as server:
        made = cli.json(
            "generate", "--history", history, "--registry", registry, "--security", "controlled:z",
            "--arbiter", server.url, "--model", "m", "--arbiter-key-env", "ARBITER_KEY",
        )  # fmt: skip
        assert server.seen[0][2]["Authorization"] == "Bearer CANARY-KEY"
    assert (made["decision_trace"]["template"], made["required_capabilities"]) == (
        "proposal",
        ["z"],
    )
    assert "CANARY" not in json.dumps(made)


def test_an_arbiter_is_asked_first_only_when_told_so(
    cli: Cli, history: Path, registry: Path
) -> None:
    keys = ":repository (get context :github_repository) :criteria (get context :criteria)"
    code = f'(do {{:status "completed" :result (call "gh.monitor" {{:context {{{keys}}}}})}})'
    options = ("--history", history, "--registry", registry, "--security", ALLOWED)
    with a_local_server(lambda request: request.reply_chat(code)) as server:
        asked = ("generate", *options, "--arbiter", server.url, "--model", "m")
        assert cli.json(*asked)["decision_trace"]["template"] == "adapter"
        assert len(server.seen) == 0
        first = cli.json(*asked, "--arbiter-first")
        assert len(server.seen) == 1
    assert first["decision_trace"]["template"] == "proposal"


def test_a_snapshot_of_an_mcp_server_is_written_and_used_in_a_run(cli: Cli, history: Path) -> None:
    command, out, planner = (
        f"{sys.executable} {SERVER} stdio",
        cli.folder / "m.json",
        cli.folder / "p.rtfs",
    )
    said = cli.json("snapshot", "mcp", "--stdio", command, "--name", "gh", "--out", out)
    assert said["n_capabilities"] == len(read_snapshot(out).capabilities) >= 10
    assert read_snapshot(out).quarantine == ()
    options = ("--registry", out, "--security", "controlled:mcp.gh.monitor")
    cli.json("generate", "--history", history, *options, "--out", planner)
    context = cli.file("c.json", json.dumps({"github_repository": "a/b", "criteria": "x"}))
    run = ("run", planner, "--context", context, "--mcp", f"gh={command}")
    ran = cli.json(*run, *options)
    assert ran["log"][0]["arguments"] == {"repository": "a/b", "criteria": "x"}
    assert cli.json(*run, "--registry", out, code=1)["findings"][0]["code"] == "not-allowed"


def test_snapshots_of_every_kind_are_put_together(cli: Cli, registry: Path) -> None:
    export = cli.file(
        "ccos.json",
        json.dumps({"capabilities": [{"id": "c", "metadata": {"context/keys": "a"}}, 7]}),
    )
    card = cli.file("agent.json", json.dumps({"name": "Helper", "skills": []}))
    code, _, err = cli("snapshot", "ccos", export, "--out", cli.folder / "1.json")
    assert (code, "capabilities[1]" in err) == (0, True)
    cli.json("snapshot", "a2a", card, "--out", cli.folder / "2.json")
    whole = cli.folder / "whole.json"
    said = cli.json(
        "snapshot", "merge", registry, cli.folder / "1.json", cli.folder / "2.json", "--out", whole
    )
    assert (said["n_capabilities"], said["n_agents"], said["n_left_out"]) == (3, 1, 0)
    printed = cli.json("snapshot", "merge", whole)
    assert printed["schema_version"] == "cyntra.registry_snapshot.v1"


def test_a_server_is_given_the_variables_and_headers_that_are_named_for_it(
    cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GH_VALUE", "CANARY-ENV")
    planner = cli.file("p.rtfs", '(do (call "mcp.gh.env" {}))')
    run = (
        "run",
        planner,
        "--context",
        cli.file("c.json", "{}"),
        "--security",
        "controlled:mcp.gh.env",
    )
    server = ("--mcp", f"gh={sys.executable} {SERVER} stdio")
    assert "GH_VALUE" not in str(cli.json(*run, *server))
    assert "GH_VALUE" in str(cli.json(*run, *server, "--env", "gh:GH_VALUE"))
    monkeypatch.setenv("WEB_AUTH", "Bearer CANARY-HEAD")
    with a_local_server(lambda request: request.reply("", status=401)) as local:
        web = ("--mcp-http", f"web={local.url}", "--header-env", "web:Authorization=WEB_AUTH")
        web_run = (
            "run",
            cli.file("w.rtfs", '(do (call "mcp.web.x" {}))'),
            *run[2:5],
            "controlled:mcp.web.x",
        )
        said = cli.json(*web_run, *web, code=1)
        assert {head.get("Authorization") for _, _, head, _ in local.seen} == {"Bearer CANARY-HEAD"}
    assert "CANARY" not in str(said)


def test_the_docs_name_every_command_and_no_other() -> None:
    """Each line of the page is one that the parser takes."""
    page = (Path(__file__).parents[3] / "docs" / "registries.md").read_text()
    block = page.split("## Command line", 1)[1].split("```")[1].replace("\\\n", " ")
    lines = [line.partition("#")[0] for line in block.strip().splitlines()]
    actions = {build_parser().parse_args(shlex.split(line)[3:]).action.__name__ for line in lines}
    assert actions == {
        "snapshot_mcp", "snapshot_a2a", "snapshot_ccos", "snapshot_merge", "demo", "generate",
        "check", "run", "feedback",
    }  # fmt: skip


TOKEN_URL = "http://u:CANARY-1@127.0.0.1:9/mcp?key=CANARY-2"


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["generate", "--history", "gone.json"], 2), (["generate"], 2), ([], 2), (["nonsense"], 2),
        (["check", "gone.rtfs"], 2), (["run", "gone", "--context", "gone", "--stub"], 2),
        (["generate", "--history", "{turns}", "--security", "none"], 2),
        (["generate", "--history", "{turns}", "--registry", "{turns}"], 2),
        (["generate", "--history", "{turns}", "--arbiter", "http://h"], 2),
        (["generate", "--history", "{turns}", "--arbiter", "ftp://h", "--model", "m"], 2),
        (["generate", "--history", "{turns}", "--arbiter-first"], 2),
        (["generate", "--history", "{turns}", "--arbiter", "http://h", "--model", "m", "--arbiter-key-env", "NO_SUCH"], 2),
        (["generate", "--history", "{bad}"], 2), (["generate", "--history", "{deep}"], 2),
        (["run", "{planner}", "--context", "{bad}", "--stub"], 2), (["run", "{planner}", "--context", "{empty}"], 2),
        (["run", "{planner}", "--context", "{empty}", "--mcp", "noname"], 2),
        (["run", "{planner}", "--context", "{empty}", "--mcp", "a.b=x"], 2),
        (["run", "{planner}", "--context", "{empty}", "--mcp", "a=x", "--mcp", "a=y"], 2),
        (["run", "{planner}", "--context", "{empty}", "--mcp", "a=x", "--env", "b:PATH"], 2),
        (["snapshot", "mcp"], 2), (["snapshot", "mcp", "--stdio", "'"], 2),
        (["snapshot", "mcp", "--stdio", "x", "--header-env", "A"], 2),
        (["snapshot", "mcp", "--http", TOKEN_URL, "--timeout-s", "3"], 1),
        (["snapshot", "mcp", "--stdio", "/no/such/program"], 1), (["snapshot", "ccos", "gone"], 1),
        (["snapshot", "a2a", TOKEN_URL, "--timeout-s", "3"], 1), (["snapshot", "merge", "gone"], 1),
        (["feedback", "x", "maybe", "--agents", "d"], 2), (["demo", "--answer", "a", "--answer", "b", "--answer", "c"], 2),
        (["generate", "--history", "{turns}", "--agents", "{empty}"], 2),
        (["generate", "--history", "{turns}", "--arbiter", "http://h", "--model", "m", "--arbiter-timeout-s", "nan"], 2),
        (["generate", "--history", "{turns}", "--arbiter", "http://h", "--model", "m", "--arbiter-timeout-s", "-1"], 2),
        (["snapshot", "a2a", "http://h", "--timeout-s", "nan"], 2), (["snapshot", "mcp", "--http", "http://[::1"], 2),
    ],
    ids=lambda value: "-".join(value)[:60] if isinstance(value, list) else str(value),
)  # fmt: skip
def test_what_cannot_be_used_is_one_line_and_an_exit_code(
    cli: Cli, history: Path, argv: list[str], code: int
) -> None:
    files = {
        "turns": history, "bad": cli.file("bad.json", '[{"turn_index": -1}]'), "deep": cli.file("deep.json", "[" * 99_999),
        "empty": cli.file("empty.json", "{}"), "planner": cli.file("p.rtfs", "(do nil)"),
    }  # fmt: skip
    got, _, err = cli(*[word.format(**files) if word.startswith("{") else word for word in argv])
    assert got == code, err
    assert err.count("\n") == 1
    assert err.startswith("error: " if code == 2 else "left out: ")
    assert "CANARY" not in err


def test_json_with_a_byte_order_mark_and_windows_lines_is_read(
    cli: Cli, history: Path, registry: Path
) -> None:
    planner = cli.folder / "p.rtfs"
    context = cli.file("c.json", '{"github_repository": "a/b"}')
    cli.json("generate", "--history", history, "--registry", registry, "--out", planner)
    plain = cli.json("generate", "--history", history, "--registry", registry)
    for path in (history, registry, context):
        path.write_bytes(BOM_UTF8 + path.read_bytes().replace(b"\n", b"\r\n"))
    planner.write_bytes(planner.read_bytes().replace(b"\n", b"\r\n"))
    assert cli.json("generate", "--history", history, "--registry", registry) == plain
    cli.json("run", planner, "--context", context, "--stub")


def as_program(*argv: str, **fields: Any) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, "-m", "planner_synthesis", *argv]
    return subprocess.run(command, check=False, capture_output=True, timeout=60, **fields)


def test_turns_may_come_through_a_pipe(history: Path) -> None:
    read = as_program("generate", "--history", "/dev/stdin", input=history.read_bytes())
    assert (read.returncode, read.stderr) == (0, b"")


def test_answers_are_text_and_the_output_is_json_whatever_is_typed_and_in_any_locale(
    tmp_path: Path,
) -> None:
    out = tmp_path / "turns.json"
    latin = {
        **os.environ,
        "PYTHONIOENCODING": "latin-1:surrogateescape",
        "CCOS_INTERACTIVE_ASK": "1",
    }
    for environment in ({**os.environ, "CCOS_INTERACTIVE_ASK": "1"}, latin):
        typed = "\u00fc \U0001f600\r\n".encode() + b"\xff\n"
        done = as_program("demo", "--out", str(out), input=typed, env=environment)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == json.loads(out.read_bytes())
    assert not json.loads(out.read_bytes())[0]["answer"].endswith("\r")


def test_a_closed_output_is_one_line(registry: Path) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "planner_synthesis", "snapshot", "merge", str(registry)],
        stdout=writer, stderr=subprocess.PIPE, timeout=60, check=False,
    )  # fmt: skip
    os.close(writer)
    assert (done.returncode, done.stderr) == (2, b"error: Broken pipe\n")


def test_the_module_runs_as_a_program(cli: Cli) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "planner_synthesis", "demo"],
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert len(json.loads(done.stdout)) == 2
    assert done.stderr == b""
