#include <synor/base/test.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/str.h>
#include <synor/infra/line_log.h>

static char path[300], first[310], second[310], third[310];

static struct syn_line_log *
open_log(int64_t rotate_max, size_t buffer)
{
    const struct syn_line_log_options options = {
        .path = path, .rotate_max = rotate_max, .kept = 2, .buffer = buffer};
    struct syn_line_log *log = NULL;
    struct syn_err err;

    assert_done(syn_line_log_new(&options, &log, &err), &err);
    return log;
}

static void
read_file(const char *name, char *out, size_t cap)
{
    FILE *file = fopen(name, "re");
    size_t len = file != NULL ? fread(out, 1, cap - 1, file) : 0;

    out[len] = '\0';
    if (file != NULL)
        (void)fclose(file);
}

static void
await(const char *name, const char *text)
{
    const int64_t until = syn_clock_ns() + INT64_C(10000000000);
    char got[8192];

    do {
        read_file(name, got, sizeof(got));
        if (strstr(got, text) != NULL)
            return;
        (void)usleep(1000);
    } while (syn_clock_ns() < until);
    fail_msg("%s has no \"%s\": %s", name, text, got);
}

static int
begin(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof(path), "%s/lines", syn_test_dir());
    (void)snprintf(first, sizeof(first), "%s.1", path);
    (void)snprintf(second, sizeof(second), "%s.2", path);
    (void)snprintf(third, sizeof(third), "%s.3", path);
    (void)unlink(path);
    (void)unlink(first);
    (void)unlink(second);
    return 0;
}

static void
lines_are_appended(void **state)
{
    struct syn_line_log *log = open_log(0, 0);
    char got[256];

    (void)state;
    assert_true(syn_line_log_add(log, "one\n", 4));
    await(path, "one\n");
    assert_true(syn_line_log_add(log, "two\n", 4));
    log = syn_line_log_free(log);
    log = open_log(0, 0);
    assert_true(syn_line_log_add(log, "three\n", 6));
    assert_int_equal(syn_line_log_lost(log), 0);
    log = syn_line_log_free(log);
    read_file(path, got, sizeof(got));
    assert_string_equal(got, "one\ntwo\nthree\n");
}

static void
a_file_that_cannot_be_had_is_told(void **state)
{
    char where[320];
    const struct syn_line_log_options options = {.path = where};
    struct syn_line_log *log = NULL;
    struct syn_err err;

    (void)state;
    (void)snprintf(where, sizeof(where), "%s/none/lines", path);
    assert_true(syn_line_log_new(&options, &log, &err) < 0);
    assert_non_null(strstr(err.msg, "/none/lines"));
    assert_null(log);
}

static void
what_finds_no_room_is_counted_and_told(void **state)
{
    struct syn_line_log *log;
    static char got[1 << 20];
    uint64_t lost = 0, told = 0;
    size_t len = 0;
    int fd;

    (void)state;
    assert_int_equal(mkfifo(path, 0600), 0);
    fd = open(path, O_RDWR | O_CLOEXEC); /* a reader that does not read */
    assert_true(fd >= 0);
    log = open_log(0, 8192);
    for (unsigned i = 0; i < 10000000 && lost < 1000; i++)
        lost += !syn_line_log_add(log, "a line that nobody reads yet\n", 29);
    assert_true(lost >= 1000);
    assert_true(syn_line_log_lost(log) == lost);
    while (told < lost) {
        ssize_t some = read(fd, got + len, sizeof(got) - 1 - len);

        assert_true(some > 0);
        len += (size_t)some;
        got[len] = '\0';
        told = 0;
        for (const char *at = got; (at = strstr(at, "{\"dropped\":")) != NULL; at++)
            told += strtoull(at + 11, NULL, 10);
    }
    assert_true(told == lost);
    log = syn_line_log_free(log);
    assert_int_equal(close(fd), 0);
}

static void
a_renamed_file_is_let_go(void **state)
{
    struct syn_line_log *log = open_log(0, 0);

    (void)state;
    assert_true(syn_line_log_add(log, "old\n", 4));
    await(path, "old\n");
    assert_int_equal(rename(path, first), 0);
    syn_line_log_reopen(log);
    assert_true(syn_line_log_add(log, "new\n", 4));
    await(path, "new\n");
    await(first, "old\n");
    log = syn_line_log_free(log);
}

static void
a_long_file_is_rotated(void **state)
{
    struct syn_line_log *log = open_log(8, 0);
    static const char *const lines[] = {"first line\n", "second line\n", "third line\n",
                                        "fourth line\n"};
    char got[256];

    (void)state;
    for (size_t i = 0; i < SYN_LEN(lines); i++) {
        assert_true(syn_line_log_add(log, lines[i], strlen(lines[i])));
        await(path, lines[i]);
    }
    log = syn_line_log_free(log);
    read_file(path, got, sizeof(got));
    assert_string_equal(got, lines[3]);
    read_file(first, got, sizeof(got));
    assert_string_equal(got, lines[2]);
    read_file(second, got, sizeof(got));
    assert_string_equal(got, lines[1]);
    assert_int_equal(access(third, F_OK), -1);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(lines_are_appended, begin),
        cmocka_unit_test_setup(a_file_that_cannot_be_had_is_told, begin),
        cmocka_unit_test_setup(what_finds_no_room_is_counted_and_told, begin),
        cmocka_unit_test_setup(a_renamed_file_is_let_go, begin),
        cmocka_unit_test_setup(a_long_file_is_rotated, begin),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
