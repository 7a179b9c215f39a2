"""Laws that hold for any data: retrieval, splits, schemas, decoding."""

import copy
import json
from pathlib import Path

import jsonschema
import numpy as np
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner_pipeline.dataset.splits import time_splits
from planner_pipeline.evaluation.calibration import fit_temperature
from planner_runtime.actions import ActionSpace, choice_matrix
from planner_runtime.contracts import (
    ActionExecuted,
    ContractError,
    Outcome,
    RunSummary,
    Runtime,
    read_document,
)
from planner_runtime.decode import (
    action_log_probs,
    action_table,
    decode,
    output_widths,
    temperature_names,
)
from planner_runtime.schemas import CONTRACTS, json_schema
from planner_runtime.similar_runs import DAY_MS, DEFAULT_WEIGHTS, Query, RunIndex
from tests.reference.retrieval import naive_similar_runs

VALID = Path(__file__).parents[2] / "schemas" / "examples" / "valid"
WORDS = st.frozensets(st.sampled_from("abcdef"), max_size=4)
MOMENTS = st.integers(0, 8)


@st.composite
def runs(draw: st.DrawFn) -> list[RunSummary]:
    found = []
    for i in range(draw(st.integers(0, 12))):
        start = draw(MOMENTS) * 10 * DAY_MS
        length = draw(st.none() | st.integers(0, 3))
        found.append(
            RunSummary(
                run_id=f"run{i}", started_ms=start,
                ended_ms=None if length is None else start + length * 10 * DAY_MS,
                group_id=draw(st.none() | st.sampled_from("xyz")),
                issue_id=draw(st.none() | st.sampled_from("12")),
                world_id=draw(st.none() | st.sampled_from("vw")),
                job_type=draw(st.sampled_from(["code", "fab-world"])), domain="code",
                action_executed=ActionExecuted(), runtime=Runtime(),
                outcome=Outcome(status="failed", fail_codes=tuple(sorted(draw(WORDS)))),
                tags=tuple(sorted(draw(WORDS))), keywords=tuple(sorted(draw(WORDS))),
            )
        )  # fmt: skip
    return found


@st.composite
def queries(draw: st.DrawFn) -> Query:
    return Query(
        job_type="code", domain="code", cutoff_ms=draw(MOMENTS) * 10 * DAY_MS,
        issue_id=draw(st.none() | st.sampled_from("12")),
        group_id=draw(st.none() | st.sampled_from("xyz")),
        world_id=draw(st.none() | st.sampled_from("vw")),
        tags=draw(WORDS), keywords=draw(WORDS),
    )  # fmt: skip


@given(runs(), queries(), st.randoms())
@settings(max_examples=300)
def test_retrieval_is_the_naive_loop_whatever_the_order(history, query, random) -> None:
    expected = naive_similar_runs(history, query, n=8, weights=DEFAULT_WEIGHTS)
    shuffled = list(history)
    random.shuffle(shuffled)
    index = RunIndex(shuffled)
    got = [run.run_id for run in index.similar_runs(query, n=8)]
    assert got == expected
    assert [run.run_id for run in index.similar_runs(query, n=4)] == expected[:4]


@given(st.lists(st.tuples(st.integers(0, 30), st.sampled_from("abcdefghij")), max_size=60))
def test_splits_are_in_time_order_and_part_no_group(moments) -> None:
    table = pl.DataFrame(moments, schema={"at": pl.Int64, "group": pl.String}, orient="row")
    splits = time_splits(table["at"], table["group"])
    start: dict[str, int] = {}
    where: dict[str, set[str]] = {}
    for (moment, group), split in zip(moments, splits, strict=True):
        start[group] = min(moment, start.get(group, moment))
        where.setdefault(group, set()).add(split)
    assert all(len(found) == 1 for found in where.values())
    rank = {"train": 0, "val": 1, "test": 2}
    ordered = sorted((start[g], rank[next(iter(s))]) for g, s in where.items())
    assert [r for _, r in ordered] == sorted(r for _, r in ordered)
    for moment in set(start.values()):
        assert len({next(iter(where[g])) for g in start if start[g] == moment}) == 1


def _paths(document, prefix=()):
    yield prefix
    if isinstance(document, dict):
        for key in document:
            yield from _paths(document[key], (*prefix, key))
    elif isinstance(document, list):
        for i in range(len(document)):
            yield from _paths(document[i], (*prefix, i))


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 200), st.sampled_from([0.5, -1.5, 2.5]),
    st.sampled_from(["", "NA", "code", "P1", "low", "success", "2026-01-01T00:00:00Z", "a" * 64]),
    st.just([]), st.just({}), st.lists(st.integers(0, 3), max_size=2),
)  # fmt: skip


@given(st.data())
@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
def test_types_and_generated_schemas_accept_the_same_documents(data) -> None:
    name = data.draw(st.sampled_from(sorted(CONTRACTS)))
    document = json.loads((VALID / f"{name}.json").read_text())
    for _ in range(data.draw(st.integers(0, 2))):
        path = data.draw(st.sampled_from([p for p in _paths(document) if p]))
        parent = document
        for step in path[:-1]:
            parent = parent[step]
        action = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if action == "remove" and isinstance(parent, dict):
            del parent[path[-1]]
        elif action == "add" and isinstance(parent, dict):
            parent["unheard_of"] = data.draw(JUNK)
        else:
            parent[path[-1]] = data.draw(JUNK)
    try:
        read_document(copy.deepcopy(document), CONTRACTS[name])
        accepted = True
    except ContractError:
        accepted = False
    validator = jsonschema.Draft202012Validator(json_schema(name))
    schema_says = validator.is_valid(document)
    assert accepted == schema_says, document


@given(
    st.sampled_from(["heads", "joint", "autoregressive"]),
    st.integers(0, 2**32 - 1),
    st.floats(0, 50),
    st.sampled_from(["code", "fab-world", "x"]),
    st.lists(st.floats(0.05, 20), min_size=4, max_size=4),
)
def test_decoding_any_finite_logits_gives_a_valid_action_and_a_probability(
    decoding, seed, spread, job, temperatures
) -> None:
    space, luck = ActionSpace(), np.random.default_rng(seed)
    widths = output_widths(space, decoding).values()
    outputs = [luck.uniform(-spread, spread, size=(2, width)) for width in widths]
    named = dict(zip(temperature_names(decoding), temperatures, strict=False))
    table = action_table(space, job)
    log_probs = action_log_probs(outputs, named, table, decoding)
    assert log_probs.shape == (2, len(choice_matrix(space, job)))
    assert (log_probs <= 0).all()
    assert np.exp(log_probs).sum(axis=1) == pytest.approx([1, 1])
    decision = decode([output[0] for output in outputs], named, table, decoding)
    assert decision.index == int(log_probs[0].argmax())
    assert 0 < decision.confidence <= 1 + 1e-12
    assert decision.joint_probs.sum() == pytest.approx(1)


@pytest.mark.parametrize("true_t", [0.5, 1.0, 2.0, 4.0])
def test_a_known_temperature_is_recovered(true_t: float) -> None:
    rng = np.random.default_rng(0)
    clean = rng.normal(size=(4_000, 5)) * 2
    p = np.exp(clean) / np.exp(clean).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(5, p=row) for row in p])
    mask = np.ones_like(clean, dtype=bool)
    fitted, note = fit_temperature(clean * true_t, labels, mask)
    assert fitted == pytest.approx(true_t, rel=0.1) or (true_t == 1.0 and note is not None)
