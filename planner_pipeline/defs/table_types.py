"""Dagster types that check a table against its pandera schema as it leaves its asset.

Belongs here: the bridge between the two. Does not: schemas.
dagster-pandera knows pandas only (reference/stack.md 1), hence these few lines.
"""

from typing import Any

import dagster as dg
import pandera.polars as pa
import polars as pl
from pandera.errors import SchemaError, SchemaErrors


def table_type(schema: pa.DataFrameSchema) -> dg.DagsterType:
    """The type of tables that keep ``schema``."""

    def check(_context: Any, value: Any) -> dg.TypeCheck:
        if not isinstance(value, pl.DataFrame):
            return dg.TypeCheck(False, description=f"expected a table, got {type(value).__name__}")
        try:
            schema.validate(value, lazy=True)
        except (SchemaError, SchemaErrors) as error:
            return dg.TypeCheck(False, description=str(error)[:2_000])
        return dg.TypeCheck(True, metadata={"rows": value.height})

    return dg.DagsterType(
        type_check_fn=check, name=f"{schema.name}_table", typing_type=pl.DataFrame
    )
