"""What a compiled model answers and how fast it is, measured with the program itself and compared
with the checkpoint in F32 on the CPU and with the vendor's figures.
"""

import json
import math
import os
import re
import subprocess
import sys
import tempfile
from datetime import datetime, timezone
from pathlib import Path

from .errors import BuildError

TASKS = ("caption", "match", "ask")
QUESTIONS = ("what is in the picture?", "what colour is it?", "how many are there?")
TEXTS = 10  # of those given to match with every picture, at most
# Of the vendor's BLIP sample on its hardware, in milliseconds: bmrt_test, and predict of its
# programs.
VENDOR = {
    "bm1684": {"blip_itm": 513, "blip_vqa_venc": 742, "blip_vqa_tenc": 110, "blip_vqa_tdec": 86},
    "bm1684x": {
        "blip_cap": 332,
        "blip_itm": 201,
        "blip_vqa_venc": 352,
        "blip_vqa_tenc": 11,
        "blip_vqa_tdec": 46,
    },
    "bm1688": {
        "blip_cap": 987,
        "blip_itm": 798,
        "blip_vqa_venc": 1090,
        "blip_vqa_tenc": 202,
        "blip_vqa_tdec": 101,
    },
}
# What an input of those networks is like.
VENDOR_INPUTS = {
    "blip_cap": "3, 384, 384]",
    "blip_itm": "3, 384, 384]",
    "blip_vqa_venc": "3, 480, 480]",
    "blip_vqa_tenc": "901, 768]",
    "blip_vqa_tdec": ", 768]",
}
VENDOR_PROGRAMS = {
    "bm1684": {"match": (48.85, 519.43), "ask": (16.21, 202.65)},
    "bm1684x": {"caption": (39.15, 338.35), "match": (26.05, 204.82), "ask": (19.32, 60.26)},
    "bm1688": {"caption": (76.05, 1000.13), "match": (80.74, 807.94), "ask": (19.01, 309.29)},
}


def progress(message):
    print(f"report: {message}", file=sys.stderr, flush=True)


class Program:
    """blip, run with one model on one device."""

    def __init__(self, program, model, device, limit):
        self.program, self.model, self.device, self.limit = str(program), model, device, limit

    def run(self, command, *arguments, failures=False):
        """Standard output as JSON lines. failures: that single pictures failed is no error."""
        call = [self.program, command, *self.model, "--device", self.device, "--json"]
        if command != "info":
            call += ["--batch", "1"]
        call += map(str, arguments)
        try:
            done = subprocess.run(
                call, capture_output=True, text=True, check=False, timeout=self.limit
            )
        except FileNotFoundError:
            raise BuildError(f"no program {self.program}; name it with --blip") from None
        except subprocess.TimeoutExpired:
            raise BuildError(f"{' '.join(call)} took more than {self.limit} s (--limit)") from None
        if done.returncode != 0 and not (failures and done.returncode == 1):
            said = [line for line in done.stderr.splitlines() if line.startswith("blip: ")]
            last = "\n  ".join(said[-3:] or done.stderr.strip().splitlines()[-3:])
            raise BuildError(f"{' '.join(call)} failed ({done.returncode}):\n  {last}")
        try:
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
        except ValueError:
            lines = []
        if not lines:
            said = done.stderr.strip().splitlines()[-1:] or ["it printed no results"]
            raise BuildError(f"{' '.join(call)}:\n  {said[0]}")
        for line in lines:
            if "error" in line:
                progress(f"{line.get('image', '')}: {line['error']}")
        return lines


# ---- the model


def chip_of(info, devices):
    """bm1684x, by what the networks' devices are called."""
    for network in info["networks"]:
        found = re.search(r"\((bm\w+)\)", network["device"])
        if found:
            return found[1]
    return devices


def tasks_of(info):
    tasks = info["tasks"]
    has = {
        "caption": tasks["caption"],
        "match": tasks["match_itm"] or tasks["match_itc"],
        "ask": tasks["ask"],
    }
    return [task for task in TASKS if has[task]]


def decoding(task, info):
    """Options by which the CPU decodes as the model does: one whose decoding is compiled in is
    greedy and of a fixed length; others have a longest text.
    """
    if task == "match":
        return []
    if not Path(info["path"]).is_dir():
        for network in info["networks"]:
            ids = re.fullmatch(r"\w+ \[1, (\d+)\]", network["outputs"])
            if ids:
                return ["--beams", "1", "--max-length", ids[1]]
    usual = {"caption": 20, "ask": 10}[task]
    return ["--max-length", info["max_length"]] if 0 < info["max_length"] < usual else []


# ---- accuracy


def by_input(lines, *keys):
    return {tuple(line[key] for key in keys): line for line in lines if "error" not in line}


def compare_texts(got, expected, key):
    """Texts of the same inputs: how many are the same, and those that are not."""
    common = sorted(set(got) & set(expected))
    differing = [
        {"input": list(i), "cpu": expected[i][key], "chip": got[i][key]}
        for i in common
        if got[i][key] != expected[i][key]
    ]
    return {
        "compared": len(common),
        "same": len(common) - len(differing),
        "failed": len(set(expected) - set(got)),
        "differing": differing,
    }


def compare_numbers(got, expected, key):
    """Numbers of the same inputs, and whether each picture's texts are ranked alike by them."""
    common = [
        i
        for i in sorted(set(got) & set(expected))
        if isinstance(got[i].get(key), (int, float))
        and isinstance(expected[i].get(key), (int, float))
    ]
    if not common:
        return None
    errors = [abs(got[i][key] - expected[i][key]) for i in common]
    worst = max(range(len(common)), key=errors.__getitem__)
    pictures = sorted({picture for picture, _ in common})

    def best(of, picture):
        return max((i for i in common if i[0] == picture), key=lambda i: of[i][key])

    return {
        "compared": len(common),
        "failed": len(set(expected) - set(got)),
        "largest_error": errors[worst],
        "worst": {
            "input": list(common[worst]),
            "cpu": expected[common[worst]][key],
            "chip": got[common[worst]][key],
        },
        "mean_error": sum(errors) / len(errors),
        "rms_error": math.sqrt(sum(e * e for e in errors) / len(errors)),
        "pictures": len(pictures),
        "same_best_text": sum(best(got, p) == best(expected, p) for p in pictures),
    }


def accuracy(task, got, expected):
    if task == "caption":
        keys = ("image",)
        return {
            "captions": compare_texts(by_input(got, *keys), by_input(expected, *keys), "caption")
        }
    if task == "match":
        keys = ("image", "text")
        pair = by_input(got, *keys), by_input(expected, *keys)
        results = {
            "match probabilities": compare_numbers(*pair, "match_probability"),
            "cosines": compare_numbers(*pair, "cosine"),
        }
        return {name: result for name, result in results.items() if result}
    keys = ("image", "question")
    return {"answers": compare_texts(by_input(got, *keys), by_input(expected, *keys), "answer")}


# ---- speed


def zones(trace):
    """Stage name -> its times in milliseconds, in order."""
    events = json.loads(Path(trace).read_text(encoding="utf-8"))["traceEvents"]
    times = {}
    for event in sorted((e for e in events if e.get("cat") == "stage"), key=lambda e: e["ts"]):
        times.setdefault(event["name"], []).append(event["dur"] / 1000)
    return times


def mean(values):
    return sum(values) / len(values) if values else 0.0


def program_speed(task, times, networks, results):
    """Milliseconds per picture, and per result: of texts to match and questions there may be
    several for a picture. Inference is what networks took from launch to result; postprocessing
    what else lies in the device's work: copies, the choice of tokens, texts.
    """
    pictures = len(times.get("read picture", ()))
    if not pictures:
        return None
    inference = sum(sum(times.get(name, ())) for name in networks)
    work = sum(times.get("encode", ())) + sum(times.get(task, ()))
    row = {
        "decode": sum(times["read picture"]) / pictures,
        "preprocess": (sum(times.get("prepare", ())) + sum(times.get("preprocess", ()))) / pictures,
        "inference": inference / pictures,
        "postprocess": max(work - inference, 0) / pictures,
    }
    return {
        "pictures": pictures,
        "results": results,
        **{f"{name}_ms": value for name, value in row.items()},
        "total_ms": sum(row.values()),
    }


def network_speed(times, networks):
    """Each network: how often it ran, and its times from launch to result."""
    rows = []
    for network in networks:
        values = sorted(times.get(network["name"], ()))
        rows.append(
            {
                "network": network["name"],
                "cores": network["cores"],
                "inputs": network["inputs"],
                "outputs": network["outputs"],
                "launches": len(values),
                "mean_ms": mean(values) if values else None,
                "median_ms": values[len(values) // 2] if values else None,
                "least_ms": values[0] if values else None,
            }
        )
    return rows


# ---- the whole


def read_lines(path, what):
    if not Path(path).is_file():
        raise BuildError(f"{path}: no such file; expected {what}, one a line")
    lines = [line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        raise BuildError(f"{path} holds no {what}, one a line")
    return lines


class Reporter:
    def __init__(self, chip, reference, images, texts, questions):
        """chip, reference: Programs, reference may be None. images: files or folders."""
        self.chip, self.reference, self.images = chip, reference, [str(i) for i in images]
        self.texts, self.questions = texts, questions

    def _arguments(self, task):
        if task == "match":
            return [x for text in self.texts for x in ("--text", text)]
        if task == "ask":
            return [x for question in self.questions for x in ("--question", question)]
        return []

    def _expected(self, task, info):
        if not self.reference:
            return None
        progress(f"{task} on the CPU, for comparison")
        arguments = [*self.images, *self._arguments(task), *decoding(task, info)]
        return self.reference.run(task, *arguments, failures=True)

    def _measure(self, task, networks):
        progress(f"{task} on {self.chip.device}")
        with tempfile.TemporaryDirectory(prefix="blip-report-") as folder:
            trace = Path(folder) / "trace.json"
            arguments = [*self.images, *self._arguments(task), "--trace", trace]
            got = self.chip.run(task, *arguments, failures=True)
            times = zones(trace)
        names = {network["name"] for network in networks}
        good = sum("error" not in line for line in got)
        return got, program_speed(task, times, names, good), network_speed(times, networks)

    def run(self):
        (info,) = self.chip.run("info")
        networks = info["networks"]
        if not networks:
            raise BuildError(f"{info['path']} is no compiled model: it has no networks")
        report = {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "model": {key: info[key] for key in ("name", "path", "dtype", "image_size")},
            "device": networks[0]["device"],
            "chip": chip_of(info, self.chip.device),
            "machine": " ".join(os.uname()[i] for i in (0, 2, 4)),
            "accuracy": {},
            "programs": {},
            "failed": {},
            "networks": [],
        }
        if self.reference:
            (cpu,) = self.reference.run("info")
            report["reference"] = {key: cpu[key] for key in ("name", "path", "dtype")}
        for task in tasks_of(info):
            if task == "match" and not self.texts:
                self.texts = self._texts_of_captions(report)
            expected = self._expected(task, info)
            got, speed, rows = self._measure(task, networks)
            if task == "caption":
                self._captions = sorted({r["caption"] for r in got if "caption" in r})
            if expected is not None:
                report["accuracy"].update(accuracy(task, got, expected))
            report["programs"][task] = speed
            report["failed"][task] = sum("error" in line for line in got)
            report["networks"] += [{"task": task, **row} for row in rows if row["launches"]]
        return report

    _captions = ()

    def _texts_of_captions(self, report):
        """Without texts, the model's own captions, or if it makes none, a few that fit anything."""
        texts = list(self._captions)[:TEXTS] or [
            "a person",
            "an animal",
            "a street",
            "food on a plate",
        ]
        report["texts"] = texts
        return texts


# ---- tables


def number(value, digits=2):
    return "-" if value is None else f"{value:.{digits}f}"


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(str(c).replace("|", "\\|") for c in l) + " |" for l in lines)


def accuracy_tables(report):
    parts, texts, numbers = [], [], []
    for name, r in report["accuracy"].items():
        if "same" in r:
            texts.append([name, r["compared"], r["same"], len(r["differing"]), r["failed"]])
        else:
            numbers.append(
                [
                    name,
                    r["compared"],
                    number(r["largest_error"], 5),
                    number(r["mean_error"], 5),
                    number(r["rms_error"], 5),
                    f"{r['same_best_text']} of {r['pictures']}",
                    r["failed"],
                ]
            )
    if texts:
        parts.append(table(["", "compared", "same", "other", "failed"], texts))
    if numbers:
        head = ["", "compared", "largest error", "mean", "rms", "same best text", "failed"]
        parts.append(table(head, numbers))
    differing = [
        [name, " / ".join(d["input"]), d["cpu"], d["chip"]]
        for name, r in report["accuracy"].items()
        for d in r.get("differing", ())
    ]
    if differing:
        parts.append(table(["other", "input", "CPU, F32", "chip"], differing))
    return parts


def vendor_time(chip, network):
    """The vendor's figure of a network that is one of its sample's, by its name (blip_cap of
    blip_cap_bm1684x_f32) and its size.
    """
    found = re.match(r"blip_(cap|itm|vqa_[a-z]+)", network["network"])
    size = VENDOR_INPUTS.get(found and found[0])
    if not size or size not in network["inputs"]:
        return "-"
    return VENDOR.get(chip, {}).get(found[0], "-")


def failures(report):
    """How many inputs gave no result, of all programs."""
    return sum(report["failed"].values())


def markdown(report):
    chip = report["chip"]
    head = f"# {report['model']['name']} on {report['device']}"
    lines = [head, f"{report['time']}, {report['machine']}, {report['model']['path']}"]
    lines.append("## Accuracy")
    if "reference" in report:
        r = report["reference"]
        lines.append(f"Against {r['path']} in {r['dtype']} on the CPU.")
        lines += accuracy_tables(report)
    else:
        lines.append("Not compared: no checkpoint was given (--reference).")
    lines.append("## Programs, milliseconds a picture")
    rows = []
    for task, s in report["programs"].items():
        vendor, failed = VENDOR_PROGRAMS.get(chip, {}).get(task), report["failed"][task]
        if not s:
            rows.append([task, 0, 0, failed, *["-"] * 6])
            continue
        keys = ("decode_ms", "preprocess_ms", "inference_ms", "postprocess_ms", "total_ms")
        shown = f"{vendor[0]} / {vendor[1]}" if vendor else "-"
        counts = (s["pictures"], s["results"], failed)
        rows.append([task, *counts, *(number(s[k]) for k in keys), shown])
    names = ["program", "pictures", "results", "failed", "decode", "preprocess", "inference"]
    names += ["postprocess", "total", "vendor's sample: preprocess / predict"]
    lines.append(table(names, rows))
    lines.append("## Networks, milliseconds from launch to result")
    rows = []
    for n in report["networks"]:
        vendor = vendor_time(chip, n)
        times = (number(n[k], 3) for k in ("mean_ms", "median_ms", "least_ms"))
        rows.append([n["task"], n["network"], n["cores"], n["launches"], *times, vendor])
    names = ["program", "network", "cores", "launches", "mean", "median", "least"]
    lines.append(table([*names, "vendor's bmrt_test"], rows))
    return "\n\n".join(lines) + "\n"


def write(path, text):
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
