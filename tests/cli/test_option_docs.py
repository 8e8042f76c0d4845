"""Ranges and defaults that people read in comments and documents are those of the table of options
(blip/limits.h), which the OpenAPI document and the program's help show."""

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
LENGTHS = ("min_length", "max_length")


def read(path):
    return (SOURCE / path).read_text(encoding="utf-8")


def number(text):
    return float(text.replace(",", ""))


def comments(struct):
    """The fields of a struct of blip/c.h with the comment that stands after each."""
    pattern = r"typedef struct %s \{(.*?)\} %s;" % (struct, struct)
    body = re.search(pattern, read("include/blip/c.h"), re.S)[1]
    found = re.findall(r"(\w+);\s*/\*(.*?)\*/", body, re.S)
    return {name: re.sub(r"\s+", " ", text) for name, text in found}


def default_of(comment):
    """ "Default 3", or "0 = off (default)"."""
    found = re.search(r"Default ([-0-9.]+?)\.?(?:\s|$)", comment)
    found = found or re.search(r"([-0-9.]+) = [^;()]*\(default\)", comment)
    return None if found is None else number(found[1])


# Every number of blip_generate_options that has one default for captions and answers. (That none of
# the table is missing there, the compiler checks.)
OTHERS = [
    name
    for name in comments("blip_generate_options")
    if CAPTION.get(name, {}).get("type") in ("integer", "number")
    and name not in (*LENGTHS, "num_return")
]


class CHeader(unittest.TestCase):
    def test_generate_options(self):
        told = comments("blip_generate_options")
        for name in (*OTHERS, "sample", "num_return"):
            with self.subTest(name):
                self.assertEqual(default_of(told[name]), CAPTION[name]["default"], told[name])
        for name in LENGTHS:
            with self.subTest(name):
                caption, answer = re.search(r"captions (\d+), answers (\d+)", told[name]).groups()
                self.assertEqual(number(caption), CAPTION[name]["default"])
                self.assertEqual(number(answer), ASK[name]["default"])

    def test_ranges(self):
        told = comments("blip_generate_options")
        ranges = {name: re.search(r"([-0-9.]+) to ([-0-9.]+[0-9])", told[name]) for name in told}
        self.assertIsNotNone(ranges["beams"])
        for name, found in ranges.items():
            if found is None:
                continue
            low, high = found.groups()
            with self.subTest(name):
                self.assertEqual(number(low), CAPTION[name]["minimum"])
                self.assertEqual(number(high), CAPTION[name]["maximum"])

    def test_threads(self):
        most = re.search(r"kMaxThreads = (\d+);", read("include/blip/options.h"))[1]
        for struct in ("blip_engine_options", "blip_session_options"):
            self.assertIn("1 to %s" % most, comments(struct)["threads"])

    def test_rank_candidates(self):
        told = comments("blip_ask_options")["rank_candidates"]
        self.assertEqual(default_of(told), ASK["rank_candidates"]["default"])


class Python(unittest.TestCase):
    def test_captions_docstring(self):
        pattern = r"beams \((\d+); 1 is greedy\), min_length \((\d+)\) and max_length \((\d+)\)"
        told = re.search(pattern, read("python/src/blipcpp/_model.py")).groups()
        for name, value in zip(("beams", *LENGTHS), told):
            self.assertEqual(number(value), CAPTION[name]["default"], name)


class Lists(unittest.TestCase):
    """Where options are listed for readers, none is missing."""

    def check(self, text, pattern):
        names = [name for name in comments("blip_generate_options") if name in CAPTION]
        for name in [*names, "forbid_words", "force_words"]:
            if name != "num_return":  # it has a name for each task
                with self.subTest(name):
                    self.assertRegex(text, pattern % name)

    def test_server(self):
        section = re.search(r"Options: `prompt`.*?\n\n", read("docs/SERVER.md"), re.S)[0]
        self.check(section, "`%s`")

    def test_python(self):
        model = read("python/src/blipcpp/_model.py")
        docstring = re.search(r"def caption\(self, image: Any.*?>>>", model, re.S)[0]
        self.check(docstring, r"\b%s\b")


class Help(unittest.TestCase):
    def shown(self, command):
        """Long options of a command and the defaults in its help."""
        text = run(command, "--help").out
        found = re.findall(r"(--[a-z-]+)(?:,\S+)? (?:N|SECONDS)=([-0-9.e+]+)", text)
        return {name: number(value) for name, value in found}

    def test_defaults_of_caption_and_ask(self):
        for command, table in (("caption", CAPTION), ("ask", ASK)):
            shown = self.shown(command)
            for name in (*LENGTHS, *OTHERS):
                with self.subTest(command + " " + name):
                    option = "--" + name.replace("_", "-")
                    self.assertAlmostEqual(shown[option], table[name]["default"])
        ranked = self.shown("ask")["--rank-candidates"]
        self.assertEqual(ranked, ASK["rank_candidates"]["default"])

    def test_limits_of_the_server_in_its_document(self):
        shown = self.shown("serve")
        checked = 0
        rows = re.findall(r"^\| (`--[^|]+) \| ([^|]+) \|", read("docs/SERVER.md"), re.M)
        for options, defaults in rows:
            for name, value in zip(re.findall(r"`(--[a-z-]+)`", options), defaults.split(", ")):
                if name in shown and re.fullmatch(r"[0-9,.]+(?: s)?", value):
                    checked += 1
                    with self.subTest(name):
                        self.assertEqual(shown[name], number(value.removesuffix(" s")))
        self.assertGreater(checked, 12)


if __name__ == "__main__":
    unittest.main()
