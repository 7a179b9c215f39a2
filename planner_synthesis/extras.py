"""Optional libraries: one error when one is not there, with the remedy.

Belongs here: that error. Does not: the imports; each extra has one module that makes them.
Source: pyproject.toml, the extras ``mcp``, ``arbiter`` and ``otel``.
"""


class MissingExtra(ImportError):
    """A library of an extra is not installed; ``extra`` says which to install."""

    def __init__(self, extra: str) -> None:
        super().__init__(f"this needs more: pip install 'cyntra-planner[{extra}]'")
        self.extra = extra
