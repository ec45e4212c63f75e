#include <synor/base/tree.h>

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/test.h>

static const char *
at(const char *name)
{
    static char paths[4][512];
    static unsigned next;

    next = (next + 1) % 4;
    (void)snprintf(paths[next], sizeof(paths[next]), "%s/%s", syn_test_dir(), name);
    return paths[next];
}

static void
put(const char *name, size_t len)
{
    static const char block[4096] = {1};
    int fd = open(at(name), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    for (; len > 0; len -= sizeof(block))
        assert_int_equal(write(fd, block, sizeof(block)), sizeof(block));
    assert_int_equal(fsync(fd), 0);
    (void)close(fd);
}

static void
everything_below_goes(void **state)
{
    (void)state;
    put("beside", 4096);
    assert_int_equal(mkdir(at("tree"), 0700), 0);
    assert_int_equal(mkdir(at("tree/deep"), 0700), 0);
    put("tree/file", 4096);
    put("tree/deep/read-only", 4096);
    assert_int_equal(chmod(at("tree/deep/read-only"), 0400), 0);
    assert_int_equal(symlink(at("beside"), at("tree/link")), 0);
    assert_int_equal(symlink("/no/such/place", at("tree/dangling")), 0);
    assert_int_equal(mkfifo(at("tree/pipe"), 0600), 0);
    syn_tree_remove(at("tree"));
    assert_int_equal(access(at("tree"), F_OK), -1);
    assert_int_equal(access(at("beside"), F_OK), 0); /* behind a link */
    syn_tree_remove(at("tree"));
    syn_tree_remove(at("beside")); /* a file is a tree, too */
    assert_int_equal(access(at("beside"), F_OK), -1);
}

static void
bytes_are_counted(void **state)
{
    const int64_t written = 65536 + 131072;
    int64_t before;

    (void)state;
    assert_int_equal(mkdir(at("sized"), 0700), 0);
    before = syn_tree_bytes(at("sized"));
    put("sized/a", 65536);
    assert_int_equal(mkdir(at("sized/below"), 0700), 0);
    put("sized/below/b", 131072);
    assert_int_equal(symlink("/", at("sized/link")), 0);
    assert_true(syn_tree_bytes(at("sized")) >= before + written);
    assert_true(syn_tree_bytes(at("sized")) < before + 2 * written);
    assert_int_equal(syn_tree_bytes(at("no-such")), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_below_goes),
        cmocka_unit_test(bytes_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
