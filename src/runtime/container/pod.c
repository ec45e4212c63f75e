/* The engine of a supervisor whose instance is a pod of a container runtime.
 *
 *      shim --gRPC--> containerd --> containerd-shim --+-- pause
 *        ^                |                            `-- the program, in DIR's cgroup
 *        `-- DIR/output --'  a line a record
 *
 * The program is the runtime's child, not ours, so its end is seen by a pidfd and its status asked
 * for; signals go straight to it, so that stopping needs nobody. Its output the runtime writes to a
 * file, which we follow, log within our limit, and give back to the disk behind us.
 *
 * Refused: a FIFO in the file's place (a reader that pauses holds the runtime up, and containerd
 * drops what it has not written when the program ends); asking for the status again and again. */
#include "pod_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/runtime/container.h>

#include "../native/file_priv.h"
#include "../net/netlink_priv.h"
#include "cri_priv.h"
#include "message_priv.h"

#define REQUEST_MAX   ((size_t)4 << 20)
#define PUNCH_BYTES   ((off_t)1 << 20)
#define LINE_ROOM     ((size_t)64 << 10) /* over SYN_INSTANCE_LOG_LINE_MAX */
#define DRAIN_MS      5000               /* for output that the runtime still has after the end */
#define LOOK_FIRST_MS 2
#define LOOK_MAX_MS   50
#define REMIND_MS     5000
#define LOST_MS       20000 /* so long an ended program's status is asked for */

struct pod {
    struct syn_cri *cri;
    char pod_id[SYN_CRI_ID_MAX], container_id[SYN_CRI_ID_MAX];
    int64_t look_ms, lost_at_ms;
    bool reminded;
    int output;                /* what the runtime logs */
    off_t read_at, punched_at; /* in it */
    bool closed;               /* the runtime has closed it since it last wrote */
    size_t line_len, text_len;
    enum syn_logger_stream stream; /* whose text it is */
    char line[LINE_ROOM], text[LINE_ROOM];
};

static struct pod the_pod; /* of this process */

/* --- output ----------------------------------------------------------------------------------- */

/* Lines of one stream that follow each other are logged together. */
static void
flush(struct shim *shim)
{
    struct pod *pod = shim->engine_data;

    if (pod->text_len > 0)
        syn_logger_feed(&shim->logger, pod->stream, pod->text, pod->text_len,
                        syn_shim_wall_ms(shim));
    pod->text_len = 0;
}

static void
take_line(struct shim *shim, const char *line, size_t len)
{
    struct pod *pod = shim->engine_data;
    struct syn_log_record record;
    enum syn_logger_stream stream;

    if (syn_log_record_parse(line, len, &record, NULL) < 0)
        return;
    stream = syn_str_eq(record.stream, "stderr") ? SYN_LOGGER_STDERR : SYN_LOGGER_STDOUT;
    if (stream != pod->stream)
        flush(shim);
    pod->stream = stream;
    /* There is room: what is decoded is shorter than what was read. */
    assert(pod->text_len + record.text_len < sizeof(pod->text));
    memcpy(pod->text + pod->text_len, record.text, record.text_len);
    pod->text_len += record.text_len;
    if (!record.partial)
        pod->text[pod->text_len++] = '\n';
}

/* What has been logged is given back to the disk: the file's size grows, its blocks do not. */
static void
punch(struct pod *pod)
{
    off_t len = pod->read_at - pod->punched_at;

    if (len >= PUNCH_BYTES && fallocate(pod->output, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        pod->punched_at, len) == 0)
        pod->punched_at = pod->read_at;
}

/* What there is; false when there was nothing. */
static bool
read_some(struct shim *shim)
{
    struct pod *pod = shim->engine_data;
    ssize_t got = pread(pod->output, pod->line + pod->line_len, sizeof(pod->line) - pod->line_len,
                        pod->read_at);
    const char *at = pod->line, *end;

    if (got <= 0)
        return false;
    pod->read_at += got;
    pod->line_len += (size_t)got;
    while ((end = memchr(at, '\n', pod->line_len - (size_t)(at - pod->line))) != NULL) {
        take_line(shim, at, (size_t)(end - at));
        at = end + 1;
    }
    flush(shim);
    pod->line_len -= (size_t)(at - pod->line);
    memmove(pod->line, at, pod->line_len);
    if (pod->line_len == sizeof(pod->line))
        pod->line_len = 0; /* no runtime writes such a line */
    punch(pod);
    return true;
}

/* The runtime has written, or has closed its end. */
static void
take_events(struct shim *shim)
{
    struct pod *pod = shim->engine_data;
    union {
        struct inotify_event event;
        char bytes[4096];
    } events;
    ssize_t got = read(shim->pipes[0], &events, sizeof(events));

    for (ssize_t at = 0; at + (ssize_t)sizeof(events.event) <= got;) {
        struct inotify_event event;

        memcpy(&event, events.bytes + at, sizeof(event));
        pod->closed = (event.mask & IN_CLOSE_WRITE) != 0;
        at += (ssize_t)(sizeof(event) + event.len);
    }
}

static void
read_output(struct shim *shim, enum syn_logger_stream stream)
{
    assert(stream == SYN_LOGGER_STDOUT);
    take_events(shim);
    if (read_some(shim)) {
        while (read_some(shim))
            ;
        syn_full_hear(&shim->full, &shim->logger, shim->scratch_path,
                      shim->init_done ? 0 : (int)shim->init, syn_shim_mono_ms());
    }
}

/* The runtime closes its end once it has written everything, a moment after it has told of the end
 * of the program. */
static void
drain(struct shim *shim)
{
    struct pod *pod = shim->engine_data;
    int64_t deadline = syn_shim_mono_ms() + DRAIN_MS, left;
    struct pollfd more = {.fd = shim->pipes[0], .events = POLLIN};

    while (more.fd >= 0 && !pod->closed && (left = deadline - syn_shim_mono_ms()) > 0) {
        if (poll(&more, 1, (int)left) == 1)
            read_output(shim, SYN_LOGGER_STDOUT);
    }
    while (pod->output >= 0 && read_some(shim))
        ;
}

static int
open_output(struct shim *shim, struct syn_err *err)
{
    struct pod *pod = shim->engine_data;
    char path[SYN_PATH_MAX];
    int rc = syn_path_format(path, sizeof(path), err, "%s/" SYN_FILE_OUTPUT, shim->dir_path);

    if (rc < 0)
        return rc;
    pod->output = openat(shim->dir, SYN_FILE_OUTPUT,
                         O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    shim->pipes[0] = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (pod->output < 0 || shim->pipes[0] < 0 ||
        inotify_add_watch(shim->pipes[0], path, IN_MODIFY | IN_CLOSE_WRITE) < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", SYN_FILE_OUTPUT);
    return SYN_OK;
}

/* --- the start -------------------------------------------------------------------------------- */

static int
make_cgroup(struct shim *shim, struct syn_err *err)
{
    const struct syn_plan *plan = &shim->plan;
    struct syn_cgroup_limits limits = {plan->cpu_millicores, plan->memory_bytes,
                                       plan->pids_max + SYN_POD_PAUSE_PIDS};
    int rc = syn_cgroup_layout_read(&shim->layout, err);

    shim->own_pids = SYN_POD_PAUSE_PIDS;
    if (rc == SYN_OK)
        rc = syn_cgroup_create(&shim->layout, plan->cgroup, &limits, err);
    if (rc == SYN_OK && plan->place.netns[0] != '\0')
        rc = syn_nl_open(NETLINK_NETFILTER, &shim->filter, err);
    return rc;
}

static int
read_message(const struct shim *shim, const char *file, const ProtobufCMessageDescriptor *kind,
             void *ret, struct syn_err *err)
{
    SYN_BUF(data);
    int rc = syn_file_read(shim->dir, file, REQUEST_MAX, &data, err);

    return rc < 0 ? rc : syn_message_unpack(kind, &data, ret, err);
}

static int
make_container(struct shim *shim, struct syn_err *err)
{
    struct pod *pod = shim->engine_data;
    SYN_SCOPED(syn_message_scope) Cri__RunPodSandboxRequest *run = NULL;
    SYN_SCOPED(syn_message_scope) Cri__ContainerConfig *config = NULL;
    SYN_MESSAGE(Cri__CreateContainerRequest, cri__create_container_request, create);
    int rc = read_message(shim, SYN_FILE_POD, &cri__run_pod_sandbox_request__descriptor, &run, err);

    if (rc == SYN_OK)
        rc = read_message(shim, SYN_FILE_CONTAINER, &cri__container_config__descriptor, &config,
                          err);
    if (rc == SYN_OK)
        rc = syn_cri_run_pod(pod->cri, run, pod->pod_id, err);
    if (rc < 0)
        return rc;
    create.pod_sandbox_id = pod->pod_id;
    create.config = config;
    create.sandbox_config = run->config;
    return syn_cri_create(pod->cri, &create, pod->container_id, err);
}

/* It has ended already, or `ended` will tell. */
static int
watch_init(struct shim *shim, struct syn_err *err)
{
    struct pod *pod = shim->engine_data;
    struct syn_cri_status status = {0};
    int rc = syn_cri_status(pod->cri, pod->container_id, &status, err);

    if (rc < 0)
        return rc;
    if (status.state == SYN_CRI_RUNNING && status.pid == 0)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                        "the container runtime does not tell the pid of a container");
    shim->init = status.pid;
    if (status.state == SYN_CRI_RUNNING)
        shim->ended = (int)syscall(SYS_pidfd_open, status.pid, 0);
    /* Gone, or going: what is asked next tells. */
    if (shim->ended < 0) {
        shim->ended_ms = syn_shim_wall_ms(shim);
        shim->look_at_ms = 0;
    }
    return SYN_OK;
}

static int
begin(struct shim *shim, struct syn_err *err)
{
    struct pod *pod = &the_pod;
    struct syn_cgroup_usage usage;
    int rc;

    shim->engine_data = pod;
    pod->look_ms = LOOK_FIRST_MS;
    pod->output = -1;
    rc = make_cgroup(shim, err);
    if (rc == SYN_OK)
        rc = open_output(shim, err);
    if (rc == SYN_OK)
        rc = syn_cri_open(shim->plan.runtime, &pod->cri, err);
    if (rc == SYN_OK)
        rc = make_container(shim, err);
    if (rc < 0)
        return rc;
    rc = syn_path_format(shim->program_cgroup, sizeof(shim->program_cgroup), err, "%s/%s",
                         shim->plan.cgroup, pod->container_id);
    if (rc < 0)
        return rc;
    /* Making the pod is not the program's time. */
    syn_cgroup_usage_read(&shim->layout, shim->plan.cgroup, &usage);
    shim->cpu_us_base = usage.cpu_us;
    shim->limits = syn_cgroup_watch_pids(&shim->layout, shim->program_cgroup);
    rc = syn_cri_start(pod->cri, pod->container_id, err);
    if (rc == SYN_OK)
        rc = watch_init(shim, err);
    if (rc == SYN_OK)
        syn_shim_started(shim);
    return rc;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* Ask how it ended. The runtime may be starting anew just now: then again, less and less often. */
static void
look(struct shim *shim)
{
    struct pod *pod = shim->engine_data;
    struct syn_cri_status status = {.state = SYN_CRI_UNKNOWN};
    int64_t now = syn_shim_mono_ms();
    int rc = syn_cri_status(pod->cri, pod->container_id, &status, NULL);

    if (pod->lost_at_ms == 0)
        pod->lost_at_ms = now + LOST_MS;
    if (rc == SYN_OK && status.state == SYN_CRI_EXITED) {
        shim->init_done = true;
        shim->init_status = (int)((unsigned)status.exit_code & 0xff) << 8;
        if (status.out_of_memory)
            shim->oom_kills_seen = SYN_MAX(shim->oom_kills_seen, 1);
    } else if (rc == SYN_E_NOTFOUND || now > pod->lost_at_ms) {
        shim->init_done = true;
        shim->init_status = 255 << 8;
        shim->lost = true;
    } else {
        /* One that missed the end of its child is reminded of it. */
        if (rc == SYN_OK && now > pod->lost_at_ms - LOST_MS + REMIND_MS && !pod->reminded) {
            (void)!syn_cri_stop(pod->cri, pod->container_id, NULL);
            pod->reminded = true;
        }
        shim->look_at_ms = now + pod->look_ms;
        pod->look_ms = SYN_MIN(2 * pod->look_ms, LOOK_MAX_MS);
    }
}

static bool
over(struct shim *shim)
{
    if (!shim->init_done && shim->ended < 0 && syn_shim_mono_ms() >= shim->look_at_ms)
        look(shim);
    return shim->init_done;
}

static void
words(struct shim *shim, char *out, size_t cap)
{
    (void)shim;
    (void)snprintf(out, cap, "the container runtime did not start it");
}

static void
remove_pod(struct shim *shim)
{
    struct pod *pod = shim->engine_data;

    if (pod->cri && pod->pod_id[0] != '\0')
        (void)!syn_cri_remove_pod(pod->cri, pod->pod_id, NULL);
    else if (pod->cri)
        (void)!syn_cri_remove_pods(pod->cri, shim->plan.name, NULL);
    pod->cri = syn_cri_close(pod->cri);
    syn_fd_scope(&pod->output);
    syn_fd_scope(&shim->pipes[0]);
}

const struct syn_shim_engine syn_shim_pod = {
    .begin = begin,
    .over = over,
    .read = read_output,
    .drain = drain,
    .words = words,
    .clear = remove_pod,
};

int
syn_pod_main(int argc, char **argv)
{
    return syn_shim_run(argc, argv, &syn_shim_pod);
}
