/* Accesses since the last barrier, as a list: there are few between two barriers. */
#include "runtime/engine/vk/vk_hazards.h"

static bool collide(const vk_access *a, const vk_access *b) {
    return a->memory == b->memory && (a->writes || b->writes) && a->first < b->end &&
           b->first < a->end;
}

bool vk_hazards_conflict(const vk_hazards *hazards, const vk_access *accesses, size_t n) {
    if (hazards->n + n > VK_MAX_ACCESSES) return true;
    for (size_t i = 0; i < hazards->n; i++)
        for (size_t k = 0; k < n; k++)
            if (collide(&hazards->seen[i], &accesses[k])) return true;
    return false;
}

void vk_hazards_note(vk_hazards *hazards, const vk_access *accesses, size_t n) {
    for (size_t i = 0; i < n; i++) hazards->seen[hazards->n++] = accesses[i];
}

void vk_hazards_clear(vk_hazards *hazards) {
    hazards->n = 0;
}
