/* Volumes by themselves: made, mounted, made larger, and completed after a crash in the middle,
 * with everything that was on them. As root, with loop devices. */
#include <synor/runtime/volume.h>

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <synor/base/test.h>

#define MIB INT64_C(1048576)

struct world {
    char dir[160], data[200], kept[240], mark[200], disk[200];
};

static int
set_up(void **state)
{
    static struct world world;
    struct syn_err err;

    (void)snprintf(world.dir, sizeof(world.dir), "%s/volume", syn_test_dir());
    (void)snprintf(world.mark, sizeof(world.mark), "%s/growing", world.dir);
    (void)snprintf(world.disk, sizeof(world.disk), "%s/disk.img", world.dir);
    *state = NULL;
    if (geteuid() != 0 || access("/dev/loop-control", F_OK) != 0)
        return 0;
    assert_int_equal(mkdir(world.dir, 0700), 0);
    if (syn_volume_open(world.dir, 16 * MIB, world.data, sizeof(world.data), &err) < 0) {
        print_message("# %s\n", err.msg);
        return 0;
    }
    (void)snprintf(world.kept, sizeof(world.kept), "%s/kept", world.data);
    *state = &world;
    return 0;
}

static int
tear_down(void **state)
{
    const struct world *world = *state;
    struct syn_err err;

    if (world != NULL)
        assert_done(syn_volume_destroy(world->dir, &err), &err);
    return 0;
}

static struct world *
need(void **state)
{
    if (*state == NULL)
        skip();
    return *state;
}

/* So many bytes as fit, up to `most`, written anew or read and found right. */
static int64_t
fill(const struct world *world, int64_t most)
{
    char block[4096];
    int64_t done = 0;
    int fd = open(world->kept, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

    assert_true(fd >= 0);
    while (done < most) {
        memset(block, (int)(done / (int64_t)sizeof(block) % 251), sizeof(block));
        if (write(fd, block, sizeof(block)) != sizeof(block))
            break;
        done += (int64_t)sizeof(block);
    }
    (void)close(fd);
    return done;
}

static void
assert_kept(const struct world *world, int64_t bytes)
{
    char block[4096];
    int fd = open(world->kept, O_RDONLY | O_CLOEXEC);

    assert_true(fd >= 0);
    for (int64_t done = 0; done < bytes; done += (int64_t)sizeof(block)) {
        assert_int_equal(read(fd, block, sizeof(block)), sizeof(block));
        for (size_t i = 0; i < sizeof(block); i += 511)
            assert_int_equal((unsigned char)block[i], done / (int64_t)sizeof(block) % 251);
    }
    (void)close(fd);
}

static void
reopen(struct world *world, int64_t bytes)
{
    struct syn_err err;

    assert_done(syn_volume_open(world->dir, bytes, world->data, sizeof(world->data), &err), &err);
}

static void
grows_with_what_is_on_it(void **state)
{
    struct world *world = need(state);
    struct syn_volume_usage usage;
    struct syn_err err;
    int64_t had;

    had = fill(world, 68 * MIB);
    assert_true(had >= 16 * MIB && had < 20 * MIB);
    assert_done(syn_volume_grow(world->dir, 16 * MIB, &err), &err); /* it does hold that */
    assert_int_equal(syn_volume_grow(world->dir, 64 * MIB, &err), SYN_VOLUME_MOUNTED);
    assert_done(syn_volume_close(world->dir, &err), &err);
    assert_done(syn_volume_grow(world->dir, 64 * MIB, &err), &err);
    assert_done(syn_volume_usage(world->dir, &usage, &err), &err);
    assert_int_equal(usage.size_bytes, syn_volume_disk_bytes(64 * MIB));
    reopen(world, 16 * MIB); /* who knows no better does not make it smaller */
    assert_kept(world, had);
    assert_true(fill(world, 68 * MIB) >= 64 * MIB);
    assert_done(syn_volume_close(world->dir, &err), &err);
    /* Far beyond what it was laid out for. */
    assert_done(syn_volume_grow(world->dir, 20000 * MIB, &err), &err);
    reopen(world, 20000 * MIB);
    assert_kept(world, 64 * MIB);
    assert_true(fill(world, 68 * MIB) == 68 * MIB);
    assert_int_equal(access(world->mark, F_OK), -1);
}

/* The machine goes down between the file's growth and the file system's, or before both. */
static void
completes_what_was_broken_off(void **state)
{
    struct world *world = need(state);
    const int64_t sizes[] = {syn_volume_disk_bytes(16 * MIB), syn_volume_disk_bytes(64 * MIB)};
    struct syn_err err;

    assert_int_equal(fill(world, 8 * MIB), 8 * MIB);
    for (size_t i = 0; i < SYN_LEN(sizes); i++) {
        int mark;

        assert_done(syn_volume_close(world->dir, &err), &err);
        mark = open(world->mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(mark >= 0);
        (void)close(mark);
        assert_int_equal(truncate(world->disk, sizes[i]), 0);
        assert_int_equal(
            syn_volume_open(world->dir, 16 * MIB, world->data, sizeof(world->data), &err),
            SYN_E_CONFLICT);
        assert_done(syn_volume_grow(world->dir, 16 * MIB, &err), &err);
        reopen(world, 16 * MIB);
        assert_kept(world, 8 * MIB);
    }
    assert_true(fill(world, 68 * MIB) >= 64 * MIB);
    assert_done(syn_volume_close(world->dir, &err), &err);
    /* What is not there is made as large as it is to be. */
    assert_done(syn_volume_destroy(world->dir, &err), &err);
    assert_done(syn_volume_grow(world->dir, 32 * MIB, &err), &err);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(grows_with_what_is_on_it, set_up, tear_down),
        cmocka_unit_test_setup_teardown(completes_what_was_broken_off, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("volume", tests, NULL, NULL);
}
