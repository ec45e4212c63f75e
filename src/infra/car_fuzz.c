#include "car_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A header that is accepted has one spelling. */
int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct syn_cid roots[SYN_CONTENT_CAR_ROOTS_MAX];
    static struct syn_cid back[SYN_CONTENT_CAR_ROOTS_MAX];
    size_t count = 0;
    size_t again = 0;
    SYN_BUF(header);

    if (syn_car_header_decode(data, size, roots, &count, NULL) != 0)
        return 0;
    if (syn_car_header_encode(roots, count, &header, NULL) != 0 ||
        syn_car_header_decode(header.data, header.len, back, &again, NULL) != 0 || again != count)
        abort();
    for (size_t i = 0; i < count; i++) {
        if (!syn_cid_eq(&roots[i], &back[i]))
            abort();
    }
    return 0;
}
