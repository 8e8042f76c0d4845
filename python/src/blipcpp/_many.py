"""Many pictures in order with the next ones read ahead, and streams of tokens."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Callable, Deque, Iterable, Iterator, List, Optional, Sized

from ._errors import BlipError, UsageError
from ._results import Token
from ._sessions import Scope, in_scope

if TYPE_CHECKING:
    from ._model import Model

_BATCHES_AHEAD = 2


def in_batches(
    model: "Model",
    images: Iterable[Any],
    task: Callable[[List[Any]], List[Any]],
    batch_size: int,
    workers: int,
    progress: Optional[Callable[[int, Optional[int]], Any]],
    raises: bool,
) -> Iterator[Any]:
    """task over batches of images, each a result or, unless it raises, the exception of its
    picture.
    """
    if workers < 1 or batch_size < 1:
        raise UsageError(
            "workers and batch_size must be at least 1, not %d and %d" % (workers, batch_size)
        )
    return _batches(model, images, task, batch_size, workers, progress, raises)


def _batches(
    model: "Model",
    images: Iterable[Any],
    task: Callable[[List[Any]], List[Any]],
    batch_size: int,
    workers: int,
    progress: Optional[Callable[[int, Optional[int]], Any]],
    raises: bool,
) -> Iterator[Any]:
    total = len(images) if isinstance(images, Sized) else None
    source = iter(images)
    done = 0
    process = os.getpid()
    # Each task of a worker is several pictures, that threads may not hand the interpreter over for
    # each of them.
    share = max(1, batch_size // workers)
    ahead: "Deque[Future[List[Any]]]" = deque()
    ready: "Deque[Any]" = deque()

    with ThreadPoolExecutor(workers, "blipcpp-read") as pool:
        try:
            while True:
                _stay_in(process)
                while share * len(ahead) < batch_size * (1 + _BATCHES_AHEAD):
                    some = list(islice(source, share))
                    if not some:
                        break
                    ahead.append(pool.submit(_prepared, model, some))
                while len(ready) < batch_size and ahead:
                    ready.extend(ahead.popleft().result())
                if not ready:
                    return
                batch = [ready.popleft() for _ in range(min(batch_size, len(ready)))]
                for result in _results(batch, task, raises):
                    done += 1
                    if progress is not None:
                        progress(done, total)
                    yield result
        finally:
            for future in ahead:
                future.cancel()


def _prepared(model: "Model", images: List[Any]) -> List[Any]:
    """Pictures in the model's size, or the exceptions of those that cannot be read."""
    from ._model import Encoded

    prepared: List[Any] = []
    for image in images:
        try:
            prepared.append(image if isinstance(image, Encoded) else model.prepare(image))
        except Exception as problem:
            prepared.append(problem)
    return prepared


def _stay_in(process: int) -> None:
    """A generator's threads do not survive a fork: what it waits for would never come."""
    if os.getpid() != process:
        raise UsageError("this generator was begun before this process was forked: begin it anew")


def _results(
    batch: List[Any], task: Callable[[List[Any]], List[Any]], raises: bool
) -> Iterator[Any]:
    """Of a batch in order. A picture that cannot be read does not keep those before it from being
    done.
    """
    if raises:
        first = next((i for i, image in enumerate(batch) if isinstance(image, Exception)), None)
        batch = batch if first is None else batch[: first + 1]
    # What is no fault of a picture is raised in any case.
    known = [image for image in batch if not isinstance(image, Exception)]
    results = iter(task(known) if known else [])
    for image in batch:
        if not isinstance(image, Exception):
            yield next(results)
        elif raises or not isinstance(image, (BlipError, OSError)):
            raise image
        else:
            yield image


def stream(task: Callable[[Callable[[Token], Any]], Any]) -> Iterator[Token]:
    """Runs a task on a thread of its own and yields the tokens that it tells."""
    queue: "SimpleQueue[Any]" = SimpleQueue()
    scope = Scope()

    def work() -> None:
        with in_scope(scope):
            try:
                task(queue.put)
                queue.put(None)
            except BaseException as problem:
                queue.put(problem)

    process = os.getpid()
    thread = threading.Thread(target=work, name="blipcpp-stream", daemon=True)
    thread.start()
    try:
        while True:
            _stay_in(process)
            item = queue.get()
            if item is None:
                return
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        scope.cancel()
        thread.join()
