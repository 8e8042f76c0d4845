"""The commands of a profile that the compiler wrote, with another rate of BM1688's memory. Needs
nothing but Python.

The cycle model moves data at two rates on one core of BM1688: 15 GB/s in groups of operators, as if
the other core read as well, and 24 in operators that are in no group. It is one memory; so graphs
that the compiler groups differently compare only at one rate.
"""

import re

from .errors import BuildError

RATES = (15, 24)  # GB/s: of groups, of other operators
_CYCLES = 900e3  # a millisecond
# What a command takes before data move, in cycles: to the chip's own memory, and from it.
_START = {0: 290, 1: 170}
_MOVES = ("GDMA_TENSOR", "GDMA_MATRIX")
_COMMAND = re.compile(
    r"(\w+)\|(\w+)\|s:\d+\|b:(\d+)\|g:(\d+)\|e:\d+\|t:(\d+)(?:\|dr:(\d)\|sz:\d+\|bw:[\d.]+)?"
)


class _Engine:
    """Runs its commands one after the other: (cycles, own number, the other engine's awaited)."""

    def __init__(self, commands):
        self.commands, self.next, self.time = commands, 0, 0
        self.ends, self.reached = {0: 0}, 0

    def run(self, other):
        """Whether any command could be run."""
        first = self.next
        while self.next < len(self.commands):
            cycles, number, wanted = self.commands[self.next]
            if wanted > other.reached:
                break
            self.time = max(self.time, other.ends.get(wanted, 0)) + cycles
            self.ends[number], self.reached = self.time, number
            self.next += 1
        return self.next > first


def _cycles(match, rate):
    cycles, start = int(match[5]), _START.get(int(match[6] or -1))
    if rate is None or match[2] not in _MOVES or start is None or cycles <= start:
        return cycles
    group = match[1].startswith(("Load_", "Store_"))
    return start + (cycles - start) * RATES[0 if group else 1] / rate


def replay(text, where, rate=None):
    """Milliseconds of a part of a network on one core; rate: GB/s of its memory, as modelled where
    none is given.
    """
    arithmetic, moves = [], []
    for match in _COMMAND.finditer(text):
        cycles, b, g = _cycles(match, rate), int(match[3]), int(match[4])
        if match[6] is None:
            arithmetic.append((cycles, b, g))
        else:
            moves.append((cycles, g, b))
    arithmetic, moves = _Engine(arithmetic), _Engine(moves)
    while arithmetic.run(moves) | moves.run(arithmetic):
        pass
    if arithmetic.next < len(arithmetic.commands) or moves.next < len(moves.commands):
        raise BuildError(f"{where}: commands that wait for each other; is the file whole?")
    return max(arithmetic.time, moves.time) / _CYCLES
