/* --help, written from a command's tables. */
#ifndef TOOLS_COMMON_HELP_H
#define TOOLS_COMMON_HELP_H

#include "tools/common/tool.h"

/* Whether a word is among words with spaces between. */
bool tool_has_word(const char *words, const char *word);

/* The row that an id's spellings stand for; NULL for the model. */
const tool_option *tool_row_of(const tool_option *options, int id);

/* The heading that begins before an option, or NULL. */
const char *tool_heading_of(const tool_spec *spec, const char *option);

/* An option's help below a heading or in the help of a verb, which it need not name once more:
 * without the "VERB: " that it begins with. */
const char *tool_help_of(const tool_option *o, const char *verb);

/* The verb of a command line; NULL without one. */
const tool_verb *tool_verb_asked(const tool_spec *spec, char **argv);

/* To stdout.
 *   verb    whose help it is; NULL = the whole command's
 *   common  options of all commands */
void tool_print_help(const tool_spec *spec, const tool_verb *verb, const tool_option *common);

#endif
