#!/usr/bin/env python3
"""What 64-bit ARM processors make of the inner loops of src/kernels/gemm_panels_arm.cpp, by
llvm-mca's models of them: cycles a round, and the share that the multiplying instructions alone, or
where those are fewer the loads alone, would take of them (100 %: nothing else is waited for).

Needs g++-aarch64-linux-gnu, the sysroot of scripts/make-sysroot.sh arm64, and llvm-mca 19 or
later, whose models know Neoverse V1; without --mca it takes llvm-mca-19 or llvm-mca.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import arguments

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src/kernels/gemm_panels_arm.cpp"
# kernel: (what multiplies, with what takes numbers apart for it; how many of them a round over one
# row and two panels has)
KERNELS = {
    "neon::F32": (r"fmla", 32),
    "neon::Bf16": (r"fmla|and|shl", 64),
    "neon::Bytes": (r"smull2?|smlal2?|sadalp", 96),
    "neon::Keys": (r"smull2?|addp|sadalp|eor", 40),
    "dotprod::Bytes": (r"sdot", 32),
    "dotprod::Keys": (r"sdot|eor", 64),
    "i8mm::Bytes": (r"smmla", 16),
    "bf16::Bf16": (r"bfmmla", 16),
}
ROUNDS = 200
OLDEST = 19  # LLVM whose models are shown
EXTENSIONS = "+dotprod,+i8mm,+bf16"
# What each processor uses.
OLD = ("neon::F32", "neon::Bf16", "neon::Bytes", "neon::Keys")
DOT = ("neon::F32", "neon::Bf16", "dotprod::Bytes", "dotprod::Keys")
NEW = ("neon::F32", "neon::Bf16", "dotprod::Keys", "i8mm::Bytes", "bf16::Bf16")
PROCESSORS = {
    "cortex-a53": OLD,
    "cortex-a76": DOT,
    "neoverse-n1": DOT,
    "neoverse-v1": NEW,
    "apple-m1": DOT,
}
LOADS = r"ld[pr]|ld1r?|ldur"


def assembly():
    command = ["aarch64-linux-gnu-g++", f"--sysroot={ROOT}/build/sysroot/arm64", "-std=c++20"]
    command += ["-O3", "-DNDEBUG", f"-I{ROOT}/src", f"-I{ROOT}/include", "-S", "-o", "-", SOURCE]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return subprocess.run(
        ["aarch64-linux-gnu-c++filt"], input=text, check=True, capture_output=True, text=True
    ).stdout.splitlines()


def innermost_loops(lines):
    """(kernel, instructions) of each loop without another inside, of every kernel's product."""
    kernel, labels, body_start = None, {}, 0
    for i, line in enumerate(lines):
        if match := re.match(r"(\S.*?):$", line):
            name = match[1]
            if name.startswith(".L"):
                labels[name] = i
            else:
                found = re.search(
                    r"(?:multiply_panels|panel_rows)<.*namespace\)::(\w+::\w+)[,>]", name
                )
                kernel, labels, body_start = found and found[1], {}, i
        elif match := re.match(r"\s+(?:b\.?[a-z]+|cbn?z|tbn?z)\s.*?(\.L\w+)$", line):
            start = labels.get(match[1])
            if kernel and start is not None and start >= body_start:
                body = [x.strip() for x in lines[start + 1 : i + 1] if re.match(r"\s+[a-z]", x)]
                body = [x for x in body if not x.startswith(".")]
                yield kernel, body
                body_start = i + 1


def count(body, pattern):
    return sum(bool(re.fullmatch(pattern, line.split()[0])) for line in body)


def loaded(body):
    """Registers."""
    return count(body, LOADS) + count(body, "ldp")


def wanted_loops(lines):
    """Of each kernel: the loop over its most rows, and the one over one row that fetches ahead. Of
    several copies the longest.
    """
    loops = {}
    for kernel, body in innermost_loops(lines):
        if count(body, KERNELS[kernel][0]) and count(body, LOADS):
            loops.setdefault(kernel, []).append(body)
    wanted = {}
    for kernel, (pattern, once) in KERNELS.items():
        # The largest tile loads the least for its products.
        reuse = {id(b): round(count(b, pattern) / loaded(b), 1) for b in loops[kernel]}
        most = max(reuse.values())
        one = [b for b in loops[kernel] if count(b, pattern) == once and count(b, "prfm")]
        if not one:
            found = sorted({count(b, pattern) for b in loops[kernel]})
            sys.exit(f"{kernel}: no loop of {once} products that fetches, but of {found}")
        wanted[kernel] = (
            max((b for b in loops[kernel] if reuse[id(b)] == most), key=len),
            max(one, key=lambda b: (count(b, "prfm"), len(b))),
        )
    return wanted


def analyse(mca, cpu, body):
    """Cycles a round, and those of them in which the busiest unit works."""
    command = [mca, "-mtriple=aarch64", f"-mcpu={cpu}", f"-mattr={EXTENSIONS}"]
    command += [f"-iterations={ROUNDS}", "-instruction-info=false"]
    text = "\n".join(re.sub(r"\.L\w+$", "here", line) for line in body)
    result = subprocess.run(
        command, input="here:\n" + text + "\n", capture_output=True, text=True, check=False
    )
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.stderr}")
    cycles = float(re.search(r"Total Cycles:\s+(\d+)", result.stdout)[1]) / ROUNDS
    pressure = re.search(r"Resource pressure per iteration:\n.*\n(.*)\n", result.stdout)[1]
    return cycles, max(float(x) for x in re.findall(r"[\d.]+", pressure))


def measure(mca, cpu, body, pattern):
    multiplies = [x for x in body if count([x], pattern)]
    loads = [x for x in body if count([x], LOADS + "|prfm")]
    cycles, _ = analyse(mca, cpu, body)
    return cycles, analyse(mca, cpu, multiplies)[1], analyse(mca, cpu, loads)[1]


def version_of(mca):
    done = subprocess.run([mca, "--version"], capture_output=True, text=True, check=False)
    found = re.search(r"LLVM version (\d+)", done.stdout)
    return int(found[1]) if found else 0


def main():
    parser = arguments.parser(__doc__)
    parser.add_argument(
        "--mca",
        type=arguments.program,
        default=shutil.which("llvm-mca-19") or "llvm-mca",
        help=f"llvm-mca {OLDEST} or later",
    )
    parser.add_argument(
        "--show",
        nargs=2,
        metavar=("LOOP", "ROWS"),
        help=f"print a loop instead, of many rows or of one; LOOP: {', '.join(KERNELS)}",
    )
    options = parser.parse_args()
    if options.show and (options.show[0] not in KERNELS or options.show[1] not in ("many", "one")):
        parser.error(f"--show {' '.join(options.show)}: see --help for the loops")
    if not options.show and version_of(options.mca) < OLDEST:
        parser.error(f"{options.mca} is older than LLVM {OLDEST}: its models give other figures")
    loops = wanted_loops(assembly())
    if options.show:
        print("\n".join(loops[options.show[0]][options.show[1] == "one"]))
        return
    print(
        f"{'processor':13}{'kernel':16}{'rows':6}{'instructions':>12}{'products':>10}{'cycles':>8}"
        f"{'products alone':>16}{'loads alone':>13}{'share':>7}"
    )
    for cpu, kernels in PROCESSORS.items():
        for kernel in kernels:
            for rows, body in zip(("many", "one"), loops[kernel]):
                pattern = KERNELS[kernel][0]
                cycles, units, loads = measure(options.mca, cpu, body, pattern)
                share = 100 * max(units, loads) / cycles
                print(
                    f"{cpu:13}{kernel:16}{rows:6}{len(body):12}{count(body, pattern):10}"
                    f"{cycles:8.1f}{units:16.1f}{loads:13.1f}{share:6.0f}%"
                )


if __name__ == "__main__":
    main()
