/* protobuf-c's messages with this house's memory and buffers. */
#ifndef SYNOR_RUNTIME_MESSAGE_PRIV_H
#define SYNOR_RUNTIME_MESSAGE_PRIV_H

#include <protobuf-c/protobuf-c.h>

#include <synor/base/buf.h>

/** `SYN_MESSAGE(Cri__VersionRequest, cri__version_request, request);` declares an empty message. */
#define SYN_MESSAGE(type, prefix, name) \
    type name = __extension__({         \
        type syn_message_;              \
        prefix##__init(&syn_message_);  \
        syn_message_;                   \
    })

/** Append it as it goes over the wire. */
void syn_message_pack(const void *message, struct syn_buf *out);
/** CORRUPT, NOMEM. Owner: *ret is the caller's, until syn_message_free(). */
SYN_MUST int syn_message_unpack(const ProtobufCMessageDescriptor *kind, const struct syn_buf *data,
                                void *ret, struct syn_err *err);
/** NULL is fine. */
void syn_message_free(void *message);
/** For SYN_SCOPED on a pointer to any message. */
void syn_message_scope(void *slot);
/** The same text for a field of a message that is only packed. */
char *syn_message_text(const char *text);

#endif
