/* The drivers' suite: instances in images of their own, and with devices passed on. */
#include "suite_run_priv.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

/* A shell and its libraries: the smallest image whose program can say what it sees. */
static bool
make_image(const char *image)
{
    static const char *const files[] = {"/bin/dash", "/lib/x86_64-linux-gnu/libc.so.6",
                                        "/lib64/ld-linux-x86-64.so.2"};

    for (size_t i = 0; i < SYN_LEN(files); i++) {
        char path[SYN_INSTANCE_PATH_MAX];
        SYN_BUF(text);
        int fd;

        if (access(files[i], R_OK) < 0)
            return false;
        syn_suite_read_text(files[i], &text);
        (void)snprintf(path, sizeof(path), "%s%s", image, files[i]);
        for (char *at = path + 1; *at != '\0'; at++) {
            if (*at != '/')
                continue;
            *at = '\0';
            (void)mkdir(path, 0755);
            *at = '/';
        }
        fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0755);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, text.data, text.len), (ssize_t)text.len);
        (void)close(fd);
    }
    return true;
}

void
syn_suite_image_replaces_the_host(void **state)
{
    char image[SYN_INSTANCE_PATH_MAX];
    const char *const argv[] = {"/bin/dash", "-c",
                                "echo /*; echo out > /synor/output/f && read x < /synor/output/f "
                                "&& echo $x; read h < /etc/hostname; echo $h",
                                NULL};
    struct syn_instance_spec spec = {.rootfs = image, .argv = argv};
    char want[256];
    struct syn_run run;

    (void)state;
    (void)snprintf(image, sizeof(image), "%s/image", syn_suite->dir);
    if (!make_image(image)) {
        print_message("the files of a small image are not where this test looks\n");
        skip();
    }
    syn_run_all(&run, &spec);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    (void)snprintf(want, sizeof(want),
                   "/bin /dev /etc /lib /lib64 /proc /synor /sys /tmp\nout\n%s\n", run.id);
    assert_string_equal(syn_buf_text(&run.out), want);
    syn_run_end(&run);
}

/* A device of the host's beyond the usual ones: FUSE's, under a name of our own. */
void
syn_suite_devices_are_passed_on(void **state)
{
    char path[64], driver[SYN_INSTANCE_PATH_MAX], image[SYN_INSTANCE_PATH_MAX];
    const char *const devices[] = {path, NULL};
    const char *const argv[] = {"/bin/dash", "-c",
                                "exec 3<>$DEVICE && echo opened; read x < /usr/lib/driver.so && "
                                "echo $x; echo y 2>/dev/null > /usr/lib/driver.so || echo kept",
                                NULL};
    char name[80];
    const char *const env[] = {name, NULL};
    struct syn_bind drivers[] = {{driver, "/usr/lib/driver.so", true}};
    struct syn_instance_spec spec = {.argv = argv,
                                     .env = env,
                                     .rootfs = image,
                                     .devices = devices,
                                     .drivers = drivers,
                                     .drivers_count = 1};
    struct syn_run run;
    struct syn_err err = {0};
    int fd;

    (void)state;
    (void)snprintf(path, sizeof(path), "/dev/synor-test-%d", (int)getpid());
    (void)snprintf(name, sizeof(name), "DEVICE=%s", path);
    (void)snprintf(driver, sizeof(driver), "%s/driver.so", syn_suite->dir);
    (void)snprintf(image, sizeof(image), "%s/image", syn_suite->dir);
    if (!make_image(image) || mknod(path, S_IFCHR | 0666, makedev(10, 229)) < 0) {
        print_message("no image, or no device, can be made here\n");
        skip();
    }
    (void)chmod(path, 0666);
    fd = open(driver, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0755);
    assert_int_equal(write(fd, "driver\n", 7), 7);
    (void)close(fd);
    syn_run_name(&run);
    spec.id = run.id;
    spec.dir = run.dir;
    if (!syn_suite->kernel_shared &&
        CALL(prepare, &spec, &run.instance, &err) == SYN_E_UNSUPPORTED) {
        (void)unlink(path);
        syn_suite_assert_has(err.msg, "nvproxy");
        assert_int_equal(access(run.dir, F_OK), -1);
        return;
    }
    syn_run_all(&run, &spec);
    (void)unlink(path);
    syn_suite_assert_reason(&run, SYN_EXIT_COMPLETED);
    assert_string_equal(syn_buf_text(&run.out), "opened\ndriver\nkept\n");
    syn_run_end(&run);
}
