/* Durable queues of an account. What becomes of a message says orchestration/queue.h; here is where
 * it is kept:
 *
 *     "queue/ACCOUNT/NAME"              the queue and its rules
 *     "message/ACCOUNT/NAME/READY-SEQ"  a message, under the time from which it may be received
 *
 * What is due is at the beginning of the second, so receiving reads as much as it gives. READY-SEQ
 * is also the receipt: receiving again moves the message, and the earlier receipt names nothing.
 * Every answer comes after the transaction is on disk. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/orchestration/queue.h>

#include "server_priv.h"

#define QUEUES_MAX        256     /* of one account */
#define MESSAGES_MAX      1000000 /* in one queue, about */
#define COUNT_EVERY       64      /* sends: one of them counts */
#define BATCH_MAX         100     /* messages in one request */
#define MESSAGE_BYTES_MAX SRV_QUEUE_BODY_MAX
#define LOOK_MAX          1000 /* messages that are looked at to count what is due */
#define NOTHING           1    /* there is nothing to write */

static const char *
message_prefix(char out[SRV_KEY_MAX], const char *account, const char *name)
{
    (void)snprintf(out, SRV_KEY_MAX, "message/%s/%s/", account, name);
    return out;
}

static const char *
message_key(char out[SRV_KEY_MAX], const char *account, const char *name, const char *receipt)
{
    (void)snprintf(out, SRV_KEY_MAX, "message/%s/%s/%s", account, name, receipt);
    return out;
}

static struct syn_queue_rules
rules_of(const json_t *queue)
{
    return (struct syn_queue_rules){
        .visibility_ms = syn_json_i64(queue, "visibility_ms", 0),
        .delay_ms = syn_json_i64(queue, "delay_ms", 0),
        .retention_ms = syn_json_i64(queue, "retention_ms", 0),
        .receives_max = syn_json_i64(queue, "receives_max", 0),
        .backoff_ms = syn_json_i64(queue, "backoff_ms", 0),
        .backoff_max_ms = syn_json_i64(queue, "backoff_max_ms", 0),
    };
}

/* A number that no message had: the time in us, or one more than the last. */
static int64_t
next_sequence(struct syn_server *server)
{
    int64_t now = syn_wall_ms(server->world) * 1000;
    int64_t last = atomic_load(&server->message_sequence), next;

    do
        next = SYN_MAX(last + 1, now);
    while (!atomic_compare_exchange_weak(&server->message_sequence, &last, next));
    return next;
}

/* --- queues ----------------------------------------------------------------------------------- */

/* What may be received now, as far as the first of them tell, and what not yet. */
static int
count_due(struct syn_server *server, const char *prefix, json_t *seen, struct syn_err *err)
{
    struct syn_store_range range = {.prefix = prefix, .limit = LOOK_MAX};
    int64_t now = syn_wall_ms(server->world), all = 0, due = 0, ready, sequence;
    struct syn_store_page page = {0};
    int rc = syn_store_count(server->store, prefix, &all, err);

    if (rc == SYN_OK)
        rc = syn_store_list(server->store, &range, &page, err);
    if (rc < 0)
        return rc;
    while ((size_t)due < page.count &&
           syn_queue_key_read(page.docs[due]->key + strlen(prefix), &ready, &sequence) &&
           ready <= now)
        due++;
    rc = syn_json_set_i64(seen, "messages", all, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(seen, "ready", due, err);
    if (rc == SYN_OK)
        rc = syn_json_set_take(seen, "ready_more",
                               json_boolean(page.more && (size_t)due == page.count), err);
    syn_store_page_fini(&page);
    return rc;
}

static int
list_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    int64_t count = 0;
    int rc;

    (void)snprintf(prefix, sizeof(prefix), "message/%s/", key + strlen("queue/"));
    rc = syn_store_count(((struct syn_server *)arg)->store, prefix, &count, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(doc, "messages", count, err);
    return rc < 0 ? rc : syn_json_append_take(items, json_incref(doc), err);
}

static int
list_queues(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];

    return srv_reply_list(ctx, req, srv_key(prefix, "queue", srv_identity(req)->account, ""), false,
                          list_item, ctx, err);
}

static int
get_queue(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *account = srv_identity(req)->account, *name;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_need_name(req, "queue", &name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "queue", account, name), "queue", &doc, NULL, err);
    if (rc == SYN_OK)
        rc = count_due(ctx, message_prefix(key, account, name), doc, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, doc, err);
}

struct making {
    struct syn_http_req *req;
    const char *account, *name;
    bool made;
    json_t *doc;
};

/* Dead letters go to another queue that is there; without one there would be nowhere to go. */
static int
check_rules(struct syn_server *server, struct srv_txn *txn, const struct making *making,
            struct syn_err *err)
{
    const json_t *body = syn_http_req_json(making->req);
    const char *dead = syn_json_str(body, "dead_letter", "");
    bool counted = syn_json_i64(body, "receives_max", 0) > 0;
    int64_t revision = 0;
    char key[SRV_KEY_MAX];
    SYN_JSON(other);
    int rc;

    if (syn_json_i64(body, "backoff_max_ms", 0) < syn_json_i64(body, "backoff_ms", 0))
        return SYN_FAIL(err, SYN_E_INVALID, "backoff_max_ms: less than backoff_ms");
    if (counted != (dead[0] != '\0'))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "%s: receives_max and dead_letter go together: after so many receipts a "
                        "message goes there",
                        counted ? "dead_letter" : "receives_max");
    if (!counted)
        return SYN_OK;
    if (strcmp(dead, making->name) == 0 || !syn_name_ok(dead))
        return SYN_FAIL(err, SYN_E_INVALID, "dead_letter: \"%.60s\" is not another queue", dead);
    rc = srv_need(server, srv_key(key, "queue", making->account, dead), "queue", &other, &revision,
                  err);
    return rc < 0 ? syn_err_wrap(err, rc, "dead_letter") : srv_txn_check(txn, key, revision, err);
}

static int
put_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct making *making = arg;
    char key[SRV_KEY_MAX], at[SYN_FORMAT_MAX];
    int64_t revision = 0;
    SYN_JSON(before);
    int rc = srv_load(server, srv_key(key, "queue", making->account, making->name), &before,
                      &revision, err);

    making->made = rc == SRV_ABSENT;
    if (rc == SRV_ABSENT) {
        revision = 0;
        rc = srv_need_room(server, "queue", making->account, QUEUES_MAX, "queues", err);
    }
    if (rc == SYN_OK)
        rc = check_rules(server, txn, making, err);
    if (rc < 0)
        return rc;
    *srv_again(&making->doc) = syn_json_deep_copy(syn_http_req_json(making->req));
    rc = syn_json_set_str(making->doc, "name", making->name, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(
            making->doc, "created_at",
            syn_json_str(before, "created_at", syn_format_time(syn_wall_ms(server->world), at)),
            err);
    return rc < 0 ? rc : srv_txn_replace(txn, key, revision, making->doc, err);
}

static int
put_queue(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct making making = {.req = req, .account = srv_identity(req)->account};
    int rc = srv_need_name(req, "queue", &making.name, err);

    if (rc == SYN_OK)
        rc = srv_change(ctx, "the queue", put_attempt, &making, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, making.made ? 201 : 200, making.doc, err);
    (void)srv_again(&making.doc);
    return rc;
}

/* The first queue whose dead letters go to `arg`: stops there, with its name in place of it. */
struct sought {
    const char *name;
    char user[SYN_ID_MAX];
};

static int
sends_there(void *arg, const char *key, json_t *doc, int64_t revision, struct syn_err *err)
{
    struct sought *sought = arg;

    (void)key;
    (void)revision;
    (void)err;
    if (strcmp(syn_json_str(doc, "dead_letter", ""), sought->name) != 0)
        return SYN_OK;
    (void)syn_str_copy(sought->user, sizeof(sought->user), syn_json_str(doc, "name", ""));
    return 1;
}

/* Delete up to a transaction's worth of what is in the queue. *ret_more: there is more. */
static int
purge_some(struct syn_server *server, const char *prefix, int64_t *deleted, bool *ret_more,
           struct syn_err *err)
{
    struct syn_store_range range = {.prefix = prefix, .limit = SYN_STORE_ROWS_MAX};
    struct syn_store_page page = {0};
    int rc = syn_store_list(server->store, &range, &page, err);
    SRV_TXN(txn);

    for (size_t i = 0; rc == SYN_OK && i < page.count; i++)
        rc = srv_txn_delete(&txn, page.docs[i]->key, err);
    if (rc == SYN_OK && page.count)
        rc = srv_txn_commit(server, &txn, NULL, err);
    if (rc == SYN_OK) {
        *deleted += (int64_t)page.count;
        *ret_more = page.more;
    }
    syn_store_page_fini(&page);
    return rc;
}

static int
purge(struct syn_server *server, const char *account, const char *name, int64_t *ret_deleted,
      struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    bool more = true;
    int rc = SYN_OK;

    *ret_deleted = 0;
    (void)message_prefix(prefix, account, name);
    while (rc == SYN_OK && more)
        rc = purge_some(server, prefix, ret_deleted, &more, err);
    return rc;
}

static int
delete_queue(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const char *account = srv_identity(req)->account;
    bool force = syn_json_bool(syn_http_req_query_json(req), "force", false);
    struct sought sought = {0};
    char key[SRV_KEY_MAX], prefix[SRV_KEY_MAX];
    int64_t revision = 0, count = 0;
    SYN_JSON(doc);
    SRV_TXN(txn);
    int rc = srv_need_name(req, "queue", &sought.name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "queue", account, sought.name), "queue", &doc, &revision,
                      err);
    if (rc == SYN_OK)
        rc = srv_each(ctx, srv_key(prefix, "queue", account, ""), sends_there, &sought, err);
    if (rc > 0)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the dead letters of the queue %s go to %s",
                        sought.user, sought.name);
    if (rc == SYN_OK)
        rc = syn_store_count(server->store, message_prefix(prefix, account, sought.name), &count,
                             err);
    if (rc == SYN_OK && count > 0 && !force)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "the queue %s has %" PRId64 " messages: purge it first, or force it",
                        sought.name, count);
    if (rc == SYN_OK)
        rc = srv_txn_check(&txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(&txn, key, err);
    if (rc == SYN_OK)
        rc = srv_txn_commit(ctx, &txn, NULL, err);
    if (rc == SYN_STORE_CONFLICT)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the queue %s changed meanwhile", sought.name);
    /* Nobody sends to it any more: what is in it can go. */
    return rc < 0 ? rc : purge(ctx, account, sought.name, &count, err);
}

/* --- messages --------------------------------------------------------------------------------- */

struct sending {
    struct syn_http_req *req;
    const char *account, *name;
    json_t *answer;
};

/* Put a message where it is due. */
static int
put_message(struct srv_txn *txn, const char *account, const char *name, int64_t ready_ms,
            int64_t sequence, const json_t *message, struct syn_err *err)
{
    char receipt[SYN_QUEUE_KEY_SIZE], key[SRV_KEY_MAX];

    syn_queue_key(ready_ms, sequence, receipt);
    return srv_txn_replace(txn, message_key(key, account, name, receipt), 0, message, err);
}

/* As it was given: {body, attributes?, delay_ms?}. */
static int
put_new(struct syn_server *server, struct srv_txn *txn, const struct sending *sending,
        const json_t *given, const struct syn_queue_rules *rules, char id[SYN_FORMAT_MAX],
        struct syn_err *err)
{
    int64_t now = syn_wall_ms(server->world), sequence = next_sequence(server);
    int64_t delay = syn_json_i64(given, "delay_ms", rules->delay_ms);
    SYN_JSON(message);
    int rc;

    (void)snprintf(id, SYN_FORMAT_MAX, "%016" PRIx64, (uint64_t)sequence);
    rc = syn_json_pack(&message, err, "{s:s, s:s, s:I, s:I}", "id", id, "body",
                       syn_json_str(given, "body", ""), "sent_ms", (json_int_t)now, "receives",
                       (json_int_t)0);
    if (rc == SYN_OK && json_object_get(given, "attributes"))
        rc = syn_json_set_take(message, "attributes",
                               json_incref(json_object_get(given, "attributes")), err);
    return rc < 0 ? rc
                  : put_message(txn, sending->account, sending->name, now + delay, sequence,
                                message, err);
}

static int
send_one(struct syn_server *server, struct srv_txn *txn, struct sending *sending,
         const json_t *given, const struct syn_queue_rules *rules, struct syn_err *err)
{
    char id[SYN_FORMAT_MAX];
    json_t *seen = NULL;
    int rc = put_new(server, txn, sending, given, rules, id, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&seen, err, "{s:s}", "id", id);
    return rc < 0 ? rc
                  : syn_json_append_take(json_object_get(sending->answer, "messages"), seen, err);
}

/* Counting reads every key of the queue, so one send in many does it: it may have a few more. */
static int
check_full(struct syn_server *server, const char *account, const char *name, struct syn_err *err)
{
    char prefix[SRV_KEY_MAX];
    int64_t count = 0;
    int rc = syn_store_count(server->store, message_prefix(prefix, account, name), &count, err);

    return rc == SYN_OK && count >= MESSAGES_MAX
               ? SYN_FAIL(err, SYN_E_LIMIT, "the queue %s is full: %d messages", name, MESSAGES_MAX)
               : rc;
}

/* Its rules, once there is room; within `txn` it stays as it is. */
static int
open_for(struct syn_server *server, struct srv_txn *txn, const struct sending *sending,
         struct syn_queue_rules *ret_rules, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(queue);
    int rc = srv_need(server, srv_key(key, "queue", sending->account, sending->name), "queue",
                      &queue, &revision, err);

    if (rc == SYN_OK && next_sequence(server) % COUNT_EVERY == 0)
        rc = check_full(server, sending->account, sending->name, err);
    if (rc == SYN_OK)
        *ret_rules = rules_of(queue);
    return rc < 0 ? rc : srv_txn_check(txn, key, revision, err);
}

int
srv_queue_put(struct syn_server *server, struct srv_txn *txn, const char *account, const char *name,
              const char *body, struct syn_err *err)
{
    const struct sending sending = {.account = account, .name = name};
    struct syn_queue_rules rules = {0};
    char id[SYN_FORMAT_MAX];
    SYN_JSON(given);
    int rc = open_for(server, txn, &sending, &rules, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(&given, err, "{s:s}", "body", body);
    return rc < 0 ? rc : put_new(server, txn, &sending, given, &rules, id, err);
}

static int
send_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct sending *sending = arg;
    const json_t *given, *all = json_object_get(syn_http_req_json(sending->req), "messages");
    struct syn_queue_rules rules = {0};
    struct srv_idem idem;
    size_t i;
    int rc = srv_idem_begin(server, sending->req, &idem, err);

    if (rc != SYN_OK)
        return rc;
    rc = open_for(server, txn, sending, &rules, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(srv_again(&sending->answer), err, "{s:[]}", "messages");
    json_array_foreach (all, i, given)
        if (rc == SYN_OK)
            rc = send_one(server, txn, sending, given, &rules, err);
    return rc < 0 ? rc : srv_idem_keep(server, &idem, txn, 201, sending->answer, err);
}

static int
send_messages(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct sending sending = {.req = req, .account = srv_identity(req)->account};
    int rc = srv_need_name(req, "queue", &sending.name, err);

    if (rc == SYN_OK)
        rc = srv_change(ctx, "the queue", send_attempt, &sending, NULL, err);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 201, sending.answer, err);
    (void)srv_again(&sending.answer);
    return rc == SRV_REPLAYED ? SYN_OK : rc;
}

struct receiving {
    const char *account, *name;
    size_t max;
    struct syn_queue_rules rules;
    int64_t revision;      /* of the queue that the rules are of */
    char dead[SYN_ID_MAX]; /* where dead letters go; "": nowhere now */
    int64_t dead_revision;
    size_t cleared; /* buried or expired */
    json_t *items;
};

/* What a receiver is told of a message. */
static int
give(struct receiving *receiving, const json_t *message, const char *receipt, struct syn_err *err)
{
    json_t *item = syn_json_deep_copy(message);
    int rc = item ? syn_json_set_str(item, "receipt", receipt, err)
                  : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a message");

    if (rc < 0) {
        json_decref(item);
        return rc;
    }
    return syn_json_append_take(receiving->items, item, err);
}

/* Move a message that is due: to later for its receiver, to the dead letters, or away. */
static int
move(struct syn_server *server, struct srv_txn *txn, struct receiving *receiving,
     const struct syn_store_doc *stored, enum syn_queue_fate fate, json_t *message,
     struct syn_err *err)
{
    int64_t now = syn_wall_ms(server->world), receives = syn_json_i64(message, "receives", 0);
    int64_t ready = 0, sequence = 0;
    const char *name = receiving->name, *at = strrchr(stored->key, '/') + 1;
    char receipt[SYN_QUEUE_KEY_SIZE];
    int rc = syn_queue_key_read(at, &ready, &sequence)
                 ? srv_txn_check(txn, stored->key, stored->mod_revision, err)
                 : SYN_FAIL(err, SYN_E_CORRUPT, "%s is no message's key", stored->key);

    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, stored->key, err);
    if (rc < 0 || fate == SYN_QUEUE_EXPIRE) {
        receiving->cleared++;
        return rc;
    }
    if (fate == SYN_QUEUE_BURY) {
        receiving->cleared++;
        name = receiving->dead;
        ready = now;
        rc = syn_json_set_str(message, "from", receiving->name, err);
        if (rc == SYN_OK)
            rc = syn_json_set_i64(message, "sent_ms", now, err);
        receives = -1;
    } else {
        ready = now + receiving->rules.visibility_ms;
        syn_queue_key(ready, sequence, receipt);
    }
    if (rc == SYN_OK)
        rc = syn_json_set_i64(message, "receives", receives + 1, err);
    if (rc == SYN_OK)
        rc = put_message(txn, receiving->account, name, ready, sequence, message, err);
    return rc < 0 || fate == SYN_QUEUE_BURY ? rc : give(receiving, message, receipt, err);
}

/* Returns 1 where nothing more is due. */
static int
take_one(struct syn_server *server, struct srv_txn *txn, struct receiving *receiving,
         const struct syn_store_doc *stored, struct syn_err *err)
{
    int64_t ready = 0, sequence = 0;
    enum syn_queue_fate fate;
    SYN_JSON(message);
    int rc = syn_json_parse(stored->value, stored->len, &message, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "document %s", stored->key);
    (void)syn_queue_key_read(strrchr(stored->key, '/') + 1, &ready, &sequence);
    fate = syn_queue_fate(&receiving->rules, syn_json_i64(message, "sent_ms", 0), ready,
                          syn_json_i64(message, "receives", 0), syn_wall_ms(server->world));
    if (fate == SYN_QUEUE_LATER)
        return 1;
    if (fate == SYN_QUEUE_BURY && receiving->dead[0] == '\0')
        fate = SYN_QUEUE_DELIVER;
    return move(server, txn, receiving, stored, fate, message, err);
}

static int
load_rules(struct syn_server *server, struct receiving *receiving, struct syn_err *err)
{
    char key[SRV_KEY_MAX];
    SYN_JSON(queue);
    SYN_JSON(dead);
    int rc = srv_need(server, srv_key(key, "queue", receiving->account, receiving->name), "queue",
                      &queue, &receiving->revision, err);

    if (rc < 0)
        return rc;
    receiving->rules = rules_of(queue);
    (void)syn_str_copy(receiving->dead, sizeof(receiving->dead),
                       syn_json_str(queue, "dead_letter", ""));
    if (receiving->dead[0] == '\0')
        return SYN_OK;
    rc = srv_load(server, srv_key(key, "queue", receiving->account, receiving->dead), &dead,
                  &receiving->dead_revision, err);
    if (rc == SRV_ABSENT)
        receiving->dead[0] = '\0';
    return rc < 0 ? rc : SYN_OK;
}

static int
receive_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct receiving *receiving = arg;
    struct syn_store_range range = {.limit = BATCH_MAX};
    struct syn_store_page page = {0};
    char prefix[SRV_KEY_MAX], key[SRV_KEY_MAX];
    int rc = load_rules(server, receiving, err);

    receiving->cleared = 0;
    if (rc == SYN_OK) {
        *srv_again(&receiving->items) = json_array();
        range.prefix = message_prefix(prefix, receiving->account, receiving->name);
        rc = syn_store_list(server->store, &range, &page, err);
    }
    for (size_t i = 0; rc == SYN_OK && i < page.count; i++) {
        if (json_array_size(receiving->items) == receiving->max)
            break;
        rc = take_one(server, txn, receiving, page.docs[i], err);
    }
    syn_store_page_fini(&page);
    /* A queue that is deleted meanwhile keeps nothing. */
    if (rc >= 0 && txn->count > 0)
        rc = srv_txn_check(txn, srv_key(key, "queue", receiving->account, receiving->name),
                           receiving->revision, err);
    if (rc >= 0 && receiving->cleared && receiving->dead[0] != '\0')
        rc = srv_txn_check(txn, srv_key(key, "queue", receiving->account, receiving->dead),
                           receiving->dead_revision, err);
    return rc < 0 ? rc : txn->count > 0 ? SYN_OK : NOTHING;
}

static int
receive_messages(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct receiving receiving = {
        .account = srv_identity(req)->account,
        .max = (size_t)syn_json_i64(syn_http_req_json(req), "max", 1),
    };
    SYN_JSON(answer);
    int rc = srv_need_name(req, "queue", &receiving.name, err);

    /* What only clears away is no answer: there may be something behind it. */
    do
        if (rc == SYN_OK)
            rc = srv_change(ctx, "the queue", receive_attempt, &receiving, NULL, err);
    while (rc == SYN_OK && receiving.cleared && json_array_size(receiving.items) == 0);
    if (rc >= 0)
        rc = syn_json_pack(&answer, err, "{s:O}", "items", receiving.items);
    if (rc == SYN_OK)
        rc = syn_http_reply_json(req, 200, answer, err);
    (void)srv_again(&receiving.items);
    return rc;
}

/* What a receiver does with what it has: by receipts. */
struct returning {
    struct syn_http_req *req;
    const char *account, *name;
    bool release;
    struct syn_queue_rules rules;
    json_t *answer;
};

static int
return_one(struct syn_server *server, struct srv_txn *txn, struct returning *returning,
           const char *receipt, struct syn_err *err)
{
    const json_t *body = syn_http_req_json(returning->req);
    int64_t ready = 0, sequence = 0, revision = 0, delay;
    char key[SRV_KEY_MAX];
    SYN_JSON(message);
    int rc;

    if (!syn_queue_key_read(receipt, &ready, &sequence))
        return SYN_FAIL(err, SYN_E_INVALID, "receipts: \"%.60s\" is none", receipt);
    rc = srv_load(server, message_key(key, returning->account, returning->name, receipt), &message,
                  &revision, err);
    if (rc == SRV_ABSENT || (rc == SYN_OK && syn_json_i64(message, "receives", 0) == 0))
        return syn_json_append_take(json_object_get(returning->answer, "missing"),
                                    json_string(receipt), err);
    if (rc == SYN_OK)
        rc = srv_txn_check(txn, key, revision, err);
    if (rc == SYN_OK)
        rc = srv_txn_delete(txn, key, err);
    if (rc == SYN_OK && returning->release) {
        delay = syn_json_i64(
            body, "delay_ms",
            syn_queue_backoff_ms(&returning->rules, syn_json_i64(message, "receives", 1)));
        ready = syn_wall_ms(server->world) + delay;
        rc = put_message(txn, returning->account, returning->name, ready, sequence, message, err);
    }
    return rc < 0 ? rc
                  : syn_json_append_take(json_object_get(returning->answer, "done"),
                                         json_string(receipt), err);
}

static int
return_attempt(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    struct returning *returning = arg;
    const json_t *receipt, *all = json_object_get(syn_http_req_json(returning->req), "receipts");
    char key[SRV_KEY_MAX];
    int64_t revision = 0;
    SYN_JSON(queue);
    size_t i;
    int rc = srv_need(server, srv_key(key, "queue", returning->account, returning->name), "queue",
                      &queue, &revision, err);

    if (rc == SYN_OK)
        rc = syn_json_pack(srv_again(&returning->answer), err, "{s:[], s:[]}", "done", "missing");
    returning->rules = rules_of(queue);
    json_array_foreach (all, i, receipt)
        if (rc == SYN_OK)
            rc = return_one(server, txn, returning, json_string_value(receipt), err);
    if (rc < 0 || txn->count == 0)
        return rc < 0 ? rc : NOTHING;
    return srv_txn_check(txn, key, revision, err);
}

static int
return_messages(struct syn_http_req *req, struct syn_server *server, bool release,
                struct syn_err *err)
{
    struct returning returning = {
        .req = req, .account = srv_identity(req)->account, .release = release};
    int rc = srv_need_name(req, "queue", &returning.name, err);

    if (rc == SYN_OK)
        rc = srv_change(server, "the queue", return_attempt, &returning, NULL, err);
    if (rc >= 0)
        rc = syn_http_reply_json(req, 200, returning.answer, err);
    (void)srv_again(&returning.answer);
    return rc;
}

static int
acknowledge_messages(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return return_messages(req, ctx, false, err);
}

static int
release_messages(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    return return_messages(req, ctx, true, err);
}

/* A message as it lies there, and from when on it may be received. */
static int
peek_item(void *arg, const char *key, json_t *doc, json_t *items, struct syn_err *err)
{
    int64_t ready = 0, sequence = 0;
    int rc;

    (void)arg;
    (void)syn_queue_key_read(strrchr(key, '/') + 1, &ready, &sequence);
    rc = syn_json_set_i64(doc, "ready_ms", ready, err);
    return rc < 0 ? rc : syn_json_append_take(items, json_incref(doc), err);
}

static int
peek_messages(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *account = srv_identity(req)->account, *name;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc = srv_need_name(req, "queue", &name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "queue", account, name), "queue", &doc, NULL, err);
    return rc < 0 ? rc
                  : srv_reply_list(ctx, req, message_prefix(key, account, name), false, peek_item,
                                   NULL, err);
}

static int
purge_messages(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *account = srv_identity(req)->account, *name;
    int64_t deleted = 0;
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    SYN_JSON(answer);
    int rc = srv_need_name(req, "queue", &name, err);

    if (rc == SYN_OK)
        rc = srv_need(ctx, srv_key(key, "queue", account, name), "queue", &doc, NULL, err);
    if (rc == SYN_OK)
        rc = purge(ctx, account, name, &deleted, err);
    if (rc == SYN_OK)
        rc = syn_json_pack(&answer, err, "{s:I}", "deleted", (json_int_t)deleted);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}

/* --- table ------------------------------------------------------------------------------------ */

/* clang-format off */
static const struct syn_field queue_fields[] = {
    {.name = "visibility_ms", .kind = SYN_FIELD_MS, .min = 1, .max = SYN_QUEUE_VISIBILITY_MAX_MS, .fallback = "30000",
     .help = "a received message is nobody else's for so long"},
    {.name = "delay_ms", .kind = SYN_FIELD_MS, .min = 0, .max = SYN_QUEUE_VISIBILITY_MAX_MS, .fallback = "0",
     .help = "a message that was sent waits so long before it may be received"},
    {.name = "retention_ms", .kind = SYN_FIELD_MS, .min = 1000, .max = SYN_QUEUE_RETENTION_MAX_MS, .fallback = "345600000",
     .help = "messages are kept so long"},
    {.name = "receives_max", .kind = SYN_FIELD_I64, .min = 0, .max = SYN_QUEUE_RECEIVES_MAX, .fallback = "0",
     .help = "received so often without being acknowledged, a message goes to dead_letter; 0: never"},
    {.name = "dead_letter", .kind = SYN_FIELD_STR, .min = 0, .max = 63, .fallback = "\"\"",
     .help = "another queue of the account"},
    {.name = "backoff_ms", .kind = SYN_FIELD_MS, .min = 0, .max = SYN_QUEUE_VISIBILITY_MAX_MS, .fallback = "1000",
     .help = "a released message waits so long, twice as long each time"},
    {.name = "backoff_max_ms", .kind = SYN_FIELD_MS, .min = 0, .max = SYN_QUEUE_VISIBILITY_MAX_MS, .fallback = "300000",
     .help = "and no longer than this"},
};
static const struct syn_schema queue_schema = SYN_SCHEMA("QueuePut", queue_fields);

static const struct syn_field message_fields[] = {
    {.name = "body", .kind = SYN_FIELD_STR, .required = true, .min = 0, .max = MESSAGE_BYTES_MAX, .help = "text"},
    {.name = "attributes", .kind = SYN_FIELD_MAP, .min = 0, .max = 16, .help = "what else is said of it"},
    {.name = "delay_ms", .kind = SYN_FIELD_MS, .min = 0, .max = SYN_QUEUE_VISIBILITY_MAX_MS, .help = "instead of the queue's"},
};
static const struct syn_schema message_schema = SYN_SCHEMA("QueueMessage", message_fields);
static const struct syn_field send_fields[] = {
    {.name = "messages", .kind = SYN_FIELD_LIST, .sub = &message_schema, .required = true, .min = 1, .max = BATCH_MAX,
     .help = "all of them are taken, or none"},
};
static const struct syn_schema send_schema = SYN_SCHEMA("QueueSend", send_fields);

static const struct syn_field receive_fields[] = {
    {.name = "max", .kind = SYN_FIELD_I64, .min = 1, .max = BATCH_MAX, .fallback = "1", .help = "messages at a time"},
};
static const struct syn_schema receive_schema = SYN_SCHEMA("QueueReceive", receive_fields);

#define RECEIPTS_FIELD                                                                             \
    {.name = "receipts", .kind = SYN_FIELD_LIST, .required = true, .min = 1, .max = BATCH_MAX,     \
     .help = "as the messages came with"}
static const struct syn_field acknowledge_fields[] = {RECEIPTS_FIELD};
static const struct syn_schema acknowledge_schema = SYN_SCHEMA("QueueAcknowledge", acknowledge_fields);
static const struct syn_field release_fields[] = {
    RECEIPTS_FIELD,
    {.name = "delay_ms", .kind = SYN_FIELD_MS, .min = 0, .max = SYN_QUEUE_VISIBILITY_MAX_MS,
     .help = "how long they wait now; default: the queue's back-off"},
};
static const struct syn_schema release_schema = SYN_SCHEMA("QueueRelease", release_fields);

static const struct syn_field delete_fields[] = {
    {.name = "force", .kind = SYN_FIELD_BOOL, .fallback = "false", .help = "with the messages in it"},
};
static const struct syn_schema delete_schema = SYN_SCHEMA("QueueDelete", delete_fields);
/* clang-format on */

static const struct syn_http_route rows[] = {
    SRV_READ("/v1/queues", list_queues, &srv_list_query, "queues.list", "The account's queues"),
    SRV_READ("/v1/queues/{name}", get_queue, NULL, "queues.get", "A queue and what is in it"),
    SRV_WRITE("PUT", "/v1/queues/{name}", put_queue, &queue_schema, "queues.set",
              "Make a queue, or give it other rules"),
    {.method = "DELETE",
     .pattern = "/v1/queues/{name}",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = delete_queue,
     .query = &delete_schema,
     .name = "queues.delete",
     .summary = "Delete an empty queue, or with force any"},
    SRV_READ("/v1/queues/{name}/messages", peek_messages, &srv_list_query, "queues.peek",
             "Messages as they lie there, without receiving them"),
    SRV_WRITE("POST", "/v1/queues/{name}/messages", send_messages, &send_schema, "queues.send",
              "Send messages: they are on disk when this is answered"),
    {.method = "DELETE",
     .pattern = "/v1/queues/{name}/messages",
     .kind = SYN_HTTP_POOL,
     .scopes = SYN_SCOPE_TENANT,
     .handler = purge_messages,
     .name = "queues.purge",
     .summary = "Delete all messages"},
    SRV_WRITE("POST", "/v1/queues/{name}/receive", receive_messages, &receive_schema,
              "queues.receive", "Receive what is due"),
    SRV_WRITE("POST", "/v1/queues/{name}/acknowledge", acknowledge_messages, &acknowledge_schema,
              "queues.acknowledge", "These messages are done"),
    SRV_WRITE("POST", "/v1/queues/{name}/release", release_messages, &release_schema,
              "queues.release", "These messages are to be received again, or later than they were"),
};

const struct srv_routes srv_queue_routes = {rows, SYN_LEN(rows)};
