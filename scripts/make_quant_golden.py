#!/usr/bin/env python3
"""Make tests/golden/quant: blocks of every type and their values as the Python package gguf decodes them.

usage: make_quant_golden.py FOLDER        needs: pip install gguf numpy
Writes TYPE.blocks and TYPE.f32. The scales are finite; everything else in a block is random.
"""
import pathlib
import sys

import gguf
import numpy as np

# type -> byte offsets of its f16 numbers in a block
TYPES = {
    "F32": [], "F16": [0], "BF16": [],
    "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0],
    "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208],
    "Q2_K": [80, 82], "Q3_K": [108], "IQ4_NL": [0], "IQ4_XS": [0], "MXFP4": [],
    "IQ1_S": [0], "IQ1_M": [], "IQ2_XXS": [0], "IQ2_XS": [0], "IQ2_S": [0], "IQ3_XXS": [0], "IQ3_S": [0],
    "TQ1_0": [52], "TQ2_0": [64],
}
N_ELEMENTS = 256


def make_blocks(name, offsets, rng):
    qtype = gguf.GGMLQuantizationType[name]
    block_elems, block_bytes = gguf.GGML_QUANT_SIZES[qtype]
    n_blocks = N_ELEMENTS // block_elems
    if name == "F32":
        return rng.standard_normal(N_ELEMENTS).astype(np.float32).view(np.uint8)
    if name == "BF16":
        return (rng.standard_normal(N_ELEMENTS).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    blocks = rng.integers(0, 256, (n_blocks, block_bytes), dtype=np.uint8)
    for offset in offsets:
        scales = (rng.standard_normal(n_blocks) * 10.0 ** rng.integers(-7, 3, n_blocks)).astype(np.float16)
        blocks[:, offset:offset + 2] = scales.view(np.uint8).reshape(n_blocks, 2)
    if name == "IQ1_M":  # exponent bits of the f16 that four numbers share; not all of them set
        blocks[:, 53] &= 0x3F
    if name == "MXFP4":
        blocks[:, 0] = rng.integers(0, 250, n_blocks)
    return blocks.reshape(-1)


def main():
    folder = pathlib.Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(20)
    for name, offsets in TYPES.items():
        blocks = make_blocks(name, offsets, rng)
        values = gguf.quants.dequantize(blocks.reshape(1, -1), gguf.GGMLQuantizationType[name])
        (folder / f"{name}.blocks").write_bytes(blocks.tobytes())
        (folder / f"{name}.f32").write_bytes(values.astype(np.float32).tobytes())


main()
