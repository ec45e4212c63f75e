/* Which interpreters of languages the machine has for functions. An instance on the node's own
 * files sees /usr and nothing else, so only what is really there counts: a program of a version
 * manager in somebody's home, or a script that leads to one, does not. Each is asked for its
 * version once, and again when its file is another: what is installed while the agent runs is told
 * with the next heartbeat. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/str.h>

#include "agent_priv.h"

#define ANSWER_MS  5000
#define ANSWER_MAX 256
#define MINOR_MAX  40

static const struct language {
    const char *name;
    const char *program;
    const char *before;    /* its version, in what it answers */
    unsigned major, minor; /* the least that its functions can be run by */
} languages[] = {
    {"python", "python3", "Python ", 3, 8},
    {"node", "node", "v", 18, 0},
    {"ruby", "ruby", "ruby ", 3, 0},
    {"java", "java", "openjdk ", 17, 0},
};

/* The file that the path leads to, when an instance sees that, and it is a program. `root` is ""
 * or a test's. */
static bool
find_program(const char *root, const char *path, char real[PATH_MAX], struct stat *st)
{
    char head[4] = "", usr[AGT_PATH_MAX];
    int fd;
    bool elf;

    (void)snprintf(usr, sizeof(usr), "%s/usr/", root);
    if (!realpath(path, real) || !syn_str_starts(real, usr))
        return false;
    fd = open(real, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    elf = fstat(fd, st) == 0 && S_ISREG(st->st_mode) && (st->st_mode & S_IXOTH) != 0 &&
          read(fd, head, sizeof(head)) == (ssize_t)sizeof(head) &&
          memcmp(head, "\177ELF", sizeof(head)) == 0;
    (void)close(fd);
    return elf;
}

static void
ask_version(const struct language *language, const char *path, char *out, size_t cap)
{
    static const char *const env[] = {"PATH=/usr/bin:/bin", "LC_ALL=C", "HOME=/nonexistent", NULL};
    const char *const argv[] = {path, "--version", NULL};
    const struct syn_child_question question = {
        .program = path, .argv = argv, .env = env, .limit_ms = ANSWER_MS, .bytes_max = ANSWER_MAX};
    size_t before = strlen(language->before);
    SYN_BUF(text);
    const char *said;
    int status = 0;

    out[0] = '\0';
    if (syn_child_ask(&question, &text, &status, NULL) < 0 || !WIFEXITED(status) ||
        WEXITSTATUS(status) != 0)
        return;
    said = syn_buf_text(&text);
    if (strncmp(said, language->before, before) == 0)
        (void)snprintf(out, cap, "%.*s", (int)strspn(said + before, "0123456789."), said + before);
}

/* What is known of the file; asked now when it is another than it was. NULL: there are too many. */
static const struct agt_language *
version_of(struct agt_languages *known, const struct language *language, const char *real,
           const struct stat *st)
{
    struct agt_language *row = NULL;

    for (size_t i = 0; i < known->count && row == NULL; i++)
        if (syn_str_eq(known->rows[i].real, real))
            row = &known->rows[i];
    if (row == NULL && known->count == AGT_LANGUAGES_MAX)
        return NULL;
    if (row == NULL)
        row = &known->rows[known->count++];
    else if (row->ino == st->st_ino && row->size == st->st_size && row->mtime == st->st_mtim.tv_sec)
        return row;
    if (!syn_str_copy(row->real, sizeof(row->real), real)) {
        row->real[0] = row->version[0] = '\0';
        return row;
    }
    row->ino = st->st_ino;
    row->size = st->st_size;
    row->mtime = st->st_mtim.tv_sec;
    ask_version(language, real, row->version, sizeof(row->version));
    return row;
}

/* The number before the next dot; *at moves behind that. */
static unsigned
take_number(const char **at)
{
    unsigned number = 0;

    for (; **at >= '0' && **at <= '9' && number < 10000; (*at)++)
        number = number * 10 + (unsigned)(**at - '0');
    *at += **at == '.';
    return number;
}

static bool
is_new_enough(const struct language *language, const char *version)
{
    unsigned major = take_number(&version), minor = take_number(&version);

    return major > language->major || (major == language->major && minor >= language->minor);
}

static int
add_program(struct agt_languages *known, const struct language *language, const char *root,
            const char *path, json_t *list, struct syn_err *err)
{
    char real[PATH_MAX];
    const struct agt_language *found;
    const json_t *other;
    json_t *row = NULL;
    struct stat st;
    size_t i;
    int rc;

    if (json_array_size(list) == AGT_LANGUAGES_MAX || !find_program(root, path, real, &st))
        return SYN_OK;
    found = version_of(known, language, real, &st);
    if (found == NULL || found->version[0] == '\0')
        return SYN_OK;
    json_array_foreach (list, i, other) /* "python3" is "python3.11" */
        if (syn_str_eq(syn_json_str(other, "name", ""), language->name) &&
            syn_str_eq(syn_json_str(other, "version", ""), found->version))
            return SYN_OK;
    rc = syn_json_pack(&row, err, "{s:s, s:s, s:s, s:s}", "name", language->name, "version",
                       found->version, "path", path + strlen(root), "state",
                       is_new_enough(language, found->version) ? "ready" : "too-old");
    return rc < 0 ? rc : syn_json_append_take(list, row, err);
}

/* "python3" and "python3.8" to "python3.40"; "node". */
static int
look(struct agt_languages *known, const struct language *language, const char *root,
     const char *folder, json_t *list, struct syn_err *err)
{
    unsigned last = language->minor > 0 ? MINOR_MAX : 0;
    char path[AGT_PATH_MAX];
    int rc;

    (void)snprintf(path, sizeof(path), "%s%s/%s", root, folder, language->program);
    rc = add_program(known, language, root, path, list, err);
    for (unsigned minor = language->minor; minor <= last && last > 0 && rc == SYN_OK; minor++) {
        (void)snprintf(path, sizeof(path), "%s%s/%s.%u", root, folder, language->program, minor);
        rc = add_program(known, language, root, path, list, err);
    }
    return rc;
}

int
agt_languages(struct agt_languages *known, const char *root, json_t **ret, struct syn_err *err)
{
    static const char *const folders[] = {"/usr/bin", "/usr/local/bin"};
    SYN_JSON(list);
    int rc = SYN_OK;

    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the inventory");
    for (size_t i = 0; i < SYN_LEN(languages); i++)
        for (size_t k = 0; k < SYN_LEN(folders) && rc == SYN_OK; k++)
            rc = look(known, &languages[i], root, folders[k], list, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(list);
    return rc;
}
