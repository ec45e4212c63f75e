/* What happens to an account's names and money calls its functions.
 *
 *     "function-hook/ACCOUNT/FUNCTION"  {triggers: those of storage and ledger, after: where the
 *                                       ledger was when it began to listen}
 *     "function-ledger"                 {seq, entry}: transactions that have been looked at, and
 *                                       so many entries of the one after them
 *
 * A name's event is kept as a call in the transaction that puts or deletes the name: there is never
 * the one without the other. A settlement fills most of a store transaction by itself, so the
 * ledger's events are not kept with it: the thread of events goes through the ledger in its order
 * and keeps calls together with how far it came. Either way nothing is lost, and what a function
 * gets twice is only what every kept call may be: made again after a crash. */
#include <inttypes.h>
#include <string.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/chain/ledger.h>
#include <synor/orchestration/document.h>

#include "function_calls_priv.h"

#define HOOKS        "function-hook"
#define CURSOR_KEY   "function-ledger"
#define HOOKS_MAX    64 /* functions of one account that have such triggers */
#define CALL_OPS     4  /* of a call: itself, its record, what it rests on */
#define OTHER_OPS    64 /* of what happened, and the cursor */
#define TELL_OPS     ((size_t)HOOKS_MAX * CALL_OPS + OTHER_OPS)
#define AT_ONCE      500  /* transactions of the ledger in one go */
#define WRITTEN_EACH 1000 /* of them that called nobody */

static_assert(TELL_OPS <= SYN_STORE_OPS_MAX, "all of an account");

/* --- who listens ------------------------------------------------------------------------------ */

static bool
is_hook(const json_t *trigger)
{
    const char *type = syn_json_str(trigger, "type", "");

    return syn_str_eq(type, "storage") || syn_str_eq(type, "ledger");
}

static bool
has_type(const json_t *triggers, const char *type)
{
    const json_t *trigger;
    size_t i;

    json_array_foreach (triggers, i, trigger)
        if (syn_str_eq(syn_json_str(trigger, "type", ""), type))
            return true;
    return false;
}

/* The hooks' document as the spec wants it; NULL: it wants none. */
static int
wanted_hooks(struct syn_server *server, const json_t *spec, const json_t *before, json_t **ret,
             struct syn_err *err)
{
    const json_t *trigger;
    struct srv_ledger_place place = {.seq = 1};
    json_t *list = json_array();
    size_t i;
    SYN_JSON(doc);
    int rc = syn_json_pack(&doc, err, "{}");

    if (rc == SYN_OK)
        rc = syn_json_set_take(doc, "triggers", list, err);
    else
        json_decref(list);
    json_array_foreach (json_object_get(spec, "triggers"), i, trigger)
        if (rc == SYN_OK && is_hook(trigger))
            rc = syn_json_append_take(list, syn_json_deep_copy(trigger), err);
    *ret = NULL;
    if (rc < 0 || json_array_size(list) == 0)
        return rc;
    if (has_type(json_object_get(before, "triggers"), "ledger"))
        place.seq = syn_json_i64(before, "after", 0) + 1;
    else
        rc = srv_ledger_next(server, &place, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(doc, "after", place.seq - 1, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(doc);
    return rc;
}

int
srv_function_hooks_put(struct syn_server *server, struct srv_txn *txn, const char *id,
                       const char *account, const json_t *spec, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(before);
    SYN_JSON(wanted);
    int64_t revision = 0;
    int rc = srv_load(server, srv_key(key, HOOKS, account, id), &before, &revision, err);
    bool there = rc == SYN_OK;

    if (rc >= 0)
        rc = wanted_hooks(server, spec, before, &wanted, err);
    if (rc < 0)
        return rc;
    if (wanted == NULL)
        return there ? srv_txn_delete(txn, key, err) : SYN_OK;
    if (!there)
        rc = srv_need_room(server, HOOKS, account, HOOKS_MAX,
                           "functions with triggers of storage or the ledger", err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, there ? revision : 0, wanted, err);
}

/* --- one event -------------------------------------------------------------------------------- */

/* What happened, and the calls that it makes within `txn`. */
struct event {
    struct syn_server *server;
    struct srv_txn *txn;
    const char *account, *type, *kind; /* "storage", "put" */
    const char *name;                  /* of storage; "" */
    int64_t seq;                       /* of the ledger; 0 */
    struct syn_buf body;               /* what the handler gets; empty until somebody wants it */
    int (*write)(const struct event *event, json_t **ret, struct syn_err *err);
    const void *arg; /* of `write` */
};

static bool
fits(const struct event *event, const json_t *hook)
{
    const json_t *trigger, *kind;
    size_t i, k;

    if (event->seq > 0 && event->seq <= syn_json_i64(hook, "after", 0))
        return false;
    json_array_foreach (json_object_get(hook, "triggers"), i, trigger) {
        if (!syn_str_eq(syn_json_str(trigger, "type", ""), event->type) ||
            !syn_str_starts(event->name, syn_json_str(trigger, "prefix", "")))
            continue;
        json_array_foreach (json_object_get(trigger, "events"), k, kind)
            if (syn_str_eq(json_string_value(kind), event->kind))
                return true;
    }
    return false;
}

static int
keep_call(struct event *event, const char *function, struct syn_err *err)
{
    char id[SRV_CALL_ID_SIZE];
    struct srv_event_call call = {.function = function,
                                  .account = event->account,
                                  .trigger = event->type,
                                  .invocation = id,
                                  .type = "application/json"};
    SYN_JSON(body);
    int rc = SYN_OK;

    if (event->body.len == 0) {
        rc = event->write(event, &body, err);
        if (rc == SYN_OK)
            rc = syn_json_write(body, &event->body, err);
    }
    if (rc < 0)
        return rc;
    srv_call_id(event->server, id);
    call.body = event->body.data;
    call.body_len = event->body.len;
    return srv_event_call_put(event->server, event->txn, &call, err);
}

/* Once for a function, however many of its triggers fit. */
static int
see_hook(void *arg, const char *key, json_t *hook, int64_t revision, struct syn_err *err)
{
    struct event *event = arg;
    const char *id = strrchr(key, '/') + 1;
    char own_key[SRV_KEY_MAX];
    SYN_JSON(function);
    int rc;

    if (!fits(event, hook))
        return SYN_OK;
    rc = srv_load(event->server, srv_key(own_key, "function", id, NULL), &function, NULL, err);
    if (rc != SYN_OK || syn_str_eq(syn_document_state(function), "deleting"))
        return rc < 0 ? rc : SYN_OK;
    rc = srv_txn_check(event->txn, key, revision, err);
    return rc < 0 ? rc : keep_call(event, id, err);
}

/* Keep the calls of all of the account's functions that listen. */
static int
tell(struct event *event, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    int rc =
        srv_each(event->server, srv_key(prefix, HOOKS, event->account, ""), see_hook, event, err);

    syn_buf_fini(&event->body);
    return rc;
}

/* --- storage ---------------------------------------------------------------------------------- */

static int
write_storage(const struct event *event, json_t **ret, struct syn_err *err)
{
    char at[SYN_FORMAT_MAX];

    return syn_json_pack(ret, err, "{s:s, s:s, s:s, s:s}", "event", event->kind, "name",
                         event->name, "cid", (const char *)event->arg, "at",
                         syn_format_time(syn_wall_ms(event->server->world), at));
}

int
srv_name_happened(struct syn_server *server, struct srv_txn *txn, const char *account,
                  const char *name, const char *cid, bool put, struct syn_err *err)
{
    struct event event = {.server = server,
                          .txn = txn,
                          .account = account,
                          .type = "storage",
                          .kind = put ? "put" : "delete",
                          .name = name,
                          .body = SYN_BUF_INIT,
                          .write = write_storage,
                          .arg = cid};

    return tell(&event, err);
}

/* --- the ledger ------------------------------------------------------------------------------- */

/* An account's part of a transaction. */
struct part {
    const struct syn_ledger_tx *tx;
    const struct syn_ledger_entry *entry;
};

static int
write_ledger(const struct event *event, json_t **ret, struct syn_err *err)
{
    const struct part *part = event->arg;
    char at[SYN_FORMAT_MAX], amount[SYN_FORMAT_MAX];

    return syn_json_pack(ret, err, "{s:s, s:s, s:s, s:s, s:s, s:s}", "event", event->kind,
                         "transaction", part->tx->id, "amount",
                         syn_format_amount(part->entry->amount, amount), "ref", part->tx->ref,
                         "memo", part->tx->memo, "at", syn_format_time(part->tx->at_ms, at));
}

/* On the way through one transaction of the ledger. */
struct step {
    struct syn_ledger_tx tx;
    size_t entry, next; /* entries before it are done; what will be after this attempt */
};

static int
write_cursor(struct srv_txn *txn, int64_t seq, size_t entry, struct syn_err *err)
{
    SYN_JSON(cursor);
    int rc = syn_json_pack(&cursor, err, "{s:I, s:I}", "seq", (json_int_t)seq, "entry",
                           (json_int_t)entry);

    return rc < 0 ? rc : srv_txn_put(txn, CURSOR_KEY, cursor, err);
}

/* As many entries as one store transaction takes. Nothing is written where nobody listens. */
static int
step_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct step *step = arg;
    const struct syn_ledger_tx *tx = &step->tx;
    size_t next = step->entry;
    int rc = SYN_OK;

    for (; rc == SYN_OK && next < tx->count; next++) {
        const struct part part = {tx, &tx->entries[next]};
        struct event event = {.server = server,
                              .txn = txn,
                              .account = part.entry->account,
                              .type = "ledger",
                              .kind = syn_ledger_kind_name(tx->kind),
                              .name = "",
                              .seq = tx->seq,
                              .body = SYN_BUF_INIT,
                              .write = write_ledger,
                              .arg = &part};

        if (txn->count + TELL_OPS > SYN_STORE_OPS_MAX)
            break;
        if (!syn_ledger_account_reserved(part.entry->account))
            rc = tell(&event, err);
    }
    step->next = next;
    if (rc < 0 || txn->count == 0)
        return rc < 0 ? rc : 1;
    return next == tx->count ? write_cursor(txn, tx->seq, 0, err)
                             : write_cursor(txn, tx->seq - 1, next, err);
}

static int
saved_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct srv_ledger_walk *walk = arg;

    (void)server;
    return write_cursor(txn, walk->seq, 0, err);
}

static int
see_after(void *arg, const char *key, json_t *hook, int64_t revision, struct syn_err *err)
{
    int64_t *least = arg;

    (void)key;
    (void)revision;
    (void)err;
    if (has_type(json_object_get(hook, "triggers"), "ledger"))
        *least = SYN_MIN(*least, syn_json_i64(hook, "after", 0));
    return SYN_OK;
}

/* Where it was; where it never was, before the first thing that anybody listens to. */
static int
begin_walk(struct syn_server *server, struct srv_ledger_walk *walk, int64_t head,
           struct syn_err *err)
{
    SYN_JSON(cursor);
    int64_t least = head;
    int rc = srv_load(server, CURSOR_KEY, &cursor, NULL, err);

    if (rc == SRV_ABSENT)
        rc = srv_each(server, HOOKS "/", see_after, &least, err);
    if (rc < 0)
        return rc;
    walk->seq = walk->written = syn_json_i64(cursor, "seq", least);
    walk->entry = (size_t)syn_json_i64(cursor, "entry", 0);
    walk->begun = true;
    return SYN_OK;
}

/* The transaction after those that are done. */
static int
one_step(struct syn_server *server, struct srv_ledger_walk *walk, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct step *step = syn_calloc(1, sizeof(*step));
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    if (step == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a transaction");
    rc = srv_need(server, srv_key_seq(key, "tx", NULL, walk->seq + 1), "transaction", &doc, NULL,
                  err);
    if (rc == SYN_OK)
        rc = syn_ledger_tx_decode(doc, &step->tx, err);
    if (rc < 0)
        return rc;
    do {
        step->entry = walk->entry;
        rc = srv_change(server, "events of the ledger", step_attempt, step, NULL, err);
        if (rc < 0)
            return rc;
        walk->entry = step->next;
        if (rc == SYN_OK)
            walk->written = walk->seq + 1;
    } while (walk->entry < step->tx.count);
    walk->seq++;
    walk->entry = 0;
    return SYN_OK;
}

int
srv_ledger_walk(struct syn_server *server, struct srv_ledger_walk *walk, struct syn_err *err)
{
    struct srv_ledger_place place;
    int64_t head = 0;
    int rc = srv_ledger_next(server, &place, err);

    if (rc == SYN_OK)
        head = place.seq - 1;
    if (rc == SYN_OK && !walk->begun)
        rc = begin_walk(server, walk, head, err);
    for (int i = 0; rc == SYN_OK && i < AT_ONCE && walk->seq < head; i++)
        rc = one_step(server, walk, err);
    if (rc == SYN_OK && walk->seq - walk->written >= WRITTEN_EACH) {
        rc = srv_change(server, "events of the ledger", saved_attempt, walk, NULL, err);
        if (rc == SYN_OK)
            walk->written = walk->seq;
    }
    return rc;
}
