#!/usr/bin/env python3
"""Compare a Hugging Face folder with what comes back from it: FOLDER -> F32 GGUF -> FOLDER.

usage: check_folders.py BUILD FOLDER... [--logits]

Names, shapes and values of all tensors have to be the same (tensors that the description ignores or leaves out are
named), and the folder that came back has to give the same GGUF tensors, byte for byte. With --logits the original
library loads both folders, and hidden states or logits must not differ by more than 1e-6. Needs numpy, --logits also
torch and transformers. Exit 1 if anything differs.
"""
import argparse
import glob
import json
import os
import re
import struct
import subprocess
import sys
import tempfile

import numpy as np

BF16 = "BF16"


def read_tensors(folder):
    """All tensors of a folder as float32 arrays, by name."""
    out = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.safetensors"))):
        if os.path.basename(path).startswith("reference"):
            continue
        with open(path, "rb") as file:
            size = struct.unpack("<Q", file.read(8))[0]
            header = json.loads(file.read(size))
            data = file.read()
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            start, end = entry["data_offsets"]
            raw = data[start:end]
            if entry["dtype"] == BF16:
                values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
            else:
                kind = {"F32": np.float32, "F16": np.float16, "F64": np.float64, "I64": np.int64, "I32": np.int32,
                        "U8": np.uint8, "I8": np.int8, "F8_E4M3": np.uint8, "F8_E5M2": np.uint8}[entry["dtype"]]
                values = np.frombuffer(raw, kind).astype(np.float32)
            out[name] = values.reshape(entry["shape"])
    return out


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{os.path.basename(command[0])}: exit {done.returncode}: {done.stderr.strip()[-400:]}")
    return done


def hashes(build, path):
    """XXH3 of every tensor, by name."""
    lines = run(os.path.join(build, "gguf-inspect"), "hash", path).stdout.splitlines()
    return {line.rsplit(":", 1)[1]: line.split()[1] for line in lines if ":" in line}


def compare_tensors(folder, back, padded, report):
    """Each tensor that came back against the original's; names may differ by an outer name."""
    before, after = ({name.replace("language_model.", ""): value for name, value in read_tensors(path).items()}
                     for path in (folder, back))
    for name in sorted(after):
        other = before.get(name)
        if other is None:
            ends = [key for key in before if key.endswith("." + name) or name.endswith("." + key)]
            if len(ends) == 1:
                other = before.pop(ends[0])
        else:
            del before[name]
        if other is None:
            report(f"'{name}' is not in the original")
        elif other.shape != after[name].shape:
            report(f"'{name}' has the shape {after[name].shape}, not {other.shape}")
        elif name in padded and np.array_equal(np.where(after[name] == 0, 0, other), after[name]):
            pass  # numbers that no model reads
        elif not np.allclose(other, after[name], rtol=2e-7, atol=2e-7):
            worst = float(np.max(np.abs(other - after[name])))
            report(f"'{name}' differs by up to {worst:g}")
    return sorted(before)


def logits(folder, tokens):
    """What the original library makes of the tokens."""
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    with open(os.path.join(folder, "config.json"), encoding="utf-8") as file:
        name = json.load(file)["architectures"][0]
    if not hasattr(transformers, name):
        raise LookupError(f"the original library has no {name}")
    model = getattr(transformers, name).from_pretrained(folder, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        out = model.eval()(torch.tensor([tokens]))
    return (out.logits if "logits" in out else out.last_hidden_state)[0].numpy()


def compare_logits(folder, back, report):
    tokens = [3, 7, 11, 20, 30, 5, 9, 40, 31, 8, 15, 33]
    try:
        worst = float(np.max(np.abs(logits(folder, tokens) - logits(back, tokens))))
    except LookupError as error:
        return str(error)
    if worst > 1e-6:
        report(f"logits differ by up to {worst:g}")
    return f"logits {worst:.2g}"


def check(build, folder, with_logits):
    findings = []
    with tempfile.TemporaryDirectory() as work:
        gguf, back, again = (os.path.join(work, name) for name in ("first.gguf", "folder", "again.gguf"))
        convert = os.path.join(build, "gguf-convert")
        note = ""
        try:
            run(convert, folder, "-o", gguf, "--outtype", "f32", "-q")
            done = run(convert, gguf, "-o", back, "--outtype", "f32")
            findings += [line for line in done.stderr.splitlines() if "cannot say" in line]
            padded = re.findall(r"tensor '([^']*)': .* are not in the file", done.stderr)
            left = compare_tensors(folder, back, padded, findings.append)
            note = f" (not taken: {len(left)}, such as {left[0]})" if left else ""
            run(convert, back, "-o", again, "--outtype", "f32", "-q")
            if hashes(build, gguf) != hashes(build, again):
                findings.append("the folder that came back gives other tensors")
            if with_logits:
                note += f" ({compare_logits(folder, back, findings.append)})"
        except Exception as error:  # whatever the original library raises is a finding
            findings.append(str(error).replace("\n", " ")[-500:])
    print(f"{os.path.basename(folder.rstrip('/'))}: {'ok' if not findings else 'DIFFERS'}{note}")
    for finding in findings[:8]:
        print(f"    {finding}")
    return not findings


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("--logits", action="store_true")
    args = parser.parse_args()
    results = [check(args.build, folder, args.logits) for folder in args.folders]
    print(f"{sum(results)} of {len(results)} folders come back as they were")
    return 0 if all(results) else 1


sys.exit(main())
