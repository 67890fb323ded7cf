/* gguf-bench serve, a command of its own. */
#ifndef TOOLS_BENCH_RUN_SERVE_H
#define TOOLS_BENCH_RUN_SERVE_H

#include "tools/common/tool.h"

const tool_spec *bench_serve_spec(void);
int bench_serve_main(int argc, char **argv);

#endif
