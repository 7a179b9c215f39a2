"""The environment of an untrusted command, built from nothing.

Belongs here: what every command gets. Does not: the harness's own environment, of which nothing
is copied.
"""

from pathlib import Path
from typing import Final

from planner_pipeline.bench.sandbox.command import UNIT_VARIABLE, Command

# 1980-01-01, the first moment that a zip file can name
_SOURCE_DATE_EPOCH: Final = "315532800"


def build_environment(command: Command, *, python: Path, home: str, scratch: str) -> dict[str, str]:
    """What is the same wherever it runs, then what the command asks for.

    Args:
        python: The interpreter that is found first.
        home: A directory that is empty when it starts.
        scratch: For temporary files.
    """
    programs = (str(python.parent), "/usr/local/bin", "/usr/bin", "/bin")
    environment = {
        "PATH": ":".join(dict.fromkeys(programs)),
        "HOME": home,
        "TMPDIR": scratch,
        "USER": "bench",
        "LOGNAME": "bench",
        "LANG": "C.UTF-8",
        "TZ": "UTC",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        "SOURCE_DATE_EPOCH": _SOURCE_DATE_EPOCH,
        "CUDA_VISIBLE_DEVICES": "",
        **command.env,
    }
    return environment | ({UNIT_VARIABLE: command.unit_mark} if command.unit_mark else {})
