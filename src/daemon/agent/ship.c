/* Sending what an instance produces: log and progress bytes at the offset where the server stands,
 * and usage as signed samples that continue its meter. The server's word is the only bookmark. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/lease.h>
#include <synor/market/meter.h>
#include <synor/workload/training_progress.h>

#include "agent_priv.h"

#define PIECE_MAX      ((int64_t)8 << 20) /* of one request */
#define USAGE_LINE_MAX 1024
#define PROGRESS_MAX   ((int64_t)64 << 20) /* the program's own file: more of it is not sent */

/* A file that is sent from where the server stands. */
struct tail {
    const char *path;
    const char *what;  /* "logs", "progress" */
    int64_t bytes_max; /* 0: as much as there is */
    int64_t offset;    /* the server's; learnt from its answers */
};

struct agt_ship {
    struct agt_instance *instance;
    char progress_path[AGT_PATH_MAX]; /* where the training contract puts it */
    struct tail log;
    struct tail progress;
    struct syn_progress *reader; /* over the progress file, for steps; NULL: it has nothing yet */
    int64_t read_offset;
    int64_t usage_seq; /* the server's */
    struct bookmark {
        int64_t offset;      /* of the first line after it in the usage file */
        int64_t memory_peak; /* until there */
    } usage;
    struct syn_capacity reserved;
    char lease[SYN_DIGEST_MAX]; /* what it is served for; every report is signed with it */
};

int
agt_ship_new(struct agt_instance *instance, struct agt_ship **ret, struct syn_err *err)
{
    struct agt_ship *ship = syn_calloc(1, sizeof(*ship));
    const json_t *resources;
    int rc;

    if (ship == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to ship %s", instance->id);
    ship->instance = instance;
    ship->log = (struct tail){instance->paths->log, "logs", 0, 0};
    (void)snprintf(ship->progress_path, sizeof(ship->progress_path), "%s/progress.jsonl",
                   instance->paths->scratch);
    ship->progress = (struct tail){ship->progress_path, "progress", PROGRESS_MAX, 0};
    (void)pthread_mutex_lock(&instance->agent->lock);
    resources = syn_json_at(instance->doc->json, "spec.resources");
    ship->reserved =
        (struct syn_capacity){.cpu_millicores = syn_json_i64(resources, "cpu_millicores", 0),
                              .memory_bytes = syn_json_i64(resources, "memory_bytes", 0),
                              .scratch_bytes = syn_json_i64(resources, "scratch_bytes", 0),
                              .gpus = syn_json_i64(resources, "gpus", 0),
                              .gpu_permille = syn_json_i64(resources, "gpu_permille", 0)};
    if (ship->reserved.gpus > 0)
        (void)syn_str_copy(ship->reserved.gpu_model, sizeof(ship->reserved.gpu_model),
                           syn_json_str(resources, "gpu_model", ""));
    rc = syn_lease_digest(instance->doc->json, ship->lease, err);
    (void)pthread_mutex_unlock(&instance->agent->lock);
    if (rc < 0) {
        (void)agt_ship_free(ship);
        return rc;
    }
    *ret = ship;
    return SYN_OK;
}

struct agt_ship *
agt_ship_free(struct agt_ship *ship)
{
    if (ship == NULL)
        return NULL;
    (void)syn_progress_free(ship->reader);
    syn_free(ship);
    return NULL;
}

/* --- bytes -------------------------------------------------------------------------------------
 */

/* Send one piece; a conflict tells where the server stands, and the next piece begins there. */
static int
send_piece(struct agt_ship *ship, struct tail *tail, int fd, int64_t len, struct syn_err *err)
{
    char path[160];
    int64_t received = -1;
    int rc;

    (void)snprintf(path, sizeof(path), "/v1/instances/%s/%s?offset=%" PRId64, ship->instance->id,
                   tail->what, tail->offset);
    rc = agt_upload(ship->instance->client, path, fd, tail->offset, len, &received, err);
    if ((rc == SYN_OK || rc == SYN_E_CONFLICT) && received >= 0) {
        tail->offset = received;
        return SYN_OK;
    }
    return rc < 0 ? rc : SYN_FAIL(err, SYN_E_INTERNAL, "the server did not say what it received");
}

/* The program owns the progress file: it may have made it a link or a pipe. */
static int
open_regular(const char *path, struct stat *ret_st)
{
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd >= 0 && (fstat(fd, ret_st) != 0 || !S_ISREG(ret_st->st_mode))) {
        (void)close(fd);
        return -1;
    }
    return fd;
}

static int
send_tail(struct agt_ship *ship, struct tail *tail, struct syn_err *err)
{
    struct stat st;
    int fd = open_regular(tail->path, &st);
    int rc = SYN_OK;

    if (fd < 0)
        return SYN_OK; /* not there yet */
    if (tail->bytes_max > 0)
        st.st_size = SYN_MIN(st.st_size, (off_t)tail->bytes_max);
    while (rc == SYN_OK && tail->offset < st.st_size)
        rc = send_piece(ship, tail, fd, SYN_MIN(st.st_size - tail->offset, PIECE_MAX), err);
    (void)close(fd);
    return rc;
}

static void
read_progress(struct agt_ship *ship)
{
    char chunk[16384];
    struct stat st;
    int fd = open_regular(ship->progress.path, &st);
    ssize_t got = 1;

    while (fd >= 0 && got > 0 && ship->read_offset < PROGRESS_MAX) {
        got = pread(fd, chunk, sizeof(chunk), (off_t)ship->read_offset);
        /* It has room for the longest line, which most instances never write one of. */
        if (got > 0 && ship->reader == NULL && syn_progress_new(&ship->reader, NULL) < 0)
            break;
        if (got > 0 && syn_progress_feed(ship->reader, chunk, (size_t)got,
                                         syn_wall_ms(ship->instance->agent->world), NULL) < 0)
            break;
        ship->read_offset += got > 0 ? got : 0;
    }
    if (fd >= 0)
        (void)close(fd);
}

void
agt_ship_progress(const struct agt_ship *ship, int64_t *ret_step, int64_t *ret_epoch)
{
    SYN_JSON(now);

    *ret_step = 0;
    *ret_epoch = 0;
    if (ship->reader != NULL && syn_progress_object(ship->reader, &now, NULL) == SYN_OK) {
        *ret_step = syn_json_i64(now, "step", 0);
        *ret_epoch = syn_json_i64(now, "epoch", 0);
    }
}

/* --- usage -------------------------------------------------------------------------------------
 */

/* The kernel's peak is that of the whole life. Where it has not risen, the span's own lies between
 * what is there now and that: now is what is known of it. The highest of all stays the same. */
static int64_t
peak_of_span(const struct syn_usage_sample *usage, int64_t *peak)
{
    if (usage->memory_peak_bytes <= *peak)
        return SYN_MIN(usage->memory_bytes, *peak);
    *peak = usage->memory_peak_bytes;
    return *peak;
}

static void
to_sample(const struct agt_ship *ship, const struct syn_usage_sample *usage, int64_t peak,
          struct syn_sample *ret)
{
    *ret = (struct syn_sample){.seq = usage->seq,
                               .from_ms = usage->from_ms,
                               .to_ms = usage->to_ms,
                               .reserved = ship->reserved,
                               .egress_bytes = usage->egress_bytes,
                               .used = {.cpu_ms = usage->cpu_ms,
                                        .memory_peak_bytes = peak,
                                        .scratch_used_bytes = usage->scratch_bytes,
                                        .throttled_ms = usage->throttled_ms}};
}

/* Gather samples behind the server's into `report`; *ret is behind the last line taken. */
static int
gather(struct agt_ship *ship, FILE *file, struct syn_report *report, struct bookmark *ret,
       struct syn_err *err)
{
    char line[USAGE_LINE_MAX];
    int rc = SYN_OK;

    if (fseeko(file, (off_t)ship->usage.offset, SEEK_SET) != 0)
        return SYN_FAIL_SYS(err, errno, "usage of %s", ship->instance->id);
    *ret = ship->usage;
    while (rc == SYN_OK && report->count < AGT_REPORT_MAX &&
           fgets(line, sizeof(line), file) != NULL) {
        size_t len = strlen(line);
        struct syn_usage_sample usage;
        struct syn_sample sample;
        int64_t peak = 0;

        if (len == 0 || line[len - 1] != '\n')
            break; /* being written */
        rc = syn_usage_parse(line, len - 1, &usage, err);
        if (rc == SYN_OK)
            peak = peak_of_span(&usage, &ret->memory_peak);
        if (rc == SYN_OK && usage.seq > ship->usage_seq) {
            to_sample(ship, &usage, peak, &sample);
            rc = syn_report_add(report, &sample, err);
        }
        if (rc == SYN_OK)
            ret->offset += (int64_t)len;
    }
    return rc;
}

static int
sign(const struct agt_ship *ship, struct syn_report *report, struct syn_err *err)
{
    uint8_t signature[SYN_SIGNATURE_LEN];
    char hex[2 * SYN_SIGNATURE_LEN + 1];
    SYN_BUF(payload);
    int rc = syn_report_payload(report, &payload, err);

    if (rc < 0)
        return rc;
    syn_key_sign(ship->instance->agent->key, payload.data, payload.len, signature);
    syn_hex_encode(signature, sizeof(signature), hex);
    return syn_report_set_signature(report, hex, err);
}

/* Send one report; false in *ret_more when there was nothing (more) to send. */
static int
send_report(struct agt_ship *ship, FILE *file, bool *ret_more, struct syn_err *err)
{
    struct agt_instance *instance = ship->instance;
    SYN_SCOPED(syn_report_free_scope) struct syn_report *report = NULL;
    char path[128];
    struct bookmark bookmark = {0};
    SYN_JSON(body);
    SYN_JSON(answer);
    int rc = syn_report_new(instance->agent->node_id, instance->id,
                            syn_key_id(instance->agent->key), &report, err);

    *ret_more = false;
    if (rc == SYN_OK)
        rc = syn_report_set_lease(report, ship->lease, err);
    if (rc == SYN_OK)
        rc = gather(ship, file, report, &bookmark, err);
    if (rc < 0 || report->count == 0)
        return rc;
    rc = sign(ship, report, err);
    if (rc == SYN_OK)
        rc = syn_report_encode(report, &body, err);
    if (rc < 0)
        return rc;
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/usage", instance->id);
    rc = agt_call(instance->agent, instance->client, "POST", path, body, &answer, err);
    if (rc == SYN_E_CONFLICT) { /* the server has some of these: learn how many */
        struct syn_err why = *err;

        rc = agt_call(instance->agent, instance->client, "GET", path, NULL, &answer, err);
        if (rc == SYN_OK && syn_json_i64(answer, "seq", 0) == ship->usage_seq) {
            *err = why; /* it has those that we think it has: the same again would not help */
            return SYN_E_CONFLICT;
        }
        bookmark = (struct bookmark){0};
    }
    if (rc == SYN_E_PRECONDITION) { /* the run is settled: nobody counts what comes now */
        syn_log_err(SYN_LOG_INFO, "instance.usage-late", err);
        return SYN_OK;
    }
    if (rc < 0)
        return rc;
    ship->usage_seq = syn_json_i64(answer, "seq", ship->usage_seq);
    ship->usage = bookmark;
    *ret_more = true;
    return SYN_OK;
}

static int
send_usage(struct agt_ship *ship, struct syn_err *err)
{
    FILE *file = fopen(ship->instance->paths->usage, "re");
    bool more = true;
    int rc = SYN_OK;

    if (file == NULL)
        return SYN_OK;
    while (rc == SYN_OK && more)
        rc = send_report(ship, file, &more, err);
    (void)fclose(file);
    return rc;
}

int64_t
agt_ship_usage_seq(const struct agt_ship *ship)
{
    return ship->usage_seq;
}

int
agt_ship_now(struct agt_ship *ship, struct syn_err *err)
{
    int rc = send_tail(ship, &ship->log, err);

    read_progress(ship);
    if (rc == SYN_OK)
        rc = send_tail(ship, &ship->progress, err);
    return rc < 0 ? rc : send_usage(ship, err);
}
