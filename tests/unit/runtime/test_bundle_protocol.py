"""Older protocols stay readable as they were written; newer and forgotten ones are told apart."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from planner_runtime import Planner, read_bundle, verify_bundle
from planner_runtime.bundle import MANIFEST, PROTOCOL
from planner_runtime.bundles.protocol import (
    CONTRACTS,
    N_READ,
    OLDEST_PROTOCOL,
    UPGRADES,
    manifest_id,
    parse_manifest,
    upgraded,
)
from tests.unit.runtime.bundle_cases import (
    QUESTIONS,
    as_first_form,
    as_protocol_1,
    reseal,
    write_imitation_bundle,
)

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    write_imitation_bundle(tmp_path / "bundle")
    return tmp_path / "bundle"


def refused(bundle: Path) -> list[tuple[str, str]]:
    return [(fault.file, fault.reason) for fault in verify_bundle(bundle)]


def test_every_protocol_that_is_read_has_a_contract_and_a_step_to_the_next() -> None:
    assert N_READ == 3  # the newest and two before it
    numbers = range(OLDEST_PROTOCOL, PROTOCOL + 1)
    assert set(CONTRACTS) == set(numbers)
    assert set(UPGRADES) == set(numbers) - {PROTOCOL}


@pytest.mark.parametrize("change", [as_protocol_1, as_first_form])
def test_a_bundle_of_protocol_1_opens_and_answers_the_same(bundle: Path, change: Change) -> None:
    newest = Planner.open(bundle)
    now = [newest.decide(question, now_ms=0) for question in QUESTIONS]
    written = reseal(bundle, change)
    assert refused(bundle) == []
    planner = Planner.open(bundle)
    assert planner.bundle is not None
    assert planner.bundle.protocol == 1
    assert planner.bundle.manifest.bundle_id == written
    assert planner.bundle.manifest.format_version == PROTOCOL
    assert planner.bundle.manifest.model.op_types == ()
    for question, answer in zip(QUESTIONS, now, strict=True):
        again = planner.decide(question, now_ms=0)
        assert again.action.probs == answer.action.probs
        assert again.action.budgets == answer.action.budgets


@pytest.mark.parametrize("change", [as_protocol_1, as_first_form])
def test_an_old_manifest_is_checked_in_the_form_it_was_written_in(
    bundle: Path, change: Change
) -> None:
    reseal(bundle, change)
    text = (bundle / MANIFEST).read_bytes()
    (bundle / MANIFEST).write_bytes(text + b" ")
    assert refused(bundle) == [(MANIFEST, "not_canonical")]
    (bundle / MANIFEST).write_bytes(text.replace(b'"n_golden":4', b'"n_golden":3'))
    assert refused(bundle) == [(MANIFEST, "altered")]
    parsed, protocol = parse_manifest(text)
    assert protocol == 1
    assert manifest_id(parsed) != parsed.bundle_id  # its id is of what was written, not of this


def test_an_operator_outside_the_list_is_refused_also_of_protocol_1(bundle: Path) -> None:
    import onnx

    from tests.unit.runtime.bundle_cases import HOSTILE_MODELS, imitation_onnx

    proto = onnx.load_model_from_string(imitation_onnx())
    HOSTILE_MODELS["op_not_allowed:bomb"](proto)
    (bundle / "planner.onnx").write_bytes(proto.SerializeToString())
    reseal(bundle, as_protocol_1)
    assert refused(bundle) == [("planner.onnx", "op_not_allowed")]


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (PROTOCOL + 1, "protocol_too_new"), (99, "protocol_too_new"), (0, "protocol_too_old"),
        (-1, "protocol_too_old"), ("2", "malformed"), (True, "malformed"), (None, "malformed"),
        (2.5, "malformed"), ([2], "malformed"),
    ],
)  # fmt: skip
def test_a_protocol_this_runtime_does_not_speak_is_named(
    bundle: Path, number: Any, reason: str
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["format_version"] = number

    reseal(bundle, change)
    assert refused(bundle) == [(MANIFEST, reason)]


def test_a_manifest_of_one_protocol_cannot_carry_the_number_of_another(bundle: Path) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["format_version"] = 1

    reseal(bundle, change)
    assert refused(bundle) == [(MANIFEST, "malformed")]


def test_the_newest_protocol_has_to_record_its_operators(bundle: Path) -> None:
    def forget(manifest: dict[str, Any]) -> None:
        manifest["model"]["op_types"] = []

    reseal(bundle, forget)
    assert refused(bundle) == [(MANIFEST, "malformed")]


@pytest.mark.parametrize(
    ("ops", "expected"),
    [
        (["Gemm", "Loop"], (MANIFEST, "op_not_allowed")),
        (["Add", "Gemm"], ("planner.onnx", "ops_mismatch")),
    ],
)
def test_recorded_operators_have_to_be_allowed_and_to_be_the_models(
    bundle: Path, ops: list[str], expected: tuple[str, str]
) -> None:
    def change(manifest: dict[str, Any]) -> None:
        manifest["model"]["op_types"] = ops

    reseal(bundle, change)
    assert refused(bundle) == [expected]


def test_steps_leave_the_manifest_they_are_given_alone(bundle: Path) -> None:
    reseal(bundle, as_first_form)
    old = json.loads((bundle / MANIFEST).read_bytes())
    kept = json.dumps(old)
    assert upgraded(old, 1)["format_version"] == PROTOCOL
    assert json.dumps(old) == kept
    assert read_bundle(bundle).manifest.model.decoding == "heads"
