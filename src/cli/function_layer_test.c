#include <synor/base/str.h>
#include <synor/base/test.h>

#include "function_priv.h"

static const char *
words_of(const struct syn_cli_layer_command *command)
{
    static char text[512];
    size_t len = 0;

    for (size_t i = 0; command->argv[i] != NULL; i++) {
        (void)snprintf(text + len, sizeof(text) - len, "%s%s", i > 0 ? " " : "", command->argv[i]);
        len = strlen(text);
    }
    return text;
}

static void
pip_is_of_the_version_that_is_wanted(void **state)
{
    static const struct {
        const char *runtime;
        bool same;
        const char *begins, *has;
    } cases[] = {
        {"python311", true, "python3.11 -m pip install ", "--target DIR --requirement FILE"},
        {"python3", true, "python3 -m pip install ", "--target DIR"},
        {"python3", false, "python3 -m pip install ", "--target DIR"},
        /* Another Python takes what is built for that version. */
        {"python312", false, "python3 -m pip install ",
         "--only-binary=:all: --python-version 3.12 "},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        struct syn_cli_layer_command command;

        syn_cli_layer_pip(cases[i].runtime, "FILE", "DIR", cases[i].same, false, &command);
        assert_true(syn_str_starts(words_of(&command), cases[i].begins));
        assert_non_null(strstr(words_of(&command), cases[i].has));
        assert_null(strstr(words_of(&command), "--quiet"));
        assert_int_equal(strstr(words_of(&command), "--only-binary") != NULL,
                         !cases[i].same && command.version[0] != '\0');
    }
}

static void
npm_keeps_to_what_is_locked(void **state)
{
    struct syn_cli_layer_command command;

    (void)state;
    syn_cli_layer_npm("DIR", false, true, &command);
    assert_string_equal(words_of(&command), "npm install --omit=dev --no-audit --no-fund "
                                            "--install-links --loglevel=error --prefix DIR");
    syn_cli_layer_npm("DIR", true, false, &command);
    assert_string_equal(
        words_of(&command),
        "npm ci --omit=dev --no-audit --no-fund --install-links --loglevel=notice --prefix DIR");
}

static void
bundler_keeps_to_what_is_locked(void **state)
{
    struct syn_cli_layer_command command;

    (void)state;
    syn_cli_layer_bundle("DIR", true, false, &command);
    assert_string_equal(words_of(&command),
                        "env BUNDLE_GEMFILE=DIR/Gemfile BUNDLE_IGNORE_CONFIG=1 "
                        "BUNDLE_WITHOUT=development:test bundle install --no-cache --frozen "
                        "--path DIR");
    syn_cli_layer_bundle("DIR", false, true, &command);
    assert_non_null(strstr(words_of(&command), "--no-cache --quiet"));
}

static void
names_differ_by_what_is_installed(void **state)
{
    static const struct {
        const char *runtime, *file, *lock;
    } cases[] = {
        {"python3", "flask\n", ""}, {"python311", "flask\n", ""}, {"python3", "flask", ""},
        {"node", "{}", ""},         {"node", "{}", "{}"},         {"node", "{", "}{}"},
    };
    char names[SYN_LEN(cases)][64], again[64];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(cases); i++) {
        SYN_BUF(file);
        SYN_BUF(lock);

        syn_buf_adds(&file, cases[i].file);
        syn_buf_adds(&lock, cases[i].lock);
        syn_cli_layer_name(cases[i].runtime, &file, &lock, names[i]);
        syn_cli_layer_name(cases[i].runtime, &file, &lock, again);
        assert_string_equal(names[i], again);
        assert_true(syn_name_ok(names[i]));
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(names[i], names[k]);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pip_is_of_the_version_that_is_wanted),
        cmocka_unit_test(npm_keeps_to_what_is_locked),
        cmocka_unit_test(bundler_keeps_to_what_is_locked),
        cmocka_unit_test(names_differ_by_what_is_installed),
    };

    return cmocka_run_group_tests_name("function-layer", tests, NULL, NULL);
}
