"""The tables between assets: their columns as pandera schemas, and records to and from them.

Belongs here: what a Parquet file of ours looks like. Does not: what its rows mean.
A table shows its main fields as columns for people and carries each record whole in
``record_json`` for programs.
"""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter
from typing import Any, Final, TypeVar

import msgspec
import pandera.polars as pa
import polars as pl

RecordT = TypeVar("RecordT", bound=msgspec.Struct)

_TEXT: Final = pa.Column(pl.String)
_MAYBE_TEXT: Final = pa.Column(pl.String, nullable=True)
_MAYBE_INT: Final = pa.Column(pl.Int64, nullable=True)
_RECORD: Final = {"record_json": pa.Column(pl.String)}


def _unique_text() -> pa.Column:
    return pa.Column(pl.String, unique=True)


ISSUES: Final = pa.DataFrameSchema(
    {"issue_id": _unique_text(), "status": _TEXT, **_RECORD}, strict=True, name="issues"
)
PAST_ISSUES: Final = pa.DataFrameSchema(
    {"issue_id": _TEXT, "status": _TEXT, "committed_ms": pa.Column(pl.Int64), **_RECORD},
    strict=True,
    name="past_issues",
)
DISPATCHES: Final = pa.DataFrameSchema(
    {
        "issue_id": _TEXT,
        "line": pa.Column(pl.Int64),
        "started_at": _MAYBE_TEXT,
        "ended_at": _MAYBE_TEXT,
        "is_success": pa.Column(pl.Boolean, nullable=True),
        "workcell_ids": pa.Column(pl.List(pl.String)),
        "has_begun": pa.Column(pl.List(pl.Boolean)),
        "n_create_failures": pa.Column(pl.Int64),
        "record_sha": _TEXT,
        **_RECORD,
    },
    strict=True,
    name="dispatches",
)
SETTINGS_STATES: Final = pa.DataFrameSchema(
    {
        "committed_ms": pa.Column(pl.Int64),
        "kernel_config": _MAYBE_TEXT,
        "universe": _MAYBE_TEXT,
        "prompt_frontier": _MAYBE_TEXT,
    },
    strict=True,
    name="settings_states",
)
UNIVERSES: Final = pa.DataFrameSchema(
    {"universe_id": _unique_text(), "swarm_ids": pa.Column(pl.List(pl.String)), **_RECORD},
    strict=True,
    name="universes",
)
QUARANTINE: Final = pa.DataFrameSchema(
    {
        "source": _TEXT,
        "file": _TEXT,
        "line": _MAYBE_INT,
        "reason": _TEXT,
        "is_pending": pa.Column(pl.Boolean),
        "detail": _TEXT,
        "excerpt": _TEXT,
    },
    strict=True,
    name="quarantine",
)
RUNS: Final = pa.DataFrameSchema(
    {
        "run_id": _unique_text(),
        "kind": pa.Column(pl.String, pa.Check.isin(["workcell", "world", "evolution"])),
        "group_id": _TEXT,
        "issue_id": _MAYBE_TEXT,
        "job_type": _TEXT,
        "domain": pa.Column(pl.String, pa.Check.isin(["code", "fab_asset", "fab_world"])),
        "toolchain": _MAYBE_TEXT,
        "decided_ms": _MAYBE_INT,
        "started_ms": _MAYBE_INT,
        "ended_ms": _MAYBE_INT,
        "status": pa.Column(
            pl.String, pa.Check.isin(["success", "failed", "timeout"]), nullable=True
        ),
        "duration_ms": pa.Column(pl.Int64, pa.Check.ge(0), nullable=True),
        "wall_ms": pa.Column(pl.Int64, pa.Check.ge(0), nullable=True),
        "cost_usd": pa.Column(pl.Float64, nullable=True),
        "toolchain_version": _MAYBE_TEXT,
        "world_id": _MAYBE_TEXT,
        "objective_id": _MAYBE_TEXT,
        "group_number": pa.Column(pl.Int64),  # of group_id, for retrieval, as the next three
        "tags": pa.Column(pl.List(pl.String)),
        "keywords": pa.Column(pl.List(pl.String)),
        "fail_codes": pa.Column(pl.List(pl.String)),
        "row_key": _TEXT,
        "plan_json": _MAYBE_TEXT,
        "summary_json": _MAYBE_TEXT,
        **_RECORD,
    },
    strict=True,
    name="runs",
)
RUN_EPOCHS: Final = pa.DataFrameSchema(
    {
        "run_id": _unique_text(),
        "epoch": _TEXT,
        "kernel_config": _MAYBE_TEXT,
        "universe": _MAYBE_TEXT,
        "prompt_frontier": _MAYBE_TEXT,
        "toolchains": _MAYBE_TEXT,
    },
    strict=True,
    name="run_epochs",
)
_EXAMPLE: Final = {
    "example_id": _unique_text(),
    "group_id": _TEXT,
    "issue_id": _MAYBE_TEXT,
    "job_type": _TEXT,
    "domain": pa.Column(pl.String, pa.Check.isin(["code", "fab_asset", "fab_world"])),
    "decided_ms": pa.Column(pl.Int64),
    "swarm_id": _TEXT,
    "max_candidates_bin": _TEXT,
    "max_minutes_bin": _TEXT,
    "max_iterations_bin": _TEXT,
    "n_similar": pa.Column(pl.Int64, pa.Check.ge(0)),
    "newest_seen_ms": pa.Column(pl.Int64),
    "input_hash": pa.Column(pl.String, pa.Check.str_matches("^[0-9a-f]{64}$")),
}
EXAMPLES: Final = pa.DataFrameSchema(
    {
        **_EXAMPLE,
        "planner_input": _TEXT,
        "n_tokens": pa.Column(pl.Int64, pa.Check.ge(2)),
        "token_ids": pa.Column(pl.List(pl.Int32)),
        "features": pa.Column(pl.List(pl.Float32)),
    },
    strict=True,
    name="examples",
)
INDEX: Final = pa.DataFrameSchema(
    {
        **_EXAMPLE,
        "split": pa.Column(pl.String, pa.Check.isin(["train", "val", "test"])),
        "epoch": _TEXT,
        "part": pa.Column(pl.Int64, pa.Check.ge(0)),
        "row": pa.Column(pl.Int64, pa.Check.ge(0)),
    },
    strict=True,
    name="index",
)
OUTPUTS: Final = pa.DataFrameSchema(
    {
        "example_id": _unique_text(),
        "role": pa.Column(pl.String, pa.Check.isin(["val", "certify", "test"])),
        "outputs": pa.Column(pl.List(pl.Float64)),  # all of a model's outputs, one after another
    },
    strict=True,
    name="outputs",
)
REFERENCE_OUTPUTS: Final = pa.DataFrameSchema(
    {
        "example_id": _TEXT,
        "role": pa.Column(pl.String, pa.Check.isin(["val", "certify", "test"])),
        "outputs": pa.Column(pl.List(pl.Float64)),
        "predictor": _TEXT,
    },
    strict=True,
    name="reference_outputs",
)
DEFAULT_CHOICES: Final = pa.DataFrameSchema(
    {
        "example_id": _unique_text(),
        "role": pa.Column(pl.String, pa.Check.isin(["val", "certify", "test"])),
        "choices": pa.Column(pl.List(pl.Int64)),  # of every head, in head order
    },
    strict=True,
    name="default_choices",
)
WINNERS: Final = pa.DataFrameSchema(
    {
        "example_id": _unique_text(),
        "swarm_id": _TEXT,
        "max_candidates_bin": _TEXT,
        "max_minutes_bin": _TEXT,
        "max_iterations_bin": _TEXT,
    },
    strict="filter",  # whoever chose them may tell more
    name="winners",
)
PREDICTIONS: Final = pa.DataFrameSchema(
    {
        "predictor": _TEXT,
        "example_id": _TEXT,
        "issue_id": _MAYBE_TEXT,
        "job_type": _TEXT,
        "role": pa.Column(pl.String, pa.Check.isin(["val", "certify", "test"])),
        "label": pa.Column(pl.List(pl.String)),
        "action": pa.Column(pl.List(pl.String)),
        "is_forced": pa.Column(pl.List(pl.Boolean)),
        "abstains": pa.Column(pl.Boolean),
        "confidence": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0 + 1e-9), nullable=True),
        "label_prob": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0 + 1e-9), nullable=True),
        "brier": pa.Column(pl.Float64, pa.Check.in_range(0.0, 2.0 + 1e-9), nullable=True),
    },
    unique=["predictor", "example_id"],
    strict=True,
    name="predictions",
)
_OUTCOME_OF: Final = {
    "case_id": _TEXT,
    "system": _TEXT,
    "issue_id": _TEXT,
    "action": pa.Column(pl.Int64, pa.Check.ge(0)),
}
ACTION_OUTCOMES: Final = pa.DataFrameSchema(
    {
        **_OUTCOME_OF,
        "attempts": pa.Column(pl.List(pl.Int64)),
        "passed": pa.Column(pl.Boolean),
        "agent_minutes": pa.Column(pl.Float64, pa.Check.ge(0)),
        "minutes_to_pass": pa.Column(pl.Float64, pa.Check.ge(0), nullable=True),
        "cost_usd": pa.Column(pl.Float64, pa.Check.ge(0), nullable=True),
    },
    strict=True,
    name="action_outcomes",
)
EXPECTED_OUTCOMES: Final = pa.DataFrameSchema(
    {
        **_OUTCOME_OF,
        "k": pa.Column(pl.Int64, pa.Check.ge(1)),
        "minutes": pa.Column(pl.Int64, pa.Check.ge(1)),
        "n_subsets": pa.Column(pl.Int64, pa.Check.ge(1)),
        "pass_ratio": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
        "pass_std": pa.Column(pl.Float64, pa.Check.ge(0)),
        "agent_minutes": pa.Column(pl.Float64, pa.Check.ge(0)),
        "agent_minutes_std": pa.Column(pl.Float64, pa.Check.ge(0)),
        "minutes_to_pass": pa.Column(pl.Float64, pa.Check.ge(0), nullable=True),
        "cost_usd": pa.Column(pl.Float64, pa.Check.ge(0), nullable=True),
    },
    strict=True,
    name="expected_outcomes",
)
STUDY_CASES: Final = pa.DataFrameSchema(
    {
        "case_id": _unique_text(),
        "example_id": _unique_text(),
        "system": _TEXT,
        "issue_id": _TEXT,
        "decided_ms": pa.Column(pl.Int64),
        "n_seen": pa.Column(pl.Int64, pa.Check.ge(0)),  # own attempts before the decision
        "n_similar": pa.Column(pl.Int64, pa.Check.ge(0)),
        "n_own_seen": pa.Column(pl.Int64, pa.Check.ge(0)),  # of them in the history
        "newest_seen_ms": pa.Column(pl.Int64),
        "attempts": pa.Column(pl.List(pl.Int64)),  # those that score it
        "default_action": pa.Column(pl.Int64, pa.Check.ge(0)),
        "task_fold": pa.Column(pl.Int64, pa.Check.ge(0)),
        "system_fold": pa.Column(pl.Int64, pa.Check.ge(0)),
        "planner_input": _TEXT,
        "token_ids": pa.Column(pl.List(pl.Int32)),
        "features": pa.Column(pl.List(pl.Float32)),
    },
    strict=True,
    name="study_cases",
)
CHOICES: Final = pa.DataFrameSchema(
    {
        "policy": _TEXT,
        "cost_weight": pa.Column(pl.Float64, nullable=True),  # null: the same at every weight
        "case_id": _TEXT,
        "action": pa.Column(pl.Int64, pa.Check.ge(0)),
        "abstains": pa.Column(pl.Boolean),
    },
    strict=True,
    unique=["policy", "cost_weight", "case_id"],
    name="choices",
)
OUTCOME_FIGURES: Final = pa.DataFrameSchema(
    {
        "cost_weight": pa.Column(pl.Float64, pa.Check.ge(0)),
        "policy": _TEXT,
        "figure": _TEXT,
        "against": _MAYBE_TEXT,  # the policy that a difference, a regret or a gap is measured from
        "value": pa.Column(pl.Float64, nullable=True),
        "low": pa.Column(pl.Float64, nullable=True),
        "high": pa.Column(pl.Float64, nullable=True),
        "n": pa.Column(pl.Int64, pa.Check.ge(0)),
        "n_issues": pa.Column(pl.Int64, pa.Check.ge(0)),
    },
    strict=True,
    name="outcome_figures",
)
TARGET_POLICY: Final = pa.DataFrameSchema(
    {
        "run_id": pa.Column(pl.String, required=False),
        "issue_id": pa.Column(pl.String, required=False),
        "swarm_id": _TEXT,
        "max_candidates_bin": _TEXT,
        "max_minutes_bin": _TEXT,
        "max_iterations_bin": _TEXT,
        "probability": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
    },
    strict="filter",  # whoever made it may tell more
    name="target_policy",
)
LEFT_OUT_DECISIONS: Final = pa.DataFrameSchema(
    {"run_id": _unique_text(), "reason": _TEXT, "detail": _TEXT},
    strict=True,
    name="left_out_decisions",
)
OFF_POLICY_DECISIONS: Final = pa.DataFrameSchema(
    {
        "decision_id": _unique_text(),
        "run_id": _unique_text(),
        "issue_id": _TEXT,
        "swarm_id": _TEXT,
        "max_candidates_bin": _TEXT,
        "max_minutes_bin": _TEXT,
        "max_iterations_bin": _TEXT,
        "propensity": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
        "target_probability": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0 + 1e-6)),
        "weight": pa.Column(pl.Float64, pa.Check.ge(0)),
        "reward": pa.Column(pl.Float64),
        "expected_reward": pa.Column(pl.Float64, nullable=True),  # of what ran, out of fold
        "passed": pa.Column(pl.Boolean),
        "minutes": pa.Column(pl.Float64, nullable=True),
        "usd": pa.Column(pl.Float64, nullable=True),
    },
    strict=True,
    name="off_policy_decisions",
)
OFF_POLICY_STUDY: Final = pa.DataFrameSchema(
    {
        "logger": _TEXT,
        "judged": _TEXT,
        "n": pa.Column(pl.Int64, pa.Check.ge(1)),
        "estimator": _TEXT,
        "interval": _TEXT,
        "truth": pa.Column(pl.Float64),
        "replays": pa.Column(pl.Int64, pa.Check.ge(1)),
        "no_interval": pa.Column(pl.Int64, pa.Check.ge(0)),
        "bias": pa.Column(pl.Float64),
        "bias_error": pa.Column(pl.Float64, pa.Check.ge(0)),
        "rmse": pa.Column(pl.Float64, pa.Check.ge(0)),
        "coverage": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
        "coverage_low": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
        "coverage_high": pa.Column(pl.Float64, pa.Check.in_range(0.0, 1.0)),
        "median_width": pa.Column(pl.Float64, pa.Check.ge(0)),
        "effective_n": pa.Column(pl.Float64, pa.Check.ge(0)),
    },
    strict=True,
    unique=["logger", "judged", "n", "estimator", "interval"],
    name="off_policy_study",
)


def polars_schema(schema: pa.DataFrameSchema) -> dict[str, Any]:
    """Column types for building a table of ``schema``, also an empty one."""
    return {name: column.dtype.type for name, column in schema.columns.items()}


def check_table(schema: pa.DataFrameSchema, table: pl.DataFrame) -> pl.DataFrame:
    """``table`` itself, when it keeps ``schema``. Raises ``pandera.errors.SchemaError``."""
    checked: pl.DataFrame = schema.validate(table)
    return checked


def build_table(
    schema: pa.DataFrameSchema,
    records: Iterable[RecordT],
    columns: Mapping[str, Callable[[RecordT], Any]],
) -> pl.DataFrame:
    """A checked table: the given columns, and each record as canonical JSON where it is asked for.

    Raises:
        pandera.errors.SchemaError: a row breaks the schema.
    """
    encoder = msgspec.json.Encoder(order="deterministic")
    known = list(records)
    values = {name: [of(record) for record in known] for name, of in columns.items()}
    if "record_json" in schema.columns:
        values["record_json"] = [encoder.encode(record).decode() for record in known]
    return check_table(schema, pl.DataFrame(values, schema=polars_schema(schema)))


def fields(*names: str) -> dict[str, Callable[[Any], Any]]:
    """Columns that are attributes of the record under the same name."""
    return {name: attrgetter(name) for name in names}


def read_records(table: pl.DataFrame, kind: type[RecordT]) -> list[RecordT]:
    """The records a table carries, in its order."""
    decoder = msgspec.json.Decoder(kind)
    return [decoder.decode(text) for text in table["record_json"]]
