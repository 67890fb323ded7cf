/* SVG and HTML output. */
#ifndef TOOLS_COMMON_PAGE_H
#define TOOLS_COMMON_PAGE_H

#include "tools/common/tool.h"

#include <stdio.h>

/* Text with the characters that mean something in XML escaped. */
void tool_xml_text(FILE *f, const char *bytes, size_t n);

/* Write an output file whole, from what fn prints. */
typedef void (*tool_page_fn)(FILE *f, const void *ctx);
gguf_code tool_save_page(const tool *t, const char *path, tool_page_fn fn, const void *ctx,
                         gguf_error *err);

#endif
