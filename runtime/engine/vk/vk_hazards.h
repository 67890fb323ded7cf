/* Which stretches of memory were touched since the last barrier, so that a barrier is made only
 * where an access needs one. Plain C, without a device. */
#ifndef RUNTIME_ENGINE_VK_VK_HAZARDS_H
#define RUNTIME_ENGINE_VK_VK_HAZARDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes first .. end of a memory, whose number the caller chooses. */
typedef struct vk_access {
    uint32_t memory;
    bool writes;
    uint64_t first, end;
} vk_access;

#define VK_MAX_ACCESSES 256

typedef struct vk_hazards {
    vk_access seen[VK_MAX_ACCESSES];
    size_t n;
} vk_hazards;

/* Whether any of n accesses has to wait for one that was noted: they overlap, and one writes. Also
 * where there is no room to note them. */
bool vk_hazards_conflict(const vk_hazards *hazards, const vk_access *accesses, size_t n);
void vk_hazards_note(vk_hazards *hazards, const vk_access *accesses, size_t n);
/* After a barrier. */
void vk_hazards_clear(vk_hazards *hazards);

#endif
