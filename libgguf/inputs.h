/* The files that this process reads, known by device and inode, so that no output takes the place
 * of one of them. A command turns the watch on; a program that uses the library and writes over
 * what it has read does not, and nothing is noted. Threads: safe. */
#ifndef LIBGGUF_INPUTS_H
#define LIBGGUF_INPUTS_H

#include <stdbool.h>

struct stat;

/* From now on every file that a reader of this library opens is noted. */
void gguf_inputs_watch(void);

/* Note a file before it is opened, links resolved; with the name of a shard, its whole set. What is
 * absent or no regular file is passed over. */
void gguf_inputs_add(const char *path);
/* Note an open file; what is no regular file is passed over. */
void gguf_inputs_add_fd(int fd);

/* Whether the file is one of them. If memory ran out while one was noted, every file is. */
bool gguf_inputs_have(const struct stat *st);

/* The file may be replaced after all: a run goes on with what it wrote before. */
void gguf_inputs_forget(const char *path);

#endif
