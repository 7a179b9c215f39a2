"""The kernel's own best-of-K reports, judged by our rule and kept beside our benches.

Belongs here: from a report's directory to tables on disk. Does not: reading the report
(``kernel_bench``), the rule (``labels``). Source: formats 7.5.

The kernel calls the first of its candidates the winner even where nothing passed; here such a case
has none. Its outcomes know no attempts and no seeds of single candidates.
"""

from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from planner_pipeline.artifacts import write_parquet
from planner_pipeline.bench.config import BenchConfig
from planner_pipeline.bench.kernel_bench import KernelBench, read_kernel_bench
from planner_pipeline.bench.label_rule import Direction
from planner_pipeline.bench.labels import label_table, training_winners, winner_labels
from planner_pipeline.bench.outcome_rows import outcome_rows
from planner_pipeline.bench.protocol import Case
from planner_pipeline.sources.workspace import quarantine_table
from planner_runtime.actions import Action, ActionSpace
from planner_runtime.decision import action_of

FOLDER: Final = "imported"


class Imported(msgspec.Struct, frozen=True, kw_only=True):
    """What a report came to.

    Attributes:
        labels: ``WINNER_LABELS`` of all its cases.
        outcomes: ``OUTCOMES_DATASET`` of those whose planner input was recorded.
    """

    report: KernelBench
    labels: pl.DataFrame
    outcomes: pl.DataFrame


def import_report(
    folder: Path,
    bench: Path,
    *,
    config: BenchConfig,
    objective: dict[str, Direction],
    space: ActionSpace,
) -> Imported:
    """Read a report and write its tables below ``bench/imported/<name of the report>``.

    Args:
        folder: ``.cyntra/benches/planner_best_of_k_v1/run_<ts>``.
    """
    report = read_kernel_bench(folder)
    labels = winner_labels(report.outcomes, objective=objective, config=config, space=space)
    first: dict[str, Action] = {}
    for outcome in report.outcomes:  # the kernel's bench puts the baseline first
        first.setdefault(outcome.case_id, action_of(outcome.action))
    cases = [
        Case(
            case_id=case.case_id,
            issue_id=case.issue_id,
            job_type=case.job_type,
            issue={"id": case.issue_id, "title": case.title},
            planner_input=case.planner_input,
            input_hash=case.input_hash,
            baseline=first[case.case_id],
        )
        for case in report.cases
        if case.planner_input is not None and case.case_id in first
    ]
    known = {case.case_id for case in cases}
    told = [outcome for outcome in report.outcomes if outcome.case_id in known]
    imported = Imported(
        report=report, labels=label_table(labels), outcomes=outcome_rows(told, cases)
    )
    place = bench / FOLDER / folder.name
    write_parquet(imported.labels, place / "labels.parquet")
    write_parquet(imported.outcomes, place / "outcomes.parquet")
    write_parquet(training_winners(imported.labels), place / "winners.parquet")
    write_parquet(quarantine_table(report.quarantined), place / "quarantine.parquet")
    return imported
