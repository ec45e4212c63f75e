/* Documents as server-sent events: an optional snapshot, then every change in order. The store
 * calls on its own thread; each event travels to the loop as a letter, and the stream ends when its
 * client is gone, too slow, or asks for history that is compacted (it lists and watches anew then).
 */
#include <inttypes.h>
#include <stdatomic.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "server_priv.h"

struct stream {
    struct syn_server *server;
    struct syn_http_stream *http;
    struct syn_store_watch *watch;
    struct srv_stream_plan plan;
    char prefix[SRV_KEY_MAX];
    atomic_uint refs;   /* the stream itself and the letters under way */
    atomic_bool missed; /* an event found no way to the loop */
    bool closed;        /* the loop's */
    struct stream *next;
};

#define STREAMS_MAX      1024
#define LOOK_FOR_MISS_MS 1000

/* The open streams; the loop's. One that has missed an event is ended, so that its client comes
 * back and sees everything anew: a stream that goes on with a gap would never tell. */
struct srv_streams {
    struct syn_server *server;
    struct syn_watch *timer;
    struct stream *first;
    unsigned count;
};

static void
end_gapped(void *arg)
{
    const struct srv_streams *streams = arg;

    for (const struct stream *stream = streams->first; stream != NULL; stream = stream->next) {
        if (atomic_load(&stream->missed))
            syn_http_sse_close(stream->http);
    }
}

static void
stream_unref(void *arg)
{
    struct stream *stream = arg;

    if (atomic_fetch_sub(&stream->refs, 1) > 1)
        return;
    syn_free(stream->plan.arg);
    syn_free(stream);
}

struct letter {
    struct stream *stream;
    const struct syn_store_doc *doc;  /* NULL: history was lost */
    const struct syn_store_doc *prev; /* of a deleted one, what it was, or NULL */
    int64_t revision;
    bool gone;
};

static void
letter_free(void *arg)
{
    struct letter *letter = arg;

    (void)syn_store_doc_unref(letter->doc);
    (void)syn_store_doc_unref(letter->prev);
    stream_unref(letter->stream);
    syn_free(letter);
}

/* Send one document, or the one that an index key names. */
static int
send_doc(struct stream *stream, const struct syn_store_doc *doc, int64_t revision, bool gone,
         struct syn_err *err)
{
    const struct srv_stream_plan *plan = &stream->plan;
    char id[24];
    char key[SRV_KEY_MAX];
    SYN_JSON(value);
    SYN_BUF(text);
    int rc = SYN_OK;

    (void)snprintf(id, sizeof(id), "%" PRId64, revision);
    (void)snprintf(key, sizeof(key), "%s", doc->key);
    if (plan->target != NULL)
        (void)snprintf(key, sizeof(key), "%s%s", plan->target, strrchr(doc->key, '/') + 1);
    if (!gone) {
        rc = srv_load(stream->server, key, &value, NULL, err);
        gone = rc == SRV_ABSENT;
    }
    if (gone)
        rc = syn_json_pack(&value, err, "{s:s}", "id", strrchr(key, '/') + 1);
    if (rc < 0)
        return rc;
    if (!gone && plan->seen != NULL && !plan->seen(plan->arg, key, value))
        return SYN_OK;
    rc = syn_json_write(value, &text, err);
    if (rc < 0)
        return rc;
    return syn_http_sse_send(stream->http, id, gone ? plan->delete_event : plan->put_event,
                             text.data, text.len, err);
}

/* May this client hear that the document is gone? It may when it could see it. */
static bool
may_tell(const struct stream *stream, const struct letter *letter)
{
    const struct srv_stream_plan *plan = &stream->plan;
    SYN_JSON(before);

    if (plan->seen == NULL || plan->arg == NULL)
        return true;
    return letter->prev != NULL &&
           syn_json_parse(letter->prev->value, letter->prev->len, &before, NULL) == SYN_OK &&
           plan->seen(plan->arg, letter->prev->key, before);
}

static void
deliver(void *arg)
{
    struct letter *letter = arg;
    struct stream *stream = letter->stream;
    struct syn_err err = {0};
    int rc;

    if (!stream->closed && !atomic_load(&stream->missed)) {
        if (letter->doc == NULL)
            rc = SYN_FAIL(&err, SYN_E_CONFLICT, "history is gone");
        else
            rc = !letter->gone || may_tell(stream, letter)
                     ? send_doc(stream, letter->doc, letter->revision, letter->gone, &err)
                     : SYN_OK;
        if (rc < 0) {
            syn_log_err(SYN_LOG_DEBUG, "watch.ended", &err);
            syn_http_sse_close(stream->http);
        }
    }
    letter_free(letter);
}

static void
on_event(void *arg, const struct syn_store_event *event)
{
    struct stream *stream = arg;
    struct letter *letter = syn_calloc(1, sizeof(*letter));
    struct syn_err err = {0};

    if (letter == NULL) {
        atomic_store(&stream->missed, true);
        return;
    }
    letter->stream = stream;
    letter->doc = event->doc == NULL ? NULL : syn_store_doc_ref(event->doc);
    letter->prev = event->prev == NULL ? NULL : syn_store_doc_ref(event->prev);
    letter->revision = event->revision;
    letter->gone = event->kind == SYN_STORE_EVENT_DELETE;
    atomic_fetch_add(&stream->refs, 1);
    if (syn_loop_post(stream->server->loop, deliver, letter, letter_free, &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "watch.mailbox-full", &err);
        atomic_store(&stream->missed, true);
        letter_free(letter);
    }
}

static void
on_close(void *arg)
{
    struct stream *stream = arg;
    struct srv_streams *streams = stream->server->streams;
    struct stream **slot = &streams->first;

    while (*slot != stream)
        slot = &(*slot)->next;
    *slot = stream->next;
    streams->count--;
    stream->closed = true;
    stream->watch = syn_store_unwatch(stream->server->store, stream->watch);
    stream_unref(stream);
}

static int
send_snapshot(struct stream *stream, int64_t *ret_revision, struct syn_err *err)
{
    struct syn_store_range range = {.prefix = stream->prefix};
    char after[SRV_KEY_MAX];
    bool more = true;
    int rc = syn_http_sse_send(stream->http, NULL, "snapshot", "{}", 2, err);

    *ret_revision = -1;
    while (rc == SYN_OK && more) {
        struct syn_store_page page = {0};

        rc = syn_store_list(stream->server->store, &range, &page, err);
        if (rc == SYN_OK && *ret_revision < 0)
            *ret_revision = page.revision; /* the first page's: later changes are sent again */
        for (size_t i = 0; rc == SYN_OK && i < page.count; i++) {
            rc = send_doc(stream, page.docs[i], page.docs[i]->mod_revision, false, err);
            (void)syn_str_copy(after, sizeof(after), page.docs[i]->key);
        }
        more = page.more;
        range.after = after;
        syn_store_page_fini(&page);
    }
    return rc < 0 ? rc : syn_http_sse_send(stream->http, NULL, "synced", "{}", 2, err);
}

/* Where to go on: Last-Event-ID, or after the snapshot, or from now. */
static int
start_after(struct stream *stream, struct syn_http_req *req, int64_t *ret_after,
            struct syn_err *err)
{
    const char *last = syn_http_req_header(req, "last-event-id");

    if (last != NULL && !stream->plan.snapshot)
        return syn_parse_i64(last, 0, INT64_MAX, "Last-Event-ID", ret_after, err);
    if (stream->plan.snapshot)
        return send_snapshot(stream, ret_after, err);
    return syn_store_revision(stream->server->store, ret_after, err);
}

int
srv_stream(struct syn_server *server, struct syn_http_req *req, const struct srv_stream_plan *plan,
           struct syn_err *err)
{
    struct stream *stream = NULL;
    int64_t after;
    int rc;

    if (server->streams->count < STREAMS_MAX)
        stream = syn_calloc(1, sizeof(*stream));
    if (stream == NULL) {
        syn_free(plan->arg);
        return SYN_FAIL(err, SYN_E_LIMIT, "too many streams are open; try again");
    }
    stream->server = server;
    stream->plan = *plan;
    atomic_init(&stream->refs, 1);
    (void)syn_str_copy(stream->prefix, sizeof(stream->prefix), plan->prefix);
    rc = syn_http_sse_open(req, on_close, stream, &stream->http, err);
    if (rc < 0) {
        stream_unref(stream);
        return rc;
    }
    stream->next = server->streams->first;
    server->streams->first = stream;
    server->streams->count++;
    rc = start_after(stream, req, &after, err);
    if (rc == SYN_OK)
        rc = syn_store_watch(server->store, stream->prefix, after, on_event, stream, &stream->watch,
                             err);
    if (rc == SYN_STORE_COMPACTED)
        (void)!syn_http_sse_send(stream->http, NULL, "compacted", "{}", 2, err);
    else if (rc == SYN_OK)
        return SYN_OK;
    syn_http_sse_close(stream->http);
    return SYN_OK;
}

int
srv_streams_new(struct syn_server *server, struct srv_streams **ret, struct syn_err *err)
{
    struct srv_streams *streams = syn_calloc(1, sizeof(*streams));
    int rc;

    if (streams == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for streams");
    streams->server = server;
    rc = syn_loop_timer(server->loop, LOOK_FOR_MISS_MS, LOOK_FOR_MISS_MS, end_gapped, streams,
                        &streams->timer, err);
    if (rc < 0) {
        syn_free(streams);
        return rc;
    }
    *ret = streams;
    return SYN_OK;
}

struct srv_streams *
srv_streams_free(struct srv_streams *streams)
{
    if (streams == NULL)
        return NULL;
    assert(streams->first == NULL); /* the HTTP server closed every stream before */
    streams->timer = syn_watch_drop(streams->timer);
    syn_free(streams);
    return NULL;
}
