/* Which processors there are, and what a matrix product would take on each.
 *
 *     devices [PROFILE,...]        e.g. devices h100-sxm,tpu-v4: with modelled devices
 *
 * A modelled device computes nothing faster: it answers with the time and energy that its profile
 * says, and is marked wherever it is seen. */
#include <inttypes.h>
#include <stdio.h>

#include <synor/device.h>

#define N 8192 /* rows of the matrices */

/* Time and energy of C = A B of N x N by the device's capability profile. */
static void
print_estimate(const struct syn_profile *known)
{
    struct syn_work work = {.flops = UINT64_C(2) * N * N * N,
                            .read_bytes = UINT64_C(2) * N * N * 4,
                            .written_bytes = UINT64_C(1) * N * N * 4,
                            .dtype = SYN_DTYPE_FP32,
                            .matrix = true};
    struct syn_profile profile;
    unsigned assumed;
    int64_t ns;

    if (known == NULL) {
        (void)printf("    no capability profile: nobody knows how fast it is\n");
        return;
    }
    assumed = syn_profile_assume(known, &profile); /* fills in what the vendor does not publish */
    ns = syn_profile_work_ns(&profile, &work);
    if (ns == INT64_MAX) {
        (void)printf("    does not compute with %s\n", syn_dtype_name(work.dtype));
        return;
    }
    (void)printf("    %d x %d %s matrix product: %.3f ms, %.3f J%s\n", N, N,
                 syn_dtype_name(work.dtype), (double)ns / 1e6,
                 (double)syn_profile_work_uj(&profile, &work, ns) / 1e6,
                 assumed != 0 ? ", partly assumed" : "");
}

static void
print_device(struct syn_registry *registry, size_t index)
{
    const struct syn_device_info *info = syn_registry_device(registry, index);
    unsigned node = syn_registry_device_node(registry, index);
    struct syn_device_health health;
    struct syn_err err;

    (void)printf("%-10s %-4s %s%s, memory node %u\n", info->id, syn_kind_name(info->kind),
                 info->model, info->modelled ? " (modelled)" : "", node);
    if (syn_registry_health(registry, index, &health, &err) < 0)
        (void)printf("    %s\n", err.msg);
    else
        (void)printf("    %s%s%s\n", syn_device_state_name(health.state),
                     health.reason[0] != '\0' ? ": " : "", health.reason);
    if (node != SYN_NODE_HOST) {
        struct syn_link link = syn_registry_link(registry, SYN_NODE_HOST, node);

        (void)printf("    from the host: %s, %" PRIu64 " MB/s, %s\n", syn_link_path_name(link.path),
                     link.mb_s, syn_link_source_name(link.source));
    }
    print_estimate(syn_registry_profile(registry, index));
}

int
main(int argc, char **argv)
{
    struct syn_registry_options options = {.modelled = argc > 1 ? argv[1] : NULL};
    struct syn_registry *registry;
    struct syn_err err;
    size_t devices;

    if (syn_registry_open(&options, &registry, &err) < 0) {
        (void)fprintf(stderr, "devices: %s\n", err.msg);
        return 1;
    }
    devices = syn_registry_count(registry);
    for (size_t i = 0; i < devices; i++)
        print_device(registry, i);
    for (size_t i = 0; i < syn_registry_drivers_count(registry); i++) {
        const struct syn_driver_report *driver = syn_registry_driver(registry, i);

        if (driver->state != SYN_DRIVER_READY)
            (void)printf("%s: %s, %s\n", driver->name, syn_driver_state_name(driver->state),
                         driver->reason);
    }
    syn_registry_close(registry);
    return devices > 0 ? 0 : 1; /* there is always the CPU */
}
