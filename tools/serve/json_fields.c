/* Fields of JSON objects. */
#include "tools/serve/json_fields.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void fields_open(fields *f, const json_t *object, api_error *error) {
    *f = (fields){.root = json_copy((json_t *)object), .read = json_object(), .error = error};
}

void fields_close(fields *f) {
    json_decref(f->root);
    json_decref(f->read);
    *f = (fields){0};
}

/* The value, if it is there and nothing went wrong before. */
static json_t *take(fields *f, const char *name) {
    json_t *value = json_object_get(f->root, name);
    if (!value || f->error->status) return NULL;
    json_object_set(f->read, name, value);
    json_object_del(f->root, name);
    return json_is_null(value) ? NULL : json_object_get(f->read, name);
}

static bool fail(fields *f, const char *name, const char *ollama_type, const char *what) {
    if (f->options)
        return api_fail(f->error, name, NULL, "option \"%s\" must be of type %s", name,
                        ollama_type);
    return api_fail(f->error, name, NULL, "'%s' must be %s", name, what);
}

bool fields_any(fields *f, const char *name, json_t **out) {
    json_t *value = take(f, name);
    if (value) *out = value;
    return value != NULL;
}

bool fields_bool(fields *f, const char *name, bool *out) {
    json_t *value = take(f, name);
    if (!value) return false;
    if (!json_is_boolean(value)) return fail(f, name, "boolean", "true or false");
    *out = json_is_true(value);
    return true;
}

bool fields_int(fields *f, const char *name, int64_t min, int64_t max, int64_t *out) {
    char what[96];
    json_t *value = take(f, name);
    if (!value) return false;
    double real = json_number_value(value);
    bool whole =
        json_is_integer(value) || (json_is_real(value) && real == floor(real) && fabs(real) < 9e15);
    int64_t number = json_is_integer(value) ? json_integer_value(value) : whole ? (int64_t)real : 0;
    snprintf(what, sizeof what, "a whole number from %" PRId64 " to %" PRId64, min, max);
    if (max == INT64_MAX) snprintf(what, sizeof what, "a whole number, at least %" PRId64, min);
    if (!whole || number < min || number > max) return fail(f, name, "integer", what);
    *out = number;
    return true;
}

/* Above 2^63 - 1 it is read as a real number (see workers_parse). */
bool fields_seed(fields *f, const char *name, uint64_t *out) {
    json_t *value = take(f, name);
    double real = json_number_value(value);
    bool large = json_is_real(value) && real >= 0x1p63 && real <= 0x1p64;
    if (!value) return false;
    if (!json_is_integer(value) && !large)
        return fail(f, name, "integer", "a whole number from -2^63 to 2^64 - 1");
    if (large)
        *out = real < 0x1p64 ? (uint64_t)real : UINT64_MAX;
    else
        *out = (uint64_t)json_integer_value(value);
    return large || json_integer_value(value) != -1;
}

bool fields_u32(fields *f, const char *name, uint32_t min, uint32_t max, uint32_t *out) {
    int64_t value = 0;
    if (!fields_int(f, name, min, max, &value)) return false;
    *out = (uint32_t)value;
    return true;
}

bool fields_real(fields *f, const char *name, double min, double max, double *out) {
    char what[96];
    json_t *value = take(f, name);
    if (!value) return false;
    double number = json_number_value(value);
    snprintf(what, sizeof what, "a number from %g to %g", min, max);
    if (!json_is_number(value) || !(number >= min) || !(number <= max))
        return fail(f, name, "float32", what);
    *out = number;
    return true;
}

bool fields_float(fields *f, const char *name, double min, double max, float *out) {
    double value = 0;
    if (!fields_real(f, name, min, max, &value)) return false;
    *out = (float)value;
    return true;
}

bool fields_text(fields *f, const char *name, const char **out) {
    json_t *value = take(f, name);
    if (!value) return false;
    if (!json_is_string(value)) return fail(f, name, "string", "a text");
    *out = json_string_value(value);
    return true;
}

bool fields_array(fields *f, const char *name, json_t **out) {
    json_t *value = take(f, name);
    if (!value) return false;
    if (!json_is_array(value)) return fail(f, name, "array", "a list");
    *out = value;
    return true;
}

bool fields_object(fields *f, const char *name, json_t **out) {
    json_t *value = take(f, name);
    if (!value) return false;
    if (!json_is_object(value)) return fail(f, name, "object", "an object");
    *out = value;
    return true;
}

/* Header values hold no control characters, nor anything but ASCII. */
static bool fits_header(const char *text) {
    for (; *text; text++)
        if (*text < 0x21 || *text > 0x7E || *text == ',') return false;
    return true;
}

void fields_ignored(const fields *f, char *out, size_t room) {
    const char *name;
    json_t *value;
    size_t len = strlen(out);
    json_object_foreach(f->root, name, value) {
        if (json_is_null(value) || !fits_header(name) || len + strlen(name) + 3 > room) continue;
        len += (size_t)snprintf(out + len, room - len, "%s%s", len ? ", " : "", name);
    }
}
