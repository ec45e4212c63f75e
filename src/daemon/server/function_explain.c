/* Why a function is as it is: what its newest version waits for or failed of, and for a program
 * what there is to say of its pool. */
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>
#include <synor/orchestration/document.h>

#include "function_prewarm_priv.h"

#define SENTENCE_MAX 400
#define ADDRESS_MAX  300
#define STARTS_MAX   8 /* of instances */

static int
add_why(json_t *answer, const char *dimension, const char *message, struct syn_err *err)
{
    json_t *row = NULL;
    int rc = syn_json_pack(&row, err, "{s:s, s:n, s:n, s:n, s:s}", "dimension", dimension, "node",
                           "need", "have", "message", message);

    return rc < 0 ? rc : syn_json_append_take(json_object_get(answer, "why"), row, err);
}

static int
add_fix(json_t *answer, const char *text, struct syn_err *err)
{
    return syn_json_append_take(json_object_get(answer, "fix"), json_string(text), err);
}

/* What is told of the service that runs a version is told of the function; commands of services are
 * of no use to who does not see it. */
static int
add_pool(struct syn_server *server, const json_t *service, json_t *answer, struct syn_err *err)
{
    json_t *fix = json_object_get(answer, "fix");
    SYN_JSON(pool);
    json_t *item;
    size_t i;
    int rc = srv_service_explain(server, service, &pool, err);

    if (rc == SYN_OK &&
        json_array_extend(json_object_get(answer, "why"), json_object_get(pool, "why")) != 0)
        rc = SYN_FAIL(err, SYN_E_NOMEM, "explaining: out of memory");
    json_array_foreach (json_object_get(pool, "fix"), i, item) {
        if (rc == SYN_OK && strstr(json_string_value(item), "compute service") == NULL)
            rc = syn_json_append_take(fix, json_incref(item), err);
    }
    return rc;
}

/* How the instances came that there are. */
static int
add_starts(const json_t *service, json_t *answer, struct syn_err *err)
{
    static const char *const stages[] = {"schedule", "fetch", "create", "restore", "initialise"};
    const json_t *endpoint;
    size_t i;
    int rc = SYN_OK;

    json_array_foreach (syn_json_at(service, "status.endpoints"), i, endpoint) {
        const json_t *start = json_object_get(endpoint, "start");
        const char *note = syn_json_str(start, "note", "");
        SYN_BUF(text);

        if (start == NULL || rc < 0 || i >= STARTS_MAX)
            continue;
        syn_buf_addf(&text, "%s came %s", syn_json_str(endpoint, "instance", "?"),
                     syn_json_str(start, "way", "?"));
        for (size_t k = 0; k < SYN_LEN(stages); k++) {
            int64_t us = syn_json_i64(json_object_get(start, "stages_us"), stages[k], -1);

            if (us >= 0)
                syn_buf_addf(&text, ", %s %lld.%lld ms", stages[k], (long long)(us / 1000),
                             (long long)(us % 1000 / 100));
        }
        if (note[0] != '\0')
            syn_buf_addf(&text, " (%s)", note);
        rc = syn_buf_ok(&text, err);
        if (rc == SYN_OK)
            rc = add_why(answer, "start", syn_buf_text(&text), err);
    }
    return rc;
}

static int
why_version(struct syn_server *server, const json_t *version, const json_t *services,
            json_t *answer, struct syn_err *err)
{
    const char *state = syn_json_str(version, "state", ""),
               *why = syn_json_str(version, "message", "");
    const json_t *service = json_object_get(services, syn_json_str(version, "service", ""));
    bool module = syn_json_str(version, "service", "")[0] == '\0';
    char sentence[SENTENCE_MAX], address[ADDRESS_MAX];
    int rc;

    srv_function_address(server, false, address, sizeof(address));
    (void)snprintf(sentence, sizeof(sentence), "version %lld is %s%s%s",
                   (long long)syn_json_i64(version, "version", 0), state,
                   why[0] != '\0' ? ": " : "", why);
    rc = add_why(answer, "version", sentence, err);
    if (rc == SYN_OK && module && syn_str_eq(state, "preparing"))
        rc = add_why(answer, "gateway",
                     address[0] != '\0'
                         ? "the gateway has to say that its module is compiled"
                         : "the gateway, which compiles modules, has not said yet that it is there",
                     err);
    if (rc == SYN_OK && service != NULL)
        rc = add_pool(server, service, answer, err);
    return rc < 0 || service == NULL ? rc : add_starts(service, answer, err);
}

/* What its owner can do. */
static int
add_fixes(const json_t *function, json_t *answer, struct syn_err *err)
{
    static const struct {
        const char *state, *reason, *before, *after; /* the function's name between */
    } rows[] = {
        {"", "version-failed", "read what it logged: synor compute function logs ", ""},
        {"suspended", "user", "synor compute function resume ", ""},
        {"suspended", "funds", "put more into the account of ", ""},
        {"suspended", "budget", "deploy ",
         " with a higher --max-budget, or wait for its next billing period"},
    };
    const json_t *status = json_object_get(function, "status");

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char text[SENTENCE_MAX];

        if (!syn_str_eq(rows[i].reason, syn_json_str(status, "reason", "")) ||
            (rows[i].state[0] != '\0' && !syn_str_eq(rows[i].state, syn_document_state(function))))
            continue;
        (void)snprintf(text, sizeof(text), "%s%s%s", rows[i].before,
                       syn_json_str(function, "name", ""), rows[i].after);
        return add_fix(answer, text, err);
    }
    return SYN_OK;
}

/* What is ready before it is called, and why. */
static int
add_prewarm(struct syn_server *server, const json_t *function, json_t *answer, struct syn_err *err)
{
    char text[SRV_PREWARM_SAY_MAX];
    struct srv_prewarm prewarm;
    int rc = srv_prewarm_look(server, function, syn_wall_ms(server->world), &prewarm, err);

    if (rc < 0 || !prewarm.has_pool)
        return rc;
    srv_prewarm_say(&prewarm, text);
    return add_why(answer, "prewarm", text, err);
}

int
srv_function_explain(struct syn_http_req *req, void *ctx, struct syn_err *err)
{
    struct syn_server *server = ctx;
    const json_t *status, *version;
    int64_t revision = 0;
    SYN_JSON(function);
    SYN_JSON(versions);
    SYN_JSON(services);
    SYN_JSON(answer);
    size_t i;
    int rc = srv_work_load(server, &srv_function, req, &function, &revision, err);

    if (rc == SYN_OK)
        rc = srv_function_versions(server, syn_document_id(function), &versions, err);
    if (rc == SYN_OK)
        rc = srv_function_services(server, versions, &services, err);
    if (rc < 0)
        return rc;
    status = json_object_get(function, "status");
    rc = syn_json_pack(&answer, err, "{s:s, s:s, s:s, s:s, s:[], s:[]}", "id",
                       syn_document_id(function), "state", syn_document_state(function), "reason",
                       syn_json_str(status, "reason", ""), "message",
                       syn_json_str(status, "message", ""), "why", "fix");
    if (rc == SYN_OK)
        rc = add_why(answer, "state", syn_json_str(status, "message", "?"), err);
    json_array_foreach (versions, i, version)
        if (rc == SYN_OK &&
            syn_json_i64(version, "version", 0) == syn_json_i64(status, "target", 0))
            rc = why_version(server, version, services, answer, err);
    if (rc == SYN_OK)
        rc = add_prewarm(server, function, answer, err);
    if (rc == SYN_OK)
        rc = add_fixes(function, answer, err);
    return rc < 0 ? rc : syn_http_reply_json(req, 200, answer, err);
}
