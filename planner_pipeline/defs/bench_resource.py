"""How a bench is asked for from Dagster: the same settings as ``cyntra-planner bench`` takes.

Belongs here: the resource. Does not: what a bench does with it (``bench.session``).
"""

from collections.abc import Sequence
from pathlib import Path

import dagster as dg

from planner_pipeline.bench.session import (
    BenchRequest,
    BenchSession,
    overridden,
    workspace_config,
)
from planner_pipeline.defs.resources import Settings


class BenchSettings(dg.ConfigurableResource):
    """What to bench with.

    Attributes:
        executor: local, cyntra, command or replay.
        config: File of the configuration; None for the workspace's ``.cyntra/bench.yaml``.
        command: Of the ``command`` executor.
        trials: Tables of the ``replay`` executor.
        bundle: Whose choices are evaluated as well; None for the one in the output directory.
        k, repeats, seed, minute_seconds, jobs: In the place of the configuration's own.
    """

    executor: str = "local"
    config: str | None = None
    command: list[str] = []
    trials: list[str] = []
    bundle: str | None = None
    k: int | None = None
    repeats: int | None = None
    seed: int | None = None
    minute_seconds: float | None = None
    jobs: int | None = None

    def session(
        self, settings: Settings, issues: Sequence[str] | None, *, fresh: bool = False
    ) -> BenchSession:
        """The bench of some issues, open; of every open issue where ``issues`` is None.

        Raises:
            BenchConfigError: the settings do not fit together.
        """
        file = None if self.config is None else Path(self.config)
        named = ("k", "repeats", "seed", "minute_seconds", "jobs")
        config = overridden(
            workspace_config(settings.repo_dir, file), {name: getattr(self, name) for name in named}
        )
        bundle = settings.out_dir / "bundle" if self.bundle is None else Path(self.bundle)
        request = BenchRequest(
            repo=settings.repo_dir,
            out=settings.out_dir,
            executor=self.executor,  # type: ignore[arg-type]
            config=config,
            issues=None if issues is None else tuple(issues),
            trials=tuple(Path(path) for path in self.trials),
            command=tuple(self.command),
            bundle=bundle if bundle.exists() else None,
            fresh=fresh,
        )
        return BenchSession(request)
