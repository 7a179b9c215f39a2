"""How a bench is asked for: the same settings from Dagster and from ``cyntra-planner bench``.

Belongs here: the resource, and opening a session with it. Does not: what a bench does with it
(``bench.session``).
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import dagster as dg
import msgspec

from planner_pipeline.bench.config import BenchConfigError
from planner_pipeline.bench.session import (
    BenchRequest,
    BenchSession,
    benched_issues,
    overridden,
    workspace_config,
)
from planner_pipeline.defs.resources import Settings

_OVERRIDES: Final = ("k", "repeats", "seed", "minute_seconds", "jobs", "select", "anchors")
_CAPS: Final = {
    "max_attempts": "attempts", "max_minutes": "agent_minutes", "max_usd": "cost_usd",
    "max_wall": "wall_seconds",
}  # fmt: skip


class BenchSettings(dg.ConfigurableResource):
    """What to bench with.

    Attributes:
        executor: local, cyntra, command or replay.
        config: File of the configuration; None for the workspace's ``.cyntra/bench.yaml``.
        command: Of the ``command`` executor.
        trials: Tables of the ``replay`` executor.
        bundle: Whose choices are tried as well; None for the one in the output directory.
        k, repeats, seed, minute_seconds, jobs, select, anchors: In place of the configuration's.
        max_attempts, max_minutes, max_usd, max_wall: Caps, in place of the configuration's.
    """

    executor: str = "local"
    config: str | None = None
    command: list[str] = []  # noqa: RUF012 - Dagster knows lists, and copies defaults
    trials: list[str] = []  # noqa: RUF012
    bundle: str | None = None
    k: int | None = None
    repeats: int | None = None
    seed: int | None = None
    minute_seconds: float | None = None
    jobs: int | None = None
    select: str | None = None
    anchors: float | None = None
    max_attempts: int | None = None
    max_minutes: float | None = None
    max_usd: float | None = None
    max_wall: float | None = None

    def request(
        self, settings: Settings, issues: Sequence[str] | None, *, fresh: bool = False
    ) -> BenchRequest:
        """What is asked for, with the configuration read and checked.

        Raises:
            BenchConfigError: the settings do not fit together.
        """
        file = None if self.config is None else Path(self.config)
        config = workspace_config(settings.repo_dir, file)
        given = {name: getattr(self, name) for name in _OVERRIDES}
        asked = {cap: getattr(self, name) for name, cap in _CAPS.items()}
        caps = {cap: value for cap, value in asked.items() if value is not None}
        if caps:
            given["caps"] = msgspec.to_builtins(config.caps) | caps
        bundle = settings.out_dir / "bundle" if self.bundle is None else Path(self.bundle)
        if self.bundle is not None and not bundle.exists():
            raise BenchConfigError(f"{bundle}: there is no such bundle")
        return BenchRequest(
            repo=settings.repo_dir,
            out=settings.out_dir,
            executor=self.executor,  # type: ignore[arg-type]
            config=overridden(config, given),
            issues=None if issues is None else tuple(issues),
            trials=tuple(Path(path) for path in self.trials),
            command=tuple(self.command),
            bundle=bundle if bundle.exists() else None,
            fresh=fresh,
        )

    def session(
        self, settings: Settings, issues: Sequence[str] | None, *, fresh: bool = False
    ) -> BenchSession:
        """The bench of some issues, open; of every open issue where ``issues`` is None.

        Raises:
            BenchConfigError: the settings do not fit together.
        """
        request = self.request(settings, issues, fresh=fresh)
        if request.config.select != "value":
            return BenchSession(request)
        from planner_pipeline.experiments.bench_value import OutcomeLearner  # imports torch

        return BenchSession(request, OutcomeLearner(settings.out_dir))

    def everything(self, settings: Settings) -> BenchSession:
        """The bench of every issue that has a case; of every case of the trials for ``replay``.

        Raises:
            BenchConfigError: the settings do not fit together.
        """
        is_replay = self.executor == "replay"
        issues = None if is_replay else benched_issues(settings.out_dir / "bench")
        return self.session(settings, issues)
