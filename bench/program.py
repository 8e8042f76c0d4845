"""Runs the program for the scripts beside this one."""

import json
import subprocess
import sys


def run(command, **options):
    """What it prints. Ends the script where it fails; options: of subprocess.run."""
    command = [str(word) for word in command]
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options
    )
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def bench(blip, model, stages, *arguments, **options):
    """The rows of `blip bench` about these stages: {"stage", "dtype", "median_ms", ...}. model:
    None = the bundled one."""
    command = [blip, "bench", "--json", "--quiet", *arguments]
    if model is not None:
        command += ["--model", model]
    for stage in stages:
        command += ["--stage", stage]
    rows = map(json.loads, run(command, **options).splitlines())
    return [row for row in rows if row.get("stage") in stages]
