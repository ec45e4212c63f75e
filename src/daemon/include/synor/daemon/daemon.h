/* The daemon's entry points: what `synor up`, `synor server` and `synor agent` run. */
#ifndef SYNOR_DAEMON_DAEMON_H
#define SYNOR_DAEMON_DAEMON_H

#include <synor/base/buf.h>
#include <synor/base/json.h>

/** Strings are borrowed; NULL means not given. */
struct syn_daemon_options {
    const char *data_dir;             /* absolute */
    const char *listen;               /* "127.0.0.1:7700"; NULL: Unix socket only */
    const char *key_file;             /* content at rest is sealed under it */
    const char *const *old_key_files; /* NULL-ended: of content from before */
    const char *price_book;
    const char *publish; /* where services are published; server.h says how */
    uint16_t http_port, https_port;
    const char *acme_directory, *acme_contact, *acme_ca;
    const char *function_listen, *function_tls_listen, *function_access_log; /* server.h says how */
    const char *const *function_tls_certs;
    const char *region;
    const char *const *labels; /* "key=value" of a new node, NULL-ended; or NULL */
    int64_t bandwidth_bps;     /* of the node's way out; 0: what its interface says */
    const char *offer; /* prices of a new node, JSON as nodes.change has it; NULL: the book's */
    const char *gpu_sharing;     /* off, time-slice or mps; NULL: off */
    const char *mps_pipes;       /* folder of the pipes of NVIDIA's MPS daemon; NULL: its default */
    const char *runtime;         /* "native" or "container"; NULL: native */
    const char *containerd;      /* of one that is there, as the operator says; NULL: our own */
    const char *dns;             /* of instances: forward, own or off; NULL: forward */
    const char *mesh;            /* where other nodes reach this one's mesh; agent.h says how */
    const char *service_network; /* of services' virtual addresses; NULL: 10.127.0.0/16 */
    const char *log_level;       /* debug, info, warn, error */
    const char *server;          /* agent alone: whom it serves */
    const char *token;           /* agent alone */
    const char *fingerprint;     /* agent alone */
    const char *name;            /* of the node */
    bool without_key;        /* start although content is sealed under a key that is not given */
    int64_t cache_bytes_max; /* of the agent's content on disk; 0: its default */
    bool insecure;
    bool log_json;
    bool webhook_private;   /* as server.h has it */
    bool nothing_ahead;     /* of the node, likewise */
    bool namespace_sandbox; /* of the node: agent.h says what for */
    bool with_agent;        /* the server brings its own agent */
    int ready_fd;           /* gets "ready\n", or "error: ...\n"; -1: nobody waits */
};

/** What a containerd that is there already lacks to be used by the node of `data_dir`. `config`:
 * the text of its configuration. UNSUPPORTED, NOMEM. */
SYN_MUST int syn_daemon_runtime_config(const char *data_dir, const char *config,
                                       struct syn_buf *out, struct syn_err *err);
/** Run a server (and an agent with it) until SIGTERM or SIGINT. Returns the exit status. */
int syn_daemon_up(const struct syn_daemon_options *options);
/** Run an agent alone until SIGTERM or SIGINT. Returns the exit status. */
int syn_daemon_agent(const struct syn_daemon_options *options);
/** What this machine can run: {"checks": [{id, name, state, detail, fix}], "version"}. Blocks:
 * seconds. */
SYN_MUST int syn_daemon_doctor(json_t **ret, struct syn_err *err);

/** A file's text, or so many to be made up. */
struct syn_daemon_input {
    const char *name;
    const char *text; /* NULL: made up */
    size_t len;
    uint64_t count;
};
/** What `synor sim` is asked for; orchestration/sim.h says what it means. Borrowed. */
struct syn_daemon_sim {
    struct syn_daemon_input nodes;
    struct syn_daemon_input workload;
    const char *policy;
    uint64_t seed;
    uint32_t arrivals_percent;
    int64_t mtbf_ms;
    int64_t repair_ms;
    int64_t notice_ms;
    bool learn;
    bool spot;
    void (*progress)(void *arg, int64_t done, int64_t total);
    void *progress_arg;
};
/** Simulate. `plot` (may be NULL) gets a picture. Blocks: seconds. Returns as syn_sim_run(). */
SYN_MUST int syn_daemon_simulate(const struct syn_daemon_sim *given, json_t **ret,
                                 struct syn_buf *plot, struct syn_err *err);

#endif
