import ast
import json
import subprocess
import sys
from pathlib import Path

import msgspec
import numpy as np
import pytest

import planner_runtime
from planner_runtime.actions import ActionSpace
from planner_runtime.bundle import Bundle
from planner_runtime.calibration import Calibration
from planner_runtime.contracts import BundleManifest, ModelCard
from planner_runtime.features import N_FEATURES, feature_spec_hash
from planner_runtime.inputs import build_planner_input, issue_document
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.planner import Planner, action_of
from planner_runtime.session import FixedModel, ModelError

SPACE = ActionSpace()
SURE_OF_SPECULATION = [[0.0, 9.0], [0, 9.0, 0, 0], [0, 0, 9.0, 0, 0, 0], [0] * 5]


def a_question(**issue: object) -> dict[str, object]:
    raw = {"id": "7", "title": "Fix the parser", "tags": ["ui"], **issue}
    return build_planner_input(
        created_at_ms=1_767_603_600_000, universe_id="unknown", job_type="code",
        universe_defaults={}, issue=issue_document(raw), similar_runs=(), space=SPACE,
        system_state=None,
    )  # fmt: skip


def a_bundle(threshold: float = 0.2, space: ActionSpace = SPACE) -> Bundle:
    sha = "0" * 64
    manifest = BundleManifest(
        format_version=2, bundle_id="0123456789abcdef", data_until="2026-01-01T00:00:00Z",
        dataset_hash=sha, files=(), vocab_hash=sha, action_space_hash=sha, calibration_hash=sha,
        n_golden=0, versions={"cyntra-planner": "test"},
        kernel_config=msgspec.to_builtins(SHIPPED_CONFIG),
        model=ModelCard(
            arch="fixed", input_kind="features", input_width=N_FEATURES,
            input_spec_hash=feature_spec_hash(), opset=20, output_names=(), checkpoint_sha256=sha,
        ),
    )  # fmt: skip
    temperatures = dict.fromkeys(
        ("swarm_id", "max_candidates_bin", "max_minutes_bin", "max_iterations_bin"), 1.0
    )
    calibration = Calibration(
        temperatures=temperatures, confidence_threshold=threshold, n_validation=0
    )
    return Bundle("", manifest, space, calibration, SHIPPED_CONFIG, b"", ())


def a_planner(logits: list[list[float]] = SURE_OF_SPECULATION, **bundle: object) -> Planner:
    model = FixedModel(logits)
    return Planner(a_bundle(**bundle), model, deadline_ms=None)  # type: ignore[arg-type]


def test_a_sure_model_decides() -> None:
    decision = a_planner().decide(a_question())
    assert action_of(decision.action) == ("speculate_vote", 2, 45, "NA")
    assert decision.action.abstain_to_default is False
    assert decision.action.reason is None
    assert (decision.action.confidence or 0) > 0.99
    assert decision.trace.decided_by == "model"
    assert decision.trace.bundle_id == "0123456789abcdef"
    assert decision.trace.n_candidates == 30


def test_an_unsure_model_gives_way_to_the_baseline_and_says_so() -> None:
    decision = a_planner([[0.0] * 2, [0.0] * 4, [0.0] * 6, [0.0] * 5]).decide(a_question())
    assert action_of(decision.action) == ("serial_handoff", 1, 60, "NA")
    assert decision.action.abstain_to_default is True
    assert (decision.action.reason or "").startswith("low_confidence:")
    assert decision.trace.decided_by == "baseline"
    assert decision.model_choice is not None


def test_without_a_bundle_the_baseline_answers_with_the_reason() -> None:
    action = Planner.open(None).plan(a_question(dk_risk="high"))
    assert action_of(action) == ("speculate_vote", 2, 60, "NA")
    assert action.reason == "bundle_dir_missing"
    assert action.confidence == 0.0


def test_a_model_that_answers_nan_is_not_followed() -> None:
    action = a_planner([[float("nan"), 0], [0.0] * 4, [0.0] * 6, [0.0] * 5]).plan(a_question())
    assert (action.reason or "").startswith("inference_failed:")
    assert action_of(action) == ("serial_handoff", 1, 60, "NA")


class BrokenModel:
    def logits(self, row: np.ndarray) -> list[np.ndarray]:
        raise ModelError("no memory")


def test_a_model_that_fails_is_not_followed() -> None:
    action = Planner(a_bundle(), BrokenModel()).plan(a_question())
    assert action.reason == "inference_failed:no memory"


def test_only_what_both_know_may_be_chosen() -> None:
    question = json.loads(json.dumps(a_question()))
    question["action_space"]["max_minutes_bins"] = [15, 120]
    question["action_space"]["swarm_ids"] = ["speculate_vote", "unheard_of"]
    action = action_of(a_planner().plan(question))
    assert action.swarm_id == "speculate_vote"
    assert action.max_minutes_bin in (15, 120)


def test_a_space_the_bundle_does_not_know_falls_back() -> None:
    question = json.loads(json.dumps(a_question()))
    question["action_space"]["swarm_ids"] = ["unheard_of"]
    action = a_planner().plan(question)
    assert (action.reason or "").startswith("no_valid_action:")
    assert action.swarm_id == "unheard_of"


def test_an_input_that_offers_nothing_still_gets_an_answer() -> None:
    question = json.loads(json.dumps(a_question()))
    question["action_space"]["swarm_ids"] = ["serial_handoff"]
    question["action_space"]["max_candidates_bins"] = [2, 3]
    action = a_planner().plan(question)
    assert (action.reason or "").startswith("no_valid_action:")
    assert action_of(action) == ("serial_handoff", 1, 60, "NA")


@pytest.mark.parametrize(
    "question",
    [b"", b"null", b"[]", b"{", "{}", {}, {"schema_version": 3}, b"\xff\xfe", "\ud800",
     {"issue": float("nan")}, b'{"a":' * 100_000, {1: 2}, {"schema_version": "\ud800"}],
)  # fmt: skip
def test_nonsense_gets_the_baseline_and_a_reason(question: object) -> None:
    action = a_planner().plan(question)  # type: ignore[arg-type]
    assert (action.reason or "").startswith("invalid_input:")
    assert action_of(action) == ("serial_handoff", 1, 60, "NA")


@pytest.mark.parametrize("moment", ["2026-13-45T00:00:00Z", "2026-01-01T23:59:60Z"])
def test_a_moment_outside_the_calendar_is_refused_by_name(moment: str) -> None:
    action = a_planner().plan(a_question() | {"created_at": moment})
    assert (action.reason or "").startswith("invalid_input:$.created_at")


@pytest.mark.parametrize("now_ms", [10**18, -(10**18), float("nan"), "soon"])
def test_a_nonsense_clock_does_not_stop_an_answer(now_ms: object) -> None:
    assert a_planner().plan(a_question(), now_ms=now_ms).confidence  # type: ignore[arg-type]


@pytest.mark.parametrize("failure", [RuntimeError("x"), IndexError(), MemoryError()])
def test_whatever_a_model_raises_the_question_keeps_its_own_baseline(failure: Exception) -> None:
    class Failing:
        def logits(self, row: np.ndarray) -> list[np.ndarray]:
            raise failure

    action = Planner(a_bundle(), Failing()).plan(a_question(dk_risk="high"))
    assert action_of(action) == ("speculate_vote", 2, 60, "NA")
    assert (action.reason or "").startswith("inference_failed:")


def test_a_question_cannot_make_the_planner_enumerate_for_ever() -> None:
    question = json.loads(json.dumps(a_question()))
    question["action_space"]["max_minutes_bins"] = [15] * 200
    assert (a_planner().plan(question).reason or "").startswith("invalid_input:$.action_space")
    question["action_space"]["max_minutes_bins"] = [15, 15, 60, 60]
    assert a_planner().decide(question).trace.n_candidates == 10


def test_confidence_that_is_no_number_is_no_confidence() -> None:
    action = a_planner([[3e38, -3e38], [3e38] * 4, [3e38] * 6, [3e38] * 5]).plan(a_question())
    assert action.abstain_to_default is True
    assert (action.reason or "").startswith(("inference_failed", "low_confidence"))


def test_a_speculate_flag_reaches_the_baseline() -> None:
    action = Planner.open(None).plan(
        a_question(dk_speculate="false")
    )  # plain bool(), as the kernel
    assert action_of(action) == ("speculate_vote", 2, 60, "NA")


def test_equal_questions_get_equal_answers_and_hashes() -> None:
    first, second = (a_planner().plan(a_question(), now_ms=0) for _ in range(2))
    assert first == second
    assert first.input_hash is not None


HEAVY = ("torch", "dagster", "mlflow", "pandas", "pyarrow", "polars", "onnx", "yaml", "onnxruntime")


def test_the_runtime_imports_without_anything_heavy() -> None:
    poison = "import sys; " + "; ".join(f"sys.modules[{name!r}] = None" for name in HEAVY)
    code = (
        f"{poison}; import importlib, pkgutil, planner_runtime, planner_synthesis\n"
        "for package in (planner_runtime, planner_synthesis):\n"
        "    for module in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "        try:\n"
        "            if not module.name.endswith('__main__'): importlib.import_module(module.name)\n"
        "        except ImportError as error:  # a module of an extra says so, and nothing else does\n"
        "            if type(error).__name__ != 'MissingExtra': raise\n"
        "print('fine')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr


def test_a_public_name_is_imported_when_it_is_asked_for() -> None:
    code = (
        "import sys, planner_runtime\n"
        "assert not {'numpy', 'msgspec', 'onnxruntime'} & sys.modules.keys()\n"
        "assert set(planner_runtime.__all__) <= set(dir(planner_runtime))\n"
        "from planner_runtime import *\n"
        "assert Planner is sys.modules['planner_runtime.planner'].Planner\n"
        "assert all(getattr(planner_runtime, name) for name in planner_runtime.__all__)\n"
        "assert 'numpy' in sys.modules and 'onnxruntime' not in sys.modules\n"
        "try: planner_runtime.unheard_of\n"
        "except AttributeError: print('fine')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr


def test_a_type_checker_is_told_of_the_same_names() -> None:
    tree = ast.parse(Path(planner_runtime.__file__).read_text())
    (block,) = (node for node in tree.body if isinstance(node, ast.If))
    told = {
        alias.name: (node.module or "").removeprefix("planner_runtime.")
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told == planner_runtime._HOMES
    assert sorted(told) == planner_runtime.__all__
