/* What the files of the OpenCL driver share. */
#ifndef SYN_COMPUTE_OPENCL_PRIV_H
#define SYN_COMPUTE_OPENCL_PRIV_H

#include <pthread.h>

#include <synor/compute/driver_ops.h>

#include "opencl_api_priv.h"

#define OCL_DEVICES_MAX 64

struct ocl_driver {
    struct syn_driver base;
    struct cl_api api;
    cl_device_id ids[OCL_DEVICES_MAX];
    cl_platform_id platforms[OCL_DEVICES_MAX]; /* of each device */
};

struct ocl_dev {
    struct syn_dev base;
    const struct cl_api *api;
    cl_device_id id;
    cl_context context;
    size_t align; /* of sub-buffers, bytes */
    uint64_t memory_bytes;
    cl_command_queue mapper; /* maps pinned memory */
    pthread_mutex_t lock;    /* guards what follows */
    uint64_t used_bytes;
    struct ocl_pinned *pinned;
};

struct ocl_pinned {
    struct ocl_pinned *next;
    cl_mem mem;
    void *host;
};

struct ocl_buf {
    struct syn_dev_buf base;
    cl_mem mem;
};

struct ocl_queue {
    struct syn_dev_queue base;
    cl_command_queue queue;
};

struct ocl_event {
    struct syn_dev_event base;
    cl_event first, last; /* NULL until a command signals it; the same for a command in one piece */
};

struct ocl_kernel {
    struct ocl_kernel *next;
    cl_kernel kernel;
    char name[SYN_DRV_NAME_MAX];
};

struct ocl_program {
    struct syn_dev_program base;
    cl_program program;
    pthread_mutex_t lock; /* arguments are set and the kernel is given under it */
    struct ocl_kernel *kernels;
};

static inline struct ocl_dev *
ocl_dev_of(struct syn_dev *dev)
{
    return SYN_CONTAINER(dev, struct ocl_dev, base);
}

static inline cl_mem
ocl_mem_of(struct syn_dev_buf *buf)
{
    return SYN_CONTAINER(buf, struct ocl_buf, base)->mem;
}

/* The error for an OpenCL code. */
int ocl_refuse(cl_int code, const char *what, struct syn_err *err);
/* Release what the event holds. */
void ocl_event_drop(const struct cl_api *api, struct ocl_event *event);

/* Commands and programs: opencl_cmd.c. */
int ocl_copy(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
             struct syn_err *err);
int ocl_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
             const struct syn_dev_cmd *cmd, struct syn_err *err);
int ocl_compile(struct syn_dev *base, const struct syn_dev_source *source,
                struct syn_dev_program **ret_program, struct syn_err *err);
void ocl_program_free(struct syn_dev_program *base);
int ocl_launch(struct syn_dev *base, const struct syn_dev_launch *launch,
               const struct syn_dev_cmd *cmd, struct syn_err *err);

#endif
