/* The sweeper: removes what its owner never came back for, and sees to what volumes cost. Each
 * thing goes by itself, checked against the revision that was judged, so a sweep may end anywhere
 * and run beside everything. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/pool.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_priv.h"
#include "server_priv.h"
#include "volumes_priv.h"

#define SWEEP_EVERY_MS (INT64_C(3600) * 1000)
#define UPLOAD_KEPT_MS (INT64_C(7) * 24 * 3600 * 1000)
#define ORDER_KEPT_MS  (INT64_C(30) * 24 * 3600 * 1000)
#define FOLDER_KEPT_S  3600 /* an upload's folder is made before its document */

struct srv_sweeper {
    struct syn_server *server;
    struct syn_watch *timer;
};

struct round {
    struct syn_server *server;
    int64_t now_ms;
    unsigned removed;
};

/* Remove one key of that revision. */
static int
drop(struct round *round, const char *key, int64_t revision, struct syn_err *err)
{
    SRV_TXN(txn);
    int rc = srv_txn_check(&txn, key, revision, err);

    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(round->server, &txn, NULL, err);
    if (rc == SYN_OK)
        round->removed++;
    return rc;
}

static int
sweep_idem(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct round *round = arg;
    int rc = SYN_OK;

    if (syn_json_i64(doc, "at_ms", 0) + SRV_IDEM_TTL_MS < round->now_ms)
        rc = drop(round, key, revision, err);
    return rc < 0 ? rc : SYN_OK;
}

/* Spent challenges, once they would have expired anyway. */
static int
sweep_challenge(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct round *round = arg;
    int rc = SYN_OK;

    if (syn_json_i64(doc, "expires_ms", 0) < round->now_ms)
        rc = drop(round, key, revision, err);
    return rc < 0 ? rc : SYN_OK;
}

/* Expired, or made with one that is gone. */
static int
token_over(struct syn_server *server, const json_t *doc, int64_t now_ms, bool *ret_over,
           struct syn_err *err)
{
    int64_t expires_ms = syn_json_i64(doc, "expires_ms", 0);
    const char *maker = syn_json_str(doc, "maker", NULL);
    char key[SRV_KEY_MAX];
    SYN_JSON(found);
    int rc = SYN_OK;

    *ret_over = expires_ms > 0 && expires_ms < now_ms;
    if (!*ret_over && maker != NULL)
        rc = srv_load(server, srv_key(key, "token", maker, NULL), &found, NULL, err);
    *ret_over = *ret_over || rc == SRV_ABSENT;
    return rc < 0 ? rc : SYN_OK;
}

static int
sweep_token(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct round *round = arg;
    bool over;
    SRV_TXN(txn);
    int rc = token_over(round->server, doc, round->now_ms, &over, err);

    if (rc < 0 || !over)
        return rc;
    rc = srv_txn_check(&txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_token_forget(&txn, strrchr(key, '/') + 1, doc, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(round->server, &txn, NULL, err);
    if (rc == SYN_OK)
        round->removed++;
    return rc < 0 ? rc : SYN_OK;
}

static int
sweep_upload(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct round *round = arg;
    int64_t created_ms;
    SRV_TXN(txn);
    int rc = syn_parse_time(syn_json_str(doc, "created_at", ""), &created_ms, err);

    if (rc < 0 || created_ms + UPLOAD_KEPT_MS > round->now_ms)
        return SYN_OK;
    rc = srv_txn_check(&txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_upload_forget(doc, &txn, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(round->server, &txn, NULL, err);
    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    round->removed++;
    srv_upload_remove(round->server, strrchr(key, '/') + 1);
    return SYN_OK;
}

/* Orders that ended long ago. What they traded is in the ledger. */
static int
sweep_order(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct round *round = arg;
    int64_t ended_ms = syn_document_time(syn_document_status(doc), "ended_at");
    char index[SRV_KEY_MAX];
    SRV_TXN(txn);
    int rc;

    if (ended_ms == SYN_DOCUMENT_NONE || ended_ms + ORDER_KEPT_MS > round->now_ms)
        return SYN_OK;
    (void)srv_key(index, "order-of", syn_json_str(doc, "account", ""), syn_document_id(doc));
    rc = srv_txn_check(&txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, index, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(round->server, &txn, NULL, err);
    if (rc == SYN_OK)
        round->removed++;
    return rc < 0 ? rc : SYN_OK;
}

/* Volumes have no controller: their money is seen to here. One that has trouble keeps no other from
 * its turn. */
static int
sweep_volume(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    const struct round *round = arg;
    const char *from = strchr(key, '/') + 1;
    char account[SYN_ID_MAX];
    struct syn_err why = {0};
    int rc;

    (void)revision;
    (void)err;
    (void)snprintf(account, sizeof(account), "%.*s", (int)strcspn(from, "/"), from);
    rc = srv_volume_pay(round->server, account, syn_json_str(doc, "name", ""), round->now_ms, &why);
    if (rc < 0) {
        (void)syn_err_wrap(&why, rc, "%s", key);
        syn_log_err(SYN_LOG_WARN, "sweep.volume", &why);
    }
    return SYN_OK;
}

/* A crash between the folder and its document, or between the document's end and the folder's. */
static int
sweep_folders(struct round *round, struct syn_err *err)
{
    char path[SRV_PATH_MAX + 32];
    const struct dirent *entry;
    DIR *dir;
    int rc = SYN_OK;

    (void)snprintf(path, sizeof(path), "%s/server/uploads", round->server->data_dir);
    dir = opendir(path);
    if (dir == NULL)
        return SYN_FAIL_SYS(err, errno, "reading %s", path);
    while (rc >= 0 && (entry = readdir(dir)) != NULL) {
        char key[SRV_KEY_MAX];
        struct stat st;
        SYN_JSON(doc);

        if (!syn_name_ok(entry->d_name) ||
            fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            (int64_t)st.st_mtim.tv_sec + FOLDER_KEPT_S > round->now_ms / 1000)
            continue;
        rc = srv_load(round->server, srv_key(key, "upload", entry->d_name, NULL), &doc, NULL, err);
        if (rc == SRV_ABSENT || (rc == SYN_OK && json_object_get(doc, "answer") != NULL)) {
            srv_upload_remove(round->server, entry->d_name);
            round->removed++;
        }
    }
    (void)closedir(dir);
    return rc < 0 ? rc : SYN_OK;
}

int
srv_sweep(struct syn_server *server, int64_t now_ms, struct syn_err *err)
{
    static const struct {
        const char *prefix;
        srv_each_fn fn;
    } kinds[] = {{"challenge/", sweep_challenge}, {"idem/", sweep_idem},
                 {"order/", sweep_order},         {"token/", sweep_token},
                 {"upload/", sweep_upload},       {"volume/", sweep_volume}};
    struct round round = {server, now_ms, 0};
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(kinds); i++)
        rc = srv_each(server, kinds[i].prefix, kinds[i].fn, &round, err);
    if (rc == SYN_OK)
        rc = sweep_folders(&round, err);
    if (rc == SYN_OK)
        rc = srv_functions_sweep(server, now_ms, &round.removed, err);
    if (round.removed > 0)
        syn_log(SYN_LOG_INFO, "sweep.done", "removed=%u", round.removed);
    return rc;
}

static void
sweep_now(void *arg)
{
    struct syn_server *server = arg;
    struct syn_err err = {0};

    if (srv_sweep(server, syn_wall_ms(server->world), &err) < 0)
        syn_log_err(SYN_LOG_WARN, "sweep.failed", &err);
}

static void
on_timer(void *arg)
{
    struct srv_sweeper *sweeper = arg;
    struct syn_err err = {0};

    if (syn_pool_run(sweeper->server->pool, sweep_now, sweeper->server, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "sweep.not-run", &err);
}

int
srv_sweeper_new(struct syn_server *server, struct srv_sweeper **ret, struct syn_err *err)
{
    struct srv_sweeper *sweeper = syn_calloc(1, sizeof(*sweeper));
    int rc;

    if (sweeper == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the sweeper");
    sweeper->server = server;
    rc = syn_loop_timer(server->loop, 0, SWEEP_EVERY_MS, on_timer, sweeper, &sweeper->timer, err);
    if (rc < 0) {
        syn_free(sweeper);
        return rc;
    }
    *ret = sweeper;
    return SYN_OK;
}

struct srv_sweeper *
srv_sweeper_free(struct srv_sweeper *sweeper)
{
    if (sweeper == NULL)
        return NULL;
    sweeper->timer = syn_watch_drop(sweeper->timer);
    syn_free(sweeper);
    return NULL;
}
