#include "usage_testing.h"

#include <unistd.h>

#include <synor/base/str.h>
#include <synor/daemon/lease.h>
#include <synor/orchestration/document.h>

void
run_join(struct run *run, struct house *house, const char *name, uint8_t seed, const char *offer)
{
    struct joiner joiner;
    char text[128];
    SYN_JSON(joined);

    *run = (struct run){.house = house, .name = name, .key = joiner_key(seed)};
    run->tenant = tenant(house, name, "tenant");
    await_token(run->tenant);
    (void)snprintf(text, sizeof(text), "/v1/accounts/%s/faucet", name);
    must(house->client, "POST", text, "{'amount':'10'}", NULL);
    (void)snprintf(text, sizeof(text), "paid-%s", name);
    joiner_init(&joiner, house, text);
    assert_int_equal(join_node_as(&joiner, name, seed, &joined), SYN_OK);
    joiner_fini(&joiner);
    (void)syn_str_copy(run->node, sizeof(run->node),
                       syn_json_str(json_object_get(joined, "node"), "id", ""));
    (void)syn_str_copy(run->agent_token, sizeof(run->agent_token),
                       syn_json_str(joined, "token", ""));
    run->agent = client_of(house, run->agent_token);
    await_token(run->agent);
    (void)snprintf(text, sizeof(text), "/v1/nodes/%s", run->node);
    if (offer != NULL)
        must(house->client, "PATCH", text, offer, NULL);
}

void
run_serve(struct run *run, const char *body)
{
    SYN_JSON(service);

    must(run->tenant, "POST", "/v1/services", body, &service);
    (void)syn_str_copy(run->job, sizeof(run->job), syn_document_id(service));
    for (int i = 0; i < 6000 && run->instance[0] == '\0'; i++) {
        SYN_JSON(now);

        must(run->tenant, "GET", "/v1/services/web", NULL, &now);
        (void)syn_str_copy(
            run->instance, sizeof(run->instance),
            syn_json_str(json_array_get(syn_json_at(now, "status.endpoints"), 0), "instance", ""));
        (void)usleep(10000);
    }
    assert_true(run->instance[0] != '\0');
}

void
run_take(struct run *run)
{
    const json_t *resources;
    char path[128];
    SYN_JSON(instance);

    (void)snprintf(path, sizeof(path), "/v1/instances/%s", run->instance);
    must(run->agent, "GET", path, NULL, &instance);
    resources = syn_json_at(instance, "spec.resources");
    run->reserved =
        (struct syn_capacity){.cpu_millicores = syn_json_i64(resources, "cpu_millicores", 0),
                              .memory_bytes = syn_json_i64(resources, "memory_bytes", 0),
                              .scratch_bytes = syn_json_i64(resources, "scratch_bytes", 0),
                              .gpus = syn_json_i64(resources, "gpus", 0),
                              .gpu_permille = syn_json_i64(resources, "gpu_permille", 0)};
    (void)syn_str_copy(run->reserved.gpu_model, sizeof(run->reserved.gpu_model),
                       syn_json_str(resources, "gpu_model", ""));
    run->begun_ms = syn_document_time(instance, "created_at");
    assert_int_equal(syn_lease_digest(instance, run->lease, NULL), SYN_OK);
    assert_int_equal(strlen(run->lease), SYN_DIGEST_MAX - 1);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/status", run->instance);
    must(run->agent, "POST", path, "{'state':'running','reason':'running','message':'m'}", NULL);
}

void
run_fini(struct run *run)
{
    run->tenant = syn_client_free(run->tenant);
    run->agent = syn_client_free(run->agent);
    run->key = syn_key_free(run->key);
}

json_t *
run_report(const struct run *run, int64_t first, int64_t last)
{
    SYN_SCOPED(syn_report_free_scope) struct syn_report *made = NULL;
    uint8_t signature[SYN_SIGNATURE_LEN];
    char hex[2 * SYN_SIGNATURE_LEN + 1];
    struct syn_err err;
    json_t *body = NULL;
    SYN_BUF(payload);

    assert_done(syn_report_new(run->node, run->instance, syn_key_id(run->key), &made, &err), &err);
    assert_done(syn_report_set_lease(made, run->lease, &err), &err);
    for (int64_t seq = first; seq <= last; seq++) {
        struct syn_sample sample = {.seq = seq,
                                    .from_ms = run->begun_ms + (seq - 1) * SAMPLE_MS,
                                    .to_ms = run->begun_ms + seq * SAMPLE_MS,
                                    .reserved = run->reserved,
                                    .egress_bytes = run->egress_bytes};

        assert_done(syn_report_add(made, &sample, &err), &err);
    }
    assert_done(syn_report_payload(made, &payload, &err), &err);
    syn_key_sign(run->key, payload.data, payload.len, signature);
    syn_hex_encode(signature, sizeof(signature), hex);
    assert_done(syn_report_set_signature(made, hex, &err), &err);
    assert_done(syn_report_encode(made, &body, &err), &err);
    return body;
}

int
send_as(const struct run *run, struct syn_client *agent, int64_t first, int64_t last,
        int64_t *ret_seq)
{
    char path[128];
    SYN_JSON(body);
    SYN_JSON(answer);
    int rc;

    body = run_report(run, first, last);
    (void)snprintf(path, sizeof(path), "/v1/instances/%s/usage", run->instance);
    rc = call_json(agent, "POST", path, body, &answer);
    if (ret_seq != NULL)
        *ret_seq = rc == SYN_OK ? syn_json_i64(answer, "seq", -1) : -1;
    return rc;
}

int64_t
ask(const struct run *run, struct syn_client *agent)
{
    char path[128];
    SYN_JSON(answer);

    (void)snprintf(path, sizeof(path), "/v1/instances/%s/usage", run->instance);
    must(agent, "GET", path, NULL, &answer);
    return syn_json_i64(answer, "seq", 0);
}

int64_t
metered(const struct run *run)
{
    struct syn_meter meter;
    int64_t revision;

    assert_int_equal(srv_meter_load(run->house->server, run->instance, &meter, &revision, NULL),
                     SYN_OK);
    return meter.seq;
}

void
sent(const struct run *run, int64_t first, int64_t last, int code, int64_t meter_after)
{
    int64_t seq;
    int rc = send_as(run, run->agent, first, last, &seq);

    if (rc != code)
        fail_msg("samples %lld to %lld: %d, not %d", (long long)first, (long long)last, rc, code);
    if (rc == SYN_OK)
        assert_int_equal(seq, meter_after);
    assert_int_equal(metered(run), meter_after);
}

void
end(const struct run *run, int64_t last)
{
    char path[128];
    char body[256];
    char at[SYN_FORMAT_MAX];

    (void)snprintf(path, sizeof(path), "/v1/instances/%s/status", run->instance);
    (void)snprintf(body, sizeof(body),
                   "{'state':'exited','reason':'failed','message':'m','exit_code':1,"
                   "'ended_at':'%s','usage_seq_last':%lld}",
                   syn_format_time(syn_wall_ms(run->house->server->world), at), (long long)last);
    must(run->agent, "POST", path, body, NULL);
}
