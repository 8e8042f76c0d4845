"""Sessions: what works for one call at a time, kept in a pool so that a model may be used by any number of threads."""

from __future__ import annotations

import threading
import warnings
from ctypes import byref, c_void_p
from typing import Any, Generator, List, Optional

from ._c import c, cancel_callback, decode, defaults, warning_callback
from ._errors import BlipWarning, CancelledError, made


class Scope:
    """Cancels what a thread does for somebody else: a task of asyncio, a stream that is left early."""

    __slots__ = ("cancelled", "session")

    def __init__(self) -> None:
        self.cancelled = False
        self.session: Optional[Session] = None

    def cancel(self) -> None:
        self.cancelled = True
        session = self.session
        if session is not None:
            c.session_cancel(session.handle)


_local = threading.local()


class in_scope:
    """Makes a scope that of this thread."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def __enter__(self) -> Scope:
        _local.scope = self._scope
        return self._scope

    def __exit__(self, *_: Any) -> None:
        _local.scope = None


class Session:
    """A blip_session with what its callbacks collected."""

    __slots__ = ("handle", "interrupt", "_messages", "_keep")

    def __init__(self, engine: c_void_p, threads: int, main_thread: bool) -> None:
        self.interrupt: Optional[BaseException] = None
        self._messages: List[str] = []
        messages = self._messages
        warn = warning_callback(lambda message, _: messages.append(decode(message)))
        options = defaults("session_options")
        options.threads = threads
        options.warning = warn
        poll = None
        if main_thread:
            poller = _poll(self)
            next(poller)
            poll = cancel_callback(poller.send)
            options.cancel = poll
        self._keep = (warn, poll)
        self.handle = made(c.session_new, engine, byref(options))

    def __del__(self, _free: Any = c.session_free) -> None:
        _free(getattr(self, "handle", None))

    def begin(self) -> None:
        self.interrupt = None
        del self._messages[:]

    def end(self) -> None:
        for message in self._messages:
            warnings.warn(message, BlipWarning, stacklevel=4)


def _poll(session: Session) -> "Generator[int, Any, None]":
    """The cancel callback of the main thread, which alone handles signals (Ctrl-C): whether one raised an exception.

    A generator, for it goes on inside `try`. A function would be entered outside of it, which is where the interpreter
    runs the handlers of signals that came meanwhile, and ctypes would drop the exception.
    """
    answer = 0
    while True:
        try:
            while True:
                yield answer
        except GeneratorExit:
            raise
        except BaseException as problem:
            session.interrupt = problem
            answer = 1
        else:
            answer = 0


class Pool:
    """The sessions of one engine that are idle. Those of the main thread look for signals, which costs a little."""

    def __init__(self, engine: c_void_p, threads: int) -> None:
        self._engine, self._threads = engine, threads
        self._idle: List[Session] = []
        self._idle_main: List[Session] = []

    def use(self) -> "Use":
        return Use(self)


class Use:
    """A session for one `with` block. Appending and popping are atomic, so that no lock is needed."""

    __slots__ = ("_idle", "_pool", "_session", "_scope")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    def __enter__(self) -> c_void_p:
        pool = self._pool
        main = threading.current_thread() is threading.main_thread()
        self._idle = pool._idle_main if main else pool._idle
        try:
            session = self._idle.pop()
        except IndexError:
            session = Session(pool._engine, pool._threads, main)
        session.begin()
        self._session = session
        self._scope = getattr(_local, "scope", None)
        if self._scope is not None:
            self._scope.session = session
            if self._scope.cancelled:
                self._scope.session = None
                self._idle.append(session)
                raise CancelledError("cancelled")
        return session.handle

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        session = self._session
        if self._scope is not None:
            self._scope.session = None
        interrupt = session.interrupt
        if interrupt is not None:
            # Its generator has to be asked anew: a session that was interrupted is not used again.
            raise interrupt
        try:
            if kind is None:
                session.end()
        finally:
            self._idle.append(session)
