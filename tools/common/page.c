/* Escaping and writing of pages. */
#include "tools/common/page.h"

#include "libgguf/outfile.h"
#include "libgguf/tempfile.h"
#include "tools/common/output_files.h"

#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/wait.h>
#include <unistd.h>

void tool_xml_text(FILE *f, const char *bytes, size_t n) {
    for (size_t i = 0; i < n;) {
        size_t step = tool_utf8_len(bytes + i, n - i);
        unsigned char c = (unsigned char)bytes[i];
        if (c == '&' || c == '<' || c == '>' || c == '"')
            fprintf(f, "&#%d;", c);
        else if (step == 0 || (c < 0x20 && c != '\n' && c != '\t') || c == 0x7F)
            fputs("\xEF\xBF\xBD", f);
        else
            fwrite(bytes + i, 1, step, f);
        i += step ? step : 1;
    }
}

/* What fn prints; *text is malloc'ed. */
static gguf_code print_page(tool_page_fn fn, const void *ctx, char **text, size_t *n,
                            gguf_error *err) {
    *text = NULL;
    FILE *f = open_memstream(text, n);
    if (!f) return gguf_fail_memory(err);
    fn(f, ctx);
    bool failed = ferror(f) != 0;
    failed = fclose(f) != 0 || failed;
    return failed ? gguf_fail_memory(err) : GGUF_OK;
}

gguf_code tool_save_page(const tool *t, const char *path, tool_page_fn fn, const void *ctx,
                         gguf_error *err) {
    char *text;
    size_t n;
    gguf_code code = print_page(fn, ctx, &text, &n, err);
    if (!code) code = gguf_outfile_save(path, text, n, tool_output_how(t, TOOL_OUTPUT_EXTRA), err);
    free(text);
    return code;
}

/* ---- PNG ------------------------------------------------------------------------------------ */

#define CONVERTER "rsvg-convert"

/* "svg" or "png" in small letters, "" without an ending, NULL for another one. */
static const char *ending(const char *path) {
    static const char *const kinds[] = {"svg", "png"};
    const char *slash = strrchr(path, '/'), *dot = strrchr(slash ? slash : path, '.');
    if (!dot) return "";
    for (size_t i = 0; i < 2; i++)
        if (strcasecmp(dot + 1, kinds[i]) == 0) return kinds[i];
    return NULL;
}

static bool is_png(const char *path) {
    const char *kind = ending(path);
    return kind && strcmp(kind, "png") == 0;
}

static bool has_converter(void) {
    const char *folders = getenv("PATH");
    while (folders) {
        char path[4096];
        const char *end = strchr(folders, ':');
        int n = end ? (int)(end - folders) : (int)strlen(folders);
        snprintf(path, sizeof path, "%.*s/" CONVERTER, n, folders);
        if (access(path, X_OK) == 0) return true;
        folders = end ? end + 1 : NULL;
    }
    return false;
}

gguf_code tool_check_plot(tool *t, const char *path, gguf_error *err) {
    if (!ending(path))
        return gguf_fail(err, GGUF_E_USAGE, path, GGUF_NO_OFFSET, "--plot writes .svg and .png");
    if (is_png(path) && !has_converter())
        return gguf_fail(err, GGUF_E_UNSUPPORTED, path, GGUF_NO_OFFSET,
                         "a PNG image needs " CONVERTER " (Debian: librsvg2-bin); SVG does not");
    return tool_check_output(t, path, TOOL_OUTPUT_EXTRA, err);
}

/* Run rsvg-convert from one file to the other. */
static bool convert(FILE *svg, FILE *png) {
    char name[] = CONVERTER, zoom[] = "--zoom=2", background[] = "--background-color=white";
    char *const args[] = {name, zoom, background, NULL};
    posix_spawn_file_actions_t files;
    pid_t child;
    int status = 1;
    if (posix_spawn_file_actions_init(&files) != 0) return false;
    bool ok = posix_spawn_file_actions_adddup2(&files, fileno(svg), STDIN_FILENO) == 0 &&
              posix_spawn_file_actions_adddup2(&files, fileno(png), STDOUT_FILENO) == 0 &&
              posix_spawnp(&child, name, &files, NULL, args, environ) == 0;
    posix_spawn_file_actions_destroy(&files);
    while (ok && waitpid(child, &status, 0) < 0 && errno == EINTR) continue;
    return ok && status == 0;
}

static gguf_code save_png(const tool *t, const char *path, FILE *svg, FILE *png, gguf_error *err) {
    bool converted = convert(svg, png);
    long n = fseek(png, 0, SEEK_END) == 0 ? ftell(png) : -1;
    char *bytes = converted && n > 0 ? malloc((size_t)n) : NULL;
    rewind(png);
    bool ok = bytes && fread(bytes, 1, (size_t)n, png) == (size_t)n;
    gguf_code code =
        ok ? gguf_outfile_save(path, bytes, (size_t)n, tool_output_how(t, TOOL_OUTPUT_EXTRA), err)
           : gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, CONVERTER " failed");
    free(bytes);
    return code;
}

static FILE *temp_stream(void) {
    int fd = gguf_temp_file(NULL);
    FILE *stream = fd >= 0 ? fdopen(fd, "w+b") : NULL;
    if (fd >= 0 && !stream) close(fd);
    return stream;
}

gguf_code tool_save_plot(const tool *t, const char *path, tool_page_fn fn, const void *ctx,
                         gguf_error *err) {
    if (!is_png(path)) return tool_save_page(t, path, fn, ctx, err);
    char *text;
    size_t n;
    gguf_code code = print_page(fn, ctx, &text, &n, err);
    if (code) {
        free(text);
        return code;
    }
    FILE *svg = temp_stream(), *png = temp_stream();
    bool ok = svg && png && fwrite(text, 1, n, svg) == n && fflush(svg) == 0;
    if (ok) rewind(svg);
    code = ok ? save_png(t, path, svg, png, err)
              : gguf_fail(err, GGUF_E_IO, path, GGUF_NO_OFFSET, "no temporary file");
    if (svg) fclose(svg);
    if (png) fclose(png);
    free(text);
    return code;
}
