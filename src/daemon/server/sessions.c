/* Sessions: a person within an instance. Nodes may be behind what lets nobody in, so two requests
 * meet here, and each is turned into a tunnel:
 *
 *      person --POST /v1/instances/ID/sessions--> held --.
 *                                                        |  1. who, whose, how many
 *                                                        |  2. an event is written
 *      agent  <------- event "session" ------------------'  3. its node is told
 *      agent  --POST /v1/nodes/NODE/sessions/SID--> 101     4. it comes, and both are joined
 *      person <------------------ 101 ---------------------
 *
 * The person's request is answered only then: so whatever goes wrong before is an ordinary error.
 * From then on the bytes mean nothing here, see http_tunnel.c. Everything but the event's write is
 * on the loop; that is on the pool, and holds nothing but a copy of what it needs. */
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_priv.h"

#define SESSIONS_MAX         256
#define SESSIONS_ACCOUNT_MAX 64
#define SESSIONS_NODE_MAX    60 /* below what an agent takes: it may not have heard of ends */
#define COME_MS              15000
#define LOOK_MS              500
#define PROTOCOL             "synor-session"
#define WORDS_MAX            256
#define WHAT_MAX             160

enum session_state {
    SESSION_FREE,
    SESSION_WRITING, /* the event */
    SESSION_CALLED,  /* its node */
    SESSION_JOINED,
};

struct session {
    struct srv_sessions *sessions;
    enum session_state state;
    char id[SYN_ID_MAX];
    char account[SYN_ID_MAX], node[SYN_ID_MAX], instance[SYN_ID_MAX];
    json_t *ask;
    struct syn_http_req *waiting; /* the person's; before JOINED */
    int64_t until_ms;
    unsigned ends; /* tunnels that are open */
};

struct srv_sessions {
    struct syn_server *server;
    struct syn_watch *timer;
    bool quiet;
    atomic_uint records; /* on the pool, or on their way back */
    struct session all[SESSIONS_MAX];
};

static struct session *
find(struct srv_sessions *sessions, const char *id)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (sessions->all[i].state != SESSION_FREE && syn_str_eq(sessions->all[i].id, id))
            return &sessions->all[i];
    }
    return NULL;
}

static void
forget(struct session *session)
{
    json_decref(session->ask);
    *session = (struct session){.sessions = session->sessions};
}

/* The person is told why not. */
static void
refuse(struct session *session, int rc, const struct syn_err *why)
{
    struct syn_http_req *waiting = session->waiting;

    forget(session);
    syn_http_finish(waiting, rc, why);
}

/* --- an event --------------------------------------------------------------------------------- */

/* For the pool, and back. */
struct record {
    struct syn_server *server;
    char session[SYN_ID_MAX], job[SYN_ID_MAX], instance[SYN_ID_MAX];
    char message[2 * WHAT_MAX];
    int rc;
    struct syn_err err;
};

static void
record_free(void *arg)
{
    struct record *record = arg;

    atomic_fetch_sub(&record->server->sessions->records, 1);
    syn_free(record);
}

/* On the loop: it is written down, so the node is told. */
static void
call_node(void *arg)
{
    struct record *record = arg;
    struct syn_server *server = record->server;
    struct session *session = find(server->sessions, record->session);
    struct syn_err err = record->err;
    char prefix[SRV_KEY_MAX];
    SYN_BUF(text);
    int rc = record->rc;

    record_free(record);
    if (session == NULL)
        return;
    if (rc == SYN_OK)
        rc = syn_json_write(session->ask, &text, &err);
    if (rc == SYN_OK && srv_stream_say(server, srv_key(prefix, "instance-on", session->node, ""),
                                       "session", text.data, text.len) == 0)
        rc = SYN_FAIL(&err, SYN_E_UNAVAILABLE, "node %s, where %s runs, is not there just now",
                      session->node, session->instance);
    if (rc < 0) {
        refuse(session, rc, &err);
        return;
    }
    session->state = SESSION_CALLED;
    session->until_ms = syn_mono_ms(server->world) + COME_MS;
}

static int
write_event(struct syn_server *server, struct srv_txn *txn, void *arg, struct syn_err *err)
{
    const struct record *record = arg;
    SYN_JSON(event);
    int rc = syn_json_pack(&event, err, "{s:s, s:s, s:s, s:s}", "type", "session", "reason",
                           "session", "message", record->message, "instance", record->instance);

    return rc < 0 ? rc : srv_event(server, txn, record->job, event, err);
}

static void
record_main(void *arg)
{
    struct record *record = arg;

    record->rc =
        srv_change(record->server, "the session's event", write_event, record, NULL, &record->err);
    /* Where the loop does not take it the session is not found again, and its time runs out. */
    if (syn_loop_post(record->server->loop, call_node, record, record_free, NULL) < 0)
        record_free(record);
}

/* "runs `sh -c ...` in" and so on; what is run may be long, and hold anything. */
static void
describe(const json_t *ask, char *out)
{
    const json_t *argv = json_object_get(ask, "argv");
    size_t len = 0;

    if (syn_str_eq(syn_json_str(ask, "kind", ""), "forward")) {
        (void)snprintf(out, WHAT_MAX, "a connection to port %lld of",
                       (long long)syn_json_i64(ask, "port", 0));
        return;
    }
    for (size_t i = 0; i < json_array_size(argv) && len < WHAT_MAX / 2; i++) {
        const char *word = json_string_value(json_array_get(argv, i));

        len += (size_t)snprintf(out + len, WHAT_MAX - len, "%s%.60s", i > 0 ? " " : "",
                                word != NULL ? word : "");
    }
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)out[i] < ' ')
            out[i] = ' ';
    }
    (void)snprintf(out + len, WHAT_MAX - len, ", run in");
}

static int
record_start(struct session *session, const struct srv_identity *who, const json_t *instance,
             struct syn_err *err)
{
    struct record *record = syn_calloc(1, sizeof(*record));
    char what[WHAT_MAX];
    int rc;

    if (record == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a session");
    record->server = session->sessions->server;
    describe(session->ask, what);
    (void)syn_str_copy(record->session, sizeof(record->session), session->id);
    (void)syn_str_copy(record->instance, sizeof(record->instance), session->instance);
    (void)syn_str_copy(record->job, sizeof(record->job),
                       syn_json_str(syn_document_spec(instance), "job", session->instance));
    (void)snprintf(record->message, sizeof(record->message), "%s %s by %s", what, session->instance,
                   who->token[0] != '\0' ? "a token of its account" : "the operator");
    atomic_fetch_add(&session->sessions->records, 1);
    rc = syn_pool_run(record->server->pool, record_main, record, err);
    if (rc < 0)
        record_free(record);
    return rc;
}

/* --- the person ------------------------------------------------------------------------------- */

static int
find_place(struct srv_sessions *sessions, const char *account, const char *node,
           struct session **ret, struct syn_err *err)
{
    unsigned own = 0, there = 0;
    struct session *found = NULL;

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &sessions->all[i];

        if (session->state == SESSION_FREE) {
            found = found != NULL ? found : session;
            continue;
        }
        own += syn_str_eq(session->account, account);
        there += syn_str_eq(session->node, node);
    }
    if (found == NULL || own >= SESSIONS_ACCOUNT_MAX || there >= SESSIONS_NODE_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT,
                        "%u sessions are open for this account and %u on this node: end one first",
                        own, there);
    *ret = found;
    return SYN_OK;
}

static int
check_ask(const json_t *body, struct syn_err *err)
{
    bool forward = syn_str_eq(syn_json_str(body, "kind", ""), "forward");
    const json_t *argv = json_object_get(body, "argv");

    if (forward && syn_json_i64(body, "port", 0) == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "port: which is missing");
    if (!forward &&
        (json_array_size(argv) == 0 || json_string_length(json_array_get(argv, 0)) == 0))
        return SYN_FAIL(err, SYN_E_INVALID, "argv: what is to be run is missing");
    for (size_t i = 0; i < json_array_size(json_object_get(body, "env")); i++) {
        const char *pair = json_string_value(json_array_get(json_object_get(body, "env"), i));

        if (pair == NULL || pair[0] == '=' || strchr(pair, '=') == NULL)
            return SYN_FAIL(err, SYN_E_INVALID, "env: expected NAME=VALUE");
    }
    return SYN_OK;
}

static int
begin(struct srv_sessions *sessions, struct syn_http_req *req, const json_t *instance,
      struct syn_err *err)
{
    const json_t *spec = syn_document_spec(instance);
    const char *node = syn_json_str(spec, "node", "");
    const char *account = syn_json_str(instance, "account", "");
    struct session *session = NULL;
    int rc = find_place(sessions, account, node, &session, err);

    if (rc < 0)
        return rc;
    (void)syn_make_id(sessions->server->world, "session", session->id);
    (void)syn_str_copy(session->account, sizeof(session->account), account);
    (void)syn_str_copy(session->node, sizeof(session->node), node);
    (void)syn_str_copy(session->instance, sizeof(session->instance), syn_document_id(instance));
    session->ask = json_incref(syn_http_req_json(req));
    rc = syn_json_set_str(session->ask, "session", session->id, err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(session->ask, "instance", session->instance, err);
    if (rc == SYN_OK)
        rc = record_start(session, srv_identity(req), instance, err);
    if (rc < 0) {
        forget(session);
        return rc;
    }
    session->state = SESSION_WRITING;
    session->waiting = req;
    session->until_ms = syn_mono_ms(sessions->server->world) + COME_MS;
    return SYN_HTTP_LATER;
}

static int
check_upgrade(const struct syn_http_req *req, struct syn_err *err)
{
    const char *wanted = syn_http_req_header(req, "upgrade");

    if (wanted == NULL || !syn_str_eq(wanted, PROTOCOL))
        return SYN_FAIL(err, SYN_E_INVALID, "send \"Connection: Upgrade\" and \"Upgrade: %s\"",
                        PROTOCOL);
    return SYN_OK;
}

static int
open_session(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const char *id = syn_http_req_param(req, "id");
    char key[SRV_KEY_MAX], function[SYN_ID_MAX];
    int64_t version;
    SYN_JSON(doc);
    int rc = check_upgrade(req, err);

    if (rc == SYN_OK && !syn_name_ok(id))
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "there is no instance %.60s", id);
    if (rc == SYN_OK)
        rc = srv_need(server, srv_key(key, "instance", id, NULL), "instance", &doc, NULL, err);
    if (rc == SYN_OK)
        rc = srv_own(srv_identity(req), doc, "instance", id, err);
    if (rc == SYN_OK)
        rc = check_ask(syn_http_req_json(req), err);
    if (rc < 0)
        return rc;
    /* Its calls are what is paid for: nobody works in it beside them. */
    if (syn_function_of_service(syn_json_str(syn_document_spec(doc), "job", ""), function,
                                &version))
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s serves the calls of a function alone",
                        id);
    if (!syn_str_eq(syn_document_state(doc), "running"))
        return SYN_FAIL(err, SYN_E_CONFLICT, "instance %s is %s: only running ones can be entered",
                        id, syn_document_state(doc));
    if (server->sessions->quiet)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "the server is stopping");
    return begin(server->sessions, req, doc, err);
}

/* --- the node --------------------------------------------------------------------------------- */

static void
tunnel_ended(void *arg)
{
    struct session *session = arg;

    assert(session->ends > 0);
    session->ends--;
    if (session->ends == 0 && session->waiting == NULL)
        forget(session);
}

/* The person's request becomes a tunnel, and both are joined. */
static int
join(struct session *session, struct syn_http_tunnel *theirs, struct syn_err *err)
{
    struct syn_http_req *waiting = session->waiting;
    struct syn_http_tunnel *ours = NULL;
    int rc = syn_http_tunnel_open(waiting, PROTOCOL, tunnel_ended, session, &ours, err);

    session->waiting = NULL;
    if (rc < 0) {
        syn_http_finish(waiting, rc, err);
        return rc;
    }
    session->ends++;
    session->state = SESSION_JOINED;
    syn_http_tunnel_join(ours, theirs);
    syn_http_finish(waiting, SYN_OK, NULL);
    return SYN_OK;
}

static int
come(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const char *node = syn_http_req_param(req, "id");
    struct session *session = find(server->sessions, syn_http_req_param(req, "session"));
    struct syn_http_tunnel *theirs = NULL;
    int rc = srv_own_node(srv_identity(req), node, err);

    if (rc == SYN_OK)
        rc = check_upgrade(req, err);
    if (rc == SYN_OK &&
        (session == NULL || session->state != SESSION_CALLED || !syn_str_eq(session->node, node)))
        rc = SYN_FAIL(err, SYN_E_NOTFOUND, "nobody waits for that session here");
    if (rc == SYN_OK)
        rc = syn_http_tunnel_open(req, PROTOCOL, tunnel_ended, session, &theirs, err);
    if (rc < 0)
        return rc;
    session->ends++;
    return join(session, theirs, err); /* where it fails, the answer ends our tunnel as well */
}

/* --- life ------------------------------------------------------------------------------------- */

static void
look(void *arg)
{
    struct srv_sessions *sessions = arg;
    int64_t now_ms = syn_mono_ms(sessions->server->world);

    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct session *session = &sessions->all[i];
        struct syn_err err = {0};

        if (session->waiting == NULL)
            continue;
        if (syn_http_req_gone(session->waiting))
            refuse(session, SYN_FAIL(&err, SYN_E_CANCELED, "the client has gone"), &err);
        else if (now_ms > session->until_ms)
            refuse(session,
                   SYN_FAIL(&err, SYN_E_UNAVAILABLE, "node %s does not answer", session->node),
                   &err);
    }
}

int
srv_sessions_new(struct syn_server *server, struct srv_sessions **ret, struct syn_err *err)
{
    struct srv_sessions *sessions = syn_calloc(1, sizeof(*sessions));
    int rc;

    if (sessions == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for sessions");
    sessions->server = server;
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        sessions->all[i].sessions = sessions;
    rc = syn_loop_timer(server->loop, LOOK_MS, LOOK_MS, look, sessions, &sessions->timer, err);
    if (rc < 0) {
        syn_free(sessions);
        return rc;
    }
    *ret = sessions;
    return SYN_OK;
}

void
srv_sessions_quiet(struct srv_sessions *sessions)
{
    if (sessions == NULL)
        return;
    sessions->quiet = true;
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct syn_err err = {0};

        if (sessions->all[i].waiting != NULL)
            refuse(&sessions->all[i], SYN_FAIL(&err, SYN_E_UNAVAILABLE, "the server is stopping"),
                   &err);
    }
}

struct srv_sessions *
srv_sessions_free(struct srv_sessions *sessions)
{
    if (sessions == NULL)
        return NULL;
    sessions->timer = syn_watch_drop(sessions->timer);
    while (atomic_load(&sessions->records) > 0 &&
           syn_loop_turn(sessions->server->loop, 10, NULL) == SYN_OK)
        continue;
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        assert(sessions->all[i].state == SESSION_FREE); /* the HTTP server ended every tunnel */
    syn_free(sessions);
    return NULL;
}

/* --- table ------------------------------------------------------------------------------------ */

static const struct syn_field ask_fields[] = {
    {.name = "kind",
     .kind = SYN_FIELD_STR,
     .choices = "exec|forward",
     .fallback = "\"exec\"",
     .help = "Run a program in the instance, or connect to one of its ports"},
    {.name = "argv",
     .kind = SYN_FIELD_LIST,
     .min = 0,
     .max = WORDS_MAX,
     .help = "exec: the program and its arguments"},
    {.name = "env",
     .kind = SYN_FIELD_LIST,
     .min = 0,
     .max = WORDS_MAX,
     .help = "exec: NAME=VALUE, over the environment of the instance"},
    {.name = "cwd",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = 1024,
     .help = "exec: the folder; that of the instance's program if not given"},
    {.name = "terminal",
     .kind = SYN_FIELD_BOOL,
     .fallback = "false",
     .help = "exec: input and output are a terminal"},
    {.name = "rows",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = 65535,
     .fallback = "24",
     .help = "Of the terminal"},
    {.name = "columns",
     .kind = SYN_FIELD_I64,
     .min = 1,
     .max = 65535,
     .fallback = "80",
     .help = "Of the terminal"},
    {.name = "port", .kind = SYN_FIELD_I64, .min = 1, .max = 65535, .help = "forward: which port"},
};
static const struct syn_schema ask_schema = SYN_SCHEMA("SessionAsk", ask_fields);

static const struct syn_schema come_schema = {"SessionCome", NULL, 0};

static const struct syn_http_route rows[] = {
    {.method = "POST",
     .pattern = "/v1/instances/{id}/sessions",
     .kind = SYN_HTTP_LOOP,
     .scopes = SYN_SCOPE_TENANT,
     .body_max = SRV_BODY_MAX,
     .handler = open_session,
     .body = &ask_schema,
     .name = "instances.session",
     .summary =
         "Run a program in an instance, or connect to a port of it: 101 Switching Protocols"},
    {.method = "POST",
     .pattern = "/v1/nodes/{id}/sessions/{session}",
     .kind = SYN_HTTP_LOOP,
     .scopes = SYN_SCOPE_NODE,
     .body_max = SRV_BODY_MAX,
     .handler = come,
     .body = &come_schema,
     .name = "nodes.session",
     .summary = "An agent comes to a session that it was told of: 101 Switching Protocols"},
};

const struct srv_routes srv_session_routes = {rows, SYN_LEN(rows)};
