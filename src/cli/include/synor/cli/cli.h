/* The command line client. The binary's main() gives it the daemon's entry points, because the
 * client itself sees only the public API client and base. */
#ifndef SYNOR_CLI_CLI_H
#define SYNOR_CLI_CLI_H

#include <jansson.h>

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

/** What `synor up` and `synor server` were asked for. Strings are borrowed; NULL means not given.
 */
struct syn_cli_up {
    const char *data_dir; /* absolute */
    const char *listen;   /* "127.0.0.1:7700", NULL: Unix socket only */
    const char *key_file; /* --encrypt: AES-256 key file for content at rest, made if absent */
    const char *const *old_key_files; /* --old-key: NULL-ended */
    const char *price_book;           /* file, NULL: the built-in one */
    const char *publish;              /* --publish: "ADDRESS", "ADDRESS:FIRST-LAST", "none" */
    uint16_t http_port, https_port;   /* of the shared fronts; 0: the default */
    const char *function_listen; /* where functions are called; NULL: a free port of this machine */
    const char *function_tls_listen;       /* the same by TLS; NULL: nowhere */
    const char *const *function_tls_certs; /* CERTIFICATE[,KEY], NULL-ended */
    const char *function_access_log;       /* file, "-", "none"; "": one of the platform's own */
    const char *acme_directory, *acme_contact, *acme_ca; /* who gives certificates; NULL: nobody */
    const char *region;
    const char *const *labels; /* "key=value" of a new node, NULL-ended; or NULL */
    int64_t bandwidth_bps;     /* of the node's way out; 0: what its interface says */
    const char *offer; /* prices of a new node, JSON as nodes.change has it; NULL: the book's */
    const char *gpu_sharing;     /* off, time-slice or mps; NULL: off */
    const char *mps_pipes;       /* folder of the pipes of NVIDIA's MPS daemon; NULL: its default */
    const char *runtime;         /* native or container; NULL: native */
    const char *containerd;      /* socket of one that is there; NULL: the node's own */
    const char *dns;             /* of instances: forward, own or off; NULL: forward */
    const char *mesh;            /* where other nodes reach this one's: ADDRESS:PORT, none; NULL */
    const char *service_network; /* of services' virtual addresses; NULL: the usual one */
    const char *log_level;
    int64_t cache_bytes_max; /* of the node's content on disk; 0: its default */
    bool without_key;        /* start although the key of some content is not given */
    bool insecure;           /* plain HTTP on a loopback address */
    bool log_json;
    bool webhook_private;   /* functions may tell their ends to private networks */
    bool namespace_sandbox; /* its provider allows it */
    bool nothing_ahead;     /* no sandboxes are made ahead for functions */
    bool with_agent;        /* up: true; server: false */
    int ready_fd;           /* gets "ready fresh\n", "ready again\n" or "error: ...\n"; or -1 */
};

struct syn_cli_agent {
    const char *data_dir;
    const char *server; /* URL or Unix socket path */
    const char *token;
    const char *fingerprint; /* sha256 of the server's key, or NULL */
    const char *region;
    const char *const *labels; /* "key=value" of a new node, NULL-ended; or NULL */
    int64_t bandwidth_bps;     /* of the node's way out; 0: what its interface says */
    const char *offer; /* prices of a new node, JSON as nodes.change has it; NULL: the book's */
    const char *gpu_sharing; /* off, time-slice or mps; NULL: off */
    const char *mps_pipes;   /* folder of the pipes of NVIDIA's MPS daemon; NULL: its default */
    const char *runtime;     /* native or container; NULL: native */
    const char *containerd;  /* socket of one that is there; NULL: the node's own */
    const char *dns;         /* of instances: forward, own or off; NULL: forward */
    const char *mesh;        /* where other nodes reach this one's: ADDRESS:PORT, none; NULL */
    const char *name;        /* of the node; NULL: the host's */
    const char *log_level;
    int64_t cache_bytes_max; /* of content on disk; 0: the default */
    bool namespace_sandbox;  /* its provider allows it */
    bool nothing_ahead;      /* no sandboxes are made ahead for functions */
    bool log_json;
};

/** A file's text, or so many to be made up. */
struct syn_cli_input {
    const char *name;
    const char *text; /* NULL: made up */
    size_t len;
    uint64_t count;
};

/** What `synor sim` was asked for. Borrowed. */
struct syn_cli_sim {
    struct syn_cli_input nodes;
    struct syn_cli_input workload;
    const char *policy;
    uint64_t seed;
    uint32_t arrivals_percent; /* 0: by the workload's times */
    int64_t mtbf_ms;           /* 0: no failures */
    int64_t repair_ms;
    int64_t notice_ms;
    bool learn;
    bool spot;
    void (*progress)(void *arg, int64_t done, int64_t total);
    void *progress_arg;
};

struct syn_cli_host {
    /** Run until told to stop; returns the exit status. Called in a process of its own (already
     * detached if asked). */
    int (*up)(const struct syn_cli_up *options);
    int (*agent)(const struct syn_cli_agent *options);
    /** Look at this machine; *ret is {"checks": [{id,name,state,detail,fix}], ...}, owned by the
     * caller. */
    int (*doctor)(json_t **ret, struct syn_err *err);
    /** What a containerd that is there needs to be told for the node of `data_dir`; `config`: the
     * text of its configuration. */
    int (*runtime_config)(const char *data_dir, const char *config, struct syn_buf *out,
                          struct syn_err *err);
    /** Simulate a cluster; *ret is the report of docs/sim.md, owned by the caller, `plot` (may be
     * NULL) gets a picture. */
    int (*simulate)(const struct syn_cli_sim *given, json_t **ret, struct syn_buf *plot,
                    struct syn_err *err);
};

/** Run one command line. Returns the exit status: 0 done, 1 failed, 2 wrong usage, 3 cannot be
 * placed, 4 over budget. */
int syn_cli_main(int argc, char **argv, const struct syn_cli_host *host);

#endif
