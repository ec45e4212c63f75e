#include "message_priv.h"

#include <synor/base/mem.h>

static void *
take(void *data, size_t size)
{
    (void)data;
    return syn_alloc(size);
}

static void
give(void *data, void *block)
{
    (void)data;
    syn_free(block);
}

static ProtobufCAllocator allocator = {take, give, NULL};

void
syn_message_pack(const void *message, struct syn_buf *out)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    char *room = syn_buf_reserve(out, len);

    if (room) {
        (void)protobuf_c_message_pack(message, (uint8_t *)room);
        out->len += len;
    }
}

int
syn_message_unpack(const ProtobufCMessageDescriptor *kind, const struct syn_buf *data, void *ret,
                   struct syn_err *err)
{
    void *probe;
    ProtobufCMessage *message =
        protobuf_c_message_unpack(kind, &allocator, data->len, (const uint8_t *)syn_buf_text(data));

    if (message) {
        void **slot = ret;

        *slot = message;
        return SYN_OK;
    }
    /* It does not say which of the two it was. */
    probe = syn_alloc(1);
    if (!probe)
        return SYN_FAIL(err, SYN_E_NOMEM, "unpacking a %s", kind->short_name);
    syn_free(probe);
    return SYN_FAIL(err, SYN_E_CORRUPT, "no %s in %zu bytes", kind->short_name, data->len);
}

void
syn_message_free(void *message)
{
    if (message)
        protobuf_c_message_free_unpacked(message, &allocator);
}

void
syn_message_scope(void *slot)
{
    void **message = slot;

    syn_message_free(*message);
}

char *
syn_message_text(const char *text)
{
    union {
        const char *given;
        char *wanted; /* packing reads it only */
    } same = {.given = text};

    return same.wanted;
}
