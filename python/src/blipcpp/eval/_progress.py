"""How far a run is, on standard error."""

from __future__ import annotations

import sys
import time
from typing import Optional, TextIO

_SECONDS_BETWEEN_LINES = 10.0
_SECONDS_ON_A_TERMINAL = 0.2


class Progress:
    """A line that is written over on a terminal, else a line each ten seconds. `begun` of the total
    were done by a run before.
    """

    def __init__(
        self, what: str, total: int, begun: int = 0, stream: Optional[TextIO] = None
    ) -> None:
        self._stream = sys.stderr if stream is None else stream
        self._terminal = self._stream.isatty()
        self._what, self._total = what, total
        self._begun = self._done = begun
        self._start = self._shown = time.monotonic()
        self._open = False
        if begun:
            self._stream.write("%d of %d %s are done already\n" % (begun, total, what))

    def step(self, count: int = 1) -> None:
        self._done += count
        now = time.monotonic()
        wait = _SECONDS_ON_A_TERMINAL if self._terminal else _SECONDS_BETWEEN_LINES
        if now - self._shown < wait:
            return
        self._shown = now
        rate = (self._done - self._begun) / max(now - self._start, 1e-9)
        left = (self._total - self._done) / max(rate, 1e-9)
        line = "%d/%d %s, %.1f/s, %s left" % (
            self._done, self._total, self._what, rate, _duration(left),
        )  # fmt: skip
        self._stream.write("\r\x1b[K" + line if self._terminal else line + "\n")
        self._stream.flush()
        self._open = self._terminal

    def close(self) -> None:
        """Leaves the line to what comes next."""
        if self._open:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
            self._open = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *ignored: object) -> None:
        self.close()


def _duration(seconds: float) -> str:
    if seconds < 90:
        return "%d s" % round(seconds)
    if seconds < 5400:
        return "%d min" % round(seconds / 60)
    return "%.1f h" % (seconds / 3600)
