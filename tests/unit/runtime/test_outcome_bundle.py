"""Outcome bundles on disk: two more members, each named when it is not as it should be."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from planner_runtime import Planner, read_bundle, verify_bundle
from planner_runtime.__main__ import main
from planner_runtime.bundle import (
    MANIFEST,
    MEMBERS,
    OUTCOME_MEMBERS,
    POLICY,
    TRACK_RECORD,
    BundleError,
    members_of,
)
from planner_runtime.contracts import canonical_json, to_document
from planner_runtime.exploration import ExplorationBudget
from planner_runtime.objective import Objective, Weights
from planner_runtime.outcomes.features import OUTCOME_FEATURES
from planner_runtime.outcomes.policy_file import OutcomePolicy
from planner_runtime.outcomes.track_record import TrackRecord
from planner_runtime.planner import action_of
from planner_runtime.policy import NO_LIMITS
from tests.outcome_bundles import (
    a_question,
    calibration_of,
    tiny_onnx,
    write_outcome_bundle,
)

NEW = (POLICY, TRACK_RECORD)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    record = TrackRecord()
    record.add("claude", "7", passed=True, minutes=4.0, usd=0.3, ended_ms=1_000)
    folder = tmp_path_factory.mktemp("shipped") / "bundle"
    write_outcome_bundle(
        folder, track_record=record.state(),
        policy=OutcomePolicy(objective=Objective(name="shipped", weights=Weights(minute=0.001))),
        calibration=calibration_of(pass_knots=((0.0, 0.1), (1.0, 0.9)), novelty_threshold=8.0),
    )  # fmt: skip
    return folder


@pytest.fixture
def bundle(shipped: Path, tmp_path: Path) -> Path:
    shutil.copytree(shipped, tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(bundle: Path) -> list[tuple[str, str]]:
    assert Planner.open(bundle).bundle is None
    action = Planner.open(bundle).plan(a_question())
    assert (action.reason or "").startswith("bundle_load_failed:")
    return [(fault.file, fault.reason) for fault in verify_bundle(bundle)]


def test_a_whole_bundle_opens_and_decides(shipped: Path) -> None:
    assert verify_bundle(shipped) == []
    planner = Planner.open(shipped)
    assert planner.bundle is not None
    assert planner.bundle.calibration is None
    assert planner.bundle.outcome is not None
    assert planner.bundle.outcome.policy.objective.name == "shipped"
    decision = planner.decide(a_question())
    assert decision.trace.objective == "shipped"
    assert decision.trace.decided_by == "model"
    assert decision.action.model is not None
    assert decision.action.model.checkpoint_id == planner.bundle.manifest.bundle_id


def test_members_depend_on_what_the_model_computes() -> None:
    assert members_of("outcome") == OUTCOME_MEMBERS
    assert members_of("heads") == members_of("joint") == MEMBERS
    assert set(OUTCOME_MEMBERS) - set(MEMBERS) == set(NEW)


@pytest.mark.parametrize("name", NEW)
def test_a_deleted_member_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    assert refused(bundle) == [(name, "missing")]


@pytest.mark.parametrize("name", [*NEW, MANIFEST, "calibration.json"])
@pytest.mark.parametrize("place", [0.02, 0.5, 0.97])
def test_one_flipped_bit_is_named(bundle: Path, name: str, place: float) -> None:
    data = bytearray((bundle / name).read_bytes())
    data[int(len(data) * place)] ^= 1
    (bundle / name).write_bytes(data)
    assert [file for file, _ in refused(bundle)] == [name]


def document(**changes: Any) -> bytes:
    return canonical_json(changes)


OBJECTIVE = to_document(Objective())


@pytest.mark.parametrize(
    ("name", "data"),
    [
        (POLICY, b"{"),
        (POLICY, b"[]"),
        (POLICY, document(objective=OBJECTIVE)),
        (POLICY, document(schema_version="cyntra.outcome_policy.v2")),
        (POLICY, document(schema_version="cyntra.outcome_policy.v1", mood="good")),
        (POLICY, document(schema_version="cyntra.outcome_policy.v1", exploration={"epsilon": 2})),
        (POLICY, document(schema_version="cyntra.outcome_policy.v1", limits={"caps": {"swarm_id": 1}})),
        (POLICY, document(schema_version="cyntra.outcome_policy.v1", limits={"caps": {"max_minutes_bin": -1}})),
        (POLICY, document(schema_version="cyntra.outcome_policy.v1", objective={"rule": "constrained"})),
        (POLICY, document(schema_version="cyntra.outcome_policy.v1", objective={"rule": "vibes"})),
        (TRACK_RECORD, b""),
        (TRACK_RECORD, document(schema_version="cyntra.track_record.v1")),
        (TRACK_RECORD, document(schema_version="cyntra.track_record.v1", priors={"alike": -1})),
        (TRACK_RECORD, document(schema_version="cyntra.track_record.v1", priors={}, logits={"t:a": [0, 0]})),
        ("calibration.json", document(schema_version="cyntra.outcome_calibration.v1")),
        ("calibration.json", document(
            schema_version="cyntra.planner_calibration.v1", temperatures={}, confidence_threshold=0.5,
            n_validation=1)),
    ],
)  # fmt: skip
def test_a_member_that_keeps_no_contract_is_malformed(
    tmp_path: Path, name: str, data: bytes
) -> None:
    write_outcome_bundle(tmp_path / "b", members={name: data}, check=False)
    assert refused(tmp_path / "b") == [(name, "malformed")]


def test_an_imitation_bundle_with_a_policy_is_refused_and_an_outcome_bundle_without_one(
    bundle: Path,
) -> None:
    (bundle / POLICY).unlink()
    manifest = json.loads((bundle / MANIFEST).read_text())
    manifest["files"] = [f for f in manifest["files"] if f["path"] != POLICY]
    rest = {k: v for k, v in manifest.items() if k != "bundle_id"}
    from planner_runtime.contracts import document_hash

    manifest["bundle_id"] = document_hash(rest)[:16]
    (bundle / MANIFEST).write_bytes(canonical_json(manifest))
    assert refused(bundle) == [(MANIFEST, "file_set")]


@pytest.mark.parametrize(
    "model",
    [tiny_onnx(n_features=9), tiny_onnx(outputs=("p_pass",))],
    ids=["width", "outputs"],
)
def test_a_model_that_is_another_one_is_refused(tmp_path: Path, model: bytes) -> None:
    write_outcome_bundle(tmp_path / "b", members={"planner.onnx": model}, check=False)
    assert refused(tmp_path / "b") == [("planner.onnx", "model_refused")]


def test_a_golden_case_that_is_answered_differently_is_named(tmp_path: Path) -> None:
    write_outcome_bundle(tmp_path / "a")
    cases = [json.loads(line) for line in (tmp_path / "a/golden.jsonl").read_text().splitlines()]
    cases[1]["action"]["confidence"] = 0.123
    altered = b"".join(canonical_json(case) + b"\n" for case in cases)
    write_outcome_bundle(tmp_path / "b", members={"golden.jsonl": altered}, check=False)
    assert refused(tmp_path / "b") == [("golden.jsonl", "golden_mismatch")]


def test_a_bundle_that_explores_has_golden_answers_all_the_same(tmp_path: Path) -> None:
    chance = ExplorationBudget(epsilon=1.0, seed="x", budget_share=1.0)
    asked = tuple(a_question(title=str(i), dk_priority="P3") for i in range(8))
    write_outcome_bundle(tmp_path / "b", policy=OutcomePolicy(exploration=chance), questions=asked)
    assert verify_bundle(tmp_path / "b") == []
    planner = Planner.open(tmp_path / "b")
    assert planner.decide(asked[0]).trace.decided_by == "exploration"
    assert planner.exploration_counts == (1, 1)


def test_the_whole_manifest_is_checked_against_this_runtimes_features(tmp_path: Path) -> None:
    manifest = write_outcome_bundle(tmp_path / "b")
    assert manifest.model.input_width == len(OUTCOME_FEATURES)
    told = json.loads((tmp_path / "b" / MANIFEST).read_text())
    told["model"]["input_width"] += 1
    told["model"]["input_spec_hash"] = "0" * 64
    from planner_runtime.contracts import document_hash

    told["bundle_id"] = document_hash({k: v for k, v in told.items() if k != "bundle_id"})[:16]
    (tmp_path / "b" / MANIFEST).write_bytes(canonical_json(told))
    with pytest.raises(BundleError) as error:
        read_bundle(tmp_path / "b")
    assert [(f.file, f.reason) for f in error.value.faults] == [
        (MANIFEST, "malformed"), ("planner.onnx", "input_spec_mismatch"),
    ]  # fmt: skip


def test_what_the_caller_asks_for_replaces_what_was_shipped(shipped: Path) -> None:
    keen = Objective(name="keen", weights=Weights(minute=0.0))
    planner = Planner.open(shipped, objective=keen, limits=NO_LIMITS)
    decision = planner.decide(a_question())
    assert decision.trace.objective == "keen"
    assert action_of(decision.action).max_minutes_bin == 120


# the commands


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, list[str], str]:
    code = main(list(arguments))
    told = capsys.readouterr()
    return code, told.out.splitlines(), told.err


def test_plan_takes_an_objective_from_a_file(
    shipped: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "q.json").write_text(json.dumps(a_question()))
    (tmp_path / "o.json").write_bytes(canonical_json(to_document(Objective(name="mine"))))
    asked = ("plan", "--bundle", str(shipped), "--input", str(tmp_path / "q.json"), "--trace")
    code, (_, trace), _ = run(capsys, *asked, "--objective", str(tmp_path / "o.json"))
    assert code == 0
    assert json.loads(trace)["objective"] == "mine"
    (tmp_path / "o.json").write_text('{"rule": "vibes"}')
    code, told, error = run(capsys, *asked, "--objective", str(tmp_path / "o.json"))
    assert (code, told) == (1, [])
    assert "$.schema_version" in error
    code, _, error = run(capsys, *asked, "--objective", str(tmp_path / "none.json"))
    assert code == 1
    assert "No such file" in error


def test_verify_understands_outcome_bundles(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, "verify", str(bundle))[0] == 0
    (bundle / TRACK_RECORD).write_bytes(b"{}")
    code, lines, _ = run(capsys, "verify", str(bundle))
    assert code == 1
    assert lines[0].startswith(f"FAULT {TRACK_RECORD}: size_mismatch")
