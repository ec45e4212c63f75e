/* Walking a folder that is to be uploaded. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "tree.h"

#define TREE(name) SYN_SCOPED(syn_cli_tree_fini) struct syn_cli_tree name = {.fd = -1}

static const char *
path_of(const char *name)
{
    static char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/tree/%s", syn_test_dir(), name);
    return path;
}

static void
make_file(const char *name, const char *text)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static int
setup(void **state)
{
    static const char *const folders[] = {"", "src", "src/deep", "data", "hollow"};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        if (mkdir(path_of(folders[i]), 0755) != 0 && errno != EEXIST)
            return -1;
    }
    make_file("b.py", "print(1)\n");
    make_file("test_b.py", "assert 1\n");
    make_file("src/a.py", "x");
    make_file("src/deep/z.txt", "zz");
    make_file("data/big.bin", "0123456789");
    make_file("none", "");
    if (symlink("/etc", path_of("data/outside")) != 0 && errno != EEXIST)
        return -1;
    return mkfifo(path_of("pipe"), 0600) != 0 && errno != EEXIST ? -1 : 0;
}

static void
assert_paths(const struct syn_cli_tree *tree, const char *const *want)
{
    size_t i = 0;

    for (; want[i] != NULL; i++) {
        if (i >= tree->count || !syn_str_eq(tree->entries[i].path, want[i]))
            fail_msg("entry %zu is %s, want %s", i,
                     i < tree->count ? tree->entries[i].path : "missing", want[i]);
    }
    assert_int_equal(tree->count, i);
}

/* Sorted, links as links, what is no file left out and counted. */
static void
test_all(void **state)
{
    static const char *const want[] = {"b.py",           "data/big.bin", "data/outside",
                                       "hollow",         "none",         "src/a.py",
                                       "src/deep/z.txt", "test_b.py",    NULL};
    struct syn_err err;
    TREE(tree);

    (void)state;
    assert_done(syn_cli_tree_read(path_of(""), NULL, NULL, &tree, &err), &err);
    assert_paths(&tree, want);
    assert_true(tree.folder);
    assert_string_equal(tree.entries[2].target, "/etc");
    assert_null(tree.entries[0].target);
    assert_true(tree.entries[3].folder);
    assert_false(tree.entries[0].folder);
    assert_int_equal(tree.size_bytes, 9 + 10 + 1 + 2 + 9);
    assert_int_equal(tree.skipped, 1);
}

static const struct filter {
    const char *include[3];
    const char *exclude[4];
    const char *want[6];
} filters[] = {
    {{"*.py"}, {"test_*.py"}, {"b.py", "src/a.py"}},
    {{"src/*.py"}, {NULL}, {"src/a.py"}},
    {{NULL}, {"src", "data"}, {"b.py", "hollow", "none", "test_b.py"}},
    {{NULL}, {"src", "data", "hollow"}, {"b.py", "none", "test_b.py"}},
    {{"*"}, {"*.py", "data/*"}, {"none", "src/deep/z.txt"}},
    {{"*.txt"}, {"deep"}, {NULL}},
};

static json_t *
globs(const char *const *texts)
{
    json_t *list = texts[0] == NULL ? NULL : json_array();

    for (size_t i = 0; list != NULL && texts[i] != NULL; i++)
        (void)json_array_append_new(list, json_string(texts[i]));
    return list;
}

static void
test_filters(void **state)
{
    (void)state;
    for (size_t i = 0; i < SYN_LEN(filters); i++) {
        struct syn_err err;
        SYN_JSON(include);
        SYN_JSON(exclude);
        TREE(tree);

        include = globs(filters[i].include);
        exclude = globs(filters[i].exclude);
        assert_done(syn_cli_tree_read(path_of(""), include, exclude, &tree, &err), &err);
        assert_paths(&tree, filters[i].want);
    }
}

/* Unchanged content finds its upload again, changed content never does. */
static void
test_key(void **state)
{
    struct syn_err err;
    TREE(first);
    TREE(again);
    TREE(changed);
    TREE(part);

    (void)state;
    assert_done(syn_cli_tree_read(path_of(""), NULL, NULL, &first, &err), &err);
    assert_done(syn_cli_tree_read(path_of("src/.."), NULL, NULL, &again, &err), &err);
    assert_string_equal(first.key, again.key);
    assert_true(syn_name_ok(first.key));
    assert_done(syn_cli_tree_read(path_of("src"), NULL, NULL, &part, &err), &err);
    assert_string_not_equal(first.key, part.key);
    make_file("src/a.py", "xy");
    assert_done(syn_cli_tree_read(path_of(""), NULL, NULL, &changed, &err), &err);
    assert_string_not_equal(first.key, changed.key);
    make_file("src/a.py", "x");
}

static void
test_file(void **state)
{
    struct syn_err err;
    TREE(tree);

    (void)state;
    assert_done(syn_cli_tree_read(path_of("b.py"), NULL, NULL, &tree, &err), &err);
    assert_false(tree.folder);
    assert_int_equal(tree.count, 1);
    assert_string_equal(tree.entries[0].path, "");
    assert_int_equal(tree.size_bytes, 9);
}

static void
test_refuses(void **state)
{
    struct syn_err err;
    SYN_JSON(bad);
    TREE(tree);

    (void)state;
    assert_code(syn_cli_tree_read(path_of("nobody"), NULL, NULL, &tree, &err), SYN_E_NOTFOUND,
                &err);
    syn_cli_tree_fini(&tree);
    assert_code(syn_cli_tree_read(path_of("pipe"), NULL, NULL, &tree, &err), SYN_E_INVALID, &err);
    syn_cli_tree_fini(&tree);
    bad = json_pack("[i]", 5);
    assert_code(syn_cli_tree_read(path_of(""), bad, NULL, &tree, &err), SYN_E_INVALID, &err);
    syn_cli_tree_fini(&tree);
    assert_code(syn_cli_tree_read(path_of(""), NULL, bad, &tree, &err), SYN_E_INVALID, &err);
}

/* What has no size to go by, or no end. */
static void
test_what_is_no_plain_file(void **state)
{
    static const struct {
        const char *path;
        int code;
        const char *says;
    } rows[] = {
        {"/proc/self/mem", SYN_E_IO, "reading it"},
        {"/proc/cpuinfo", SYN_E_INVALID, "holds something"},
        {"/dev/null", SYN_E_INVALID, "neither a file nor a folder"},
        {"/dev/zero", SYN_E_INVALID, "neither a file nor a folder"},
        {"/proc/self/fdinfo", SYN_E_INVALID, "holds something"}, /* a folder of such files */
    };
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct syn_err err;
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        TREE(tree);

        if (access(rows[i].path, F_OK) != 0)
            continue;
        assert_code(syn_cli_tree_read(rows[i].path, NULL, NULL, &tree, &err), rows[i].code, &err);
        assert_non_null(strstr(err.msg, rows[i].says));
        assert_non_null(strstr(err.msg, rows[i].path));
    }
    assert_true(fd >= 0);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/s", syn_test_dir());
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof(address)), 0);
    TREE(tree);
    assert_code(syn_cli_tree_read(address.sun_path, NULL, NULL, &tree, &err), SYN_E_INVALID, &err);
    (void)close(fd);
}

static int
read_all(void *arg, struct syn_err *err)
{
    TREE(tree);

    (void)arg;
    return syn_cli_tree_read(path_of(""), NULL, NULL, &tree, err);
}

static void
test_short_of_memory(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(read_all, NULL) >= 7);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all),
        cmocka_unit_test(test_filters),
        cmocka_unit_test(test_key),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_what_is_no_plain_file),
        cmocka_unit_test(test_short_of_memory),
    };

    syn_json_init();
    return cmocka_run_group_tests(tests, setup, NULL);
}
