/* Which processors the machine has, of all kinds, as `synor compute devices list --json` finds
 * them.
 *
 * Asked once, in a process of its own. The makers' libraries load what they like and never let go
 * of it (an OpenCL platform with a compiler in it is larger than the whole daemon), start threads,
 * and may hang or crash where a card is ill; none of that is to happen to a node. It is done beside
 * the start, which does not wait for it: a node is ready without, and says it with its next
 * heartbeat. */
#include <sys/wait.h>

#include <synor/base/child.h>
#include <synor/base/log.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>

#include "agent_priv.h"

#define ANSWER_MAX ((size_t)4 << 20)

/* What of a device's description is told to the server: what tells it from others, and its size. */
static const char *const told[] = {
    "id",  "kind",      "driver", "model",     "vendor",       "version", "profile",  "uuid",
    "pci", "numa_node", "units",  "clock_mhz", "memory_bytes", "share",   "share_of",
};

/* The host's cores behind another interface, and devices that only a profile knows, are no
 * capacity. */
static bool
counts(const json_t *device)
{
    return syn_json_str(device, "id", "")[0] != '\0' && !syn_json_bool(device, "modelled", false) &&
           !syn_str_eq(syn_json_str(device, "share", ""), "host");
}

static bool
same(const json_t *a, const json_t *b, const char *key)
{
    const char *text = syn_json_str(a, key, "");

    return text[0] != '\0' && syn_str_eq(text, syn_json_str(b, key, ""));
}

/* A card that two drivers know is one: the first, which is its maker's, tells more of it. Slices of
 * one card have its place on the bus in common, and are several. */
static bool
is_known(const json_t *list, const json_t *device)
{
    size_t i;
    json_t *known;

    json_array_foreach (list, i, known) {
        bool other_driver = !same(known, device, "driver");

        if (same(known, device, "id") || same(known, device, "uuid") ||
            (other_driver && same(known, device, "pci")))
            return true;
    }
    return false;
}

static int
copy_told(const json_t *device, json_t **ret, struct syn_err *err)
{
    SYN_JSON(copy);
    int rc = SYN_OK;

    copy = json_object();
    if (copy == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a device");
    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(told); i++) {
        json_t *value = json_object_get(device, told[i]);

        if (json_is_string(value) || json_is_integer(value))
            rc = syn_json_set_take(copy, told[i], json_incref(value), err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(copy);
    return rc;
}

int
agt_devices_pick(const json_t *answer, json_t **ret, struct syn_err *err)
{
    json_t *devices = json_object_get(answer, "items");
    SYN_JSON(list);
    size_t i;
    json_t *device;
    int rc = SYN_OK;

    if (!json_is_array(devices))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the answer has no list of devices");
    list = json_array();
    if (list == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a list of devices");
    json_array_foreach (devices, i, device) {
        json_t *copy = NULL;

        if (!counts(device) || is_known(list, device))
            continue;
        if (json_array_size(list) == AGT_DEVICES_MAX)
            break;
        rc = copy_told(device, &copy, err);
        if (rc == SYN_OK)
            rc = syn_json_append_take(list, copy, err);
        if (rc < 0)
            return rc;
    }
    *ret = SYN_TAKE(list);
    return SYN_OK;
}

int
agt_devices_ask(const struct syn_agent *agent, json_t **ret, struct syn_err *err)
{
    /* Of no user, so that no user's settings or caches matter. */
    static const char *const env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C",
                                      "HOME=/nonexistent", NULL};
    const struct syn_child_question question = {.program = agent->devices_argv[0],
                                                .argv = agent->devices_argv,
                                                .env = env,
                                                .limit_ms = agent->pace.devices_ms,
                                                .bytes_max = ANSWER_MAX};
    SYN_BUF(text);
    SYN_JSON(answer);
    int status = 0;
    int rc = syn_child_ask(&question, &text, &status, err);

    if (rc == SYN_OK && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        rc = SYN_FAIL(err, SYN_E_INTERNAL, "it ended with status %#x", (unsigned)status);
    if (rc == SYN_OK)
        rc = syn_json_parse_object(text.data, text.len, &answer, err);
    if (rc == SYN_OK)
        rc = agt_devices_pick(answer, ret, err);
    return rc < 0 ? syn_err_wrap(err, rc, "devices") : rc;
}

static void *
devices_main(void *arg)
{
    struct syn_agent *agent = arg;
    struct syn_err err = {0};
    json_t *list = NULL;

    if (agt_devices_ask(agent, &list, &err) < 0) {
        syn_log_err(SYN_LOG_WARN, "agent.devices-unknown", &err);
        return NULL;
    }
    (void)pthread_mutex_lock(&agent->lock);
    agent->devices = list;
    (void)pthread_mutex_unlock(&agent->lock);
    return NULL;
}

void
agt_devices_open(struct syn_agent *agent)
{
    if (agent->devices_argv == NULL)
        return;
    agent->devices_started = pthread_create(&agent->devices_thread, NULL, devices_main, agent) == 0;
    if (!agent->devices_started)
        syn_log_kv(SYN_LOG_WARN, "agent.devices-unknown", "message", "cannot start a thread", NULL);
}

void
agt_devices_close(struct syn_agent *agent)
{
    if (agent->devices_started)
        (void)pthread_join(agent->devices_thread, NULL);
    agent->devices_started = false;
    json_decref(agent->devices);
    agent->devices = NULL;
}

int
agt_devices_report(struct syn_agent *agent, json_t **ret, struct syn_err *err)
{
    bool known;

    (void)pthread_mutex_lock(&agent->lock);
    known = agent->devices != NULL;
    *ret = known ? syn_json_deep_copy(agent->devices) : NULL;
    (void)pthread_mutex_unlock(&agent->lock);
    return known && *ret == NULL ? SYN_FAIL(err, SYN_E_NOMEM, "no memory for the inventory")
                                 : SYN_OK;
}
