/* Our containerd is nobody's child: it must outlive an agent that is killed, as the pods do. So it
 * is started in a session of its own, who it is stands in a file, and a successor takes it over by
 * that. A thread waits for its end and starts it anew; pods do not notice, their shims are
 * processes of their own.
 *
 * Everything of it lies below one folder (root, state, socket, the network plugins, which are our
 * own supervisor's program under two names), so that it meets no other containerd. */
#include "containerd_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "../native/file_priv.h"
#include "cri_priv.h"

#define START_MS    60000
#define POLL_MS     10
#define TELL_EVERY  50
#define END_MS      10000
#define BACKOFF_MS  200
#define READ_MS     10000 /* for another's containerd to read our network's configuration */
#define AWAY_MS     10000 /* so long a start waits for it: `systemctl restart` takes less */
#define LOG_MAX     ((off_t)4 << 20)
#define TAIL_MAX    ((size_t)64 << 10)
#define IMAGES_KEPT 16

struct syn_containerd {
    const struct syn_container_options *options;
    char dir[SYN_INSTANCE_PATH_MAX];
    char address[SYN_INSTANCE_PATH_MAX];
    char pods[SYN_INSTANCE_PATH_MAX];
    char networks[SYN_INSTANCE_PATH_MAX]; /* its folder of our network's configuration */
    bool foreign;                         /* somebody else's process */
    pthread_mutex_t giving; /* images: containerd takes each from one at a time; before `lock` */
    pthread_mutex_t lock;
    /* Guarded by the lock: */
    int pidfd;   /* -1: it is not known to run */
    pid_t child; /* to be waited for; 0: it is nobody's */
    bool ready, watched, stopping;
    struct syn_cri_facts facts;                       /* of a foreign one, as it was last seen */
    struct syn_err why;                               /* a foreign one is not ready */
    char images[IMAGES_KEPT][SYN_POD_IMAGE_NAME_MAX]; /* it has these */
    size_t images_at;
    /* The watching thread's: */
    pthread_t thread;
    int wake;
};

/* --- what is installed ------------------------------------------------------------------------ */

bool
syn_container_find(const char *name, char *out, size_t cap)
{
    static const char *const folders[] = {"/usr/local/sbin", "/usr/local/bin", "/usr/sbin",
                                          "/usr/bin"};

    for (size_t i = 0; i < SYN_LEN(folders); i++) {
        if (syn_path_format(out, cap, NULL, "%s/%s", folders[i], name) == SYN_OK &&
            access(out, X_OK) == 0)
            return true;
    }
    out[0] = '\0';
    return false;
}

static void
ask_version(const char *program, char *out, size_t cap)
{
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", NULL};
    const char *const argv[] = {"containerd", "--version", NULL};
    const struct syn_child_question question = {
        .program = program, .argv = argv, .env = env, .limit_ms = 10000, .bytes_max = 4096};
    SYN_BUF(text);
    const char *at;
    int status = 0;

    /* "containerd github.com/containerd/containerd 1.6.20 REVISION" */
    if (syn_child_ask(&question, &text, &status, NULL) < 0)
        return;
    at = strchr(syn_buf_text(&text), ' ');
    at = at ? strchr(at + 1, ' ') : NULL;
    if (at)
        (void)snprintf(out, cap, "%.*s", (int)strcspn(at + 1, " \n~"), at + 1);
}

void
syn_container_look(struct syn_container_report *ret)
{
    static const char *const needed[] = {"containerd", "containerd-shim-runc-v2", "runc"};
    char path[SYN_PATH_MAX];

    *ret = (struct syn_container_report){.found = true};
    for (size_t i = 0; i < SYN_LEN(needed); i++) {
        size_t len = strlen(ret->detail);

        if (syn_container_find(needed[i], path, sizeof(path)))
            continue;
        ret->found = false;
        (void)snprintf(ret->detail + len, sizeof(ret->detail) - len, "%s%s",
                       len > 0 ? " and " : "there is no ", needed[i]);
    }
    if (!ret->found)
        return;
    (void)syn_container_find("containerd", path, sizeof(path));
    ask_version(path, ret->version, sizeof(ret->version));
    for (size_t i = 0; i < SYN_POD_CLASSES; i++) {
        size_t len = strlen(ret->classes);

        if (syn_container_find(syn_pod_kinds[i].shim, path, sizeof(path)))
            (void)snprintf(ret->classes + len, sizeof(ret->classes) - len, "%s%s",
                           len > 0 ? " " : "", syn_pod_kinds[i].name);
    }
}

bool
syn_container_has_class(const struct syn_container_report *report, const char *name)
{
    const char *at = report->classes;
    size_t len = strlen(name);

    while (*at != '\0') {
        size_t word = strcspn(at, " ");

        if (word == len && strncmp(at, name, len) == 0)
            return true;
        at += word + (at[word] == ' ');
    }
    return false;
}

/* --- its folder ------------------------------------------------------------------------------- */

static int
write_file(const struct syn_containerd *containerd, const char *name, const void *data, size_t len,
           mode_t mode, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    int rc = syn_path_format(path, sizeof(path), err, "%s/%s", containerd->dir, name);

    if (rc == SYN_OK)
        rc = syn_file_write_atomic(AT_FDCWD, path, data, len, false, err);
    if (rc == SYN_OK && chmod(path, mode) < 0)
        rc = SYN_FAIL_SYS(err, errno, "setting the mode of %s", path);
    return rc;
}

static void
add_classes(const struct syn_containerd *containerd, struct syn_buf *out)
{
    char path[SYN_PATH_MAX];

    if (syn_container_find("runc", path, sizeof(path)))
        syn_buf_addf(out,
                     "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc]\n"
                     "runtime_type = \"io.containerd.runc.v2\"\n"
                     "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.runc.options]\n"
                     "BinaryName = \"%s\"\n"
                     "Root = \"%s/runc\"\n"
                     "SystemdCgroup = false\n",
                     path, containerd->dir);
    for (size_t i = SYN_POD_RUNC + 1; i < SYN_POD_CLASSES; i++) {
        if (syn_container_find(syn_pod_kinds[i].shim, path, sizeof(path)))
            syn_buf_addf(out,
                         "[plugins.\"io.containerd.grpc.v1.cri\".containerd.runtimes.%s]\n"
                         "runtime_type = \"%s\"\n",
                         syn_pod_kinds[i].name, syn_pod_kinds[i].type);
    }
}

/* `restrict_oom_score_adj`: a node may lack CAP_SYS_RESOURCE. `netns_mounts_under_state_dir`: a
 * namespace's name must not meet another containerd's. */
static int
write_config(const struct syn_containerd *containerd, const char *pause, struct syn_err *err)
{
    const char *dir = containerd->dir;
    SYN_BUF(out);
    int rc;

    syn_buf_addf(&out,
                 "version = 2\n"
                 "root = \"%s/root\"\n"
                 "state = \"%s/state\"\n"
                 "oom_score = 0\n"
                 "disabled_plugins = [\"io.containerd.snapshotter.v1.aufs\", "
                 "\"io.containerd.snapshotter.v1.btrfs\", "
                 "\"io.containerd.snapshotter.v1.devmapper\", "
                 "\"io.containerd.snapshotter.v1.zfs\", "
                 "\"io.containerd.internal.v1.tracing\"]\n"
                 "[grpc]\n"
                 "address = \"%s\"\n"
                 "[plugins.\"io.containerd.internal.v1.opt\"]\n"
                 "path = \"%s/opt\"\n"
                 "[plugins.\"io.containerd.grpc.v1.cri\"]\n"
                 "sandbox_image = \"%s\"\n"
                 "stream_server_address = \"127.0.0.1\"\n"
                 "stream_server_port = \"0\"\n"
                 "disable_apparmor = true\n"
                 "restrict_oom_score_adj = true\n"
                 "tolerate_missing_hugetlb_controller = true\n"
                 "netns_mounts_under_state_dir = true\n"
                 "max_container_log_line_size = %zu\n"
                 "[plugins.\"io.containerd.grpc.v1.cri\".cni]\n"
                 "bin_dir = \"%s/cni/bin\"\n"
                 "conf_dir = \"%s/cni/conf\"\n"
                 "max_conf_num = 1\n"
                 "[plugins.\"io.containerd.grpc.v1.cri\".containerd]\n"
                 "snapshotter = \"overlayfs\"\n"
                 "default_runtime_name = \"runc\"\n",
                 dir, dir, containerd->address + strlen("unix:"), dir, pause,
                 SYN_INSTANCE_LOG_LINE_MAX, dir, dir);
    add_classes(containerd, &out);
    rc = syn_buf_ok(&out, err);
    return rc < 0 ? rc : write_file(containerd, "config.toml", out.data, out.len, 0600, err);
}

static int
write_network(const struct syn_containerd *containerd, struct syn_err *err)
{
    const struct syn_container_options *options = containerd->options;
    SYN_BUF(out);
    int rc;

    syn_buf_addf(&out,
                 "{\"cniVersion\":\"0.4.0\",\"name\":\"synor\",\"plugins\":[{\"type\":\"synor\","
                 "\"pods\":\"%s\"}]}\n",
                 containerd->pods);
    rc = syn_buf_ok(&out, err);
    if (rc == SYN_OK)
        rc = write_file(containerd, "cni/conf/10-synor.conflist", out.data, out.len, 0600, err);
    if (rc == SYN_OK)
        rc = write_file(containerd, "cni/bin/synor", options->pod_program, options->pod_program_len,
                        0700, err);
    if (rc == SYN_OK)
        rc = write_file(containerd, "cni/bin/loopback", options->pod_program,
                        options->pod_program_len, 0700, err);
    return rc;
}

static int
make_folders(const struct syn_containerd *containerd, struct syn_err *err)
{
    static const char *const names[] = {"cni/bin", "cni/conf", "opt", "root", "state", "pods"};
    char path[SYN_PATH_MAX];
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(names); i++) {
        rc = syn_path_format(path, sizeof(path), err, "%s/%s", containerd->dir, names[i]);
        if (rc == SYN_OK)
            rc = syn_dir_make(AT_FDCWD, path, 0700, err);
    }
    return rc;
}

/* --- its images ------------------------------------------------------------------------------- */

static bool
knows_image(struct syn_containerd *containerd, const char *name)
{
    bool known = false;

    /* From another's containerd somebody may have removed it. */
    if (containerd->foreign)
        return false;
    (void)pthread_mutex_lock(&containerd->lock);
    for (size_t i = 0; i < IMAGES_KEPT; i++)
        known = known || syn_str_eq(containerd->images[i], name);
    (void)pthread_mutex_unlock(&containerd->lock);
    return known;
}

static int
give_image(struct syn_containerd *containerd, const struct syn_pod_image *image,
           struct syn_err *err)
{
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    int rc = syn_cri_open(containerd->address, &cri, err);

    if (rc == SYN_OK)
        rc = syn_cri_has_image(cri, image->name, err);
    /* The half of containerd that runs pods hears of it a moment later; if that half was not there
     * yet when it was told, it has to be told again. So has one to which an agent that was killed
     * was still giving it. */
    for (int i = 0; rc == SYN_E_NOTFOUND && i < START_MS / POLL_MS; i++) {
        rc = i % TELL_EVERY == 0 ? syn_pod_image_give(image, containerd->address, err) : SYN_OK;
        if (rc == SYN_OK || rc == SYN_E_UNAVAILABLE)
            rc = syn_cri_has_image(cri, image->name, err);
        if (rc == SYN_E_NOTFOUND)
            (void)poll(NULL, 0, POLL_MS);
    }
    if (rc < 0)
        return rc;
    (void)pthread_mutex_lock(&containerd->lock);
    (void)syn_str_copy(containerd->images[containerd->images_at++ % IMAGES_KEPT],
                       SYN_POD_IMAGE_NAME_MAX, image->name);
    (void)pthread_mutex_unlock(&containerd->lock);
    return SYN_OK;
}

int
syn_containerd_image(struct syn_containerd *containerd, const struct syn_pod_image *image,
                     struct syn_err *err)
{
    int rc = SYN_OK;

    if (knows_image(containerd, image->name))
        return SYN_OK;
    (void)pthread_mutex_lock(&containerd->giving);
    if (!knows_image(containerd, image->name))
        rc = give_image(containerd, image, err);
    (void)pthread_mutex_unlock(&containerd->giving);
    return rc;
}

static int
make_pause(const struct syn_containerd *containerd, struct syn_pod_image *image,
           struct syn_err *err)
{
    const struct syn_container_options *options = containerd->options;
    int rc;

    syn_pod_image_init(image);
    rc = syn_pod_image_program(image, "pause", options->pause_program, options->pause_program_len,
                               err);
    return rc < 0 ? rc : syn_pod_image_close(image, "pause", "/pause", err);
}

/* --- its process ------------------------------------------------------------------------------ */

static int
write_pid(const struct syn_containerd *containerd, pid_t pid, struct syn_err *err)
{
    SYN_JSON(doc);
    char path[SYN_PATH_MAX], boot[40];
    int rc = syn_path_format(path, sizeof(path), err, "%s/process.json", containerd->dir);

    syn_boot_id(boot);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:s, s:i, s:I}", "boot", boot, "pid", (int)pid, "ticks",
                           (json_int_t)syn_proc_start_ticks(pid));
    return rc < 0 ? rc : syn_file_write_json(AT_FDCWD, path, doc, false, err);
}

/* One that an earlier process started, or -1. */
static int
find_running(const struct syn_containerd *containerd)
{
    SYN_JSON(doc);
    SYN_FD(fd);
    char path[SYN_PATH_MAX], boot[40];
    pid_t pid;

    syn_boot_id(boot);
    if (syn_path_format(path, sizeof(path), NULL, "%s/process.json", containerd->dir) < 0 ||
        syn_file_read_json(AT_FDCWD, path, &doc, NULL) < 0 ||
        !syn_str_eq(syn_json_str(doc, "boot", ""), boot))
        return -1;
    pid = (pid_t)syn_json_i64(doc, "pid", 0);
    if (pid <= 0)
        return -1;
    fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd < 0 || syn_proc_start_ticks(pid) != (uint64_t)syn_json_i64(doc, "ticks", 0))
        return -1;
    return syn_fd_take(&fd);
}

static bool
gone(int pidfd, int wait_ms)
{
    struct pollfd poller = {.fd = pidfd, .events = POLLIN};

    return pidfd < 0 || poll(&poller, 1, wait_ms) == 1;
}

static int
open_log(const struct syn_containerd *containerd, int *ret_fd, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    struct stat st;
    SYN_FD(fd);
    int rc = syn_path_format(path, sizeof(path), err, "%s/log", containerd->dir);

    if (rc < 0)
        return rc;
    fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    if (fstat(fd, &st) == 0 && st.st_size > LOG_MAX)
        (void)!ftruncate(fd, 0);
    *ret_fd = syn_fd_take(&fd);
    return SYN_OK;
}

/* The last line of its log. */
static int
last_words(const struct syn_containerd *containerd, struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_BUF(text);
    char *at, *end;

    if (syn_path_format(path, sizeof(path), NULL, "%s/log", containerd->dir) < 0 ||
        syn_file_read(AT_FDCWD, path, (size_t)LOG_MAX + TAIL_MAX, &text, NULL) < 0 || text.len < 2)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "containerd ended at once and said nothing");
    end = text.data + text.len - 1;
    *end = '\0';
    at = strrchr(text.data, '\n');
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "containerd ended at once: %s",
                    at ? at + 1 : text.data);
}

static int
spawn(struct syn_containerd *containerd, struct syn_err *err)
{
    static const char *const env[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:"
                                      "/sbin:/bin",
                                      "LC_ALL=C", NULL};
    char program[SYN_PATH_MAX], setsid[SYN_PATH_MAX], config[SYN_PATH_MAX];
    const char *const argv[] = {"setsid", program, "--config", config, NULL};
    struct syn_child_options options = {
        .argv = argv, .env = env, .in = SYN_CHILD_NULL, .passed = SYN_CHILD_NULL};
    SYN_FD(log);
    pid_t pid = 0;
    int rc;

    if (!syn_container_find("containerd", program, sizeof(program)) ||
        !syn_container_find("setsid", setsid, sizeof(setsid)))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "containerd is not installed");
    rc = syn_path_format(config, sizeof(config), err, "%s/config.toml", containerd->dir);
    if (rc == SYN_OK)
        rc = open_log(containerd, &log, err);
    options.out = options.err = log;
    if (rc == SYN_OK)
        rc = syn_child_spawn(setsid, &options, &pid, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "starting containerd");
    containerd->child = pid;
    containerd->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (containerd->pidfd < 0)
        return SYN_FAIL_SYS(err, errno, "watching containerd");
    return write_pid(containerd, pid, err);
}

static int
await_answer(const struct syn_containerd *containerd, struct syn_err *err)
{
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    char version[96];
    int rc = syn_cri_open(containerd->address, &cri, err);

    for (int i = 0; rc == SYN_OK && i < START_MS / POLL_MS; i++) {
        if (syn_cri_version(cri, version, sizeof(version), err) == SYN_OK)
            return SYN_OK;
        if (gone(containerd->pidfd, POLL_MS))
            return last_words(containerd, err);
    }
    return rc < 0 ? rc
                  : SYN_FAIL(err, SYN_E_UNAVAILABLE, "containerd does not answer within %d s",
                             START_MS / 1000);
}

/* The lock is held. */
static void
forget(struct syn_containerd *containerd)
{
    containerd->ready = false;
    syn_fd_scope(&containerd->pidfd);
    if (containerd->child > 0)
        (void)syn_child_wait(containerd->child);
    containerd->child = 0;
}

/* The lock is held. Started, or found, and answering. */
static int
bring_up(struct syn_containerd *containerd, const char *pause, struct syn_err *err)
{
    int rc = SYN_OK;

    if (containerd->pidfd >= 0 && gone(containerd->pidfd, 0))
        forget(containerd);
    if (containerd->pidfd < 0)
        containerd->pidfd = find_running(containerd);
    if (containerd->pidfd < 0) {
        rc = make_folders(containerd, err);
        if (rc == SYN_OK)
            rc = write_config(containerd, pause, err);
        if (rc == SYN_OK)
            rc = write_network(containerd, err);
        if (rc == SYN_OK)
            rc = spawn(containerd, err);
    }
    if (rc == SYN_OK)
        rc = await_answer(containerd, err);
    if (rc < 0 && gone(containerd->pidfd, 0))
        forget(containerd);
    containerd->ready = rc == SYN_OK;
    return rc;
}

/* Whenever it ends: start it anew, at once the first time. */
static void *
watch(void *arg)
{
    struct syn_containerd *containerd = arg;
    struct syn_pod_image pause;
    int wait_ms = 0;

    if (make_pause(containerd, &pause, NULL) < 0) {
        syn_pod_image_fini(&pause);
        return NULL;
    }
    for (;;) {
        struct pollfd fds[2] = {{.fd = containerd->wake, .events = POLLIN}};
        bool stopping;

        (void)pthread_mutex_lock(&containerd->lock);
        fds[1] = (struct pollfd){.fd = containerd->pidfd, .events = POLLIN};
        (void)pthread_mutex_unlock(&containerd->lock);
        (void)poll(fds, 2, fds[1].fd < 0 ? BACKOFF_MS : -1);
        if (wait_ms > 0)
            (void)poll(fds, 1, wait_ms);
        (void)pthread_mutex_lock(&containerd->lock);
        stopping = containerd->stopping;
        wait_ms = 0;
        if (!stopping && (containerd->pidfd < 0 || gone(containerd->pidfd, 0)))
            wait_ms = bring_up(containerd, pause.name, NULL) < 0 ? BACKOFF_MS : 0;
        (void)pthread_mutex_unlock(&containerd->lock);
        if (stopping)
            break;
    }
    syn_pod_image_fini(&pause);
    return NULL;
}

static int
ensure_own(struct syn_containerd *containerd, const struct syn_pod_image *pause,
           struct syn_err *err)
{
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&containerd->lock);
    if (!containerd->ready || gone(containerd->pidfd, 0))
        rc = bring_up(containerd, pause->name, err);
    if (rc == SYN_OK && !containerd->watched) {
        containerd->watched = pthread_create(&containerd->thread, NULL, watch, containerd) == 0;
        if (!containerd->watched)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "a thread to watch containerd");
    }
    (void)pthread_mutex_unlock(&containerd->lock);
    return rc;
}

/* --- somebody else's -------------------------------------------------------------------------- */

/* Look what it is and has. Thread: the watching one; before there is one, any. */
static int
meet(struct syn_containerd *containerd, struct syn_err *err)
{
    struct syn_cri_facts facts = {.loaded = false};
    int rc = make_folders(containerd, err);

    if (rc == SYN_OK)
        rc = write_network(containerd, err);
    if (rc == SYN_OK)
        rc = syn_foreign_look(containerd->address, containerd->networks, &facts, err);
    for (int waited = 0; rc == SYN_OK && !facts.loaded && waited < READ_MS; waited += BACKOFF_MS) {
        (void)poll(NULL, 0, BACKOFF_MS);
        rc = syn_foreign_look(containerd->address, containerd->networks, &facts, err);
    }
    if (rc == SYN_OK && !facts.loaded)
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "%.60s has not read %.100s: it must start anew",
                      containerd->address, containerd->networks);
    (void)pthread_mutex_lock(&containerd->lock);
    containerd->ready = rc == SYN_OK;
    if (rc == SYN_OK)
        containerd->facts = facts;
    else
        containerd->why = *err;
    (void)pthread_mutex_unlock(&containerd->lock);
    return rc;
}

/* A connection that says nothing: its end is that of the process. -1: nobody is there. */
static int
listen_to(const struct syn_containerd *containerd)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    SYN_FD(fd);

    if (!syn_str_copy(where.sun_path, sizeof(where.sun_path),
                      containerd->address + strlen("unix:")))
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&where, sizeof(where)) < 0)
        return -1;
    return syn_fd_take(&fd);
}

/* What it sends, until it closes. */
static bool
hung_up(int fd)
{
    char bytes[512];

    return fd < 0 || recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT) == 0;
}

static void *
watch_foreign(void *arg)
{
    struct syn_containerd *containerd = arg;
    struct syn_err err = {0};
    bool stopping = false, there = true;
    SYN_FD(fd);

    fd = listen_to(containerd);
    while (!stopping) {
        struct pollfd fds[2] = {{.fd = containerd->wake, .events = POLLIN},
                                {.fd = there ? fd : -1, .events = POLLIN}};

        (void)poll(fds, 2, there && fd >= 0 ? -1 : BACKOFF_MS);
        (void)pthread_mutex_lock(&containerd->lock);
        stopping = containerd->stopping;
        (void)pthread_mutex_unlock(&containerd->lock);
        if (stopping || (there && !hung_up(fd)))
            continue;
        syn_fd_scope(&fd);
        fd = listen_to(containerd);
        there = meet(containerd, &err) == SYN_OK;
    }
    return NULL;
}

static int
ensure_foreign(struct syn_containerd *containerd, struct syn_err *err)
{
    bool ready = false, watched;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&containerd->lock);
    watched = containerd->watched;
    (void)pthread_mutex_unlock(&containerd->lock);
    if (!watched) {
        rc = meet(containerd, err);
        if (rc == SYN_OK &&
            pthread_create(&containerd->thread, NULL, watch_foreign, containerd) != 0)
            rc = SYN_FAIL(err, SYN_E_NOMEM, "a thread to watch containerd");
        (void)pthread_mutex_lock(&containerd->lock);
        containerd->watched = rc == SYN_OK;
        (void)pthread_mutex_unlock(&containerd->lock);
        return rc;
    }
    for (int waited = 0; !ready && waited <= AWAY_MS; waited += BACKOFF_MS) {
        if (waited > 0)
            (void)poll(NULL, 0, BACKOFF_MS);
        ready = !syn_containerd_away(containerd, err);
    }
    return ready ? SYN_OK : SYN_E_UNAVAILABLE;
}

bool
syn_containerd_away(struct syn_containerd *containerd, struct syn_err *err)
{
    bool away;

    (void)pthread_mutex_lock(&containerd->lock);
    away = containerd->foreign && !containerd->ready;
    if (away && err) {
        *err = containerd->why;
        err->code = SYN_E_UNAVAILABLE;
    }
    (void)pthread_mutex_unlock(&containerd->lock);
    return away;
}

void
syn_containerd_facts(struct syn_containerd *containerd, struct syn_cri_facts *ret)
{
    char path[SYN_PATH_MAX];

    (void)pthread_mutex_lock(&containerd->lock);
    *ret = containerd->facts;
    (void)pthread_mutex_unlock(&containerd->lock);
    if (containerd->foreign)
        return;
    for (size_t i = 0; i < SYN_POD_CLASSES; i++) {
        if (syn_container_find(syn_pod_kinds[i].shim, path, sizeof(path)))
            (void)syn_str_copy(ret->handlers[i], sizeof(ret->handlers[i]), syn_pod_kinds[i].name);
    }
    (void)!syn_path_format(ret->state, sizeof(ret->state), NULL, "%s/state", containerd->dir);
    (void)!syn_path_format(ret->runc, sizeof(ret->runc), NULL, "%s/runc", containerd->dir);
}

int
syn_containerd_ensure(struct syn_containerd *containerd, struct syn_err *err)
{
    struct syn_pod_image pause;
    int rc;

    if (containerd->foreign)
        return ensure_foreign(containerd, err);
    rc = make_pause(containerd, &pause, err);
    if (rc == SYN_OK)
        rc = ensure_own(containerd, &pause, err);
    if (rc == SYN_OK)
        rc = syn_containerd_image(containerd, &pause, err);
    syn_pod_image_fini(&pause);
    return rc;
}

/* --- life ------------------------------------------------------------------------------------- */

int
syn_containerd_new(const struct syn_container_options *options, const char *address,
                   struct syn_containerd **ret_containerd, struct syn_err *err)
{
    struct syn_containerd *containerd = syn_calloc(1, sizeof(*containerd));
    int rc;

    if (!containerd)
        return SYN_FAIL(err, SYN_E_NOMEM, "containerd");
    containerd->options = options;
    containerd->foreign = address != NULL;
    containerd->pidfd = -1;
    rc = syn_path_format(containerd->dir, sizeof(containerd->dir), err, "%s/containerd",
                         options->root);
    if (rc == SYN_OK)
        rc = syn_path_format(containerd->pods, sizeof(containerd->pods), err, "%s/containerd/pods",
                             options->root);
    if (rc == SYN_OK)
        rc = syn_path_format(containerd->networks, sizeof(containerd->networks), err,
                             "%s/" SYN_FOREIGN_NETWORKS, options->root);
    if (rc == SYN_OK && address)
        rc = syn_path_format(containerd->address, sizeof(containerd->address), err, "%s", address);
    else if (rc == SYN_OK)
        rc = syn_path_format(containerd->address, sizeof(containerd->address), err,
                             SYN_CONTAINERD_OWN, options->root);
    if (rc == SYN_OK)
        rc = syn_dir_make(AT_FDCWD, containerd->pods, 0700, err);
    containerd->wake = eventfd(0, EFD_CLOEXEC);
    if (rc == SYN_OK && containerd->wake < 0)
        rc = SYN_FAIL_SYS(err, errno, "making an event descriptor");
    if (rc == SYN_OK && pthread_mutex_init(&containerd->lock, NULL) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "containerd");
    if (rc == SYN_OK && pthread_mutex_init(&containerd->giving, NULL) != 0) {
        (void)pthread_mutex_destroy(&containerd->lock);
        rc = SYN_FAIL(err, SYN_E_NOMEM, "containerd");
    }
    if (rc < 0) {
        syn_fd_scope(&containerd->wake);
        syn_free(containerd);
        return rc;
    }
    *ret_containerd = containerd;
    return SYN_OK;
}

struct syn_containerd *
syn_containerd_free(struct syn_containerd *containerd, bool end)
{
    const uint64_t one = 1;

    if (!containerd)
        return NULL;
    (void)pthread_mutex_lock(&containerd->lock);
    containerd->stopping = true;
    (void)pthread_mutex_unlock(&containerd->lock);
    (void)!write(containerd->wake, &one, sizeof(one));
    if (containerd->watched)
        (void)pthread_join(containerd->thread, NULL);
    if (end && containerd->pidfd >= 0) {
        (void)syscall(SYS_pidfd_send_signal, containerd->pidfd, SIGTERM, NULL, 0);
        if (!gone(containerd->pidfd, END_MS))
            (void)syscall(SYS_pidfd_send_signal, containerd->pidfd, SIGKILL, NULL, 0);
        forget(containerd);
    }
    if (containerd->child > 0)
        syn_child_forget(containerd->child);
    syn_fd_scope(&containerd->pidfd);
    syn_fd_scope(&containerd->wake);
    (void)pthread_mutex_destroy(&containerd->giving);
    (void)pthread_mutex_destroy(&containerd->lock);
    syn_free(containerd);
    return NULL;
}

const char *
syn_containerd_address(const struct syn_containerd *containerd)
{
    return containerd->address;
}

const char *
syn_containerd_pods(const struct syn_containerd *containerd)
{
    return containerd->pods;
}
