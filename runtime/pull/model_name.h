/* Names of models: where a model is fetched from, as it is written on a command line. */
#ifndef RUNTIME_PULL_MODEL_NAME_H
#define RUNTIME_PULL_MODEL_NAME_H

#include "libgguf/error.h"

#include <stdbool.h>
#include <stddef.h>

typedef enum rt_name_kind {
    RT_NAME_PATH,   /* a file or folder, whether it exists or not */
    RT_NAME_HF,     /* hf://ORG/REPO[:TYPE|FILE][@REV], hf.co/ORG/REPO, ORG/REPO */
    RT_NAME_OLLAMA, /* ollama://[HOST/][SPACE/]MODEL[:TAG] */
    RT_NAME_URL,    /* https://HOST/....gguf */
    RT_NAME_BARE    /* MODEL[:TAG], of the store or of configs/models.yaml */
} rt_name_kind;

#define RT_NAME_ROOM 1024

typedef struct rt_name {
    rt_name_kind kind;
    char host[264];   /* of its folder in the store; of a registry or a URL with its port */
    char space[104];  /* organisation or namespace; of a URL "-" */
    char model[264];  /* repository, model, or a URL's file without ending */
    char choice[264]; /* type or file of a repository, tag of a registry; "" = none was given */
    char rev[104];    /* of a repository; "" = main */
    char url[RT_NAME_ROOM];
} rt_name;

/* What a text names. A path that exists is a path, whatever else it might mean.
 * Errors: GGUF_E_USAGE it begins as a name does and is none. */
gguf_code rt_name_parse(const char *text, rt_name *out, gguf_error *err);

/* A name that only gguf-pull can answer: a scheme, a host, or a bare name of configs/models.yaml.
 */
bool rt_name_is_remote(const char *text);

/* The name in its full form. Returns out. */
const char *rt_name_text(const rt_name *name, char *out, size_t room);

/* A bare name's entry in configs/models.yaml. False: there is none. */
bool rt_name_builtin(const rt_name *bare, rt_name *out);
/* Every entry of configs/models.yaml.
 * Errors: GGUF_E_FORMAT, GGUF_E_NOMEM. */
gguf_code rt_names_builtin(void (*on_name)(void *ctx, const char *name, const char *model),
                           void *ctx, gguf_error *err);

/* A well-known model to size without its files. Texts are valid during the call only. */
typedef struct rt_shape {
    const char *name;
    const char *type;   /* recipe of the published weights, or NULL: as config.json says */
    const char *source; /* address of the page with the numbers */
    const char *config; /* a config.json */
} rt_shape;

/* Each of them in the file's order, until one call fails.
 * Errors: those of the call; GGUF_E_FORMAT, GGUF_E_NOMEM. */
gguf_code rt_shapes_builtin(gguf_code (*on_shape)(void *ctx, const rt_shape *shape,
                                                  gguf_error *err),
                            void *ctx, gguf_error *err);
/* What there is nearest to a bare name, as a hint for an error message, or "". Returns out. */
const char *rt_name_hint(const char *bare, char *out, size_t room);

/* 127.x.x.x, ::1 or localhost; n_host letters, a port is left out. */
bool rt_host_is_loopback(const char *host, size_t n_host);
/* The host of an http or https URL with its port; 0 = it is none. */
size_t rt_url_host(const char *url, const char **host);

#endif
