"""Models by name: against a hub on loopback, by the library and, where it is installed, by the
huggingface_hub package.
"""

import importlib.util
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

SOURCE = pathlib.Path(os.environ["BLIP_SOURCE"])
sys.path.insert(0, str(SOURCE / "tests/hub"))
from hub_server import Hub, status, times  # noqa: E402

import blipcpp  # noqa: E402

MODEL = SOURCE / "tests/data/parity/caption"
PICTURE = str(SOURCE / "demo/scenes/clock.png")
NAME = "org/tiny"
HIDE_THEIRS = "import sys; sys.modules['huggingface_hub'] = None\n"
CAPTION = "print(blipcpp.Model.load(%r, dtype='f32').caption(%r))" % (NAME, PICTURE)


def can_download():
    """Libraries that were built without libcurl say so."""
    try:
        blipcpp._hub._Options(False, False, "/nowhere", "http://127.0.0.1:9", None, None).path(
            blipcpp._c.c.pull, "sophon-demo2/none"
        )
    except blipcpp.UnsupportedError:
        return False
    except blipcpp.BlipError:
        return True


class HubTest(unittest.TestCase):
    """Each test runs children, for both sides read the environment when they start."""

    prelude = HIDE_THEIRS

    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, str(self.folder))
        files = {path.name: path.read_bytes() for path in MODEL.iterdir() if path.is_file()}
        files["tf_model.h5"] = b"x" * 20000
        self.hub = Hub({NAME: {"main": files}, "Salesforce/blip-vqa-base": {"main": files}})
        self.addCleanup(self.hub.close)
        self.cache = self.folder / "cache"
        self.env = {
            k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS"))
        }
        self.env.update(
            HF_ENDPOINT=self.hub.endpoint,
            HF_HUB_CACHE=str(self.cache),
            HOME=str(self.folder),
            NO_PROXY="*",
            HF_HUB_DISABLE_PROGRESS_BARS="1",
            HF_HUB_DISABLE_TELEMETRY="1",
        )

    def start(self, code, **env):
        return subprocess.Popen(
            [sys.executable, "-c", self.prelude + "import blipcpp\n" + code],
            env=dict(self.env, **env),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )

    def run_code(self, code, **env):
        child = self.start(code, **env)
        out, errors = child.communicate(timeout=300)
        self.assertEqual(child.returncode, 0, errors)
        return out.strip()

    def refused(self, call, kind="IoError", **env):
        return self.run_code(
            "try:\n    print(%s)\nexcept blipcpp.%s as error:\n    print('refused:', error)"
            % (call, kind),
            **env,
        )

    def expected(self):
        return str(blipcpp.Model.load(str(MODEL), dtype="f32").caption(PICTURE))


class Cache(HubTest):
    """What needs no download."""

    def fill(self):
        commit = "0123456789abcdef0123456789abcdef01234567"
        repository = self.cache / "models--org--tiny"
        shutil.copytree(str(MODEL), str(repository / "snapshots" / commit))
        (repository / "refs").mkdir()
        (repository / "refs/main").write_text(commit)
        return repository / "snapshots" / commit

    def test_a_cached_name_is_a_model_and_asks_nothing(self):
        path = self.fill()
        self.assertEqual(self.run_code(CAPTION), self.expected())
        self.assertEqual(self.run_code(CAPTION, BLIP_MODEL="/nowhere"), self.expected())
        code = "print(blipcpp.inspect(%r).name, blipcpp.pull(%r), blipcpp.Model.load(%r).info.name)"
        self.assertEqual(self.run_code(code % ((NAME,) * 3)), "%s %s %s" % (NAME, path, NAME))
        self.assertEqual(
            self.run_code("print(blipcpp.Model.load().info.name)", BLIP_MODEL=NAME + "@main"), NAME
        )
        target = self.folder / "tiny.gguf"
        self.run_code("blipcpp.convert(%r, %r)" % (NAME, str(target)))
        self.assertEqual(blipcpp.inspect(target).name, NAME)
        self.assertEqual(self.hub.asked, [])

    def test_models_and_remove(self):
        path = self.fill()
        other = self.cache / "models--other--kind/snapshots" / ("c" * 40)
        other.mkdir(parents=True)
        (other / "config.json").write_text("{}")
        (other / "model.safetensors").write_text("no BLIP")
        row = json.loads(
            self.run_code(
                "import json; print(json.dumps([m._asdict() for m in blipcpp.models()][0]))"
            )
        )
        size = sum(file.stat().st_size for file in path.iterdir())
        self.assertEqual(
            (row["name"], row["revision"], row["tasks"], row["bytes"], row["path"]),
            (NAME, "main", ["caption", "attention"], size, str(path)),
        )
        self.assertEqual(self.run_code("print(len(blipcpp.models()))"), "1")
        self.run_code("blipcpp.remove(%r)" % NAME)
        self.assertFalse(path.exists())
        self.assertIn("is not in the cache", self.refused("blipcpp.remove(%r)" % NAME))

    def test_offline_says_where_it_looked(self):
        told = self.refused("blipcpp.Model.load('Salesforce/blip-vqa-bsae')", HF_HUB_OFFLINE="1")
        self.assertIn(
            "is not in the cache at %s, and the network is not to be used" % self.cache, told
        )
        self.assertIn("did you mean Salesforce/blip-vqa-base", told)
        self.assertEqual(self.hub.asked, [])

    def test_wrong_names(self):
        self.assertIn(
            "did you mean caption-base?", self.refused("blipcpp.Model.load('captoin-base')")
        )
        self.assertIn("No such file", self.refused("blipcpp.Model.load('./org/tiny')"))
        told = self.refused("blipcpp.pull('sophon-demo/bm1684x')", "UnsupportedError")
        self.assertIn("python3 -m dfss", told)
        self.assertIn("exclude", self.refused("blipcpp.pull('a/b@c', revision='d')", "UsageError"))
        self.assertEqual(self.hub.asked, [])


class Downloads:
    """By either side."""

    def test_a_name_is_downloaded_once_and_only_what_is_needed(self):
        self.assertEqual(self.run_code(CAPTION), self.expected())
        asked = len(self.hub.asked)
        self.assertEqual(self.run_code(CAPTION), self.expected())
        self.assertEqual(len(self.hub.asked), asked)
        self.assertEqual(self.hub.count("GET", "tf_model.h5"), 0)
        self.assertEqual(self.hub.count("GET", "README.md"), 0)
        self.assertEqual(list(self.cache.rglob("*.incomplete")), [])
        self.assertEqual(self.run_code("print(blipcpp.models()[0].revision)"), "main")

    def test_short_names_and_revisions(self):
        path = pathlib.Path(self.run_code("print(blipcpp.pull('vqa-base'))"))
        self.assertEqual(path.parent.parent.name, "models--Salesforce--blip-vqa-base")
        commit, _ = self.hub.commit("Salesforce/blip-vqa-base", "main")
        self.assertEqual(
            self.run_code("print(blipcpp.pull('vqa-base', revision=%r))" % commit), str(path)
        )
        self.assertIn("revision", self.refused("blipcpp.pull('vqa-base', revision='none')"))

    def test_update(self):
        old = self.run_code("print(blipcpp.pull(%r))" % NAME)
        main = self.hub.repositories[NAME]["main"]
        self.hub.repositories[NAME]["main"] = dict(main, **{"generation_config.json": b"{}"})
        self.assertEqual(self.run_code("print(blipcpp.pull(%r))" % NAME), old)
        new = self.run_code("print(blipcpp.pull(%r, update=True))" % NAME)
        self.assertNotEqual(new, old)
        self.assertTrue((pathlib.Path(new) / "generation_config.json").exists())

    def test_arguments_stand_for_the_environment(self):
        self.hub.token = "secret"
        other = self.folder / "other"
        code = "blipcpp.pull(%r, cache=%r, endpoint=%r, token='secret')" % (
            NAME,
            str(other),
            self.hub.endpoint,
        )
        path = self.run_code("print(%s)" % code, HF_ENDPOINT="http://127.0.0.1:9")
        self.assertTrue(path.startswith(str(other)), path)
        self.assertEqual({a.token for a in self.hub.asked if a.server == "store"}, {None})

    def test_gated_private_and_unknown(self):
        self.hub.gated.add(NAME)
        told = self.refused("blipcpp.Model.load(%r)" % NAME)
        self.assertIn("accept its terms", told)
        self.assertIn("HF_TOKEN", told)
        self.hub.gated.clear()
        told = self.refused("blipcpp.Model.load('Salesforce/blip-vqa-bsae')")
        self.assertIn("did you mean Salesforce/blip-vqa-base", told)
        self.assertIn("check the name", told)

    def test_no_hub_there(self):
        told = self.refused("blipcpp.pull(%r)" % NAME, HF_ENDPOINT="http://127.0.0.1:9")
        self.assertIn("HF_ENDPOINT", told)

    def test_no_weights_that_can_be_read(self):
        self.hub.repositories["org/words"] = {"main": {"README.md": b"#", "a.onnx": b"1"}}
        self.assertIn("no weights", self.refused("blipcpp.pull('org/words')"))


@unittest.skipUnless(can_download(), "this library downloads nothing")
class ByTheLibrary(Downloads, HubTest):
    def test_progress(self):
        code = (
            "told = []\n"
            "model = blipcpp.Model.load(%r, progress=lambda *a: told.append(a))\n"
            "weights = [t for t in told if t[0] == 'model.safetensors']\n"
            "print(weights[0][1] == 0, weights[-1][1] == weights[-1][2] > 0, told[-1][0])" % NAME
        )
        self.assertEqual(self.run_code(code), "True True load")
        code = (
            "def stop(file, done, total):\n    raise KeyError('enough')\n"
            "try:\n    blipcpp.pull('vqa-base', progress=stop)\nexcept KeyError as error:\n    "
            "print(error)"
        )
        self.assertEqual(self.run_code(code), "'enough'")

    def test_warnings(self):
        self.hub.faults = [times(1, "GET hub /api", status(503))]
        code = (
            "import warnings\n"
            "with warnings.catch_warnings(record=True) as caught:\n"
            "    warnings.simplefilter('always')\n"
            "    blipcpp.pull(%r)\n"
            "print([str(w.message) for w in caught])" % NAME
        )
        self.assertIn("503; trying again", self.run_code(code))

    def test_keyboard_interrupt(self):
        self.hub.pace = 0.05
        self.hub.repositories[NAME]["main"]["model.safetensors"] = os.urandom(20000000)
        child = self.start(
            "try:\n    blipcpp.pull(%r)\nexcept KeyboardInterrupt:\n    print('interrupted')" % NAME
        )
        for _ in range(400):
            if any(p.stat().st_size > 100000 for p in self.cache.rglob("*.incomplete")):
                break
            time.sleep(0.02)
        child.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, errors = child.communicate(timeout=60)
        self.assertEqual((out, child.returncode), ("interrupted\n", 0), errors)
        self.assertLess(time.monotonic() - started, 5)


@unittest.skipUnless(
    importlib.util.find_spec("huggingface_hub"), "huggingface_hub is not installed"
)
class ByTheirPackage(Downloads, HubTest):
    prelude = ""

    def test_it_is_they_who_download(self):
        self.run_code("print(blipcpp.pull(%r))" % NAME)
        self.assertGreater(self.hub.count("HEAD", "resolve"), 0)
        agents = {a.agent for a in self.hub.asked}
        self.assertTrue(all("huggingface" in a or "hf_hub" in a for a in agents), agents)


if __name__ == "__main__":
    unittest.main()
