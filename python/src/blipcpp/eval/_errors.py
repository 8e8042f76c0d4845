"""What is wrong with a file of annotations or predictions."""

from __future__ import annotations

from .._errors import BlipError


class DataError(BlipError, ValueError):
    """Annotations or predictions that cannot be evaluated: the message names the file, the row and
    what to do.
    """

    code = "data"
