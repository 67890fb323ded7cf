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

static const char *const falcon[] = {
    "[\\p{P}\\$\\+<=>\\^~\\|`]+",
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)",
    "[0-9][0-9][0-9]", NULL};
/* Marks belong to the letters before them. */
static const char *const qwen35[] = {
    SUFFIXES "|" HEAD "[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" SPACES, NULL};
static const char *const spark[] = {
    "\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+|[\\r\\n]|\\s+(?!\\S)|\\s+",
    "\\p{N}", NULL};
static const char *const youtu[] = {
    "[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|[一-龥\u3040-ゟ゠-ヿ]+",
    CASED(SUFFIXES "?", "\\p{N}"), NULL};
#define WORDS " ?[^(\\s|.,!?…。，、।۔،)]+"
static const char *const bloom[] = {WORDS, NULL};
static const char *const viking[] = {WORDS, "\\p{N}", NULL};
static const char *const chameleon[] = {
    "<sentinel:[0-9]+>",      "(IMGIMG)((A|B|C|D|E|F|G|H|I){1,4})Z",
    "([\\t\\n]|    |  )",     "\\p{N}",
    "[\\p{P}!-/:-@\\[-`{-~]", NULL};
/* Digits in threes, counted from the right. */
static const char *const tiny_aya[] = {"\\d{1,3}(?=(?:\\d{3})*\\b)",
                                       CASED(SUFFIXES "?", "\\p{N}{1,3}"), NULL};
static const char *const afmoe[] = {
    "\\p{N}{1,3}(?=(?:\\p{N}{3})*(?!\\p{N}))",
    "[一-鿿㐀-䶿豈-\uFAFF\u3040-ゟ゠-ヿ･-ﾟ⼀-\u2FDF\u0E40-\u0E7F\u0E80-\u0EFFក-\u17FFက-႟ꩠ-ꩿꧠ-\uA9FF"
    "가-\uD7AFᄀ-ᇿ]+",
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
    "[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|" SPACES,
    NULL};
/* Chinese characters are pieces of their own, and no letters elsewhere. */
#define NOT_HAN(class) "(?:(?!\\p{Han})" class ")"
static const char *const kimi_k2[] = {
    "\\p{Han}+|" HEAD NOT_HAN(UPPER) "*" NOT_HAN(LOWER) "+" SUFFIXES "?|" HEAD NOT_HAN(
        UPPER) "+" NOT_HAN(LOWER) "*" SUFFIXES
                                  "?|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
    NULL};
static const char *const superbpe[] = {"\\p{N}+", "(?=(\\d{3})+(?!\\d))", NULL};
static const char *const bailing[] = {
    "'(?i:[sdmt]|ll|ve|re)|[^\\r\\n\\p{L}\\p{N}]?+\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]++[\\r\\n]*|"
    "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    NULL};
static const char *const seed_coder[] = {
    SUFFIXES "|" HEAD "\\p{L}+|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|" SPACES, NULL};
/* Turkish suffixes behind an apostrophe are no English contractions. */
static const char *const ufakzeka[] = {HEAD "\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|" SPACES,
                                       NULL};
static const char *const laguna[] = {"[^\\n]+|[\\n]+", LLAMA("\\p{N}"), NULL};
static const char *const exaone_moe[] = {
    SUFFIXES "|" HEAD
             "(?:\\p{L}\\p{M}*(?: \\p{L}\\p{M}*)*)+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]?|"
             "\\s*[\\r\\n]|\\s+(?!\\S)|\\s+",
    NULL};
static const char *const minicpm5[] = {"\\p{N}{1,3}", LLAMA("\\p{N}+"), NULL};
static const char *const jais2[] = {
    SUFFIXES "|" HEAD "\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|"
             "\\s{512}(?!\\S)|\\s{256}(?!\\S)|\\s{128}(?!\\S)|\\s{64}(?!\\S)|\\s{32}(?!\\S)|"
             "\\s{16}(?!\\S)|\\s{8}(?!\\S)|\\s{4}(?!\\S)|\\s{1,2}(?!\\S)|\\s{1}",
    NULL};

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
    {"falcon3", llama3, false, false, true, true},
    {"falcon-h1", llama3, false, false, true, true},
    {"midm-2.0", llama3, false, false, true, true},
    {"lfm2", llama3, false, false, true, true},
    {"jina-v5-nano", llama3, false, false, true, true},
    {"glm5", llama3, false, false, true, false},
    {"kormo", qwen2, false, false, false, false},
    {"f2llmv2", qwen2, false, false, false, false},
    {"megrez", qwen2, false, false, false, false},
    {"solar-open", qwen2, false, false, false, false},
    {"grok-2", qwen2, false, false, false, false},
    {"phi-2", none, false, true, false, false},
    {"roberta-bpe", none, false, true, false, false},
    {"jina-v1-en", none, false, true, false, false},
    {"jina-v2-code", none, false, true, false, false},
    {"jina-es", none, false, true, false, false},
    {"jina-de", none, false, true, false, false},
    {"jina-v2-es", none, false, true, false, false},
    {"jina-v2-de", none, false, true, false, false},
    {"gigachat", none, false, true, false, false},
    {"a.x-4.0", none, false, true, false, false},
    {"mellum", none, false, true, false, false},
    {"modern-bert", none, false, true, false, false},
    {"exaone4", none, false, true, false, false},
    {"jais", none, false, true, false, false},
    {"trillion", none, false, true, false, false},
    {"granite-docling", none, false, true, false, false},
    {"codeshell", none, true, true, false, false},
    {"exaone", none, true, true, false, false},
    {"minerva-7b", none, true, true, false, false},
    {"mellum2", none, true, true, false, false},
    {"hunyuan-dense", deepseek_v3, false, false, false, false},
    {"joyai-llm", deepseek_v3, false, false, false, false},
    {"hy_v4", deepseek_v3, false, false, false, false},
    {"minimax-m2", gpt4o, false, false, false, false},
    {"kanana2", gpt4o, false, false, false, false},
    {"talkie", gpt4o, false, false, false, false},
    {"granite-embed-multi-97m", gpt4o, false, false, true, false},
    {"falcon", falcon, false, false, false, false},
    {"qwen35", qwen35, false, false, false, false},
    {"spark2_5", spark, false, false, false, false},
    {"youtu", youtu, false, false, true, false},
    {"bloom", bloom, false, false, false, false},
    {"poro-chat", bloom, false, false, false, false},
    {"gpt3-finnish", bloom, false, false, false, false},
    {"viking", viking, false, false, false, false},
    {"chameleon", chameleon, false, true, false, true},
    {"tiny_aya", tiny_aya, false, false, false, false},
    {"cohere2moe", tiny_aya, false, false, false, false},
    {"afmoe", afmoe, false, false, false, false},
    {"kimi-k2", kimi_k2, false, false, false, false},
    {"superbpe", superbpe, false, false, false, false},
    {"bailingmoe", bailing, false, false, false, false},
    {"bailingmoe2", bailing, false, false, false, false},
    {"llada-moe", bailing, false, false, false, false},
    {"seed-coder", seed_coder, false, false, false, false},
    {"ufakzeka", ufakzeka, false, false, false, false},
    {"laguna", laguna, false, false, false, false},
    {"exaone-moe", exaone_moe, false, false, false, false},
    {"minicpm5", minicpm5, false, false, true, false},
    {"jais-2", jais2, false, false, false, false},
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
