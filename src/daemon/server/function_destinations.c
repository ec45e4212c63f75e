/* Where it is told what came of a call that nobody waited for: a message in a queue of the account,
 * or a webhook that is kept until it was sent, put there in the transaction that ends the call, so
 * that there is one for each end, never the one without the other. A queue that is not there, or is
 * full, does not keep a call from ending: its record says that nobody was told. */
#include <string.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_calls_priv.h"

/* What of the record belongs into the message. */
static int
copy_keys(const json_t *record, json_t *message, struct syn_err *err)
{
    static const char *const keys[] = {"invocation",    "function",    "trigger",   "state",
                                       "attempts",      "http_status", "message",   "result",
                                       "result_base64", "result_type", "result_cut"};
    int rc = syn_json_set_str(message, "invocation", syn_json_str(record, "id", ""), err);

    for (size_t i = 1; rc == SYN_OK && i < SYN_LEN(keys); i++) {
        json_t *value = json_object_get(record, keys[i]);

        if (value != NULL)
            rc = syn_json_set_take(message, keys[i], json_incref(value), err);
    }
    return rc;
}

/* As text that a message takes: without the result where it is too long for one. */
static int
message_of(const json_t *function, const json_t *record, struct syn_buf *out, struct syn_err *err)
{
    SYN_JSON(message);
    int rc = syn_json_pack(&message, err, "{s:s}", "name", syn_json_str(function, "name", ""));

    if (rc == SYN_OK)
        rc = copy_keys(record, message, err);
    if (rc == SYN_OK)
        rc = syn_json_write(message, out, err);
    if (rc < 0 || out->len <= SRV_QUEUE_BODY_MAX)
        return rc;
    (void)json_object_del(message, "result");
    (void)json_object_del(message, "result_base64");
    rc = syn_json_set_bool(message, "result_cut", true, err);
    syn_buf_clear(out);
    return rc < 0 ? rc : syn_json_write(message, out, err);
}

int
srv_destination_tell(struct syn_server *server, struct srv_txn *txn, json_t *record,
                     struct syn_err *err)
{
    const char *id = syn_json_str(record, "function", ""), *word;
    bool well = syn_str_eq(syn_json_str(record, "state", ""), "succeeded");
    char key[SRV_KEY_MAX];
    struct syn_err why = {0};
    SYN_JSON(function);
    SYN_BUF(text);
    int rc = srv_load(server, srv_key(key, "function", id, NULL), &function, NULL, err);

    if (rc != SYN_OK)
        return rc < 0 ? rc : SYN_OK;
    word = syn_json_str(json_object_get(syn_document_spec(function), "destinations"),
                        well ? "success" : "failure", "");
    if (word[0] == '\0')
        return SYN_OK;
    rc = message_of(function, record, &text, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(record, "destination", word, err);
    if (rc < 0)
        return rc;
    if (syn_str_starts(word, SRV_QUEUE_WORD))
        rc = srv_queue_put(server, txn, syn_json_str(function, "account", ""),
                           word + strlen(SRV_QUEUE_WORD), syn_buf_text(&text), &why);
    else
        rc = srv_webhook_put(server, txn, function, record, syn_buf_text(&text), &why);
    if (rc == SYN_E_NOTFOUND || rc == SYN_E_LIMIT)
        return syn_json_set_str(record, "destination_error", why.msg, err);
    return rc < 0 ? SYN_FAIL(err, rc, "%s", why.msg) : SYN_OK;
}
