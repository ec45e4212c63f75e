/* The gateway's insides.
 *
 *   follow.c ---table, as letters---> table.c (functions, versions, instances, routes)
 *                                        |
 *   client --> http --> call.c --route, wait--+--> guest.c    WebAssembly: a tick on the loop, then
 *                          |                  |                threads
 *                          |                  `--> upstream.c  instances: HTTP on the loop
 *                          `--usage, records--> report.c --> the server
 *   door.c: what a route asks of who calls it
 *   key.c: who may call what a key is needed for, and how often
 *   access.c: a line for each request
 *   certs.c: what the TLS listener shows
 *   module.c: code fetched and compiled, on threads of its own
 *
 * Everything is the loop's unless it says otherwise. A call belongs to its request; a version to
 * the table and to its calls. */
#ifndef SYN_DAEMON_FUNCTION_PRIV_H
#define SYN_DAEMON_FUNCTION_PRIV_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>

#include <synor/base/buf.h>
#include <synor/base/json.h>
#include <synor/base/loop.h>
#include <synor/base/map.h>
#include <synor/base/pool.h>
#include <synor/base/world.h>
#include <synor/client.h>
#include <synor/daemon/function_gateway.h>
#include <synor/infra/http_answer.h>
#include <synor/infra/http_pass.h>
#include <synor/wasm/wasm.h>
#include <synor/workload/function_spec.h>

#define FGW_SWEEP_MS         5                  /* between two looks at deadlines */
#define FGW_BODIES_MAX       (INT64_C(1) << 30) /* bytes of all bodies that are kept */
#define FGW_ANSWERS_MAX      (INT64_C(1) << 30) /* bytes of all answers of guests */
#define FGW_GUESTS_A_VERSION 64                 /* of SYN_WASM_INSTANCES: what a version may have */
#define FGW_CONNS_MAX        16384              /* of clients */
#define FGW_LOG_BYTES        65536              /* of one call of a guest */
#define FGW_TABLE_ELEMENTS   10000              /* of a guest's tables */
#define FGW_HEAD_MAX         ((size_t)32 << 10) /* of an instance's answer */
#define FGW_READ_BYTES       ((size_t)16 << 10)
#define FGW_IDLE_MS          4000 /* a connection to an instance; Node ends them after 5 s */
#define FGW_IDLE_MAX         64   /* of one instance */
#define FGW_CONNECT_MS       1000
#define FGW_BUSY_REST_MS     1000 /* one that had no time for its only request */
#define FGW_REST_MS          200  /* an instance that refused a connection is left alone so long */
#define FGW_BROKEN_MAX       4    /* so often an instance may break off before one answers */
#define FGW_SAMPLES_A_SECOND 1    /* of a version that went well */
#define FGW_ODD_A_SECOND     20   /* that did not, or were cold */
/* Of one report, which the server takes up to 4 MiB of. */
#define FGW_RECORDS_MAX    1000
#define FGW_MESSAGE_BYTES  300
#define FGW_LOG_BYTES_MAX  ((size_t)512 << 10)
#define FGW_USAGE_ROWS     2500
#define FGW_REPORT_MS      250
#define FGW_REPORT_IDLE_MS 5000
#define FGW_HISTOGRAM      21
#define FGW_GUEST_THREADS  4
#define FGW_HOSTS_MAX      1024 /* names that have certificates of their own */

enum fgw_trigger {
    FGW_HTTP,
    FGW_INVOKE,
    FGW_SCHEDULE,
    FGW_QUEUE,
    FGW_STORAGE,
    FGW_LEDGER,
    FGW_WEBHOOK,
    FGW_TRIGGERS,
};

enum fgw_status {
    FGW_OK,
    FGW_ERROR, /* the function's */
    FGW_TIMEOUT,
    FGW_MEMORY,
    FGW_REJECTED,     /* the queue was full */
    FGW_UNAVAILABLE,  /* no instance, or it broke off */
    FGW_DISCONNECTED, /* the client went away */
};

/* --- the table -------------------------------------------------------------------------------- */

struct fgw_link;

/* How an instance came. */
enum fgw_way { FGW_COLD, FGW_POOL, FGW_ZYGOTE, FGW_SNAPSHOT, FGW_WAYS };

enum fgw_stage {
    FGW_STAGE_WAIT, /* of the call, for a place */
    FGW_STAGE_SCHEDULE,
    FGW_STAGE_FETCH,
    FGW_STAGE_CREATE,
    FGW_STAGE_RESTORE,
    FGW_STAGE_INITIALISE,
    FGW_STAGE_FIRST_BYTE, /* of the call, from there on */
    FGW_STAGES
};

struct fgw_start {
    bool known;
    enum fgw_way way;
    int64_t stages_us[FGW_STAGES]; /* -1: it did not go through it */
};

/* Of all that came in one way: first calls of instances. */
struct fgw_starts {
    int64_t count, waited; /* waited: those that were there before the instance was */
    struct {
        int64_t count, us;
    } stages[FGW_STAGES];
};

struct fgw_instance {
    struct fgw_instance *next; /* of its version */
    struct fgw_version *version;
    char id[SYN_ID_MAX], node[SYN_ID_MAX];
    char text[64]; /* "10.1.2.3:8080" */
    struct sockaddr_storage address;
    socklen_t address_size;
    unsigned running;       /* requests */
    struct fgw_link *links; /* all connections */
    unsigned idle;          /* of them */
    int64_t rests_until_ms; /* it refused a connection */
    struct fgw_start start;
    int64_t known_ns; /* since when */
    bool served;      /* it had a call */
    bool gone;        /* not in the table any more: goes with its last connection */
    bool seen;        /* while the table is read */
};

enum fgw_state { FGW_PREPARING, FGW_READY, FGW_FAILED };

struct fgw_usage {
    struct fgw_usage *next;
    enum fgw_trigger trigger;
    char node[SYN_ID_MAX];
    int64_t count, errors, throttled, cold;
    uint64_t byte_ms;
    int64_t duration_us;
    int64_t histogram[FGW_HISTOGRAM];
};

struct fgw_call;

struct fgw_version {
    struct fgw *gateway;
    unsigned refs; /* the table, calls, loading, what is to be reported */
    bool wasm, retired, seen;
    char function[SYN_ID_MAX];
    int64_t number;
    json_t *config;          /* what does not change, as it was told */
    const char *code, *path; /* of `config` */
    enum fgw_state state;
    int weight;
    int64_t memory_bytes, timeout_ms, concurrency, max_waiting;
    int64_t request_bytes_max, response_bytes_max, fuel;
    char **environment; /* "NAME=value", NULL-ended; of guests */
    char *tail;         /* header lines that all of its requests to instances have */
    struct fgw_instance *instances;

    /* guests */
    struct syn_wasm_module *module;
    int64_t load_again_ms; /* after a failure that may pass; 0: none */
    enum fgw_state outcome;
    bool loading;
    bool told; /* how that came out is known, in `outcome` */
    bool news; /* and the server has not been told */
    bool turning;
    char message[232];
    unsigned slow; /* how often its guests were not done at once, lately */

    unsigned running, waiting_count;
    struct fgw_call *active, *active_last;         /* that are not answered, oldest first */
    struct fgw_call *waiting, *waiting_last;       /* of them, those without an instance */
    struct fgw_version *active_next, *active_prev; /* versions with such calls */
    struct fgw_version *dirty_next;                /* something of it is to be reported */
    bool is_active, dirty;
    bool load_due; /* its load is to be told, though it is as it was */
    unsigned told_running, told_waiting, samples, odd_samples;
    int64_t sample_second;
    struct fgw_usage *usage;
    struct fgw_starts starts[FGW_WAYS]; /* since the last report */
};

struct fgw_cors {
    const json_t *origins, *headers; /* borrowed of the function's routes */
    bool credentials;
    int64_t max_age_s;
};

struct fgw_route {
    struct fgw_function *function;
    uint32_t methods;
    bool has_cors;
    bool needs_key;
    bool needs_token;
    json_t *hmac; /* NULL, or what a request is signed with; borrowed as the texts of `cors` */
    struct fgw_cors cors;
};

struct fgw_function {
    char id[SYN_ID_MAX], name[SYN_ID_MAX], account[SYN_ID_MAX];
    char state[32], reason[128];
    json_t *route_docs;
    json_t *trust; /* whose tokens its routes take, or NULL */
    struct fgw_route *routes;
    size_t route_count;
    struct fgw_version **versions;
    size_t version_count, version_cap;
    unsigned draw;
    bool seen; /* since the snapshot began */
};

/** Take a function's document, or a key's (whose id has a slash). INVALID: what it lacks. */
SYN_MUST int fgw_table_put(struct fgw *gateway, const json_t *doc, struct syn_err *err);
void fgw_table_remove(struct fgw *gateway, const char *id);
/** All are told from here on; those that are not by fgw_table_synced() are gone. */
void fgw_table_snapshot(struct fgw *gateway);
void fgw_table_synced(struct fgw *gateway);
/** The routes as they are now; NULL: no memory. */
const struct syn_function_routes *fgw_table_routes(struct fgw *gateway);
/** The version that the next request of the function gets; NULL: none is active. */
struct fgw_version *fgw_function_pick(struct fgw_function *function);
struct fgw_version *fgw_function_version(const struct fgw_function *function, int64_t number);
void fgw_function_drop(void *function);

struct fgw_version *fgw_version_ref(struct fgw_version *version);
void fgw_version_unref(struct fgw_version *version);
/** Free one that left the table, once nothing is connected. */
void fgw_instance_check(struct fgw_instance *instance);
/** A method's bit, 0 for one that no route can name. */
uint32_t fgw_method_bit(const char *method);
const char *fgw_method_name(unsigned bit);

/* --- calls ------------------------------------------------------------------------------------ */

enum fgw_place { FGW_ARRIVES, FGW_WAITS, FGW_GUEST, FGW_PASSED, FGW_ENDED };

struct fgw_call {
    struct fgw_call *next; /* of those that are free */
    struct fgw *gateway;
    struct syn_http_req *req;
    struct fgw_version *version;
    struct fgw_function *function; /* until the head has been looked at */
    enum fgw_place place;
    enum fgw_trigger trigger;
    char invocation[SYN_ID_MAX]; /* "": the request's id */
    bool internal;               /* of the server */
    bool preflight, later, gone, cors;
    unsigned broken;        /* how often an instance broke off before it answered */
    char key[SYN_ID_MAX];   /* the name of the one that it came with, or "" */
    const char *key_header; /* what the function does not get, or NULL */
    json_t *hmac;           /* what its body has to be signed with, or NULL; a reference */
    char *subject;          /* of its token, or NULL */
    size_t skip;            /* bytes of the path that are not the function's */
    struct fgw_call *active_prev, *active_next, *wait_prev, *wait_next;

    int64_t arrived_ns, deadline_ns, placed_ns, first_ns, ended_ns;
    int64_t create_us; /* of a guest */
    bool first;        /* of its instance: how that came is in its record */
    bool cold;         /* and the call was there before the instance */
    int64_t answer_counted, response_bytes, memory_bytes;
    uint64_t fuel;
    struct fgw_guest *guest;
    struct fgw_link *link;
    struct fgw_instance *instance; /* where it was passed on, once placed */
};

int fgw_call_head(struct syn_http_req *req, void *ctx, int64_t *ret_body_max, struct syn_err *err);
int fgw_call_serve(struct syn_http_req *req, void *ctx, struct syn_err *err);
const char *fgw_call_id(struct fgw_call *call);
const char *fgw_trigger_name(enum fgw_trigger trigger);
/** Where the path that the function sees begins. */
const char *fgw_call_target(const struct fgw_call *call, size_t *ret_path);
/** It is on its way to `instance` (NULL: to a guest). */
void fgw_call_placed(struct fgw_call *call, enum fgw_place place, struct fgw_instance *instance);
/** It was not taken after all: wait again, before all others, and perhaps be placed at once. */
void fgw_call_back(struct fgw_call *call);
/** How what answers it came: "wasm", "warm", "cold", "pool", "zygote", "snapshot". */
const char *fgw_call_way(const struct fgw_call *call);
/** Begin the answer: syn_http_pass(), and for the server what only it is told. */
void fgw_call_pass(struct fgw_call *call, int status, int64_t len);
/** Note how it ended, and let others have its place. Then it is to be answered. */
void fgw_call_end(struct fgw_call *call, enum fgw_status status, int http_status,
                  const char *message);
/** End it, and answer with an error, of `http` in place of the code's own. */
void fgw_call_fail(struct fgw_call *call, enum fgw_status status, int rc, int http,
                   const char *message);
/** What waits for the version waits in vain. */
void fgw_version_fail(struct fgw_version *version, const char *why);
/** Start what waits, as far as there are places. */
void fgw_version_turn(struct fgw_version *version);
/** It has left the table: what waits goes to `function`'s other versions. */
void fgw_version_leave(struct fgw_version *version, struct fgw_function *function);
/** Deadlines, and instances that are to be tried again. */
void fgw_calls_sweep(void *gateway);
/** Take back the memory that ended calls left. */
void fgw_calls_free(struct fgw *gateway);
/** Is this header one of a connection, or one that only we may set? */
bool fgw_header_is_ours(const char *name);

/* --- keys ------------------------------------------------------------------------------------- */

struct fgw_keys;

/** What is left of calls, in billionths of one, at a time. */
struct fgw_bucket {
    int64_t left, at_ns;
};

void fgw_bucket_fill(struct fgw_bucket *bucket, int64_t burst, int64_t now_ns);
/** Take a call out. False: there is none; a second later there is. */
bool fgw_bucket_take(struct fgw_bucket *bucket, int64_t rate, int64_t burst, int64_t now_ns);

SYN_MUST int fgw_keys_new(struct fgw_keys **ret, struct syn_err *err);
struct fgw_keys *fgw_keys_free(struct fgw_keys *keys);
/** Take a key's document. INVALID: it is none; what was known of it stays. */
SYN_MUST int fgw_keys_put(struct fgw_keys *keys, const json_t *doc, struct syn_err *err);
/** `id` is ACCOUNT/NAME. */
void fgw_keys_remove(struct fgw_keys *keys, const char *id);
/** As fgw_table_snapshot() and fgw_table_synced(). */
void fgw_keys_snapshot(struct fgw_keys *keys);
void fgw_keys_synced(struct fgw_keys *keys);
/** The function is gone: nobody counts its calls. */
void fgw_keys_forget(struct fgw_keys *keys, const char *function);
/** May the call, which is at the function's door, come in? UNAUTHENTICATED: it has no key, or one
 *  that nobody knows; FORBIDDEN: it is for others, or expired; LIMIT: it was used too often. */
SYN_MUST int fgw_keys_admit(struct fgw_call *call, const struct fgw_function *function,
                            struct syn_err *err);
/** Does the function get this header of the request's? */
bool fgw_call_passes(const struct fgw_call *call, const char *header);

/* --- the door --------------------------------------------------------------------------------- */

/** May the call come in, as far as its head says? As fgw_keys_admit(); UNAVAILABLE: what its route
 *  asks for cannot be checked. */
SYN_MUST int fgw_door_head(struct fgw_call *call, const struct fgw_route *route,
                           struct syn_err *err);
/** And now that its body is there? UNAUTHENTICATED. */
SYN_MUST int fgw_door_body(struct fgw_call *call, struct syn_err *err);
/** Give back what the two kept. */
void fgw_door_leave(struct fgw_call *call);

/* --- guests ----------------------------------------------------------------------------------- */

struct fgw_guests;

SYN_MUST int fgw_guests_new(struct fgw *gateway, unsigned threads, struct fgw_guests **ret,
                            struct syn_err *err);
/** Ends the guests that run, and joins the threads. Takes turns of the loop for it. */
struct fgw_guests *fgw_guests_free(struct fgw_guests *guests);
#define FGW_BUSY 3
/** Call the module. Returns 0: answered; SYN_HTTP_LATER; FGW_BUSY: no place; < 0. `later`: the
 * handler has returned already. */
SYN_MUST int fgw_guest_start(struct fgw_call *call, struct syn_err *err);
/** Start guests that wait: a place has become free. */
void fgw_guests_turn(struct fgw *gateway);
/** Have one that runs end soon. */
void fgw_guest_cancel(struct fgw_guest *guest);

/* --- modules ---------------------------------------------------------------------------------- */

/** Have the version's module loaded, if that is not under way. */
void fgw_module_want(struct fgw_version *version);

/* --- instances -------------------------------------------------------------------------------- */

/** One that has a place; NULL: none. */
struct fgw_instance *fgw_instance_pick(struct fgw_version *version);
/** Pass the call on. Returns 0; what kept it from being sent. */
SYN_MUST int fgw_link_start(struct fgw_call *call, struct fgw_instance *instance,
                            struct syn_err *err);
/** Break off: the call has ended. */
void fgw_link_cut(struct fgw_link *link);
/** Close connections that were not used for a while, or (all) every one without a call. */
void fgw_instance_tidy(struct fgw_instance *instance, bool all);
/** One that does not connect in time. */
void fgw_link_overdue(struct fgw_call *call);

/* --- how instances came (start.c) ------------------------------------------------------------- */

/** The instance is new; `doc` is its endpoint's `start`, or NULL. */
void fgw_start_read(struct fgw_instance *instance, const json_t *doc);
/** It says so itself, where the server does not. */
void fgw_start_heard(struct fgw_call *call, int64_t create_us, int64_t init_us);
/** The call is on its way to its instance; or comes back, and was not seen there. */
void fgw_start_placed(struct fgw_call *call);
void fgw_start_back(struct fgw_call *call);
const char *fgw_start_way(const struct fgw_call *call);
/** {stage: us} of the call's record. Owner: *ret is the caller's. */
SYN_MUST int fgw_start_stages(const struct fgw_call *call, json_t **ret, struct syn_err *err);
/** Sum it up, if it is the first of its instance. */
void fgw_start_count(const struct fgw_call *call);
/** Append what is summed up to a report's `starts`. */
SYN_MUST int fgw_starts_tell(const struct fgw_version *version, json_t *list, struct syn_err *err);

/* --- reports ---------------------------------------------------------------------------------- */

struct fgw_reports;

SYN_MUST int fgw_reports_new(struct fgw *gateway, struct fgw_reports **ret, struct syn_err *err);
/** Joins the thread. */
struct fgw_reports *fgw_reports_free(struct fgw_reports *reports);
void fgw_report_call(struct fgw_call *call, enum fgw_status status, int http_status,
                     const char *message);
void fgw_report_log(struct fgw_call *call, enum syn_wasm_level level, const char *line,
                    size_t size);
/** It has left the table, and what was under way there has ended: it may be ended. */
void fgw_report_left(const struct fgw_instance *instance);
/** Its load or its outcome has changed. */
void fgw_report_dirty(struct fgw_version *version);
/** A call waits, and there is no instance: the server hears it at once, however lately it heard
 * something else. */
void fgw_report_lack(struct fgw_version *version);
/** Tell all that there is; done(arg) when the server has answered, or 2 s later. */
void fgw_reports_last(struct fgw_reports *reports, void (*done)(void *arg), void *arg);

/* --- the access log --------------------------------------------------------------------------- */

struct syn_line_log;

/** Have every request of a client written to `path`; "": to the default one, which is rotated here;
 * NULL, "none": nowhere. Before the first listener. */
SYN_MUST int fgw_access_open(struct fgw *gateway, const char *path, struct syn_err *err);
/** A syn_http_done_fn. */
void fgw_access_tell(struct syn_http_req *req, const struct syn_http_done *done, void *ctx);

/* --- certificates ----------------------------------------------------------------------------- */

struct fgw_certs;

SYN_MUST int fgw_certs_new(struct fgw *gateway, struct fgw_certs **ret, struct syn_err *err);
/** Not before the HTTP server is gone. */
struct fgw_certs *fgw_certs_free(struct fgw_certs *certs);
/** Where handshakes are reckoned; NULL without certificates. */
struct syn_pool *fgw_certs_handshakes(const struct fgw_certs *certs);
/** Ask for them, when it is time. */
void fgw_certs_tick(struct fgw *gateway);
/** The table has changed: it is time. */
void fgw_certs_want(struct fgw *gateway);

/* --- the table's thread ----------------------------------------------------------------------- */

struct fgw_follower;

SYN_MUST int fgw_follower_new(struct fgw *gateway, struct fgw_follower **ret, struct syn_err *err);
struct fgw_follower *fgw_follower_free(struct fgw_follower *follower);

/* --- the gateway ------------------------------------------------------------------------------ */

struct fgw {
    struct syn_loop *loop;
    char *data_dir, *server, *wasm_library;
    char listen[80]; /* with its real port; "" */
    int listen_fd;   /* until it is served */
    char tls_listen[80];
    int tls_fd; /* the same, by TLS, once there are certificates */
    struct fgw_certs *certs;
    struct syn_http_server *http;
    struct syn_watch *sweep;
    int64_t swept_ms;

    pthread_mutex_t wasm_lock;
    struct syn_wasm *wasm; /* under `wasm_lock`, once it is needed */
    struct syn_pool *fetchers;
    struct fgw_guests *guests;
    struct fgw_follower *follower;
    struct fgw_reports *reports;

    struct syn_map *functions; /* id -> struct fgw_function */
    struct fgw_keys *keys;
    struct syn_function_routes *routes;
    bool routes_old, synced, stopping;
    bool turning;
    atomic_bool hurry;  /* threads are to end soon */
    bool closing;       /* nothing begins any more */
    unsigned loads_out; /* modules being loaded */
    struct syn_watch *house;
    unsigned guests_out; /* on the threads, or on their way back */

    struct fgw_version *active;
    struct fgw_call *free_calls;
    struct fgw_guest *free_guests;
    int64_t answer_bytes;        /* of guests, that are not out yet */
    struct syn_line_log *access; /* NULL: there is none */
    struct syn_buf access_line;
    int64_t access_s;             /* second of `access_time` */
    char access_time[24];         /* "2026-01-31T12:34:56" */
    void (*on_synced)(void *arg); /* once; may be NULL */
    void *on_synced_arg;
};

/** Where clients come: a bound socket, or -1, and its address. */
struct fgw_socket {
    int fd;
    char address[80];
};

/** Options are borrowed for the call. The sockets are owned from the call on. */
SYN_MUST int fgw_new(struct syn_loop *loop, const struct syn_function_gateway_options *options,
                     const struct fgw_socket *plain, const struct fgw_socket *tls, struct fgw **ret,
                     struct syn_err *err);
/** Begin: the table is followed, and requests are taken once it is known. */
SYN_MUST int fgw_start(struct fgw *gateway, struct syn_err *err);
/** Finish what runs, tell the last of it, then done(arg). */
void fgw_stop(struct fgw *gateway, int64_t limit_ms, void (*done)(void *arg), void *arg);
struct fgw *fgw_free(struct fgw *gateway);
/** The whole table is known: serve. */
void fgw_known(struct fgw *gateway);
/** Refuse system calls that this process never makes, from now on and for all of its threads. */
SYN_MUST int fgw_confine(struct syn_err *err);
/** A client of the server's. */
SYN_MUST int fgw_client(const struct fgw *gateway, unsigned retries_max, struct syn_client **ret,
                        struct syn_err *err);
/** A timer for deadlines, while there are calls. */
void fgw_want_sweep(struct fgw *gateway);

#endif
