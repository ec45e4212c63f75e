#include "member_priv.h"

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/document.h>

/* What has ended, and whose end was told, is not changed any more: no copy is needed, and a list
 * may be long of such. */
static json_t *
copy_of(const json_t *given)
{
    const json_t *status = json_object_get(given, "status");
    int state = syn_instance_state_find(syn_json_str(status, "state", ""));

    if (state >= 0 && syn_instance_ended((enum syn_instance_phase)state) &&
        syn_json_bool(status, "noted", false))
        return json_incref((json_t *)(uintptr_t)given);
    return syn_json_deep_copy(given);
}

static int
member_read(const json_t *given, struct member *ret, struct syn_err *err)
{
    struct member member = {.given = given, .doc = copy_of(given)};
    int state;

    ret->doc = member.doc; /* released with the others from here on */
    if (!member.doc)
        return SYN_FAIL(err, SYN_E_NOMEM, "copying an instance: out of memory");
    member.spec = json_object_get(member.doc, "spec");
    member.status = json_object_get(member.doc, "status");
    member.id = syn_json_str(member.doc, "id", "");
    member.node = syn_json_str(member.spec, "node", "");
    member.reason = syn_json_str(member.status, "reason", "");
    state = syn_instance_state_find(syn_json_str(member.status, "state", ""));
    member.run = syn_json_i64(member.spec, "run", -1);
    member.attempt = syn_json_i64(member.spec, "attempt", -1);
    member.rank = syn_json_i64(member.spec, "rank", -1);
    if (!json_is_object(member.spec) || !json_is_object(member.status) || state < 0 ||
        !*member.id || !*member.node || member.run < 1 || member.attempt < 1 || member.rank < 0)
        return SYN_FAIL(err, SYN_E_CORRUPT, "instance \"%s\" is none of a workload", member.id);
    member.state = (enum syn_instance_phase)state;
    member.ended = syn_instance_ended(member.state);
    *ret = member;
    return SYN_OK;
}

int
members_read(const json_t *instances, struct member **ret, size_t *ret_count, struct syn_err *err)
{
    size_t count = json_array_size(instances);

    if (count > MEMBERS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "it has %zu instances, at most %d", count, MEMBERS_MAX);
    *ret = syn_calloc(count + 1, sizeof(**ret));
    if (!*ret)
        return SYN_FAIL(err, SYN_E_NOMEM, "reading instances: out of memory");
    for (size_t i = 0; i < count; i++) {
        int rc;

        *ret_count = i + 1;
        rc = member_read(json_array_get(instances, i), &(*ret)[i], err);
        if (rc < 0)
            return rc;
    }
    return SYN_OK;
}

void
members_free(struct member *members, size_t count)
{
    for (size_t i = 0; i < count; i++)
        json_decref(members[i].doc);
    syn_free(members);
}

bool
member_changed(const struct member *member)
{
    return member->doc != member->given && !json_equal(member->doc, member->given);
}

int
members_changed(const struct member *members, size_t count, json_t **ret, struct syn_err *err)
{
    SYN_JSON(changed);

    changed = json_array();
    if (!changed)
        return SYN_FAIL(err, SYN_E_NOMEM, "a list of instances: out of memory");
    for (size_t i = 0; i < count; i++) {
        int rc;

        if (!member_changed(&members[i]))
            continue;
        rc = syn_json_append_take(changed, json_incref(members[i].doc), err);
        if (rc < 0)
            return rc;
    }
    *ret = SYN_TAKE(changed);
    return SYN_OK;
}

bool
member_asked_to_stop(const struct member *member)
{
    return syn_str_eq(syn_json_str(member->spec, "desired", ""), "stopped");
}

int
member_stop(struct member *member, const char *reason, int64_t grace_ms, struct syn_err *err)
{
    bool asked = member_asked_to_stop(member);
    int rc;

    if (member->ended || (asked && syn_json_i64(member->spec, "stop_grace_ms", 0) <= grace_ms))
        return SYN_OK;
    rc = syn_json_set_str(member->spec, "desired", "stopped", err);
    if (rc == SYN_OK && !asked)
        rc = syn_json_set_str(member->spec, "stop_reason", reason, err);
    if (rc == SYN_OK)
        rc = syn_json_set_i64(member->spec, "stop_grace_ms", grace_ms, err);
    if (rc == SYN_OK)
        rc = syn_document_bump(member->doc, err);
    return rc;
}

int
member_lose(struct member *member, int64_t now_ms, struct syn_err *err)
{
    int rc = member_stop(member, "node-lost", 0, err);

    if (rc == SYN_OK)
        rc = syn_document_set_state(member->doc, "lost", "node-lost",
                                    "its node is gone or was silent for too long", err);
    if (rc == SYN_OK)
        rc = syn_document_set_time(member->status, "ended_at", now_ms, err);
    if (rc < 0)
        return rc;
    member->state = SYN_PHASE_LOST;
    member->reason = "node-lost";
    member->ended = true;
    return SYN_OK;
}

bool
member_usage_complete(const struct member *member, const struct syn_cluster *cluster,
                      int64_t now_ms, int64_t *ret_until_ms)
{
    const struct syn_node_view *node = syn_cluster_find(cluster, member->node);
    int64_t last = syn_json_i64(member->status, "usage_seq_last", -1);
    int64_t known = syn_json_i64(member->status, "usage_seq", 0);
    int64_t ended_ms = syn_document_time(member->status, "ended_at");
    bool started = syn_document_time(member->status, "started_at") != SYN_DOCUMENT_NONE;

    *ret_until_ms = SYN_DOCUMENT_NONE;
    if (!member->ended)
        return false;
    if (last >= 0 ? known >= last : !started || member->state == SYN_PHASE_LOST)
        return true;
    if (!node || node->state == SYN_NODE_LEFT)
        return true;
    *ret_until_ms = SYN_MAX(ended_ms, 0) + MEMBER_USAGE_WAIT_MAX_MS;
    return now_ms >= *ret_until_ms;
}
