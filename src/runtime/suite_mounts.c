/* The drivers' suite: binds, file systems in memory, secrets, names, and how one is asked to stop.
 */
#include "suite_run_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/runtime/volume.h>

#define RAMFS_MAGIC_ 0x858458f6
#define SECRET_TEXT  "a secret of the suite"

void
syn_suite_binds_are_shown(void **state)
{
    char host[SYN_INSTANCE_PATH_MAX], file[SYN_INSTANCE_PATH_MAX + 8];
    const struct syn_bind binds[] = {
        {host, "/synor/dataset", true}, {host, "/data", false}, {file, "/some/file", true}};
    const char *const argv[] = {"/bin/sh", "-c",
                                "cat /synor/dataset/f /some/file; echo x > /data/new && "
                                "cat /data/new; touch /synor/dataset/y 2>/dev/null && echo WROTE; "
                                "echo z > /some/file || echo refused",
                                NULL};
    struct syn_instance_spec spec = {.argv = argv, .binds = binds, .binds_count = SYN_LEN(binds)};
    struct syn_run run;
    int fd;

    (void)state;
    (void)snprintf(host, sizeof(host), "%s/bind", syn_suite->dir);
    (void)snprintf(file, sizeof(file), "%s/f", host);
    assert_int_equal(mkdir(host, 0777), 0);
    assert_int_equal(chmod(host, 0777), 0);
    fd = open(file, O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "host\n", 5), 5);
    (void)close(fd);
    syn_run_all(&run, &spec);
    assert_string_equal(syn_buf_text(&run.out), "host\nhost\nx\nrefused\n");
    syn_run_end(&run);
}

void
syn_suite_memory_is_mounted(void **state)
{
    const struct syn_tmpfs tmpfs[] = {{"/data/mem", MIB}, {"/tmp", 2 * MIB}};
    const char *const argv[] = {
        "/bin/sh", "-c",
        "for d in /data/mem /tmp; do "
        "  head -c 500000 /dev/zero > $d/fits && echo fits; "
        "  head -c 4000000 /dev/zero > $d/more 2>/dev/null || echo full; "
        "done; echo x > /data/x || echo kept; echo x > /synor/tmp/x && echo /tmp/*; "
        "echo y > /var/own/y && cat /var/own/y && echo z > /data/mem/disk/z && "
        "echo /data/mem/disk/*",
        NULL};
    const char *const empties[] = {"/var/own", "/data/mem/disk"};
    struct syn_instance_spec spec = {.argv = argv,
                                     .tmpfs = tmpfs,
                                     .tmpfs_count = SYN_LEN(tmpfs),
                                     .empties = empties,
                                     .empties_count = SYN_LEN(empties)};
    struct syn_run run;

    (void)state;
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_string_equal(syn_buf_text(&run.out),
                        "fits\nfull\nfits\nfull\nkept\n/tmp/fits /tmp/more\ny\n/data/mem/disk/z\n");
    assert_false(run.status.scratch_full);
    syn_run_end(&run);
}

/* One instance writes, as another user than the next one that reads and writes on; neither gets
 * more than there is. */
void
syn_suite_volumes_outlive_instances(void **state)
{
    char dir[SYN_INSTANCE_PATH_MAX], data[SYN_INSTANCE_PATH_MAX + 8];
    const char *const first[] = {
        "/bin/sh", "-c",
        "cd /data && umask 077 && echo kept > mine && mkdir -m 777 all && "
        "head -c 40000000 /dev/zero > full 2>/dev/null || echo full; "
        "find mine -printf '%U %G %m\\n'; size=$(wc -c < full); "
        "[ $size -ge 16000000 ] && [ $size -lt 19000000 ] && rm full && echo fits",
        NULL};
    const char *const second[] = {
        "/bin/sh", "-c",
        "cd /data && cat mine; echo on > all/x; find mine all/x -printf '%U %G\\n'; "
        "(echo x > /ro/all/y) 2>/dev/null || echo refused",
        NULL};
    struct syn_bind volumes[] = {{data, "/data", false}, {data, "/ro", true}};
    struct syn_instance_spec spec = {
        .argv = first, .uid = 1234, .gid = 4321, .volumes = volumes, .volumes_count = 1};
    struct syn_volume_usage usage;
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    (void)snprintf(dir, sizeof(dir), "%s/volume", syn_suite->dir);
    assert_done(syn_volume_open(dir, 16 * MIB, data, sizeof(data), &err), &err);
    syn_run_all(&run, &spec);
    assert_string_equal(syn_buf_text(&run.out), "full\n1234 4321 600\nfits\n");
    syn_run_end(&run);
    assert_done(syn_volume_close(dir, &err), &err);
    assert_done(syn_volume_usage(dir, &usage, &err), &err);
    assert_int_equal(usage.used_bytes, -1);
    assert_true(usage.size_bytes > 16 * MIB && usage.disk_bytes <= usage.size_bytes);
    assert_done(syn_volume_open(dir, 16 * MIB, data, sizeof(data), &err), &err);
    assert_done(syn_volume_open(dir, 16 * MIB, data, sizeof(data), &err), &err);
    spec.argv = second;
    spec.volumes_count = 2;
    syn_run_all(&run, &spec);
    assert_string_equal(syn_buf_text(&run.out), "kept\n1234 4321\n1234 4321\nrefused\n");
    syn_run_end(&run);
    assert_done(syn_volume_destroy(dir, &err), &err);
    assert_done(syn_volume_destroy(dir, &err), &err);
    assert_int_equal(syn_volume_usage(dir, &usage, &err), SYN_E_NOTFOUND);
}

/* Nothing that a disk has may have it. */
static void
assert_only_in_memory(const struct syn_run *run)
{
    char path[SYN_INSTANCE_PATH_MAX + 32];
    const char *const files[] = {"config.json", "plan.json", "container.pb", "pod.pb"};
    struct statfs fs;

    (void)snprintf(path, sizeof(path), "%s/secrets", run->dir);
    assert_int_equal(statfs(path, &fs), 0);
    assert_true((unsigned long)fs.f_type == RAMFS_MAGIC_);
    for (size_t i = 0; i < SYN_LEN(files); i++) {
        SYN_BUF(text);

        (void)snprintf(path, sizeof(path), "%s/%s", run->dir, files[i]);
        syn_suite_read_text(path, &text);
        assert_true(text.len == 0 ||
                    !memmem(text.data, text.len, SECRET_TEXT, strlen(SECRET_TEXT)));
    }
}

void
syn_suite_secrets_are_files(void **state)
{
    const struct syn_tmpfs tmpfs[] = {{"/data", MIB}};
    const struct syn_secret_file secrets[] = {{"/data/deep/token", SECRET_TEXT "\n", 22},
                                              {"/secrets/none", "", 0}};
    const char *const argv[] = {
        "/bin/sh", "-c",
        "cat /data/deep/token; find /data/deep/token /secrets/none "
        "-printf '%m %U %G %s\\n'; (echo x > /secrets/none) 2>/dev/null || echo kept; "
        "chmod 644 /secrets/none 2>/dev/null || echo kept",
        NULL};
    struct syn_instance_spec spec = {.argv = argv,
                                     .uid = 1234,
                                     .gid = 4321,
                                     .tmpfs = tmpfs,
                                     .tmpfs_count = 1,
                                     .secrets = secrets,
                                     .secrets_count = SYN_LEN(secrets)};
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_prepare(&run, &spec);
    assert_only_in_memory(&run);
    assert_done(CALL(start, run.instance, &err), &err);
    syn_run_await(&run);
    syn_run_read_log(&run);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_string_equal(syn_buf_text(&run.out),
                        SECRET_TEXT "\n400 1234 4321 22\n400 1234 4321 0\nkept\nkept\n");
    syn_run_end(&run);
}

void
syn_suite_names_and_signals_are_chosen(void **state)
{
    const char *const argv[] = {"/bin/sh", "-c",
                                "trap 'echo usr2; exit 0' USR2; trap '' TERM; hostname; "
                                "cat /etc/hostname; while :; do sleep 0.1; done",
                                NULL};
    struct syn_instance_spec spec = {
        .argv = argv, .hostname = "a-name", .stop_signal = SIGUSR2, .grace_ms = 30000};
    struct syn_err err = {0};
    struct syn_run run;

    (void)state;
    syn_run_start(&run, &spec);
    for (int i = 0; i < SYN_SUITE_END_MS / 20 && !strstr(syn_buf_text(&run.out), "a-name\na-name");
         i++) {
        (void)poll(NULL, 0, 20);
        syn_buf_clear(&run.out);
        syn_run_read_log(&run);
    }
    assert_done(CALL(stop, run.instance, -1, &err), &err);
    syn_run_await(&run);
    syn_buf_clear(&run.out);
    syn_run_read_log(&run);
    syn_suite_assert_reason(&run, SYN_EXIT_STOPPED);
    assert_string_equal(syn_buf_text(&run.out), "a-name\na-name\nusr2\n");
    syn_run_end(&run);
}
