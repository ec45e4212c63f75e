#include <synor/daemon/lease.h>

#include <synor/base/str.h>
#include <synor/infra/crypto.h>

int
syn_lease_digest(const json_t *instance, char ret[SYN_DIGEST_MAX], struct syn_err *err)
{
    const json_t *lease = json_object_get(json_object_get(instance, "spec"), "lease");
    uint8_t digest[SYN_SHA256_LEN];
    SYN_BUF(text);
    int rc;

    static_assert(2 * SYN_SHA256_LEN + 1 == SYN_DIGEST_MAX,
                  "a report names a lease by its SHA-256");
    ret[0] = '\0';
    if (lease == NULL)
        return SYN_OK;
    rc = syn_json_write(lease, &text, err);
    if (rc < 0)
        return rc;
    syn_sha256(text.data, text.len, digest);
    syn_hex_encode(digest, sizeof(digest), ret);
    return SYN_OK;
}
