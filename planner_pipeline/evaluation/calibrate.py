"""Temperatures and threshold together: the calibration that a bundle carries.

Belongs here: the order in which held-out rows are used. Does not: the fits (``calibration``), the
promise (``risk``).
"""

from collections.abc import Sequence

import numpy as np

from planner_pipeline.dataset.arrays import Arrays
from planner_pipeline.evaluation.calibration import fit_temperatures
from planner_pipeline.evaluation.predictions import WORSE, answers_of, is_worse
from planner_pipeline.evaluation.risk import FAILURE, TARGET, choose_threshold, least_rows
from planner_runtime.calibration import Calibration
from planner_runtime.decode import Decoding


def calibrate(
    fitting: tuple[Sequence[np.ndarray], Arrays],
    certifying: tuple[Sequence[np.ndarray], Arrays],
    defaults: np.ndarray,
    decoding: Decoding,
    *,
    target: float = TARGET,
    failure: float = FAILURE,
) -> Calibration:
    """Temperatures from rows that stopped the training, the threshold from later ones.

    Args:
        fitting: Raw outputs and rows of role ``val``.
        certifying: The same of role ``certify``.
        defaults: (N, H) choices of the heuristic in the certifying rows.
    """
    temperatures, notes = fit_temperatures(*fitting, decoding)
    outputs, arrays = certifying
    answers = answers_of(outputs, arrays, decoding, temperatures)
    threshold, promise = choose_threshold(
        answers.confidence, is_worse(answers, arrays, defaults),
        measure=WORSE, target=target, failure=failure,
    )  # fmt: skip
    if threshold is None:
        notes += (
            f"no confidence keeps the promise on {len(arrays)} rows; it takes at least "
            f"{least_rows(target, failure)} followed ones",
        )
    return Calibration(
        temperatures=temperatures,
        confidence_threshold=1.0 if threshold is None else threshold,
        always_abstains=threshold is None,
        risk=promise,
        n_validation=len(fitting[1]),
        notes=notes,
    )
