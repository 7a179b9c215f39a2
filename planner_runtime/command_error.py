"""The one way in which a command fails for a reason that a person can act on.

Belongs here: the error. Does not: commands.
"""


class CommandError(Exception):
    """A command could not do its work; the text is the one line a person reads."""
