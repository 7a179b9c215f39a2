"""The pages: both come up on loopback, a materialization started there runs, both stop."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

LAUNCH = """
mutation($selector: JobOrPipelineSelector!) {
  launchPipelineExecution(executionParams: {selector: $selector, mode: "default", runConfigData: {}}) {
    __typename
    ... on LaunchRunSuccess { run { runId } }
    ... on PythonError { message }
  }
}"""
STATUS = (
    "query($id: ID!) { runOrError(runId: $id) { ... on Run { status assets { key { path } } } } }"
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, query: str, variables: dict[str, object]) -> dict[str, object]:
    body = json.dumps({"query": query, "variables": variables}).encode()
    request = Request(f"{url}/graphql", body, {"Content-Type": "application/json"})
    with urlopen(request, timeout=60) as answer:
        document = json.load(answer)
    assert "errors" not in document, document
    return document["data"]


@pytest.mark.slow
def test_a_materialization_can_be_started_from_the_pages(workspace: Path, tmp_path: Path) -> None:
    ports = (free_port(), free_port())
    environment = {
        k: v for k, v in os.environ.items() if k not in ("DAGSTER_HOME", "MLFLOW_TRACKING_URI")
    }
    child = subprocess.Popen(
        [sys.executable, "-m", "planner_pipeline.cli", "ui", "--repo", str(workspace), "--out", str(tmp_path),
         "--dagster-port", str(ports[0]), "--mlflow-port", str(ports[1])],
        stdout=subprocess.PIPE, text=True, env=environment, start_new_session=True,
    )  # fmt: skip
    try:
        assert child.stdout is not None
        lines = [child.stdout.readline().strip() for _ in range(3)]
        assert sorted(lines[:2]) == [
            f"Dagster: http://127.0.0.1:{ports[0]}",
            f"MLflow: http://127.0.0.1:{ports[1]}",
        ]
        url = f"http://127.0.0.1:{ports[0]}"
        selector = {
            "repositoryLocationName": "planner_pipeline.code_location",
            "repositoryName": "__repository__",
            "pipelineName": "dataset_only",
        }
        launched = ask(url, LAUNCH, {"selector": selector})["launchPipelineExecution"]
        assert launched["__typename"] == "LaunchRunSuccess", launched  # type: ignore[index]
        run_id = launched["run"]["runId"]  # type: ignore[index]
        deadline = time.monotonic() + 240
        status = ""
        while status not in ("SUCCESS", "FAILURE") and time.monotonic() < deadline:
            time.sleep(2)
            status = ask(url, STATUS, {"id": run_id})["runOrError"]["status"]  # type: ignore[index]
        assert status == "SUCCESS"
        assert (tmp_path / "dataset" / "meta.json").is_file()
        with urlopen(f"http://127.0.0.1:{ports[1]}/health", timeout=20) as answer:
            assert answer.status == 200
    finally:
        os.kill(child.pid, signal.SIGINT)
        assert child.wait(timeout=60) == 0
        child.stdout.close()
