/* Grammars of answers in channels (channels.h): special tokens stand apart from the texts that
 * other tokens spell. */
#ifndef RUNTIME_CHAT_GRAMMAR_CHANNELS_H
#define RUNTIME_CHAT_GRAMMAR_CHANNELS_H

#include "runtime/chat/grammar_build.h"

/* What stands for a special token, before its text; no text in UTF-8 has it. */
#define RT_SPECIAL_BYTE 0xFF

/* A special token, such as <|end|>. */
rt_expr rt_channel_mark(rt_grammar_builder *b, const char *token);
/* Messages before the last one, with the beginning of what follows.
 *   most      of them
 *   preamble  they may be in the channel `commentary` too, not only in `analysis` */
rt_expr rt_channel_thoughts(rt_grammar_builder *b, uint32_t most, bool preamble);
/* What may say, behind the name of a channel, that the text is JSON. */
rt_expr rt_channel_form(rt_grammar_builder *b);
/* The final message; its text is `body`. */
rt_expr rt_channel_final(rt_grammar_builder *b, rt_expr body);
/* Any text. */
rt_expr rt_channel_text(rt_grammar_builder *b);

/* Answers whose final message belongs to a grammar; one that is of answers in channels itself is
 * returned. It lives as long as the grammar. NULL: out of memory. Threads: any. */
rt_grammar *rt_grammar_in_channels(rt_grammar *grammar);

#endif
