"""The grid is what spec 8.3 asks for; its table is the naive one; shared work is done once."""

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from planner_pipeline.dataset.blocks import Recipe
from planner_pipeline.dataset.reader import Dataset
from planner_pipeline.experiments import ablation
from planner_pipeline.experiments.ablation import CellResult, Fitted, predictions_of, run_grid
from planner_pipeline.experiments.ablation_table import (
    AblationTable,
    Shipping,
    ablation_table,
    as_markdown,
    read_table,
)
from planner_pipeline.experiments.cell_log import cell_metrics, epoch_means, reliability_svg
from planner_pipeline.experiments.grid import Cell, full_grid, quick_grid, recipe_key
from planner_pipeline.experiments.shipping import (
    NO_OUTCOMES,
    MayNotShipError,
    hold_to_the_rule,
    shipping_of,
)
from planner_pipeline.parts import Parts
from planner_pipeline.training.loop import EpochMetrics
from planner_runtime.actions import ActionSpace

RECIPE = Recipe(space=ActionSpace())
NO = Shipping(may_ship=False, words="No.")


def levels(factor: str, cells: list[Cell]) -> list[str]:
    return [cell.level for cell in cells if cell.factor == factor]


def test_the_grid_is_what_the_spec_asks_for() -> None:
    cells = full_grid()
    assert levels("similar runs", cells) == ["0", "1", "4", "8", "16"]
    assert levels("decoding", cells) == ["heads", "joint", "autoregressive"]
    assert levels("architecture", cells) == [
        "prior", "logreg", "gbt", "mlp", "transformer", "recurrent",
    ]  # fmt: skip
    assert levels("loops M", cells) == ["1", "2", "4", "8"]
    assert levels("gradient loops K", cells) == ["1", "2", "3", "4"]
    assert levels("ConvSwiGLU", cells) == ["on", "off"]
    assert len(levels("retrieval weights", cells)) == 6
    assert len(levels("tokens of a run", cells)) == 3


@pytest.mark.parametrize("grid", [full_grid(), quick_grid()], ids=["full", "quick"])
def test_every_cell_can_be_made_and_every_factor_has_one_base(grid: list[Cell]) -> None:
    for cell in grid:
        config = cell.config(3)
        assert config.seed == 3
        config.model_spec(RECIPE.space)
        cell.variant(RECIPE)
    for factor in {cell.factor for cell in grid}:
        assert sum(cell.is_base for cell in grid if cell.factor == factor) == 1


def test_levels_of_a_factor_differ_in_what_the_factor_names() -> None:
    cells = {cell.name: cell for cell in full_grid()}
    key = {name: recipe_key(cell.variant(RECIPE)) for name, cell in cells.items()}
    assert key["similar runs: 8"] == key["architecture: mlp"] == recipe_key(RECIPE)
    assert cells["retrieval weights: without tags"].variant(RECIPE).weights.tags == 0
    assert cells["tokens of a run: 16"].variant(RECIPE).budget.per_run == 16
    assert len({key[name] for name in key if name.startswith("retrieval")}) == 6
    assert cells["loops M: 8"].config(0).loops == 8
    assert cells["loops M: 1"].config(0).grad_loops == 1


def a_fit(seed: int, correct: list[float], log_prob: list[float] | None = None) -> Fitted:
    n = len(correct)
    return Fitted(
        seed=seed, correct=correct, confidence=[0.5 + i / 4 / n for i in range(n)],
        log_prob=log_prob or [-1.0] * n, brier=[0.5] * n, actions=[[0, 0, 0, 0]] * n, val_nll=1.0,
        n_weights=10, cpu_seconds=1.0, epochs=(EpochMetrics(epoch=0, train_loss=1.0, val_nll=2.0 + seed),),
    )  # fmt: skip


def a_table(results: list[CellResult], n: int) -> AblationTable:
    return ablation_table(
        results, [f"i{i // 2}" for i in range(n)], dataset_hash="0" * 64, n_train=7,
        is_quick=False, is_simulated=True, shipping=NO,
    )  # fmt: skip


def two_cells(n: int = 60) -> list[CellResult]:
    luck = np.random.default_rng(0)
    base = [(luck.random(n) < 0.4).astype(float).tolist() for _ in range(3)]
    better = [(luck.random(n) < 0.9).astype(float).tolist() for _ in range(3)]
    return [
        CellResult(
            cell=Cell(factor="f", level="old", is_base=True),
            fits=tuple(a_fit(s, c) for s, c in enumerate(base)),
        ),
        CellResult(
            cell=Cell(factor="f", level="new"),
            fits=tuple(a_fit(s, c, [-0.5] * n) for s, c in enumerate(better)),
        ),
    ]


def test_figures_are_means_over_seeds_and_differences_are_paired() -> None:
    results = two_cells()
    table = a_table(results, 60)
    old, new = table.rows
    means = [np.mean([fit.correct for fit in result.fits]) for result in results]
    assert old.exact_match is not None
    assert new.exact_match is not None
    assert new.exact_match_minus_base is not None
    assert new.nll_minus_base is not None
    assert (old.exact_match.value, new.exact_match.value) == pytest.approx(means)
    assert new.exact_match_minus_base.value == pytest.approx(means[1] - means[0])
    assert new.nll_minus_base.value == pytest.approx(-0.5)
    assert old.exact_match_minus_base is None
    per_seed = [np.mean(fit.correct) for fit in results[1].fits]
    assert new.seed_sd == pytest.approx(np.std(per_seed, ddof=1))
    assert (old.exact_match.n, old.exact_match.n_issues) == (60, 30)
    assert table.verdicts == ("f (base old): new is better in exact match; new is better in NLL.",)


def test_what_cannot_be_told_apart_is_not_told_apart() -> None:
    results = two_cells()
    same = [results[0], msgspec.structs.replace(results[1], fits=results[0].fits)]
    assert a_table(same, 60).verdicts == ("f (base old): nothing can be told from the base.",)


def test_the_page_holds_every_row_and_says_what_it_rests_on(tmp_path: Path) -> None:
    table = a_table(two_cells(), 60)
    page = as_markdown(table)
    for words in (
        "60 test examples of 30 issues",
        "Simulated",
        "| old (base) | 3 |",
        "| new | 3 |",
    ):
        assert words in page
    assert read_table(tmp_path) is None
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "ablations.json").write_bytes(msgspec.json.encode(table))
    assert read_table(tmp_path) == table


def test_a_tracker_is_told_means_by_epoch_and_figures_with_their_intervals() -> None:
    results = two_cells()
    assert list(epoch_means(results[0])) == [
        (0, {"train_loss": 1.0, "val_nll": pytest.approx(3.0)})
    ]
    told = cell_metrics(a_table(results, 60).rows[1])
    assert told["test_exact_match_low"] <= told["test_exact_match"] <= told["test_exact_match_high"]
    assert "test_nll_minus_base" in told
    assert reliability_svg(results[0]).startswith("<svg")


def test_without_outcomes_the_recurrent_model_may_not_ship(tmp_path: Path) -> None:
    assert shipping_of(tmp_path) == Shipping(may_ship=False, words=NO_OUTCOMES)
    (tmp_path / "trials").mkdir()
    (tmp_path / "trials" / "report.json").write_text("{")
    assert not shipping_of(tmp_path).may_ship
    said = '{"shipping": {"may_ship": true, "words": "Yes."}, "more": 1}'
    (tmp_path / "trials" / "report.json").write_text(said)
    assert shipping_of(tmp_path) == Shipping(may_ship=True, words="Yes.")


def test_a_recurrent_model_is_shipped_only_where_the_rule_allows(tmp_path: Path) -> None:
    hold_to_the_rule("mlp", tmp_path)
    with pytest.raises(MayNotShipError, match="no bundle of a recurrent model"):
        hold_to_the_rule("recurrent", tmp_path)
    (tmp_path / "trials").mkdir()
    said = '{"shipping": {"may_ship": true, "words": "Yes."}}'
    (tmp_path / "trials" / "report.json").write_text(said)
    hold_to_the_rule("recurrent", tmp_path)


def test_a_grid_runs_and_work_that_cells_share_is_done_once(
    built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablation.os, "cpu_count", lambda: 1)  # type: ignore[attr-defined]
    made: list[bytes] = []
    fit = ablation._fit_bytes
    monkeypatch.setattr(ablation, "_fit_bytes", lambda work: made.append(work) or fit(work))
    quick = {"epochs": 2, "width": 8}
    cells = [
        Cell(factor="runs", level="8", is_base=True, train=quick),
        Cell(factor="runs", level="0", recipe={"n_similar": 0}, train=quick),
        Cell(factor="kind", level="heads", is_base=True, train=quick),
        Cell(factor="kind", level="prior", train={"arch": "prior"}),
    ]
    data = Dataset(built / "dataset")
    recipe = msgspec.json.decode((built / "assets" / "recipe.json").read_bytes(), type=Recipe)
    results = run_grid(
        cells, dataset=built / "dataset", recipe=recipe,
        runs=Parts.load(built / "parts" / "run_summaries"), folder=tmp_path, n_seeds=2,
    )  # fmt: skip
    assert len(made) == 6  # three different cells from two seeds
    assert results[0].fits == results[2].fits
    assert results[0].fits[0].confidence != results[1].fits[0].confidence
    tests = data.role_rows("test")
    assert all(len(fit.correct) == tests.height for result in results for fit in result.fits)
    predictions = predictions_of(results[3], data)
    assert predictions.height == 2 * tests.height
    right = predictions.filter(pl.col("action") == pl.col("label")).height
    assert right == sum(sum(fit.correct) for fit in results[3].fits)
