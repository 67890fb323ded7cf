/* The set of files that are read. */
#include "libgguf/inputs.h"
#include "libgguf/gguf.h"
#include "libgguf/split.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

typedef struct identity {
    dev_t device;
    ino_t inode;
} identity;

static struct {
    pthread_mutex_t lock;
    bool watching, lost; /* lost: one could not be noted */
    identity *items;
    size_t n, room;
} inputs = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The caller holds the lock. */
static size_t find(const struct stat *st) {
    size_t i = 0;
    while (i < inputs.n &&
           (inputs.items[i].inode != st->st_ino || inputs.items[i].device != st->st_dev))
        i++;
    return i;
}

static bool make_room(void) {
    if (inputs.n < inputs.room) return true;
    size_t room = inputs.room ? 2 * inputs.room : 16;
    identity *grown = realloc(inputs.items, room * sizeof *grown);
    if (!grown) return false;
    inputs.items = grown;
    inputs.room = room;
    return true;
}

static void note(const struct stat *st) {
    if (!S_ISREG(st->st_mode)) return;
    pthread_mutex_lock(&inputs.lock);
    if (inputs.watching && find(st) == inputs.n) {
        if (make_room())
            inputs.items[inputs.n++] = (identity){st->st_dev, st->st_ino};
        else
            inputs.lost = true;
    }
    pthread_mutex_unlock(&inputs.lock);
}

void gguf_inputs_watch(void) {
    pthread_mutex_lock(&inputs.lock);
    inputs.watching = true;
    pthread_mutex_unlock(&inputs.lock);
}

void gguf_inputs_add(const char *path) {
    struct stat st;
    char sibling[4096];
    uint32_t count = gguf_shard_count(path);
    if (stat(path, &st) == 0) note(&st);
    for (uint32_t no = 1; no < count; no++)
        if (gguf_shard_sibling(path, count, no, sibling, sizeof sibling) && stat(sibling, &st) == 0)
            note(&st);
}

void gguf_inputs_add_fd(int fd) {
    struct stat st;
    if (fstat(fd, &st) == 0) note(&st);
}

bool gguf_inputs_have(const struct stat *st) {
    pthread_mutex_lock(&inputs.lock);
    bool have = inputs.lost || find(st) < inputs.n;
    pthread_mutex_unlock(&inputs.lock);
    return have;
}

void gguf_inputs_forget(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) return;
    pthread_mutex_lock(&inputs.lock);
    size_t i = find(&st);
    if (i < inputs.n) inputs.items[i] = inputs.items[--inputs.n];
    pthread_mutex_unlock(&inputs.lock);
}
