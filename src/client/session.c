#include <synor/client/session.h>

#include <poll.h>

#include <synor/base/mem.h>

#define HEAD_BYTES 4
#define READ_BYTES 65536

struct syn_session {
    struct syn_tunnel *tunnel;
    struct syn_buf in, out;
    size_t in_at, out_at;
    bool ended, gone;
};

/* --- frames ----------------------------------------------------------------------------------- */

ptrdiff_t
syn_frame_parse(const char *data, size_t len, struct syn_frame *ret, struct syn_err *err)
{
    const unsigned char *head = (const unsigned char *)data;
    size_t bytes;

    if (len < HEAD_BYTES)
        return 0;
    bytes = (size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3];
    if (head[0] >= SYN_FRAME_KINDS || bytes > SYN_FRAME_MAX)
        return SYN_FAIL(err, SYN_E_CORRUPT, "a session's bytes make no sense");
    if (len < HEAD_BYTES + bytes)
        return 0;
    *ret = (struct syn_frame){(enum syn_frame_kind)head[0], data + HEAD_BYTES, bytes};
    return (ptrdiff_t)(HEAD_BYTES + bytes);
}

void
syn_frame_write(struct syn_buf *out, enum syn_frame_kind kind, const void *data, size_t len)
{
    assert(len <= SYN_FRAME_MAX);
    syn_buf_addc(out, (char)kind);
    syn_buf_addc(out, (char)(len >> 16 & 0xff));
    syn_buf_addc(out, (char)(len >> 8 & 0xff));
    syn_buf_addc(out, (char)(len & 0xff));
    syn_buf_add(out, data, len);
}

/* --- a session -------------------------------------------------------------------------------- */

int
syn_session_new_take(struct syn_tunnel *tunnel, struct syn_session **ret_session,
                     struct syn_err *err)
{
    struct syn_session *session = syn_calloc(1, sizeof(*session));

    if (session == NULL) {
        (void)syn_tunnel_close(tunnel);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a session");
    }
    session->tunnel = tunnel;
    *ret_session = session;
    return SYN_OK;
}

struct syn_session *
syn_session_free(struct syn_session *session)
{
    if (session == NULL)
        return NULL;
    (void)syn_tunnel_close(session->tunnel);
    syn_buf_fini(&session->in);
    syn_buf_fini(&session->out);
    syn_free(session);
    return NULL;
}

size_t
syn_session_room(const struct syn_session *session)
{
    size_t queued = session->out.len - session->out_at + HEAD_BYTES;

    return queued < SYN_SESSION_OUT_MAX ? SYN_SESSION_OUT_MAX - queued : 0;
}

void
syn_session_send(struct syn_session *session, enum syn_frame_kind kind, const void *data,
                 size_t len)
{
    syn_frame_write(&session->out, kind, data, len);
}

void
syn_session_send_exit(struct syn_session *session, int exit_code, const char *message)
{
    SYN_JSON(doc);
    SYN_BUF(text);

    if (syn_json_pack(&doc, NULL, "{s:i, s:s}", "exit_code", exit_code, "message", message) < 0 ||
        syn_json_write(doc, &text, NULL) < 0)
        return; /* no memory: the session ends without */
    syn_session_send(session, SYN_FRAME_EXIT, text.data, text.len);
}

bool
syn_session_flush(struct syn_session *session)
{
    if (syn_buf_ok(&session->out, NULL) < 0)
        session->gone = true;
    while (!session->gone && session->out_at < session->out.len) {
        ptrdiff_t n = syn_tunnel_send(session->tunnel, session->out.data + session->out_at,
                                      session->out.len - session->out_at);

        if (n == SYN_TUNNEL_AGAIN)
            return true;
        session->gone = n < 0;
        session->out_at += n > 0 ? (size_t)n : 0;
    }
    syn_buf_clear(&session->out);
    session->out_at = 0;
    return !session->gone;
}

bool
syn_session_flushed(const struct syn_session *session)
{
    return session->out_at == session->out.len;
}

/* Read once. True when something came. */
static bool
fill(struct syn_session *session)
{
    char *room;
    ptrdiff_t got;

    if (session->in_at > 0) {
        session->in.len -= session->in_at;
        memmove(session->in.data, session->in.data + session->in_at, session->in.len);
        session->in_at = 0;
    }
    room = syn_buf_reserve(&session->in, READ_BYTES);
    if (room == NULL)
        return false;
    got = syn_tunnel_recv(session->tunnel, room, READ_BYTES);
    session->in.len += got > 0 ? (size_t)got : 0;
    session->ended = got == 0 || got == SYN_TUNNEL_GONE;
    return got > 0;
}

int
syn_session_next(struct syn_session *session, struct syn_frame *ret, struct syn_err *err)
{
    do {
        ptrdiff_t n = session->in.len == session->in_at
                          ? 0
                          : syn_frame_parse(session->in.data + session->in_at,
                                            session->in.len - session->in_at, ret, err);

        if (n < 0)
            return (int)n;
        session->in_at += (size_t)n;
        if (n > 0)
            return SYN_SESSION_FRAME;
    } while (!session->ended && fill(session));
    if (session->ended)
        return SYN_SESSION_ENDED;
    return syn_buf_ok(&session->in, err);
}

int
syn_session_fd(const struct syn_session *session)
{
    return syn_tunnel_fd(session->tunnel);
}

short
syn_session_events(const struct syn_session *session, bool reading)
{
    return (short)((reading ? POLLIN : POLLRDHUP) | (syn_session_flushed(session) ? 0 : POLLOUT));
}
