/* Temporary files. */
#ifndef LIBGGUF_TEMPFILE_H
#define LIBGGUF_TEMPFILE_H

/* Open a file without a name, for reading and writing: it goes when it is closed.
 *   folder  NULL = $TMPDIR or /tmp
 * Returns -1 with errno set if there can be none. */
int gguf_temp_file(const char *folder);

#endif
