/* Which sandbox works here is found by running one, never by asking whether a file exists: gVisor's
 * platforms depend on kernel, build and nesting, runc on the cgroup layout and on what user
 * namespaces may do. A result is kept by the program's path, size and modification time and by the
 * kernel, so a node pays for it once. */
#include "native_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/child.h>
#include <synor/base/str.h>
#include <synor/base/world.h>

#include "file_priv.h"
#include "instance_priv.h"

#define ASK_MS        10000
#define ASK_BYTES_MAX 65536
#define TRIAL_MS      20000
#define TRIAL_VERSION 3
#define KEEPER_OLDEST \
    20240408 /* release of gVisor: what is saved goes on in a sandbox made for it */
#define SWEEP_TRIES    40
#define SWEEP_PAUSE_MS 50
#define TRIAL_NAME     "probe" /* of its folder, with a number */
#define KEY_MAX        (SYN_INSTANCE_PATH_MAX + 512)

/* What must be unchanged for a kept result to count. */
static void
trial_key(const struct syn_native *native, const char *tool, bool gvisor, char *out)
{
    struct utsname machine = {0};
    struct stat st = {0}, keeper = {0};

    (void)uname(&machine);
    (void)stat(tool, &st);
    if (gvisor)
        (void)stat(native->keeper, &keeper);
    (void)snprintf(out, KEY_MAX, "%d %s %lld %lld.%09ld %lld %lld.%09ld %s %u", TRIAL_VERSION, tool,
                   (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                   (long long)keeper.st_size, (long long)keeper.st_mtim.tv_sec,
                   keeper.st_mtim.tv_nsec, machine.release, (unsigned)geteuid());
}

static bool
trial_load(const struct syn_native *native, const char *file, const char *key,
           struct syn_sandbox_report *trial)
{
    SYN_JSON(doc);
    char path[SYN_PATH_MAX];

    if (syn_path_format(path, sizeof(path), NULL, "%s/%s", native->cache, file) < 0 ||
        syn_file_read_json(AT_FDCWD, path, &doc, NULL) < 0 ||
        !syn_str_eq(syn_json_str(doc, "key", ""), key) || !syn_json_bool(doc, "works", false))
        return false;
    trial->works = true;
    (void)syn_str_copy(trial->platform, sizeof(trial->platform), syn_json_str(doc, "platform", ""));
    (void)syn_str_copy(trial->version, sizeof(trial->version), syn_json_str(doc, "version", ""));
    (void)syn_str_copy(trial->detail, sizeof(trial->detail), syn_json_str(doc, "detail", ""));
    (void)syn_str_copy(trial->snapshots, sizeof(trial->snapshots),
                       syn_json_str(doc, "snapshots", ""));
    trial->gpus = syn_json_bool(doc, "gpus", false);
    return true;
}

/* Only what works is kept: a failure may have been a moment's, and costs little to try again. */
static void
trial_save(const struct syn_native *native, const char *file, const char *key,
           const struct syn_sandbox_report *trial)
{
    SYN_JSON(doc);
    char path[SYN_PATH_MAX];

    if (!trial->works ||
        syn_path_format(path, sizeof(path), NULL, "%s/%s", native->cache, file) < 0)
        return;
    if (syn_json_pack(&doc, NULL, "{s:s, s:b, s:s, s:s, s:s, s:s, s:b}", "key", key, "works", 1,
                      "platform", trial->platform, "version", trial->version, "detail",
                      trial->detail, "snapshots", trial->snapshots, "gpus",
                      trial->gpus ? 1 : 0) == SYN_OK)
        (void)!syn_file_write_json(AT_FDCWD, path, doc, true, NULL);
}

/* Run the tool for what it says. True when it ended well. */
static bool
ask_tool(const char *const *argv, char *out, size_t cap)
{
    static const char *const env[] = {"PATH=/usr/bin", NULL};
    const struct syn_child_question question = {.program = argv[0],
                                                .argv = argv,
                                                .env = env,
                                                .limit_ms = ASK_MS,
                                                .bytes_max = ASK_BYTES_MAX};
    SYN_BUF(text);
    int status = 0;
    int rc = syn_child_ask(&question, &text, &status, NULL);

    (void)snprintf(out, cap, "%s", syn_buf_text(&text));
    return rc == SYN_OK && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

/* The third word of the first line of `TOOL --version`: "runc version 1.1.5". */
static void
read_version(const char *tool, char *out, size_t cap)
{
    const char *const argv[] = {tool, "--version", NULL};
    char text[256], word[64] = "";

    (void)syn_str_copy(out, cap, "unknown");
    (void)ask_tool(argv, text, sizeof(text));
    if (sscanf(text, "%*s version %63s", word) == 1)
        (void)syn_str_copy(out, cap, word);
}

/* Builds are named by their day: "0.0~20240729.0", "release-20240729.0". */
static bool
keeps(const char *version)
{
    uint64_t day;

    for (; *version != '\0'; version++)
        if (syn_str_starts(version, "20") && strspn(version, "0123456789") == 8)
            return syn_scan_u64(version, 10, &day, NULL) && day >= KEEPER_OLDEST;
    return false;
}

/* Can it pass NVIDIA's devices on? runc can. gVisor can from 2023 on, and says so by knowing the
 * option; that it then works with a card's driver only a card can tell. */
static bool
passes_gpus(const char *tool, bool gvisor)
{
    const char *const argv[] = {tool, "--nvproxy=true", "--version", NULL};
    char text[256];

    return !gvisor || ask_tool(argv, text, sizeof(text));
}

/* Wait for the end of a started trial. */
static int
await_exit(struct syn_instance *instance, struct syn_err *err)
{
    struct syn_instance_status status;
    struct pollfd ended;
    SYN_FD(fd);
    int rc = syn_instance_exit_fd(instance, &fd, err);

    if (rc < 0)
        return rc;
    ended = (struct pollfd){.fd = fd, .events = POLLIN};
    if (poll(&ended, 1, TRIAL_MS) == 0)
        return SYN_FAIL(err, SYN_E_TIMEOUT, "/bin/true did not end within %d s", TRIAL_MS / 1000);
    rc = syn_instance_poll(instance, &status, err);
    if (rc < 0)
        return rc;
    if (status.state != SYN_INSTANCE_EXITED || status.reason != SYN_EXIT_COMPLETED)
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "/bin/true failed: %s", status.message);
    return SYN_OK;
}

static int
run_trial(struct syn_native *native, const struct syn_sandbox_choice *choice, struct syn_err *err)
{
    static const char *const argv[] = {"/bin/true", NULL};
    SYN_SCOPED(syn_instance_close_scope) struct syn_instance *instance = NULL;
    char dir[SYN_PATH_MAX], id[SYN_ID_MAX];
    struct syn_instance_spec spec = {.id = id,
                                     .dir = dir,
                                     .argv = argv,
                                     .scratch_bytes = (int64_t)4 << 20,
                                     .pids_max = 256,
                                     .memory_bytes = (int64_t)512 << 20,
                                     .cpu_millicores = 1000};
    int rc;

    (void)syn_make_id(syn_world_system(), TRIAL_NAME, id);
    rc = syn_path_format(dir, sizeof(dir), err, "%s/%s", native->root, id);
    if (rc == SYN_OK)
        rc = syn_native_prepare_with(native, choice, &spec, &instance, err);
    if (rc < 0)
        return rc;
    rc = syn_instance_start(instance, &native->supervisor, err);
    if (rc == SYN_OK)
        rc = await_exit(instance, err);
    (void)!syn_instance_destroy(dir, NULL, NULL);
    return rc;
}

/* ---- what a killed process left ---- */

/* Call `remove` for the entries of `folder` that `left` says somebody left. */
static int
sweep_folder(const char *folder, bool (*left)(const char *name),
             int (*remove_left)(const char *path, struct syn_err *err), struct syn_err *err)
{
    DIR *dir = opendir(folder);
    const struct dirent *entry;
    int first = SYN_OK;

    if (!dir)
        return SYN_FAIL_SYS(err, errno, "reading %s", folder);
    while ((entry = readdir(dir)) != NULL) {
        char path[SYN_PATH_MAX];
        struct syn_err local;
        int rc;

        if (!left(entry->d_name))
            continue;
        rc = syn_path_format(path, sizeof(path), &local, "%s/%s", folder, entry->d_name);
        if (rc == SYN_OK)
            rc = remove_left(path, &local);
        if (rc < 0 && first == SYN_OK) {
            first = rc;
            if (err)
                *err = local;
        }
    }
    (void)closedir(dir);
    return first;
}

static bool
is_trial(const char *name)
{
    return syn_str_starts(name, TRIAL_NAME "-");
}

/* Templates and host images get their names, which end in ".ext4" or have no dot, when whole. */
static bool
is_half_made(const char *name)
{
    return strstr(name, ".ext4.") || (syn_str_starts(name, "host-") && strchr(name, '.'));
}

/* A supervisor that was just being started when its starter was killed is not to be seen yet, and
 * writes into the folder while it is removed: soon it is seen, and ended. */
static int
remove_trial(const char *path, struct syn_err *err)
{
    int rc = syn_instance_destroy(path, NULL, err);

    for (int i = 0; rc < 0 && i < SWEEP_TRIES; i++) {
        (void)poll(NULL, 0, SWEEP_PAUSE_MS);
        rc = syn_instance_destroy(path, NULL, err);
    }
    return rc;
}

static int
remove_half_made(const char *path, struct syn_err *err)
{
    if (unlink(path) == 0 || errno == ENOENT)
        return SYN_OK;
    return syn_dir_remove(AT_FDCWD, path, err);
}

int
syn_native_sweep(struct syn_native *native, struct syn_err *err)
{
    int trials = sweep_folder(native->root, is_trial, remove_trial, err);
    int made =
        sweep_folder(native->cache, is_half_made, remove_half_made, trials == SYN_OK ? err : NULL);

    return trials < 0 ? trials : made;
}

static void
try_sandbox(struct syn_native *native, bool gvisor, struct syn_sandbox_report *ret)
{
    static const char *const gvisor_platforms[] = {"systrap", "ptrace", NULL};
    static const char *const runc_platforms[] = {"", NULL};
    const char *const *platforms = gvisor ? gvisor_platforms : runc_platforms;
    const char *tool = gvisor ? native->runsc : native->runc;
    const char *file = gvisor ? "trial-gvisor.json" : "trial-runc.json";
    struct syn_sandbox_choice choice = {.gvisor = gvisor};
    struct syn_err err = {0};
    char key[KEY_MAX];
    int64_t begin;

    *ret = (struct syn_sandbox_report){.name = gvisor ? "gvisor" : "runc"};
    (void)syn_str_copy(choice.tool, sizeof(choice.tool), tool);
    if (tool[0] == '\0' || access(tool, X_OK) < 0) {
        (void)snprintf(ret->detail, sizeof(ret->detail), "%s is not installed",
                       gvisor ? "runsc" : "runc");
        return;
    }
    ret->found = true;
    if (geteuid() != 0) {
        (void)snprintf(ret->detail, sizeof(ret->detail), "must run as root");
        return;
    }
    trial_key(native, tool, gvisor, key);
    if (trial_load(native, file, key, ret))
        return;
    read_version(tool, ret->version, sizeof(ret->version));
    ret->gpus = passes_gpus(tool, gvisor);
    if (gvisor)
        read_version(native->keeper, ret->snapshots, sizeof(ret->snapshots));
    if (!keeps(ret->snapshots))
        ret->snapshots[0] = '\0';
    for (; *platforms && !ret->works; platforms++) {
        (void)syn_str_copy(choice.platform, sizeof(choice.platform), *platforms);
        begin = syn_mono_ms(syn_world_system());
        if (run_trial(native, &choice, &err) == SYN_OK) {
            ret->works = true;
            (void)syn_str_copy(ret->platform, sizeof(ret->platform), *platforms);
            (void)snprintf(ret->detail, sizeof(ret->detail), "ran /bin/true in %lld ms",
                           (long long)(syn_mono_ms(syn_world_system()) - begin));
        } else {
            (void)snprintf(ret->detail, sizeof(ret->detail), "%s", err.msg);
        }
    }
    trial_save(native, file, key, ret);
}

/* The report on one sandbox, tried at most once while it works (the lock is held). */
static const struct syn_sandbox_report *
report(struct syn_native *native, bool gvisor)
{
    if (!native->tried[gvisor]) {
        try_sandbox(native, gvisor, &native->reports[gvisor]);
        native->tried[gvisor] = native->reports[gvisor].works;
    }
    return &native->reports[gvisor];
}

void
syn_native_try(struct syn_native *native, enum syn_sandbox sandbox, struct syn_sandbox_report *ret)
{
    assert(sandbox != SYN_SANDBOX_AUTO);
    (void)pthread_mutex_lock(&native->lock);
    *ret = *report(native, sandbox == SYN_SANDBOX_GVISOR);
    (void)pthread_mutex_unlock(&native->lock);
}

static void
take(const struct syn_native *native, bool gvisor, struct syn_sandbox_choice *ret)
{
    *ret = (struct syn_sandbox_choice){.gvisor = gvisor};
    (void)syn_str_copy(ret->tool, sizeof(ret->tool), gvisor ? native->runsc : native->runc);
    (void)syn_str_copy(ret->platform, sizeof(ret->platform), native->reports[gvisor].platform);
}

static int
choose(struct syn_native *native, enum syn_sandbox wanted, bool devices,
       struct syn_sandbox_choice *ret, struct syn_err *err)
{
    const char *gvisor = "not asked for", *runc = "not asked for";

    if (wanted != SYN_SANDBOX_RUNC) {
        const struct syn_sandbox_report *tried = report(native, true);

        gvisor = tried->detail;
        if (tried->works && (tried->gpus || !devices)) {
            (void)snprintf(native->detail, sizeof(native->detail), "gVisor works here: %s", gvisor);
            take(native, true, ret);
            return SYN_OK;
        }
        if (tried->works)
            gvisor = "this version cannot pass GPUs on (no --nvproxy)";
    }
    if (wanted != SYN_SANDBOX_GVISOR) {
        runc = report(native, false)->detail;
        if (native->reports[false].works) {
            (void)snprintf(native->detail, sizeof(native->detail),
                           "runc works here: %s (gVisor: %s)", runc, gvisor);
            take(native, false, ret);
            return SYN_OK;
        }
    }
    return SYN_FAIL(err, SYN_E_UNSUPPORTED,
                    "no such sandbox works here (gVisor: %.80s; runc: %.80s): apt-get install %s",
                    gvisor, runc, wanted == SYN_SANDBOX_GVISOR ? "runsc" : "runc runsc");
}

int
syn_sandbox_choose(struct syn_native *native, const char *isolation, bool devices,
                   struct syn_sandbox_choice *ret, struct syn_err *err)
{
    enum syn_sandbox wanted = native->wanted;
    int rc;

    if (isolation && syn_str_eq(isolation, "gvisor"))
        wanted = SYN_SANDBOX_GVISOR;
    else if (isolation && syn_str_eq(isolation, "runc"))
        wanted = SYN_SANDBOX_RUNC;
    else if (isolation && !syn_str_eq(isolation, "auto"))
        return SYN_FAIL(err, SYN_E_INVALID, "isolation: expected auto, gvisor or runc, got %s",
                        isolation);
    (void)pthread_mutex_lock(&native->lock);
    rc = choose(native, wanted, devices, ret, err);
    (void)pthread_mutex_unlock(&native->lock);
    return rc;
}

/* Its own trial would be to save and restore: whoever does that has another way if it fails. */
int
syn_sandbox_choose_keeper(struct syn_native *native, const char *isolation,
                          struct syn_sandbox_choice *ret, struct syn_err *err)
{
    const struct syn_sandbox_report *gvisor;
    int rc = SYN_OK;

    if (isolation && !syn_str_eq(isolation, "auto") && !syn_str_eq(isolation, "gvisor"))
        return SYN_FAIL(err, SYN_E_UNSUPPORTED, "snapshots need gVisor, not %s", isolation);
    (void)pthread_mutex_lock(&native->lock);
    gvisor = report(native, true);
    if (!gvisor->works)
        rc = SYN_FAIL(err, SYN_E_UNSUPPORTED, "snapshots need gVisor: %.150s", gvisor->detail);
    else if (gvisor->snapshots[0] == '\0')
        rc = SYN_FAIL(err, SYN_E_UNSUPPORTED,
                      "snapshots need a gVisor of %d or newer, and this node's is %s: "
                      "scripts/gvisor gets one",
                      KEEPER_OLDEST, gvisor->version);
    (void)pthread_mutex_unlock(&native->lock);
    if (rc < 0)
        return rc;
    *ret = (struct syn_sandbox_choice){.gvisor = true, .platform = "systrap"};
    (void)syn_str_copy(ret->tool, sizeof(ret->tool), native->keeper);
    return SYN_OK;
}
