#include "topology_priv.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>

#define PCI_CLASS_DISPLAY     0x03
#define PCI_CLASS_BRIDGE      0x06
#define PCI_CLASS_ACCELERATOR 0x12

static bool read_text(const char *root, char *out, size_t cap, const char *format, va_list args)
    SYN_PRINTF(4, 0);

static bool
read_text(const char *root, char *out, size_t cap, const char *format, va_list args)
{
    char path[PATH_MAX];
    int used = snprintf(path, sizeof(path), "%s/", root);
    int fd;
    ssize_t len;

    if (used < 0 || (size_t)used >= sizeof(path) ||
        vsnprintf(path + used, sizeof(path) - (size_t)used, format, args) >=
            (int)(sizeof(path) - (size_t)used))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    do {
        len = read(fd, out, cap - 1);
    } while (len < 0 && errno == EINTR);
    (void)close(fd);
    if (len <= 0)
        return false;
    out[len] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return true;
}

bool
syn_sysfs_text(const char *root, char *out, size_t cap, const char *format, ...)
{
    va_list args;
    bool ok;

    va_start(args, format);
    ok = read_text(root, out, cap, format, args);
    va_end(args);
    return ok;
}

uint64_t
syn_sysfs_number(const char *root, uint64_t otherwise, const char *format, ...)
{
    char text[64], *end = NULL;
    unsigned long long value;
    va_list args;
    bool ok;

    va_start(args, format);
    ok = read_text(root, text, sizeof(text), format, args);
    va_end(args);
    if (!ok || text[0] < '0' || text[0] > '9')
        return otherwise;
    errno = 0;
    value = strtoull(text, &end, 0);
    if (errno != 0)
        return otherwise;
    if (*end == 'K' && value <= UINT64_MAX >> 10)
        value <<= 10;
    else if (*end == 'M' && value <= UINT64_MAX >> 20)
        value <<= 20;
    return value;
}

unsigned
syn_cpu_list_parse(const char *text, unsigned *ids, unsigned max)
{
    unsigned count = 0;

    while (*text >= '0' && *text <= '9') {
        char *end = NULL;
        unsigned long long first = strtoull(text, &end, 10), last = first;

        if (*end == '-')
            last = strtoull(end + 1, &end, 10);
        if (last < first || last > UINT_MAX - 1)
            break;
        for (unsigned long long id = first; id <= last && count < max; id++)
            ids[count++] = (unsigned)id;
        if (*end != ',')
            break;
        text = end + 1;
    }
    return count;
}

uint64_t
syn_pcie_mb_s(unsigned gen, unsigned width)
{
    /* 10^6 bytes a second a lane, coding taken off: 8b/10b up to 2.0, 128b/130b from 3.0 on, flits
     * in 6.0. */
    static const uint64_t lane[] = {0, 250, 500, 985, 1969, 3938, 7563};

    return gen < SYN_LEN(lane) ? lane[gen] * width : 0;
}

/* "8.0 GT/s PCIe" -> 3. */
static unsigned
pcie_gen(const char *speed)
{
    static const struct {
        const char *start;
        unsigned gen;
    } rows[] = {{"2.5", 1}, {"5", 2}, {"8", 3}, {"16", 4}, {"32", 5}, {"64", 6}};

    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        size_t len = strlen(rows[i].start);

        if (strncmp(speed, rows[i].start, len) == 0 && (speed[len] == ' ' || speed[len] == '.'))
            return rows[i].gen;
    }
    return 0;
}

static int
numa_of(const char *root, unsigned cpu)
{
    char path[PATH_MAX];
    const struct dirent *entry = NULL;
    int node = -1;
    DIR *dir;

    if (snprintf(path, sizeof(path), "%s/devices/system/cpu/cpu%u", root, cpu) >= (int)sizeof(path))
        return -1;
    dir = opendir(path);
    while (dir && node < 0 && (entry = readdir(dir))) {
        uint64_t number = 0;

        if (syn_str_starts(entry->d_name, "node") &&
            syn_parse_u64(entry->d_name + 4, 0, INT_MAX, "node", &number, NULL) == SYN_OK)
            node = (int)number;
    }
    if (dir)
        (void)closedir(dir);
    return node;
}

static int
read_cpus(const char *root, struct syn_topology *t, struct syn_err *err)
{
    unsigned ids[SYN_CPUS_MAX], count = 0;
    char text[1024];

    if (syn_sysfs_text(root, text, sizeof(text), "devices/system/cpu/online"))
        count = syn_cpu_list_parse(text, ids, SYN_CPUS_MAX);
    if (count == 0) { /* nothing to be seen: what libc knows */
        long online = sysconf(_SC_NPROCESSORS_ONLN);

        count = online > 0 ? (unsigned)SYN_MIN(online, SYN_CPUS_MAX) : 1;
        for (unsigned i = 0; i < count; i++)
            ids[i] = i;
    }
    t->cpus = syn_calloc(count, sizeof(*t->cpus));
    if (!t->cpus)
        return SYN_FAIL(err, SYN_E_NOMEM, "topology");
    t->cpus_count = count;
    for (unsigned i = 0; i < count; i++) {
        static const char base[] = "devices/system/cpu";
        uint64_t id = ids[i];

        t->cpus[i] = (struct syn_cpu_place){
            .id = (int)ids[i],
            .core = (int)syn_sysfs_number(root, id, "%s/cpu%u/topology/core_id", base, ids[i]),
            .package = (int)syn_sysfs_number(root, 0, "%s/cpu%u/topology/physical_package_id", base,
                                             ids[i]),
            .numa_node = numa_of(root, ids[i]),
        };
    }
    return SYN_OK;
}

/* Distinct (package, core) pairs and packages. Quadratic in at most SYN_CPUS_MAX. */
static void
count_cores(struct syn_topology *t)
{
    for (unsigned i = 0; i < t->cpus_count; i++) {
        bool core = true, package = true;

        for (unsigned k = 0; k < i && (core || package); k++) {
            if (t->cpus[k].package != t->cpus[i].package)
                continue;
            package = false;
            core = core && t->cpus[k].core != t->cpus[i].core;
        }
        t->cores += core ? 1 : 0;
        t->packages += package ? 1 : 0;
    }
}

static bool
cache_known(const struct syn_topology *t, const struct syn_cache *cache)
{
    for (unsigned i = 0; i < t->caches_count; i++) {
        if (t->caches[i].level == cache->level && t->caches[i].type == cache->type &&
            strcmp(t->caches[i].cpus, cache->cpus) == 0)
            return true;
    }
    return false;
}

static bool
read_cache(const char *root, int cpu, unsigned index, struct syn_cache *ret)
{
    static const char base[] = "devices/system/cpu";
    char type[32];

    if (!syn_sysfs_text(root, type, sizeof(type), "%s/cpu%d/cache/index%u/type", base, cpu, index))
        return false;
    *ret = (struct syn_cache){0};
    ret->level =
        (unsigned)syn_sysfs_number(root, 0, "%s/cpu%d/cache/index%u/level", base, cpu, index);
    ret->type = (char)(type[0] == 'D' ? 'd' : type[0] == 'I' ? 'i' : 'u');
    ret->bytes = syn_sysfs_number(root, 0, "%s/cpu%d/cache/index%u/size", base, cpu, index);
    ret->line_bytes = (unsigned)syn_sysfs_number(
        root, 0, "%s/cpu%d/cache/index%u/coherency_line_size", base, cpu, index);
    ret->ways = (unsigned)syn_sysfs_number(root, 0, "%s/cpu%d/cache/index%u/ways_of_associativity",
                                           base, cpu, index);
    if (!syn_sysfs_text(root, ret->cpus, sizeof(ret->cpus),
                        "%s/cpu%d/cache/index%u/shared_cpu_list", base, cpu, index))
        (void)snprintf(ret->cpus, sizeof(ret->cpus), "%d", cpu);
    return true;
}

static int
read_caches(const char *root, struct syn_topology *t, struct syn_err *err)
{
    size_t cap = 0;

    for (unsigned i = 0; i < t->cpus_count; i++) {
        struct syn_cache cache;

        for (unsigned index = 0; read_cache(root, t->cpus[i].id, index, &cache); index++) {
            if (cache_known(t, &cache) || t->caches_count == SYN_CACHES_MAX)
                continue;
            if (!syn_grow(&t->caches, &cap, t->caches_count + 1, sizeof(*t->caches)))
                return SYN_FAIL(err, SYN_E_NOMEM, "topology");
            t->caches[t->caches_count++] = cache;
        }
    }
    return SYN_OK;
}

/* "Node 0 MemTotal:  2048 kB" in nodeN/meminfo's first line. */
static uint64_t
node_bytes(const char *root, unsigned id)
{
    char text[128];
    const char *at = NULL;

    if (!syn_sysfs_text(root, text, sizeof(text), "devices/system/node/node%u/meminfo", id))
        return 0;
    at = strstr(text, "MemTotal:");
    return at ? strtoull(at + strlen("MemTotal:"), NULL, 10) << 10 : 0;
}

static void
read_node(const char *root, struct syn_numa_node *node)
{
    unsigned ids[SYN_CPUS_MAX];
    char text[1024], *at = text;

    node->bytes = node_bytes(root, node->id);
    if (syn_sysfs_text(root, text, sizeof(text), "devices/system/node/node%u/cpulist", node->id))
        node->cpus = syn_cpu_list_parse(text, ids, SYN_CPUS_MAX);
    if (!syn_sysfs_text(root, text, sizeof(text), "devices/system/node/node%u/distance", node->id))
        return;
    for (unsigned i = 0; i < SYN_NUMA_MAX; i++) {
        char *end = NULL;
        unsigned long long distance = strtoull(at, &end, 10);

        if (end == at || distance > UINT_MAX)
            return;
        node->distance[i] = (unsigned)distance;
        at = end;
    }
}

static int
read_numa(const char *root, struct syn_topology *t, struct syn_err *err)
{
    unsigned ids[SYN_NUMA_MAX], count = 0;
    char text[1024];

    if (syn_sysfs_text(root, text, sizeof(text), "devices/system/node/online"))
        count = syn_cpu_list_parse(text, ids, SYN_NUMA_MAX);
    if (count == 0)
        return SYN_OK;
    t->numa = syn_calloc(count, sizeof(*t->numa));
    if (!t->numa)
        return SYN_FAIL(err, SYN_E_NOMEM, "topology");
    t->numa_count = count;
    for (unsigned i = 0; i < count; i++) {
        t->numa[i].id = ids[i];
        read_node(root, &t->numa[i]);
    }
    return SYN_OK;
}

/* The bridge above a device: the last part but one of where its link leads. */
static void
read_parent(const char *root, struct syn_pci_device *device)
{
    char path[PATH_MAX], target[PATH_MAX];
    char *slash = NULL, *name = NULL;
    ssize_t len;

    if (snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", root, device->address) >=
        (int)sizeof(path))
        return;
    len = readlink(path, target, sizeof(target) - 1);
    if (len <= 0)
        return;
    target[len] = '\0';
    slash = strrchr(target, '/');
    if (!slash)
        return;
    *slash = '\0';
    name = strrchr(target, '/');
    if (name && strchr(name, '.')) /* "0000:00:01.0"; a root is "pci0000:00" */
        (void)syn_str_copy(device->parent, sizeof(device->parent), name + 1);
}

static bool
read_pci(const char *root, const char *address, struct syn_pci_device *ret)
{
    char speed[32] = "", node[16] = "";
    unsigned class;

    *ret = (struct syn_pci_device){.numa_node = -1};
    if (!syn_str_copy(ret->address, sizeof(ret->address), address))
        return false;
    ret->class_code = (unsigned)syn_sysfs_number(root, 0, "bus/pci/devices/%s/class", address);
    class = ret->class_code >> 16;
    if (class != PCI_CLASS_DISPLAY && class != PCI_CLASS_ACCELERATOR && class != PCI_CLASS_BRIDGE)
        return false;
    ret->vendor = (unsigned)syn_sysfs_number(root, 0, "bus/pci/devices/%s/vendor", address);
    ret->device = (unsigned)syn_sysfs_number(root, 0, "bus/pci/devices/%s/device", address);
    ret->link_width =
        (unsigned)syn_sysfs_number(root, 0, "bus/pci/devices/%s/current_link_width", address);
    if (syn_sysfs_text(root, speed, sizeof(speed), "bus/pci/devices/%s/current_link_speed",
                       address))
        ret->link_gen = pcie_gen(speed);
    if (syn_sysfs_text(root, node, sizeof(node), "bus/pci/devices/%s/numa_node", address) &&
        node[0] != '-')
        ret->numa_node = (int)syn_sysfs_number(root, 0, "bus/pci/devices/%s/numa_node", address);
    read_parent(root, ret);
    return true;
}

/* Of the bridges keep those with something kept below them. */
static void
drop_bridges(struct syn_topology *t)
{
    bool changed = true;

    while (changed) {
        changed = false;
        for (unsigned i = 0; i < t->pci_count; i++) {
            bool needed = t->pci[i].class_code >> 16 != PCI_CLASS_BRIDGE;

            for (unsigned k = 0; k < t->pci_count && !needed; k++)
                needed = strcmp(t->pci[k].parent, t->pci[i].address) == 0;
            if (needed)
                continue;
            t->pci_count--;
            memmove(&t->pci[i], &t->pci[i + 1], (t->pci_count - i) * sizeof(*t->pci));
            changed = true;
            i--;
        }
    }
}

static int
compare_pci(const void *a, const void *b)
{
    return strcmp(((const struct syn_pci_device *)a)->address,
                  ((const struct syn_pci_device *)b)->address);
}

static int
read_bus(const char *root, struct syn_topology *t, struct syn_err *err)
{
    char path[PATH_MAX];
    const struct dirent *entry = NULL;
    DIR *dir = NULL;

    t->pci = syn_calloc(SYN_PCI_MAX, sizeof(*t->pci));
    if (!t->pci)
        return SYN_FAIL(err, SYN_E_NOMEM, "topology");
    if (snprintf(path, sizeof(path), "%s/bus/pci/devices", root) < (int)sizeof(path))
        dir = opendir(path);
    while (dir && t->pci_count < SYN_PCI_MAX && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' && read_pci(root, entry->d_name, &t->pci[t->pci_count]))
            t->pci_count++;
    }
    if (dir)
        (void)closedir(dir);
    drop_bridges(t);
    qsort(t->pci, t->pci_count, sizeof(*t->pci), compare_pci);
    return SYN_OK;
}

int
syn_topology_read(const char *root, struct syn_topology *ret, struct syn_err *err)
{
    struct syn_topology t = {0};
    int rc = read_cpus(root, &t, err);

    count_cores(&t);
    rc = rc < 0 ? rc : read_caches(root, &t, err);
    rc = rc < 0 ? rc : read_numa(root, &t, err);
    rc = rc < 0 ? rc : read_bus(root, &t, err);
    if (rc < 0)
        syn_topology_fini(&t);
    else
        *ret = t;
    return rc;
}

void
syn_topology_fini(struct syn_topology *topology)
{
    syn_free(topology->cpus);
    syn_free(topology->numa);
    syn_free(topology->caches);
    syn_free(topology->pci);
    *topology = (struct syn_topology){0};
}
