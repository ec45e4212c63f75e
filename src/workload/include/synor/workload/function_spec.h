/* What a tenant asks for when deploying a function: the shape of the spec, its defaults, its
 * cross-field rules, and a quick way to read a spec that passed them. Pure. */
#ifndef SYNOR_WORKLOAD_FUNCTION_SPEC_H
#define SYNOR_WORKLOAD_FUNCTION_SPEC_H

#include <synor/base/json.h>
#include <synor/base/schema.h>
#include <synor/base/zone.h>
#include <synor/orchestration/cost.h>

#define SYN_FUNCTION_TRIGGERS_MAX    32
#define SYN_FUNCTION_WARMUPS_MAX     8
#define SYN_FUNCTION_ENV_MAX         256
#define SYN_FUNCTION_ENV_BYTES_MAX   4096 /* names and values together, as others have it */
#define SYN_FUNCTION_SECRETS_MAX     64
#define SYN_FUNCTION_INSTANCES_MAX   64
#define SYN_FUNCTION_CONCURRENCY_MAX 1000
#define SYN_FUNCTION_TIMEOUT_MAX_MS  INT64_C(900000)
#define SYN_FUNCTION_HANDLER_MAX     128
#define SYN_FUNCTION_REF_MAX         512 /* synor:// */
#define SYN_FUNCTION_PATH_MAX        512 /* of a route */
#define SYN_FUNCTION_METHODS_MAX     9
#define SYN_FUNCTION_BODY_MAX_BYTES  (INT64_C(64) << 20)
#define SYN_FUNCTION_PAYLOAD_MAX_BYTES                         \
    65536 /* of an event that is kept: asynchronous, scheduled \
           */
#define SYN_FUNCTION_WAITING_MAX 10000
/** Memory that comes with one core. */
#define SYN_FUNCTION_CORE_BYTES (INT64_C(2) << 30)

/** The spec of POST /v1/functions. */
extern const struct syn_schema syn_function_spec_schema;

/** What runs it. */
enum syn_function_runtime {
    SYN_FUNCTION_WASM,
    SYN_FUNCTION_PYTHON,
    SYN_FUNCTION_NODE,
    SYN_FUNCTION_RUBY,
    SYN_FUNCTION_JAVA,    /* classes or a jar that speak HTTP on $PORT */
    SYN_FUNCTION_COMMAND, /* a compiled program that speaks HTTP on $PORT: c, rust, go */
    SYN_FUNCTION_CUSTOM,  /* an image that does */
};

/** A runtime by its name. */
struct syn_function_language {
    enum syn_function_runtime runtime;
    const char *name;    /* as nodes tell it: "python", "node", "ruby", "java"; "": it needs none */
    const char *program; /* of the node: "python3", "node"; "" where it needs none */
    unsigned major;      /* of it that is wanted: 3, 20; 0: any */
    unsigned minor;      /* 11; 0: any, or nobody looks */
};

/**
 * What a runtime's name stands for: "wasm", "python3", "python311", "node", "node20", "ruby",
 * "java17", "rust", "go", "c", "custom:IMAGE".
 *
 * Returns 0; SYN_E_INVALID with all that there are, and for those that are known elsewhere
 * ("dotnet8") with what to do instead.
 */
SYN_MUST int syn_function_language(const char *name, struct syn_function_language *ret,
                                   struct syn_err *err);

/** Whether its handlers are called by a program of the platform's, which also finds a layer. */
bool syn_function_is_script(enum syn_function_runtime runtime);

/**
 * Check a spec in place: units become integers, defaults are filled in. What passed passes again
 * unchanged. `synor://` references and names are only checked for their form; zones of schedules
 * against `zones`, unless that is NULL.
 *
 * Returns 0; SYN_E_INVALID naming the key, the value and what is allowed; SYN_E_NOMEM. On failure
 * `spec` may be half converted.
 */
SYN_MUST int syn_function_spec_check(json_t *spec, const struct syn_zone_source *zones,
                                     struct syn_err *err);

/** A checked spec, read. All pointers are borrowed from the JSON. */
struct syn_function_spec {
    const char *runtime; /* as given */
    struct syn_function_language language;
    const char *image;   /* CUSTOM: of "custom:IMAGE"; else "" */
    const char *handler; /* "" for wasm, compiled programs and images */
    const char *code;    /* "synor://..."; "" for images */
    const char *layer;   /* "synor://..." of what the code depends on; "": nothing */
    int64_t memory_bytes;
    int64_t gpus; /* of an instance, for as long as it is ready */
    const char *gpu_model;
    int64_t cpu_millicores;
    int64_t scratch_bytes;
    int64_t timeout_ms;
    int64_t idle_ms;       /* an instance that had nothing to do for so long ends */
    int64_t concurrency;   /* requests of one instance at a time */
    int64_t min_instances; /* ready though nobody calls: they are paid for */
    int64_t max_instances;
    int64_t max_waiting; /* requests that wait for an instance; more are refused */
    int64_t request_bytes_max;
    int64_t response_bytes_max;
    int64_t fuel; /* wasm: instructions of one call, about; 0: as many as the time allows */
    const json_t *env;
    const json_t *secrets;
    const json_t *triggers;
    const char *region;
    enum syn_isolation isolation;
    bool snapstart;     /* instances go on from a snapshot, where their node has one */
    int64_t max_budget; /* of a billing period; 0: as much as the account has */
    int64_t billing_ms;
    bool suspended; /* by its owner */
    bool prewarm;   /* by when it was called */
};

void syn_function_spec_read(const json_t *spec, struct syn_function_spec *ret);
/** Would a version of the one be a version of the other? Triggers, money and `suspended` are not in
 * versions: a change of them counts at once. */
bool syn_function_spec_same(const json_t *a, const json_t *b);
/** Give `spec` what belongs to no version as `function` has it: both are specs. */
SYN_MUST int syn_function_spec_keep(json_t *spec, const json_t *function, struct syn_err *err);

/* --- schedules (warm.c) ---------------------------------------------------------------------- */

/** How many instances the spec's warm-up schedules keep ready at the time. It may be another number
 *  from *ret_until_ms on; INT64_MAX: never. A schedule whose zone is not known here keeps none. */
int64_t syn_function_warmup_at(const json_t *spec, const struct syn_zone_source *zones,
                               int64_t at_ms, int64_t *ret_until_ms);
/** When one of them begins next after the time; 0: never. */
int64_t syn_function_warmup_next(const json_t *warmup, const struct syn_zone_source *zones,
                                 int64_t after_ms);
/** When schedules of its triggers call it first after the time; 0: never. */
int64_t syn_function_fire(const json_t *spec, const struct syn_zone_source *zones,
                          int64_t after_ms);

/* --- routes of HTTP triggers ---------------------------------------------------------------------
 *
 * A pattern is a path of segments: literal text, `{name}` (one segment), and last `{name*}` (what
 * is left, also nothing). Of two that fit the more exact wins: compared segment by segment, literal
 * before `{name}` before `{name*}`. A route with a host is more exact than one for any. */

/** Check a pattern. INVALID names what is wrong with it. */
SYN_MUST int syn_function_pattern_check(const char *pattern, struct syn_err *err);
/** Do the two fit the same paths, whatever their names are? Such routes exclude each other. */
bool syn_function_pattern_same(const char *a, const char *b);

struct syn_function_routes; /* a table of patterns; immutable lookups from many threads */

/** What a path was found as. */
struct syn_function_match {
    void *target;     /* as it was added */
    uint32_t methods; /* UNSUPPORTED: those of what fits */
    unsigned count;
    struct {
        const char *name; /* of the pattern; ends before its brace */
        size_t name_size;
        const char *value; /* of the path, as it was sent */
        size_t value_size;
    } params[16];
};

SYN_MUST int syn_function_routes_new(struct syn_function_routes **ret, struct syn_err *err);
struct syn_function_routes *syn_function_routes_free(struct syn_function_routes *routes);
/** Add a checked pattern; `host` "" is any, else lower case. `methods` is a mask that the caller
 * gives meaning. EXISTS: the same pattern, host and one of the methods are there. */
SYN_MUST int syn_function_routes_add(struct syn_function_routes *routes, const char *host,
                                     const char *pattern, uint32_t methods, void *target,
                                     struct syn_err *err);
/**
 * Find the target of a request. Percent-encoding is not decoded: `%2F` does not part segments.
 *
 * Returns 0; SYN_E_NOTFOUND: no pattern fits; SYN_E_UNSUPPORTED: some do, for other methods, whose
 * mask is in ret->methods. There is no `err`.
 */
SYN_MUST int syn_function_routes_find(const struct syn_function_routes *routes, const char *host,
                                      size_t host_size, const char *path, size_t path_size,
                                      uint32_t method, struct syn_function_match *ret);

/* --- price ----------------------------------------------------------------------------------- */

#define SYN_FUNCTION_ITEM_CALLS       "function:invocations"
#define SYN_FUNCTION_ITEM_COMPUTE     "function:compute"
#define SYN_FUNCTION_ITEM_PROVISIONED "function:provisioned"
#define SYN_FUNCTION_ITEM_HTTP        "function:http"
#define SYN_FUNCTION_ITEM_EVENTS      "function:events"

/** So many ms of a call are charged: the time rounded up to a whole one, at least one. */
int64_t syn_function_billed_ms(int64_t duration_ns);

#endif
