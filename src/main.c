/* synor: one binary, several roles.
 *
 *   synor up | server | agent   daemon/daemon.c      the platform's processes
 *   synor shim DIR              runtime/native/      the supervisor of one instance
 *   synor pod DIR               runtime/container/   the same of one that is a pod
 *   synor function-gateway ...  daemon/function/     the gateway of functions
 *   everything else             cli/                 a client of the API
 *
 * This file only joins them: the client sees no layer above base, so the daemon's entry points are
 * handed to it here. */
#include <string.h>

#include <synor/cli/cli.h>
#include <synor/daemon/daemon.h>
#include <synor/daemon/function_gateway.h>
#include <synor/runtime/container.h>
#include <synor/runtime/shim.h>

static int
up(const struct syn_cli_up *given)
{
    struct syn_daemon_options options = {.data_dir = given->data_dir,
                                         .listen = given->listen,
                                         .key_file = given->key_file,
                                         .old_key_files = given->old_key_files,
                                         .without_key = given->without_key,
                                         .price_book = given->price_book,
                                         .publish = given->publish,
                                         .http_port = given->http_port,
                                         .https_port = given->https_port,
                                         .function_listen = given->function_listen,
                                         .function_access_log = given->function_access_log,
                                         .function_tls_listen = given->function_tls_listen,
                                         .function_tls_certs = given->function_tls_certs,
                                         .acme_directory = given->acme_directory,
                                         .acme_contact = given->acme_contact,
                                         .acme_ca = given->acme_ca,
                                         .region = given->region,
                                         .labels = given->labels,
                                         .bandwidth_bps = given->bandwidth_bps,
                                         .offer = given->offer,
                                         .namespace_sandbox = given->namespace_sandbox,
                                         .nothing_ahead = given->nothing_ahead,
                                         .gpu_sharing = given->gpu_sharing,
                                         .mps_pipes = given->mps_pipes,
                                         .runtime = given->runtime,
                                         .containerd = given->containerd,
                                         .dns = given->dns,
                                         .mesh = given->mesh,
                                         .service_network = given->service_network,
                                         .log_level = given->log_level,
                                         .insecure = given->insecure,
                                         .log_json = given->log_json,
                                         .webhook_private = given->webhook_private,
                                         .with_agent = given->with_agent,
                                         .cache_bytes_max = given->cache_bytes_max,
                                         .ready_fd = given->ready_fd};

    return syn_daemon_up(&options);
}

static int
agent(const struct syn_cli_agent *given)
{
    struct syn_daemon_options options = {.data_dir = given->data_dir,
                                         .server = given->server,
                                         .token = given->token,
                                         .fingerprint = given->fingerprint,
                                         .region = given->region,
                                         .labels = given->labels,
                                         .bandwidth_bps = given->bandwidth_bps,
                                         .offer = given->offer,
                                         .namespace_sandbox = given->namespace_sandbox,
                                         .nothing_ahead = given->nothing_ahead,
                                         .gpu_sharing = given->gpu_sharing,
                                         .mps_pipes = given->mps_pipes,
                                         .runtime = given->runtime,
                                         .containerd = given->containerd,
                                         .dns = given->dns,
                                         .mesh = given->mesh,
                                         .name = given->name,
                                         .cache_bytes_max = given->cache_bytes_max,
                                         .log_level = given->log_level,
                                         .log_json = given->log_json,
                                         .ready_fd = -1};

    return syn_daemon_agent(&options);
}

static struct syn_daemon_input
input(const struct syn_cli_input *given)
{
    return (struct syn_daemon_input){given->name, given->text, given->len, given->count};
}

static int
simulate(const struct syn_cli_sim *given, json_t **ret, struct syn_buf *plot, struct syn_err *err)
{
    struct syn_daemon_sim sim = {.nodes = input(&given->nodes),
                                 .workload = input(&given->workload),
                                 .policy = given->policy,
                                 .seed = given->seed,
                                 .arrivals_percent = given->arrivals_percent,
                                 .mtbf_ms = given->mtbf_ms,
                                 .repair_ms = given->repair_ms,
                                 .notice_ms = given->notice_ms,
                                 .learn = given->learn,
                                 .spot = given->spot,
                                 .progress = given->progress,
                                 .progress_arg = given->progress_arg};

    return syn_daemon_simulate(&sim, ret, plot, err);
}

int
main(int argc, char **argv)
{
    static const struct syn_cli_host host = {.up = up,
                                             .agent = agent,
                                             .doctor = syn_daemon_doctor,
                                             .simulate = simulate,
                                             .runtime_config = syn_daemon_runtime_config};

    if (argc == 3 && strcmp(argv[1], "shim") == 0)
        return syn_shim_main(argc, argv);
    if (argc == 3 && strcmp(argv[1], "pod") == 0)
        return syn_pod_main(argc, argv);
    if (argc >= 2 && strcmp(argv[1], "function-gateway") == 0)
        return syn_function_gateway_main(argc, argv);
    return syn_cli_main(argc, argv, &host);
}
