#!/usr/bin/env python3
"""Write the seed corpora and dictionaries of tests/fuzz from a seed: small files of every format, whole and broken.
usage: scripts/make_corpora.py [--seed N]   (files in tests/fuzz/corpus/*/regress are left alone)"""
import argparse
import io
import json
import os
import pathlib
import random
import struct
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
FUZZ = ROOT / "tests" / "fuzz"
MARK = b"\xff\xfe\xff\xfe"  # between the parts of an input, see fuzz_split
LINK_FROM = 4096  # bytes; a larger seed that another target has is a link to it

# ---- GGUF -----------------------------------------------------------------------------------------
U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
PACK = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "?", U64: "Q", I64: "q", F64: "d"}


def text(value):
    raw = value if isinstance(value, bytes) else value.encode()
    return struct.pack("<Q", len(raw)) + raw


def scalar(kind, value):
    return text(value) if kind == STRING else struct.pack("<" + PACK[kind], value)


def kv(key, kind, value):
    return text(key) + struct.pack("<I", kind) + scalar(kind, value)


def array(key, kind, values):
    head = text(key) + struct.pack("<IIQ", ARRAY, kind, len(values))
    return head + b"".join(scalar(kind, v) for v in values)


def info(name, dims, kind, off):
    return text(name) + struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, kind, off)


def gguf(entries, infos=(), data=b"", version=3, alignment=32, n_kv=None, n_tensors=None):
    head = b"GGUF" + struct.pack("<IQQ", version, len(infos) if n_tensors is None else n_tensors,
                                 len(entries) if n_kv is None else n_kv)
    head += b"".join(entries) + b"".join(infos)
    pad = -len(head) % alignment if data else 0
    return head + b"\0" * pad + data


def gguf_seeds(rng):
    everything = [kv(f"k.{kind}", kind, "text" if kind == STRING else 1) for kind in (*PACK, STRING)]
    arrays = [array(f"a.{kind}", kind, [1, 0, 1]) for kind in PACK] + [array("a.s", STRING, ["", "x", "\u00e9"])]
    block = bytes(rng.randrange(256) for _ in range(64))
    two = [info("a.weight", [4, 2], 0, 0), info("b.weight", [32], 2, 32)]
    yield "empty", gguf([])
    yield "scalars", gguf(everything)
    yield "arrays", gguf(arrays)
    yield "tensors", gguf([kv("general.architecture", STRING, "llama")], two, block)
    yield "v2", gguf([kv("k", U32, 1)], two, block, version=2)
    yield "aligned", gguf([kv("general.alignment", U32, 64)], [info("a", [16], 0, 0), info("b", [1], 0, 64)],
                          b"\0" * 128, alignment=64)
    yield "alignment_type", gguf([kv("general.alignment", U64, 32)])
    yield "alignment_huge", gguf([kv("general.alignment", U32, 1 << 31)])
    yield "v1", gguf([], version=1)
    yield "big_endian", gguf([], version=3 << 24)
    yield "duplicate_key", gguf([kv("k", U8, 1), kv("k", U8, 2)])
    yield "nested", gguf([text("a") + struct.pack("<IIQ", ARRAY, ARRAY, 1) + struct.pack("<IQ", U8, 1) + b"\1"])
    yield "unknown_type", gguf([], [info("t", [32], 31, 0)], block)
    yield "dims5", gguf([], [info("t", [1] * 5, 0, 0)], block)
    yield "zero_dim", gguf([], [info("t", [0, 7], 0, 0)], block)
    yield "overflow", gguf([], [info("t", [1 << 62, 1 << 62], 0, 0)], block)
    yield "counts", gguf([], n_kv=1 << 60, n_tensors=1 << 60)
    yield "cut", gguf([kv("general.architecture", STRING, "llama")], two, block)[:-33]
    kinds = [0, 1, 2, 3, 6, 7, 8, 9, 10, 11, 12, 13, 14, 24, 28, 30, 39, 40, 41, 42]
    plain = (0, 1, 24, 28, 30)  # numbers without blocks; a row of any type has 288 bytes at most
    yield "types", gguf([], [info(f"t{k}", [32 if k in plain else 256], k, i * 288) for i, k in enumerate(kinds)],
                        b"\0" * 288 * len(kinds))


def imatrix_seeds(rng):
    base = [kv("general.type", STRING, "imatrix"), array("imatrix.datasets", STRING, ["calib.txt"]),
            kv("imatrix.chunk_count", U32, 2), kv("imatrix.chunk_size", U32, 512)]
    sums = struct.pack("<8f", *[rng.random() for _ in range(8)])
    dense = [info("blk.0.attn_q.weight.in_sum2", [8], 0, 0), info("blk.0.attn_q.weight.counts", [1], 0, 32)]
    experts = [info("e.in_sum2", [4, 2], 0, 0), info("e.counts", [1, 2], 0, 32)]
    pad = b"\0" * 28
    yield "dense", gguf(base, dense, sums + struct.pack("<f", 3) + pad)
    yield "experts", gguf(base, experts, sums + struct.pack("<2f", 3, 0) + pad[4:])
    yield "nan", gguf(base, dense, sums + struct.pack("<f", float("nan")) + pad)
    yield "negative", gguf(base, dense, sums[:-4] + struct.pack("<2f", -1, 3) + pad)
    yield "unpaired", gguf(base, dense[:1], sums)
    yield "mismatch", gguf(base, [experts[0], dense[1]], sums + struct.pack("<f", 3) + pad)
    yield "half", gguf(base, [info("e.in_sum2", [8], 1, 0), info("e.counts", [1], 0, 32)], sums + sums)
    yield "nul_names", gguf(base, [info(b"a\0x.in_sum2", [8], 0, 0), info(b"a\0y.in_sum2", [4, 2], 0, 0),
                                   info("a.counts", [1], 0, 32)], sums + struct.pack("<f", 3) + pad)
    yield "no_keys", gguf(base[:1], dense, sums + struct.pack("<f", 3) + pad)
    yield "other_type", gguf([kv("general.type", STRING, "model")], dense, sums + struct.pack("<f", 3) + pad)


# ---- tokenizers in GGUF ---------------------------------------------------------------------------
def byte_alphabet():
    """GPT-2's characters for the 256 bytes, in order of the bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    extra = iter(range(256, 512))
    return [chr(b if b in plain else next(extra)) for b in range(256)]


def tokenizer_gguf_seeds(_rng):
    def tokens(model, texts, types=None, scores=None, *more):
        out = [kv("tokenizer.ggml.model", STRING, model), array("tokenizer.ggml.tokens", STRING, texts),
               array("tokenizer.ggml.token_type", I32, types or [1] * len(texts))]
        if scores is not None:
            out.append(array("tokenizer.ggml.scores", F32, scores))
        return gguf(out + list(more))

    alphabet = byte_alphabet()
    bpe = ["a", "b", "\u0120", "ab", "\u0120ab", "<s>"]
    merges = array("tokenizer.ggml.merges", STRING, ["a b", "\u0120 ab"])
    pre = kv("tokenizer.ggml.pre", STRING, "llama-bpe")
    yield "bpe", tokens("gpt2", bpe, [1] * 5 + [3], None, pre, merges, kv("tokenizer.ggml.bos_token_id", U32, 5))
    yield "bpe_bytes", tokens("gpt2", alphabet, None, None, kv("tokenizer.ggml.pre", STRING, "gpt-2"),
                              array("tokenizer.ggml.merges", STRING, []))
    yield "bpe_spec", tokens("gpt2", bpe, None, None, merges, kv("tokenizer.ggufkit.pre_tokenizer", STRING, json.dumps(
        {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": "\\p{L}+|\\s+(?!\\S)|[^\\s\\p{L}]{1,3}"}, "behavior": "Isolated"},
            {"type": "ByteLevel", "add_prefix_space": True, "use_regex": False}]})))
    spm = ["<unk>", "<s>", "</s>", "<0x0A>", "\u2581", "a", "b", "\u2581a", "ab"]
    kinds = [2, 3, 3, 6, 1, 1, 1, 1, 4]
    scores = [0, 0, 0, 0, -1, -2, -3, -4, -5]
    yield "spm", tokens("llama", spm, kinds, scores, kv("tokenizer.ggml.add_bos_token", BOOL, True),
                        kv("tokenizer.ggml.add_space_prefix", BOOL, True))
    yield "spm_merges", tokens("llama", spm, kinds, scores, array("tokenizer.ggufkit.merges", U32, [5, 6]),
                               kv("tokenizer.ggufkit.byte_fallback", BOOL, True))
    yield "unigram", tokens("t5", spm, kinds, scores, kv("tokenizer.ggml.remove_extra_whitespaces", BOOL, True),
                            array("tokenizer.ggml.precompiled_charsmap", U8, [*struct.pack("<II", 4, 0), 97, 0]))
    yield "bert", tokens("bert", ["[UNK]", "[CLS]", "[SEP]", "\u2581a", "b", "\u2581b"], [2, 3, 3, 1, 1, 1], None,
                         kv("tokenizer.ggml.cls_token_id", U32, 1), kv("tokenizer.ggml.seperator_token_id", U32, 2))
    yield "added", tokens("gpt2", bpe, [1] * 5 + [4], None, pre, merges, array("tokenizer.ggufkit.added_ids", U32, [5]),
                          array("tokenizer.ggufkit.added_flags", U32, [7]))
    yield "short_scores", tokens("llama", spm, kinds, scores[:3])
    yield "short_types", tokens("gpt2", bpe, [1], None, pre, merges)
    yield "types_as_strings", gguf([kv("tokenizer.ggml.model", STRING, "llama"),
                                    array("tokenizer.ggml.tokens", I32, [1, 2]),
                                    array("tokenizer.ggml.token_type", STRING, ["a", "b"]),
                                    array("tokenizer.ggml.scores", STRING, ["a", "b"])])
    yield "special_out_of_range", tokens("gpt2", bpe, None, None, pre, merges,
                                         kv("tokenizer.ggml.eos_token_id", U32, 0xFFFFFFFF))


# ---- safetensors ----------------------------------------------------------------------------------
def safetensors(header, data=b"", length=None):
    raw = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(raw) if length is None else length) + raw + data


def entry(dtype, shape, begin, end):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def safetensors_seeds(_rng):
    a, b = entry("F32", [2], 0, 8), entry("BF16", [2, 2], 8, 16)
    data = bytes(range(16))
    yield "two", safetensors({"a": a, "b": b, "__metadata__": {"format": "pt"}}, data)
    yield "none", safetensors({})
    yield "padded", safetensors(b'{"a":{"dtype":"U8","shape":[],"data_offsets":[0,1]}}      ', b"x")
    sizes = {"F64": 8, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "C64": 8}
    entries, end = {}, 0
    for name, size in sizes.items():
        entries[name] = entry(name, [1], end, end + size)
        end += size
    yield "dtypes", safetensors(entries, b"\0" * end)
    yield "gap", safetensors({"b": b}, data)
    yield "overlap", safetensors({"a": a, "c": entry("F32", [2], 4, 12)}, data[:12])
    yield "long_length", safetensors({"a": a}, data[:8], length=1 << 63)
    yield "behind", safetensors({"a": a}, data)
    yield "shape_overflow", safetensors({"a": entry("F32", [1 << 62, 9], 0, 8)}, data[:8])
    yield "negative", safetensors({"a": entry("F32", [-1], 0, 8)}, data[:8])
    yield "duplicate", safetensors(b'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
                                   b'"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', b"x")
    yield "deep", safetensors(b"[" * 40 + b"]" * 40)
    one = safetensors({"a": a}, data[:8])
    other = safetensors({"b": entry("F32", [2], 0, 8)}, data[8:])
    weight_map = {"a": "1.safetensors", "b": "2.safetensors"}
    for name, changed in (("index", weight_map), ("index_swapped", {"b": "1.safetensors", "a": "2.safetensors"}),
                          ("index_missing", {"a": "1.safetensors", "b": "3.safetensors"}),
                          ("index_path", {"a": "../1.safetensors"}), ("index_nul", {"a": "1.safetensors\0x"}),
                          ("index_number", {"a": 1})):
        head = json.dumps({"metadata": {"total_size": 16}, "weight_map": changed}, separators=(",", ":")).encode()
        yield name, head + MARK + one + MARK + other


# ---- tokenizer.json -------------------------------------------------------------------------------
def compact(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def tokenizer_json_seeds(_rng):
    vocab = {t: i for i, t in enumerate(["<unk>", "a", "b", "\u0120", "ab", "\u0120ab"])}
    special = {"id": 6, "content": "<s>", "special": True, "lstrip": True, "rstrip": False, "single_word": False,
               "normalized": False}
    bpe = {"type": "BPE", "vocab": vocab, "merges": ["a b", ["\u0120", "ab"]]}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}

    def whole(model, normalizer=None, pre=None, post=None, added=(special,)):
        return compact({"version": "1.0", "added_tokens": list(added), "normalizer": normalizer, "pre_tokenizer": pre,
                        "post_processor": post, "decoder": None, "model": model})

    split = {"type": "Split", "pattern": {"Regex": "(?i:'s|'t)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}|\\s+(?!\\S)|\\s+"},
             "behavior": "Isolated", "invert": False}
    template = {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}},
                                                         {"Sequence": {"id": "A", "type_id": 0}}], "pair": [],
                "special_tokens": {"<s>": {"id": "<s>", "ids": [6], "tokens": ["<s>"]}}}
    yield "bpe", whole(bpe, None, byte_level)
    yield "bpe_template", whole(bpe, {"type": "NFC"}, byte_level, template)
    yield "bpe_split", whole(bpe, None, {"type": "Sequence", "pretokenizers": [split, {**byte_level, "use_regex": False}]})
    yield "bpe_config", whole(bpe, None, byte_level) + MARK + compact(
        {"bos_token": "<s>", "eos_token": {"content": "<s>"}, "add_bos_token": True, "chat_template": [
            {"name": "default", "template": "{{ messages }}"}, {"name": "tool_use", "template": "{% if x %}y{% endif %}"}]})
    steps = [{"type": "Lowercase"}, {"type": "Strip", "strip_left": True, "strip_right": True}, {"type": "NFKD"},
             {"type": "StripAccents"}, {"type": "Prepend", "prepend": "\u2581"},
             {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"},
             {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": " "}]
    chars = {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
             "vocab": {"<unk>": 0, "<0x41>": 1, "\u2581": 2, "a": 3, "\u2581a": 4}, "merges": ["\u2581 a"]}
    yield "bpe_chars", whole(chars, {"type": "Sequence", "normalizers": steps}, None, None, ())
    yield "metaspace", whole(chars, None, {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first",
                                           "split": True}, None, ())
    yield "punctuation", whole(bpe, None, {"type": "Sequence", "pretokenizers": [
        {"type": "Punctuation", "behavior": "MergedWithPrevious"}, {"type": "Digits", "individual_digits": True},
        {"type": "WhitespaceSplit"}, {"type": "Whitespace"}, byte_level]})
    pieces = {"type": "WordPiece", "unk_token": "[UNK]", "max_input_chars_per_word": 7, "vocab":
              {"[UNK]": 0, "[CLS]": 1, "[SEP]": 2, "a": 3, "##b": 4, "\u4f60": 5}}
    bert = {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None,
            "lowercase": True}
    yield "wordpiece", whole(pieces, bert, {"type": "BertPreTokenizer"}, {"type": "BertProcessing",
                             "sep": ["[SEP]", 2], "cls": ["[CLS]", 1]}, ())
    unigram = {"type": "Unigram", "unk_id": 0, "byte_fallback": False, "vocab":
               [["<unk>", 0.0], ["\u2581", -1.5], ["a", -2.0], ["\u2581a", -2.5], ["ab", -3.0]]}
    metaspace = {"type": "Metaspace", "replacement": "\u2581"}
    yield "unigram", whole(unigram, {"type": "NFKC"}, metaspace, None, ())
    yield "precompiled", whole(unigram, {"type": "Precompiled", "precompiled_charsmap": "BAAAAAAAAABhAA=="}, metaspace,
                               None, ())
    yield "hole", whole({**bpe, "vocab": {"a": 0, "b": 3, "ab": 9}, "merges": ["a b"]}, None, byte_level, None, ())
    yield "far_id", whole({**bpe, "vocab": {"a": 0, "b": 1 << 40}}, None, byte_level, None, ())
    yield "bad_merge", whole({**bpe, "merges": ["a c"]}, None, byte_level)
    yield "bad_regex", whole(bpe, None, {**split, "pattern": {"Regex": "(?P<x>[\\p{Xx}-"}})
    yield "backtracks", whole(bpe, None, {**split, "pattern": {"Regex": "(a+)+b"}})
    yield "look_behind", whole(bpe, None, {**split, "pattern": {"Regex": "(?<=a)b|\\p{Han}+|[^a-c\\d]&&[\\w]"}})


# ---- tokenizer.model ------------------------------------------------------------------------------
def varint(value):
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def field(number, value):
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    if isinstance(value, float):
        return varint(number << 3 | 5) + struct.pack("<f", value)
    return varint(number << 3) + varint(value & (1 << 64) - 1)


def tokenizer_model_seeds(_rng):
    def piece(word, score, kind=1):
        return field(1, field(1, word.encode()) + field(2, float(score)) + (field(3, kind) if kind != 1 else b""))

    words = (piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3) + piece("<0x0A>", 0, 6)
             + piece("\u2581", -1) + piece("a", -2) + piece("b", -3) + piece("\u2581a", -4) + piece("ab", -5)
             + piece("<user>", 0, 4) + piece("old", -6, 5))
    bpe = field(2, field(3, 2) + field(40, 0) + field(41, 1) + field(42, 2) + field(43, -1))
    unigram = field(2, field(3, 1))
    plain = field(3, field(1, b"identity") + field(3, 1) + field(4, 0) + field(5, 1))
    units = struct.pack("<3I", 1 << 10, 0x61 | 1 << 10 | 1 << 8, 1 << 31)
    nmt = field(3, field(1, b"nmt_nfkc") + field(2, struct.pack("<I", len(units)) + units + b"A\0") + field(4, 1))
    yield "bpe", words + bpe + plain
    yield "unigram", words + unigram + plain
    yield "charsmap", words + unigram + nmt
    yield "added", words + bpe + plain + MARK + compact({"<extra>": 11, "<pad>": 12})
    yield "added_far", words + bpe + plain + MARK + compact({"<extra>": 1 << 50})
    yield "no_trainer", words + plain
    yield "empty", b""
    yield "cut", (words + bpe + plain)[:-3]
    yield "long_varint", words + b"\x10" + b"\xff" * 11
    yield "nan", piece("a", float("nan")) + bpe + plain
    yield "twice", piece("a", 0) + piece("a", 0) + bpe + plain


# ---- YAML and config.json -------------------------------------------------------------------------
DESCRIPTION = """architecture: llama
huggingface:
  - {class: LlamaForCausalLM, model_type: llama}
keys:
  - {key: block_count, type: u32, from: num_hidden_layers}
  - {key: attention.head_count, type: u32, from: num_attention_heads}
  - {key: attention.head_count_kv, type: u32, from: num_key_value_heads, default: attention.head_count}
  - {key: embedding_length, type: u32, from: [hidden_size, n_embd]}
  - {key: rope.freq_base, type: f32, from: rope_theta, default: 10000}
rope_scaling: [default, linear, yarn, llama3]
compute: {norm: rms, rope: adjacent, activation: silu}
tensors:
  - {hf: model.embed_tokens.weight, gguf: token_embd.weight, shape: [4, embedding_length]}
  - {hf: "model.layers.{layer}.self_attn.q_proj.weight", gguf: "blk.{layer}.attn_q.weight",
     shape: [embedding_length, embedding_length * 1], permute_heads: attention.head_count}
  - {hf: lm_head.weight, gguf: output.weight, tied_to: model.embed_tokens.weight}
ignore: ["model.layers.{layer}.rotary"]
"""
LIKE = """architecture: mine
like: llama
huggingface: [{class: LlamaForCausalLM, model_type: llama}]
without: ["blk.{layer}.ffn_gate.weight", "blk.{layer}.attn_v.weight"]
layer_kinds: {from: [kinds, pattern], words: {M: mixer, "*": attention}}
keys:
  - {key: vocab_size, type: u32, default: vocab_size up 8}
  - {key: feed_forward_length, type: u32, from: intermediate_size, kinds: mixer}
tensors:
  - {hf: model.embed_tokens.weight, gguf: token_embd.weight, shape: [vocab_size, 8], pad_rows: 8, neg_exp: true}
  - {hf: "model.layers.{layer}.mlp.up_proj.weight", gguf: "blk.{layer}.ffn_up.weight", kinds: [mixer],
     interleaved: [4, 2, 1, 0, 2], reorder_columns: [4, 2]}
  - {hf: "model.layers.{layer}.mlp.down_proj.weight", gguf: "blk.{layer}.ffn_down.weight", matrices: 2, rows: [0, 2],
     reorder: [1, 2]}
  - {hf: "model.layers.{layer}.self_attn.q_proj.weight", gguf: "blk.{layer}.attn_q.weight", reshape: [2, 4, 8],
     transpose: false, add: 1}
  - {hf: "model.layers.{layer}.self_attn.k_proj.weight", gguf: "blk.{layer}.attn_k.weight", reorder: [3, 1, 1]}
compute: {rope: halves, needs: []}
"""
CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8, "intermediate_size": 16,
          "num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 1, "vocab_size": 4,
          "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": True}


def yaml_seeds(_rng):
    yield "recipe", b"""name: MINE
file_type: 15
default: Q4_K
rules:
  - {role: output, type: Q6_K}
  - {role: [attn_v, 'ffn_down*'], where: more, type: Q6_K}
  - {role: ffn_down, where: first 1/8, by: layer, imatrix: false, type: Q5_K}
  - {role: attn_v, where: first 2, n_layers: 2, n_experts: 4, min_gqa: 4, type: Q5_K}
  - {output: true, type: F16}
"""
    yield "description", DESCRIPTION.encode()
    yield "alias", b"a: &x [1]\nb: *x\n"
    yield "duplicate", b"a: 1\nb: 2\na: 3\n"
    yield "deep", b"[" * 70 + b"]" * 70
    yield "styles", b"a: |\n  text\nb: >-\n  folded\n  text\n'c': \"\\u00e9\\n\"\n? d\n: !!str 1\ne: ~\n"
    yield "documents", b"a: 1\n---\nb: 2\n"
    yield "key_list", b"? [a, b]\n: 1\n"
    yield "utf16", "a: b\n".encode("utf-16")
    yield "tab", b"a:\n\t- b\n"
    yield "numbers", b"[1, -2, 0x10, 1e9, .inf, 1e999, 99999999999999999999, yes, 'no']\n"


def import_seeds(_rng):
    scaled = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 32}
    yield "llama", compact(CONFIG)
    yield "llama3", compact({**CONFIG, "rope_parameters": scaled})
    yield "linear", compact({**CONFIG, "rope_scaling": {"type": "linear", "factor": 2.0}})
    yield "yarn", compact({**CONFIG, "rope_scaling": {"rope_type": "yarn", "factor": 4.0, "beta_fast": 16,
                                                      "original_max_position_embeddings": 16}})
    yield "yarn_huge", compact({**CONFIG, "rope_scaling": {"rope_type": "yarn", "factor": 4.0,
                                                           "original_max_position_embeddings": 1e300}})
    yield "layers", compact({**CONFIG, "num_hidden_layers": 1 << 31})
    yield "no_heads", compact({**CONFIG, "num_attention_heads": 0})
    yield "text_config", compact({"architectures": ["MistralForCausalLM"], "text_config": CONFIG})
    yield "other", compact({"architectures": ["NoneOfThem"]})
    yield "array", b"[]"
    yield "described", compact(CONFIG) + MARK + DESCRIPTION.encode()
    yield "like", compact({**CONFIG, "pattern": "M"}) + MARK + LIKE.encode()


# ---- PyTorch checkpoints --------------------------------------------------------------------------
def pickled_text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def pickled_tuple(*items):
    return b"(" + b"".join(items) + b"t"


def pickled_int(value):
    return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)


def pickled_tensor(name, storage, key, shape, strides, offset=0):
    identity = pickled_tuple(pickled_text("storage"), f"ctorch\n{storage}\n".encode(), pickled_text(key), pickled_text("cpu"),
                             pickled_int(64))
    args = pickled_tuple(identity + b"Q", pickled_int(offset), pickled_tuple(*map(pickled_int, shape)),
                         pickled_tuple(*map(pickled_int, strides)), b"\x89", b"ccollections\nOrderedDict\n)R")
    return pickled_text(name) + b"ctorch._utils\n_rebuild_tensor_v2\n" + args + b"R"


def pickle_of(*tensors):
    return b"\x80\x02}q\x00(" + b"".join(tensors) + b"u."


def archive(pickle, storages, packed=False, zip64=False, comment=b""):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED) as z:
        for name, data in [("data.pkl", pickle), *((f"data/{k}", v) for k, v in storages.items()), ("version", b"3\n")]:
            entry = zipfile.ZipInfo(f"a/{name}")
            entry.compress_type = zipfile.ZIP_STORED if name.startswith("data/") else z.compression
            with z.open(entry, "w", force_zip64=zip64) as f:
                f.write(data)
        z.comment = comment
    return out.getvalue()


def torch_seeds(_rng):
    one = pickled_tensor("a", "FloatStorage", "0", [2], [1])
    two = pickled_tensor("b", "BFloat16Storage", "1", [2, 2], [2, 1])
    storages = {"0": bytes(8), "1": bytes(8)}
    yield "two", archive(pickle_of(one, two), storages)
    yield "packed", archive(pickle_of(one, two), storages, packed=True)
    yield "zip64", archive(pickle_of(one), {"0": bytes(8)}, zip64=True, comment=b"behind")
    yield "view", archive(pickle_of(pickled_tensor("v", "HalfStorage", "0", [1, 2], [9, 1], 2)), {"0": bytes(8)})
    yield "transposed", archive(pickle_of(pickled_tensor("v", "HalfStorage", "0", [2, 2], [1, 2])), {"0": bytes(8)})
    yield "beyond", archive(pickle_of(pickled_tensor("v", "LongStorage", "0", [2], [1])), {"0": bytes(8)})
    yield "no_storage", archive(pickle_of(one), {})
    yield "calls", archive(b"\x80\x02cos\nsystem\n" + pickled_tuple(pickled_text("true")) + b"R.", {})
    parameter = pickled_text("p") + b"ctorch._utils\n_rebuild_parameter\n" + pickled_tuple(one[len(pickled_text("a")):], b"\x88",
                                                                                         b"N") + b"R"
    yield "parameter", archive(pickle_of(parameter), {"0": bytes(8)})
    names = b"\x80\x04\x95" + struct.pack("<Q", 9) + b"}\x94\x8c\x01a\x94]\x94(h\x01K\x01M\x02\x03\x8a\x02\xff\x01e" + \
        b"G" + bytes(8) + b"\x85\x86\x87s."
    yield "opcodes", archive(names, {})
    yield "memo", archive(b"\x80\x02}r\xff\xff\xff\x00j\x00\x00\x00\x00.", {})
    yield "no_pickle", archive(b"", {})[:22]
    yield "cut", archive(pickle_of(one), {"0": bytes(8)})[:-30]
    index = compact({"metadata": {}, "weight_map": {"a": "1.bin", "b": "2.bin"}})
    yield "index", index + MARK + archive(pickle_of(one), {"0": bytes(8)}) + MARK + archive(pickle_of(two), {"1": bytes(8)})


# ---- legacy importance matrices -------------------------------------------------------------------
def imatrix_dat_seeds(rng):
    def dat(entries, chunks=2, name=b"calib.txt", count=None):
        out = struct.pack("<i", len(entries) if count is None else count)
        for entry_name, calls, values in entries:
            out += struct.pack("<i", len(entry_name)) + entry_name + struct.pack("<ii", calls, len(values))
            out += struct.pack(f"<{len(values)}f", *values)
        return out + (struct.pack("<ii", chunks, len(name)) + name if name is not None else b"")

    values = [rng.random() for _ in range(4)]
    yield "two", dat([(b"blk.0.attn_q.weight", 2, values), (b"output.weight", 1, values[:2])])
    yield "old", dat([(b"a.weight", 1, values)], name=None)
    yield "none", dat([])
    yield "no_calls", dat([(b"a.weight", 0, values)])
    yield "twice", dat([(b"a", 1, values), (b"a", 1, values)])
    yield "nan", dat([(b"a", 1, [float("nan")])])
    yield "negative", dat([(b"a", 1, [-1.0])])
    yield "empty_entry", dat([(b"a", 1, [])])
    yield "long_name", dat([(b"a" * 300, 1, values)])
    yield "count", dat([(b"a", 1, values)], count=1 << 30)
    yield "huge", struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, 0x7FFFFFFF)


# ---- saved bases of gguf-bench quality; the target puts the hash right ------------------------------
def quality_base_seeds(rng):
    def base(rows, n_vocab=100, n_ctx=32, bos=1, n_entries=4, version=1, n_rows=None):
        head = struct.pack("<4sIQQQIIiI", b"GKQB", version, 0, rng.getrandbits(64), len(rows) if n_rows is None else n_rows,
                           n_vocab, n_ctx, bos, n_entries)
        return head + bytes(16) + b"".join(rows)

    def row(entries, nll=1.0, top=3, threshold=0.1, ln_max=-0.5, step=1e-4, n_used=None, n_entries=4, id_bits=7):
        head = struct.pack("<fIIfff", nll, top, len(entries) if n_used is None else n_used, threshold, ln_max, step)
        padded = entries + [(0, 0)] * (n_entries - len(entries))
        ids = sum(token << id_bits * i for i, (token, _) in enumerate(padded))
        return head + b"".join(struct.pack("<H", code) for _, code in padded) + ids.to_bytes((n_entries * id_bits + 7) // 8, "little")

    plain = row([(3, 0), (17, 4000), (50, 65535), (99, 12)])
    yield "one", base([plain])
    yield "three", base([plain, row([(3, 0)]), row([], threshold=0.0)])
    yield "order", base([row([(17, 0), (3, 1)])])
    yield "outside", base([row([(3, 0), (120, 1)])])
    yield "top", base([row([(3, 0)], top=100)])
    yield "used", base([row([(3, 0)], n_used=5)])
    yield "nan", base([row([(3, 0)], threshold=float("nan"))])
    yield "step", base([row([(3, 9)], step=1e30)])
    yield "most", base([row([(3, 0)], ln_max=80.0)])
    yield "version", base([plain], version=2)
    yield "rows", base([plain], n_rows=1 << 60)
    yield "vocabulary", base([plain], n_vocab=0xFFFFFFFF)
    yield "entries", base([plain], n_entries=0)
    yield "bos", base([plain], bos=-2)


# ---- whole files: byte order, changes, shards -----------------------------------------------------
def swap_seeds(rng):
    for name, data in gguf_seeds(rng):
        if name in ("scalars", "arrays", "tensors", "v2", "aligned", "counts"):
            yield name, data
    yield "big", b"GGUF" + struct.pack(">IQQ", 3, 0, 1) + struct.pack(">Q", 1) + b"k" + struct.pack(">IIQHH", ARRAY, U16, 2, 1, 2)


def edit_seeds(rng):
    for name, data in gguf_seeds(rng):
        if name in ("scalars", "tensors", "v2", "aligned", "types"):
            if name != "types":  # large, and whole in the one with a change
                yield name, data
            yield f"{name}_set", data + MARK + b"new=" + b"long " * 12 + MARK + b"general.architecture=bert"
    room = gguf([kv("ggufkit.padding", STRING, " " * 200), kv("k", U32, 1)], [info("a", [4], 0, 0)], bytes(32))
    yield "room", room + MARK + b"k" + MARK + b"x=y"
    yield "alignment", room + MARK + b"general.alignment=64"


def shards_seeds(_rng):
    def shard(no, count, total, infos, data, *more):
        keys = [kv("split.no", U16, no), kv("split.count", U16, count), kv("split.tensors.count", I32, total)]
        return gguf([*more, *keys], infos, data)

    a, b = info("a", [4], 0, 0), info("b", [2, 2], 0, 32)
    yield "single", gguf([kv("k", U32, 1)], [a, b], bytes(range(64))) + b"\x01"
    yield "two", shard(0, 2, 2, [a], bytes(32), kv("k", U32, 1)) + MARK + shard(1, 2, 2, [info("b", [4], 0, 0)], bytes(32))
    yield "duplicate", shard(0, 2, 2, [a], bytes(32)) + MARK + shard(1, 2, 2, [a], bytes(32))
    yield "total", shard(0, 2, 3, [a], bytes(32)) + MARK + shard(1, 2, 3, [info("b", [4], 0, 0)], bytes(32))
    yield "number", shard(0, 2, 1, [a], bytes(32)) + MARK + shard(0, 2, 1, [], b"")
    yield "missing", shard(0, 3, 1, [a], bytes(32)) + MARK + shard(1, 3, 1, [], b"")


def verify_seeds(rng):
    yield from gguf_seeds(rng)
    yield from ((f"tokenizer_{name}", data) for name, data in tokenizer_gguf_seeds(rng) if name != "bpe_bytes")
    chat = "{% for m in messages %}{{ m.content }}{% endfor %}"
    llama = [kv("general.architecture", STRING, "llama"), kv("llama.block_count", U32, 1), kv("llama.embedding_length", U32, 8),
             kv("llama.context_length", U32, 0), kv("tokenizer.chat_template", STRING, chat + "{{ x.__class__ }}")]
    yield "model", gguf(llama, [info("token_embd.weight", [8, 4], 0, 0)], bytes(128))
    yield "overlap", gguf([], [info("a", [8], 0, 0), info("b", [8], 0, 0), info("c", [8], 0, 96)], bytes(160))


# ---- chat templates -------------------------------------------------------------------------------
def template_seeds(_rng):
    yield "loop", b"""{%- for m in messages if m.role != 'system' -%}
{{ '<|' + m['role'] + '|>' ~ m.content | trim }}{% if not loop.last %}
{% endif %}{% else %}none{%- endfor %}
{% if add_generation_prompt is defined and add_generation_prompt %}<|assistant|>{% endif %}"""
    yield "macro", b"""{% macro f(x, y=1.5e3, *args, **kw) -%}{{ x[1:-1:2] }}{%- endmacro %}{{ f(1, y=[2, (3,), {'a': none}]) }}
{% set ns = namespace(n=0) %}{% set ns.n = ns.n + 1 if true else -2 ** 3 // 4 %}{% set t %}x{% endset %}"""
    yield "blocks", b"""{# comment #}{% raw %}{{ x }}{% endraw %}{% call(a) f(1) %}y{% endcall %}{% filter upper | trim %}z{% endfilter %}
{% generation %}w{% endgeneration %}{% for a, (b, c) in d.items() recursive %}{% break %}{% continue %}{% endfor %}"""
    yield "tests", b"{{ a is not none and b is divisibleby 3 or c in [1] and d not in 'x' and 1 < x <= 2 }}{{ '\\u00e9\\n' }}"
    yield "escape", b"{{ x.__class__.__mro__[1].__subclasses__() }}{{ y|attr('__init__') }}"
    yield "deep", b"{{ " + b"(" * 250 + b"1" + b")" * 250 + b" }}"
    yield "chain", b"{{ 1" + b" + 1" * 2100 + b" }}"
    yield "open", b"{% if x %}{{ 'unfinished }}"
    yield "numbers", b"{{ 99999999999999999999 }}{{ 1_000 }}{{ .5 }}{{ 1e999 }}"


# ---- requests to gguf-serve ------------------------------------------------------------------------
def request_seeds(_rng):
    """The first byte is the number of the path among those that read a body."""
    ask = [{"role": "user", "content": "hi"}]
    chat = {"messages": ask, "max_tokens": 2, "temperature": 0}
    bodies = [
        (0, "chat", chat), (0, "chat_stream", {**chat, "stream": True, "stream_options": {"include_usage": True}, "n": 2}),
        (0, "chat_many", {**chat, "seed": 1, "top_p": 0.9, "top_k": -1, "min_p": 0, "stop": ["a", "bc"], "logprobs": True,
                          "top_logprobs": 2, "logit_bias": {"3": -100}, "presence_penalty": 1, "frequency_penalty": -1,
                          "repeat_penalty": 1.1, "ignore_eos": True, "min_tokens": 1, "cache_prompt": False, "user": "x"}),
        (0, "chat_history", {**chat, "messages": [
            {"role": "system", "content": [{"type": "text", "text": "s"}]}, *ask,
            {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "1", "content": "r"}, {"role": "assistant", "content": "go"}]}),
        (2, "completion", {"prompt": ["a", [1, 2, 3]], "max_tokens": 2, "n": 2, "logprobs": 1}),
        (2, "completion_stream", {"prompt": "a", "stream": True, "logit_bias": [["a", False], [4, 1.5]]}),
        (4, "embedding", {"input": ["a", "b"], "encoding_format": "base64", "dimensions": 3}),
        (6, "response", {"input": [{"role": "user", "content": [{"type": "input_text", "text": "a"}]}, {"type": "reasoning"},
                                   {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
                                   {"type": "function_call_output", "call_id": "c", "output": "o"}], "instructions": "i",
                         "max_output_tokens": 2, "reasoning": {"effort": "low"}, "tools": [{"type": "web_search"}]}),
        (6, "response_stream", {"input": "a", "stream": True, "max_output_tokens": 2}),
        (7, "rerank", {"query": "a", "documents": ["b", {"text": "c"}], "top_n": 1}),
        (10, "messages", {"max_tokens": 2, "system": [{"type": "text", "text": "x-anthropic-billing-header: cch=1;"}], "messages": [
            *ask, {"role": "assistant", "content": [{"type": "thinking", "thinking": "t"}, {"type": "tool_use", "id": "1",
                   "name": "f", "input": {}}]}, {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "1",
                   "content": "r"}, {"type": "text", "text": "b"}]}], "thinking": {"type": "enabled", "budget_tokens": 9}}),
        (10, "messages_stream", {"max_tokens": 2, "messages": ask, "stream": True, "stop_sequences": ["a"]}),
        (11, "count", {"messages": ask}), (12, "show", {"model": "x", "verbose": True}),
        (13, "ollama_chat", {"messages": ask, "options": {"num_predict": 2, "temperature": 0, "stop": "a", "num_ctx": 32},
                             "think": False, "truncate": True, "stream": False}),
        (14, "ollama_generate", {"prompt": "a", "raw": True, "context": [1, 2], "options": {"num_predict": 2}}),
        (15, "ollama_embed", {"input": "a", "truncate": True}), (16, "tokenize", {"content": "a b", "with_pieces": True}),
        (17, "detokenize", {"tokens": [3, 4]}), (18, "apply_template", {"messages": ask, "continue_final_message": False}),
    ]
    for path, name, body in bodies:
        yield name, bytes([path]) + json.dumps(body, separators=(",", ":")).encode()
    yield "deep", b"\x00" + b'{"a":' * 600
    yield "surrogate", b'\x00{"messages":[{"role":"user","content":"\\ud800"}]}'


def grammar_seeds(_rng):
    """The first byte says what it is: GBNF, a regular expression or a schema; then a text to try."""
    seeds = {
        "gbnf_list": ('groot ::= "[" (item ("," item)*)? "]" # list\nitem ::= [a-z]{1,3} | root', "[ab,[c]]"),
        "gbnf_chars": ('groot ::= [^\\n\\x41-\\u00ff] . "\\U0001F600"', "zx\U0001F600"),
        "gbnf_left": ('groot ::= a root | "x"\na ::= "y"?', "x"),
        "gbnf_many": ('groot ::= ("a"{1,999}){1,999}', "a"),
        "gbnf_ambiguous": ('groot ::= "a" root "b" | "a" root "c" | ""', "aaaaaaaaaabbbb"),
        "regex": ("r^(?:a|b)+?\\d{2,3}[^x-z\\]]*\\.$", "ab12q."),
        "regex_named": ("r(?<n>\\w\\s\\W)|\\u00e9", "a ."),
        "schema_object": ('s{"type":"object","properties":{"a":{"type":"string","maxLength":3},"ab":{"type":"number","minimum":-1.5,'
                          '"exclusiveMaximum":20}},"required":["a"],"additionalProperties":{"type":["null","boolean"]}}',
                          '{"a":"x","ab": 1.5,"abc":null}'),
        "schema_ref": ('s{"$ref":"#/$defs/t","$defs":{"t":{"anyOf":[{"const":[1,"a"]},{"type":"array","items":{"$ref":"#"},'
                       '"maxItems":2}]}}}', '[[1,"a"],[]]'),
        "schema_all": ('s{"allOf":[{"properties":{"a":{"minimum":1}}},{"properties":{"a":{"type":"integer","maximum":12}},'
                       '"required":["a"]}]}', '{"a":7}'),
        "schema_items": ('s{"prefixItems":[{"enum":[1,null]},{"format":"date"}],"items":{"pattern":"^\\\\d+\\"$"},"minItems":1}',
                         '[1,"2020-02-03","1\\""]'),
    }
    for name, (source, tried) in seeds.items():
        yield name, source.encode() + MARK + tried.encode()


# ---- dictionaries ---------------------------------------------------------------------------------
def le(fmt, *values):
    return struct.pack("<" + fmt, *values)


DICTIONARIES = {
    "gguf": [b"GGUF", le("I", 2), le("I", 3), *(le("I", t) for t in range(4, 13)), b"general.alignment", b"general.architecture",
             b"a.weight", le("Q", 1 << 32), le("Q", 1 << 62), le("Q", (1 << 63) - 1), le("Q", (1 << 64) - 1), le("I", 39), le("Q", 32)],
    "imatrix": [b"imatrix", b"general.type", b"imatrix.datasets", b"imatrix.chunk_count", b"imatrix.chunk_size", b".in_sum2",
                b".counts", le("f", float("nan")), le("f", float("inf")), le("f", -1), le("Q", 1 << 62)],
    "tokenizer_gguf": [b"tokenizer.ggml.model", b"tokenizer.ggml.pre", b"tokenizer.ggml.tokens", b"tokenizer.ggml.token_type",
                       b"tokenizer.ggml.scores", b"tokenizer.ggml.merges", b"tokenizer.ggml.bos_token_id",
                       b"tokenizer.ggml.eos_token_id", b"tokenizer.ggml.precompiled_charsmap", b"tokenizer.ggufkit.merges",
                       b"tokenizer.ggufkit.pre_tokenizer", b"tokenizer.ggufkit.normalizer", b"tokenizer.ggufkit.added_ids",
                       b"tokenizer.ggufkit.added_flags", b"tokenizer.ggufkit.user_defined", b"tokenizer.ggufkit.prefix_ids",
                       b"gpt2", b"llama", b"t5", b"bert", b"llama-bpe", b"qwen2", b"deepseek-v3", "\u2581".encode(),
                       "\u0120".encode(), b"<0x0A>", le("I", 0xFFFFFFFF)],
    "safetensors": [b'"dtype"', b'"shape"', b'"data_offsets"', b'"__metadata__"', b'"weight_map"', b'"F32"', b'"BF16"', b'"U8"',
                    b'"F4"', b'"F6_E2M3"', b"[0,8]", b"[8,16]", b"18446744073709551615", b"9223372036854775807", b"-1", b"1e3",
                    b'"1.safetensors"', b"\\u0000", b"\\ud800", MARK],
    "tokenizer_json": [b'"type"', b'"vocab"', b'"merges"', b'"added_tokens"', b'"normalizer"', b'"pre_tokenizer"',
                       b'"pretokenizers"', b'"normalizers"', b'"Sequence"', b'"Split"', b'"ByteLevel"', b'"Metaspace"', b'"Digits"',
                       b'"Punctuation"', b'"Whitespace"', b'"BertNormalizer"', b'"Precompiled"', b'"Replace"', b'"Prepend"',
                       b'"Strip"', b'"StripAccents"', b'"Lowercase"', b'"NFC"', b'"NFKC"', b'"Regex"', b'"String"', b'"pattern"',
                       b'"behavior"', b'"Isolated"', b'"Removed"', b'"MergedWithPrevious"', b'"MergedWithNext"', b'"Contiguous"',
                       b'"content"', b'"BPE"', b'"WordPiece"', b'"Unigram"', b'"unk_id"', b'"byte_fallback"', b'"ignore_merges"',
                       b'"fuse_unk"', b'"TemplateProcessing"', b'"special_tokens"', b'"chat_template"', b"\\\\p{L}", b"\\\\p{Han}",
                       b"(?i:", b"(?!", b"(?<=", b"{1,3}", b"[^", b"&&", b"|", b"+", b"*?", b"\\\\s", b"\\u0120", MARK],
    "tokenizer_model": [b"<unk>", b"<s>", b"</s>", b"<0x41>", "\u2581".encode(), field(3, 2), field(3, 6), field(2, 0.5),
                        field(40, 1), field(42, -1), b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", MARK],
    "yaml": [b"rules:", b"default:", b"role:", b"type:", b"where:", b"more", b"first 1/8", b"first 2", b"by: layer", b"imatrix:",
             b"name:", b"file_type:", b"Q4_K", b"Q6_K", b"F16", b"architecture:", b"compute:", b"norm: rms", b"rope: halves",
             b"activation: silu", b"- ", b": ", b"&a", b"*a", b"!!str", b"|\n", b">-\n", b"---\n", b"...\n", b"? ", b"{", b"}", b"["],
    "torch": [b"PK\x01\x02", b"PK\x03\x04", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07", b"a/data.pkl", b"a/data/0", b"\x80\x02",
              b"ctorch\nFloatStorage\n", b"ctorch\nHalfStorage\n", b"ctorch._utils\n_rebuild_tensor_v2\n",
              b"ctorch._utils\n_rebuild_parameter\n", b"ccollections\nOrderedDict\n", b"storage", b"\x8a\x08", b"\x95", b"u.",
              b"\xff\xff\xff\xff", MARK],
    "imatrix_dat": [b"a.weight", le("i", 1), le("i", -1), le("i", 0x7FFFFFFF), le("f", float("nan")), le("f", -1.0)],
    "quality_base": [b"GKQB", le("I", 1), le("I", 0xFFFFFFFF), le("f", float("nan")), le("f", float("inf")), le("f", 1e30)],
    "template": [b"{%", b"%}", b"{{", b"}}", b"{#", b"#}", b"-%}", b"{%-", b"{%+", b"for ", b" in ", b"endfor", b"if ", b"elif ",
                 b"else", b"endif", b"set ", b"endset", b"macro ", b"endmacro", b"call", b"endcall", b"filter ", b"endfilter",
                 b"raw", b"endraw", b"generation", b"endgeneration", b"break", b"continue", b"recursive", b" is not ", b"not ",
                 b"and ", b"or ", b"none", b"true", b"namespace(", b"**", b"//", b"~", b"|", b"loop.", b"__class__", b"\\u", b"\\x"],
    "request": [b'"messages"', b'"role"', b'"content"', b'"user"', b'"assistant"', b'"system"', b'"tool"', b'"type"', b'"text"',
                b'"tool_calls"', b'"max_tokens"', b'"temperature"', b'"stop"', b'"stream"', b'"n"', b'"logprobs"', b'"logit_bias"',
                b'"prompt"', b'"input"', b'"options"', b'"tools"', b'"tool_choice"', b'"response_format"', b'"thinking"',
                b'"system"', b'"context"', b'"images"', b'"model"', b"null", b"true", b"-1", b"1e308", b"18446744073709551615",
                b"\\u0000", b"\\ud83d\\ude00", b"[]", b"{}", b'""'],
    "import": [b'"architectures"', b'"LlamaForCausalLM"', b'"MistralForCausalLM"', b'"hidden_size"', b'"num_hidden_layers"',
               b'"num_attention_heads"', b'"num_key_value_heads"', b'"head_dim"', b'"rope_scaling"', b'"rope_parameters"',
               b'"rope_type"', b'"llama3"', b'"yarn"', b'"linear"', b'"factor"', b'"original_max_position_embeddings"',
               b'"tie_word_embeddings"', b'"vocab_size"', b'"text_config"', b"1e300", b"-1", b"4294967295", b"permute_heads:",
               b"{layer}", b"tensors:", b"keys:", b"shape:", b"tied_to:", b"optional: true", b" * ", b" / ", b" up ", b"like: llama", b"without:",
               b"layer_kinds:", b"kinds:", b"reshape:", b"reorder:", b"interleaved:", b"pad_rows:", b"neg_exp: true", MARK],
    "grammar": [b"root ::= ", b"::=", b"\\u00", b"\\d", b"(?:", b"{1,", b"{2}", b"[^", b'"type":', b'"object"', b'"array"', b'"string"',
                b'"integer"', b'"number"', b'"properties":{', b'"required":[', b'"additionalProperties":', b'"items":', b'"prefixItems":[',
                b'"minItems":', b'"maxItems":', b'"enum":[', b'"const":', b'"anyOf":[', b'"allOf":[', b'"$ref":"#', b'"$defs":{',
                b'"minLength":', b'"maxLength":', b'"pattern":', b'"format":', b'"minimum":', b'"maximum":', MARK],
}

FOR_GGUF = ("gguf", "verify", "swap", "edit", "shards")  # take the same words
for _name in FOR_GGUF[1:]:
    DICTIONARIES[_name] = [*DICTIONARIES["gguf"], MARK]

SEEDS = {"gguf": gguf_seeds, "verify": verify_seeds, "swap": swap_seeds, "edit": edit_seeds, "shards": shards_seeds,
         "torch": torch_seeds, "imatrix_dat": imatrix_dat_seeds, "quality_base": quality_base_seeds,
         "template": template_seeds, "imatrix": imatrix_seeds, "tokenizer_gguf": tokenizer_gguf_seeds,
         "safetensors": safetensors_seeds, "tokenizer_json": tokenizer_json_seeds,
         "tokenizer_model": tokenizer_model_seeds, "yaml": yaml_seeds, "import": import_seeds,
         "request": request_seeds, "grammar": grammar_seeds}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    total, written = 0, {}
    for target, make in SEEDS.items():
        folder = FUZZ / "corpus" / target / "seeds"
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        for name, data in make(random.Random(seed)):
            if len(data) > LINK_FROM and data in written:
                (folder / name).symlink_to(os.path.relpath(written[data], folder))
                continue
            (folder / name).write_bytes(data)
            written[data] = folder / name
            total += len(data)
        words = "".join('"' + "".join(f"\\x{b:02x}" for b in word) + '"\n' for word in DICTIONARIES[target])
        (FUZZ / f"{target}.dict").write_text(words)
    print(f"{total} bytes of seeds")


main()
