/* A function in C: greets whoever the path names, and says how much came with the request.
 *
 *     clang --target=wasm32 -O2 -nostdlib -Wl,--no-entry -o hello.wasm hello.c
 */
#include "synor_function.h"

#define TEXT(text) text, sizeof(text) - 1

static char name[256];

static uint32_t
decimal(uint32_t value, char out[10])
{
    char digits[10];
    uint32_t count = 0;

    do
        digits[count++] = (char)('0' + value % 10);
    while ((value /= 10) > 0);
    for (uint32_t i = 0; i < count; i++)
        out[i] = digits[count - 1 - i];
    return count;
}

SYNOR_EXPORT int32_t
synor_handle(void)
{
    int32_t size = synor_request_get(SYNOR_PATH, 0, name, sizeof(name));
    uint32_t end = size > (int32_t)sizeof(name) ? sizeof(name) : (uint32_t)size;
    uint32_t begin = end;
    char number[10];

    while (begin > 0 && name[begin - 1] != '/')
        begin--;
    (void)synor_response_header(TEXT("content-type"), TEXT("text/plain; charset=utf-8"));
    if (begin == end) {
        synor_log(SYNOR_WARNING, TEXT("nobody was named"));
        (void)synor_response_status(404);
        synor_response_write(TEXT("whom?\n"));
        return 0;
    }
    synor_response_write(TEXT("hello, "));
    synor_response_write(name + begin, end - begin);
    synor_response_write(TEXT(" ("));
    synor_response_write(number,
                         decimal((uint32_t)synor_request_get(SYNOR_BODY, 0, name, 0), number));
    synor_response_write(TEXT(" bytes)\n"));
    return 0;
}
