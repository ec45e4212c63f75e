/* What the market's tests share: the product's own price book, and samples. */
#ifndef SYNOR_MARKET_TEST_PRIV_H
#define SYNOR_MARKET_TEST_PRIV_H

#include <stdio.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/units.h>
#include <synor/market/meter.h>
#include <synor/market/pricebook.h>

/** The file's bytes; the caller frees them. `path` is under the source root. */
static inline char *
test_read(const char *path, size_t *ret_len)
{
    char full[512];
    char *data = syn_alloc(SYN_PRICEBOOK_BYTES_MAX);
    FILE *file;

    (void)snprintf(full, sizeof(full), "%s/%s", SYN_TEST_SOURCE_ROOT, path);
    file = fopen(full, "re");
    if (!file || !data)
        fail_msg("cannot read %s", full);
    *ret_len = fread(data, 1, SYN_PRICEBOOK_BYTES_MAX - 1, file);
    data[*ret_len] = '\0';
    (void)fclose(file);
    return data;
}

static inline struct syn_pricebook *
test_book(void)
{
    struct syn_pricebook *book = NULL;
    struct syn_err err = {0};
    size_t len;
    char *data = test_read("data/pricebook.json", &len);

    assert_done(syn_pricebook_parse(data, len, &book, &err), &err);
    syn_free(data);
    return book;
}

static inline struct syn_capacity
test_capacity(int64_t cpu_millicores, int64_t memory_gb, int64_t scratch_gb)
{
    return (struct syn_capacity){.cpu_millicores = cpu_millicores,
                                 .memory_bytes = memory_gb * SYN_GB_BYTES,
                                 .scratch_bytes = scratch_gb * SYN_GB_BYTES};
}

static inline struct syn_sample
test_sample(int64_t seq, int64_t from_ms, int64_t to_ms, const struct syn_capacity *capacity)
{
    return (struct syn_sample){
        .seq = seq, .from_ms = from_ms, .to_ms = to_ms, .reserved = *capacity};
}

#endif
