#!/usr/bin/env python3
"""Make the wheel of an installed tree, install it into a new environment and use it from there.
usage: check_wheel.py BUILD SOURCE [TARBALL]
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import venv
import zipfile

import numpy

BUILD, SOURCE = pathlib.Path(sys.argv[1]).resolve(), pathlib.Path(sys.argv[2]).resolve()
DATA = SOURCE / "tests" / "data"

USE = r'''
import gc, pathlib, subprocess, sys
import numpy as np
import ggufkit

assert pathlib.Path(ggufkit.__file__).is_relative_to(sys.prefix), ggufkit.__file__
data = pathlib.Path(sys.argv[1])
result = ggufkit.convert(data / "demo-model", "m.gguf")
assert result["architecture"] == "llama"

file = ggufkit.File("m.gguf")
assert file.metadata["general.architecture"] == "llama" and file.version == 3
assert isinstance(file.metadata["tokenizer.ggml.tokens"], list) and file.metadata["tokenizer.ggml.token_type"].dtype == "<i4"
assert len(file.tensors) == result["n_tensors"]
norm, embedding = file.tensors["output_norm.weight"], file.tensors["token_embd.weight"]
assert norm.type == "F32" and norm.data.dtype == "<f4" and norm.data.shape == norm.shape
assert embedding.type == "BF16" and embedding.data.dtype == "<u2" and embedding.shape[0] == len(file.metadata["tokenizer.ggml.tokens"])
assert not embedding.data.flags.writeable and embedding.data.nbytes == embedding.n_bytes
floats = embedding.to_float32()
assert floats.dtype == np.float32 and np.isfinite(floats).all() and 0 < floats.std() < 1
# The mapping outlives the file's handle for as long as there is a view.
view, copy = embedding.data, embedding.data.copy()
del file, norm, embedding
gc.collect()
assert (view == copy).all()

(pathlib.Path("text.txt")).write_text((data / "demo-model" / "calib.txt").read_text()[:20000])
result = ggufkit.quantize("m.gguf", "q.gguf", "Q4_K_M", threads=2)
assert result["type"] == "Q4_K_M"
q = ggufkit.File("q.gguf")
tensor = next(t for t in q.tensors.values() if t.type == "Q4_K")
assert tensor.data.dtype == np.uint8 and tensor.data.shape == (tensor.shape[0], tensor.shape[1] // 256 * 144)

def fails(code, function, *args, **options):
    try:
        function(*args, **options)
    except ggufkit.Error as error:
        assert error.code == code, (error.code, str(error))
        return error
    raise AssertionError("no error")

fails("unsupported", tensor.to_float32)
fails("exists", ggufkit.quantize, "m.gguf", "q.gguf", "Q8_0")
ggufkit.quantize("m.gguf", "q.gguf", "Q8_0", force=True)
pathlib.Path("cut.gguf").write_bytes(pathlib.Path("m.gguf").read_bytes()[:2000])
error = fails("truncated", ggufkit.File, "cut.gguf")
assert error.offset == 847 and error.file == "cut.gguf" and str(error).startswith("cut.gguf: byte 847: ")
fails("io", ggufkit.File, "none.gguf")
fails("usage", ggufkit.quantize, "m.gguf", "x.gguf", "Q4_Z")

answer = ggufkit.generate("q.gguf", "And God said", n=8, temperature=0)
assert len(answer.ids) == 8 and answer.finish_reason == "length" and answer.text == ggufkit.generate("q.gguf", "And God said", n=8, temperature=0).text
assert ggufkit.generate("q.gguf", "-", n=2).text is not None
ids = ggufkit.tokenize("q.gguf", "And God said")
assert ids and all(isinstance(i, int) for i in ids) and ggufkit.tokenize("q.gguf", "-h\n--json") != ids
assert len(ggufkit.tokenize("q.gguf", "x", special=False)) <= len(ggufkit.tokenize("q.gguf", "x"))

ggufkit.convert(data / "models" / "bert_sentence", "e.gguf")
vectors = ggufkit.embed("e.gguf", ["one", "two words", "one"])
assert vectors.shape[0] == 3 and vectors.dtype == np.float32 and np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-4)
assert (vectors[0] == vectors[2]).all() and np.allclose(ggufkit.embed("e.gguf", ["one", "two\nwords"])[0], vectors[0], atol=1e-6)
assert ggufkit.command("gguf-inspect", "verify", "m.gguf")
shown = subprocess.run([pathlib.Path(sys.prefix) / "bin" / "gguf-inspect", "--version"], capture_output=True, text=True, check=True).stdout
assert shown == f"gguf-inspect (ggufkit) {ggufkit.__version__}\n", shown
print("wheel: installed and used")
'''

with tempfile.TemporaryDirectory() as scratch:
    scratch = pathlib.Path(scratch)
    if len(sys.argv) > 3:  # a tarball in place of what was built here
        tree = pathlib.Path(sys.argv[3]).resolve()
    else:
        tree = scratch / "tree"
        subprocess.run(["cmake", "--install", BUILD, "--prefix", tree], stdout=subprocess.DEVNULL, check=True)
    make = [sys.executable, SOURCE / "scripts/python/make_wheel.py", tree]
    wheel = pathlib.Path(subprocess.check_output([*make, scratch / "one"], text=True).strip())
    again = pathlib.Path(subprocess.check_output([*make, scratch / "two"], text=True).strip())
    assert wheel.read_bytes() == again.read_bytes(), "two wheels of the same tree differ"
    assert zipfile.ZipFile(wheel).testzip() is None
    venv.create(scratch / "venv", with_pip=False, system_site_packages=False)
    python = scratch / "venv" / "bin" / "python"
    site = subprocess.check_output([python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], text=True).strip()
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-q", "--no-index", "--no-deps", "--disable-pip-version-check", wheel]
    if subprocess.run(pip, check=False).returncode:
        sys.exit("pip does not install the wheel")
    # numpy is the one of this machine: nothing is fetched.
    (pathlib.Path(site) / "numpy_here.pth").write_text(str(pathlib.Path(numpy.__file__).parent.parent) + "\n")
    work = scratch / "work"
    work.mkdir()
    sys.exit(subprocess.run([python, "-c", USE, DATA], cwd=work, env={**os.environ, "PYTHONPATH": ""}, check=False).returncode)
