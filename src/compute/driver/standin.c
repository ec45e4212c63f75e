#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "standin_priv.h"

#define BLOCKS_MAX 4096

struct block {
    char *at;
    size_t bytes;
    int device;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct block blocks[BLOCKS_MAX];
static size_t used[STANDIN_DEVICES];
static int live; /* contexts, streams, events, modules, programs */
static uint64_t fail_in, calls;
static int fail_code;

void
standin_fail(uint64_t nth, int code)
{
    (void)pthread_mutex_lock(&lock);
    fail_in = nth;
    fail_code = code;
    calls = 0;
    (void)pthread_mutex_unlock(&lock);
}

uint64_t
standin_calls(void)
{
    return calls;
}

void
standin_die(const char *what)
{
    (void)fprintf(stderr, "stand-in: %s\n", what);
    abort();
}

int
standin_begin(void)
{
    (void)pthread_mutex_lock(&lock);
    calls++;
    return fail_in > 0 && --fail_in == 0 ? fail_code : 0;
}

int
standin_end(int code)
{
    (void)pthread_mutex_unlock(&lock);
    return code;
}

void
standin_count(int by)
{
    live += by;
    if (live < 0)
        standin_die("an object was destroyed twice");
}

__attribute__((destructor)) static void
look_back(void)
{
    if (live != 0) {
        (void)fprintf(stderr, "stand-in: %d objects are left\n", live);
        _Exit(1);
    }
    for (int i = 0; i < BLOCKS_MAX; i++) {
        if (blocks[i].at) {
            (void)fprintf(stderr, "stand-in: memory is left (device %d)\n", blocks[i].device);
            _Exit(1);
        }
    }
}

/* Memory. */

static struct block *
free_slot(void)
{
    for (int i = 0; i < BLOCKS_MAX; i++) {
        if (!blocks[i].at)
            return &blocks[i];
    }
    standin_die("too many blocks");
}

static struct block *
block_of(const void *at, size_t bytes, int of_device)
{
    for (int i = 0; i < BLOCKS_MAX; i++) {
        struct block *b = &blocks[i];

        if (b->at && (const char *)at >= b->at && (const char *)at + bytes <= b->at + b->bytes &&
            (of_device ? b->device >= 0 : b->device < 0))
            return b;
    }
    return NULL;
}

int
standin_is_memory(const void *at, size_t bytes, int of_device)
{
    return block_of(at, bytes, of_device) != NULL;
}

char *
standin_device_memory(uint64_t at, size_t bytes)
{
    char *pointer = (char *)(uintptr_t)at;

    if (!block_of(pointer, bytes, 1))
        standin_die("an address outside of device memory");
    return pointer;
}

int
standin_block_make(void **ret, size_t bytes, int device)
{
    struct block *b = free_slot();

    if (bytes == 0)
        return STANDIN_NOTHING;
    if (bytes > STANDIN_DEVICE_BYTES ||
        (device >= 0 && used[device] > STANDIN_DEVICE_BYTES - bytes))
        return STANDIN_FULL;
    b->at = aligned_alloc(256, (bytes + 255) / 256 * 256);
    if (!b->at)
        return STANDIN_FULL;
    memset(b->at, 0xa5, bytes);
    b->bytes = bytes;
    b->device = device;
    if (device >= 0)
        used[device] += bytes;
    *ret = b->at;
    return 0;
}

void
standin_block_watch(void *at, size_t bytes, int device)
{
    *free_slot() = (struct block){at, bytes, device};
}

void
standin_block_drop(void *at, int of_device)
{
    struct block *b = block_of(at, 1, of_device); /* not one that ends here */

    if (!b || b->at != at)
        standin_die("memory that is not there is freed");
    if (b->device >= 0)
        used[b->device] -= b->bytes;
    if (b->device != STANDIN_REGISTERED)
        free(b->at);
    *b = (struct block){0};
}

size_t
standin_used(int device)
{
    return used[device];
}

/* The suite's kernels. */

void
standin_axpy(float a, uint64_t x_at, uint64_t y_at, uint32_t n, uint64_t items)
{
    const float *x = (float *)(void *)standin_device_memory(x_at, n * sizeof(*x));
    float *y = (float *)(void *)standin_device_memory(y_at, n * sizeof(*y));

    for (uint64_t i = 0; i < items && i < n; i++)
        y[i] += a * x[i];
}

void
standin_iota(uint64_t y_at, uint32_t n, int32_t first, uint64_t items)
{
    int32_t *y = (int32_t *)(void *)standin_device_memory(y_at, n * sizeof(*y));

    for (uint64_t i = 0; i < items && i < n; i++)
        y[i] = first + (int32_t)i;
}
