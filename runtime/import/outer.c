/* Checkpoints whose tensors have other outer names than the description: of a wrapper ("module."),
 * of a larger model ("language_model."), or none. */
#include "runtime/import/import_internal.h"

#include <stdio.h>
#include <string.h>

#define MAX_NAME       512
#define MAX_EMBEDDINGS 4 /* candidates for a model's first tensor */
#define MAX_OUTER      8 /* parts of an outer name */

/* ---- does a name fit? -------------------------------------------------------------------- */

static bool is_found(rt_import *import, const rt_arch_tensor *entry, uint64_t layer) {
    char name[MAX_NAME];
    rt_expand_name(entry->hf, layer, 0, name, sizeof name);
    return rt_import_look_up(import, name) || rt_quantised_find(import, name);
}

/* Entries of one GGUF name are alternatives. */
static gguf_code count_unmet(rt_import *import, void *ctx, const rt_arch_tensor *entry,
                             uint64_t layer, gguf_error *err) {
    (void)ctx, (void)err;
    bool needed = !entry->entry.optional && !entry->tied_to && !entry->fill;
    if (import->n_unmet || !needed || is_found(import, entry, layer)) return GGUF_OK;
    for (const rt_arch_tensor *other = rt_arch_first_tensor(import->arch); other;
         other = rt_arch_next_tensor(other))
        if (other != entry && strcmp(other->entry.name, entry->entry.name) == 0 &&
            rt_import_applies(import, &other->entry) && is_found(import, other, layer))
            return GGUF_OK;
    import->n_unmet++;
    return GGUF_OK;
}

static gguf_code try_name(rt_import *import, const rt_outer_name *outer, bool *fits,
                          gguf_error *err) {
    gguf_code code = rt_import_index_with(import, outer, err);
    import->n_unmet = 0;
    if (!code) code = rt_import_each(import, count_unmet, NULL, err);
    *fits = !code && import->n_unmet == 0;
    memset(import->used, 0, gguf_checkpoint_n_tensors(import->ckpt) * sizeof *import->used);
    return code;
}

/* ---- candidates -------------------------------------------------------------------------- */

/* "model.embed_tokens.weight" -> "embed_tokens.weight" and "model." */
static const char *inner_name(const char *name, char outermost[MAX_NAME]) {
    const char *dot = strchr(name, '.');
    bool inner = dot && strchr(dot + 1, '.');
    snprintf(outermost, MAX_NAME, "%.*s", inner ? (int)(dot + 1 - name) : 0, name);
    return inner ? dot + 1 : name;
}

static bool is_named(const char *name, const char *inner) {
    size_t n = strlen(name), m = strlen(inner);
    return n >= m && strcmp(name + n - m, inner) == 0 && (n == m || name[n - m - 1] == '.');
}

/* The shortest outer name of one tensor with which all others are found too. */
static gguf_code try_prefixes(rt_import *import, const char *name, const char *outermost,
                              rt_outer_name *out, bool *fits, gguf_error *err) {
    const char *const puts[] = {"", outermost};
    gguf_code code = GGUF_OK;
    for (size_t n = 0, depth = 0; !code && !*fits && depth <= MAX_OUTER; depth++) {
        for (size_t i = 0; i < 2 && !code && !*fits; i++) {
            if (n + strlen(puts[i]) == 0) continue;
            *out = (rt_outer_name){name, n, puts[i]};
            code = try_name(import, out, fits, err);
        }
        const char *dot = strchr(name + n, '.');
        if (!dot) break;
        n = (size_t)(dot + 1 - name);
    }
    return code;
}

static gguf_code fail_ambiguous(const rt_import *import, const rt_outer_name *a,
                                const rt_outer_name *b, gguf_error *err) {
    return gguf_fail(err, GGUF_E_FORMAT, import->folder, GGUF_NO_OFFSET,
                     "several models are in this checkpoint: names that begin with '%.*s' and with "
                     "'%.*s' fit the architecture",
                     (int)a->n_strip, a->strip, (int)b->n_strip, b->strip);
}

/* outermost: [MAX_NAME], what *found may put. */
static gguf_code find_outer(rt_import *import, char *outermost, rt_outer_name *found, bool *fits,
                            gguf_error *err) {
    const char *inner = inner_name(rt_arch_first_tensor(import->arch)->hf, outermost);
    size_t n_tried = 0;
    gguf_code code = GGUF_OK;
    for (size_t i = 0; i < gguf_checkpoint_n_tensors(import->ckpt) && !code; i++) {
        const char *name = gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr;
        rt_outer_name one;
        bool one_fits = false;
        if (!is_named(name, inner) || n_tried++ >= MAX_EMBEDDINGS) continue;
        code = try_prefixes(import, name, outermost, &one, &one_fits, err);
        if (!code && one_fits && *fits) return fail_ambiguous(import, found, &one, err);
        if (!code && one_fits) *found = one;
        *fits = *fits || one_fits;
    }
    return code;
}

gguf_code rt_import_index_outer(rt_import *import, gguf_error *err) {
    const rt_outer_name none = {"", 0, ""};
    char outermost[MAX_NAME];
    rt_outer_name outer = none;
    bool fits = false;
    gguf_code code = try_name(import, &none, &fits, err);
    if (code || fits || !rt_arch_first_tensor(import->arch)) return code;
    code = find_outer(import, outermost, &outer, &fits, err);
    if (!code) code = rt_import_index_with(import, fits ? &outer : &none, err);
    if (!code && fits)
        rt_import_add_warning(import, "the names of the tensors begin with '%.*s', which is %s%s%s",
                              (int)outer.n_strip, outer.strip,
                              *outer.put ? "taken as '" : "left out", outer.put,
                              *outer.put ? "'" : "");
    return code;
}

/* ---- for errors -------------------------------------------------------------------------- */

void rt_import_list_names(const rt_import *import, char *out, size_t room) {
    size_t n = gguf_checkpoint_n_tensors(import->ckpt), len = 0, shown = 0;
    for (size_t i = 0; i < n && shown < 4; i++) {
        const char *name = gguf_checkpoint_tensor_at(import->ckpt, i)->name.ptr;
        int first = (int)strcspn(name, ".");
        char quoted[64];
        snprintf(quoted, sizeof quoted, "'%.*s", first < 40 ? first : 40, name);
        if (len && strstr(out, quoted)) continue;
        len += (size_t)snprintf(out + len, room - len, "%s%s.*'", len ? ", " : "", quoted);
        if (len >= room) return;
        shown++;
    }
    if (shown == 4) snprintf(out + len, room - len, " ...");
    if (!n) snprintf(out, room, "none");
}
