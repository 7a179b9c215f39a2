"""Experiment tracking behind a small protocol: MLflow, or memory for tests.

Belongs here: the only import of mlflow. Does not: what is worth logging (the callers).
A tracking server that is down must not fail a run; each tracked run reports it once and goes on.
"""

import logging
import os
import socket
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlsplit

EXPERIMENT = "cyntra-planner"
PROBE_SECONDS = 3.0
PARENT_TAG = "mlflow.parentRunId"  # what MLflow's pages nest runs by


class TrackedRun(Protocol):
    """One run being tracked."""

    @property
    def run_id(self) -> str:
        """What other runs name it by."""
        ...

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Numbers at a step."""
        ...

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """A file, or every file of a directory."""
        ...


class Tracker(Protocol):
    """Somewhere to write runs."""

    def start(
        self, name: str, params: Mapping[str, Any], *, parent: str = ""
    ) -> AbstractContextManager[TrackedRun]:
        """A run that ends with the context; below the run with the id ``parent``, if any."""
        ...


class MemoryRun:
    """A run that keeps what it was told."""

    def __init__(self, name: str, params: Mapping[str, Any], parent: str = "") -> None:
        self.name, self.params, self.parent = name, dict(params), parent
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.files: list[str] = []

    @property
    def run_id(self) -> str:
        """Its name."""
        return self.name

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        """Keep the numbers."""
        self.metrics.append((step, dict(metrics)))

    def log_file(self, path: Path, *, folder: str = "") -> None:
        """Keep the name."""
        self.files.append(f"{folder}/{path.name}".lstrip("/"))


class MemoryTracker:
    """The fake: runs in a list."""

    def __init__(self) -> None:
        self.runs: list[MemoryRun] = []

    @contextmanager
    def start(
        self, name: str, params: Mapping[str, Any], *, parent: str = ""
    ) -> Iterator[TrackedRun]:
        """Keep a run."""
        run = MemoryRun(name, params, parent)
        self.runs.append(run)
        yield run


class _MlflowRun:
    """Writes to a server until it fails once: a dead one must not be waited for again and again."""

    def __init__(self, client: Any, run_id: str) -> None:
        self._client, self._run_id = client, run_id
        self._is_down = False

    @property
    def run_id(self) -> str:
        """MLflow's own id."""
        return self._run_id

    def log_metrics(self, metrics: Mapping[str, float], *, step: int = 0) -> None:
        from mlflow.entities import Metric

        now_ms = time.time_ns() // 1_000_000
        rows = [Metric(name, float(value), now_ms, step) for name, value in metrics.items()]
        self._write(self._client.log_batch, metrics=rows)

    def log_file(self, path: Path, *, folder: str = "") -> None:
        log = self._client.log_artifacts if path.is_dir() else self._client.log_artifact
        self._write(log, str(path), folder or None)

    def end(self, status: str) -> None:
        """Mark the run."""
        self._write(self._client.set_terminated, status)

    def _write(self, call: Callable[..., object], *values: object, **named: object) -> None:
        if self._is_down:
            return
        try:
            call(self._run_id, *values, **named)
        except Exception as error:
            self._is_down = True
            warnings.warn(f"MLflow did not take a record: {error}", RuntimeWarning, stacklevel=3)


def _refuse_unreachable(uri: str) -> None:
    """Raise ``OSError`` when a server's port does not answer: MLflow would try for minutes."""
    address = urlsplit(uri)
    if address.scheme in ("http", "https"):
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname or "", port), PROBE_SECONDS).close()


class MlflowTracker:
    """MLflow at ``MLFLOW_TRACKING_URI``, or in a SQLite file of its own.

    Args:
        folder: Where ``mlflow.db`` and artifacts go when no tracking server is named.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def uri(self) -> str:
        """Where runs are written."""
        own = f"sqlite:///{(self._folder / 'mlflow.db').resolve()}"
        return os.environ.get("MLFLOW_TRACKING_URI") or own

    @contextmanager
    def start(
        self, name: str, params: Mapping[str, Any], *, parent: str = ""
    ) -> Iterator[TrackedRun]:
        """A run in the experiment ``cyntra-planner``; in memory when MLflow cannot be reached."""
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        try:
            client, run_id = self._create(name, params, parent)
        except Exception as error:
            warnings.warn(f"MLflow cannot be reached: {error}", RuntimeWarning, stacklevel=2)
            yield MemoryRun(name, params, parent)
            return
        run, status = _MlflowRun(client, run_id), "FAILED"
        try:
            yield run
            status = "FINISHED"
        finally:
            run.end(status)

    def _create(self, name: str, params: Mapping[str, Any], parent: str) -> tuple[Any, str]:
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        for noisy in ("mlflow", "alembic"):  # a database being migrated is no news
            logging.getLogger(noisy).setLevel(logging.WARNING)
        _refuse_unreachable(self.uri)
        self._folder.mkdir(parents=True, exist_ok=True)
        client = MlflowClient(self.uri)
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            is_own = not os.environ.get("MLFLOW_TRACKING_URI")
            artifacts = (self._folder / "mlartifacts").resolve().as_uri() if is_own else None
            experiment_id = client.create_experiment(EXPERIMENT, artifact_location=artifacts)
        else:
            experiment_id = experiment.experiment_id
        tags = {PARENT_TAG: parent} if parent else {}
        run_id = client.create_run(experiment_id, run_name=name, tags=tags).info.run_id
        rows = [Param(key, str(value)) for key, value in params.items()]
        client.log_batch(run_id, params=rows)
        return client, run_id
