/* Events of a job: what happened, in order. */
#include <stdatomic.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "server_priv.h"

/* Microseconds leave room for a thousand events within one millisecond of this process. */
static int64_t
next_number(const struct syn_server *server)
{
    static _Atomic int64_t last;
    int64_t now = syn_wall_ms(server->world) * 1000;
    int64_t seen = atomic_load(&last);
    int64_t mine;

    do {
        mine = SYN_MAX(now, seen + 1);
    } while (!atomic_compare_exchange_weak(&last, &seen, mine));
    return mine;
}

int
srv_event(struct syn_server *server, struct srv_txn *txn, const char *job, const json_t *event,
          struct syn_err *err)
{
    int64_t seq = next_number(server);
    char key[SRV_KEY_MAX];
    SYN_JSON(doc);
    int rc;

    doc = syn_json_copy(event);
    if (doc == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an event");
    rc = syn_json_set_i64(doc, "seq", seq, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(doc, "job", job, err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(doc, "at", seq / 1000, err);
    return rc < 0 ? rc : srv_txn_put(txn, srv_key_seq(key, "event", job, seq), doc, err);
}

int
srv_event_say(struct syn_server *server, struct srv_txn *txn, const char *job, const char *type,
              const char *message, struct syn_err *err)
{
    SYN_JSON(event);
    int rc = syn_json_pack(&event, err, "{s:s, s:s, s:s, s:n}", "type", type, "reason", type,
                           "message", message, "instance");

    return rc < 0 ? rc : srv_event(server, txn, job, event, err);
}

int
srv_if_match(struct syn_http_req *req, int64_t revision, struct syn_err *err)
{
    const char *given = syn_http_req_header(req, "if-match");
    char text[32];

    if (given == NULL)
        return SYN_OK;
    (void)snprintf(text, sizeof(text), "\"%lld\"", (long long)revision);
    if (syn_str_eq(given, text) || syn_str_eq(given, "*"))
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_PRECONDITION, "the revision is %lld, If-Match names %.40s",
                    (long long)revision, given);
}
