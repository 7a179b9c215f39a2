"""What several commands share: arguments, checks of them, lines for people and for programs.

Belongs here: pieces of a command line. Does not: any command (``cli``, ``*_command``).
"""

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from planner_runtime.commands import CommandError

if TYPE_CHECKING:
    from planner_runtime.objective import Objective

OUTCOME = "outcome"  # trained by ``policy``'s assets, not by those of imitation
ARCHITECTURES = ("prior", "logreg", "mlp", "gbt", "transformer", "recurrent", OUTCOME)
DECODINGS = ("heads", "joint", "autoregressive")


def say(text: str) -> None:
    """One line for a person, on standard error."""
    print(text, file=sys.stderr, flush=True)


def positive(text: str) -> int:
    """A whole number from 1 up."""
    value = count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 up")
    return value


def count(text: str) -> int:
    """A whole number from 0 up."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 0 up")
    return int(text)


def percent(text: str) -> float:
    """A percentage."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise argparse.ArgumentTypeError(f"{text} is not a percentage")
    return value


def print_json(document: dict[str, Any]) -> None:
    """One line for a program, on standard output."""
    print(json.dumps(document, sort_keys=True), flush=True)


def need_workspace(repo: Path, out: Path) -> None:
    """Raises ``CommandError`` where the workspace is none, or is written over."""
    if not repo.is_dir():
        raise CommandError(f"{repo}: no such directory")
    if out.resolve() == repo.resolve():
        raise CommandError("--out must not be the workspace itself")


def dataset_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of ``Settings`` that say what the data set is made of."""
    return {
        "n_similar": arguments.n_similar,
        "window": arguments.window,
        "epoch": arguments.epoch,
        "min_examples": arguments.min_examples,
        "max_quarantined": arguments.max_quarantined / 100,
    }


def say_made(n_made: int) -> None:
    """How much was made again."""
    say("nothing new: everything was up to date" if n_made == 0 else f"made {n_made} assets")


def training_settings(arguments: argparse.Namespace) -> dict[str, Any]:
    """Fields of ``Settings`` that say what is trained."""
    named = ("arch", "decoding", "seed", "epochs", "int8")
    winners = None if arguments.winners is None else str(arguments.winners)
    return {name: getattr(arguments, name) for name in named} | {"winners": winners}


def progress(what: str, done: int, of: int) -> None:
    """Progress, on terminals; the last line anywhere."""
    if sys.stderr.isatty() or done == of:
        say(f"  {what}: {done} of {of}")


def add_dataset_arguments(one: argparse.ArgumentParser) -> None:
    """Arguments about the data set."""
    one.add_argument(
        "--n-similar", type=count, default=8, metavar="N", help="past runs a decision may see"
    )
    one.add_argument(
        "--window", type=positive, metavar="N",
        help="newest runs of a kind that retrieval looks at (default: all)",
    )  # fmt: skip
    one.add_argument(
        "--epoch", default="all", metavar="ID", help="settings epoch: all, latest or an id"
    )
    one.add_argument(
        "--max-quarantined", type=percent, default=1.0, metavar="PERCENT",
        help="of a source's files or lines that may be refused",
    )  # fmt: skip
    one.add_argument(
        "--min-examples", type=positive, default=500, metavar="N",
        help="labelled decisions of code that feasibility asks for",
    )  # fmt: skip


def add_training_arguments(one: argparse.ArgumentParser) -> None:
    """Arguments about training."""
    one.add_argument("--arch", choices=ARCHITECTURES, default="mlp", help="default: mlp")
    one.add_argument(
        "--decoding", choices=DECODINGS, help="kind of output (default: the architecture's usual)"
    )
    one.add_argument(
        "--winners", type=Path, metavar="FILE",
        help="Parquet of winner labels, such as OUT/bench/winners.parquet",
    )  # fmt: skip
    one.add_argument("--seed", type=count, default=0, metavar="S", help="of training")
    one.add_argument("--epochs", type=positive, metavar="N", help="at most, of training")
    one.add_argument("--int8", action="store_true", help="ship weights as int8, calibrated as such")


def read_objective_file(path: Path | None) -> "Objective | None":
    """The objective in a file.

    Raises:
        CommandError: it cannot be read, or is none.
    """
    if path is None:
        return None
    from planner_pipeline.sources.objectives import ObjectiveFileError, read_objective_at

    try:
        return read_objective_at(path)
    except ObjectiveFileError as error:
        raise CommandError(str(error)) from error
