"""Many pictures in order with the next ones read ahead, and streams of tokens."""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
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
    """task over batches of images, each a result or, unless it raises, the exception of its picture."""
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
    ahead: "Deque[Future[Any]]" = deque()

    def prepare(image: Any) -> Any:
        from ._model import Encoded

        return image if isinstance(image, Encoded) else model.prepare(image)

    with ThreadPoolExecutor(workers, "blipcpp-read") as pool:
        try:
            while True:
                _stay_in(process)
                while len(ahead) < batch_size * (1 + _BATCHES_AHEAD):
                    try:
                        ahead.append(pool.submit(prepare, next(source)))
                    except StopIteration:
                        break
                if not ahead:
                    return
                batch = [ahead.popleft() for _ in range(min(batch_size, len(ahead)))]
                for result in _results(batch, task, raises):
                    done += 1
                    if progress is not None:
                        progress(done, total)
                    yield result
        finally:
            for future in ahead:
                future.cancel()


def _stay_in(process: int) -> None:
    """A generator's threads do not survive a fork: what it waits for would never come."""
    if os.getpid() != process:
        raise UsageError("this generator was begun before this process was forked: begin it anew")


def _results(
    batch: "List[Future[Any]]", task: Callable[[List[Any]], List[Any]], raises: bool
) -> Iterator[Any]:
    """Of a batch in order. A picture that cannot be read does not keep those before it from being done."""
    pictures: List[Any] = []
    problems: List[Optional[Exception]] = []
    for future in batch:
        try:
            pictures.append(future.result())
            problems.append(None)
        except (BlipError, OSError) as problem:
            problems.append(problem)
            if raises:
                break
    results = iter(task(pictures) if pictures else [])
    for problem_or_none in problems:
        if problem_or_none is None:
            yield next(results)
        elif raises:
            raise problem_or_none
        else:
            yield problem_or_none


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
