#include "session_priv.h"

#include <poll.h>
#include <string.h>

#include <synor/base/str.h>

#define ANSWER_MS 30000 /* the server waits for the node half as long */

/* --- which one -------------------------------------------------------------------------------- */

/* A replica by number, or the first that gets requests, or any that runs. */
static const char *
endpoint_of(const json_t *service, int64_t replica)
{
    const json_t *status = json_object_get(service, "status");
    const json_t *endpoint;
    const char *found = NULL;
    size_t i;

    json_array_foreach (json_object_get(status, "endpoints"), i, endpoint) {
        const char *id = syn_json_str(endpoint, "instance", NULL);

        if (replica >= 0 && syn_json_i64(endpoint, "replica", -1) == replica)
            return id;
        if (replica < 0 && syn_json_bool(endpoint, "ready", false))
            return id;
        if (replica < 0 && found == NULL &&
            syn_str_eq(syn_json_str(endpoint, "state", ""), "running"))
            found = id;
    }
    return found;
}

/* A rank of a job. */
static const char *
rank_of(const json_t *job, int64_t rank)
{
    const json_t *ids = json_object_get(json_object_get(job, "status"), "instances");

    return json_string_value(json_array_get(ids, (size_t)SYN_MAX(rank, 0)));
}

int
syn_cli_instance_find(struct syn_cli *cli, const struct syn_cli_workload *kind, const char *name,
                      int64_t replica, char *out, struct syn_err *err)
{
    const char *found;
    SYN_JSON(doc);
    SYN_BUF(path);
    int rc;

    if (syn_str_starts(name, "inst-")) {
        if (!syn_str_copy(out, SYN_ID_MAX, name))
            return SYN_FAIL(err, SYN_E_INVALID, "%.60s is no id", name);
        return SYN_OK;
    }
    syn_buf_addf(&path, "%s/", kind->route);
    syn_cli_escape(&path, name);
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_cli_call(cli, "GET", syn_buf_text(&path), NULL, &doc, err);
    if (rc < 0)
        return rc;
    found = json_object_get(json_object_get(doc, "status"), "endpoints") != NULL
                ? endpoint_of(doc, replica)
                : rank_of(doc, replica);
    if (found == NULL && replica >= 0)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "%s %s has no number %lld that runs", kind->noun, name,
                        (long long)replica);
    if (found == NULL)
        return SYN_FAIL(err, SYN_E_CONFLICT, "nothing of %s %s runs now", kind->noun, name);
    return syn_str_copy(out, SYN_ID_MAX, found)
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_CORRUPT, "the server sent an id that is none");
}

/* --- a session -------------------------------------------------------------------------------- */

int
syn_cli_session_ask(const char *const *argv, size_t count, json_t **ret, struct syn_err *err)
{
    SYN_JSON(ask);
    json_t *words = json_array();
    int rc = syn_json_pack(&ask, err, "{s:s}", "kind", "exec");

    if (rc == SYN_OK)
        rc = syn_json_set_take(ask, "argv", words, err);
    for (size_t i = 0; rc == SYN_OK && i < count; i++)
        rc = syn_json_append_take(words, json_string(argv[i]), err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(ask);
    return rc;
}

int
syn_cli_session_open(struct syn_cli *cli, const char *instance, const json_t *ask,
                     struct syn_cli_session *ret, struct syn_err *err)
{
    struct syn_cli_session session = {NULL, NULL};
    struct syn_tunnel *tunnel = NULL;
    char path[128];
    int rc = syn_cli_connect(cli, 0, ANSWER_MS, &session.client, err);

    (void)snprintf(path, sizeof(path), "/v1/instances/%s/sessions", instance);
    if (rc == SYN_OK)
        rc = syn_tunnel_open(session.client, path, ask, &tunnel, err);
    if (rc == SYN_OK)
        rc = syn_session_new_take(tunnel, &session.link, err);
    if (rc < 0) { /* what the server says of a node that is away is not that it is away itself */
        bool said = session.client != NULL && syn_client_error(session.client) != NULL;

        syn_cli_session_close(&session);
        return said ? rc : syn_cli_unreachable(cli, rc, err);
    }
    *ret = session;
    return SYN_OK;
}

void
syn_cli_session_close(struct syn_cli_session *session)
{
    session->link = syn_session_free(session->link);
    session->client = syn_client_free(session->client);
}

void
syn_cli_session_exit(const struct syn_frame *frame, int *ret_code, char *message, size_t cap)
{
    SYN_JSON(doc);

    *ret_code = 255;
    message[0] = '\0';
    if (syn_json_parse_object(frame->data, frame->len, &doc, NULL) < 0)
        return;
    *ret_code = (int)syn_json_i64(doc, "exit_code", 255) & 0xff;
    (void)snprintf(message, cap, "%s", syn_json_str(doc, "message", ""));
}

int
syn_cli_session_test(struct syn_cli *cli, const char *instance, const char *const *argv,
                     size_t count, int *ret_code, struct syn_err *err)
{
    struct syn_cli_session session = {NULL, NULL};
    struct syn_frame frame;
    char message[256];
    SYN_JSON(ask);
    int rc = syn_cli_session_ask(argv, count, &ask, err);

    if (rc == SYN_OK)
        rc = syn_cli_session_open(cli, instance, ask, &session, err);
    if (rc < 0)
        return rc;
    syn_session_send(session.link, SYN_FRAME_IN_END, "", 0);
    do {
        struct pollfd ready = {.fd = syn_session_fd(session.link)};

        (void)syn_session_flush(session.link);
        rc = syn_session_next(session.link, &frame, err);
        ready.events = syn_session_events(session.link, true);
        if (rc == SYN_OK)
            (void)poll(&ready, 1, -1);
    } while (!syn_cli_interrupted() &&
             (rc == SYN_OK || (rc == SYN_SESSION_FRAME && frame.kind != SYN_FRAME_EXIT)));
    if (rc == SYN_SESSION_FRAME && frame.kind == SYN_FRAME_EXIT) {
        syn_cli_session_exit(&frame, ret_code, message, sizeof(message));
        rc = message[0] == '\0' ? SYN_OK : SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s", message);
    } else if (rc >= 0) {
        rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "the connection to %s broke off", instance);
    }
    syn_cli_session_close(&session);
    return rc;
}
