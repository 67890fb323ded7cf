#!/usr/bin/env python3
"""Compare gguf-quantize with llama-quantize, type by type, on one model and one importance matrix.

usage: compare_quantisers.py MODEL.gguf IMATRIX.gguf TEXT --peer LLAMA-QUANTIZE [--build DIR] [--types A,B] [--efforts E,F]
Every tensor of both files is decoded by the Python package gguf (numpy too), so neither side judges itself. Per type: the
ratio ours / theirs of the sum of imp (w - w^)^2 of each tensor (geometric mean, worst, how many are above 1), then KLD and
perplexity of both files against MODEL. Exit status 1 if any tensor of the default effort is above theirs.
"""
import argparse
import json
import subprocess
import sys
import tempfile

import numpy
from gguf import GGUFReader, dequantize

TYPES = "Q4_0,Q4_1,Q5_0,Q5_1,Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,IQ1_S,IQ1_M,IQ2_XXS,IQ2_XS,IQ2_S,IQ3_XXS,IQ3_S"
# Of these, matrices without an importance are refused, and an imatrix has no entry of the embedding.
DEMANDING = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ3_XXS")


def values_of(tensor):
    if tensor.tensor_type.name == "BF16":
        words = tensor.data.view(numpy.uint16).astype(numpy.uint32) << 16
        return words.view(numpy.float32).reshape(-1, int(tensor.shape[0]))
    return dequantize(tensor.data, tensor.tensor_type).reshape(-1, int(tensor.shape[0]))


def read_importance(path):
    tensors = {t.name: t.data for t in GGUFReader(path).tensors}
    found = {}
    for name, sums in tensors.items():
        if name.endswith(".in_sum2"):
            counts = tensors[name.removesuffix("in_sum2") + "counts"].reshape(-1, 1)
            found[name.removesuffix(".in_sum2")] = sums.reshape(len(counts), -1) / numpy.maximum(counts, 1)
    return found


def weighted_errors(path, original, importance):
    """Sum of imp (w - w^)^2 of every tensor that is not as it was."""
    errors = {}
    for tensor in GGUFReader(path).tensors:
        was = original[tensor.name]
        if tensor.tensor_type == was.tensor_type or len(tensor.shape) < 2:
            continue
        square = (values_of(tensor).astype(numpy.float64) - values_of(was)) ** 2
        imp = importance.get(tensor.name, numpy.ones((1, square.shape[1])))
        per_matrix = square.reshape(len(imp), -1, square.shape[1]).sum(axis=1)
        errors[tensor.name] = float((per_matrix * imp).sum())
    return errors


def run(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        sys.exit(f"failed: {' '.join(command)}\n{done.stderr}")
    return done.stdout


def quality_of(arguments, path, base):
    out = json.loads(run([f"{arguments.build}/gguf-bench", "quality", path, "-f", arguments.text, "--base", base, "--ctx",
                          "256", "--chunks", str(arguments.chunks), "--json"]))
    return out["kld_mean"], out["ppl"]


def save_base(arguments, folder):
    path = f"{folder}/base"
    run([f"{arguments.build}/gguf-bench", "quality", arguments.model, "-f", arguments.text, "--ctx", "256", "--chunks",
         str(arguments.chunks), "--save-base", path])
    return path


def compare(ours, theirs):
    ratios = {name: ours[name] / theirs[name] for name in theirs}
    worst = max(ratios, key=ratios.get)
    mean = numpy.exp(numpy.mean(numpy.log(list(ratios.values()))))
    return mean, ratios[worst], worst, sum(ratio > 1 for ratio in ratios.values())


def rows_of_type(arguments, kind, folder, original, importance):
    theirs = f"{folder}/theirs.gguf"
    embedding = ["--token-embedding-type", "q8_0"] if kind in DEMANDING else []
    run([arguments.peer, "--imatrix", arguments.imatrix, "--pure", *embedding, arguments.model, theirs, kind, "2"])
    their_errors, quality = weighted_errors(theirs, original, importance), None
    if not arguments.no_quality:
        quality = quality_of(arguments, theirs, arguments.base)
    for effort in arguments.efforts:
        ours = f"{folder}/ours.gguf"
        option = ["--effort", effort] if effort != "default" else []
        run([f"{arguments.build}/gguf-quantize", arguments.model, ours, kind, "--pure", "--imatrix", arguments.imatrix,
             "--force", *embedding, *option])
        result = compare(weighted_errors(ours, original, importance), their_errors)
        line = f"| {kind} | {effort} | {result[0]:.4f} | {result[1]:.4f} | {result[3]} of {len(their_errors)} |"
        if quality:
            kld, ppl = quality_of(arguments, ours, arguments.base)
            line += f" {kld:.5f} | {quality[0]:.5f} | {ppl:.3f} | {quality[1]:.3f} |"
        print(line, flush=True)
        yield effort, result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("imatrix")
    parser.add_argument("text")
    parser.add_argument("--peer", required=True)
    parser.add_argument("--build", default="build")
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--efforts", default="default")
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--no-quality", action="store_true")
    arguments = parser.parse_args()
    arguments.efforts = arguments.efforts.split(",")
    original = {t.name: t for t in GGUFReader(arguments.model).tensors}
    importance = read_importance(arguments.imatrix)
    head = ["type", "effort", "mean", "worst", "above"]
    if not arguments.no_quality:
        head += ["KLD ours", "KLD theirs", "perplexity ours", "perplexity theirs"]
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    above = []
    with tempfile.TemporaryDirectory() as folder:
        if not arguments.no_quality:
            arguments.base = save_base(arguments, folder)
        for kind in arguments.types.split(","):
            for effort, result in rows_of_type(arguments, kind, folder, original, importance):
                if effort == "default" and result[3]:
                    above.append(f"{kind}: {result[2]} has {result[1]:.4f} of their error")
    print("\n".join(above))
    return bool(above)


sys.exit(main())
