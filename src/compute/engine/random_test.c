/* Random graphs: small programs drawn from a seed, run by the engine, against a sequential run of
 * the same calls on plain arrays.
 *
 * A round draws an engine (workers, modelled devices, a strategy, how much memory each has),
 * tensors of a few shapes, and calls on them: reads, writes, updates, commuting and reducing ones,
 * with priorities, pieces, deadlines, devices, and other calls to wait for. Some fail, some are
 * cancelled; in some rounds a device is lost, a driver's call fails, or memory is short. Tensors
 * are mapped, divided, gathered and made anew meanwhile. Some calls are captured and run a few
 * times.
 *
 * Between two waits (an epoch) calls are only noted. After the wait each has its code, and the
 * sequential run goes through them in the order of submission:
 *
 *     what it reads failed        it must have ended with one of the codes of that
 *     else                        with 0, or with what it was told to fail with; in a round with
 *                                 faults also with what these give
 *     it ended with 0             the arrays change as the call says
 *     it ended with less          what it was to write is as before, or without content: looked at
 *                                 once more after the wait, then written anew
 *
 * So what is compared is exact, whatever the order in which things happened. Calls that commute on
 * a tensor do not need each other: each ends as if it were alone, or, behind one that failed and
 * left nothing of the tensor, with INVALID. A captured graph's run is one task to what lies around
 * it; inside, what commutes is in order. */
#include <synor/engine.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <synor/compute/driver.h>

#include "../stress_suite.h"
#include "random_kernels.h"

#define SECONDS      8 /* unless SYNOR_RANDOM_SECONDS says otherwise */
#define CELLS_MAX    16
#define PARTS_MAX    4
#define ELEMENTS_MAX 96
#define OPS_MAX      96 /* of one epoch */
#define EPOCHS_MAX   4
#define AFTER_MAX    3
#define GRAPH_MAX    6 /* calls of a captured graph */
#define RUNS_MAX     3 /* of it */
#define OPS_ROOM     (OPS_MAX + GRAPH_MAX * RUNS_MAX)

/* ---- the world ---- */

/* Codes as sets. */
enum {
    CODE_CORRUPT = 1,
    CODE_CANCELED = 2,
    CODE_UNAVAILABLE = 4,
    CODE_IO = 8,
    CODE_NOMEM = 16,
    CODE_GONE = 32, /* what it updates has no content */
    CODE_OTHER = 64,
};

static unsigned
set_of(int code)
{
    return code == SYN_OK              ? 0
           : code == SYN_E_CORRUPT     ? CODE_CORRUPT
           : code == SYN_E_CANCELED    ? CODE_CANCELED
           : code == SYN_E_UNAVAILABLE ? CODE_UNAVAILABLE
           : code == SYN_E_IO          ? CODE_IO
           : code == SYN_E_NOMEM       ? CODE_NOMEM
           : code == SYN_E_INVALID     ? CODE_GONE
                                       : CODE_OTHER;
}

struct cell {
    struct syn_tensor *tensor; /* NULL: none */
    uint64_t rows, cols;
    unsigned parts_first, parts_count; /* divided: its parts' numbers */
    unsigned dim;
    int whole;             /* the number of what it is a part of, or -1 */
    unsigned group;        /* those who commute on it now; 0: nobody */
    unsigned codes;        /* what reading it ends with */
    unsigned codes_before; /* the group */
    int64_t want[ELEMENTS_MAX];
    int64_t *mine; /* of a wrapped one */
};

struct op {
    enum what what;
    unsigned cells[3], group;
    unsigned run; /* of a captured graph; 0: none */
    double params[PARAMS];
    struct syn_task *task;
    unsigned after[AFTER_MAX], after_count;
    bool cancelled;
    bool gone; /* it found no content, and not because of what its group needs */
    /* A look: what it found. */
    bool look;
    int code;
    int64_t seen[ELEMENTS_MAX];
};

/* What may go wrong besides what is asked for. */
enum trouble { NONE, FAILURES, LOSS, IO, MEMORY, TROUBLES };

struct world {
    struct syn_engine *engine;
    uint64_t random;
    enum trouble trouble;
    unsigned faults; /* codes that the trouble may give any call */
    unsigned devices;
    char device_names[4][SYN_DEVICE_ID_MAX];
    struct cell cells[CELLS_MAX];
    struct op ops[OPS_ROOM];
    unsigned ops_count, groups_count, runs_count;
    unsigned run_needs; /* what the run that is looked at ends with because of what it needs */
    unsigned group_codes[OPS_ROOM + 1];
};

static uint64_t
below(struct world *w, uint64_t limit)
{
    return (syn_test_random(&w->random) >> 20) % limit;
}

static struct view
view_of_cell(struct cell *cell)
{
    return (struct view){cell->want, cell->rows, cell->cols, cell->cols, 1};
}

/* What is mapped lies in the tensor's own strides. */
static void
take_mapped(const struct cell *cell, void *data, int64_t *to)
{
    const struct syn_shape *shape = syn_tensor_shape(cell->tensor);
    const struct view view = {data, cell->rows, cell->cols, shape->strides[0], shape->strides[1]};

    for (uint64_t i = 0; i < cell->rows * cell->cols; i++)
        to[i] = *syn_random_at(&view, i / cell->cols, i % cell->cols);
}

static bool
is_same(const struct cell *cell, const int64_t *values)
{
    return memcmp(values, cell->want, cell->rows * cell->cols * sizeof(int64_t)) == 0;
}

static bool
is_usable(const struct cell *cell)
{
    return cell->tensor != NULL && cell->parts_count == 0;
}

/* Any that can be used; there is one. */
static unsigned
any_cell(struct world *w)
{
    unsigned first = (unsigned)below(w, CELLS_MAX);

    while (!is_usable(&w->cells[first % CELLS_MAX]))
        first++;
    return first % CELLS_MAX;
}

/* Another one of the same shape, or itself. */
static unsigned
alike(struct world *w, unsigned cell)
{
    unsigned first = (unsigned)below(w, CELLS_MAX);

    for (unsigned i = 0; i < CELLS_MAX; i++) {
        unsigned other = (first + i) % CELLS_MAX;

        if (is_usable(&w->cells[other]) && w->cells[other].rows == w->cells[cell].rows &&
            w->cells[other].cols == w->cells[cell].cols && other != cell)
            return other;
    }
    return cell;
}

/* ---- the sequential run ---- */

static unsigned
operands_of(const struct op *op)
{
    return syn_random_kernels[op->what].operands_count;
}

static enum syn_access
access_of(const struct op *op, unsigned operand)
{
    return (enum syn_access)syn_random_kernels[op->what].operands[operand].access;
}

/* What it does with the tensor of `operand`, in all of its operands. */
static enum syn_access
all_access(const struct op *op, unsigned operand)
{
    unsigned access = 0, once = 0;

    for (unsigned i = 0; i < operands_of(op); i++) {
        if (op->cells[i] != op->cells[operand])
            continue;
        access |= access_of(op, i);
        once++;
    }
    return (enum syn_access)(once > 1 || op->run != 0 ? access & SYN_UPDATE : access);
}

static void
apply(struct world *w, const struct op *op)
{
    struct view views[3] = {0};

    for (unsigned i = 0; i < operands_of(op); i++)
        views[i] = view_of_cell(&w->cells[op->cells[i]]);
    syn_random_compute(op->what, (uint64_t)op->params[SALT], views);
}

/* Codes that it may have ended with because of what it needs. */
static unsigned
needs_of(struct world *w, struct op *op)
{
    unsigned needs = 0;

    if (op->run != 0 && w->run_needs != 0)
        return w->run_needs;
    for (unsigned i = 0; i < op->after_count; i++)
        needs |= set_of(w->ops[op->after[i]].code);
    if (op->look)
        return w->cells[op->cells[0]].codes;
    for (unsigned i = 0; i < operands_of(op); i++) {
        struct cell *cell = &w->cells[op->cells[i]];
        enum syn_access access = all_access(op, i);

        if ((access & SYN_READ) == 0)
            continue;
        needs |= access > SYN_UPDATE && cell->group == op->group ? cell->codes_before : cell->codes;
    }
    return needs;
}

/* Who begins a group, or ends one. */
static void
enter_groups(struct world *w, struct op *op)
{
    for (unsigned i = 0; i < (op->look ? 1 : operands_of(op)); i++) {
        struct cell *cell = &w->cells[op->cells[i]];
        bool joins = !op->look && all_access(op, i) > SYN_UPDATE;

        if (!joins) {
            cell->group = 0;
            continue;
        }
        if (cell->group == 0) {
            cell->group = ++w->groups_count;
            cell->codes_before = cell->codes;
            w->group_codes[cell->group] = 0;
        }
        op->group = cell->group;
    }
}

static void
leave_cells(struct world *w, struct op *op)
{
    unsigned codes = set_of(op->code);

    for (unsigned i = 0; i < operands_of(op); i++) {
        struct cell *cell = &w->cells[op->cells[i]];
        enum syn_access access = all_access(op, i);

        if ((access & SYN_WRITE) == 0)
            continue;
        if (access > SYN_UPDATE) {
            cell->codes |= codes;
            w->group_codes[op->group] |= codes;
        } else {
            cell->codes = codes;
        }
    }
}

static void
check_look(struct world *w, const struct op *op, unsigned needs)
{
    const struct cell *cell = &w->cells[op->cells[0]];

    if (needs == 0 && op->code == SYN_OK) {
        if (!is_same(cell, op->seen))
            fail_msg("call %u: what is mapped is not what a sequential run gives",
                     (unsigned)(op - w->ops));
        return;
    }
    if ((set_of(op->code) & ~(needs | w->faults)) != 0 || (needs != 0 && op->code == SYN_OK))
        fail_msg("call %u, a map, ended with %d, not with any of %x", (unsigned)(op - w->ops),
                 op->code, needs);
}

static void
check_op(struct world *w, struct op *op)
{
    unsigned number = (unsigned)(op - w->ops), needs, got = set_of(op->code), may;

    enter_groups(w, op);
    needs = needs_of(w, op);
    if (op->look) {
        check_look(w, op, needs);
        return;
    }
    may = needs | w->faults | (op->params[FAILS] != 0 ? CODE_CORRUPT : 0) |
          (op->group != 0 ? CODE_GONE : 0);
    if (op->cancelled && got != CODE_CANCELED)
        fail_msg("call %u was cancelled and ended with %d", number, op->code);
    if (!op->cancelled && (got & ~may) != 0)
        fail_msg("call %u (%s) ended with %d, not with any of %x", number,
                 syn_random_kernels[op->what].name, op->code, may);
    if (got == 0 && (needs != 0 || op->params[FAILS] != 0))
        fail_msg("call %u (%s) ended well, and should have with %x", number,
                 syn_random_kernels[op->what].name, may);
    op->gone = got == CODE_GONE && (needs & CODE_GONE) == 0;
    if (got == 0)
        apply(w, op);
    leave_cells(w, op);
}

/* Who found nothing to update came behind one of its group that failed. */
static void
check_groups(struct world *w)
{
    for (unsigned i = 0; i < w->ops_count; i++) {
        const struct op *op = &w->ops[i];

        if (op->gone && (w->group_codes[op->group] & ~(unsigned)CODE_GONE) == 0)
            fail_msg("call %u found nothing to update, and none of its group failed", i);
    }
}

/* ---- runs of captured graphs ---- */

static bool
is_of_run(const struct world *w, unsigned number, unsigned run)
{
    return number < w->ops_count && w->ops[number].run == run;
}

/* The first of its calls: it needs what is read before it is written. */
static void
enter_run(struct world *w, unsigned first)
{
    bool seen[CELLS_MAX] = {false};

    w->run_needs = 0;
    for (unsigned k = first; is_of_run(w, k, w->ops[first].run); k++) {
        const struct op *op = &w->ops[k];

        for (unsigned i = 0; i < operands_of(op); i++) {
            struct cell *cell = &w->cells[op->cells[i]];

            if (!seen[op->cells[i]] && (all_access(op, i) & SYN_READ) != 0)
                w->run_needs |= cell->codes;
            seen[op->cells[i]] = true;
            cell->group = 0;
        }
    }
}

/* The last one: what any of them was to write, the run was to write. */
static void
leave_run(struct world *w, unsigned last)
{
    unsigned run = w->ops[last].run, first = last, codes = 0;

    for (; first > 0 && w->ops[first - 1].run == run; first--)
        ;
    for (unsigned k = first; k <= last; k++)
        codes |= set_of(w->ops[k].code);
    for (unsigned k = first; k <= last; k++) {
        const struct op *op = &w->ops[k];

        for (unsigned i = 0; i < operands_of(op); i++) {
            if ((all_access(op, i) & SYN_WRITE) != 0)
                w->cells[op->cells[i]].codes |= codes;
        }
    }
}

static void
check_next(struct world *w, unsigned number)
{
    unsigned run = w->ops[number].run;

    if (run != 0 && (number == 0 || w->ops[number - 1].run != run))
        enter_run(w, number);
    check_op(w, &w->ops[number]);
    if (run != 0 && !is_of_run(w, number + 1, run))
        leave_run(w, number);
}

/* ---- after an epoch ---- */

static void
submit_fill(struct world *w, unsigned number)
{
    struct cell *cell = &w->cells[number];
    double salt = (double)below(w, 1000);
    const struct syn_task_call call = {.kernel = &syn_random_kernels[FILL],
                                       .tensors = {cell->tensor},
                                       .params = &salt,
                                       .params_count = 1};
    struct view view = view_of_cell(cell);
    struct syn_err err = {0};

    assert_done(syn_engine_submit(w->engine, &call, NULL, &err), &err);
    syn_random_compute(FILL, (uint64_t)salt, &view);
    cell->codes = 0;
}

/* The content of a cell is as it should be, or, where that is allowed, not there. False: that. */
static bool
is_as_before(struct world *w, unsigned number, bool may_be_gone)
{
    struct cell *cell = &w->cells[number];
    struct syn_err err = {0};
    void *data = NULL;
    int rc = syn_engine_map(w->engine, cell->tensor, SYN_READ, &data, &err);
    int64_t seen[ELEMENTS_MAX];

    if (rc < 0 && may_be_gone &&
        (rc == SYN_E_INVALID || (w->trouble == LOSS && rc == SYN_E_UNAVAILABLE)))
        return false;
    assert_done(rc, &err);
    take_mapped(cell, data, seen);
    syn_engine_unmap(w->engine, cell->tensor);
    if (!is_same(cell, seen))
        fail_msg("tensor %u is not what a sequential run gives%s", number,
                 may_be_gone ? ": neither as before nor without content" : "");
    return true;
}

static void
disarm(void)
{
    syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, 0);
    syn_mem_fault_arm(0, false);
}

static void
arm(struct world *w)
{
    if (w->trouble == LOSS)
        syn_dev_fault_arm(NULL, SYN_DEV_FAULT_LOST, 1 + below(w, 120));
    else if (w->trouble == IO)
        syn_dev_fault_arm(NULL, SYN_DEV_FAULT_IO, 1 + below(w, 120));
    else if (w->trouble == MEMORY)
        syn_mem_fault_arm(1 + below(w, 200), false);
}

/* Everything is over, and as it should be; what failed is written anew. */
static void
settle(struct world *w)
{
    struct syn_err err = {0};
    unsigned codes = 0;
    int rc = syn_engine_wait(w->engine, &err);

    disarm();
    for (unsigned i = 0; i < w->ops_count; i++) {
        struct op *op = &w->ops[i];

        if (op->task != NULL)
            op->code = syn_task_wait(syn_engine_runtime(w->engine), op->task, &err);
        codes |= op->look ? 0 : set_of(op->code);
        check_next(w, i);
    }
    check_groups(w);
    if (rc == SYN_OK ? codes != 0 : (set_of(rc) & ~(codes | w->faults)) != 0)
        fail_msg("the wait says %d: %s; calls ended with %x", rc, err.msg, codes);
    for (unsigned i = 0; i < w->ops_count; i++)
        w->ops[i].task = syn_task_release(w->ops[i].task);
    for (unsigned i = 0; i < CELLS_MAX; i++) {
        struct cell *cell = &w->cells[i];

        if (!is_usable(cell))
            continue;
        cell->group = 0;
        if (!is_as_before(w, i, cell->codes != 0 || w->trouble == LOSS) || cell->codes != 0)
            submit_fill(w, i);
    }
    rc = syn_engine_wait(w->engine, &err);
    if (rc != SYN_OK && !(w->trouble == LOSS && rc == SYN_E_UNAVAILABLE))
        fail_msg("writing anew ended with %d: %s", rc, err.msg);
    w->ops_count = w->groups_count = w->runs_count = 0;
}

/* ---- tensors ---- */

static void
make_cell(struct world *w, unsigned number)
{
    static const uint64_t shapes[][2] = {{8, 12}, {8, 12}, {5, 7}, {1, 9}, {12, 1}};
    const uint64_t *size = shapes[below(w, SYN_LEN(shapes))];
    const struct syn_shape shape = {.dtype = SYN_DTYPE_INT64,
                                    .layout =
                                        below(w, 4) == 0 ? SYN_LAYOUT_COLUMNS : SYN_LAYOUT_ROWS,
                                    .dims = 2,
                                    .sizes = {size[0], size[1]}};
    struct cell *cell = &w->cells[number];
    struct syn_memory *memory = syn_engine_memory(w->engine);
    struct syn_err err = {0};

    *cell = (struct cell){.rows = size[0], .cols = size[1], .whole = -1};
    if (below(w, 3) > 0 || shape.layout != SYN_LAYOUT_ROWS) {
        assert_done(syn_tensor_new(memory, &shape, &cell->tensor, &err), &err);
        submit_fill(w, number);
        assert_done(syn_engine_wait(w->engine, &err), &err);
        return;
    }
    cell->mine = malloc(sizeof(cell->want));
    assert_non_null(cell->mine);
    for (uint64_t i = 0; i < cell->rows * cell->cols; i++)
        cell->mine[i] = cell->want[i] = (int64_t)(i + (uint64_t)number * 100);
    assert_done(syn_tensor_wrap(memory, &shape, cell->mine, &cell->tensor, &err), &err);
}

static void
end_cell(struct world *w, unsigned number)
{
    struct cell *cell = &w->cells[number];
    struct syn_err err = {0};
    int rc;

    if (cell->tensor == NULL || cell->whole >= 0)
        return;
    rc = syn_tensor_free(cell->tensor, &err);
    if (rc != SYN_OK && !(w->trouble == LOSS && rc == SYN_E_UNAVAILABLE))
        assert_done(rc, &err);
    if (rc == SYN_OK && cell->mine != NULL && cell->parts_count == 0)
        assert_memory_equal(cell->mine, cell->want, cell->rows * cell->cols * sizeof(int64_t));
    free(cell->mine);
    *cell = (struct cell){0};
}

/* Move the content between a whole and its parts. */
static void
hand(struct world *w, unsigned number, bool down)
{
    struct cell *whole = &w->cells[number];
    uint64_t start = 0;

    for (unsigned p = whole->parts_first; p < whole->parts_first + whole->parts_count; p++) {
        struct cell *part = &w->cells[p];

        for (uint64_t i = 0; i < part->rows * part->cols; i++) {
            uint64_t row = i / part->cols + (whole->dim == 0 ? start : 0);
            uint64_t col = i % part->cols + (whole->dim == 1 ? start : 0);
            int64_t *place = &whole->want[row * whole->cols + col];

            if (down)
                part->want[i] = *place;
            else
                *place = part->want[i];
        }
        start += whole->dim == 0 ? part->rows : part->cols;
    }
}

/* Into cells that are free, as far as there are some in a row. */
static void
divide_cell(struct world *w, unsigned number)
{
    struct cell *whole = &w->cells[number];
    struct syn_tensor *parts[PARTS_MAX];
    unsigned dim = (unsigned)below(w, 2), first, count;
    struct syn_err err = {0};

    for (first = 0; first < CELLS_MAX && w->cells[first].tensor != NULL; first++)
        ;
    for (count = 0; first + count < CELLS_MAX && w->cells[first + count].tensor == NULL &&
                    count < PARTS_MAX && count < (dim == 0 ? whole->rows : whole->cols);
         count++)
        ;
    if (count < 2 || !is_usable(whole))
        return;
    assert_done(syn_tensor_divide(whole->tensor, dim, count, parts, &err), &err);
    whole->dim = dim;
    whole->parts_first = first;
    whole->parts_count = count;
    for (unsigned i = 0; i < count; i++) {
        const struct syn_shape *shape = syn_tensor_shape(parts[i]);

        w->cells[first + i] = (struct cell){.tensor = parts[i],
                                            .rows = shape->sizes[0],
                                            .cols = shape->sizes[1],
                                            .whole = (int)number};
    }
    hand(w, number, true);
}

static void
gather_cell(struct world *w, unsigned number)
{
    struct cell *whole = &w->cells[number];
    struct syn_err err = {0};
    int rc;

    for (unsigned p = whole->parts_first; p < whole->parts_first + whole->parts_count; p++) {
        if (w->cells[p].parts_count > 0)
            return; /* those below first */
    }
    rc = syn_tensor_gather(whole->tensor, &err);
    if (w->trouble == LOSS && rc == SYN_E_UNAVAILABLE)
        return;
    assert_done(rc, &err);
    hand(w, number, false);
    for (unsigned p = whole->parts_first; p < whole->parts_first + whole->parts_count; p++)
        w->cells[p] = (struct cell){0};
    whole->parts_count = 0;
}

/* Nothing is under way. */
static void
change_cells(struct world *w)
{
    unsigned number = (unsigned)below(w, CELLS_MAX);
    struct cell *cell = &w->cells[number];

    if (cell->tensor == NULL)
        make_cell(w, number);
    else if (cell->parts_count > 0)
        gather_cell(w, number);
    else if (below(w, 3) == 0 && number != any_cell(w))
        end_cell(w, number);
    else
        divide_cell(w, number);
}

/* ---- calls ---- */

static void
look(struct world *w)
{
    struct op *op = &w->ops[w->ops_count++];
    enum syn_access access = below(w, 4) == 0 ? SYN_UPDATE : SYN_READ;
    struct syn_tensor *tensor;
    struct syn_err err = {0};
    void *data = NULL;

    *op = (struct op){.look = true};
    op->cells[0] = any_cell(w);
    tensor = w->cells[op->cells[0]].tensor;
    op->code = syn_engine_map(w->engine, tensor, access, &data, &err);
    if (op->code < 0)
        return;
    take_mapped(&w->cells[op->cells[0]], data, op->seen);
    syn_engine_unmap(w->engine, tensor);
}

static void
draw_op(struct world *w, struct op *op)
{
    *op = (struct op){.what = (enum what)below(w, WHATS)};
    op->cells[0] = any_cell(w);
    op->params[SALT] = (double)below(w, 1000);
    op->params[SLEEPS] = below(w, 12) == 0 ? (double)below(w, 300) : 0;
    op->params[FAILS] = w->trouble == FAILURES && below(w, 12) == 0;
    switch (op->what) {
    case MIX:
    case MIX_COLUMNS:
        op->cells[1] = alike(w, op->cells[0]);
        op->cells[2] = below(w, 8) == 0 ? op->cells[1] : alike(w, op->cells[0]);
        break;
    case ADD:
        op->cells[1] = alike(w, op->cells[0]);
        break;
    case SUM:
    case FOLD:
        do
            op->cells[1] = any_cell(w);
        while (op->cells[1] == op->cells[0]);
        break;
    case FILL:
    case WHATS:
        break;
    }
    for (; w->ops_count > 0 && op->after_count < AFTER_MAX && below(w, 10) == 0;) {
        unsigned other = (unsigned)below(w, w->ops_count);

        if (w->ops[other].task != NULL)
            op->after[op->after_count++] = other;
    }
}

static struct syn_task_call
call_for(struct world *w, const struct op *op)
{
    struct syn_task_call call = {
        .kernel = &syn_random_kernels[op->what], .params = op->params, .params_count = PARAMS};

    for (unsigned i = 0; i < operands_of(op); i++)
        call.tensors[i] = w->cells[op->cells[i]].tensor;
    call.priority = below(w, 3) == 0 ? (int)below(w, 16) - 8 : 0;
    call.pieces = below(w, 3) == 0 ? 1 + (unsigned)below(w, 5) : SYN_PIECES_ONE;
    call.deadline_ns = below(w, 6) == 0 ? (int64_t)below(w, 1000000) : 0;
    if (w->devices > 0 && below(w, 8) == 0)
        call.device = w->device_names[below(w, w->devices)];
    return call;
}

static void
on_done(void *arg, int code)
{
    *(int *)arg = code;
}

/* Each run is noted like calls of its own. */
static void
run_captured(struct world *w, struct syn_engine_graph *graph, const struct op *ops,
             const int *codes)
{
    unsigned count = syn_engine_graph_count(graph), got = 0;
    struct syn_err err = {0};
    int rc = syn_engine_graph_start(graph, &err);

    if (rc == SYN_E_NOMEM && w->trouble == MEMORY)
        return;
    assert_done(rc, &err);
    rc = syn_engine_graph_wait(graph, &err);
    w->runs_count++;
    for (unsigned i = 0; i < count; i++) {
        struct op *op = &w->ops[w->ops_count++];

        *op = ops[i];
        op->code = codes[i];
        op->run = w->runs_count;
        got |= set_of(codes[i]);
    }
    if (set_of(rc) != (got & set_of(rc)) || (rc == SYN_OK && got != 0))
        fail_msg("a graph ended with %d, and its calls with %x", rc, got);
}

static void
capture(struct world *w)
{
    unsigned count = 1 + (unsigned)below(w, GRAPH_MAX), runs = 1 + (unsigned)below(w, RUNS_MAX);
    struct syn_engine_graph *graph = NULL;
    struct op ops[GRAPH_MAX];
    int codes[GRAPH_MAX];
    struct syn_err err = {0};
    int rc = syn_engine_graph_new(w->engine, &graph, &err);

    for (unsigned i = 0; rc == SYN_OK && i < count; i++) {
        struct syn_engine_step step = {0};

        draw_op(w, &ops[i]);
        ops[i].after_count = 0; /* in the graph it does not wait for what is outside */
        step.call = call_for(w, &ops[i]);
        step.call.done = on_done;
        step.call.done_arg = &codes[i];
        rc = syn_engine_graph_add(graph, &step, &err);
    }
    if (rc != SYN_OK && !(rc == SYN_E_NOMEM && w->trouble == MEMORY))
        assert_done(rc, &err);
    for (unsigned i = 0; rc == SYN_OK && i < runs; i++)
        run_captured(w, graph, ops, codes);
    graph = syn_engine_graph_free(graph);
}

/* Who has waited for a run has helped with it; who then waits for a tensor does not. */
static void
capture_and_look(struct world *w)
{
    capture(w);
    if (w->ops_count < OPS_MAX)
        look(w);
}

static void
submit(struct world *w)
{
    struct op *op = &w->ops[w->ops_count];
    struct syn_task *after[AFTER_MAX];
    struct syn_task_call call;
    struct syn_err err = {0};
    /* Where nothing fails nobody needs to know how each call ended. */
    bool plain = w->trouble == NONE && below(w, 4) > 0;
    int rc;

    draw_op(w, op);
    call = call_for(w, op);
    call.after = after;
    for (unsigned i = 0; i < op->after_count; i++)
        after[i] = w->ops[op->after[i]].task;
    call.after_count = (uint16_t)op->after_count;
    rc = syn_engine_submit(w->engine, &call, plain ? NULL : &op->task, &err);
    if (rc == SYN_E_NOMEM && w->trouble == MEMORY)
        return;
    assert_done(rc, &err);
    w->ops_count++;
}

static void
cancel(struct world *w)
{
    struct op *op;

    if (w->trouble != FAILURES || w->ops_count == 0)
        return;
    op = &w->ops[below(w, 3) == 0 ? below(w, w->ops_count) : w->ops_count - 1];
    if (op->task != NULL && !op->cancelled)
        op->cancelled = syn_task_cancel(op->task);
}

static void
epoch(struct world *w)
{
    unsigned count = 4 + (unsigned)below(w, OPS_MAX - 4);

    arm(w);
    for (unsigned i = 0; i < count && w->ops_count < OPS_MAX; i++) {
        uint64_t way = below(w, 40);

        if (way == 0)
            look(w);
        else if (way < 4)
            cancel(w);
        else if (way < 6)
            capture(w);
        else if (way < 8)
            capture_and_look(w);
        else
            submit(w);
    }
    settle(w);
    for (uint64_t i = below(w, 6); i > 0; i--)
        change_cells(w);
}

/* ---- a round ---- */

static void
open_engine(struct world *w, struct syn_trace *trace)
{
    static const char *const modelled[] = {"h100-sxm", "h100-sxm,rtx-4090",
                                           "rtx-4090,rtx-4090,h100-sxm"};
    static const char *const devices[] = {"modelled0", "modelled0,modelled1",
                                          "modelled0,modelled1,modelled2"};
    static const unsigned threads[] = {1, 1, 2, 3};
    uint64_t bytes[4] = {0};
    char list[80];
    size_t count;
    const struct syn_strategy_ops *const *strategies = syn_strategies(&count);
    bool cpu = w->trouble == LOSS || below(w, 4) > 0;
    struct syn_engine_options options = {.runtime = {.workers = threads[below(w, 4)]},
                                         .strategy = strategies[below(w, count)]->name,
                                         .node_bytes = bytes,
                                         .node_bytes_count = 4,
                                         .trace = trace};
    struct syn_err err = {0};

    w->devices = cpu && w->trouble != LOSS && w->trouble != IO ? (unsigned)below(w, 4)
                                                               : 1 + (unsigned)below(w, 3);
    if (w->devices > 0)
        options.modelled = modelled[w->devices - 1];
    (void)snprintf(list, sizeof(list), "%s%s%s", cpu ? "cpu0" : "",
                   cpu && w->devices > 0 ? "," : "", w->devices > 0 ? devices[w->devices - 1] : "");
    options.devices = list;
    for (unsigned i = 1; i <= w->devices; i++) {
        (void)snprintf(w->device_names[i - 1], sizeof(w->device_names[i - 1]), "modelled%u", i - 1);
        bytes[i] = below(w, 2) == 0 ? 4096 + below(w, 6) * 1024 : 0;
    }
    assert_done(syn_engine_open(&options, &w->engine, &err), &err);
}

static void
one_round(uint64_t seed, enum trouble trouble)
{
    static const unsigned faults[TROUBLES] = {
        [LOSS] = CODE_UNAVAILABLE, [IO] = CODE_IO | CODE_UNAVAILABLE, [MEMORY] = CODE_NOMEM};
    static struct world w; /* large */
    struct syn_trace *trace = NULL;
    struct syn_err err = {0};

    w = (struct world){.random = seed, .trouble = trouble, .faults = faults[trouble]};
    if (below(&w, 4) == 0) {
        assert_done(syn_trace_new(NULL, &trace, &err), &err);
        syn_trace_switch(trace, true);
    }
    open_engine(&w, trace);
    for (unsigned i = 0; i < CELLS_MAX - 6; i++)
        make_cell(&w, i);
    for (uint64_t i = 1 + below(&w, EPOCHS_MAX); i > 0; i--)
        epoch(&w);
    assert_done(syn_engine_wait(w.engine, &err), &err);
    for (unsigned i = 0; i < CELLS_MAX; i++)
        end_cell(&w, i);
    w.engine = syn_engine_close(w.engine);
    trace = syn_trace_free(trace);
}

static void
round_plain(uint64_t seed)
{
    one_round(seed, NONE);
}

static void
round_failures(uint64_t seed)
{
    one_round(seed, FAILURES);
}

static void
round_loss(uint64_t seed)
{
    one_round(seed, LOSS);
}

static void
round_io(uint64_t seed)
{
    one_round(seed, IO);
}

static void
round_memory(uint64_t seed)
{
    one_round(seed, MEMORY);
}

static const struct syn_stress_case cases[] = {
    {"plain", round_plain}, {"failures", round_failures}, {"loss", round_loss},
    {"io", round_io},       {"memory", round_memory},
};

int
main(void)
{
    return syn_stress_run_for("engine-random", cases, SYN_LEN(cases), "SYNOR_RANDOM_SECONDS",
                              SECONDS);
}
