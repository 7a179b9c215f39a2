"""The fast ways of a decision against slow ones: to the last bit, whatever the question.

Features against named generators; decoding of heads all at once against head by head.
"""

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner_runtime.actions import HEADS, ActionSpace, choice_matrix
from planner_runtime.contracts import (
    ActionExecuted,
    ActionSpaceDocument,
    History,
    Issue,
    Outcome,
    PlannerInput,
    RunSummary,
    Runtime,
    SystemState,
    UniverseDefaults,
)
from planner_runtime.decode import (
    NonFiniteLogitsError,
    action_log_probs,
    action_table,
    decode,
    log_softmax,
    table_of,
)
from planner_runtime.features import FEATURE_NAMES, PLAIN_NAMES, feature_vector, plain_features
from planner_runtime.inputs import PRIORITIES, RISKS, SIZES
from tests.reference.named_features import named_features, named_plain_features

NOW = "2026-01-05T09:00:00Z"
NOW_MS = 1_767_603_600_000
LOADS = st.sampled_from((None, "0", "1_2", "3_5", "6_plus"))
NAMES = st.sampled_from(("ui", "asset:world", "asset:x", "P0", "\udc00", "x" * 100, ""))
SWARMS = st.sampled_from((None, "serial_handoff", "speculate_vote", "other"))
SECONDS = st.none() | st.integers(0, 2**53)


def struct(kind: Any, **parts: Any) -> Any:
    return st.builds(kind, **parts)


RUNS = struct(
    RunSummary,
    run_id=st.text(max_size=2), started_ms=st.integers(NOW_MS - 10**11, NOW_MS + 10**9),
    job_type=st.just("code"), domain=st.just("code"),
    action_executed=struct(
        ActionExecuted, swarm_id=SWARMS,
        max_candidates=st.sampled_from((None, 1, 2.0, 3, 9, "NA")),
        max_minutes=st.sampled_from((None, 15, 60.0, 7, "NA")),
    ),
    outcome=struct(
        Outcome, status=st.sampled_from(("success", "failed", "timeout")),
        fail_codes=st.lists(NAMES, max_size=3).map(tuple),
    ),
    runtime=struct(Runtime, duration_ms=SECONDS), issue_id=st.sampled_from((None, "7", "8")),
    cost_usd_est=st.none() | st.floats(-1, 1e6),
)  # fmt: skip
QUESTIONS = struct(
    PlannerInput,
    created_at=st.just(NOW), universe_id=st.just("u"),
    job_type=st.sampled_from(("code", "fab-world", "x")),
    universe_defaults=struct(UniverseDefaults, swarm_id=SWARMS),
    issue=struct(
        Issue, issue_id=st.sampled_from(("7", "world:w", "")),
        dk_priority=st.sampled_from((None, *PRIORITIES)), dk_risk=st.sampled_from((None, *RISKS)),
        dk_size=st.sampled_from((None, *SIZES)), dk_tool_hint=st.none() | NAMES,
        dk_attempts=st.integers(0, 2**53), tags=st.lists(NAMES, max_size=5).map(tuple),
        keywords=st.lists(NAMES, max_size=5).map(tuple),
    ),
    history=struct(History, last_n_similar_runs=st.lists(RUNS, max_size=8).map(tuple)),
    action_space=st.just(
        msgspec.convert(ActionSpace().to_document(), ActionSpaceDocument)
    ),
    system_state=st.none() | struct(
        SystemState, active_workcells_bin=LOADS, queue_depth_bin=LOADS,
        hour_bucket=st.none() | st.integers(0, 23).map("{:02d}".format),
        available_toolchains=st.none() | st.lists(NAMES, max_size=5).map(tuple),
        toolchain_health=st.none(), budget_remaining_bin=st.none(), track_record=st.none(),
    ),
)  # fmt: skip


@given(QUESTIONS)
def test_features_are_those_of_the_named_generators(question: PlannerInput) -> None:
    names, values = zip(*named_features(question), strict=True)
    assert names == FEATURE_NAMES
    assert np.array(values, dtype=np.float32).tobytes() == feature_vector(question).tobytes()
    assert tuple(zip(PLAIN_NAMES, plain_features(question), strict=True)) == tuple(
        named_plain_features(question)
    )


SPACES = (
    ActionSpace(),
    ActionSpace(swarm_ids=("speculate_vote",), max_minutes_bins=(60,)),
    ActionSpace(swarm_ids=tuple("abcdefg")),
    ActionSpace(swarm_ids=tuple("abcdefghijk")),  # too wide a head for the fast way
)
SCORES = st.sampled_from((0.0, -0.0, 1e-30, 3e38, -3e38, float("nan"), float("inf"))) | st.floats(
    -30, 30, width=32
)


@given(
    st.sampled_from(SPACES), st.sampled_from(("code", "fab-world", "other")), st.data(),
    st.sampled_from((0.01, 0.37, 1.0, 100.0)), st.booleans(),
)  # fmt: skip
def test_all_heads_at_once_are_head_by_head(
    space: ActionSpace, job: str, data: st.DataObject, temperature: float, some: bool
) -> None:
    outputs = [
        np.array(data.draw(st.lists(SCORES, min_size=n, max_size=n)), dtype=np.float32)
        for n in map(len, space.choices)
    ]
    temperatures = dict(zip(HEADS, (temperature, 1.0, 0.5, 3.0), strict=True))
    table = action_table(space, job)
    if some:
        table = table_of(space, choice_matrix(space, job)[::3])
    try:
        slow = action_log_probs([o[None] for o in outputs], temperatures, table, "heads")[0]
    except NonFiniteLogitsError as error:
        with pytest.raises(NonFiniteLogitsError, match=str(error)):
            decode(outputs, temperatures, table, "heads")
        return
    decision = decode(outputs, temperatures, table, "heads")
    assert decision.joint_probs.tobytes() == np.exp(slow).tobytes()
    assert decision.index == int(np.argmax(slow))
    assert decision.confidence == float(np.exp(slow)[decision.index])
    for probs, output, name, mask in zip(
        decision.head_probs, outputs, HEADS, table.masks, strict=True
    ):
        alone = np.exp(log_softmax(output.astype(np.float64) / temperatures[name], mask))
        assert probs.tobytes() == alone.tobytes()
