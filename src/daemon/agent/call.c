/* Calls to the server: tried again while it is away, ended when the agent stops. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/clock.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/secret_file.h>

#include "agent_priv.h"

int
agt_client_new(struct syn_agent *agent, const char *token, struct syn_client **ret,
               struct syn_err *err)
{
    struct syn_client_options options = {
        .target = agent->server,
        .token = token,
        .answer_ms = agent->pace.answer_ms,
        .fingerprint = agent->fingerprint[0] != '\0' ? agent->fingerprint : NULL};

    return syn_client_new(&options, ret, err);
}

int
agt_client_take(struct syn_agent *agent, struct syn_client **ret, struct syn_err *err)
{
    struct syn_client *client = NULL;

    (void)pthread_mutex_lock(&agent->lock);
    if (agent->clients_count > 0)
        client = agent->clients[--agent->clients_count];
    (void)pthread_mutex_unlock(&agent->lock);
    if (client == NULL)
        return agt_client_new(agent, agent->node_token, ret, err);
    *ret = client;
    return SYN_OK;
}

void
agt_client_give(struct syn_agent *agent, struct syn_client *client)
{
    (void)pthread_mutex_lock(&agent->lock);
    if (client != NULL && agent->clients_count < AGT_CLIENTS_KEPT)
        agent->clients[agent->clients_count++] = SYN_TAKE(client);
    (void)pthread_mutex_unlock(&agent->lock);
    (void)syn_client_free(client);
}

void
agt_clients_close(struct syn_agent *agent)
{
    while (agent->clients_count > 0)
        (void)syn_client_free(agent->clients[--agent->clients_count]);
}

int
agt_replace_file(const char *path, const void *data, size_t len, struct syn_err *err)
{
    char fresh[AGT_PATH_MAX + 32];
    int rc;

    (void)snprintf(fresh, sizeof(fresh), "%s.new", path);
    (void)unlink(fresh); /* of a writer that was killed */
    rc = syn_secret_file_create(fresh, data, len, err);
    if (rc == SYN_OK && rename(fresh, path) != 0)
        rc = SYN_FAIL_SYS(err, errno, "renaming %s", fresh);
    return rc;
}

int
agt_write_file(const char *path, const void *data, size_t len, struct syn_err *err)
{
    char temp[AGT_PATH_MAX + 8];
    FILE *file;
    bool bad;
    int fd;
    int rc;

    (void)snprintf(temp, sizeof(temp), "%s.tmp", path);
    fd = open(temp, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
    file = fd < 0 ? NULL : fdopen(fd, "w");
    if (file == NULL) {
        rc = SYN_FAIL_SYS(err, errno, "creating %s", temp);
        if (fd >= 0)
            (void)close(fd);
        return rc;
    }
    bad = fwrite(data, 1, len, file) != len;
    bad = fclose(file) != 0 || bad;
    if (!bad && rename(temp, path) == 0)
        return SYN_OK;
    rc = SYN_FAIL_SYS(err, errno, "writing %s", path);
    (void)unlink(temp);
    return rc;
}

int
agt_call(struct syn_agent *agent, struct syn_client *client, const char *method, const char *path,
         const json_t *body, json_t **ret, struct syn_err *err)
{
    struct syn_call call = {.method = method, .path = path, .body = body};
    int rc;

    do {
        rc = syn_client_call(client, &call, ret, err);
    } while ((rc == SYN_E_UNAVAILABLE || rc == SYN_E_TIMEOUT) &&
             agt_sleep(agent, NULL, agent->pace.retry_ms));
    return rc;
}

int
agt_upload(struct syn_client *client, const char *path, int fd, int64_t offset, int64_t len,
           int64_t *ret_received, struct syn_err *err)
{
    struct syn_transfer transfer = {.path = path, .fd = fd, .offset = offset, .len = len};
    SYN_JSON(answer);
    int rc = syn_client_upload(client, &transfer, &answer, err);

    if (rc == SYN_OK)
        *ret_received = syn_json_i64(answer, "received_bytes", -1);
    else if (rc == SYN_E_CONFLICT)
        *ret_received = syn_json_i64(json_object_get(syn_client_error(client), "details"),
                                     "received_bytes", -1);
    return rc;
}

bool
agt_sleep(struct syn_agent *agent, const struct agt_instance *instance, int64_t ms)
{
    struct timespec until = syn_clock_in_ms(ms);
    bool stop;

    (void)pthread_mutex_lock(&agent->lock);
    while (!atomic_load(&agent->stop) && (instance == NULL || !instance->changed)) {
        if (pthread_cond_timedwait(&agent->wake, &agent->lock, &until) == ETIMEDOUT)
            break;
    }
    stop = atomic_load(&agent->stop);
    (void)pthread_mutex_unlock(&agent->lock);
    return !stop;
}
