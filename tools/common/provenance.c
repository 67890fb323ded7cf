/* How a file was made. */
#include "tools/common/provenance.h"

#include "libgguf/hash.h"
#include "libgguf/map.h"

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

gguf_code provenance_set(gguf_meta *meta, const char *recipe, const char *imatrix_file,
                         gguf_error *err) {
    gguf_hash hash;
    if (recipe && *recipe) gguf_meta_set_str(meta, "ggufkit.recipe", gguf_str_of(recipe));
    if (!imatrix_file) return gguf_meta_status(meta, err);
    gguf_code code = hash_file(imatrix_file, &hash, err);
    if (!code) gguf_meta_set_str(meta, "ggufkit.imatrix.xxh3", gguf_str_of(hash.hex));
    return code ? code : gguf_meta_status(meta, err);
}
