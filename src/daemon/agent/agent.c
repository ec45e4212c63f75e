/* The agent's threads: joining, heartbeats, and the stream of what to run. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/daemon/join.h>
#include <synor/infra/secret_file.h>
#include <synor/infra/token.h>

#include "agent_priv.h"
#include "mesh_priv.h"
#include "wish_priv.h"

#define NODE_FILE "node.json"

/* --- joining -----------------------------------------------------------------------------------
 */

static int
load_node(struct syn_agent *agent, struct syn_err *err)
{
    char path[AGT_PATH_MAX + 16];
    SYN_BUF(text);
    SYN_JSON(doc);
    int rc;

    (void)snprintf(path, sizeof(path), "%s/" NODE_FILE, agent->data_dir);
    rc = syn_secret_file_read(path, &text, err);
    if (rc == SYN_OK)
        rc = syn_json_parse_object(text.data, text.len, &doc, err);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(agent->node_id, sizeof(agent->node_id), syn_json_str(doc, "id", ""));
    (void)syn_str_copy(agent->node_token, sizeof(agent->node_token),
                       syn_json_str(doc, "token", ""));
    return SYN_OK;
}

static int
save_node(const struct syn_agent *agent, struct syn_err *err)
{
    char path[AGT_PATH_MAX + 16];
    SYN_BUF(text);
    SYN_JSON(doc);
    int rc =
        syn_json_pack(&doc, err, "{s:s, s:s}", "id", agent->node_id, "token", agent->node_token);

    (void)snprintf(path, sizeof(path), "%s/" NODE_FILE, agent->data_dir);
    if (rc == SYN_OK)
        rc = syn_json_write(doc, &text, err);
    return rc < 0 ? rc : agt_replace_file(path, text.data, text.len, err);
}

/* Have syn_agent_stop() end a call of the start, or of nothing any more (NULL). False when it was
 * there before. */
static bool
set_join_client(struct syn_agent *agent, struct syn_client *client)
{
    bool go_on;

    (void)pthread_mutex_lock(&agent->lock);
    agent->join_client = client;
    go_on = !atomic_load(&agent->stop);
    (void)pthread_mutex_unlock(&agent->lock);
    return go_on;
}

/* What the request says of this node. */
static int
describe(struct syn_agent *agent, json_t **ret, struct syn_err *err)
{
    char hex[2 * SYN_SIGN_PUBLIC_LEN + 1];
    SYN_JSON(body);
    int rc = agt_inventory(agent, &body, err);

    syn_hex_encode(syn_key_public(agent->key), SYN_SIGN_PUBLIC_LEN, hex);
    if (rc == SYN_OK)
        rc = syn_json_set_str(body, "name", agent->name, err);
    if (rc == SYN_OK && *agent->region != '\0')
        rc = syn_json_set_str(body, "region", agent->region, err);
    if (rc == SYN_OK && agent->labels != NULL)
        rc = syn_json_set_take(body, "labels", syn_json_deep_copy(agent->labels), err);
    if (rc == SYN_OK && agent->offer != NULL)
        rc = syn_json_set_take(body, "offer", syn_json_deep_copy(agent->offer), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(body, "key_id", syn_key_id(agent->key), err);
    if (rc == SYN_OK)
        rc = syn_json_set_str(body, "public_key", hex, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(body);
    return rc;
}

/* Answer the challenge: the key's signature over it and the request. */
static int
prove(const struct syn_agent *agent, const json_t *challenge, json_t *body, struct syn_err *err)
{
    uint8_t digest[SYN_SHA256_LEN];
    uint8_t signature[SYN_SIGNATURE_LEN];
    char token[2 * SYN_SHA256_LEN + 1];
    char hex[2 * SYN_SIGNATURE_LEN + 1];
    const struct syn_join join = {syn_json_str(challenge, "cluster", ""),
                                  syn_json_str(challenge, "challenge", ""), token};
    SYN_BUF(payload);
    int rc = syn_token_digest(agent->join_token, strlen(agent->join_token), digest, err);

    if (rc < 0)
        return syn_err_wrap(err, rc, "--token");
    syn_hex_encode(digest, sizeof(digest), token);
    rc = syn_json_set_str(body, "challenge", join.challenge, err);
    if (rc == SYN_OK)
        rc = syn_join_payload(&join, body, &payload, err);
    if (rc < 0)
        return rc;
    syn_key_sign(agent->key, payload.data, payload.len, signature);
    syn_hex_encode(signature, sizeof(signature), hex);
    return syn_json_set_str(body, "signature", hex, err);
}

#define JOIN_TRIES_MAX 5

/* Ask for a challenge and answer it. An answer that got lost leaves the challenge spent, so what is
 * tried again is both. */
static int
ask_to_join(struct syn_agent *agent, struct syn_client *client, json_t *body, json_t **ret,
            struct syn_err *err)
{
    const struct syn_call join = {.method = "POST", .path = "/v1/nodes", .body = body};
    int tries = 0;
    int rc;

    do {
        SYN_JSON(challenge);

        rc = agt_call(agent, client, "POST", "/v1/challenges", NULL, &challenge, err);
        if (rc == SYN_OK)
            rc = prove(agent, challenge, body, err);
        if (rc == SYN_OK)
            rc = syn_client_call(client, &join, ret, err);
        if (rc == SYN_E_PRECONDITION && ++tries == JOIN_TRIES_MAX)
            return rc;
    } while ((rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT || rc == SYN_E_PRECONDITION) &&
             agt_sleep(agent, NULL, agent->pace.retry_ms));
    return rc;
}

/* Register with the join token; the same key gives the same node. */
static int
join(struct syn_agent *agent, struct syn_err *err)
{
    SYN_SCOPED(syn_client_free_scope) struct syn_client *client = NULL;
    SYN_JSON(body);
    SYN_JSON(answer);
    int rc;

    if (agent->join_token[0] == '\0')
        return SYN_FAIL(err, SYN_E_INVALID,
                        "this node is not registered: give --token, made with "
                        "`synor account token --scope join`");
    rc = describe(agent, &body, err);
    if (rc == SYN_OK)
        rc = agt_client_new(agent, agent->join_token, &client, err);
    if (rc == SYN_OK && !set_join_client(agent, client))
        rc = SYN_FAIL(err, SYN_E_CANCELED, "the agent is stopping");
    if (rc == SYN_OK)
        rc = ask_to_join(agent, client, body, &answer, err);
    (void)set_join_client(agent, NULL);
    if (rc < 0)
        return rc;
    (void)syn_str_copy(agent->node_id, sizeof(agent->node_id),
                       syn_json_str(json_object_get(answer, "node"), "id", ""));
    (void)syn_str_copy(agent->node_token, sizeof(agent->node_token),
                       syn_json_str(answer, "token", ""));
    syn_log_kv(SYN_LOG_INFO, "agent.joined", "node", agent->node_id, "server", agent->server, NULL);
    return save_node(agent, err);
}

/* --- heartbeat ---------------------------------------------------------------------------------
 */

static int
beat(struct syn_agent *agent, struct syn_err *err)
{
    char path[128];
    SYN_JSON(body);
    int rc = agt_inventory(agent, &body, err);

    if (rc == SYN_OK)
        rc = agt_line_report(agent, body, err);
    if (rc == SYN_OK)
        rc = agent->mesh != NULL ? agt_mesh_beat(agent->mesh, body, err)
                                 : syn_json_set_str(body, "mesh", "", err);
    if (rc == SYN_OK)
        rc = agt_volumes_report(agent, body, err);
    if (rc == SYN_OK)
        rc = agt_pool_report(agent, body, err);
    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/heartbeat", agent->node_id);
    if (rc == SYN_OK)
        rc = agt_call(agent, agent->beat_client, "POST", path, body, NULL, err);
    return rc < 0 ? rc : agt_volumes_sweep(agent, err);
}

static void *
beat_main(void *arg)
{
    struct syn_agent *agent = arg;

    do {
        struct syn_err err = {0};

        if (beat(agent, &err) < 0 && !atomic_load(&agent->stop))
            syn_log_err(SYN_LOG_WARN, "agent.heartbeat-failed", &err);
        agt_table_reap(agent);
        agt_sessions_reap(agent);
        agt_network_sweep(agent, false);
        agt_spares_rest(agent, false);
        agt_pool_look(agent);
    } while (agt_sleep(agent, NULL, agent->pace.beat_ms));
    return NULL;
}

/* --- what to run -------------------------------------------------------------------------------
 */

/* One connection's worth of the stream. */
struct session {
    struct syn_agent *agent;
    struct syn_map *named; /* by the snapshot; NULL before it begins and after `synced` */
};

/* The snapshot is complete: what it did not name, the server has forgotten. */
static void
synced(struct session *session)
{
    agt_table_keep(session->agent, session->named);
    (void)syn_map_free(session->named);
    session->named = NULL;
}

static int
on_event(void *arg, const struct syn_event *event, struct syn_err *err)
{
    struct session *session = arg;
    SYN_JSON(doc);
    int rc = SYN_OK;

    if (atomic_load(&session->agent->stop))
        return SYN_CLIENT_STOP;
    if (syn_str_eq(event->name,
                   "snapshot")) { /* of this connection, or of the next one after a break */
        session->named = syn_map_free(session->named);
        return syn_map_new(NULL, &session->named, err);
    }
    if (syn_str_eq(event->name, "synced")) {
        if (session->named != NULL)
            synced(session);
        return SYN_OK;
    }
    rc = syn_json_parse_object(event->data, event->len, &doc, err);
    if (rc < 0)
        return rc;
    if (syn_str_eq(event->name, "session")) {
        agt_session_take(session->agent, doc);
    } else if (syn_str_eq(event->name, "gone")) {
        agt_table_let_go(session->agent, syn_json_str(doc, "id", ""));
    } else if (syn_str_eq(event->name, "instance")) {
        if (session->named != NULL)
            rc = syn_map_put_take(session->named, syn_json_str(doc, "id", ""), session, err);
        if (rc < 0)
            return rc;
        rc = agt_table_take(session->agent, doc, err);
        if (rc < 0 && rc != SYN_E_NOMEM) {
            syn_log_err(SYN_LOG_ERROR, "agent.instance-refused", err);
            rc = SYN_OK;
        }
    }
    return rc; /* short of memory: the stream ends, and the next one brings it again */
}

static void *
stream_main(void *arg)
{
    struct syn_agent *agent = arg;
    char path[128];

    (void)snprintf(path, sizeof(path), "/v1/nodes/%s/instances", agent->node_id);
    do {
        struct session session = {agent, NULL};
        struct syn_err err = {0};
        int rc = syn_client_follow(agent->stream_client, path, NULL, on_event, &session, &err);

        (void)syn_map_free(session.named);
        if (rc < 0 && !atomic_load(&agent->stop))
            syn_log_err(SYN_LOG_INFO, "agent.stream-ended", &err);
    } while (agt_sleep(agent, NULL, agent->pace.retry_ms));
    return NULL;
}

/* --- what ran before ---------------------------------------------------------------------------
 */

static int
read_doc(const struct syn_agent *agent, const char *id, json_t **ret, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    SYN_BUF(text);
    int rc = syn_secret_file_read(agt_job_path(agent, id, "doc.json", path), &text, err);

    return rc < 0 ? rc : syn_json_parse_object(text.data, text.len, ret, err);
}

/* Take over every instance that an earlier agent kept, before the server is asked. */
static void
adopt_all(struct syn_agent *agent)
{
    char path[AGT_PATH_MAX + 8];
    const struct dirent *entry;
    DIR *dir;

    (void)snprintf(path, sizeof(path), "%s/jobs", agent->data_dir);
    dir = opendir(path);
    while (dir != NULL && (entry = readdir(dir)) != NULL) {
        struct syn_err err = {0};
        SYN_JSON(doc);

        if (!syn_name_ok(entry->d_name))
            continue;
        if (read_doc(agent, entry->d_name, &doc, &err) < 0 || agt_table_take(agent, doc, &err) < 0)
            syn_log_err(SYN_LOG_WARN, "agent.adopt-failed", &err);
    }
    if (dir != NULL)
        (void)closedir(dir);
}

/* --- beginning and end --------------------------------------------------------------------------
 */

static int
make_dirs(const struct syn_agent *agent, struct syn_err *err)
{
    static const char *const below[] = {"",         "/instances", "/jobs",
                                        "/runtime", "/spares",    "/volumes"};

    for (size_t i = 0; i < SYN_LEN(below); i++) {
        char path[AGT_PATH_MAX + 16];

        (void)snprintf(path, sizeof(path), "%s%s", agent->data_dir, below[i]);
        if (mkdir(path, 0711) != 0 && errno != EEXIST)
            return SYN_FAIL_SYS(err, errno, "making %s", path);
    }
    return SYN_OK;
}

static int
open_key(struct syn_agent *agent, struct syn_err *err)
{
    char path[AGT_PATH_MAX + 16];
    int rc;

    (void)snprintf(path, sizeof(path), "%s/node.key", agent->data_dir);
    rc = syn_key_load(path, &agent->key, err);
    if (rc != SYN_E_NOTFOUND)
        return rc;
    rc = syn_key_new(&agent->key, err);
    return rc < 0 ? rc : syn_key_save(agent->key, path, err);
}

static int
open_content(struct syn_agent *agent, struct syn_err *err)
{
    char path[AGT_PATH_MAX + 16];
    struct syn_content_opts options = {.dir = path};

    (void)snprintf(path, sizeof(path), "%s/content", agent->data_dir);
    return syn_content_open(&options, &agent->content, err);
}

/* Does an instance of this node name this content? */
static bool
names_content(void *arg, const char *cid)
{
    static const char *const fields[] = {"code_cid", "dataset_cid", "image_cid", "checkpoint_cid"};
    struct syn_agent *agent = arg;
    bool named = false;
    size_t cursor = 0;
    void *value;

    (void)pthread_mutex_lock(&agent->lock);
    while (!named && syn_map_next(agent->instances, &cursor, NULL, &value)) {
        const struct agt_instance *instance = value;
        const json_t *spec = json_object_get(instance->doc->json, "spec");

        for (size_t i = 0; instance->phase != AGT_OVER && i < SYN_LEN(fields); i++)
            named = named || syn_str_eq(syn_json_str(spec, fields[i], ""), cid);
        named = named || (instance->phase != AGT_OVER && agt_wish_mounts(spec, cid));
    }
    (void)pthread_mutex_unlock(&agent->lock);
    return named;
}

static int
open_cache(struct syn_agent *agent, struct syn_err *err)
{
    int rc = agt_cache_init(&agent->cache, agent->data_dir, agent->cache_bytes_max, err);

    agent->cache.content = agent->content;
    agent->cache.in_use = names_content;
    agent->cache.arg = agent;
    return rc;
}

static void
copy_options(struct syn_agent *agent, const struct syn_agent_options *options)
{
    char host[64] = "node";

    (void)gethostname(host, sizeof(host) - 1);
    for (char *c = host; *c != '\0'; c++) {
        if (*c >= 'A' && *c <= 'Z')
            *c = (char)(*c + 32);
        else if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9')))
            *c = '-';
    }
    if (options->runtime != NULL)
        agent->runtimes[0] = *options->runtime;
    agent->namespace_sandbox = options->namespace_sandbox;
    agent->nothing_ahead = options->nothing_ahead;
    agent->wants_container =
        syn_str_eq(options->driver != NULL ? options->driver : "", "container");
    (void)syn_str_copy(agent->containerd, sizeof(agent->containerd),
                       options->containerd != NULL ? options->containerd : "");
    (void)snprintf(agent->data_dir, sizeof(agent->data_dir), "%s/agent", options->data_dir);
    agent->cache_bytes_max = options->cache_bytes_max;
    agent->bandwidth_bps = options->bandwidth_bps;
    agt_gpus_options(agent, options);
    agent->devices_argv = options->devices_argv;
    agent->names_mode = options->dns;
    agent->mesh_listen = options->mesh;
    (void)syn_str_copy(agent->server, sizeof(agent->server), options->server);
    (void)syn_str_copy(agent->join_token, sizeof(agent->join_token),
                       options->token != NULL ? options->token : "");
    (void)syn_str_copy(agent->fingerprint, sizeof(agent->fingerprint),
                       options->fingerprint != NULL ? options->fingerprint : "");
    (void)syn_str_copy(agent->region, sizeof(agent->region),
                       options->region != NULL ? options->region : "");
    (void)syn_str_copy(agent->name, sizeof(agent->name),
                       options->name != NULL ? options->name
                       : syn_name_ok(host)   ? host
                                             : "node");
}

/* "key=value" each; the server says which it does not take. */
static int
copy_labels(struct syn_agent *agent, const struct syn_agent_options *options, struct syn_err *err)
{
    int rc = SYN_OK;

    if (options->labels == NULL || options->labels[0] == NULL)
        return SYN_OK;
    agent->labels = json_object();
    if (agent->labels == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for labels");
    for (size_t i = 0; rc == SYN_OK && options->labels[i] != NULL; i++) {
        size_t len = strcspn(options->labels[i], "=");
        char key[SYN_ID_MAX];

        (void)snprintf(key, sizeof(key), "%.*s", (int)SYN_MIN(len, sizeof(key) - 1),
                       options->labels[i]);
        rc = syn_json_set_str(agent->labels, key,
                              options->labels[i] + len + (options->labels[i][len] == '='), err);
    }
    return rc;
}

int
syn_agent_start(struct syn_agent *agent, struct syn_err *err)
{
    int rc = make_dirs(agent, err);

    if (rc == SYN_OK)
        rc = open_key(agent, err);
    if (rc == SYN_OK)
        rc = open_content(agent, err);
    if (rc == SYN_OK)
        rc = open_cache(agent, err);
    if (rc == SYN_OK)
        rc = agt_runtimes_open(agent, err);
    if (rc == SYN_OK)
        agt_gpus_open(agent);
    if (rc == SYN_OK)
        rc = syn_map_new(NULL, &agent->instances, err);
    if (rc == SYN_OK)
        rc = agt_sessions_open(agent, err);
    if (rc == SYN_OK && load_node(agent, err) < 0)
        rc = join(agent, err);
    if (rc == SYN_OK)
        rc = agt_client_new(agent, agent->node_token, &agent->beat_client, err);
    if (rc == SYN_OK)
        rc = agt_client_new(agent, agent->node_token, &agent->stream_client, err);
    if (rc < 0)
        return rc;
    agt_names_open(agent);
    /* Nobody fetches, and so nothing is evicted, before all that runs is known. */
    (void)pthread_mutex_lock(&agent->fetch_lock);
    adopt_all(agent);
    (void)pthread_mutex_unlock(&agent->fetch_lock);
    agt_mesh_adopt(agent);
    agt_spares_sweep(agent);
    agt_network_sweep(agent, true);
    agent->beat_started = pthread_create(&agent->beat_thread, NULL, beat_main, agent) == 0;
    agent->stream_started = pthread_create(&agent->stream_thread, NULL, stream_main, agent) == 0;
    if (!agent->beat_started || !agent->stream_started)
        return SYN_FAIL(err, SYN_E_LIMIT, "cannot start the agent's threads");
    agt_devices_open(agent);
    return SYN_OK;
}

int
syn_agent_new(const struct syn_agent_options *options, struct syn_agent **ret_agent,
              struct syn_err *err)
{
    struct syn_agent *agent = syn_calloc(1, sizeof(*agent));
    pthread_condattr_t attributes;
    int rc;

    if (agent == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the agent");
    agent->world = syn_world_system();
    agent->sessions_end = -1;
    agent->pace = (struct agt_pace){.beat_ms = AGT_BEAT_MS,
                                    .ship_ms = AGT_SHIP_MS,
                                    .retry_ms = AGT_RETRY_MS,
                                    .answer_ms = AGT_ANSWER_MS,
                                    .devices_ms = AGT_DEVICES_MS};
    copy_options(agent, options);
    rc = copy_labels(agent, options, err);
    if (rc == SYN_OK && options->offer != NULL)
        rc = syn_json_parse_object(options->offer, strlen(options->offer), &agent->offer, err);
    if (rc < 0) {
        json_decref(agent->labels);
        json_decref(agent->offer);
        syn_free(agent);
        return rc;
    }
    (void)pthread_mutex_init(&agent->lock, NULL);
    (void)pthread_mutex_init(&agent->fetch_lock, NULL);
    (void)pthread_mutex_init(&agent->volumes_lock, NULL);
    (void)pthread_mutex_init(&agent->volumes_turn, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&agent->wake, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    *ret_agent = agent;
    return SYN_OK;
}

void
syn_agent_stop(struct syn_agent *agent)
{
    (void)pthread_mutex_lock(&agent->lock);
    atomic_store(&agent->stop, true);
    if (agent->join_client != NULL)
        syn_client_cancel(agent->join_client);
    agt_wake(agent);
    (void)pthread_mutex_unlock(&agent->lock);
}

static void
stop_threads(struct syn_agent *agent)
{
    size_t cursor = 0;
    void *value;

    (void)pthread_mutex_lock(&agent->lock);
    atomic_store(&agent->stop, true);
    while (agent->instances != NULL && syn_map_next(agent->instances, &cursor, NULL, &value)) {
        const struct agt_instance *instance = value;

        if (instance->client != NULL)
            syn_client_cancel(instance->client);
    }
    agt_wake(agent);
    (void)pthread_mutex_unlock(&agent->lock);
    if (agent->stream_client != NULL)
        syn_client_cancel(agent->stream_client);
    if (agent->beat_client != NULL)
        syn_client_cancel(agent->beat_client);
    if (agent->stream_started)
        (void)pthread_join(agent->stream_thread, NULL);
    if (agent->beat_started)
        (void)pthread_join(agent->beat_thread, NULL);
}

struct syn_agent *
syn_agent_free(struct syn_agent *agent)
{
    if (agent == NULL)
        return NULL;
    stop_threads(agent);
    agt_sessions_close(agent);
    agt_table_free(agent);
    agt_spares_rest(agent, true);
    agt_pool_end(agent);
    agt_names_close(agent);
    agt_devices_close(agent);
    agent->stream_client = syn_client_free(agent->stream_client);
    agent->beat_client = syn_client_free(agent->beat_client);
    agt_runtimes_close(agent);
    agt_cache_fini(&agent->cache);
    agent->content = syn_content_close(agent->content);
    agent->key = syn_key_free(agent->key);
    (void)pthread_cond_destroy(&agent->wake);
    (void)pthread_mutex_destroy(&agent->fetch_lock);
    (void)pthread_mutex_destroy(&agent->volumes_lock);
    (void)pthread_mutex_destroy(&agent->volumes_turn);
    (void)pthread_mutex_destroy(&agent->lock);
    json_decref(agent->labels);
    json_decref(agent->offer);
    syn_free(agent);
    return NULL;
}
