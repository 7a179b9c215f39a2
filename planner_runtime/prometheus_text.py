"""Prometheus text exposition, format 0.0.4: metric families as lines that a scraper reads.

Belongs here: the format. Does not: what is counted (``metrics``, ``sidecar``).
Source: the format's own description: HELP and TYPE before the samples of a family, cumulative
buckets up to ``+Inf``, backslash, quote and newline escaped in label values.
"""

import math
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
Kind = Literal["counter", "gauge", "histogram"]


class Sample(msgspec.Struct, frozen=True):
    """One line: what follows the family's name, the labels, the value."""

    value: float
    labels: tuple[tuple[str, str], ...] = ()
    suffix: str = ""


class Family(msgspec.Struct, frozen=True):
    """One metric with its samples."""

    name: str
    kind: Kind
    told: str  # the HELP text
    samples: tuple[Sample, ...]


def escaped_label(value: str) -> str:
    r"""A label value between its quotes.

    >>> escaped_label('a "b"\n')
    'a \\"b\\"\\n'
    """
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def number_text(value: float) -> str:
    """A value as the format writes it.

    >>> number_text(3), number_text(0.25), number_text(float("inf"))
    ('3', '0.25', '+Inf')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def histogram_samples(
    bounds: Sequence[float], counts: Sequence[int], total: float
) -> tuple[Sample, ...]:
    """The lines of a histogram.

    Args:
        bounds: (B,) upper bounds, ascending, the last one finite.
        counts: (B + 1,) observations of each bucket alone, the last one above every bound.
        total: Sum of what was observed.
    """
    lines, so_far = [], 0
    for bound, count in zip((*bounds, math.inf), counts, strict=True):
        so_far += count
        lines.append(Sample(so_far, (("le", number_text(bound)),), "_bucket"))
    return (*lines, Sample(total, (), "_sum"), Sample(so_far, (), "_count"))


def _line(family: Family, sample: Sample) -> str:
    labels = ",".join(f'{name}="{escaped_label(value)}"' for name, value in sample.labels)
    braced = f"{{{labels}}}" if labels else ""
    return f"{family.name}{sample.suffix}{braced} {number_text(sample.value)}\n"


def exposition(families: Sequence[Family]) -> str:
    """The families as text."""
    lines = []
    for family in families:
        told = family.told.replace("\\", "\\\\").replace("\n", "\\n")
        lines.append(f"# HELP {family.name} {told}\n# TYPE {family.name} {family.kind}\n")
        lines += [_line(family, sample) for sample in family.samples]
    return "".join(lines)
