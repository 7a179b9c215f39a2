"""Planner inputs we build, against the kernel's schema as reference formats 7.4 states it.

Written by hand from that text and the spec's section 3.1, not from our types.
"""

import json
from pathlib import Path

import jsonschema
import pytest

from planner_pipeline.dataset.reader import Dataset
from tests.building import all_examples

TEXT, TEXT_OR_NULL = {"type": "string"}, {"type": ["string", "null"]}
BINS = {"type": "array", "items": {"type": ["integer", "string"]}, "minItems": 1}
KERNEL_SCHEMA = {
    "type": "object",
    "additionalProperties": False,
    "required": [
        "schema_version", "created_at", "universe_id", "job_type", "universe_defaults", "issue",
        "history", "action_space",
    ],
    "properties": {
        "schema_version": {"const": "cyntra.planner_input.v1"},
        "created_at": {"type": "string", "format": "date-time"},
        "universe_id": TEXT,
        "job_type": TEXT,
        "universe_defaults": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"swarm_id": TEXT_OR_NULL, "objective_id": TEXT_OR_NULL},
        },
        "issue": {
            "type": "object",
            "required": [
                "issue_id", "dk_priority", "dk_risk", "dk_size", "dk_tool_hint", "dk_attempts", "tags",
            ],
            "properties": {
                "issue_id": TEXT,
                "dk_priority": {"enum": ["P0", "P1", "P2", "P3"]},
                "dk_risk": {"enum": ["low", "medium", "high", "critical"]},
                "dk_size": {"enum": ["XS", "S", "M", "L", "XL"]},
                "dk_tool_hint": TEXT_OR_NULL,
                "dk_attempts": {"type": "integer", "minimum": 0},
                "tags": {"type": "array", "items": TEXT},
                "title": TEXT,
                "keywords": {"type": "array", "items": TEXT, "maxItems": 16},
            },
        },
        "history": {
            "type": "object",
            "additionalProperties": False,
            "required": ["last_n_similar_runs"],
            "properties": {
                "last_n_similar_runs": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": [
                            "run_id", "started_ms", "job_type", "domain", "action_executed", "outcome",
                            "runtime",
                        ],
                    },
                }
            },
        },
        "action_space": {
            "type": "object",
            "additionalProperties": False,
            "required": [
                "swarm_ids", "max_minutes_bins", "max_candidates_bins", "max_iterations_bins",
            ],
            "properties": {
                "swarm_ids": {"type": "array", "items": TEXT, "minItems": 1},
                "max_minutes_bins": BINS,
                "max_candidates_bins": BINS,
                "max_iterations_bins": BINS,
                "validity_rules": {
                    "type": "array",
                    "minItems": 3,
                    "maxItems": 3,
                    "items": {"type": "object", "required": ["description", "if", "then"]},
                },
            },
        },
        "system_state": {
            "type": ["object", "null"],
            "properties": {
                "active_workcells_bin": {"enum": ["0", "1_2", "3_5", "6_plus", None]},
                "queue_depth_bin": {"enum": ["0", "1_2", "3_5", "6_plus", None]},
                "available_toolchains": {"type": ["array", "null"], "items": TEXT},
                "hour_bucket": TEXT_OR_NULL,
            },
        },
    },
}  # fmt: skip


def test_every_input_of_the_sample_keeps_the_kernels_rules(built: Path) -> None:
    validator = jsonschema.Draft202012Validator(KERNEL_SCHEMA)
    examples = all_examples(Dataset(built / "dataset"))
    assert len(examples) > 150
    for example in examples:
        validator.validate(example.planner_input)


@pytest.mark.parametrize("place", ["history", "universe_defaults", "action_space", None])
def test_the_rules_above_would_notice(built: Path, place: str | None) -> None:
    line = (built / "bundle" / "golden.jsonl").read_text().splitlines()[0]
    document = json.loads(line)["planner_input"]
    (document if place is None else document[place])["unheard_of"] = 1
    assert not jsonschema.Draft202012Validator(KERNEL_SCHEMA).is_valid(document)
