#!/usr/bin/env python3
"""Write tokenizer folders that use the rarer parts of tokenizer.json, for check_tokenizers.py.

usage: make_tokenizer_variants.py OUT TEXT...
needs: pip install tokenizers

Each folder OUT/<variant> holds one tokenizer.json, trained on the texts with small vocabularies.
"""
import os
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

ALPHABET = pre_tokenizers.ByteLevel.alphabet()
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def bpe(lines, pre, normalizer=None, vocab=700, **model):
    tok = Tokenizer(models.BPE(**model))
    tok.pre_tokenizer = pre
    if normalizer:
        tok.normalizer = normalizer
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=vocab, initial_alphabet=ALPHABET, show_progress=False))
    return tok


def byte_level(*steps, use_regex=False, prefix=False):
    return pre_tokenizers.Sequence([*steps, pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)])


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Split(Regex(pattern), behavior, invert)


def llama_json(lines, **kwargs):
    """Llama 2 as tokenizer.json: BPE over characters with bytes as the last resort."""
    tok = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tok.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tok.train_from_iterator([word for line in lines for word in line.replace(" ", " ▁").split(" ")],
                            trainers.BpeTrainer(vocab_size=900, special_tokens=special, show_progress=False, **kwargs))
    data = __import__("json").loads(tok.to_str())
    data["added_tokens"] = data["added_tokens"][:3]
    tok = Tokenizer.from_str(__import__("json").dumps(data))
    tok.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tok


def metaspace(lines, scheme, do_split):
    tok = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False, fuse_unk=scheme == "first"))
    tok.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=do_split)
    tok.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=600, special_tokens=["<unk>"], show_progress=False))
    return tok


def unigram(lines, normalizer, pre):
    tok = Tokenizer(models.Unigram())
    tok.normalizer, tok.pre_tokenizer = normalizer, pre
    tok.train_from_iterator(lines, trainers.UnigramTrainer(vocab_size=600, special_tokens=["<unk>", "<s>"], unk_token="<unk>", show_progress=False))
    return tok


def wordpiece(lines, normalizer, pre):
    tok = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=12))
    tok.normalizer, tok.pre_tokenizer = normalizer, pre
    tok.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=700, special_tokens=["[UNK]", "[CLS]", "[SEP]"], show_progress=False))
    tok.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return tok


def added(tok):
    tok.add_tokens([AddedToken("<think>"), AddedToken("ab", single_word=True), AddedToken("[X]", lstrip=True),
                    AddedToken("[Y]", rstrip=True), AddedToken("CAFÉ", normalized=True), AddedToken("12", normalized=False)])
    tok.add_special_tokens([AddedToken("[Z]", lstrip=True, rstrip=True, special=True), "[INST]"])
    return tok


def variants(lines):
    n, p = normalizers, pre_tokenizers
    plain = byte_level(use_regex=True)
    yield "ignore-merges", bpe(lines, plain, ignore_merges=True)
    yield "prefix-space", bpe(lines, byte_level(use_regex=True, prefix=True))
    yield "removed-inverted", bpe(lines, byte_level(split(GPT2, "removed", True)))
    for name in ("removed", "merged_with_previous", "merged_with_next", "contiguous"):
        yield name, bpe(lines, byte_level(split(r"\p{P}|\s", name)))
        yield name + "-inverted", bpe(lines, byte_level(split(r"\w+", name, True)))
    yield "classes", bpe(lines, byte_level(split(r"[\p{L}&&[^\p{Han}]]+|\p{Han}|\d{1,2}|[^\W_]+|(?i)[k-s]{2,}|\h+|.")))
    yield "lookaround", bpe(lines, byte_level(split(r"(?=\p{Lu})|(?<=\d)(?=\D)|\b\w+\b|^\s|\s+$|(?:\r?\n)++")))
    yield "spaces-first", bpe(lines, byte_level(p.WhitespaceSplit(), p.Punctuation(), p.Digits()))
    yield "whitespace", bpe(lines, byte_level(p.Whitespace(), p.Digits(individual_digits=True)))
    yield "string-split", bpe(lines, byte_level(p.Split(".", "merged_with_previous"), p.Split(" ", "merged_with_next")))
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents", "Strip"):
        yield "norm-" + form.lower(), bpe(lines, plain, getattr(n, form)())
    yield "norm-sequence", bpe(lines, plain, n.Sequence([n.NFD(), n.StripAccents(), n.Lowercase(), n.Replace(Regex(r"\s+"), " "), n.Strip(left=True, right=False)]))
    yield "norm-bert", bpe(lines, plain, n.BertNormalizer(strip_accents=False, lowercase=False))
    yield "added-tokens", added(bpe(lines, plain))
    yield "added-normalized", added(bpe(lines, plain, n.Sequence([n.NFC(), n.Lowercase()])))
    yield "llama-json", llama_json(lines)
    for scheme in ("always", "first", "never"):
        yield "metaspace-" + scheme, metaspace(lines, scheme, True)
    yield "metaspace-whole", added(metaspace(lines, "first", False))
    yield "unigram", unigram(lines, n.NFKC(), p.Metaspace())
    yield "unigram-sequence", unigram(lines, n.Replace("``", '"'), p.Sequence([p.WhitespaceSplit(), p.Metaspace()]))
    yield "wordpiece-cased", wordpiece(lines, n.BertNormalizer(lowercase=False), p.BertPreTokenizer())
    yield "wordpiece-chinese", wordpiece(lines, n.BertNormalizer(handle_chinese_chars=False, strip_accents=False), p.BertPreTokenizer())
    yield "wordpiece-other", wordpiece(lines, n.Sequence([n.NFD(), n.Lowercase(), n.StripAccents()]), p.Whitespace())


def main(out, *files):
    lines = "\n".join(open(f, encoding="utf8", errors="ignore").read() for f in files).split("\n")
    lines += ["Привет мир, 你好世界。こんにちは カタカナ 한국어 é e\u0301 ab 12 [X] Café ß ½ ﬁ"] * 20
    for name, tok in variants(lines):
        os.makedirs(f"{out}/{name}", exist_ok=True)
        tok.save(f"{out}/{name}/tokenizer.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
