"""How the templates beside this file are opened: escaping what they are given, refusing gaps.

Belongs here: the environment. Does not: any page's content (``report``, ``what_if``).
"""

import math
from pathlib import Path

import jinja2

from planner_pipeline.evaluation.bootstrap import Interval


def page_environment() -> jinja2.Environment:
    """Templates and style sheets of this folder; ``x is told`` means that a figure can be shown."""
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
    )
    environment.tests["told"] = is_told
    return environment


def is_told(figure: float | Interval | None) -> bool:
    """Whether there is a number, and it is one.

    >>> is_told(0.0), is_told(None), is_told(float("nan"))
    (True, False, False)
    """
    if figure is None:
        return False
    if isinstance(figure, Interval):
        return all(map(math.isfinite, (figure.value, figure.low, figure.high)))
    return math.isfinite(figure)
