#include <synor/base/test.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "topology_priv.h"

/* Write `text` to root/path, making the folders above. */
static void
put(const char *root, const char *path, const char *text)
{
    char full[512];
    FILE *file = NULL;

    (void)snprintf(full, sizeof(full), "%s/%s", root, path);
    for (char *slash = strchr(full + strlen(root) + 1, '/'); slash;
         slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        assert_true(mkdir(full, 0700) == 0 || errno == EEXIST);
        *slash = '/';
    }
    file = fopen(full, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

static void
put_cpu(const char *root, unsigned cpu, unsigned core, unsigned package)
{
    char path[128], text[32];

    (void)snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/topology/core_id", cpu);
    (void)snprintf(text, sizeof(text), "%u\n", core);
    put(root, path, text);
    (void)snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/topology/physical_package_id",
                   cpu);
    (void)snprintf(text, sizeof(text), "%u\n", package);
    put(root, path, text);
    (void)snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/node%u/here", cpu, package);
    put(root, path, "");
}

static void
put_cache(const char *root, unsigned cpu, unsigned index, const char *type, const char *size,
          const char *shared)
{
    static const char *const files[] = {
        "type", "size", "shared_cpu_list", "level", "coherency_line_size", "ways_of_associativity"};
    const char *texts[] = {type, size, shared, index < 2 ? "1" : "3", "64", "12"};
    char path[160];

    for (size_t i = 0; i < SYN_LEN(files); i++) {
        (void)snprintf(path, sizeof(path), "devices/system/cpu/cpu%u/cache/index%u/%s", cpu, index,
                       files[i]);
        put(root, path, texts[i]);
    }
}

static void
put_pci(const char *root, const char *bus, const char *parent, const char *address,
        const char *class, const char *speed)
{
    char path[512], target[256];

    (void)snprintf(path, sizeof(path), "devices/%s%s%s/%s/class", bus, parent[0] ? "/" : "", parent,
                   address);
    put(root, path, class);
    (void)snprintf(strrchr(path, '/'), 32, "/vendor");
    put(root, path, "0x10de\n");
    (void)snprintf(strrchr(path, '/'), 32, "/device");
    put(root, path, "0x2330\n");
    (void)snprintf(strrchr(path, '/'), 32, "/numa_node");
    put(root, path, parent[0] ? "1\n" : "-1\n");
    (void)snprintf(strrchr(path, '/'), 32, "/current_link_width");
    put(root, path, "16\n");
    (void)snprintf(strrchr(path, '/'), 32, "/current_link_speed");
    put(root, path, speed);
    put(root, "bus/pci/devices/.keep", "");
    (void)snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", root, address);
    (void)snprintf(target, sizeof(target), "../../../devices/%s%s%s/%s", bus, parent[0] ? "/" : "",
                   parent, address);
    assert_int_equal(symlink(target, path), 0);
}

/* Two packages of two cores with two threads; a GPU below a bridge, and a lonely bridge. */
static const char *
lay_out(void)
{
    static char root[256];

    (void)snprintf(root, sizeof(root), "%s/sys", syn_test_dir());
    if (access(root, F_OK) == 0)
        return root;
    assert_int_equal(mkdir(root, 0700), 0);
    put(root, "devices/system/cpu/online", "0-7\n");
    for (unsigned cpu = 0; cpu < 8; cpu++) {
        const char *pair[] = {"0,4", "1,5", "2,6", "3,7"};

        put_cpu(root, cpu, cpu % 2, cpu % 4 / 2);
        put_cache(root, cpu, 0, "Data\n", "48K\n", pair[cpu % 4]);
        put_cache(root, cpu, 1, "Instruction\n", "32K\n", pair[cpu % 4]);
        put_cache(root, cpu, 2, "Unified\n", "32M\n", cpu % 4 < 2 ? "0-1,4-5" : "2-3,6-7");
    }
    put(root, "devices/system/node/online", "0-1\n");
    put(root, "devices/system/node/node0/meminfo", "Node 0 MemTotal:  1048576 kB\nNode 0 x: 1\n");
    put(root, "devices/system/node/node0/cpulist", "0-1,4-5\n");
    put(root, "devices/system/node/node0/distance", "10 21\n");
    put(root, "devices/system/node/node1/cpulist", "2-3,6-7\n");
    put_pci(root, "pci0000:00", "", "0000:00:01.0", "0x060400\n", "32.0 GT/s PCIe\n");
    put_pci(root, "pci0000:00", "", "0000:00:02.0", "0x060400\n", "8.0 GT/s PCIe\n");
    put_pci(root, "pci0000:00", "0000:00:01.0", "0000:3b:00.0", "0x030200\n", "16.0 GT/s PCIe\n");
    put_pci(root, "pci0000:00", "", "0000:00:1f.0", "0x010600\n", "Unknown\n");
    return root;
}

static void
test_machine(void **state)
{
    struct syn_topology t = {0};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_topology_read(lay_out(), &t, &err), &err);
    assert_int_equal(t.cpus_count, 8);
    assert_int_equal(t.cores, 4);
    assert_int_equal(t.packages, 2);
    assert_int_equal(t.cpus[6].package, 1);
    assert_int_equal(t.cpus[6].numa_node, 1);
    assert_int_equal(t.caches_count, 4 + 4 + 2);
    assert_int_equal(t.caches[0].bytes, 48 << 10);
    assert_int_equal(t.caches[0].type, 'd');
    assert_string_equal(t.caches[2].cpus, "0-1,4-5");
    assert_int_equal(t.caches[2].bytes, 32 << 20);
    assert_int_equal(t.caches[2].level, 3);
    assert_int_equal(t.numa_count, 2);
    assert_true(t.numa[0].bytes == UINT64_C(1) << 30);
    assert_int_equal(t.numa[0].cpus, 4);
    assert_int_equal(t.numa[0].distance[1], 21);
    assert_int_equal(t.numa[1].bytes, 0); /* not said */
    assert_int_equal(t.pci_count, 2);     /* the GPU and the bridge above it */
    assert_string_equal(t.pci[1].address, "0000:3b:00.0");
    assert_string_equal(t.pci[1].parent, "0000:00:01.0");
    assert_int_equal(t.pci[1].vendor, 0x10de);
    assert_int_equal(t.pci[1].link_gen, 4);
    assert_int_equal(t.pci[1].link_width, 16);
    assert_int_equal(t.pci[1].numa_node, 1);
    assert_int_equal(t.pci[0].numa_node, -1);
    assert_int_equal(t.pci[0].link_gen, 5);
    syn_topology_fini(&t);
}

/* What containers show: nothing. */
static void
test_nothing(void **state)
{
    struct syn_topology t = {0};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_topology_read("/nowhere", &t, &err), &err);
    assert_true(t.cpus_count >= 1);
    assert_int_equal(t.cores, t.cpus_count);
    assert_int_equal(t.packages, 1);
    assert_int_equal(t.caches_count + t.numa_count + t.pci_count, 0);
    syn_topology_fini(&t);
}

static void
test_this_machine(void **state)
{
    struct syn_topology t = {0};
    struct syn_err err = {0};

    (void)state;
    assert_done(syn_topology_read("/sys", &t, &err), &err);
    assert_true(t.cpus_count >= 1 && t.cores >= 1 && t.cores <= t.cpus_count);
    assert_true(t.packages >= 1 && t.packages <= t.cores);
    syn_topology_fini(&t);
}

static void
test_lists(void **state)
{
    static const struct {
        const char *text;
        unsigned count, ids[6];
    } rows[] = {
        {"0", 1, {0}},
        {"0-3", 4, {0, 1, 2, 3}},
        {"0-1,8,10-11", 5, {0, 1, 8, 10, 11}},
        {"", 0, {0}},
        {"x", 0, {0}},
        {"3-1", 0, {0}},
        {"1,x", 1, {1}},
        {"1,,2", 1, {1}},
        {"0-99", 6, {0, 1, 2, 3, 4, 5}},
        {"5-99999999999999999999", 0, {0}},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        unsigned ids[6] = {0};

        assert_int_equal(syn_cpu_list_parse(rows[i].text, ids, 6), rows[i].count);
        assert_memory_equal(ids, rows[i].ids, rows[i].count * sizeof(*ids));
    }
}

static int
read_scenario(void *arg, struct syn_err *err)
{
    struct syn_topology t = {0};
    int rc = syn_topology_read(arg, &t, err);

    syn_topology_fini(&t);
    return rc;
}

static void
test_short_memory(void **state)
{
    char root[256];

    (void)state;
    (void)snprintf(root, sizeof(root), "%s", lay_out());
    assert_true(syn_test_sweep_alloc(read_scenario, root) > 3);
}

static void
test_pcie_rates(void **state)
{
    (void)state;
    assert_int_equal(syn_pcie_mb_s(3, 16), 15760);
    assert_int_equal(syn_pcie_mb_s(5, 16), 63008);
    assert_int_equal(syn_pcie_mb_s(0, 16), 0);
    assert_int_equal(syn_pcie_mb_s(9, 16), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine),      cmocka_unit_test(test_nothing),
        cmocka_unit_test(test_this_machine), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_short_memory), cmocka_unit_test(test_pcie_rates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
