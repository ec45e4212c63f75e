/* The life of one instance on this node, told straight through. Every step may be interrupted by a
 * crash: the next agent begins at the top and finds, in the instance's folder and at the server,
 * how far it came. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#include "agent_priv.h"
#include "spare_priv.h"
#include "wish_priv.h"

const char *
agt_job_path(const struct syn_agent *agent, const char *id, const char *name, char *out)
{
    (void)snprintf(out, AGT_PATH_MAX, "%s/jobs/%s%s%s", agent->data_dir, id,
                   name[0] == '\0' ? "" : "/", name);
    return out;
}

const char *
agt_run_path(const struct agt_instance *instance, char *out)
{
    bool own = instance->run[0] == '\0';

    (void)snprintf(out, AGT_PATH_MAX, "%s/%s/%s", instance->agent->data_dir,
                   own ? "instances" : "spares", own ? instance->id : instance->run);
    return out;
}

/* --- the document ------------------------------------------------------------------------------
 */

struct agt_doc *
agt_doc_new(const json_t *json)
{
    struct agt_doc *doc = syn_calloc(1, sizeof(*doc));

    if (doc == NULL)
        return NULL;
    atomic_init(&doc->refs, 1);
    doc->json = json_deep_copy(json);
    return doc->json != NULL ? doc : agt_doc_unref(doc);
}

struct agt_doc *
agt_doc_ref(struct agt_doc *doc)
{
    atomic_fetch_add(&doc->refs, 1);
    return doc;
}

struct agt_doc *
agt_doc_unref(struct agt_doc *doc)
{
    if (doc != NULL && atomic_fetch_sub(&doc->refs, 1) == 1) {
        json_decref(doc->json);
        syn_free(doc);
    }
    return NULL;
}

static void
doc_scope(struct agt_doc **slot)
{
    *slot = agt_doc_unref(*slot);
}

/* A reference to the newest document, and whether the server still wants the instance. */
static struct agt_doc *
newest_doc(struct agt_instance *instance, bool *ret_gone)
{
    struct agt_doc *doc;

    (void)pthread_mutex_lock(&instance->agent->lock);
    doc = agt_doc_ref(instance->doc);
    *ret_gone = instance->gone;
    instance->changed = false;
    (void)pthread_mutex_unlock(&instance->agent->lock);
    return doc;
}

/* Write a file of the instance, whole at any moment. It need not survive a power cut, since nothing
 * runs after one that only this file knows of: so nobody waits for the disk on the way to the
 * program's start. */
int
agt_keep_file(const struct agt_instance *instance, const char *name, const char *data, size_t len,
              struct syn_err *err)
{
    char path[AGT_PATH_MAX];

    return agt_write_file(agt_job_path(instance->agent, instance->id, name, path), data, len, err);
}

/* Keep the document beside the instance, for an agent that starts while the server is away. */
static int
keep_doc(const struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(text);
    int rc = syn_json_write(doc, &text, err);

    if (rc < 0)
        return rc;
    if (mkdir(agt_job_path(instance->agent, instance->id, "", path), 0700) != 0 && errno != EEXIST)
        return SYN_FAIL_SYS(err, errno, "making %s", path);
    return agt_keep_file(instance, "doc.json", text.data, text.len, err);
}

/* Keep which boot of the machine the instance started in. */
static int
keep_boot(const struct agt_instance *instance, struct syn_err *err)
{
    char boot[AGT_BOOT_MAX];

    agt_boot_id(boot, sizeof(boot));
    return agt_keep_file(instance, "boot_id", boot, strlen(boot), err);
}

/* Has the machine been started anew since? */
static bool
rebooted_since(const struct agt_instance *instance)
{
    char path[AGT_PATH_MAX];
    char boot[AGT_BOOT_MAX];
    SYN_BUF(kept);

    agt_boot_id(boot, sizeof(boot));
    return syn_secret_file_read(agt_job_path(instance->agent, instance->id, "boot_id", path), &kept,
                                NULL) == SYN_OK &&
           kept.len > 0 && !syn_str_eq(syn_buf_text(&kept), boot);
}

/* --- reporting ---------------------------------------------------------------------------------
 */

static int
report(struct agt_instance *instance, json_t *status_take, struct syn_err *err)
{
    char path[128];
    SYN_JSON(status);
    int rc;

    status = status_take;
    if (status == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a report");
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/status", instance->id);
    rc = agt_call(instance->agent, instance->client, "POST", path, status, NULL, err);
    if (rc == SYN_E_CONFLICT) {
        syn_log_err(SYN_LOG_DEBUG, "instance.report-refused",
                    err); /* the server knows more already */
        return SYN_OK;
    }
    return rc;
}

static const char *
sandbox_name(const struct agt_instance *instance)
{
    if (instance->handle != NULL)
        return instance->runtime.ops->isolation(instance->handle);
    return instance->made_by != NULL ? instance->made_by->sandbox : "";
}

static const char *
driver_name(const struct agt_instance *instance)
{
    return instance->made_by != NULL ? instance->made_by->driver : "";
}

/* Of a report that it runs: since when, by what. Nothing where it has ended: that is told next. */
static int
add_running(const struct agt_instance *instance, json_t *body, struct syn_err *err)
{
    const struct syn_runtime_ops *ops = instance->runtime.ops;
    struct syn_instance_status status = {0};
    char at[SYN_FORMAT_MAX];
    int rc = ops->poll(instance->runtime.self, instance->handle, &status, err);

    if (rc < 0 || status.state != SYN_INSTANCE_RUNNING)
        return rc;
    rc = syn_json_set_str(body, "started_at", syn_format_time(status.started_at_ms, at), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(body, "isolation", sandbox_name(instance), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(body, "runtime", driver_name(instance), err);
    return rc < 0 ? rc : syn_json_set_i64(body, "pid", status.pid, err);
}

static int
report_running(struct agt_instance *instance, struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s, s:s, s:s}", "state", "running", "reason", "running",
                           "message", "The program runs.");

    if (rc == SYN_OK)
        rc = add_running(instance, body, err);
    if (rc < 0 || json_object_get(body, "started_at") == NULL)
        return rc;
    return report(instance, SYN_TAKE(body), err);
}

int
agt_report_health(struct agt_instance *instance, const char *address, int64_t port, bool ready,
                  const char *message, struct syn_err *err)
{
    SYN_JSON(body);
    int rc = syn_json_pack(&body, err, "{s:s, s:s, s:s, s:s, s:I, s:{s:b, s:s}}", "state",
                           "running", "reason", "running", "message", "The program runs.",
                           "address", address, "port", (json_int_t)port, "health", "ready",
                           ready ? 1 : 0, "message", message);

    if (rc == SYN_OK && instance->running_untold)
        rc = add_running(instance, body, err);
    if (rc == SYN_OK && ready)
        rc = agt_start_report(instance, body, err);
    if (rc == SYN_OK)
        rc = report(instance, SYN_TAKE(body), err);
    if (rc < 0)
        return rc;
    instance->running_untold = false;
    if (ready)
        agt_start_told(instance);
    return rc;
}

int
agt_report_metrics(struct agt_instance *instance, const json_t *body, struct syn_err *err)
{
    char path[128];
    SYN_JSON(answer);

    (void)snprintf(path, sizeof(path), "/v1/instances/%s/metrics", instance->id);
    return agt_call(instance->agent, instance->client, "POST", path, body, &answer, err);
}

int
agt_report_preparing(struct agt_instance *instance, struct syn_err *err)
{
    if (instance->preparing_told)
        return SYN_OK;
    instance->preparing_told = true;
    return report(instance,
                  json_pack("{s:s, s:s, s:s}", "state", "preparing", "reason", "preparing",
                            "message", "The node fetches content and makes the sandbox."),
                  err);
}

/* The reason word of the API: the runtime's, made more exact by what else it saw. */
static const char *
exit_reason(const struct syn_instance_status *status)
{
    if (status->reason == SYN_EXIT_FAILED && status->scratch_full)
        return "scratch-full";
    if (status->reason == SYN_EXIT_FAILED && status->pids_limit_hits > 0)
        return "pids-limit";
    return syn_exit_reason_name(status->reason);
}

static int
report_exit(struct agt_instance *instance, const struct syn_instance_status *status,
            struct syn_err *err)
{
    bool lost = status->reason == SYN_EXIT_LOST;
    bool rebooted = lost && rebooted_since(instance);
    char started[SYN_FORMAT_MAX];
    char ended[SYN_FORMAT_MAX];
    bool unwell = instance->care != NULL && agt_care_lost(instance->care) && !lost;
    const char *reason = rebooted ? "node-rebooted"
                         : lost   ? "lost"
                         : unwell ? "unhealthy"
                                  : exit_reason(status);
    const char *message = rebooted                     ? "The node was restarted while it ran."
                          : unwell                     ? agt_care_message(instance->care)
                          : status->message[0] != '\0' ? status->message
                                                       : "The program has ended.";
    json_t *body = json_pack(
        "{s:s, s:s, s:s, s:i, s:i, s:s?, s:s, s:s, s:s, s:I, s:{s:I, s:I, s:b}}", "state",
        lost ? "lost" : "exited", "reason", reason, "message", message, "exit_code",
        status->exit_code, "signal", status->signal, "started_at",
        status->started_at_ms > 0 ? syn_format_time(status->started_at_ms, started) : NULL,
        "ended_at", syn_format_time(status->ended_at_ms, ended), "isolation",
        sandbox_name(instance), "runtime", driver_name(instance), "usage_seq_last",
        (json_int_t)(instance->ship != NULL ? agt_ship_usage_seq(instance->ship) : 0), "detail",
        "oom_kills", (json_int_t)status->oom_kills, "pids_limit_hits",
        (json_int_t)status->pids_limit_hits, "scratch_full", status->scratch_full ? 1 : 0);

    return report(instance, body, err);
}

/* It never came to life: say why, as an exit. */
static int
report_unborn(struct agt_instance *instance, const struct syn_err *why, struct syn_err *err)
{
    struct syn_instance_status status = {
        .state = SYN_INSTANCE_EXITED, .reason = SYN_EXIT_START, .exit_code = 127};

    status.ended_at_ms = syn_wall_ms(instance->agent->world);
    (void)syn_str_copy(status.message, sizeof(status.message), why->msg);
    return report_exit(instance, &status, err);
}

/* --- preparing ---------------------------------------------------------------------------------
 */

/* Rank 0's folder is the checkpoint. */
static int
open_snapshots(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    const json_t *spec = json_object_get(doc, "spec");

    if (instance->snapshots != NULL || syn_json_i64(spec, "rank", 0) != 0 ||
        syn_str_eq(syn_json_str(spec, "workload", ""), "service"))
        return SYN_OK;
    return agt_snapshots_new(instance, &instance->snapshots, err);
}

int
agt_instance_enter(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    instance->paths = instance->runtime.ops->paths(instance->handle);
    agt_names_enter(instance, doc);
    return keep_boot(instance, err);
}

int
agt_instance_start_cold(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
                        struct syn_err *err)
{
    const char *checkpoint = syn_json_str(json_object_get(doc, "spec"), "checkpoint_cid", "");
    int rc =
        instance->runtime.ops->prepare(instance->runtime.self, &wish->spec, &instance->handle, err);

    if (rc == SYN_OK)
        rc = agt_instance_enter(instance, doc, err);
    if (rc == SYN_OK && checkpoint[0] != '\0')
        rc = agt_fetch_into(instance, checkpoint, instance->paths->checkpoints, err);
    if (rc == SYN_OK)
        rc = open_snapshots(instance, doc, err);
    if (rc == SYN_OK && instance->snapshots != NULL)
        rc = agt_snapshots_known(instance->snapshots, err);
    if (rc < 0)
        return rc;
    agt_names_await(instance);
    return instance->runtime.ops->start(instance->runtime.self, instance->handle, err);
}

static int
prepare(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    SYN_SCOPED(agt_wish_fini) struct agt_wish wish = {0};
    int rc = agt_wish_make(instance, doc, &wish, err);

    wish.spec.isolation = instance->made_by->sandbox;
    return rc < 0 ? rc : agt_start_program(instance, doc, &wish, err);
}

/* --- running -----------------------------------------------------------------------------------
 */

/* Lay down for the program why it is asked to stop, and until when it may go on. The folder is its
 * own: where it has put something else in the way, that is what it reads. */
static void
lay_notice(struct agt_instance *instance, const json_t *spec)
{
    int64_t grace_ms = syn_json_i64(spec, "stop_grace_ms", 0);
    char path[AGT_PATH_MAX], ends[SYN_FORMAT_MAX];
    SYN_BUF(text);
    SYN_JSON(notice);
    int fd;

    if (instance->noticed || snprintf(path, sizeof(path), "%s/" AGT_NOTICE,
                                      instance->paths->scratch) >= (int)sizeof(path))
        return;
    instance->noticed = true;
    if (syn_json_pack(&notice, NULL, "{s:s, s:I, s:s}", "reason",
                      syn_json_str(spec, "stop_reason", ""), "grace_ms", (json_int_t)grace_ms,
                      "ends_at",
                      syn_format_time(syn_wall_ms(instance->agent->world) + grace_ms, ends)) < 0 ||
        syn_json_write(notice, &text, NULL) < 0)
        return;
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    if (write(fd, text.data, text.len) != (ssize_t)text.len)
        syn_log(SYN_LOG_WARN, "instance.notice", "instance=%s", instance->id);
    (void)close(fd);
}

/* Ask it to stop if the server wants that. */
static int
heed(struct agt_instance *instance, const json_t *doc, bool gone, struct syn_err *err)
{
    const json_t *spec = json_object_get(doc, "spec");
    int64_t grace_ms = syn_json_i64(spec, "stop_grace_ms", -1);

    if (!gone && syn_str_eq(syn_json_str(spec, "desired", "running"), "running"))
        return SYN_OK;
    if (!gone && instance->care != NULL &&
        !agt_care_may_stop(instance->care, syn_json_i64(spec, "drain_ms", 0)))
        return SYN_OK;
    if (!gone)
        lay_notice(instance, spec);
    if (!gone && instance->care != NULL && grace_ms > 0) {
        grace_ms = agt_care_before_stop(instance->care, grace_ms);
        if (grace_ms < 0)
            return SYN_OK;
    }
    return instance->runtime.ops->stop(instance->runtime.self, instance->handle,
                                       gone ? 0 : grace_ms, err);
}

/* What the server wants of it. Trouble is logged and tried again. */
static void
obey(struct agt_instance *instance)
{
    struct syn_err err = {0};
    bool gone;
    SYN_SCOPED(doc_scope) struct agt_doc *doc = newest_doc(instance, &gone);

    if (heed(instance, doc->json, gone, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.stop-failed", &err);
    if (instance->care != NULL)
        agt_care_heed(instance->care, doc->json);
}

/* What it has produced. */
static void
ship(struct agt_instance *instance)
{
    struct syn_err err = {0};

    if (agt_ship_now(instance->ship, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.ship-failed", &err);
    if (instance->snapshots != NULL && agt_snapshots_look(instance->snapshots, false, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.checkpoint-failed", &err);
}

static bool
has_ended(struct agt_instance *instance, struct syn_instance_status *ret_status)
{
    struct syn_err err = {0};

    if (instance->runtime.ops->poll(instance->runtime.self, instance->handle, ret_status, &err) ==
        SYN_OK)
        return ret_status->state == SYN_INSTANCE_EXITED;
    syn_log_err(SYN_LOG_WARN, "instance.poll-failed", &err);
    return false;
}

enum agt_phase
agt_instance_turn(struct agt_instance *instance, int64_t *ret_due_ms)
{
    const struct syn_world *world = instance->agent->world;
    bool time = syn_mono_ms(world) >= instance->ship_ms;
    struct syn_instance_status status;
    int64_t due_ms;

    if (has_ended(instance, &status)) {
        agt_door(instance, false);
        agt_gpus_release(instance);
        agt_volumes_release(instance);
        return AGT_ENDS;
    }
    if (time || instance->changed || (instance->care != NULL && agt_care_leaves(instance->care)))
        obey(instance);
    if (instance->care != NULL)
        agt_care_turn(instance->care);
    if (time) {
        ship(instance);
        instance->ship_ms = syn_mono_ms(world) + instance->agent->pace.ship_ms;
    }
    due_ms = instance->care != NULL ? agt_care_due_ms(instance->care) : instance->ship_ms;
    *ret_due_ms = SYN_MIN(due_ms, instance->ship_ms);
    return AGT_RUNS;
}

/* --- ending ------------------------------------------------------------------------------------
 */

#define FINISH_TRIES_MAX 5 /* of what fails for another reason than that the server is away */

/* May the same succeed later by itself? */
static bool
passing(int rc)
{
    return rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT;
}

/* Everything it left behind, in the order that makes the final report true. What cannot be stored
 * or sent (more files than a checkpoint may have, a run that is settled already) must not keep the
 * end from being told: after some tries it is left out, and the log of the agent says so. */
static int
finish(struct agt_instance *instance, const struct syn_instance_status *status, unsigned tries,
       struct syn_err *err)
{
    bool stored = instance->snapshots != NULL;
    int rc = agt_ship_now(instance->ship, err);

    if (rc < 0 && !passing(rc) && tries >= FINISH_TRIES_MAX)
        rc = SYN_OK;
    if (rc == SYN_OK && stored && status->reason != SYN_EXIT_LOST)
        rc = agt_snapshots_look(instance->snapshots, true, err);
    if (rc < 0 && !passing(rc) && tries >= FINISH_TRIES_MAX)
        rc = SYN_OK;
    if (rc == SYN_OK && stored && status->reason == SYN_EXIT_COMPLETED)
        rc = agt_snapshots_result(instance->snapshots, err);
    if (rc < 0 && !passing(rc) && tries >= FINISH_TRIES_MAX)
        rc = SYN_OK;
    return rc < 0 ? rc : report_exit(instance, status, err);
}

/* Does the server still want to hear of it? */
static bool
let_go(struct agt_instance *instance)
{
    bool gone;

    (void)pthread_mutex_lock(&instance->agent->lock);
    gone = instance->gone;
    (void)pthread_mutex_unlock(&instance->agent->lock);
    return gone;
}

/* Was it brought up before? */
static bool
is_there(const struct agt_instance *instance)
{
    char path[AGT_PATH_MAX];

    return access(agt_run_path(instance, path), F_OK) == 0;
}

/* Give back what it ran in. False when the agent stops before that. */
static bool
clear_away(struct agt_instance *instance)
{
    struct syn_err err = {0};
    char path[AGT_PATH_MAX];

    agt_names_leave(instance);
    if (instance->handle != NULL)
        instance->handle = instance->runtime.ops->close(instance->handle);
    while (instance->runtime.ops != NULL &&
           instance->runtime.ops->destroy(instance->runtime.self, agt_run_path(instance, path),
                                          &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "instance.destroy-failed", &err);
        if (!agt_sleep(instance->agent, NULL, instance->agent->pace.retry_ms))
            return false;
    }
    agt_volumes_leave(instance);
    return true;
}

static bool
already_ended(const json_t *doc)
{
    const char *state = syn_json_str(json_object_get(doc, "status"), "state", "");

    return syn_str_eq(state, "exited") || syn_str_eq(state, "lost");
}

/* An agent that comes back finds nothing but the document then: it must say that it has ended, or
 * the program would be run again. */
static int
keep_ended(struct agt_instance *instance, struct syn_err *err)
{
    bool gone;
    SYN_SCOPED(doc_scope) struct agt_doc *doc = newest_doc(instance, &gone);
    SYN_JSON(ended);
    json_t *status;

    ended = json_deep_copy(doc->json);
    status = json_object_get(ended, "status");
    if (already_ended(doc->json))
        return keep_doc(instance, doc->json, err);
    if (status == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the end of %s", instance->id);
    if (syn_json_set_str(status, "state", "exited", err) < 0)
        return SYN_E_NOMEM;
    return keep_doc(instance, ended, err);
}

/* What it was looked after with. */
static void
let_down(struct agt_instance *instance)
{
    instance->saving = agt_saving_free(instance->saving);
    instance->snapshots = agt_snapshots_free(instance->snapshots);
    instance->ship = agt_ship_free(instance->ship);
    instance->care = agt_care_free(instance->care);
    if (instance->exit_fd >= 0)
        (void)close(instance->exit_fd);
    instance->exit_fd = -1;
    if (instance->handle != NULL)
        instance->handle = instance->runtime.ops->close(instance->handle);
}

/* What has told its end to the last gives its space back at once: a service's bill, until which the
 * server wants to know of it, may be a month away. */
static enum agt_phase
bury(struct agt_instance *instance)
{
    struct syn_err err = {0};

    if (instance->finished && keep_ended(instance, &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "instance.not-kept", &err);
        instance->finished = false; /* its folder says it until then */
    }
    if (instance->finished)
        (void)clear_away(instance);
    let_down(instance);
    return AGT_WAITS;
}

/* The server needs it no more: remove every trace. */
static enum agt_phase
remove_traces(struct agt_instance *instance)
{
    const struct syn_agent *agent = instance->agent;
    char path[AGT_PATH_MAX];
    bool gone;
    SYN_SCOPED(doc_scope) struct agt_doc *doc = newest_doc(instance, &gone);

    if (instance->runtime.ops == NULL && is_there(instance))
        agt_runtime_of_folder(instance, doc->json);
    if (!instance->finished && !clear_away(instance))
        return AGT_GOES;
    (void)unlink(agt_job_path(agent, instance->id, "config/hyperparameters.json", path));
    (void)rmdir(agt_job_path(agent, instance->id, "config", path));
    (void)rmdir(agt_job_path(agent, instance->id, "dataset", path));
    (void)unlink(agt_job_path(agent, instance->id, "gpus.json", path));
    (void)unlink(agt_job_path(agent, instance->id, "gpus.json.tmp", path));
    agt_spare_forget(instance);
    (void)unlink(agt_job_path(agent, instance->id, "boot_id", path));
    (void)unlink(agt_job_path(agent, instance->id, "boot_id.tmp", path));
    (void)unlink(agt_job_path(agent, instance->id, "doc.json.tmp", path));
    (void)unlink(agt_job_path(agent, instance->id, "doc.json", path));
    (void)rmdir(agt_job_path(agent, instance->id, "", path));
    return AGT_OVER;
}

/* Have what ships its output. False when the agent stops, or the server needs it no more. */
static bool
open_helpers(struct agt_instance *instance, const json_t *doc)
{
    struct syn_err err = {0};

    /* The program runs: short of memory is no reason to say that it does not. */
    while ((instance->ship == NULL && agt_ship_new(instance, &instance->ship, &err) < 0) ||
           open_snapshots(instance, doc, &err) < 0 ||
           (instance->care == NULL && agt_care_new(instance, doc, &instance->care, &err) < 0)) {
        syn_log_err(SYN_LOG_WARN, "instance.not-shipped", &err);
        if (let_go(instance) || !agt_sleep(instance->agent, NULL, instance->agent->pace.retry_ms))
            return false;
    }
    return true;
}

#define ADOPT_TRIES_MAX    5
#define NOTHING_TAKEN_OVER 1

/* Take over what an earlier agent brought up. NOTHING_TAKEN_OVER when nothing of it is left. */
static int
take_over(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    struct syn_instance_status status = {0};
    char path[AGT_PATH_MAX];
    int tries = 0;
    int rc;

    if (!is_there(instance)) {
        if (instance->run[0] != '\0')
            agt_spare_forget(instance);
        return NOTHING_TAKEN_OVER;
    }
    agt_runtime_of_folder(instance, doc);
    do { /* it may well run: what passes must not cost its life */
        rc = instance->runtime.ops->adopt(instance->runtime.self, agt_run_path(instance, path),
                                          &instance->handle, &status, err);
    } while (rc < 0 && rc != SYN_E_NOTFOUND && rc != SYN_E_CORRUPT && ++tries < ADOPT_TRIES_MAX &&
             agt_sleep(instance->agent, NULL, instance->agent->pace.retry_ms));
    if (rc < 0 && atomic_load(&instance->agent->stop))
        return rc;
    if (rc == SYN_OK && status.state != SYN_INSTANCE_PREPARED) {
        instance->paths = instance->runtime.ops->paths(instance->handle);
        agt_names_enter(instance, doc);
        instance->enters_mesh = false; /* HAProxy has it from before */
        return SYN_OK;
    }
    instance->handle = instance->runtime.ops->close(instance->handle); /* half made: begin again */
    rc = instance->runtime.ops->destroy(instance->runtime.self, agt_run_path(instance, path), err);
    if (rc < 0)
        return rc;
    agt_spare_forget(instance);
    return NOTHING_TAKEN_OVER;
}

/* Bring it up, or take over what an earlier agent brought up. Returns 0, or why it never lived. */
static int
bring_up(struct agt_instance *instance, const json_t *doc, struct syn_err *err)
{
    int rc = take_over(instance, doc, err);

    if (rc != NOTHING_TAKEN_OVER)
        return rc;
    agt_start_begin(instance, doc);
    if (!syn_str_eq(syn_json_str(json_object_get(doc, "spec"), "desired", "running"), "running"))
        return SYN_FAIL(err, SYN_E_CANCELED, "stopped before it was started");
    rc = agt_runtime_choose(instance, doc, err);
    return rc < 0 ? rc : prepare(instance, doc, err);
}

/* Tell why it never lived, unless the agent stops or the server does not want to know. */
static void
end_unborn(struct agt_instance *instance, const struct syn_err *why)
{
    struct syn_err err = {0};

    syn_log_err(SYN_LOG_WARN, "instance.start-failed", why);
    agt_gpus_release(instance);
    if (instance->handle != NULL || !is_there(instance)) /* else it may run, and cannot be asked */
        agt_volumes_release(instance);
    while (report_unborn(instance, why, &err) < 0 && !let_go(instance) &&
           agt_sleep(instance->agent, NULL, instance->agent->pace.retry_ms))
        continue;
}

/* Tell that it runs, and have what tells of its end. */
static void
begin_watch(struct agt_instance *instance)
{
    const struct syn_runtime_ops *ops = instance->runtime.ops;
    struct syn_err err = {0};

    agt_door(instance, true);
    /* A function's is asked at once, and told to run with what came of that: calls wait for it. */
    instance->running_untold = instance->care != NULL && instance->start.kept;
    if (!instance->running_untold && report_running(instance, &err) < 0)
        syn_log_err(SYN_LOG_WARN, "instance.report-failed", &err);
    if (ops->exit_fd(instance->runtime.self, instance->handle, &instance->exit_fd, &err) < 0)
        instance->exit_fd = -1; /* it may have ended already: poll() knows */
    /* Of a replica, the first check comes before the first lines of its log. */
    instance->ship_ms = syn_mono_ms(instance->agent->world) +
                        (instance->care != NULL ? instance->agent->pace.ship_ms : 0);
}

static enum agt_phase
begin(struct agt_instance *instance)
{
    struct syn_err err = {0};
    bool gone;
    SYN_SCOPED(doc_scope) struct agt_doc *doc = newest_doc(instance, &gone);
    int rc = keep_doc(instance, doc->json, &err);

    if (already_ended(doc->json)) {
        agt_gpus_release(instance);
        agt_volumes_release(instance);
        return bury(instance);
    }
    /* Without its document nobody would find it again after a crash; what is there has one. */
    if (rc < 0 && is_there(instance)) {
        syn_log_err(SYN_LOG_WARN, "instance.not-kept", &err);
        rc = SYN_OK;
    }
    if (rc == SYN_OK)
        rc = bring_up(instance, doc->json, &err);
    if (rc < 0) {
        struct syn_err why = err;

        if (!atomic_load(&instance->agent->stop) || !is_there(instance))
            end_unborn(instance, &why);
        return bury(instance);
    }
    if (!open_helpers(instance, doc->json))
        return bury(instance);
    begin_watch(instance);
    return AGT_RUNS;
}

static enum agt_phase
conclude(struct agt_instance *instance)
{
    struct syn_instance_status status = {0};
    struct syn_err err = {0};

    if (!has_ended(instance, &status))
        return AGT_ENDS; /* what has told its end cannot be read just now */
    if (status.reason != SYN_EXIT_STOPPED)
        agt_saved_failed(instance, status.message);
    for (unsigned tries = 0; finish(instance, &status, tries, &err) < 0 && !let_go(instance);
         tries++) {
        syn_log_err(SYN_LOG_WARN, "instance.finish-failed", &err);
        if (!agt_sleep(instance->agent, NULL, instance->agent->pace.retry_ms))
            return AGT_ENDS;
    }
    instance->finished = true;
    return bury(instance);
}

/* Other threads cancel its client at the end: it comes and goes under the lock. */
static void
set_client(struct agt_instance *instance, struct syn_client *client)
{
    (void)pthread_mutex_lock(&instance->agent->lock);
    instance->client = client;
    if (client != NULL && atomic_load(&instance->agent->stop))
        syn_client_cancel(client);
    (void)pthread_mutex_unlock(&instance->agent->lock);
}

bool
agt_instance_dial(struct agt_instance *instance)
{
    struct syn_agent *agent = instance->agent;
    struct syn_client *client = NULL;
    struct syn_err err = {0};

    while (agt_client_take(agent, &client, &err) < 0) {
        syn_log_err(SYN_LOG_ERROR, "instance.no-client", &err);
        if (let_go(instance) || !agt_sleep(agent, NULL, agent->pace.retry_ms))
            return false;
    }
    set_client(instance, client);
    return true;
}

void
agt_instance_hang_up(struct agt_instance *instance)
{
    struct syn_client *client = instance->client;

    set_client(instance, NULL);
    agt_client_give(instance->agent, client);
}

enum agt_phase
agt_instance_go_on(struct agt_instance *instance)
{
    enum agt_phase next;

    assert(instance->phase == AGT_BEGINS || instance->phase == AGT_ENDS ||
           instance->phase == AGT_GOES);
    if (instance->phase == AGT_GOES)
        return remove_traces(instance);
    if (!agt_instance_dial(instance))
        return AGT_WAITS;
    next = instance->phase == AGT_BEGINS ? begin(instance) : conclude(instance);
    agt_instance_hang_up(instance);
    return next;
}

int
agt_instance_new(struct syn_agent *agent, const json_t *doc, struct agt_instance **ret,
                 struct syn_err *err)
{
    struct agt_instance *instance = syn_calloc(1, sizeof(*instance));

    if (instance == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an instance");
    instance->agent = agent;
    instance->exit_fd = -1;
    (void)syn_str_copy(instance->id, sizeof(instance->id), syn_json_str(doc, "id", "?"));
    instance->doc = agt_doc_new(doc);
    if (instance->doc == NULL) {
        syn_free(instance);
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the document of an instance");
    }
    agt_gpus_recall(instance);
    agt_spare_recall(instance);
    if (is_there(instance))
        agt_volumes_recall(instance, !already_ended(doc));
    *ret = instance;
    return SYN_OK;
}

struct agt_instance *
agt_instance_free(struct agt_instance *instance)
{
    if (instance == NULL)
        return NULL;
    let_down(instance);
    (void)agt_doc_unref(instance->doc);
    syn_free(instance);
    return NULL;
}
