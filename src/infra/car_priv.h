/* The header of a CAR file, apart so that it can be fuzzed. */
#ifndef SYNOR_INFRA_CAR_PRIV_H
#define SYNOR_INFRA_CAR_PRIV_H

#include <synor/base/buf.h>
#include <synor/infra/content.h>

#define SYN_CAR_HEADER_MAX ((size_t)64 << 10)

/** `roots` has room for SYN_CONTENT_CAR_ROOTS_MAX. INVALID for anything but canonical DAG-CBOR. */
SYN_MUST int syn_car_header_decode(const void *data, size_t len, struct syn_cid *roots,
                                   size_t *ret_count, struct syn_err *err);
SYN_MUST int syn_car_header_encode(const struct syn_cid *roots, size_t count, struct syn_buf *out,
                                   struct syn_err *err);

#endif
