"""What the bench of the runtime serves: bundles of real shapes, questions, a made-up history.

Belongs here: making them, once a folder. Does not: timing anything (``runtime``).

A model's weights do not change what a decision costs, so networks stay as they were drawn; sizes,
inputs and the way to ONNX are the pipeline's own. The outcome model is fitted, because its export
follows from a fit.
"""

import random
from pathlib import Path
from typing import Any

import dagster as dg
import torch

from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.definitions import POLICY
from planner_pipeline.materialize import materialize
from planner_pipeline.models.build import build_model
from planner_pipeline.release.bundle_writer import write_bundle
from planner_pipeline.release.onnx_export import export_onnx
from planner_pipeline.sample.workspace import write_workspace
from planner_pipeline.training.checkpoint import encode_checkpoint
from planner_pipeline.training.config import usual_config
from planner_runtime.calibration import Calibration
from planner_runtime.contracts import ActionExecuted, Outcome, RunSummary, Runtime
from planner_runtime.decode import temperature_names
from planner_runtime.kernel_config import SHIPPED_CONFIG
from planner_runtime.similar_runs import DAY_MS, Query

NETWORKS = ("mlp", "transformer")
N_TAGS, N_KEYWORDS, N_CODES, N_RUNS_AN_ISSUE = 300, 2_000, 40, 3
NOW_MS = 1_767_603_600_000
HISTORY_DAYS = 180


def write_network_bundle(folder: Path, arch: str, dataset: Dataset) -> None:
    """A bundle of an untrained network of its architecture's usual size; it follows itself."""
    torch.manual_seed(0)
    spec = usual_config(arch).model_spec(dataset.space)  # type: ignore[arg-type]
    model = build_model(spec).eval()
    write_bundle(
        folder,
        onnx_bytes=export_onnx(model, dataset.space),
        checkpoint=encode_checkpoint(model),
        spec=spec,
        calibration=Calibration(
            temperatures=dict.fromkeys(temperature_names(spec.decoding), 1.0),
            confidence_threshold=0.0,
            n_validation=0,
        ),
        kernel_config=SHIPPED_CONFIG,
        dataset=dataset,
    )


def prepare(folder: Path, demo: Path) -> tuple[Dataset, dict[str, Path]]:
    """A data set and bundles by name, on the demo's output where there is one.

    Args:
        folder: Kept from run to run.
    """
    out = demo
    if not (out / "outcome_bundle").is_dir():
        repo, out = folder / "workspace", folder / "out"
        if not (out / "outcome_bundle").is_dir():
            write_workspace(repo, n_runs=300, seed=1)
            instance = dg.DagsterInstance.ephemeral()
            materialize(repo, out, epochs=2, instance=instance)
            materialize(repo, out, job=POLICY, instance=instance)
    dataset = Dataset(out / "dataset")
    bundles = {"outcome": out / "outcome_bundle"}
    for arch in NETWORKS:
        bundles[arch] = folder / "bundles" / dataset.meta.dataset_hash[:16] / arch
        if not bundles[arch].is_dir():
            write_network_bundle(bundles[arch], arch, dataset)
    return dataset, bundles


class Zipf:
    """Words of a vocabulary, the first ones often."""

    def __init__(self, letter: str, n_words: int) -> None:
        self._words = [f"{letter}{number}" for number in range(n_words)]
        self._weights = [1 / (rank + 1) for rank in range(n_words)]

    def draw(self, luck: random.Random, n: int) -> tuple[str, ...]:
        """At most ``n`` different words, sorted."""
        return tuple(sorted(set(luck.choices(self._words, self._weights, k=n))))


def made_up_runs(n: int, *, seed: int = 0) -> list[RunSummary]:
    """Runs over half a year before ``NOW_MS``, three an issue, with tags, keywords and fail codes as
    uneven as real ones. Source: reference/reliability.md 6.
    """
    luck = random.Random(seed)
    tags, keywords, codes = Zipf("t", N_TAGS), Zipf("k", N_KEYWORDS), Zipf("c", N_CODES)
    starts = sorted(NOW_MS - luck.randrange(HISTORY_DAYS * DAY_MS) for _ in range(n))
    runs = []
    for number, started in enumerate(starts):
        duration = int(luck.lognormvariate(13.7, 0.7))  # about fifteen minutes
        status = luck.choices(("success", "failed", "timeout"), (6, 3, 1))[0]
        runs.append(
            RunSummary(
                run_id=f"run-{number:07d}", started_ms=started, ended_ms=started + duration,
                job_type="code", domain="code", issue_id=str(luck.randrange(n // 3 + 1)),
                group_id=f"g{number}", toolchain=luck.choice(("codex", "claude", "opencode")),
                tags=tags.draw(luck, 6), keywords=keywords.draw(luck, 8),
                action_executed=ActionExecuted(
                    swarm_id="serial_handoff", max_candidates=1, max_minutes=60
                ),
                runtime=Runtime(duration_ms=duration, wall_ms=duration + 2_000),
                outcome=Outcome(
                    status=status,  # type: ignore[arg-type]
                    fail_codes=() if status == "success" else codes.draw(luck, 2),
                ),
                cost_usd_est=round(luck.lognormvariate(-1, 1), 4),
            )
        )  # fmt: skip
    return runs


def made_up_issues(n: int, n_runs: int, *, seed: int = 1) -> list[dict[str, Any]]:
    """Issues as a kernel holds them, whose words are those of the made-up runs."""
    luck = random.Random(seed)
    tags, keywords = Zipf("t", N_TAGS), Zipf("k", N_KEYWORDS)
    return [
        {
            "id": str(luck.randrange(n_runs // 3 + 1)),
            "title": " ".join(f"{word}xx" for word in keywords.draw(luck, 8)),
            "tags": list(tags.draw(luck, 6)), "dk_risk": luck.choice(("low", "medium", "high")),
            "dk_size": luck.choice(("S", "M", "L")), "dk_priority": "P2",
        }
        for _ in range(n)
    ]  # fmt: skip


def query_of(issue: dict[str, Any], keywords: tuple[str, ...]) -> Query:
    """What retrieval is asked about an issue."""
    return Query(
        job_type="code", domain="code", cutoff_ms=NOW_MS, issue_id=issue["id"],
        tags=frozenset(issue["tags"]), keywords=frozenset(keywords),
    )  # fmt: skip
