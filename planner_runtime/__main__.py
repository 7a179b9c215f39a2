"""``python -m planner_runtime plan|verify|explain|serve``: serving without the pipeline.

Belongs here: the parser. Does not: the commands (``commands``).
"""

import argparse
import sys

from planner_runtime.command_error import CommandError
from planner_runtime.commands import add_commands


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m planner_runtime")
    add_commands(parser.add_subparsers(required=True, metavar="COMMAND"))
    arguments = parser.parse_args(argv)
    try:
        code: int = arguments.run(arguments)
    except CommandError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
