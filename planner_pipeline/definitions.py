"""The code location: every asset, check, job and resource in one ``build_defs``.

Belongs here: wiring, the same for production, tests and notebooks. Does not: assets (``defs``), the
one instance of it that Dagster's pages load (``code_location``).
"""

from pathlib import Path
from typing import Any

import dagster as dg

from planner_pipeline.defs import bench_automation, checks
from planner_pipeline.defs.assets import bench as bench_assets
from planner_pipeline.defs.assets import dataset, history, raw
from planner_pipeline.defs.bench_resource import BenchSettings
from planner_pipeline.defs.io_managers import BytesIO, RecordIO, TableIO
from planner_pipeline.defs.progress import progress_logger
from planner_pipeline.defs.resources import Settings, Tracking

EVERYTHING = "everything"
TRAINED = "trained"
EVALUATED = "evaluated"
ABLATED = "ablated"
POLICY = "policy"
CURVED = "curved"
DATASET_ONLY = "dataset_only"
HISTORY = "history_only"
JUDGED = bench_automation.JUDGED
RAW = dg.AssetSelection.groups("raw")
UNTIL_HISTORY = RAW | dg.AssetSelection.assets("run_summaries", "recipe")
UNTIL_DATASET = dg.AssetSelection.groups("raw", "history", "dataset")
MONTHS = dg.DynamicPartitionsDefinition(name="months")


def build_defs(
    *,
    repo: Path,
    out: Path,
    dataset_only: bool = False,
    by_month: bool = False,
    bench: BenchSettings | None = None,
    **settings: Any,
) -> dg.Definitions:
    """Definitions that read the workspace ``repo`` and write everything below ``out``.

    Args:
        dataset_only: Leave out what needs a model, and the libraries for it.
        by_month: ``run_summaries`` and ``examples`` are partitioned by month; there is no bench.
        bench: What to bench with; None for the defaults.
        settings: Fields of ``Settings``.
    """
    from upath import UPath

    base = UPath(out) / "assets"
    months = MONTHS if by_month else None
    assets = [
        *dg.load_assets_from_modules([raw, history, dataset]),
        history.run_summaries_asset(months),
        dataset.examples_asset(months),
    ]
    found_checks = [*dg.load_asset_checks_from_modules([checks])]
    jobs = [
        dg.define_asset_job(DATASET_ONLY, selection=UNTIL_DATASET),
        dg.define_asset_job(HISTORY, selection=UNTIL_HISTORY),
    ]
    automation: dict[str, Any] = {}
    if not by_month:
        assets += dg.load_assets_from_modules([bench_assets])
        jobs += [bench_automation.benched_job, bench_automation.judged_job]
        automation = {
            "sensors": [bench_automation.new_issues],
            "schedules": [
                bench_automation.nightly_window,
                bench_automation.stale_after_new_epoch,
            ],
        }
    if not dataset_only:
        from planner_pipeline.defs import release_checks
        from planner_pipeline.defs.assets import (
            ablation,
            evaluation,
            learning_curve,
            policy,
            release,
            training,
        )

        assets += dg.load_assets_from_modules([training, evaluation, release, ablation, policy])
        if not by_month:
            assets += dg.load_assets_from_modules([learning_curve])
            jobs.append(dg.define_asset_job(CURVED, selection=["learning_curve"]))
        found_checks += dg.load_asset_checks_from_modules([release_checks])
        ablations = dg.AssetSelection.groups("ablation")
        policies = dg.AssetSelection.groups("policy")
        beside = ablations | policies | dg.AssetSelection.groups("bench")
        for name, selection in (
            (TRAINED, UNTIL_DATASET | dg.AssetSelection.groups("training")),
            (EVALUATED, UNTIL_DATASET | dg.AssetSelection.groups("training", "evaluation")),
            (EVERYTHING, dg.AssetSelection.all() - beside),
            (ABLATED, UNTIL_DATASET | ablations),
            (POLICY, UNTIL_DATASET | dg.AssetSelection.groups("training", "evaluation") | policies),
        ):
            jobs.append(dg.define_asset_job(name, selection=selection))
    return dg.Definitions(
        assets=assets,
        asset_checks=found_checks,
        jobs=[] if by_month else jobs,
        **automation,
        resources={
            "settings": Settings(repo=str(repo), out=str(out), **settings),
            "bench": bench or BenchSettings(),
            "tracking": Tracking(folder=str(out)),
            "table_io": TableIO(base_path=base),
            "record_io": RecordIO(base_path=base),
            "bytes_io": BytesIO(base_path=base),
        },
        loggers={"console": progress_logger},
        executor=dg.in_process_executor,  # a process a step imports everything again each time
    )
