/* Reading the fields of a request: present or not, of the right type, in their range. What nobody
 * read is reported as ignored. null counts as absent. */
#ifndef TOOLS_SERVE_JSON_FIELDS_H
#define TOOLS_SERVE_JSON_FIELDS_H

#include "tools/serve/api_error.h"

typedef struct fields {
    json_t *root;     /* what is left to read; belongs to this struct */
    json_t *read;     /* what was read */
    api_error *error; /* the first mistake; later calls return nothing */
    bool options;     /* of Ollama, whose mistakes are called otherwise */
} fields;

/* Take an object apart; with options, the caller says that it is Ollama's. */
void fields_open(fields *f, const json_t *object, api_error *error);
void fields_close(fields *f); /* accepts a zeroed one */

/* Each returns whether the field is there and right; otherwise *out stays. Values are valid until
 * fields_close. */
bool fields_bool(fields *f, const char *name, bool *out);
bool fields_int(fields *f, const char *name, int64_t min, int64_t max, int64_t *out);
bool fields_u32(fields *f, const char *name, uint32_t min, uint32_t max, uint32_t *out);
/* From -2^63 to 2^64 - 1, where -1 stands for any. */
bool fields_seed(fields *f, const char *name, uint64_t *out);
bool fields_real(fields *f, const char *name, double min, double max, double *out);
bool fields_float(fields *f, const char *name, double min, double max, float *out);
bool fields_text(fields *f, const char *name, const char **out);
bool fields_any(fields *f, const char *name, json_t **out);
bool fields_array(fields *f, const char *name, json_t **out);
bool fields_object(fields *f, const char *name, json_t **out);

/* Names of what was not read, separated by ", "; out is "" for none. */
void fields_ignored(const fields *f, char *out, size_t room);

#endif
