"""BLEU, METEOR, ROUGE-L and CIDEr by the public scorers, the package pycocoevalcap.

SPICE is left out: it fetches a parser of several hundred megabytes when it is first used, wants an
old Java, and takes longer than all else together.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .._errors import IoError, UnsupportedError

# What they print, by the name that chooses them.
FIGURES = {
    "bleu": ["Bleu_1", "Bleu_2", "Bleu_3", "Bleu_4"],
    "meteor": ["METEOR"],
    "rouge": ["ROUGE_L"],
    "cider": ["CIDEr"],
}
_CLASSES = {"bleu": "Bleu", "meteor": "Meteor", "rouge": "Rouge", "cider": "Cider"}
INSTALL = (
    "install them: pip install 'blipcpp[eval]' (the package pycocoevalcap), and Java for the "
    "tokenizer and METEOR (apt install default-jre-headless)"
)
# The tokenizer and METEOR read and write texts in the machine's encoding unless told otherwise.
_UTF8 = ["-Dfile.encoding=UTF-8", "-Dsun.stdout.encoding=UTF-8", "-Dstdout.encoding=UTF-8"]
_TOKENIZER = "edu.stanford.nlp.process.PTBTokenizer"

_Texts = Dict[int, List[str]]


def missing() -> Optional[str]:
    """What is not installed of what the scorers need; None: nothing."""
    try:
        importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    except ImportError as problem:
        return "the public scorers cannot be imported (%s)" % problem
    if shutil.which("java") is None:
        return "there is no java, with which captions are cut into words"
    return None


def require() -> None:
    lacking = missing()
    if lacking is not None:
        raise UnsupportedError("%s; %s" % (lacking, INSTALL))


def tokenized(captions: Sequence[Sequence[str]]) -> List[List[str]]:
    """Captions cut into words by the Penn Treebank's rules, in lower case, without punctuation: by
    the scorers' own tokenizer, a line for a caption.
    """
    require()
    module = importlib.import_module("pycocoevalcap.tokenizer.ptbtokenizer")
    folder = os.path.dirname(os.path.abspath(str(module.__file__)))
    # What breaks a line would shift all captions behind it.
    lines = [" ".join(text.splitlines()) for texts in captions for text in texts]
    words = _java(os.path.join(folder, module.STANFORD_CORENLP_3_4_1_JAR), lines)
    if len(words) != len(lines):
        raise IoError(
            "the tokenizer made %d lines of %d captions; is one of them no plain text?"
            % (len(words), len(lines))
        )
    marks = set(module.PUNCTUATIONS)
    kept = iter(" ".join(w for w in line.rstrip().split(" ") if w not in marks) for line in words)
    return [[next(kept) for _ in texts] for texts in captions]


def _java(jar: str, lines: List[str]) -> List[str]:
    with tempfile.TemporaryDirectory(prefix="blip-eval-") as folder:
        path = os.path.join(folder, "captions.txt")
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(line + "\n" for line in lines))
        command = ["java", *_UTF8, "-cp", jar, _TOKENIZER, "-preserveLines", "-lowerCase"]
        done = subprocess.run(
            [*command, "-encoding", "UTF-8", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
    if done.returncode != 0:
        told = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise IoError(
            "the tokenizer's java failed (%d): %s" % (done.returncode, " ".join(told[-1:]))
        )
    return done.stdout.decode("utf-8").split("\n")[:-1]


def score(
    groups: Sequence[Tuple[Sequence[Sequence[str]], Sequence[str]]], metrics: Sequence[str] = ()
) -> List[Dict[str, float]]:
    """Of each group the scores of its captions, each against its references; both as tokenized()
    gives them.
    """
    truth = [{i: list(texts) for i, texts in enumerate(references)} for references, _ in groups]
    said = [{i: [text] for i, text in enumerate(captions)} for _, captions in groups]
    figures: List[Dict[str, float]] = [{} for _ in groups]
    for name, names in FIGURES.items():
        if metrics and name not in metrics:
            continue
        module = importlib.import_module("pycocoevalcap.%s.%s" % (name, name))
        # They print on standard output, which is the results'.
        with contextlib.redirect_stdout(sys.stderr):
            compute = _meteor if name == "meteor" else _plain
            for of_group, total in zip(figures, compute(module, _CLASSES[name], truth, said)):
                totals = total if len(names) > 1 else [total]
                of_group.update((figure, float(value)) for figure, value in zip(names, totals))
    return figures


def _plain(module: Any, scorer: str, truth: List[_Texts], said: List[_Texts]) -> List[Any]:
    more = {"verbose": 0} if scorer == "Bleu" else {}
    return [getattr(module, scorer)().compute_score(t, s, **more)[0] for t, s in zip(truth, said)]


def _meteor(module: Any, scorer: str, truth: List[_Texts], said: List[_Texts]) -> List[Any]:
    """One process for all groups: it takes seconds to start."""
    with _java_in_utf8():
        meteor = getattr(module, scorer)()
    try:
        return [meteor.compute_score(t, s)[0] for t, s in zip(truth, said)]
    except (OSError, ValueError) as problem:
        # Its destructor waits for this lock.
        if meteor.lock.locked():
            meteor.lock.release()
        meteor.meteor_p.kill()
        told = meteor.meteor_p.stderr.read().decode("utf-8", "replace").strip().splitlines()
        raise IoError(
            "METEOR's java ended (%s): %s; it needs 2 GB of memory" % (problem, " ".join(told[-1:]))
        ) from None
    finally:
        for pipe in (meteor.meteor_p.stdout, meteor.meteor_p.stderr):
            pipe.close()


@contextlib.contextmanager
def _java_in_utf8() -> Any:
    before = os.environ.get("JAVA_TOOL_OPTIONS")
    os.environ["JAVA_TOOL_OPTIONS"] = " ".join([*([before] if before else []), *_UTF8])
    try:
        yield
    finally:
        if before is None:
            del os.environ["JAVA_TOOL_OPTIONS"]
        else:
            os.environ["JAVA_TOOL_OPTIONS"] = before
