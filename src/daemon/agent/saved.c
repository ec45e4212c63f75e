/* Snapshots of functions.
 *
 *      no snapshot:  cold start --ready--> another one like it is started, apart, without a
 * network; it loads the code, waits for a word, and is saved then: snapshots/KEY a snapshot:   the
 * instance's own sandbox is made and filled from it; the word is there, with its environment, and
 * it listens on its own network
 *
 * What is saved has served nobody, has no connection and listens nowhere. All that it depends on is
 * in its name: with another version, secret, sandbox, processor or node's /usr there is another
 * snapshot, or none. It is memory of the account's program, as a file that root alone reads; so is
 * what sandboxes are given to start from.
 *
 * Refused: saving the first instance itself, which ends with that; environment that changes between
 * saving and going on, as programs read it when they are loaded; files that were written meanwhile,
 * which each instance would need a copy of: such a function starts cold and says so. */
#include "saved_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/tree.h>
#include <synor/infra/secret_file.h>

#include "saving_priv.h"
#include "spare_priv.h"

#define FORMAT       1
#define HASH_AT_ONCE 65536
#define RETRY_MS     (INT64_C(10) * 60 * 1000) /* what failed is not tried again for so long */

/* What gVisor writes without compression. */
static const char *const files[] = {"checkpoint.img", "pages.img", "pages_meta.img"};
#define PAGES 1 /* the one of them that is large, */
#define STATE 0 /* and the one without which there is nothing */

/* --- the name --------------------------------------------------------------------------------- */

static void
close_file(FILE **file)
{
    if (*file != NULL)
        (void)fclose(*file);
}

static void
free_line(char **line)
{
    free(*line); /* getline's */
}

/* What the first processor is and can: what is saved may have chosen its code by that. */
static int
add_processor(json_t *key, struct syn_err *err)
{
    static const char *const kept[] = {"vendor_id", "cpu family", "model\t", "flags", "Features"};
    SYN_SCOPED(close_file) FILE *file = fopen("/proc/cpuinfo", "re");
    SYN_SCOPED(free_line) char *line = NULL;
    struct utsname machine = {0};
    size_t cap = 0;
    SYN_BUF(text);
    int rc;

    while (file != NULL && getline(&line, &cap, file) > 1)
        for (size_t i = 0; i < SYN_LEN(kept); i++)
            if (syn_str_starts(line, kept[i]))
                syn_buf_adds(&text, line);
    (void)uname(&machine);
    syn_buf_addf(&text, "%s %s", machine.machine, machine.release);
    rc = syn_buf_ok(&text, err);
    return rc < 0 ? rc : syn_json_set_str(key, "machine", syn_buf_text(&text), err);
}

/* Programs and libraries of the node's /usr are mapped, and must be what they were. */
static int
add_usr(json_t *key, const struct agt_wish *wish, struct syn_err *err)
{
    static const char *const paths[] = {"/var/lib/dpkg/status", "/etc/ld.so.cache", "/usr/bin",
                                        "/usr/lib"};
    SYN_BUF(text);
    int rc;

    for (size_t i = 0; wish->spec.rootfs == NULL && i < SYN_LEN(paths); i++) {
        struct stat st = {0};

        (void)stat(paths[i], &st);
        syn_buf_addf(&text, "%lld.%ld ", (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec);
    }
    syn_buf_adds(&text, wish->spec.rootfs != NULL ? wish->spec.rootfs : "");
    rc = syn_buf_ok(&text, err);
    return rc < 0 ? rc : syn_json_set_str(key, "root", syn_buf_text(&text), err);
}

/* An instance's own, which differs in each and is told to it when it goes on. */
static bool
is_own(const char *pair)
{
    return syn_str_starts(pair, "SYNOR_INSTANCE_ID=") || syn_str_starts(pair, "SYNOR_REPLICA=");
}

static int
add_words(json_t *key, const char *name, const char *const *words, struct syn_err *err)
{
    json_t *list = json_array();
    int rc = syn_json_set_take(key, name, list, err);

    for (size_t i = 0; rc == SYN_OK && words != NULL && words[i] != NULL; i++)
        if (!is_own(words[i]))
            rc = syn_json_append_take(list, json_string(words[i]), err);
    return rc;
}

static int
add_mounts(json_t *key, const struct syn_instance_spec *spec, struct syn_err *err)
{
    json_t *list = json_array();
    int rc = syn_json_set_take(key, "mounts", list, err);

    for (size_t i = 0; rc == SYN_OK && i < spec->binds_count; i++) {
        rc = syn_json_append_take(list, json_string(spec->binds[i].host), err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, json_string(spec->binds[i].container), err);
    }
    for (size_t i = 0; rc == SYN_OK && i < spec->tmpfs_count; i++)
        rc = syn_json_append_take(list, json_string(spec->tmpfs[i].container), err);
    for (size_t i = 0; rc == SYN_OK && i < spec->empties_count; i++)
        rc = syn_json_append_take(list, json_string(spec->empties[i]), err);
    return rc;
}

int
agt_saved_key(const json_t *doc, const struct agt_wish *wish, const char *sandbox, char *out,
              struct syn_err *err)
{
    const json_t *spec = json_object_get(doc, "spec");
    struct syn_cid cid;
    SYN_JSON(key);
    SYN_BUF(text);
    int rc = syn_json_pack(&key, err, "{s:i, s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "format", FORMAT,
                           "account", syn_json_str(doc, "account", ""), "service",
                           syn_json_str(spec, "job", ""), "sandbox", sandbox, "cwd",
                           wish->spec.cwd != NULL ? wish->spec.cwd : "", "uid",
                           (json_int_t)wish->spec.uid, "gid", (json_int_t)wish->spec.gid, "memory",
                           (json_int_t)wish->spec.memory_bytes);

    if (rc == SYN_OK)
        rc = add_words(key, "argv", wish->spec.argv, err);
    if (rc == SYN_OK)
        rc = add_words(key, "env", wish->spec.env, err);
    if (rc == SYN_OK)
        rc = add_mounts(key, &wish->spec, err);
    if (rc == SYN_OK)
        rc = add_processor(key, err);
    if (rc == SYN_OK)
        rc = add_usr(key, wish, err);
    if (rc == SYN_OK)
        rc = syn_json_write(key, &text, err);
    if (rc < 0)
        return rc;
    syn_cid_of(SYN_CODEC_RAW, text.data, text.len, &cid);
    (void)syn_cid_format(&cid, out);
    return SYN_OK;
}

/* --- the manifest ----------------------------------------------------------------------------- */

static int
hash_file(const char *folder, const char *name, char out[2 * SYN_SHA256_LEN + 1],
          struct syn_err *err)
{
    uint8_t data[HASH_AT_ONCE], digest[SYN_SHA256_LEN];
    SYN_SCOPED(close_file) FILE *file = NULL;
    struct syn_sha256 hash;
    char path[AGT_PATH_MAX];
    size_t got;

    (void)snprintf(path, sizeof(path), "%.900s/image/%s", folder, name);
    file = fopen(path, "re");
    if (file == NULL)
        return SYN_FAIL_SYS(err, errno, "opening %s", path);
    syn_sha256_init(&hash);
    while ((got = fread(data, 1, sizeof(data), file)) > 0)
        syn_sha256_update(&hash, data, got);
    if (ferror(file))
        return SYN_FAIL_SYS(err, errno, "reading %s", path);
    syn_sha256_final(&hash, digest);
    syn_hex_encode(digest, sizeof(digest), out);
    return SYN_OK;
}

int
agt_saved_seal(const char *folder, const char *sandbox, const char *service, struct syn_err *err)
{
    char path[AGT_PATH_MAX], hex[2 * SYN_SHA256_LEN + 1];
    json_t *hashes = json_object();
    SYN_JSON(manifest);
    SYN_BUF(text);
    int rc = syn_json_pack(&manifest, err, "{s:i, s:s, s:s, s:o}", "format", FORMAT, "sandbox",
                           sandbox, "service", service, "files", hashes);

    for (size_t i = 0; i < SYN_LEN(files) && rc == SYN_OK; i++) {
        rc = hash_file(folder, files[i], hex, err);
        if (rc == SYN_OK)
            rc = syn_json_set_str(hashes, files[i], hex, err);
    }
    if (rc == SYN_OK)
        rc = syn_json_write(manifest, &text, err);
    if (rc < 0)
        return rc;
    (void)snprintf(path, sizeof(path), "%.900s/" AGT_CACHE_MANIFEST, folder);
    return agt_replace_file(path, text.data, text.len, err);
}

static int
read_manifest(const char *folder, json_t **ret, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(text);
    int rc;

    (void)snprintf(path, sizeof(path), "%.900s/" AGT_CACHE_MANIFEST, folder);
    rc = syn_secret_file_read(path, &text, err);
    return rc < 0 ? rc : syn_json_parse_object(text.data, text.len, ret, err);
}

bool
agt_saved_is_of(const char *folder, const char *service)
{
    SYN_JSON(manifest);

    return read_manifest(folder, &manifest, NULL) == SYN_OK &&
           syn_str_eq(syn_json_str(manifest, "service", ""), service);
}

int
agt_saved_verify(const char *folder, const char *sandbox, struct syn_err *err)
{
    char hex[2 * SYN_SHA256_LEN + 1];
    SYN_JSON(manifest);
    int rc = read_manifest(folder, &manifest, err);

    if (rc == SYN_OK && (syn_json_i64(manifest, "format", 0) != FORMAT ||
                         !syn_str_eq(syn_json_str(manifest, "sandbox", ""), sandbox)))
        rc = SYN_FAIL(err, SYN_E_CORRUPT, "it is of another sandbox");
    for (size_t i = 0; i < SYN_LEN(files) && rc == SYN_OK; i++) {
        rc = hash_file(folder, files[i], hex, err);
        if (rc == SYN_OK &&
            !syn_str_eq(syn_json_str(json_object_get(manifest, "files"), files[i], ""), hex))
            rc = SYN_FAIL(err, SYN_E_CORRUPT, "%s is not what was written", files[i]);
    }
    return rc;
}

/* --- what is remembered ------------------------------------------------------------------------
 */

/* Under the lock. A row that another one may take when there are too many. */
static struct agt_saved_row *
row_of(struct agt_saved *saved, const char *key)
{
    struct agt_saved_row *row;

    for (size_t i = 0; i < SYN_LEN(saved->rows); i++)
        if (syn_str_eq(saved->rows[i].key, key))
            return &saved->rows[i];
    row = &saved->rows[saved->next++ % SYN_LEN(saved->rows)];
    *row = (struct agt_saved_row){.not_before_ms = 0};
    (void)syn_str_copy(row->key, sizeof(row->key), key);
    return row;
}

void
agt_saved_refuse(struct syn_agent *agent, const char *key, const char *why)
{
    struct agt_saved_row *row;

    syn_log_kv(SYN_LOG_WARN, "snapshot.refused", "snapshot", key, "why", why, NULL);
    (void)pthread_mutex_lock(&agent->lock);
    row = row_of(&agent->saved, key);
    row->not_before_ms = syn_mono_ms(agent->world) + RETRY_MS;
    (void)snprintf(row->why, sizeof(row->why), "%s", why);
    (void)pthread_mutex_unlock(&agent->lock);
    (void)pthread_mutex_lock(&agent->fetch_lock);
    agt_cache_drop(&agent->cache, AGT_CACHE_SNAPSHOTS, key);
    (void)pthread_mutex_unlock(&agent->fetch_lock);
}

/* Times of change of the files; nobody writes to them without that. */
static void
look(const char *folder, int64_t ret_ns[2])
{
    static const size_t looked_at[2] = {STATE, PAGES};

    for (size_t i = 0; i < SYN_LEN(looked_at); i++) {
        char path[AGT_PATH_MAX];
        struct stat st = {0};

        (void)snprintf(path, sizeof(path), "%.900s/image/%s", folder, files[looked_at[i]]);
        (void)stat(path, &st);
        ret_ns[i] = (int64_t)st.st_ctim.tv_sec * 1000000000 + st.st_ctim.tv_nsec;
    }
}

/* Has it failed lately? Then why, and else whether it was verified as it is. */
static bool
recall(struct agt_instance *instance, const char *key, const int64_t changed_ns[2],
       bool *ret_verified)
{
    struct syn_agent *agent = instance->agent;
    const struct agt_saved_row *row;
    bool refused;

    (void)pthread_mutex_lock(&agent->lock);
    row = row_of(&agent->saved, key);
    refused = syn_mono_ms(agent->world) < row->not_before_ms;
    if (refused)
        agt_start_note(instance, row->why);
    *ret_verified = memcmp(row->changed_ns, changed_ns, sizeof(row->changed_ns)) == 0;
    (void)pthread_mutex_unlock(&agent->lock);
    return refused;
}

static void
remember(struct syn_agent *agent, const char *key, const int64_t changed_ns[2])
{
    (void)pthread_mutex_lock(&agent->lock);
    memcpy(row_of(&agent->saved, key)->changed_ns, changed_ns, 2 * sizeof(changed_ns[0]));
    (void)pthread_mutex_unlock(&agent->lock);
}

/* --- starting --------------------------------------------------------------------------------- */

#define NONE_YET 2 /* beside AGT_START_CANNOT: one may be made */

/* The folder of a snapshot that is whole, into out[AGT_PATH_MAX]. */
static int
find(struct agt_instance *instance, const char *key, char *out, struct syn_err *err)
{
    struct syn_agent *agent = instance->agent;
    struct syn_err local;
    int64_t changed_ns[2];
    bool verified;
    int rc = agt_cache_path(&agent->cache, AGT_CACHE_SNAPSHOTS, key, out, AGT_PATH_MAX, err);

    if (rc < 0)
        return rc;
    look(out, changed_ns);
    if (recall(instance, key, changed_ns, &verified))
        return AGT_START_CANNOT;
    if (changed_ns[0] == 0) {
        agt_start_note(instance, "this node has no snapshot of it yet");
        return NONE_YET;
    }
    if (!verified && agt_saved_verify(out, instance->made_by->snapshots, &local) < 0) {
        syn_log_err(SYN_LOG_WARN, "snapshot.damaged", &local);
        agt_start_note(instance, "its snapshot was damaged, and is made anew");
        (void)pthread_mutex_lock(&agent->fetch_lock);
        agt_cache_drop(&agent->cache, AGT_CACHE_SNAPSHOTS, key);
        (void)pthread_mutex_unlock(&agent->fetch_lock);
        return NONE_YET;
    }
    remember(agent, key, changed_ns);
    (void)pthread_mutex_lock(&agent->fetch_lock);
    agt_cache_touch(&agent->cache, AGT_CACHE_SNAPSHOTS, key);
    (void)pthread_mutex_unlock(&agent->fetch_lock);
    return SYN_OK;
}

/* The word for the one that goes on: its environment. */
int
agt_saved_word(const struct agt_wish *wish, struct syn_buf *out, struct syn_err *err)
{
    json_t *env = json_object();
    SYN_JSON(word);
    int rc = syn_json_pack(&word, err, "{s:o}", "env", env);

    for (size_t i = 0; rc == SYN_OK && wish->spec.env[i] != NULL; i++) {
        const char *pair = wish->spec.env[i];
        SYN_SCOPED(syn_free_scope) char *name = syn_strndup(pair, strcspn(pair, "="));

        if (name == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "no memory for an environment");
        rc = syn_json_set_str(env, name, pair + strcspn(pair, "=") + 1, err);
    }
    return rc < 0 ? rc : syn_json_write(word, out, err);
}

/* Can what is wished be saved at all? */
static bool
may_be_saved(struct agt_instance *instance, const struct agt_wish *wish)
{
    const char *why = NULL;

    if (instance->made_by->snapshots == NULL || instance->made_by->snapshots[0] == '\0' ||
        instance->runtime.ops->checkpoint == NULL)
        why = "this node has no gVisor that can restore (scripts/gvisor gets one)";
    else if (wish->spec.volumes_count > 0 || wish->spec.secrets_count > 0 || wish->gpus != NULL)
        why = "what has volumes, secrets as files or GPUs cannot be saved";
    if (why != NULL)
        agt_start_note(instance, why);
    return why == NULL;
}

/* Whatever was begun goes, so that it can start in another way. */
int
agt_saved_clear(struct agt_instance *instance, struct syn_err *err)
{
    char path[AGT_PATH_MAX];

    agt_names_leave(instance);
    instance->paths = NULL;
    if (instance->handle != NULL)
        instance->handle = instance->runtime.ops->close(instance->handle);
    if (instance->runtime.ops->destroy(instance->runtime.self, agt_run_path(instance, path), err) <
        0)
        return SYN_E_IO;
    return AGT_START_CANNOT;
}

/* It did not go on. */
static int
undo(struct agt_instance *instance, const char *key, const char *why, struct syn_err *err)
{
    char note[AGT_START_NOTE_MAX];

    (void)snprintf(note, sizeof(note), "its snapshot did not go on: %.120s", why);
    agt_start_note(instance, note);
    agt_saved_refuse(instance->agent, key, note);
    return agt_saved_clear(instance, err);
}

/* In a sandbox that waits. Returns NONE_YET where there is none, or it has died. */
static int
go_on(struct agt_instance *instance, const json_t *doc, const struct syn_instance_spec *spec,
      struct syn_err *err)
{
    const struct syn_runtime *runtime = &instance->runtime;
    struct syn_err local = {0};
    int rc;

    if (!agt_spare_take(instance, instance->saved_key))
        return NONE_YET;
    rc = agt_instance_enter(instance, doc, &local);
    agt_names_await(instance);
    if (rc == SYN_OK)
        rc = runtime->ops->go_on(runtime->self, instance->handle, spec, &local);
    if (rc == SYN_OK)
        return rc;
    syn_log_err(SYN_LOG_WARN, "spare.did-not-go-on", &local);
    rc = agt_saved_clear(instance, err);
    agt_spare_forget(instance);
    return rc < 0 ? rc : NONE_YET;
}

/* In a sandbox of its own, that is made for it. */
static int
restore(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
        struct syn_err *err)
{
    const char *hostname = wish->spec.hostname;
    int rc;

    wish->spec.hostname = AGT_SAVED_HOST;
    rc = agt_instance_start_cold(instance, doc, wish, err);
    wish->spec.hostname = hostname;
    return rc;
}

int
agt_saved_start(struct agt_instance *instance, const json_t *doc, struct agt_wish *wish,
                struct syn_err *err)
{
    char key[SYN_CID_TEXT_MAX], folder[AGT_PATH_MAX], image[AGT_PATH_MAX + 8];
    struct syn_err local = {0};
    SYN_BUF(word);
    int rc;

    if (!may_be_saved(instance, wish))
        return AGT_START_CANNOT;
    rc = agt_saved_key(doc, wish, instance->made_by->snapshots, key, err);
    if (rc == SYN_OK)
        rc = find(instance, key, folder, err);
    if (rc == NONE_YET) {
        if (agt_saving_new(instance, doc, key, &instance->saving, &local) < 0)
            syn_log_err(SYN_LOG_WARN, "snapshot.not-planned", &local);
        return AGT_START_CANNOT;
    }
    if (rc == SYN_OK)
        rc = agt_saved_word(wish, &word, err);
    if (rc != SYN_OK)
        return rc;
    (void)syn_str_copy(instance->saved_key, sizeof(instance->saved_key), key);
    (void)snprintf(image, sizeof(image), "%s/image", folder);
    wish->spec.restore = image;
    wish->spec.resume = word.data;
    wish->spec.resume_len = word.len;
    rc = go_on(instance, doc, &wish->spec, err);
    if (rc == NONE_YET && restore(instance, doc, wish, &local) < 0)
        rc = undo(instance, key, local.msg, err);
    wish->spec.restore = wish->spec.resume = NULL;
    if (rc < 0 || rc == AGT_START_CANNOT) {
        instance->saved_key[0] = '\0';
        return rc;
    }
    agt_start_way(instance, AGT_WAY_SNAPSHOT);
    agt_start_lap(instance, AGT_STAGE_RESTORE);
    if (agt_saving_new(instance, doc, key, &instance->saving, &local) < 0) /* for more sandboxes */
        syn_log_err(SYN_LOG_WARN, "snapshot.not-planned", &local);
    return SYN_OK;
}

void
agt_saved_failed(struct agt_instance *instance, const char *why)
{
    char note[AGT_START_NOTE_MAX];

    if (instance->saved_key[0] == '\0' || !instance->start.kept)
        return;
    (void)snprintf(note, sizeof(note), "what went on from its snapshot was never ready: %.100s",
                   why);
    agt_saved_refuse(instance->agent, instance->saved_key, note);
    instance->saved_key[0] = '\0';
}
