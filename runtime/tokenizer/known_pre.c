/* The values of tokenizer.ggml.pre that are in use, and the expressions that they stand for. */
#include "runtime/tokenizer/pretokenize.h"

#include <string.h>

#define SUFFIXES      "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES        "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define UPPER         "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER         "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define HEAD          "[^\\r\\n\\p{L}\\p{N}]?"
#define LLAMA(digits) SUFFIXES "|" HEAD "\\p{L}+|" digits "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES
#define CASED(suffix, digits)                                                      \
    HEAD UPPER "*" LOWER "+" suffix "|" HEAD UPPER "+" LOWER "*" suffix "|" digits \
               "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|" SPACES

static const char *const none[] = {NULL};
static const char *const llama3[] = {LLAMA("\\p{N}{1,3}"), NULL};
static const char *const qwen2[] = {LLAMA("\\p{N}"), NULL};
static const char *const tekken[] = {CASED("", "\\p{N}"), NULL};
static const char *const gpt4o[] = {CASED(SUFFIXES "?", "\\p{N}{1,3}"), NULL};
static const char *const deepseek_v3[] = {
    "\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES,
    NULL};
static const char *const deepseek_coder[] = {
    "[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", "[一-龥ࠀ-一가-\uD7FF]+", "\\p{N}", NULL};
/* Its letters are a list of ranges, not a class. */
static const char *const deepseek_llm[] = {
    "[\\r\\n]",
    "\\s?[A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯ"
    "Ա-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-"
    "Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ"
    "-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-"
    "ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ"
    "𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃]+",
    "\\s?[!-/:-~！-／：-～‘-‟　-。]+",
    "\\s+$",
    "[一-龥ࠀ-一가-\uD7FF]+",
    "\\p{RustNumeric}",
    NULL};
static const char *const other[] = {
    "[\\p{P}\\$\\+<=>\\^~\\|]+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)", "\\p{N}+",
    "[0-9][0-9][0-9]", NULL};

/* The first of several names for the same steps is the one that is written. */
static const rt_known_pre known[] = {
    {"llama-bpe", llama3, false, false, true, true},
    {"qwen2", qwen2, false, false, false, false},
    {"gpt-2", none, false, true, false, false},
    {"smollm", none, true, true, false, false},
    {"deepseek-v3", deepseek_v3, false, false, false, false},
    {"tekken", tekken, false, false, true, true},
    {"gpt-4o", gpt4o, false, false, false, false},
    {"deepseek-coder", deepseek_coder, false, false, false, false},
    {"deepseek-llm", deepseek_llm, false, false, false, false},
    {"default", other, false, false, false, false},
    {"llama3", llama3, false, false, true, true},
    {"llama-v3", llama3, false, false, true, true},
    {"pixtral", llama3, false, false, true, true},
    {"smaug-bpe", llama3, false, false, false, false},
    {"dbrx", llama3, false, false, false, false},
    {"chatglm-bpe", llama3, false, false, false, false},
    {"glm4", llama3, false, false, true, false},
    {"deepseek-r1-qwen", qwen2, false, false, false, false},
    {"stablelm2", qwen2, false, false, false, false},
    {"hunyuan", qwen2, false, false, false, false},
    {"mpt", none, false, true, false, false},
    {"olmo", none, false, true, false, false},
    {"starcoder", none, true, true, false, false},
    {"command-r", none, true, true, false, false},
    {"refact", none, true, true, false, false},
    {"llama4", gpt4o, false, false, false, false},
};

const rt_known_pre *rt_known_pre_at(size_t i) {
    return i < sizeof known / sizeof *known ? &known[i] : NULL;
}

const rt_known_pre *rt_known_pre_find(const char *name) {
    const rt_known_pre *pre;
    for (size_t i = 0; (pre = rt_known_pre_at(i)); i++)
        if (strcmp(pre->name, name) == 0) return pre;
    return NULL;
}

json_t *rt_known_pre_spec(const rt_known_pre *pre) {
    json_t *list = json_array();
    if (pre->digits)
        json_array_append_new(list,
                              json_pack("{s:s, s:b}", "type", "Digits", "individual_digits", 1));
    for (size_t i = 0; pre->splits[i]; i++)
        json_array_append_new(list, json_pack("{s:s, s:{s:s}, s:s}", "type", "Split", "pattern",
                                              "Regex", pre->splits[i], "behavior", "Isolated"));
    json_array_append_new(list, json_pack("{s:s, s:b, s:b}", "type", "ByteLevel",
                                          "add_prefix_space", 0, "use_regex", (int)pre->gpt2));
    return json_pack("{s:s, s:o}", "type", "Sequence", "pretokenizers", list);
}
