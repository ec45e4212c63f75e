/* Which processors this machine has: devices, the memory they use, how they are joined, how they
 * are. A registry asks every driver once, each within a time limit, and keeps what it was told.
 *
 * A modelled device is made from a capability profile: it computes with the CPU's implementation
 * and answers with modelled time and energy. It is in a registry only when asked for by name, is
 * marked `modelled` wherever it is seen, and never counts as capacity. */
#ifndef SYNOR_DEVICE_H
#define SYNOR_DEVICE_H

#include <synor/base/core.h>
#include <synor/base/err.h>
#include <synor/kind.h>
#include <synor/profile.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SYN_DEVICE_ID_MAX    32 /* "opencl0" */
#define SYN_DEVICE_TEXT_MAX  128
#define SYN_DEVICES_MAX      256 /* of one registry */
#define SYN_DRIVERS_MAX      16
#define SYN_MEMORY_NODES_MAX 256 /* node 0 and at most one a device */
#define SYN_NUMA_MAX         64
#define SYN_CACHES_MAX       512
#define SYN_PCI_MAX          64
#define SYN_CPUS_MAX         1024

/** The host's memory is always node 0. */
#define SYN_NODE_HOST 0

/** What a device can do beyond the required operations; see synor/compute/driver_ops.h. */
enum syn_device_cap {
    SYN_CAP_PEER_COPY = 1 << 0,     /* copies to and from other devices of its driver */
    SYN_CAP_HOST_PINNED = 1 << 1,   /* allocates host memory that it reaches faster */
    SYN_CAP_HOST_REGISTER = 1 << 2, /* pins memory of the caller's */
    SYN_CAP_HOST_WRAP = 1 << 3,     /* uses memory of the caller's in place, without a copy */
    SYN_CAP_HOST_SHARED = 1 << 4, /* its memory is the host's: its node is 0, buffers have `host` */
    SYN_CAP_COMPILE = 1 << 5,     /* compiles source at run time */
    SYN_CAP_TIMES = 1 << 6,       /* events carry the device's own times */
    SYN_CAP_POWER = 1 << 7,       /* answers with power or energy */
    SYN_CAP_RESET = 1 << 8,       /* can be reset without ending the process */
    SYN_CAP_OVERLAP = 1 << 9,     /* copies beside kernels when they are on different queues */
    SYN_CAP_NOTIFY = 1 << 10,     /* calls back when an event is done */
};

enum syn_device_state {
    SYN_DEVICE_OK,
    SYN_DEVICE_DEGRADED, /* works, with a reason to worry: throttled, memory errors */
    SYN_DEVICE_LOST,     /* gone: every call fails with UNAVAILABLE until a reset succeeds */
};

/** How a device is a part of, or shared with, others. */
enum syn_device_share {
    SYN_SHARE_WHOLE,
    SYN_SHARE_SLICE,  /* an isolated part of a device (MIG) */
    SYN_SHARE_SERVED, /* shared through a server process (MPS) */
    SYN_SHARE_HOST,   /* the host's own cores behind another interface: no capacity of its own */
};

/** What a driver says of one device; fixed while the device is open. Unknown is 0, -1 or "". */
struct syn_device_info {
    char id[SYN_DEVICE_ID_MAX]; /* "cuda0": driver and index; unique in a registry */
    char driver[SYN_DEVICE_ID_MAX];
    unsigned index; /* within its driver */
    enum syn_kind kind;
    bool modelled;
    char vendor[SYN_DEVICE_TEXT_MAX];
    char model[SYN_DEVICE_TEXT_MAX];
    char uuid[SYN_DEVICE_TEXT_MAX];     /* survives reboots and reordering */
    char version[SYN_DEVICE_TEXT_MAX];  /* of driver and interface */
    char features[256];                 /* words: "avx2 avx512f amx-int8", "sm_90", "ext..." */
    char profile[SYN_PROFILE_NAME_MAX]; /* capability profile that matches, or "" */
    char pci[16];                       /* "0000:3b:00.0" */
    int numa_node;                      /* nearest, or -1 */
    unsigned units;                     /* cores, multiprocessors, compute units */
    unsigned clock_mhz;
    unsigned link_width; /* PCIe lanes now in use */
    unsigned link_gen;   /* PCIe generation now in use */
    uint64_t memory_bytes;
    uint64_t memory_mb_s; /* 10^6 bytes a second by the driver's own account, or 0 */
    uint64_t alloc_max_bytes;
    uint64_t local_bytes; /* memory that a group of work items shares */
    unsigned group_max;   /* work items of one group */
    unsigned queues_max;  /* queues that can be open at once; at least 1 */
    uint32_t caps;        /* enum syn_device_cap */
    uint32_t dtypes;      /* SYN_BIT(SYN_DTYPE_x): formats it computes with */
    uint32_t formats;     /* SYN_BIT(SYN_FORMAT_x): programs it takes */
    enum syn_device_share share;
    char share_of[SYN_DEVICE_TEXT_MAX]; /* the device this is a part of */
};

struct syn_device_health {
    enum syn_device_state state;
    char reason[SYN_DEVICE_TEXT_MAX]; /* "" when ok */
    int64_t memory_free_bytes;        /* -1: unknown */
    int temperature_c;                /* -1: unknown */
    int load_permille;                /* -1: unknown */
    uint64_t memory_errors;           /* uncorrected, since the driver started */
};

enum syn_power_source {
    SYN_POWER_UNKNOWN,
    SYN_POWER_MEASURED, /* by the device or the machine */
    SYN_POWER_MODELLED, /* from a profile and the device's load */
};

struct syn_device_power {
    enum syn_power_source source;
    int64_t now_mw;   /* -1: unknown */
    int64_t total_uj; /* energy since some fixed moment: only differences mean something; -1 */
    int64_t limit_mw; /* -1: unknown */
};

/** An address space. */
struct syn_memory_node {
    unsigned id;
    char name[SYN_DEVICE_ID_MAX]; /* "host", or the device's id */
    uint64_t bytes;
    bool host;
    bool modelled;
};

enum syn_link_path {
    SYN_LINK_NONE,   /* the same node */
    SYN_LINK_DIRECT, /* between the host and a device */
    SYN_LINK_PEER,   /* between devices, without the host's memory */
    SYN_LINK_STAGED, /* through the host's memory: two copies */
};

enum syn_link_source {
    SYN_LINK_ASSUMED,
    SYN_LINK_RATED, /* by a profile, or by the lanes the bus reports */
    SYN_LINK_MEASURED,
};

/** One direction between two memory nodes. */
struct syn_link {
    enum syn_link_path path;
    enum syn_link_source source;
    uint64_t mb_s; /* 10^6 bytes a second */
    uint64_t latency_ns;
};

enum syn_driver_state {
    SYN_DRIVER_READY,
    SYN_DRIVER_ABSENT,    /* no library, or no device: the reason says which */
    SYN_DRIVER_FAILED,    /* the library is there and refuses */
    SYN_DRIVER_TIMED_OUT, /* did not answer within the limit; not asked again */
    SYN_DRIVER_SKIPPED,   /* not among those asked for */
};

struct syn_driver_report {
    char name[SYN_DEVICE_ID_MAX];
    char version[SYN_DEVICE_TEXT_MAX];
    enum syn_driver_state state;
    unsigned devices;
    int64_t probe_ns; /* how long the answer took */
    char reason[232]; /* "" when ready */
};

/* Topology, from the machine's own account (sysfs). */

struct syn_numa_node {
    unsigned id;
    uint64_t bytes;
    unsigned cpus;
    unsigned distance[SYN_NUMA_MAX]; /* to the nodes in list order; 10 is local, 0 unknown */
};

struct syn_cache {
    unsigned level;
    char type; /* 'd'ata, 'i'nstruction, 'u'nified */
    uint64_t bytes;
    unsigned line_bytes;
    unsigned ways;
    char cpus[64]; /* who shares it: "0-3,8" */
};

struct syn_cpu_place {
    int id; /* as the kernel counts; -1 ends nothing, it is never in the list */
    int core;
    int package;
    int numa_node;
};

struct syn_pci_device {
    char address[16];
    unsigned vendor, device, class_code;
    int numa_node;
    unsigned link_width, link_gen;
    char parent[16]; /* the bridge above it, "" at a root */
};

struct syn_topology {
    unsigned cpus_count, cores, packages;
    struct syn_cpu_place *cpus;
    unsigned numa_count;
    struct syn_numa_node *numa;
    unsigned caches_count;
    struct syn_cache *caches;
    unsigned pci_count; /* accelerators and display devices, and the bridges above them */
    struct syn_pci_device *pci;
};

struct syn_registry;

/** Everything may be left 0. Texts are copied. */
struct syn_registry_options {
    const char *drivers;  /* "cpu,opencl": only these; NULL: all */
    const char *modelled; /* "h100-sxm,h100-sxm,tpu-v4": modelled devices to add, at most
                             SYN_DEVICES_MAX */
    const struct syn_profiles *profiles; /* NULL: the library's own; must outlive the registry */
    int64_t probe_ms;                    /* for each driver, 0: SYN_PROBE_MS */
    const char *sysfs;                   /* NULL: "/sys"; tests lay one out */
};

#define SYN_PROBE_MS     5000
#define SYN_PROBE_MS_MAX 120000

/** Ask every driver and keep the answers. A driver that fails, is absent or does not answer in time
 * is reported by syn_registry_driver(), it is no error. Drivers are asked at the same time.
 *
 * Thread: any. Blocks: at most probe_ms. Returns 0; INVALID names what is wrong with the options
 * (an unknown driver or profile); NOMEM. */
SYN_API SYN_MUST int syn_registry_open(const struct syn_registry_options *options,
                                       struct syn_registry **ret_registry, struct syn_err *err);
/** Close the drivers. All devices taken from it must be closed by then. A driver that timed out is
 * left to its thread. */
SYN_API struct syn_registry *syn_registry_close(struct syn_registry *registry);
SYN_API void syn_registry_close_scope(struct syn_registry **slot);

/* Everything below: any thread; borrowed until the registry is closed; indexes are below the
 * count. */

SYN_API size_t syn_registry_count(const struct syn_registry *registry);
SYN_API const struct syn_device_info *syn_registry_device(const struct syn_registry *registry,
                                                          size_t index);
/** By id ("opencl1"); SYN_E_NOTFOUND names what there is. */
SYN_API SYN_MUST int syn_registry_find(const struct syn_registry *registry, const char *id,
                                       size_t *ret_index, struct syn_err *err);
SYN_API size_t syn_registry_drivers_count(const struct syn_registry *registry);
SYN_API const struct syn_driver_report *syn_registry_driver(const struct syn_registry *registry,
                                                            size_t index);
/** The capability profile of a device, or NULL. */
SYN_API const struct syn_profile *syn_registry_profile(const struct syn_registry *registry,
                                                       size_t index);

SYN_API size_t syn_registry_nodes_count(const struct syn_registry *registry);
SYN_API const struct syn_memory_node *syn_registry_node(const struct syn_registry *registry,
                                                        size_t node);
/** The memory node of a device. */
SYN_API unsigned syn_registry_device_node(const struct syn_registry *registry, size_t index);
/** How bytes get from one node to another. Rated or assumed until somebody measured it. */
SYN_API struct syn_link syn_registry_link(const struct syn_registry *registry, unsigned from,
                                          unsigned to);
/** Tell what was measured: kept for syn_registry_link(). Copies of every size are welcome; what is
 * kept is a running fit of latency and rate. */
SYN_API void syn_registry_link_measured(struct syn_registry *registry, unsigned from, unsigned to,
                                        uint64_t bytes, int64_t ns);

SYN_API const struct syn_topology *syn_registry_topology(const struct syn_registry *registry);

/** Ask the device. UNAVAILABLE when it is lost (then *ret is not set). Blocks: for the driver's
 * answer, milliseconds. */
SYN_API SYN_MUST int syn_registry_health(struct syn_registry *registry, size_t index,
                                         struct syn_device_health *ret, struct syn_err *err);
/** UNSUPPORTED when nobody knows. */
SYN_API SYN_MUST int syn_registry_power(struct syn_registry *registry, size_t index,
                                        struct syn_device_power *ret, struct syn_err *err);

SYN_API const char *syn_device_state_name(enum syn_device_state state);  /* "ok" */
SYN_API const char *syn_driver_state_name(enum syn_driver_state state);  /* "timed-out" */
SYN_API const char *syn_power_source_name(enum syn_power_source source); /* "measured" */
SYN_API const char *syn_link_path_name(enum syn_link_path path);         /* "staged" */
SYN_API const char *syn_link_source_name(enum syn_link_source source);   /* "rated" */
SYN_API const char *syn_device_share_name(enum syn_device_share share);  /* "slice" */
/** The words of a set of capabilities: `bit` is one of them. NULL for a bit without a name. */
SYN_API const char *syn_device_cap_name(uint32_t bit);

#ifdef __cplusplus
}
#endif
#endif
