/* The table of styles: YAML into pieces of patterns. */
#include "runtime/chat/tool_style.h"

#include "libgguf/embed.h"
#include "libgguf/yaml.h"

#include <stdlib.h>
#include <string.h>

extern const gguf_embedded rt_builtin_tools[];

struct rt_tool_styles {
    gguf_yaml_doc *doc; /* has all texts */
    const gguf_yaml *reasoning;
    rt_tool_style *styles;
    size_t n;
};

/* ---- patterns ---------------------------------------------------------------------------- */

static const struct {
    const char *name;
    tool_slot slot;
} slots[] = {{"{name}", TOOL_NAME},
             {"{id}", TOOL_ID},
             {"{arguments}", TOOL_ARGUMENTS},
             {"{object}", TOOL_OBJECT},
             {"{parameters}", TOOL_PARAMETERS},
             {"{keywords}", TOOL_KEYWORDS},
             {"{bare}", TOOL_BARE},
             {"{any}", TOOL_ANY},
             {"{key}", TOOL_KEY},
             {"{type}", TOOL_TYPE},
             {"{value}", TOOL_VALUE}};

static size_t slot_at(const char *text, tool_slot *slot) {
    for (size_t i = 0; i < sizeof slots / sizeof slots[0]; i++) {
        size_t n = strlen(slots[i].name);
        if (strncmp(text, slots[i].name, n) != 0) continue;
        *slot = slots[i].slot;
        return n;
    }
    return 0;
}

/* One newline beside a value is not part of it. */
static void trim_values(tool_pattern *p) {
    for (size_t i = 0; i < p->n; i++) {
        if (p->pieces[i].slot != TOOL_VALUE) continue;
        tool_piece *before = i ? &p->pieces[i - 1] : NULL, *behind = &p->pieces[i + 1];
        if (before && before->text.len && before->text.ptr[before->text.len - 1] == '\n') {
            before->text.len--;
            p->pieces[i].newline_before = true;
        }
        if (i + 1 < p->n && behind->text.len && *behind->text.ptr == '\n') {
            behind->text.ptr++, behind->text.len--;
            p->pieces[i].newline_behind = true;
        }
    }
}

/* Slots whose end is found by what follows them need a text there. */
static bool has_end(const tool_pattern *p, size_t i) {
    tool_slot slot = p->pieces[i].slot;
    if (slot != TOOL_KEY && slot != TOOL_VALUE && slot != TOOL_ANY && slot != TOOL_TYPE)
        return true;
    return i + 1 < p->n && p->pieces[i + 1].slot == TOOL_TEXT && p->pieces[i + 1].text.len;
}

static gguf_code read_pattern(const gguf_yaml_doc *doc, const gguf_yaml *node, tool_pattern *p,
                              gguf_error *err) {
    const char *at = node->text;
    tool_slot slot;
    while (*at) {
        size_t n = slot_at(at, &slot);
        if (p->n == TOOL_MAX_PIECES)
            return gguf_yaml_fail(doc, node, err, "a pattern has more than %d parts",
                                  TOOL_MAX_PIECES);
        tool_piece *piece = &p->pieces[p->n++];
        if (n) {
            *piece = (tool_piece){.slot = slot};
        } else {
            while (at[n] && !slot_at(at + n, &slot)) n++;
            *piece = (tool_piece){.slot = TOOL_TEXT, .text = {at, n}};
        }
        at += n;
    }
    trim_values(p);
    for (size_t i = 0; i < p->n; i++)
        if (!has_end(p, i))
            return gguf_yaml_fail(doc, node, err, "a slot needs a text behind it that ends it");
    return GGUF_OK;
}

/* ---- styles ------------------------------------------------------------------------------ */

static const gguf_yaml_field style_fields[] = {
    {.name = "name", .form = GGUF_YAML_TEXT, .needed = true},
    {.name = "families", .form = GGUF_YAML_TEXT, .needed = true},
    {.name = "call", .form = GGUF_YAML_TEXT, .needed = true},
    {.name = "also", .form = GGUF_YAML_TEXTS, .most = TOOL_MAX_ALSO},
    {.name = "drop", .form = GGUF_YAML_TEXTS, .most = TOOL_MAX_ALSO},
    {.name = "parameter", .form = GGUF_YAML_TEXT},
    {.name = "item", .form = GGUF_YAML_TEXT},
    {.name = "section_open", .form = GGUF_YAML_TEXT},
    {.name = "section_close", .form = GGUF_YAML_TEXT},
    {.name = "separator", .form = GGUF_YAML_TEXT},
    {.name = "name_key", .form = GGUF_YAML_TEXT},
    {.name = "arguments_key", .form = GGUF_YAML_TEXT},
    {.name = "id_key", .form = GGUF_YAML_TEXT},
    {.name = "id_form", .form = GGUF_YAML_TEXT},
    {.name = "id_first", .form = GGUF_YAML_FLAG},
    {.name = "quote", .form = GGUF_YAML_TEXT},
    {.name = "start", .form = GGUF_YAML_FLAG},
    {.name = "single", .form = GGUF_YAML_FLAG},
    {0}};

static const gguf_yaml_field reasoning_fields[] = {
    {.name = "families", .form = GGUF_YAML_TEXT, .needed = true},
    {.name = "open", .form = GGUF_YAML_TEXT, .needed = true},
    {.name = "close", .form = GGUF_YAML_TEXT, .needed = true},
    {.name = "drop", .form = GGUF_YAML_TEXTS, .most = RT_MAX_DROP},
    {.name = "spelled", .form = GGUF_YAML_TEXTS},
    {0}};

static const gguf_yaml_field fields[] = {{.name = "reasoning",
                                          .form = GGUF_YAML_RECORDS,
                                          .fields = reasoning_fields,
                                          .what = "markers of reasoning"},
                                         {.name = "styles",
                                          .form = GGUF_YAML_RECORDS,
                                          .needed = true,
                                          .fields = style_fields,
                                          .what = "a style"},
                                         {0}};

static gguf_str text_of(const gguf_yaml *node, const char *key) {
    return gguf_str_of(gguf_yaml_text(node, key, ""));
}

static bool flag_of(const gguf_yaml *node, const char *key) {
    bool flag = false;
    const gguf_yaml *value = gguf_yaml_get(node, key);
    return value && gguf_yaml_bool(value, &flag) && flag;
}

/* Everything that a style's patterns spell, one after the other. */
static bool make_marks(rt_tool_style *s) {
    gguf_dynbuf out;
    gguf_dynbuf_init(&out, SIZE_MAX / 4);
    const gguf_str more[] = {s->section_open, s->section_close, s->separator, s->quote};
    for (size_t i = 0; i < s->n_calls; i++)
        for (size_t j = 0; j < s->calls[i].n; j++)
            gguf_dynbuf_put(&out, s->calls[i].pieces[j].text.ptr, s->calls[i].pieces[j].text.len);
    for (size_t j = 0; j < s->parameter.n; j++)
        gguf_dynbuf_put(&out, s->parameter.pieces[j].text.ptr, s->parameter.pieces[j].text.len);
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        gguf_dynbuf_put(&out, "\n", 1);
        gguf_dynbuf_put(&out, more[i].ptr, more[i].len);
    }
    for (size_t i = 0; i < s->n_drop; i++) gguf_dynbuf_put(&out, s->drop[i].ptr, s->drop[i].len);
    gguf_dynbuf_put(&out, "", 1);
    s->marks = out.code ? NULL : (char *)out.data;
    if (out.code) gguf_dynbuf_clear(&out);
    return s->marks != NULL;
}

static gguf_code read_style(const gguf_yaml_doc *doc, const gguf_yaml *node, rt_tool_style *s,
                            gguf_error *err) {
    const gguf_yaml *parameter = gguf_yaml_get(node, "parameter"),
                    *also = gguf_yaml_get(node, "also"), *drop = gguf_yaml_get(node, "drop");
    *s = (rt_tool_style){.name = gguf_yaml_text(node, "name", ""),
                         .families = gguf_yaml_text(node, "families", ""),
                         .item = gguf_yaml_text(node, "item", NULL),
                         .section_open = text_of(node, "section_open"),
                         .section_close = text_of(node, "section_close"),
                         .separator = text_of(node, "separator"),
                         .name_key = gguf_yaml_text(node, "name_key", "name"),
                         .arguments_key = gguf_yaml_text(node, "arguments_key", "arguments"),
                         .id_key = gguf_yaml_text(node, "id_key", NULL),
                         .id_form = gguf_yaml_text(node, "id_form", "[a-zA-Z0-9]{9}"),
                         .id_first = flag_of(node, "id_first"),
                         .quote = text_of(node, "quote"),
                         .start = flag_of(node, "start"),
                         .single = flag_of(node, "single")};
    gguf_code code = read_pattern(doc, gguf_yaml_get(node, "call"), &s->calls[s->n_calls++], err);
    for (const gguf_yaml *p = also ? also->first : NULL; p && !code; p = p->next)
        code = read_pattern(doc, p, &s->calls[s->n_calls++], err);
    if (!code && parameter) code = read_pattern(doc, parameter, &s->parameter, err);
    for (const gguf_yaml *d = drop ? drop->first : NULL; d; d = d->next)
        s->drop[s->n_drop++] = gguf_str_of(d->text);
    const tool_piece *first = s->calls[0].pieces, *inner = s->parameter.pieces;
    if (!code && s->item && (s->parameter.n < 2 || inner[0].slot || inner[1].slot != TOOL_KEY))
        code = gguf_yaml_fail(doc, node, err,
                              "with 'item' a 'parameter' begins with a text and its key");
    if (!code && s->calls[0].n == 0) code = gguf_yaml_fail(doc, node, err, "'call' is empty");
    if (!code && !s->section_open.len && !s->start && first->slot != TOOL_TEXT)
        code =
            gguf_yaml_fail(doc, node, err, "calls must begin with a text, or with 'start: true'");
    if (!code && !make_marks(s)) code = gguf_fail_memory(err);
    return code;
}

gguf_code rt_tool_styles_parse(const char *text, size_t n, const char *file, rt_tool_styles **out,
                               gguf_error *err) {
    rt_tool_styles *styles = *out = calloc(1, sizeof *styles);
    if (!styles) return gguf_fail_memory(err);
    gguf_code code = gguf_yaml_parse(text, n, file, &styles->doc, err);
    const gguf_yaml *root = code ? NULL : gguf_yaml_root(styles->doc), *list = NULL;
    if (!code) code = gguf_yaml_check(styles->doc, root, fields, "the table of tools", err);
    if (!code) {
        list = gguf_yaml_get(root, "styles");
        styles->reasoning = gguf_yaml_get(root, "reasoning");
        styles->styles = calloc(list->n_children + 1, sizeof *styles->styles);
        if (!styles->styles) code = gguf_fail_memory(err);
    }
    for (const gguf_yaml *node = list ? list->first : NULL; node && !code; node = node->next)
        code = read_style(styles->doc, node, &styles->styles[styles->n++], err);
    if (!code) return GGUF_OK;
    rt_tool_styles_free(styles);
    *out = NULL;
    return code;
}

gguf_code rt_tool_styles_new(rt_tool_styles **out, gguf_error *err) {
    return rt_tool_styles_parse(rt_builtin_tools[0].text, rt_builtin_tools[0].n_bytes,
                                "configs/tools.yaml", out, err);
}

void rt_tool_styles_free(rt_tool_styles *styles) {
    if (!styles) return;
    for (size_t i = 0; i < styles->n; i++) free(styles->styles[i].marks);
    free(styles->styles);
    gguf_yaml_free(styles->doc);
    free(styles);
}

size_t rt_tool_styles_n(const rt_tool_styles *styles) {
    return styles->n;
}

const rt_tool_style *rt_tool_styles_at(const rt_tool_styles *styles, size_t i) {
    return &styles->styles[i];
}

const rt_tool_style *rt_tool_styles_find(const rt_tool_styles *styles, const char *name) {
    for (size_t i = 0; i < styles->n; i++)
        if (strcmp(styles->styles[i].name, name) == 0) return &styles->styles[i];
    return NULL;
}

/* Whether a template has the texts that tell its markers: usually the one that closes. */
static bool spells(gguf_str source, const gguf_yaml *node) {
    const gguf_yaml *texts = gguf_yaml_get(node, "spelled");
    const char *close = gguf_yaml_text(node, "close", "");
    if (!texts) return *close && memmem(source.ptr, source.len, close, strlen(close));
    bool all = true;
    for (const gguf_yaml *t = texts->first; t && all; t = t->next)
        all = memmem(source.ptr, source.len, t->text, strlen(t->text));
    return all;
}

rt_reasoning_markers rt_tool_styles_reasoning(const rt_tool_styles *styles, gguf_str source) {
    rt_reasoning_markers m = {0};
    const gguf_yaml *node = styles->reasoning ? styles->reasoning->first : NULL;
    while (node && !spells(source, node)) node = node->next;
    if (!node) return m;
    m.open = gguf_yaml_text(node, "open", "");
    m.close = gguf_yaml_text(node, "close", "");
    const gguf_yaml *drop = gguf_yaml_get(node, "drop");
    for (const gguf_yaml *d = drop ? drop->first : NULL; d; d = d->next)
        m.drop[m.n_drop++] = d->text;
    return m;
}

const char *rt_tool_style_name(const rt_tool_style *style) {
    return style->name;
}

const char *rt_tool_style_families(const rt_tool_style *style) {
    return style->families;
}

gguf_str rt_tool_style_marks(const rt_tool_style *style) {
    return gguf_str_of(style->marks);
}

gguf_str tool_opening(const rt_tool_style *style) {
    const tool_piece *first = style->calls[0].pieces;
    bool alone = !style->section_open.len && first->slot == TOOL_TEXT;
    return alone && !rt_tool_style_is_channel(style) ? first->text : (gguf_str){"", 0};
}

bool tool_begins_with_name(const rt_tool_style *style) {
    return style->start && !style->section_open.len && style->calls[0].pieces[0].slot == TOOL_NAME;
}

gguf_str rt_tool_style_begun(const rt_tool_style *style, const rt_tokenizer *tok,
                             const int32_t *prompt, size_t n) {
    gguf_str opening = tool_opening(style);
    return rt_tokens_end_with(tok, prompt, n, opening) ? opening : (gguf_str){"", 0};
}

bool rt_tool_style_is_channel(const rt_tool_style *style) {
    gguf_str first = style->calls[0].pieces[0].text;
    return first.len > 11 && memcmp(first.ptr, "<|channel|>", 11) == 0;
}
