"""A bench certifies the outcome bundle of a workspace and fills its page: assets, end to end."""

import json
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from planner_pipeline.artifacts import write_parquet
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.definitions import POLICY
from planner_pipeline.materialize import materialize
from planner_runtime import verify_bundle
from planner_runtime.actions import valid_actions
from planner_runtime.contracts import canonical_json, to_document
from planner_runtime.objective import Objective, Weights
from tests.reference.benched_tables import a_bench, an_outcome

COPIES = 6  # of every later question, each about an issue of its own


def bring_up_to_date(repo: Path, out: Path, home: Path) -> int:
    instance = dg.DagsterInstance.local_temp(str(home))
    frugal = home / "objective.json"
    frugal.write_bytes(canonical_json(to_document(Objective(weights=Weights(minute=0.1)))))
    return materialize(
        repo, out, job=POLICY, instance=instance, objective=str(frugal), outcome_kind="trees",
        epochs=2,
    )  # fmt: skip


def calibration(out: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((out / "outcome_bundle" / "calibration.json").read_bytes())
    return told


def bench_later_decisions(out: Path) -> None:
    """Every action with a limit of every later question about code, all of which pass."""
    data = Dataset(out / "dataset")
    rows, number = [], 0
    actions = [one for one in valid_actions(data.space, "code") if one.max_minutes_bin != "NA"]
    for example in data.examples_of(data.role_rows("certify", "test")):
        if example.job_type != "code":
            continue
        for _ in range(COPIES):
            issue = example.planner_input["issue"] | {"issue_id": f"issue-{number}"}
            question = example.planner_input | {"issue": issue}
            rows += [
                an_outcome(number, action, question=question, asked_ms=example.decided_ms)
                for action in actions
            ]
            number += 1
    (out / "bench").mkdir()
    write_parquet(a_bench(rows), out / "bench" / "outcomes.parquet")


@pytest.mark.slow
def test_a_bench_certifies_the_bundle_and_its_outcomes_are_the_page(
    workspace: Path, tmp_path: Path
) -> None:
    out, home = tmp_path / "out", tmp_path / "home"
    home.mkdir()
    bring_up_to_date(workspace, out, home)
    assert calibration(out)["always_abstains"]
    assert "46 such decisions are needed" in calibration(out)["notes"][0]
    assert json.loads((out / "what_if.json").read_bytes())["source"] == "model"
    bench_later_decisions(out)
    assert bring_up_to_date(workspace, out, home) == 2  # the bundle and the page
    assert verify_bundle(out / "outcome_bundle") == []
    told = calibration(out)
    assert not told["always_abstains"]
    assert told["risk"]["n_worse"] == 0
    page = json.loads((out / "what_if.json").read_bytes())
    assert page["source"] == "bench"
    assert page["promise"]["threshold"] == told["confidence_threshold"]
    assert page["promise"]["n"] == told["risk"]["n"]
    assert (page["promise"]["later_worse"], page["promise"]["kept"]) == (0, True)
    assert bring_up_to_date(workspace, out, home) == 0
