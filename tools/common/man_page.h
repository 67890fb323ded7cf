/* Manual pages, written from a command's option table. */
#ifndef TOOLS_COMMON_MAN_PAGE_H
#define TOOLS_COMMON_MAN_PAGE_H

#include "tools/common/tool.h"

/* Print the page of section 1 to stdout: the command, its commands within, the common options. */
void tool_print_man_page(const tool_spec *spec, const tool_option *common);

#endif
