"""Tracking: MLflow when it is there, and no harm when it is not."""

from pathlib import Path

import pytest

from planner_pipeline.tracking import MemoryTracker, MlflowTracker, Tracker


def use(tracker: Tracker, folder: Path) -> None:
    (folder / "note.txt").write_text("hello")
    with tracker.start("a run", {"seed": 3}) as run:
        run.log_metrics({"loss": 0.5}, step=1)
        run.log_file(folder / "note.txt", folder="notes")


def test_the_fake_keeps_what_it_was_told(tmp_path: Path) -> None:
    tracker = MemoryTracker()
    use(tracker, tmp_path)
    (run,) = tracker.runs
    assert (run.name, run.params, run.metrics, run.files) == (
        "a run", {"seed": 3}, [(1, {"loss": 0.5})], ["notes/note.txt"],
    )  # fmt: skip


def test_mlflow_keeps_the_same_in_its_own_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker = MlflowTracker(tmp_path)
    use(tracker, tmp_path)
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("cyntra-planner")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params == {"seed": "3"}
    assert run.data.metrics == {"loss": 0.5}
    assert (
        tmp_path / "mlartifacts" / run.info.run_id / "artifacts/notes/note.txt"
    ).read_text() == "hello"


def test_the_environment_names_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", other)
    assert MlflowTracker(tmp_path / "unused").uri == other


def test_a_server_that_does_not_answer_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    with pytest.warns(RuntimeWarning, match="MLflow cannot be reached") as told:
        use(MlflowTracker(tmp_path), tmp_path)
    assert len(told) == 1


def test_a_server_that_dies_is_left_alone_after_its_first_failure() -> None:
    from planner_pipeline.tracking import _MlflowRun

    class Dying:
        calls = 0

        def log_batch(self, run_id: str, metrics: object) -> None:
            self.calls += 1
            raise ConnectionError("gone")

    client = Dying()
    run = _MlflowRun(client, "r")
    with pytest.warns(RuntimeWarning, match="did not take"):
        run.log_metrics({"loss": 1.0}, step=0)
    for step in range(1, 5):
        run.log_metrics({"loss": 1.0}, step=step)
    assert client.calls == 1


def test_a_run_goes_on_when_mlflow_cannot_be_reached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:////dev/null/mlflow.db")
    monkeypatch.chdir(tmp_path)
    with pytest.warns(RuntimeWarning, match="MLflow cannot be reached"):
        use(MlflowTracker(tmp_path), tmp_path)


def test_a_run_that_raises_is_marked_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.raises(KeyError), MlflowTracker(tmp_path).start("bad", {}):
        raise KeyError
    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("cyntra-planner")
    assert experiment is not None
    assert [r.info.status for r in client.search_runs([experiment.experiment_id])] == ["FAILED"]
