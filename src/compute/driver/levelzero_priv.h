/* What the files of the Level Zero driver share. */
#ifndef SYN_COMPUTE_LEVELZERO_PRIV_H
#define SYN_COMPUTE_LEVELZERO_PRIV_H

#include <pthread.h>

#include <synor/compute/driver_ops.h>

#include "levelzero_api_priv.h"

#define SYN_ZE_DRIVERS_MAX 8
#define SYN_ZE_CARDS_MAX   32

/* A device as it is found, before it is opened. */
struct syn_ze_card {
    void *device;
    void *context; /* of the makers' driver it belongs to */
    struct ze_device_properties properties;
    uint32_t ordinal, queues; /* the group of queues for compute */
};

struct syn_ze_driver {
    struct syn_driver base;
    struct ze_api api;
    struct ocloc_api ocloc; /* `invoke` NULL: there is none, OpenCL C is not taken */
    bool managed;           /* Sysman answers */
    void *contexts[SYN_ZE_DRIVERS_MAX];
    unsigned contexts_count;
    struct syn_ze_card cards[SYN_ZE_CARDS_MAX];
};

struct syn_ze_dev {
    struct syn_dev base;
    const struct ze_api *api;
    const struct ocloc_api *ocloc;
    const struct syn_ze_card *card;
    pthread_mutex_t lock; /* guards what follows */
    uint32_t next_queue;
    uint64_t used_bytes;
};

struct syn_ze_buf {
    struct syn_dev_buf base;
    char *at; /* an address of the device's */
};

struct syn_ze_queue {
    struct syn_dev_queue base;
    void *list;
    struct syn_dev_event *drained; /* what destroying it waits for */
};

struct syn_ze_event {
    struct syn_dev_event base;
    void *pool, *start, *end;
    bool used;    /* a command signals it */
    bool touched; /* and has to be reset before another does */
};

static inline struct syn_ze_dev *
syn_ze_dev_of(struct syn_dev *dev)
{
    return SYN_CONTAINER(dev, struct syn_ze_dev, base);
}

static inline struct syn_ze_event *
syn_ze_event_of(struct syn_dev_event *event)
{
    return SYN_CONTAINER(event, struct syn_ze_event, base);
}

/* The error for a result of Level Zero's. */
int syn_ze_refuse(ze_result result, const char *what, struct syn_err *err);

/* Commands and programs: levelzero_cmd.c. */
int syn_ze_copy(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                struct syn_err *err);
bool syn_ze_can_peer(struct syn_dev *dev, struct syn_dev *other);
int syn_ze_peer_copy(const struct syn_dev_copy *copy, const struct syn_dev_cmd *cmd,
                     struct syn_err *err);
int syn_ze_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
                const struct syn_dev_cmd *cmd, struct syn_err *err);
/* A command of no effect: `event` is done when all before it are. */
int syn_ze_mark(const struct syn_ze_dev *dev, const struct syn_ze_queue *queue,
                struct syn_dev_event *event, struct syn_err *err);
int syn_ze_compile(struct syn_dev *dev, const struct syn_dev_source *source,
                   struct syn_dev_program **ret_program, struct syn_err *err);
void syn_ze_program_free(struct syn_dev_program *program);
int syn_ze_launch(struct syn_dev *dev, const struct syn_dev_launch *launch,
                  const struct syn_dev_cmd *cmd, struct syn_err *err);

#endif
