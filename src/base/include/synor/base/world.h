/* What a pure core may ask of the outside, as an ops table: implemented in infra, simulated in
 * tests. */
#ifndef SYNOR_BASE_WORLD_H
#define SYNOR_BASE_WORLD_H

#include <synor/base/core.h>

#define SYN_WORLD_VERSION 1

struct syn_world_ops {
    uint32_t version;                                  /* SYN_WORLD_VERSION */
    int64_t (*wall_ms)(void *self);                    /* Unix time */
    int64_t (*mono_ns)(void *self);                    /* never goes back */
    void (*random)(void *self, void *out, size_t len); /* unpredictable bytes */
};

struct syn_world {
    const struct syn_world_ops *ops;
    void *self;
};

/** The machine's own clock and random source. Static; any thread. */
const struct syn_world *syn_world_system(void);
int64_t syn_wall_ms(const struct syn_world *world);
int64_t syn_mono_ms(const struct syn_world *world);
/** "train-" + 10 characters of lower base32 (50 random bits) into out[SYN_ID_MAX]; returns out. */
#define SYN_ID_MAX 64
const char *syn_make_id(const struct syn_world *world, const char *prefix, char *out);

#endif
