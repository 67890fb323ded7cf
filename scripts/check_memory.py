#!/usr/bin/env python3
"""Predicted against measured peak memory. usage: check_memory.py BUILD MODEL.gguf... [--threads N]

gguf-bench records both for prompts, batches, contexts and cache types, on tokens all over the vocabulary. gguf-run
builds a tokenizer too; the prediction is gguf-bench fit's, with as much of the embedding as the tokens of the text
reach: it states what is resident with none and with tokens that all differ. Prints the table of docs/fit.md; exit 1 if
one is off by more than 3 % and 8 MiB."""
import argparse
import json
import os
import pathlib
import subprocess
import sys

TEXT = pathlib.Path(__file__).resolve().parent.parent / "docs" / "formats.md"
ALLOWED_SHARE, ALLOWED_BYTES = 0.03, 8 << 20
# prompt, generated tokens, depth, batch, cache
BENCH_RUNS = [
    (512, 0, 0, 512, "f16"),
    (0, 16, 0, 512, "f16"),
    (64, 0, 0, 64, "f16"),
    (0, 8, 1000, 512, "q8_0"),
    (0, 8, 2000, 2048, "f32"),
    (256, 0, 700, 128, "q4_0"),
]


def bench(build, model, run, threads):
    prompt, generated, depth, batch, cache = run
    command = [build / "gguf-bench", model, "-p", prompt, "-n", generated, "-d", depth, "-b", batch, "-r", 1,
               "--kv-type", cache, "-t", threads, "--json"]
    record = json.loads(subprocess.check_output([str(word) for word in command]))[0]
    test = f"bench -p {prompt} -n {generated} -d {depth} -b {batch} --kv-type {cache}"
    return test, record["predicted_rss_bytes"], record["peak_rss_bytes"]


def predict(build, model, context, threads):
    command = [build / "gguf-bench", "fit", model, "--device", "this machine", "--ctx", context, "-t", threads, "--json"]
    result = subprocess.run([str(word) for word in command], capture_output=True, check=False)
    return json.loads(result.stdout)["devices"][0]


def looked_up(build, model, ids, most):
    """What the tokens make resident of the embedding: the 64 KiB around each of its rows that one asks for."""
    if not most:
        return 0
    command = [build / "gguf-inspect", model, "--json", "--filter", "token_embd.weight"]
    table = json.loads(subprocess.check_output([str(word) for word in command]))["tensors"][0]
    row = table["size_bytes"] // table["shape"][1]
    rows = (table["offset"] + i * row for i in set(ids))
    return len({part for at in rows for part in range(at >> 16, (at + row - 1 >> 16) + 1)}) << 16


def generate(build, model, text, threads):
    """A run with a context that prompt and answer fill."""
    words = [build / "gguf-run", model, "-p", text]
    ids = json.loads(subprocess.check_output([str(word) for word in words] + ["--tokenize", "--json"]))["ids"]
    context = len(ids) + 8
    words += ["-n", 8, "--ctx", context, "--temp", 0, "-t", threads, "-q"]
    child = subprocess.Popen([str(word) for word in words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        sys.exit(f"gguf-run {model}: exit {os.waitstatus_to_exitcode(status)}")
    fit = predict(build, model, context, threads)
    most = fit["lookup_rss_bytes"]
    predicted = fit["predicted_rss_bytes"] - most + min(most, looked_up(build, model, ids, most))
    return f"run --ctx {context}", predicted, usage.ru_maxrss * 1024


def report(model, result):
    test, predicted, measured = result
    error = predicted - measured
    good = abs(error) <= max(ALLOWED_BYTES, ALLOWED_SHARE * measured)
    print(f"| {pathlib.Path(model).name} | {test} | {predicted / 2**20:.1f} | {measured / 2**20:.1f} | "
          f"{error / 2**20:+.1f} MiB, {100 * error / measured:+.2f} %{'' if good else ' MISSED'} |", flush=True)
    return good


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("build", type=pathlib.Path)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--run", nargs="*", default=[], metavar="MODEL", help="models for gguf-run")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--text", type=pathlib.Path, default=TEXT, help="prompt of gguf-run: the first 4000 bytes")
    args = parser.parse_args()
    print("| model | gguf- | predicted MiB | measured MiB | error |\n|---|---|--:|--:|--:|")
    good, text = True, args.text.read_bytes()[:4000].decode(errors="ignore")
    for model in args.models:
        for run in BENCH_RUNS:
            good &= report(model, bench(args.build, model, run, args.threads))
    for model in args.run:
        good &= report(model, generate(args.build, model, text, args.threads))
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
