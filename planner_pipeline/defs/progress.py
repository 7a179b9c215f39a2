"""Progress for people: one line on stderr for every asset and every failed check.

Belongs here: the console logger of our jobs, the bar of long work. Does not: the event log, which
Dagster keeps.
"""

import logging
import sys
from typing import NoReturn

import dagster as dg
from dagster import DagsterEventType
from tqdm import tqdm

_BARS: dict[str, "tqdm[NoReturn]"] = {}


def show_progress(what: str, done: int, of: int) -> None:
    """A bar on a terminal's stderr for work of more than a few seconds; elsewhere nothing."""
    bar = _BARS.get(what)
    if bar is None:
        if done >= of:
            return
        bar = _BARS[what] = tqdm(
            total=of, desc=f"  {what}", leave=False, delay=2, disable=not sys.stderr.isatty()
        )
    bar.update(done - bar.n)
    if done >= of:
        _BARS.pop(what).close()


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
                verdict = check.metadata.get("verdict")
                told = check.metadata if verdict is None else verdict.value
                grade = "note" if check.severity.value == "WARN" else "FAILED"
                line = f"  {grade} {check.check_name.replace('_', ' ')}: {told}"
        if line is not None:
            print(line.rstrip(), file=sys.stderr, flush=True)


@dg.logger
def progress_logger(_context: dg.InitLoggerContext) -> logging.Logger:
    """A logger with the handler above; Dagster logs its events as DEBUG, the handler picks."""
    logger = logging.Logger("cyntra_planner.progress", level=logging.DEBUG)
    logger.addHandler(ProgressHandler())
    return logger
