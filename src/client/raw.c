/* Requests whose answer is not the API's own: bytes, headers and a status that are passed on. */
#include <synor/client.h>

#include <ctype.h>
#include <string.h>

#include <synor/base/str.h>

#include "client_priv.h"

#define NAME_MAX_BYTES 128

/* One line of the head, whose end curl leaves on it. An answer before the final one (100, 103) has
 * a head of its own; what it says does not count. */
static size_t
on_line(char *line, size_t size, size_t count, void *arg)
{
    struct syn_exchange *exchange = arg;
    const struct syn_raw_call *call = exchange->on_line_arg;
    size_t len = size * count, name_len = 0;
    char name[NAME_MAX_BYTES];
    SYN_BUF(value);

    (void)curl_easy_getinfo(exchange->client->easy, CURLINFO_RESPONSE_CODE, &exchange->status);
    while (name_len < len && line[name_len] != ':' && name_len < sizeof(name) - 1) {
        name[name_len] = (char)tolower((unsigned char)line[name_len]);
        name_len++;
    }
    if (exchange->status < 200 || name_len == len || line[name_len] != ':')
        return len;
    name[name_len] = '\0';
    for (size_t at = name_len + 1; at < len; at++)
        if (line[at] != '\r' && line[at] != '\n' && (value.len > 0 || line[at] != ' '))
            syn_buf_addc(&value, line[at]);
    exchange->sink_rc = syn_buf_ok(&value, exchange->err);
    if (exchange->sink_rc < 0)
        return 0;
    if (call->passed != NULL && strcmp(name, call->passed) == 0)
        exchange->passed = true;
    if (call->on_header != NULL)
        call->on_header(call->arg, name, syn_buf_text(&value));
    return len;
}

/* Headers of the request; syn_exchange_attempt() frees them. */
static int
add_headers(struct syn_exchange *exchange, const char *const *headers)
{
    for (; headers != NULL && headers[0] != NULL; headers += 2) {
        struct curl_slist *longer;
        SYN_BUF(line);

        for (const char *at = headers[1]; *at != '\0'; at++)
            if ((unsigned char)*at < 0x20 || *at == 0x7F)
                return SYN_FAIL(exchange->err, SYN_E_INVALID, "control character in header %.60s",
                                headers[0]);
        /* curl takes "NAME:" for "leave it out" */
        syn_buf_addf(&line, headers[1][0] != '\0' ? "%s: %s" : "%s;", headers[0], headers[1]);
        longer = syn_buf_ok(&line, NULL) < 0
                     ? NULL
                     : curl_slist_append(exchange->headers, syn_buf_text(&line));
        if (longer == NULL)
            return SYN_FAIL(exchange->err, SYN_E_NOMEM, "out of memory for a request");
        exchange->headers = longer;
    }
    return SYN_OK;
}

int
syn_client_raw(struct syn_client *client, const struct syn_raw_call *call, int *ret_status,
               struct syn_err *err)
{
    bool post = strcmp(call->method, "POST") == 0; /* has a body, be it an empty one */
    const struct syn_call plain = {.method = call->method, .path = call->path};
    struct syn_exchange exchange = {.client = client,
                                    .call = &plain,
                                    .body = call->body != NULL || !post ? call->body : "",
                                    .body_len = call->body_len,
                                    .content_type = call->content_type,
                                    .text_max = SYN_JSON_BYTES_MAX,
                                    .sink = call->sink,
                                    .sink_arg = call->arg,
                                    .on_line = on_line,
                                    .on_line_arg = (void *)(uintptr_t)call,
                                    .err = err};
    int rc = add_headers(&exchange, call->headers);

    if (rc < 0)
        curl_slist_free_all(exchange.headers);
    else
        rc = syn_exchange_attempt(&exchange, NULL, NULL);
    syn_buf_fini(&exchange.text);
    if (rc == SYN_OK)
        *ret_status = (int)exchange.status;
    return rc;
}
