"""The table of the trial study: learned policies beside every yardstick, with intervals.

Belongs here: joining predictions made elsewhere, out of fold, to the cases they are for. Does not:
the study's data (``bench.trial_study``), the figures (``outcomes``). Spec: section 8.2.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np
import polars as pl

from planner_pipeline.evaluation.bootstrap import N_BOOTSTRAP
from planner_pipeline.evaluation.outcomes import choices_table, outcome_figures
from planner_pipeline.tables import CHOICES, STUDY_CASES, check_table, polars_schema

COST_WEIGHTS: Final = (0.003, 0.01, 0.02, 0.04)
Predictions = Mapping[float, Mapping[str, np.ndarray]]  # by cost weight, by name of the policy


def study_table(
    cases: pl.DataFrame,
    outcomes: pl.DataFrame,
    predictions: Predictions,
    *,
    abstains: Predictions | None = None,
    n_resamples: int = N_BOOTSTRAP,
    seed: int = 0,
) -> pl.DataFrame:
    """``OUTCOME_FIGURES`` of the study at ``COST_WEIGHTS``.

    Best fixed actions are chosen on all cases (``best_fixed``), on the other folds of tasks
    (``best_fixed_task_fold``) and on the other systems (``best_fixed_system_fold``).

    Args:
        cases: ``STUDY_CASES``.
        outcomes: ``ACTION_OUTCOMES`` of the same cases.
        predictions: For a cost weight and a policy (N,) action indices in the order of ``cases``.
        abstains: Likewise (N,) bool; a policy that is not in it never abstains.

    Raises:
        ValueError: a policy has not one action a case, or as ``outcome_figures``.
    """
    check_table(STUDY_CASES, cases)
    case_ids = cases["case_id"].to_list()
    nobody = np.zeros(len(case_ids), dtype=bool)
    tables = [pl.DataFrame(schema=polars_schema(CHOICES))]
    for cost_weight, policies in predictions.items():
        silent = {} if abstains is None else abstains.get(cost_weight, {})
        tables.extend(
            choices_table(
                name,
                case_ids,
                actions,
                cost_weight=cost_weight,
                abstains=silent.get(name, nobody),
            )
            for name, actions in policies.items()
        )
    return outcome_figures(
        outcomes,
        pl.concat(tables),
        defaults=dict(zip(case_ids, cases["default_action"], strict=True)),
        cost_weights=COST_WEIGHTS,
        folds={
            fold: dict(zip(case_ids, cases[fold], strict=True))
            for fold in ("task_fold", "system_fold")
        },
        n_resamples=n_resamples,
        seed=seed,
    )
