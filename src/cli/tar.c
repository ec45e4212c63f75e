/* A stored folder as one tar archive, made as it comes: nothing of it lies anywhere else first. The
 * same content gives the same bytes: no times, no owners, the order of the list. */
#include <archive.h>
#include <archive_entry.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include <synor/base/str.h>

#include "storage_priv.h"

#define DEPTH_MAX 64

struct packing {
    struct syn_cli *cli;
    struct syn_cli_progress *progress;
    struct archive *to;
    struct archive_entry *entry;
    int64_t done_bytes; /* of all files */
    int64_t file_bytes; /* of this one, so far */
};

static int
failed(const struct packing *packing, const char *path, struct syn_err *err)
{
    const char *why = archive_error_string(packing->to);

    return SYN_FAIL(err, SYN_E_IO, "writing %s: %s", path, why != NULL ? why : "it cannot be");
}

static int
begin_entry(struct packing *packing, const char *path, bool folder, int64_t size,
            struct syn_err *err)
{
    struct archive_entry *entry = archive_entry_clear(packing->entry);

    archive_entry_set_pathname(entry, path);
    archive_entry_set_filetype(entry, folder ? AE_IFDIR : AE_IFREG);
    archive_entry_set_perm(entry, folder ? 0755 : 0644);
    archive_entry_set_mtime(entry, 0, 0);
    archive_entry_set_size(entry, folder ? 0 : size);
    return archive_write_header(packing->to, entry) == ARCHIVE_OK ? SYN_OK
                                                                  : failed(packing, path, err);
}

static int
take(void *arg, const void *data, size_t len, struct syn_err *err)
{
    struct packing *packing = arg;

    if (archive_write_data(packing->to, data, len) != (la_ssize_t)len)
        return failed(packing, "the archive", err);
    packing->file_bytes += (int64_t)len;
    syn_cli_progress_show(packing->progress, packing->done_bytes + packing->file_bytes, NULL);
    return SYN_OK;
}

static int
pack_file(struct packing *packing, const char *path, const char *cid, int64_t size,
          struct syn_err *err)
{
    struct syn_client *client;
    SYN_BUF(route);
    int rc = begin_entry(packing, path, false, size, err);

    syn_cli_content_path(cid, "/data", &route);
    packing->file_bytes = 0;
    if (rc == SYN_OK)
        rc = syn_buf_ok(&route, err);
    if (rc == SYN_OK)
        rc = syn_cli_client(packing->cli, &client, err);
    if (rc == SYN_OK)
        rc = syn_client_read(client, syn_buf_text(&route), take, packing, err);
    if (rc < 0)
        return rc;
    packing->done_bytes += packing->file_bytes;
    return packing->file_bytes == size
               ? SYN_OK
               : SYN_FAIL(err, SYN_E_CORRUPT, "%s: got %lld of %lld bytes", path,
                          (long long)packing->file_bytes, (long long)size);
}

static int pack_folder(struct packing *packing, const char *prefix, const char *cid, unsigned depth,
                       struct syn_err *err);

static int
pack_entry(struct packing *packing, const char *prefix, const json_t *item, unsigned depth,
           struct syn_err *err)
{
    const char *type = syn_json_str(item, "type", ""), *cid = syn_json_str(item, "cid", "");
    bool folder = syn_str_eq(type, "folder");
    const char *name;
    char path[PATH_MAX];
    int rc = syn_cli_entry_name(item, &name, err);

    if (rc < 0)
        return rc;
    if (snprintf(path, sizeof(path), "%s%s%s", prefix, name, folder ? "/" : "") >=
        (int)sizeof(path))
        return SYN_FAIL(err, SYN_E_LIMIT, "%.80s...: path too long", path);
    if (syn_str_eq(type, "file"))
        return pack_file(packing, path, cid, syn_json_i64(item, "size_bytes", 0), err);
    if (!folder)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "%s is a %s", path, type);
    if (depth == DEPTH_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "folders nested deeper than %d", DEPTH_MAX);
    rc = begin_entry(packing, path, true, 0, err);
    return rc < 0 ? rc : pack_folder(packing, path, cid, depth + 1, err);
}

static int
pack_folder(struct packing *packing, const char *prefix, const char *cid, unsigned depth,
            struct syn_err *err)
{
    SYN_BUF(route);
    SYN_JSON(items);
    const json_t *item;
    size_t i;
    int rc;

    syn_cli_content_path(cid, "/list", &route);
    rc = syn_buf_ok(&route, err);
    if (rc == SYN_OK)
        rc = syn_cli_list(packing->cli, syn_buf_text(&route), &items, err);
    json_array_foreach (items, i, item)
        if (rc == SYN_OK)
            rc = pack_entry(packing, prefix, item, depth, err);
    return rc;
}

int
syn_cli_tar(struct syn_cli *cli, const char *cid, int fd, struct syn_cli_progress *progress,
            int64_t *ret_bytes, struct syn_err *err)
{
    struct packing packing = {
        .cli = cli, .progress = progress, .to = archive_write_new(), .entry = archive_entry_new()};
    int rc = packing.to != NULL && packing.entry != NULL
                 ? SYN_OK
                 : SYN_FAIL(err, SYN_E_NOMEM, "no memory for an archive");

    if (rc == SYN_OK && (archive_write_set_format_pax_restricted(packing.to) != ARCHIVE_OK ||
                         archive_write_set_bytes_in_last_block(packing.to, 1) != ARCHIVE_OK ||
                         archive_write_open_fd(packing.to, fd) != ARCHIVE_OK))
        rc = failed(&packing, "the archive", err);
    if (rc == SYN_OK)
        rc = pack_folder(&packing, "", cid, 0, err);
    if (rc == SYN_OK && archive_write_close(packing.to) != ARCHIVE_OK)
        rc = failed(&packing, "the archive", err);
    if (rc == SYN_OK)
        *ret_bytes = packing.done_bytes;
    archive_entry_free(packing.entry);
    if (packing.to != NULL)
        (void)archive_write_free(packing.to);
    return rc;
}
