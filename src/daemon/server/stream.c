/* Documents as server-sent events: an optional snapshot, then every change in order. The store
 * calls on its own thread; each event travels to the loop as a letter, and the stream ends when its
 * client is gone, too slow, or asks for history that is compacted (it lists and watches anew then).
 *
 * A snapshot is sent no faster than the client reads it, a page at a time: it may be larger than
 * what is queued for one stream. Changes are heard from its first page's revision on, once it is
 * through; the store keeps them until then. */
#include <inttypes.h>
#include <stdatomic.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "server_priv.h"

struct stream {
    struct syn_server *server;
    struct syn_http_stream *http;
    struct syn_store_watch *watches[SRV_STREAM_PREFIXES_MAX + 1]; /* the last: of plan.beside */
    struct srv_stream_plan plan;
    char filled[SRV_KEY_MAX]; /* last key of the snapshot that was sent */
    unsigned indexes;         /* of the snapshot, that are through */
    int64_t after;            /* changes are sent behind this revision; -1: not known yet */
    bool filling;             /* the snapshot is not through */
    bool beside;              /* and is at plan.beside, its last part */
    atomic_uint refs;         /* the stream itself and the letters under way */
    atomic_bool missed;       /* an event found no way to the loop */
    bool closed;              /* the loop's */
    struct stream *next;
};

#define STREAMS_MAX      1024
#define LOOK_FOR_MISS_MS 1000
#define FILL_PERIOD_MS   10
#define FILL_PAGE        64                /* documents */
#define FILL_BACKLOG_MAX ((size_t)1 << 18) /* bytes that wait for the client */

/* The open streams; the loop's. One that has missed an event is ended, so that its client comes
 * back and sees everything anew: a stream that goes on with a gap would never tell. */
struct srv_streams {
    struct syn_server *server;
    struct syn_watch *timer;
    struct syn_watch *filler; /* while a snapshot waits for its client */
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
    bool fresh; /* there was none before */
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

static bool
is_beside(const struct stream *stream, const char *key)
{
    return stream->plan.beside[0] != '\0' && syn_str_starts(key, stream->plan.beside);
}

/* The key of the document that a change of `key` is told as. */
static void
subject_of(const struct stream *stream, const char *key, char *out)
{
    if (stream->plan.subject != NULL && !is_beside(stream, key))
        stream->plan.subject(key, out);
    else
        (void)snprintf(out, SRV_KEY_MAX, "%s", key);
}

#define UNSEEN 1

/* Send the document that `changed` is about, as it is now. UNSEEN: it may not be told. */
static int
send_doc(struct stream *stream, const char *changed, int64_t revision, bool gone,
         struct syn_err *err)
{
    const struct srv_stream_plan *plan = &stream->plan;
    char id[24];
    char key[SRV_KEY_MAX];
    SYN_JSON(value);
    SYN_BUF(text);
    int rc = SYN_OK;

    (void)snprintf(id, sizeof(id), "%" PRId64, revision);
    subject_of(stream, changed, key);
    if (!gone) {
        rc = srv_load(stream->server, key, &value, NULL, err);
        gone = rc == SRV_ABSENT;
    }
    if (gone && (plan->lasting || (plan->parts && !syn_str_eq(key, changed))))
        return SYN_OK; /* a part of what is gone says nothing new */
    /* First of all: most of what changes is not for most of those who listen. */
    if (rc == SYN_OK && !gone && plan->seen != NULL && !plan->seen(plan->arg, key, value))
        return UNSEEN;
    if (gone)
        rc = syn_json_pack(&value, err, "{s:s}", "id",
                           is_beside(stream, key) ? key + strlen(plan->beside)
                                                  : strrchr(key, '/') + 1);
    else if (rc == SYN_OK && plan->complete != NULL && !is_beside(stream, key))
        rc = plan->complete(stream->server, value, err);
    if (rc < 0)
        return rc;
    rc = syn_json_write(value, &text, err);
    if (rc < 0)
        return rc;
    return syn_http_sse_send(stream->http, id, gone ? plan->delete_event : plan->put_event,
                             text.data, text.len, err);
}

/* May this client hear that the document is gone, or that it sees it no more? It may when it could
 * see it. */
static bool
may_tell(const struct stream *stream, const struct letter *letter)
{
    const struct srv_stream_plan *plan = &stream->plan;
    SYN_JSON(before);

    if (plan->seen == NULL || letter->fresh)
        return plan->seen == NULL;
    if (letter->prev != NULL &&
        syn_json_parse(letter->prev->value, letter->prev->len, &before, NULL) < 0)
        return false;
    return plan->seen(plan->arg, letter->doc->key, before);
}

static int
tell(struct stream *stream, const struct letter *letter, struct syn_err *err)
{
    bool gone = letter->gone && !stream->plan.lasting;
    char key[SRV_KEY_MAX];
    int rc = UNSEEN;

    subject_of(stream, letter->doc->key, key);
    if (key[0] == '\0')
        return SYN_OK;
    /* A part that is gone is a change of what it was a part of. */
    if (!gone || (stream->plan.parts && !syn_str_eq(key, letter->doc->key)))
        rc = send_doc(stream, letter->doc->key, letter->revision, false, err);
    if (rc != UNSEEN)
        return rc;
    return may_tell(stream, letter)
               ? send_doc(stream, letter->doc->key, letter->revision, true, err)
               : SYN_OK;
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
            rc = tell(stream, letter, &err);
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
    letter->fresh = event->prev_revision == 0;
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
    for (size_t i = 0; i < SYN_LEN(stream->watches); i++)
        stream->watches[i] = syn_store_unwatch(stream->server->store, stream->watches[i]);
    stream_unref(stream);
}

/* --- the snapshot ----------------------------------------------------------------------------- */

/* One index of the snapshot is through. False: it was the last one. */
static bool
next_index(struct stream *stream)
{
    struct srv_stream_plan *plan = &stream->plan;

    if (stream->beside)
        return false;
    if (plan->next_index == NULL || !plan->next_index(plan->arg, ++stream->indexes, plan->index)) {
        if (plan->beside[0] == '\0')
            return false;
        stream->beside = true;
    }
    stream->filled[0] = '\0';
    return true;
}

/* The next documents of the snapshot; `filling` ends with the last. */
static int
fill_page(struct stream *stream, struct syn_err *err)
{
    const struct srv_stream_plan *plan = &stream->plan;
    const struct syn_store_range range = {.prefix = stream->beside           ? plan->beside
                                                    : plan->index[0] != '\0' ? plan->index
                                                                             : plan->prefixes[0],
                                          .after =
                                              stream->filled[0] != '\0' ? stream->filled : NULL,
                                          .limit = FILL_PAGE};
    struct syn_store_page page = {0};
    int rc = syn_store_list(stream->server->store, &range, &page, err);

    if (rc == SYN_OK && stream->after < 0)
        stream->after = page.revision; /* the first page's: later changes are sent again */
    for (size_t i = 0; rc == SYN_OK && i < page.count; i++) {
        char key[SRV_KEY_MAX];

        (void)syn_str_copy(stream->filled, sizeof(stream->filled), page.docs[i]->key);
        if (plan->index[0] != '\0' && !stream->beside)
            (void)snprintf(key, sizeof(key), "%s%s", stream->plan.prefixes[0],
                           strrchr(stream->filled, '/') + 1);
        else
            (void)syn_str_copy(key, sizeof(key), stream->filled);
        rc = send_doc(stream, key, stream->after, false, err);
        if (rc == UNSEEN)
            rc = SYN_OK;
    }
    stream->filling = page.more || (rc == SYN_OK && next_index(stream));
    syn_store_page_fini(&page);
    if (rc == SYN_OK && !stream->filling)
        rc = syn_http_sse_send(stream->http, NULL, "synced", "{}", 2, err);
    return rc;
}

static int
begin_watches(struct stream *stream, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SRV_STREAM_PREFIXES_MAX; i++) {
        if (stream->plan.prefixes[i][0] != '\0')
            rc = syn_store_watch(stream->server->store, stream->plan.prefixes[i], stream->after,
                                 on_event, stream, &stream->watches[i], err);
    }
    if (rc == SYN_OK && stream->plan.beside[0] != '\0')
        rc = syn_store_watch(stream->server->store, stream->plan.beside, stream->after, on_event,
                             stream, &stream->watches[SRV_STREAM_PREFIXES_MAX], err);
    return rc;
}

/* Go on with the snapshot as far as the client keeps up; behind it the changes come. */
static void
advance(struct stream *stream)
{
    struct syn_err err = {0};
    int rc = SYN_OK;

    while (rc == SYN_OK && stream->filling &&
           syn_http_sse_backlog(stream->http) <= FILL_BACKLOG_MAX)
        rc = fill_page(stream, &err);
    if (rc == SYN_OK && !stream->filling)
        rc = begin_watches(stream, &err);
    if (rc == SYN_OK)
        return;
    if (rc == SYN_STORE_COMPACTED)
        (void)!syn_http_sse_send(stream->http, NULL, "compacted", "{}", 2, &err);
    else
        syn_log_err(SYN_LOG_DEBUG, "watch.ended", &err);
    stream->filling = false;
    syn_http_sse_close(stream->http);
}

static void
fill_all(void *arg)
{
    struct srv_streams *streams = arg;
    bool more = false;

    for (struct stream *stream = streams->first; stream != NULL; stream = stream->next) {
        if (stream->filling)
            advance(stream);
        more = more || stream->filling;
    }
    if (!more)
        streams->filler = syn_watch_drop(streams->filler);
}

/* What is left of the snapshot is sent as the client reads. */
static int
fill_later(struct srv_streams *streams, struct syn_err *err)
{
    if (streams->filler != NULL)
        return SYN_OK;
    return syn_loop_timer(streams->server->loop, FILL_PERIOD_MS, FILL_PERIOD_MS, fill_all, streams,
                          &streams->filler, err);
}

/* Where to go on: with a snapshot, behind Last-Event-ID, or from now. */
static int
begin(struct stream *stream, struct syn_http_req *req, struct syn_err *err)
{
    const char *last = syn_http_req_header(req, "last-event-id");
    int rc;

    if (last != NULL && !stream->plan.snapshot)
        return syn_parse_i64(last, 0, INT64_MAX, "Last-Event-ID", &stream->after, err);
    if (!stream->plan.snapshot)
        return syn_store_revision(stream->server->store, &stream->after, err);
    stream->filling = true;
    rc = syn_http_sse_send(stream->http, NULL, "snapshot", "{}", 2, err);
    return rc < 0 ? rc : fill_later(stream->server->streams, err);
}

static struct stream *
stream_new(struct syn_server *server, const struct srv_stream_plan *plan)
{
    struct stream *stream = NULL;

    if (server->streams->count < STREAMS_MAX)
        stream = syn_calloc(1, sizeof(*stream));
    if (stream == NULL)
        return NULL;
    stream->server = server;
    stream->plan = *plan;
    stream->after = -1;
    atomic_init(&stream->refs, 1);
    return stream;
}

int
srv_stream(struct syn_server *server, struct syn_http_req *req, const struct srv_stream_plan *plan,
           struct syn_err *err)
{
    struct stream *stream = stream_new(server, plan);
    struct syn_err why = {0};
    int rc;

    if (stream == NULL) {
        syn_free(plan->arg);
        return SYN_FAIL(err, SYN_E_LIMIT, "too many streams are open; try again");
    }
    rc = syn_http_sse_open(req, on_close, stream, &stream->http, err);
    if (rc < 0) {
        stream_unref(stream);
        return rc;
    }
    stream->next = server->streams->first;
    server->streams->first = stream;
    server->streams->count++;
    if (begin(stream, req, &why) < 0) { /* the answer has begun: all that can be said is its end */
        syn_log_err(SYN_LOG_DEBUG, "watch.ended", &why);
        stream->filling = false;
        syn_http_sse_close(stream->http);
    } else {
        advance(stream);
    }
    return SYN_OK;
}

unsigned
srv_stream_say(struct syn_server *server, const char *prefix, const char *event, const char *data,
               size_t len)
{
    unsigned count = 0;

    for (const struct stream *stream = server->streams->first; stream != NULL;
         stream = stream->next) {
        if (syn_str_eq(stream->plan.prefixes[0], prefix) &&
            syn_http_sse_send(stream->http, NULL, event, data, len, NULL) == SYN_OK)
            count++;
    }
    return count;
}

/* Those whose event is this end. */
struct renewal {
    const struct srv_streams *streams;
    const char *event;
};

static void
renew(void *arg)
{
    const struct renewal *renewal = arg;

    for (const struct stream *stream = renewal->streams->first; stream != NULL;
         stream = stream->next) {
        if (syn_str_eq(stream->plan.put_event, renewal->event))
            syn_http_sse_close(stream->http);
    }
    syn_free(arg);
}

int
srv_streams_renew(struct syn_server *server, const char *event, struct syn_err *err)
{
    struct renewal *renewal = syn_calloc(1, sizeof(*renewal));
    int rc;

    if (renewal == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a letter");
    *renewal = (struct renewal){server->streams, event};
    rc = syn_loop_post(server->loop, renew, renewal, syn_free, err);
    if (rc < 0)
        syn_free(renewal);
    return rc;
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
    streams->filler = syn_watch_drop(streams->filler);
    syn_free(streams);
    return NULL;
}
