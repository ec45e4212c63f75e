/* What of gRPC is only bytes: addresses, message frames, statuses. Pure. */
#ifndef SYNOR_INFRA_GRPC_PRIV_H
#define SYNOR_INFRA_GRPC_PRIV_H

#include <sys/socket.h>

#include <synor/infra/grpc.h>

#define GRPC_FRAME_HEAD  ((size_t)5)
#define GRPC_FRAME_MORE  1
#define GRPC_MESSAGE_MAX 192

/** Where a server is. */
struct grpc_address {
    struct sockaddr_storage where;
    socklen_t len;
};

/** "unix:/path" or "tcp:NUMBER:PORT", an IPv6 number in brackets. INVALID. */
SYN_MUST int grpc_address_parse(const char *text, struct grpc_address *ret, struct syn_err *err);

/** The five bytes before a message of `len` bytes. */
void grpc_frame_head(size_t len, uint8_t ret[GRPC_FRAME_HEAD]);
/** Is there a whole message at the start of data[len]? Returns 0 (*ret_len: its bytes, which follow
 *  the head); GRPC_FRAME_MORE; TOOBIG over `max`, as soon as its head says so; UNSUPPORTED when it
 *  is compressed, CORRUPT when its head is nonsense. */
SYN_MUST int grpc_frame_next(const void *data, size_t len, size_t max, size_t *ret_len,
                             struct syn_err *err);

/** A status as the trailer spells it: 0..16; -1 for anything else. */
int grpc_status_parse(const char *text, size_t len);
/** The SYN_E_* of a status > 0. */
int grpc_status_code(int status);
const char *grpc_status_name(int status);
/** The text of a grpc-message: %XX decoded; of one that is too long the end, as Go's errors have
 * the cause there. */
void grpc_message_decode(const char *text, size_t len, char ret[GRPC_MESSAGE_MAX]);

#endif
