/* What the name of a published model says: "Org/Base-7B-Instruct-v0.2" taken apart. */
#ifndef RUNTIME_IMPORT_MODEL_ID_H
#define RUNTIME_IMPORT_MODEL_ID_H

#include <stddef.h>

#define RT_MODEL_ID_MAX 256

/* Empty texts stand for parts that the name does not have. */
typedef struct rt_model_id {
    char name[RT_MODEL_ID_MAX]; /* without the organisation, as it was */
    char organization[RT_MODEL_ID_MAX];
    char basename[RT_MODEL_ID_MAX], finetune[RT_MODEL_ID_MAX], version[RT_MODEL_ID_MAX],
        size_label[RT_MODEL_ID_MAX];
} rt_model_id;

/* n_params: of the model, to tell a size from a context length; 0 = unknown. */
void rt_model_id_parse(const char *id, double n_params, rt_model_id *out);

/* "llama-3.2-1b" -> "Llama 3.2 1b" */
void rt_model_title(const char *id, char *out, size_t room);

#endif
