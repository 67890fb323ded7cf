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

/* Whether a picture can be written there: SVG, or PNG, which rsvg-convert (of librsvg) makes of it.
 * Errors: those of tool_check_output; GGUF_E_USAGE another ending; GGUF_E_UNSUPPORTED a PNG image
 * without that program. */
gguf_code tool_check_plot(tool *t, const char *path, gguf_error *err);

/* Write an SVG document that fn prints, or a PNG image of it if path ends in .png. */
gguf_code tool_save_plot(const tool *t, const char *path, tool_page_fn fn, const void *ctx,
                         gguf_error *err);

#endif
