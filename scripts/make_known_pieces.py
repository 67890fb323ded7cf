#!/usr/bin/env python3
"""Write tests/data/tokenizers/known_pieces.json: what the original library makes of texts with the expressions that values of
tokenizer.ggml.pre stand for, as their models' tokenizer.json or tiktoken files have them.

usage: make_known_pieces.py > tests/data/tokenizers/known_pieces.json
needs: pip install tokenizers==0.23.3
"""
import json
import sys

from make_pieces import alphabet
from tokenizers import Regex, pre_tokenizers as p

TEXTS = ["Hello world, it's 1234567 o'clock! We'LL see...", "你好，世界123 ひらがなカタカナ mixed漢字text",
         "Straße ÜBER naïve e\u0301te\u0301 हिन्दी भाषा ไทย ລາວ မြန်မာ", "tab\tand  two   three    spaces\n\n newline\r\nend   \n  ",
         "a1b22c333d4444 55555 999999 1.5e10 ١٢٣٤ 1234567890", "한국어 텍스트 ㄱㄴㄷ ㄅㄆ 「引用」、。！—“x”",
         "<sentinel:12>IMGIMGABZ x=+y^~|`z`$<>", "Ankara'da İstanbul'un DON'T can'T x/y/z //\n", "camelCaseWORDSMixedUP HTTPServer aB Ab"]
LOW = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
END = r"\s*[\r\n]+|\s+(?!\S)|\s+"
UPPER, LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
HEAD = r"[^\r\n\p{L}\p{N}]?"
DEEPSEEK = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+"""


def llama(digits):
    return rf"{LOW}|{HEAD}\p{{L}}+|{digits}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{END}"


def cased(suffix, digits, upper=f"[{UPPER}]", lower=f"[{LOWER}]", tail=r"[\r\n/]*"):
    return rf"{HEAD}{upper}*{lower}+{suffix}|{HEAD}{upper}+{lower}*{suffix}|{digits}| ?[^\s\p{{L}}\p{{N}}]+{tail}|{END}"


GPT4O = cased(LOW + "?", r"\p{N}{1,3}")
KANA = r"[一-龥぀-ゟ゠-ヿ]+"
GPT2 = None  # the library's own
KNOWN = {
    "llama-bpe": [llama(r"\p{N}{1,3}")], "falcon3": [llama(r"\p{N}{1,3}")], "qwen2": [llama(r"\p{N}")], "megrez": [llama(r"\p{N}")],
    "gpt-2": [GPT2], "phi-2": [GPT2], "gpt-4o": [GPT4O], "minimax-m2": [GPT4O], "tekken": [cased("", r"\p{N}")],
    "deepseek-v3": [r"\p{N}{1,3}", KANA, DEEPSEEK + r"| ?[\p{P}\p{S}]+[\r\n]*|" + END],
    "hunyuan-dense": [r"\p{N}{1,3}", KANA, DEEPSEEK + r"| ?[\p{P}\p{S}]+[\r\n]*|" + END],
    "qwen35": [rf"{LOW}|{HEAD}[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|{END}"],
    "spark2_5": [r"\p{N}{1,3}", KANA, DEEPSEEK + r"| ?[\p{P}\p{S}]+|[\r\n]|\s+(?!\S)|\s+", r"\p{N}"],
    "youtu": ["[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥぀-ゟ゠-ヿ]+", cased(LOW + "?", r"\p{N}")],
    "bloom": [r" ?[^(\s|.,!?…。，、।۔،)]+"], "viking": [r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"],
    "chameleon": ["<sentinel:[0-9]+>", "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z", r"([\t\n]|    |  )", r"\p{N}",
                  r"[\p{P}!-/:-@\[-`{-~]", GPT2],
    "tiny_aya": [r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O], "cohere2moe": [r"\d{1,3}(?=(?:\d{3})*\b)", GPT4O],
    "kimi-k2": [r"[\p{Han}]+|" + cased(LOW + "?", r"\p{N}{1,3}", rf"[{UPPER}&&[^\p{{Han}}]]", rf"[{LOWER}&&[^\p{{Han}}]]", r"[\r\n]*")],
    "superbpe": [r"\p{N}+", r"(?=(\d{3})+(?!\d))"],
    "bailingmoe": [rf"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"],
    "seed-coder": [rf"{LOW}|{HEAD}\p{{L}}+|\p{{N}}{{1}}| ?[^\s\p{{L}}\p{{N}}\r\n]+|{END}"],
    "ufakzeka": [rf"{HEAD}\p{{L}}+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|{END}"],
    "laguna": [r"[^\n]+|[\n]+", llama(r"\p{N}")],
    "exaone-moe": [rf"{LOW}|{HEAD}(?:\p{{L}}\p{{M}}*(?: \p{{L}}\p{{M}}*)*)+|\p{{N}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n/]?|\s*[\r\n]|\s+(?!\S)|\s+"],
    "minicpm5": [r"\p{N}{1,3}", llama(r"\p{N}+")],
    "jais-2": [llama(r"\p{N}{1,3}").removesuffix(r"|\s+(?!\S)|\s+") + "".join(rf"|\s{{{k}}}(?!\S)" for k in (512, 256, 128, 64, 32, 16, 8, 4))
               + r"|\s{1,2}(?!\S)|\s{1}"],
    "falcon": [r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
}


def pieces(steps, text):
    splits = [p.ByteLevel(add_prefix_space=False, use_regex=True) if s is GPT2 else p.Split(Regex(s), "isolated", False) for s in steps]
    if not any(s is GPT2 for s in steps):
        splits.append(p.ByteLevel(add_prefix_space=False, use_regex=False))
    table = alphabet()
    found = [bytes(table[c] for c in piece) for piece, _ in p.Sequence(splits).pre_tokenize_str(text)]
    return [piece.decode() for piece in found if piece]


json.dump({name: [[text, pieces(steps, text)] for text in TEXTS] for name, steps in KNOWN.items()}, sys.stdout, ensure_ascii=False,
          separators=(",", ":"))
print()
