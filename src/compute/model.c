/* Learnt execution times.
 *
 * Samples of one size on one class: up to MODEL_WINDOW are kept and their middle half is averaged,
 * so that a cold first run or a preempted one counts for nothing; after that an average runs, and a
 * sample may pull it no further than four times the usual spread. A lasting change widens the
 * spread by itself and is followed within some tens of samples.
 *
 * Other sizes: between two that were measured, a straight line in logarithms; outside, the nearest
 * one times the priors' ratio if a profile gave any, else a power law whose exponent is fitted to
 * all sizes of the kernel and kept within [0, 3.5] (no kernel gets faster with size; nothing we run
 * is worse than a cube by much). Refused: one polynomial a kernel; it follows the largest sizes and
 * is negative for the smallest. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/mem.h>

#include "model_priv.h"

#define KEY_LEN       (SYN_MODEL_NAME_MAX + 48)
#define EXPONENT_MAX  3.5
#define SPREAD_MIN    0.01
#define SPREAD_MAX    1.0
#define CLIP_SPREADS  4.0
#define TOLD_CHANGE   0.03 /* other sizes are told when the mean moved by so much */
#define WEIGHT_MAX    16.0
#define PRIOR_MARGIN  2
#define QUARTER_SCALE 0.85 /* half of a normal spread's runs lie within so many mean distances */

static void
free_block(void *block)
{
    syn_free(block);
}

int
syn_model_new(const char *const *class_names, uint32_t class_count, struct syn_model **ret_model,
              struct syn_err *err)
{
    SYN_SCOPED(syn_model_free_scope) struct syn_model *model = NULL;
    int rc;

    if (class_count == 0 || class_count > SYN_CLASSES_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "%u classes: 1 to %u", class_count, SYN_CLASSES_MAX);
    model = syn_calloc(1, sizeof(*model));
    if (model == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for a model");
    model->class_count = class_count;
    for (uint32_t i = 0; i < class_count; i++) {
        size_t len = strlen(class_names[i]);

        if (len == 0 || len >= sizeof(model->class_names[0]))
            return SYN_FAIL(err, SYN_E_INVALID, "class %u: a name of 1 to %zu bytes", i,
                            sizeof(model->class_names[0]) - 1);
        for (size_t j = 0; j < len; j++)
            if (class_names[i][j] < ' ' || class_names[i][j] > '~')
                return SYN_FAIL(err, SYN_E_INVALID, "class %u: a name of printable ASCII", i);
        memcpy(model->class_names[i], class_names[i], len);
    }
    rc = syn_map_new(free_block, &model->kernels, err);
    if (rc == 0)
        rc = syn_map_new(free_block, &model->entries, err);
    if (rc == 0)
        *ret_model = SYN_TAKE(model);
    return rc;
}

struct syn_model *
syn_model_free(struct syn_model *model)
{
    if (model == NULL)
        return NULL;
    (void)syn_map_free(model->entries);
    (void)syn_map_free(model->kernels);
    syn_free(model);
    return NULL;
}

void
syn_model_free_scope(struct syn_model **slot)
{
    (void)syn_model_free(*slot);
}

static void
publish(struct syn_model_entry *entry, uint32_t class_id, double ns)
{
    uint64_t value = ns < 1 ? 1 : (uint64_t)SYN_MIN(ns, (double)SYN_MODEL_NS_MAX);

    __atomic_store_n(&entry->estimate.ns[class_id], value, __ATOMIC_RELAXED);
}

static uint64_t
estimate_of(const struct syn_model_entry *entry, uint32_t class_id)
{
    return __atomic_load_n(&entry->estimate.ns[class_id], __ATOMIC_RELAXED);
}

/* The sizes of one kernel that were measured on one class, as a size to be guessed sees them. */
struct view {
    const struct syn_model_entry *below, *above; /* nearest; either may be NULL */
};

static bool
is_measured(const struct syn_model_entry *entry, uint32_t class_id)
{
    return entry->cells[class_id].count > 0;
}

static const struct syn_model_entry *
first_of_size(const struct syn_model_entry *entry)
{
    while (entry->prev != NULL && entry->prev->size == entry->size)
        entry = entry->prev;
    return entry;
}

/* The newest of the entry's size that was measured; NULL if none was. */
static const struct syn_model_entry *
same_size(const struct syn_model_entry *entry, uint32_t class_id)
{
    const struct syn_model_entry *at = first_of_size(entry);

    while (at != NULL && at->size == entry->size && !is_measured(at, class_id))
        at = at->next;
    return at != NULL && at->size == entry->size ? at : NULL;
}

static const struct syn_model_entry *
smaller(const struct syn_model_entry *entry, uint32_t class_id)
{
    const struct syn_model_entry *at = first_of_size(entry)->prev;

    while (at != NULL && !is_measured(at, class_id))
        at = at->prev;
    return at != NULL ? same_size(at, class_id) : NULL;
}

static const struct syn_model_entry *
larger(const struct syn_model_entry *entry, uint32_t class_id)
{
    const struct syn_model_entry *at = entry;

    while (at != NULL && (at->size == entry->size || !is_measured(at, class_id)))
        at = at->next;
    return at;
}

static struct view
look(const struct syn_model_entry *entry, uint32_t class_id)
{
    const struct syn_model_entry *same = same_size(entry, class_id);

    if (same != NULL)
        return (struct view){same, same};
    return (struct view){smaller(entry, class_id), larger(entry, class_id)};
}

/* Only outside what was measured does it matter how all of it goes. */
static double
exponent(const struct model_sums *all)
{
    double variance = all->xx - all->x * all->x / all->sum;

    if (variance < 1e-6) /* one size only: work grows with size */
        return 1;
    return fmin(fmax((all->xy - all->x * all->y / all->sum) / variance, 0), EXPONENT_MAX);
}

/* What other sizes say of this one; 0: nothing. */
static double
regression(const struct syn_model_entry *entry, uint32_t class_id, const struct view *view)
{
    bool upper = view->below == NULL || (view->above != NULL && view->above->size == entry->size);
    const struct syn_model_entry *near = upper ? view->above : view->below;
    double x = entry->log_size;
    const struct model_cell *cell;

    if (near == NULL)
        return 0;
    cell = &near->cells[class_id];
    if (near->size == entry->size)
        return cell->mean_ns;
    if (view->below != NULL && view->above != NULL) {
        double x0 = view->below->log_size, x1 = view->above->log_size;
        double y0 = log(cell->mean_ns), y1 = log(view->above->cells[class_id].mean_ns);

        return exp(x1 > x0 ? y0 + (y1 - y0) * (x - x0) / (x1 - x0) : y0);
    }
    if (cell->prior_ns != 0 && entry->cells[class_id].prior_ns != 0)
        return cell->mean_ns * (double)entry->cells[class_id].prior_ns / (double)cell->prior_ns;
    return cell->mean_ns * exp(exponent(&entry->kernel->sums[class_id]) * (x - near->log_size));
}

/* What was not measured itself. */
static void
guess(struct syn_model_entry *entry, uint32_t class_id, const struct view *view)
{
    const struct model_cell *cell = &entry->cells[class_id];
    double ns;

    if (estimate_of(entry, class_id) == SYN_NEVER)
        return;
    ns = regression(entry, class_id, view);
    if (ns > 0)
        publish(entry, class_id, ns);
    else if (cell->prior_ns != 0)
        publish(entry, class_id, (double)cell->prior_ns);
}

static void
refresh(struct syn_model_entry *entry, uint32_t class_id)
{
    const struct model_cell *cell = &entry->cells[class_id];

    if (cell->count > 0) {
        publish(entry, class_id, cell->mean_ns);
    } else {
        const struct view view = look(entry, class_id);

        guess(entry, class_id, &view);
    }
}

/* Its part of the sums, as it is now. */
static void
weigh(struct syn_model_entry *entry, uint32_t class_id, double log_ns)
{
    struct model_cell *cell = &entry->cells[class_id];
    struct model_sums *all = &entry->kernel->sums[class_id];
    double x = entry->log_size, weight = fmin((double)cell->count, WEIGHT_MAX);
    double more = weight - cell->weight, y = weight * log_ns - cell->weight * cell->log_ns;

    all->sum += more;
    all->x += more * x;
    all->xx += more * x * x;
    all->y += y;
    all->xy += x * y;
    cell->weight = weight;
    cell->log_ns = log_ns;
}

/* What is smaller or larger than all that was measured follows all of it. */
static void
guess_outside(struct model_kernel *kernel, uint32_t class_id)
{
    struct syn_model_entry *at = kernel->entries, *end = kernel->last;
    struct view low = {.above = NULL}, high = {.above = NULL};

    while (at != NULL && !is_measured(at, class_id))
        at = at->next;
    while (end != NULL && !is_measured(end, class_id))
        end = end->prev;
    if (at == NULL || end == NULL)
        return;
    low.above = at;
    high.below = same_size(end, class_id);
    for (at = kernel->entries; at != low.above; at = at->next)
        guess(at, class_id, &low);
    for (at = end->next; at != NULL; at = at->next)
        guess(at, class_id, &high);
}

/* The sizes without samples of their own follow: those down and up to the next that were measured,
 * since a kernel may come to have thousands, and those outside. */
static void
tell(struct syn_model_entry *entry, uint32_t class_id)
{
    struct model_cell *cell = &entry->cells[class_id];
    const struct syn_model_entry *same, *below, *above;
    struct syn_model_entry *at = entry;

    if (fabs(cell->mean_ns - (double)cell->told) <= TOLD_CHANGE * (double)cell->told) {
        weigh(entry, class_id, cell->log_ns);
        return;
    }
    cell->told = (float)cell->mean_ns;
    weigh(entry, class_id, log(cell->mean_ns));
    same = same_size(entry, class_id);
    below = smaller(entry, class_id);
    above = larger(entry, class_id);
    while (at->prev != NULL && (at->prev->size == entry->size || !is_measured(at->prev, class_id)))
        at = at->prev;
    for (; at != above; at = at->next) {
        const struct view view = {at->size < entry->size ? below : same,
                                  at->size > entry->size ? above : same};

        if (!is_measured(at, class_id))
            guess(at, class_id, &view);
    }
    guess_outside(entry->kernel, class_id);
}

static int
kernel_get(struct syn_model *model, const char *name, struct model_kernel **ret_kernel,
           struct syn_err *err)
{
    struct model_kernel *kernel = syn_map_find(model->kernels, name);
    size_t len = strlen(name);
    int rc;

    if (kernel == NULL) {
        for (size_t i = 0; i < len; i++)
            if (name[i] <= ' ' || name[i] > '~')
                return SYN_FAIL(err, SYN_E_INVALID, "a kernel's name is printable ASCII");
        if (len == 0 || len > SYN_MODEL_NAME_MAX)
            return SYN_FAIL(err, SYN_E_INVALID, "a kernel's name has 1 to %u bytes",
                            SYN_MODEL_NAME_MAX);
        if (syn_map_count(model->kernels) == SYN_MODEL_KERNELS_MAX)
            return SYN_FAIL(err, SYN_E_CONFLICT, "the model has %u kernels", SYN_MODEL_KERNELS_MAX);
        kernel = syn_calloc(1, sizeof(*kernel) + model->class_count * sizeof(kernel->sums[0]));
        if (kernel == NULL)
            return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for kernel %s", name);
        memcpy(kernel->name, name, len);
        rc = syn_map_put_take(model->kernels, name, kernel, err);
        if (rc < 0)
            return rc;
    }
    *ret_kernel = kernel;
    return SYN_OK;
}

static void
insert(struct model_kernel *kernel, struct syn_model_entry *entry)
{
    struct syn_model_entry **at = &kernel->entries;

    for (; *at != NULL && (*at)->size < entry->size; at = &(*at)->next)
        entry->prev = *at;
    entry->next = *at;
    *at = entry;
    if (entry->next != NULL)
        entry->next->prev = entry;
    else
        kernel->last = entry;
}

int
syn_model_entry(struct syn_model *model, const char *kernel, uint64_t size, uint64_t footprint,
                struct syn_model_entry **ret_entry, struct syn_err *err)
{
    struct syn_model_entry *entry;
    struct model_kernel *owner = NULL;
    char key[KEY_LEN];
    int rc;

    (void)snprintf(key, sizeof(key), "%.*s %" PRIx64 " %" PRIx64, (int)SYN_MODEL_NAME_MAX + 1,
                   kernel, size, footprint);
    entry = syn_map_find(model->entries, key);
    if (entry != NULL) {
        *ret_entry = entry;
        return SYN_OK;
    }
    rc = kernel_get(model, kernel, &owner, err);
    if (rc < 0)
        return rc;
    if (syn_map_count(model->entries) == SYN_MODEL_ENTRIES_MAX)
        return SYN_FAIL(err, SYN_E_CONFLICT, "the model has %u entries", SYN_MODEL_ENTRIES_MAX);
    entry = syn_calloc(1, sizeof(*entry) + model->class_count * sizeof(entry->cells[0]));
    if (entry == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for an entry of %s", kernel);
    for (uint32_t i = model->class_count; i < SYN_CLASSES_MAX; i++)
        entry->estimate.ns[i] = SYN_NEVER;
    entry->model = model;
    entry->kernel = owner;
    entry->size = size;
    entry->footprint = footprint;
    entry->log_size = log(fmax((double)size, 1));
    rc = syn_map_put_take(model->entries, key, entry, err);
    if (rc < 0)
        return rc;
    insert(owner, entry);
    for (uint32_t i = 0; i < model->class_count; i++)
        refresh(entry, i);
    *ret_entry = entry;
    return SYN_OK;
}

const struct syn_estimate *
syn_model_estimate(const struct syn_model_entry *entry)
{
    return &entry->estimate;
}

void
syn_model_prior(struct syn_model_entry *entry, uint32_t class_id, uint64_t ns)
{
    struct model_cell *cell = &entry->cells[class_id];

    assert(class_id < entry->model->class_count);
    if (ns == SYN_NEVER) {
        __atomic_store_n(&entry->estimate.ns[class_id], SYN_NEVER, __ATOMIC_RELAXED);
        return;
    }
    cell->prior_ns = SYN_MIN(ns, SYN_MODEL_NS_MAX);
    if (estimate_of(entry, class_id) == SYN_NEVER)
        __atomic_store_n(&entry->estimate.ns[class_id], SYN_UNKNOWN_NS, __ATOMIC_RELAXED);
    refresh(entry, class_id);
}

static int
compare(const void *left, const void *right)
{
    float a = *(const float *)left, b = *(const float *)right;

    return (a > b) - (a < b);
}

/* Average the middle half of what the window holds. */
static void
middle(struct model_cell *cell)
{
    float sorted[MODEL_WINDOW];
    size_t count = cell->count, trim = (count + 1) / 4;
    double sum = 0, distance = 0;

    memcpy(sorted, cell->window, count * sizeof(sorted[0]));
    qsort(sorted, count, sizeof(sorted[0]), compare);
    for (size_t i = trim; i < count - trim; i++)
        sum += (double)sorted[i];
    cell->mean_ns = sum / (double)(count - 2 * trim);
    for (size_t i = 0; i < count; i++)
        sorted[i] = (float)fabs((double)cell->window[i] - cell->mean_ns);
    qsort(sorted, count, sizeof(sorted[0]), compare);
    distance = (double)sorted[count / 2] / cell->mean_ns;
    cell->spread = fmin(fmax(distance, SPREAD_MIN), SPREAD_MAX);
}

/* No numbers that are none come here: fmin() and fmax() would be calls, four for every task. */
static double
within(double x, double least, double most)
{
    return x < least ? least : x > most ? most : x;
}

static void
follow(struct model_cell *cell, double ns)
{
    double reach = CLIP_SPREADS * cell->spread * cell->mean_ns;
    double step = within(ns - cell->mean_ns, -reach, reach);
    double spread = cell->spread + (fabs(step) / cell->mean_ns - cell->spread) / MODEL_WINDOW;

    cell->mean_ns = SYN_MAX(cell->mean_ns + step / MODEL_WINDOW, 1.0);
    cell->spread = within(spread, SPREAD_MIN, SPREAD_MAX);
}

static void
settle(struct syn_model_entry *entry, uint32_t class_id)
{
    __atomic_store_n(&entry->settled, entry->settled | UINT64_C(1) << class_id, __ATOMIC_RELAXED);
}

void
syn_model_record(struct syn_model_entry *entry, uint32_t class_id, uint64_t ns)
{
    struct model_cell *cell = &entry->cells[class_id];
    double sample = (double)SYN_MIN(SYN_MAX(ns, 1), SYN_MODEL_NS_MAX);

    assert(class_id < entry->model->class_count);
    if (cell->count < MODEL_WINDOW) {
        cell->window[cell->count++] = (float)sample;
        middle(cell);
    } else {
        cell->count += cell->count < UINT32_MAX;
        follow(cell, sample);
    }
    if (cell->count == MODEL_WINDOW)
        settle(entry, class_id);
    publish(entry, class_id, cell->mean_ns);
    tell(entry, class_id);
}

void
model_adopt(struct syn_model_entry *entry, uint32_t class_id, uint64_t count, double mean_ns,
            double spread)
{
    struct model_cell *cell = &entry->cells[class_id];

    if (count <= cell->count)
        return;
    cell->count = count;
    cell->mean_ns = mean_ns;
    cell->spread = fmin(fmax(spread, SPREAD_MIN), SPREAD_MAX);
    for (size_t i = 0; i < MODEL_WINDOW; i++)
        cell->window[i] = (float)mean_ns;
    if (count >= MODEL_WINDOW)
        settle(entry, class_id);
    publish(entry, class_id, mean_ns);
    tell(entry, class_id);
}

void
syn_model_ask(const struct syn_model_entry *entry, uint32_t class_id,
              struct syn_model_answer *ret_answer)
{
    const struct model_cell *cell = &entry->cells[class_id];
    struct syn_model_answer answer = {.ns = estimate_of(entry, class_id)};
    double half = cell->spread * QUARTER_SCALE;

    answer.low_ns = answer.high_ns = answer.ns;
    answer.samples = (uint32_t)SYN_MIN(cell->count, UINT32_MAX);
    if (cell->count > 0) {
        answer.source = SYN_MODEL_HISTORY;
        answer.low_ns = (uint64_t)((double)answer.ns * (1 - half));
        answer.high_ns = (uint64_t)((double)answer.ns * (1 + half));
    } else if (answer.ns == SYN_NEVER) {
        answer.source = SYN_MODEL_IMPOSSIBLE;
    } else if (answer.ns != SYN_UNKNOWN_NS) {
        const struct view view = look(entry, class_id);
        bool learnt = regression(entry, class_id, &view) > 0;

        answer.source = learnt ? SYN_MODEL_REGRESSION : SYN_MODEL_PRIOR;
        answer.low_ns = answer.ns / PRIOR_MARGIN;
        answer.high_ns = answer.ns * PRIOR_MARGIN;
    }
    *ret_answer = answer;
}
