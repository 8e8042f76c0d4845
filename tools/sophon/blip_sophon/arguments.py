"""Values on command lines."""

import argparse
from pathlib import Path

from .errors import BuildError


def number(low, high):
    """A whole number from low to high."""

    def parse(text):
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f"{text}: expected {low} to {high}")
        return int(text)

    return parse


def numbers(low, high):
    """Some of them with commas, sorted."""

    def parse(text):
        parts = text.split(",")
        if not all(part.isdecimal() and low <= int(part) <= high for part in parts):
            raise argparse.ArgumentTypeError(
                f"{text}: expected numbers from {low} to {high}, such as 1,3"
            )
        return sorted({int(part) for part in parts})

    return parse


def check_files(paths, what):
    for path in paths:
        if not Path(path).exists():
            raise BuildError(f"{path}: no such {what}")
