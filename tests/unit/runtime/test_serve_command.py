"""``serve`` as a process: how it starts, how it is told to stop, what is left behind."""

import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from planner_runtime.sidecar.client import SidecarPlanner
from tests.imitation_files import write_imitation_bundle
from tests.outcome_bundles import a_question
from tests.sidecars import Caller, a_short_folder

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundles") / "imitation"
    write_imitation_bundle(folder)
    return folder


@pytest.fixture
def folder() -> Iterator[Path]:
    with a_short_folder() as path:
        yield path


def command(bundle: Path, path: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "planner_runtime", "serve", "--bundle", str(bundle),
            "--socket", str(path), "--deadline-ms", "60000", *more]  # fmt: skip


@contextlib.contextmanager
def serving(bundle: Path, path: Path, *more: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server that has said it is ready, with what it said."""
    with subprocess.Popen(
        command(bundle, path, *more), stderr=subprocess.PIPE, text=True, cwd=ROOT
    ) as process:
        try:
            assert process.stderr is not None
            said = ""
            while "listens on" not in said:
                line = process.stderr.readline()
                assert line, said
                said += line
            yield process, said
        finally:
            process.kill()


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    assert process.stderr is not None
    return process.wait(30), process.stderr.read()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_it_answers_until_it_is_told_to_stop(
    bundle: Path, folder: Path, told: signal.Signals
) -> None:
    with serving(bundle, folder / "s") as (process, ready):
        assert f"listens on {folder / 's'}: " in ready
        client = SidecarPlanner(folder / "s", 20_000)
        assert client.predict_action(a_question())["confidence"] > 0.8
        process.send_signal(told)
        assert ended(process) == (0, "cyntra-planner serve: stopped\n")
        assert [path.name for path in folder.iterdir()] == ["s.lock"]
        action = client.predict_action(a_question())
        assert action["reason"].startswith("sidecar_unavailable:")
        client.close()


def test_a_killed_server_does_not_keep_the_next_from_starting(bundle: Path, folder: Path) -> None:
    with serving(bundle, folder / "s") as (process, _):
        process.kill()
        process.wait(30)
    assert (folder / "s").is_socket()
    with serving(bundle, folder / "s"), Caller(folder / "s") as caller:
        assert caller.ask(kind="health")["health"]["status"] == "serving"


def test_a_second_server_is_refused_and_the_first_serves_on(bundle: Path, folder: Path) -> None:
    with serving(bundle, folder / "s"):
        second = subprocess.run(command(bundle, folder / "s"), capture_output=True, text=True, cwd=ROOT, check=False)  # fmt: skip
        assert second.returncode == 1
        assert second.stderr.endswith(f"error: {folder / 's'}: another server holds its lock\n")
        with Caller(folder / "s") as caller:
            assert caller.ask(kind="health")["ok"]


def test_another_bundle_takes_over_while_connections_live_on(bundle: Path, folder: Path) -> None:
    write_imitation_bundle(folder / "next", threshold=0.1)
    (folder / "current").symlink_to(bundle)
    with serving(folder / "current", folder / "s") as (process, _), Caller(folder / "s") as caller:
        first = caller.ask(kind="health")["health"]["bundle_id"]
        (folder / "new").symlink_to(folder / "next")
        (folder / "new").rename(folder / "current")
        process.send_signal(signal.SIGHUP)
        assert process.stderr is not None
        said = process.stderr.readline()
        health = caller.ask(kind="health")["health"]
        assert health["pid"] == process.pid
        assert health["bundle_id"] != first
        assert f"bundle {health['bundle_id']} serves" in said
        told = caller.ask(kind="decide", planner_input=a_question())
        assert told["trace"]["bundle_id"] == health["bundle_id"]
        counts = caller.ask(kind="metrics")["metrics"]
        assert (counts["loads"], counts["load_failures"]) == (2, {})
        assert counts["bundle_id"] == health["bundle_id"]


def test_a_bundle_without_a_signature_is_refused_where_one_is_required(
    bundle: Path, folder: Path
) -> None:
    with serving(bundle, folder / "s", "--require-signature") as (_, ready):
        assert "signature_no_key" in ready
        with Caller(folder / "s") as caller:
            assert caller.ask(kind="health")["health"]["status"] == "baseline"
            counts = caller.ask(kind="metrics")["metrics"]
            assert counts["load_failures"] == {"signature_no_key": 1}


def test_a_damaged_bundle_serves_the_baseline_unless_a_bundle_is_required(folder: Path) -> None:
    write_imitation_bundle(folder / "bundle")
    (folder / "bundle" / "golden.jsonl").write_text("{}\n")
    with serving(folder / "bundle", folder / "s") as (_, ready):
        assert "the baseline (bundle_load_failed:golden.jsonl: size_mismatch" in ready
        with Caller(folder / "s") as caller:
            told = caller.ask(kind="plan", planner_input=a_question())
            assert told["action"]["reason"].startswith("bundle_load_failed:")
            counts = caller.ask(kind="metrics")["metrics"]
            assert counts["load_failures"] == {"size_mismatch": 1}
            assert counts["fallbacks"] == {"bundle_load_failed": 1}
    refused = subprocess.run(
        command(folder / "bundle", folder / "t", "--require-bundle"),
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert refused.returncode == 1
    assert "\nerror: bundle_load_failed:golden.jsonl: size_mismatch" in refused.stderr
    assert not (folder / "t").exists()


@pytest.mark.parametrize(
    "more", [("--max-connections", "0"), ("--grace-seconds", "nan"), ("--deadline-ms", "-1")]
)
def test_limits_that_are_none_are_wrong_use(
    bundle: Path, folder: Path, more: tuple[str, str]
) -> None:
    done = subprocess.run(command(bundle, folder / "s", *more), capture_output=True, text=True, cwd=ROOT, check=False)  # fmt: skip
    assert done.returncode == 2
    assert more[0] in done.stderr


def test_whoever_is_answered_loads_neither_numpy_nor_onnxruntime(
    bundle: Path, folder: Path
) -> None:
    code = (
        "import json, sys; from planner_runtime.sidecar.client import SidecarPlanner\n"
        f"client = SidecarPlanner({str(folder / 's')!r}, 20_000)\n"
        "action = client.predict_action(json.load(sys.stdin)); client.close()\n"
        "print(action['confidence'] > 0.8, {'numpy', 'onnxruntime', 'msgspec'} & set(sys.modules))"
    )
    with serving(bundle, folder / "s"):
        done = subprocess.run(
            [sys.executable, "-c", code], input=json.dumps(a_question()), capture_output=True,
            text=True, cwd=ROOT, check=False,
        )  # fmt: skip
    assert done.stdout == "True set()\n", done.stderr


def test_an_answer_from_a_process_is_plain_json(bundle: Path, folder: Path) -> None:
    with serving(bundle, folder / "s"), Caller(folder / "s") as caller:
        told = caller.ask(id="x", kind="decide", planner_input=a_question())
        assert set(told) == {"id", "ok", "action", "trace", "model_choice", "alternatives"}
        assert json.dumps(told)
