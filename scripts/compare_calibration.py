#!/usr/bin/env python3
"""What --calibrate brings, type by type, with a text of the model's kind and with a foreign one.

usage: compare_calibration.py MODEL.gguf CALIBRATION TEST --foreign FILE... [--build DIR] [--types A,B] [--chunks N]
MODEL is quantised with --method round and --method compensate, calibrated on CALIBRATION and on the foreign files behind one
another; KLD against MODEL on TEST, and of the files calibrated on CALIBRATION on CALIBRATION itself. Gain: 1 - KLD compensated
/ KLD rounded; were it much smaller on TEST than on CALIBRATION, the compensation would be fitted to its text. Exit status 1 if
compensation is worse than rounding anywhere, or the gain on TEST below 0.8 times the gain on CALIBRATION.
"""
import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

TYPES = "Q2_K,Q3_K_M,IQ4_XS,IQ4_NL,Q4_0,Q4_1,Q4_K_S,Q4_K_M,Q5_0,Q5_1,Q5_K_M,Q6_K,Q8_0,MXFP4"
HEAD = ["type", "round", "compensate", "ratio", "gain on TEST", "gain on its text", "foreign: round", "compensate", "ratio"]


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed: {' '.join(map(str, command))}\n{done.stderr}")
    return done.stdout


def quality(arguments, model, text, *options):
    command = [f"{arguments.build}/gguf-bench", "quality", model, "-f", text, "--ctx", "256", "--chunks",
               str(arguments.chunks)]
    return run([*command, *options])


def divergence(arguments, model, text, base):
    return json.loads(quality(arguments, model, text, "--base", base, "--json"))["kld_mean"]


def quantise(arguments, kind, text, method, output):
    pure = ["--pure"] if kind == "MXFP4" else []
    run([f"{arguments.build}/gguf-quantize", arguments.model, output, kind, *pure, "--calibrate", text, "--method", method,
         "--force"])


def klds_of(arguments, kind, text, measured, folder):
    """{method: [KLD on each of the measured texts]}"""
    found = {}
    for method in ("round", "compensate"):
        output = f"{folder}/{method}.gguf"
        quantise(arguments, kind, text, method, output)
        found[method] = [divergence(arguments, output, test, base) for test, base in measured]
    return found


def row_of(arguments, kind, foreign, bases, folder):
    test, own = (arguments.test, bases[0]), (arguments.calibration, bases[1])
    near = klds_of(arguments, kind, arguments.calibration, [test, own], folder)
    far = klds_of(arguments, kind, foreign, [test], folder)
    ratios = [near["compensate"][i] / near["round"][i] for i in range(2)]
    ratio = far["compensate"][0] / far["round"][0]
    print(f"| {kind} | {near['round'][0]:.5f} | {near['compensate'][0]:.5f} | {ratios[0]:.2f} | {1 - ratios[0]:.2f} | "
          f"{1 - ratios[1]:.2f} | {far['round'][0]:.5f} | {far['compensate'][0]:.5f} | {ratio:.2f} |", flush=True)
    return max(ratios[0], ratio) <= 1 and 1 - ratios[0] >= 0.8 * (1 - ratios[1])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("calibration")
    parser.add_argument("test")
    parser.add_argument("--foreign", nargs="+", type=Path, required=True)
    parser.add_argument("--build", default="build")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--chunks", type=int, default=40)
    arguments = parser.parse_args()
    print("| " + " | ".join(HEAD) + " |\n|---|" + "--:|" * (len(HEAD) - 1))
    with tempfile.TemporaryDirectory() as folder:
        foreign = Path(folder, "foreign.txt")
        foreign.write_bytes(b"".join(file.read_bytes() for file in arguments.foreign if not file.is_symlink()))
        bases = [f"{folder}/test.base", f"{folder}/own.base"]
        for text, base in zip((arguments.test, arguments.calibration), bases):
            quality(arguments, arguments.model, text, "--save-base", base)
        good = [row_of(arguments, kind, foreign, bases, folder) for kind in arguments.types.split(",")]
    return not all(good)


sys.exit(main())
