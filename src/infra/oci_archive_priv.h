/* Files of an image that was given as one piece of content: a folder, or a tar archive. See
 * oci_archive.c. */
#ifndef SYN_OCI_ARCHIVE_PRIV_H
#define SYN_OCI_ARCHIVE_PRIV_H

#include "oci_assembly_priv.h"

#define SYN_OCI_ARCHIVE_FILES_MAX 4096
#define SYN_OCI_ARCHIVE_PATH_MAX  512
#define SYN_OCI_ARCHIVE_HOPS_MAX  8 /* links that lead to links */

struct syn_oci_file {
    struct syn_cid cid;
    int64_t size;
    char hex[SYN_OCI_HEX_SIZE]; /* of its SHA-256; "": not known yet */
};

struct syn_oci_archive;

/** Open a folder, or take an archive apart: its files become content of their own. INVALID: it is
 *  neither; LIMIT. */
SYN_MUST int syn_oci_archive_open(const struct syn_oci_move *move, const struct syn_cid *source,
                                  struct syn_oci_archive **ret_archive, struct syn_err *err);
void syn_oci_archive_close_scope(struct syn_oci_archive **slot);
/** The file at `path`, with its digest when `with_digest`. NOTFOUND; INVALID: no file, or a link
 * out of the archive. */
SYN_MUST int syn_oci_archive_find(struct syn_oci_archive *archive, const char *path,
                                  bool with_digest, struct syn_oci_file *ret, struct syn_err *err);

#endif
