"""Check our files with independent readers: the Python packages gguf, safetensors and numpy.

usage: check_files.py BUILD DATA     Prints what was checked; exit 1 at the first difference.
Every file written is read by `gguf` with the metadata that gguf-inspect shows, and every type's blocks decode there
to what ours decode to, bit for bit (ours: gguf-quantize to F32).
"""
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

BUILD, DATA = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
FIXTURES = sorted(p.name for p in (DATA / "models").iterdir() if (p / "expected-gguf.json").exists())
# What was expected there took exp from a library that misses the last place; ours is rounded exactly.
WITHOUT_EXACT_EXP = {"jamba"}
PURE_TYPES = ["F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
              "IQ4_NL", "IQ4_XS", "MXFP4"]
checks = 0


def check(condition, what):
    global checks
    checks += 1
    if not condition:
        sys.exit(f"oracle: {what}")


def run(tool, *args):
    result = subprocess.run([BUILD / tool, *map(str, args)], capture_output=True, text=True)
    check(result.returncode == 0, f"{tool} {args}: {result.stderr}")
    return result.stdout


def same_value(ours, theirs):
    """Equal, with numbers as JSON writes them and floats to the twelve digits printed."""
    if isinstance(theirs, float):
        if not math.isfinite(theirs):
            return ours == {"nan": "nan"}.get(str(theirs), str(theirs))
        return math.isclose(ours, theirs, rel_tol=1e-11, abs_tol=0)
    if isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(same_value, ours, theirs))
    return ours == theirs


def check_readable(path):
    """The gguf package sees the metadata and tensors that gguf-inspect shows."""
    reader = gguf.GGUFReader(path)
    document = json.loads(run("gguf-inspect", path, "--json", "--max-array", 1 << 30))
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    # The reader drops nothing; keys must agree one by one.
    check(set(fields) == set(document["metadata"]), f"{path}: keys differ")
    for key, entry in document["metadata"].items():
        check(same_value(entry["value"], fields[key].contents()), f"{path}: {key} differs")
    check([t.name for t in reader.tensors] == [t["name"] for t in document["tensors"]], f"{path}: tensors differ")
    for theirs, ours in zip(reader.tensors, document["tensors"]):
        check(list(map(int, theirs.shape)) == ours["shape"], f"{path}: {theirs.name} shape")
        check(theirs.tensor_type.name == ours["type"], f"{path}: {theirs.name} type")
        check(int(theirs.n_bytes) == ours["size_bytes"], f"{path}: {theirs.name} size")
    return reader


def check_fixture(name, folder):
    source = DATA / "models" / name
    expected = {t["name"]: t for t in json.loads((source / "expected-gguf.json").read_text())["tensors"]}
    path = folder / f"{name}.gguf"
    run("gguf-convert", source, "-o", path, "--outtype", "f32")
    for tensor in check_readable(path).tensors:
        want = expected.pop(tensor.name)
        if name in WITHOUT_EXACT_EXP and tensor.name.endswith(".ssm_a"):
            continue
        check(hashlib.sha256(tensor.data.tobytes()).hexdigest() == want["sha256"], f"{name}: {tensor.name} differs")
    check(not expected, f"{name}: {list(expected)} are missing")
    if not (source / "reference.safetensors").exists():  # an adapter is no model
        return
    check_logits(name, path, folder)
    bf16 = folder / f"{name}-bf16.gguf"
    run("gguf-convert", source, "-o", bf16)
    # BF16 rounds quantised weights times their scales, and weights times factors of the config.
    config = json.loads((source / "config.json").read_text())
    if "mxfp4" in name or not {"quantization_config", "ssm_multipliers"} & config.keys():
        check_logits(name, bf16, folder)


def check_logits(name, path, folder):
    reference = load_file(DATA / "models" / name / "reference.safetensors")
    tokens = ",".join(map(str, reference["tokens"].tolist()))
    out = folder / "logits.safetensors"
    run("gguf-run", path, "--tokens", tokens, "--logits", out, "--exact", "--force")
    what = "logits" if "logits" in reference else "hidden"
    ours = load_file(out)[what]
    worst = np.abs(ours - reference[what]).max() / np.abs(reference[what]).max()
    check(worst <= 1e-3, f"{path.name}: {what} differ by {worst:.2g}")
    print(f"{path.name}: {what} within {worst:.2g} of the reference")


def check_types(folder):
    """Blocks of every type decode in Python to what ours decode to."""
    source = folder / "demo.gguf"
    run("gguf-convert", DATA / "demo-model", "-o", source)
    check_readable(source)
    for kind in PURE_TYPES:
        path, plain = folder / f"demo-{kind}.gguf", folder / f"demo-{kind}-f32.gguf"
        run("gguf-quantize", source, path, kind, "--pure")
        run("gguf-quantize", path, plain, "F32", "--allow-requantize")
        reader = check_readable(path)
        ours = {t.name: t.data for t in gguf.GGUFReader(plain).tensors}
        for tensor in reader.tensors:
            theirs = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
            check(theirs.tobytes() == ours[tensor.name].astype(np.float32).tobytes(), f"{kind}: {tensor.name} decodes differently")
        print(f"{kind}: {len(reader.tensors)} tensors decode to the same bits")


def check_imatrix(folder):
    path = folder / "imatrix.gguf"
    run("gguf-imatrix", folder / "demo.gguf", "-f", DATA / "demo-model" / "calib.txt", "--ctx", 128, "--chunks", 2, "-o", path)
    reader = check_readable(path)
    values = {t.name: t.data for t in reader.tensors}
    check("blk.0.attn_q.weight.in_sum2" in values, "imatrix: no entry for attn_q")
    check(float(values["blk.0.attn_q.weight.counts"].item()) == 256, "imatrix: counts are not the tokens seen")


with tempfile.TemporaryDirectory() as temporary:
    folder = pathlib.Path(temporary)
    for fixture in FIXTURES:
        check_fixture(fixture, folder)
    check_types(folder)
    check_imatrix(folder)
print(f"oracle: {checks} checks passed on {len(FIXTURES)} fixtures and {len(PURE_TYPES)} types")
