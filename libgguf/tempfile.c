/* A file without a name; where the file system has none, one whose name is taken away at once. */
#include "libgguf/tempfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static int open_named(const char *folder) {
    char *path = NULL;
    if (asprintf(&path, "%s/ggufkit-XXXXXX", folder) < 0) {
        errno = ENOMEM;
        return -1;
    }
    int fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) unlink(path);
    free(path);
    return fd;
}

int gguf_temp_file(const char *folder) {
    const char *usual = getenv("TMPDIR");
    if (!folder) folder = usual && *usual ? usual : "/tmp";
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR)) return fd;
    return open_named(folder);
}
