/* What is in the store and in the caches of other programs: listing, showing, removing. */
#ifndef TOOLS_PULL_STORE_LISTS_H
#define TOOLS_PULL_STORE_LISTS_H

#include "runtime/pull/model_store.h"
#include "tools/common/tool.h"

/* {"path", "size_bytes", "sha256", "from": "store" | "cache" | "hub"} */
json_t *store_file_json(const rt_hub_file *file);

/* Print the models. Errors: GGUF_E_NOMEM. */
gguf_code store_list(tool *t, const rt_store *store, gguf_error *err);
/* Print one. Errors: GGUF_E_IO it is not here. */
gguf_code store_show(tool *t, const rt_store *store, const rt_name *name, gguf_error *err);
/* Remove one from the store. Errors: GGUF_E_IO it is not in the store, or only in the cache of
 * another program, which is left alone. */
gguf_code store_rm(tool *t, rt_store *store, const rt_name *name, gguf_error *err);

#endif
