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
    double sum, x, y, xx, xy;                    /* weighted sums of logarithms */
};

static struct view
look(const struct syn_model_entry *entry, uint32_t class_id)
{
    struct view view = {0};

    for (const struct syn_model_entry *at = entry->kernel->entries; at != NULL; at = at->next) {
        const struct model_cell *cell = &at->cells[class_id];
        double weight = fmin((double)cell->count, WEIGHT_MAX);
        double x = log(fmax((double)at->size, 1));
        double y;

        if (cell->count == 0)
            continue;
        y = log(cell->mean_ns);
        view.sum += weight;
        view.x += weight * x;
        view.y += weight * y;
        view.xx += weight * x * x;
        view.xy += weight * x * y;
        if (at->size <= entry->size && (view.below == NULL || at->size > view.below->size))
            view.below = at;
        if (at->size >= entry->size && (view.above == NULL || at->size < view.above->size))
            view.above = at;
    }
    return view;
}

static double
exponent(const struct view *view)
{
    double variance = view->xx - view->x * view->x / view->sum;

    if (variance < 1e-6) /* one size only: work grows with size */
        return 1;
    return fmin(fmax((view->xy - view->x * view->y / view->sum) / variance, 0), EXPONENT_MAX);
}

/* What other sizes say of this one; 0: nothing. */
static double
regression(const struct syn_model_entry *entry, uint32_t class_id)
{
    struct view view = look(entry, class_id);
    const struct syn_model_entry *near = view.below != NULL ? view.below : view.above;
    double x = log(fmax((double)entry->size, 1));
    const struct model_cell *cell;

    if (near == NULL)
        return 0;
    cell = &near->cells[class_id];
    if (near->size == entry->size)
        return cell->mean_ns;
    if (view.below != NULL && view.above != NULL) {
        double x0 = log(fmax((double)view.below->size, 1)), x1 = log((double)view.above->size);
        double y0 = log(cell->mean_ns), y1 = log(view.above->cells[class_id].mean_ns);

        return exp(x1 > x0 ? y0 + (y1 - y0) * (x - x0) / (x1 - x0) : y0);
    }
    if (cell->prior_ns != 0 && entry->cells[class_id].prior_ns != 0)
        return cell->mean_ns * (double)entry->cells[class_id].prior_ns / (double)cell->prior_ns;
    return cell->mean_ns * exp(exponent(&view) * (x - log(fmax((double)near->size, 1))));
}

static void
refresh(struct syn_model_entry *entry, uint32_t class_id)
{
    const struct model_cell *cell = &entry->cells[class_id];
    double guess;

    if (cell->count > 0) {
        publish(entry, class_id, cell->mean_ns);
        return;
    }
    if (estimate_of(entry, class_id) == SYN_NEVER)
        return;
    guess = regression(entry, class_id);
    if (guess > 0)
        publish(entry, class_id, guess);
    else if (cell->prior_ns != 0)
        publish(entry, class_id, (double)cell->prior_ns);
}

/* The sizes without samples of their own follow. */
static void
tell(struct syn_model_entry *entry, uint32_t class_id)
{
    struct model_cell *cell = &entry->cells[class_id];

    if (fabs(cell->mean_ns - (double)cell->told) <= TOLD_CHANGE * (double)cell->told)
        return;
    cell->told = (float)cell->mean_ns;
    for (struct syn_model_entry *at = entry->kernel->entries; at != NULL; at = at->next)
        if (at->cells[class_id].count == 0)
            refresh(at, class_id);
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
        kernel = syn_calloc(1, sizeof(*kernel));
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
    rc = syn_map_put_take(model->entries, key, entry, err);
    if (rc < 0)
        return rc;
    for (uint32_t i = 0; i < model->class_count; i++)
        refresh(entry, i);
    entry->next = owner->entries;
    owner->entries = entry;
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
        bool learnt = regression(entry, class_id) > 0;

        answer.source = learnt ? SYN_MODEL_REGRESSION : SYN_MODEL_PRIOR;
        answer.low_ns = answer.ns / PRIOR_MARGIN;
        answer.high_ns = answer.ns * PRIOR_MARGIN;
    }
    *ret_answer = answer;
}
