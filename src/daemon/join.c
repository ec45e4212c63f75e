#include <synor/daemon/join.h>

int
syn_join_payload(const struct syn_join *join, const json_t *request, struct syn_buf *out,
                 struct syn_err *err)
{
    SYN_JSON(bare);
    SYN_JSON(payload);
    int rc;

    bare = syn_json_copy(request);
    if (bare == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a join request");
    (void)json_object_del(bare, "signature");
    /* The purpose keeps it apart from whatever else this key signs: usage reports. */
    rc = syn_json_pack(&payload, err, "{s:s, s:s, s:s, s:s, s:O}", "purpose", "synor-join-1",
                       "cluster", join->cluster, "challenge", join->challenge, "token", join->token,
                       "request", bare);
    return rc < 0 ? rc : syn_json_write(payload, out, err);
}
