/* compute service cp: files and folders to and from a replica, as a tar archive that the instance's
 * own `tar` reads or writes.
 *
 * What comes from an instance is not trusted: everything is made below the place that was asked
 * for, step by step without following a link, and nothing is made but files, folders and links that
 * stay within what was copied. What goes there is unpacked by the instance's user within its walls.
 */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "commands_priv.h"
#include "service_priv.h"
#include "session_priv.h"

#define PATH_CAP   4096
#define WORDS_MAX  1024
#define MODE_MASK  0777
#define BLOCK_SIZE 65536
#define LOOK_MS    500 /* for a signal */

/* --- the two places --------------------------------------------------------------------------- */

struct place {
    char service[SYN_ID_MAX]; /* "": here */
    int64_t replica;          /* -1: any */
    char path[PATH_CAP];
};

/* NAME:PATH or NAME:2:PATH; what has a slash before its first colon, or no colon, is a path here.
 */
static int
parse_place(const char *text, struct place *ret, struct syn_err *err)
{
    const char *colon = strchr(text, ':');
    const char *slash = strchr(text, '/');
    const char *path = colon != NULL ? colon + 1 : text;
    char number[16];
    size_t digits;

    *ret = (struct place){.replica = -1};
    if (colon != NULL && colon > text && (slash == NULL || slash > colon)) {
        (void)snprintf(ret->service, sizeof(ret->service), "%.*s",
                       (int)SYN_MIN(colon - text, (ptrdiff_t)SYN_ID_MAX - 1), text);
        digits = strspn(path, "0123456789");
        if (digits > 0 && path[digits] == ':') {
            int rc;

            (void)snprintf(number, sizeof(number), "%.*s", (int)SYN_MIN(digits, 12), path);
            rc = syn_parse_i64(number, 0, 100000, "the replica", &ret->replica, err);
            if (rc < 0)
                return rc;
            path += digits + 1;
        }
    } else {
        path = text;
    }
    if (path[0] == '\0' || !syn_str_copy(ret->path, sizeof(ret->path), path))
        return SYN_FAIL(err, SYN_E_INVALID, "%.60s: a path is missing, or too long", text);
    return SYN_OK;
}

/* "/a/b/" is "/a" and "b"; "/" has no name. */
static int
split_path(const char *path, char *dir, char *name, struct syn_err *err)
{
    char copy[PATH_CAP];
    size_t len;
    char *slash;

    (void)snprintf(copy, sizeof(copy), "%s", path);
    len = strlen(copy);
    while (len > 1 && copy[len - 1] == '/')
        copy[--len] = '\0';
    slash = strrchr(copy, '/');
    (void)snprintf(name, PATH_CAP, "%s", slash != NULL ? slash + 1 : copy);
    if (name[0] == '\0' || syn_str_eq(name, ".") || syn_str_eq(name, ".."))
        return SYN_FAIL(err, SYN_E_INVALID, "%.100s: name the file or folder itself", path);
    if (slash == NULL)
        (void)snprintf(dir, PATH_CAP, ".");
    else
        (void)snprintf(dir, PATH_CAP, "%.*s", slash == copy ? 1 : (int)(slash - copy), copy);
    return SYN_OK;
}

/* --- a program that reads or writes the archive ----------------------------------------------- */

struct courier {
    struct syn_cli *cli;
    struct syn_cli_session session;
    struct syn_buf block, words; /* what came and is not read yet; what it complains of */
    bool over;
    int code;
    char message[256];
    struct syn_err *err;
    int rc;
};

static void
take_frame(struct courier *courier, const struct syn_frame *frame)
{
    if (frame->kind == SYN_FRAME_OUT) {
        syn_buf_add(&courier->block, frame->data, frame->len);
    } else if (frame->kind == SYN_FRAME_ERR) {
        syn_buf_add(&courier->words, frame->data,
                    SYN_MIN(frame->len, WORDS_MAX - SYN_MIN(courier->words.len, WORDS_MAX)));
    } else if (frame->kind == SYN_FRAME_EXIT) {
        syn_cli_session_exit(frame, &courier->code, courier->message, sizeof(courier->message));
        courier->over = true;
    }
}

/* Take one frame, or wait until something can be done: also until `wanted` bytes may be queued,
 * unless that is 0. False when that is no use. */
static bool
turn(struct courier *courier, size_t wanted)
{
    struct pollfd ready = {.fd = syn_session_fd(courier->session.link)};
    struct syn_frame frame;

    if (courier->rc < 0 || courier->over)
        return false;
    if (syn_cli_interrupted())
        courier->rc = SYN_FAIL(courier->err, SYN_E_CANCELED, "interrupted");
    else if (!syn_session_flush(courier->session.link))
        courier->rc = SYN_FAIL(courier->err, SYN_E_UNAVAILABLE, "the connection broke off");
    else
        courier->rc = syn_session_next(courier->session.link, &frame, courier->err);
    if (courier->rc == SYN_SESSION_ENDED)
        courier->rc = SYN_FAIL(courier->err, SYN_E_UNAVAILABLE, "the connection broke off");
    if (courier->rc < 0)
        return false;
    if (courier->rc == SYN_SESSION_FRAME) {
        courier->rc = SYN_OK;
        take_frame(courier, &frame);
        return true;
    }
    if (wanted > 0 && syn_session_room(courier->session.link) >= wanted)
        return true;
    ready.events = syn_session_events(courier->session.link, true);
    (void)poll(&ready, 1, LOOK_MS);
    return true;
}

static int
courier_open(struct courier *courier, const struct place *place, const char *const *argv,
             size_t count, struct syn_err *err)
{
    char instance[SYN_ID_MAX];
    SYN_JSON(ask);
    int rc = syn_cli_instance_find(courier->cli, &syn_cli_service_workload, place->service,
                                   place->replica, instance, err);

    courier->err = err;
    if (rc == SYN_OK)
        rc = syn_cli_session_ask(argv, count, &ask, err);
    return rc < 0 ? rc : syn_cli_session_open(courier->cli, instance, ask, &courier->session, err);
}

/* Until the program has ended, and how. */
static int
courier_end(struct courier *courier, struct syn_err *err)
{
    size_t len;

    while (turn(courier, 0))
        syn_buf_clear(&courier->block);
    if (courier->rc < 0)
        return courier->rc;
    len = courier->words.len;
    while (len > 0 && courier->words.data[len - 1] == '\n')
        len--;
    if (courier->message[0] != '\0')
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "the instance's tar: %s", courier->message);
    if (courier->code != 0)
        return SYN_FAIL(err, SYN_E_IO, "the instance's tar ended with status %d: %.*s",
                        courier->code, (int)SYN_MIN(len, (size_t)160),
                        len > 0 ? courier->words.data : "");
    return SYN_OK;
}

static void
courier_fini(struct courier *courier)
{
    syn_cli_session_close(&courier->session);
    syn_buf_fini(&courier->block);
    syn_buf_fini(&courier->words);
}

/* --- from there ------------------------------------------------------------------------------- */

struct folder {
    struct folder *next;
    mode_t mode;
    char path[];
};

struct unpacking {
    struct syn_cli *cli;
    int root;                  /* everything is made below */
    const char *theirs, *ours; /* the first name of every path: as it comes, as it is made */
    struct folder *folders;    /* whose modes are set at the end */
    size_t made;
    struct syn_err *err;
};

/* The path of an entry below our root: its first name is the one asked for, none is "..". */
static int
safe_path(const struct unpacking *into, const char *theirs, char *out)
{
    const char *at = theirs != NULL ? theirs : "";
    size_t len = strlen(into->theirs);

    while (syn_str_starts(at, "./"))
        at += 2;
    if (strncmp(at, into->theirs, len) != 0 || (at[len] != '\0' && at[len] != '/'))
        return SYN_FAIL(into->err, SYN_E_CORRUPT, "the archive has %.100s, which was not asked for",
                        at);
    for (const char *part = at + len; *part != '\0';) {
        size_t word;

        part += strspn(part, "/");
        word = strcspn(part, "/");
        if (word == 2 && strncmp(part, "..", 2) == 0)
            return SYN_FAIL(into->err, SYN_E_CORRUPT, "the archive leads out: %.100s", at);
        part += word;
    }
    if (snprintf(out, PATH_CAP, "%s%s", into->ours, at + len) >= PATH_CAP)
        return SYN_FAIL(into->err, SYN_E_TOOBIG, "a path of the archive is too long");
    while (out[0] != '\0' && out[strlen(out) - 1] == '/')
        out[strlen(out) - 1] = '\0';
    return SYN_OK;
}

/* The folder that `path` is in, by way of real folders alone; *ret_name points into `path`. */
static int
open_parent(const struct unpacking *into, char *path, int *ret_fd, char **ret_name)
{
    int fd = fcntl(into->root, F_DUPFD_CLOEXEC, 3);
    char *at = path, *slash;

    while (fd >= 0 && (slash = strchr(at, '/')) != NULL) {
        int below;

        *slash = '\0';
        if (mkdirat(fd, at, 0755) < 0 && errno != EEXIST)
            below = -1;
        else
            below = openat(fd, at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        (void)close(fd);
        fd = below;
        *slash = '/';
        at = slash + 1 + strspn(slash + 1, "/");
    }
    if (fd < 0)
        return SYN_FAIL_SYS(into->err, errno, "making %s", path);
    *ret_fd = fd;
    *ret_name = at;
    return SYN_OK;
}

static int
make_file(const struct unpacking *into, struct archive *from, int dir, const char *name,
          mode_t mode)
{
    int fd;
    int rc = SYN_OK;

    (void)unlinkat(dir, name, 0);
    fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return SYN_FAIL_SYS(into->err, errno, "creating %s", name);
    if (archive_read_data_into_fd(from, fd) != ARCHIVE_OK)
        rc = SYN_FAIL(into->err, SYN_E_IO, "writing %s: %s", name, archive_error_string(from));
    else if (fchmod(fd, mode) < 0)
        rc = SYN_FAIL_SYS(into->err, errno, "setting the mode of %s", name);
    (void)close(fd);
    return rc;
}

/* Its mode is set when everything in it is there. */
static int
make_folder(struct unpacking *into, int dir, const char *name, const char *path, mode_t mode)
{
    size_t len = strlen(path) + 1;
    struct folder *folder;

    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return SYN_FAIL_SYS(into->err, errno, "making %s", name);
    folder = syn_alloc(sizeof(*folder) + len);
    if (folder == NULL)
        return SYN_FAIL(into->err, SYN_E_NOMEM, "no memory for a folder");
    folder->mode = mode | S_IRWXU;
    memcpy(folder->path, path, len);
    folder->next = into->folders;
    into->folders = folder;
    return SYN_OK;
}

/* Only to what lies beside or below it: another one could lead whoever follows it out. */
static bool
link_stays(const char *target)
{
    if (target == NULL || target[0] == '\0' || target[0] == '/')
        return false;
    for (const char *at = target; at != NULL; at = strchr(at, '/')) {
        at += strspn(at, "/");
        if (strncmp(at, "..", 2) == 0 && (at[2] == '\0' || at[2] == '/'))
            return false;
        if (*at == '\0')
            break;
    }
    return true;
}

static int
make_entry(struct unpacking *into, struct archive *from, struct archive_entry *entry)
{
    const char *hard = archive_entry_hardlink(entry);
    mode_t mode = archive_entry_perm(entry) & MODE_MASK;
    char path[PATH_CAP], *name = NULL;
    int dir = -1;
    int rc = safe_path(into, archive_entry_pathname(entry), path);

    if (rc == SYN_OK)
        rc = open_parent(into, path, &dir, &name);
    if (rc < 0 || name == NULL)
        return rc;
    if (hard == NULL && archive_entry_filetype(entry) == AE_IFREG) {
        rc = make_file(into, from, dir, name, mode);
    } else if (hard == NULL && archive_entry_filetype(entry) == AE_IFDIR) {
        rc = make_folder(into, dir, name, path, mode);
    } else if (hard == NULL && archive_entry_filetype(entry) == AE_IFLNK &&
               link_stays(archive_entry_symlink(entry))) {
        (void)unlinkat(dir, name, 0);
        if (symlinkat(archive_entry_symlink(entry), dir, name) < 0)
            rc = SYN_FAIL_SYS(into->err, errno, "linking %s", path);
    } else {
        syn_cli_note(into->cli, "%s is left out: a device, a pipe, or a link that leads elsewhere",
                     path);
        into->made--;
    }
    into->made++;
    (void)close(dir);
    return rc;
}

/* Innermost first, which is the order they stand in. */
static void
finish_folders(struct unpacking *into)
{
    while (into->folders != NULL) {
        struct folder *folder = into->folders;
        char *name = NULL;
        int dir = -1;

        into->folders = folder->next;
        if (open_parent(into, folder->path, &dir, &name) == SYN_OK && name != NULL) {
            int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

            if (fd >= 0) {
                (void)fchmod(fd, folder->mode);
                (void)close(fd);
            }
            (void)close(dir);
        }
        syn_free(folder);
    }
}

static la_ssize_t
read_block(struct archive *archive, void *arg, const void **ret)
{
    struct courier *courier = arg;

    (void)archive;
    syn_buf_clear(&courier->block);
    while (courier->block.len == 0 && turn(courier, 0))
        continue;
    *ret = courier->block.data;
    return courier->rc < 0 ? ARCHIVE_FATAL : (la_ssize_t)courier->block.len;
}

static int
unpack(struct unpacking *into, struct courier *courier)
{
    struct archive *from = archive_read_new();
    struct archive_entry *entry;
    int rc = SYN_OK, got = ARCHIVE_FATAL;

    if (from == NULL)
        return SYN_FAIL(into->err, SYN_E_NOMEM, "no memory for an archive");
    (void)archive_read_support_format_tar(from);
    (void)archive_read_support_format_empty(from);
    if (archive_read_open(from, courier, NULL, read_block, NULL) == ARCHIVE_OK) {
        while (rc == SYN_OK && ((got = archive_read_next_header(from, &entry)) == ARCHIVE_OK ||
                                got == ARCHIVE_WARN))
            rc = make_entry(into, from, entry);
    }
    if (rc == SYN_OK && courier->rc < 0)
        rc = courier->rc;
    else if (rc == SYN_OK && got != ARCHIVE_EOF)
        rc = SYN_FAIL(into->err, SYN_E_CORRUPT, "no archive came: %s", archive_error_string(from));
    (void)archive_read_free(from);
    finish_folders(into);
    return rc;
}

/* Into the folder DESTINATION, or as DESTINATION where there is none. */
static int
open_target(const char *path, const char *theirs, char *ours, int *ret_fd, struct syn_err *err)
{
    char dir[PATH_CAP];
    struct stat st;

    if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
        (void)snprintf(dir, sizeof(dir), "%s", path);
        (void)snprintf(ours, PATH_CAP, "%s", theirs);
    } else {
        int rc = split_path(path, dir, ours, err);

        if (rc < 0)
            return rc;
    }
    *ret_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return *ret_fd < 0 ? SYN_FAIL_SYS(err, errno, "opening %s", dir) : SYN_OK;
}

static int
copy_from(struct syn_cli *cli, const struct place *from, const struct place *to,
          struct syn_err *err)
{
    char dir[PATH_CAP], theirs[PATH_CAP], ours[PATH_CAP];
    const char *const argv[] = {"tar", "-cf", "-", "-C", dir, "--", theirs};
    struct unpacking into = {.cli = cli, .root = -1, .theirs = theirs, .ours = ours, .err = err};
    struct courier courier = {.cli = cli};
    int rc = split_path(from->path, dir, theirs, err);

    if (rc == SYN_OK)
        rc = open_target(to->path, theirs, ours, &into.root, err);
    if (rc == SYN_OK)
        rc = courier_open(&courier, from, argv, SYN_LEN(argv), err);
    if (rc == SYN_OK) {
        syn_session_send(courier.session.link, SYN_FRAME_IN_END, "", 0);
        rc = unpack(&into, &courier);
    }
    if (rc == SYN_OK)
        rc = courier_end(&courier, err);
    courier_fini(&courier);
    if (into.root >= 0)
        (void)close(into.root);
    return rc;
}

/* --- to there --------------------------------------------------------------------------------- */

static la_ssize_t
write_block(struct archive *archive, void *arg, const void *data, size_t len)
{
    struct courier *courier = arg;
    size_t part = SYN_MIN(len, SYN_FRAME_MAX);

    (void)archive;
    while (syn_session_room(courier->session.link) < part && turn(courier, part))
        syn_buf_clear(&courier->block);
    if (courier->over || courier->rc < 0)
        return ARCHIVE_FATAL;
    syn_session_send(courier->session.link, SYN_FRAME_IN, data, part);
    return (la_ssize_t)part;
}

static int
send_data(struct archive *from, struct archive *to)
{
    const void *block;
    size_t len;
    la_int64_t offset, at = 0;
    static const char zeros[4096];
    int got;

    while ((got = archive_read_data_block(from, &block, &len, &offset)) == ARCHIVE_OK) {
        while (at < offset) { /* a hole */
            size_t gap = (size_t)SYN_MIN(offset - at, (la_int64_t)sizeof(zeros));

            if (archive_write_data(to, zeros, gap) < 0)
                return ARCHIVE_FATAL;
            at += (la_int64_t)gap;
        }
        if (archive_write_data(to, block, len) < 0)
            return ARCHIVE_FATAL;
        at += (la_int64_t)len;
    }
    return got == ARCHIVE_EOF ? ARCHIVE_OK : got;
}

/* One file, folder or link, under its name there and as nobody's. */
static int
send_entry(struct syn_cli *cli, struct archive *from, struct archive *to,
           struct archive_entry *entry, size_t skip, const char *name)
{
    char path[PATH_CAP];
    __LA_MODE_T kind = archive_entry_filetype(entry);

    if (kind != AE_IFREG && kind != AE_IFDIR && kind != AE_IFLNK) {
        syn_cli_note(cli, "%s is left out: it is no file, folder or link",
                     archive_entry_pathname(entry));
        return ARCHIVE_OK;
    }
    (void)snprintf(path, sizeof(path), "%s%s", name, archive_entry_pathname(entry) + skip);
    archive_entry_set_pathname(entry, path);
    archive_entry_set_hardlink(entry, NULL);
    archive_entry_set_uid(entry, 0);
    archive_entry_set_gid(entry, 0);
    archive_entry_set_uname(entry, NULL);
    archive_entry_set_gname(entry, NULL);
    archive_entry_xattr_clear(entry);
    archive_entry_acl_clear(entry);
    archive_entry_set_fflags(entry, 0, 0);
    archive_entry_set_perm(entry, archive_entry_perm(entry) & MODE_MASK);
    if (archive_write_header(to, entry) != ARCHIVE_OK)
        return ARCHIVE_FATAL;
    return kind == AE_IFREG ? send_data(from, to) : ARCHIVE_OK;
}

static int
pack(struct courier *courier, const char *path, const char *name, struct syn_err *err)
{
    struct archive *from = archive_read_disk_new(), *to = archive_write_new();
    struct archive_entry *entry = archive_entry_new();
    int got = ARCHIVE_FATAL;

    if (from != NULL && to != NULL && entry != NULL) {
        (void)archive_read_disk_set_symlink_physical(from);
        (void)archive_write_set_format_pax_restricted(to);
        (void)archive_write_set_bytes_per_block(to, BLOCK_SIZE);
        got = archive_read_disk_open(from, path);
        if (got == ARCHIVE_OK)
            got = archive_write_open(to, courier, NULL, write_block, NULL);
    }
    while (got == ARCHIVE_OK && (got = archive_read_next_header2(from, entry)) == ARCHIVE_OK) {
        (void)archive_read_disk_descend(from);
        got = send_entry(courier->cli, from, to, entry, strlen(path), name);
    }
    if (got == ARCHIVE_EOF)
        got = archive_write_close(to);
    if (got != ARCHIVE_OK && courier->rc == SYN_OK && !courier->over)
        courier->rc =
            SYN_FAIL(err, SYN_E_IO, "reading %s: %s", path,
                     from != NULL && archive_error_string(from) != NULL ? archive_error_string(from)
                                                                        : "it cannot be");
    archive_entry_free(entry);
    (void)archive_write_free(to);
    (void)archive_read_free(from);
    return courier->rc < 0 ? courier->rc : SYN_OK;
}

/* Is the path a folder there? */
static int
is_folder_there(struct syn_cli *cli, const struct place *place, bool *ret, struct syn_err *err)
{
    const char *const argv[] = {"test", "-d", place->path};
    char instance[SYN_ID_MAX];
    int code = 1;
    int rc = syn_cli_instance_find(cli, &syn_cli_service_workload, place->service, place->replica,
                                   instance, err);

    if (rc == SYN_OK)
        rc = syn_cli_session_test(cli, instance, argv, SYN_LEN(argv), &code, err);
    *ret = rc == SYN_OK && code == 0;
    return rc;
}

static int
copy_to(struct syn_cli *cli, const struct place *from, const struct place *to, struct syn_err *err)
{
    char dir[PATH_CAP], name[PATH_CAP], ours[PATH_CAP], path[PATH_CAP];
    const char *const argv[] = {"tar", "-xpf", "-", "-C", dir};
    struct courier courier = {.cli = cli};
    bool folder = false;
    int rc;

    (void)snprintf(path, sizeof(path), "%s", from->path);
    while (strlen(path) > 1 && path[strlen(path) - 1] == '/')
        path[strlen(path) - 1] = '\0';
    if (access(path, R_OK) < 0)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    rc = is_folder_there(cli, to, &folder, err);
    if (rc == SYN_OK && folder) {
        (void)snprintf(dir, sizeof(dir), "%s", to->path);
        rc = split_path(path, ours, name, err);
    } else if (rc == SYN_OK) {
        rc = split_path(to->path, dir, name, err);
    }
    if (rc == SYN_OK)
        rc = courier_open(&courier, to, argv, SYN_LEN(argv), err);
    if (rc == SYN_OK) {
        rc = pack(&courier, path, name, err);
        if (rc == SYN_OK && !courier.over)
            syn_session_send(courier.session.link, SYN_FRAME_IN_END, "", 0);
        if (rc == SYN_OK)
            rc = courier_end(&courier, err);
    }
    courier_fini(&courier);
    return rc;
}

/* --- the command ------------------------------------------------------------------------------ */

static int
run_copy(struct syn_cli *cli)
{
    struct place from, to;
    struct syn_err err = {0};
    int rc = parse_place(syn_cli_operand(cli, 0), &from, &err);

    (void)signal(SIGPIPE, SIG_IGN);
    if (rc == SYN_OK)
        rc = parse_place(syn_cli_operand(cli, 1), &to, &err);
    if (rc == SYN_OK && (from.service[0] == '\0') == (to.service[0] == '\0'))
        rc = SYN_FAIL(&err, SYN_E_INVALID,
                      "one of the two is SERVICE:PATH, and the other a path here");
    if (rc == SYN_OK)
        rc = from.service[0] != '\0' ? copy_from(cli, &from, &to, &err)
                                     : copy_to(cli, &from, &to, &err);
    return rc < 0 ? syn_cli_fail(cli, &err) : 0;
}

static const struct syn_cli_operand operands[] = {
    {"FROM", SYN_CLI_FILE, true, false, "SERVICE:PATH, SERVICE:REPLICA:PATH, or a path here"},
    {"TO", SYN_CLI_FILE, true, false, "Likewise"},
};

const struct syn_cli_command syn_cli_service_copy = {
    .path = "compute service cp",
    .summary = "Copy files and folders to or from a replica",
    .detail =
        "Into TO where that is a folder, else as TO. Modes are kept, owners are not. Links "
        "come along as long as they stay within what is copied; devices and pipes do not. The "
        "image needs a tar. A path here with a colon in it is written ./PATH.",
    .examples = "  synor compute service cp my-api:/synor/output/report.csv .\n"
                "  synor compute service cp ./site my-api:1:/tmp\n",
    .operands = operands,
    .operand_count = SYN_LEN(operands),
    .workload = &syn_cli_service_workload,
    .run = run_copy};
