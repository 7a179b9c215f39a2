"""Bundles to damage, and the ways to damage them: shared by the suite and ``tests.fuzz``.

Belongs here: a small bundle of either kind, older protocols of it, and one damage at a time.
Does not: what has to come of it (the tests). Runs on the base distribution and ``onnx`` alone.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from planner_runtime.actions import ActionSpace
from planner_runtime.bundle import (
    ACTION_SPACE,
    CALIBRATION,
    GOLDEN,
    MANIFEST,
    MODEL,
    VOCAB,
    Bundle,
    GoldenCase,
    action_space_file,
)
from planner_runtime.bundles.files import MAX_TEXT_BYTES
from planner_runtime.bundles.onnx_graph import read_graph
from planner_runtime.calibration import Calibration
from planner_runtime.contracts import (
    BundleFile,
    BundleManifest,
    ModelCard,
    canonical_json,
    document_hash,
    sha256_hex,
    to_document,
)
from planner_runtime.decode import output_widths, temperature_names
from planner_runtime.features import N_FEATURES, feature_spec_hash
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.planner import golden_planner, load_bundle, open_model
from planner_runtime.tokenizer import vocab_document
from tests.outcome_bundles import a_question

SPACE = ActionSpace()
QUESTIONS = tuple(
    a_question(title=f"{word} the parser", dk_risk=risk, dk_priority=priority)
    for word in ("Fix", "Drop", "Grow")
    for risk in ("low", "high")
    for priority in ("P0", "P3")
)


def imitation_onnx(*, seed: int = 0, op: str = "Gemm") -> bytes:
    """One Gemm a head; another seed is another model."""
    luck = np.random.default_rng(seed)
    nodes, weights, outputs = [], [], []
    for name, width in output_widths(SPACE, "heads").items():
        matrix = luck.normal(size=(N_FEATURES, width)).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"{name}_w"))
        nodes.append(helper.make_node(op, ["features", f"{name}_w"], [name]))
        outputs.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", width]))
    inputs = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["N", N_FEATURES])]
    graph = helper.make_graph(nodes, "heads", inputs, outputs, weights)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    return bytes(proto.SerializeToString(deterministic=True))


def _draft(model: bytes, **card: Any) -> Bundle:
    sha = "0" * 64
    calibration = Calibration(
        temperatures=dict.fromkeys(temperature_names("heads"), 1.0), confidence_threshold=0.0,
        n_validation=0,
    )  # fmt: skip
    manifest = BundleManifest(
        format_version=2, bundle_id="0" * 16, data_until="2026-01-01T00:00:00Z", dataset_hash=sha,
        files=(), vocab_hash=sha, action_space_hash=sha, calibration_hash=sha, n_golden=0,
        versions={"cyntra-planner": "test"}, kernel_config=msgspec.to_builtins(SHIPPED_CONFIG),
        model=ModelCard(**{
            "arch": "gemm", "input_kind": "features", "input_width": N_FEATURES,
            "input_spec_hash": feature_spec_hash(), "opset": 20,
            "output_names": tuple(output_widths(SPACE, "heads")), "checkpoint_sha256": sha,
            "op_types": read_graph(model).op_types, **card,
        }),
    )  # fmt: skip
    return Bundle("", manifest, SPACE, calibration, SHIPPED_CONFIG, model, ())


def write_imitation_bundle(folder: Path, *, seed: int = 0, check: bool = True) -> str:
    """A whole bundle that imitates; its id."""
    draft = _draft(imitation_onnx(seed=seed))
    planner = golden_planner(draft, open_model(draft))
    cases = [
        GoldenCase(q, msgspec.structs.replace(planner.plan(q, now_ms=0), model=None))
        for q in QUESTIONS[:4]
    ]
    files = {
        MODEL: draft.model,
        VOCAB: canonical_json(vocab_document()),
        ACTION_SPACE: canonical_json(action_space_file(SPACE)),
        CALIBRATION: canonical_json(to_document(draft.calibration)),  # type: ignore[arg-type]
        GOLDEN: b"".join(canonical_json(to_document(case)) + b"\n" for case in cases),
    }
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / MANIFEST).write_bytes(canonical_json(to_document(draft.manifest)))
    bundle_id = reseal(folder)
    if check:
        load_bundle(folder)
    return bundle_id


def reseal(folder: Path, change: Callable[[dict[str, Any]], None] = lambda manifest: None) -> str:
    """A manifest that agrees with whatever the folder holds now, as somebody who means harm would
    write it; ``change`` is made to it first. Its id.
    """
    manifest = json.loads((folder / MANIFEST).read_bytes())
    files = {p.name: p.read_bytes() for p in folder.iterdir() if p.name != MANIFEST}
    manifest["files"] = [
        to_document(BundleFile(path=name, size=len(data), sha256=sha256_hex(data)))
        for name, data in sorted(files.items())
    ]
    manifest |= {
        "vocab_hash": sha256_hex(files[VOCAB]),
        "action_space_hash": sha256_hex(files[ACTION_SPACE]),
        "calibration_hash": sha256_hex(files[CALIBRATION]),
        "n_golden": files[GOLDEN].count(b"\n"),
    }
    change(manifest)
    manifest["bundle_id"] = document_hash({k: v for k, v in manifest.items() if k != "bundle_id"})[
        :16
    ]
    (folder / MANIFEST).write_bytes(canonical_json(manifest))
    return str(manifest["bundle_id"])


def as_protocol_1(manifest: dict[str, Any]) -> None:
    """A manifest as it was written before operators were recorded."""
    manifest |= {"schema_version": "cyntra.bundle_manifest.v1", "format_version": 1}
    del manifest["model"]["op_types"]


def as_first_form(manifest: dict[str, Any]) -> None:
    """A manifest of the very first bundles, whose models had one decoding and no tokens."""
    as_protocol_1(manifest)
    for name in ("decoding", "seq_len", "tokens_per_run"):
        del manifest["model"][name]


class Damage(msgspec.Struct, frozen=True):
    """One thing done to a bundle's folder.

    Attributes:
        is_consistent: Whether the manifest was made to agree with it.
    """

    kind: str
    detail: str
    is_consistent: bool = False


def _some_file(folder: Path, luck: Random) -> Path:
    return luck.choice(sorted(path for path in folder.iterdir() if path.is_file()))


def flip_bit(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    data = bytearray(path.read_bytes())
    place = luck.randrange(len(data) * 8)
    data[place // 8] ^= 1 << place % 8
    path.write_bytes(data)
    return Damage("flip", f"{path.name} bit {place}")


def truncate(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    data = path.read_bytes()
    percent = luck.randrange(100)
    path.write_bytes(data[: len(data) * percent // 100])
    return Damage("truncate", f"{path.name} to {percent} %")


def overwrite(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    data = bytearray(path.read_bytes())
    start = luck.randrange(len(data))
    noise = luck.randbytes(luck.randrange(1, 64))
    if bytes(data[start : start + len(noise)]) == noise:
        noise = bytes(byte ^ 1 for byte in noise)
    data[start : start + len(noise)] = noise
    path.write_bytes(data)
    return Damage("overwrite", f"{path.name} at {start}, {len(noise)} bytes")


def grow(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    path.write_bytes(path.read_bytes() + luck.choice((b"\n", b"\0", b" ", luck.randbytes(99))))
    return Damage("grow", path.name)


def delete(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    path.unlink()
    return Damage("delete", path.name)


def rename(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    name = luck.choice(("x.json", "Planner.onnx", f"{path.name}.bak", f".{path.name}", "manifest"))
    path.rename(folder / name)
    return Damage("rename", f"{path.name} to {name}")


def swap_two(folder: Path, luck: Random) -> Damage:
    one, other = luck.sample(sorted(path for path in folder.iterdir() if path.is_file()), 2)
    data = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(data)
    return Damage("swap", f"{one.name} and {other.name}")


def add_file(folder: Path, luck: Random) -> Damage:
    name = luck.choice(
        ("planner.onnx.data", ".gitignore", "x y", "Ä.json", "a" * 200, "policy.bak")
    )
    (folder / name).write_bytes(luck.randbytes(luck.randrange(50)))
    return Damage("add", name)


def add_many(folder: Path, luck: Random) -> Damage:
    for number in range(40):
        (folder / f"x{number}").touch()
    return Damage("many", "40 files")


def link(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    outside = folder.parent / "outside"
    outside.unlink(missing_ok=True)
    shutil.copyfile(path, outside)
    path.unlink()
    if luck.random() < 0.5:
        path.symlink_to(outside)
        return Damage("symlink", path.name)
    os.link(outside, path)
    return Damage("hardlink", path.name)


def no_file(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    path.unlink()
    if luck.random() < 0.5:
        os.mkfifo(path)
        return Damage("fifo", path.name)
    path.mkdir()
    return Damage("directory", path.name)


def enlarge(folder: Path, luck: Random) -> Damage:
    path = _some_file(folder, luck)
    with path.open("r+b") as file:
        file.truncate(luck.choice((MAX_TEXT_BYTES + 1, 1 << 40)))  # sparse
    return Damage("huge", path.name)


def hostile_names(folder: Path, luck: Random) -> Damage:
    name = luck.choice(("../planner.onnx", "/etc/passwd", "sub/vocab.json", "..", "", "a\0b"))

    def change(manifest: dict[str, Any]) -> None:
        luck.choice(manifest["files"])["path"] = name

    reseal(folder, change)
    return Damage("dotdot", repr(name), True)


def other_protocol(folder: Path, luck: Random) -> Damage:
    number = luck.choice((0, -1, 3, 99, True, "2", None, 2.0))

    def change(manifest: dict[str, Any]) -> None:
        manifest["format_version"] = number

    reseal(folder, change)
    return Damage("protocol", repr(number), True)


def other_model(folder: Path, luck: Random) -> Damage:
    """Other weights and everything resealed: only the golden cases can tell."""
    proto = onnx.load_model_from_string((folder / MODEL).read_bytes())
    for tensor in proto.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            values = numpy_helper.to_array(tensor)
            noise = np.random.default_rng(luck.randrange(1 << 30)).normal(5, 3, values.shape)
            moved = (values * noise + noise).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(moved, tensor.name))
    (folder / MODEL).write_bytes(proto.SerializeToString(deterministic=True))
    reseal(folder)
    return Damage("resealed weights", MODEL, True)


def hostile_model(folder: Path, luck: Random) -> Damage:
    """A model that asks for what no bundle may, resealed, the manifest silent about it."""
    proto = onnx.load_model_from_string((folder / MODEL).read_bytes())
    kind = luck.choice(sorted(HOSTILE_MODELS))
    HOSTILE_MODELS[kind](proto)
    (folder / MODEL).write_bytes(proto.SerializeToString(deterministic=True))
    reseal(folder)
    return Damage("resealed hostile model", kind, True)


def _bomb(proto: onnx.ModelProto) -> None:
    shape = numpy_helper.from_array(np.array([1 << 16, 1 << 16]), "vast")
    proto.graph.initializer.append(shape)
    proto.graph.node.append(helper.make_node("ConstantOfShape", ["vast"], ["zeros"]))


def _custom(proto: onnx.ModelProto) -> None:
    proto.graph.node.append(helper.make_node("Run", ["features"], ["y"], domain="com.evil"))
    proto.opset_import.append(helper.make_opsetid("com.evil", 1))


def _branch(proto: onnx.ModelProto) -> None:
    inner = helper.make_graph(
        [helper.make_node("Identity", ["features"], ["z"])], "inner", [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )  # fmt: skip
    proto.graph.node.append(
        helper.make_node("Add", ["features", "features"], ["y"], then_branch=inner)
    )


def _function(proto: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["a"], ["b"])
    opsets = [helper.make_opsetid("", 20)]
    proto.functions.append(helper.make_function("own", "F", ["a"], ["b"], [node], opsets))


def _external(proto: onnx.ModelProto) -> None:
    tensor = proto.graph.initializer[0]
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="vocab.json")
    tensor.ClearField("raw_data")


HOSTILE_MODELS: dict[str, Callable[[onnx.ModelProto], None]] = {
    "op_not_allowed:bomb": _bomb,
    "op_not_allowed:custom": _custom,
    "has_subgraphs": _branch,
    "has_functions": _function,
    "has_external_data": _external,
}


def other_answers(folder: Path, luck: Random) -> Damage:
    """A golden case that this model never gave, resealed."""
    lines = (folder / GOLDEN).read_bytes().splitlines()
    number = luck.randrange(len(lines))
    case = json.loads(lines[number])
    case["action"]["confidence"] = (case["action"].get("confidence", 0.0) + 0.31) % 1.0
    lines[number] = canonical_json(case)
    (folder / GOLDEN).write_bytes(b"".join(line + b"\n" for line in lines))
    reseal(folder)
    return Damage("resealed golden", f"case {number + 1}", True)


def repeated_key(folder: Path, luck: Random) -> Damage:
    path = folder / CALIBRATION
    path.write_bytes(b'{"schema_version":"x",' + path.read_bytes()[1:])
    reseal(folder)
    return Damage("resealed duplicate key", path.name, True)


def white_space(folder: Path, luck: Random) -> Damage:
    path = folder / luck.choice((CALIBRATION, ACTION_SPACE))
    path.write_bytes(path.read_bytes().replace(b",", b", ", 1))
    reseal(folder)
    return Damage("resealed white space", path.name, True)


DAMAGES: tuple[Callable[[Path, Random], Damage], ...] = (
    flip_bit, flip_bit, flip_bit, truncate, truncate, overwrite, grow, delete, rename, swap_two,
    add_file, add_many, link, no_file, enlarge, hostile_names, other_protocol, other_model, hostile_model,
    other_answers, repeated_key, white_space,
)  # fmt: skip


def damaged(shipped: Path, place: Path, n: int, *, seed: int = 0) -> Iterator[tuple[Damage, Path]]:
    """``n`` damaged copies of a bundle, one after the other in the same folder."""
    luck = Random(seed)
    for number in range(n):
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(shipped, place)
        damage = DAMAGES[number % len(DAMAGES)](place, luck)
        yield damage, place
    shutil.rmtree(place, ignore_errors=True)
