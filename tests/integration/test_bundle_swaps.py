"""Short versions of the runs under ``tests.fuzz``: swaps under readers, threads across reloads."""

from pathlib import Path

import pytest

from tests.fuzz import bundles, swaps, threads


def test_no_reader_in_another_process_meets_a_mixture(tmp_path: Path) -> None:
    counts = swaps.run(300, n_readers=2, folder=tmp_path)
    assert set(counts) == {"whole"}
    assert counts["whole"] > 100


def test_three_kinds_of_bundle_refuse_every_damage(tmp_path: Path) -> None:
    lines: list[str] = []
    tally = bundles.run(300, seed=11, folder=tmp_path)
    bundles.print_table(tally, lines.append)
    assert tally.escaped == []
    assert sum(tally.refused.values()) + tally.n_harmless == tally.n == 300
    assert tally.n_harmless < 5
    assert len(lines) > 20


def test_threads_answer_as_one_across_reloads(tmp_path: Path) -> None:
    found = threads.run(150, n_threads=4, n_reloads=6, folder=tmp_path)
    assert (found.n_done, found.n_wrong, found.n_reloads) == (600, 0, 6)
    assert len(found.served) == 3


@pytest.mark.slow
def test_ten_thousand_swaps_under_four_readers_show_no_mixture(tmp_path: Path) -> None:
    assert set(swaps.run(10_000, n_readers=4, folder=tmp_path)) == {"whole"}
