/* The general.* keys that describe a model to people. */
#include "runtime/import/import_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NAME 256

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

/* "llama-3.2-1b" -> "Llama 3.2 1b" */
static void title_of(const char *id, char *out, size_t room) {
    char copy[MAX_NAME], *save = NULL;
    size_t len = 0;
    snprintf(copy, sizeof copy, "%s", id);
    out[0] = '\0';
    for (char *word = strtok_r(copy, "- ", &save); word; word = strtok_r(NULL, "- ", &save)) {
        capitalise_word(word);
        int n = snprintf(out + len, room - len, "%s%s", len ? " " : "", word);
        len += n > 0 && (size_t)n < room - len ? (size_t)n : 0;
    }
}

/* 192,896 -> "193K", 1,100,000,000 -> "1.1B": at least two digits. */
static void size_label(double n_params, char *out, size_t room) {
    static const struct {
        double unit;
        char letter;
    } units[] = {{1e12, 'T'}, {1e9, 'B'}, {1e6, 'M'}, {1e3, 'K'}};
    size_t i = 0;
    while (i < 3 && n_params <= units[i].unit) i++;
    double scaled = n_params / units[i].unit;
    snprintf(out, room, "%.*f%c", scaled < 9.5 ? 1 : 0, scaled, units[i].letter);
}

/* Parameters outside experts plus those of one expert; *n_experts on average, 0 = dense. */
static double count_params(const quant_plan *plan, uint64_t *n_experts) {
    double shared = 0, expert = 0;
    uint64_t n_stacks = 0, n_sum = 0;
    for (size_t i = 0; i < plan->n_tensors; i++) {
        const gguf_tensor *t = &plan->tensors[i].out;
        uint64_t n = t->dims[2];
        if (!strstr(t->name.ptr, "_exps.") || t->n_dims != 3 || n == 0) {
            shared += (double)gguf_tensor_n_elems(t);
            continue;
        }
        expert += (double)(gguf_tensor_n_elems(t) / n);
        n_sum += n;
        n_stacks++;
    }
    *n_experts = n_stacks ? n_sum / n_stacks : 0;
    return shared + expert;
}

static gguf_code folder_title(const char *folder, char *out, size_t room) {
    char *real = realpath(folder, NULL);
    if (!real) return GGUF_E_IO;
    const char *slash = strrchr(real, '/');
    title_of(slash ? slash + 1 : real, out, room);
    free(real);
    return GGUF_OK;
}

gguf_code rt_import_general(rt_import *import, gguf_error *err) {
    gguf_meta *meta = import->plan.meta;
    char name[MAX_NAME] = "";
    if (import->folder && folder_title(import->folder, name, sizeof name))
        return gguf_fail(err, GGUF_E_IO, import->folder, GGUF_NO_OFFSET, "cannot resolve the path");
    gguf_meta_set_str(meta, "general.architecture", gguf_str_of(import->architecture));
    gguf_meta_set_str(meta, "general.type", gguf_str_of("model"));
    if (*name) gguf_meta_set_str(meta, "general.name", gguf_str_of(name));
    return GGUF_OK;
}

void rt_import_size_label(rt_import *import) {
    char label[32], full[64];
    uint64_t n_experts;
    size_label(count_params(&import->plan, &n_experts), label, sizeof label);
    snprintf(full, sizeof full, "%" PRIu64 "x%s", n_experts, label);
    gguf_meta_set_str(import->plan.meta, "general.size_label",
                      gguf_str_of(n_experts ? full : label));
}
