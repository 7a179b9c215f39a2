"""The tables of the best-of-K bench, as pandera schemas.

Belongs here: what a Parquet file of the bench looks like. Does not: what its rows mean
(``selections``, ``labels``, ``outcome_rows``); tables that others read too (``tables``).
"""

from typing import Final

import pandera.polars as pa
import polars as pl

from planner_runtime.actions import HEADS

_TEXT: Final = pa.Column(pl.String)
_MAYBE_TEXT: Final = pa.Column(pl.String, nullable=True)
_SHA256: Final = pa.Column(pl.String, pa.Check.str_matches("^[0-9a-f]{64}$"))
_MAYBE_SHA256: Final = pa.Column(pl.String, pa.Check.str_matches("^[0-9a-f]{64}$"), nullable=True)
_COUNT: Final = pa.Column(pl.Int64, pa.Check.ge(0))
_MAYBE_COUNT: Final = pa.Column(pl.Int64, pa.Check.ge(0), nullable=True)
_TRUTH: Final = pa.Column(pl.Boolean)
_MAYBE_RATIO: Final = pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0 + 1e-9), nullable=True)

CANDIDATES: Final = pa.DataFrameSchema(
    {
        "case_id": _TEXT,
        "issue_id": _TEXT,
        "job_type": _TEXT,
        "position": _COUNT,
        **dict.fromkeys(HEADS, _TEXT),
        "reason": _TEXT,
        "policy": _TEXT,
        "seed": _COUNT,
        "candidate_set_hash": _SHA256,
        "valid_set_hash": _SHA256,
        "n_valid": pa.Column(pl.Int64, pa.Check.ge(1)),
        "is_anchor": _TRUTH,
        "bench_config_hash": _MAYBE_SHA256,
    },
    unique=["case_id", "position"],
    strict=True,
    name="candidates",
)
WINNER_LABELS: Final = pa.DataFrameSchema(
    {
        "case_id": pa.Column(pl.String, unique=True),
        "example_id": _MAYBE_TEXT,
        "issue_id": _TEXT,
        "system": _TEXT,
        "job_type": _TEXT,
        "input_hash": _SHA256,
        **dict.fromkeys(HEADS, _MAYBE_TEXT),
        "is_label": _TRUTH,
        "reason": pa.Column(
            pl.String,
            pa.Check.isin(["label", "incomplete", "mixed", "nothing_passed", "ambiguous"]),
        ),
        "ties": pa.Column(pl.List(pl.String)),  # the winner among them
        "probability": _MAYBE_RATIO,
        "ties_probability": _MAYBE_RATIO,
        "n_candidates": _COUNT,
        "n_outcomes": _COUNT,
        "n_infra_errors": _COUNT,
        "pass_ratio": _MAYBE_RATIO,
        "metrics": _TEXT,  # of the winner: {name: mean or null}
        "missing": pa.Column(pl.List(pl.String)),
        "objective": _TEXT,  # {name: max or min}, in its order
        "bench_config_hashes": pa.Column(pl.List(pl.String)),
        "universe_hash": _MAYBE_SHA256,
        "base_commit": _MAYBE_TEXT,
        "toolchain_versions": _TEXT,
    },
    strict=True,
    name="winner_labels",
)
OUTCOMES_DATASET: Final = pa.DataFrameSchema(
    {
        "case_id": _TEXT,
        "example_id": _MAYBE_TEXT,
        "issue_id": _TEXT,
        "system": _TEXT,
        "job_type": _TEXT,
        "input_hash": _SHA256,
        "planner_input": _TEXT,
        **dict.fromkeys(HEADS, _TEXT),
        "unit_id": _TEXT,
        "repeat": _COUNT,
        "seed": _COUNT,
        "executor": _TEXT,
        "isolation": _MAYBE_TEXT,
        "replayed": pa.Column(pl.List(pl.Int64), nullable=True),
        "status": pa.Column(pl.String, pa.Check.isin(["passed", "failed", "timeout", "error"])),
        "passed": _TRUTH,
        "is_timeout": _TRUTH,
        "is_censored": _TRUTH,
        "duration_ms": _MAYBE_COUNT,
        "agent_ms": _MAYBE_COUNT,
        "cost_usd": pa.Column(pl.Float64, pa.Check.ge(0), nullable=True),
        "minute_seconds": pa.Column(pl.Float64, pa.Check.gt(0)),
        "metrics": _TEXT,
        "n_infra_errors": _COUNT,  # outcomes of the same candidate that are no rows
        "bench_config_hash": _SHA256,
        "universe_hash": _MAYBE_SHA256,
        "base_commit": _MAYBE_TEXT,
        "toolchain_versions": _TEXT,
    },
    strict=True,
    name="outcomes_dataset",
)
LEARNING_CURVE: Final = pa.DataFrameSchema(
    {
        "kind": pa.Column(pl.String, pa.Check.isin(["measured", "law", "more"])),
        "policy": _TEXT,
        "n_cases": pa.Column(pl.Float64, pa.Check.ge(0)),  # of "more": in addition
        "n_issues": _MAYBE_COUNT,
        "value": pa.Column(pl.Float64),  # of "more": what they add to a decision
        "low": pa.Column(pl.Float64),
        "high": pa.Column(pl.Float64),
        "cost_minutes": pa.Column(pl.Float64, pa.Check.ge(0), nullable=True),
        "cost_usd": pa.Column(pl.Float64, pa.Check.ge(0), nullable=True),
        "pays": pa.Column(pl.Boolean, nullable=True),  # null: not known
    },
    strict=True,
    name="learning_curve",
)
