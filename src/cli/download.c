/* Content on its way out of storage. Everything is written beside its destination and renamed when
 * it is whole, so that a broken download leaves nothing that looks finished. Inside a folder every
 * step goes through the descriptor of the folder just made: no name can lead out of it. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/tree.h>

#include "cli_priv.h"
#include "storage_priv.h"

#define FETCH_TRIES_MAX 3
#define DEPTH_MAX       64

struct fetching {
    struct syn_cli *cli;
    struct syn_cli_progress progress;
    int64_t done_bytes;
};

static void
on_progress(void *arg, int64_t done, int64_t total)
{
    struct fetching *fetching = arg;

    (void)total;
    syn_cli_progress_show(&fetching->progress, fetching->done_bytes + done, NULL);
}

/* Every try broke off. A server that is there, and sent no error, breaks off only where it cannot
 * read what it stores: its answer had begun, so it could not say so. */
static int
broken_off(struct fetching *fetching, int rc, int64_t received, struct syn_err *err)
{
    struct syn_err ignored;

    if (rc != SYN_E_UNAVAILABLE || syn_client_error(fetching->cli->client) != NULL ||
        syn_cli_call(fetching->cli, "GET", "/v1/status", NULL, NULL, &ignored) < 0)
        return syn_cli_unreachable(fetching->cli, rc, err);
    return SYN_FAIL(err, SYN_E_CORRUPT,
                    "the server broke off near byte %" PRId64
                    ": what it stores there is damaged; see: synor storage verify",
                    received);
}

/* The bytes behind an API path into an open, empty file. `size` -1: not known. */
static int
fetch_bytes(struct fetching *fetching, const char *path, int fd, int64_t size, struct syn_err *err)
{
    struct syn_transfer transfer = {
        .path = path, .fd = fd, .progress = on_progress, .progress_arg = fetching};
    struct syn_client *client;
    int64_t received = 0;
    int rc = syn_cli_client(fetching->cli, &client, err);

    for (unsigned n = 0; rc == SYN_OK; n++) {
        rc = syn_client_download(client, &transfer, &received, err);
        if (rc == SYN_OK || n + 1 == FETCH_TRIES_MAX || syn_client_error(client) != NULL ||
            (rc != SYN_E_UNAVAILABLE && rc != SYN_E_TIMEOUT))
            break;
        rc = SYN_OK;
    }
    if (rc < 0)
        return broken_off(fetching, rc, received, err);
    if (size >= 0 && received != size)
        return SYN_FAIL(err, SYN_E_CORRUPT, "got %" PRId64 " of %" PRId64 " bytes", received, size);
    if (ftruncate(fd, received) != 0 || fsync(fd) != 0)
        return SYN_FAIL_SYS(err, errno, "writing the file");
    fetching->done_bytes += received;
    return SYN_OK;
}

void
syn_cli_content_path(const char *cid, const char *what, struct syn_buf *out)
{
    syn_buf_adds(out, "/v1/content/");
    syn_cli_escape(out, cid);
    syn_buf_adds(out, what);
}

static int
fetch_file(struct fetching *fetching, int dir, const char *name, const char *cid, const char *what,
           int64_t size, struct syn_err *err)
{
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    SYN_BUF(path);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", name);
    syn_cli_content_path(cid, what, &path);
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = fetch_bytes(fetching, syn_buf_text(&path), fd, size, err);
    if (close(fd) != 0 && rc == SYN_OK)
        rc = SYN_FAIL_SYS(err, errno, "writing %s", name);
    return rc;
}

static int fetch_folder(struct fetching *fetching, int dir, const char *cid, unsigned depth,
                        struct syn_err *err);

int
syn_cli_entry_name(const json_t *entry, const char **ret, struct syn_err *err)
{
    const char *name = syn_json_str(entry, "path", "");

    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "\"%.60s\" is no name of a file", name);
    *ret = name;
    return SYN_OK;
}

static int
fetch_entry(struct fetching *fetching, int dir, const json_t *entry, unsigned depth,
            struct syn_err *err)
{
    const char *type = syn_json_str(entry, "type", "");
    const char *cid = syn_json_str(entry, "cid", "");
    const char *name;
    int below;
    int rc = syn_cli_entry_name(entry, &name, err);

    if (rc < 0)
        return rc;
    if (syn_str_eq(type, "file"))
        return fetch_file(fetching, dir, name, cid, "/data", syn_json_i64(entry, "size_bytes", -1),
                          err);
    if (syn_str_eq(type, "symlink"))
        return symlinkat(syn_json_str(entry, "target", ""), dir, name) == 0
                   ? SYN_OK
                   : SYN_FAIL_SYS(err, errno, "making link %s", name);
    if (depth == DEPTH_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "folders nested deeper than %d", DEPTH_MAX);
    if (mkdirat(dir, name, 0755) != 0)
        return SYN_FAIL_SYS(err, errno, "making folder %s", name);
    below = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0)
        return SYN_FAIL_SYS(err, errno, "opening folder %s", name);
    rc = fetch_folder(fetching, below, cid, depth + 1, err);
    (void)close(below);
    return rc;
}

static int
fetch_folder(struct fetching *fetching, int dir, const char *cid, unsigned depth,
             struct syn_err *err)
{
    SYN_BUF(path);
    SYN_JSON(items);
    size_t i;
    json_t *entry;
    int rc;

    syn_cli_content_path(cid, "/list", &path);
    rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_cli_list(fetching->cli, syn_buf_text(&path), &items, err);
    if (rc < 0)
        return rc;
    json_array_foreach (items, i, entry) {
        rc = fetch_entry(fetching, dir, entry, depth, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "%s", syn_json_str(entry, "path", "?"));
    }
    return SYN_OK;
}

/* --- destinations ---------------------------------------------------------------------------- */

/* DIR/.NAME-part-ID for DIR/NAME. */
static int
part_path(const char *dest, char *out, size_t cap, struct syn_err *err)
{
    const char *slash = strrchr(dest, '/');
    const char *name = slash != NULL ? slash + 1 : dest;
    char id[SYN_ID_MAX];

    (void)syn_make_id(syn_world_system(), "part", id);
    if (snprintf(out, cap, "%.*s.%.100s-%s", (int)(name - dest), dest, name, id) >= (int)cap)
        return SYN_FAIL(err, SYN_E_INVALID, "%.80s...: path too long", dest);
    return SYN_OK;
}

/* A folder may take the place of an empty one; a file that of a file, when forced. */
static int
check_free(const char *dest, bool folder, bool force, struct syn_err *err)
{
    struct stat st;

    if (lstat(dest, &st) != 0)
        return errno == ENOENT ? SYN_OK : SYN_FAIL_SYS(err, errno, "%s", dest);
    if (folder && S_ISDIR(st.st_mode))
        return SYN_OK; /* rename(2) refuses one that is not empty */
    if (!folder && S_ISREG(st.st_mode) && force)
        return SYN_OK;
    return SYN_FAIL(err, SYN_E_EXISTS, "%s is there already%s", dest,
                    folder ? "" : "; --force replaces it");
}

static int
into_place(const char *part, const char *dest, struct syn_err *err)
{
    if (rename(part, dest) == 0)
        return SYN_OK;
    if (errno == ENOTEMPTY || errno == EEXIST)
        return SYN_FAIL(err, SYN_E_EXISTS, "%s is there already and not empty", dest);
    return SYN_FAIL_SYS(err, errno, "%s", dest);
}

/* As a tar archive, into a new file. */
static int
fetch_tar(struct fetching *fetching, const char *cid, const char *part, struct syn_err *err)
{
    int fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    int rc;

    if (fd < 0)
        return SYN_FAIL_SYS(err, errno, "making %s", part);
    rc = syn_cli_tar(fetching->cli, cid, fd, &fetching->progress, &fetching->done_bytes, err);
    if (rc == SYN_OK && fsync(fd) != 0)
        rc = SYN_FAIL_SYS(err, errno, "writing %s", part);
    (void)close(fd);
    return rc;
}

static int
fetch_to(struct fetching *fetching, const struct syn_cli_fetch *fetch, const char *part,
         struct syn_err *err)
{
    const char *what = fetch->car ? "/car" : "/data";
    int dir;
    int rc;

    if (fetch->tar)
        return fetch_tar(fetching, fetch->cid, part, err);
    if (!fetch->folder || fetch->car)
        return fetch_file(fetching, AT_FDCWD, part, fetch->cid, what,
                          fetch->car ? -1 : fetch->size_bytes, err);
    if (mkdir(part, 0755) != 0)
        return SYN_FAIL_SYS(err, errno, "making %s", part);
    dir = open(part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", part);
    rc = fetch_folder(fetching, dir, fetch->cid, 0, err);
    (void)close(dir);
    return rc;
}

static int
fetch_to_stdout(struct syn_cli *cli, const struct syn_cli_fetch *fetch, struct syn_err *err)
{
    struct syn_client *client;
    struct syn_cli_progress progress;
    int64_t bytes;
    SYN_BUF(path);
    int rc = syn_cli_client(cli, &client, err);

    syn_cli_progress_init(&progress, cli, "Fetching", fetch->size_bytes, true);
    if (rc == SYN_OK && fetch->tar) {
        rc = syn_cli_tar(cli, fetch->cid, STDOUT_FILENO, &progress, &bytes, err);
        if (rc == SYN_OK && progress.drawn)
            syn_cli_progress_done(&progress, bytes, NULL);
        return rc;
    }
    if (fetch->folder && !fetch->car)
        return SYN_FAIL(err, SYN_E_INVALID, "a folder goes to standard output only as --car");
    syn_cli_content_path(fetch->cid, fetch->car ? "/car" : "/data", &path);
    if (rc == SYN_OK)
        rc = syn_buf_ok(&path, err);
    if (rc == SYN_OK)
        rc = syn_client_read(client, syn_buf_text(&path), syn_cli_to_stdout, NULL, err);
    if (rc == SYN_OK && fflush(stdout) != 0)
        rc = SYN_FAIL_SYS(err, errno, "writing to standard output");
    return rc < 0 ? syn_cli_unreachable(cli, rc, err) : rc;
}

int
syn_cli_fetch(struct syn_cli *cli, const struct syn_cli_fetch *fetch, struct syn_err *err)
{
    struct fetching fetching = {.cli = cli};
    bool folder = fetch->folder && !fetch->car && !fetch->tar;
    char part[PATH_MAX];
    int rc;

    if (strcmp(fetch->dest, "-") == 0)
        return fetch_to_stdout(cli, fetch, err);
    rc = check_free(fetch->dest, folder, fetch->force, err);
    if (rc == SYN_OK)
        rc = part_path(fetch->dest, part, sizeof(part), err);
    if (rc < 0)
        return rc;
    syn_cli_progress_init(&fetching.progress, cli, "Fetching", fetch->size_bytes, true);
    rc = fetch_to(&fetching, fetch, part, err);
    if (rc == SYN_OK)
        rc = into_place(part, fetch->dest, err);
    if (rc == SYN_OK)
        syn_cli_progress_done(&fetching.progress, fetching.done_bytes, NULL);
    else
        syn_tree_remove(part);
    return rc;
}
