/* What is put around a text in GLSL, and where arguments lie. */
#include <synor/base/test.h>

#include <string.h>

#include "vulkan_priv.h"

static const char *
text_of(struct syn_buf *out, const char *text)
{
    const char *cursor = text, *end = text + strlen(text);
    struct syn_vk_signature kernel = {0};
    struct syn_err err = {0};

    assert_done(syn_vk_text_next(&cursor, end, &kernel, &err), &err);
    syn_vk_text_write(out, text, strlen(text), &kernel);
    assert_done(syn_buf_ok(out, &err), &err);
    return syn_buf_text(out);
}

static void
test_kernels_are_found(void **state)
{
    static const char text[] = "#define KERNEL_ 1 /* KERNEL no(int x) */\n"
                               "#if 1 \\\n KERNEL no(int x)\n#endif\n"
                               "// KERNEL no(int x)\n"
                               "/* KERNEL no(int x)\n */ /**/\n"
                               "void MYKERNEL(int x) {}\n"
                               "KERNEL\none ( floats x,uint n ) {}\n"
                               "/**/KERNEL two() {} KERNEL three(\n) {}\n"
                               "KERNEL four(// how many\n uint/**/n /* there are */) {}"
                               "KERNEL five(/* none */) {}";
    static const struct {
        const char *name;
        unsigned params;
    } want[] = {{"one", 2}, {"two", 0}, {"three", 0}, {"four", 1}, {"five", 0}};
    const char *cursor = text, *end = text + sizeof(text) - 1;
    struct syn_vk_signature kernel = {0};
    struct syn_err err = {0};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(want); i++) {
        assert_done(syn_vk_text_next(&cursor, end, &kernel, &err), &err);
        assert_int_equal(kernel.name_len, strlen(want[i].name));
        assert_memory_equal(kernel.name, want[i].name, kernel.name_len);
        assert_int_equal(kernel.params_count, want[i].params);
    }
    assert_int_equal(syn_vk_text_next(&cursor, end, &kernel, &err), 1);
}

/* Every beginning of a text is taken or refused, and nothing behind its end is looked at. */
static void
test_texts_that_end_early(void **state)
{
    static const char text[] = "/* c */ KERNEL name(type a, uint b) { }\n#define x \\\n y\n// end";
    static const char *const refused[] = {"KERNEL",
                                          "KERNEL (int x)",
                                          "KERNEL name",
                                          "KERNEL name;",
                                          "KERNEL name(",
                                          "KERNEL name(int x",
                                          "KERNEL n(int)",
                                          "KERNEL n(int x,)",
                                          "KERNEL n(,int x)",
                                          "KERNEL n(x)",
                                          "KERNEL n(int x[2])",
                                          "KERNEL n(const uint x)",
                                          "KERNEL n(in highp int x)"};
    struct syn_vk_signature kernel = {0};
    struct syn_err err = {0};

    (void)state;
    for (size_t len = 0; len < sizeof(text); len++) {
        char *copy = malloc(len + 1); /* a sanitizer sees what lies behind */
        const char *cursor = copy;
        int rc;

        assert_non_null(copy);
        memcpy(copy, text, len);
        rc = syn_vk_text_next(&cursor, copy + len, &kernel, &err);
        if (rc != SYN_OK && rc != 1 && rc != SYN_E_INVALID)
            fail_msg("%zu bytes: %d", len, rc);
        free(copy);
    }
    for (size_t i = 0; i < SYN_LEN(refused); i++) {
        const char *cursor = refused[i];

        assert_code(syn_vk_text_next(&cursor, cursor + strlen(cursor), &kernel, &err),
                    SYN_E_INVALID, &err);
    }
}

static void
test_many_parameters(void **state)
{
    struct syn_vk_signature kernel = {0};
    struct syn_err err = {0};

    (void)state;
    for (unsigned count = SYN_DRV_ARGS_MAX; count <= SYN_DRV_ARGS_MAX + 1; count++) {
        const char *cursor = NULL;
        int rc;
        SYN_BUF(text);

        syn_buf_adds(&text, "KERNEL many(");
        for (unsigned i = 0; i < count; i++)
            syn_buf_addf(&text, "%suint x%u", i > 0 ? ", " : "", i);
        syn_buf_adds(&text, ") {}");
        cursor = syn_buf_text(&text);
        rc = syn_vk_text_next(&cursor, cursor + text.len, &kernel, &err);
        assert_int_equal(rc, count > SYN_DRV_ARGS_MAX ? SYN_E_INVALID : SYN_OK);
    }
}

static void
test_shaders(void **state)
{
    const char *text = NULL;
    SYN_BUF(out);

    (void)state;
    text = text_of(&out, "KERNEL k(READS  x, uint n\n) {}");
    assert_int_equal(strncmp(text, "#version 460\n", 13), 0);
    assert_non_null(strstr(text, "#line 1\nKERNEL k(READS  x, uint n\n) {}\n"));
    assert_non_null(strstr(text, " {layout(align = 8) READS a0;layout(align = 8) uint a1;};\n"));
    assert_non_null(strstr(text, "void main() { k(syn_at.a0, syn_at.a1); }\n"));
    syn_buf_clear(&out);
    text = text_of(&out, "KERNEL k() {}");
    assert_null(strstr(text, "syn_arguments"));
    assert_non_null(strstr(text, "void main() { k(); }\n"));
}

static void
test_places(void **state)
{
    static const struct {
        uint64_t end, want;
    } rows[] = {{0, 0}, {1, 8}, {4, 8}, {7, 8}, {8, 8}, {9, 16}, {20, 24}};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_int_equal(syn_vk_text_place(rows[i].end), rows[i].want);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kernels_are_found),
        cmocka_unit_test(test_texts_that_end_early),
        cmocka_unit_test(test_many_parameters),
        cmocka_unit_test(test_shaders),
        cmocka_unit_test(test_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
