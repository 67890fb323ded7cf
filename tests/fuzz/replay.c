/* Runs files and folders of files through a fuzz target without a fuzz engine.
 * usage: replay_TARGET [--limit SECONDS] PATH...   exit 1 if a file takes longer than the limit */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

static double limit = 1;
static size_t n_files, n_slow;
static double slowest;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* The bytes get a block of exactly their size, so that sanitizers see reads beyond it. */
static int run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    struct stat st;
    if (!f || fstat(fileno(f), &st) != 0) {
        fprintf(stderr, "%s: cannot open\n", path);
        if (f) fclose(f);
        return 1;
    }
    size_t n = (size_t)st.st_size;
    uint8_t *bytes = malloc(n ? n : 1);
    int failed = !bytes || fread(bytes, 1, n, f) != n;
    fclose(f);
    if (!failed) {
        double start = now();
        LLVMFuzzerTestOneInput(bytes, n);
        double took = now() - start;
        if (took > slowest) slowest = took;
        if (took > limit) {
            fprintf(stderr, "%s: took %.2f s\n", path, took);
            n_slow++;
        }
        n_files++;
    }
    free(bytes);
    return failed;
}

static int run_path(const char *path) {
    struct stat st;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "%s: no such file\n", path);
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) return run_file(path);
    DIR *dir = opendir(path);
    int failed = !dir;
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        char inner[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name);
        failed |= run_path(inner);
    }
    if (dir) closedir(dir);
    return failed;
}

int main(int argc, char **argv) {
    int failed = 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--limit") == 0 && i + 1 < argc)
            limit = strtod(argv[++i], NULL);
        else
            failed |= run_path(argv[i]);
    }
    printf("%zu files, slowest %.3f s\n", n_files, slowest);
    return failed || n_slow || !n_files;
}
