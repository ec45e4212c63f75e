/* A session's bytes from a stranger: what is taken is written out the same again, a frame that is
 * cut off is never taken, and a stream that makes no sense makes none from there on. */
#include <stdlib.h>
#include <string.h>

#include <synor/client/session.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    struct syn_frame frame;
    ptrdiff_t taken;
    size_t at = 0;
    SYN_BUF(again);

    while ((taken = syn_frame_parse(text + at, size - at, &frame, NULL)) > 0) {
        struct syn_frame cut;

        if ((size_t)taken > size - at || frame.len > SYN_FRAME_MAX || frame.len >= (size_t)taken ||
            frame.data + frame.len != text + at + taken || frame.kind >= SYN_FRAME_KINDS)
            abort();
        if (syn_frame_parse(text + at, (size_t)taken - 1, &cut, NULL) != 0)
            abort();
        syn_frame_write(&again, frame.kind, frame.data, frame.len);
        at += (size_t)taken;
    }
    if (again.failed || again.len != at || (at > 0 && memcmp(again.data, text, at) != 0))
        abort();
    if (taken < 0 && syn_frame_parse(text + at, 4, &frame, NULL) != taken)
        abort(); /* the head alone says it */
    return 0;
}
