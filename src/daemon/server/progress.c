/* What jobs report of themselves, as state and as series, from the files that agents append to. */
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>
#include <synor/workload/training_progress.h>

#include "server_priv.h"

#define READ_BYTES ((size_t)256 << 10)

/* A reader per instance, so that lines keep the times at which they came; rebuilt from the file
 * after a restart. */
struct tracked {
    struct syn_progress *progress;
    off_t offset;
};

#define TRACKED_MAX 256

struct srv_progress {
    pthread_mutex_t lock;
    struct syn_map *readers; /* instance id -> struct tracked */
};

static void
tracked_free(void *arg)
{
    struct tracked *tracked = arg;

    (void)syn_progress_free(tracked->progress);
    syn_free(tracked);
}

int
srv_progress_new(struct srv_progress **ret, struct syn_err *err)
{
    struct srv_progress *all = syn_calloc(1, sizeof(*all));
    int rc;

    if (all == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for progress");
    rc = syn_map_new(tracked_free, &all->readers, err);
    if (rc < 0) {
        syn_free(all);
        return rc;
    }
    (void)pthread_mutex_init(&all->lock, NULL);
    *ret = all;
    return SYN_OK;
}

struct srv_progress *
srv_progress_free(struct srv_progress *all)
{
    if (all == NULL)
        return NULL;
    (void)syn_map_free(all->readers);
    (void)pthread_mutex_destroy(&all->lock);
    syn_free(all);
    return NULL;
}

/* The reader of an instance; makes room by forgetting all of them when there are too many. */
static int
find_reader(struct srv_progress *all, const char *instance, struct tracked **ret,
            struct syn_err *err)
{
    struct tracked *tracked = syn_map_find(all->readers, instance);
    int rc;

    if (tracked != NULL) {
        *ret = tracked;
        return SYN_OK;
    }
    if (syn_map_count(all->readers) >= TRACKED_MAX) {
        struct syn_map *fresh;

        rc = syn_map_new(tracked_free, &fresh, err);
        if (rc < 0)
            return rc;
        (void)syn_map_free(all->readers);
        all->readers = fresh;
    }
    tracked = syn_calloc(1, sizeof(*tracked));
    if (tracked == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for progress");
    rc = syn_progress_new(&tracked->progress, err);
    if (rc < 0) {
        syn_free(tracked);
        return rc;
    }
    *ret = tracked;
    return syn_map_put_take(all->readers, instance, tracked, err);
}

/* Feed what stands behind *offset in the file. */
static int
feed_file(struct syn_progress *progress, int fd, off_t *offset, int64_t at_ms, struct syn_err *err)
{
    SYN_BUF(chunk);
    ssize_t got = 1;
    int rc = SYN_OK;

    if (syn_buf_reserve(&chunk, READ_BYTES) == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read progress");
    while (rc == SYN_OK && got > 0) {
        got = pread(fd, chunk.data, READ_BYTES, *offset);
        if (got > 0)
            rc = syn_progress_feed(progress, chunk.data, (size_t)got, at_ms, err);
        *offset += got > 0 ? got : 0;
    }
    return rc;
}

/* Read what is new; the newest state becomes progress/JOB. */
int
srv_progress_read(struct syn_server *server, int fd, const char *instance, const char *job,
                  struct syn_err *err)
{
    struct tracked *tracked = NULL;
    char key[SRV_KEY_MAX];
    json_t *value = NULL;
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc;

    (void)pthread_mutex_lock(&server->progress->lock);
    rc = find_reader(server->progress, instance, &tracked, err);
    if (rc == SYN_OK)
        rc = feed_file(tracked->progress, fd, &tracked->offset, syn_wall_ms(server->world), err);
    if (rc == SYN_OK)
        rc = syn_progress_object(tracked->progress, &value, err);
    (void)pthread_mutex_unlock(&server->progress->lock);
    if (rc == SYN_OK)
        rc = syn_json_pack(&doc, err, "{s:s, s:o}", "instance", instance, "progress", value);
    if (rc == SYN_OK)
        rc = srv_txn_put(&txn, srv_key(key, "progress", job, NULL), doc, err);
    return rc < 0 ? rc : srv_txn_commit(server, &txn, NULL, err);
}

/* The series over all of the job's attempts; times are as exact as the files' own. */
int
srv_training_metrics(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    SYN_SCOPED(syn_progress_free_scope) struct syn_progress *progress = NULL;
    SYN_JSON(job);
    SYN_JSON(instances);
    SYN_JSON(answer);
    size_t i;
    json_t *instance;
    int64_t revision;
    int rc = srv_work_load(server, &srv_training, req, &job, &revision, err);

    if (rc == SYN_OK)
        rc = srv_instances_of(server, syn_document_id(job), &instances, err);
    if (rc == SYN_OK)
        rc = syn_progress_new(&progress, err);
    json_array_foreach (instances, i, instance) {
        char path[SRV_PATH_MAX];
        off_t offset = 0;
        struct stat st;
        int fd;

        if (rc < 0 || syn_json_i64(syn_document_spec(instance), "rank", 0) != 0)
            continue;
        fd = open(srv_log_path(server, syn_document_id(instance), "progress", path),
                  O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            continue;
        if (fstat(fd, &st) == 0)
            rc = feed_file(progress, fd, &offset, (int64_t)st.st_mtim.tv_sec * 1000, err);
        (void)close(fd);
    }
    if (rc == SYN_OK)
        rc = syn_progress_series(progress, NULL, &answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}
