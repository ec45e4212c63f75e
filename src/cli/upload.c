/* A file or folder on its way into storage. The server keeps what it received under the tree's key:
 * a second run of the same command goes on where the first one was cut off. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "cli_priv.h"
#include "tree.h"

#define SEND_TRIES_MAX 5 /* of one file, each from where the server stands */

struct sending {
    struct syn_cli *cli;
    struct syn_cli_tree tree;
    struct syn_cli_progress progress;
    char id[SYN_ID_MAX];
    json_t *received; /* path -> bytes the server has */
    int64_t done_bytes;
    int64_t file_at; /* where the running request began in its file */
};

static void
sending_fini(struct sending *sending)
{
    syn_cli_tree_fini(&sending->tree);
    json_decref(sending->received);
}

/* What the server has, as {path: bytes}. */
static int
take_received(struct sending *sending, const json_t *upload, struct syn_err *err)
{
    size_t i;
    json_t *file;
    int rc = SYN_OK;

    json_decref(sending->received);
    sending->received = json_object();
    if (sending->received == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an upload");
    json_array_foreach (json_object_get(upload, "files"), i, file) {
        const char *path = sending->tree.folder ? syn_json_str(file, "path", "") : "";

        if (rc == SYN_OK)
            rc = syn_json_set_i64(sending->received, path, syn_json_i64(file, "received_bytes", 0),
                                  err);
    }
    return rc;
}

static int
begin(struct sending *sending, struct syn_err *err)
{
    SYN_JSON(body);
    SYN_JSON(upload);
    int rc = syn_json_pack(&body, err, "{s:s, s:s}", "kind",
                           sending->tree.folder ? "folder" : "file", "key", sending->tree.key);

    if (rc == SYN_OK)
        rc = syn_cli_call(sending->cli, "POST", "/v1/uploads", body, &upload, err);
    if (rc < 0)
        return rc;
    if (!syn_str_copy(sending->id, sizeof(sending->id), syn_json_str(upload, "id", "")) ||
        sending->id[0] == '\0')
        return SYN_FAIL(err, SYN_E_CORRUPT, "the server made an upload without id");
    return take_received(sending, upload, err);
}

static int
refresh(struct sending *sending, struct syn_err *err)
{
    char path[SYN_ID_MAX + 16];
    SYN_JSON(upload);
    int rc;

    (void)snprintf(path, sizeof(path), "/v1/uploads/%s", sending->id);
    rc = syn_cli_call(sending->cli, "GET", path, NULL, &upload, err);
    return rc < 0 ? rc : take_received(sending, upload, err);
}

static void
on_progress(void *arg, int64_t done, int64_t total)
{
    struct sending *sending = arg;

    (void)total;
    syn_cli_progress_show(&sending->progress, sending->done_bytes + sending->file_at + done, NULL);
}

static void
data_path(const struct sending *sending, const char *what, const struct syn_cli_tree_entry *entry,
          struct syn_buf *out)
{
    syn_buf_addf(out, "/v1/uploads/%s/%s", sending->id, what);
    if (sending->tree.folder) {
        syn_buf_adds(out, "?path=");
        syn_cli_escape(out, entry->path);
    }
}

/* Send the rest of a file; what the server has of it is in `received`. */
static int
send_rest(struct sending *sending, const struct syn_cli_tree_entry *entry, int fd,
          struct syn_err *err)
{
    struct syn_client *client;
    SYN_BUF(path);
    int64_t have = syn_json_i64(sending->received, entry->path, 0);
    struct syn_transfer transfer = {.fd = fd,
                                    .offset = have,
                                    .len = entry->size_bytes - have,
                                    .progress = on_progress,
                                    .progress_arg = sending};
    int rc = syn_cli_client(sending->cli, &client, err);

    if (rc < 0)
        return rc;
    if (have > entry->size_bytes)
        return SYN_FAIL(err, SYN_E_CONFLICT,
                        "the server has %" PRId64 " bytes, the file only %" PRId64, have,
                        entry->size_bytes);
    data_path(sending, "data", entry, &path);
    syn_buf_addf(&path, "%coffset=%" PRId64, sending->tree.folder ? '&' : '?', have);
    rc = syn_buf_ok(&path, err);
    if (rc < 0)
        return rc;
    transfer.path = syn_buf_text(&path);
    sending->file_at = have;
    rc = syn_client_upload(client, &transfer, NULL, err);
    return rc < 0 ? syn_cli_unreachable(sending->cli, rc, err) : rc;
}

static int
open_entry(const struct sending *sending, const struct syn_cli_tree_entry *entry, int *ret_fd,
           struct syn_err *err)
{
    const struct syn_cli_tree *tree = &sending->tree;
    struct stat st;
    int fd = tree->folder ? openat(tree->fd, entry->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC)
                          : fcntl(tree->fd, F_DUPFD_CLOEXEC, 0);

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "opening it");
    if (fstat(fd, &st) != 0 || st.st_size != entry->size_bytes) {
        (void)close(fd);
        return SYN_FAIL(err, SYN_E_CONFLICT, "it changed while it was being uploaded; try again");
    }
    *ret_fd = fd;
    return SYN_OK;
}

static int
send_file(struct sending *sending, const struct syn_cli_tree_entry *entry, struct syn_err *err)
{
    bool known = json_object_get(sending->received, entry->path) != NULL;
    int fd = -1;
    int rc;

    if (known && syn_json_i64(sending->received, entry->path, 0) == entry->size_bytes)
        return SYN_OK;
    rc = open_entry(sending, entry, &fd, err);
    for (unsigned n = 0; rc == SYN_OK; n++) {
        rc = send_rest(sending, entry, fd, err);
        if (rc == SYN_OK || n + 1 == SEND_TRIES_MAX ||
            (rc != SYN_E_UNAVAILABLE && rc != SYN_E_TIMEOUT && rc != SYN_E_CONFLICT))
            break;
        rc = refresh(sending, err);
    }
    if (fd >= 0)
        (void)close(fd);
    return rc;
}

static int
send_link(struct sending *sending, const struct syn_cli_tree_entry *entry, struct syn_err *err)
{
    SYN_BUF(path);
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s}", "target", entry->target);

    data_path(sending, "link", entry, &path);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, err);
    return rc < 0 ? rc : syn_cli_call(sending->cli, "PUT", syn_buf_text(&path), body, NULL, err);
}

static int
send_folder(struct sending *sending, const struct syn_cli_tree_entry *entry, struct syn_err *err)
{
    SYN_BUF(path);
    int rc;

    data_path(sending, "folder", entry, &path);
    rc = syn_buf_ok(&path, err);
    return rc < 0 ? rc : syn_cli_call(sending->cli, "PUT", syn_buf_text(&path), NULL, NULL, err);
}

static int
send_entry(struct sending *sending, const struct syn_cli_tree_entry *entry, struct syn_err *err)
{
    if (entry->folder)
        return send_folder(sending, entry, err);
    return entry->target != NULL ? send_link(sending, entry, err) : send_file(sending, entry, err);
}

static int
send_all(struct sending *sending, struct syn_err *err)
{
    char detail[48];

    for (size_t i = 0; i < sending->tree.count; i++) {
        const struct syn_cli_tree_entry *entry = &sending->tree.entries[i];
        int rc = send_entry(sending, entry, err);

        if (rc < 0)
            return entry->path[0] == '\0' ? rc : syn_err_wrap(err, rc, "%s", entry->path);
        sending->done_bytes += entry->size_bytes;
        (void)snprintf(detail, sizeof(detail), "%zu of %zu files", i + 1, sending->tree.count);
        syn_cli_progress_show(&sending->progress, sending->done_bytes, detail);
    }
    return SYN_OK;
}

static int
commit(struct sending *sending, const struct syn_cli_upload *upload, json_t **ret,
       struct syn_err *err)
{
    char path[SYN_ID_MAX + 32];
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s, s:b}", "name",
                           upload->name != NULL ? upload->name : "", "pin", upload->pin ? 1 : 0);

    (void)snprintf(path, sizeof(path), "/v1/uploads/%s/commit", sending->id);
    return rc < 0 ? rc : syn_cli_call(sending->cli, "POST", path, body, ret, err);
}

int
syn_cli_upload(struct syn_cli *cli, const struct syn_cli_upload *upload, json_t **ret,
               struct syn_err *err)
{
    SYN_SCOPED(sending_fini) struct sending sending = {.cli = cli, .tree = {.fd = -1}};
    int rc = syn_cli_tree_read(upload->path, upload->include, upload->exclude, &sending.tree, err);

    if (rc < 0)
        return rc;
    if (upload->include != NULL && sending.tree.count == 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%s: no file matches `include`", upload->path);
    if (sending.tree.skipped > 0)
        syn_cli_note(
            cli, "%zu %s left out of %s: neither file nor folder nor link.", sending.tree.skipped,
            syn_plural((int64_t)sending.tree.skipped, "entry is", "entries are"), upload->path);
    cli->patient = true;
    syn_cli_progress_init(&sending.progress, cli, "Uploading", sending.tree.size_bytes, true);
    rc = begin(&sending, err);
    if (rc == SYN_OK)
        rc = send_all(&sending, err);
    if (rc == SYN_OK) {
        syn_cli_progress_done(&sending.progress, sending.done_bytes, "storing");
        rc = commit(&sending, upload, ret, err);
    }
    if (rc == SYN_E_CANCELED && syn_cli_interrupted())
        return SYN_FAIL(err, SYN_E_CANCELED,
                        "interrupted; the same command goes on where this one ended");
    return rc < 0 ? syn_err_wrap(err, rc, "%s", upload->path) : rc;
}
