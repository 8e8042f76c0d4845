"""What the bench scripts' command lines share: values that are checked before anything is made or
measured.
"""

import argparse
import pathlib
import shutil


def parser(text):
    """text: the script's own description, shown whole."""
    return argparse.ArgumentParser(
        description=text, formatter_class=argparse.RawDescriptionHelpFormatter
    )


def count(text):
    """A whole number of 1 or more."""
    value = int(text) if text.isdigit() else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return value


def add_peers(to):
    """--only: which of the engines that peers.py times."""
    to.add_argument(
        "--only",
        type=listed(str, "openvino", "onnxruntime", "torch"),
        default="openvino,onnxruntime,torch",
        help="peers, with commas",
    )


def program(text):
    """The absolute path of a program that is there."""
    found = shutil.which(text)
    if not found:
        raise argparse.ArgumentTypeError(f"no program {text}")
    return pathlib.Path(found).absolute()


def listed(one, *choices):
    """Values with commas, each of type `one` and, if there are choices, one of them."""

    def values(text):
        got = []
        for part in text.split(","):
            value = one(part)
            if choices and value not in choices:
                raise argparse.ArgumentTypeError(f"{part!r} is none of {', '.join(choices)}")
            got.append(value)
        return got

    return values
