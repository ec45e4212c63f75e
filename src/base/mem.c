#include <synor/base/mem.h>

#include <stdatomic.h>
#include <stdio.h>

/* `countdown` is 0 when disarmed; otherwise the allocation that brings it to 0 fails. Once a sticky
 * fault has struck, `struck` fails everything until the next arm. */
static _Atomic uint64_t countdown;
static _Atomic uint64_t counted;
static _Atomic int64_t live;
static _Atomic bool struck;
static _Atomic bool keep_failing;

static bool
must_fail(void)
{
    uint64_t left;

    atomic_fetch_add_explicit(&counted, 1, memory_order_relaxed);
    if (atomic_load_explicit(&struck, memory_order_relaxed))
        return true;
    left = atomic_load_explicit(&countdown, memory_order_relaxed);
    while (left != 0) {
        if (atomic_compare_exchange_weak(&countdown, &left, left - 1)) {
            if (left != 1)
                return false;
            if (atomic_load(&keep_failing))
                atomic_store(&struck, true);
            return true;
        }
    }
    return false;
}

static void *
counted_block(void *block)
{
    if (block != NULL)
        atomic_fetch_add_explicit(&live, 1, memory_order_relaxed);
    return block;
}

void *
syn_alloc(size_t size)
{
    if (must_fail())
        return NULL;
    return counted_block(malloc(size == 0 ? 1 : size));
}

void *
syn_alloc_aligned(size_t alignment, size_t size)
{
    size_t rounded;

    assert(alignment != 0 && (alignment & (alignment - 1)) == 0);
    if (must_fail() || __builtin_add_overflow(size, alignment - 1, &rounded))
        return NULL;
    rounded &= ~(alignment - 1);
    return counted_block(aligned_alloc(alignment, rounded == 0 ? alignment : rounded));
}

void *
syn_calloc(size_t count, size_t size)
{
    size_t total;

    if (must_fail() || __builtin_mul_overflow(count, size, &total))
        return NULL;
    return counted_block(calloc(count == 0 ? 1 : count, size == 0 ? 1 : size));
}

void *
syn_realloc(void *block, size_t size)
{
    void *moved;

    if (block == NULL)
        return syn_alloc(size);
    if (must_fail())
        return NULL;
    moved = realloc(block, size == 0 ? 1 : size);
    return moved;
}

void
syn_free(void *block)
{
    if (block != NULL)
        atomic_fetch_sub_explicit(&live, 1, memory_order_relaxed);
    free(block);
}

char *
syn_strdup(const char *text)
{
    return syn_strndup(text, strlen(text));
}

char *
syn_strndup(const char *text, size_t len)
{
    char *copy = syn_alloc(len + 1);

    if (copy == NULL)
        return NULL;
    if (len > 0)
        memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

void
syn_free_scope(void *slot)
{
    void *block;

    memcpy(&block, slot, sizeof(block));
    syn_free(block);
}

bool
syn_grow(void *items, size_t *cap, size_t need, size_t elem)
{
    size_t wanted = *cap < 8 ? 8 : *cap;
    void *block;
    void *moved;

    if (need <= *cap)
        return true;
    while (wanted < need) {
        if (wanted > SIZE_MAX / 2)
            return false;
        wanted *= 2;
    }
    if (elem == 0 || wanted > SIZE_MAX / elem)
        return false;
    memcpy(&block, items, sizeof(block));
    moved = syn_realloc(block, wanted * elem);
    if (moved == NULL)
        return false;
    memcpy(items, &moved, sizeof(moved));
    *cap = wanted;
    return true;
}

void
syn_mem_fault_arm(uint64_t nth, bool sticky)
{
    atomic_store(&countdown, 0);
    atomic_store(&struck, false);
    atomic_store(&keep_failing, sticky);
    atomic_store(&counted, 0);
    atomic_store(&countdown, nth);
}

uint64_t
syn_mem_fault_count(void)
{
    return atomic_load(&counted);
}

int64_t
syn_mem_live(void)
{
    return atomic_load(&live);
}

/* --- the machine's ---------------------------------------------------------------------------- */

int64_t
syn_mem_of_machine(const char *line)
{
    FILE *file = fopen("/proc/meminfo", "re");
    size_t len = strlen(line);
    int64_t bytes = -1;
    char text[128];

    while (file != NULL && bytes < 0 && fgets(text, sizeof(text), file) != NULL)
        if (strncmp(text, line, len) == 0 && text[len] == ':')
            bytes = (int64_t)(strtoull(text + len + 1, NULL, 10) << 10);
    if (file != NULL)
        (void)fclose(file);
    return bytes;
}
