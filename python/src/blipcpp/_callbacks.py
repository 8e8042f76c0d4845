"""Functions of Python that C calls."""

from __future__ import annotations

import threading
from typing import Any, Callable, Generator, Optional

from ._c import cancel_callback


class Callback:
    """A Python function for C. What it raises ends the call, and is raised from it."""

    def __init__(self) -> None:
        self.raised: Optional[BaseException] = None

    def _guarded(self, function: Callable[..., Any], *arguments: Any) -> int:
        try:
            function(*arguments)
        except BaseException as problem:
            self.raised = problem
            return 1
        return 0

    def call(self, function: Any, *arguments: Any) -> Any:
        """Raises what ended the call."""
        try:
            return function(*arguments)
        except Exception as error:
            if self.raised is not None:
                raise self.raised from error
            raise


class Interrupts(Callback):
    """The cancel callback of the main thread, which alone handles signals (Ctrl-C): whether one
    raised an exception.
    """

    def __init__(self) -> None:
        super().__init__()
        self.callback = cancel_callback()
        if threading.current_thread() is threading.main_thread():
            poller = _poll(self)
            next(poller)
            self.callback = cancel_callback(poller.send)


def _poll(interrupts: Interrupts) -> "Generator[int, Any, None]":
    """A generator, for it goes on inside `try`. A function would be entered outside of it, which is
    where the interpreter runs the handlers of signals that came meanwhile, and ctypes would drop
    the exception.
    """
    answer = 0
    while True:
        try:
            while True:
                yield answer
        except GeneratorExit:
            raise
        except BaseException as problem:
            interrupts.raised = problem
            answer = 1
        else:
            answer = 0
