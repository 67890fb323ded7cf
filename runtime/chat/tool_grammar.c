/* The grammar of answers with calls: what is free text, and calls as the style's pattern writes
 * them, with the tools' names and what their schemas admit. */
#include "runtime/chat/grammar_channels.h"
#include "runtime/chat/grammar_internal.h"
#include "runtime/chat/grammar_schema.h"
#include "runtime/chat/tool_style.h"

#include "libgguf/json.h"
#include "runtime/tokenizer/utf8.h"

#include <stdlib.h>
#include <string.h>

#define MAX_MARK 128

typedef struct writer {
    rt_grammar_builder b;
    const rt_tool_style *style;
    const json_t *function; /* the tool at work, */
    const json_t *schema;   /* and that of its arguments, as it is enforced */
    rt_expr free_text;      /* any text up to free_end; made once */
    char free_end[64];
} writer;

static rt_expr text_of(writer *w, gguf_str text) {
    return rt_expr_text(&w->b, text.ptr, text.len);
}

static rt_expr seq_of(writer *w, const rt_expr *parts, size_t n) {
    rt_expr seq = rt_expr_seq(&w->b);
    for (size_t i = 0; i < n; i++) rt_expr_add(&w->b, seq, parts[i]);
    return seq;
}
#define SEQ(w, ...)                           \
    seq_of(w, (const rt_expr[]){__VA_ARGS__}, \
           sizeof((const rt_expr[]){__VA_ARGS__}) / sizeof(rt_expr))

static rt_expr either(writer *w, rt_expr a, rt_expr b) {
    rt_expr any = rt_expr_alt(&w->b);
    rt_expr_add(&w->b, any, a);
    rt_expr_add(&w->b, any, b);
    return any;
}

static rt_expr optional(writer *w, rt_expr part) {
    return rt_expr_repeat(&w->b, part, 0, 1);
}

static rt_expr regex(writer *w, const char *pattern) {
    return rt_regex_expr(&w->b, pattern, strlen(pattern), false, true);
}

/* ---- free text --------------------------------------------------------------------------- */

/* A mark as characters. */
typedef struct mark {
    uint32_t chars[MAX_MARK];
    size_t n;
} mark_chars;

static mark_chars chars_of(gguf_str text) {
    mark_chars m = {0};
    for (size_t at = 0, len; at < text.len && m.n < MAX_MARK; at += len)
        m.chars[m.n++] = rt_utf8_decode((const unsigned char *)text.ptr + at, text.len - at, &len);
    return m;
}

/* How much of the mark a text ends with that ended with n of its characters before this one. */
static size_t matched(const mark_chars *m, size_t n, uint32_t ch) {
    for (size_t k = n + 1; k > 0; k--)
        if (m->chars[k - 1] == ch &&
            memcmp(m->chars, m->chars + n + 1 - k, (k - 1) * sizeof *m->chars) == 0)
            return k;
    return 0;
}

static int by_value(const void *a, const void *b) {
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return x < y ? -1 : x > y;
}

/* The characters of a mark, each once and in order; and the ranges of all others. */
static size_t letters_of(const mark_chars *m, uint32_t *letters, rt_char_range *others,
                         size_t *n_others) {
    uint32_t sorted[MAX_MARK], from = 1;
    size_t n = 0;
    memcpy(sorted, m->chars, m->n * sizeof *sorted);
    qsort(sorted, m->n, sizeof *sorted, by_value);
    *n_others = 0;
    for (size_t i = 0; i < m->n; i++) {
        if (i && sorted[i] == sorted[i - 1]) continue;
        letters[n++] = sorted[i];
        if (sorted[i] > from) others[(*n_others)++] = (rt_char_range){from, sorted[i] - 1};
        from = sorted[i] + 1;
    }
    others[(*n_others)++] = (rt_char_range){from, RT_MAX_CODE_POINT};
    return n;
}

/* Text up to and with the first mark; or text without it. A rule for each part of the mark that the
 * text may end with. */
static rt_expr text_to(writer *w, gguf_str text, bool through) {
    rt_grammar_builder *b = &w->b;
    mark_chars m = chars_of(text);
    uint32_t rules[MAX_MARK] = {0}, letters[MAX_MARK];
    rt_char_range others[MAX_MARK + 1];
    size_t n_others, n_letters = letters_of(&m, letters, others, &n_others);
    for (size_t i = 0; i < m.n; i++) rules[i] = rt_rule_new(b, NULL, 0);
    for (size_t i = 0; i < m.n && !b->code; i++) {
        rt_expr any = rt_expr_alt(b);
        if (!through) rt_expr_add(b, any, 0);
        for (size_t j = 0; j < n_letters; j++) {
            rt_expr letter = rt_expr_class(b, &(rt_char_range){letters[j], letters[j]}, 1);
            size_t next = matched(&m, i, letters[j]);
            if (next < m.n)
                rt_expr_add(b, any, SEQ(w, letter, rt_expr_rule(b, rules[next])));
            else if (through)
                rt_expr_add(b, any, letter);
        }
        rt_expr_add(b, any, SEQ(w, rt_expr_class(b, others, n_others), rt_expr_rule(b, rules[0])));
        rt_rule_define(b, rules[i], any);
    }
    return rt_expr_rule(b, rules[0]);
}

/* Text that does not begin with a mark of plain characters. */
static rt_expr not_beginning(writer *w, const char *text) {
    static const rt_char_range all[] = {{1, RT_MAX_CODE_POINT}};
    rt_grammar_builder *b = &w->b;
    rt_expr rest = rt_expr_as_rule(
        &w->b, rt_expr_repeat(b, rt_expr_class(b, all, 1), 0, RT_GRAMMAR_UNLIMITED));
    rt_expr any = rt_expr_alt(b);
    for (size_t i = 0; text[i]; i++) {
        uint32_t ch = (unsigned char)text[i];
        rt_char_range others[] = {{1, ch - 1}, {ch + 1, RT_MAX_CODE_POINT}};
        rt_expr same = rt_expr_text(b, text, i);
        rt_expr_add(b, any, same);
        rt_expr_add(b, any, SEQ(w, same, rt_expr_class(b, others, 2), rest));
    }
    return any;
}

/* Some characters of ASCII. */
typedef struct char_set {
    bool has[128];
} char_set;

static void add_chars(char_set *set, const char *chars) {
    for (; *chars; chars++) set->has[(unsigned char)*chars & 127] = true;
}

/* Any other character, and any text behind it. */
static rt_expr going_on(writer *w, const char_set *except) {
    static const rt_char_range all[] = {{1, RT_MAX_CODE_POINT}};
    rt_grammar_builder *b = &w->b;
    rt_char_range others[65];
    size_t n = 0;
    for (uint32_t from = 1; from < 128;) {
        uint32_t end = from;
        while (end < 128 && !except->has[end]) end++;
        if (end == 128) end = RT_MAX_CODE_POINT + 1;
        if (end > from) others[n++] = (rt_char_range){from, end - 1};
        from = end + 1;
    }
    rt_expr rest = rt_expr_repeat(b, rt_expr_class(b, all, 1), 0, RT_GRAMMAR_UNLIMITED);
    return SEQ(w, rt_expr_class(b, others, n), rest);
}

#define SPACES " \n\r\t"

/* Behind the name of a tool: no object, also not behind white space. */
static rt_expr behind_name(writer *w, char_set *next) {
    char_set brackets = {0};
    add_chars(&brackets, SPACES "{");
    add_chars(next, SPACES "{");
    rt_expr spaces = rt_expr_repeat(&w->b, regex(w, "[" SPACES "]"), 1, RT_GRAMMAR_UNLIMITED);
    return SEQ(w, spaces, optional(w, going_on(w, &brackets)));
}

/* Text that does not go on as one of these names and an object do. The names are in order, and have
 * the first n bytes in common. */
static rt_expr not_naming(writer *w, const char *const *names, size_t n_names, size_t n) {
    rt_expr any = rt_expr_alt(&w->b);
    char_set next = {0};
    rt_expr_add(&w->b, any, 0);
    if (n == 0) add_chars(&next, SPACES);
    for (size_t i = 0, end; i < n_names; i = end) {
        const char first[2] = {names[i][n], '\0'};
        for (end = i + 1; end < n_names && names[end][n] == *first;) end++;
        rt_expr named =
            *first ? SEQ(w, rt_expr_text(&w->b, first, 1), not_naming(w, names + i, end - i, n + 1))
                   : behind_name(w, &next);
        add_chars(&next, first);
        rt_expr_add(&w->b, any, named);
    }
    rt_expr_add(&w->b, any, going_on(w, &next));
    return any;
}

/* ---- arguments --------------------------------------------------------------------------- */

static rt_expr value_of(writer *w, const json_t *schema) {
    return rt_expr_as_rule(&w->b, rt_schema_expr(&w->b, schema, w->schema));
}

/* Which of an object's members must be there. */
static bool is_required(const json_t *schema, const char *name) {
    const json_t *entry;
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i, entry) {
        const char *own = json_string_value(entry);
        if (own && strcmp(own, name) == 0) return true;
    }
    return false;
}

/* The end of a slot: the text behind it up to its first white space, as reading has it. */
static gguf_str end_of(gguf_str text) {
    size_t n = 0;
    while (n < text.len && text.ptr[n] != ' ' && text.ptr[n] != '\n') n++;
    return (gguf_str){text.ptr, n ? n : text.len};
}

/* Most texts end alike. */
static rt_expr free_text(writer *w, gguf_str end) {
    if (w->free_text && gguf_str_eq(end, w->free_end)) return w->free_text;
    rt_expr text = text_to(w, end, true);
    if (end.len >= sizeof w->free_end) return text;
    memcpy(w->free_end, end.ptr, end.len);
    w->free_end[end.len] = '\0';
    return w->free_text = text;
}

/* A text as it is, one of those of the schema where it lists them, and what ends it. */
static rt_expr raw_text(writer *w, const json_t *schema, gguf_str end) {
    rt_grammar_builder *b = &w->b;
    const json_t *values = json_object_get(schema, "enum"), *value;
    const json_t *pattern = json_object_get(schema, "pattern");
    const json_t *one = json_object_get(schema, "const");
    size_t i;
    if (json_is_string(pattern))
        return SEQ(
            w,
            rt_regex_expr(b, json_string_value(pattern), json_string_length(pattern), false, false),
            text_of(w, end));
    if (!json_is_array(values) && !json_is_string(one)) return free_text(w, end);
    rt_expr any = rt_expr_alt(b);
    if (json_is_string(one))
        rt_expr_add(b, any, rt_expr_text(b, json_string_value(one), json_string_length(one)));
    json_array_foreach(values, i, value) if (json_is_string(value) && !one)
        rt_expr_add(b, any, rt_expr_text(b, json_string_value(value), json_string_length(value)));
    return SEQ(w, any, text_of(w, end));
}

/* What a parameter's type is called: where the pattern asks whether it is a text, or its name. */
static gguf_str type_name(const tool_pattern *p, size_t i, const json_t *schema) {
    gguf_str before = i ? p->pieces[i - 1].text : (gguf_str){0};
    bool is_text = tool_is_text(schema);
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (before.len > 8 && memcmp(before.ptr + before.len - 8, "string=\"", 8) == 0)
        return gguf_str_of(is_text ? "true" : "false");
    return gguf_str_of(is_text ? "string" : type ? type : "object");
}

static rt_expr inner_value(writer *w, const json_t *schema);

static rt_expr parameter_of(writer *w, const char *key, const json_t *schema) {
    const tool_pattern *p = &w->style->parameter;
    rt_grammar_builder *b = &w->b;
    rt_expr seq = rt_expr_seq(b);
    gguf_dynbuf end;
    gguf_dynbuf_init(&end, SIZE_MAX / 4);
    for (size_t i = 0; i < p->n; i++) {
        const tool_piece *piece = &p->pieces[i];
        if (piece->slot == TOOL_TEXT) {
            rt_expr_add(b, seq, text_of(w, piece->text));
        } else if (piece->slot == TOOL_KEY) {
            rt_expr_add(b, seq, rt_expr_text(b, key, strlen(key)));
        } else if (piece->slot == TOOL_TYPE) {
            rt_expr_add(b, seq, text_of(w, type_name(p, i, schema)));
        } else {
            if (piece->newline_before) rt_expr_add(b, seq, rt_expr_text(b, "\n", 1));
            if (!tool_is_text(schema)) {
                rt_expr_add(b, seq, inner_value(w, schema));
                if (piece->newline_behind) rt_expr_add(b, seq, rt_expr_text(b, "\n", 1));
                continue;
            }
            /* The value goes up to what ends it, which the texts behind it go on from. */
            gguf_str behind = p->pieces[i + 1].text, mark = end_of(behind);
            end.len = 0;
            gguf_dynbuf_put(&end, mark.ptr, mark.len);
            bool listed = json_object_get(schema, "enum") || json_object_get(schema, "const") ||
                          json_object_get(schema, "pattern");
            if (listed && piece->newline_behind) {
                gguf_dynbuf_put(&end, "\n", 1);
                memmove(end.data + 1, end.data, end.len - 1);
                *end.data = '\n';
            }
            rt_expr_add(b, seq, raw_text(w, schema, (gguf_str){(const char *)end.data, end.len}));
            rt_expr_add(b, seq, rt_expr_text(b, behind.ptr + mark.len, behind.len - mark.len));
            i++;
        }
    }
    gguf_dynbuf_clear(&end);
    return rt_expr_as_rule(&w->b, seq);
}

/* A value in Python's or Gemma's form. Inside lists and objects it is JSON, or between the style's
 * quotes any text. */
static rt_expr literal_of(writer *w, const json_t *schema) {
    rt_grammar_builder *b = &w->b;
    gguf_str quote = w->style->quote;
    const char *type = json_string_value(json_object_get(schema, "type"));
    if (quote.len && tool_is_text(schema))
        return SEQ(w, text_of(w, quote), raw_text(w, schema, quote));
    if (!quote.len && type && strcmp(type, "boolean") == 0 && !json_object_get(schema, "enum"))
        return either(w, rt_expr_text(b, "True", 4), rt_expr_text(b, "False", 5));
    return value_of(w, schema);
}

static rt_expr member_of(writer *w, const char *key, const json_t *schema) {
    if (w->style->parameter.n) return parameter_of(w, key, schema);
    const char *mark = w->style->quote.len ? ":" : "=";
    return rt_expr_as_rule(&w->b, SEQ(w, rt_expr_text(&w->b, key, strlen(key)),
                                      rt_expr_text(&w->b, mark, 1), literal_of(w, schema)));
}

/* The members of an object in the order of its schema, `comma` between them; see grammar_object.c.
 */
static rt_expr members(writer *w, const json_t *object, gguf_str comma) {
    rt_grammar_builder *b = &w->b;
    const json_t *properties = json_object_get(object, "properties");
    const char *key;
    json_t *value;
    size_t n = 0;
    const char **keys = malloc((json_object_size(properties) + 1) * sizeof *keys);
    rt_expr first = 0, rest = 0;
    if (!keys && !b->code) b->code = gguf_fail_memory(b->err);
    json_object_foreach((json_t *)properties, key, value) if (keys) keys[n++] = key;
    while (n-- > 0 && !b->code) {
        const json_t *schema = json_object_get(properties, keys[n]);
        rt_expr follow = SEQ(w, member_of(w, keys[n], schema), rest);
        rt_expr behind = comma.len ? SEQ(w, text_of(w, comma), follow) : follow;
        bool needed = is_required(object, keys[n]);
        first = rt_expr_as_rule(&w->b, needed ? follow : either(w, follow, first));
        rest = rt_expr_as_rule(&w->b, needed ? behind : either(w, behind, rest));
    }
    free(keys);
    return first;
}

static uint32_t count_of(const json_t *schema, const char *key, uint32_t otherwise) {
    const json_t *n = json_object_get(schema, key);
    return json_is_integer(n) && json_integer_value(n) < UINT16_MAX
               ? (uint32_t)json_integer_value(n)
               : otherwise;
}

/* JSON, or where the style nests parameters and the schema says what is in the value, those. */
static rt_expr inner_value(writer *w, const json_t *schema) {
    static const char *const others[] = {"$ref",  "enum",  "const",       "anyOf",
                                         "oneOf", "allOf", "prefixItems", "nullable"};
    const char *type = json_string_value(json_object_get(schema, "type"));
    const json_t *items = json_object_get(schema, "items");
    bool nests = w->style->item && type;
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        if (json_object_get(schema, others[i])) nests = false;
    if (nests && strcmp(type, "object") == 0 && json_object_get(schema, "properties"))
        return rt_expr_as_rule(&w->b, members(w, schema, (gguf_str){0}));
    if (nests && strcmp(type, "array") == 0 && json_is_object(items))
        return rt_expr_repeat(&w->b, parameter_of(w, w->style->item, items),
                              count_of(schema, "minItems", 0),
                              count_of(schema, "maxItems", RT_GRAMMAR_UNLIMITED));
    return value_of(w, schema);
}

/* ---- calls ------------------------------------------------------------------------------- */

static rt_expr quoted(writer *w, const char *text) {
    return SEQ(w, rt_expr_text(&w->b, "\"", 1), rt_expr_text(&w->b, text, strlen(text)),
               rt_expr_text(&w->b, "\"", 1));
}

static rt_expr colon(writer *w) {
    return SEQ(w, rt_expr_text(&w->b, ":", 1), optional(w, rt_expr_text(&w->b, " ", 1)));
}

static rt_expr comma(writer *w) {
    return SEQ(w, rt_expr_text(&w->b, ",", 1), optional(w, rt_expr_text(&w->b, " ", 1)));
}

static const char *name_of(const json_t *function) {
    return json_string_value(json_object_get(function, "name"));
}

static rt_expr object_of(writer *w) {
    const rt_tool_style *s = w->style;
    rt_grammar_builder *b = &w->b;
    rt_expr id = 0, seq = rt_expr_seq(b);
    if (s->id_key)
        id = SEQ(w, quoted(w, s->id_key), colon(w), rt_expr_text(b, "\"", 1), regex(w, s->id_form),
                 rt_expr_text(b, "\"", 1));
    rt_expr_add(b, seq, rt_expr_text(b, "{", 1));
    if (id && s->id_first) rt_expr_add(b, seq, SEQ(w, id, comma(w)));
    rt_expr_add(b, seq, SEQ(w, quoted(w, s->name_key), colon(w), quoted(w, name_of(w->function))));
    rt_expr_add(b, seq, SEQ(w, comma(w), quoted(w, s->arguments_key), colon(w)));
    rt_expr_add(b, seq, value_of(w, w->schema));
    if (id && !s->id_first) rt_expr_add(b, seq, SEQ(w, comma(w), id));
    rt_expr_add(b, seq, rt_expr_text(b, "}", 1));
    return seq;
}

static rt_expr slot_of(writer *w, tool_slot slot) {
    rt_grammar_builder *b = &w->b;
    const char *name = name_of(w->function);
    switch (slot) {
    case TOOL_NAME:
        return rt_expr_text(b, name, strlen(name));
    case TOOL_ID:
        return regex(w, w->style->id_form);
    case TOOL_ARGUMENTS:
        return value_of(w, w->schema);
    case TOOL_OBJECT:
        return object_of(w);
    case TOOL_PARAMETERS:
        return members(w, w->schema, (gguf_str){0});
    case TOOL_KEYWORDS:
        return members(w, w->schema, gguf_str_of(", "));
    case TOOL_BARE:
        return SEQ(w, rt_expr_text(b, "{", 1), members(w, w->schema, gguf_str_of(",")),
                   rt_expr_text(b, "}", 1));
    default:
        return 0;
    }
}

/* A call in a channel of its own, up to where its arguments end. Its name stands behind that of the
 * channel, or behind the role. */
static rt_expr channel_call(writer *w) {
    rt_grammar_builder *b = &w->b;
    const char *name = name_of(w->function);
    rt_expr to = SEQ(w, rt_expr_text(b, " to=functions.", 14), rt_expr_text(b, name, strlen(name)));
    rt_expr channel = rt_channel_mark(b, "<|channel|>"),
            commentary = rt_expr_text(b, "commentary", 10);
    rt_expr header = either(w, SEQ(w, channel, commentary, to), SEQ(w, to, channel, commentary));
    rt_expr form = either(w, rt_channel_form(b), rt_expr_text(b, " json", 5));
    return rt_expr_as_rule(
        b, SEQ(w, header, form, rt_channel_mark(b, "<|message|>"), value_of(w, w->schema)));
}

/* A call, of its first text only what is behind n_written bytes. */
static rt_expr call_of(writer *w, size_t n_written) {
    const tool_pattern *p = &w->style->calls[0];
    if (rt_tool_style_is_channel(w->style)) return channel_call(w);
    rt_expr seq = rt_expr_seq(&w->b);
    for (size_t i = 0; i < p->n; i++) {
        gguf_str text = p->pieces[i].text;
        size_t skip = i ? 0 : n_written;
        bool is_text = p->pieces[i].slot == TOOL_TEXT;
        rt_expr_add(&w->b, seq,
                    is_text ? rt_expr_text(&w->b, text.ptr + skip, text.len - skip)
                            : slot_of(w, p->pieces[i].slot));
    }
    return rt_expr_as_rule(&w->b, seq);
}

/* ---- schemas ----------------------------------------------------------------------------- */

/* What can be enforced of a tool's schema; a new one, or NULL after an error. */
static json_t *schema_of(writer *w, const json_t *function, json_t *left_out) {
    const json_t *given = json_object_get(function, "parameters");
    gguf_error *err = w->b.err, own = {0};
    char path[160];
    rt_grammar *g = NULL;
    bool strict = json_is_true(json_object_get(function, "strict"));
    snprintf(path, sizeof path, "tools.%.64s.parameters", name_of(function));
    json_t *schema = json_is_object(given) ? json_deep_copy(given) : json_object();
    if (!schema) {
        w->b.code = gguf_fail_memory(err);
        return NULL;
    }
    if (!json_object_get(schema, "type"))
        json_object_set_new(schema, "type", json_string("object"));
    if (!strict) rt_schema_prune(schema, path, left_out);
    gguf_code code = rt_grammar_schema(schema, &g, &own);
    rt_grammar_unref(g);
    if (code == GGUF_E_UNSUPPORTED && !strict) {
        json_decref(schema);
        json_array_append_new(left_out, json_string(path));
        return json_pack("{s:s}", "type", "object");
    }
    if (!code) return schema;
    json_decref(schema);
    w->b.code = gguf_fail(err, code, NULL, GGUF_NO_OFFSET, "the tool '%s': %.300s",
                          name_of(function), own.message);
    return NULL;
}

/* The calls of every tool that may be called. */
static rt_expr calls_of(writer *w, const rt_tool_demand *d, size_t n_written, json_t *left_out) {
    const json_t *tool;
    size_t i;
    rt_expr any = rt_expr_alt(&w->b);
    json_array_foreach(d->tools, i, tool) {
        w->function = json_object_get(tool, "function");
        if (w->b.code || (d->named && strcmp(d->named, name_of(w->function)) != 0)) continue;
        json_t *schema = schema_of(w, w->function, left_out);
        w->schema = schema;
        if (schema) rt_expr_add(&w->b, any, call_of(w, n_written));
        json_decref(schema);
    }
    return rt_expr_as_rule(&w->b, any);
}

/* ---- answers ----------------------------------------------------------------------------- */

static rt_expr repeated(writer *w, rt_expr call, gguf_str separator, bool single) {
    if (single) return call;
    return SEQ(w, call,
               rt_expr_repeat(&w->b, SEQ(w, text_of(w, separator), call), 0, RT_GRAMMAR_UNLIMITED));
}

/* Reasoning, then a call, or where none is demanded the final message. */
static rt_expr channels_of(writer *w, const rt_tool_demand *d, json_t *left_out) {
    rt_grammar_builder *b = &w->b;
    rt_expr call = calls_of(w, d, 0, left_out);
    if (d->required) return SEQ(w, rt_channel_thoughts(b, 1, false), call);
    return SEQ(w, rt_channel_thoughts(b, RT_GRAMMAR_UNLIMITED, true),
               either(w, call, rt_channel_final(b, rt_channel_text(b))));
}

/* Text may begin as a call does, with what is dropped of it. */
static rt_expr leading_drop(writer *w, gguf_str mark) {
    const rt_tool_style *s = w->style;
    rt_expr any = rt_expr_alt(&w->b);
    rt_expr_add(&w->b, any, 0);
    for (size_t i = 0; i < s->n_drop; i++)
        if (s->drop[i].len > mark.len && memcmp(s->drop[i].ptr, mark.ptr, mark.len) == 0)
            rt_expr_add(&w->b, any, text_of(w, s->drop[i]));
    return any;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* A call that begins with its tool's name, or text that does not. */
static rt_expr named_call(writer *w, const rt_tool_demand *d, json_t *left_out) {
    size_t n = json_array_size(d->tools);
    const char **names = malloc((n + 1) * sizeof *names);
    if (!names) {
        w->b.code = gguf_fail_memory(w->b.err);
        return 0;
    }
    for (size_t i = 0; i < n; i++)
        names[i] = name_of(json_object_get(json_array_get(d->tools, i), "function"));
    qsort(names, n, sizeof *names, by_name);
    rt_expr spaces = rt_expr_repeat(&w->b, regex(w, "[" SPACES "]"), 0, RT_GRAMMAR_UNLIMITED);
    rt_expr other = not_naming(w, names, n, 0);
    free(names);
    return SEQ(w, spaces, either(w, calls_of(w, d, 0, left_out), other));
}

/* What is dropped, each text once at most. */
static rt_expr dropped(writer *w) {
    rt_expr seq = rt_expr_seq(&w->b);
    for (size_t i = 0; i < w->style->n_drop; i++)
        rt_expr_add(&w->b, seq, rt_expr_repeat(&w->b, text_of(w, w->style->drop[i]), 0, 1));
    return seq;
}

static rt_expr answer_of(writer *w, const rt_tool_demand *d, json_t *left_out) {
    const rt_tool_style *s = w->style;
    rt_grammar_builder *b = &w->b;
    if (rt_tool_style_is_channel(s)) return channels_of(w, d, left_out);
    bool single = d->single || s->single, section = s->section_open.len > 0;
    gguf_str first = section ? s->section_open : s->calls[0].pieces[0].text, mark = end_of(first);
    rt_expr close = text_of(w, s->section_close);
    if (d->required) {
        rt_expr calls = repeated(w, calls_of(w, d, 0, left_out), s->separator, single);
        if (section) calls = SEQ(w, dropped(w), text_of(w, s->section_open), calls, close);
        return s->start ? calls : SEQ(w, rt_expr_repeat(b, rt_expr_text(b, "\n", 1), 0, 2), calls);
    }
    if (tool_begins_with_name(s)) return named_call(w, d, left_out);
    if (s->start)
        return either(w, repeated(w, calls_of(w, d, 0, left_out), s->separator, single),
                      not_beginning(w, "{\"name\""));
    rt_expr other = text_to(w, mark, false), to = text_to(w, mark, true);
    rt_expr lead = leading_drop(w, mark);
    if (section) {
        rt_expr calls = repeated(w, calls_of(w, d, 0, left_out), s->separator, single);
        rt_expr rest = rt_expr_text(b, first.ptr + mark.len, first.len - mark.len);
        return either(w, other, SEQ(w, to, rest, calls, close));
    }
    rt_expr call = SEQ(w, to, calls_of(w, d, mark.len, left_out));
    if (single) return SEQ(w, lead, either(w, other, call));
    return SEQ(w, lead, rt_expr_repeat(b, call, 0, RT_GRAMMAR_UNLIMITED), other);
}

gguf_code rt_grammar_tools(const rt_tool_style *style, const rt_tool_demand *demand,
                           json_t *left_out, rt_grammar **out, gguf_error *err) {
    writer w = {.style = style};
    gguf_str opening = tool_opening(style);
    *out = NULL;
    rt_builder_init(&w.b, err);
    uint32_t root = rt_rule_new(&w.b, NULL, 0);
    rt_rule_define(&w.b, root, answer_of(&w, demand, left_out));
    gguf_code code = rt_grammar_finish(&w.b, root, out);
    rt_builder_clear(&w.b);
    if (code) return code;
    (*out)->in_channels = rt_tool_style_is_channel(style);
    (*out)->needs_call = demand->required;
    (*out)->marks = strdup(style->marks);
    (*out)->opening = strndup(opening.ptr, opening.len);
    if ((*out)->marks && (*out)->opening) return GGUF_OK;
    rt_grammar_unref(*out);
    *out = NULL;
    return gguf_fail_memory(err);
}
