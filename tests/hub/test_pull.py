"""Models by name: blip pull, models, rm and --model NAME against a hub on loopback, whole and
faulty.
"""

import hashlib
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
import unittest
import urllib.request
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "cli"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from harness import PROGRAM, SOURCE, CliTest, run, scene_path, scenes  # noqa: E402
from hub_server import Hub, drop_after, status, times  # noqa: E402

MODEL = SOURCE / "tests" / "data" / "parity" / "caption"
NAME = "Salesforce/blip-tiny"
VARIABLES = (
    "HF_TOKEN",
    "HF_HOME",
    "HF_HUB_OFFLINE",
    "HF_TOKEN_PATH",
    "HUGGINGFACE_HUB_CACHE",
    "TRANSFORMERS_OFFLINE",
    "HF_HUB_DISABLE_IMPLICIT_TOKEN",
    "http_proxy",
    "https_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
)


def model_files():
    files = {path.name: path.read_bytes() for path in MODEL.iterdir() if path.is_file()}
    files["README.md"] = b"# A model card\n"
    files["tf_model.h5"] = b"x" * 20_000
    return files


class HubTest(CliTest):
    def setUp(self):
        super().setUp()
        self.files = model_files()
        self.hub = Hub({NAME: {"main": self.files}})
        self.addCleanup(self.hub.close)
        self.cache = self.folder / "cache"
        self.env = {key: "" for key in VARIABLES}
        self.env |= {
            "HF_ENDPOINT": self.hub.endpoint,
            "HF_HUB_CACHE": str(self.cache),
            "HOME": str(self.folder),
            "NO_PROXY": "*",
        }
        self.weights = "model.safetensors"

    def blip(self, *arguments, **more):
        return run(*arguments, env={**self.env, **more.pop("env", {})}, **more)

    def pulled(self, *arguments, **more):
        result = self.blip("pull", NAME, *arguments, **more)
        self.assertEqual(result.code, 0, result.err)
        return Path(result.out.strip())

    def refused(self, message, *arguments, code=3, **more):
        result = self.blip(*(arguments or ("pull", NAME)), **more)
        self.assertEqual(result.code, code, result.err)
        self.assertIn(message, result.err)
        self.assertEqual(result.out, "")
        return result

    def leftovers(self):
        return sorted(str(p.relative_to(self.cache)) for p in self.cache.rglob("*.incomplete"))

    def check_whole(self, path):
        for name in ("config.json", self.weights):
            self.assertEqual((path / name).read_bytes(), self.files[name], name)
        self.assertEqual(self.leftovers(), [])


class Pull(HubTest):
    def test_only_what_is_needed_is_taken_and_only_once(self):
        path = self.pulled()
        self.check_whole(path)
        commit, _ = self.hub.commit(NAME, "main")
        repository = self.cache / "models--Salesforce--blip-tiny"
        self.assertEqual(path, repository / "snapshots" / commit)
        self.assertEqual((repository / "refs" / "main").read_text(), commit)
        self.assertFalse((path / "tf_model.h5").exists())
        digest = hashlib.sha256(self.files[self.weights]).hexdigest()
        self.assertEqual(os.readlink(path / self.weights), "../../blobs/" + digest)
        asked = len(self.hub.asked)
        self.assertEqual(self.pulled(), path)
        self.assertEqual(
            len(self.hub.asked), asked, "a cached revision asks nothing of the network"
        )

    def test_a_name_is_a_model_everywhere(self):
        picture = scene_path(scenes()[0])
        by_path = self.blip("caption", picture, "--model", str(MODEL), "-q")
        by_name = self.blip("caption", picture, "--model", NAME, "-q")
        self.assertEqual((by_name.code, by_name.out), (0, by_path.out), by_name.err)
        self.hub.close()
        for more in ({"BLIP_MODEL": NAME}, {"BLIP_MODEL": NAME + "@main", "HF_HUB_OFFLINE": "1"}):
            again = self.blip("caption", picture, "-q", env=more)
            self.assertEqual((again.code, again.out), (0, by_path.out), again.err)
        info = self.blip("info", "--model", NAME, "--json", "--offline")
        self.assertEqual(json.loads(info.out)["tasks"]["caption"], True)
        server = subprocess.Popen(
            [PROGRAM, "serve", "--model", NAME, "--port", "0", "--no-history", "-q"],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            with urllib.request.urlopen(
                server.stdout.readline().strip().rstrip("/") + "/v1/models", timeout=60
            ) as answer:
                self.assertEqual([model["id"] for model in json.load(answer)["data"]], [NAME])
        finally:
            server.terminate()
            server.communicate()
        converted = self.blip("convert", NAME, str(self.folder / "tiny.gguf"), "-q", "--offline")
        self.assertEqual(converted.code, 0, converted.err)

    def test_update_follows_the_branch_and_the_old_commit_stays(self):
        old = self.pulled()
        self.hub.repositories[NAME]["main"] = {**self.files, "generation_config.json": b"{}"}
        self.assertEqual(self.pulled(), old)
        new = self.pulled("--update")
        self.assertNotEqual(new, old)
        self.check_whole(new)
        self.assertTrue((old / "config.json").exists())
        self.assertEqual(
            self.hub.count("GET", self.weights),
            2,
            "the same weights are not fetched again: one redirect, one file",
        )
        self.assertEqual(self.pulled("--revision", old.name), old)

    def test_revisions_by_branch_and_commit(self):
        self.hub.repositories[NAME]["refs/pr/1"] = {
            **self.files,
            "config.json": self.files["config.json"] + b"\n",
        }
        commit, _ = self.hub.commit(NAME, "refs/pr/1")
        result = self.blip("pull", NAME + "@refs/pr/1")
        self.assertEqual(Path(result.out.strip()).name, commit, result.err)
        result = self.blip("pull", NAME, "--revision", commit)
        self.assertEqual(Path(result.out.strip()).name, commit, result.err)
        self.refused("no such revision", "pull", NAME + "@other")

    def test_to_a_gguf_file(self):
        target = self.folder / "tiny.gguf"
        result = self.blip("pull", NAME, "--to", str(target), "--type", "f32", "--json", "-q")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual(json.loads(result.out)["bytes"], target.stat().st_size)

    def test_models_and_rm(self):
        path = self.pulled()
        (self.cache / "models--other--thing" / "snapshots" / ("c" * 40)).mkdir(parents=True)
        for name in ("model.safetensors", "config.json"):
            (self.cache / "models--other--thing" / "snapshots" / ("c" * 40) / name).write_bytes(
                b"no model"
            )
        listed = self.blip("models", "--json")
        rows = [json.loads(line) for line in listed.out.splitlines()]
        self.assertEqual(
            [(row["name"], row["revision"], row["tasks"]) for row in rows],
            [(NAME, "main", "caption")],
        )
        self.assertIn("1 model of other kinds", listed.err)
        size = sum(f.stat().st_size for f in (path.parent.parent / "blobs").iterdir())
        self.assertEqual(rows[0]["bytes"], size)
        self.assertEqual(self.blip("rm", NAME).code, 0)
        self.assertFalse(path.exists())
        self.refused("is not in the cache", "rm", NAME, code=1)
        self.assertEqual(self.blip("models", "--json").out, "")

    def test_an_adapter_brings_its_base(self):
        adapter = SOURCE / "tests" / "data" / "parity" / "adapter-attention"
        config = {
            **json.loads((adapter / "adapter_config.json").read_text()),
            "base_model_name_or_path": NAME,
        }
        files = {
            "adapter_config.json": json.dumps(config).encode(),
            "adapter_model.safetensors": (adapter / "adapter_model.safetensors").read_bytes(),
        }
        self.hub.repositories["someone/lora"] = {"main": files}
        self.hub.repositories["someone/both"] = {"main": {**self.files, **files}}
        picture, short = scene_path(scenes()[0]), ("--prompt", "two people", "--json", "-q")
        expected = self.blip(
            "caption", picture, *short, "--model", str(MODEL), "--adapter", str(adapter)
        )
        self.assertEqual(expected.code, 0, expected.err)
        plain = self.blip("caption", picture, *short, "--model", str(MODEL))
        by_name = self.blip("caption", picture, *short, "--model", "someone/lora")
        self.assertEqual(by_name.code, 0, by_name.err)
        answer = lambda result: json.loads(result.out)["score"]  # noqa: E731
        self.assertEqual(answer(by_name), answer(expected))
        self.assertNotEqual(answer(by_name), answer(plain))
        self.assertTrue((self.cache / "models--Salesforce--blip-tiny").exists())
        for arguments in (
            ("--model", NAME, "--adapter", "someone/lora"),
            ("--adapter", "someone/lora"),
            ("--model", "someone/both"),
        ):
            result = self.blip("caption", picture, *short, *arguments)
            self.assertEqual((result.code, answer(result)), (0, answer(expected)), result.err)
        self.hub.close()
        again = self.blip("caption", picture, *short, "--model", "someone/lora")
        self.assertEqual((again.code, answer(again)), (0, answer(expected)), again.err)
        target = str(self.folder / "merged.gguf")
        self.assertEqual(
            self.blip("pull", "someone/lora", "--to", target, "--type", "f32", "-q").code, 0
        )
        merged = self.blip("caption", picture, *short, "--model", target)
        self.assertEqual(answer(merged), answer(expected))

    def test_the_base_of_an_adapter_that_is_not_to_be_had_is_named(self):
        adapter = SOURCE / "tests" / "data" / "parity" / "adapter-attention"
        files = {
            path.name: path.read_bytes()
            for path in adapter.iterdir()
            if path.name.startswith("adapter_")
        }
        self.hub.repositories["someone/lora"] = {"main": files}
        self.refused("example/base", "pull", "someone/lora")
        self.refused("example/base", "caption", scene_path(scenes()[0]), "--model", "someone/lora")

    def test_known_names(self):
        rows = [
            json.loads(line) for line in self.blip("models", "--known", "--json").out.splitlines()
        ]
        by_name = {row["short_name"]: row for row in rows}
        self.assertEqual(by_name["caption-base"]["source"], "Salesforce/blip-image-captioning-base")
        self.hub.repositories["Salesforce/blip-image-captioning-base"] = {"main": self.files}
        result = self.blip("pull", "caption-base")
        self.assertEqual(result.code, 0, result.err)
        self.assertIn("models--Salesforce--blip-image-captioning-base", result.out)

    def test_the_vendors_models_are_instructions(self):
        told = self.refused(
            "python3 -m dfss --url=open@sophgo.com:sophon-demo/BLIP/"
            "blip_${part}_bm1684x_f32_1b.bmodel",
            "pull",
            "sophon-demo/bm1684x",
        )
        self.assertIn("--bmodel-path blip_cap_bm1684x_f32_1b.bmodel", told.err)
        self.refused(
            "sophon-demo/bm1684x",
            "caption",
            scene_path(scenes()[0]),
            "--model",
            "sophon-demo/bm1690",
        )
        self.assertEqual(self.hub.asked, [])

    def test_a_model_of_the_cache_is_called_by_its_name(self):
        self.pulled()
        self.assertEqual(json.loads(self.blip("info", "--model", NAME, "--json").out)["name"], NAME)
        target = self.folder / "named.gguf"
        self.assertEqual(self.blip("convert", NAME, str(target), "-q").code, 0)
        self.assertEqual(
            json.loads(self.blip("info", "--model", str(target), "--json").out)["name"], NAME
        )

    def test_what_another_program_left_out_is_fetched(self):
        """transformers' from_pretrained leaves the tokenizer away that its processor would
        fetch.
        """
        path = self.pulled()
        (path / "vocab.txt").unlink()
        before = len(self.hub.asked)
        self.refused("vocabulary", "info", "--model", NAME)
        self.assertEqual(self.pulled("--update"), path)
        self.assertTrue((path / "vocab.txt").exists())
        self.assertEqual([a.path for a in self.hub.asked[before:] if a.server == "store"], [])
        (path / "config.json").unlink()
        self.refused("others are missing", "info", "--model", NAME, "--offline")
        self.assertEqual(self.pulled(), path)


class Faults(HubTest):
    def test_a_broken_connection_goes_on_where_it_was(self):
        size = len(self.files[self.weights])
        self.hub.faults = [
            times(1, "GET store", drop_after(size // 3)),
            times(1, "GET store", drop_after(size // 3)),
        ]
        self.check_whole(self.pulled())
        ranges = [a.range for a in self.hub.asked if a.server == "store"]
        self.assertEqual(ranges, [None, f"bytes={size // 3}-", f"bytes={2 * (size // 3)}-"])

    def test_a_truncated_answer_is_noticed(self):
        self.hub.faults = [times(1, "GET store", lambda handler: handler.reply(200, b"x" * 100))]
        result = self.blip("pull", NAME)
        self.assertEqual(result.code, 0, result.err)
        self.check_whole(Path(result.out.strip()))

    def test_wrong_checksum(self):
        self.hub.wrong_checksums = True
        self.refused("wrong checksum")
        self.assertEqual(
            self.hub.count("GET", "/model.safetensors"), 4, "twice, each a redirect and the store"
        )
        self.assertEqual(
            self.blip("info", "--model", NAME, "--offline").code, 3, "nothing half-done is loaded"
        )

    def test_a_damaged_part_on_disk_is_fetched_anew(self):
        data = self.files[self.weights]
        blob = (
            self.cache
            / "models--Salesforce--blip-tiny"
            / "blobs"
            / (hashlib.sha256(data).hexdigest() + ".incomplete")
        )
        for rest in (
            b"!" * (len(data) // 2),
            b"!" * len(data),
            b"!" * (len(data) + 9),
            data[:1000],
            data,
        ):
            with self.subTest(bytes=len(rest)):
                blob.parent.mkdir(parents=True, exist_ok=True)
                blob.write_bytes(rest)
                self.check_whole(self.pulled())
                self.assertEqual(self.blip("rm", NAME).code, 0)

    def test_a_server_without_ranges_and_416(self):
        data = self.files[self.weights]
        blob = (
            self.cache
            / "models--Salesforce--blip-tiny"
            / "blobs"
            / (hashlib.sha256(data).hexdigest() + ".incomplete")
        )
        for fault in (lambda handler: handler.reply(200, data), status(416)):
            blob.parent.mkdir(parents=True, exist_ok=True)
            blob.write_bytes(data[:500])
            self.hub.faults = [times(1, "GET store", fault)]
            self.check_whole(self.pulled())
            self.assertEqual(self.blip("rm", NAME).code, 0)

    def test_passing_failures_are_tried_again_as_retry_after_says(self):
        self.hub.faults = [
            times(1, "GET hub /api", status(503)),
            times(1, "HEAD hub", status(429, [("Retry-After", "2")])),
            times(1, "GET store", status(500)),
        ]
        started = time.monotonic()
        self.check_whole(self.pulled())
        self.assertGreaterEqual(time.monotonic() - started, 2)

    def test_a_long_retry_after_is_not_waited_for(self):
        self.hub.faults = [times(9, "/api", status(429, [("Retry-After", "86400")]))]
        self.refused("come back in 86400 s")

    def test_wrong_names(self):
        self.refused("did you mean Salesforce/blip-vqa-base", "pull", "Salesforce/blip-vqa-bsae")
        self.refused(
            "is no file or folder here and no model's name", "pull", "captoin-base", code=2
        )
        self.assertIn("did you mean caption-base", self.blip("pull", "captoin-base").err)
        self.refused(
            "did you mean caption-base?",
            "caption",
            scene_path(scenes()[0]),
            "--model",
            "captoin-base",
        )
        self.refused(
            "No such file or directory",
            "caption",
            scene_path(scenes()[0]),
            "--model",
            "./Salesforce/none",
        )

    def test_gated_private_and_forbidden(self):
        self.hub.gated.add(NAME)
        self.refused("is gated: accept its terms")
        self.hub.gated.clear()
        self.hub.token = "secret"
        self.refused("or it is private")
        self.hub.faults = [times(1, "HEAD hub", status(403, [("X-Error-Message", "no seat")]))]
        self.refused("access denied", env={"HF_TOKEN": "secret"})
        self.check_whole(self.pulled(env={"HF_TOKEN": "secret"}))

    def test_the_token_stays_with_the_endpoint(self):
        self.hub.token = "secret"
        (self.folder / "token").write_text("secret\n")
        self.check_whole(self.pulled(env={"HF_TOKEN_PATH": str(self.folder / "token")}))
        self.assertEqual({a.token for a in self.hub.asked if a.server == "hub"}, {"Bearer secret"})
        self.assertEqual({a.token for a in self.hub.asked if a.server == "store"}, {None})

    def test_offline(self):
        self.refused("the network is not to be used (HF_HUB_OFFLINE)", env={"HF_HUB_OFFLINE": "1"})
        self.refused(
            "the network is not to be used (TRANSFORMERS_OFFLINE)",
            env={"TRANSFORMERS_OFFLINE": "1"},
        )
        self.refused("the network is not to be used (--offline)", "pull", NAME, "--offline")
        self.refused(
            "did you mean Salesforce/blip-vqa-base", "pull", "Salesforce/blip-vqa-bsae", "--offline"
        )
        self.assertEqual(self.hub.asked, [])

    def test_a_ref_that_is_a_pipe_is_not_waited_for(self):
        refs = self.cache / ("models--" + NAME.replace("/", "--")) / "refs"
        refs.mkdir(parents=True)
        os.mkfifo(refs / "main")
        self.refused(NAME, "info", "--model", NAME, env={"HF_HUB_OFFLINE": "1"})
        self.assertEqual(self.blip("models").code, 0)

    # The program waits half a minute until it gives up.
    def test_no_hub_there(self):
        self.hub.close()
        endpoint = {"HF_ENDPOINT": "http://user:secret@127.0.0.1:9"}
        result = self.refused("cannot reach the hub", env=endpoint)
        self.assertIn("HF_ENDPOINT", result.err)
        self.assertIn("http://127.0.0.1:9", result.err)
        self.assertNotIn("secret", result.err)
        self.refused("is no address", env={"HF_ENDPOINT": "hub.example"}, code=2)

    def test_answers_that_are_no_hub(self):
        for body in (
            b"<html>login</html>",
            b'{"sha": "x", "siblings": []}',
            b"[" * 100_000,
            b'{"sha": 1}',
        ):
            self.hub.faults = [
                times(9, "/api", lambda handler, body=body: handler.reply(200, body))
            ]
            self.refused("127.0.0.1")
        self.hub.faults = [
            times(
                99,
                "HEAD hub",
                lambda handler: handler.reply(200, b"", [("ETag", '"../../../evil"')]),
            )
        ]
        self.refused("no usable ETag")
        self.assertFalse((self.folder / "evil").exists())

    def test_a_full_disk(self):
        def small(*_):
            import resource

            resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))

        self.refused("cannot write", preexec=small)
        self.check_whole(self.pulled())

    def test_space_is_looked_for_first(self):
        huge = [
            ("ETag", '"%s"' % ("0" * 64)),
            ("X-Linked-Size", str(10**16)),
            ("X-Repo-Commit", "0" * 40),
        ]
        self.hub.faults = [
            times(
                9, "HEAD hub /" + NAME + "/resolve", lambda handler: handler.reply(200, b"", huge)
            )
        ]
        self.refused("make room, or choose another folder with HF_HUB_CACHE")
        self.assertEqual(self.hub.count("GET", "/resolve/"), 0)

    def test_a_server_that_falls_silent(self):
        def silent(handler):
            handler.send_response(200)
            handler.send_header("Content-Length", str(len(self.files[self.weights])))
            handler.end_headers()
            handler.wfile.write(self.files[self.weights][:5000])
            time.sleep(15)

        self.hub.faults = [times(1, "GET store", silent)]
        started = time.monotonic()
        self.check_whole(self.pulled(env={"HF_HUB_DOWNLOAD_TIMEOUT": "1"}))
        self.assertLess(time.monotonic() - started, 12)
        self.assertIn("bytes=5000-", [a.range for a in self.hub.asked])

    def test_official_files(self):
        """They come from elsewhere than a hub, into a folder of their own."""
        file = self.folder / "xdg" / "blip" / "model_base_vqa_capfilt_large.pth"
        env = {"XDG_CACHE_HOME": str(self.folder / "xdg"), "HF_HUB_CACHE": ""}
        self.refused(f"there is no {file}", "pull", "official-vqa-base", "--offline", env=env)
        file.parent.mkdir(parents=True)
        file.with_name(file.name + ".incomplete").write_bytes(b"half")
        self.refused(
            f"there is no {file}", "info", "--model", "official-vqa-base", "--offline", env=env
        )
        file.write_bytes((SOURCE / "models" / "blip-demo.gguf").read_bytes())
        self.assertEqual(
            self.blip("info", "--model", "official-vqa-base", "--offline", env=env).code, 0
        )
        self.assertEqual(self.blip("rm", "official-vqa-base", env=env).code, 0)
        self.assertFalse(file.exists())

    def test_the_cache_cannot_be_written(self):
        self.refused("cannot write to the cache", env={"HF_HUB_CACHE": "/proc/none"})


class Interruptions(HubTest):
    def setUp(self):
        super().setUp()
        self.hub.pace = 0.05
        self.big = os.urandom(3_000_000)
        self.hub.repositories["big/model"] = {
            "main": {"config.json": b"{}", "model.safetensors": self.big}
        }

    def start(self):
        return subprocess.Popen(
            [PROGRAM, "pull", "big/model"],
            env={**os.environ, **self.env},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def wait_for_part(self):
        for _ in range(400):
            found = list(self.cache.rglob("*.incomplete"))
            if found and found[0].stat().st_size > 200_000:
                return found[0]
            time.sleep(0.02)
        self.fail("the download did not begin")

    def finish(self):
        self.hub.pace = 0
        result = self.blip("pull", "big/model")
        self.assertEqual(result.code, 0, result.err)
        self.assertEqual((Path(result.out.strip()) / "model.safetensors").read_bytes(), self.big)
        self.assertEqual(self.leftovers(), [])

    def test_killed_in_the_middle(self):
        process = self.start()
        self.wait_for_part()
        process.send_signal(signal.SIGKILL)
        process.communicate()
        self.refused("is not in the cache", "info", "--model", "big/model", "--offline")
        self.finish()
        self.assertTrue(any(a.range for a in self.hub.asked), "it went on where it was")

    def test_ctrl_c_ends_it_and_keeps_what_arrived(self):
        process = self.start()
        self.wait_for_part()
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
        self.assertEqual((process.returncode, out), (130, b""))
        self.finish()
        self.assertTrue(any(a.range for a in self.hub.asked))

    def test_two_processes_do_not_fetch_twice(self):
        both = [self.start(), self.start()]
        outs = [process.communicate(timeout=120) for process in both]
        self.assertEqual([process.returncode for process in both], [0, 0], outs)
        self.assertEqual(outs[0][0], outs[1][0])
        self.assertEqual(sum(a.server == "store" for a in self.hub.asked), 1)


@unittest.skipUnless(
    importlib.util.find_spec("huggingface_hub"), "huggingface_hub is not installed"
)
class WithTheirPackage(HubTest):
    """Each side finds what the other left."""

    def theirs(self, code):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={k: v for k, v in {**os.environ, **self.env}.items() if v},
            capture_output=True,
            text=True,
            check=False,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()

    def test_they_find_ours(self):
        path = self.pulled()
        self.hub.close()
        found = self.theirs(
            f"from huggingface_hub import hf_hub_download as d; print(d({NAME!r}, "
            "'model.safetensors', local_files_only=True))"
        )
        self.assertEqual(found, str(path / "model.safetensors"))
        listed = self.theirs(
            "from huggingface_hub import scan_cache_dir as s; r = s(); print([(x.repo_id, "
            "x.size_on_disk, [y.commit_hash for y in x.revisions]) for x in r.repos], r.warnings)"
        )
        size = sum(f.stat().st_size for f in (path.parent.parent / "blobs").iterdir())
        self.assertEqual(listed, f"[('{NAME}', {size}, ['{path.name}'])] []")
        rows = json.loads(
            self.theirs(
                "from huggingface_hub.cli.hf import main; import sys; sys.argv = 'hf cache ls "
                "--json'.split(); main()"
            )
        )
        self.assertEqual([row["id"] for row in rows], [f"model/{NAME}"])
        self.assertEqual(self.leftovers(), [])

    def test_each_goes_on_after_the_others_interruption(self):
        """What one side left half-done is neither loaded nor in the way of the other, and nothing
        of it stays.
        """
        blobs = self.cache / "models--Salesforce--blip-tiny" / "blobs"
        blobs.mkdir(parents=True)
        data = self.files["model.safetensors"]
        (blobs / (hashlib.sha256(data).hexdigest() + ".incomplete")).write_bytes(
            data[: len(data) // 3]
        )
        for name in ("config.json", "model.safetensors"):
            self.theirs(f"from huggingface_hub import hf_hub_download as d; d({NAME!r}, {name!r})")
        self.check_whole(self.pulled("--update"))

    def test_we_find_theirs(self):
        for name in ("config.json", "model.safetensors", "preprocessor_config.json", "vocab.txt"):
            if name in self.files:
                self.theirs(
                    f"from huggingface_hub import hf_hub_download as d; d({NAME!r}, {name!r})"
                )
        asked = len(self.hub.asked)
        path = self.pulled()
        self.assertEqual(len(self.hub.asked), asked)
        self.assertEqual((path / "model.safetensors").read_bytes(), self.files["model.safetensors"])


if __name__ == "__main__":
    unittest.main()
