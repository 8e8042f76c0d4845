"""The command `python -m blipcpp.eval`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any, Callable, Dict, List, NoReturn, Optional

from .._errors import BlipError, ImageError, IoError, UsageError
from . import _commands
from ._errors import DataError

_OK, _FAILED, _USAGE, _MODEL, _INTERRUPTED = 0, 1, 2, 3, 130


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError("%s; see `%s --help`" % (message, self.prog))


def _number(least: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise argparse.ArgumentTypeError(
                "%r is not a whole number of %d or more" % (text, least)
            )
        return value

    return parse


def _name(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("a name must not be empty")
    return text


def _shared(parser: argparse.ArgumentParser, batch: bool = True) -> None:
    add = parser.add_argument
    add("--images", metavar="FOLDER", type=_name,
        help="the pictures: the model makes the predictions that are missing")  # fmt: skip
    add("--predictions", metavar="FILE", type=_name,
        help="predictions, .jsonl: a run that was ended goes on with them; without --images a "
        "complete file, .json as servers take it or .jsonl")  # fmt: skip
    add("--json", action="store_true", help="figures as one JSON object")
    model = parser.add_argument_group("the model, with --images")
    add = model.add_argument
    add("-m", "--model", metavar="NAME", type=_name,
        help="a path or a name; else $BLIP_MODEL, else the bundled model")  # fmt: skip
    add("--adapter", metavar="NAME", type=_name, action="append", help="a LoRA adapter")
    add("--device", metavar="NAME", type=_name, default="cpu", help="default: cpu")
    add("--dtype", choices=("auto", "f32", "bf16", "int8"), default="auto", help="default: auto")
    add("--threads", metavar="N", type=_number(0), default=0, help="0, the default: all cores")
    add("--batch", metavar="N", type=_number(1), default=8, help="pictures in a pass; default 8")


def _generation(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how texts are generated; defaults are the library's")
    add = group.add_argument
    add("--beams", metavar="N", type=_number(1), help="1: greedy; captions and answers: 3")
    add("--min-length", metavar="N", type=_number(0), help="in tokens; a caption's with its prompt")
    add("--max-length", metavar="N", type=_number(1))
    add("--length-penalty", metavar="X", type=float)
    add("--repetition-penalty", metavar="X", type=float, help="the official code for NoCaps: 1.1")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="blip eval",
        description="Figures of a model on a data set, by the public scorers and the official "
        "protocols.",
    )
    tasks = parser.add_subparsers(dest="task", metavar="caption|retrieval|vqa", required=True)
    caption = tasks.add_parser(
        "caption",
        help="BLEU, METEOR, ROUGE-L and CIDEr",
        description="BLEU 1 to 4, METEOR, ROUGE-L and CIDEr of captions, by pycocoevalcap (needs "
        "it and Java). SPICE is left out: it fetches a parser of several hundred megabytes, wants "
        "an old Java and takes longer than all else.",
    )
    add = caption.add_argument
    add("annotations", metavar="ANNOTATIONS", type=_name,
        help="COCO's or NoCaps' JSON, Karpathy's, or BLIP's list")  # fmt: skip
    add("--references", metavar="FILE", type=_name,
        help="the captions to compare with, where ANNOTATIONS has none")  # fmt: skip
    add("--split", metavar="NAME", type=_name, help="of Karpathy's files: test")
    add("--metrics", metavar="LIST", type=_name, help="bleu,meteor,rouge,cider; default: all")
    add("--results", metavar="FILE", type=_name, help="also write predictions as servers take them")
    _shared(caption)
    add = caption.add_argument
    add("--prompt", metavar="TEXT", help="what captions continue; default: the model's")
    _generation(caption)

    retrieval = tasks.add_parser(
        "retrieval",
        help="recall at 1, 5 and 10, both ways",
        description="Recall of texts for images (txt_) and images for texts (img_), by the "
        "official protocol: the K nearest by cosine are ranked by ITM logit plus cosine.",
    )
    add = retrieval.add_argument
    add("annotations", metavar="ANNOTATIONS", type=_name, help="as for caption")
    add("--split", metavar="NAME", type=_name, help="of Karpathy's files: test")
    add("--top-k", "--k-test", metavar="K", type=_number(1), default=256,
        help="so many are ranked; 256, the default, is the official value for COCO, 128 for "
        "Flickr30k")  # fmt: skip
    add("--itm-token", choices=("enc", "cls"), default="enc",
        help="what texts begin with for the ITM head; default enc, as the official "
        "evaluation")  # fmt: skip
    _shared(retrieval)

    vqa = tasks.add_parser(
        "vqa",
        help="VQA accuracy",
        description="Accuracy of answers by the official formula and its normalisation.",
    )
    add = vqa.add_argument
    add("questions", metavar="QUESTIONS", type=_name,
        help="VQA's questions, BLIP's list, or annotations alone to judge a file")  # fmt: skip
    add("--annotations", metavar="FILE", type=_name, help="VQA's annotations, with the answers")
    add("--answers", metavar="FILE", type=_name,
        help="a JSON list: the best of it is the answer (the official code's inference: rank); "
        "else answers are generated")  # fmt: skip
    add("--candidates", "--k-test", metavar="K", type=_number(1), default=128,
        help="answers that survive the cut by their first token; default 128")  # fmt: skip
    add("--results", metavar="FILE", type=_name, help="also write predictions as servers take them")
    _shared(vqa)
    _generation(vqa)
    return parser


def _code(problem: BlipError) -> int:
    if isinstance(problem, UsageError):
        return _USAGE
    return _FAILED if isinstance(problem, (DataError, ImageError, IoError)) else _MODEL


def main(arguments: Optional[List[str]] = None) -> int:
    """Runs the command and returns its exit code: 0, 1 files, 2 usage, 3 model or device."""
    tasks: Dict[str, Callable[[Any], None]] = {
        "caption": _commands.caption,
        "retrieval": _commands.retrieval,
        "vqa": _commands.vqa,
    }
    try:
        options = _parser().parse_args(arguments)
        tasks[options.task](options)
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _FAILED
    except BlipError as problem:
        print("blip eval: error: %s" % problem, file=sys.stderr)
        return _code(problem)
    except KeyboardInterrupt:
        kept = getattr(locals().get("options"), "predictions", None)
        told = "the same command goes on" if kept else "nothing is kept without --predictions"
        print("\nblip eval: stopped; %s" % told, file=sys.stderr)
        return _INTERRUPTED
    except MemoryError:
        print("blip eval: error: not enough memory", file=sys.stderr)
        return _MODEL
    return _OK


if __name__ == "__main__":
    sys.exit(main())
