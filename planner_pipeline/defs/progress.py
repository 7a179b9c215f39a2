"""Progress for people: one line on stderr for every asset and every failed check.

Belongs here: the console logger of our jobs. Does not: the event log, which Dagster keeps.
"""

import logging
import sys

import dagster as dg
from dagster import DagsterEventType


class ProgressHandler(logging.Handler):
    """Writes materializations and failures as they happen."""

    def emit(self, record: logging.LogRecord) -> None:
        """Print one line, or nothing."""
        event = getattr(record, "dagster_meta", {}).get("dagster_event")
        line = None
        if event is None:
            return
        if event.event_type == DagsterEventType.ASSET_MATERIALIZATION:
            rows = event.step_materialization_data.materialization.metadata.get("rows")
            size = f"{rows.value:>9,} rows" if rows is not None else ""
            line = f"  {event.asset_key.to_user_string():<18} {size}"
        elif event.event_type == DagsterEventType.ASSET_CHECK_EVALUATION:
            check = event.asset_check_evaluation_data
            if not check.passed:
                line = f"  FAILED {check.check_name} {check.metadata}"
        if line is not None:
            print(line.rstrip(), file=sys.stderr, flush=True)


@dg.logger
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """A logger with the handler above; Dagster logs its events as DEBUG, the handler picks."""
    logger = logging.Logger("cyntra_planner.progress", level=logging.DEBUG)
    logger.addHandler(ProgressHandler())
    return logger
