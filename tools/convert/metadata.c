/* --metadata. */
#include "tools/convert/metadata.h"

#include "runtime/import/card.h"
#include "tools/common/keyvalue.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct loading {
    gguf_meta *meta;
    const gguf_yaml_doc *doc;
    gguf_error *err;
    gguf_code code;
} loading;

/* A field that is no card's: a key with a dot and TYPE:VALUE. */
static void set_key(void *ctx, const gguf_yaml *field) {
    loading *l = ctx;
    char *text = NULL;
    if (l->code) return;
    if (!strchr(field->key, '.') || field->kind != GGUF_YAML_SCALAR) {
        l->code = gguf_yaml_fail(
            l->doc, field, l->err,
            "'%s' is not a field of a model card, and a key needs KEY: TYPE:VALUE", field->key);
    } else if (asprintf(&text, "%s=%s", field->key, field->text) < 0) {
        l->code = gguf_fail_memory(l->err);
    } else {
        gguf_error why = {0};
        if (keyvalue_set(l->meta, text, &why))
            l->code = gguf_yaml_fail(l->doc, field, l->err, "%s", why.message);
        free(text);
    }
}

gguf_code metadata_load(const char *path, gguf_meta *meta, gguf_error *err) {
    gguf_yaml_doc *doc;
    gguf_code code = gguf_yaml_load(path, &doc, err);
    if (code) return code;
    loading l = {meta, doc, err, GGUF_OK};
    if (gguf_yaml_root(doc)->kind != GGUF_YAML_MAP)
        code = gguf_yaml_fail(doc, NULL, err, "expected NAME: VALUE lines");
    else
        rt_card_apply(gguf_yaml_root(doc), RT_CARD_USER, 0, meta, set_key, &l);
    gguf_yaml_free(doc);
    if (!code) code = l.code;
    return code ? code : gguf_meta_status(meta, err);
}
