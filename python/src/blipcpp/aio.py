"""asyncio: the same tasks without blocking the event loop.

>>> import asyncio, blipcpp, blipcpp.aio
>>> async def main():
...     model = blipcpp.aio.AsyncModel(blipcpp.Model.load())
...     names = ["clock.png", "balloons.png"]
...     captions = await asyncio.gather(*[model.caption(name) for name in names])
...     words = [token.text async for token in model.stream("clock.png")]
...     return [str(caption) for caption in captions], words[-1]
>>> captions, word_by_word = asyncio.run(main())
>>> captions
['a clock on a gray background', 'two balloons on a purple background']
>>> word_by_word
'a clock on a gray background'
"""

from __future__ import annotations

import asyncio
import functools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any, AsyncIterator, Callable, Optional

from ._model import Model
from ._results import Attention, Generation, Token
from ._sessions import Scope, in_scope


class AsyncModel:
    """A Model whose tasks are awaited; their arguments and results are the same. Cancelling a task
    ends its work.
    """

    def __init__(self, model: Model, workers: int = 4) -> None:
        """workers: so many calls at a time; they share the model's threads."""
        self.model = model
        self._workers = workers
        self._process = -1  # that the pool's threads live in: after a fork they do not

    def _threads(self) -> ThreadPoolExecutor:
        if self._process != os.getpid():
            self._pool = ThreadPoolExecutor(self._workers, "blipcpp-aio")
            self._process = os.getpid()
        return self._pool

    async def run(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """Awaits a method of the model."""
        scope = Scope()

        def work() -> Any:
            with in_scope(scope):
                return function(*arguments, **options)

        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads(), work)
        except asyncio.CancelledError:
            scope.cancel()
            raise

    async def encode(self, image: Any, **options: Any) -> Any:
        return await self.run(self.model.encode, image, **options)

    async def caption(self, image: Any, **options: Any) -> Any:
        return await self.run(self.model.caption, image, **options)

    async def ask(self, image: Any, question: Any, **options: Any) -> Any:
        return await self.run(self.model.ask, image, question, **options)

    async def rank(self, image: Any, question: str, answers: Any, **options: Any) -> Generation:
        ranked: Generation = await self.run(self.model.rank, image, question, answers, **options)
        return ranked

    async def match(self, image: Any, text: Any, **options: Any) -> Any:
        return await self.run(self.model.match, image, text, **options)

    async def nlvr(self, first: Any, second: Any, text: Any, **options: Any) -> Any:
        return await self.run(self.model.nlvr, first, second, text, **options)

    async def embed(self, image: Any, **options: Any) -> Any:
        return await self.run(self.model.embed, image, **options)

    async def embed_text(self, text: Any, **options: Any) -> Any:
        return await self.run(self.model.embed_text, text, **options)

    async def features(self, kind: str, image: Any = None, text: Any = None, **options: Any) -> Any:
        return await self.run(self.model.features, kind, image, text, **options)

    async def attention(
        self, image: Any, text: Any, question: Optional[str] = None, **options: Any
    ) -> Attention:
        attention: Attention = await self.run(
            self.model.attention, image, text, question, **options
        )
        return attention

    async def stream(
        self, image: Any, question: Optional[str] = None, **options: Any
    ) -> AsyncIterator[Token]:
        """The tokens of a caption or an answer as they are decided; leaving the loop ends the
        work.
        """
        loop = asyncio.get_running_loop()
        queue: "asyncio.Queue[Any]" = asyncio.Queue()
        options.setdefault("beams", 1)

        def tell(token: Any) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, token)

        task: Callable[..., Any] = functools.partial(self.model.caption, image)
        if question is not None:
            task = functools.partial(self.model.ask, image, question)
        work = asyncio.ensure_future(self.run(task, on_token=tell, **options))
        work.add_done_callback(lambda _: queue.put_nowait(None))
        try:
            while True:
                token = await queue.get()
                if token is None:
                    break
                yield token
            await work
        finally:
            work.cancel()
