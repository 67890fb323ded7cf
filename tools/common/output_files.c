/* Outputs that a command line names. */
#include "tools/common/output_files.h"

#include "libgguf/outfile.h"

#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

unsigned tool_output_how(const tool *t, tool_output kind) {
    return (t->force ? GGUF_OUT_REPLACE : 0) | (kind == TOOL_OUTPUT_FILE ? 0 : GGUF_OUT_STREAM);
}

/* One spelling of a path whose last part need not exist; malloc'ed, NULL where its folder is not
 * there. */
static char *canonical(const char *path) {
    if (gguf_is_stdout(path)) return strdup("-");
    char *whole = realpath(path, NULL), *for_folder = strdup(path), *for_name = strdup(path);
    char *folder = whole || !for_folder ? NULL : realpath(dirname(for_folder), NULL);
    if (folder && for_name && asprintf(&whole, "%s/%s", folder, basename(for_name)) < 0)
        whole = NULL;
    free(folder);
    free(for_folder);
    free(for_name);
    return whole;
}

/* A character device takes what comes from anywhere. */
static bool takes_many(const char *path) {
    struct stat st;
    return !gguf_is_stdout(path) && stat(path, &st) == 0 && S_ISCHR(st.st_mode);
}

static gguf_code check_once(tool *t, const char *path, gguf_error *err) {
    char *name = takes_many(path) ? NULL : canonical(path);
    bool twice = false;
    for (size_t i = 0; name && i < t->n_outputs; i++) {
        char *other = canonical(t->outputs[i]);
        twice = twice || (other && strcmp(other, name) == 0);
        free(other);
    }
    if (name && t->n_outputs < TOOL_MAX_OUTPUTS) t->outputs[t->n_outputs++] = path;
    free(name);
    if (!twice) return GGUF_OK;
    return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                     "two outputs of this command have that name");
}

gguf_code tool_check_output(tool *t, const char *path, tool_output kind, gguf_error *err) {
    bool is_stdout = gguf_is_stdout(path);
    if (is_stdout && t->json)
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                         "standard output has the JSON document; the output needs a file");
    if (is_stdout && kind == TOOL_OUTPUT_EXTRA)
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET,
                         "standard output has the command's own text; this output needs a file");
    gguf_code code = check_once(t, path, err);
    return code ? code : gguf_outfile_check(path, tool_output_how(t, kind), err);
}
