#include <synor/runtime/gpu.h>

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

#include "native/file_priv.h"

#define GIB (INT64_C(1) << 30)

static void
cards_are_listed(void **state)
{
    struct syn_gpu_list list;
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_gpu_list_read(getenv("SYN_TEST_NVML"), &list, &err), &err);
    assert_int_equal(list.count, 4);
    assert_int_equal(list.partitioned, 0);
    assert_string_equal(list.driver, "550.1");
    assert_string_equal(list.gpus[0].name, "NVIDIA H100 80GB HBM3");
    assert_string_equal(list.gpus[0].uuid, "GPU-0");
    assert_int_equal(list.gpus[0].minor, 1); /* not its index */
    assert_int_equal(list.gpus[0].vram_bytes, INT64_C(85899345920));
    assert_string_equal(list.gpus[1].uuid, "GPU-2");
    assert_string_equal(list.gpus[2].uuid, "GPU-3");
    assert_string_equal(list.gpus[3].uuid, "GPU-4");
    assert_int_equal(list.gpus[0].parts_count, 0);
    assert_int_equal(list.gpus[1].parts_count, 3); /* one is cut further, which is none of ours */
    for (size_t i = 0; i < 3; i++) {
        static const char *const names[] = {"3g.40gb", "1g.20gb", "1g.10gb"};
        static const char *const uuids[] = {"MIG-a", "MIG-c", "MIG-b"};
        static const int starts[] = {0, 4, 6}, eighths[] = {4, 2, 1}, instances[] = {2, 5, 9};
        const struct syn_gpu_part *part = &list.gpus[1].parts[i];

        assert_string_equal(part->name, names[i]);
        assert_string_equal(part->uuid, uuids[i]);
        assert_int_equal(part->start, starts[i]);
        assert_int_equal(part->eighths, eighths[i]);
        assert_int_equal(part->instance, instances[i]);
        assert_int_equal(part->slices, i == 0 ? 3 : 1);
    }
    assert_code(syn_gpu_list_read("libno-such.so", &list, &err), SYN_E_NOTFOUND, &err);
    assert_code(syn_gpu_list_read("libc.so.6", &list, &err), SYN_E_UNAVAILABLE, &err);
}

static void
models_have_the_words_of_price_books(void **state)
{
    static const struct {
        const char *name;
        int64_t gib;
        const char *model;
    } rows[] = {
        {"NVIDIA H100 80GB HBM3", 80, "h100"},
        {"NVIDIA H100 PCIe", 80, "h100"},
        {"NVIDIA H100 NVL", 94, "h100"},
        {"NVIDIA H200", 141, "h200"},
        {"NVIDIA A100-SXM4-80GB", 80, "a100-80gb"},
        {"NVIDIA A100 80GB PCIe", 80, "a100-80gb"},
        {"NVIDIA A100-SXM4-40GB", 40, "a100-40gb"},
        {"A100-PCIE-40GB", 40, "a100-40gb"},
        {"NVIDIA GeForce RTX 4090", 24, "rtx4090"},
        {"NVIDIA GeForce RTX 3080 Ti", 12, "rtx3080-ti"},
        {"GeForce GTX 1080", 8, "gtx1080"},
        {"NVIDIA RTX A6000", 48, "rtx-a6000"},
        {"NVIDIA RTX 6000 Ada Generation", 48, "rtx6000-ada"},
        {"Tesla T4", 16, "t4"},
        {"Tesla V100-SXM2-16GB", 16, "v100"},
        {"NVIDIA L40S", 48, "l40s"},
        {"NVIDIA A10G", 24, "a10g"},
        {"NVIDIA", 1, "unknown"},
        {"", 1, "unknown"},
        {"A very long name of a card that nobody will ever sell to anybody", 1,
         "a-very-long-name-of-a-card-that"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_gpu gpu = {.vram_bytes = rows[i].gib * GIB};
        char model[SYN_GPU_WORD_MAX];

        (void)snprintf(gpu.name, sizeof(gpu.name), "%s", rows[i].name);
        syn_gpu_model(&gpu, model);
        assert_string_equal(model, rows[i].model);
    }
}

/* ---- grants, on a machine made of files ---- */

static char host[SYN_PATH_MAX / 4];

static void
put(const char *path)
{
    char full[SYN_PATH_MAX];
    struct syn_err err = {0};
    char *slash;

    (void)snprintf(full, sizeof(full), "%s%s", host, path);
    slash = strrchr(full, '/');
    *slash = '\0';
    assert_done(syn_dir_make(AT_FDCWD, full, 0755, &err), &err);
    *slash = '/';
    if (syn_str_starts(path, "/dev/")) /* any character device will do */
        assert_int_equal(symlink("/dev/null", full), 0);
    else
        assert_done(syn_file_write(AT_FDCWD, full, "x", 1, &err), &err);
    assert_int_equal(syn_str_starts(path, "/dev/") ? 0 : chmod(full, 0755), 0);
}

static void
take_away(const char *path)
{
    char full[SYN_PATH_MAX];

    (void)snprintf(full, sizeof(full), "%s%s", host, path);
    assert_int_equal(unlink(full), 0);
}

/* A host with a driver, and two cards. */
static void
make_host(void)
{
    static const char *const files[] = {
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/usr/lib/x86_64-linux-gnu/libcuda.so.1",
        "/usr/lib/x86_64-linux-gnu/libcuda.so.550.1",
        "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
        "/usr/lib/x86_64-linux-gnu/libnvidia-gpucomp.so.550.1",
        "/usr/lib/x86_64-linux-gnu/libc.so.6",
        "/usr/lib/x86_64-linux-gnu/libcudart.so.12",
        "/usr/lib/libcuda.so.1", /* of another driver: not to be mixed in */
        "/usr/bin/nvidia-smi",
    };
    static unsigned number;

    (void)snprintf(host, sizeof(host), "%s/host-%u", syn_test_dir(), number++);
    for (size_t i = 0; i < SYN_LEN(files); i++)
        put(files[i]);
}

static const char *
make_rootfs(const char *folder, const char *link)
{
    static char rootfs[SYN_PATH_MAX / 4];
    static unsigned number;
    char path[SYN_PATH_MAX];
    struct syn_err err = {0};

    (void)snprintf(rootfs, sizeof(rootfs), "%s/rootfs-%u", syn_test_dir(), number++);
    (void)snprintf(path, sizeof(path), "%s%s", rootfs, folder);
    assert_done(syn_dir_make(AT_FDCWD, path, 0755, &err), &err);
    if (link) {
        (void)snprintf(path, sizeof(path), "%s%s", rootfs, link);
        assert_int_equal(symlink(folder, path), 0);
    }
    return rootfs;
}

static const struct syn_gpu two[] = {{.uuid = "GPU-b", .minor = 1}, {.uuid = "GPU-a", .minor = 0}};

static bool
has_device(const struct syn_gpu_grant *grant, const char *path)
{
    for (size_t i = 0; grant->devices[i]; i++) {
        if (syn_str_eq(grant->devices[i], path))
            return true;
    }
    return false;
}

static const struct syn_bind *
find_bind(const struct syn_gpu_grant *grant, const char *container)
{
    for (size_t i = 0; i < grant->libraries_count; i++) {
        if (syn_str_eq(grant->libraries[i].container, container))
            return &grant->libraries[i];
    }
    return NULL;
}

static void
only_its_own_card_is_granted(void **state)
{
    struct syn_gpu_grant *grant = NULL;
    struct syn_err err = {0};

    (void)state;
    make_host();
    assert_true(syn_gpu_reachable(&two[0], host));
    assert_done(syn_gpu_grant_new(two, 1, NULL, host, NULL, &grant, &err), &err);
    assert_true(has_device(grant, "/dev/nvidia1"));
    assert_false(has_device(grant, "/dev/nvidia0"));
    assert_true(has_device(grant, "/dev/nvidiactl") && has_device(grant, "/dev/nvidia-uvm"));
    assert_false(
        has_device(grant, "/dev/nvidia-uvm-tools")); /* there is none, and none is needed */
    assert_int_equal(grant->libraries_count, 0);     /* the host's /usr has them */
    assert_string_equal(grant->env[0], "NVIDIA_VISIBLE_DEVICES=GPU-b");
    assert_string_equal(grant->env[1], "CUDA_VISIBLE_DEVICES=GPU-b");
    assert_null(syn_gpu_grant_free(grant));
    assert_done(syn_gpu_grant_new(two, 2, NULL, host, NULL, &grant, &err), &err);
    assert_true(has_device(grant, "/dev/nvidia0") && has_device(grant, "/dev/nvidia1"));
    assert_string_equal(grant->env[1], "CUDA_VISIBLE_DEVICES=GPU-b,GPU-a");
    assert_null(syn_gpu_grant_free(grant));
}

static void
images_get_the_hosts_driver(void **state)
{
    static const char debian[] = "/usr/lib/x86_64-linux-gnu";
    struct syn_gpu_grant *grant = NULL;
    const struct syn_bind *bind;
    struct syn_err err = {0};
    char want[SYN_PATH_MAX];

    (void)state;
#ifndef __x86_64__
    skip();
#endif
    make_host();
    assert_done(syn_gpu_grant_new(two, 1, NULL, host, make_rootfs(debian, NULL), &grant, &err),
                &err);
    bind = find_bind(grant, "/usr/lib/x86_64-linux-gnu/libcuda.so.1");
    if (bind == NULL)
        fail_msg("libcuda.so.1 is not shown");
    assert_true(bind && bind->ro);
    (void)snprintf(want, sizeof(want), "%s%s/libcuda.so.1", host, debian);
    assert_string_equal(bind ? bind->host : "", want);
    assert_non_null(find_bind(grant, "/usr/lib/x86_64-linux-gnu/libcuda.so.550.1"));
    assert_non_null(find_bind(grant, "/usr/lib/x86_64-linux-gnu/libnvidia-gpucomp.so.550.1"));
    assert_int_equal(grant->libraries_count, 4); /* the image's own libc and cudart stay */
    assert_null(syn_gpu_grant_free(grant));
    /* Elsewhere libraries are in lib64; a link in the way would be replaced, so it is none. */
    assert_done(
        syn_gpu_grant_new(two, 1, NULL, host, make_rootfs("/usr/lib64", "/usr/lib"), &grant, &err),
        &err);
    assert_non_null(find_bind(grant, "/usr/lib64/libcuda.so.1"));
    assert_null(syn_gpu_grant_free(grant));
    assert_code(syn_gpu_grant_new(two, 1, NULL, host, make_rootfs("/bin", NULL), &grant, &err),
                SYN_E_NOTFOUND, &err);
    assert_non_null(strstr(err.msg, "image"));
}

static void
programs_come_along(void **state)
{
    struct syn_gpu_grant *grant = NULL;
    struct syn_err err = {0};
    char bin[SYN_PATH_MAX];
    const char *rootfs;

    (void)state;
    make_host();
    rootfs = make_rootfs("/usr/lib64", NULL);
    (void)snprintf(bin, sizeof(bin), "%s/usr/bin", rootfs);
    assert_int_equal(mkdir(bin, 0755), 0);
    assert_done(syn_gpu_grant_new(two, 1, NULL, host, rootfs, &grant, &err), &err);
    assert_non_null(find_bind(grant, "/usr/bin/nvidia-smi"));
    assert_null(syn_gpu_grant_free(grant));
}

static bool
has_env(const struct syn_gpu_grant *grant, const char *pair)
{
    for (size_t i = 0; grant->env[i]; i++) {
        if (syn_str_eq(grant->env[i], pair))
            return true;
    }
    return false;
}

static void
put_text(const char *path, const char *text)
{
    char full[SYN_PATH_MAX];
    struct syn_err err = {0};

    put(path);
    (void)snprintf(full, sizeof(full), "%s%s", host, path);
    assert_done(syn_file_write(AT_FDCWD, full, text, strlen(text), &err), &err);
}

static void
a_partition_is_its_capabilities(void **state)
{
    static const char instance[] = "/proc/driver/nvidia/capabilities/gpu1/mig/gi2/access";
    static const char compute[] = "/proc/driver/nvidia/capabilities/gpu1/mig/gi2/ci0/access";
    const struct syn_gpu_part part = {.uuid = "MIG-a", .instance = 2};
    const struct syn_gpu_use use = {.part = &part};
    struct syn_gpu_grant *grant = NULL;
    struct syn_err err = {0};

    (void)state;
    make_host();
    assert_code(syn_gpu_grant_new(two, 1, &use, host, NULL, &grant, &err), SYN_E_UNAVAILABLE, &err);
    put_text(instance, "DeviceFileMinor: 21\nDeviceFileMode: 292\n");
    put_text(compute, "DeviceFileMinor: no\n");
    put("/dev/nvidia-caps/nvidia-cap21");
    assert_code(syn_gpu_grant_new(two, 1, &use, host, NULL, &grant, &err), SYN_E_UNAVAILABLE, &err);
    assert_non_null(strstr(err.msg, "ci0"));
    put_text(compute, "DeviceFileMinor: 22\n");
    assert_code(syn_gpu_grant_new(two, 1, &use, host, NULL, &grant, &err), SYN_E_UNAVAILABLE, &err);
    assert_non_null(strstr(err.msg, "nvidia-cap22"));
    put("/dev/nvidia-caps/nvidia-cap22");
    assert_done(syn_gpu_grant_new(two, 1, &use, host, NULL, &grant, &err), &err);
    assert_true(has_device(grant, "/dev/nvidia1"));
    assert_false(has_device(grant, "/dev/nvidia0"));
    assert_true(has_device(grant, "/dev/nvidia-caps/nvidia-cap21"));
    assert_true(has_device(grant, "/dev/nvidia-caps/nvidia-cap22"));
    assert_true(has_env(grant, "CUDA_VISIBLE_DEVICES=MIG-a"));
    assert_true(has_env(grant, "NVIDIA_VISIBLE_DEVICES=MIG-a"));
    assert_null(grant->env[3]);
    assert_null(syn_gpu_grant_free(grant));
}

static void
a_share_is_told_to_its_program(void **state)
{
    static const struct syn_gpu card = {.uuid = "GPU-b", .minor = 1, .vram_bytes = 80 * GIB};
    char folder[SYN_PATH_MAX / 2];
    struct syn_gpu_use use = {.permille = 250, .vram_bytes = 10 * GIB};
    struct syn_gpu_grant *grant = NULL;
    struct syn_err err = {0};

    (void)state;
    make_host();
    assert_done(syn_gpu_grant_new(&card, 1, &use, host, NULL, &grant, &err), &err);
    assert_true(has_env(grant, "CUDA_VISIBLE_DEVICES=GPU-b"));
    assert_true(has_env(grant, "SYNOR_GPU_SHARE=0.250"));
    assert_true(has_env(grant, "SYNOR_GPU_MEMORY_BYTES=10737418240"));
    assert_true(has_env(grant, "XLA_PYTHON_CLIENT_MEM_FRACTION=0.125"));
    assert_null(grant->env[6]);
    assert_null(grant->mps);
    assert_null(syn_gpu_grant_free(grant));
    (void)snprintf(folder, sizeof(folder), "%s/mps", host);
    use.mps = folder;
    assert_code(syn_gpu_grant_new(&card, 1, &use, host, NULL, &grant, &err), SYN_E_UNAVAILABLE,
                &err);
    assert_non_null(strstr(err.msg, "MPS"));
    put("/mps/control");
    assert_done(syn_gpu_grant_new(&card, 1, &use, host, NULL, &grant, &err), &err);
    assert_true(has_env(grant, "CUDA_MPS_PIPE_DIRECTORY=/synor/mps"));
    assert_true(has_env(grant, "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25"));
    assert_true(has_env(grant, "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=10240M"));
    assert_string_equal(grant->mps ? grant->mps->host : "", folder);
    assert_true(grant->mps && !grant->mps->ro);
    assert_null(syn_gpu_grant_free(grant));
}

static void
what_is_missing_is_named(void **state)
{
    static const struct {
        const char *file;
        int code;
    } rows[] = {
        {"/dev/nvidiactl", SYN_E_UNAVAILABLE},
        {"/dev/nvidia-uvm", SYN_E_UNAVAILABLE},
        {"/dev/nvidia1", SYN_E_UNAVAILABLE},
        {"/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", SYN_E_NOTFOUND},
    };

    (void)state;
#ifndef __x86_64__
    skip();
#endif
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        struct syn_gpu_grant *grant = NULL;
        struct syn_err err = {0};

        make_host();
        take_away(rows[i].file);
        assert_code(syn_gpu_grant_new(two, 1, NULL, host, NULL, &grant, &err), rows[i].code, &err);
        assert_non_null(strstr(err.msg, strrchr(rows[i].file, '/') + 1));
        assert_null(grant);
    }
    assert_false(syn_gpu_reachable(&two[0], "/no/such/host"));
    assert_false(syn_gpu_reachable(&(struct syn_gpu){.minor = -1}, host));
}

static int
grant_scenario(void *arg, struct syn_err *err)
{
    struct syn_gpu_grant *grant = NULL;
    const struct syn_gpu_use use = {.permille = 500};
    int rc = syn_gpu_grant_new(two, 2, NULL, host, arg, &grant, err);

    grant = syn_gpu_grant_free(rc == SYN_OK ? grant : NULL);
    if (rc == SYN_OK)
        rc = syn_gpu_grant_new(two, 1, &use, host, arg, &grant, err);
    (void)syn_gpu_grant_free(grant);
    return rc;
}

static void
grants_survive_short_memory(void **state)
{
    (void)state;
    make_host();
    assert_true(syn_test_sweep_alloc(grant_scenario,
                                     (void *)(uintptr_t)make_rootfs("/usr/lib64", NULL)) > 10);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cards_are_listed),
        cmocka_unit_test(models_have_the_words_of_price_books),
        cmocka_unit_test(only_its_own_card_is_granted),
        cmocka_unit_test(images_get_the_hosts_driver),
        cmocka_unit_test(programs_come_along),
        cmocka_unit_test(a_partition_is_its_capabilities),
        cmocka_unit_test(a_share_is_told_to_its_program),
        cmocka_unit_test(what_is_missing_is_named),
        cmocka_unit_test(grants_survive_short_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
