#!/usr/bin/env python3
"""Write tests/data/tokenizers/pieces.json: what the original library's normalisers and
pre-tokenizers make of short texts.

usage: make_pieces.py > tests/data/tokenizers/pieces.json
needs: pip install tokenizers==0.23.3
"""
import json
import sys

from tokenizers import Regex, Tokenizer, models, normalizers as n, pre_tokenizers as p

TEXTS = ["", " ", "Hello, world!", "  two  spaces\n\nand\r\nlines\t\t", "I'll DON'T 'ſ 'K x86_64 3.14159",
         "naïve café e\u0301 \u212b ﬁ ½ Ⅷ ß ẞ İ ΣΑΣ", "你好，世界。ABC漢字", "こんにちは カタカナ 한국어 नमस्ते",
         "a\u00a0b\u2003c\u200bd\u3000e\u180ef\x85g\x1ch", "🙂👩‍👩‍👧 🇺🇳", "\u0958\u1fb3\U0001d15e\u0344 \u1e0b\u0323",
         "▁meta▁▁space ▁", "$1,000.00 (50%) <a@b.c> #x_y", "\x00\x01\ufffd\ufeff", "\u0b95\u0bbf\u0bb7 \u1cd0\u0300\u0334",
         "ⓐⓑ²³¹٣４५ 𝟘𝟙 \u200d\u200c", "aAbB ZzZ 12ab34"]


def split(pattern, behavior="isolated", invert=False):
    return p.Split(Regex(pattern), behavior, invert)


SPECS = [(None, s) for s in [
    p.ByteLevel(add_prefix_space=False), p.ByteLevel(add_prefix_space=True), p.Whitespace(), p.WhitespaceSplit(),
    p.Punctuation(), p.Punctuation("removed"), p.Digits(), p.Digits(individual_digits=True), p.BertPreTokenizer(),
    p.Metaspace(), p.Metaspace(prepend_scheme="never"), p.Metaspace(prepend_scheme="first", split=False),
    split(r"\s"), split(r"\s", "removed"), split(r"\s", "contiguous"), split(r"\s", "merged_with_previous"),
    split(r"\s", "merged_with_next"), split(r"\w+", "removed", True), split(r"\w+", "merged_with_previous", True),
    split(r"\S+|\d|\D"), split(r"(?i:[a-e]+|'s|'k)|\p{Lu}\p{Ll}*|[^\p{L}\s]{2,3}|\h"), split(r"[\w&&[^\p{Han}a-f]]+|\P{L}"),
    split(r"(?=\p{Lu})"), split(r"\b"), split(r"^.|.$|\n+"), split(r"(?m:.+)x?|(?<!\p{M})\p{^M}"), p.Split(".", "isolated"),
    p.Sequence([p.WhitespaceSplit(), p.Digits(individual_digits=True), p.Punctuation("merged_with_next")])]]
SPECS += [(s, p.WhitespaceSplit()) for s in [
    n.NFC(), n.NFD(), n.NFKC(), n.NFKD(), n.Lowercase(), n.StripAccents(), n.Strip(), n.Strip(left=False, right=True),
    n.Prepend("▁"), n.Replace(" ", "▁"), n.Replace(Regex(r"\s+|\d"), "<>"), n.BertNormalizer(),
    n.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=True, lowercase=False),
    n.Sequence([n.NFKD(), n.StripAccents(), n.Lowercase()])]]


def alphabet():
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in plain]
    return {**{chr(b): b for b in plain}, **{chr(256 + i): b for i, b in enumerate(rest)}}


def pieces(pre, text):
    found = [piece for piece, _ in pre.pre_tokenize_str(text)]
    if isinstance(pre, p.ByteLevel):
        table = alphabet()
        found = [bytes(table[c] for c in piece).decode() for piece in found]
    return [piece for piece in found if piece]


def spec_json(normalizer, pre):
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    data = json.loads(tok.to_str())
    return data["normalizer"], data["pre_tokenizer"]


def main():
    out = []
    for normalizer, pre in SPECS:
        texts = [normalizer.normalize_str(t) if normalizer else t for t in TEXTS]
        norm, spec = spec_json(normalizer, pre)
        out.append({"normalizer": norm, "pre_tokenizer": spec,
                    "cases": [[t, pieces(pre, m)] for t, m in zip(TEXTS, texts)]})
    json.dump(out, sys.stdout, ensure_ascii=True, indent=0)


if __name__ == "__main__":
    main()
