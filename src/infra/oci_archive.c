/* An archive is read once, from its first byte to its last: what its order is, nobody knows. Every
 * file in it becomes a file of the content store, hashed on the way; links are remembered by name,
 * and followed within the archive when somebody asks (old `docker save` links equal layers).
 * Nothing is ever written to a path that the archive names. */
#include "oci_archive_priv.h"

#include <errno.h>

#include <archive.h>
#include <archive_entry.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

struct member {
    char path[SYN_OCI_ARCHIVE_PATH_MAX];
    char *target; /* of a link, as a path in the archive; NULL: a file */
    struct syn_oci_file file;
};

struct syn_oci_archive {
    const struct syn_oci_move *move;
    struct syn_cid source;
    bool tar;
    struct member *members;
    size_t count, cap;
    /* while it is read */
    struct archive *reader;
    uint64_t at;
    int64_t left; /* bytes that may still come out of it */
    struct syn_buf piece;
    int rc;
    struct syn_err *err;
};

/* --- paths ------------------------------------------------------------------------------------ */

/* `base`, a folder ("" or "a/b"), and `path` below it, without "." and ".."; false when it leads
 * out. */
static bool
join(const char *base, const char *path, char *out)
{
    size_t len = 0;

    if (path[0] == '/')
        return false;
    if (!syn_str_copy(out, SYN_OCI_ARCHIVE_PATH_MAX, base))
        return false;
    len = strlen(out);
    for (const char *at = path; *at != '\0';) {
        size_t part = strcspn(at, "/");

        if (part == 2 && at[0] == '.' && at[1] == '.') {
            char *slash = strrchr(out, '/');

            if (len == 0)
                return false;
            len = slash != NULL ? (size_t)(slash - out) : 0;
            out[len] = '\0';
        } else if (part > 0 && !(part == 1 && at[0] == '.')) {
            if (len + part + 2 > SYN_OCI_ARCHIVE_PATH_MAX)
                return false;
            if (len > 0)
                out[len++] = '/';
            memcpy(out + len, at, part);
            len += part;
            out[len] = '\0';
        }
        at += part;
        at += *at == '/';
    }
    return len > 0;
}

static struct member *
member_find(const struct syn_oci_archive *archive, const char *path)
{
    for (size_t i = archive->count; i > 0; i--) /* the last of a name is the one */
        if (syn_str_eq(archive->members[i - 1].path, path))
            return &archive->members[i - 1];
    return NULL;
}

/* --- taking an archive apart ------------------------------------------------------------------ */

static int
take_piece(void *arg, const void *data, size_t len, struct syn_err *err)
{
    syn_buf_add(arg, data, len);
    return syn_buf_ok(arg, err);
}

static la_ssize_t
on_read(struct archive *reader, void *arg, const void **ret_data)
{
    struct syn_oci_archive *archive = arg;

    syn_buf_clear(&archive->piece);
    archive->rc =
        syn_content_read(archive->move->content, &archive->source, archive->at,
                         SYN_UNIXFS_CHUNK_BYTES, take_piece, &archive->piece, archive->err);
    if (archive->rc < 0) {
        archive_set_error(reader, EIO, "content");
        return -1;
    }
    archive->at += archive->piece.len;
    *ret_data = syn_buf_text(&archive->piece);
    return (la_ssize_t)archive->piece.len;
}

static int
reader_fail(const struct syn_oci_archive *archive, struct syn_err *err)
{
    if (archive->rc < 0)
        return archive->rc;
    if (archive_errno(archive->reader) == ENOMEM)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory to read an archive");
    return SYN_FAIL(err, SYN_E_INVALID,
                    "this is no image: neither an image layout nor a tar archive");
}

static int
copy_data(struct syn_oci_archive *archive, struct syn_content_put *put, struct syn_oci_file *file,
          struct syn_err *err)
{
    struct syn_sha256 hash;
    uint8_t raw[SYN_SHA256_LEN];

    syn_sha256_init(&hash);
    for (;;) {
        const void *data;
        size_t len;
        la_int64_t offset;
        int got = archive_read_data_block(archive->reader, &data, &len, &offset);
        int rc;

        if (got == ARCHIVE_EOF)
            break;
        if (got != ARCHIVE_OK)
            return reader_fail(archive, err);
        if (offset != file->size)
            return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the archive has a file with holes");
        if ((int64_t)len > archive->left)
            return SYN_FAIL(err, SYN_E_LIMIT, "there is more in the archive than an image may be");
        archive->left -= (int64_t)len;
        syn_sha256_update(&hash, data, len);
        file->size += (int64_t)len;
        rc = syn_content_put_write(put, data, len, err);
        if (rc < 0)
            return rc;
    }
    syn_sha256_final(&hash, raw);
    syn_hex_encode(raw, sizeof(raw), file->hex);
    return syn_content_put_commit(put, &file->cid, NULL, err);
}

static int
take_file(struct syn_oci_archive *archive, struct syn_oci_file *file, struct syn_err *err)
{
    struct syn_content_put *put = NULL;
    int rc = syn_content_put_new(archive->move->content, &put, err);

    if (rc == SYN_OK)
        rc = copy_data(archive, put, file, err);
    (void)syn_content_put_free(put);
    return rc;
}

/* Where a link leads: a hard link from the top, a symbolic one from its folder. */
static int
take_link(struct member *member, const char *hard, const char *soft, struct syn_err *err)
{
    char base[SYN_OCI_ARCHIVE_PATH_MAX], target[SYN_OCI_ARCHIVE_PATH_MAX];
    char *slash;

    (void)syn_str_copy(base, sizeof(base), hard != NULL ? "" : member->path);
    slash = strrchr(base, '/');
    *(slash != NULL ? slash : base) = '\0';
    if (!join(base, hard != NULL ? hard : soft, target))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the archive has a link that leads out of it: %.80s",
                        member->path);
    member->target = syn_strdup(target);
    return member->target != NULL ? SYN_OK : SYN_FAIL(err, SYN_E_NOMEM, "no memory for a link");
}

static int
take_member(struct syn_oci_archive *archive, struct archive_entry *entry, struct syn_err *err)
{
    const char *path = archive_entry_pathname(entry);
    const char *hard = archive_entry_hardlink(entry);
    bool soft = archive_entry_filetype(entry) == AE_IFLNK;
    struct member *member;
    char name[SYN_OCI_ARCHIVE_PATH_MAX];

    if (hard == NULL && !soft && archive_entry_filetype(entry) != AE_IFREG)
        return SYN_OK;
    if (path == NULL || !join("", path, name))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the archive has a path that leads out of it");
    if (archive->count == SYN_OCI_ARCHIVE_FILES_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "the archive has more than %d files",
                        SYN_OCI_ARCHIVE_FILES_MAX);
    if (!syn_grow((void *)&archive->members, &archive->cap, archive->count + 1, sizeof(*member)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an archive");
    member = &archive->members[archive->count++];
    *member = (struct member){.target = NULL};
    (void)syn_str_copy(member->path, sizeof(member->path), name);
    if (hard != NULL || soft)
        return take_link(member, hard, soft ? archive_entry_symlink(entry) : NULL, err);
    return take_file(archive, &member->file, err);
}

static int
take_all(struct syn_oci_archive *archive, struct syn_err *err)
{
    struct archive_entry *entry;
    int got;
    int rc = SYN_OK;

    if (archive_read_support_filter_gzip(archive->reader) < ARCHIVE_WARN ||
        archive_read_support_filter_zstd(archive->reader) < ARCHIVE_WARN ||
        archive_read_support_format_tar(archive->reader) < ARCHIVE_WARN ||
        archive_read_open(archive->reader, archive, NULL, on_read, NULL) < ARCHIVE_WARN)
        return reader_fail(archive, err);
    while (rc == SYN_OK && (got = archive_read_next_header(archive->reader, &entry)) != ARCHIVE_EOF)
        rc = got < ARCHIVE_WARN ? reader_fail(archive, err) : take_member(archive, entry, err);
    return rc;
}

/* --- life ------------------------------------------------------------------------------------- */

int
syn_oci_archive_open(const struct syn_oci_move *move, const struct syn_cid *source,
                     struct syn_oci_archive **ret_archive, struct syn_err *err)
{
    SYN_SCOPED(syn_oci_archive_close_scope) struct syn_oci_archive *archive = NULL;
    struct syn_content_stat stat;
    int rc = syn_content_stat(move->content, source, &stat, err);

    if (rc < 0)
        return rc;
    archive = syn_calloc(1, sizeof(*archive));
    if (archive == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an archive");
    archive->move = move;
    archive->source = *source;
    archive->left = move->bytes_max > 0 ? move->bytes_max : SYN_OCI_BYTES_MAX;
    archive->tar = stat.type == SYN_CONTENT_FILE;
    archive->err = err;
    if (archive->tar) {
        archive->reader = archive_read_new();
        rc = archive->reader == NULL ? SYN_FAIL(err, SYN_E_NOMEM, "no memory for an archive")
                                     : take_all(archive, err);
    } else if (stat.type != SYN_CONTENT_DIR) {
        rc = SYN_FAIL(err, SYN_E_INVALID, "this is no image: neither a folder nor a file");
    }
    if (rc == SYN_OK)
        *ret_archive = SYN_TAKE(archive);
    return rc;
}

void
syn_oci_archive_close_scope(struct syn_oci_archive **slot)
{
    struct syn_oci_archive *archive = *slot;

    if (archive == NULL)
        return;
    for (size_t i = 0; i < archive->count; i++)
        syn_free(archive->members[i].target);
    syn_free(archive->members);
    if (archive->reader != NULL)
        (void)archive_read_free(archive->reader);
    syn_buf_fini(&archive->piece);
    syn_free(archive);
    *slot = NULL;
}

/* --- finding ---------------------------------------------------------------------------------- */

static int
update_hash(void *arg, const void *data, size_t len, struct syn_err *err)
{
    (void)err;
    syn_sha256_update(arg, data, len);
    return SYN_OK;
}

static int
hash_file(struct syn_oci_archive *archive, struct syn_oci_file *file, struct syn_err *err)
{
    struct syn_sha256 hash;
    uint8_t raw[SYN_SHA256_LEN];
    int rc;

    syn_sha256_init(&hash);
    rc = syn_content_read(archive->move->content, &file->cid, 0, (uint64_t)file->size, update_hash,
                          &hash, err);
    syn_sha256_final(&hash, raw);
    syn_hex_encode(raw, sizeof(raw), file->hex);
    return rc;
}

static int
find_in_folder(struct syn_oci_archive *archive, const char *path, struct syn_oci_file *ret,
               struct syn_err *err)
{
    struct syn_content_stat stat;
    int rc = syn_content_resolve(archive->move->content, &archive->source, path, &ret->cid, err);

    if (rc == SYN_OK)
        rc = syn_content_stat(archive->move->content, &ret->cid, &stat, err);
    if (rc == SYN_OK && stat.type != SYN_CONTENT_FILE)
        rc = SYN_FAIL(err, SYN_E_INVALID, "%.100s is no file", path);
    if (rc == SYN_OK)
        ret->size = (int64_t)stat.size;
    return rc;
}

int
syn_oci_archive_find(struct syn_oci_archive *archive, const char *path, bool with_digest,
                     struct syn_oci_file *ret, struct syn_err *err)
{
    struct syn_oci_file file = {.hex = ""};
    char name[SYN_OCI_ARCHIVE_PATH_MAX];
    const struct member *member = NULL;
    int rc = SYN_OK;

    if (!join("", path, name))
        return SYN_FAIL(err, SYN_E_INVALID, "a path that leads out of the image: %.80s", path);
    if (archive->tar) {
        member = member_find(archive, name);
        for (unsigned hops = 0; member != NULL && member->target != NULL; hops++)
            member = hops < SYN_OCI_ARCHIVE_HOPS_MAX ? member_find(archive, member->target) : NULL;
        if (member == NULL)
            return SYN_FAIL(err, SYN_E_NOTFOUND, "the image has no file %.100s", name);
        file = member->file;
    } else {
        rc = find_in_folder(archive, name, &file, err);
        if (rc == SYN_OK && with_digest)
            rc = hash_file(archive, &file, err);
    }
    if (rc == SYN_OK)
        *ret = file;
    return rc;
}
