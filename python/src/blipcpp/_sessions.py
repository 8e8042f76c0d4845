"""Sessions: what works for one call at a time, kept in a pool so that a model may be used by any
number of threads.
"""

from __future__ import annotations

import threading
import warnings
from ctypes import byref, c_void_p
from typing import Any, List, Optional

from ._c import c, decode, defaults, warning_callback
from ._callbacks import Interrupts
from ._errors import BlipWarning, CancelledError, made


class Scope:
    """Cancels what a thread does for somebody else: a task of asyncio, a stream that is left
    early.
    """

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

    __slots__ = ("handle", "interrupts", "_messages", "_warn")

    def __init__(self, engine: c_void_p, threads: int) -> None:
        self.interrupts = Interrupts()
        self._messages: List[str] = []
        messages = self._messages
        self._warn = warning_callback(lambda message, _: messages.append(decode(message)))
        options = defaults("session_options")
        options.threads = threads
        options.warning = self._warn
        options.cancel = self.interrupts.callback
        self.handle = made(c.session_new, engine, byref(options))

    def __del__(self, _free: Any = c.session_free) -> None:
        _free(getattr(self, "handle", None))

    def begin(self) -> None:
        self.interrupts.raised = None
        del self._messages[:]

    def end(self) -> None:
        for message in self._messages:
            warnings.warn(message, BlipWarning, stacklevel=4)


class Pool:
    """The sessions of one engine that are idle. Those of the main thread look for signals, which
    costs a little.
    """

    def __init__(self, engine: c_void_p, threads: int) -> None:
        self._engine, self._threads = engine, threads
        self._idle: List[Session] = []
        self._idle_main: List[Session] = []

    def use(self) -> "Use":
        return Use(self)


class Use:
    """A session for one `with` block. Appending and popping are atomic, so that no lock is
    needed.
    """

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
            session = Session(pool._engine, pool._threads)
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
        interrupt = session.interrupts.raised
        if interrupt is not None:
            # Its generator has to be asked anew: a session that was interrupted is not used again.
            raise interrupt
        try:
            if kind is None:
                session.end()
        finally:
            self._idle.append(session)
