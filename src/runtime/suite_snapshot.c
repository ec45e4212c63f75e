/* The drivers' suite: an instance that is saved goes on as others. */
#include "suite_run_priv.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>
#include <synor/base/tree.h>

#define WAIT_TRIES 2000

static const char waiting[] = "kept=$(od -An -N8 -tx8 /dev/urandom)\n"
                              ": >" SYN_SNAPSHOT_WAITS "\n"
                              "until [ -e " SYN_SNAPSHOT_RESUME " ]; do sleep 0.01; done\n"
                              "echo kept=$kept\n"
                              "echo fresh=$(od -An -N8 -tx8 /dev/urandom)\n"
                              "echo word=$(cat " SYN_SNAPSHOT_RESUME ")\n"
                              "echo year=$(date +%Y)\n"
                              "exit 3\n";

static const char *const argv[] = {"/bin/sh", "-c", waiting, NULL};

/* Start one and save it when it waits. */
static int
save(struct syn_run *run, const char *folder, struct syn_err *err)
{
    struct syn_instance_spec spec = {.argv = argv, .saved = true};
    char waits[SYN_INSTANCE_PATH_MAX + 64];
    int rc;

    syn_run_start(run, &spec);
    (void)snprintf(waits, sizeof(waits), "%s/" SYN_SNAPSHOT_WAITS_FILE,
                   syn_suite->runtime.ops->paths(run->instance)->scratch);
    for (int i = 0; access(waits, F_OK) != 0; i++) {
        assert_true(i < WAIT_TRIES);
        (void)poll(NULL, 0, 10);
    }
    rc = CALL(checkpoint, run->instance, folder, err);
    syn_run_await(run);
    return rc;
}

/* What NAME= says in the text, into out[64]. */
static void
value_of(const struct syn_run *run, const char *name, char out[64])
{
    const char *at = strstr(syn_buf_text(&run->out), name);

    out[0] = '\0';
    if (!at) {
        fail_msg("no %s in: %s %s", name, syn_buf_text(&run->out), run->status.message);
        return;
    }
    (void)snprintf(out, 64, "%.*s", (int)strcspn(at + strlen(name), "\n"), at + strlen(name));
}

/* What waits may be frozen: whatever comes next ends that. */
static void
freeze(struct syn_run *run)
{
    struct syn_err err = {0};
    int rc = syn_suite->runtime.ops->freeze == NULL ? SYN_E_UNSUPPORTED
                                                    : CALL(freeze, run->instance, &err);

    if (rc != SYN_E_UNSUPPORTED)
        assert_done(rc, &err);
}

/* Go on from `folder`, in a sandbox that was made ahead perhaps, to the end. */
static void
restore(struct syn_run *run, const char *folder, const char *word, bool ahead)
{
    struct syn_instance_spec spec = {.argv = argv, .restore = folder, .ahead = ahead};
    struct syn_instance_status status;
    struct syn_err err = {0};

    if (!ahead) {
        spec.resume = word;
        spec.resume_len = strlen(word);
        syn_run_all(run, &spec);
        return;
    }
    syn_run_prepare(run, &spec);
    assert_done(CALL(create, run->instance, &err), &err);
    assert_done(CALL(poll, run->instance, &status, &err), &err);
    assert_int_equal(status.state, SYN_INSTANCE_PREPARED);
    freeze(run);
    spec.resume = word;
    spec.resume_len = strlen(word);
    assert_done(CALL(go_on, run->instance, &spec, &err), &err);
    syn_run_await(run);
    syn_run_read_log(run);
}

void
syn_suite_saved_goes_on_as_others(void **state)
{
    struct syn_run first, runs[2];
    char folder[SYN_INSTANCE_PATH_MAX], kept[2][64], fresh[2][64], word[2][64], year[64];
    struct syn_err err = {0};

    (void)state;
    if (!syn_suite->snapshots)
        skip();
    (void)snprintf(folder, sizeof(folder), "%s/snapshot", syn_suite->dir);
    assert_done(save(&first, folder, &err), &err);
    syn_run_end(&first);
    for (int i = 0; i < 2; i++) {
        restore(&runs[i], folder, i == 0 ? "one" : "two", i == 1);
        syn_suite_assert_reason(&runs[i], SYN_EXIT_FAILED);
        assert_int_equal(runs[i].status.exit_code, 3);
        value_of(&runs[i], "kept=", kept[i]);
        value_of(&runs[i], "fresh=", fresh[i]);
        value_of(&runs[i], "word=", word[i]);
        value_of(&runs[i], "year=", year);
        assert_true(strcmp(year, "2024") >= 0);
        syn_run_end(&runs[i]);
    }
    assert_string_equal(kept[0], kept[1]);
    assert_true(kept[0][0] != '\0');
    assert_string_not_equal(fresh[0], fresh[1]);
    assert_string_not_equal(fresh[0], kept[0]);
    assert_string_equal(word[0], "one");
    assert_string_equal(word[1], "two");
    syn_tree_remove(folder);
}

/* A program that does not run cannot be saved, and what is no snapshot does not start. */
void
syn_suite_damaged_does_not_start(void **state)
{
    struct syn_run run;
    char folder[SYN_INSTANCE_PATH_MAX];
    struct syn_instance_spec spec = {
        .argv = argv, .restore = folder, .resume = "", .resume_len = 0};
    struct syn_err err = {0};

    (void)state;
    if (!syn_suite->snapshots)
        skip();
    (void)snprintf(folder, sizeof(folder), "%s/no-snapshot", syn_suite->dir);
    syn_run_prepare(&run, &spec);
    assert_true(CALL(start, run.instance, &err) < 0);
    assert_true(CALL(checkpoint, run.instance, folder, &err) < 0);
    syn_run_end(&run);
    spec.ahead = true;
    spec.resume = NULL;
    syn_run_prepare(&run, &spec);
    assert_done(CALL(create, run.instance, &err), &err);
    spec.resume = "";
    assert_true(CALL(go_on, run.instance, &spec, &err) < 0);
    spec.resume = NULL;
    syn_run_await(&run);
    syn_suite_assert_reason(&run, SYN_EXIT_START);
    syn_run_end(&run);
    syn_run_prepare(&run, &spec); /* one that nobody starts */
    assert_done(CALL(create, run.instance, &err), &err);
    assert_int_equal(access(folder, F_OK), -1);
    freeze(&run);
    syn_run_end(&run);
    syn_run_prepare(&run, &spec); /* one that is stopped */
    assert_done(CALL(create, run.instance, &err), &err);
    freeze(&run);
    assert_done(CALL(stop, run.instance, 0, &err), &err);
    syn_run_await(&run);
    syn_run_end(&run);
}

/* --- programs that wait -----------------------------------------------------------------------
 */

static const char awaiting[] = ": >" SYN_SNAPSHOT_WAITS "\n"
                               "cat\n"
                               "echo word=$(cat " SYN_SNAPSHOT_RESUME ")\n"
                               "echo file=$(cat /synor/code/below/file)\n"
                               "echo alone=$(cat /synor/alone)\n"
                               "echo no >/synor/code/below/file || echo refused=yes\n"
                               "exec dd if=/dev/zero of=/dev/null bs=400M count=1\n";

/* One that waits, or NULL where no driver can have it. */
static bool
await(struct syn_run *run, struct syn_instance_spec *spec)
{
    static const char *const words[] = {"/bin/sh", "-c", awaiting, NULL};
    char waits[SYN_INSTANCE_PATH_MAX + 64];
    struct syn_instance_status status;
    struct syn_err err = {0};

    *spec = (struct syn_instance_spec){.argv = words, .isolation = "gvisor", .ahead = true};
    if (!syn_suite->snapshots || syn_suite->runtime.ops->create == NULL)
        return false;
    syn_run_prepare(run, spec);
    assert_done(CALL(create, run->instance, &err), &err);
    (void)snprintf(waits, sizeof(waits), "%s/" SYN_SNAPSHOT_WAITS_FILE,
                   syn_suite->runtime.ops->paths(run->instance)->scratch);
    for (int i = 0; access(waits, F_OK) != 0; i++) {
        assert_true(i < WAIT_TRIES);
        (void)poll(NULL, 0, 10);
    }
    assert_done(CALL(poll, run->instance, &status, &err), &err);
    assert_int_equal(status.state, SYN_INSTANCE_PREPARED);
    freeze(run);
    return true;
}

static void
write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* A program that was started for nobody gets its word, its files and its limits when it is taken;
 * one that nobody takes leaves nothing, and what does not belong there is refused. */
void
syn_suite_what_waits_is_given(void **state)
{
    char folder[SYN_INSTANCE_PATH_MAX + 8], path[SYN_INSTANCE_PATH_MAX + 32], value[64];
    struct syn_bind binds[] = {{folder, "/synor/code", true}, {path, "/synor/alone", true}};
    struct syn_instance_spec spec;
    struct syn_err err = {0};
    struct syn_run run = {.instance = NULL};

    (void)state;
    (void)snprintf(folder, sizeof(folder), "%s/code", syn_suite->dir);
    (void)snprintf(path, sizeof(path), "%s/code/below", syn_suite->dir);
    if (!await(&run, &spec))
        skip();
    assert_int_equal(mkdir(folder, 0755) | mkdir(path, 0755), 0);
    (void)snprintf(path, sizeof(path), "%s/code/below/file", syn_suite->dir);
    write_text(path, "late");
    spec.binds = binds;
    spec.binds_count = 2;
    spec.memory_bytes = 128 * MIB;
    spec.resume = "one";
    spec.resume_len = 3;
    assert_done(CALL(go_on, run.instance, &spec, &err), &err);
    syn_run_await(&run);
    syn_run_read_log(&run);
    value_of(&run, "word=", value);
    assert_string_equal(value, "one");
    value_of(&run, "file=", value);
    assert_string_equal(value, "late");
    value_of(&run, "alone=", value);
    assert_string_equal(value, "late");
    value_of(&run, "refused=", value);
    assert_string_equal(value, "yes");
    syn_suite_assert_reason(&run, SYN_EXIT_OOM);
    syn_run_end(&run);
    assert_true(await(&run, &spec)); /* one that nobody takes */
    syn_run_end(&run);
    assert_true(await(&run, &spec));
    binds[1].ro = false;
    spec.binds = &binds[1];
    spec.binds_count = 1;
    spec.resume = "";
    assert_code(CALL(go_on, run.instance, &spec, &err), SYN_E_INVALID, &err);
    syn_run_end(&run);
    syn_tree_remove(folder);
}
