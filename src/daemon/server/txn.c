/* Documents in the store, and transactions over them. */
#include "server_priv.h"

#include <inttypes.h>
#include <time.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define CONFLICTS_CALM 4                 /* so many are met with haste alone */
#define ASIDE_MIN_NS   INT64_C(100000)   /* the while begins between these, and is doubled */
#define ASIDE_MAX_NS   INT64_C(20000000) /* with each conflict, four times */

const char *
srv_key(char *out, const char *prefix, const char *a, const char *b)
{
    int len = snprintf(out, SRV_KEY_MAX, "%s/%s%s%s", prefix, a, b != NULL ? "/" : "",
                       b != NULL ? b : "");

    assert(len > 0 && len < SRV_KEY_MAX);
    return out;
}

const char *
srv_key_seq(char *out, const char *prefix, const char *a, int64_t seq)
{
    int len = snprintf(out, SRV_KEY_MAX, "%s/%s%s%020" PRId64, prefix, a != NULL ? a : "",
                       a != NULL ? "/" : "", seq);

    assert(len > 0 && len < SRV_KEY_MAX);
    return out;
}

/* --- reading ---------------------------------------------------------------------------------- */

static int
parse_doc(const struct syn_store_doc *stored, json_t **ret_doc, struct syn_err *err)
{
    SYN_JSON(doc);
    int rc = syn_json_parse(stored->value, stored->len, &doc, err);

    if (rc == SYN_OK && json_object_get(doc, "revision") != NULL)
        rc = syn_json_set_i64(doc, "revision", stored->mod_revision, err);
    if (rc < 0)
        return syn_err_wrap(err, rc == SYN_E_INVALID ? SYN_E_CORRUPT : rc, "document %s",
                            stored->key);
    *ret_doc = SYN_TAKE(doc);
    return SYN_OK;
}

int
srv_load(struct syn_server *server, const char *key, json_t **ret_doc, int64_t *ret_revision,
         struct syn_err *err)
{
    SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *stored = NULL;
    int rc = syn_store_get(server->store, key, &stored, err);

    if (rc == SYN_STORE_ABSENT)
        return SRV_ABSENT;
    if (rc < 0)
        return rc;
    rc = parse_doc(stored, ret_doc, err);
    if (rc == SYN_OK && ret_revision != NULL)
        *ret_revision = stored->mod_revision;
    return rc;
}

bool
srv_unchanged(struct syn_server *server, const char *key, int64_t revision)
{
    SYN_SCOPED(syn_store_doc_scope) const struct syn_store_doc *stored = NULL;

    return syn_store_get(server->store, key, &stored, NULL) == SYN_OK &&
           stored->mod_revision == revision;
}

int
srv_need(struct syn_server *server, const char *key, const char *what, json_t **ret_doc,
         int64_t *ret_revision, struct syn_err *err)
{
    int rc = srv_load(server, key, ret_doc, ret_revision, err);
    const char *slash = strrchr(key, '/');

    if (rc == SRV_ABSENT)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "there is no %s %s", what,
                        slash != NULL ? slash + 1 : key);
    return rc;
}

/* --- writing ---------------------------------------------------------------------------------- */

void
srv_txn_init(struct srv_txn *txn)
{
    *txn = (struct srv_txn){.count = 0};
}

void
srv_txn_fini(struct srv_txn *txn)
{
    for (size_t i = 0; i < txn->owned_count; i++)
        syn_free(txn->owned[i]);
    syn_free(txn->owned);
    syn_free(txn->ops);
    srv_txn_init(txn);
}

static int
own_take(struct srv_txn *txn, char *text, struct syn_err *err)
{
    if (text == NULL || !syn_grow((void *)&txn->owned, &txn->owned_cap, txn->owned_count + 1,
                                  sizeof(*txn->owned))) {
        syn_free(text);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a transaction");
    }
    txn->owned[txn->owned_count++] = text;
    return SYN_OK;
}

/* A new operation on a copy of `key`. */
static int
add_op(struct srv_txn *txn, enum syn_store_op_kind kind, const char *key,
       struct syn_store_op **ret_op, struct syn_err *err)
{
    struct syn_store_op *op;
    char *copy;
    int rc;

    if (txn->count == SYN_STORE_OPS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "more than %d operations in one transaction",
                        SYN_STORE_OPS_MAX);
    if (!syn_grow((void *)&txn->ops, &txn->cap, txn->count + 1, sizeof(*txn->ops)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a transaction");
    copy = syn_strdup(key);
    rc = own_take(txn, copy, err);
    if (rc < 0)
        return rc;
    op = &txn->ops[txn->count++];
    *op = (struct syn_store_op){.kind = kind, .key = copy};
    *ret_op = op;
    return SYN_OK;
}

int
srv_txn_check(struct srv_txn *txn, const char *key, int64_t revision, struct syn_err *err)
{
    struct syn_store_op *op;
    int rc = add_op(txn, SYN_STORE_CHECK, key, &op, err);

    if (rc == SYN_OK)
        op->mod_revision = revision;
    return rc;
}

static int
put_take(struct srv_txn *txn, const char *key, char *text, size_t len, struct syn_err *err)
{
    struct syn_store_op *op;
    int rc = own_take(txn, text, err);

    if (rc == SYN_OK)
        rc = add_op(txn, SYN_STORE_PUT, key, &op, err);
    if (rc < 0)
        return rc;
    op->value = text;
    op->len = len;
    return SYN_OK;
}

int
srv_txn_put(struct srv_txn *txn, const char *key, const json_t *doc, struct syn_err *err)
{
    SYN_JSON(copy);
    SYN_BUF(text);
    char *taken = NULL;
    size_t len = 0;
    int rc;

    if (json_object_get(doc, "revision") != NULL) {
        copy = syn_json_copy(doc);
        if (copy == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s", key);
        rc = syn_json_set_i64(copy, "revision", 0, err);
        if (rc < 0)
            return rc;
    }
    rc = syn_json_write(copy != NULL ? copy : doc, &text, err);
    if (rc == SYN_OK)
        rc = syn_buf_take(&text, &taken, &len, err);
    if (rc < 0)
        return rc;
    return put_take(txn, key, taken, len, err);
}

int
srv_txn_put_bytes(struct srv_txn *txn, const char *key, const void *data, size_t len,
                  struct syn_err *err)
{
    char *copy = syn_alloc(len > 0 ? len : 1);

    if (copy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s", key);
    memcpy(copy, data, len);
    return put_take(txn, key, copy, len, err);
}

int
srv_txn_replace(struct srv_txn *txn, const char *key, int64_t revision, const json_t *doc,
                struct syn_err *err)
{
    int rc = srv_txn_check(txn, key, revision, err);

    return rc < 0 ? rc : srv_txn_put(txn, key, doc, err);
}

int
srv_txn_put_text(struct srv_txn *txn, const char *key, const char *text, struct syn_err *err)
{
    SYN_JSON(value);

    value = json_string(text);
    if (value == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for %s", key);
    return srv_txn_put(txn, key, value, err);
}

int
srv_txn_delete(struct srv_txn *txn, const char *key, struct syn_err *err)
{
    struct syn_store_op *op;

    return add_op(txn, SYN_STORE_DELETE, key, &op, err);
}

int
srv_txn_commit(struct syn_server *server, struct srv_txn *txn, int64_t *ret_revision,
               struct syn_err *err)
{
    struct syn_store_result result = {0};
    int rc = syn_store_txn(server->store, txn->ops, txn->count, &result, err);

    if (rc == SYN_OK && ret_revision != NULL)
        *ret_revision = result.revision;
    assert(rc <= 0 || rc == SYN_STORE_CONFLICT); /* no leases here */
    return rc;
}

static int64_t
now_ns(const struct syn_server *server)
{
    return server->world->ops->mono_ns(server->world->self);
}

void
srv_step_aside(const struct syn_server *server, int conflicts, int64_t attempt_ns)
{
    int64_t unit_ns = SYN_MIN(SYN_MAX(attempt_ns, ASIDE_MIN_NS), ASIDE_MAX_NS);
    struct timespec pause = {0, 0};
    uint64_t dice;

    if (conflicts < CONFLICTS_CALM)
        return;
    server->world->ops->random(server->world->self, &dice, sizeof(dice));
    pause.tv_nsec = (long)(dice % ((uint64_t)unit_ns << SYN_MIN(conflicts - CONFLICTS_CALM, 4)));
    (void)nanosleep(&pause, NULL);
}

int
srv_change(struct syn_server *server, const char *what, srv_attempt_fn attempt, void *arg,
           int64_t *ret_revision, struct syn_err *err)
{
    for (int i = 0; i < SRV_RETRIES_MAX; i++) {
        SRV_TXN(txn);
        int64_t begun_ns = now_ns(server);
        int rc = attempt(server, &txn, arg, err);

        if (rc != SYN_OK)
            return rc;
        rc = srv_txn_commit(server, &txn, ret_revision, err);
        if (rc != SYN_STORE_CONFLICT)
            return rc;
        srv_step_aside(server, i + 1, now_ns(server) - begun_ns);
    }
    return SYN_FAIL(err, SYN_E_UNAVAILABLE, "others keep changing %s; try again", what);
}

/* --- listing ---------------------------------------------------------------------------------- */

static const struct syn_field list_fields[] = {
    SRV_LIMIT_FIELD("How many at most"),
    SRV_AFTER_FIELD,
    {.name = "state",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 32,
     .help = "Only those in this state"},
    {.name = "prefix",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 200,
     .help = "Only names that start so"},
    {.name = "job",
     .kind = SYN_FIELD_STR,
     .min = 1,
     .max = 64,
     .help = "Only what belongs to this job or service, by id or name"},
};

const struct syn_schema srv_list_query = SYN_SCHEMA("ListQuery", list_fields);

int
srv_need_name(const struct syn_http_req *req, const char *noun, const char **ret,
              struct syn_err *err)
{
    *ret = syn_http_req_param(req, "name");
    return syn_name_ok(*ret)
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_INVALID, "\"%.60s\": a %s's name is of a-z 0-9 -", *ret, noun);
}

int
srv_need_room(struct syn_server *server, const char *prefix, const char *account, int64_t most,
              const char *nouns, struct syn_err *err)
{
    char below[SRV_KEY_MAX];
    int64_t count = 0;
    int rc = syn_store_count(server->store, srv_key(below, prefix, account, ""), &count, err);

    return rc == SYN_OK && count >= most
               ? SYN_FAIL(err, SYN_E_LIMIT, "an account has at most %" PRId64 " %s", most, nouns)
               : rc;
}

int
srv_reply_list(struct syn_server *server, struct syn_http_req *req, const char *prefix,
               bool newest_first, srv_item_fn fn, void *arg, struct syn_err *err)
{
    const json_t *query = syn_http_req_query_json(req);
    size_t limit = (size_t)syn_json_i64(query, "limit", 100);
    struct syn_store_range range = {.prefix = prefix,
                                    .after = syn_json_str(query, "after", NULL),
                                    .limit = (uint32_t)limit,
                                    .reverse = newest_first};
    SYN_JSON(items);
    SYN_JSON(answer);
    char next[SRV_KEY_MAX] = "";
    bool more = true;
    int rc = SYN_OK;

    items = json_array();
    if (items == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list");
    if (range.after != NULL && !syn_str_starts(range.after, prefix))
        return SYN_FAIL(err, SYN_E_INVALID, "after: not a cursor of this list");
    while (rc == SYN_OK && more && json_array_size(items) < limit) {
        struct syn_store_page page = {0};

        rc = syn_store_list(server->store, &range, &page, err);
        for (size_t i = 0; rc == SYN_OK && i < page.count && json_array_size(items) < limit; i++) {
            SYN_JSON(doc);

            rc = parse_doc(page.docs[i], &doc, err);
            if (rc == SYN_OK)
                rc = fn != NULL ? fn(arg, page.docs[i]->key, doc, items, err)
                                : syn_json_append_take(items, json_incref(doc), err);
            (void)syn_str_copy(next, sizeof(next), page.docs[i]->key);
            more = page.more || i + 1 < page.count;
        }
        if (page.count == 0)
            more = false;
        range.after = next;
        syn_store_page_fini(&page);
    }
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, more ? "{s:O, s:s}" : "{s:O, s:n}", "items", items, "next",
                           next);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

int
srv_each(struct syn_server *server, const char *prefix, srv_each_fn fn, void *arg,
         struct syn_err *err)
{
    return srv_each_after(server, prefix, NULL, fn, arg, err);
}

int
srv_each_after(struct syn_server *server, const char *prefix, const char *first, srv_each_fn fn,
               void *arg, struct syn_err *err)
{
    struct syn_store_range range = {.prefix = prefix, .after = first};
    char after[SRV_KEY_MAX];
    bool more = true;
    int rc = SYN_OK;

    while (rc == SYN_OK && more) {
        struct syn_store_page page = {0};

        rc = syn_store_list(server->store, &range, &page, err);
        for (size_t i = 0; rc == SYN_OK && i < page.count; i++) {
            SYN_JSON(doc);

            rc = parse_doc(page.docs[i], &doc, err);
            if (rc == SYN_OK)
                rc = fn(arg, page.docs[i]->key, doc, page.docs[i]->mod_revision, err);
            (void)syn_str_copy(after, sizeof(after), page.docs[i]->key);
        }
        more = page.more;
        range.after = after;
        syn_store_page_fini(&page);
    }
    return rc;
}
