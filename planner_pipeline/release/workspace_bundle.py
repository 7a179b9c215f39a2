"""The outcome bundle of a workspace, and of trials: parts from a fit, a promise where there is one.

Belongs here: calibration and policy documents of a fit, the objective in force, golden questions.
Does not: writing members (``outcome_bundle``). Spec: sections 7.4 and 11.
"""

from pathlib import Path

import polars as pl

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.experiments.bench_policy import LEAST, bundle_evidence, certify, compared
from planner_pipeline.experiments.benched_cases import read_bench
from planner_pipeline.release.outcome_bundle import N_GOLDEN, Provenance, write_outcome_bundle
from planner_pipeline.sources.objectives import read_objective_at
from planner_pipeline.sources.settings import UniverseRecord
from planner_pipeline.tables import read_records
from planner_pipeline.training.outcome_model import FittedOutcomes
from planner_runtime.bundle import OutcomeParts
from planner_runtime.calibration import RiskControl
from planner_runtime.contracts import BundleManifest, sha256_hex
from planner_runtime.kernel_config import KernelConfig
from planner_runtime.objective import DEFAULT_OBJECTIVE, Objective, objective_of_universe, priced
from planner_runtime.outcomes.model import OutcomeCalibration
from planner_runtime.outcomes.policy_file import OutcomePolicy

UNCERTIFIED = (
    "no promise: of no decision is the outcome of both the chosen action and the default known; a "
    f"bench tells them, and {LEAST} such decisions are needed"
)


def objective_of(path: str | None, universes: pl.DataFrame) -> Objective:
    """What an outcome is worth: a file's word, else that of the only universe, else the default.

    Raises:
        ObjectiveFileError: the file holds none.
    """
    if path is not None:
        return read_objective_at(Path(path))
    known = read_records(universes, UniverseRecord)
    if len(known) == 1:
        universe = known[0]
        name = universe.default_objective_id
        metrics = universe.objectives.get(name or "")
        if name is not None and metrics:
            return objective_of_universe(name, metrics)
    return DEFAULT_OBJECTIVE


def calibration_of(
    fitted: FittedOutcomes,
    threshold: float | None,
    risk: RiskControl | None,
    notes: tuple[str, ...],
) -> OutcomeCalibration:
    """The calibration document of a fit.

    Args:
        threshold: Confidence from which on it is followed; None: never.
    """
    return OutcomeCalibration(
        pass_slope=fitted.pass_slope,
        pass_bias=fitted.pass_bias,
        pass_knots=fitted.pass_knots,
        confidence_threshold=1.0 if threshold is None else threshold,
        always_abstains=threshold is None,
        risk=risk,
        novelty_threshold=fitted.novelty.threshold,
        n_calibration=len(fitted.held_out),
        notes=notes,
    )


def parts_of(
    fitted: FittedOutcomes, objective: Objective, calibration: OutcomeCalibration
) -> OutcomeParts:
    """What a bundle holds beside its model; a constrained objective gets its minute's weight as
    its price.
    """
    if objective.rule == "constrained":
        objective = priced(objective, objective.weights.minute)
    return OutcomeParts(
        calibration=calibration,
        policy=OutcomePolicy(objective=objective),
        track_record=fitted.state,
    )


def write_workspace_bundle(
    folder: Path,
    fitted: FittedOutcomes,
    *,
    onnx_bytes: bytes,
    checkpoint: bytes,
    objective: Objective,
    kernel_config: KernelConfig,
    dataset: Dataset,
    bench: Path,
) -> BundleManifest:
    """Write the bundle of a workspace's outcome model: at first one that always abstains, and where
    there is a bench, that bundle's own decisions about its cases are judged and certify another.

    Args:
        bench: Where outcomes of a bench are, which alone can certify a threshold.

    Raises:
        BundleError: what was written does not verify.
        pandera.errors.SchemaError: the bench's table breaks its schema.
    """
    rows = dataset.role_rows("train", "val")
    newest = rows["decided_ms"].max()
    questions = [one.planner_input for one in dataset.examples_of(rows.tail(N_GOLDEN))]

    def write(calibration: OutcomeCalibration) -> BundleManifest:
        return write_outcome_bundle(
            folder,
            onnx_bytes=onnx_bytes,
            parts=parts_of(fitted, objective, calibration),
            space=dataset.space,
            kernel_config=kernel_config,
            provenance=Provenance(
                data_until_ms=newest if isinstance(newest, int) else 0,
                dataset_hash=dataset.meta.dataset_hash,
                checkpoint_sha256=sha256_hex(checkpoint),
            ),
            questions=questions,
        )

    uncertified = calibration_of(fitted, None, None, (UNCERTIFIED,))
    manifest = write(uncertified)
    outcomes = read_bench(bench)
    if outcomes is None:
        return manifest
    in_force = parts_of(fitted, objective, uncertified).policy.objective
    evidence = bundle_evidence(folder, outcomes, kernel_config)
    found = certify(compared(evidence, in_force.weights), in_force)
    return write(calibration_of(fitted, found.threshold, found.risk, found.notes))


def certified(
    fitted: FittedOutcomes, objective: Objective, risk: RiskControl, threshold: float | None
) -> OutcomeParts:
    """Parts of a bundle whose threshold was put to the test."""
    notes = () if threshold is not None else ("no threshold keeps its promise",)
    return parts_of(fitted, objective, calibration_of(fitted, threshold, risk, notes))
