/* Taking model names apart, by the conventions that the general.* keys follow. */
#include "runtime/import/model_id.h"
#include "libgguf/pattern.h"

#include <ctype.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAX_PARTS 64

enum { IS_VERSION = 1, IS_FORMAT = 2, IS_SIZE = 4, IS_FINETUNE = 8, IS_BASE = 16 };

typedef struct name_part {
    char text[RT_MODEL_ID_MAX];
    unsigned is;
} name_part;

/* Lower-case words get a capital behind every non-letter; versions such as v1.2 or 7b stay. */
static void capitalise_word(char *word) {
    bool lower = true, start = true;
    for (const char *p = word; *p; p++) lower = lower && !isupper((unsigned char)*p);
    if (!lower || isdigit((unsigned char)word[0]) ||
        (word[0] == 'v' && isdigit((unsigned char)word[1])))
        return;
    for (char *p = word; *p; p++) {
        if (start) *p = (char)toupper((unsigned char)*p);
        start = !isalpha((unsigned char)*p);
    }
}

void rt_model_title(const char *id, char *out, size_t room) {
    char copy[RT_MODEL_ID_MAX], *save = NULL;
    size_t len = 0;
    snprintf(copy, sizeof copy, "%s", id);
    out[0] = '\0';
    for (char *word = strtok_r(copy, "- ", &save); word; word = strtok_r(NULL, "- ", &save)) {
        capitalise_word(word);
        int n = snprintf(out + len, room - len, "%s%s", len ? " " : "", word);
        len += n > 0 && (size_t)n < room - len ? (size_t)n : 0;
    }
}

static bool matches(const char *text, const char *pattern) {
    gguf_pattern *compiled;
    bool found = false;
    if (gguf_pattern_new("a model's name", pattern, true, &compiled, NULL)) return false;
    gguf_pattern_find(compiled, text, strlen(text), &found, NULL);
    gguf_pattern_free(compiled);
    return found;
}

/* "7b1" -> "7.1B", "7_5b" -> "7.5B" */
static void normalise_size(char *text) {
    size_t n = strlen(text);
    for (char *p = text; *p; p++)
        if (*p == '_') *p = '.';
    if (n > 2 && isdigit((unsigned char)text[n - 1])) {
        char digit = text[n - 1], unit = text[n - 2];
        text[n - 2] = '.';
        text[n - 1] = digit;
        text[n] = unit;
        text[++n] = '\0';
    }
    if (n > 1 && isdigit((unsigned char)text[n - 2]) && strchr("kmbt", text[n - 1]))
        text[n - 1] = (char)toupper((unsigned char)text[n - 1]);
}

/* A number far from the model's size is a context length. */
static bool is_context_length(const char *text, double n_params) {
    static const char units[] = " KMBT";
    char *end;
    double number = strtod(text, &end);
    const char *unit = *end && !end[1] ? strchr(units, *end) : NULL;
    if (n_params <= 0 || end == text || !unit) return false;
    return fabs(number * pow(1000, (double)(unit - units)) - n_params) > 7 * n_params / 8;
}

static void classify(name_part *part, bool first, double n_params) {
    if (matches(part->text, "^(v|iter)?[0-9]+([.][0-9]+)*$")) {
        part->is = IS_VERSION;
    } else if (matches(part->text, "^(i?q[0-9](_[a-z0-9_])*|b?fp?(16|32))$")) {
        part->is = IS_FORMAT;
        for (char *p = part->text; *p; p++) *p = (char)toupper((unsigned char)*p);
    } else if (!first && matches(part->text, "^((A|[0-9]+x)?[0-9]+([._][0-9]+)?[KMBT][0-9]?|small|"
                                             "mini|medium|large|x?xl)$")) {
        size_t n = strlen(part->text);
        normalise_size(part->text);
        part->is = IS_SIZE;
        if (!is_context_length(part->text, n_params)) return;
        part->is = IS_FINETUNE;
        part->text[n - 1] = (char)tolower((unsigned char)part->text[n - 1]);
    } else if (!first && matches(part->text, "^(chat|instruct|vision|lora)$")) {
        part->is = IS_FINETUNE;
    }
}

static bool has_digit(const char *text) {
    return strpbrk(text, "0123456789") != NULL;
}

/* Words such as "small" say the size only where no number does. */
static void drop_size_words(name_part *parts, size_t n) {
    bool numbers = false;
    for (size_t i = 0; i < n; i++)
        numbers = numbers || (parts[i].is & IS_SIZE && has_digit(parts[i].text));
    for (size_t i = 0; i < n && numbers; i++)
        if (!has_digit(parts[i].text)) parts[i].is &= ~(unsigned)IS_SIZE;
}

/* The base name goes up to the first part that is neither a word nor a version; what is a word
 * behind it names a fine-tune. */
static void find_base(name_part *parts, size_t n) {
    bool at_start = true;
    for (size_t i = 0; i < n; i++) {
        name_part *p = &parts[i];
        if (at_start && ((!p->is && isalpha((unsigned char)p->text[0])) || p->is & IS_VERSION)) {
            p->is |= IS_BASE;
            continue;
        }
        at_start = false;
        if (!p->is) p->is = IS_FINETUNE;
    }
    while (n && parts[n - 1].is & IS_BASE && parts[n - 1].is != IS_BASE)
        parts[--n].is &= ~(unsigned)IS_BASE;
}

/* Texts of the parts that are `what` and not `unless`, joined by '-'; sizes only once. */
static void join(const name_part *parts, size_t n, unsigned what, unsigned unless, char *out) {
    size_t len = 0;
    out[0] = '\0';
    for (size_t i = 0; i < n; i++) {
        bool repeated = false;
        if (!(parts[i].is & what) || parts[i].is & unless) continue;
        for (size_t k = 0; k < i && what == IS_SIZE; k++)
            repeated = repeated || (parts[k].is & what && !strcmp(parts[k].text, parts[i].text));
        if (repeated) continue;
        int more =
            snprintf(out + len, RT_MODEL_ID_MAX - len, "%s%s", len ? "-" : "", parts[i].text);
        len += more > 0 && (size_t)more < RT_MODEL_ID_MAX - len ? (size_t)more : 0;
    }
}

void rt_model_id_parse(const char *id, double n_params, rt_model_id *out) {
    name_part parts[MAX_PARTS] = {0};
    size_t n = 0;
    char copy[RT_MODEL_ID_MAX], *save = NULL;
    const char *slash = strchr(id, '/');
    *out = (rt_model_id){0};
    snprintf(out->name, sizeof out->name, "%s", slash && !strchr(id, ' ') ? slash + 1 : id);
    if (strchr(id, ' ')) return;
    if (slash && *id != '.')
        snprintf(out->organization, sizeof out->organization, "%.*s", (int)(slash - id), id);
    snprintf(copy, sizeof copy, "%s", out->name);
    for (char *p = strtok_r(copy, "-", &save); p && n < MAX_PARTS; p = strtok_r(NULL, "-", &save)) {
        snprintf(parts[n].text, sizeof parts[n].text - 1, "%s", p);
        classify(&parts[n], n == 0, n_params);
        n++;
    }
    drop_size_words(parts, n);
    find_base(parts, n);
    join(parts, n, IS_BASE, 0, out->basename);
    join(parts, n, IS_SIZE, 0, out->size_label);
    join(parts, n, IS_FINETUNE, 0, out->finetune);
    join(parts, n, IS_VERSION, IS_BASE, out->version);
    /* A single word says too little. */
    if (!out->size_label[0] && !out->finetune[0] && !out->version[0]) out->basename[0] = '\0';
}
