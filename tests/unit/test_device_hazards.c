/* Which accesses need a barrier. */
#include "runtime/engine/vk/vk_hazards.h"
#include "unit.h"

static bool conflicts(const vk_hazards *h, uint32_t memory, bool writes, uint64_t first,
                      uint64_t end) {
    const vk_access access = {memory, writes, first, end};
    return vk_hazards_conflict(h, &access, 1);
}

START_TEST(only_overlaps_with_a_write_conflict) {
    vk_hazards h = {0};
    const vk_access seen[2] = {{0, true, 100, 200}, {0, false, 300, 400}};
    vk_hazards_note(&h, seen, 2);
    ck_assert(conflicts(&h, 0, false, 199, 250));
    ck_assert(conflicts(&h, 0, true, 0, 101));
    ck_assert(conflicts(&h, 0, true, 350, 360));
    ck_assert(!conflicts(&h, 0, false, 350, 360)); /* both read */
    ck_assert(!conflicts(&h, 0, true, 200, 300));  /* between them */
    ck_assert(!conflicts(&h, 1, true, 100, 200));  /* another memory */
    vk_hazards_clear(&h);
    ck_assert(!conflicts(&h, 0, true, 0, 1000));
}
END_TEST

START_TEST(a_full_list_asks_for_a_barrier) {
    vk_hazards h = {0};
    for (uint64_t i = 0; i < VK_MAX_ACCESSES; i++) {
        const vk_access access = {0, true, i, i + 1};
        ck_assert(!vk_hazards_conflict(&h, &access, 1));
        vk_hazards_note(&h, &access, 1);
    }
    ck_assert(conflicts(&h, 2, false, 5000, 5001));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("device_hazards");
    TCase *tc = tcase_create("hazards");
    tcase_add_test(tc, only_overlaps_with_a_write_conflict);
    tcase_add_test(tc, a_full_list_asks_for_a_barrier);
    suite_add_tcase(suite, tc);
    return unit_run(suite);
}
