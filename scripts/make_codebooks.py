#!/usr/bin/env python3
"""Make quant/kernels/codebooks.c: the codebooks of the IQ1, IQ2 and IQ3 types, which are part of the format.

usage: make_codebooks.py >quant/kernels/codebooks.c        needs: pip install gguf numpy
They are read from the Python package gguf, which has them from ggml.
"""
from gguf import quants

# C name, class of the package, bits of an element
BOOKS = [
    ("quant_book_iq1", quants.IQ1_S, 2),
    ("quant_book_iq2_xxs", quants.IQ2_XXS, 2),
    ("quant_book_iq2_xs", quants.IQ2_XS, 2),
    ("quant_book_iq2_s", quants.IQ2_S, 2),
    ("quant_book_iq3_xxs", quants.IQ3_XXS, 3),
    ("quant_book_iq3_s", quants.IQ3_S, 3),
]
HEAD = """/* The codebooks of the IQ1, IQ2 and IQ3 types, made by scripts/make_codebooks.py.
 *
 * The numbers are from ggml (https://github.com/ggml-org/llama.cpp, ggml/src/ggml-common.h):
 * Copyright (c) 2023-2026 The ggml authors, MIT licence, the text of which is in LICENSE. */
#include "quant/kernels/codebooks.h"
"""


def words_of(book, bits):
    book.init_grid()
    index = {value: i for i, value in enumerate(book.grid_map)}
    grid = book.grid.reshape(book.grid_shape)
    return [sum(index[int(v)] << bits * i for i, v in enumerate(entry)) for entry in grid]


def main():
    print(HEAD, end="")
    for name, book, bits in BOOKS:
        words = words_of(book, bits)
        print(f"\nconst uint16_t {name}[{len(words)}] = {{")
        for at in range(0, len(words), 12):
            print("    " + ", ".join(f"0x{w:04X}" for w in words[at:at + 12]) + ",")
        print("};")


main()
