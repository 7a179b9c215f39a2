"""Asset checks: each named as the sentence that is true when it passes.

Belongs here: what must hold between assets. Does not: table schemas (``table_types``).
"""

import dagster as dg
import polars as pl

from planner_pipeline.dataset.examples import splits_in_time_order
from planner_pipeline.dataset.feasibility import Feasibility
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.dataset.shards import DatasetMeta, altered_files
from planner_pipeline.defs.resources import Settings
from planner_pipeline.parts import Parts
from planner_pipeline.sources.workspace import SourceReport, quarantine_lines
from planner_runtime.archives.files import overspent, unbalanced


@dg.asset_check(
    asset="source_report",
    blocking=True,
    additional_ins={"quarantine": dg.AssetIn("quarantine")},
)
def everything_found_is_accounted_for(
    source_report: SourceReport, quarantine: pl.DataFrame, settings: Settings
) -> dg.AssetCheckResult:
    """Discovered = accepted + quarantined + pending + unchanged, source by source, and of no source
    more is quarantined than is tolerated.
    """
    wrong = unbalanced(source_report.counts)
    too_many = overspent(source_report.counts, settings.max_quarantined)
    told = [*(f"{source} does not add up" for source in wrong), *too_many]
    return dg.AssetCheckResult(
        passed=not told,
        metadata={
            "verdict": "; ".join(told) or "everything is accounted for",
            "quarantined": quarantine_lines(quarantine),
        },
    )


@dg.asset_check(asset="examples", blocking=True)
def no_example_sees_its_future(settings: Settings) -> dg.AssetCheckResult:
    """Every run in an input had started and ended before its decision, in another group."""
    n_leaks = Parts.load(settings.examples_dir).count("leaks")
    return dg.AssetCheckResult(passed=n_leaks == 0, metadata={"leaks": n_leaks})


@dg.asset_check(asset="dataset", blocking=True)
def splits_are_in_time_order(dataset: DatasetMeta, settings: Settings) -> dg.AssetCheckResult:
    """Training ends before validation starts, validation before test; no group is parted."""
    rows = Dataset(settings.dataset_dir).index.select("group_id", "decided_ms", "split")
    wrong = splits_in_time_order(rows.iter_rows())
    return dg.AssetCheckResult(passed=not wrong, metadata={"wrong": wrong[:10]})


@dg.asset_check(asset="dataset", blocking=True)
def files_are_what_the_manifest_says(
    dataset: DatasetMeta, settings: Settings
) -> dg.AssetCheckResult:
    """Every file of the data set has the sha256 that meta.json names."""
    altered = altered_files(settings.dataset_dir, dataset)
    return dg.AssetCheckResult(passed=not altered, metadata={"altered": altered})


@dg.asset_check(asset="feasibility")
def the_data_can_teach_something(feasibility: Feasibility) -> dg.AssetCheckResult:
    """Enough examples, alike decisions decided alike, every bin seen, more told than the prior."""
    return dg.AssetCheckResult(
        passed=feasibility.passed,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "verdict": feasibility.verdict,
            "collect_next": list(feasibility.collect_next),
            **{gate.name: gate.words for gate in feasibility.gates},
        },
    )
