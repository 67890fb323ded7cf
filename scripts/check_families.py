#!/usr/bin/env python3
"""Convert tiny models and compare them with what llama.cpp's converter and the original library make of them.

usage: check_families.py FOLDER [NAME...] [--build build] [--limit 1e-4]      needs numpy, safetensors, gguf

FOLDER holds one folder per model: config.json, weights, expected-gguf.json (as scripts/make_expected.py writes it) and
reference.safetensors (tokens, and logits or hidden). Each is converted to F32; keys and tensors must be the expected ones, and
logits with an f32 cache within the limit. Prints a row per model, with the first difference, or
all of them for models that are named; exit 1 if a model that converts falls short.
"""
import argparse
import hashlib
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from safetensors.numpy import load_file

# Keys that we write and the other converter does not: what follows from other keys, and facts that it loses.
OWN_KEYS = {"vocab_size", "attention.key_length", "attention.value_length", "rope.dimension_count", "rope.freq_base",
            "attention.sliding_window", "attention.sliding_window_pattern", "attention.scale", "expert_weights_norm",
             "expert_weights_scale", "expert_group_count", "ggufkit.dt_b_c_epsilon", "pooling_type", "ggufkit.rope_layers", "ggufkit.yarn_truncate", "ggufkit.post_norm_epsilon", "ggufkit.plain_qk_norm", "ggufkit.swiglu_limit", "ggufkit.swiglu_alpha", "leading_dense_block_count",
            "attention.temperature_scale", "attention.temperature_length",
            "embedding_scale", "residual_scale", "logit_scale", "rope.scaling.original_context_length", "rope.scaling.attn_factor"}
# Provenance and what the tool that chooses types says, not facts of the model.
ASIDE = ("tokenizer.", "ggufkit.", "general.file_type", "general.sampling.", "GGUF.")


def run(*command):
    """The first line that explains a failure, None if there is none."""
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    errors = [line for line in result.stderr.splitlines() if "warning" not in line]
    return None if result.returncode == 0 else (errors or [f"exit status {result.returncode}"])[-1]


def same_value(field, want):
    value = want["value"]
    if [t.name for t in field.types] != want["type"]:
        return False
    if isinstance(value, dict):  # an array: its length and first elements are on record
        ours = field.contents()
        first = value.get("first", value.get("values"))
        return len(ours) == value["n"] and all(same_number(a, b) for a, b in zip(ours, first))
    return same_number(field.contents(), value)


def same_number(ours, theirs):
    if isinstance(theirs, float):
        return math.isclose(ours, theirs, rel_tol=1e-7)
    return ours == theirs


def key_differences(reader, expected):
    ours = {k: f for k, f in reader.fields.items() if not k.startswith(ASIDE)}
    theirs = {k: v for k, v in expected.items() if not k.startswith(ASIDE)}
    prefix = reader.fields["general.architecture"].contents() + "."
    for key in theirs:
        if key not in ours:
            yield f"no key {key}"
        elif not same_value(ours[key], theirs[key]):
            yield f"{key} is {ours[key].contents()}, not {theirs[key]['value']}"
    yield from (f"unexpected key {key}" for key in ours
                if key not in theirs and key.removeprefix(prefix) not in OWN_KEYS)


def tensor_differences(reader, expected):
    prefix = reader.fields["general.architecture"].contents() + "."
    ours = {t.name: t for t in reader.tensors}
    for want in expected:
        tensor = ours.pop(want["name"], None)
        if tensor is None:
            yield f"no tensor {want['name']}"
        elif [int(n) for n in tensor.shape] != want["shape"]:
            yield f"{want['name']} is {tensor.shape.tolist()}, not {want['shape']}"
        elif want["name"].endswith("ssm_a") and (prefix == "glm5-next." or
                                                 len(want["shape"]) == 2 and want["shape"][0] > 1):
            continue  # -exp of many numbers: torch's vector code is not exact in the last place, ours is
        elif hashlib.sha256(tensor.data.tobytes()).hexdigest() != want["sha256"]:
            yield f"the data of {want['name']} differ"
    yield from (f"unexpected tensor {name}" for name in ours)


def score_of(model, hidden):
    """A reranker's score: output(tanh(dense(first row))), without the parts that the model lacks."""
    tensors = {t.name: t.data for t in gguf.GGUFReader(model).tensors if t.name.startswith("cls.")}
    if "cls.weight" in tensors:
        hidden = np.tanh(tensors["cls.weight"] @ hidden + tensors["cls.bias"])
    return tensors["cls.output.weight"] @ hidden + tensors.get("cls.output.bias", 0)


def logit_difference(build, model, folder, scratch):
    """The largest difference over the largest number, or a text that says why there is none."""
    reference = load_file(folder / "reference.safetensors")
    what = next((name for name in ("logits", "hidden", "score") if name in reference), None)
    out = scratch / "logits.safetensors"
    tokens = ",".join(map(str, reference["tokens"].tolist()))
    failure = run(build / "gguf-run", model, "--tokens", tokens, "--logits", out, "--exact", "--force")
    if failure:
        return failure
    ours = load_file(out)
    if what == "score" and "hidden" in ours:
        ours = {"score": score_of(model, ours["hidden"][0])}
    if what not in ours:
        return f"{', '.join(ours)} in place of {what}"
    return float(np.abs(ours[what] - reference[what]).max() / np.abs(reference[what]).max())


def check(build, folder, scratch):
    """Converted, equal, difference of logits, and what to say about it."""
    model = scratch / f"{folder.name}.gguf"
    failure = run(build / "gguf-convert", folder, "-o", model, "--outtype", "f32")
    if failure:
        return False, False, None, [failure]
    expected = json.loads((folder / "expected-gguf.json").read_text())
    reader = gguf.GGUFReader(model)
    notes = [*key_differences(reader, expected["metadata"]), *tensor_differences(reader, expected["tensors"])]
    equal = not notes
    worst = logit_difference(build, model, folder, scratch)
    model.unlink()
    if isinstance(worst, str):
        notes, worst = [*notes, worst], None
    return True, equal, worst, notes


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--build", type=pathlib.Path, default=pathlib.Path("build"))
    parser.add_argument("--limit", type=float, default=1e-4)
    args = parser.parse_intermixed_args()
    names = args.names or sorted(p.parent.name for p in args.folder.glob("*/expected-gguf.json"))
    short = 0
    print(f"{'family':20} converted equal  logits  note")
    with tempfile.TemporaryDirectory() as scratch:
        for name in names:
            converted, equal, worst, notes = check(args.build, args.folder / name, pathlib.Path(scratch))
            short += converted and not (equal and worst is not None and worst <= args.limit)
            words = ["yes" if flag else "no" for flag in (converted, equal)]
            number = "-" if worst is None else f"{worst:.1e}"
            print(f"{name:20} {words[0]:9} {words[1]:5} {number:>8}  {'; '.join(notes if args.names else notes[:1])}",
                  flush=True)
    print(f"{len(names)} models, {short} of those that convert fall short")
    sys.exit(short > 0)


main()
