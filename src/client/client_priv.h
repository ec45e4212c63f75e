/* One request of the client, for raw.c, and for what is not done by curl alone (tunnel.c). */
#ifndef SYN_CLIENT_PRIV_H
#define SYN_CLIENT_PRIV_H

#include <curl/curl.h>
#include <stdatomic.h>

#include <synor/base/buf.h>
#include <synor/client.h>

struct syn_client {
    CURLM *multi;
    CURL *easy;
    char *base_url; /* "http://localhost" for sockets */
    char *socket_path;
    char *pin;
    char *ca_path;
    struct curl_slist *headers; /* of every request */
    char *name;                 /* of the target, for messages */
    int64_t connect_ms, answer_ms;
    unsigned retries_max;
    atomic_bool canceled;
    json_t *error;
    char curl_text[CURL_ERROR_SIZE];
};

/* What one request is about, and where its bytes go. */
struct syn_exchange {
    struct syn_client *client;
    const struct syn_call *call;
    bool long_lived; /* transfers and streams: no limit for the whole */
    struct curl_slist *headers;
    /* request body */
    const char *body;
    size_t body_len;
    const char *content_type; /* of `body`; NULL: JSON */
    const struct syn_transfer *upload;
    int64_t sent;
    /* answer */
    long status;
    struct syn_buf text; /* errors, and answers without sink */
    size_t text_max;
    int (*sink)(void *arg, const void *data, size_t len, struct syn_err *err);
    void *sink_arg;
    int sink_rc;
    size_t (*on_line)(char *line, size_t size, size_t count, void *exchange); /* of the head */
    void *on_line_arg;
    bool passed; /* it goes to the sink whatever its status is */
    struct syn_err *err;
    bool connected; /* the request may have reached the server */
};

/** Headers of the request: the client's and its own. */
SYN_MUST int syn_exchange_headers(struct syn_exchange *exchange, const char *range,
                                  const char *last_id);
/** What curl is to know. */
void syn_exchange_options(struct syn_exchange *exchange, const char *url);
/** One attempt. 0 for a status below 400, and for what is passed. Frees the request's headers. */
SYN_MUST int syn_exchange_attempt(struct syn_exchange *exchange, const char *range,
                                  const char *last_id);
/** The error of a request that had no answer. */
int syn_exchange_curl_failed(struct syn_exchange *exchange, CURLcode code);
/** The error that the answer's status and text tell. */
int syn_exchange_server_failed(struct syn_exchange *exchange);

#endif
