/* A zygote: zygote.py in an interpreter of the node, told what to fork over a socket.
 *
 *      agent                         zygote (root, own mount namespace)
 *        | message + descriptors --->  |  fork into new namespaces ---> instance, which drops all
 *        | <--- pid, later its end     |                                 power, then loads code
 *
 * What an instance is (its environment, secrets among it) is in a file without a name that only the
 * child reads: the zygote's memory, which every later child begins with, never has it. Folders come
 * as mounts that are attached nowhere yet: the zygote does not see the node's files.
 *
 * Refused: forking within gVisor (25 to 54 ms a fork); a zygote a function (its memory for each);
 * pools of started sandboxes alone (they cost 14 to 35 MB each while nobody calls). */
#include <synor/runtime/zygote.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "cgroup_priv.h"
#include "file_priv.h"
#include "rootfs_priv.h"
#include "seccomp_priv.h"

#define START_MS    20000
#define ANSWER_MS   10000
#define END_MS      5000
#define MESSAGE_MAX 4096
#define FDS_MAX     16
#define UID_MIN     65536
#define GROUP_MAX   96

/* Takes its own text from the first message, so that no command line is that long. */
static const char boot[] =
    "import array,os,socket;s=socket.socket(fileno=3);d,a,f,x=s.recvmsg(16,socket.CMSG_SPACE(4));"
    "n=array.array('i',a[0][2])[0];t=open(n).read();s.detach();"
    "exec(compile(t,'zygote.py','exec'),{'__name__':'zygote'})";

extern const char syn_zygote_program[];
extern const size_t syn_zygote_program_len;

struct zygote_instance {
    pid_t pid;
    bool ended;
    int status;
    int64_t cpu_millicores;
    char group[GROUP_MAX];
};

struct syn_zygote {
    pthread_mutex_t lock; /* of the conversation and all below */
    int control;
    pid_t pid;
    struct syn_cgroup_layout layout;
    struct zygote_instance instances[SYN_ZYGOTE_INSTANCES_MAX];
    size_t count;
    char root[SYN_PATH_MAX];
};

/* --- conversation ----------------------------------------------------------------------------- */

/* A file without a name, of that content, to be read from its beginning. */
static int
make_file(const char *name, const void *data, size_t len, int *ret_fd, struct syn_err *err)
{
    SYN_FD(fd);
    int rc;

    fd = memfd_create(name, MFD_CLOEXEC);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a file in memory");
    rc = syn_fd_write_all(fd, data, len, err);
    if (rc == SYN_OK && lseek(fd, 0, SEEK_SET) < 0)
        rc = SYN_FAIL_SYS(err, errno, "a file in memory");
    if (rc == SYN_OK)
        *ret_fd = syn_fd_take(&fd);
    return rc;
}

static int
send_message(int control, const char *text, const int *fds, size_t count, struct syn_err *err)
{
    union {
        char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
        struct cmsghdr align;
    } room = {.bytes = {0}};
    struct iovec piece = {.iov_base = (void *)(uintptr_t)text, .iov_len = strlen(text)};
    struct msghdr message = {.msg_iov = &piece,
                             .msg_iovlen = 1,
                             .msg_control = room.bytes,
                             .msg_controllen = CMSG_SPACE(count * sizeof(int))};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    assert(count > 0 && count <= FDS_MAX);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    memcpy(CMSG_DATA(header), fds, count * sizeof(int));
    if (sendmsg(control, &message, MSG_NOSIGNAL) < 0)
        return SYN_FAIL_SYS(err, errno, "speaking to the zygote");
    return SYN_OK;
}

/* TIMEOUT; IO: it has ended. */
static int
read_message(int control, int wait_ms, json_t **ret, struct syn_err *err)
{
    struct pollfd waiting = {.fd = control, .events = POLLIN};
    char text[MESSAGE_MAX];
    ssize_t len;
    int ready = poll(&waiting, 1, wait_ms);

    if (ready == 0 || (ready < 0 && errno == EINTR))
        return SYN_FAIL(err, SYN_E_TIMEOUT, "the zygote does not answer");
    len = ready < 0 ? -1 : recv(control, text, sizeof(text), MSG_DONTWAIT);
    if (len <= 0)
        return SYN_FAIL(err, SYN_E_IO, "the zygote has ended");
    return syn_json_parse_object(text, (size_t)len, ret, err);
}

static struct zygote_instance *
instance_of(struct syn_zygote *zygote, pid_t pid)
{
    for (size_t i = 0; i < zygote->count; i++)
        if (zygote->instances[i].pid == pid)
            return &zygote->instances[i];
    return NULL;
}

/* True when the message was about an instance that ended. */
static bool
take_end(struct syn_zygote *zygote, const json_t *message)
{
    int64_t pid = syn_json_i64(message, "ended", 0);
    struct zygote_instance *instance = pid > 0 ? instance_of(zygote, (pid_t)pid) : NULL;

    if (instance != NULL) {
        instance->ended = true;
        instance->status = (int)syn_json_i64(message, "status", 0);
    }
    return pid > 0;
}

/* The answer to what was asked; ends of instances that are told before it are noted. */
static int
read_answer(struct syn_zygote *zygote, int wait_ms, json_t **ret, struct syn_err *err)
{
    for (;;) {
        SYN_JSON(message);
        int rc = read_message(zygote->control, wait_ms, &message, err);

        if (rc < 0)
            return rc;
        if (take_end(zygote, message))
            continue;
        *ret = SYN_TAKE(message);
        return SYN_OK;
    }
}

/* What it has told meanwhile. */
static int
listen_to(struct syn_zygote *zygote, struct syn_err *err)
{
    int rc;

    do {
        SYN_JSON(message);

        rc = read_message(zygote->control, 0, &message, err);
        if (rc == SYN_OK)
            (void)take_end(zygote, message);
    } while (rc == SYN_OK);
    return rc == SYN_E_TIMEOUT ? SYN_OK : rc;
}

/* --- opening ---------------------------------------------------------------------------------- */

static int
spawn(const struct syn_zygote_options *options, struct syn_zygote *zygote, struct syn_err *err)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C.UTF-8",
                                      "HOME=/tmp", NULL};
    const char *const argv[] = {options->python, "-B", "-s", "-c", boot, NULL};
    struct syn_child_options child = {.argv = argv,
                                      .env = env,
                                      .in = SYN_CHILD_NULL,
                                      .out = SYN_CHILD_NULL,
                                      .err = STDERR_FILENO,
                                      .passed = SYN_CHILD_NULL};
    int ends[2], rc;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return SYN_FAIL_SYS(err, errno, "making a zygote's socket");
    zygote->control = ends[0];
    child.passed = ends[1];
    rc = syn_child_spawn(options->python, &child, &zygote->pid, err);
    (void)close(ends[1]);
    return rc;
}

/* Its own program first, then what it serves. */
static int
instruct(const struct syn_zygote_options *options, const struct syn_zygote *zygote,
         const char *image, struct syn_err *err)
{
    SYN_FD(own);
    SYN_FD(program);
    SYN_FD(filter);
    SYN_JSON(order);
    SYN_BUF(text);
    int rc = make_file("zygote", syn_zygote_program, syn_zygote_program_len, &own, err);

    if (rc == SYN_OK)
        rc = send_message(zygote->control, "program", &own, 1, err);
    if (rc == SYN_OK)
        rc = make_file("function", options->program, options->program_len, &program, err);
    if (rc == SYN_OK)
        rc = syn_seccomp_program(&filter, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&order, err, "{s:s, s:s}", "image", image, "root", zygote->root);
    if (rc == SYN_OK)
        rc = syn_json_write(order, &text, err);
    return rc < 0 ? rc
                  : send_message(zygote->control, syn_buf_text(&text), (int[]){program, filter}, 2,
                                 err);
}

static int
start(const struct syn_zygote_options *options, struct syn_zygote *zygote, struct syn_err *err)
{
    char image[SYN_PATH_MAX];
    SYN_JSON(ready);
    int rc = syn_cgroup_layout_read(&zygote->layout, err);

    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, options->root, 0755, err);
    if (rc == SYN_OK)
        rc = syn_rootfs_host_image(options->root, image, sizeof(image), err);
    if (rc == SYN_OK)
        rc = syn_path_format(zygote->root, sizeof(zygote->root), err, "%s/zygote.XXXXXX",
                             options->root);
    if (rc == SYN_OK && !mkdtemp(zygote->root)) {
        rc = SYN_FAIL_SYS(err, errno, "making %s", zygote->root);
        zygote->root[0] = '\0';
    }
    if (rc == SYN_OK)
        rc = spawn(options, zygote, err);
    if (rc == SYN_OK)
        rc = instruct(options, zygote, image, err);
    if (rc == SYN_OK)
        rc = read_answer(zygote, START_MS, &ready, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "starting a zygote of %s", options->python);
    return SYN_OK;
}

int
syn_zygote_open(const struct syn_zygote_options *options, struct syn_zygote **ret,
                struct syn_err *err)
{
    struct syn_zygote *zygote = syn_calloc(1, sizeof(*zygote));
    int rc;

    if (zygote == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a zygote");
    zygote->control = -1;
    (void)pthread_mutex_init(&zygote->lock, NULL);
    rc = start(options, zygote, err);
    if (rc < 0) {
        (void)syn_zygote_close(zygote);
        return rc == SYN_E_IO ? SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s does not start as a zygote",
                                         options->python)
                              : rc;
    }
    *ret = zygote;
    return SYN_OK;
}

/* It ends by itself when nobody speaks to it any more, and takes with it what it forked. */
static void
await_end(pid_t pid)
{
    SYN_FD(fd);
    struct pollfd ended;

    fd = (int)syscall(SYS_pidfd_open, pid, 0);
    ended = (struct pollfd){.fd = fd, .events = POLLIN};
    if (fd < 0 || poll(&ended, 1, END_MS) <= 0)
        (void)kill(pid, SIGKILL);
    (void)syn_child_wait(pid);
}

struct syn_zygote *
syn_zygote_close(struct syn_zygote *zygote)
{
    if (zygote == NULL)
        return NULL;
    while (zygote->count > 0) {
        /* What cannot be killed now is killed by the zygote's end. */
        if (syn_zygote_destroy(zygote, zygote->instances[0].pid, NULL) < 0)
            zygote->count--;
    }
    syn_fd_scope(&zygote->control);
    if (zygote->pid > 0)
        await_end(zygote->pid);
    if (zygote->root[0] != '\0')
        (void)rmdir(zygote->root);
    (void)pthread_mutex_destroy(&zygote->lock);
    syn_free(zygote);
    return NULL;
}

/* --- instances -------------------------------------------------------------------------------- */

static int
check(const struct syn_zygote_spec *spec, struct syn_err *err)
{
    struct stat st;

    if (!syn_name_ok(spec->id))
        return SYN_FAIL(err, SYN_E_INVALID, "\"%.63s\" is no id", spec->id);
    if (spec->host_uid < UID_MIN)
        return SYN_FAIL(err, SYN_E_INVALID, "host_uid %u: expected %d or more", spec->host_uid,
                        UID_MIN);
    if (spec->memory_bytes <= 0 || spec->pids_max <= 0 || spec->cpu_millicores <= 0 ||
        spec->scratch_bytes <= 0)
        return SYN_FAIL(err, SYN_E_INVALID, "an instance of a zygote has all its limits");
    for (int i = 0; i < 2; i++) {
        const char *folder = i == 0 ? spec->code : spec->layer;

        if (folder != NULL && (stat(folder, &st) < 0 || !(S_ISDIR(st.st_mode) || i == 0)))
            return SYN_FAIL(err, SYN_E_INVALID, "%.200s is no folder", folder);
    }
    return SYN_OK;
}

/* A mount of the folder that is attached nowhere, read-only. */
static int
take_folder(const char *path, int *ret_fd, struct syn_err *err)
{
    struct mount_attr attr = {.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV};
    SYN_FD(tree);

    tree = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
    if (tree < 0)
        return SYN_FAIL_SYS(err, errno, "taking %s", path);
    if (mount_setattr(tree, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
        return SYN_FAIL_SYS(err, errno, "making %s read-only", path);
    *ret_fd = syn_fd_take(&tree);
    return SYN_OK;
}

/* What only the child reads. */
static int
make_config(const struct syn_zygote_spec *spec, int *ret_fd, struct syn_err *err)
{
    json_t *env = json_array();
    struct stat st;
    SYN_JSON(config);
    SYN_BUF(text);
    int rc = syn_json_pack(&config, err, "{s:I, s:I, s:b, s:b}", "uid", (json_int_t)spec->host_uid,
                           "scratch_bytes", (json_int_t)spec->scratch_bytes, "layer",
                           spec->layer != NULL, "code_is_file",
                           stat(spec->code, &st) == 0 && !S_ISDIR(st.st_mode));

    if (rc == SYN_OK)
        rc = syn_json_set_take(config, "env", env, err);
    else
        json_decref(env);
    for (size_t i = 0; rc == SYN_OK && spec->env[i] != NULL; i++)
        rc = syn_json_append_take(env, json_string(spec->env[i]), err);
    if (rc == SYN_OK)
        rc = syn_json_write(config, &text, err);
    if (rc == SYN_OK)
        rc = make_file("instance", syn_buf_text(&text), text.len, ret_fd, err);
    if (text.len > 0)
        explicit_bzero(text.data, text.len);
    return rc;
}

/* Descriptors for the child. */
struct given {
    int fds[FDS_MAX];
    size_t count;
    unsigned lent; /* bits of those that are the caller's */
};

static void
given_fini(struct given *given)
{
    for (size_t i = 0; i < given->count; i++)
        if (!(given->lent & SYN_BIT(i)))
            (void)close(given->fds[i]);
}

static void
give(struct given *given, int fd)
{
    assert(given->count < FDS_MAX);
    given->fds[given->count++] = fd;
}

static void
lend(struct given *given, int fd)
{
    given->lent |= SYN_BIT(given->count);
    give(given, fd);
}

static int
give_all(const struct syn_zygote *zygote, const struct syn_zygote_spec *spec, const char *group,
         struct given *given, struct syn_err *err)
{
    int fd = -1;
    int rc = make_config(spec, &fd, err);

    if (rc == SYN_OK) {
        give(given, fd);
        lend(given, spec->door);
        lend(given, spec->log);
        lend(given, spec->errors > 0 ? spec->errors : spec->log);
        rc = take_folder(spec->code, &fd, err);
    }
    if (rc == SYN_OK) {
        give(given, fd);
        rc = spec->layer != NULL ? take_folder(spec->layer, &fd, err) : SYN_OK;
    }
    if (rc == SYN_OK && spec->layer != NULL)
        give(given, fd);
    else if (rc == SYN_OK)
        lend(given, spec->log); /* stands in its place */
    return rc < 0
               ? rc
               : syn_cgroup_doors(&zygote->layout, group, given->fds, FDS_MAX, &given->count, err);
}

static int
ask(struct syn_zygote *zygote, const struct given *given, pid_t *ret_pid, struct syn_err *err)
{
    SYN_JSON(answer);
    int rc = send_message(zygote->control, "{}", given->fds, given->count, err);

    if (rc == SYN_OK)
        rc = read_answer(zygote, ANSWER_MS, &answer, err);
    if (rc < 0)
        return rc;
    *ret_pid = (pid_t)syn_json_i64(answer, "pid", 0);
    return *ret_pid > 0
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_IO, "the zygote: %.120s", syn_json_str(answer, "error", "?"));
}

int
syn_zygote_fork(struct syn_zygote *zygote, const struct syn_zygote_spec *spec, pid_t *ret_pid,
                struct syn_err *err)
{
    const struct syn_cgroup_limits limits = {spec->cpu_millicores, spec->memory_bytes,
                                             spec->pids_max};
    struct zygote_instance made = {.cpu_millicores = spec->cpu_millicores};
    struct given given = {.count = 0};
    int rc = check(spec, err);

    if (rc < 0)
        return rc;
    (void)snprintf(made.group, sizeof(made.group), SYN_ZYGOTE_GROUP, spec->id);
    rc = syn_cgroup_create(&zygote->layout, made.group, &limits, err);
    if (rc == SYN_OK)
        rc = give_all(zygote, spec, made.group, &given, err);
    (void)pthread_mutex_lock(&zygote->lock);
    if (rc == SYN_OK && zygote->count == SYN_ZYGOTE_INSTANCES_MAX)
        rc = SYN_FAIL(err, SYN_E_LIMIT, "a zygote has %d instances at most",
                      SYN_ZYGOTE_INSTANCES_MAX);
    if (rc == SYN_OK)
        rc = ask(zygote, &given, &made.pid, err);
    if (rc == SYN_OK) {
        zygote->instances[zygote->count++] = made;
        *ret_pid = made.pid;
    }
    (void)pthread_mutex_unlock(&zygote->lock);
    given_fini(&given);
    if (rc < 0)
        (void)!syn_cgroup_destroy(&zygote->layout, made.group, NULL);
    return rc < 0 ? syn_err_wrap(err, rc, "forking %s", spec->id) : SYN_OK;
}

/* Its row, as it is now; NOTFOUND. */
static int
look(struct syn_zygote *zygote, pid_t pid, struct zygote_instance *ret, struct syn_err *err)
{
    const struct zygote_instance *found;
    int rc;

    (void)pthread_mutex_lock(&zygote->lock);
    rc = listen_to(zygote, err);
    found = instance_of(zygote, pid);
    if (found != NULL)
        *ret = *found;
    (void)pthread_mutex_unlock(&zygote->lock);
    if (found == NULL)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "the zygote has no instance %d", (int)pid);
    return found->ended ? SYN_OK : rc;
}

pid_t
syn_zygote_pid(const struct syn_zygote *zygote)
{
    return zygote->pid;
}

int
syn_zygote_settle(struct syn_zygote *zygote, pid_t pid, struct syn_err *err)
{
    struct zygote_instance instance;
    int rc = look(zygote, pid, &instance, err);

    return rc < 0 ? rc
                  : syn_cgroup_limit_cpu(&zygote->layout, instance.group, instance.cpu_millicores,
                                         err);
}

int
syn_zygote_stop(struct syn_zygote *zygote, pid_t pid, struct syn_err *err)
{
    struct zygote_instance instance;
    int rc = look(zygote, pid, &instance, err);

    /* The zygote reaps it, and tells before anybody else could have its pid. */
    if (rc == SYN_OK && !instance.ended)
        (void)kill(pid, SIGTERM);
    return rc;
}

int
syn_zygote_poll(struct syn_zygote *zygote, pid_t pid, int *ret_status, struct syn_err *err)
{
    struct zygote_instance instance;
    int rc = look(zygote, pid, &instance, err);

    if (rc < 0)
        return rc;
    if (!instance.ended)
        return SYN_ZYGOTE_RUNS;
    *ret_status = instance.status;
    return SYN_OK;
}

int
syn_zygote_destroy(struct syn_zygote *zygote, pid_t pid, struct syn_err *err)
{
    struct zygote_instance instance;
    struct zygote_instance *row;
    int rc = look(zygote, pid, &instance, err);

    if (rc == SYN_E_NOTFOUND)
        return SYN_OK;
    rc = syn_cgroup_destroy(&zygote->layout, instance.group, err);
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&zygote->lock);
    row = instance_of(zygote, pid);
    if (row != NULL)
        *row = zygote->instances[--zygote->count];
    (void)pthread_mutex_unlock(&zygote->lock);
    return SYN_OK;
}
