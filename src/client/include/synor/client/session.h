/* What goes through a tunnel between a person and a program within an instance: frames.
 *
 *      kind (1 byte)  length (3 bytes, big endian)  bytes
 *
 * IN, IN_END, SIZE and SIGNAL go to the node; OUT, ERR, OUT_END and EXIT come from it. A forwarded
 * connection has IN and OUT, each with its end, and EXIT says why it could not be made. */
#ifndef SYNOR_CLIENT_SESSION_H
#define SYNOR_CLIENT_SESSION_H

#include <stdint.h>

#include <synor/base/buf.h>
#include <synor/client/tunnel.h>

#define SYN_FRAME_MAX       ((size_t)65536) /* bytes of one */
#define SYN_SESSION_OUT_MAX ((size_t)256 << 10)

enum syn_frame_kind {
    SYN_FRAME_IN,      /* input of the program */
    SYN_FRAME_IN_END,  /* there is no more */
    SYN_FRAME_SIZE,    /* of the terminal: rows and columns, two bytes each, big endian */
    SYN_FRAME_SIGNAL,  /* a signal's number, one byte */
    SYN_FRAME_OUT,     /* what it prints */
    SYN_FRAME_ERR,     /* on its standard error, where it has no terminal */
    SYN_FRAME_OUT_END, /* of a forwarded connection: the other side sends no more */
    SYN_FRAME_EXIT,    /* the last: {"exit_code", "message"} */
    SYN_FRAME_KINDS,
};

struct syn_frame {
    enum syn_frame_kind kind;
    const char *data; /* borrowed from what was parsed */
    size_t len;
};

/** Take the frame that begins at data[0]. Returns how many bytes it has; 0: it is not whole yet;
 *  CORRUPT: it is none. */
ptrdiff_t syn_frame_parse(const char *data, size_t len, struct syn_frame *ret, struct syn_err *err);
/** Append one. */
void syn_frame_write(struct syn_buf *out, enum syn_frame_kind kind, const void *data, size_t len);

/** One end of a session. One thread. */
struct syn_session;

/** Owns the tunnel from the call on. */
SYN_MUST int syn_session_new_take(struct syn_tunnel *tunnel, struct syn_session **ret_session,
                                  struct syn_err *err);
/** NULL is fine. Returns NULL. */
struct syn_session *syn_session_free(struct syn_session *session);

/** Bytes that may be queued now: whoever has more reads it later. */
size_t syn_session_room(const struct syn_session *session);
/** Queue a frame. Nothing is sent before syn_session_flush(). */
void syn_session_send(struct syn_session *session, enum syn_frame_kind kind, const void *data,
                      size_t len);
/** The last frame of a program. */
void syn_session_send_exit(struct syn_session *session, int exit_code, const char *message);
/** Send what can be sent. False when the other side is gone. */
bool syn_session_flush(struct syn_session *session);
bool syn_session_flushed(const struct syn_session *session);

#define SYN_SESSION_FRAME 1
#define SYN_SESSION_ENDED 2
/** The next frame, whose bytes are good until the next call. Returns SYN_SESSION_FRAME; 0: none has
 *  come; SYN_SESSION_ENDED; CORRUPT, NOMEM. */
SYN_MUST int syn_session_next(struct syn_session *session, struct syn_frame *ret,
                              struct syn_err *err);
int syn_session_fd(const struct syn_session *session);
/** What to poll for; `reading`: frames are wanted. */
short syn_session_events(const struct syn_session *session, bool reading);

#endif
