"""The one kind of error a user of these tools can mend."""


class BuildError(Exception):
    """What is wrong, where, and what to do about it."""
