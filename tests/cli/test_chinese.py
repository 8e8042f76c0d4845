"""Chinese glosses of the help and of errors, where the locale is Chinese (apps/cli/chinese.h)."""

import json
import re
import unittest

from harness import SOURCE, run

CHINESE = re.compile("[\u4e00-\u9fff]")
TABLE = (SOURCE / "apps/cli/chinese_glosses.h").read_text(encoding="utf-8")
LOCALES = ("LC_ALL", "LC_MESSAGES", "LANG")


def told(*arguments, **locale):
    """Exit code, standard output and standard error under these variables alone."""
    done = run(*arguments, env={**dict.fromkeys(LOCALES, ""), **locale})
    return done.code, done.out, done.err


def help_of(*command, **locale):
    code, text, _ = told(*command, "--help", **(locale or {"LANG": "zh_CN.UTF-8"}))
    assert code == 0
    return text


def commands():
    listed = help_of(LANG="C").split("Subcommands:\n")[1].split("\n\n")[0]
    return [line.split()[0] for line in listed.splitlines()]


def sections(text):
    """(title, lines) of a help, without what stands below the options: examples and the like."""
    for part in re.split(r"\n{2,}", re.split(r"\nExamples?:", text)[0]):
        title, *lines = part.split("\n")
        if title.endswith(":") and lines:
            yield title[:-1], lines


def entries(text):
    """(name, description) of what a help lists; a long name has it in the next line."""
    for _, lines in sections(text):
        for i, line in enumerate(lines):
            found = re.match(r"  (\S.*?)(?: {2,}(\S.*))?$", line)
            if found:
                yield found[1], found[2] or "".join(lines[i + 1 : i + 2]).strip()


def rows(table):
    body = re.search(table + r" = .*?\{(.*?)\n\}\);", TABLE, re.S)[1]
    return re.findall(r'\{"(.*?)",\s*"(.*?)"\}', body.replace('\\"', "\x01"))


class Help(unittest.TestCase):
    def test_everything_has_a_gloss(self):
        for command in ((), *((name,) for name in commands())):
            text = help_of(*command)
            found = list(entries(text))
            self.assertGreater(len(found), 0)
            for name, description in found:
                with self.subTest(command=command, name=name):
                    self.assertRegex(description, "[A-Za-z].* / .*[\u4e00-\u9fff]")
            for title, _ in sections(text):
                with self.subTest(command=command, title=title):
                    self.assertRegex(title, CHINESE)

    def test_no_gloss_is_left_over(self):
        named = set()
        for command in ("", *commands()):
            for name, _ in entries(help_of(*filter(None, [command]), LANG="C")):
                long = re.search(r"--[\w-]+", name)
                name = long[0] if long else name.split()[0]
                named |= {name, f"{command} {name}"}
        self.assertEqual([name for name, _ in rows("kOptionGlosses") if name not in named], [])
        self.assertEqual(
            [name for name, _ in rows("kCommandGlosses") if name not in ("blip", *commands())], []
        )

        titles = {t for c in commands() for t, _ in sections(help_of(c, LANG="C"))}
        titles |= {"Usage", "Subcommands"}
        self.assertEqual([title for title, _ in rows("kTitleGlosses") if title not in titles], [])

    def test_a_name_that_means_two_things(self):
        self.assertIn("Jobs per pass through the model / 每次通过模型的任务数", help_of("serve"))
        self.assertIn("Pictures per pass through the model / 每次通过模型的图片数", help_of("ask"))

    def test_other_locales(self):
        english = help_of("caption", LANG="C")
        self.assertNotRegex(english, CHINESE)
        self.assertEqual(english, help_of("caption", LANG="zh_CN.UTF-8", LC_ALL="en_US.UTF-8"))
        self.assertEqual(english, help_of("caption", LANG="zh_CN.UTF-8", LC_MESSAGES="C"))
        chinese = help_of("caption", LANG="zh_CN.UTF-8")
        self.assertEqual(chinese, help_of("caption", LANG="C", LC_MESSAGES="zh_TW.UTF-8"))
        self.assertEqual(chinese, help_of("caption", LANG="C", LC_ALL="zh_CN", LC_MESSAGES="C"))

    def test_completions_stay_english(self):
        self.assertNotRegex(told("completions", "bash", LANG="zh_CN.UTF-8")[1], CHINESE)
        self.assertNotRegex(told("completions", "man", "caption", LANG="zh_CN.UTF-8")[1], CHINESE)


class Errors(unittest.TestCase):
    def test_errors_that_are_met_often(self):
        for arguments, code, english, gloss in (
            ((), 2, "a command is needed", "缺少命令"),
            (("paint",), 2, 'no command "paint"', "没有这个命令"),
            (("caption", "/no/such.png", "--quiet"), 1, "/no/such.png", "没有该文件或目录"),
            (("caption",), 2, "images is required", "缺少必需的参数"),
            (("caption", "a.png", "--brush"), 2, "--brush", "有不认识的参数"),
            (("match", "a.png"), 2, "match needs a text", "缺少文字"),
            (("itm", "--text", "a dog"), 2, "blip itm needs a picture", "缺少图片"),
        ):
            with self.subTest(arguments=arguments):
                found, out, errors = told(*arguments, LANG="zh_CN.UTF-8")
                self.assertEqual((found, out), (code, ""))
                self.assertIn(english, errors)
                self.assertRegex(errors, f"（.*{gloss}.*）")
                plain = told(*arguments, LANG="C")[2]
                self.assertNotRegex(plain, CHINESE)
                self.assertEqual(re.sub("（.*?）", "", errors), plain)

    def test_json_stays_as_it_is(self):
        _, out, _ = told("caption", "/no/such.png", "--json", LANG="zh_CN.UTF-8")
        self.assertNotRegex(json.loads(out)["error"], CHINESE)


if __name__ == "__main__":
    unittest.main()
