/* Dependencies of a function are installed where it is deployed from, once for each content of
 * their file, and uploaded as a folder that instances mount read-only. It is not done on a node:
 * what a package runs when it is installed is its owner's business, on its owner's machine. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>

#include "function_priv.h"
#include "tree.h"

#define FILE_MAX     ((size_t)4 << 20)
#define FOLDER_MAX   (PATH_MAX - 64)
#define NAME         "function-layer-"
#define NOT_THERE    127 /* no such program, as a shell says it */
#define PYTHON_BEGIN "python"

struct making;

/* How the dependencies of a language are installed. */
struct way {
    const char *begins; /* of its runtimes' names */
    const char *lock;   /* kept to, where it is beside the file; NULL: nothing is */
    const char *within; /* of the folder, what instances mount */
    int (*install)(const struct making *making, struct syn_err *err);
};

/* One layer in the making. */
struct making {
    const struct way *way;
    struct syn_cli *cli;
    const char *runtime;
    const char *file;
    struct syn_buf content, lock;
    char name[64];
    char folder[FOLDER_MAX]; /* of our own, removed at the end; "": not made yet */
};

/* --- what is run ------------------------------------------------------------------------------ */

/* "python311" is "3.11"; "" of "python3", which is any. */
static const char *
version_of(const char *runtime, char out[16])
{
    const char *digits = runtime + strlen(PYTHON_BEGIN);

    out[0] = '\0';
    if (syn_str_starts(runtime, PYTHON_BEGIN) && digits[0] == '3' && digits[1] != '\0')
        (void)snprintf(out, 16, "3.%.8s", digits + 1);
    return out;
}

void
syn_cli_layer_pip(const char *runtime, const char *file, const char *folder, bool same, bool quiet,
                  struct syn_cli_layer_command *ret)
{
    size_t n = 0;

    *ret = (struct syn_cli_layer_command){{NULL}, "", "python3", ""};
    if (*version_of(runtime, ret->version) && same)
        (void)snprintf(ret->python, sizeof(ret->python), "python%s", ret->version);
    ret->argv[n++] = ret->python;
    ret->argv[n++] = "-m";
    ret->argv[n++] = "pip";
    ret->argv[n++] = "install";
    ret->argv[n++] = "--disable-pip-version-check";
    ret->argv[n++] = "--no-input";
    ret->argv[n++] = "--no-compile";
    if (quiet)
        ret->argv[n++] = "--quiet";
    if (*ret->version && !same) { /* nothing can be built for it here */
        ret->argv[n++] = "--only-binary=:all:";
        ret->argv[n++] = "--python-version";
        ret->argv[n++] = ret->version;
    }
    ret->argv[n++] = "--target";
    ret->argv[n++] = folder;
    ret->argv[n++] = "--requirement";
    ret->argv[n++] = file;
    assert(n < SYN_CLI_LAYER_WORDS_MAX);
}

void
syn_cli_layer_npm(const char *folder, bool locked, bool quiet, struct syn_cli_layer_command *ret)
{
    size_t n = 0;

    *ret = (struct syn_cli_layer_command){{NULL}, "", "", ""};
    ret->argv[n++] = "npm";
    ret->argv[n++] = locked ? "ci" : "install";
    ret->argv[n++] = "--omit=dev";
    ret->argv[n++] = "--no-audit";
    ret->argv[n++] = "--no-fund";
    ret->argv[n++] = "--install-links"; /* what is on this machine becomes part of the layer */
    ret->argv[n++] = quiet ? "--loglevel=error" : "--loglevel=notice";
    ret->argv[n++] = "--prefix";
    ret->argv[n++] = folder;
    assert(n < SYN_CLI_LAYER_WORDS_MAX);
}

void
syn_cli_layer_bundle(const char *folder, bool locked, bool quiet, struct syn_cli_layer_command *ret)
{
    size_t n = 0;

    *ret = (struct syn_cli_layer_command){{NULL}, "", "", ""};
    (void)snprintf(ret->gemfile, sizeof(ret->gemfile), "BUNDLE_GEMFILE=%s/Gemfile", folder);
    ret->argv[n++] = "env"; /* what bundler goes by, instead of somebody's own configuration */
    ret->argv[n++] = ret->gemfile;
    ret->argv[n++] = "BUNDLE_IGNORE_CONFIG=1";
    ret->argv[n++] = "BUNDLE_WITHOUT=development:test";
    ret->argv[n++] = "bundle";
    ret->argv[n++] = "install";
    ret->argv[n++] = "--no-cache";
    if (locked)
        ret->argv[n++] = "--frozen";
    if (quiet)
        ret->argv[n++] = "--quiet";
    ret->argv[n++] = "--path";
    ret->argv[n++] = folder;
    assert(n < SYN_CLI_LAYER_WORDS_MAX);
}

void
syn_cli_layer_name(const char *runtime, const struct syn_buf *file, const struct syn_buf *lock,
                   char out[64])
{
    syn_u128 state = SYN_CLI_HASH_BEGIN;

    syn_cli_hash(&state, runtime, strlen(runtime) + 1);
    syn_cli_hash(&state, &file->len, sizeof(file->len));
    syn_cli_hash(&state, syn_buf_text(file), file->len);
    syn_cli_hash(&state, syn_buf_text(lock), lock->len);
    (void)snprintf(out, 64, NAME "%016llx%016llx", (unsigned long long)(state >> 64),
                   (unsigned long long)state);
}

static bool
find_program(const char *name, char *out, size_t cap)
{
    const char *folders = getenv("PATH");

    for (const char *at = folders != NULL ? folders : "/usr/bin"; *at != '\0';
         at += strspn(at, ":")) {
        size_t len = strcspn(at, ":");

        if (at[0] == '/' && snprintf(out, cap, "%.*s/%s", (int)len, at, name) < (int)cap &&
            access(out, X_OK) == 0)
            return true;
        at += len;
    }
    return false;
}

/* Run it; what it says goes to standard error. *ret_status: as a shell says it. */
static int
run(const struct syn_cli_layer_command *command, int *ret_status, struct syn_err *err)
{
    char path[PATH_MAX];
    const struct syn_child_options options = {.argv = command->argv,
                                              .env = (const char *const *)environ,
                                              .in = SYN_CHILD_NULL,
                                              .out = STDERR_FILENO,
                                              .err = STDERR_FILENO,
                                              .passed = SYN_CHILD_NULL};
    pid_t pid;
    int rc, status;

    *ret_status = NOT_THERE;
    if (!find_program(command->argv[0], path, sizeof(path)))
        return SYN_OK;
    rc = syn_child_spawn(path, &options, &pid, err);
    if (rc < 0)
        return rc;
    status = syn_child_wait(pid);
    *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return SYN_OK;
}

/* --- pip, npm, and bundler -------------------------------------------------------------------- */

static bool
has_pip(const char *python)
{
    const char *const argv[] = {python, "-m", "pip", "--version", NULL};
    char path[PATH_MAX];
    const struct syn_child_question question = {.program = path,
                                                .argv = argv,
                                                .env = (const char *const *)environ,
                                                .limit_ms = 60000,
                                                .bytes_max = 65536,
                                                .errors_too = true};
    SYN_BUF(said);
    int status = 0;

    return find_program(python, path, sizeof(path)) &&
           syn_child_ask(&question, &said, &status, NULL) == SYN_OK && WIFEXITED(status) &&
           WEXITSTATUS(status) == 0;
}

/* Content has no times, which compiled files go by: these go by nothing, as the layer never
 * changes. Where that fails modules are compiled at each start. */
static void
compile(const struct making *making, const char *python)
{
    struct syn_cli_layer_command command = {
        {python, "-m", "compileall", "-q", "--invalidation-mode", "unchecked-hash", making->folder},
        "",
        "",
        ""};
    int status = 0;

    (void)!run(&command, &status, NULL);
}

static int
install_python(const struct making *making, struct syn_err *err)
{
    struct syn_cli_layer_command command;
    bool same = true;
    int status = 0, rc;

    syn_cli_layer_pip(making->runtime, making->file, making->folder, same, making->cli->quiet,
                      &command);
    if (!has_pip(command.python)) {
        same = false;
        syn_cli_layer_pip(making->runtime, making->file, making->folder, same, making->cli->quiet,
                          &command);
        if (!has_pip(command.python))
            return SYN_FAIL(err, SYN_E_NOTFOUND,
                            "there is no pip here, which installs %.200s: apt-get install "
                            "python3-pip",
                            making->file);
        if (*command.version)
            syn_cli_note(making->cli,
                         "There is no Python %s with pip here: only packages that come built are "
                         "installed.",
                         command.version);
    }
    rc = run(&command, &status, err);
    if (rc == SYN_OK && status != 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "pip could not install %.200s (status %d); what it said "
                        "stands above",
                        making->file, status);
    if (rc == SYN_OK && (same || !*command.version))
        compile(making, command.python);
    return rc;
}

static int
put_file(const struct making *making, const char *name, const struct syn_buf *content,
         struct syn_err *err)
{
    char path[PATH_MAX];

    (void)snprintf(path, sizeof(path), "%s/%s", making->folder, name);
    return syn_cli_write_file(path, content, err);
}

/* Who reads a list of its own name, and what was resolved beside it. */
struct installer {
    const char *list, *tool, *package; /* package: of Debian's, that has the tool */
    void (*command)(const char *folder, bool locked, bool quiet, struct syn_cli_layer_command *ret);
};

static int
install_by(const struct making *making, const struct installer *by, struct syn_err *err)
{
    struct syn_cli_layer_command command;
    bool locked = making->lock.len > 0;
    int status = 0, rc = put_file(making, by->list, &making->content, err);

    if (rc == SYN_OK && locked)
        rc = put_file(making, making->way->lock, &making->lock, err);
    by->command(making->folder, locked, making->cli->quiet, &command);
    if (rc == SYN_OK)
        rc = run(&command, &status, err);
    if (rc < 0 || status == 0)
        return rc;
    if (status == NOT_THERE)
        return SYN_FAIL(err, SYN_E_NOTFOUND,
                        "there is no %s here, which installs %.200s: apt-get install %s", by->tool,
                        making->file, by->package);
    return SYN_FAIL(err, SYN_E_INVALID,
                    "%s could not install %.200s (status %d); what it said stands above", by->tool,
                    making->file, status);
}

static int
install_node(const struct making *making, struct syn_err *err)
{
    static const struct installer npm = {"package.json", "npm", "npm", syn_cli_layer_npm};

    return install_by(making, &npm, err);
}

static int
install_ruby(const struct making *making, struct syn_err *err)
{
    static const struct installer bundler = {"Gemfile", "bundler", "ruby-bundler",
                                             syn_cli_layer_bundle};

    return install_by(making, &bundler, err);
}

static const struct way ways[] = {
    {PYTHON_BEGIN, NULL, "", install_python},
    {"node", "package-lock.json", "/node_modules", install_node}, /* all that node looks for */
    {"ruby", "Gemfile.lock", "/ruby", install_ruby},
};

/* --- the layer -------------------------------------------------------------------------------- */

static int
read_files(struct making *making, struct syn_err *err)
{
    const char *slash = strrchr(making->file, '/');
    char lock[PATH_MAX];
    int rc = syn_cli_read_file(making->file, FILE_MAX, &making->content, err);

    if (rc < 0 || making->way->lock == NULL)
        return rc;
    (void)snprintf(lock, sizeof(lock), "%.*s%s",
                   slash != NULL ? (int)(slash + 1 - making->file) : 0, making->file,
                   making->way->lock);
    return access(lock, F_OK) == 0 ? syn_cli_read_file(lock, FILE_MAX, &making->lock, err) : SYN_OK;
}

/* NOTFOUND: it has to be made. */
static int
look_up(const struct making *making, struct syn_err *err)
{
    char path[128];
    SYN_JSON(answer);

    (void)snprintf(path, sizeof(path), "/v1/names/lookup?name=%s", making->name);
    return syn_cli_call(making->cli, "GET", path, NULL, &answer, err);
}

static int
make_folder(struct making *making, struct syn_err *err)
{
    const char *under = getenv("TMPDIR");
    char path[FOLDER_MAX];

    if (snprintf(path, sizeof(path), "%s/synor-layer-XXXXXX",
                 under != NULL && under[0] == '/' ? under : "/tmp") >= (int)sizeof(path))
        return SYN_FAIL(err, SYN_E_INVALID, "TMPDIR: too long");
    if (mkdtemp(path) == NULL)
        return SYN_FAIL_SYS(err, errno, "making a folder in %s", under != NULL ? under : "/tmp");
    (void)syn_str_copy(making->folder, sizeof(making->folder), path);
    return SYN_OK;
}

static int
upload(const struct making *making, struct syn_err *err)
{
    char path[PATH_MAX];
    struct syn_cli_upload wanted = {.path = path, .name = making->name};
    SYN_JSON(packed);

    (void)snprintf(path, sizeof(path), "%s%s", making->folder, making->way->within);
    if (access(path, F_OK) != 0)
        return SYN_FAIL(err, SYN_E_INVALID, "%.200s lists nothing; leave it out", making->file);
    return syn_cli_upload(making->cli, &wanted, &packed, err);
}

static int
make(struct making *making, struct syn_err *err)
{
    int rc = make_folder(making, err);

    if (rc < 0)
        return rc;
    syn_cli_note(making->cli, "Installing what %s lists.", making->file);
    rc = making->way->install(making, err);
    if (rc == SYN_OK)
        rc = upload(making, err);
    syn_tree_remove(making->folder);
    return rc;
}

int
syn_cli_function_layer(struct syn_cli *cli, const char *runtime, const char *dependencies,
                       char *ret_ref, size_t cap, struct syn_err *err)
{
    struct making making = {.cli = cli, .runtime = runtime, .file = dependencies};
    int rc;

    for (size_t i = 0; i < SYN_LEN(ways); i++)
        if (syn_str_starts(runtime, ways[i].begins))
            making.way = &ways[i];
    if (making.way == NULL)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "--dependencies: functions in %.40s have what they need within; leave it "
                        "out",
                        runtime);
    rc = read_files(&making, err);
    if (rc == SYN_OK) {
        syn_cli_layer_name(runtime, &making.content, &making.lock, making.name);
        rc = look_up(&making, err);
        if (rc == SYN_OK)
            syn_cli_note(cli, "What %s lists is installed already.", dependencies);
        if (rc == SYN_E_NOTFOUND)
            rc = make(&making, err);
    }
    if (rc == SYN_OK && snprintf(ret_ref, cap, "synor://%s", making.name) >= (int)cap)
        rc = SYN_FAIL(err, SYN_E_INTERNAL, "a reference of %zu bytes", cap);
    syn_buf_fini(&making.content);
    syn_buf_fini(&making.lock);
    return rc < 0 ? syn_err_wrap(err, rc, "--dependencies") : SYN_OK;
}
