/* What Hugging Face and registries of Ollama's kind say about a model. */
#ifndef RUNTIME_PULL_HUBS_H
#define RUNTIME_PULL_HUBS_H

#include "runtime/pull/hub_http.h"
#include "runtime/pull/listing.h"

/* The files of a revision, with sizes and hashes; $HF_ENDPOINT in place of https://huggingface.co.
 * Errors: GGUF_E_IO (also: no such repository or revision, no access), GGUF_E_FORMAT,
 * GGUF_E_LIMIT. Source: the API of the hub as its Python client uses it. */
gguf_code rt_hf_list(const rt_http *http, const rt_name *name, rt_listing *out, gguf_error *err);

/* The one GGUF file of a manifest of a registry; http only to loopback.
 * Errors: as above; GGUF_E_UNSUPPORTED a model that is no GGUF file.
 * Source: the OCI distribution specification, and the media types of Ollama's manifests. */
gguf_code rt_ollama_list(const rt_http *http, const rt_name *name, rt_listing *out,
                         gguf_error *err);
/* The same from a manifest's text; files without addresses.
 *   file  for errors */
gguf_code rt_ollama_manifest(const rt_name *name, const char *text, size_t n, const char *file,
                             rt_listing *out, gguf_error *err);

/* A file, or all shards where its name is that of a first one. */
gguf_code rt_url_list(const rt_name *name, rt_listing *out, gguf_error *err);

#endif
