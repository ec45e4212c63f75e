/* Rehearsals: a graph run on the modelled platform under one policy after another.
 *
 * No single rule is good at everything: where transfers rule, a task must stay where it was put;
 * where the area rules, cheap classes must take what they are comparatively good at; where the
 * critical path rules, neither. dmdas itself is among the candidates: whatever it does well, it is
 * there to be chosen.
 *
 * A rule has dials: what a transfer weighs, how far ahead slow classes may take work, whether what
 * waits is stolen. From the best of these rules dials are turned one after another, as long as
 * tasks that vary end sooner for it. Policies are compared by the same trials, in which tasks vary
 * the same way; the last decision is by trials that no policy was chosen on.
 *
 * Other candidates come from the whole: the split of all work over the classes, with chains that
 * must fit, gives each task a class (sides.c), and its rank is the longest way to the end on these.
 *
 * The best few are also improved by what they showed. In a rehearsal every task has a time at which
 * the first of those that wait for it began: its due. Whoever lets it end by then delays nothing,
 * wherever it runs. So the next rehearsal goes by these dues: of the places where a task is in time
 * the one that the split of the whole work finds cheapest, which takes work off the classes that
 * all wait for; everything behind moves up, and the next dues are shorter.
 *
 *     fast  | A B C D |      A has until D begins: the slow class may have it,
 *     slow  |     D'  |      and B, C, D begin sooner
 *
 * energy goes the other way with the same score, stretched to the deadline: a task takes the
 * slowest power state in which it ends before what waits for it, or for its worker, should begin. A
 * task that is late runs at full speed, so that what varies is made good as it comes.
 *
 * Refused: an insertion-based static schedule (HEFT as published, Topcuoglu, Hariri, Wu, TPDS
 * 2002). It needs the links' future, and one late task moves everything behind it. Dues are no
 * places: who is free takes what is there. */
#include <string.h>

#include "rehearse_priv.h"
#include "sides_priv.h"

#define NEAR            32    /* tasks looked at for one whose data are here */
#define STARTS          3U    /* candidates that are improved */
#define START_PERMILLE  1060U /* those that take no longer than so much of the best */
#define ROUNDS_MAX      20U   /* of improvement */
#define BARREN_MAX      4U    /* rounds without improvement, then it ends */
#define PLAIN_PERMILLE  10U   /* what must be gained on dmdas, for tasks vary by more */
#define OTHER_PERMILLE  2U    /* and on another policy */
#define SWITCH_PERMILLE 15U
#define VARIES          10U /* a part of a task's time: so much it varies in a trial */
#define TRIALS          4U  /* of a finalist */
#define RATINGS         2U  /* of a policy while dials are turned: other trials than those */
#define RATING_SEED     101U
#define DEAL_PART       3U    /* of the rehearsals go to splits */
#define DEAL_STEPS      240U  /* of a split */
#define LOOKS_MAX       6U    /* at it */
#define WAYS            4U    /* to make it whole */
#define NOTICED         2000U /* a gain of one part in so many counts as one */
#define STEPS_MAX       48U   /* accepted steps of energy and cost */
/* Rehearsals of one choice: as many as run so many tasks, within limits. */
#define TASKS_RUN      2500000U
#define REHEARSALS_MIN 60U
#define REHEARSALS_MAX 600U
#define AGAIN_PART     3U /* of these, when it runs already */

/* clang-format off */
static const struct candidate candidates[] = {
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1000}},
    {&strategy_dmdas, {.rank = EFT_PRIORITY}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .near = NEAR}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 1000, .near = NEAR}},
    {&eft_ops, {.rank = EFT_LEAST, .move_permille = 1000, .near = NEAR}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 1000}},
    {&eft_ops, {.rank = EFT_LEAST, .move_permille = 1000}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 1000, .fifo_wait = true, .stay = true}},
    {&eft_ops, {.rank = EFT_LEAST, .move_permille = 1000, .pace_permille = 1000}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 1000, .pace_permille = 1000}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1000, .near = NEAR}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1050, .stretch_permille = 4000}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1100, .stretch_permille = 4500}},
    {&eft_ops, {.rank = EFT_LEAST, .move_permille = 1000, .pace_permille = 1150, .stretch_permille = 5000}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1050, .stretch_permille = 2000}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1050, .stretch_permille = 3000}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .pace_permille = 1100}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 300, .pace_permille = 1100}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 1000, .fifo_wait = true}},
    {&eft_ops, {.rank = EFT_WEIGHTED, .move_permille = 4000, .fifo_wait = true, .near = NEAR}},
    {&eft_ops, {.rank = EFT_MEAN, .move_permille = 4000, .pace_permille = 1000, .stay = true}},
    {&strategy_heteroprio, {.rank = EFT_PRIORITY}},
};
/* clang-format on */

#define CANDIDATES SYN_LEN(candidates)
#define PLAIN      1 /* dmdas */
#define FREE       2 /* nothing but earliest ends */

bool
candidate_same(const struct candidate *a, const struct candidate *b)
{
    const struct eft_policy *p = &a->policy, *q = &b->policy;

    return a->ops == b->ops && p->rank == q->rank && p->move_permille == q->move_permille &&
           p->drag_permille == q->drag_permille && p->pace_permille == q->pace_permille &&
           p->stretch_permille == q->stretch_permille && p->energy_permille == q->energy_permille &&
           p->price_permille == q->price_permille && p->thrift == q->thrift &&
           p->slack_permille == q->slack_permille && p->fifo_wait == q->fifo_wait &&
           p->stay == q->stay && p->dues == q->dues && p->ends == q->ends && p->sides == q->sides &&
           p->near == q->near && memcmp(p->states, q->states, sizeof(p->states)) == 0 &&
           memcmp(p->mix, q->mix, sizeof(p->mix)) == 0;
}

const struct candidate *
stage_default(void)
{
    return &candidates[0];
}

int
stage_init(struct stage *stage, const struct syn_platform *platform,
           const struct syn_graph_view *graph, struct syn_err *err)
{
    size_t count = (size_t)graph->task_count + 1;
    bool all;

    *stage = (struct stage){.platform = platform, .graph = graph};
    stage->trace = syn_calloc(count, sizeof(stage->trace[0]));
    stage->begins = syn_calloc(count, sizeof(stage->begins[0]));
    all = stage->trace != NULL && stage->begins != NULL;
    for (size_t i = 0; i < STAGE_SIDES; i++) {
        stage->sides[i] = syn_calloc(count, 1);
        all = all && stage->sides[i] != NULL;
    }
    for (size_t i = 0; i < STAGE_SCORES; i++) {
        stage->scores[i].dues = syn_calloc(count, sizeof(uint64_t));
        stage->scores[i].ends = syn_calloc(count, sizeof(uint64_t));
        all = all && stage->scores[i].dues != NULL && stage->scores[i].ends != NULL;
    }
    if (all)
        return SYN_OK;
    stage_fini(stage);
    return SYN_FAIL(err, SYN_E_NOMEM, "out of memory for rehearsals");
}

void
stage_fini(struct stage *stage)
{
    syn_free(stage->trace);
    syn_free(stage->begins);
    for (size_t i = 0; i < STAGE_SIDES; i++)
        syn_free(stage->sides[i]);
    for (size_t i = 0; i < STAGE_SCORES; i++) {
        syn_free(stage->scores[i].dues);
        syn_free(stage->scores[i].ends);
    }
    *stage = (struct stage){0};
}

/* A task's time in a rehearsal with `arg` a struct trial: what is believed, varied by VARIES. */
struct trial {
    const struct syn_graph_view *graph;
    uint64_t seed;
};

static uint64_t
varied(void *arg, uint32_t task, uint32_t class_id)
{
    const struct trial *trial = arg;
    uint64_t ns = __atomic_load_n(&trial->graph->tasks[task].cost->ns[class_id], __ATOMIC_RELAXED);
    uint64_t x =
        (trial->seed << 40 ^ (uint64_t)task << 8 ^ class_id) * UINT64_C(0x9E3779B97F4A7C15);

    x = (x ^ (x >> 31)) * UINT64_C(0xD1B54A32D192ED03);
    if (ns == SYN_UNKNOWN_NS)
        return ns;
    return ns - ns / VARIES + (ns / VARIES * (x >> 54) >> 9);
}

/* Run the graph as it is believed to be; with `seed` its tasks vary. False: it takes longer than
 * `limit_ns`, or no memory. */
static bool
rehearse_varied(const struct stage *stage, const struct candidate *candidate, uint64_t limit_ns,
                uint64_t seed, struct syn_plan_result *ret_result)
{
    struct trial trial = {stage->graph, seed};
    struct sim_setup setup = {
        .platform = stage->platform,
        .graph = stage->graph,
        .strategy = candidate->ops,
        .give_graph = true,
        .give_up_ns = limit_ns,
        .trace = stage->trace,
        .busy = stage->busy,
        .duration = seed == 0 ? NULL : varied,
        .arg = &trial,
        .strategy_opts = {.extra = &candidate->policy, .seed = stage->seed},
    };

    return sim_run(&setup, ret_result, NULL) == 0;
}

/* The same as believed, and one of the rehearsals that there may be. */
static bool
rehearse(struct stage *stage, const struct candidate *candidate, uint64_t limit_ns,
         struct syn_plan_result *ret_result)
{
    if (stage->left == 0)
        return false;
    stage->left--;
    return rehearse_varied(stage, candidate, limit_ns, 0, ret_result);
}

static uint64_t
objective(const struct stage *stage, const struct syn_plan_result *result)
{
    if (stage->goal == GOAL_ENERGY)
        return result->energy_uj;
    return stage->goal == GOAL_PRICE ? result->price : result->makespan_ns;
}

/* One that neither runs nor is the best's. */
static struct stage_score *
spare_score(struct stage *stage, const struct candidate *best)
{
    struct stage_score *score = stage->scores;

    while (score->dues == stage->running || score->dues == stage->held ||
           score->dues == best->policy.dues)
        score++;
    assert(score < stage->scores + STAGE_SCORES);
    return score;
}

/* What the last rehearsal was, stretched until its end is `until_ns`. */
static void
write_score(const struct stage *stage, const struct syn_plan_result *result, uint64_t until_ns,
            struct stage_score *score)
{
    const struct syn_graph_view *graph = stage->graph;
    uint64_t next[SYN_PLATFORM_WORKERS_MAX]; /* begin of what the worker ran next */
    uint32_t first = 0, at = graph->task_count;
    double factor = (double)until_ns / (double)SYN_MAX(result->makespan_ns, 1);

    for (uint32_t i = 0; graph->ended != NULL && i < graph->task_count; i++)
        first += graph->ended[i] != 0;
    for (uint32_t i = first; i < graph->task_count; i++)
        stage->begins[stage->trace[i].task] = stage->trace[i].begin_ns;
    for (uint32_t w = 0; w < stage->platform->worker_count; w++)
        next[w] = result->makespan_ns;
    /* The trace is in the order of ends, and so in that of each worker's tasks. */
    while (at-- > first) {
        const struct syn_plan_event *event = &stage->trace[at];
        uint64_t due = result->makespan_ns, end;

        for (uint32_t j = graph->succ_first[event->task]; j < graph->succ_first[event->task + 1];
             j++)
            due = SYN_MIN(due, stage->begins[graph->succ[j]]);
        end = SYN_MIN(due, next[event->worker]);
        next[event->worker] = event->begin_ns;
        score->dues[event->task] = (uint64_t)((double)due * factor);
        score->ends[event->task] = (uint64_t)((double)end * factor);
    }
}

/* A policy that holds on to a score, otherwise as the one that made it. */
static struct candidate
follow(const struct candidate *from, const struct stage_score *score)
{
    struct candidate next = *from;

    if (from->ops != &eft_ops)
        next = candidates[FREE];
    next.policy.dues = score->dues;
    return next;
}

/* Improve on a candidate by its own rehearsals. */
static void
improve(struct stage *stage, const struct candidate *from, struct candidate *best,
        uint64_t *least_ns)
{
    struct candidate tried = *from;
    struct syn_plan_result result;
    uint64_t own_ns = UINT64_MAX;
    uint32_t barren = 0;

    for (uint32_t round = 0; round <= ROUNDS_MAX && barren < BARREN_MAX; round++) {
        if (!rehearse(stage, &tried, 0, &result))
            return;
        barren = result.makespan_ns < own_ns ? 0 : barren + 1;
        own_ns = SYN_MIN(own_ns, result.makespan_ns);
        if (result.makespan_ns < *least_ns) {
            *least_ns = result.makespan_ns;
            *best = tried;
        }
        write_score(stage, &result, result.makespan_ns, spare_score(stage, best));
        tried = follow(&tried, spare_score(stage, best));
    }
}

/* The running policy's score as seen from now. */
static struct candidate
shifted(struct stage *stage, const struct candidate *running, const struct candidate *best,
        uint64_t elapsed_ns)
{
    struct candidate now = *running;
    struct stage_score *score;

    if (running->policy.dues == NULL)
        return now;
    score = spare_score(stage, best);
    for (uint32_t i = 0; i < stage->graph->task_count; i++)
        score->dues[i] = running->policy.dues[i] - SYN_MIN(elapsed_ns, running->policy.dues[i]);
    now.policy.dues = score->dues;
    if (running->policy.ends == NULL)
        return now;
    for (uint32_t i = 0; i < stage->graph->task_count; i++)
        score->ends[i] = running->policy.ends[i] - SYN_MIN(elapsed_ns, running->policy.ends[i]);
    now.policy.ends = score->ends;
    return now;
}

/* How long it takes when tasks vary: a mean of trials. 0: it cannot be rehearsed. */
static uint64_t
trial_ns(const struct stage *stage, const struct candidate *candidate)
{
    struct syn_plan_result result;
    uint64_t sum = 0;

    for (uint64_t seed = 1; seed <= TRIALS; seed++) {
        if (!rehearse_varied(stage, candidate, 0, seed, &result))
            return 0;
        sum += result.makespan_ns;
    }
    return sum / TRIALS;
}

uint64_t
stage_expect(struct stage *stage, const struct candidate *running, uint64_t elapsed_ns)
{
    struct candidate now;

    stage->running = running->policy.dues;
    stage->held = NULL;
    now = shifted(stage, running, running, elapsed_ns);
    return trial_ns(stage, &now);
}

/* The dials of a policy, and what they are tried at. */
enum dial { DIAL_RANK, DIAL_MOVE, DIAL_DRAG, DIAL_NEAR, DIAL_PACE, DIAL_STRETCH, DIAL_WAIT, DIALS };

#define TURNS_MAX 8U

static const struct {
    uint32_t count, values[TURNS_MAX];
} turns[DIALS] = {
    [DIAL_RANK] = {3, {EFT_MEAN, EFT_LEAST, EFT_WEIGHTED}},
    [DIAL_MOVE] = {7, {0, 300, 1000, 2000, 4000, 8000, 16000}},
    [DIAL_DRAG] = {5, {0, 1000, 4000, 16000, 64000}},
    [DIAL_NEAR] = {3, {0, NEAR / 4, NEAR}},
    [DIAL_PACE] = {5, {0, 1000, 1050, 1100, 1200}},
    [DIAL_STRETCH] = {5, {1000, 2000, 3000, 4000, 5000}},
    [DIAL_WAIT] = {4, {0, 1, 2, 3}}, /* fifo_wait, stay */
};

static void
turn(struct eft_policy *policy, uint32_t dial, uint32_t value)
{
    switch ((enum dial)dial) {
    case DIAL_RANK:
        policy->rank = (enum eft_rank)value;
        break;
    case DIAL_MOVE:
        policy->move_permille = value;
        break;
    case DIAL_DRAG:
        policy->drag_permille = value;
        break;
    case DIAL_NEAR:
        policy->near = (uint8_t)value;
        break;
    case DIAL_PACE:
        policy->pace_permille = value;
        break;
    case DIAL_STRETCH:
        policy->stretch_permille = value;
        break;
    case DIAL_WAIT:
        policy->fifo_wait = (value & 1) != 0;
        policy->stay = (value & 2) != 0;
        break;
    case DIALS:
        break;
    }
}

/* A sum over trials, or UINT64_MAX if it is over `limit_ns`, or there are no rehearsals left. */
static uint64_t
rate(struct stage *stage, const struct candidate *candidate, uint64_t limit_ns)
{
    struct syn_plan_result result;
    uint64_t sum = 0;

    for (uint64_t seed = RATING_SEED; seed < RATING_SEED + RATINGS; seed++) {
        if (stage->left == 0 || sum >= limit_ns)
            return UINT64_MAX;
        stage->left--;
        if (!rehearse_varied(stage, candidate, limit_ns - sum, seed, &result))
            return UINT64_MAX;
        sum += result.makespan_ns;
    }
    return sum;
}

/* Turn one dial after another for as long as it gets better. */
static void
explore(struct stage *stage, uint32_t reserve, struct candidate *at)
{
    uint64_t least = rate(stage, at, UINT64_MAX);
    uint32_t barren = 0;

    for (uint32_t dial = 0; barren < DIALS; dial = (dial + 1) % DIALS) {
        struct candidate from = *at;

        barren++;
        for (uint32_t i = 0; i < turns[dial].count; i++) {
            struct candidate tried = from;
            uint64_t ns;

            turn(&tried.policy, dial, turns[dial].values[i]);
            if (candidate_same(&tried, &from))
                continue;
            if (stage->left <= reserve)
                return;
            ns = rate(stage, &tried, least);
            if (ns < least - least / NOTICED) {
                least = ns;
                *at = tried;
                barren = 0;
            }
        }
    }
}

/* One that neither runs nor is kept. */
static uint8_t *
spare_sides(struct stage *stage, const uint8_t *kept)
{
    uint8_t **spare = stage->sides;

    while (*spare == stage->running_sides || *spare == kept)
        spare++;
    assert(spare < stage->sides + STAGE_SIDES);
    return *spare;
}

/* Rehearse what a split suggests; the best so far is kept. */
static void
deal(struct stage *stage, struct sides *sides, struct candidate *best, uint64_t *least_ns)
{
    for (unsigned way = 0; way < WAYS; way++) {
        struct candidate tried = candidates[FREE];
        struct syn_plan_result result;
        uint8_t *classes = spare_sides(stage, best->policy.sides);

        sides_write(sides, (way & 1) != 0, (way & 2) != 0, classes);
        tried.policy.rank = EFT_SIDES;
        tried.policy.near = 0;
        tried.policy.sides = classes;
        if (rehearse(stage, &tried, *least_ns, &result) && result.makespan_ns > 0) {
            *least_ns = result.makespan_ns;
            *best = tried;
        }
    }
}

/* The best of the splits with more or less room for waiting, after more and more steps; as many as
 * a part of the rehearsals allows. False: none. */
static bool
deal_all(struct stage *stage, struct candidate *best, uint64_t *ret_ns)
{
    static const double parts[] = {.5, .8, .65, 1, .4};
    struct sides *sides = NULL;
    uint32_t looks = stage->left / DEAL_PART / (WAYS * SYN_LEN(parts));

    *ret_ns = 0;
    if (sides_new(stage->platform, stage->graph, &sides, NULL) < 0)
        return false;
    looks = SYN_MIN(SYN_MAX(looks, 1), LOOKS_MAX);
    for (size_t p = 0; p < SYN_LEN(parts); p++) {
        if (sides_aim(sides, parts[p], NULL) < 0)
            break;
        for (uint32_t look = 0; look < looks; look++) {
            sides_run(sides, DEAL_STEPS / looks);
            deal(stage, sides, best, ret_ns);
        }
    }
    (void)sides_free(sides);
    return *ret_ns != 0;
}

/* All candidates as they are; *times are those of the promising, 0 else. */
static uint64_t
try_all(struct stage *stage, uint64_t *times, size_t *ret_best)
{
    struct syn_plan_result result;
    uint64_t least_ns = 0;

    for (size_t i = 0; i < CANDIDATES; i++)
        if (rehearse(stage, &candidates[i], least_ns + least_ns / 1000 * (START_PERMILLE - 1000),
                     &result)) {
            times[i] = result.makespan_ns;
            if (least_ns == 0 || times[i] < least_ns) {
                least_ns = times[i];
                *ret_best = i;
            }
        }
    return least_ns;
}

/* Whichever does best when tasks vary; those before, unless one behind gains more than chance. The
 * first is what runs, or NULL. */
static uint64_t
judge(struct stage *stage, const struct candidate *const *finalists, size_t count, size_t *ret_won)
{
    uint64_t least_ns = 0;

    for (size_t i = 0; i < count; i++) {
        uint64_t ns = finalists[i] == NULL ? 0 : trial_ns(stage, finalists[i]);
        uint32_t gain = least_ns == 0                                       ? 0
                        : finalists[0] != NULL && *ret_won == 0             ? SWITCH_PERMILLE
                        : finalists[*ret_won]->ops == candidates[PLAIN].ops ? PLAIN_PERMILLE
                                                                            : OTHER_PERMILLE;

        if (ns == 0 || (least_ns != 0 && ns > least_ns - least_ns / 1000 * gain))
            continue;
        least_ns = ns;
        *ret_won = i;
    }
    return least_ns;
}

/* How many there may be for one choice. */
static uint32_t
rehearsals(const struct stage *stage, bool again)
{
    uint32_t count = TASKS_RUN / (stage->graph->task_count + 1);

    count = SYN_MIN(SYN_MAX(count, REHEARSALS_MIN), REHEARSALS_MAX);
    if (again)
        count = SYN_MAX(count / AGAIN_PART, REHEARSALS_MIN);
    /* A handful of tasks has not so many good orders. */
    return SYN_MIN(count, REHEARSALS_MIN + stage->graph->task_count);
}

/* The eft candidate that is best as it is, its dials turned. */
static struct candidate
explored(struct stage *stage, const uint64_t *times)
{
    size_t best = 0;
    struct candidate at;

    for (size_t i = 0; i < CANDIDATES; i++)
        if (candidates[i].ops == &eft_ops && times[i] != 0 &&
            (times[best] == 0 || times[i] < times[best]))
            best = i;
    at = candidates[best];
    explore(stage, ROUNDS_MAX + 1, &at);
    return at;
}

/* Improve on the first few as they are. */
static void
improve_all(struct stage *stage, uint64_t *times, struct candidate *improved, uint64_t *least_ns)
{
    for (uint32_t start = 0; start < STARTS; start++) {
        size_t next = CANDIDATES;

        for (size_t i = 0; i < CANDIDATES; i++)
            if (times[i] != 0 && (next == CANDIDATES || times[i] < times[next]))
                next = i;
        if (next == CANDIDATES)
            break;
        times[next] = 0;
        improve(stage, &candidates[next], improved, least_ns);
    }
}

/* Improve on what was dealt: as it is, and by letting tasks change sides as long as they end when
 * they did. */
static void
improve_dealt(struct stage *stage, const struct candidate *dealt, struct candidate *improved,
              uint64_t *least_ns)
{
    struct candidate loose;
    struct syn_plan_result result;
    struct stage_score *score;

    improve(stage, dealt, improved, least_ns);
    if (!rehearse(stage, dealt, 0, &result))
        return;
    score = spare_score(stage, improved);
    write_score(stage, &result, result.makespan_ns, score);
    loose = follow(dealt, score);
    loose.policy.sides = NULL;
    loose.policy.rank = EFT_WEIGHTED;
    improve(stage, &loose, improved, least_ns);
}

uint64_t
stage_fastest(struct stage *stage, const struct candidate *running, bool keep, uint64_t elapsed_ns,
              struct candidate *best)
{
    uint64_t times[CANDIDATES] = {0}, kept[CANDIDATES], least_ns, dealt_ns = 0;
    size_t plain = CANDIDATES, won = 0;
    bool leads;
    struct candidate now, turned, improved, dealt = candidates[FREE];
    const struct candidate *finalists[] = {NULL, &candidates[PLAIN], NULL, NULL, NULL, &improved};

    stage->left = rehearsals(stage, running != NULL);
    stage->running = running == NULL ? NULL : running->policy.dues;
    stage->running_sides = running == NULL ? NULL : running->policy.sides;
    stage->held = NULL;
    least_ns = try_all(stage, times, &plain);
    if (least_ns == 0)
        return 0;
    memcpy(kept, times, sizeof(kept));
    improved = candidates[plain];
    finalists[2] = &candidates[plain];
    improve_all(stage, times, &improved, &least_ns);
    if (deal_all(stage, &dealt, &dealt_ns))
        improve_dealt(stage, &dealt, &improved, &least_ns);
    finalists[4] = dealt_ns != 0 ? &dealt : NULL;
    if (stage->goal == GOAL_TIME) { /* else there are more dials to come, and time to spare */
        leads = dealt_ns != 0 && dealt_ns < kept[plain];
        if (leads) /* the better first, for rehearsals may run out */
            explore(stage, ROUNDS_MAX + 1, &dealt);
        turned = explored(stage, kept);
        if (!leads && dealt_ns != 0)
            explore(stage, ROUNDS_MAX + 1, &dealt);
        improve(stage, leads ? &dealt : &turned, &improved, &least_ns);
        finalists[3] = &turned;
    }
    if (running != NULL && keep) {
        now = shifted(stage, running, &improved, elapsed_ns);
        finalists[0] = &now;
    }
    least_ns = judge(stage, finalists, SYN_LEN(finalists), &won);
    if (least_ns != 0)
        *best = running != NULL && finalists[won] == &now ? *running : *finalists[won];
    return least_ns;
}

/* One change to a policy; false: there is no such change to this one. */
static bool
change(const struct stage *stage, struct eft_policy *policy, uint32_t step)
{
    uint32_t classes = stage->platform->class_count;
    uint32_t *weight =
        stage->goal == GOAL_ENERGY ? &policy->energy_permille : &policy->price_permille;

    if (step < 2 * classes) { /* the next slower state, for more of the tasks or for all */
        uint32_t c = step / 2;

        if (policy->states[c] + 1U >= stage->platform->classes[c].state_count)
            return false;
        policy->mix[c] = (uint8_t)(step % 2 == 0 ? policy->mix[c] + 1U : EFT_MIX);
        if (policy->mix[c] == EFT_MIX) {
            policy->mix[c] = 0;
            policy->states[c]++;
        }
        return true;
    }
    switch (step - 2 * classes) {
    case 0:
        *weight = *weight == 0 ? 100 : *weight * 4;
        return *weight <= 1000000;
    case 1: /* time to spare lets cheap classes have what they are good at */
        policy->pace_permille += policy->pace_permille == 0 ? 1000 : 50;
        return policy->pace_permille <= 2000;
    default:
        return false;
    }
}

/* Step by step, each time by the change that saves most. */
static void
descend(struct stage *stage, uint64_t limit_ns, struct candidate *best, uint64_t *least)
{
    struct syn_plan_result result;

    for (uint32_t round = 0; round < STEPS_MAX; round++) {
        struct candidate next = *best;
        uint64_t before = *least;

        for (uint32_t step = 0; step < 2 * stage->platform->class_count + 2; step++) {
            struct candidate tried = *best;

            if (change(stage, &tried.policy, step) && rehearse(stage, &tried, limit_ns, &result) &&
                objective(stage, &result) < *least) {
                *least = objective(stage, &result);
                next = tried;
            }
        }
        if (*least == before)
            return;
        *best = next;
    }
}

/* Stretch the score to the limit and let tasks take the time that it leaves them. What then ends
 * late was stretched too far, what ends early too little. */
static void
slacken(struct stage *stage, const struct candidate *from, enum eft_thrift thrift,
        uint64_t limit_ns, struct candidate *best, uint64_t *least)
{
    struct candidate tried = *from;
    struct syn_plan_result result;
    uint64_t target_ns = limit_ns;
    uint32_t barren = 0;

    for (uint32_t round = 0; round <= ROUNDS_MAX && barren < BARREN_MAX; round++) {
        struct stage_score *score;

        if (!rehearse(stage, &tried, limit_ns * 2, &result))
            return;
        barren++;
        if (result.makespan_ns <= limit_ns && objective(stage, &result) < *least) {
            *least = objective(stage, &result);
            *best = tried;
            barren = 0;
        }
        if (result.makespan_ns > limit_ns)
            target_ns -= SYN_MIN(result.makespan_ns - limit_ns, target_ns / 4);
        else if (round > 0)
            target_ns += (limit_ns - result.makespan_ns) / 2;
        score = spare_score(stage, best);
        write_score(stage, &result, target_ns, score);
        tried = follow(&tried, score);
        tried.policy.thrift = thrift;
        if (stage->goal == GOAL_ENERGY)
            tried.policy.ends = score->ends;
    }
}

/* Where to begin. Near full speed a task's energy falls about as its time grows, so what counts is
 * the product: time to spare is energy to be saved. A price is paid by the time alone. */
static bool
begin_with(struct stage *stage, uint64_t limit_ns, struct candidate *best, uint64_t *least)
{
    double best_worth = 0;

    const struct candidate fastest = *best;

    for (size_t i = 0; i <= CANDIDATES; i++) {
        struct candidate tried = i == CANDIDATES ? fastest : candidates[i];
        struct syn_plan_result result;
        double worth;

        if (tried.ops != &eft_ops || !rehearse(stage, &tried, limit_ns, &result))
            continue;
        worth = (double)objective(stage, &result);
        if (stage->goal == GOAL_ENERGY)
            worth *= (double)result.makespan_ns;
        if (best_worth == 0 || worth < best_worth) {
            best_worth = worth;
            *least = objective(stage, &result);
            *best = tried;
        }
    }
    return best_worth > 0;
}

void
stage_economise(struct stage *stage, bool again, uint64_t limit_ns, struct candidate *best)
{
    uint64_t least = UINT64_MAX;
    struct candidate descended;

    stage->left = rehearsals(stage, again);
    stage->held = best->policy.dues;
    if (!begin_with(stage, limit_ns, best, &least))
        return;
    descend(stage, limit_ns, best, &least);
    descended = *best;
    stage->held = descended.policy.dues;
    slacken(stage, &descended, EFT_NOTHING, limit_ns, best, &least);
    slacken(stage, &descended, stage->goal == GOAL_ENERGY ? EFT_ENERGY : EFT_PRICE, limit_ns, best,
            &least);
}
