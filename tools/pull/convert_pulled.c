/* From a fetched folder to a GGUF file. */
#include "tools/pull/convert_pulled.h"

#include "libgguf/gguf.h"
#include "tools/common/write_model.h"

#include <strings.h>

gguf_code convert_pulled(void *ctx, const char *folder, const char *out, const char *type,
                         gguf_error *err) {
    tool *t = ctx;
    write_opts o = write_opts_defaults();
    const rt_import_opts import_opts = {0};
    rt_import *import = NULL;
    write_result result = {0};
    bool forced = t->force;
    o.type = strcasecmp(type, "auto") == 0 ? NULL : type;
    t->force = true; /* what an interrupted run left in the store's own folder */
    t->started_s = tool_now_s();
    gguf_code code = rt_import_open(folder, &import_opts, &import, err);
    if (!code)
        gguf_meta_set_str(rt_import_plan(import)->meta, "ggufkit.tool",
                          gguf_str_of("gguf-convert " GGUFKIT_VERSION));
    if (!code) code = write_prepare(t, import, folder, out, &o, &result, err);
    if (!code) code = write_run(t, import, out, &o, &result, err);
    t->force = forced;
    write_result_clear(&result);
    rt_import_close(import);
    write_opts_clear(&o);
    return code;
}
