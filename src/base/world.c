#include <synor/base/world.h>

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>
#include <time.h>

#include <synor/base/clock.h>

static int64_t
system_wall_ms(void *self)
{
    struct timespec now;

    (void)self;
    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int64_t
system_mono_ns(void *self)
{
    (void)self;
    return syn_clock_ns();
}

static void
system_random(void *self, void *out, size_t len)
{
    char *at = out;

    (void)self;
    while (len > 0) {
        ssize_t got = getrandom(at, len, 0);

        if (got < 0) {
            assert(errno == EINTR); /* the only way getrandom() fails once the pool is ready */
            continue;
        }
        at += got;
        len -= (size_t)got;
    }
}

static const struct syn_world_ops system_ops = {
    .version = SYN_WORLD_VERSION,
    .wall_ms = system_wall_ms,
    .mono_ns = system_mono_ns,
    .random = system_random,
};

const struct syn_world *
syn_world_system(void)
{
    static const struct syn_world world = {&system_ops, NULL};

    return &world;
}

int64_t
syn_wall_ms(const struct syn_world *world)
{
    return world->ops->wall_ms(world->self);
}

int64_t
syn_mono_ms(const struct syn_world *world)
{
    return world->ops->mono_ns(world->self) / 1000000;
}

const char *
syn_make_id(const struct syn_world *world, const char *prefix, char *out)
{
    static const char digits[] = "abcdefghijklmnopqrstuvwxyz234567";
    uint8_t random[10];
    char tail[sizeof(random) + 1];

    world->ops->random(world->self, random, sizeof(random));
    for (size_t i = 0; i < sizeof(random); i++)
        tail[i] = digits[random[i] & 31];
    tail[sizeof(random)] = '\0';
    (void)snprintf(out, SYN_ID_MAX, "%s-%s", prefix, tail);
    return out;
}
