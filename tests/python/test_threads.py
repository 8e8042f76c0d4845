"""Threads, processes, signals and asyncio."""

import asyncio
import os
import pathlib
import pickle
import signal
import subprocess
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor

import blipcpp
import blipcpp.aio

SCENES = pathlib.Path(os.environ["BLIP_SOURCE"]) / "demo/scenes"
FILES = sorted(SCENES.glob("*.png"))
CLOCK = str(SCENES / "clock.png")


class Threads(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.model = blipcpp.Model.load()
        cls.expected = [str(c) for c in cls.model.caption(FILES)]

    def test_one_model_for_many_threads(self):
        with ThreadPoolExecutor(6) as pool:
            got = list(pool.map(lambda file: str(self.model.caption(file)), FILES * 3))
        self.assertEqual(got, self.expected * 3)

    def test_others_run_meanwhile(self):
        """The library works without the GIL: another thread goes on while one call lasts."""
        steps, stop = [], threading.Event()

        def count():
            while not stop.is_set():
                steps.append(time.perf_counter())
                time.sleep(0.0005)

        thread = threading.Thread(target=count)
        thread.start()
        started = time.perf_counter()
        self.model.encode([CLOCK] * 48, batch_size=48)
        ended = time.perf_counter()
        stop.set()
        thread.join()
        during = [s for s in steps if started < s < ended]
        self.assertGreater(
            len(during),
            (ended - started) / 0.02,
            "only %d steps in %.3f s" % (len(during), ended - started),
        )

    def test_keyboard_interrupt(self):
        code = (
            "import blipcpp, sys\n"
            "model = blipcpp.Model.load(threads=1)\n"
            "picture = model.encode(%r)\n"
            "print('ready', flush=True)\n"
            "try:\n"
            "    for _ in range(100):\n"
            "        model.caption([picture] * 200, beams=8, batch_size=200, num_captions=8)\n"
            "    print('not interrupted')\n"
            "except KeyboardInterrupt:\n"
            "    print('interrupted', model.caption(picture))\n" % CLOCK
        )
        child = subprocess.Popen(
            [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.assertEqual(child.stdout.readline(), "ready\n")
        time.sleep(0.5)
        child.send_signal(signal.SIGINT)
        out, errors = child.communicate(timeout=120)
        self.assertEqual((out, errors), ("interrupted a clock on a gray background\n", ""))

    def test_fork(self):
        """The child loads the model anew; a picture that was encoded before is refused; nothing
        hangs.
        """
        picture = self.model.encode(CLOCK)
        child = os.fork()
        if child == 0:
            status = 1
            try:
                right = str(self.model.caption(CLOCK)) == "a clock on a gray background"
                try:
                    self.model.caption(picture)
                except blipcpp.UsageError as error:
                    status = 0 if right and "forked" in str(error) else 2
            finally:
                os._exit(status)
        self.assertEqual(
            (
                os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
                if hasattr(os, "waitstatus_to_exitcode")
                else os.waitpid(child, 0)[1]
            ),
            0,
        )
        self.assertEqual(str(self.model.caption(picture)), "a clock on a gray background")

    def test_multiprocessing(self):
        """Worker processes, forked or spawned, use the model that they are given, also while it is
        at work here.
        """
        import multiprocessing

        names = [str(f) for f in FILES[:4]]
        for method in ("fork", "spawn"):
            stop = threading.Event()

            def work():
                while not stop.is_set():
                    self.model.caption(CLOCK)

            threads = [threading.Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                with multiprocessing.get_context(method).Pool(2, _begin, (self.model,)) as pool:
                    got = pool.map_async(_caption, names, 1).get(120)
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
            self.assertEqual(got, self.expected[:4], method)

    def test_pickles(self):
        model, image = pickle.loads(
            pickle.dumps((blipcpp.Model.load(threads=1), blipcpp.Image.open(CLOCK)))
        )
        self.assertEqual((model.threads, image.size), (1, (320, 320)))
        self.assertEqual(str(model.caption(image)), "a clock on a gray background")
        with self.assertRaisesRegex(blipcpp.UsageError, "encode it there"):
            pickle.dumps(self.model.encode(CLOCK))

    def in_a_child(self, function):
        """What the function says in a forked child, which may not hang."""
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            signal.alarm(60)
            try:
                try:
                    said = str(function())
                except BaseException as problem:
                    said = "%s: %s" % (type(problem).__name__, problem)
                os.write(write, said.encode())
            finally:
                os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            said = pipe.read()
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        return said

    def test_generators_and_asyncio_after_a_fork(self):
        captions = self.model.captions(FILES, batch_size=1)
        tokens = self.model.stream(CLOCK)
        first, token = str(next(captions)), next(tokens).text
        self.assertEqual((first, token), (self.expected[0], "a"))
        for generator in (captions, tokens):
            said = self.in_a_child(lambda: next(generator))
            self.assertEqual(
                said,
                "UsageError: this generator was begun before this process was forked: begin it "
                "anew",
            )
        anew = self.in_a_child(lambda: [str(c) for c in self.model.captions(FILES)])
        self.assertEqual(anew, str(self.expected))
        self.assertEqual([str(c) for c in captions], self.expected[1:])
        self.assertEqual([t.text for t in tokens][-1], "a clock on a gray background")
        model = blipcpp.aio.AsyncModel(self.model)
        asyncio.run(model.caption(CLOCK))
        said = self.in_a_child(lambda: asyncio.run(model.caption(CLOCK)))
        self.assertEqual(said, "a clock on a gray background")

    def test_asyncio(self):
        async def main():
            model = blipcpp.aio.AsyncModel(self.model)
            captions = await asyncio.gather(*[model.caption(str(f)) for f in FILES])
            words = [token.text async for token in model.stream(CLOCK)]
            answer = await model.ask(CLOCK, "is there a clock?")
            vectors = await model.embed([CLOCK])
            match = await model.match(CLOCK, "a clock", head="itm")
            attention = await model.attention(CLOCK, "a clock")
            return (
                [str(c) for c in captions],
                words[-1],
                str(answer),
                vectors.shape,
                match.cosine,
                attention.words,
            )

        self.assertEqual(
            asyncio.run(main()),
            (self.expected, "a clock on a gray background", "yes", (1, 128), None, ["a", "clock"]),
        )

    def test_cancelled_tasks_end_their_work(self):
        async def main():
            model = blipcpp.aio.AsyncModel(self.model)
            picture = await model.encode(CLOCK)
            work = asyncio.ensure_future(
                model.caption([picture] * 400, beams=8, batch_size=400, num_captions=8)
            )
            await asyncio.sleep(0.1)
            work.cancel()
            with self.assertRaises(asyncio.CancelledError):
                await work
            started = time.perf_counter()
            await model.caption(picture)
            return time.perf_counter() - started

        self.assertLess(asyncio.run(main()), 20)

    def test_streams_end(self):
        before = threading.active_count()
        for _ in range(5):
            for _token in self.model.stream(CLOCK):
                break
        self.assertEqual(threading.active_count(), before)


MODEL = None


def _begin(model):
    global MODEL
    MODEL = model


def _caption(file):
    return str(MODEL.caption(file))


if __name__ == "__main__":
    unittest.main()
