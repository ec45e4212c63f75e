/* What the routes of every kind of workload share: finding, listing, changing and forgetting its
 * documents. What is a kind's own stands in its `struct srv_work` and in its own file. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_priv.h"

/* --- finding ---------------------------------------------------------------------------------- */

int
srv_work_absent(const struct srv_work *work, const char *text, struct syn_err *err)
{
    return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no %s %.63s", work->noun, text);
}

int
srv_work_key(struct syn_server *server, const struct srv_work *work, const char *account,
             const char *text, char *out, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(id);
    int rc;

    if (!syn_name_ok(text))
        return SRV_ABSENT;
    rc = srv_load(server, srv_key(key, work->names, account, text), &id, NULL, err);
    if (rc < 0)
        return rc;
    (void)srv_key(out, work->documents, rc == SYN_OK ? json_string_value(id) : text, NULL);
    return SYN_OK;
}

int
srv_work_find(struct syn_server *server, const struct srv_work *work, const char *account,
              const char *text, json_t **ret_doc, int64_t *ret_revision, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int rc = srv_work_key(server, work, account, text, key, err);

    return rc != SYN_OK ? rc : srv_load(server, key, ret_doc, ret_revision, err);
}

int
srv_work_load(struct syn_server *server, const struct srv_work *work, struct syn_http_req *req,
              json_t **ret_doc, int64_t *ret_revision, struct syn_err *err)
{
    const struct srv_identity *who = srv_identity(req);
    const char *text = syn_http_req_param(req, "id");
    SYN_JSON(doc);
    int rc = srv_work_find(server, work, who->account, text, &doc, ret_revision, err);

    if (rc == SRV_ABSENT)
        return srv_work_absent(work, text, err);
    if (rc == SYN_OK)
        rc = srv_own(who, doc, work->noun, text, err);
    if (rc == SYN_OK)
        *ret_doc = SYN_TAKE(doc);
    return rc;
}

bool
srv_work_over(const struct srv_work *work, const json_t *doc)
{
    return work->may_delete(doc, NULL) == SYN_OK;
}

/* --- listing ---------------------------------------------------------------------------------- */

struct listing {
    struct syn_server *server;
    const struct srv_work *work;
    const char *state;
};

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    const struct listing *listing = arg;
    char own_key[SRV_KEY_MAX];
    SYN_JSON(own);
    int rc = srv_load(listing->server,
                      srv_key(own_key, listing->work->documents, strrchr(key, '/') + 1, NULL), &own,
                      NULL, err);

    (void)doc;
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    if (listing->state != NULL && !syn_str_eq(syn_document_state(own), listing->state))
        return SYN_OK;
    if (srv_service_derived(own))
        return SYN_OK;
    if (listing->work->complete != NULL)
        rc = listing->work->complete(listing->server, own, err);
    return rc < 0 ? rc : syn_json_append_take(items, SYN_TAKE(own), err);
}

/* Name the states there are: a word that is none would otherwise look like an empty list. */
static SYN_MUST int
refuse_state(const struct srv_work *work, const char *state, struct syn_err *err)
{
    SYN_BUF(states);

    for (unsigned i = 0; i < work->life->count; i++)
        syn_buf_addf(&states, "%s%s", i == 0 ? "" : ", ", work->life->states[i].name);
    return SYN_FAIL(err, SYN_E_INVALID, "state: \"%s\" is not one of %s", state,
                    syn_buf_text(&states));
}

int
srv_work_reply_list(struct syn_server *server, const struct srv_work *work,
                    struct syn_http_req *req, const char *state, struct syn_err *err)
{
    struct listing listing = {server, work, state};
    char prefix[SRV_KEY_MAX];

    if (state != NULL && syn_sm_find(work->life, state) < 0)
        return refuse_state(work, state, err);
    return srv_reply_list(server, req, srv_key(prefix, work->of, srv_identity(req)->account, ""),
                          true, list_item, &listing, err);
}

static int
collect(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    (void)key;
    (void)revision;
    return syn_json_append_take(arg, json_incref(doc), err);
}

int
srv_work_parts(struct syn_server *server, const char *part, const char *id, json_t **ret_list,
               struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    SYN_JSON(list);
    int rc;

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    rc = srv_each(server, srv_key(prefix, part, id, ""), collect, list, err);
    if (rc == SYN_OK)
        *ret_list = SYN_TAKE(list);
    return rc;
}

int
srv_work_reply_parts(struct syn_server *server, const struct srv_work *work,
                     struct syn_http_req *req, const char *part, struct syn_err *err)
{
    int64_t revision = 0;
    SYN_JSON(doc);
    SYN_JSON(items);
    SYN_JSON(answer);
    int rc = srv_work_load(server, work, req, &doc, &revision, err);

    if (rc == SYN_OK)
        rc = srv_work_parts(server, part, syn_document_id(doc), &items, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:O, s:n}", "items", items, "next");
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* The instances of a workload, oldest first. */
struct instances {
    struct syn_server *server;
    json_t *list;
};

static int
load_instance(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct instances *into = arg;
    char instance_key[SRV_KEY_MAX];
    json_t *instance;
    int rc = srv_load(into->server, srv_key(instance_key, "instance", strrchr(key, '/') + 1, NULL),
                      &instance, NULL, err);

    (void)doc;
    (void)revision;
    if (rc != SYN_OK)
        return rc == SRV_ABSENT ? SYN_OK : rc;
    return syn_json_append_take(into->list, instance, err);
}

int
srv_instances_of(struct syn_server *server, const char *job, json_t **ret_list, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    SYN_JSON(list);
    struct instances into = {server, NULL};
    int rc;

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    into.list = list;
    rc = srv_each(server, srv_key(prefix, "instance-of", job, ""), load_instance, &into, err);
    if (rc == SYN_OK)
        *ret_list = SYN_TAKE(list);
    return rc;
}

/* --- planning --------------------------------------------------------------------------------- */

int
srv_work_refusal(int rc, const struct syn_err *why, json_t **ret_refusal, struct syn_err *err)
{
    if (rc == SYN_OK)
        *ret_refusal = json_null();
    else if (rc == SYN_E_INVALID || rc == SYN_E_LIMIT || rc == SYN_E_FUNDS || rc == SYN_E_NOTFOUND)
        return syn_json_pack(ret_refusal, err, "{s:s, s:s}", "code", syn_err_info(rc)->wire,
                             "message", why->msg);
    else
        *err = *why;
    return rc;
}

int
srv_work_lay_over(json_t *spec, const json_t *given, struct syn_err *err)
{
    const char *name;
    json_t *value;
    int rc = SYN_OK;

    json_object_foreach ((json_t *)(uintptr_t)given, name, value) {
        if (rc == SYN_OK && json_is_null(value))
            (void)json_object_del(spec, name);
        else if (rc == SYN_OK)
            rc = syn_json_set_take(spec, name, syn_json_deep_copy(value), err);
    }
    return rc;
}

/* --- changing --------------------------------------------------------------------------------- */

int
srv_work_reply_changed(struct syn_server *server, struct syn_http_req *req, int status, json_t *doc,
                       int64_t revision, struct syn_err *err)
{
    int rc = syn_json_set_i64(doc, "revision", revision, err);

    if (rc < 0)
        return rc;
    srv_controller_poke(server->controller, syn_document_id(doc));
    return syn_http_reply_json(req, status, doc, err);
}

struct change {
    struct syn_http_req *req;
    const struct srv_work *work;
    srv_work_apply_fn apply;
    void *arg;
    json_t *doc; /* of one attempt */
};

static int
attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct change *change = arg;
    char key[SRV_KEY_MAX];
    struct srv_idem idem;
    int64_t revision = 0;
    int rc = srv_idem_begin(server, change->req, &idem, err);

    if (rc != SYN_OK)
        return rc;
    rc = srv_work_load(server, change->work, change->req, srv_again(&change->doc), &revision, err);
    if (rc == SYN_OK)
        rc = srv_service_mine(change->doc, err);
    if (rc == SYN_OK)
        rc = srv_if_match(change->req, revision, err);
    if (rc == SYN_OK)
        rc = change->apply(server, txn, change->doc, change->arg, err);
    if (rc == SYN_OK)
        rc = srv_txn_replace(
            txn, srv_key(key, change->work->documents, syn_document_id(change->doc), NULL),
            revision, change->doc, err);
    return rc < 0 ? rc : srv_idem_keep(server, &idem, txn, 200, change->doc, err);
}

int
srv_work_change(struct syn_server *server, const struct srv_work *work, struct syn_http_req *req,
                srv_work_apply_fn apply, void *arg, struct syn_err *err)
{
    struct change change = {req, work, apply, arg, NULL};
    int64_t revision;
    int rc = srv_change(server, work->the, attempt, &change, &revision, err);

    if (rc == SYN_OK)
        rc = srv_work_reply_changed(server, req, 200, change.doc, revision, err);
    else if (rc == SRV_REPLAYED)
        rc = SYN_OK;
    (void)srv_again(&change.doc);
    return rc;
}

/* --- forgetting ------------------------------------------------------------------------------- */

/* Deletes what it finds, in transactions of their own when there is much of it: all of it belongs
 * to a workload that has ended, and nobody reads it any more. */
struct sweep {
    struct syn_server *server;
    const struct srv_work *work;
    struct srv_txn *txn;
    const char *key; /* every part holds only while the workload is as it was judged */
    int64_t revision;
};

static int
sweep_key(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct sweep *sweep = arg;

    (void)doc;
    (void)revision;
    if (sweep->txn->count > SYN_STORE_ROWS_MAX - 16) {
        int rc = srv_txn_commit(sweep->server, sweep->txn, NULL, err);

        if (rc != SYN_OK)
            return rc < 0 ? rc
                          : SYN_FAIL(err, SYN_E_CONFLICT, "%s changed meanwhile", sweep->work->the);
        srv_txn_fini(sweep->txn);
        rc = srv_txn_check(sweep->txn, sweep->key, sweep->revision, err);
        if (rc < 0)
            return rc;
    }
    return srv_txn_delete(sweep->txn, key, err);
}

int
srv_work_delete(struct syn_server *server, struct srv_txn *txn, const struct srv_work *work,
                const json_t *doc, int64_t revision, struct syn_err *err)
{
    const char *id = syn_document_id(doc);
    char own_key[SRV_KEY_MAX];
    char key[SRV_KEY_MAX];
    struct sweep sweep = {server, work, txn, own_key, revision};
    int rc = work->may_delete(doc, err);

    if (rc < 0)
        return rc;
    rc = srv_txn_check(txn, srv_key(own_key, work->documents, id, NULL), sweep.revision, err);
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(work->parts) && work->parts[i] != NULL; i++)
        rc = srv_each(server, srv_key(key, work->parts[i], id, ""), sweep_key, &sweep, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, own_key, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, srv_key(key, work->of, syn_json_str(doc, "account", ""), id), err);
    return rc < 0 ? rc : work->release(server, txn, doc, err);
}

struct forgetting {
    struct syn_http_req *req;
    const struct srv_work *work;
};

static int
forget(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct forgetting *forgetting = arg;
    int64_t revision = 0;
    SYN_JSON(doc);
    int rc = srv_work_load(server, forgetting->work, forgetting->req, &doc, &revision, err);

    if (rc == SYN_OK)
        rc = srv_service_mine(doc, err);
    if (rc == SYN_OK)
        rc = srv_if_match(forgetting->req, revision, err);
    return rc < 0 ? rc : srv_work_delete(server, txn, forgetting->work, doc, revision, err);
}

int
srv_work_forget(struct syn_server *server, const struct srv_work *work, struct syn_http_req *req,
                struct syn_err *err)
{
    struct forgetting forgetting = {req, work};

    return srv_change(server, work->the, forget, &forgetting, NULL, err);
}
