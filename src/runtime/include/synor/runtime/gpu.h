/* NVIDIA GPUs: which there are, and what an instance needs of the host to use some of them. */
#ifndef SYNOR_RUNTIME_GPU_H
#define SYNOR_RUNTIME_GPU_H

#include <synor/runtime/runtime_ops.h>

#define SYN_GPUS_MAX      32
#define SYN_GPU_WORD_MAX  32
#define SYN_GPU_PARTS_MAX 8
#define SYN_GPU_EIGHTHS   8 /* of its memory, in which a card is cut */

/** A partition (MIG) that the machine's administrator has made. */
struct syn_gpu_part {
    char name[32]; /* the driver's: "1g.10gb" */
    char uuid[96];
    int start; /* first eighth of the card's memory, and how many */
    int eighths;
    int slices;   /* of compute: 1, 2, 3, 4 or 7 */
    int instance; /* the driver's numbers, by which its capabilities are found */
    int compute;
};

struct syn_gpu {
    char name[96]; /* the driver's: "NVIDIA H100 80GB HBM3" */
    char uuid[96];
    int64_t vram_bytes;
    int capability; /* compute capability: 90 means 9.0; 0: the driver does not say */
    int minor;      /* of /dev/nvidiaN; -1: the driver does not say */
    struct syn_gpu_part parts[SYN_GPU_PARTS_MAX]; /* in the order of their places */
    size_t parts_count;                           /* > 0: it is cut, and only they can be given */
};

struct syn_gpu_list {
    struct syn_gpu gpus[SYN_GPUS_MAX];
    size_t count;
    size_t partitioned; /* in MIG mode without a partition that could be given; not among them */
    char driver[96];
};

/** Ask NVIDIA's management library, `library` or, when NULL, the one that is installed. It is
 *  loaded for the call. Returns 0; NOTFOUND without it; UNAVAILABLE when it answers with an error.
 */
SYN_MUST int syn_gpu_list_read(const char *library, struct syn_gpu_list *ret, struct syn_err *err);
/** The model as price books and jobs call it, into out[SYN_GPU_WORD_MAX]: "h100", "a100-80gb",
 *  "rtx4090". Pure. */
void syn_gpu_model(const struct syn_gpu *gpu, char *out);
/** Has it a device node below `root` ("" for the machine's own)? What has none cannot be given. */
bool syn_gpu_reachable(const struct syn_gpu *gpu, const char *root);

/** What the host gives an instance for its GPUs; lists as struct syn_instance_spec wants them. */
struct syn_gpu_grant {
    const char *const *devices;       /* the cards' nodes, and those that all cards share */
    const struct syn_bind *libraries; /* of the driver, and its programs */
    size_t libraries_count;
    const char *const *env;     /* NULL-ended "NAME=value" */
    const struct syn_bind *mps; /* the pipes of NVIDIA's MPS daemon, or NULL */
};

/** How an instance has its one card, when it has not all of it. */
struct syn_gpu_use {
    const struct syn_gpu_part *part; /* this partition of it; NULL: a share */
    int64_t permille;                /* of its time */
    int64_t vram_bytes;              /* of its memory */
    const char *mps; /* folder of the pipes of NVIDIA's MPS daemon; NULL: time slices */
};

/** Find out what `gpus` need, on a machine whose files are below `host` ("" for this one), in a
 *  root file system at `rootfs` (NULL: the host's own /usr, where the libraries are already).
 * `use`: NULL, whole cards. Owner: the caller frees. Returns 0; UNAVAILABLE names a device node
 * that is missing; NOTFOUND when the driver's libraries are; NOMEM. */
SYN_MUST int syn_gpu_grant_new(const struct syn_gpu *gpus, size_t count,
                               const struct syn_gpu_use *use, const char *host, const char *rootfs,
                               struct syn_gpu_grant **ret, struct syn_err *err);
struct syn_gpu_grant *syn_gpu_grant_free(struct syn_gpu_grant *grant);

#endif
