"""Optional libraries: one error when one is not there, with the remedy.

Belongs here: that error, and telling it from a library that is there and broken. Does not: the
imports; each extra has one module that makes them.
Source: pyproject.toml, the extras ``mcp``, ``arbiter`` and ``otel``.
"""


class MissingExtra(ImportError):
    """A library of an extra is not installed; ``extra`` says which to install."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs more: pip install 'cyntra-planner[{extra}]'")
        self.extra = extra


def missing_extra(error: ImportError, extra: str, *, libraries: tuple[str, ...]) -> ImportError:
    """What a failed import means: ``MissingExtra``, or the error itself.

    Args:
        libraries: What the extra brings, by the names that are imported. Where another module is
            not found, or a name is not in one, a library is broken, and to install it is no remedy.
    """
    is_absent = isinstance(error, ModuleNotFoundError) and error.name in libraries
    return MissingExtra(extra) if is_absent else error
