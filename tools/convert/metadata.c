/* --metadata, and the keys that tell where a file comes from. */
#include "tools/convert/metadata.h"

#include "libgguf/hash.h"
#include "libgguf/map.h"
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
        l->code = gguf_yaml_fail(l->doc, field, l->err,
                                 "'%s' is no field of a model card, and a key needs KEY: TYPE:VALUE",
                                 field->key);
    } else if (asprintf(&text, "%s=%s", field->key, field->text) < 0) {
        l->code = gguf_fail(l->err, GGUF_E_NOMEM, NULL, GGUF_NO_OFFSET, "out of memory");
    } else {
        l->code = keyvalue_set(l->meta, text, l->err);
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

static gguf_code hash_file(const char *path, gguf_hash *out, gguf_error *err) {
    gguf_map map;
    gguf_hasher *hasher;
    gguf_code code = gguf_map_open(path, &map, err);
    if (code) return code;
    code = gguf_hasher_new(GGUF_HASH_XXH3, &hasher, err);
    if (!code) {
        gguf_hasher_add(hasher, map.data, (size_t)map.n_bytes);
        *out = gguf_hasher_end(hasher);
    }
    gguf_map_close(&map);
    return code;
}

gguf_code metadata_set_provenance(const write_opts *o, gguf_meta *meta, gguf_error *err) {
    gguf_hash hash;
    gguf_meta_set_str(meta, "ggufkit.tool", gguf_str_of("gguf-convert " GGUFKIT_VERSION));
    if (o->recipe_file) {
        const char *slash = strrchr(o->recipe_file, '/');
        gguf_meta_set_str(meta, "ggufkit.recipe",
                          gguf_str_of(slash ? slash + 1 : o->recipe_file));
    } else if (o->type) {
        gguf_meta_set_str(meta, "ggufkit.recipe", gguf_str_of(o->type));
    }
    if (!o->imatrix_file) return gguf_meta_status(meta, err);
    gguf_code code = hash_file(o->imatrix_file, &hash, err);
    if (!code) gguf_meta_set_str(meta, "ggufkit.imatrix.xxh3", gguf_str_of(hash.hex));
    return code ? code : gguf_meta_status(meta, err);
}
