/* Arguments in, text and JSON out. */
#include "libgguf/gguf.h"
#include "tools/common/tool.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static gguf_code bad_argument(const char *option, const char *text, const char *expected,
                              gguf_error *err) {
    return gguf_fail(err, GGUF_E_USAGE, NULL, GGUF_NO_OFFSET, "%s takes %s, not '%s'", option,
                     expected, text);
}

gguf_code tool_add_value(const char ***list, size_t *n, const char *value, gguf_error *err) {
    const char **grown = realloc(*list, (*n + 1) * sizeof *grown);
    if (!grown) return gguf_fail_memory(err);
    *list = grown;
    grown[(*n)++] = value;
    return GGUF_OK;
}

#define LEAST_BARE_SIZE 0x1p20

gguf_code tool_parse_size(const char *option, const char *text, uint64_t *bytes, gguf_error *err) {
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1},         {"B", 1},        {"K", 0x1p10},   {"M", 0x1p20},  {"G", 0x1p30},
                 {"T", 0x1p40},   {"KB", 1e3},     {"MB", 1e6},     {"GB", 1e9},    {"TB", 1e12},
                 {"KiB", 0x1p10}, {"MiB", 0x1p20}, {"GiB", 0x1p30}, {"TiB", 0x1p40}};
    char *end, why[96];
    double number = strtod(text, &end);
    /* 12 is rather meant to be 12 GiB than 12 bytes. */
    if (end != text && !*end && number > 0 && number < LEAST_BARE_SIZE) {
        snprintf(why, sizeof why, "a size with its unit, such as %.4gG (%.4g alone is bytes)",
                 number, number);
        return bad_argument(option, text, why, err);
    }
    for (size_t i = 0; end != text && i < sizeof units / sizeof units[0]; i++) {
        if (strcasecmp(end, units[i].name) != 0) continue;
        double value = number * units[i].factor;
        if (!(value >= 1) || value > 0x1p60) break;
        *bytes = (uint64_t)value;
        return GGUF_OK;
    }
    return bad_argument(option, text, "a size such as 512M, 4GiB or 5.5GB", err);
}

gguf_code tool_parse_u32(const char *option, const char *text, uint32_t min, uint32_t max,
                         uint32_t *out, gguf_error *err) {
    char *end, expected[64];
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text && *text != '-' && !*end && !errno && value >= min && value <= max) {
        *out = (uint32_t)value;
        return GGUF_OK;
    }
    snprintf(expected, sizeof expected, "a number from %" PRIu32 " to %" PRIu32, min, max);
    return bad_argument(option, text, expected, err);
}

gguf_code tool_parse_real(const char *option, const char *text, double min, double max, double *out,
                          gguf_error *err) {
    char *end, expected[64];
    double value = strtod(text, &end);
    if (*text && !*end && value >= min && value <= max) {
        *out = value;
        return GGUF_OK;
    }
    snprintf(expected, sizeof expected, "a number from %g to %g", min, max);
    return bad_argument(option, text, expected, err);
}

gguf_code tool_parse_u32_list(const char *option, const char *text, uint32_t max, uint32_t **out,
                              size_t *n, gguf_error *err) {
    size_t room = 1;
    for (const char *p = text; *p; p++) room += *p == ',';
    *n = 0;
    *out = calloc(room, sizeof **out);
    if (!*out) return gguf_fail_memory(err);
    for (const char *p = text;;) {
        char *end;
        errno = 0;
        unsigned long long value = strtoull(p, &end, 10);
        if (end == p || *p == '-' || errno || value > max || (*end && *end != ',')) break;
        (*out)[(*n)++] = (uint32_t)value;
        if (!*end) return GGUF_OK;
        p = end + 1;
    }
    free(*out);
    *out = NULL;
    return bad_argument(option, text, "numbers separated by commas", err);
}

gguf_code tool_parse_kv_type(const char *text, uint32_t *type, gguf_error *err) {
    static const uint32_t types[] = {GGUF_TYPE_F32, GGUF_TYPE_F16, GGUF_TYPE_Q8_0, GGUF_TYPE_Q4_0};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcasecmp(text, gguf_type_name(types[i])) != 0) continue;
        *type = types[i];
        return GGUF_OK;
    }
    return bad_argument("--kv-type", text, "f32, f16, q8_0 or q4_0", err);
}

void tool_print_json(json_t *root) {
    json_dumpf(root, stdout, JSON_INDENT(1) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(12));
    putchar('\n');
    json_decref(root);
}

json_t *tool_json_real(double value) {
    if (isnan(value)) return json_string("nan");
    if (isinf(value)) return json_string(value > 0 ? "inf" : "-inf");
    return json_real(value);
}

/* Length of the UTF-8 sequence at p, or 0 if the bytes are none. */
static size_t utf8_len(const unsigned char *p, size_t left) {
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xC2 && p[0] < 0xE0 ? 2
               : (p[0] & 0xF0) == 0xE0       ? 3
               : p[0] >= 0xF0 && p[0] < 0xF5 ? 4
                                             : 0;
    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xC0) != 0x80) return 0;
    if (n == 3 && ((p[0] == 0xE0 && p[1] < 0xA0) || (p[0] == 0xED && p[1] > 0x9F))) return 0;
    if (n == 4 && ((p[0] == 0xF0 && p[1] < 0x90) || (p[0] == 0xF4 && p[1] > 0x8F))) return 0;
    return n;
}

size_t tool_utf8_len(const char *bytes, size_t n) {
    return utf8_len((const unsigned char *)bytes, n);
}

/* Control characters, and what turns the writing direction: text could look like another one. */
static bool is_hidden(const unsigned char *p, size_t len) {
    if (p[0] < 0x20 || p[0] == 0x7F || (len == 2 && p[0] == 0xC2 && p[1] < 0xA0)) return true;
    if (len != 3 || p[0] != 0xE2) return false;
    return (p[1] == 0x80 && p[2] >= 0xAA && p[2] <= 0xAE) || /* U+202A to U+202E */
           (p[1] == 0x81 && p[2] >= 0xA6 && p[2] <= 0xA9);   /* U+2066 to U+2069 */
}

char *tool_escape(const char *bytes, size_t n, char *out, size_t room) {
    size_t len = 0;
    for (size_t i = 0; i < n && len + 5 < room;) {
        const unsigned char *p = (const unsigned char *)bytes + i;
        size_t step = utf8_len(p, n - i);
        if (step && !is_hidden(p, step)) {
            memcpy(out + len, p, step);
            len += step;
            i += step;
        } else {
            len += (size_t)snprintf(out + len, room - len, "\\x%02x", p[0]);
            i++;
        }
    }
    out[len] = '\0';
    return out;
}

char *tool_size_text(uint64_t bytes, char *out, size_t room) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t i = 0;
    while (value >= 1024 && i < 4) {
        value /= 1024;
        i++;
    }
    snprintf(out, room, i ? "%.2f %s" : "%.0f %s", value, units[i]);
    return out;
}
