"""An outcome bundle fitted on trials: its promise from systems held out in turn.

Belongs here: fitting on all of a trial table, certifying, writing. Does not: the study's figures
(``experiments.policy_trials``). Spec: sections 7.4 and 11.
"""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from planner_pipeline.evaluation.risk import choose_threshold
from planner_pipeline.experiments.policy_trials import TOLERANCE, choose_by_objective, worse_than
from planner_pipeline.experiments.trial_outcomes import held_out_outlooks, read_trial_outcomes
from planner_pipeline.release.outcome_bundle import N_GOLDEN, Provenance, write_outcome_bundle
from planner_pipeline.release.outcome_export import export_outcomes
from planner_pipeline.release.workspace_bundle import certified
from planner_pipeline.training.outcome_checkpoint import encode_outcomes
from planner_pipeline.training.outcome_fit import OutcomeConfig
from planner_pipeline.training.outcome_model import fit_outcomes
from planner_runtime.actions import ActionSpace
from planner_runtime.contracts import BundleManifest, sha256_hex
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.objective import DEFAULT_OBJECTIVE, Objective
from planner_runtime.policy import SAFE_LIMITS


def write_trial_bundle(
    trials_file: Path,
    tasks_file: Path | None,
    folder: Path,
    *,
    objective: Objective | None = None,
    config: OutcomeConfig,
    on_progress: Callable[[str], None] = lambda what: None,
) -> BundleManifest:
    """Fit on a trial table, certify a threshold, write the bundle.

    Every case's confidence comes from a fit without its system, and is judged by its replayed
    outcomes.

    Raises:
        BundleError: what was written does not verify.
        ValueError: nothing of the file can be replayed.
    """
    outcomes, study = read_trial_outcomes(trials_file, tasks_file)
    wanted = objective or DEFAULT_OBJECTIVE
    on_progress("certifying: a fit without each system")
    baseline = study.cases["default_action"].to_numpy()
    outlooks = held_out_outlooks(outcomes, config)
    preferences = choose_by_objective(outlooks, baseline, wanted, limits=SAFE_LIMITS)
    differs = np.array([p.chosen != p.baseline for p in preferences])
    confidence = np.array([p.confidence for p in preferences])
    worse = worse_than(outcomes, preferences, wanted)
    measure = f"expected utility more than {TOLERANCE:g} below the default's, votes as upper bounds"
    threshold, risk = choose_threshold(
        confidence[differs], worse[differs], measure=measure, whole_first=True
    )
    on_progress("fitting on all of it")
    fitted = fit_outcomes(outcomes.data, config)
    checkpoint = encode_outcomes(fitted)
    newest = int(study.cases["decided_ms"].max())  # type: ignore[arg-type]
    questions = [msgspec.json.decode(t) for t in study.cases["planner_input"].head(N_GOLDEN)]
    return write_outcome_bundle(
        folder,
        onnx_bytes=export_outcomes(fitted),
        parts=certified(fitted, wanted, risk, threshold),
        space=ActionSpace(),
        kernel_config=SHIPPED_CONFIG,
        provenance=Provenance(
            data_until_ms=newest,
            dataset_hash=sha256_hex(trials_file.read_bytes()),
            checkpoint_sha256=sha256_hex(checkpoint),
        ),
        questions=questions,
    )
