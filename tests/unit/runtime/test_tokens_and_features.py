import json
import subprocess
import sys

import numpy as np
import pytest

from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import (
    ActionExecuted,
    Outcome,
    PlannerInput,
    RunSummary,
    Runtime,
    read_document,
)
from planner_runtime.features import FEATURE_NAMES, N_FEATURES, feature_vector
from planner_runtime.inputs import build_planner_input, issue_document
from planner_runtime.tokenizer import (
    PAD_ID,
    TOKEN_IDS,
    UNK_ID,
    VOCABULARY,
    TokenBudget,
    tokenize,
)


def a_run(number: int) -> RunSummary:
    return RunSummary(
        run_id=f"r{number}", started_ms=1_000 * number, ended_ms=1_000 * number + 500,
        job_type="code", domain="code", issue_id="7" if number % 2 else "8", toolchain="codex",
        tags=("ui", "api"), cost_usd_est=0.7,
        action_executed=ActionExecuted(swarm_id="serial_handoff", max_candidates=1, max_minutes=60),
        outcome=Outcome(status="timeout", fail_codes=("timeout",)),
        runtime=Runtime(duration_ms=61_000),
    )  # fmt: skip


def a_question(n_runs: int = 8) -> PlannerInput:
    issue = issue_document(
        {"id": "7", "title": "Fix the parser", "tags": ["ui"], "dk_tool_hint": "codex"}
    )
    state = {
        "available_toolchains": ["codex", "claude"],
        "hour_bucket": "13",
        "active_workcells_bin": "1_2",
    }
    return read_document(
        build_planner_input(
            created_at_ms=10_000_000, universe_id="medica", job_type="code", universe_defaults={},
            issue=issue, similar_runs=[a_run(i) for i in range(n_runs)], space=ActionSpace(),
            system_state=state,
        ),
        PlannerInput,
    )  # fmt: skip


def words(ids: list[int]) -> list[str]:
    return [VOCABULARY[i] for i in ids]


def test_the_vocabulary_is_fixed_and_holds_every_token_once() -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY) == len(TOKEN_IDS)
    assert PAD_ID == 0


@pytest.mark.parametrize("seq_len", [5, 6, 16, 64, 200, 512])
@pytest.mark.parametrize("per_run", [1, 10, 64])
def test_sequences_fit_and_never_split_a_key_from_its_value(seq_len: int, per_run: int) -> None:
    ids = tokenize(a_question(), budget=TokenBudget(seq_len=seq_len, per_run=per_run))
    text = words(ids)
    assert len(ids) <= seq_len
    assert text[0] == "[BOS]"
    assert text[-1] == "[EOS]"
    for i, word in enumerate(text):
        if word.startswith("[KEY:"):
            assert text[i + 1] == "[=]"
            assert not text[i + 2].startswith(("[KEY:", "[SEP]", "[EOS]"))


def test_nothing_of_a_question_is_unknown() -> None:
    assert UNK_ID not in tokenize(a_question())


def test_runs_stand_newest_first_and_are_dropped_from_the_end() -> None:
    whole = tokenize(a_question())
    shorter = tokenize(a_question(), budget=TokenBudget(seq_len=200))
    assert whole[: len(shorter) - 1] == shorter[:-1]
    same = [word for word in words(whole) if word in ("[VAL:yes]", "[VAL:no]")]
    assert same == ["[VAL:yes]", "[VAL:no]"] * 4  # run 7 is the newest, and of this issue


def test_features_have_names_and_are_finite() -> None:
    vector = feature_vector(a_question())
    assert vector.shape == (N_FEATURES,)
    assert vector.dtype == np.float32
    assert np.isfinite(vector).all()
    assert len(set(FEATURE_NAMES)) == N_FEATURES
    named = dict(zip(FEATURE_NAMES, vector.tolist(), strict=True))
    assert named["risk=medium"] == 1
    assert named["similar.timeout_ratio"] == 1
    assert named["same_issue.n"] == pytest.approx(np.log1p(4))


def test_tokens_and_features_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import json; from tests_support import a_question\n"
        "from planner_runtime.tokenizer import tokenize\n"
        "from planner_runtime.features import feature_vector\n"
        "print(json.dumps([tokenize(a_question()), feature_vector(a_question()).tolist()]))"
    )
    here = json.loads(json.dumps([tokenize(a_question()), feature_vector(a_question()).tolist()]))
    loader = (
        "import importlib.util, sys; "
        f"spec = importlib.util.spec_from_file_location('tests_support', {__file__!r}); "
        "module = importlib.util.module_from_spec(spec); sys.modules['tests_support'] = module; "
        "spec.loader.exec_module(module)\n"
    )
    for seed in ("1", "77"):
        done = subprocess.run(
            [sys.executable, "-c", loader + code],
            capture_output=True, text=True, check=True, env={"PYTHONHASHSEED": seed},
        )  # fmt: skip
        assert json.loads(done.stdout) == here
