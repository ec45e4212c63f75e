/* A gRPC client over HTTP/2 without TLS, for servers on the same machine: unary calls and calls
 * that stream replies. Messages are bytes here; who calls knows what is in them.
 *
 * One connection carries every call of a client, and is made when the first one needs it. When it
 * breaks, the calls on it fail with UNAVAILABLE and the next call makes a new one. A call that the
 * server surely has not seen is sent again by itself. */
#ifndef SYNOR_INFRA_GRPC_H
#define SYNOR_INFRA_GRPC_H

#include <synor/base/buf.h>
#include <synor/base/core.h>
#include <synor/base/err.h>

#define SYN_GRPC_ADDRESS_MAX       ((size_t)128)
#define SYN_GRPC_HEADERS_MAX       4
#define SYN_GRPC_HEADER_MAX        ((size_t)128)
#define SYN_GRPC_CALLS_MAX         64 /* of one client at a time */
#define SYN_GRPC_MESSAGE_BYTES_MAX ((size_t)16 << 20)
#define SYN_GRPC_END               1 /* the stream is over, and all went well */

struct syn_grpc;      /* a client of one server */
struct syn_grpc_call; /* one request and what is answered to it */

/** Metadata that every call carries. The name is in lower case. */
struct syn_grpc_header {
    const char *name, *value;
};

struct syn_grpc_options {
    const char *address;      /* "unix:/run/x.sock", or "tcp:127.0.0.1:4000" with a number */
    int64_t connect_ms;       /* default 5 s */
    size_t message_bytes_max; /* of one reply; default 4 MiB */
    const struct syn_grpc_header *headers;
    size_t headers_count;
};

/** Check and copy the options; nothing is connected yet.
 *  Returns 0; INVALID, NOMEM. */
SYN_MUST int syn_grpc_new(const struct syn_grpc_options *options, struct syn_grpc **ret_grpc,
                          struct syn_err *err);
/** Speak over this connected stream socket, which does not block: nothing has to be connected for
 *  the first calls, and syn_grpc_begin() does not block. Owns `fd` from the call on, also on
 *  failure. Before any call. Returns 0; NOMEM. */
SYN_MUST int syn_grpc_adopt_take(struct syn_grpc *grpc, int fd, struct syn_err *err);
/** Every call must have ended. NULL is fine. Returns NULL. */
struct syn_grpc *syn_grpc_free(struct syn_grpc *grpc);

/**
 * Call `method` ("/package.Service/Method") with one message, take exactly one reply.
 *
 * Thread: one at a time for a client and its calls. Blocks: until it is answered, at most
 * `timeout_ms`, which the server is told too; meanwhile other calls of this client go on.
 * Returns 0 (the message is appended to `reply`); what the server answers, by its status
 * (NOT_FOUND gives NOTFOUND, ...); UNAVAILABLE, TIMEOUT, TOOBIG (over the options' limit), CORRUPT
 * (no gRPC, or not one message), LIMIT, NOMEM.
 */
SYN_MUST int syn_grpc_ask(struct syn_grpc *grpc, const char *method, const struct syn_buf *request,
                          int64_t timeout_ms, struct syn_buf *reply, struct syn_err *err);

/** Begin a call whose replies are taken one by one. `timeout_ms` < 0: it may last for ever.
 *  Owner: *ret_call is the caller's, until syn_grpc_end(). Blocks: to connect, if need be. */
SYN_MUST int syn_grpc_begin(struct syn_grpc *grpc, const char *method,
                            const struct syn_buf *request, int64_t timeout_ms,
                            struct syn_grpc_call **ret_call, struct syn_err *err);
/** Wait for the next reply, at most `wait_ms` (< 0: as long as the call may last), and append it to
 *  `reply`. What is not taken the server may not send: the buffers are bounded. With 0 it does what
 *  can be done at once: so a call is looked after from a loop that polls the socket.
 *  Returns 0; SYN_GRPC_END; TIMEOUT (after `wait_ms` it may be called again); as of syn_grpc_ask().
 */
SYN_MUST int syn_grpc_next(struct syn_grpc_call *call, int64_t wait_ms, struct syn_buf *reply,
                           struct syn_err *err);
/** Done with it; one that has not ended is cancelled. NULL is fine. Returns NULL. */
struct syn_grpc_call *syn_grpc_end(struct syn_grpc_call *call);

#endif
