/* Queues. Vulkan's own know nothing of the host's memory, and a submission that waits for what is
 * not submitted yet holds up whoever shares the device's queue. So each of ours has a thread, which
 * does what only the host can do (wait for other queues, move bytes between a caller's memory and
 * memory that the device reaches) and submits only what nothing holds up.
 *
 * A submission and the wait for its end cost tens of microseconds, a launch a few. So commands
 * gather: while the device is at work those that come lie in the list, and the next submission
 * takes them all.
 *
 *     list -> cmd, cmd, cmd -> batch: [copy][launch][launch] -> submit, wait -> bytes out, events
 *
 * A batch ends when the list is empty, when a command waits for something that is not in the batch
 * and not done, when the staging memory is full, and where the host has to move bytes in between.
 *
 * Refused: one submission a command with semaphores between queues. It needs no thread for
 * launches, but still one for copies of memory that is not pinned, and an order between the two.
 *
 * Kernels' arguments are written into the staging memory as well; a kernel is given their address.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <synor/base/mem.h>

#include "host_queue_priv.h"
#include "vulkan_priv.h"

#define STAGE_BYTES  (UINT64_C(4) << 20)
#define STAGE_ALIGN  256
#define PIECES_MAX   64 /* of a batch */
#define REGIONS_MAX  128
#define PATTERN_ROOM 16
#define NAP_NS       1000000

enum vk_op {
    VK_OP_COPY,
    VK_OP_FILL,
    VK_OP_LAUNCH,
};

struct vk_cmd {
    struct syn_host_link link;
    enum vk_op op;
    struct syn_dev_copy copy;
    struct {
        const struct syn_vk_block *block;
        uint64_t offset, bytes;
        uint8_t value;
    } fill;
    VkPipeline pipeline;
    uint32_t groups[3];
    uint64_t args_bytes;
    struct syn_dev_event *waits[SYN_DRV_WAITS_MAX];
    size_t waits_count;
    struct syn_dev_event *signal;
    struct syn_dev_span span;
    bool begun;           /* its first piece has run: span.start_ns is set */
    uint64_t start_ticks; /* then: what the device's counter said */
    unsigned char args[];
};

/* Where a copy stands: bytes of rows done. */
struct cursor {
    uint64_t slice, row, byte;
};

/* A command in a batch, or the part of it that fits. */
struct piece {
    struct vk_cmd *cmd;
    bool last;
    /* Bytes for the caller's memory that will lie in the staging memory. */
    uint64_t out_bytes, out_at;
    struct cursor out_from;
};

struct vk_queue {
    struct syn_dev_queue base;
    struct syn_vk_dev *dev;
    struct syn_vk_lane *lane;
    _Atomic bool failed;

    /* The thread's own. */
    VkCommandPool pool;
    VkCommandBuffer commands;
    VkFence fence;
    VkQueryPool queries;
    struct syn_vk_block stage;
    uint64_t stage_used;
    struct piece pieces[PIECES_MAX];
    unsigned pieces_count; /* 0: nothing is recorded */
    unsigned outs_count;   /* pieces with bytes for the caller's memory */
    struct VkBufferCopy regions[REGIONS_MAX];
    uint32_t regions_count;

    struct syn_host_list list;
};

static struct vk_queue *
queue_of(struct syn_dev_queue *queue)
{
    return SYN_CONTAINER(queue, struct vk_queue, base);
}

static void
barrier(const struct vk_queue *queue, uint32_t to_stage, uint32_t to_access)
{
    const struct VkMemoryBarrier memory = {.type = VK_TYPE_MEMORY_BARRIER,
                                           .from = VK_ACCESS_MEMORY_WRITE | VK_ACCESS_MEMORY_READ,
                                           .to = to_access};

    queue->dev->api.vkCmdPipelineBarrier(queue->commands, VK_STAGE_ALL, to_stage, 0, 1, &memory, 0,
                                         NULL, 0, NULL);
}

/* A command is done, or never will be. */
static void
finish(struct vk_queue *queue, struct vk_cmd *cmd, int rc, const struct syn_err *err)
{
    if (rc < 0)
        atomic_store(&queue->failed, true);
    if (cmd->signal)
        syn_host_event_finish(cmd->signal, rc, err, &cmd->span);
    syn_free(cmd);
}

/* Batches. */

static char *
place_start(const struct syn_dev_place *place, const struct cursor *at)
{
    return (char *)place->host + place->offset + at->slice * place->slice_pitch +
           at->row * place->row_pitch + at->byte;
}

static uint64_t
place_offset(const struct syn_dev_place *place, const struct cursor *at)
{
    return place->offset + at->slice * place->slice_pitch + at->row * place->row_pitch + at->byte;
}

/* Up to `most` bytes on, within a row; how many. */
static uint64_t
cursor_step(const struct syn_dev_copy *copy, struct cursor *at, uint64_t most)
{
    uint64_t bytes = SYN_MIN(copy->row_bytes - at->byte, most);

    at->byte += bytes;
    if (at->byte == copy->row_bytes) {
        at->byte = 0;
        at->row++;
    }
    if (at->row == copy->rows) {
        at->row = 0;
        at->slice++;
    }
    return bytes;
}

/* What a read left in the staging memory goes to the caller's. */
static void
bring_out(const struct vk_queue *queue, const struct piece *piece)
{
    const struct syn_dev_copy *copy = &piece->cmd->copy;
    struct cursor at = piece->out_from;
    uint64_t done = 0;

    while (done < piece->out_bytes) {
        char *to = place_start(&copy->dst, &at);
        uint64_t bytes = cursor_step(copy, &at, piece->out_bytes - done);

        memcpy(to, queue->stage.host + piece->out_at + done, bytes);
        done += bytes;
    }
}

/* Begin to record, if nothing is recorded yet. */
static VkResult
batch_open(struct vk_queue *queue)
{
    const struct VkCommandBufferBeginInfo info = {.type = VK_TYPE_COMMAND_BUFFER_BEGIN,
                                                  .flags = VK_BEGIN_ONCE};
    const struct vk_device_api *api = &queue->dev->api;
    VkResult result;

    if (queue->pieces_count > 0)
        return VK_SUCCESS;
    queue->stage_used = 0;
    queue->outs_count = 0;
    result = api->vkResetCommandPool(queue->dev->device, queue->pool, 0);
    if (result == VK_SUCCESS)
        result = api->vkBeginCommandBuffer(queue->commands, &info);
    if (result == VK_SUCCESS && queue->queries)
        api->vkCmdResetQueryPool(queue->commands, queue->queries, 0, 2 * PIECES_MAX);
    return result;
}

/* Submit what is recorded and wait for it. */
static VkResult
batch_run(struct vk_queue *queue)
{
    const struct vk_device_api *api = &queue->dev->api;
    const struct VkSubmitInfo submit = {
        .type = VK_TYPE_SUBMIT, .buffers_count = 1, .buffers = &queue->commands};
    VkResult result;

    barrier(queue, VK_STAGE_HOST, VK_ACCESS_HOST_READ);
    result = api->vkEndCommandBuffer(queue->commands);
    if (result == VK_SUCCESS)
        result = api->vkResetFences(queue->dev->device, 1, &queue->fence);
    if (result != VK_SUCCESS)
        return result;
    (void)pthread_mutex_lock(&queue->lane->lock);
    result = api->vkQueueSubmit(queue->lane->queue, 1, &submit, queue->fence);
    (void)pthread_mutex_unlock(&queue->lane->lock);
    if (result != VK_SUCCESS)
        return result;
    /* A wait that is refused says nothing of the commands: they may run on, so ask until they do
     * not. */
    while ((result = api->vkWaitForFences(queue->dev->device, 1, &queue->fence, 1, UINT64_MAX)) !=
               VK_SUCCESS &&
           result != VK_ERROR_DEVICE_LOST)
        (void)nanosleep(&(const struct timespec){0, NAP_NS}, NULL);
    return result;
}

/* The device's times of the pieces, as spans of their commands. The counter may have few bits: a
 * span's length is right across its end, its place on the line begins anew there. */
static VkResult
batch_times(struct vk_queue *queue)
{
    const struct syn_vk_card *card = queue->dev->card;
    uint64_t ticks[PIECES_MAX][2] = {{0}};
    uint64_t mask =
        card->timestamp_bits < 64 ? (UINT64_C(1) << card->timestamp_bits) - 1 : UINT64_MAX;
    double ns = (double)card->properties.limits.timestamp_ns;
    VkResult result;

    if (!queue->queries)
        return VK_SUCCESS;
    result = queue->dev->api.vkGetQueryPoolResults(
        queue->dev->device, queue->queries, 0, 2 * queue->pieces_count, sizeof(ticks), ticks,
        sizeof(ticks[0][0]), VK_QUERY_64 | VK_QUERY_WAIT);
    for (unsigned i = 0; result == VK_SUCCESS && i < queue->pieces_count; i++) {
        struct vk_cmd *cmd = queue->pieces[i].cmd;

        if (!cmd->begun) {
            cmd->start_ticks = ticks[i][0];
            cmd->span.start_ns = (int64_t)((double)(ticks[i][0] & mask) * ns);
        }
        cmd->span.end_ns =
            cmd->span.start_ns + (int64_t)((double)((ticks[i][1] - cmd->start_ticks) & mask) * ns);
        cmd->begun = true;
    }
    return result;
}

/* Run what is recorded to its end. Commands whose last piece it has are finished, and gone. The
 * result is for the one that is not, if there is one. */
static int
batch_close(struct vk_queue *queue, struct syn_err *ret_err)
{
    struct syn_err err = {0};
    VkResult result;
    int rc = SYN_OK;

    if (queue->pieces_count == 0)
        return SYN_OK;
    result = batch_run(queue);
    if (result == VK_SUCCESS)
        result = batch_times(queue);
    if (result != VK_SUCCESS)
        rc = syn_vk_refuse(result, "submission", &err);
    for (unsigned i = 0; i < queue->pieces_count; i++) {
        struct piece *piece = &queue->pieces[i];

        if (rc == SYN_OK && piece->out_bytes > 0)
            bring_out(queue, piece);
        if (piece->last)
            finish(queue, piece->cmd, rc, &err);
    }
    queue->pieces_count = 0;
    if (rc < 0 && ret_err)
        *ret_err = err;
    return rc;
}

/* A piece for the command: behind everything before it. */
static int
piece_begin(struct vk_queue *queue, struct vk_cmd *cmd, struct piece **ret_piece,
            struct syn_err *err)
{
    const struct vk_device_api *api = &queue->dev->api;
    VkResult result;
    int rc = queue->pieces_count == PIECES_MAX ? batch_close(queue, err) : SYN_OK;

    if (rc < 0)
        return rc;
    result = batch_open(queue);
    if (result != VK_SUCCESS)
        return syn_vk_refuse(result, "recording", err);
    *ret_piece = &queue->pieces[queue->pieces_count];
    **ret_piece = (struct piece){.cmd = cmd};
    barrier(queue, VK_STAGE_ALL, VK_ACCESS_MEMORY_READ | VK_ACCESS_MEMORY_WRITE);
    if (queue->queries)
        api->vkCmdWriteTimestamp(queue->commands, VK_STAGE_BOTTOM, queue->queries,
                                 2 * queue->pieces_count);
    queue->pieces_count++;
    return SYN_OK;
}

static void
piece_end(struct vk_queue *queue, struct piece *piece, bool last)
{
    piece->last = last;
    queue->outs_count += piece->out_bytes > 0 ? 1 : 0;
    if (queue->queries)
        queue->dev->api.vkCmdWriteTimestamp(queue->commands, VK_STAGE_BOTTOM, queue->queries,
                                            2 * (queue->pieces_count - 1) + 1);
}

/* Room in the staging memory for the next piece: `bytes`, or at least one byte of them if `any`.
 * *ret_bytes says how many. What is under way is finished where there is none. */
static int
stage_take(struct vk_queue *queue, uint64_t bytes, bool any, uint64_t *ret_at, uint64_t *ret_bytes,
           struct syn_err *err)
{
    uint64_t at = (queue->stage_used + STAGE_ALIGN - 1) / STAGE_ALIGN * STAGE_ALIGN;
    int rc = SYN_OK;

    if (queue->pieces_count == 0)
        at = 0;
    if (queue->pieces_count == PIECES_MAX || at >= STAGE_BYTES ||
        (!any && bytes > STAGE_BYTES - at)) {
        rc = batch_close(queue, err);
        at = 0;
    }
    if (rc < 0)
        return rc;
    *ret_at = at;
    *ret_bytes = SYN_MIN(bytes, STAGE_BYTES - at);
    return SYN_OK;
}

/* Commands. */

static void
regions_flush(struct vk_queue *queue, VkBuffer from, VkBuffer to)
{
    if (queue->regions_count > 0)
        queue->dev->api.vkCmdCopyBuffer(queue->commands, from, to, queue->regions_count,
                                        queue->regions);
    queue->regions_count = 0;
}

/* Copy `bytes` of rows, from the cursor on; a side that is packed lies at `packed`. */
static void
record_rows(struct vk_queue *queue, const struct syn_dev_copy *copy, struct cursor *at,
            uint64_t bytes, const struct syn_dev_place *const sides[2], const VkBuffer buffers[2],
            uint64_t packed)
{
    uint64_t done = 0;

    while (done < bytes) {
        struct VkBufferCopy *region = &queue->regions[queue->regions_count++];

        region->from = sides[0] ? place_offset(sides[0], at) : packed + done;
        region->to = sides[1] ? place_offset(sides[1], at) : packed + done;
        region->bytes = cursor_step(copy, at, bytes - done);
        done += region->bytes;
        if (queue->regions_count == REGIONS_MAX)
            regions_flush(queue, buffers[0], buffers[1]);
    }
    regions_flush(queue, buffers[0], buffers[1]);
}

/* The host's side of a copy, as bytes from its first to its last. */
static uint64_t
extent(const struct syn_dev_copy *copy, const struct syn_dev_place *place)
{
    return (copy->slices - 1) * place->slice_pitch + (copy->rows - 1) * place->row_pitch +
           copy->row_bytes;
}

/* Both sides are the device's, or memory that it reaches. */
static int
run_direct(struct vk_queue *queue, struct vk_cmd *cmd, const struct syn_vk_block *const blocks[2],
           const uint64_t starts[2], struct syn_err *err)
{
    struct syn_dev_place from = cmd->copy.src, to = cmd->copy.dst;
    const struct syn_dev_place *const sides[2] = {&from, &to};
    const VkBuffer buffers[2] = {blocks[0]->buffer, blocks[1]->buffer};
    struct cursor at = {0};
    struct piece *piece = NULL;
    int rc = piece_begin(queue, cmd, &piece, err);

    if (rc < 0)
        return rc;
    assert(piece != NULL);
    from.offset = starts[0];
    to.offset = starts[1];
    record_rows(queue, &cmd->copy, &at, cmd->copy.row_bytes * cmd->copy.rows * cmd->copy.slices,
                sides, buffers, 0);
    piece_end(queue, piece, true);
    return SYN_OK;
}

/* One piece of a copy through the staging memory. */
static int
stage_piece(struct vk_queue *queue, struct vk_cmd *cmd, struct cursor *at, uint64_t *left,
            struct syn_err *err)
{
    const struct syn_dev_copy *copy = &cmd->copy;
    bool in = !copy->src.buf;
    const struct syn_vk_block *block = syn_vk_block_of(in ? copy->dst.buf : copy->src.buf);
    const struct syn_dev_place *const sides[2] = {in ? NULL : &copy->src, in ? &copy->dst : NULL};
    const VkBuffer buffers[2] = {in ? queue->stage.buffer : block->buffer,
                                 in ? block->buffer : queue->stage.buffer};
    const struct cursor from = *at;
    struct cursor walk = *at;
    struct piece *piece = NULL;
    uint64_t where = 0, bytes = 0, done = 0;
    int rc = stage_take(queue, *left, true, &where, &bytes, err);

    rc = rc < 0 ? rc : piece_begin(queue, cmd, &piece, err);
    if (rc < 0)
        return rc;
    assert(piece != NULL);
    queue->stage_used = where + bytes;
    while (in && done < bytes) {
        const char *source = place_start(&copy->src, &walk);
        uint64_t some = cursor_step(copy, &walk, bytes - done);

        memcpy(queue->stage.host + where + done, source, some);
        done += some;
    }
    record_rows(queue, copy, at, bytes, sides, buffers, where);
    if (!in) {
        piece->out_at = where;
        piece->out_bytes = bytes;
        piece->out_from = from;
    }
    *left -= bytes;
    piece_end(queue, piece, *left == 0);
    return SYN_OK;
}

static int
run_copy(struct vk_queue *queue, struct vk_cmd *cmd, struct syn_err *err)
{
    const struct syn_dev_copy *copy = &cmd->copy;
    const struct syn_dev_place *const places[2] = {&copy->src, &copy->dst};
    const struct syn_vk_block *blocks[2];
    uint64_t starts[2], left = copy->row_bytes * copy->rows * copy->slices;
    struct cursor at = {0};
    int rc = SYN_OK;

    for (int i = 0; i < 2; i++) {
        const struct syn_dev_place *place = places[i];

        starts[i] = place->offset;
        blocks[i] = place->buf ? syn_vk_block_of(place->buf)
                               : syn_vk_pinned_find(queue->dev, (char *)place->host + place->offset,
                                                    extent(copy, place), &starts[i]);
    }
    if (blocks[0] && blocks[1])
        return run_direct(queue, cmd, blocks, starts, err);
    /* A read before it may be what fills the memory that this one takes. */
    if (!copy->src.buf && queue->outs_count > 0)
        rc = batch_close(queue, err);
    while (rc == SYN_OK && left > 0)
        rc = stage_piece(queue, cmd, &at, &left, err);
    return rc;
}

/* Words are filled by a command of Vulkan's; bytes before and behind them come from a pattern. */
static int
run_fill(struct vk_queue *queue, struct vk_cmd *cmd, struct syn_err *err)
{
    const struct vk_device_api *api = &queue->dev->api;
    VkBuffer buffer = cmd->fill.block->buffer;
    uint64_t begin = cmd->fill.offset, end = begin + cmd->fill.bytes, where = 0, bytes = 0;
    uint64_t words = SYN_MIN((begin + 3) / 4 * 4, end), words_end = SYN_MAX(end / 4 * 4, words);
    struct piece *piece = NULL;
    int rc = stage_take(queue, PATTERN_ROOM, false, &where, &bytes, err);

    rc = rc < 0 ? rc : piece_begin(queue, cmd, &piece, err);
    if (rc < 0)
        return rc;
    assert(piece != NULL);
    queue->stage_used = where + bytes;
    memset(queue->stage.host + where, cmd->fill.value, bytes);
    if (words_end > words)
        api->vkCmdFillBuffer(queue->commands, buffer, words, words_end - words,
                             cmd->fill.value * UINT32_C(0x01010101));
    if (words > begin)
        queue->regions[queue->regions_count++] = (struct VkBufferCopy){where, begin, words - begin};
    if (end > words_end)
        queue->regions[queue->regions_count++] =
            (struct VkBufferCopy){where, words_end, end - words_end};
    regions_flush(queue, queue->stage.buffer, buffer);
    piece_end(queue, piece, true);
    return SYN_OK;
}

static int
run_launch(struct vk_queue *queue, struct vk_cmd *cmd, struct syn_err *err)
{
    const struct vk_device_api *api = &queue->dev->api;
    uint64_t where = 0, bytes = 0, address;
    struct piece *piece = NULL;
    int rc = stage_take(queue, SYN_MAX(cmd->args_bytes, UINT64_C(8)), false, &where, &bytes, err);

    rc = rc < 0 ? rc : piece_begin(queue, cmd, &piece, err);
    if (rc < 0)
        return rc;
    assert(piece != NULL);
    queue->stage_used = where + bytes;
    memcpy(queue->stage.host + where, cmd->args, cmd->args_bytes);
    address = queue->stage.address + where;
    api->vkCmdBindPipeline(queue->commands, VK_BIND_POINT_COMPUTE, cmd->pipeline);
    api->vkCmdPushConstants(queue->commands, queue->dev->layout, VK_SHADER_STAGE_COMPUTE, 0,
                            sizeof(address), &address);
    api->vkCmdDispatch(queue->commands, cmd->groups[0], cmd->groups[1], cmd->groups[2]);
    piece_end(queue, piece, true);
    return SYN_OK;
}

/* Will the batch signal it before anything that comes now? */
static bool
in_batch(const struct vk_queue *queue, const struct syn_dev_event *event)
{
    for (unsigned i = 0; i < queue->pieces_count; i++) {
        if (queue->pieces[i].cmd->signal == event)
            return true;
    }
    return false;
}

/* See that what the command waits for is done, or will be by the batch. */
static int
await_waits(struct vk_queue *queue, const struct vk_cmd *cmd, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; i < cmd->waits_count; i++) {
        struct syn_err why = {0};
        int done = 0;

        if (in_batch(queue, cmd->waits[i]))
            continue; /* if it fails, so does this */
        done = syn_host_event_poll(cmd->waits[i], &why);
        if (done == SYN_DRV_PENDING) { /* perhaps for what is recorded here */
            (void)batch_close(queue, NULL);
            done = syn_host_event_wait(cmd->waits[i], -1, &why);
        }
        if (done < 0 && rc == SYN_OK)
            rc = SYN_FAIL(err, SYN_E_CANCELED, "what it waited for failed: %s", why.msg);
    }
    return rc;
}

static void
run_cmd(struct vk_queue *queue, struct vk_cmd *cmd)
{
    static int (*const run[])(struct vk_queue *, struct vk_cmd *, struct syn_err *) = {
        [VK_OP_COPY] = run_copy, [VK_OP_FILL] = run_fill, [VK_OP_LAUNCH] = run_launch};
    struct syn_err err = {0};
    int rc = await_waits(queue, cmd, &err);

    if (rc == SYN_OK && atomic_load(&queue->failed))
        rc = SYN_FAIL(&err, SYN_E_CANCELED, "an earlier command of the queue failed");
    rc = rc < 0 ? rc : run[cmd->op](queue, cmd, &err);
    if (rc < 0) {
        (void)batch_close(queue, NULL); /* those before it end before it */
        finish(queue, cmd, rc, &err);
    }
}

static void *
queue_thread(void *arg)
{
    struct vk_queue *queue = arg;

    for (;;) {
        struct syn_host_link *link = syn_host_list_take(&queue->list, queue->pieces_count == 0);

        if (link)
            run_cmd(queue, SYN_CONTAINER(link, struct vk_cmd, link));
        else if (queue->pieces_count > 0)
            (void)batch_close(queue, NULL);
        else
            break;
    }
    return NULL;
}

/* What the thread records into. */
static int
make_recorder(struct vk_queue *queue, struct syn_err *err)
{
    struct syn_vk_dev *dev = queue->dev;
    const struct VkCommandPoolCreateInfo pool = {
        .type = VK_TYPE_COMMAND_POOL, .flags = VK_POOL_TRANSIENT, .family = dev->card->family};
    struct VkCommandBufferAllocateInfo commands = {.type = VK_TYPE_COMMAND_BUFFER_ALLOCATE,
                                                   .count = 1};
    const struct VkPlainCreateInfo fence = {.type = VK_TYPE_FENCE};
    const struct VkQueryPoolCreateInfo queries = {
        .type = VK_TYPE_QUERY_POOL, .query_type = VK_QUERY_TIMESTAMP, .count = 2 * PIECES_MAX};
    VkResult result = dev->api.vkCreateCommandPool(dev->device, &pool, NULL, &queue->pool);
    int rc;

    commands.pool = queue->pool;
    if (result == VK_SUCCESS)
        result = dev->api.vkAllocateCommandBuffers(dev->device, &commands, &queue->commands);
    if (result == VK_SUCCESS)
        result = dev->api.vkCreateFence(dev->device, &fence, NULL, &queue->fence);
    if (result == VK_SUCCESS && dev->card->timestamp_bits > 0)
        result = dev->api.vkCreateQueryPool(dev->device, &queries, NULL, &queue->queries);
    if (result != VK_SUCCESS)
        return syn_vk_refuse(result, "a queue", err);
    rc = syn_vk_block_make(dev, STAGE_BYTES, true, &queue->stage, err);
    return rc == SYN_DRV_FULL ? SYN_FAIL(err, SYN_E_NOMEM, "a queue's staging memory") : rc;
}

static void
drop_recorder(struct vk_queue *queue)
{
    struct syn_vk_dev *dev = queue->dev;

    syn_vk_block_drop(dev, &queue->stage);
    if (queue->queries)
        dev->api.vkDestroyQueryPool(dev->device, queue->queries, NULL);
    if (queue->fence)
        dev->api.vkDestroyFence(dev->device, queue->fence, NULL);
    if (queue->pool)
        dev->api.vkDestroyCommandPool(dev->device, queue->pool, NULL);
}

int
syn_vk_queue_create(struct syn_dev *base, uint32_t flags, struct syn_dev_queue **ret_queue,
                    struct syn_err *err)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);
    struct vk_queue *queue = syn_calloc(1, sizeof(*queue));
    int rc;

    (void)flags;
    if (!queue)
        return SYN_FAIL(err, SYN_E_NOMEM, "queue");
    queue->dev = dev;
    rc = make_recorder(queue, err);
    if (rc < 0) {
        drop_recorder(queue);
        syn_free(queue);
        return rc;
    }
    (void)pthread_mutex_lock(&dev->lock);
    queue->lane = &dev->lanes[dev->next_lane++ % dev->lanes_count];
    (void)pthread_mutex_unlock(&dev->lock);
    syn_host_list_init(&queue->list, base, queue_thread, queue);
    *ret_queue = &queue->base;
    return SYN_OK;
}

void
syn_vk_queue_destroy(struct syn_dev_queue *base)
{
    struct vk_queue *queue = queue_of(base);

    syn_host_list_fini(&queue->list);
    drop_recorder(queue);
    syn_free(queue);
}

void
syn_vk_queue_clear(struct syn_dev_queue *base)
{
    atomic_store(&queue_of(base)->failed, false);
}

/* Giving commands. */

/* Owns `cmd` from the call on, also when it fails. */
static int
give_take(struct vk_cmd *cmd, const struct syn_dev_cmd *how, struct syn_err *err)
{
    SYN_SCOPED(syn_free_scope) struct vk_cmd *owned = cmd;
    struct vk_queue *queue = queue_of(how->queue);
    int rc;

    for (size_t i = 0; i < how->waits_count; i++)
        owned->waits[i] = how->waits[i];
    owned->waits_count = how->waits_count;
    owned->signal = how->signal;
    owned->span.energy_uj = -1;
    rc = syn_host_list_push(&queue->list, &owned->link, owned->signal, err);
    if (rc == SYN_OK)
        owned = NULL; /* the thread's */
    return rc;
}

static struct vk_cmd *
cmd_new(enum vk_op op, uint64_t args_bytes, struct syn_err *err)
{
    struct vk_cmd *cmd = syn_calloc(1, sizeof(*cmd) + args_bytes);

    if (!cmd)
        (void)SYN_FAIL(err, SYN_E_NOMEM, "command");
    else
        cmd->op = op;
    return cmd;
}

int
syn_vk_copy(struct syn_dev *dev, const struct syn_dev_copy *copy, const struct syn_dev_cmd *how,
            struct syn_err *err)
{
    struct vk_cmd *cmd = cmd_new(VK_OP_COPY, 0, err);

    (void)dev;
    if (!cmd)
        return SYN_E_NOMEM;
    cmd->copy = *copy;
    return give_take(cmd, how, err);
}

int
syn_vk_fill(struct syn_dev_buf *buf, uint64_t offset, uint64_t bytes, uint8_t value,
            const struct syn_dev_cmd *how, struct syn_err *err)
{
    struct vk_cmd *cmd = cmd_new(VK_OP_FILL, 0, err);

    if (!cmd)
        return SYN_E_NOMEM;
    cmd->fill.block = syn_vk_block_of(buf);
    cmd->fill.offset = offset;
    cmd->fill.bytes = bytes;
    cmd->fill.value = value;
    return give_take(cmd, how, err);
}

/* Arguments where the shader reads them. `out` NULL: only how long they are. */
static uint64_t
write_args(const struct syn_dev_launch *launch, unsigned char *out)
{
    uint64_t at = 0;

    for (size_t i = 0; i < launch->args_count; i++) {
        const struct syn_dev_arg *arg = &launch->args[i];
        uint64_t address = 0, bytes = arg->bytes;
        const void *value = arg->value;

        if (arg->kind == SYN_ARG_LOCAL) /* is no argument: the pipeline knows it */
            continue;
        if (arg->kind == SYN_ARG_BUF) {
            address = syn_vk_block_of(arg->buf)->address + arg->offset;
            value = &address;
            bytes = sizeof(address);
        }
        at = syn_vk_text_place(at);
        if (out)
            memcpy(out + at, value, bytes);
        at += bytes;
    }
    return at;
}

int
syn_vk_launch(struct syn_dev *base, const struct syn_dev_launch *launch,
              const struct syn_dev_cmd *how, struct syn_err *err)
{
    struct syn_vk_dev *dev = syn_vk_dev_of(base);
    const struct VkPhysicalDeviceLimits *limits = &dev->card->properties.limits;
    VkPipeline pipeline = 0;
    struct vk_cmd *cmd = NULL;
    int rc;

    for (int i = 0; i < 3; i++) {
        if (launch->groups[i] > limits->groups_max[i] || launch->group[i] > limits->group_max[i])
            return SYN_FAIL(err, SYN_E_INVALID,
                            "%s: %s: in direction %d at most %u groups of %u items", base->info.id,
                            launch->kernel, i, limits->groups_max[i], limits->group_max[i]);
    }
    rc = syn_vk_pipeline_get(dev, launch, &pipeline, err);
    if (rc < 0)
        return rc;
    cmd = cmd_new(VK_OP_LAUNCH, write_args(launch, NULL), err);
    if (!cmd)
        return SYN_E_NOMEM;
    cmd->args_bytes = write_args(launch, cmd->args);
    cmd->pipeline = pipeline;
    for (int i = 0; i < 3; i++)
        cmd->groups[i] = (uint32_t)launch->groups[i];
    return give_take(cmd, how, err);
}
