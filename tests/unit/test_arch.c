/* Descriptions that are like others, and kinds of layers. */
#include "libgguf/map.h"
#include "runtime/import/import.h"
#include "runtime/model/arch_read.h"
#include "runtime/model/expression.h"
#include "tests/unit/unit.h"

/* ---- like ---------------------------------------------------------------------------------- */

#define COMPUTE "compute: {norm: rms, rope: halves, activation: silu}\n"

static const char base[] = "architecture: base\n"
                           "names: [{prefix: a., becomes: b.}]\n"
                           "keys:\n"
                           "  - {key: one, type: u32, default: 1}\n"
                           "  - {key: two, type: u32, default: 2}\n"
                           "  - {key: three, type: u32, default: 3}\n"
                           "tensors:\n"
                           "  - {hf: x, gguf: x.weight, add: 1}\n"
                           "  - {hf: y, gguf: y.weight}\n"
                           "  - {hf: other_y, gguf: y.weight}\n"
                           "  - {hf: z, gguf: z.weight}\n"
                           "ignore: [q]\n" COMPUTE;
static const char round_a[] = "architecture: round_a\nlike: round_b\n";
static const char round_b[] = "architecture: round_b\n\nlike: round_a\n";

static const gguf_embedded library[] = {{"base", base, sizeof base - 1},
                                        {"round_a", round_a, sizeof round_a - 1},
                                        {"round_b", round_b, sizeof round_b - 1},
                                        {0}};

static gguf_code read_arch(const char *text, rt_arch **out, gguf_error *err) {
    gguf_yaml_doc *doc;
    *err = (gguf_error){0};
    *out = NULL;
    gguf_code code = gguf_yaml_parse(text, strlen(text), "test.yaml", &doc, err);
    return code ? code : rt_arch_read(doc, library, out, err);
}

/* "one=1 two=2 ...", then the tensors as "x.weight<x". */
static void summary(const rt_arch *arch, char *out, size_t room) {
    size_t len = 0;
    for (const rt_arch_key *k = rt_arch_first_key(arch); k; k = rt_arch_next_key(k))
        len += (size_t)snprintf(out + len, room - len, "%s=%s ", k->entry.name, k->otherwise.text);
    for (const rt_arch_tensor *t = rt_arch_first_tensor(arch); t; t = rt_arch_next_tensor(t))
        len += (size_t)snprintf(out + len, room - len, "%s<%s%s ", t->entry.name, t->hf,
                                t->n_transforms ? "!" : "");
}

static const struct {
    const char *text, *summary;
} likes[] = {
    {"", "one=1 two=2 three=3 x.weight<x! y.weight<y y.weight<other_y z.weight<z "},
    /* what is stated stands where the inherited entry stood, whole */
    {"keys: [{key: two, type: u32, default: 22}]\ntensors: [{hf: xx, gguf: x.weight}]\n",
     "one=1 two=22 three=3 x.weight<xx y.weight<y y.weight<other_y z.weight<z "},
    /* new ones at the end, or behind the one before */
    {"keys: [{key: n, type: u32, default: 0}, {key: two, type: u32, default: 2}, "
     "{key: m, type: u32, default: 9}]\n",
     "one=1 two=2 m=9 three=3 n=0 x.weight<x! y.weight<y y.weight<other_y z.weight<z "},
    /* alternatives are replaced together */
    {"tensors: [{hf: y1, gguf: y.weight}, {hf: y2, gguf: y.weight}, {hf: y3, gguf: y.weight}]\n",
     "one=1 two=2 three=3 x.weight<x! y.weight<y1 y.weight<y2 y.weight<y3 z.weight<z "},
    {"without: [one, three, y.weight]\n", "two=2 x.weight<x! z.weight<z "},
};

START_TEST(entries_are_inherited) {
    gguf_error err;
    rt_arch *arch;
    char text[512], got[512];
    snprintf(text, sizeof text, "architecture: test\nlike: base\n%s", likes[_i].text);
    unit_ok(read_arch(text, &arch, &err), err);
    summary(arch, got, sizeof got);
    ck_assert_str_eq(got, likes[_i].summary);
    ck_assert_str_eq(arch->name, "test");
    ck_assert_uint_eq(arch->names.n, 0);
    ck_assert(rt_texts_have(arch->ignore, "q"));
    ck_assert_int_eq(arch->compute.rope, RT_ROPE_HALVES);
    rt_arch_close(arch);
}
END_TEST

START_TEST(flags_and_lists_are_inherited_one_by_one) {
    gguf_error err;
    rt_arch *arch;
    unit_ok(read_arch(
                "architecture: test\nlike: base\nnames: [{prefix: c., becomes: d.}]\nignore: [r]\n"
                "compute: {rope: none, needs: [a part]}\n",
                &arch, &err),
            err);
    ck_assert_uint_eq(arch->names.n, 1);
    ck_assert_str_eq(arch->names.list[0].prefix, "c.");
    ck_assert(rt_texts_have(arch->ignore, "r") && !rt_texts_have(arch->ignore, "q"));
    ck_assert_int_eq(arch->compute.rope, RT_ROPE_NONE);
    ck_assert_int_eq(arch->compute.norm, RT_NORM_RMS);
    ck_assert(rt_texts_have(arch->compute.needs, "a part"));
    rt_arch_close(arch);
}
END_TEST

static const struct {
    const char *text, *message;
} wrong[] = {
    {"architecture: t\nlike: bsae\n",
     "line 2, column 1: there is no description 'bsae' to be like"},
    {"architecture: t\nlike: round_a\n", "line 3, column 1: 'round_a' is like itself"},
    {"architecture: t\nlike: base\nwithout: [one, four]\n",
     "line 3, column 16: there is no key and no tensor 'four' to leave out"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: u32, kinds: dense}]\n",
     "line 3, column 30: 'layer_kinds' has no kind 'dense'"},
    {"architecture: t\nlike: base\ntensors: [{hf: a, gguf: b, reshape: 3}]\n",
     "'reshape' must be a list"},
    {"architecture: t\nlike: base\ntensors: [{hf: a, gguf: b, reorder: [1]}]\n", "'reorder'"},
    {"architecture: t\nlike: base\nlayer_kinds: {from: a, words: {d: dense}}\n"
     "keys: [{key: one, type: f32, kinds: dense}]\n",
     "line 4, column 8: the key 'one' has 'kinds', but is not a u32"},
    {"architecture: t\nlike: base\nlayer_kinds: {from: a, words: {d: dense}}\n"
     "tensors: [{hf: a, gguf: b, kinds: dense}]\n",
     "line 4, column 11: the tensor 'b' has 'kinds', but is in no {layer}"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: f32, except: [{default: 4}]}]\n",
     "line 3, column 8: the key 'one' has 'except', but is no plain u32"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: u32, except: [{kinds: dense}]}]\n",
     "line 3, column 40: 'layer_kinds' has no kind 'dense'"},
    {"architecture: t\nlike: base\ntensors: [{hf: a, gguf: b, fill: 1}]\n",
     "line 3, column 11: the tensor 'b' needs either 'hf' or 'fill'"},
    {"architecture: t\nlike: base\ntensors: [{gguf: b}]\n", "needs either 'hf' or 'fill'"},
    {"architecture: t\nlike: base\nkeys: [{key: one, type: u32, size: 4}]\n",
     "line 3, column 8: the key 'one' has a 'size', but is no counts"},
    {"architecture: t\ncompute: {norm: rms, rope: none}\n", "compute.activation is ''"},
};

START_TEST(wrong_descriptions_say_where) {
    gguf_error err;
    rt_arch *arch;
    unit_fails(read_arch(wrong[_i].text, &arch, &err), GGUF_E_FORMAT, wrong[_i].message, err);
    ck_assert_ptr_null(arch);
}
END_TEST

/* ---- expressions ----------------------------------------------------------------------------- */

static bool find_seven(void *ctx, const char *name, uint64_t *out) {
    (void)ctx;
    *out = 7;
    return strcmp(name, "seven") == 0;
}

START_TEST(expressions_are_read_from_left_to_right) {
    static const struct {
        const char *text;
        rt_expression_result result;
        uint64_t value;
    } rows[] = {{"3", RT_EXPRESSION_OK, 3},
                {"seven", RT_EXPRESSION_OK, 7},
                {"1 + seven * 2", RT_EXPRESSION_OK, 16},
                {"seven - 1 / 3", RT_EXPRESSION_OK, 2},
                {"seven up 4", RT_EXPRESSION_OK, 8},
                {"8 up 4", RT_EXPRESSION_OK, 8},
                {"seven * 2 // 3 up 5", RT_EXPRESSION_OK, 5},
                {"seven // 0", RT_EXPRESSION_NO_COUNT, 0},
                {"eight", RT_EXPRESSION_UNKNOWN, 0},
                {"", RT_EXPRESSION_UNKNOWN, 0},
                {"3 +", RT_EXPRESSION_UNKNOWN, 0},
                {"seven / 2", RT_EXPRESSION_NO_COUNT, 0},
                {"3 - 4", RT_EXPRESSION_NO_COUNT, 0},
                {"3 up 0", RT_EXPRESSION_NO_COUNT, 0},
                {"3 / 0", RT_EXPRESSION_NO_COUNT, 0},
                {"3 % 2", RT_EXPRESSION_NO_COUNT, 0},
                {"18446744073709551615 up 2", RT_EXPRESSION_NO_COUNT, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t value = 0;
        rt_expression_failure why;
        ck_assert_int_eq(rt_expression_eval(rows[i].text, find_seven, NULL, &value, &why),
                         rows[i].result);
        if (!rows[i].result) ck_assert_uint_eq(value, rows[i].value);
    }
}
END_TEST

/* ---- kinds of layers ------------------------------------------------------------------------- */

static const char kinds[] =
    "architecture: test\n"
    "huggingface: [{class: T, model_type: t}]\n"
    "layer_kinds: {from: [kinds, pattern], words: {M: mixer, \"*\": wide, w: wide}}\n"
    "keys:\n"
    "  - {key: block_count, type: u32, from: num_hidden_layers}\n"
    "  - {key: width, type: u32, from: width, kinds: wide}\n"
    "tensors:\n"
    "  - {hf: \"{layer}.w\", gguf: \"blk.{layer}.w.weight\", shape: [width, 2], kinds: [wide]}\n"
    "  - {hf: \"{layer}.m\", gguf: \"blk.{layer}.m.weight\", shape: [3], kinds: [mixer]}\n" COMPUTE;

/* A config of class T with these fields, under a description. */
static gguf_code open_with(const char *description, const char *config, rt_import **out,
                           gguf_error *err) {
    const char *path = unit_temp("test_arch.yaml");
    char json[256];
    int n = snprintf(json, sizeof json, "{\"architectures\":[\"T\"],\"width\":5,%s}", config);
    unit_write(path, description, strlen(description));
    const gguf_memory_file file = {"config.json", json, (size_t)n};
    const rt_import_opts opts = {.arch_file = path, .shapes_suffice = true};
    *err = (gguf_error){0};
    gguf_code code = rt_import_from_memory(&file, 1, &opts, out, err);
    unlink(path);
    return code;
}

static gguf_code open_kinds(const char *config, rt_import **out, gguf_error *err) {
    return open_with(kinds, config, out, err);
}

START_TEST(layers_have_kinds) {
    static const char *const configs[] = {
        "\"num_hidden_layers\":3,\"pattern\":\"*M*\"",
        "\"num_hidden_layers\":3,\"kinds\":[\"w\",\"mixer\",\"wide\"],\"pattern\":\"M\""};
    static const char *const names[] = {"blk.0.w.weight", "blk.1.m.weight", "blk.2.w.weight"};
    for (size_t i = 0; i < 2; i++) {
        gguf_error err;
        rt_import *import;
        unit_ok(open_kinds(configs[i], &import, &err), err);
        const quant_plan *plan = rt_import_plan(import);
        const gguf_kv *width = gguf_meta_find(plan->meta, "test.width");
        ck_assert(width && width->elem_type == GGUF_VALUE_I32 && width->count == 3);
        ck_assert_uint_eq(plan->n_tensors, 3);
        for (uint64_t layer = 0; layer < 3; layer++) {
            uint64_t value;
            ck_assert(rt_kv_number(width, layer, &value));
            ck_assert_uint_eq(value, layer == 1 ? 0 : 5);
            ck_assert_str_eq(plan->tensors[layer].out.name.ptr, names[layer]);
            ck_assert_uint_eq(plan->tensors[layer].out.dims[0], layer == 1 ? 3 : 2);
        }
        rt_import_close(import);
    }
}
END_TEST

/* The same kinds, by other means. */
#define OTHER_KINDS(how)                                                                        \
    "architecture: test\n"                                                                      \
    "huggingface: [{class: T, model_type: t}]\n"                                                \
    "layer_kinds: {" how "}\n"                                                                  \
    "keys:\n"                                                                                   \
    "  - {key: block_count, type: u32, from: num_hidden_layers}\n"                              \
    "  - {key: width, type: u32, from: width, then: \"* 7 // 2 up 4\", kinds: wide}\n"          \
    "tensors:\n"                                                                                \
    "  - {hf: \"{layer}.w\", gguf: \"blk.{layer}.w.weight\", shape: [width, 2], kinds: wide}\n" \
    "  - {hf: \"{layer}.m\", gguf: \"blk.{layer}.m.weight\", shape: [3], kinds: mixer}\n" COMPUTE
static const char every[] = OTHER_KINDS("every: [period, offset, mixer, wide]");
static const char listed[] = OTHER_KINDS("listed: [some.wide, wide, mixer]");

START_TEST(kinds_by_period_and_by_list) {
    static const char *const configs[][2] = {
        {every, "\"num_hidden_layers\":3,\"period\":2,\"offset\":1"},
        {listed, "\"num_hidden_layers\":3,\"some\":{\"wide\":[1,3]}"}};
    for (size_t i = 0; i < 2; i++) {
        gguf_error err;
        rt_import *import;
        unit_ok(open_with(configs[i][0], configs[i][1], &import, &err), err);
        const gguf_kv *width = gguf_meta_find(rt_import_plan(import)->meta, "test.width");
        for (uint64_t layer = 0; layer < 3; layer++) {
            uint64_t value;
            ck_assert(rt_kv_number(width, layer, &value));
            ck_assert_uint_eq(value, layer == 1 ? 0 : 20);
        }
        rt_import_close(import);
    }
}
END_TEST

START_TEST(bad_periods_and_lists_are_refused) {
    static const struct {
        const char *description, *config;
        gguf_code code;
        const char *message;
    } rows[] = {
        {every, "\"num_hidden_layers\":3,\"period\":2,\"offset\":2", GGUF_E_SHAPE,
         "no layer of the period"},
        {every, "\"num_hidden_layers\":3,\"period\":2", GGUF_E_FORMAT, "'offset' is not"},
        {every, "\"period\":2,\"offset\":1", GGUF_E_TYPE, "'num_hidden_layers' is not"},
        {listed, "\"num_hidden_layers\":3", GGUF_E_MISSING, "'some.wide' is no list"},
        {listed, "\"num_hidden_layers\":3,\"some\":{\"wide\":[4]}", GGUF_E_SHAPE,
         "'some.wide' has what is no layer from 1 to 3"},
        {OTHER_KINDS("from: a, words: {a: wide, b: mixer}, listed: [a, wide, mixer]"),
         "\"num_hidden_layers\":3", GGUF_E_FORMAT, "'layer_kinds' takes"},
        {OTHER_KINDS("words: {a: wide, b: mixer}"), "\"num_hidden_layers\":3", GGUF_E_FORMAT,
         "'layer_kinds' takes"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        gguf_error err;
        rt_import *import;
        unit_fails(open_with(rows[i].description, rows[i].config, &import, &err), rows[i].code,
                   rows[i].message, err);
    }
}
END_TEST

static const struct {
    const char *config;
    gguf_code code;
    const char *message;
} bad_kinds[] = {
    {"\"num_hidden_layers\":3", GGUF_E_MISSING, "'kinds' is missing"},
    {"\"num_hidden_layers\":3,\"pattern\":\"*M\"", GGUF_E_SHAPE,
     "is for 2 layers, but there are 3"},
    {"\"num_hidden_layers\":3,\"pattern\":\"*MX\"", GGUF_E_UNSUPPORTED,
     "'pattern': layer 2 is 'X', which is not a known kind of layer"},
    {"\"num_hidden_layers\":3,\"kinds\":[\"wide\",5,\"wide\"]", GGUF_E_UNSUPPORTED,
     "'kinds': layer 1 is '5'"},
    {"\"num_hidden_layers\":3,\"kinds\":true", GGUF_E_TYPE, "not a list with a kind per layer"},
};

START_TEST(bad_kinds_are_refused) {
    gguf_error err;
    rt_import *import;
    unit_fails(open_kinds(bad_kinds[_i].config, &import, &err), bad_kinds[_i].code,
               bad_kinds[_i].message, err);
}
END_TEST

/* ---- kinds by a period ------------------------------------------------------------------- */

static const char periods[] =
    "architecture: test\n"
    "huggingface: [{class: T, model_type: t}]\n"
    "layer_kinds:\n"
    "  from: kinds\n"
    "  words: {m: mixer, w: wide}\n"
    "  otherwise: {count: num_hidden_layers, every: [interval, 4], is: wide, others: mixer}\n"
    "keys:\n"
    "  - {key: block_count, type: u32, from: num_hidden_layers}\n"
    "  - {key: width, type: u32, default: 5, kinds: wide}\n"
    "  - {key: turns, type: layers, from: bases, optional: true}\n"
    "tensors: [{hf: a, gguf: a.weight, shape: [2]}]\n" COMPUTE;

static const struct {
    const char *config;
    uint64_t widths[5];
} good_periods[] = {
    {"\"num_hidden_layers\":5", {0, 0, 0, 5, 0}},
    {"\"num_hidden_layers\":5,\"interval\":2,\"bases\":[7,0,7.0,0,7]", {0, 5, 0, 5, 0}},
    {"\"num_hidden_layers\":5,\"kinds\":\"wmmmw\"", {5, 0, 0, 0, 5}},
};

START_TEST(kinds_by_a_period) {
    gguf_error err;
    rt_import *import;
    unit_ok(open_with(periods, good_periods[_i].config, &import, &err), err);
    const gguf_kv *widths = gguf_meta_find(rt_import_plan(import)->meta, "test.width");
    for (uint64_t i = 0, value; i < 5; i++) {
        ck_assert(rt_kv_number(widths, i, &value));
        ck_assert_uint_eq(value, good_periods[_i].widths[i]);
    }
    rt_import_close(import);
}
END_TEST

START_TEST(bad_periods_are_refused) {
    static const char *const configs[] = {"\"layers\":5", "\"num_hidden_layers\":2,\"interval\":0",
                                          "\"num_hidden_layers\":2,\"bases\":[7,8]"};
    static const char *const messages[] = {"say no period", "say no period",
                                           "'bases' has numbers that differ between layers"};
    static const gguf_code codes[] = {GGUF_E_MISSING, GGUF_E_MISSING, GGUF_E_TYPE};
    gguf_error err;
    rt_import *import;
    unit_fails(open_with(periods, configs[_i], &import, &err), codes[_i], messages[_i], err);
}
END_TEST

/* ---- layers that differ ------------------------------------------------------------------ */

static const char differing[] =
    "architecture: test\n"
    "huggingface: [{class: T, model_type: t}]\n"
    "layer_kinds: {from: kinds, words: {0: wide, 1: mixer}}\n"
    "keys:\n"
    "  - {key: block_count, type: u32, default: 3}\n"
    "  - key: heads\n"
    "    type: u32\n"
    "    from: heads\n"
    "    except:\n"
    "      - {kinds: wide, from: 'by_layer.{wide}.heads'}\n"
    "      - {layers: [block_count - 1, block_count], when: twice, default: heads * 2}\n"
    "  - {key: rest, type: first, from: rest, default: 9}\n"
    "  - {key: limits, type: numbers, from: limits, optional: true}\n"
    "tensors:\n"
    "  - {hf: a, gguf: a.weight, shape: [2]}\n"
    "  - {fill: factor, gguf: 'blk.{layer}.f.weight', shape: [3], kinds: mixer}\n" COMPUTE;

static const struct {
    const char *config;
    uint64_t heads[3], rest;
} good_layers[] = {
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5", {2, 2, 2}, 9},
    {"\"kinds\":[1,1,0],\"heads\":2,\"factor\":5,\"by_layer\":{\"2\":{\"heads\":7}},"
     "\"rest\":\"3,4\"",
     {2, 2, 7},
     3},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"by_layer\":[{\"heads\":7}],\"twice\":true,"
     "\"rest\":[4,5],\"limits\":[0.5,null,7]",
     {7, 2, 4},
     4},
    {"\"kinds\":[0,1,0],\"heads\":[3,4,5],\"factor\":5,\"rest\":6", {3, 4, 5}, 6},
};

static uint64_t number_of(const gguf_meta *meta, const char *key, uint64_t i) {
    uint64_t value = 0;
    const gguf_kv *kv = gguf_meta_find(meta, key);
    ck_assert(!kv || rt_kv_number(kv, i, &value));
    return value;
}

START_TEST(layers_differ) {
    gguf_error err;
    rt_import *import;
    unit_ok(open_with(differing, good_layers[_i].config, &import, &err), err);
    const quant_plan *plan = rt_import_plan(import);
    for (uint64_t i = 0; i < 3; i++)
        ck_assert_uint_eq(number_of(plan->meta, "test.heads", i), good_layers[_i].heads[i]);
    ck_assert_uint_eq(number_of(plan->meta, "test.rest", 0), good_layers[_i].rest);
    const gguf_kv *limits = gguf_meta_find(plan->meta, "test.limits");
    ck_assert(!limits || (limits->elem_type == GGUF_VALUE_F32 && limits->count == 3));
    const quant_plan_tensor *filled = &plan->tensors[plan->n_tensors - 1];
    ck_assert_str_eq(filled->out.name.ptr, "blk.1.f.weight");
    ck_assert_uint_eq(filled->out.dims[0], 3);
    ck_assert_float_eq(((const float *)filled->source.memory)[2], 5);
    rt_import_close(import);
}
END_TEST

static const struct {
    const char *config, *message;
} bad_layers[] = {
    {"\"kinds\":[0,1,0],\"heads\":2", "there is no number 'factor'"},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"rest\":\"x\"", "'rest' does not begin with a"},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"limits\":[true]", "'limits' is not a list of n"},
    {"\"kinds\":[0,1,0],\"heads\":2,\"factor\":5,\"by_layer\":{\"0\":{\"heads\":-1}}",
     "'by_layer.{wide}.heads' is not a count"},
};

START_TEST(bad_layers_are_refused) {
    gguf_error err;
    rt_import *import;
    gguf_code code = open_with(differing, bad_layers[_i].config, &import, &err);
    unit_fails(code, code, bad_layers[_i].message, err);
    ck_assert_int_ne(code, GGUF_OK);
}
END_TEST

/* ---- keys that are lists, and lengths of lists ----------------------------------------------- */

static const char lists[] =
    "architecture: test\n"
    "huggingface: [{class: T, model_type: t}]\n"
    "keys:\n"
    "  - {key: block_count, type: u32, default: 1}\n"
    "  - {key: sections, type: counts, from: sections, size: 4}\n"
    "  - {key: dense, type: length, from: layers, is: dense, default: 7}\n"
    "  - {key: all, type: length, from: all, optional: true}\n"
    "  - {key: labels, type: labels, from: labels, optional: true}\n"
    "  - {key: same, type: u32, from: same, default: 1}\n"
    "  - {key: turns, type: bool, from: turns, map: {no: 0, yes: 1}, default: false}\n"
    "tensors: [{hf: a, gguf: a.weight, shape: [2]}]\n" COMPUTE;

static const struct {
    const char *config;
    uint64_t sections[4], dense, all, same;
    bool turns;
} good_lists[] = {
    {"\"sections\":[3,2,1]", {3, 2, 1, 0}, 7, 0, 1, false},
    {"\"sections\":[1,2,3,4],\"layers\":[\"dense\",\"sparse\",\"dense\"],\"all\":[5,6],"
     "\"same\":[4,4],\"turns\":\"yes\"",
     {1, 2, 3, 4},
     2,
     2,
     4,
     true},
    {"\"sections\":[9],\"layers\":3,\"all\":\"M*M\",\"same\":6,\"turns\":\"no\"",
     {9, 0, 0, 0},
     3,
     3,
     6,
     false},
};

START_TEST(lists_become_keys) {
    gguf_error err;
    rt_import *import;
    bool turns;
    unit_ok(open_with(lists, good_lists[_i].config, &import, &err), err);
    const gguf_meta *meta = rt_import_plan(import)->meta;
    ck_assert_uint_eq(gguf_meta_find(meta, "test.sections")->count, 4);
    for (uint64_t i = 0; i < 4; i++)
        ck_assert_uint_eq(number_of(meta, "test.sections", i), good_lists[_i].sections[i]);
    ck_assert_uint_eq(number_of(meta, "test.dense", 0), good_lists[_i].dense);
    ck_assert_uint_eq(number_of(meta, "test.all", 0), good_lists[_i].all);
    ck_assert_uint_eq(number_of(meta, "test.same", 0), good_lists[_i].same);
    ck_assert(gguf_kv_bool(gguf_meta_find(meta, "test.turns"), &turns));
    ck_assert_int_eq(turns, good_lists[_i].turns);
    rt_import_close(import);
}
END_TEST

START_TEST(labels_come_in_order) {
    gguf_error err;
    rt_import *import;
    gguf_str label;
    unit_ok(
        open_with(lists, "\"sections\":[1],\"labels\":{\"1\":\"yes\",\"0\":\"no\"}", &import, &err),
        err);
    const gguf_kv *labels = gguf_meta_find(rt_import_plan(import)->meta, "test.labels");
    ck_assert(labels && labels->elem_type == GGUF_VALUE_STRING && labels->count == 2);
    gguf_kv_iter it = {.kv = labels};
    ck_assert(gguf_kv_next_str(&it, &label) && gguf_str_eq(label, "no"));
    ck_assert(gguf_kv_next_str(&it, &label) && gguf_str_eq(label, "yes"));
    rt_import_close(import);
}
END_TEST

static const struct {
    const char *config, *message;
} bad_lists[] = {
    {"\"sections\":[]", "'sections' is not a short list of counts"},
    {"\"sections\":5", "'sections' is not a short list of counts"},
    {"\"sections\":[1,-2]", "'sections' is not a short list of counts"},
    {"\"sections\":[1,4294967296]", "'sections' is not a short list of counts"},
    {"\"sections\":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17]", "'sections' is not a short"},
    {"\"sections\":[1],\"layers\":[]", "'layers' is neither a list nor a count"},
    {"\"sections\":[1],\"layers\":true", "'layers' is neither a list nor a count"},
    {"\"sections\":[1],\"same\":[4,5]", "'same' is not a 32-bit number"},
    {"\"sections\":[1],\"same\":[]", "'same' is not a 32-bit number"},
    {"\"sections\":[1],\"labels\":{}", "'labels' is not a map of 0, 1, ... to texts"},
    {"\"sections\":[1],\"labels\":{\"0\":\"no\",\"2\":\"yes\"}", "'labels' is not a map"},
    {"\"sections\":[1],\"labels\":{\"0\":5}", "'labels' is not a map"},
    {"\"sections\":[1],\"turns\":\"maybe\"", "'turns' has a value that is not known"},
};

START_TEST(bad_lists_are_refused) {
    gguf_error err;
    rt_import *import;
    unit_fails(open_with(lists, bad_lists[_i].config, &import, &err), GGUF_E_TYPE,
               bad_lists[_i].message, err);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("descriptions");
    TCase *tc = tcase_create("all");
    tcase_set_timeout(tc, 120);
    tcase_add_loop_test(tc, entries_are_inherited, 0, (int)(sizeof likes / sizeof likes[0]));
    tcase_add_test(tc, flags_and_lists_are_inherited_one_by_one);
    tcase_add_loop_test(tc, wrong_descriptions_say_where, 0, (int)(sizeof wrong / sizeof wrong[0]));
    tcase_add_test(tc, expressions_are_read_from_left_to_right);
    tcase_add_test(tc, layers_have_kinds);
    tcase_add_test(tc, kinds_by_period_and_by_list);
    tcase_add_test(tc, bad_periods_and_lists_are_refused);
    tcase_add_loop_test(tc, bad_kinds_are_refused, 0,
                        (int)(sizeof bad_kinds / sizeof bad_kinds[0]));
    tcase_add_loop_test(tc, lists_become_keys, 0, (int)(sizeof good_lists / sizeof good_lists[0]));
    tcase_add_test(tc, labels_come_in_order);
    tcase_add_loop_test(tc, kinds_by_a_period, 0,
                        (int)(sizeof good_periods / sizeof good_periods[0]));
    tcase_add_loop_test(tc, bad_periods_are_refused, 0, 3);
    tcase_add_loop_test(tc, layers_differ, 0, (int)(sizeof good_layers / sizeof good_layers[0]));
    tcase_add_loop_test(tc, bad_layers_are_refused, 0,
                        (int)(sizeof bad_layers / sizeof bad_layers[0]));
    tcase_add_loop_test(tc, bad_lists_are_refused, 0,
                        (int)(sizeof bad_lists / sizeof bad_lists[0]));
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
