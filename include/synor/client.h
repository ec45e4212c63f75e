/* A client of the HTTP API: blocking calls with JSON in and out, uploads, downloads, event streams.
 *
 * One client per thread; it keeps its connection between calls. Only syn_client_cancel() may be
 * called from elsewhere. The server's error documents come back as errors with the code they name.
 */
#ifndef SYNOR_CLIENT_H
#define SYNOR_CLIENT_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/base/json.h>

struct syn_client;

#define SYN_CLIENT_PATH_MAX    8192
#define SYN_CLIENT_BACKOFF_MS  100               /* before the first retry; doubled each time */
#define SYN_CLIENT_BACKOFF_MAX 5000              /* ms */
#define SYN_CLIENT_EVENT_MAX   ((size_t)4 << 20) /* bytes of one event */

/** Everything but `target` may be left 0. Texts are copied. */
struct syn_client_options {
    const char *target; /* "/path/to.sock", "unix:/path", "http://host:port", "https://host:port" */
    const char *token;  /* bearer token */
    const char *account;     /* act for this account (operators) */
    const char *fingerprint; /* pin the server's key: 64 hexadecimal digits, see tls_cert.h; then no
                                CA is asked */
    const char *ca_path;     /* PEM of the authorities to trust instead of the system's */
    int64_t connect_ms;      /* 0: 5 s */
    int64_t answer_ms;       /* 0: 60 s for a call; transfers and streams: 60 s without a byte */
    unsigned retries_max;    /* of calls that may be repeated, while the server cannot be reached */
};

/** INVALID names the option that is wrong. Does not connect. */
SYN_MUST int syn_client_new(const struct syn_client_options *options,
                            struct syn_client **ret_client, struct syn_err *err);
struct syn_client *syn_client_free(struct syn_client *client);
void syn_client_free_scope(struct syn_client **slot);

/** Have the running call return CANCELED soon, and every later one at once. Any thread, also a
 * signal handler. */
void syn_client_cancel(struct syn_client *client);

/** Percent-encode `text` behind what is in `out`: for one path segment or query value. */
void syn_client_escape(struct syn_buf *out, const char *text);

/** One call. Everything but `method` and `path` may be 0. */
struct syn_call {
    const char *method;
    const char *path; /* "/v1/training?limit=10", encoded */
    const json_t *body;
    const char *idempotency_key; /* makes a POST repeatable */
    const char *if_match;        /* revision */
};

/** Call and wait. *ret_answer (may be NULL) is the answer's document, owned by the caller; JSON
 * null for an answer without body. Returns 0; the server's code; UNAVAILABLE, TIMEOUT, FORBIDDEN
 * (wrong key or certificate), CANCELED, CORRUPT (the answer is no JSON). */
SYN_MUST int syn_client_call(struct syn_client *client, const struct syn_call *call,
                             json_t **ret_answer, struct syn_err *err);
/** The error document of the last call, with `hint` and `details`; NULL when there was none.
 * Borrowed until the next call. */
const json_t *syn_client_error(const struct syn_client *client);

/** One request whose body and answer are bytes as they are. */
struct syn_raw_call {
    const char *method;
    const char *path;
    const char *const *headers; /* name, value, ..., NULL; or NULL */
    const char *content_type;   /* of the body */
    const void *body;
    size_t body_len;
    /** An answer with this header is somebody else's, passed on: it is no error whatever its status
     * is. Lower case. */
    const char *passed;
    void (*on_header)(void *arg, const char *name, const char *value); /* name in lower case */
    int (*sink)(void *arg, const void *data, size_t len, struct syn_err *err);
    void *arg;
};
/** Call once, never again by itself: the answer's headers go to `on_header`, then its body to
 * `sink` as it comes. *ret_status is that of the answer. Fails as syn_client_call() does, and with
 * what the sink returned. */
SYN_MUST int syn_client_raw(struct syn_client *client, const struct syn_raw_call *call,
                            int *ret_status, struct syn_err *err);

/** Progress of a transfer: bytes done of `total` (-1: unknown). */
typedef void (*syn_client_progress_fn)(void *arg, int64_t done, int64_t total);

/** Send a file's bytes as the body of a request. */
struct syn_transfer {
    const char *method; /* uploads: "PUT" when NULL */
    const char *path;
    int fd;
    int64_t offset;                  /* where to start in the file */
    int64_t len;                     /* uploads: how much */
    syn_client_progress_fn progress; /* may be NULL */
    void *progress_arg;
};

/** Never repeated by itself: ask the server where to go on, and call again from there. */
SYN_MUST int syn_client_upload(struct syn_client *client, const struct syn_transfer *transfer,
                               json_t **ret_answer, struct syn_err *err);
/** Write a body to `fd` from `offset` on, asking for the bytes from `offset` on when it is not 0.
 *  *ret_received (may be NULL) is set also on failure: what is in the file now.
 *  CORRUPT when the server sends another range. */
SYN_MUST int syn_client_download(struct syn_client *client, const struct syn_transfer *transfer,
                                 int64_t *ret_received, struct syn_err *err);
/** Hand a body to `sink` as it comes; a sink that returns < 0 ends the call with that code. */
SYN_MUST int syn_client_read(struct syn_client *client, const char *path,
                             int (*sink)(void *arg, const void *data, size_t len,
                                         struct syn_err *err),
                             void *arg, struct syn_err *err);

/** One server-sent event; texts are valid during the callback. */
struct syn_event {
    const char *id;   /* "" when it has none */
    const char *name; /* "message" when it has none */
    const char *data; /* zero-terminated */
    size_t len;
};

#define SYN_CLIENT_STOP 1
/** Read a stream of events until `on_event` returns SYN_CLIENT_STOP (then 0 is returned) or < 0
 * (forwarded). A broken stream is taken up again behind the last event that had an id, with
 * back-off; `retries_max` failures in a row end it. `last_id` may be NULL. */
SYN_MUST int syn_client_follow(struct syn_client *client, const char *path, const char *last_id,
                               int (*on_event)(void *arg, const struct syn_event *event,
                                               struct syn_err *err),
                               void *arg, struct syn_err *err);

#endif
