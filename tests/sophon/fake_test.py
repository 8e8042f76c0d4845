"""The program on fake chips (fake/fake_runtime.cpp), without an emulator: what depends on several
chips or on an order of events.
"""

import hashlib
import http.client
import json
import os
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

from sample_folder import bmodel, png

PROGRAM = os.environ["BLIP_PROGRAM"]
RUNTIME = os.environ["BLIP_FAKE_RUNTIME"]
SIZE, LENGTH = 16, 8


class FakeChips(unittest.TestCase):
    def setUp(self):
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.log = self.folder / "events"
        self.model = self.folder / "caption.bmodel"
        self.model.write_bytes(
            bmodel([f"network cap caption 1", f"in 0 1,3,{SIZE},{SIZE}", f"out 0 1,{LENGTH}"])
        )
        self.pictures = []
        for i in range(5):
            self.pictures.append(str(self.folder / f"{i}.png"))
            Path(self.pictures[-1]).write_bytes(png(20, 20, i + 1))

    def command(self, *arguments, chips=2, **settings):
        environment = {
            **os.environ,
            "BLIP_BMRT_DIR": RUNTIME,
            "BLIP_FAKE_CHIPS": str(chips),
            "BLIP_FAKE_LOG": str(self.log),
            **settings,
        }
        return {
            "args": [PROGRAM, *arguments],
            "env": environment,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
        }

    def run_program(self, *arguments, code=0, **keywords):
        done = subprocess.run(**self.command(*arguments, **keywords), timeout=120, check=False)
        self.assertEqual(done.returncode, code, done.stderr.decode())
        return done

    def events(self):
        return self.log.read_text().splitlines()

    def captions(self, *arguments, **keywords):
        done = self.run_program(
            "caption",
            "--bmodel-path",
            str(self.model),
            "--json",
            *arguments,
            *self.pictures,
            **keywords,
        )
        results = [json.loads(line) for line in done.stdout.splitlines()]
        return [(r["image"], r["token_ids"]) for r in results]

    def refused(self, model, value, *arguments):
        done = self.run_program(
            *arguments,
            "--bmodel-path",
            str(model),
            "--device",
            "sophon:0",
            "--json",
            code=3,
            BLIP_FAKE_GARBLED=value,
        )
        self.assertEqual(done.stdout, b"")
        return done.stderr.decode()

    def test_what_a_garbled_network_gives_is_an_error_not_a_result(self):
        picture = self.pictures[0]
        self.assertIn("is nan, not a token id", self.refused(self.model, "nan", "caption", picture))
        match = self.folder / "match.bmodel"
        match.write_bytes(
            bmodel(
                [
                    "network match match 1",
                    f"in 0 1,3,{SIZE},{SIZE}",
                    f"in 0 1,{LENGTH}",
                    f"in 0 1,{LENGTH}",
                    "out 0 1,1",
                ]
            )
        )
        arguments = ("match", picture, "--text", "a cat")
        self.assertIn(
            "gives a match probability that is not finite (NaN or infinite): the model is damaged",
            self.refused(match, "nan", *arguments),
        )
        self.assertIn(
            "gives a match probability that is not finite (NaN or infinite): the model is damaged",
            self.refused(match, "-inf", *arguments),
        )
        self.assertIn(
            "gives 37.000000 as a match probability: the model is damaged",
            self.refused(match, "37", *arguments),
        )

    def test_pictures_are_spread_and_captions_stay_the_same(self):
        expected = self.captions("--device", "sophon:0")
        self.assertEqual([image for image, _ in expected], self.pictures)
        self.assertEqual(len({tuple(ids) for _, ids in expected}), 5)
        self.assertEqual(self.captions("--device", "sophon:1"), expected)
        for device in ("sophon:0,1", "sophon:1,0", "sophon:all"):
            self.log.unlink()
            self.assertEqual(self.captions("--device", device, BLIP_FAKE_MEET="2"), expected)
            self.assertIn("met", self.events(), "the chips never worked at the same time")
            launches = [event.split()[1] for event in self.events() if event.startswith("launch")]
            self.assertEqual(sorted(launches.count(chip) for chip in "01"), [2, 3])

    @unittest.skipUnless(os.environ.get("BLIP_HAS_SERVER") == "1", "built without blip serve")
    def test_the_server_says_what_a_chip_cannot(self):
        """A chip gives out no attention, and a compiled decoder takes no options: a stable code
        each, not an internal error.
        """
        command = self.command(
            "serve",
            "--model",
            str(self.model),
            "--device",
            "sophon:0",
            "--port",
            "0",
            "--no-history",
            "-q",
        )
        with subprocess.Popen(**command) as process:
            try:
                port = int(
                    process.stdout.readline().decode().rstrip().rstrip("/").rsplit(":", 1)[1]
                )
                picture = Path(self.pictures[0]).read_bytes()

                def ask(path, body=picture):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    connection.request(
                        "GET" if body is None else "POST", path, body, {"Content-Type": "image/png"}
                    )
                    response = connection.getresponse()
                    self.addCleanup(connection.close)
                    return response.status, json.loads(response.read())

                (model,) = ask("/v1/models", None)[1]["data"]
                self.assertEqual((model["tasks"], model["device"]), (["caption"], "sophon:0"))
                status, answer = ask("/v1/caption")
                self.assertEqual(
                    (status, answer["results"][0]["token_ids"]),
                    (200, self.captions("--device", "sophon:0")[0][1]),
                )
                for path in (
                    "/v1/attention",
                    "/v1/attention?format=png",
                    "/v1/caption?attention=true",
                    f"/v1/attention?model={model['id']}",
                    "/v1/caption?beams=4",
                    "/v1/caption?sample=true",
                    "/v1/match?text=a+cat",
                    "/v1/ask?question=why",
                ):
                    status, problem = ask(path)
                    self.assertEqual(
                        (status, problem["code"], problem["type"]),
                        (422, "unsupported_task", "urn:blip:problem:unsupported_task"),
                        (path, problem),
                    )
                    self.assertIn("request_id", problem)
                self.assertIn("tell where it looked", ask("/v1/attention")[1]["detail"])
            finally:
                process.terminate()
                process.wait(60)

    def faults(self, lines):
        """Read by the fake runtime at every call (fake/fake_runtime.cpp)."""
        partial = self.folder / "faults.new"
        partial.write_text(lines)
        partial.replace(self.folder / "faults")

    def faulty(self):
        return {"BLIP_FAKE_FAULTS": str(self.folder / "faults"), "BLIP_SOPHON_TIMEOUT": "1"}

    def test_one_failed_launch_fails_one_picture(self):
        expected = dict(self.captions("--device", "sophon:0"))
        self.faults("0 launch fail 3\n")
        for batch, code, failed in (("1", 1, [self.pictures[2]]), ("5", 0, [])):
            done = self.run_program(
                *("caption", "--bmodel-path", str(self.model), "--json", "--batch", batch),
                *("--device", "sophon:0", *self.pictures),
                code=code,
                **self.faulty(),
            )
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            good = {r["image"]: r["token_ids"] for r in lines if "caption" in r}
            bad = {r["image"]: r["error"] for r in lines if "error" in r}
            self.assertEqual(list(bad), failed)
            self.assertEqual(good, {i: t for i, t in expected.items() if i not in failed})
            for error in bad.values():
                self.assertIn('failed to run network "cap"', error)

    def test_a_hung_chip_ends_the_run(self):
        for call in ("launch", "sync", "upload", "any"):
            with self.subTest(call):
                self.faults(f"0 {call} hang\n")
                start = time.monotonic()
                done = self.run_program(
                    *("caption", "--bmodel-path", str(self.model), "--batch", "1"),
                    *("--device", "sophon:0", *self.pictures),
                    code=3,
                    **self.faulty(),
                )
                self.assertLess(time.monotonic() - start, 15)
                self.assertIn("it has not answered for 1 s", done.stderr.decode())
                self.assertEqual(done.stdout, b"")

    def test_another_chip_takes_over(self):
        expected = self.captions("--device", "sophon:0")
        self.faults("1 launch hang\n")
        self.assertEqual(self.captions("--device", "sophon:0,1", **self.faulty()), expected)

    def test_a_chip_whose_copies_always_fail_has_failed(self):
        for call in ("download", "allocate", "upload", "launch", "sync"):
            with self.subTest(call):
                self.faults(f"0 {call} fail\n")
                command = ("caption", "--bmodel-path", str(self.model), "--batch", "1")
                command += ("--device", "sophon:0")
                done = self.run_program(*command, *self.pictures, code=3, **self.faulty())
                self.assertIn("3 times in a row", done.stderr.decode())

    def test_a_number_type_cannot_be_chosen(self):
        for dtype in ("bf16", "int8", "f16"):
            command = ("caption", "--bmodel-path", str(self.model), "--dtype", dtype)
            done = self.run_program(*command, self.pictures[0], code=2)
            self.assertIn(
                f"its number type is fixed, and {dtype} cannot be asked for", done.stderr.decode()
            )

    def test_what_is_no_model_says_what_to_name(self):
        for arguments, message in (
            (
                ("info", "--model", str(self.folder)),
                "no manifest.json of build-bmodels here, and no checkpoint; name the file: "
                "caption.bmodel",
            ),
            (("info", "--verify", "--model", "nope"), "nope: no such file or folder"),
            (
                ("info", "--bmodel-path", str(self.model), "--tokenizer-path", self.pictures[0]),
                f"{self.pictures[0]}: ",
            ),
        ):
            with self.subTest(message):
                done = self.run_program(*arguments, code=3)
                self.assertIn(message, done.stderr.decode())

    def test_a_chip_of_another_kind(self):
        command = ("caption", "--bmodel-path", str(self.model), self.pictures[0])
        done = self.run_program(*command, code=3, BLIP_FAKE_CHIP="0x9999")
        self.assertIn("is a chip that blip does not know", done.stderr.decode())

    @unittest.skipUnless(os.environ.get("BLIP_HAS_SERVER") == "1", "built without blip serve")
    def test_the_samples_backend_without_its_models(self):
        for task, missing in (("caption", "blip_cap"), ("ask", "blip_vqa_venc")):
            command = self.command("serve", "--sophon-demo", task)
            environment = {k: v for k, v in command.pop("env").items() if k != "BLIP_MODEL"}
            done = subprocess.run(
                **command, cwd=self.folder, env=environment, timeout=60, check=False
            )
            self.assertEqual((done.returncode, done.stdout), (2, b""))
            self.assertRegex(
                done.stderr.decode(),
                f"--sophon-demo {task} needs a model: .*{missing}.* is missing",
            )

    @unittest.skipUnless(os.environ.get("BLIP_HAS_SERVER") == "1", "built without blip serve")
    def test_the_server_outlives_its_chips(self):
        expected = dict(self.captions("--device", "sophon:0"))
        command = self.command(
            *("serve", "--model", str(self.model), "--device", "sophon:0,1", "--port", "0"),
            *("--no-history", "-q"),
            **self.faulty(),
        )
        self.faults("")
        with subprocess.Popen(**command) as process:
            try:
                port = int(process.stdout.readline().decode().strip().rstrip("/").rsplit(":", 1)[1])

                def ask(path, body=None):
                    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                    method, headers = (
                        ("POST", {"Content-Type": "image/png"}) if body else ("GET", {})
                    )
                    connection.request(method, path, body, headers)
                    response = connection.getresponse()
                    status, answer = response.status, json.loads(response.read())
                    connection.close()
                    return status, answer

                def caption(path):
                    status, answer = ask("/v1/caption", Path(path).read_bytes())
                    return answer["results"][0]["token_ids"] if status == 200 else answer["code"]

                def wait_for(status):
                    end = time.monotonic() + 20
                    while ask("/readyz")[0] != status and time.monotonic() < end:
                        time.sleep(0.05)
                    self.assertEqual(ask("/readyz")[0], status)

                self.assertEqual(ask("/readyz"), (200, {"status": "ready"}))
                self.faults("1 any hang\n")
                for path in self.pictures[:4]:  # those that the second chip would get as well
                    self.assertIn(caption(path), (expected[path], "unavailable"))
                    self.assertEqual(caption(path), expected[path])
                status, problem = ask("/readyz")
                self.assertEqual((status, problem["code"]), (503, "unavailable"))
                self.assertIn("sophon:1 (bm1684x): it has not answered for 1 s", problem["detail"])
                self.assertEqual(ask("/healthz")[0], 200)
                self.faults("")
                wait_for(200)
                self.faults("0 launch hang\n1 launch hang\n")
                self.assertEqual(caption(self.pictures[4]), "unavailable")
                self.assertEqual(caption(self.pictures[4]), "unavailable")
                wait_for(503)
                start = time.monotonic()
                self.assertEqual(caption(self.pictures[4]), "unavailable")
                self.assertLess(time.monotonic() - start, 1, "no chip is asked any more")
                self.faults("")
                wait_for(200)
                self.assertEqual(caption(self.pictures[4]), expected[self.pictures[4]])
            finally:
                process.terminate()
                process.wait(60)

    def folder_of(self, **digests):
        """A compiled folder, as far as `info --verify` reads it."""
        folder = self.folder / "compiled"
        folder.mkdir(exist_ok=True)
        (folder / "model.bmodel").write_bytes(bmodel(["network cap caption 1"], b"BM1688"))
        (folder / "vocab.txt").write_text("[PAD]\n")
        zeros = "0" * 64
        network = {"file": "model.bmodel", "bytes": 1, "rows": 1, **digests}
        parts = ("vision", "caption_cross", "caption_step")
        manifest = {
            "format": "blip-bmodels",
            "version": 1,
            "chip": "bm1688",
            "cores": 1,
            "dtype": "f16",
            "checkpoint": {"name": "x", "sha256": zeros},
            "vocabulary": {
                "file": "vocab.txt",
                "sha256": hashlib.sha256(b"[PAD]\n").hexdigest(),
                "size": 9,
            },
            "image": {"size": 16, "mean": [0, 0, 0], "std": [1, 1, 1], "tokens": 2, "width": 8},
            "text": {"width": 8, "layers": 1, "heads": 2, "length": 35, "embed": 0},
            "decoder": {"slots": 12, "prompt": 0},
            "special": {"pad": 0, "cls": 1, "sep": 2, "dec": 3, "enc": 4},
            "tasks": ["caption"],
            "prompt": "",
            "networks": [{"role": p, "name": f"{p}_{zeros[:12]}", **network} for p in parts],
        }
        (folder / "manifest.json").write_text(json.dumps(manifest))
        return folder

    def test_verify(self):
        folder = self.folder_of()
        done = self.run_program("info", "--verify", "--model", str(folder), code=3)
        self.assertIn("has no SHA-256 of model.bmodel", done.stderr.decode())
        digest = hashlib.sha256((folder / "model.bmodel").read_bytes()).hexdigest()
        folder = self.folder_of(sha256=digest)

        def verify(code):
            done = self.run_program(
                "info", "--verify", "--model", str(folder), "--json", code=code, chips=0
            )
            lines = [json.loads(line) for line in done.stdout.splitlines()]
            return {Path(r["file"]).name: r["result"] for r in lines}, done.stderr.decode()

        self.assertEqual(verify(0)[0], {"model.bmodel": "good", "vocab.txt": "good"})
        data = bytearray((folder / "model.bmodel").read_bytes())
        data[-2] ^= 1
        (folder / "model.bmodel").write_bytes(data)
        results, said = verify(1)
        self.assertEqual(results, {"model.bmodel": "changed", "vocab.txt": "good"})
        self.assertIn("model.bmodel is not what was compiled", said)
        (folder / "model.bmodel").unlink()
        os.mkfifo(folder / "model.bmodel")
        self.assertEqual(verify(1)[0], {"model.bmodel": "unreadable", "vocab.txt": "good"})
        done = self.run_program("info", "--verify", "--model", str(self.model), code=3)
        self.assertIn("comes with no digests", done.stderr.decode())

    def test_chips_that_are_told_by_other_names(self):
        """CV186X has BM1688's id; older compilers wrote BM1686."""
        lines = ["network cap caption 1", f"in 0 1,3,{SIZE},{SIZE}", f"out 0 1,{LENGTH}"]
        expected = self.captions("--device", "sophon:0")
        for label, chip, code in (
            (b"CV186X", "0x1686a200", 0),
            (b"BM1686", "0x1686a200", 0),
            (b"BM1686", "0x1686", 0),
            (b"CV186X", "0x1686", 3),
            (b"BM1690", "0x1686a200", 3),
            (b"BM1684X2", "0x1686", 3),
        ):
            with self.subTest(label=label, chip=chip):
                self.model.write_bytes(bmodel(lines, label))
                if code == 0:
                    self.assertEqual(
                        self.captions("--device", "sophon:0", BLIP_FAKE_CHIP=chip), expected
                    )
                    continue
                done = self.run_program(
                    *("caption", "--bmodel-path", str(self.model), self.pictures[0]),
                    code=code,
                    BLIP_FAKE_CHIP=chip,
                )
                said = done.stderr.decode()
                self.assertIn(f"is compiled for {label.decode()}", said)
                known = "it knows BM1684, BM1684X, BM1688 and CV186X"
                self.assertEqual(known in said, label != b"CV186X")

    def test_the_next_picture_is_read_while_the_chip_works(self):
        """The chip holds the first caption back until the second picture has been read, which is
        more than a pipe holds.
        """
        gate = self.folder / "gate"
        command = self.command(
            "caption",
            "--bmodel-path",
            str(self.model),
            "--batch",
            "1",
            "--device",
            "sophon:0",
            self.pictures[0],
            "-",
            BLIP_FAKE_GATE=str(gate),
        )
        picture = png(500, 500, 9)
        self.assertGreater(len(picture), 1 << 19)

        def feed():
            with process.stdin as pipe:
                pipe.write(picture)
            gate.touch()

        with subprocess.Popen(**command, stdin=subprocess.PIPE) as process:
            feeder = threading.Thread(target=feed)
            feeder.start()
            feeder.join()
            self.assertEqual(process.wait(60), 0)
        self.assertEqual(
            self.events(),
            ["launch 0 0 cap", "gate", "done 0 0 cap", "launch 0 0 cap", "done 0 0 cap"],
        )

    def test_devices(self):
        lines = self.run_program("devices", "--json", chips=3).stdout.splitlines()
        devices = [json.loads(line) for line in lines]
        self.assertEqual([d["id"] for d in devices], ["cpu", "sophon:0", "sophon:1", "sophon:2"])
        self.assertEqual(
            devices[3]["description"],
            "FAKE, BM1684X, 5120 of 14336 MiB used, 45 °C, 18 W, driver 0.5.1, runtime 1.2.3 "
            "(fa4e)",
        )

    def test_device_names(self):
        for device, code, message in (
            ("sophon:2", 3, "this machine has sophon:0 to sophon:1"),
            ("sophon:0,2", 3, "no device sophon:2"),
            ("sophon:0,0", 2, "twice"),
            ("sophon:0,", 2, "unknown device"),
            ("sophon:every", 2, "sophon:all"),
        ):
            with self.subTest(device=device):
                done = self.run_program(
                    "caption",
                    "--bmodel-path",
                    str(self.model),
                    "--device",
                    device,
                    self.pictures[0],
                    code=code,
                )
                self.assertIn(message, done.stderr.decode())


if __name__ == "__main__":
    unittest.main()
