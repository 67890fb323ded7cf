/* What names of models mean. */
#include "runtime/pull/model_name.h"
#include "tests/unit/unit.h"

static const struct {
    const char *text, *full; /* NULL: refused */
    rt_name_kind kind;
} names[] = {
    {"hf://Org/Repo", "hf://Org/Repo", RT_NAME_HF},
    {"Org/Repo", "hf://Org/Repo", RT_NAME_HF},
    {"Org/Repo:Q4_K_M", "hf://Org/Repo:Q4_K_M", RT_NAME_HF},
    {"hf.co/Org/Repo:Q4_K_M@v1.0", "hf://Org/Repo:Q4_K_M@v1.0", RT_NAME_HF},
    {"hf://Org/Repo:sub/x.gguf@main", "hf://Org/Repo:sub/x.gguf", RT_NAME_HF},
    {"Org/Repo:x.gguf", "hf://Org/Repo:x.gguf", RT_NAME_HF},
    {"https://huggingface.co/Org/Repo", "hf://Org/Repo", RT_NAME_HF},
    {"https://huggingface.co/Org/Repo/resolve/v2/a/x.gguf?download=true",
     "hf://Org/Repo:a/x.gguf@v2", RT_NAME_HF},
    {"https://example.org/a/x-Q8_0.gguf", "https://example.org/a/x-Q8_0.gguf", RT_NAME_URL},
    {"ollama://llama3.2", "ollama://llama3.2:latest", RT_NAME_OLLAMA},
    {"ollama://me/mine:7b", "ollama://me/mine:7b", RT_NAME_OLLAMA},
    {"ollama://127.0.0.1:5000/me/mine", "ollama://127.0.0.1:5000/me/mine:latest", RT_NAME_OLLAMA},
    {"llama3.2:1b", "llama3.2:1b", RT_NAME_BARE},
    {"model.gguf", NULL, RT_NAME_PATH},
    {"folder/sub/model", NULL, RT_NAME_PATH},
    {"./Org/Repo", NULL, RT_NAME_PATH},
    {"/tmp", NULL, RT_NAME_PATH},
    {"", NULL, RT_NAME_PATH},
};

static const char *const refused[] = {
    "hf://Org",         "hf://Org/Repo:../x",       "hf://Org/../x",
    "hf://Org/.Repo",   "hf://Org/Repo@a/b",        "ollama://",
    "ollama://a/b/c/d", "ollama://x:../y",          "https://example.org/x.bin",
    "https:///x.gguf",  "ftp://example.org/x.gguf", "https://user@example.org/x.gguf",
};

START_TEST(names_have_one_meaning) {
    char text[RT_NAME_ROOM];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        rt_name name;
        gguf_error err = {0};
        unit_ok(rt_name_parse(names[i].text, &name, &err), err);
        ck_assert_msg(name.kind == names[i].kind, "%s is of kind %d", names[i].text, name.kind);
        if (names[i].full) ck_assert_str_eq(rt_name_text(&name, text, sizeof text), names[i].full);
    }
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        rt_name name;
        ck_assert_msg(rt_name_parse(refused[i], &name, NULL) == GGUF_E_USAGE, "%s", refused[i]);
    }
}
END_TEST

static void count(void *ctx, const char *name, const char *model) {
    rt_name parsed, bare = {.kind = RT_NAME_BARE};
    ck_assert_msg(rt_name_parse(model, &parsed, NULL) == GGUF_OK && parsed.kind == RT_NAME_HF, "%s",
                  model);
    snprintf(bare.model, sizeof bare.model, "%s", name);
    snprintf(bare.choice, sizeof bare.choice, "Q4_K_M");
    ck_assert_msg(rt_name_builtin(&bare, &parsed), "%s", name);
    ck_assert_str_eq(parsed.choice, "Q4_K_M");
    ++*(size_t *)ctx;
}

START_TEST(short_names_are_names) {
    size_t n = 0;
    gguf_error err = {0};
    unit_ok(rt_names_builtin(count, &n, &err), err);
    ck_assert_uint_gt(n, 0);
}
END_TEST

START_TEST(loopback_is_this_machine) {
    static const char *const here[] = {"127.0.0.1", "127.8.8.8:80", "localhost:1", "[::1]:80"};
    static const char *const elsewhere[] = {"127.0.0.1.example.org", "localhost.example.org",
                                            "10.0.0.1", "1270.0.0.1", "[::2]"};
    for (size_t i = 0; i < 4; i++) ck_assert(rt_host_is_loopback(here[i], strlen(here[i])));
    for (size_t i = 0; i < 5; i++)
        ck_assert(!rt_host_is_loopback(elsewhere[i], strlen(elsewhere[i])));
}
END_TEST

int main(void) {
    Suite *suite = suite_create("model_name");
    TCase *tests = tcase_create("model_name");
    tcase_add_test(tests, names_have_one_meaning);
    tcase_add_test(tests, short_names_are_names);
    tcase_add_test(tests, loopback_is_this_machine);
    suite_add_tcase(suite, tests);
    return unit_run(suite);
}
