/* GET /v1/watch: resources of one kind as they change. What may be watched is a table; a kind that
 * is shown with more than its own document holds also watches what that is made of. */
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_priv.h"
#include "server_priv.h"

struct watched {
    const char *kind;
    const char *prefixes[SRV_STREAM_PREFIXES_MAX]; /* the documents; what else changes them */
    const char *index;                             /* PREFIX/ACCOUNT/ID of an account's; or NULL */
    bool lasting;
    bool shared; /* everybody may see all of them */
    bool parts;  /* what else changes them is a part of them */
    void (*subject)(const char *key, char *out);
    int (*complete)(struct syn_server *server, json_t *doc, struct syn_err *err);
};

/* "balance/ID" and "escrow-of/ID/REF" are told as "account/ID". */
static void
account_of(const char *key, char *out)
{
    const char *id = strchr(key, '/') + 1;

    (void)snprintf(out, SRV_KEY_MAX, "account/%.*s", (int)strcspn(id, "/"), id);
}

/* As lists show it: what is used of a quota is summed up for who asks, and changes without end. */
static int
complete_account(struct syn_server *server, json_t *doc, struct syn_err *err)
{
    return srv_account_complete(server, doc, false, err);
}

/* A derived service is told as its function, whose instances it has. */
static void
function_of(const char *key, char *out)
{
    char function[SYN_ID_MAX];
    int64_t version;

    out[0] = '\0';
    if (syn_str_starts(key, "function/"))
        (void)snprintf(out, SRV_KEY_MAX, "%s", key);
    else if (syn_function_of_service(strchr(key, '/') + 1, function, &version))
        (void)snprintf(out, SRV_KEY_MAX, "function/%s", function);
}

static const struct watched table[] = {
    {.kind = "training", .prefixes = {"training"}, .index = "training-of"},
    {.kind = "service", .prefixes = {"service"}, .index = "service-of"},
    {.kind = "function",
     .prefixes = {"function", "service"},
     .index = "function-of",
     .parts = true,
     .subject = function_of,
     .complete = srv_function_complete},
    {.kind = "node", .prefixes = {"node"}, .shared = true},
    {.kind = "account",
     .prefixes = {"account", "balance", "escrow-of"},
     .lasting = true,
     .subject = account_of,
     .complete = complete_account},
    {.kind = "bill", .prefixes = {"bill"}, .index = "bill-of"},
    {.kind = "order", .prefixes = {"order"}, .index = "order-of"},
};

/* Whose and which may be told. */
struct filter {
    char account[SYN_ID_MAX]; /* ""; anybody's */
    char id[SYN_ID_MAX];      /* "": every one */
};

static bool
seen(const void *arg, const char *key, const json_t *doc)
{
    const struct filter *filter = arg;

    return (filter->account[0] == '\0' ||
            syn_str_eq(filter->account, syn_json_str(doc, "account", ""))) &&
           (filter->id[0] == '\0' || syn_str_eq(filter->id, strrchr(key, '/') + 1));
}

/* Only those of `account`, if one is named; a caller that may not see all of a kind sees its own.
 */
static int
make_filter(struct syn_server *server, struct syn_http_req *req, const struct watched *watched,
            struct filter *ret, struct syn_err *err)
{
    const struct srv_identity *who = srv_identity(req);
    const json_t *query = syn_http_req_query_json(req);
    const char *account = syn_json_str(query, "account", "");
    const char *id = syn_json_str(query, "id", "");
    int rc = SYN_OK;

    *ret = (struct filter){.account = ""};
    if (id[0] != '\0' && (!syn_name_ok(id) || !syn_str_copy(ret->id, sizeof(ret->id), id)))
        return SYN_FAIL(err, SYN_E_INVALID, "id: \"%.60s\" is no id", id);
    if (account[0] != '\0')
        rc = srv_account_find(server, who, account, ret->account, err);
    else if (!who->is_operator && !watched->shared)
        (void)syn_str_copy(ret->account, sizeof(ret->account), who->account);
    return rc;
}

static void
make_plan(const struct watched *watched, const struct filter *filter, struct srv_stream_plan *plan)
{
    for (size_t i = 0; i < SRV_STREAM_PREFIXES_MAX && watched->prefixes[i] != NULL; i++)
        (void)srv_key(plan->prefixes[i], watched->prefixes[i], filter->id, NULL);
    if (watched->index != NULL && filter->account[0] != '\0' && filter->id[0] == '\0')
        (void)srv_key(plan->index, watched->index, filter->account, "");
    plan->lasting = watched->lasting;
    plan->parts = watched->parts;
    plan->subject = watched->subject;
    plan->complete = watched->complete;
}

static int
get_watch(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    const char *kind = syn_json_str(syn_http_req_query_json(req), "kind", "");
    const struct watched *watched = NULL;
    struct srv_stream_plan plan = {.put_event = "put", .delete_event = "delete", .seen = seen};
    struct filter filter;
    int rc;

    for (size_t i = 0; i < SYN_LEN(table); i++) {
        if (syn_str_eq(table[i].kind, kind))
            watched = &table[i];
    }
    assert(watched != NULL); /* the schema names the same kinds */
    rc = make_filter(ctx, req, watched, &filter, err);
    if (rc < 0)
        return rc;
    make_plan(watched, &filter, &plan);
    plan.snapshot = syn_http_req_header(req, "last-event-id") == NULL;
    plan.arg = syn_calloc(1, sizeof(filter));
    if (plan.arg == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a stream");
    *(struct filter *)plan.arg = filter;
    return srv_stream(ctx, req, &plan, err);
}

static const struct syn_field watch_fields[] = {
    {.name = "kind",
     .kind = SYN_FIELD_STR,
     .choices = "training|service|function|node|account|bill|order",
     .required = true,
     .help = "What to watch"},
    {.name = "id",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = SYN_ID_MAX - 1,
     .fallback = "\"\"",
     .help = "Only this one"},
    {.name = "account",
     .kind = SYN_FIELD_STR,
     .min = 0,
     .max = SYN_ID_MAX - 1,
     .fallback = "\"\"",
     .help = "Only those of this account; `me` is the caller's"},
};
static const struct syn_schema watch_schema = SYN_SCHEMA("WatchQuery", watch_fields);

static const struct syn_http_route rows[] = {
    {.method = "GET",
     .pattern = "/v1/watch",
     .kind = SYN_HTTP_LOOP,
     .flags = SYN_HTTP_EVENTS,
     .scopes = SYN_SCOPE_READ,
     .handler = get_watch,
     .query = &watch_schema,
     .name = "watch",
     .summary = "Resources as they are, and as they change"},
};

const struct srv_routes srv_watch_routes = {rows, SYN_LEN(rows)};
