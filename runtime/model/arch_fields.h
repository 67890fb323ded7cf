/* The fields of an architecture description: docs/adding-an-architecture.md explains them. */
#ifndef RUNTIME_MODEL_ARCH_FIELDS_H
#define RUNTIME_MODEL_ARCH_FIELDS_H

#include "libgguf/yaml.h"

/* For gguf_yaml_check. */
extern const gguf_yaml_field rt_arch_fields[];

#endif
