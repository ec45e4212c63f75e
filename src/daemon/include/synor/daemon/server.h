/* The control plane: one process that keeps the desired state, decides, and serves the API. */
#ifndef SYNOR_DAEMON_SERVER_H
#define SYNOR_DAEMON_SERVER_H

#include <synor/base/loop.h>

struct syn_server;

/** Borrowed for the call; NULL or 0 means the default. */
struct syn_server_options {
    struct syn_loop *loop;            /* the thread's; outlives the server */
    const char *data_dir;             /* absolute */
    const char *listen;               /* "127.0.0.1:7700", or NULL: Unix socket only */
    const char *key_file;             /* content at rest is sealed under it; made when absent */
    const char *const *old_key_files; /* NULL-ended: of content from before */
    bool without_key;       /* start although content is sealed under a key that is not given */
    const char *price_book; /* file, or NULL: the built-in one */
    const char *region;     /* told in /v1/status */
    bool insecure;          /* plain HTTP, loopback only */
    /** Where services are published: "127.0.0.1", "0.0.0.0:30000-30999"; "none"; NULL: the first,
     *  with ports 30000 to 32767. The shared fronts: 0 is the first port, and the one after. */
    const char *publish;
    uint16_t http_port, https_port;
    /** Who gives certificates (RFC 8555), to whom what it has to say is sent, and the PEM file of
     *  who vouches for it; infra/acme.h says how. NULL: nobody; the system. */
    const char *acme_directory, *acme_contact, *acme_ca;
    const char *service_network; /* of services' virtual addresses; NULL: 10.127.0.0/16 */
    /** Who serves functions, a program that is started as `PROGRAM function-gateway ...`; NULL:
     *  nobody. Where it is called, "127.0.0.1:9080" (port 0: a free one); "none": by the API alone;
     *  NULL: the first free port of this machine from 9080 on, which is kept. And its log. */
    const char *function_program, *function_listen;
    /** The same by TLS, "0.0.0.0:9443"; NULL: nowhere. Certificates of the operator's own, a file
     *  each, or CERTIFICATE,KEY; NULL-ended, or NULL. */
    const char *function_tls_listen;
    const char *const *function_tls_certs;
    /** Of its clients' requests: a file, "-" (standard output), "none"; "", which is the default:
     *  function/access.log in the data folder, rotated. */
    const char *function_access_log;
    const char *log_level;
    bool log_json;
    bool webhook_private; /* functions may tell their ends to private networks and this machine */
};

/** Open the state, make what a first start needs, listen. CONFLICT: another process has this
 * folder. Blocks: tens of ms. */
SYN_MUST int syn_server_new(const struct syn_server_options *options,
                            struct syn_server **ret_server, struct syn_err *err);
/** Stop serving, finish what runs, close the state. Returns NULL. */
struct syn_server *syn_server_free(struct syn_server *server);

/** Socket path and, when listening on TCP, the address with its real port; borrowed. */
const char *syn_server_socket(const struct syn_server *server);
const char *syn_server_listen(const struct syn_server *server);
/** The TLS key's sha256, which clients pin; "" without TLS. */
const char *syn_server_fingerprint(const struct syn_server *server);
/** A token for the agent that lives in the same process tree; made at the first start, kept in the
 * data folder. */
const char *syn_server_join_token(const struct syn_server *server);
/** True when this start made the platform: say hello. */
bool syn_server_fresh(const struct syn_server *server);
/** The operator's account id. */
const char *syn_server_operator(const struct syn_server *server);

#endif
