/* Finding the folder of this program. */
#include "tools/common/beside.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

bool tool_path_beside(const char *name, char *path, size_t room) {
    ssize_t n = readlink("/proc/self/exe", path, room - 1);
    if (n <= 0) return false;
    path[n] = 0;
    char *slash = strrchr(path, '/');
    size_t kept = slash ? (size_t)(slash - path) + 1 : 0;
    return snprintf(path + kept, room - kept, "%s", name) < (int)(room - kept);
}
