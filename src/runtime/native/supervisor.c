/* Why a program within the program.
 *
 * `synor` links what the platform needs: TLS, HTTP, archives, a database; loading those four dozen
 * libraries takes 6 ms of processor on a quiet machine and is most of what a supervisor ever does.
 * A supervisor needs libc and a JSON parser and starts in half a millisecond. So it is built as a
 * program of its own, carried as bytes, and executed from a sealed file in memory, which is how
 * runc executes itself.
 *
 * Refused: loading libraries on demand with dlopen(3) (every call through a table, and the
 * packages' dependencies become invisible); a second installed file (one binary is the promise, and
 * the two could come from different builds); a process that waits for orders and forks (memory for
 * idling, and one more thing that may die). Where memory may not be executed (vm.memfd_noexec=2)
 * the supervisor is `synor shim`, as slow as that is. */
#include "supervisor_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "file_priv.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

#define FIRST_FREE   10 /* above all that the child's descriptors are moved to */
#define SEALS        (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
#define MEMORY_FLAGS (MFD_CLOEXEC | MFD_ALLOW_SEALING)

/* -1 when this machine does not do it: then there is the other way. */
static int
keep_image(const void *image, size_t len)
{
    SYN_FD(fd);

    fd = memfd_create("synor-shim", MEMORY_FLAGS | MFD_EXEC);
    if (fd < 0 && errno == EINVAL) /* before Linux 6.3 all may be executed */
        fd = memfd_create("synor-shim", MEMORY_FLAGS);
    if (fd < 0 || syn_fd_write_all(fd, image, len, NULL) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return -1;
    return fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FREE);
}

static int
copy_argv(struct syn_supervisor *supervisor, const char *const *argv, struct syn_err *err)
{
    static const char *const self_argv[] = {"/proc/self/exe", "shim", NULL};

    argv = argv ? argv : self_argv;
    for (size_t i = 0; argv[i]; i++) {
        if (i == SYN_SUPERVISOR_ARGS_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "shim_argv: more than %d words",
                            SYN_SUPERVISOR_ARGS_MAX);
        supervisor->argv[i] = syn_strdup(argv[i]);
        if (!supervisor->argv[i])
            return SYN_FAIL(err, SYN_E_NOMEM, "supervisor's command");
    }
    return SYN_OK;
}

int
syn_supervisor_init(struct syn_supervisor *supervisor, const void *image, size_t len,
                    const char *const *argv, struct syn_err *err)
{
    *supervisor = (struct syn_supervisor){.image = -1};
    if (image)
        supervisor->image = keep_image(image, len);
    return copy_argv(supervisor, argv, err);
}

void
syn_supervisor_fini(struct syn_supervisor *supervisor)
{
    syn_fd_scope(&supervisor->image);
    for (size_t i = 0; i < SYN_LEN(supervisor->argv); i++) {
        syn_free(supervisor->argv[i]);
        supervisor->argv[i] = NULL;
    }
}

int
syn_supervisor_spawn(const struct syn_supervisor *supervisor, const char *dir, int ready,
                     struct syn_err *err)
{
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL};
    const char *image_argv[] = {"synor-shim", dir, NULL};
    const char *argv[SYN_SUPERVISOR_ARGS_MAX + 2] = {0};
    struct syn_child_options options = {.argv = image_argv,
                                        .env = env,
                                        .in = SYN_CHILD_NULL,
                                        .out = SYN_CHILD_NULL,
                                        .err = STDERR_FILENO,
                                        .passed = ready,
                                        .by_descriptor = true};
    char program[64];
    pid_t pid = -1;
    int rc = SYN_E_NOTFOUND;

    if (supervisor->image >= 0) {
        (void)snprintf(program, sizeof(program), "/proc/self/fd/%d", supervisor->image);
        rc = syn_child_spawn(program, &options, &pid, err);
    }
    if (rc < 0) {
        for (size_t i = 0; supervisor->argv[i]; i++) {
            argv[i] = supervisor->argv[i];
            argv[i + 1] = dir;
        }
        options.argv = argv;
        options.by_descriptor = false;
        rc = syn_child_spawn(argv[0], &options, &pid, err);
    }
    if (rc < 0)
        return syn_err_wrap(err, rc, "the supervisor");
    /* It forks into the background at once; the first process only tells that it could. */
    (void)syn_child_wait(pid);
    return SYN_OK;
}
