"""Agents that were synthesized, kept in files, and what came of them.

Belongs here: the registry, feedback.
Does not: building agents (``agents``), running them (``agent_host``), what feedback means for trust
(``trust``).
Spec: planner-synthesis, "Create and register an AgentDescriptor" and "Feedback loop"; ADR 0023.

One file an agent, named by a hash of its id, so that no id can name a path. A file appears by an
atomic rename; one that cannot be read is reported, never skipped in silence.
"""

import fcntl
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import msgspec

from planner_synthesis.documents import ContractError, read_contract
from planner_synthesis.types import AgentCard, AgentDescriptor, TrackRecord
from planner_synthesis.whole_files import write_whole


class DamagedRecordError(Exception):
    """A file of the registry is not what was written.

    Attributes:
        path: The file.
        why: What is wrong with it.
    """

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path}: {why}")
        self.path, self.why = path, why


Record = TypeVar("Record", AgentDescriptor, TrackRecord)


class AgentRegistry:
    """Agents and track records under one folder, which is made where it is absent."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def register(self, agent: AgentDescriptor) -> None:
        """Write an agent; one of the same id is replaced.

        Raises:
            OSError: the folder cannot be written.
        """
        with self._locked():
            write_whole(self._path("agents", agent.agent_id), msgspec.json.encode(agent))

    def get(self, agent_id: str) -> AgentDescriptor | None:
        """The agent of this id with its feedback, or None.

        Raises:
            DamagedRecordError: its file is not what was written.
        """
        path = self._path("agents", agent_id)
        if not path.exists():
            return None
        agent = self._read_agent(path)
        record = self.record(agent_id)
        return msgspec.structs.replace(
            agent, n_success=record.n_success, n_failure=record.n_failure
        )

    def agents(self) -> tuple[AgentDescriptor, ...]:
        """All agents by id.

        Raises:
            DamagedRecordError: a file is not what was written.
        """
        found = [self._read_agent(path) for path in self._files("agents")]
        agents = [self.get(agent.agent_id) or agent for agent in found]
        return tuple(sorted(agents, key=lambda agent: agent.agent_id))

    def cards(self) -> tuple[AgentCard, ...]:
        """All agents as candidates of a later synthesis."""
        return tuple(agent_card(agent) for agent in self.agents())

    def record_feedback(self, candidate_id: str, *, is_success: bool) -> TrackRecord:
        """Add one outcome of a capability or an agent; two processes never lose one.

        Raises:
            DamagedRecordError: the record's file is not what was written.
            OSError: the folder cannot be written.
        """
        with self._locked():
            old = self.record(candidate_id)
            new = TrackRecord(
                id=candidate_id,
                n_success=old.n_success + is_success,
                n_failure=old.n_failure + (not is_success),
            )
            write_whole(self._path("records", candidate_id), msgspec.json.encode(new))
        return new

    def record(self, candidate_id: str) -> TrackRecord:
        """The outcomes of a candidate so far.

        Raises:
            DamagedRecordError: the record's file is not what was written.
        """
        path = self._path("records", candidate_id)
        return self._read_record(path) if path.exists() else TrackRecord(id=candidate_id)

    def track_records(self) -> tuple[TrackRecord, ...]:
        """All records by id.

        Raises:
            DamagedRecordError: a file is not what was written.
        """
        records = [self._read_record(path) for path in self._files("records")]
        return tuple(sorted(records, key=lambda record: record.id))

    def _read_agent(self, path: Path) -> AgentDescriptor:
        agent = _read(path, AgentDescriptor)
        self._check_place(path, "agents", agent.agent_id)
        return agent

    def _read_record(self, path: Path) -> TrackRecord:
        record = _read(path, TrackRecord)
        self._check_place(path, "records", record.id)
        return record

    def _check_place(self, path: Path, kind: str, record_id: str) -> None:
        """A file under another one's name would be run, or trusted, in the other one's place."""
        if self._path(kind, record_id) != path:
            raise DamagedRecordError(path, f"it holds {record_id!r}, which belongs elsewhere")

    def _path(self, kind: str, record_id: str) -> Path:
        name = hashlib.sha256(record_id.encode("utf-8", "surrogatepass")).hexdigest()
        return self.folder / kind / f"{name}.json"

    def _files(self, kind: str) -> list[Path]:
        return sorted((self.folder / kind).glob("*.json"))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def agent_card(agent: AgentDescriptor) -> AgentCard:
    """A registered agent as a candidate; it runs here, so it is local."""
    return AgentCard(
        agent_id=agent.agent_id,
        skills=agent.skills,
        supported_context_keys=agent.expects_context_keys,
        trust_tier=agent.trust_tier,
        local=True,
        effects=agent.effects,
    )


def _read(path: Path, contract: type[Record]) -> Record:
    try:
        return read_contract(path.read_bytes(), contract)
    except ContractError as error:
        raise DamagedRecordError(path, str(error)) from error
