/* Images on their way into the content store, or out of it. Each has a thread, because a registry
 * may take an hour and the pool is for what ends; what it does is seen by its id until others have
 * taken its place. Credentials live as long as the pull and are in no document.
 *
 * Threads: everything in a pull that is read by others changes under the lock. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#include "image_priv.h"

#define PULLS_MAX   64 /* remembered */
#define RUNNING_MAX 8  /* at once */
#define ACCOUNT_MAX 4  /* of one account */
#define RULES_MAX   ((size_t)1 << 20)

struct pull {
    struct srv_pulls *pulls;
    struct srv_image_want want;
    char id[SYN_ID_MAX];
    pthread_t thread;
    bool used, running;
    struct syn_oci_progress progress;
    int rc;
    struct syn_err err;
    json_t *image; /* as it was written */
    int64_t number;
};

struct srv_pulls {
    struct syn_server *server;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    atomic_bool cancel;
    struct pull all[PULLS_MAX];
    int64_t count; /* ever */
};

/* --- the work --------------------------------------------------------------------------------- */

static int
load_rules(struct syn_server *server, json_t **ret, struct syn_err *err)
{
    char path[SRV_PATH_MAX];
    SYN_BUF(text);
    ssize_t got = 0;
    int fd, rc;

    (void)snprintf(path, sizeof(path), "%s/registries.json", server->data_dir);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return SYN_OK;
    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening registries.json");
    if (syn_buf_reserve(&text, RULES_MAX) != NULL)
        got = read(fd, text.data, RULES_MAX);
    (void)close(fd);
    if (got < 0)
        return SYN_FAIL(err, SYN_E_IO, "registries.json cannot be read");
    text.len = (size_t)got;
    rc = syn_json_parse_object(syn_buf_text(&text), text.len, ret, err);
    if (rc == SYN_OK)
        rc = syn_oci_rules_check(*ret, err);
    return rc < 0 ? syn_err_wrap(err, rc, "registries.json of the platform") : SYN_OK;
}

/* Where it is written down how far this account's layers came, without what nobody came back for:
 * its content is not kept any longer either. "" when there is no such place. */
static void
parts_of(const struct pull *pull, char out[SRV_PATH_MAX])
{
    const char *data_dir = pull->pulls->server->data_dir;
    const struct dirent *entry;
    time_t old = time(NULL) - SYN_CONTENT_GRACE_MS / 1000;
    struct stat st;
    DIR *dir;

    (void)snprintf(out, SRV_PATH_MAX, "%s/server/pulls", data_dir);
    (void)mkdir(out, 0700);
    (void)snprintf(out, SRV_PATH_MAX, "%s/server/pulls/%s", data_dir, pull->want.account);
    (void)mkdir(out, 0700);
    dir = opendir(out);
    if (dir == NULL) {
        out[0] = '\0';
        return;
    }
    while ((entry = readdir(dir)) != NULL)
        if (fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode) && st.st_mtime < old)
            (void)unlinkat(dirfd(dir), entry->d_name, 0);
    (void)closedir(dir);
}

/* The blobs of the images that the account has: what is there need not come again. */
static int
add_known(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    json_t *known = arg;
    const json_t *layer;
    size_t i;
    int rc = SYN_OK;

    (void)key;
    (void)revision;
    json_array_foreach (json_object_get(doc, "layers"), i, layer)
        if (rc == SYN_OK)
            rc = syn_json_set_str(known, syn_json_str(layer, "digest", "?"),
                                  syn_json_str(layer, "cid", ""), err);
    return rc;
}

static void
on_progress(void *arg, const struct syn_oci_progress *progress)
{
    struct pull *pull = arg;

    (void)pthread_mutex_lock(&pull->pulls->lock);
    pull->progress = *progress;
    (void)pthread_mutex_unlock(&pull->pulls->lock);
}

static struct syn_oci_remote
remote_of(const struct pull *pull, const json_t *rules)
{
    return (struct syn_oci_remote){.rules = rules,
                                   .auth = pull->want.auth[0] != '\0' ? pull->want.auth : NULL,
                                   .any_address = pull->want.any_address,
                                   .cancel = &pull->pulls->cancel};
}

static int
pull_image(struct pull *pull, const struct syn_oci_move *plain, json_t **ret, struct syn_err *err)
{
    struct syn_server *server = pull->pulls->server;
    struct syn_oci_remote remote;
    struct syn_oci_move move = *plain;
    char prefix[SRV_KEY_MAX], parts[SRV_PATH_MAX];
    SYN_JSON(rules);
    SYN_JSON(known);
    int rc = load_rules(server, &rules, err);

    known = json_object();
    if (rc == SYN_OK && known == NULL)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "no memory for a pull");
    if (rc == SYN_OK)
        rc = srv_each(server, srv_key(prefix, "image", pull->want.account, ""), add_known, known,
                      err);
    remote = remote_of(pull, rules);
    move.known = known;
    parts_of(pull, parts);
    move.parts = parts[0] != '\0' ? parts : NULL;
    return rc < 0 ? rc : syn_oci_pull(&move, &remote, &pull->want.ref, ret, err);
}

static int
import_image(struct pull *pull, const struct syn_oci_move *move, json_t **ret, struct syn_err *err)
{
    struct syn_cid source;
    int rc = syn_cid_parse(pull->want.cid, strlen(pull->want.cid), &source, err);

    return rc < 0 ? rc
                  : syn_oci_import(move, &source, pull->want.tag[0] != '\0' ? pull->want.tag : NULL,
                                   ret, err);
}

/* What is pushed, kept from here on: an image that has a document, or one made of content. */
static int
load_source(struct pull *pull, const struct syn_oci_move *move, struct syn_content_guard **guard,
            json_t **ret, struct syn_err *err)
{
    struct syn_server *server = pull->pulls->server;
    char key[SRV_KEY_MAX];
    SYN_JSON(image);
    int rc;

    if (pull->want.cid[0] != '\0')
        rc = import_image(pull, move, &image, err);
    else
        rc = srv_load(server, srv_key(key, "image", pull->want.account, pull->want.source), &image,
                      NULL, err);
    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no image %.300s any more",
                        pull->want.source);
    if (rc == SYN_OK)
        rc = srv_keep(server, guard, syn_json_str(image, "cid", ""), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(image);
    return rc;
}

static int
push_image(struct pull *pull, const struct syn_oci_move *move, struct syn_content_guard **guard,
           json_t **ret, struct syn_err *err)
{
    struct syn_oci_target target = {.ref = &pull->want.ref};
    struct syn_oci_remote remote;
    struct syn_image_ref from;
    SYN_JSON(rules);
    SYN_JSON(image);
    int rc = load_rules(pull->pulls->server, &rules, err);

    if (rc == SYN_OK)
        rc = load_source(pull, move, guard, &image, err);
    if (rc < 0)
        return rc;
    remote = remote_of(pull, rules);
    /* What came from the same registry need not be sent back to it. */
    if (syn_str_eq(syn_json_str(image, "source", ""), "registry") &&
        syn_image_ref_parse(pull->want.source, &from, NULL) == SYN_OK &&
        syn_str_eq(from.host, pull->want.ref.host))
        target.from = from.path;
    return syn_oci_push(move, &remote, &target, image, ret, err);
}

static int
work(struct pull *pull, json_t **ret, struct syn_err *err)
{
    struct syn_server *server = pull->pulls->server;
    struct syn_oci_move move = {.content = server->content,
                                .progress = on_progress,
                                .arg = pull,
                                .bytes_max = pull->want.bytes_max};
    SRV_GUARD(guard); /* from before the content is there until a document names it */
    SYN_JSON(image);
    int rc = syn_content_guard_new(server->content, &guard, err);

    if (pull->want.architecture[0] != '\0')
        move.architecture = pull->want.architecture;
    if (rc == SYN_OK && pull->want.push)
        return push_image(pull, &move, &guard, ret, err);
    if (rc == SYN_OK && pull->want.cid[0] != '\0')
        rc = import_image(pull, &move, &image, err);
    else if (rc == SYN_OK)
        rc = pull_image(pull, &move, &image, err);
    if (rc == SYN_OK)
        rc = srv_keep(server, &guard, syn_json_str(image, "cid", ""), err);
    if (rc == SYN_OK)
        rc = srv_image_write(server, &pull->want, image, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(image);
    return rc;
}

static void *
pull_main(void *arg)
{
    struct pull *pull = arg;
    struct srv_pulls *pulls = pull->pulls;
    struct syn_err err = {0};
    json_t *image = NULL;
    int rc = work(pull, &image, &err);

    syn_secret_wipe(pull->want.auth, sizeof(pull->want.auth));
    if (rc < 0)
        syn_log_err(SYN_LOG_INFO, "image.failed", &err);
    (void)pthread_mutex_lock(&pulls->lock);
    pull->rc = rc;
    pull->err = err;
    pull->image = image;
    pull->running = false;
    (void)pthread_cond_broadcast(&pulls->changed);
    (void)pthread_mutex_unlock(&pulls->lock);
    return NULL;
}

/* --- seeing ----------------------------------------------------------------------------------- */

static int
describe(const struct pull *pull, json_t **ret, struct syn_err *err)
{
    const struct syn_oci_progress *progress = &pull->progress;
    SYN_JSON(doc);
    json_t *error = NULL;
    int rc = syn_json_pack(&doc, err, "{s:s, s:s, s:s, s:I, s:I, s:i, s:i}", "id", pull->id, "name",
                           pull->want.name, "state",
                           pull->running   ? "running"
                           : pull->rc == 0 ? "done"
                                           : "failed",
                           "bytes", (json_int_t)progress->bytes, "bytes_done",
                           (json_int_t)progress->bytes_done, "layers", (int)progress->layers,
                           "layers_done", (int)progress->layers_done);

    if (rc == SYN_OK && pull->image != NULL)
        rc = syn_json_set_take(doc, "image", syn_json_deep_copy(pull->image), err);
    if (rc == SYN_OK && pull->rc < 0) {
        rc = syn_json_pack(&error, err, "{s:s, s:s}", "code", syn_err_info(pull->rc)->wire,
                           "message", pull->err.msg);
        if (rc == SYN_OK)
            rc = syn_json_set_take(doc, "error", error, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

/* Under the lock: look until it ends or the time is over. */
static int
look(struct srv_pulls *pulls, struct pull *pull, int64_t wait_ms, json_t **ret, struct syn_err *err)
{
    const struct timespec until = syn_clock_in_ms(wait_ms);
    int64_t number = pull->number;

    while (pull->running && wait_ms > 0 && !atomic_load(&pulls->cancel) &&
           pthread_cond_timedwait(&pulls->changed, &pulls->lock, &until) == 0)
        if (pull->number != number)
            return SYN_FAIL(err, SYN_E_NOTFOUND, "the pull is over, and forgotten");
    return describe(pull, ret, err);
}

int
srv_pull_look(struct srv_pulls *pulls, const char *account, const char *id, int64_t wait_ms,
              json_t **ret, struct syn_err *err)
{
    int rc = SYN_FAIL(err, SYN_E_NOTFOUND, "there is no pull %.60s, or it is long over", id);

    (void)pthread_mutex_lock(&pulls->lock);
    for (size_t i = 0; i < PULLS_MAX; i++) {
        struct pull *pull = &pulls->all[i];

        if (!pull->used || !syn_str_eq(pull->id, id) || !syn_str_eq(pull->want.account, account))
            continue;
        rc = look(pulls, pull, wait_ms, ret, err);
        break;
    }
    (void)pthread_mutex_unlock(&pulls->lock);
    return rc;
}

/* --- starting --------------------------------------------------------------------------------- */

static void
forget(struct pull *pull)
{
    if (!pull->used)
        return;
    (void)pthread_join(pull->thread, NULL);
    json_decref(pull->image);
    syn_secret_wipe(pull, sizeof(*pull));
}

/* The place of the one that ended longest ago, or an empty one. LIMIT when too many run. */
static int
find_place(const struct srv_pulls *pulls, const char *account, size_t *ret, struct syn_err *err)
{
    size_t found = PULLS_MAX;
    unsigned running = 0, own = 0;

    for (size_t i = 0; i < PULLS_MAX; i++) {
        const struct pull *pull = &pulls->all[i];

        running += pull->running;
        own += pull->running && syn_str_eq(pull->want.account, account);
        if (!pull->running && (found == PULLS_MAX || pull->number < pulls->all[found].number))
            found = i;
    }
    if (running >= RUNNING_MAX || own >= ACCOUNT_MAX || found == PULLS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT,
                        "%u images are on their way for this account, %u in all: wait for one", own,
                        running);
    *ret = found;
    return SYN_OK;
}

static int
start(struct srv_pulls *pulls, const struct srv_image_want *want, struct pull **ret,
      struct syn_err *err)
{
    struct pull *pull;
    size_t place = 0;
    int rc = find_place(pulls, want->account, &place, err);

    if (rc < 0)
        return rc;
    pull = &pulls->all[place];
    forget(pull);
    pull->pulls = pulls;
    pull->want = *want;
    pull->number = ++pulls->count;
    (void)syn_make_id(pulls->server->world, "pull", pull->id);
    if (pthread_create(&pull->thread, NULL, pull_main, pull) != 0) {
        syn_secret_wipe(pull, sizeof(*pull));
        return SYN_FAIL(err, SYN_E_LIMIT, "no thread for a pull");
    }
    pull->used = pull->running = true;
    *ret = pull;
    return SYN_OK;
}

int
srv_pull_start(struct srv_pulls *pulls, const struct srv_image_want *want, int64_t wait_ms,
               json_t **ret, struct syn_err *err)
{
    struct pull *pull = NULL;
    int rc = SYN_OK;

    (void)pthread_mutex_lock(&pulls->lock);
    if (atomic_load(&pulls->cancel))
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "the server is stopping");
    if (rc == SYN_OK)
        rc = start(pulls, want, &pull, err);
    if (rc == SYN_OK)
        rc = look(pulls, pull, wait_ms, ret, err);
    (void)pthread_mutex_unlock(&pulls->lock);
    return rc;
}

/* --- life ------------------------------------------------------------------------------------- */

int
srv_pulls_new(struct syn_server *server, struct srv_pulls **ret, struct syn_err *err)
{
    struct srv_pulls *pulls = syn_calloc(1, sizeof(*pulls));
    pthread_condattr_t attr;

    if (pulls == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for pulls");
    pulls->server = server;
    (void)pthread_mutex_init(&pulls->lock, NULL);
    (void)pthread_condattr_init(&attr);
    (void)pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&pulls->changed, &attr);
    (void)pthread_condattr_destroy(&attr);
    *ret = pulls;
    return SYN_OK;
}

void
srv_pulls_quiet(struct srv_pulls *pulls)
{
    if (pulls == NULL)
        return;
    (void)pthread_mutex_lock(&pulls->lock);
    atomic_store(&pulls->cancel, true);
    (void)pthread_cond_broadcast(&pulls->changed);
    (void)pthread_mutex_unlock(&pulls->lock);
}

struct srv_pulls *
srv_pulls_free(struct srv_pulls *pulls)
{
    if (pulls == NULL)
        return NULL;
    srv_pulls_quiet(pulls);
    for (size_t i = 0; i < PULLS_MAX; i++)
        forget(&pulls->all[i]);
    (void)pthread_cond_destroy(&pulls->changed);
    (void)pthread_mutex_destroy(&pulls->lock);
    syn_free(pulls);
    return NULL;
}
