"""Campaigns on made-up cases, for tests that run one.

Belongs here: what those tests share. Does not: anything that is shipped.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from planner_pipeline.bench.campaign import Campaign, CampaignRunner, Tell, units_of
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.ledger import Ledger
from planner_pipeline.bench.protocol import Case, Executor, Unit
from planner_pipeline.bench.units import UnitStore
from planner_runtime.actions import Action
from planner_runtime.contracts.bench_outcome import BenchOutcome
from planner_runtime.inputs import blank_planner_input

SERIAL = Action("serial_handoff", 1, 15, "NA")
PAIR = Action("speculate_vote", 2, 30, "NA")
ACTIONS = (SERIAL, PAIR)


def a_case(name: str = "1", **changes: Any) -> Case:
    told: dict[str, Any] = {
        "case_id": f"{name}@then", "issue_id": name, "job_type": "code",
        "issue": {"id": name, "title": "t"}, "planner_input": blank_planner_input(),
        "input_hash": "0" * 64, "baseline": SERIAL,
    }  # fmt: skip
    return Case(**{**told, **changes})


def a_campaign(**settings: Any) -> Campaign:
    return Campaign(config=BenchConfig(**settings), config_hash="a" * 64)


def some_units(
    campaign: Campaign, names: Sequence[str] = ("1", "2"), actions: Sequence[Action] = ACTIONS
) -> list[Unit]:
    cases = [a_case(name) for name in names]
    return units_of(campaign, cases, {case.case_id: actions for case in cases})


def a_runner(
    folder: Path, campaign: Campaign, executor: Executor, *, session: str = "s1",
    tell: Tell | None = None,
) -> CampaignRunner:  # fmt: skip
    ledger = Ledger(folder, campaign.config.caps, session=session)
    return CampaignRunner(campaign, executor, UnitStore(folder), ledger, tell=tell)


def recorded(folder: Path) -> Mapping[str, BenchOutcome]:
    """Every unit's outcome, by unit id."""
    return {some[-1].unit_id: some[-1] for some in UnitStore(folder).every()}
