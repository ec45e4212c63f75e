/* Of sort.c, for K: uint32_t or uint64_t. Numbers become keys, unsigned integers in the same order;
 * keys are sorted by digits of a byte, least significant first; and become numbers again. */

#define DIGITS sizeof(K)
#define SIGN   ((K)1 << (8 * sizeof(K) - 1))

/* All bits of the exponent: what is above it, without its sign, is not a number. */
#define INFINITE ((K)(sizeof(K) == 4 ? UINT64_C(0x7f800000) : UINT64_C(0x7ff0000000000000)))

static void
NAME(to_keys)(void *arg, uint64_t begin, uint64_t end)
{
    const struct sort *job = arg;
    K *keys = job->data;

    for (uint64_t i = begin; i < end; i++) {
        K bits = keys[i];

        if (job->floating && (bits & ~SIGN) > INFINITE)
            bits |= SIGN; /* whatever its sign, to the end */
        else if (job->floating && (bits & SIGN))
            bits = ~bits;
        else
            bits ^= SIGN;
        keys[i] = bits;
    }
}

static void
NAME(from_keys)(void *arg, uint64_t begin, uint64_t end)
{
    const struct sort *job = arg;
    K *keys = job->data;

    for (uint64_t i = begin; i < end; i++)
        keys[i] = job->floating && !(keys[i] & SIGN) ? ~keys[i] : keys[i] ^ SIGN;
}

static void
NAME(insert)(K *keys, uint64_t count)
{
    for (uint64_t i = 1; i < count; i++) {
        K key = keys[i];
        uint64_t at = i;

        for (; at > 0 && keys[at - 1] > key; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
}

/* One digit from `from` to `to`. False: all keys have the same one, nothing was done. */
static bool
NAME(digit)(const K *from, K *to, uint64_t count, const uint64_t counts[256], unsigned shift)
{
    uint64_t starts[256], sum = 0;

    if (counts[(from[0] >> shift) & 255] == count)
        return false;
    for (unsigned i = 0; i < 256; i++) {
        starts[i] = sum;
        sum += counts[i];
    }
    for (uint64_t i = 0; i < count; i++)
        to[starts[(from[i] >> shift) & 255]++] = from[i];
    return true;
}

/* `spare` is as long as `keys`; where the result is, is returned. */
static K *
NAME(radix)(K *keys, K *spare, uint64_t count)
{
    uint64_t counts[DIGITS][256] = {{0}};

    if (count <= FEW) {
        NAME(insert)(keys, count);
        return keys;
    }
    for (uint64_t i = 0; i < count; i++) {
        for (unsigned d = 0; d < DIGITS; d++)
            counts[d][(keys[i] >> (8 * d)) & 255]++;
    }
    for (unsigned d = 0; d < DIGITS; d++) {
        if (NAME(digit)(keys, spare, count, counts[d], 8 * d)) {
            K *other = keys;

            keys = spare;
            spare = other;
        }
    }
    return keys;
}

/* How many of `keys` are below `key`. */
static uint64_t
NAME(below)(const K *keys, uint64_t count, K key)
{
    uint64_t low = 0;

    while (low < count) {
        uint64_t middle = low + (count - low) / 2;

        if (keys[middle] < key)
            low = middle + 1;
        else
            count = middle;
    }
    return low;
}

struct NAME(merge) {
    const K *a, *b;
    K *to;
    uint64_t a_count, b_count;
};

static void NAME(merge_both)(struct syn_worker *worker, struct syn_fork *at,
                             struct NAME(merge) merge);

static void
NAME(merge_stolen)(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    NAME(merge_both)(worker, at, *(const struct NAME(merge) *)frame);
}

static void
NAME(merge_plain)(const struct NAME(merge) * merge)
{
    const K *a = merge->a, *b = merge->b, *a_end = a + merge->a_count, *b_end = b + merge->b_count;
    K *to = merge->to;

    while (a < a_end && b < b_end) {
        bool second = *b < *a;

        *to++ = second ? *b : *a;
        b += second;
        a += !second;
    }
    memcpy(to, a, (size_t)(a_end - a) * sizeof(K));
    memcpy(to + (a_end - a), b, (size_t)(b_end - b) * sizeof(K));
}

/* Divide by the middle of the longer one: its place in the other divides that, and the result. */
static void
NAME(merge_both)(struct syn_worker *worker, struct syn_fork *at, struct NAME(merge) merge)
{
    struct NAME(merge) front = merge;
    struct syn_fork *next = NULL;

    if (merge.a_count + merge.b_count <= GRAIN) {
        NAME(merge_plain)(&merge);
        return;
    }
    if (merge.a_count >= merge.b_count) {
        front.a_count = merge.a_count / 2;
        front.b_count = NAME(below)(merge.b, merge.b_count, merge.a[front.a_count]);
    } else {
        front.b_count = merge.b_count / 2;
        front.a_count = NAME(below)(merge.a, merge.a_count, merge.b[front.b_count]);
    }
    merge.a += front.a_count;
    merge.b += front.b_count;
    merge.to += front.a_count + front.b_count;
    merge.a_count -= front.a_count;
    merge.b_count -= front.b_count;
    *(struct NAME(merge) *)syn_fork_frame(at) = front;
    next = syn_fork(worker, at, NAME(merge_stolen));
    NAME(merge_both)(worker, next, merge);
    if (syn_join(worker, at))
        NAME(merge_both)(worker, at, front);
}

/* Sort `keys`; the result is there, or in `spare` if `over`. */
struct NAME(part) {
    K *keys, *spare;
    uint64_t count;
    bool over;
};

static void NAME(sort_part)(struct syn_worker *worker, struct syn_fork *at, struct NAME(part) part);

static void
NAME(sort_stolen)(struct syn_worker *worker, struct syn_fork *at, void *frame)
{
    NAME(sort_part)(worker, at, *(const struct NAME(part) *)frame);
}

static void
NAME(sort_part)(struct syn_worker *worker, struct syn_fork *at, struct NAME(part) part)
{
    struct NAME(part) front = part, back = part;
    K *from = part.over ? part.keys : part.spare, *to = part.over ? part.spare : part.keys;
    struct syn_fork *next = NULL;

    if (!worker || part.count <= GRAIN) {
        const K *sorted = NAME(radix)(part.keys, part.spare, part.count);

        if (sorted != to)
            memcpy(to, sorted, part.count * sizeof(K));
        return;
    }
    front.count = part.count / 2;
    back.keys += front.count;
    back.spare += front.count;
    back.count -= front.count;
    front.over = back.over = !part.over;
    *(struct NAME(part) *)syn_fork_frame(at) = front;
    next = syn_fork(worker, at, NAME(sort_stolen));
    NAME(sort_part)(worker, next, back);
    if (syn_join(worker, at))
        NAME(sort_part)(worker, at, front);
    NAME(merge_both)
    (worker, at, (struct NAME(merge)){from, from + front.count, to, front.count, back.count});
}

static void
NAME(sort_all)(struct syn_worker *worker, struct syn_fork *at, struct sort *job, void *spare)
{
    static_assert(sizeof(struct NAME(part)) <= SYN_FORK_FRAME_MAX &&
                      sizeof(struct NAME(merge)) <= SYN_FORK_FRAME_MAX,
                  "frames");

    syn_range_run(worker, at, job->count, GRAIN, NAME(to_keys), job);
    NAME(sort_part)(worker, at, (struct NAME(part)){job->data, spare, job->count, false});
    syn_range_run(worker, at, job->count, GRAIN, NAME(from_keys), job);
}

#undef DIGITS
#undef SIGN
#undef INFINITE
