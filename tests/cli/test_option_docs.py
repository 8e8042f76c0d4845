"""Ranges and defaults that people read in comments and documents are those of the table of options (blip/limits.h), which the
OpenAPI document and the program's help show."""
import json
import re
import unittest

from harness import SOURCE, run

API = json.loads((SOURCE / "apps/server/web/openapi.json").read_text(encoding="utf-8"))


def fields(task):
    body = API["paths"]["/v1/" + task]["post"]["requestBody"]["content"]["application/json"]
    return body["schema"]["properties"]


CAPTION, ASK = fields("caption"), fields("ask")
CAPTION["num_return"] = CAPTION["num_captions"]


def read(path):
    return (SOURCE / path).read_text(encoding="utf-8")


def number(text):
    return float(text.replace(",", ""))


def comments(struct):
    """The fields of a struct of blip/c.h with the comment that stands after each."""
    body = re.search(r"typedef struct %s \{(.*?)\} %s;" % (struct, struct), read("include/blip/c.h"), re.S)[1]
    return {name: re.sub(r"\s+", " ", text) for name, text in re.findall(r"(\w+);\s*/\*(.*?)\*/", body, re.S)}


def default_of(comment):
    """"Default 3", or "0 = off (default)"."""
    found = re.search(r"Default ([-0-9.]+?)\.?(?:\s|$)", comment) or re.search(r"([-0-9.]+) = [^;()]*\(default\)", comment)
    return None if found is None else number(found[1])


class CHeader(unittest.TestCase):
    def test_generate_options(self):
        told = comments("blip_generate_options")
        for name in ("beams", "length_penalty", "repetition_penalty", "sample", "top_p", "top_k", "temperature", "seed", "num_return"):
            with self.subTest(name):
                self.assertEqual(default_of(told[name]), float(CAPTION[name]["default"]), told[name])
        for name in ("min_length", "max_length"):
            with self.subTest(name):
                caption, answer = re.search(r"captions (\d+), answers (\d+)", told[name]).groups()
                self.assertEqual(number(caption), CAPTION[name]["default"])
                self.assertEqual(number(answer), ASK[name]["default"])

    def test_ranges(self):
        told = comments("blip_generate_options")
        ranges = {name: found.groups() for name in told if (found := re.search(r"([-0-9.]+) to ([-0-9.]+[0-9])", told[name]))}
        self.assertIn("beams", ranges)
        for name, (low, high) in ranges.items():
            with self.subTest(name):
                self.assertEqual(number(low), CAPTION[name]["minimum"])
                self.assertEqual(number(high), CAPTION[name]["maximum"])

    def test_threads(self):
        most = re.search(r"kMaxThreads = (\d+);", read("include/blip/options.h"))[1]
        for struct in ("blip_engine_options", "blip_session_options"):
            self.assertIn("1 to %s" % most, comments(struct)["threads"])

    def test_rank_candidates(self):
        self.assertEqual(default_of(comments("blip_ask_options")["rank_candidates"]), ASK["rank_candidates"]["default"])


class Python(unittest.TestCase):
    def test_captions_docstring(self):
        told = re.search(r"beams \((\d+); 1 is greedy\), min_length \((\d+)\) and max_length \((\d+)\)", read("python/src/blipcpp/_model.py"))
        self.assertEqual([number(value) for value in told.groups()], [CAPTION[name]["default"] for name in ("beams", "min_length", "max_length")])


class Help(unittest.TestCase):
    def shown(self, command):
        """Long options of a command and the defaults in its help."""
        text = run(command, "--help").out
        found = re.findall(r"(--[a-z-]+)(?:,\S+)? (?:N|SECONDS)=([-0-9.e+]+)", text)
        return {name: number(value) for name, value in found}

    def test_defaults_of_caption_and_ask(self):
        for command, table in (("caption", CAPTION), ("ask", ASK)):
            shown = self.shown(command)
            for name in ("beams", "min_length", "max_length", "repetition_penalty", "length_penalty", "top_p", "top_k", "temperature", "seed"):
                with self.subTest(command + " " + name):
                    self.assertAlmostEqual(shown["--" + name.replace("_", "-")], table[name]["default"])
        self.assertEqual(self.shown("ask")["--rank-candidates"], ASK["rank_candidates"]["default"])

    def test_limits_of_the_server_in_its_document(self):
        shown = self.shown("serve")
        checked = 0
        for options, defaults in re.findall(r"^\| (`--[^|]+) \| ([^|]+) \|", read("docs/SERVER.md"), re.M):
            for name, value in zip(re.findall(r"`(--[a-z-]+)`", options), re.split(r", ", defaults)):
                if name in shown and re.fullmatch(r"[0-9,.]+(?: s)?", value):
                    checked += 1
                    with self.subTest(name):
                        self.assertEqual(shown[name], number(value.removesuffix(" s")))
        self.assertGreater(checked, 12)


if __name__ == "__main__":
    unittest.main()
