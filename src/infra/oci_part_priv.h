/* How far a layer came, written down, so that a process that comes after this one goes on there. */
#ifndef SYN_OCI_PART_PRIV_H
#define SYN_OCI_PART_PRIV_H

#include <synor/base/buf.h>
#include <synor/infra/crypto.h>

struct syn_oci_part {
    int64_t done;           /* bytes that the content store has */
    struct syn_sha256 hash; /* of them */
    struct syn_buf state;   /* of the put, or the text of a CID when the layer is whole */
    bool whole;
};

/** Replace what stands in folder `dir` of the blob `hex`. What does not get there is no error: a
 *  part less is a layer more to fetch. */
void syn_oci_part_write(const char *dir, const char *hex, const struct syn_oci_part *part);
/** False: there is nothing of it that can be used. `ret` must be fresh, and its state is freed by
 *  the caller. */
bool syn_oci_part_read(const char *dir, const char *hex, struct syn_oci_part *ret);
void syn_oci_part_fini(struct syn_oci_part *part);
void syn_oci_part_remove(const char *dir, const char *hex);

#endif
