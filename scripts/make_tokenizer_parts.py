#!/usr/bin/env python3
"""Write tests/data/tokenizers/parts.json: tiny tokenizers for the rarer parts of tokenizer.json, with cases.

usage: make_tokenizer_parts.py OUT.json     needs tokenizers, sentencepiece
"""
import json
import random
import sys
import tempfile

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers as N, pre_tokenizers as P

CHARACTERS = "abcdefghij   .,!?AB12\u2581\u00e9\u00fc\u00bd\u2026\u4f60\u30a2\uff71\u0301\u212b\ufb01\u2167\n\t"
ODD = [0x07, 0x1f, 0x7f, 0x85, 0xa0, 0xad, 0x200b, 0x200d, 0x2028, 0x3000, 0xfeff, 0xfffd, 0x1f600, 0x0915, 0x094d]
RULES = [("\ufb01", "fi"), ("\u00bd", "1/2"), ("\u2167", "VIII"), ("\u212b", "\u00e5"), ("\uff71", "\u30a2"),
         ("\u00a0", " "), ("\t", " "), ("\n", " "), ("e\u0301", "\u00e9"), ("\u2026", "..."), ("a\u0301", "\u00e1"),
         ("\u3000", " "), ("\u200b", "")]


def charsmap():
    """A compiled map of a few rules, made by SentencePiece."""
    with tempfile.TemporaryDirectory() as d:
        def code(text):
            return " ".join(f"{ord(c):X}" for c in text)
        open(d + "/rules.tsv", "w").write("".join(f"{code(a)}\t{code(b)}\n" for a, b in RULES))
        open(d + "/text.txt", "w").write("hello world the quick brown fox jumps over a lazy dog\n" * 200)
        sentencepiece.SentencePieceTrainer.train(
            input=d + "/text.txt", model_prefix=d + "/m", vocab_size=30, model_type="unigram",
            normalization_rule_tsv=d + "/rules.tsv", minloglevel=2)
        model = sentencepiece_model_pb2.ModelProto()
        model.ParseFromString(open(d + "/m.model", "rb").read())
        return model.normalizer_spec.precompiled_charsmap


def unigram():
    pieces = ["<unk>", "\u2581", "_", *"abcdefghij.,!?AB12/VI", "\u00e9", "\u30a2", "\u4f60", "\u2581a", "ab", "fi",
              "\u2581fi", "1/2", "...", "\u2581\u2581", "cde", " a", "_a"]
    return models.Unigram([(p, -0.1 * i - (5 if len(p) == 1 else 3)) for i, p in enumerate(pieces)], unk_id=0)


def byte_bpe():
    alphabet = sorted(P.ByteLevel.alphabet())
    merges = [("a", "b"), ("c", "d"), ("\u0120", "a"), ("1", "2")]
    return models.BPE(vocab={c: i for i, c in enumerate(alphabet + [a + b for a, b in merges])}, merges=merges)


def parts():
    compiled, two = N.Precompiled(charsmap()), N.Replace(Regex(" {2,}"), " ")
    last = P.ByteLevel(add_prefix_space=False, use_regex=False)
    yield "precompiled", unigram(), N.Sequence([compiled, two]), P.Sequence([P.WhitespaceSplit(), P.Metaspace()])
    yield "precompiled-strip", unigram(), N.Sequence([compiled, N.Strip(left=False, right=True)]), P.Metaspace()
    yield "nmt", unigram(), N.Sequence([N.Nmt(), N.NFKC(), two]), P.Metaspace()
    yield "metaspace-other", unigram(), None, P.Metaspace(replacement="_", prepend_scheme="always")
    yield "delimiter", byte_bpe(), None, P.Sequence([P.CharDelimiterSplit("."), last])
    yield "fixed-length", byte_bpe(), None, P.Sequence([P.FixedLength(3), last])


def texts():
    random.seed(3)
    yield from ("", " ", "  a  b ", "fi\ufb01 \u00bd", "e\u0301x", "a.b..c")
    for _ in range(50):
        yield "".join(random.choice(CHARACTERS) if random.random() < 0.8 else chr(random.choice(ODD))
                      for _ in range(random.randrange(1, 18)))


def main(out):
    lines = []
    for name, model, normalizer, pre in parts():
        tokenizer = Tokenizer(model)
        if normalizer:
            tokenizer.normalizer = normalizer
        tokenizer.pre_tokenizer = pre
        cases = [{"text": t, "ids": tokenizer.encode(t, add_special_tokens=False).ids} for t in texts()]
        lines.append(json.dumps({"name": name, "tokenizer": json.loads(tokenizer.to_str()), "cases": cases},
                                separators=(",", ":")))
    with open(out, "w") as f:
        f.write("[\n" + ",\n".join(lines) + "\n]\n")


main(*sys.argv[1:])
