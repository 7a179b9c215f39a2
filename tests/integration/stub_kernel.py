"""A stub kernel that is changed as docs/serving.md says, and nothing else.

Belongs here: taking the page's Python blocks as they stand, and a simulated kernel that calls them
where the page says. Does not: what is expected of it (``test_serving_page``).
"""

import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import msgspec
import yaml

from planner_pipeline import kernel_archive
from planner_pipeline.sample.archives import (
    LOG_WRITERS,
    event_lines,
    has_proof,
    has_rollout,
    workcell_attempt,
)
from planner_pipeline.sample.issues import SimIssue
from planner_pipeline.sample.kernel import Dispatch, SimulatedKernel
from planner_pipeline.sample.settings import config_yaml
from planner_runtime.heuristic import (
    SERIAL,
    SPECULATE,
    HeuristicPlan,
    dispatch_plan,
    serial_plan,
    speculate_plan,
)
from planner_runtime.inputs import job_type_of, rfc3339
from planner_runtime.kernel_config import SHIPPED_CONFIG

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"


def followed_page() -> ModuleType:
    """Every Python block of the page, run in order in one module."""
    module = ModuleType("followed_page")
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.S):
        exec(compile(block, str(PAGE), "exec"), module.__dict__)
    return module


class StubKernel(SimulatedKernel):
    """A kernel at work in ``repo``, with the planner section of its configuration."""

    def __init__(
        self, repo: Path, planner_section: dict[str, Any] | None, *, seed: int = 3
    ) -> None:
        super().__init__(seed)
        self.page, self.lines = followed_page(), list[str]()
        self.selections: dict[str, Any] = {}  # of the running dispatch of each issue
        self.archived_ms: dict[str, int] = {}  # by workcell: from then on it can be known
        document = yaml.safe_load(config_yaml())
        if planner_section is not None:
            document["planner"] = planner_section
        (repo / ".cyntra").mkdir(parents=True, exist_ok=True)
        (repo / ".cyntra" / "config.yaml").write_text(yaml.safe_dump(document))
        self.runner = SimpleNamespace(
            config=document,
            repo_root=repo,
            log=self.lines.append,
            universe_id="unknown",
            universe_defaults={"swarm_id": None, "objective_id": None},
            swarm_ids=[SERIAL, SPECULATE],
            n_running=0,
            available_toolchains=[],
            now_ms=lambda: self.now_ms,
        )
        self.page.start_planner(self.runner)

    def _cycle(self) -> Any:
        self.page.begin_cycle(self.runner)
        return super()._cycle()

    def _plan(self, issue: SimIssue, available: list[str], n_active: int) -> HeuristicPlan | None:
        """What the runner does: routing, then the planner, then one of two ways to dispatch."""
        view = issue.view()
        own = dispatch_plan(SHIPPED_CONFIG, view, available=available)
        if own is None:
            return None
        could_run = {
            SERIAL: serial_plan(SHIPPED_CONFIG, view, available=available),
            SPECULATE: speculate_plan(SHIPPED_CONFIG, view, available=available),
            own.swarm_id: own,
        }
        others = {
            name: (plan.max_candidates, plan.timeout_cap_seconds)
            for name, plan in could_run.items()
            if plan is not None and name != own.swarm_id
        }
        self.runner.n_running, self.runner.available_toolchains = n_active - 1, available
        selection = self.page.plan_issue(
            self.runner,
            issue.beads(("", "")),
            job_type=job_type_of(issue.tags),
            swarm_id=own.swarm_id,
            n_candidates=own.max_candidates,
            timeout_cap_seconds=own.timeout_cap_seconds,
            alternatives=others,
        )
        self.selections[issue.issue_id] = selection
        plan = could_run[selection.swarm_id_executed]
        assert plan is not None
        return msgspec.structs.replace(plan, max_candidates=selection.max_candidates_executed)

    def section_of(self, issue_id: str, toolchain: str) -> dict[str, Any]:
        """``manifest["planner"]`` of a workcell."""
        section: dict[str, Any] = self.page.planner_section(
            self.selections[issue_id],
            toolchain_timeout_seconds=SHIPPED_CONFIG.timeout_of(toolchain),
        )
        return section

    def _limit_seconds(self, issue_id: str, toolchain: str) -> int:
        """What the dispatcher does: the limit comes from the manifest."""
        manifest = {"planner": self.section_of(issue_id, toolchain)}
        limit: int = self.page.timeout_seconds_of(manifest, SHIPPED_CONFIG.timeout_of(toolchain))
        return limit

    def work(self, n_runs: int) -> list[Dispatch]:
        """Dispatch until so many workcells ran; archives and events as the kernel writes them."""
        repo, done = self.runner.repo_root, []
        archives, logs = repo / ".cyntra" / "archives", repo / ".cyntra" / "logs"
        for folder in (archives, logs, repo / ".beads"):
            folder.mkdir(parents=True, exist_ok=True)
        for dispatch in self.dispatches(n_runs):
            done.append(dispatch)
            with (logs / "events.jsonl").open("ab") as events:
                events.write(event_lines(dispatch))
            if dispatch.attempts:
                self._archive(archives, dispatch)
        lines = [
            msgspec.json.encode(issue.beads((rfc3339(issue.created_ms), rfc3339(issue.updated_ms))))
            for issue in [*self.closed, *self.open_issues]
        ]
        (repo / ".beads" / "issues.jsonl").write_bytes(b"\n".join(lines) + b"\n")
        return done

    def _archive(self, archives: Path, dispatch: Dispatch) -> None:
        winner = dispatch.attempts[dispatch.winner]
        self.archived_ms[winner.workcell_id] = self.now_ms
        told = msgspec.structs.replace(
            workcell_attempt(dispatch, winner, has_planner=False),
            planner=self.section_of(dispatch.issue["id"], winner.toolchain),
        )
        is_logged = winner.toolchain in LOG_WRITERS
        kernel_archive.write_archive(
            archives / winner.workcell_id,
            told,
            has_proof=has_proof(winner),
            has_rollout=has_rollout(winner),
            logs={f"{winner.toolchain}-stdout.log": b"(simulated)\n"},
            telemetry=kernel_archive.telemetry_lines(told, "(simulated)", 9) if is_logged else None,
        )
