/* The simulation: what happens when, and what is counted of it.
 *
 *        workload (in order of time)      heap: ends, failures, repairs, hours bought, price ticks
 *                      \                    /
 *                       next event, time goes on to it
 *                                 |
 *             fleet.h: submit, end, lose, put      exchange.h: offers, orders (sim_spot.c)
 *                                 |
 *             effects: placed, evicted -> what is used, powered, paid for; new events
 *
 * Fleet and exchange decide all by themselves what a cluster would have them decide; this only has
 * things happen, and counts. Sums that run over time are integers of 128 bits: thousandths of
 * cards, milliwatts and prices times milliseconds, divided once, in the report.
 *
 * An event of a run is void when the run has been evicted since: each start is a new `turn`. What a
 * lost node ran begins again from its start; what was outbid goes on where it was. */
#include <inttypes.h>
#include <math.h>

#include <synor/base/mem.h>

#include "sim_priv.h"

uint64_t
sim_random(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

double
sim_fraction(uint64_t *state)
{
    return (double)(sim_random(state) >> 11) * 0x1p-53;
}

static int64_t
exponential(uint64_t *state, int64_t mean_ms)
{
    return 1 + (int64_t)(-log(1.0 - sim_fraction(state)) * (double)mean_ms);
}

int64_t
sim_milli(const struct syn_fleet_ask *ask)
{
    return ask->mode == SYN_FLEET_CARDS ? (int64_t)ask->cards * SYN_FLEET_WHOLE : ask->share;
}

/* --- life ------------------------------------------------------------------------------------ */

int
syn_sim_new(const struct syn_sim_options *options, struct syn_sim **ret, struct syn_err *err)
{
    const struct syn_fleet_options how = {.seed = options->seed, .learn = true};
    SYN_SCOPED(syn_sim_free_scope) struct syn_sim *sim = NULL;
    int rc;

    if (options->arrivals_percent > SYN_SIM_ARRIVALS_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "arrivals: %u percent is above %d",
                        options->arrivals_percent, SYN_SIM_ARRIVALS_MAX);
    if (options->mtbf_ms < 0 || options->mtbf_ms > SYN_SIM_HOURS_MAX * SIM_HOUR_MS ||
        options->repair_ms < 0 || options->repair_ms > SYN_SIM_HOURS_MAX * SIM_HOUR_MS)
        return SYN_FAIL(err, SYN_E_INVALID, "failures: not between 0 and %" PRId64 " hours",
                        SYN_SIM_HOURS_MAX);
    if (options->notice_ms < 0 || options->notice_ms > SYN_SIM_NOTICE_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "notice: not between 0 and %" PRId64 " ms",
                        SYN_SIM_NOTICE_MAX);
    if (options->arrivals_percent > 0 && (options->mtbf_ms > 0 || options->spot))
        return SYN_FAIL(err, SYN_E_INVALID,
                        "arrivals: nobody leaves, so there is no time for failures or spot prices");
    sim = syn_calloc(1, sizeof(*sim));
    if (sim == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for a simulation");
    sim->options = *options;
    if (sim->options.repair_ms == 0)
        sim->options.repair_ms = SIM_HOUR_MS;
    sim->random = options->seed;
    rc = syn_fleet_new(&how, &sim->fleet, err);
    if (rc == SYN_OK)
        *ret = SYN_TAKE(sim);
    return rc;
}

struct syn_sim *
syn_sim_free(struct syn_sim *sim)
{
    if (sim == NULL)
        return NULL;
    sim_spot_close(sim);
    (void)syn_fleet_free(sim->fleet);
    syn_free(sim->nodes);
    syn_free(sim->pods);
    syn_free(sim->runs);
    syn_free(sim->refused);
    syn_free(sim->heap);
    syn_free(sim->waits_ms);
    syn_free(sim);
    return NULL;
}

void
syn_sim_free_scope(struct syn_sim **slot)
{
    *slot = syn_sim_free(*slot);
}

/* --- the heap -------------------------------------------------------------------------------- */

static bool
before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->order < b->order;
}

int
sim_push(struct syn_sim *sim, int64_t at_ms, enum sim_event_kind kind, uint32_t subject,
         uint32_t turn, struct syn_err *err)
{
    struct sim_event event = {at_ms, sim->events++, kind, subject, turn};
    size_t at = sim->heap_count;

    if (sim->events > SYN_SIM_EVENTS_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "no end after %" PRIu64 " events", SYN_SIM_EVENTS_MAX);
    if (at_ms > SIM_TIME_MAX)
        return SYN_FAIL(err, SYN_E_LIMIT, "no end after %" PRId64 " ms", SIM_TIME_MAX);
    if (!syn_grow((void *)&sim->heap, &sim->heap_cap, at + 1, sizeof(*sim->heap)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for events");
    sim->heap_count++;
    while (at > 0 && before(&event, &sim->heap[(at - 1) / 2])) {
        sim->heap[at] = sim->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    sim->heap[at] = event;
    return SYN_OK;
}

static struct sim_event
pop(struct syn_sim *sim)
{
    struct sim_event first = sim->heap[0];
    struct sim_event last = sim->heap[--sim->heap_count];
    size_t at = 0;

    for (size_t next = 1; next < sim->heap_count; next = 2 * at + 1) {
        next += next + 1 < sim->heap_count && before(&sim->heap[next + 1], &sim->heap[next]);
        if (!before(&sim->heap[next], &last))
            break;
        sim->heap[at] = sim->heap[next];
        at = next;
    }
    if (sim->heap_count > 0)
        sim->heap[at] = last;
    return first;
}

/* --- measuring ------------------------------------------------------------------------------- */

/* Timed with the caller's clock: decisions, and apart from them what ends, failures and repairs set
 * off. */
static int64_t
clock_ns(const struct syn_sim *sim)
{
    const struct syn_world *world = sim->options.world;

    return world != NULL ? world->ops->mono_ns(world->self) : 0;
}

static int64_t
card_mw(const struct syn_fleet_model *model, uint32_t used)
{
    if (used == 0)
        return model->idle_mw;
    return model->context_mw +
           ((int64_t)model->busy_mw - model->context_mw) * (int64_t)used / SYN_FLEET_WHOLE;
}

/* A node that runs nothing is switched off. */
static int64_t
node_mw(const struct syn_sim *sim, const struct sim_node *node)
{
    int64_t sum = node->spec.idle_mw;

    if (node->running == 0)
        return 0;
    for (uint32_t i = 0; i < node->spec.cards; i++)
        sum += card_mw(&sim->models[node->spec.models[i]], node->used[i]);
    return sum;
}

static void
use(struct syn_sim *sim, const struct sim_run *run, int sign)
{
    const struct syn_fleet_ask *ask = &sim->pods[run->pod].ask;
    struct sim_node *node = &sim->nodes[run->slot.node];
    int share = ask->mode == SYN_FLEET_CARDS ? SYN_FLEET_WHOLE : (int)ask->share;

    sim->power_mw -= node_mw(sim, node);
    for (uint32_t i = 0; i < node->spec.cards; i++)
        if (run->slot.cards & SYN_BIT(i))
            node->used[i] = (uint16_t)(node->used[i] + sign * share);
    node->running += (uint32_t)sign;
    sim->power_mw += node_mw(sim, node);
    sim->milli_used += sign * sim_milli(ask);
    if (sim->milli_used > sim->milli_peak)
        sim->milli_peak = sim->milli_used;
}

/* What a run costs an hour where it is; its cards are paid for on the exchange when they are spot.
 */
static int64_t
rate(const struct syn_sim *sim, const struct sim_run *run)
{
    const struct syn_fleet_ask *ask = &sim->pods[run->pod].ask;
    const struct syn_fleet_node *node = &sim->nodes[run->slot.node].spec;
    syn_i128 sum = (syn_i128)node->price.core * ask->need[SYN_FLEET_CPU] / 1000 +
                   (((syn_i128)node->price.gib * ask->need[SYN_FLEET_MEMORY]) >> 30);

    if (!sim->options.spot)
        sum += (syn_i128)node->price.cards[0] * sim_milli(ask) / SYN_FLEET_WHOLE;
    return (int64_t)sum;
}

static void
pass_time(struct syn_sim *sim, int64_t now_ms)
{
    int64_t passed = now_ms - sim->now_ms;

    assert(passed >= 0);
    sim->used_milli_ms += (syn_i128)sim->milli_used * passed;
    sim->energy_uj += (syn_i128)sim->power_mw * passed;
    sim->now_ms = now_ms;
    syn_fleet_set_time(sim->fleet, now_ms);
}

static void
sample(struct syn_sim *sim)
{
    double cards = (double)SYN_MAX(sim->cards, 1) * SYN_FLEET_WHOLE / 100;
    uint64_t every = sim->runs_count / SIM_POINTS + 1;
    bool last = sim->arrived == sim->runs_count;

    if (sim->points_count == SYN_LEN(sim->points) || (sim->arrived % every != 0 && !last))
        return;
    sim->points[sim->points_count++] =
        (struct sim_point){(double)sim->milli_asked / cards, (double)sim->milli_used / cards};
    if (sim->points_count % 16 == 0 || last) {
        sim->stranded_sum += sim_stranded(sim);
        sim->stranded_count++;
    }
}

/* --- runs ------------------------------------------------------------------------------------ */

/* Not at once: the fleet may be in the middle of telling what it did. */
static int
refuse(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    if (!syn_grow((void *)&sim->refused, &sim->refused_cap, sim->refused_count + 1,
                  sizeof(*sim->refused)))
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for what is taken back");
    sim->refused[sim->refused_count++] = index;
    return SYN_OK;
}

static int
start(struct syn_sim *sim, uint32_t index, const struct syn_fleet_slot *slot, struct syn_err *err)
{
    struct sim_run *run = &sim->runs[index];
    int rc = SYN_OK;

    run->slot = *slot;
    run->state = SIM_RUNNING;
    run->turn++;
    run->began_ms = sim->now_ms;
    use(sim, run, 1);
    if (run->left_ms >= 0) {
        sim->finite++;
        rc = sim_push(sim, sim->now_ms + run->left_ms, SIM_END, index, run->turn, err);
    }
    if (rc == SYN_OK && sim->options.spot && sim_milli(&sim->pods[run->pod].ask) > 0) {
        bool bought = false;

        rc = sim_spot_buy(sim, run, &bought, err);
        if (rc == SYN_OK && bought)
            rc = sim_push(sim, sim->now_ms + SIM_HOUR_MS, SIM_LEASE, index, run->turn, err);
        else if (rc == SYN_OK)
            rc = refuse(sim, index, err);
        if (rc < 0 || !bought)
            return rc;
    }
    if (run->out_ms >= 0) {
        sim->spot.resumed++;
        sim->spot.out_ms += sim->now_ms - run->out_ms;
        run->out_ms = -1;
    }
    if (!run->placed)
        sim->waits_ms[sim->placed++] = sim->now_ms - run->arrived_ms;
    run->placed = true;
    return rc;
}

/* It runs no longer; `kept` of its work is not to be done again. */
static int
stop(struct syn_sim *sim, struct sim_run *run, bool kept, struct syn_err *err)
{
    int64_t ran_ms = sim->now_ms - run->began_ms;

    assert(run->state == SIM_RUNNING);
    use(sim, run, -1);
    sim->cost_hour_ms += (syn_i128)rate(sim, run) * ran_ms;
    if (run->left_ms >= 0) {
        sim->finite--;
        run->left_ms -= kept ? ran_ms : 0;
    }
    if (!kept)
        sim->lost_milli_ms += (syn_i128)sim_milli(&sim->pods[run->pod].ask) * ran_ms;
    run->turn++;
    sim_spot_noticed(sim, run);
    return run->leased > 0 ? sim_spot_return(sim, run, err) : SYN_OK;
}

static int
on_effect(struct syn_sim *sim, const struct syn_fleet_effect *effect, struct syn_err *err)
{
    struct sim_run *run = &sim->runs[effect->key];
    bool placed = effect->type == SYN_FLEET_PLACED;
    int rc;

    if (placed && run->state == SIM_QUEUED) {
        sim->queued--;
        return start(sim, (uint32_t)effect->key, &effect->slot, err);
    }
    if (effect->type != SYN_FLEET_EVICTED || run->state != SIM_RUNNING)
        return SYN_OK;
    sim->restarts++;
    rc = stop(sim, run, false, err);
    run->state = SIM_QUEUED;
    sim->queued++;
    return rc;
}

/* Take in what the fleet did, and take back what nobody would pay for, until nothing more comes. */
static int
settle(struct syn_sim *sim, struct syn_err *err)
{
    struct syn_fleet_effect effect;
    int rc = SYN_OK;

    do {
        while (rc == SYN_OK && syn_fleet_next(sim->fleet, &effect))
            rc = on_effect(sim, &effect, err);
        if (rc == SYN_OK && sim->refused_count > 0) {
            uint32_t index = sim->refused[--sim->refused_count];
            struct sim_run *run = &sim->runs[index];

            if (run->state != SIM_RUNNING || run->leased > 0)
                continue;
            rc = stop(sim, run, true, err);
            run->state = SIM_PRICED_OUT;
            sim->priced_out++;
            rc = rc < 0 ? rc : syn_fleet_end(sim->fleet, index, err);
        }
    } while (rc == SYN_OK && sim->refused_count > 0);
    while (rc == SYN_OK && syn_fleet_next(sim->fleet, &effect))
        rc = on_effect(sim, &effect, err);
    return rc;
}

static int
submit(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    struct sim_run *run = &sim->runs[index];
    struct syn_fleet_request request = {.key = index, .members = 1};
    struct syn_fleet_slot slot;
    bool lasting = sim->options.arrivals_percent == 0;
    int64_t began;
    int rc;

    request.ask = sim->pods[run->pod].ask;
    request.runs_ms = run->left_ms > 0 ? run->left_ms : 0;
    if (sim->options.spot && sim_milli(&request.ask) > 0) {
        request.ask.models = run->models = sim_spot_models(sim, run);
        if (request.ask.models == 0) {
            run->state = SIM_PRICED_OUT;
            sim->priced_out++;
            return SYN_OK;
        }
    }
    sim->decisions++;
    began = clock_ns(sim);
    rc = lasting ? syn_fleet_submit(sim->fleet, &request, err)
                 : syn_fleet_try(sim->fleet, &request, &slot, err);
    sim->decisions_ns += clock_ns(sim) - began;
    if (rc < 0)
        return rc;
    if (lasting) {
        run->state = SIM_QUEUED;
        sim->queued++;
        return SYN_OK;
    }
    if (rc == SYN_FLEET_FULL) {
        run->state = SIM_DONE;
        sim->turned_away++;
        return SYN_OK;
    }
    return start(sim, index, &slot, err);
}

/* --- events ---------------------------------------------------------------------------------- */

static int
arrive(struct syn_sim *sim, struct syn_err *err)
{
    uint32_t index = (uint32_t)sim->arrived++;
    int rc;

    sim->milli_asked += sim_milli(&sim->pods[sim->runs[index].pod].ask);
    sim->arriving_milli_ms = sim->used_milli_ms;
    sim->last_ms = sim->now_ms;
    rc = submit(sim, index, err);
    rc = rc < 0 ? rc : settle(sim, err);
    sample(sim);
    return rc;
}

static int
end(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    struct sim_run *run = &sim->runs[index];
    int64_t began;
    int rc = stop(sim, run, true, err);

    run->state = SIM_DONE;
    sim->finished++;
    began = clock_ns(sim);
    rc = rc < 0 ? rc : syn_fleet_end(sim->fleet, index, err);
    sim->changes_ns += clock_ns(sim) - began;
    return rc;
}

/* All came and nothing runs that will end: only what waits for a node keeps the simulation going.
 */
static bool
idle(const struct syn_sim *sim)
{
    return sim->arrived == sim->runs_count && sim->finite == 0;
}

static int
fail_later(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    return sim_push(sim, sim->now_ms + exponential(&sim->random, sim->options.mtbf_ms), SIM_FAIL,
                    index, 0, err);
}

static int
fail_node(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    int64_t began = clock_ns(sim);
    int rc;

    if (idle(sim)) /* or with enough nodes there would never be a time with all of them */
        return fail_later(sim, index, err);
    rc = syn_fleet_lose(sim->fleet, index, err);
    sim->changes_ns += clock_ns(sim) - began;
    sim->nodes[index].down = true;
    sim->nodes_down++;
    sim->failures++;
    if (rc < 0)
        return rc;
    return sim_push(sim, sim->now_ms + exponential(&sim->random, sim->options.repair_ms),
                    SIM_REPAIR, index, 0, err);
}

/* It comes back, or changes. */
static int
put_node(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    struct syn_fleet_node node = sim->nodes[index].spec;
    uint32_t number = index;
    int rc;

    node.name = sim->nodes[index].name;
    rc = syn_fleet_put_node(sim->fleet, &node, &number, err);
    assert(rc < 0 || number == index);
    return rc;
}

static int
repair_node(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    int64_t began = clock_ns(sim);
    int rc = put_node(sim, index, err);

    rc = rc < 0 ? rc : syn_fleet_settle(sim->fleet, err);
    sim->changes_ns += clock_ns(sim) - began;
    sim->nodes[index].down = false;
    sim->nodes_down--;
    return rc < 0 ? rc : fail_later(sim, index, err);
}

/* The hour is over, or the notice: the card is for sale again, and who had it bids again. */
static int
renew(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    struct sim_run *run = &sim->runs[index];
    bool bought = false;
    int rc;

    sim_spot_noticed(sim, run);
    rc = sim_spot_return(sim, run, err);
    rc = rc < 0 ? rc : sim_spot_buy(sim, run, &bought, err);
    if (rc < 0)
        return rc;
    if (bought)
        return sim_push(sim, sim->now_ms + SIM_HOUR_MS, SIM_LEASE, index, run->turn, err);
    sim->spot.interrupted++;
    run->out_ms = sim->now_ms;
    return refuse(sim, index, err);
}

/* The hour is over; who is outbid is given notice. */
static int
lease_over(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    struct sim_run *run = &sim->runs[index];

    if (sim->options.notice_ms == 0 || !sim_spot_outbid(sim, run))
        return renew(sim, index, err);
    sim->spot.noticed++;
    run->noticed_ms = sim->now_ms;
    return sim_push(sim, sim->now_ms + sim->options.notice_ms, SIM_NOTICE, index, run->turn, err);
}

/* Ask anew for what can be paid for now, if that has changed. */
static int
ask_again(struct syn_sim *sim, uint32_t index, struct syn_err *err)
{
    struct sim_run *run = &sim->runs[index];
    uint64_t models = sim_spot_models(sim, run);
    int rc = SYN_OK;

    if (run->state == SIM_PRICED_OUT ? models == 0 : models == run->models)
        return SYN_OK;
    if (run->state == SIM_QUEUED) {
        sim->queued--;
        rc = syn_fleet_end(sim->fleet, index, err);
    } else {
        sim->priced_out--;
    }
    rc = rc < 0 ? rc : submit(sim, index, err);
    return rc < 0 ? rc : settle(sim, err);
}

/* Tell the fleet what cards cost now, where its policy minds. */
static int
price_nodes(struct syn_sim *sim, struct syn_err *err)
{
    bool minds =
        sim->options.policy == SYN_FLEET_PRICE || sim->options.policy == SYN_FLEET_BALANCED;
    int rc = SYN_OK;

    for (uint32_t i = 0; rc == SYN_OK && minds && i < sim->nodes_count; i++) {
        struct sim_node *node = &sim->nodes[i];
        const struct sim_good *good = &sim->spot.goods[node->spec.models[0]];

        if (node->spec.cards == 0 || !good->changed)
            continue;
        for (uint32_t card = 0; card < node->spec.cards; card++)
            node->spec.price.cards[card] = good->ask * SYN_FLEET_WHOLE;
        if (!node->down)
            rc = put_node(sim, i, err);
    }
    return rc;
}

/* New prices; who waits asks again, the first that came first. */
static int
tick(struct syn_sim *sim, struct syn_err *err)
{
    int rc = sim_spot_reprice(sim, err);
    uint32_t waiting = sim->priced_out + sim->queued;

    rc = rc < 0 ? rc : price_nodes(sim, err);
    rc = rc < 0 ? rc : settle(sim, err);
    for (uint32_t i = 0; rc == SYN_OK && waiting > 0 && i < sim->arrived; i++) {
        bool queued = sim->runs[i].state == SIM_QUEUED;

        if (!queued && sim->runs[i].state != SIM_PRICED_OUT)
            continue;
        waiting--;
        if (!queued || sim_milli(&sim->pods[sim->runs[i].pod].ask) > 0)
            rc = ask_again(sim, i, err);
    }
    return rc < 0 ? rc : sim_push(sim, sim->now_ms + SIM_HOUR_MS, SIM_TICK, 0, 0, err);
}

static int
happen(struct syn_sim *sim, const struct sim_event *event, struct syn_err *err)
{
    bool of_run = event->kind == SIM_END || event->kind == SIM_LEASE || event->kind == SIM_NOTICE;
    int rc;

    if (of_run && sim->runs[event->subject].turn != event->turn)
        return SYN_OK;
    pass_time(sim, event->at_ms);
    switch ((enum sim_event_kind)event->kind) {
    case SIM_END:
        rc = end(sim, event->subject, err);
        break;
    case SIM_FAIL:
        rc = fail_node(sim, event->subject, err);
        break;
    case SIM_REPAIR:
        rc = repair_node(sim, event->subject, err);
        break;
    case SIM_LEASE:
        rc = lease_over(sim, event->subject, err);
        break;
    case SIM_NOTICE:
        rc = renew(sim, event->subject, err);
        break;
    case SIM_TICK:
    default:
        rc = tick(sim, err);
        break;
    }
    return rc < 0 ? rc : settle(sim, err);
}

/* --- the run --------------------------------------------------------------------------------- */

/* The published protocol: all in random order, then drawn with replacement, until the next would
 * pass the mark. */
static int
draw_arrivals(struct syn_sim *sim, struct syn_err *err)
{
    int64_t mark = sim->cards * SYN_FLEET_WHOLE * (int64_t)sim->options.arrivals_percent / 100;
    int64_t asked = 0, whole = 0;
    size_t cap = 0;
    uint32_t *order = syn_calloc((size_t)sim->pods_count, sizeof(*order));

    if (order == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the arrivals");
    for (uint32_t i = 0; i < sim->pods_count; i++) {
        uint32_t j = (uint32_t)(sim_random(&sim->random) % ((uint64_t)i + 1));

        order[i] = order[j];
        order[j] = i;
        whole += sim_milli(&sim->pods[i].ask);
    }
    while (whole > 0) {
        uint32_t n = sim->runs_count;
        uint32_t pod =
            n < sim->pods_count ? order[n] : (uint32_t)(sim_random(&sim->random) % sim->pods_count);

        asked += sim_milli(&sim->pods[pod].ask);
        if (asked > mark)
            break;
        if (n == SYN_SIM_RUNS_MAX ||
            !syn_grow((void *)&sim->runs, &cap, (size_t)n + 1, sizeof(*sim->runs))) {
            syn_free(order);
            return SYN_FAIL(err, n == SYN_SIM_RUNS_MAX ? SYN_E_LIMIT : SYN_E_NOMEM,
                            "more than %u arrivals", n);
        }
        sim->runs[sim->runs_count++] =
            (struct sim_run){.pod = pod, .left_ms = -1, .noticed_ms = -1, .out_ms = -1};
    }
    syn_free(order);
    if (sim->runs_count == 0)
        return SYN_FAIL(err, SYN_E_INVALID,
                        "arrivals: nothing asks for a part of the %" PRId64 " cards", sim->cards);
    return SYN_OK;
}

static int
list_arrivals(struct syn_sim *sim, struct syn_err *err)
{
    sim->runs = syn_calloc((size_t)sim->pods_count, sizeof(*sim->runs));
    if (sim->runs == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the arrivals");
    sim->runs_count = sim->pods_count;
    for (uint32_t i = 0; i < sim->runs_count; i++)
        sim->runs[i] = (struct sim_run){.pod = i,
                                        .arrived_ms = sim->pods[i].arrives_ms,
                                        .left_ms = sim->pods[i].runs_ms,
                                        .noticed_ms = -1,
                                        .out_ms = -1,
                                        .bid = 300 + (uint32_t)(sim_random(&sim->random) % 1200)};
    sim->now_ms = sim->begun_ms = sim->runs[0].arrived_ms;
    return SYN_OK;
}

static int
prepare(struct syn_sim *sim, struct syn_err *err)
{
    int rc = sim->options.arrivals_percent > 0 ? draw_arrivals(sim, err) : list_arrivals(sim, err);

    for (uint32_t i = 0; rc == SYN_OK && !sim->options.learn && i < sim->pods_count; i++)
        rc = syn_fleet_expect(sim->fleet, &sim->pods[i].ask, 1, err);
    if (rc < 0)
        return rc;
    sim->waits_ms = syn_calloc((size_t)sim->runs_count, sizeof(*sim->waits_ms));
    if (sim->waits_ms == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the arrivals");
    if (sim->options.spot) {
        rc = sim_spot_open(sim, err);
        rc = rc < 0 ? rc : price_nodes(sim, err);
        rc = rc < 0 ? rc : sim_push(sim, sim->now_ms + SIM_HOUR_MS, SIM_TICK, 0, 0, err);
    }
    for (uint32_t i = 0; rc == SYN_OK && sim->options.mtbf_ms > 0 && i < sim->nodes_count; i++)
        rc = fail_later(sim, i, err);
    return rc;
}

/* Everything comes once; where there is time, everything leaves once. */
static void
tell_progress(const struct syn_sim *sim, uint64_t *steps)
{
    bool lasting = sim->options.arrivals_percent == 0;

    if (sim->options.progress != NULL && (*steps)++ % SIM_TOLD_EVERY == 0)
        sim->options.progress(sim->options.progress_arg, (int64_t)(sim->arrived + sim->finished),
                              (int64_t)sim->runs_count * (lasting ? 2 : 1));
}

/* Nothing can change any more: all came; nothing runs that will end; what waits, waits in vain. */
static bool
over(const struct syn_sim *sim, bool ticked)
{
    if (!idle(sim))
        return false;
    if (sim->queued > 0 && sim->nodes_down > 0)
        return false;
    return !sim->options.spot || sim->priced_out + sim->queued == 0 || ticked;
}

int
syn_sim_run(struct syn_sim *sim, struct syn_err *err)
{
    uint64_t steps = 0;
    bool ticked = false;
    int rc;

    assert(sim->nodes_count > 0 && sim->pods_count > 0 && !sim->ran);
    sim->ran = true;
    rc = prepare(sim, err);
    while (rc == SYN_OK && !over(sim, ticked)) {
        bool coming = sim->arrived < sim->runs_count;
        struct sim_event event;

        tell_progress(sim, &steps);
        if (coming &&
            (sim->heap_count == 0 || sim->runs[sim->arrived].arrived_ms <= sim->heap[0].at_ms)) {
            pass_time(sim, sim->runs[sim->arrived].arrived_ms);
            rc = arrive(sim, err);
            continue;
        }
        assert(sim->heap_count > 0);
        event = pop(sim);
        rc = happen(sim, &event, err);
        ticked = event.kind == SIM_TICK && sim->finite == 0 && sim->nodes_down == 0;
    }
    for (uint32_t i = 0; rc == SYN_OK && i < sim->runs_count; i++) {
        if (sim->runs[i].state != SIM_RUNNING)
            continue;
        sim->cost_hour_ms +=
            (syn_i128)rate(sim, &sim->runs[i]) * (sim->now_ms - sim->runs[i].began_ms);
        sim_spot_noticed(sim, &sim->runs[i]);
    }
    return rc;
}

void
syn_sim_check(const struct syn_sim *sim)
{
    struct syn_fleet_totals totals;
    uint32_t running = 0, queued = 0;

    for (uint32_t i = 0; i < sim->runs_count; i++) {
        running += sim->runs[i].state == SIM_RUNNING;
        queued += sim->runs[i].state == SIM_QUEUED;
    }
    syn_fleet_total(sim->fleet, &totals);
    assert(totals.milli_used == sim->milli_used && totals.running == running);
    assert(totals.pending == queued && queued == sim->queued);
    assert(totals.nodes == sim->nodes_count - sim->nodes_down);
    if (sim->spot.exchange != NULL) {
        syn_exchange_check(sim->spot.exchange);
        assert(syn_exchange_money(sim->spot.exchange, sim->spot.seller).free ==
               (int64_t)sim->spot.paid);
    }
}
