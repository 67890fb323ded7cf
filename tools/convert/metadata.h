/* Keys that the user adds to a converted file. */
#ifndef TOOLS_CONVERT_METADATA_H
#define TOOLS_CONVERT_METADATA_H

#include "libgguf/gguf.h"

/* Set the keys of a YAML file: fields of a model card (name, license, tags ...) and GGUF keys with
 * a dot, as KEY: TYPE:VALUE. Errors: GGUF_E_FORMAT (an unknown field), GGUF_E_USAGE (a wrong
 * value), those of the reader. */
gguf_code metadata_load(const char *path, gguf_meta *meta, gguf_error *err);

#endif
