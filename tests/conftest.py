"""Shared fixtures: one simulated workspace and one materialization of it per test process."""

from pathlib import Path

import dagster as dg
import pytest

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated workspace of 300 runs."""
    from planner_pipeline.sample.workspace import write_workspace

    repo = tmp_path_factory.mktemp("sample") / "workspace"
    write_workspace(repo, n_runs=300, seed=1)
    return repo


@pytest.fixture(scope="session")
def built(workspace: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything materialized from ``workspace``, with few epochs."""
    from planner_pipeline.materialize import materialize

    out = tmp_path_factory.mktemp("built") / "out"
    materialize(workspace, out, epochs=12, instance=dg.DagsterInstance.ephemeral())
    return out


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The real data beside the checkout; tests that need it skip where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip("no ../shared/data here")
    return SHARED_DATA
