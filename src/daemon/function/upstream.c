/* Requests to instances: HTTP/1.1 on the loop, a connection for each request under way, kept for
 * the next one.
 *
 *     connecting --> sending --> head --> body --> idle --> sending ...
 *          |            |          |        |
 *          |            '----------'        '--- cut: the client sees an incomplete answer
 *          |            no byte came: again, after a pause, if the method allows it; else 502
 *          '--- not sent at all: the instance is left alone for a while, the call waits again
 *
 * An answer that is whole when its head has come goes out in one piece; others are pushed as they
 * come, and nothing is read from an instance whose client does not keep up. */
#include "function_priv.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#define ROUNDS_MAX 16 /* reads of one turn: others wait */
#define KEEP_BYTES 65536

enum framing { NOTHING, LENGTH, CHUNKED, CLOSE };

struct fgw_link {
    struct fgw_link *prev, *next; /* of the instance */
    struct fgw_instance *instance;
    struct fgw_call *call; /* NULL: idle */
    int fd;
    struct syn_watch *watch;
    uint32_t armed;
    int64_t since_ms; /* idle, or connecting */
    bool connecting, got, headed, keep, paused;

    struct syn_buf out; /* head of the request */
    struct iovec rest[2];

    char *in;
    size_t in_len, in_cap, scanned;
    struct syn_http_answer answer;
    enum framing framing;
    int64_t left;
    struct syn_http_chunks chunks;
    char raised[96]; /* the handler's exception */
};

/* --- connections ------------------------------------------------------------------------------ */

static void link_fired(void *arg, int fd, uint32_t events);

static bool
arm(struct fgw_link *link, uint32_t events)
{
    if (link->armed == events)
        return true;
    if (syn_watch_events(link->watch, events, NULL) < 0)
        return false;
    link->armed = events;
    return true;
}

static void
link_close(struct fgw_link *link)
{
    struct fgw_instance *instance = link->instance;

    link->watch = syn_watch_drop(link->watch);
    if (link->fd >= 0)
        (void)close(link->fd);
    if (link->call == NULL)
        instance->idle--;
    *(link->prev != NULL ? &link->prev->next : &instance->links) = link->next;
    if (link->next != NULL)
        link->next->prev = link->prev;
    syn_buf_fini(&link->out);
    syn_free(link->in);
    syn_free(link);
    fgw_instance_check(instance);
}

/* A socket that is connecting, or connected already. */
static int
dial(struct fgw_link *link, struct syn_err *err)
{
    const struct fgw_instance *instance = link->instance;
    const int on = 1;

    link->fd = socket(instance->address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        return SYN_FAIL_SYS(err, errno, "making a socket");
    (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    if (connect(link->fd, (const struct sockaddr *)&instance->address, instance->address_size) == 0)
        return SYN_OK;
    if (errno != EINPROGRESS)
        return SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s: %s", instance->text, strerrordesc_np(errno));
    link->connecting = true;
    return SYN_OK;
}

static int
link_open(struct fgw_call *call, struct fgw_instance *instance, struct fgw_link **ret,
          struct syn_err *err)
{
    struct fgw_link *link = syn_calloc(1, sizeof(*link));
    struct syn_loop *loop = call->gateway->loop;
    int rc;

    if (link == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a connection");
    link->instance = instance;
    link->since_ms = syn_loop_now_ms(loop);
    link->call = call;
    rc = dial(link, err);
    link->armed = link->connecting ? EPOLLOUT : EPOLLIN;
    if (rc == SYN_OK)
        rc = syn_loop_fd(loop, link->fd, link->armed, link_fired, link, &link->watch, err);
    if (rc < 0) {
        if (link->fd >= 0)
            (void)close(link->fd);
        syn_free(link);
        return rc;
    }
    link->next = instance->links;
    if (link->next != NULL)
        link->next->prev = link;
    instance->links = link;
    *ret = link;
    return SYN_OK;
}

static struct fgw_link *
find_idle(struct fgw_instance *instance)
{
    struct fgw_link *link = instance->idle > 0 ? instance->links : NULL;

    while (link != NULL && link->call != NULL)
        link = link->next;
    return link;
}

void
fgw_instance_tidy(struct fgw_instance *instance, bool all)
{
    const int64_t now_ms = syn_loop_now_ms(instance->version->gateway->loop);
    struct fgw_link *next;

    instance->running++; /* it is still looked at */
    for (struct fgw_link *link = instance->links; link != NULL; link = next) {
        next = link->next;
        if (link->call == NULL && (all || now_ms - link->since_ms > FGW_IDLE_MS))
            link_close(link);
    }
    instance->running--;
}

struct fgw_instance *
fgw_instance_pick(struct fgw_version *version)
{
    const int64_t now_ms = syn_loop_now_ms(version->gateway->loop);
    struct fgw_instance *best = NULL;

    for (struct fgw_instance *at = version->instances; at != NULL; at = at->next) {
        if (!at->gone && at->running < (uint64_t)version->concurrency &&
            at->rests_until_ms <= now_ms && (best == NULL || at->running < best->running))
            best = at;
    }
    return best;
}

/* --- the request ------------------------------------------------------------------------------ */

static void
add_header(struct syn_buf *out, const char *name, const char *value)
{
    syn_buf_adds(out, name);
    syn_buf_add(out, ": ", 2);
    syn_buf_adds(out, value);
    syn_buf_add(out, "\r\n", 2);
}

static void
add_number(struct syn_buf *out, const char *name, int64_t number)
{
    char text[24];
    size_t at = sizeof(text) - 1;

    text[at] = '\0';
    do {
        text[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add_header(out, name, text + at);
}

static const char *
tail_of(struct fgw_version *version)
{
    SYN_BUF(text);
    size_t len;

    if (version->tail != NULL)
        return version->tail;
    add_header(&text, "x-synor-function", version->function);
    add_number(&text, "x-synor-version", version->number);
    return syn_buf_take(&text, &version->tail, &len, NULL) < 0 ? NULL : version->tail;
}

static void
add_ours(struct fgw_call *call, struct syn_buf *out, size_t body)
{
    const struct syn_http_peer *peer = syn_http_req_peer(call->req);
    const char *host = syn_http_req_header(call->req, "host");
    const char *verb = syn_http_req_verb(call->req);
    int64_t left_ms = (call->deadline_ns - syn_clock_ns()) / 1000000;

    if (body > 0 || verb[0] == 'P')
        add_number(out, "content-length", (int64_t)body);
    if (!peer->is_unix) {
        add_header(out, "x-forwarded-for", peer->address);
        add_header(out, "x-forwarded-proto", peer->secure ? "https" : "http");
        if (host != NULL)
            add_header(out, "x-forwarded-host", host);
    }
    add_header(out, "x-request-id", syn_http_req_id(call->req));
    add_header(out, "x-synor-invocation", fgw_call_id(call));
    add_number(out, "x-synor-deadline", SYN_MAX(syn_wall_ms(syn_world_system()) + left_ms, 0));
    add_header(out, "x-synor-trigger", fgw_trigger_name(call->trigger));
    if (call->key[0] != '\0')
        add_header(out, "x-synor-key", call->key);
    if (call->subject != NULL)
        add_header(out, "x-synor-subject", call->subject);
}

static int
write_request(struct fgw_call *call, struct fgw_link *link, struct syn_err *err)
{
    struct syn_buf *out = &link->out;
    const char *name;
    const char *value;
    const char *tail = tail_of(call->version);
    size_t path = 0;
    size_t body = 0;
    const char *target = fgw_call_target(call, &path);
    const char *bytes = syn_http_req_body(call->req, &body);

    syn_buf_clear(out);
    syn_buf_adds(out, syn_http_req_verb(call->req));
    syn_buf_adds(out, path > 0 ? " " : " /");
    syn_buf_adds(out, target);
    syn_buf_adds(out, " HTTP/1.1\r\n");
    for (unsigned i = 0; syn_http_req_header_at(call->req, i, &name, &value); i++) {
        if (fgw_call_passes(call, name))
            add_header(out, name, value);
    }
    add_ours(call, out, body);
    if (tail == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a request");
    syn_buf_adds(out, tail);
    syn_buf_add(out, "\r\n", 2);
    link->rest[0] = (struct iovec){out->data, out->len};
    link->rest[1] = (struct iovec){(void *)(uintptr_t)bytes, body};
    return syn_buf_ok(out, err);
}

static bool
unsent(const struct fgw_link *link)
{
    return link->rest[0].iov_len + link->rest[1].iov_len > 0;
}

/* Send what can be sent. False: the connection is broken. */
static bool
send_rest(struct fgw_link *link)
{
    while (unsent(link)) {
        struct msghdr message = {.msg_iov = link->rest,
                                 .msg_iovlen = link->rest[1].iov_len > 0 ? 2 : 1};
        ssize_t sent = sendmsg(link->fd, &message, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0 && errno == EAGAIN)
            return arm(link, EPOLLIN | EPOLLOUT);
        if (sent < 0)
            return false;
        for (size_t i = 0; i < 2 && sent > 0; i++) {
            size_t n = SYN_MIN((size_t)sent, link->rest[i].iov_len);

            link->rest[i].iov_base = (char *)link->rest[i].iov_base + n;
            link->rest[i].iov_len -= n;
            sent -= (ssize_t)n;
        }
    }
    return arm(link, EPOLLIN);
}

static void
link_begin(struct fgw_link *link, struct fgw_call *call)
{
    if (link->call == NULL)
        link->instance->idle--;
    link->call = call;
    link->got = link->headed = link->keep = link->paused = false;
    link->in_len = link->scanned = 0;
    link->raised[0] = '\0';
}

int
fgw_link_start(struct fgw_call *call, struct fgw_instance *instance, struct syn_err *err)
{
    struct fgw_link *link;
    int rc;

    instance->running++; /* it stays while connections are closed */
    for (;;) {
        bool fresh = false;

        link = find_idle(instance);
        rc = SYN_OK;
        if (link == NULL) {
            rc = link_open(call, instance, &link, err);
            fresh = true;
        }
        if (rc < 0 || link == NULL)
            break;
        link_begin(link, call);
        rc = write_request(call, link, err);
        if (rc == SYN_OK && (link->connecting || send_rest(link)))
            break;
        link_close(link);
        if (rc == SYN_OK && fresh)
            rc = SYN_FAIL(err, SYN_E_UNAVAILABLE, "%s broke off", instance->text);
        if (rc < 0)
            break;
    }
    instance->running--;
    if (rc < 0)
        return rc;
    call->link = link;
    fgw_call_placed(call, FGW_PASSED, instance);
    return SYN_OK;
}

/* --- the end ---------------------------------------------------------------------------------- */

void
fgw_link_cut(struct fgw_link *link)
{
    link_close(link); /* its call is set: it was not idle */
}

/* The call leaves the link, which is kept if it is of use. */
static void
link_done(struct fgw_link *link)
{
    struct fgw_instance *instance = link->instance;
    bool keep = link->keep && !unsent(link) && link->in_len == 0 && !instance->gone &&
                instance->idle < FGW_IDLE_MAX && arm(link, EPOLLIN);

    link->call->link = NULL;
    if (!keep) {
        link_close(link);
        return;
    }
    if (link->in_cap > KEEP_BYTES) {
        syn_free(SYN_TAKE(link->in));
        link->in_cap = 0;
    }
    link->call = NULL;
    link->since_ms = syn_loop_now_ms(instance->version->gateway->loop);
    instance->idle++;
}

/* What an instance sent, or did not, is no answer. */
static void
link_fail(struct fgw_link *link, const char *message)
{
    struct fgw_call *call = link->call;
    struct syn_http_req *req = call->req;
    bool begun = call->first_ns != 0;

    call->link = NULL;
    link_close(link);
    if (!begun) {
        fgw_call_fail(call, FGW_UNAVAILABLE, SYN_E_UNAVAILABLE, 502, message);
        return;
    }
    fgw_call_end(call, FGW_UNAVAILABLE, 502, message);
    syn_http_push_cut(req);
}

/* It waits for an instance that takes it; this one is left alone for a while. */
static void
link_back(struct fgw_link *link, int64_t rest_ms)
{
    struct fgw_call *call = link->call;

    link->instance->rests_until_ms = syn_loop_now_ms(call->gateway->loop) + rest_ms;
    call->link = NULL;
    link_close(link);
    fgw_call_back(call);
}

/* Nothing of the request has been seen there. */
static void
link_refused(struct fgw_link *link)
{
    link_back(link, FGW_REST_MS);
}

static bool
idempotent(const char *verb)
{
    return strcmp(verb, "POST") != 0 && strcmp(verb, "PATCH") != 0 && strcmp(verb, "CONNECT") != 0;
}

/* What ails an instance may pass: each pause is twice as long as the one before. */
static void
link_broken(struct fgw_link *link)
{
    struct fgw_call *call = link->call;

    if (!link->got && ++call->broken < FGW_BROKEN_MAX && idempotent(syn_http_req_verb(call->req))) {
        link_back(link, (int64_t)FGW_REST_MS << (call->broken - 1));
        return;
    }
    link_fail(link, link->got ? "the instance broke off in its answer"
                              : "the instance broke off before it answered");
}

void
fgw_link_overdue(struct fgw_call *call)
{
    struct fgw_link *link = call->link;

    if (link != NULL && link->connecting &&
        syn_loop_now_ms(call->gateway->loop) - link->since_ms > FGW_CONNECT_MS)
        link_refused(link);
}

/* --- the answer ------------------------------------------------------------------------------- */

/* "create=1200;initialise=300": how long its start took, in us. */
static void
read_cold(struct fgw_call *call, const char *text)
{
    const char *create = strstr(text, "create=");
    const char *init = strstr(text, "initialise=");

    fgw_start_heard(call, create != NULL ? strtoll(create + 7, NULL, 10) : -1,
                    init != NULL ? strtoll(init + 11, NULL, 10) : -1);
}

static int
copy_headers(struct fgw_link *link, struct syn_err *err)
{
    struct fgw_call *call = link->call;

    for (unsigned i = 0; i < link->answer.header_count; i++) {
        const char *name = link->answer.headers[i].name;
        const char *value = link->answer.headers[i].value;
        int rc;

        if (strcmp(name, "x-synor-cold") == 0)
            read_cold(call, value);
        if (strcmp(name, "x-synor-error") == 0 && link->answer.status == 500)
            (void)syn_str_copy(link->raised, sizeof(link->raised), value);
        if (fgw_header_is_ours(name) || (call->cors && strncmp(name, "access-control-", 15) == 0))
            continue;
        rc = syn_http_reply_header(call->req, name, value, err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

/* The answer is whole: the call ends, well or as the function says. */
static void
end_call(struct fgw_link *link)
{
    struct fgw_call *call = link->call;
    const int status = link->answer.status;
    char text[sizeof(link->raised)];

    (void)syn_str_copy(text, sizeof(text), link->raised);
    link->in_len = 0;
    link_done(link);
    fgw_call_end(call, status >= 500 ? FGW_ERROR : FGW_OK, status, text);
}

static void
finish_pushed(struct fgw_link *link)
{
    struct syn_http_req *req = link->call->req;

    end_call(link);
    syn_http_push_end(req);
}

static void
drained(void *arg)
{
    struct fgw_call *call = arg;
    struct fgw_link *link = call->link;

    if (link == NULL || !link->paused)
        return;
    link->paused = false;
    if (!arm(link, EPOLLIN))
        link_fail(link, "out of memory");
}

/* Hand on what has come of the body. False: the call has ended, or waits for its client. */
static bool
flush(struct fgw_link *link)
{
    struct fgw_call *call = link->call;
    struct syn_http_req *req = call->req;
    struct syn_err err;
    int rc = syn_http_push_flush(req, &err);

    if (rc == SYN_OK)
        return true;
    if (rc == SYN_HTTP_FULL && arm(link, 0)) {
        link->paused = true;
        return false;
    }
    call->link = NULL;
    link_close(link);
    fgw_call_end(call, FGW_DISCONNECTED, 499, "the client went away");
    syn_http_push_cut(req);
    return false;
}

/* 0: more is to come; 1: that was the end; < 0. */
static int
feed(struct fgw_link *link, const char *data, size_t len, size_t *ret_used, struct syn_err *err)
{
    struct fgw_call *call = link->call;
    size_t used = 0;
    bool done = false;
    int rc = SYN_OK;

    while (rc == SYN_OK && used < len && !done) {
        const char *span = data + used;
        size_t size = len - used;
        size_t step = size;

        if (link->framing == LENGTH) {
            size = step = (size_t)SYN_MIN((int64_t)size, link->left);
            link->left -= (int64_t)size;
            done = link->left == 0;
        } else if (link->framing == CHUNKED) {
            rc = syn_http_chunks_feed(&link->chunks, data + used, len - used, &step, &span, &size,
                                      err);
            done = rc == SYN_HTTP_CHUNKS_END;
            rc = done ? SYN_OK : rc;
        }
        call->response_bytes += (int64_t)size;
        if (rc == SYN_OK && call->response_bytes > call->version->response_bytes_max)
            rc = SYN_FAIL(err, SYN_E_TOOBIG, "the function's answer is too large");
        if (rc == SYN_OK)
            rc = syn_http_push_add(call->req, span, size, err);
        used += step;
    }
    *ret_used = used;
    return rc < 0 ? rc : done;
}

/* What is in `in` from `at` on is of the body. False as of flush(). */
static bool
take_body(struct fgw_link *link, size_t at)
{
    struct syn_err err;
    size_t used = 0;
    int rc = feed(link, link->in + at, link->in_len - at, &used, &err);

    if (rc < 0) {
        link_fail(link, err.msg);
        return false;
    }
    if (rc > 0) {
        link->keep = link->keep && used == link->in_len - at;
        finish_pushed(link);
        return false;
    }
    link->in_len = 0;
    return flush(link);
}

/* The whole answer is there, or it has no body. */
static void
finish_at_once(struct fgw_link *link, const char *body, size_t len)
{
    struct fgw_call *call = link->call;
    struct syn_http_req *req = call->req;
    const struct syn_http_answer *answer = &link->answer;
    struct syn_err err;
    int rc = SYN_OK;

    fgw_call_pass(call, answer->status,
                  link->framing == NOTHING && answer->chunked ? -1
                  : link->framing == NOTHING                  ? SYN_MAX(answer->content_length, 0)
                                                              : (int64_t)len);
    if (len > 0)
        rc = syn_http_pass_body(req, body, len, &err);
    if (rc < 0) {
        link_fail(link, err.msg);
        return;
    }
    call->response_bytes = (int64_t)len;
    end_call(link);
    syn_http_finish(req, SYN_OK, NULL);
}

static enum framing
framing_of(const struct fgw_link *link)
{
    const struct syn_http_answer *answer = &link->answer;

    if (strcmp(syn_http_req_verb(link->call->req), "HEAD") == 0 || answer->status == 204 ||
        answer->status == 304)
        return NOTHING;
    if (answer->chunked)
        return CHUNKED;
    return answer->content_length >= 0 ? LENGTH : CLOSE;
}

/* The head has come: [0, head) of `in`. False as of flush(). */
static bool
begin_answer(struct fgw_link *link, size_t head)
{
    struct fgw_call *call = link->call;
    const struct syn_http_answer *answer = &link->answer;
    struct syn_err err = {.msg = ""};
    const size_t there = link->in_len - head;
    int rc;

    link->headed = true;
    link->framing = framing_of(link);
    link->keep = answer->keep_alive && link->framing != CLOSE;
    link->left = answer->content_length;
    link->chunks = (struct syn_http_chunks){0, 0, 0};
    if (link->framing == LENGTH && answer->content_length > call->version->response_bytes_max) {
        link_fail(link, "the function's answer is too large");
        return false;
    }
    rc = copy_headers(link, &err);
    if (rc < 0) {
        link_fail(link, err.msg);
        return false;
    }
    if (link->framing == NOTHING ||
        (link->framing == LENGTH && there >= (uint64_t)answer->content_length)) {
        size_t len = link->framing == NOTHING ? 0 : (size_t)answer->content_length;

        link->keep = link->keep && there == len;
        call->first_ns = syn_clock_ns();
        finish_at_once(link, link->in + head, len);
        return false;
    }
    fgw_call_pass(call, answer->status, link->framing == LENGTH ? answer->content_length : -1);
    rc = syn_http_push_open(call->req, drained, call, &err);
    if (rc < 0) {
        struct syn_http_req *req = call->req;

        call->link = NULL;
        link_close(link);
        fgw_call_end(call, FGW_DISCONNECTED, 499, err.msg);
        syn_http_push_cut(req);
        return false;
    }
    call->first_ns = syn_clock_ns();
    return take_body(link, head);
}

static bool
take_head(struct fgw_link *link)
{
    struct syn_err err;
    size_t head;

    for (;;) {
        head = syn_http_answer_end(link->in, link->in_len, &link->scanned);
        if (head == 0 && link->in_len >= FGW_HEAD_MAX)
            link_fail(link, "the instance's answer has a head that is too large");
        if (head == 0)
            return link->in_len < FGW_HEAD_MAX;
        if (syn_http_answer_parse(link->in, head, &link->answer, &err) < 0) {
            link_fail(link, err.msg);
            return false;
        }
        if (link->answer.status >= 200)
            break;
        if (link->answer.status == 101) {
            link_fail(link, "the instance wants another protocol");
            return false;
        }
        link->in_len -= head; /* "100 Continue", "103 Early Hints" */
        memmove(link->in, link->in + head, link->in_len);
        link->scanned = 0;
    }
    return begin_answer(link, head);
}

/* Room to read into. False: no memory. */
static bool
make_room(struct fgw_link *link)
{
    size_t cap = link->in_cap == 0 ? FGW_READ_BYTES : link->in_cap * 2;
    char *bigger;

    if (link->in_len < link->in_cap)
        return true;
    bigger = syn_realloc(link->in, cap);
    if (bigger == NULL)
        return false;
    link->in = bigger;
    link->in_cap = cap;
    return true;
}

static void
link_read(struct fgw_link *link)
{
    for (int round = 0; round < ROUNDS_MAX; round++) {
        size_t room;
        ssize_t got;

        if (!make_room(link)) {
            link_fail(link, "out of memory");
            return;
        }
        room = link->in_cap - link->in_len;
        got = recv(link->fd, link->in + link->in_len, room, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0 && errno == EAGAIN)
            return;
        if (got == 0 && link->headed && link->framing == CLOSE) {
            finish_pushed(link);
            return;
        }
        if (got <= 0) {
            link_broken(link);
            return;
        }
        link->got = true;
        link->in_len += (size_t)got;
        if (!(link->headed ? take_body(link, 0) : take_head(link)) || (size_t)got < room)
            return;
    }
}

static void
link_fired(void *arg, int fd, uint32_t events)
{
    struct fgw_link *link = arg;
    int error = 0;
    socklen_t size = sizeof(error);

    if (link->call == NULL) { /* its end, or what nobody asked for */
        link_close(link);
        return;
    }
    if (link->connecting) {
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 || error != 0) {
            link_refused(link);
            return;
        }
        link->connecting = false;
        if (!send_rest(link))
            link_broken(link);
        return;
    }
    if ((events & EPOLLOUT) != 0 && unsent(link) && !send_rest(link))
        events |= EPOLLIN; /* perhaps it said why */
    if ((events & (EPOLLIN | EPOLLHUP | EPOLLERR)) != 0)
        link_read(link);
}
