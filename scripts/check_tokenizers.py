#!/usr/bin/env python3
"""Compare our tokenizers with the original libraries on random strings, or with published ids.

usage: check_tokenizers.py TOKENIZE_LINES FOLDER... [-n 20000] [-s SEED]
needs: pip install tokenizers sentencepiece

TOKENIZE_LINES is the test program tokenize_lines; each FOLDER holds tokenizer.json or
tokenizer.model, or is llama.cpp's folder models with its vocabularies (ggml-vocab-*.gguf, with strings in .inp and
their ids in .out beside them; no packages are needed for these). Prints the number of differing strings per folder; exit 1 if there is any.
"""
import argparse
import glob
import json
import os
import random
import subprocess
import sys

WORDS = ("the quick brown Fox's JUMPED over I'll we've they're DON'T y'all Hello,world! naïve café "
         "e\u0301 \u212b ﬁne ½ Ⅷ ß ẞ İstanbul ΣΑΣ Привет мир 你好世界 こんにちは カタカナ 한국어 नमस्ते مرحبا 'ſ 'S "
         "'K x86_64 3.14159 1,000,000 12345678 https://a.b/c?d=%20 __init__ <|im_start|> <s> </s> "
         "[INST] [/INST] [CLS] [SEP] [MASK] <unk> <pad> <|endoftext|> <|eot_id|> <start_of_turn> "
         "<end_of_turn> <0x0A> ▁ ▁▁ ##ing 🙂 👩‍👩‍👧 🇺🇳 [X] [Y] [Z] ab 12 CAFÉ Café <think> x[X] [Y]y").split(" ")
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\u00a0", "\u3000", "\u2003", "\u200b", "\u180e",
          "\u2028", "\x85", "\x0b", "\x0c", "\x1c", " \n ", "\u200d", "\ufeff", ""]


def random_char(rnd):
    ranges = [(0x20, 0x7F), (0xA0, 0x250), (0x250, 0x600), (0x600, 0x1000), (0x1000, 0x2000),
              (0x2000, 0x3100), (0x3100, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x1FFFF),
              (0x20000, 0x323B0), (0xE0000, 0xE01F0), (0, 0x20), (0x300, 0x370), (0xF0000, 0x10FFFF)]
    a, b = rnd.choice(ranges)
    return chr(rnd.randrange(a, b))


def random_text(rnd):
    kind = rnd.random()
    if kind < 0.35:
        return "".join(rnd.choice(WORDS) + rnd.choice(SPACES) for _ in range(rnd.randrange(1, 20)))
    if kind < 0.6:
        return "".join(random_char(rnd) for _ in range(rnd.randrange(1, 30)))
    if kind < 0.8:  # one block: marks meet letters of their script
        start = rnd.randrange(0, 0x1F000, 0x80)
        chars = [c for c in range(start, start + 0x80) if not 0xD800 <= c < 0xE000]
        return "".join(chr(rnd.choice(chars)) if chars else " " for _ in range(rnd.randrange(1, 40)))
    if kind < 0.9:
        return "".join(rnd.choice("aAbBzZ09 .,;:'\"!?()-_/\\\n\t\r$€£+=<>|~^`") for _ in range(rnd.randrange(1, 200)))
    return rnd.choice(SPACES).join(random_char(rnd) * rnd.randrange(1, 5) for _ in range(rnd.randrange(1, 12)))


def reference(folder):
    """(encode(text, add_special) -> ids, parses special tokens)"""
    model = os.path.join(folder, "tokenizer.model")
    if os.path.exists(model):
        import sentencepiece
        sp = sentencepiece.SentencePieceProcessor(model_file=model)
        return lambda texts: sp.encode(texts), False
    from tokenizers import Tokenizer
    tok = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
    return lambda texts: [e.ids for e in tok.encode_batch(texts)], True


def ours(program, folder, texts, parse):
    flags = ["add", "parse"] if parse else []
    lines = "\n".join(json.dumps(t) for t in texts) + "\n"
    run = subprocess.run([program, folder, *flags], input=lines, capture_output=True, text=True)
    if run.returncode:
        sys.exit(run.stderr)
    return [json.loads(line) for line in run.stdout.splitlines()]


def published(program, path):
    """The differing strings of one of llama.cpp's vocabularies, and how many it has."""
    with open(path + ".inp", encoding="utf-8", newline="") as file:
        texts = file.read().split("\n__ggml_vocab_test__\n")
    with open(path + ".out", encoding="utf-8") as file:
        expected = [[int(number) for number in line.split()] for line in file]
    got = ours(program, path, texts[:len(expected)], False)
    return [(texts[i], expected[i], got[i]) for i in range(len(expected)) if expected[i] != got[i]], len(expected)


def random_strings(program, folder, texts):
    """The differing strings of a tokenizer folder, and how many were tried."""
    encode, parse = reference(folder)
    expected, got = encode(texts), ours(program, folder, texts, parse)
    return [(texts[i], expected[i], got[i]) for i in range(len(texts)) if expected[i] != got[i]], len(texts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("folders", nargs="+")
    parser.add_argument("-n", type=int, default=20000)
    parser.add_argument("-s", "--seed", type=int, default=1)
    args = parser.parse_args()
    rnd = random.Random(args.seed)
    texts = [random_text(rnd) for _ in range(args.n)]
    total = 0
    for folder in args.folders:
        vocabularies = [path[:-4] for path in sorted(glob.glob(os.path.join(folder, "ggml-vocab-*.gguf.out")))]
        for path in vocabularies or [folder]:
            bad, n = published(args.program, path) if vocabularies else random_strings(args.program, path, texts)
            total += len(bad)
            print(f"{path}: {len(bad)} of {n} differ", flush=True)
            for text, expected, got in bad[:3]:
                print("  ", ascii(text), "\n     expected", expected[:40], "\n     got     ", got[:40])
    sys.exit(total > 0)


if __name__ == "__main__":
    main()
