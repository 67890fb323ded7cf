/* Writing JSON piece by piece, for documents too long to be built in memory. */
#ifndef TOOLS_COMMON_JSON_OUT_H
#define TOOLS_COMMON_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define JSON_OUT_DEPTH 16

/* Start as {.file = stdout}. Objects and arrays that are `flat` are written on one line. */
typedef struct json_out {
    FILE *file;
    unsigned depth;
    bool used[JSON_OUT_DEPTH]; /* has a member already */
    bool flat[JSON_OUT_DEPTH];
} json_out;

/* In every function, key is the member's name, or NULL inside an array and at the top. */
void json_out_object(json_out *j, const char *key, bool flat);
void json_out_array(json_out *j, const char *key, bool flat);
void json_out_end_object(json_out *j);
void json_out_end_array(json_out *j);
void json_out_document_end(json_out *j); /* the last newline */

void json_out_u64(json_out *j, const char *key, uint64_t value);
void json_out_i64(json_out *j, const char *key, int64_t value);
void json_out_bool(json_out *j, const char *key, bool value);
void json_out_null(json_out *j, const char *key);
/* 12 significant digits; "nan", "inf", "-inf" where not finite. */
void json_out_real(json_out *j, const char *key, double value);
void json_out_text(json_out *j, const char *key, const char *text);
/* Bytes that are not UTF-8 are replaced; returns whether that happened. */
bool json_out_bytes(json_out *j, const char *key, const char *bytes, size_t n);
/* The same with a name that comes from a file. */
void json_out_object_named(json_out *j, const char *key, size_t key_len, bool flat);

#endif
