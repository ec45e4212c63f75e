/* The gateway of functions: a process of its own that takes requests, calls guests of WebAssembly
 * itself and passes others on to instances, and tells the server what that cost. ADR 44 has what it
 * speaks with the server, ADR 48 how it works. */
#ifndef SYNOR_DAEMON_FUNCTION_GATEWAY_H
#define SYNOR_DAEMON_FUNCTION_GATEWAY_H

#include <synor/base/loop.h>

/** Borrowed for the call; NULL or 0 means the default. */
struct syn_function_gateway_options {
    const char *data_dir;   /* its own: gateway.sock and modules/ are made there */
    const char *server;     /* path of the server's Unix socket */
    const char *listen;     /* "ADDRESS:PORT" for clients; NULL: the Unix socket alone */
    const char *tls_listen; /* the same by TLS 1.3, with certificates that the server gives */
    /** A line for each request of a client goes to this file; "-": standard output; "": access.log
     *  in `data_dir`, which is rotated; NULL, "none": nowhere. */
    const char *access_log;
    const char *wasm_library; /* where Wasmtime is; NULL: where scripts/setup puts it */
    unsigned guest_threads;   /* for guests that are not done at once; 0: 4 */
    int64_t stop_ms;          /* what runs may take after SIGTERM; 0: 10 s */
    const char *log_level;    /* debug, info, warn, error; NULL: info */
    bool log_json;
};

/** Serve until SIGTERM or SIGINT, then finish what runs. SIGHUP opens the access log anew. The
 * process' only entry: it gives up every privilege. Returns the exit status. */
int syn_function_gateway_run(const struct syn_function_gateway_options *options);
/** `synor function-gateway --data-dir DIR --server SOCKET ...`: what a keeper starts. */
int syn_function_gateway_main(int argc, char **argv);

/** Keeps a gateway running: one that ends is started again, later each time. */
struct syn_function_keeper;

struct syn_function_keeper_options {
    struct syn_loop *loop; /* outlives the keeper */
    const char *program;   /* NULL: this one */
    const char *data_dir;
    const char *server;
    const char *listen, *tls_listen;
    const char *access_log;
    const char *log_level;
    bool log_json;
};

/** Start one. Borrows the options for the call. Thread: the loop's, for all of these. Returns 0;
 * NOMEM, or what keeps the program from starting. */
SYN_MUST int syn_function_keeper_new(const struct syn_function_keeper_options *options,
                                     struct syn_function_keeper **ret, struct syn_err *err);
/** The process; 0 while there is none. */
pid_t syn_function_keeper_pid(const struct syn_function_keeper *keeper);
/** Have it finish what runs and tell the last of it, which takes the server's loop: done(arg) is
 * called when it has ended. Not twice. */
void syn_function_keeper_stop(struct syn_function_keeper *keeper, void (*done)(void *arg),
                              void *arg);
/** End it, waiting up to two seconds for one that was not stopped. NULL is fine. Returns NULL. */
struct syn_function_keeper *syn_function_keeper_free(struct syn_function_keeper *keeper);

#endif
