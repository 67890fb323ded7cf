/* Programs that are installed beside this one. */
#ifndef TOOLS_COMMON_BESIDE_H
#define TOOLS_COMMON_BESIDE_H

#include <stdbool.h>
#include <stddef.h>

/* The path of a program in this one's folder; false if it does not fit. */
bool tool_path_beside(const char *name, char *path, size_t room);

#endif
