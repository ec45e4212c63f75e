/* A data handle. Its first half is the submitters' own, under the submission lock; see task.c. */
#ifndef SYNOR_COMPUTE_DATA_PRIV_H
#define SYNOR_COMPUTE_DATA_PRIV_H

#include <synor/task.h>

#include "spin_priv.h"
#include "task_priv.h"

#define SYN_READERS_INLINE 6

/* What those do who use the data at the same time, in any order. */
enum syn_group { SYN_GROUP_READ, SYN_GROUP_COMMUTE, SYN_GROUP_REDUCE /* and how */ };

/* Those who reduce in different ways, which their user numbers, are different groups. */
#define SYN_REDUCE_WAYS    250
#define SYN_REDUCE_AS(way) ((enum syn_access)(SYN_REDUCE | (unsigned)(way) << 8))

struct syn_reduction;

struct syn_data {
    /* What a submission looks at, together. */
    syn_task_ref writer;
    /* Since the writer; or who commutes, or reduces, as `group` says: syn_data_readers(). */
    uint32_t readers_count, readers_cap;
    bool shared; /* somebody has commuted or reduced */
    uint8_t group;
    bool unsettled; /* parts of a reduction may wait to be put together */
    bool taken;     /* the workers': by a task that commutes; under `lock` */
    struct syn_spin lock;
    union {
        syn_task_ref few[SYN_READERS_INLINE];
        syn_task_ref *many; /* where `readers_cap` is more */
    } readers;
    struct syn_runtime *runtime;
    void *address;
    size_t bytes;
    /* The workers'. */
    _Atomic uint32_t refs;    /* the user's, and one a task that commutes or reduces */
    struct syn_task *waiting; /* for the one that has taken it; under `lock` */
    struct syn_reduction *reduction;
};

_Static_assert(sizeof(struct syn_data) <= 120,
               "a handle should take 128 bytes, of which 8 are libc's");

static inline bool
syn_data_has_many(const struct syn_data *data)
{
    return data->readers_cap > SYN_READERS_INLINE;
}

static inline syn_task_ref *
syn_data_readers(struct syn_data *data)
{
    return syn_data_has_many(data) ? data->readers.many : data->readers.few;
}

static inline bool
syn_access_reduces(enum syn_access access)
{
    return ((unsigned)access & 0xff) == SYN_REDUCE;
}

static inline unsigned
syn_group_of(enum syn_access access)
{
    if (syn_access_reduces(access))
        return SYN_GROUP_REDUCE + ((unsigned)access >> 8);
    return access == SYN_COMMUTE ? SYN_GROUP_COMMUTE : SYN_GROUP_READ;
}

/* Does this access join those that use the data now, or wait for them? */
static inline bool
syn_access_joins(enum syn_access access)
{
    return (access & SYN_WRITE) == 0 || access > SYN_UPDATE;
}

/* Others that use the data may be submitted while it is given one. */
static inline struct syn_reduction *
syn_data_reduction_of(const struct syn_data *data)
{
    return __atomic_load_n(&data->reduction, __ATOMIC_ACQUIRE);
}

void syn_data_unref(struct syn_data *data);
/* Those who use the data now do something else than `access`: a task has to come between them.
 * Under the submission lock. */
bool syn_data_must_settle(struct syn_data *data, enum syn_access access);
/* Submit that task. */
SYN_MUST int syn_data_settle(struct syn_data *data, struct syn_err *err);
/* Give the data a reduction whose parts are its user's affair: `run` is the task between groups. It
 * is called when all who reduced are over, also after a failure of theirs (worker->current_code is
 * what it has to return, then), and may end later. Once. */
SYN_MUST int syn_data_reduction_elsewhere(struct syn_data *data, syn_task_fn *run, void *arg,
                                          struct syn_err *err);
/* Take what the task commutes on. False: it is among those who wait for it, and will be ready
 * again.
 */
bool syn_data_take(struct syn_task *task);
/* It is over: let go of what it took; who waited is ready. */
void syn_data_let_go(struct syn_worker *worker, struct syn_task *task);

#endif
