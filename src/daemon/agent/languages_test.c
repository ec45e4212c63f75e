/* The interpreters of these tests are this program itself, which says a version when it is asked.
 */
#include <synor/base/test.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "agent_priv.h"

static char root[512];
static struct agt_languages known;

static void
at(const char *path, char out[1024])
{
    (void)snprintf(out, 1024, "%s%s", root, path);
}

static void
put_program(const char *path)
{
    char whole[1024], bytes[65536];
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to;
    ssize_t n;

    at(path, whole);
    (void)unlink(whole);
    to = open(whole, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    assert_true(from >= 0 && to >= 0);
    while ((n = read(from, bytes, sizeof(bytes))) > 0)
        assert_int_equal(write(to, bytes, (size_t)n), n);
    (void)close(from);
    (void)close(to);
}

static void
put_link(const char *target, const char *path)
{
    char whole[1024];

    at(path, whole);
    assert_int_equal(symlink(target, whole), 0);
}

static void
assert_found(const char *want)
{
    struct syn_err err;
    SYN_JSON(list);
    SYN_BUF(text);
    const json_t *row;
    size_t i;

    assert_done(agt_languages(&known, root, &list, &err), &err);
    json_array_foreach (list, i, row)
        syn_buf_addf(&text, "%s %s %s %s; ", syn_json_str(row, "name", ""),
                     syn_json_str(row, "version", ""), syn_json_str(row, "path", ""),
                     syn_json_str(row, "state", ""));
    assert_string_equal(syn_buf_text(&text), want);
}

static int
set_up(void **state)
{
    static const char *const folders[] = {"",           "/usr",           "/usr/bin",
                                          "/usr/local", "/usr/local/bin", "/home"};
    char path[1024];
    static unsigned number;

    (void)state;
    (void)snprintf(root, sizeof(root), "%s/%u", syn_test_dir(), number++);
    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        at(folders[i], path);
        assert_int_equal(mkdir(path, 0755), 0);
    }
    known.count = 0;
    return 0;
}

static void
test_each_version_is_told_once(void **state)
{
    (void)state;
    assert_found("");
    put_program("/usr/bin/python3.11");
    put_link("python3.11", "/usr/bin/python3");
    put_program("/usr/local/bin/python3.12");
    put_program("/usr/bin/node20");
    put_link("node20", "/usr/bin/node");
    assert_found("python 3.11.2 /usr/bin/python3 ready; "
                 "python 3.12.2 /usr/local/bin/python3.12 ready; "
                 "node 20.1.0 /usr/bin/node ready; ");
}

static void
test_what_instances_do_not_see_does_not_count(void **state)
{
    char path[1024], home[1024];
    int fd;

    (void)state;
    put_program("/home/python3.11");
    at("/home/python3.11", home);
    put_link(home, "/usr/bin/python3");
    at("/usr/bin/node", path);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    assert_int_equal(write(fd, "#!/bin/sh\necho v20.0.0\n", 23), 23);
    (void)close(fd);
    put_link("nowhere", "/usr/bin/python3.10");
    put_program("/usr/bin/python3.9");
    at("/usr/bin/python3.9", path);
    assert_int_equal(chmod(path, 0700), 0); /* of root alone */
    assert_found("");
}

static void
test_old_ones_are_told_as_such(void **state)
{
    (void)state;
    put_program("/usr/bin/node16");
    put_link("node16", "/usr/bin/node");
    assert_found("node 16.1.0 /usr/bin/node too-old; ");
}

static void
test_another_file_is_asked_again(void **state)
{
    char path[1024];

    (void)state;
    put_program("/usr/bin/python3.11");
    assert_found("python 3.11.2 /usr/bin/python3.11 ready; ");
    /* It is not asked again: the answer would be another. */
    (void)snprintf(known.rows[0].version, sizeof(known.rows[0].version), "3.11.7");
    assert_found("python 3.11.7 /usr/bin/python3.11 ready; ");
    known.rows[0].mtime--;
    assert_found("python 3.11.2 /usr/bin/python3.11 ready; ");
    at("/usr/bin/python3.11", path);
    assert_int_equal(unlink(path), 0);
    assert_found("");
}

/* "Python 3.N.2" of a file python3.N, "vN.1.0" of nodeN. */
static int
say_version(void)
{
    char path[1024];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - 1);
    const char *name;

    path[len > 0 ? len : 0] = '\0';
    name = strrchr(path, '/');
    if (name != NULL && syn_str_starts(name, "/python"))
        (void)printf("Python %s.2\n", name + strlen("/python"));
    else if (name != NULL)
        (void)printf("v%s.1.0\n", name + strlen("/node"));
    return 0;
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_each_version_is_told_once, set_up),
        cmocka_unit_test_setup(test_what_instances_do_not_see_does_not_count, set_up),
        cmocka_unit_test_setup(test_old_ones_are_told_as_such, set_up),
        cmocka_unit_test_setup(test_another_file_is_asked_again, set_up),
    };

    if (argc > 1 && syn_str_eq(argv[1], "--version"))
        return say_version();
    syn_json_init();
    return cmocka_run_group_tests_name("languages", tests, NULL, NULL);
}
