"""Small tables for Dagster's metadata pane.

Belongs here: text for people. Does not: data.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import dagster as dg
import polars as pl

HIDDEN = ("record_json", "excerpt", "token_ids", "features")


def markdown_table(
    header: Sequence[str], rows: Iterable[Sequence[Any]]
) -> dg.MarkdownMetadataValue:
    """A table of short texts."""

    def line(cells: Iterable[Any]) -> str:
        return " | ".join(" ".join(str(c)[:60].replace("|", "/").split()) for c in cells)

    return dg.MetadataValue.md(
        "\n".join([line(header), line("---" for _ in header), *map(line, rows)])
    )


def first_rows(table: pl.DataFrame, n: int = 5) -> dg.MarkdownMetadataValue:
    """The first rows of a table without its machine columns."""
    columns = [name for name in table.columns if name not in HIDDEN]
    return markdown_table(columns, table.select(columns).head(n).rows())


def counts_table(counts: Mapping[str, int], name: str) -> dg.MarkdownMetadataValue:
    """Names with their counts, most frequent first."""
    rows = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return markdown_table([name, "n"], rows)
