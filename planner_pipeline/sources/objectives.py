"""Objectives from files: the planner's own document, or a universe's ``objectives.yaml``.

Belongs here: reading. Does not: what an objective means (``planner_runtime.objective``).
"""

from pathlib import Path

import yaml

from planner_runtime.contracts.reading import ContractError
from planner_runtime.objective import Objective, read_objective

MAX_BYTES = 1 << 20


class ObjectiveFileError(ValueError):
    """A file holds no objective; the text names the file and says why."""


def read_objective_at(path: Path) -> Objective:
    """The objective in a JSON or YAML file.

    Raises:
        ObjectiveFileError: it cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ObjectiveFileError(f"{path}: {error.strerror or error}") from error
    if len(data) > MAX_BYTES:
        raise ObjectiveFileError(f"{path}: {len(data)} bytes are too many for an objective")
    try:
        raw = yaml.safe_load(data.decode())  # JSON is YAML too
    except (yaml.YAMLError, UnicodeError, RecursionError, ValueError) as error:
        raise ObjectiveFileError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(raw, dict):
        raise ObjectiveFileError(f"{path}: an objective is a mapping of fields")
    try:
        return read_objective(raw)
    except ContractError as error:
        raise ObjectiveFileError(f"{path}: {error.path}: {error.why}") from error
