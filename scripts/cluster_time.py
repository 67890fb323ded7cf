#!/usr/bin/env python3
"""How long a cluster needs: the model behind the tables of docs/cluster.md.

usage: cluster_time.py [--cores N] [--node-read GB/s] [--file-system GB/s] [--network GB/s] [--node-memory GB]
                       [--memory-read GB/s] [--rates FILE.json] [--config CONFIG.json] [--samples N] [--text TOKENS]
       cluster_time.py measure BUILD [--output FILE.json]

The first form prints seconds for 1 to 64 nodes, of models of 70, 405 and 671 B parameters or of a config.json. The second
measures the rates of one core on small models with random weights, and compares what the model says of other shapes with the
processor seconds that they take."""
import argparse
import json
import math
import os
import resource
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NODES = (1, 2, 4, 8, 16, 32, 64)
CHUNK, GROUP, PARTS, HESSIAN_BYTES, MIN_SHARE = 512, 2048, 16, 2 << 30, 4
# Of one core with AVX-512 (Emerald Rapids, 2 GHz), by `cluster_time.py measure`, 2026-12-03.
RATES = {"encode": 9.1e7, "forward": 1.7e11, "walk": 6.9e10, "product": 6.5e10, "feedback": 6.4e10, "fed": 7.7e6, "prompt": 1.3e11}
MEANING = {"encode": "weights a second, BF16 to Q4_K_M", "forward": "operations a second of gguf-imatrix on BF16",
           "walk": "operations a second of a calibration's layers", "product": "of Hessians and their factors",
           "feedback": "of compensation", "fed": "weights a second, what compensation costs beside",
           "prompt": "operations a second of prompts on Q4_K_M"}
Q4_K_M_BYTES = 4.85 / 8
# Llama 3: litgpt's config.py; DeepSeek V3: section 4.2 of its report, arXiv 2412.19437.
LLAMA = {"num_key_value_heads": 8, "head_dim": 128, "vocab_size": 128256}
MODELS = {
    "Llama 3, 70 B": {**LLAMA, "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
                      "intermediate_size": 28672},
    "Llama 3.1, 405 B": {**LLAMA, "hidden_size": 16384, "num_hidden_layers": 126, "num_attention_heads": 128,
                         "intermediate_size": 53248},
    "DeepSeek V3, 671 B": {"hidden_size": 7168, "num_hidden_layers": 61, "num_attention_heads": 128,
                           "intermediate_size": 18432, "moe_intermediate_size": 2048, "n_routed_experts": 256,
                           "n_shared_experts": 1, "num_experts_per_tok": 8, "first_k_dense_replace": 3,
                           "q_lora_rank": 1536, "kv_lora_rank": 512, "qk_nope_head_dim": 128, "qk_rope_head_dim": 64,
                           "v_head_dim": 128, "vocab_size": 129280},
}


class Matrix:
    """`count` matrices of n_rows x n_cols, each met by a share of the tokens; those with the same inputs share a Hessian."""

    def __init__(self, inputs, n_cols, n_rows, count=1, share=1.0):
        self.inputs, self.n_cols, self.n_rows, self.count, self.share = inputs, n_cols, n_rows, count, share

    def weights(self):
        return self.n_cols * self.n_rows * self.count


def attention(c):
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    if "kv_lora_rank" in c:
        nope, rope, value, rank = c["qk_nope_head_dim"], c["qk_rope_head_dim"], c["v_head_dim"], c["kv_lora_rank"]
        return [Matrix("x", hidden, c["q_lora_rank"] + rank + rope), Matrix("q", c["q_lora_rank"], heads * (nope + rope)),
                Matrix("k", nope, rank, heads), Matrix("v", rank, value, heads), Matrix("o", heads * value, hidden)]
    dim = c.get("head_dim") or hidden // heads
    return [Matrix("x", hidden, (heads + 2 * c["num_key_value_heads"]) * dim), Matrix("o", heads * dim, hidden)]


def feed_forward(c, width, count=1, share=1.0, name="f"):
    hidden = c["hidden_size"]
    return [Matrix(name, hidden, 2 * width, count, share), Matrix(name + "d", width, hidden, count, share)]


def layer(c, i):
    experts = c.get("n_routed_experts") or c.get("num_experts") or 0
    if not experts or i < c.get("first_k_dense_replace", 0):
        return attention(c) + feed_forward(c, c["intermediate_size"])
    width, shared = c["moe_intermediate_size"], c.get("n_shared_experts") or 0
    mats = attention(c) + feed_forward(c, width, experts, c["num_experts_per_tok"] / experts, "e")
    return mats + (feed_forward(c, width * shared, name="s") if shared else [])


class Shape:
    def __init__(self, c):
        self.hidden = c["hidden_size"]
        self.layers = [layer(c, i) for i in range(c["num_hidden_layers"])]
        self.head = [Matrix("h", self.hidden, c["vocab_size"])]
        stages = self.layers + [self.head]
        self.stages = stages
        self.weights = sum(m.weights() for s in stages for m in s) + self.hidden * c["vocab_size"]
        self.active = sum(m.weights() * m.share for s in stages for m in s)
        self.bf16 = 2 * self.weights
        self.q4 = self.weights * Q4_K_M_BYTES


def hessians(mats):
    """(columns, tokens' share) of each; neighbours with the same inputs share one."""
    return [(m.n_cols, m.share) for m in mats for _ in range(m.count)]


def stage_work(mats, tokens):
    """Operations and weights of one stage of a calibration, in the units of the rates."""
    work = dict.fromkeys(("walk", "sums", "factors", "feedback", "fed", "plain"), 0.0)
    sizes = hessians(mats)
    work["walk"] = 2 * tokens * sum(m.weights() * m.share for m in mats)
    work["sums"] = sum(n * n * tokens * share for n, share in sizes)
    enough = [n for n, share in sizes if tokens * share * MIN_SHARE >= n]
    work["factors"] = sum(4 / 3 * n**3 for n in enough)
    work["factor bytes"] = sum(4 * n * n for n in enough)
    work["widest"] = max([4 / 3 * n**3 for n in enough] or [0])
    for m in mats:
        if tokens * m.share * MIN_SHARE >= m.n_cols:
            work["feedback"] += 7 * m.n_cols * m.weights()
            work["fed"] += m.weights()
        else:
            work["plain"] += m.weights()
    work["bytes"] = sum(4 * n * n for n, _ in sizes)
    work["passes"] = max(1, math.ceil(2 * work["bytes"] / HESSIAN_BYTES)) if len(sizes) > 1 else 1
    return work


def calibration_cpu(shape, tokens, rates):
    """Processor seconds of a calibrated quantisation."""
    total = 0.0
    for mats in shape.stages:
        w = stage_work(mats, tokens)
        total += w["passes"] * w["walk"] / rates["walk"] + (w["sums"] + w["factors"]) / rates["product"]
        total += w["feedback"] / rates["feedback"] + w["fed"] / rates["fed"] + w["plain"] / rates["encode"]
    return total


class Cluster:
    def __init__(self, o, rates):
        self.o, self.rates = o, rates

    def moved(self, n_bytes, nodes):
        """Seconds to read or write so many bytes in all, shared by the nodes."""
        return n_bytes / (min(nodes * self.o.node_read, self.o.file_system) * 1e9)

    def convert(self, s, n):
        return self.moved(2 * s.bf16, n)

    def quantise(self, s, n):
        return max(s.weights / self.rates["encode"] / self.o.cores / n, self.moved(s.bf16 + s.q4, n))

    def imatrix(self, s, n):
        groups = math.ceil(self.o.text / GROUP)
        rounds = math.ceil(groups / n)
        cpu = rounds * 2 * GROUP * s.active / self.rates["forward"] / self.o.cores
        reads = 1 if s.bf16 < self.o.node_memory * 1e9 else rounds
        return max(cpu, self.moved(reads * s.bf16 * min(n, groups), min(n, groups)))

    def calibrate(self, s, n):
        o, seconds = self.o, 0.0
        ranks = min(n, PARTS)
        rounds = math.ceil(PARTS / ranks)
        for mats in s.stages:
            w = stage_work(mats, o.samples)
            walked = (w["passes"] * w["walk"] / self.rates["walk"] + w["sums"] / self.rates["product"]) * rounds / PARTS
            # The largest Hessian is one node's.
            factored = max(w["factors"] / n, w["widest"]) / self.rates["product"]
            fed = w["feedback"] / self.rates["feedback"] + w["fed"] / self.rates["fed"] + w["plain"] / self.rates["encode"]
            layer_bytes = 2 * sum(m.weights() for m in mats)
            passes = 1 if layer_bytes < self.o.node_memory * 0.8e9 else w["passes"]
            read = self.moved((passes * ranks + 1) * layer_bytes, n)
            sent = (rounds + 1) * w["bytes"] + w["factor bytes"] * math.ceil(math.log2(n)) if n > 1 else 0
            seconds += max((walked + factored + fed / n) / o.cores, read) + sent / (o.network * 1e9)
        return seconds

    def prompt(self, s, n, batch=512, tokens=8192):
        """Tokens a second of a prompt through a pipeline."""
        batches = tokens / batch
        return self.rates["prompt"] * self.o.cores * n / (2 * s.active) * batches / (batches + n - 1)

    def answer(self, s, n):
        """Tokens a second of one stream; a token visits one node after the other."""
        return 1 / (s.active * Q4_K_M_BYTES / (self.o.memory_read * 1e9) + n * 1e-4)


def clock(seconds):
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def print_tables(o, rates):
    cluster = Cluster(o, rates)
    models = {o.config: json.loads(Path(o.config).read_text())} if o.config else MODELS
    print(f"{o.cores} cores a node at the rates of one core; {o.node_read} GB/s to a node and {o.file_system} GB/s in all from "
          f"the file system,\n{o.network} GB/s between nodes, {o.node_memory} GB of memory, read at {o.memory_read} GB/s; "
          f"{o.samples} tokens of calibration, {o.text} of imatrix.\n")
    for name, config in models.items():
        s = Shape(config)
        print(f"| {name} ({s.weights / 1e9:.0f} B, {s.active / 1e9:.0f} B a token) | " + " | ".join(map(str, NODES)) + " |")
        print("|---|" + "--:|" * len(NODES))
        for title, work in (("convert", cluster.convert), ("quantise, Q4_K_M", cluster.quantise), ("imatrix", cluster.imatrix),
                            ("quantise --calibrate", cluster.calibrate)):
            print(f"| {title} | " + " | ".join(clock(work(s, n)) for n in NODES) + " |")
        fits = [s.q4 * 1.05 / n < o.node_memory * 1e9 for n in NODES]
        for title, rate in (("prompt, tokens/s", cluster.prompt), ("answer, tokens/s", cluster.answer)):
            print(f"| {title} | " + " | ".join(f"{rate(s, n):.3g}" if f else "" for n, f in zip(NODES, fits)) + " |")
        print()


# ---- measuring ----------------------------------------------------------------------------------


def tensors_of(c):
    hidden, dim = c["hidden_size"], c["head_dim"]
    heads, pairs = c["num_attention_heads"] * dim, c["num_key_value_heads"] * dim
    yield "model.embed_tokens.weight", (c["vocab_size"], hidden)
    yield "lm_head.weight", (c["vocab_size"], hidden)
    yield "model.norm.weight", (hidden,)
    for i in range(c["num_hidden_layers"]):
        prefix = f"model.layers.{i}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{prefix}{name}.weight", (hidden,)
        for name, rows in (("q", heads), ("k", pairs), ("v", pairs)):
            yield f"{prefix}self_attn.{name}_proj.weight", (rows, hidden)
        yield f"{prefix}self_attn.o_proj.weight", (hidden, heads)
        for name in ("gate", "up"):
            yield f"{prefix}mlp.{name}_proj.weight", (c["intermediate_size"], hidden)
        yield f"{prefix}mlp.down_proj.weight", (hidden, c["intermediate_size"])


def write_model(folder, layers, hidden, width, heads, pairs, dim):
    """A Llama with random BF16 weights between about -0.01 and 0.01, and norms of 1."""
    source = ROOT / "tests" / "data" / "models" / "llama"
    c = json.loads((source / "config.json").read_text())
    c.update(num_hidden_layers=layers, hidden_size=hidden, intermediate_size=width, vocab_size=2000, head_dim=dim,
             num_attention_heads=heads, num_key_value_heads=pairs, tie_word_embeddings=False, torch_dtype="bfloat16",
             max_position_embeddings=8192)
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(c))
    for name in ("tokenizer.model", "tokenizer_config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    header, at = {}, 0
    for name, dims in tensors_of(c):
        size = 2 * math.prod(dims)
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    signs = bytes(0x3C if i & 1 else 0xBC for i in range(256))
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for _, dims in tensors_of(c):
            n = math.prod(dims)
            pairs_of_bytes = bytearray(b"\x80\x3f" * n)
            if len(dims) > 1:
                low = os.urandom(n)
                pairs_of_bytes[0::2], pairs_of_bytes[1::2] = low, low.translate(signs)
            out.write(pairs_of_bytes)
    return c


def processor_seconds(command):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([str(w) for w in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, done.stdout


def solve(rows, values):
    """Least squares of relative errors, by the normal equations."""
    scaled = [[x / v for x in row] for row, v in zip(rows, values)]
    n = len(rows[0])
    a = [[sum(r[i] * r[j] for r in scaled) for j in range(n)] + [sum(r[i] for r in scaled)] for i in range(n)]
    for i in range(n):
        a[i:] = sorted(a[i:], key=lambda row: -abs(row[i]))
        for j in range(n):
            if j != i:
                a[j] = [x - a[j][i] / a[i][i] * y for x, y in zip(a[j], a[i])]
    return [a[i][n] / a[i][i] for i in range(n)]


def features(shape, tokens):
    total = [0.0] * 4
    for mats in shape.stages:
        w = stage_work(mats, tokens)
        for i, x in enumerate((w["passes"] * w["walk"], w["sums"] + w["factors"], w["feedback"], w["fed"])):
            total[i] += x
    return total


class Bench:
    def __init__(self, build, folder):
        self.build, self.folder = Path(build), Path(folder)
        self.text = self.folder / "text.txt"
        self.text.write_text((ROOT / "docs" / "formats.md").read_text() * 4)
        self.shapes = {}

    def model(self, name, *dims):
        path = self.folder / f"{name}.gguf"
        if name not in self.shapes:
            self.shapes[name] = Shape(write_model(self.folder / name, *dims))
            processor_seconds([self.build / "gguf-convert", self.folder / name, "-o", path, "-q"])
        return path, self.shapes[name]

    def quantise(self, path, *options):
        out = self.folder / "out.gguf"
        return processor_seconds([self.build / "gguf-quantize", path, out, "Q4_K_M", "-t", 1, "-q", "--force", *options])[0]

    def calibrate(self, path, tokens):
        return self.quantise(path, "--calibrate", self.text, "--samples", tokens)

    def imatrix(self, path, chunks):
        return processor_seconds([self.build / "gguf-imatrix", path, "-f", self.text, "-o", self.folder / "i.imx", "--chunks",
                                  chunks, "-t", 1, "-q", "--force"])[0]

    def prompt(self, path):
        quantised = self.folder / "out.gguf"
        self.quantise(path)
        out = processor_seconds([self.build / "gguf-bench", quantised, "-p", CHUNK, "-n", 0, "-r", 3, "-t", 1, "--json"])[1]
        return json.loads(out)[0]["avg_ts"]


def measure(o):
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(o.build, folder)
        shapes = {"narrow": (4, 1024, 2816, 16, 4, 64), "wide": (2, 2048, 5632, 32, 4, 64), "flat": (1, 4096, 256, 4, 2, 64)}
        runs = [("narrow", 1024), ("narrow", 4096), ("wide", 1536), ("wide", 3072), ("flat", 1024), ("flat", 4096)]
        rows, values = [], []
        for name, tokens in runs:
            path, shape = bench.model(name, *shapes[name])
            values.append(bench.calibrate(path, tokens))
            rows.append(features(shape, tokens))
        rates = dict(zip(("walk", "product", "feedback", "fed"), (1 / x for x in solve(rows, values))))
        path, shape = bench.model("wide")
        rates["encode"] = (shape.weights - shape.hidden * 2000) / bench.quantise(path)
        rates["forward"] = 2 * 8 * CHUNK * shape.active / (bench.imatrix(path, 12) - bench.imatrix(path, 4))
        rates["prompt"] = 2 * shape.active * bench.prompt(path)
        for name, value in rates.items():
            print(f"{name:9} {value:9.3g}  {MEANING[name]}")
        print("\n| processor seconds of | said | taken | ratio |\n|---|--:|--:|--:|")
        other, shape = bench.model("other", 3, 1536, 6144, 12, 3, 128)
        checks = [(f"calibration, {name}, {tokens} tokens", calibration_cpu(bench.shapes[name], tokens, rates), taken)
                  for (name, tokens), taken in zip(runs, values)]
        checks += [(f"calibration, another shape, {n} tokens", calibration_cpu(shape, n, rates), bench.calibrate(other, n))
                   for n in (2048, 8192)]
        checks.append(("imatrix, another shape, 16 chunks of 512", 16 * CHUNK * 2 * shape.active / rates["forward"],
                       bench.imatrix(other, 16)))
        checks.append(("quantising, another shape", shape.weights / rates["encode"], bench.quantise(other)))
        for title, said, taken in checks:
            print(f"| {title} | {said:.1f} | {taken:.1f} | {said / taken:.2f} |")
        if o.output:
            Path(o.output).write_text(json.dumps(rates, indent=1) + "\n")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cores", type=int, default=64)
    parser.add_argument("--node-read", type=float, default=5.0)
    parser.add_argument("--file-system", type=float, default=40.0)
    parser.add_argument("--network", type=float, default=10.0)
    parser.add_argument("--node-memory", type=float, default=512.0)
    parser.add_argument("--memory-read", type=float, default=200.0)
    parser.add_argument("--samples", type=int, default=16384)
    parser.add_argument("--text", type=int, default=131072)
    parser.add_argument("--rates")
    parser.add_argument("--config")
    return parser.parse_args()


def main():
    if sys.argv[1:2] == ["measure"]:
        parser = argparse.ArgumentParser(prog="cluster_time.py measure")
        parser.add_argument("build")
        parser.add_argument("--output")
        measure(parser.parse_args(sys.argv[2:]))
        return
    o = arguments()
    print_tables(o, json.loads(Path(o.rates).read_text()) if o.rates else RATES)


if __name__ == "__main__":
    main()
