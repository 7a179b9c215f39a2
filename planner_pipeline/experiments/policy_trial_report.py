"""The report of the value policy on replayed attempts: from a file of trials to words and tables.

Belongs here: running the study, its files, its Markdown. Does not: figures (``policy_trials``).
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import polars as pl

from planner_pipeline.artifacts import write_bytes, write_parquet
from planner_pipeline.experiments.policy_trials import PolicyTrials, policy_trials
from planner_pipeline.experiments.trial_outcomes import read_trial_outcomes
from planner_pipeline.training.outcome_fit import OutcomeConfig

ASSUMPTIONS: Final = (
    "A vote is assumed to find a passing candidate whenever there is one: every figure of an "
    "action with more than one candidate is an upper bound on voting.",
    "Expected outcomes are means over subsets of five attempts; the oracle chooses on the attempts "
    "that score it, so no policy can close the whole gap.",
    "`value`: the model was fitted without the case's system; it knows the other systems' "
    "attempts at any time, and the system's own that had ended. `value_as_of`: of all systems "
    "only attempts that had ended. `value_safe`: as `value`, but only budgets at or below the "
    "kernel's own plan.",
)
SHOWN: Final = (
    "best_fixed", "default", "prior_of_other_systems", "value", "value_as_of", "value_safe",
    "oracle",
)  # fmt: skip


def _told(value: float | None, low: float | None, high: float | None, sign: str = "") -> str:
    if value is None:
        return "not known"
    bounds = "" if low is None or high is None else f" ({low:{sign}.3f} to {high:{sign}.3f})"
    return f"{value:{sign}.3f}{bounds}"


def _figure(
    table: pl.DataFrame, weight: float, policy: str, figure: str, against: str | None
) -> str:
    rows = table.filter(
        (pl.col("cost_weight") == weight)
        & (pl.col("policy") == policy)
        & (pl.col("figure") == figure)
        & (pl.col("against").is_null() if against is None else pl.col("against") == against)
    )
    if not rows.height:
        return "–"
    row = rows.row(0, named=True)
    sign = "+" if figure.endswith("difference") else ""
    return _told(row["value"], row["low"], row["high"], sign)


def _lines(found: PolicyTrials) -> Iterator[str]:
    yield "## The value policy on replayed attempts"
    yield ""
    yield (
        f"{found.n_cases} cases of {found.n_tasks} tasks and {found.n_systems} systems; utility = "
        "pass - w x agent-minutes. In brackets: 95 % bootstrap intervals over tasks."
    )
    yield ""
    for assumption in ASSUMPTIONS:
        yield f"- {assumption}"
    yield ""
    if found.gap:
        yield "| policy | gap closed, mean over w |"
        yield "|---|---|"
    else:
        yield "At some w a fixed action is as good as the oracle, or nearly: no gap is told."
    for name, (value, low, high) in found.gap.items():
        yield f"| {name} | {value:.1%} ({low:.1%} to {high:.1%}) |"
    for weight in sorted(found.promises):
        yield ""
        yield f"### w = {weight:g}"
        yield ""
        yield "| policy | utility | above best fixed | gap closed | pass rate | minutes a pass |"
        yield "|---|---|---|---|---|---|"
        for name in SHOWN:
            cells = [
                _figure(found.figures, weight, name, "utility", None),
                _figure(found.figures, weight, name, "utility_difference", "best_fixed"),
                _figure(found.figures, weight, name, "gap_closed", "best_fixed to oracle"),
                _figure(found.figures, weight, name, "pass_rate", None),
                _figure(found.figures, weight, name, "minutes_per_pass", None),
            ]
            yield f"| {name} | " + " | ".join(cells) + " |"
        yield ""
        yield _promise(found, weight)
    yield from _systems(found)
    yield ""
    yield "### Calibration of the chance to pass"
    yield ""
    yield "| predictions | ECE | perfect chances would have (95th percentile) | Brier | n |"
    yield "|---|---|---|---|---|"
    for row in found.calibration:
        null = f"{row.ece_null:.3f} ({row.ece_null_95:.3f})"
        yield f"| {row.of} | {row.ece:.3f} | {null} | {row.brier:.3f} | {row.n} |"


def _promise(found: PolicyTrials, weight: float) -> str:
    promise = found.promises[weight]
    head = f"Promise of `value_safe` (at most {promise.target:.0%} of followed decisions worse): "
    if promise.threshold is None:
        return head + f"nothing could be promised on {promise.n} earlier decisions that differ."
    later = f"{promise.later_worse} of {promise.later_followed} later followed decisions were worse"
    words = {True: "kept", False: "broken", None: "too few to tell"}[promise.kept]
    return (
        head + f"confidence from {promise.threshold:.3f} on, certified by {promise.n_worse} worse "
        f"of {promise.n_followed}; {later}: {words}."
    )


def _systems(found: PolicyTrials) -> Iterator[str]:
    yield ""
    yield "### `value` by system: utility above the best fixed action"
    yield ""
    weights = sorted(found.promises)
    yield "| system | n | " + " | ".join(f"w = {weight:g}" for weight in weights) + " |"
    yield "|---|---|" + "---|" * len(weights)
    rows = found.by_system.filter(pl.col("policy") == "value")
    for (system,), table in rows.group_by(["system"], maintain_order=True):
        cells = [
            _told(row["value"], row["low"], row["high"], "+")
            for row in table.sort("cost_weight").iter_rows(named=True)
        ]
        name = str(system).replace("|", " ")  # a bar would end the cell
        yield f"| {name} | {table['n'][0]} | " + " | ".join(cells) + " |"


def render_policy_report(found: PolicyTrials) -> str:
    """The report."""
    return "\n".join(_lines(found)) + "\n"


def run_policy_trials(
    trials_file: Path,
    tasks_file: Path | None,
    out: Path,
    *,
    config: OutcomeConfig,
    on_progress: Callable[[str], None] = lambda what: None,
) -> PolicyTrials:
    """The study of a file of trials: figures, choices and a report in ``out/policy_trials``.

    Raises:
        ValueError: nothing of the file can be replayed.
    """
    outcomes, study = read_trial_outcomes(trials_file, tasks_file)
    found = policy_trials(outcomes, study, config, on_progress=on_progress)
    folder = out / "policy_trials"
    write_parquet(found.figures, folder / "figures.parquet")
    write_parquet(found.by_system, folder / "by_system.parquet")
    told = {
        name: getattr(found, name)
        for name in found.__struct_fields__
        if name not in ("figures", "by_system")
    }
    told["promises"] = {f"{weight:g}": promise for weight, promise in found.promises.items()}
    data = msgspec.json.format(msgspec.json.encode(told, order="deterministic"), indent=1)
    write_bytes(data + b"\n", folder / "policy_trials.json")
    write_bytes(render_policy_report(found).encode(), folder / "report.md")
    return found
