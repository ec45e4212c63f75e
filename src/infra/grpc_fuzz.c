/* What a server says in bytes: message frames however they are cut, statuses and their texts. The
 * first byte says where the cut is. */
#include <string.h>

#include <synor/infra/grpc_health.h>

#include "grpc_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX ((size_t)4096)

/* The frames of data[size], taken as soon as they are whole, with `step` bytes arriving at a time;
 * a sum over what was taken, and where it stopped. */
static int
read_frames(const uint8_t *data, size_t size, size_t step, uint64_t *ret_sum)
{
    size_t at = 0, have = 0;
    uint64_t sum = 0;
    int rc = GRPC_FRAME_MORE;

    do {
        size_t len = 0;

        rc = grpc_frame_next(data + at, have - at, MAX, &len, NULL);
        if (rc == SYN_OK) {
            assert(len <= MAX && len <= have - at - GRPC_FRAME_HEAD);
            for (size_t i = 0; i < len; i++)
                sum = sum * 31 + data[at + GRPC_FRAME_HEAD + i];
            sum = sum * 31 + len;
            at += GRPC_FRAME_HEAD + len;
        } else if (rc == GRPC_FRAME_MORE && have < size) {
            have += SYN_MIN(step, size - have);
            rc = SYN_OK;
        }
    } while (rc == SYN_OK);
    *ret_sum = sum * 31 + at;
    return rc;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[GRPC_MESSAGE_MAX];
    uint8_t head[GRPC_FRAME_HEAD];
    enum syn_grpc_health health;
    struct grpc_address address;
    uint64_t whole, cut;
    size_t len = 0;
    int status;

    if (size == 0)
        return 0;
    /* However it is cut, the same messages come out. */
    assert(read_frames(data + 1, size - 1, size, &whole) ==
           read_frames(data + 1, size - 1, (size_t)data[0] + 1, &cut));
    assert(whole == cut);
    status = grpc_status_parse((const char *)data, size);
    assert(status >= -1 && status <= 16);
    if (status > 0)
        assert(grpc_status_code(status) < 0 && grpc_status_name(status)[0] != '\0');
    if (syn_grpc_health_read(data, size, &health, NULL) == SYN_OK)
        assert(syn_grpc_health_name(health)[0] != '\0');
    grpc_message_decode((const char *)data, size, text);
    assert(strlen(text) < sizeof(text));
    grpc_frame_head(size, head);
    assert(grpc_frame_next(head, sizeof(head), size, &len, NULL) == GRPC_FRAME_MORE);
    if (memchr(data, '\0', size) != NULL)
        assert(grpc_address_parse((const char *)data, &address, NULL) <= 0);
    return 0;
}
