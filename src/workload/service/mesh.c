#include <synor/workload/service_mesh.h>

#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "mesh_priv.h"

#define TIMEOUT_MAX_MS (INT64_C(24) * 3600 * 1000)
#define RETRIES_MAX    10
#define RATE_MAX       1000000
#define ERRORS_MAX     1000
#define OWN            "own"
#define EVERYBODY      "*"

/* clang-format off */
static const struct syn_field mesh_fields[] = {
    {.name = "allow", .kind = SYN_FIELD_LIST, .min = 0, .max = SYN_MESH_ALLOW_MAX,
     .help = "who may call it: own (all of its account), NAME, ACCOUNT/NAME, ACCOUNT/*, *; default own, [] nobody"},
    {.name = "timeout_ms", .kind = SYN_FIELD_MS, .min = 1, .max = TIMEOUT_MAX_MS,
     .help = "so long a caller waits for the beginning of an answer, then it gets 504; default 60s"},
    {.name = "retries", .kind = SYN_FIELD_I64, .min = 0, .max = RETRIES_MAX,
     .help = "so often a call that no replica took, or an idempotent request that failed, is tried again; default 3"},
    {.name = "retry_budget", .kind = SYN_FIELD_I64, .min = 0, .max = 100,
     .help = "percent of a caller's requests that may be tried again, with 3 a second besides; default 20, 100 any"},
    {.name = "rate", .kind = SYN_FIELD_I64, .min = 1, .max = RATE_MAX,
     .help = "so many requests a second of one caller on one node, then it gets 429; default any"},
    {.name = "errors_max", .kind = SYN_FIELD_I64, .min = 0, .max = ERRORS_MAX,
     .help = "so many errors in a row take a replica, or another node, out for a caller until it takes connections again; default never"},
    {.name = "break_at", .kind = SYN_FIELD_I64, .min = 0, .max = 100,
     .help = "percent of errors among a replica's, or another node's, answers of 10 s that take it out for a caller; 0 none"},
    {.name = "routes", .kind = SYN_FIELD_LIST, .sub = &service_route_schema, .min = 0, .max = SYN_MESH_ROUTES_MAX,
     .help = "requests that go another way than the rest; the first that fits"},
};
/* clang-format on */
const struct syn_schema service_mesh_schema = SYN_SCHEMA("ServiceMesh", mesh_fields);

/* ---- addresses ---- */

bool
syn_mesh_address6(const char *address, char out[SYN_MESH_SIZE6])
{
    const int prefix = (int)strcspn(SYN_MESH_NETWORK6, "/");
    unsigned bytes[4] = {0};
    char high[8] = "", low[8] = "";

    for (size_t i = 0; i < SYN_LEN(bytes); i++) {
        size_t len = strspn(address, "0123456789");

        if (len == 0 || len > 3 || address[len] != (i < 3 ? '.' : '\0'))
            return false;
        for (; len > 0; len--)
            bytes[i] = 10 * bytes[i] + (unsigned)(*address++ - '0');
        if (bytes[i] > UINT8_MAX)
            return false;
        address += i < 3;
    }
    /* In the one form that everybody writes: no zeros in front. */
    if (bytes[0] + bytes[1] > 0)
        (void)snprintf(high, sizeof(high), "%x:", bytes[0] << 8 | bytes[1]);
    if (high[0] != '\0' || bytes[2] + bytes[3] > 0)
        (void)snprintf(low, sizeof(low), "%x", bytes[2] << 8 | bytes[3]);
    (void)snprintf(out, SYN_MESH_SIZE6, "%.*s%s%s", prefix, SYN_MESH_NETWORK6, high, low);
    return true;
}

/* ---- entries ---- */

/* Of whom one speaks. */
struct entry {
    char account[SYN_MESH_ENTRY_MAX + 1]; /* "": any */
    const char *service;                  /* NULL: whatever the account runs */
};

static bool
read_entry(const char *text, const char *own, struct entry *ret)
{
    const char *slash = strchr(text, '/');
    const char *service = slash != NULL ? slash + 1 : text;
    size_t len = slash != NULL ? (size_t)(slash - text) : strlen(own);

    *ret = (struct entry){.account = ""};
    if (syn_str_eq(text, EVERYBODY))
        return true;
    if (len > SYN_MESH_ENTRY_MAX)
        return false;
    memcpy(ret->account, slash != NULL ? text : own, len);
    if (slash == NULL && syn_str_eq(text, OWN))
        return true;
    if (slash != NULL && syn_str_eq(service, EVERYBODY))
        return syn_name_ok(ret->account);
    ret->service = service;
    return syn_name_ok(ret->account) && syn_name_ok(service);
}

int
service_mesh_check(const json_t *spec, bool tcp, struct syn_err *err)
{
    static const char *const of_requests[] = {"timeout_ms", "rate", "retry_budget", "break_at"};
    const json_t *mesh = json_object_get(spec, "mesh");
    const json_t *text;
    size_t i;

    for (i = 0; i < SYN_LEN(of_requests); i++)
        if (tcp && json_object_get(mesh, of_requests[i]) != NULL)
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.mesh.%s: tcp knows no requests; set lb.protocol to http, h2 or "
                            "grpc (or a health check by http)",
                            of_requests[i]);
    json_array_foreach (json_object_get(mesh, "allow"), i, text) {
        struct entry entry;

        if (!read_entry(json_string_value(text), OWN, &entry))
            return SYN_FAIL(err, SYN_E_INVALID,
                            "spec.mesh.allow[%zu]: \"%.130s\": expected own, NAME, ACCOUNT/NAME, "
                            "ACCOUNT/* or *",
                            i, json_string_value(text));
    }
    return service_routes_check(json_object_get(mesh, "routes"), tcp, err);
}

const json_t *
syn_mesh_allow(const json_t *spec)
{
    return json_object_get(json_object_get(spec, "mesh"), "allow");
}

typedef bool fits_fn(const struct entry *entry, const char *account, const void *arg);

/* Is there an entry that fits? */
static bool
any(const json_t *allow, const char *account, fits_fn *fits, const void *arg)
{
    struct entry entry;
    const json_t *text;
    size_t i;

    if (allow == NULL)
        return read_entry(OWN, account, &entry) && fits(&entry, account, arg);
    json_array_foreach (allow, i, text) {
        const char *words = json_string_value(text);

        if (words != NULL && read_entry(words, account, &entry) && fits(&entry, account, arg))
            return true;
    }
    return false;
}

static bool
fits_party(const struct entry *entry, const char *account, const void *arg)
{
    const struct syn_mesh_party *caller = arg;

    (void)account;
    if (entry->account[0] != '\0' && !syn_str_eq(entry->account, caller->account))
        return false;
    return entry->service == NULL ||
           (caller->service != NULL && syn_str_eq(entry->service, caller->service));
}

static bool
fits_account(const struct entry *entry, const char *account, const void *arg)
{
    (void)account;
    return entry->account[0] == '\0' || syn_str_eq(entry->account, arg);
}

static bool
fits_others(const struct entry *entry, const char *account, const void *arg)
{
    (void)arg;
    return !syn_str_eq(entry->account, account);
}

bool
syn_mesh_allows(const json_t *allow, const char *account, const struct syn_mesh_party *caller)
{
    return any(allow, account, fits_party, caller);
}

bool
syn_mesh_allows_account(const json_t *allow, const char *account, const char *caller)
{
    return any(allow, account, fits_account, caller);
}

bool
syn_mesh_is_open(const json_t *allow, const char *account)
{
    return any(allow, account, fits_others, NULL);
}

/* ---- names ---- */

const char *
syn_mesh_name(const struct syn_mesh_party *party, char out[SYN_MESH_NAME_SIZE])
{
    (void)snprintf(out, SYN_MESH_NAME_SIZE, "%s%s%s.mesh",
                   party->service != NULL ? party->service : "", party->service != NULL ? "." : "",
                   party->account);
    return out;
}

const char *
syn_mesh_uri(const char *cluster, const struct syn_mesh_party *party, char out[SYN_MESH_URI_SIZE])
{
    (void)snprintf(out, SYN_MESH_URI_SIZE, "spiffe://%s/account/%s%s%s", cluster, party->account,
                   party->service != NULL ? "/service/" : "",
                   party->service != NULL ? party->service : "");
    return out;
}
