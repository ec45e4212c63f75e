/* Needs root and loop devices, as real scratch spaces do; else the tests say that they did not run.
 */
#include "spare_priv.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <synor/base/test.h>

#include "file_priv.h"
#include "scratch_priv.h"

#define MIB ((int64_t)1 << 20)

struct place {
    char cache[SYN_PATH_MAX], image[SYN_PATH_MAX], at[SYN_PATH_MAX];
};

/* Fresh paths for one test. */
static void
make_place(struct place *place)
{
    static unsigned number;
    struct syn_err err = {0};

    if (geteuid() != 0 || access("/dev/loop-control", F_OK) < 0) {
        print_message("skipped: needs root and loop devices\n");
        skip();
    }
    number++;
    (void)snprintf(place->cache, sizeof(place->cache), "%s/cache-%u", syn_test_dir(), number);
    (void)snprintf(place->image, sizeof(place->image), "%s/image-%u", syn_test_dir(), number);
    (void)snprintf(place->at, sizeof(place->at), "%s/at-%u", syn_test_dir(), number);
    assert_done(syn_dir_make(AT_FDCWD, place->cache, 0700, &err), &err);
    assert_done(syn_dir_make(AT_FDCWD, place->at, 0700, &err), &err);
}

static bool
is_mount(const char *at)
{
    struct stat inside, outside;

    assert_int_equal(stat(at, &inside), 0);
    assert_int_equal(stat(syn_test_dir(), &outside), 0);
    return inside.st_dev != outside.st_dev;
}

/* Loop devices over files of this test. */
static unsigned
count_loops(void)
{
    DIR *devices = opendir("/sys/block");
    const struct dirent *device;
    unsigned found = 0;

    assert_non_null(devices);
    while ((device = readdir(devices)) != NULL) {
        char path[320];
        SYN_BUF(text);

        (void)snprintf(path, sizeof(path), "/sys/block/%s/loop/backing_file", device->d_name);
        if (syn_file_read(AT_FDCWD, path, 4096, &text, NULL) == SYN_OK &&
            strstr(syn_buf_text(&text), syn_test_dir()))
            found++;
    }
    (void)closedir(devices);
    return found;
}

static void
await_no_loops(void)
{
    for (int i = 0; i < 3000 && count_loops() > 0; i++)
        (void)usleep(10000);
    assert_int_equal(count_loops(), 0);
}

static void
taken_space_is_named_and_placed(void **state)
{
    struct syn_spare spare;
    struct syn_err err = {0};
    struct statvfs fs;
    struct stat st;
    struct place place;

    (void)state;
    make_place(&place);
    assert_done(syn_spare_init(&spare, &err), &err);
    syn_spare_refill(&spare, place.cache); /* nobody has asked for a size yet */
    assert_false(syn_spare_take(&spare, 16 * MIB, place.image, place.at));
    assert_int_equal(access(place.image, F_OK), -1);
    syn_spare_refill(&spare, place.cache);
    assert_int_equal(count_loops(), 1);
    syn_spare_refill(&spare, place.cache); /* one is enough */
    assert_int_equal(count_loops(), 1);
    assert_true(syn_spare_take(&spare, 16 * MIB, place.image, place.at));
    assert_true(is_mount(place.at));
    assert_int_equal(statvfs(place.at, &fs), 0);
    assert_true((fs.f_flag & (ST_NOSUID | ST_NODEV)) == (ST_NOSUID | ST_NODEV));
    assert_true((int64_t)(fs.f_bavail * fs.f_frsize) >= 16 * MIB);
    assert_int_equal(stat(place.image, &st), 0);
    assert_int_equal(st.st_nlink, 1);
    assert_false(syn_spare_take(&spare, 16 * MIB, place.image, place.at)); /* gone is gone */
    syn_spare_fini(&spare);
    /* It outlives the driver, and is an image like any other afterwards. */
    assert_true(is_mount(place.at));
    assert_done(syn_scratch_unmount(place.at, &err), &err);
    assert_done(syn_scratch_mount(place.image, place.at, &err), &err);
    assert_true(is_mount(place.at));
    assert_done(syn_scratch_unmount(place.at, &err), &err);
    await_no_loops();
}

static void
sizes_follow_what_is_asked_for(void **state)
{
    struct syn_spare spare;
    struct syn_err err = {0};
    struct place place;

    (void)state;
    make_place(&place);
    assert_done(syn_spare_init(&spare, &err), &err);
    assert_false(syn_spare_take(&spare, 16 * MIB, place.image, place.at));
    syn_spare_refill(&spare, place.cache);
    assert_false(syn_spare_take(&spare, 8 * MIB, place.image, place.at)); /* another size */
    syn_spare_refill(&spare, place.cache);                                /* in the other's place */
    assert_true(syn_spare_take(&spare, 8 * MIB, place.image, place.at));
    syn_spare_refill(&spare, place.cache);
    assert_done(syn_scratch_unmount(place.at, &err), &err);
    syn_spare_fini(&spare); /* with one that nobody took */
    await_no_loops();
}

static void
trouble_leaves_nothing(void **state)
{
    struct syn_spare spare;
    struct syn_err err = {0};
    struct place place;
    char nowhere[SYN_PATH_MAX + 16];

    (void)state;
    make_place(&place);
    (void)snprintf(nowhere, sizeof(nowhere), "%s/no/such", place.at);
    assert_done(syn_spare_init(&spare, &err), &err);
    assert_false(syn_spare_take(&spare, 16 * MIB, place.image, place.at));
    syn_spare_refill(&spare, nowhere); /* no cache: no spare */
    assert_false(syn_spare_take(&spare, 16 * MIB, place.image, place.at));
    syn_spare_refill(&spare, place.cache);
    assert_false(syn_spare_take(&spare, 16 * MIB, place.image, nowhere));
    assert_int_equal(access(place.image, F_OK), -1);
    syn_spare_refill(&spare, place.cache);
    assert_false(syn_spare_take(&spare, 16 * MIB, nowhere, place.at));
    assert_false(is_mount(place.at));
    syn_spare_fini(&spare);
    await_no_loops();
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(taken_space_is_named_and_placed),
        cmocka_unit_test(sizes_follow_what_is_asked_for),
        cmocka_unit_test(trouble_leaves_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
