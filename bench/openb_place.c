/* openb-place: the placement core as a scheduler for the openb judge.
 *
 *     openb-place [--learn] [--policy NAME] [--seed N] [--mix FILE] [--scan]
 *
 * Reads the judge's lines and answers each POD at once:
 *
 *     NODE name cpu_milli memory_mib gpus model      ... READY
 *     POD index cpu_milli memory_mib gpus gpu_milli models|-   ->   index node g+g   or   index -
 *
 * --mix names a pod list (openb_pod_list_TRACE.csv): how often which ask comes. With --learn, and
 * without --mix, the mix is learnt from the pods that came. Bad input ends with the line's number.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/orchestration/sim.h>
#include <synor/orchestration/trace.h>

#include "bench_file.h"

#define LINE_MAX_BYTES 1024
#define FIELDS_MAX     16

struct place {
    struct syn_fleet *fleet;
    enum syn_fleet_policy policy;
    const char *file;
    unsigned line;
};

static int
bad(const struct place *place, struct syn_err *err, const char *field)
{
    return SYN_FAIL(err, SYN_E_INVALID, "%s:%u: %s", place->file, place->line, field);
}

/* Cut a line at `separator`; too many fields are left in the last. */
static unsigned
split(char *line, char separator, char **fields)
{
    unsigned count = 0;
    char *at = line;

    at[strcspn(at, "\r\n")] = '\0';
    while (at && count < FIELDS_MAX) {
        char *end = strchr(at, separator);

        if (end)
            *end++ = '\0';
        fields[count++] = at;
        at = end;
    }
    return count;
}

static bool
number(const char *text, int64_t max, int64_t *ret)
{
    int64_t value = 0;

    if (!*text)
        return false;
    for (; *text; text++) {
        if (*text < '0' || *text > '9')
            return false;
        value = value * 10 + (*text - '0');
        if (value > max)
            return false;
    }
    *ret = value;
    return true;
}

static int
model_of(struct place *place, const char *name, uint32_t *ret, struct syn_err *err)
{
    struct syn_fleet_model model;

    (void)syn_sim_model(name, &model);
    return syn_fleet_model_add(place->fleet, &model, ret, err);
}

static int
read_node(struct place *place, char **fields, unsigned count, struct syn_err *err)
{
    struct syn_fleet_node node = {.idle_mw = 120000};
    int64_t cpu, memory, cards;
    uint32_t model = 0, unused;
    int rc;

    if (count != 6)
        return bad(place, err, "expected NODE name cpu memory gpus model");
    if (!number(fields[2], INT64_C(1) << 40, &cpu))
        return bad(place, err, "cpu: no number, or too large");
    if (!number(fields[3], INT64_C(1) << 25, &memory))
        return bad(place, err, "memory: no number, or too large");
    if (!number(fields[4], SYN_FLEET_CARDS_MAX, &cards))
        return bad(place, err, "gpus: no number, or too many");
    node.name = fields[1];
    node.capacity[SYN_FLEET_CPU] = cpu;
    node.capacity[SYN_FLEET_MEMORY] = memory << 20;
    node.cards = (uint32_t)cards;
    if (cards > 0) {
        rc = model_of(place, fields[5], &model, err);
        if (rc < 0)
            return syn_err_wrap(err, rc, "%s:%u", place->file, place->line);
    }
    memset(node.models, (int)model, sizeof(node.models));
    rc = syn_fleet_put_node(place->fleet, &node, &unused, err);
    return rc < 0 ? syn_err_wrap(err, rc, "%s:%u", place->file, place->line) : SYN_OK;
}

/* cpu, memory, gpus, milli, models. */
static int
read_ask(struct place *place, char *const fields[5], struct syn_fleet_ask *ret, struct syn_err *err)
{
    int64_t cpu, memory, cards, milli;
    char *names[FIELDS_MAX];
    unsigned count;

    memset(ret, 0, sizeof(*ret));
    ret->policy = place->policy;
    if (!number(fields[0], INT64_C(1) << 40, &cpu))
        return bad(place, err, "cpu: no number, or too large");
    if (!number(fields[1], INT64_C(1) << 25, &memory))
        return bad(place, err, "memory: no number, or too large");
    if (!number(fields[2], SYN_FLEET_CARDS_MAX, &cards))
        return bad(place, err, "gpus: no number, or too many");
    if (!number(*fields[3] ? fields[3] : "0", 1000000, &milli) || (cards > 0 && milli == 0))
        return bad(place, err, "gpu_milli: no number, too large, or 0 beside GPUs");
    ret->need[SYN_FLEET_CPU] = cpu;
    ret->need[SYN_FLEET_MEMORY] = memory << 20;
    ret->cards = (uint32_t)cards;
    if (cards == 1 && milli < SYN_FLEET_WHOLE) {
        ret->mode = SYN_FLEET_SHARED;
        ret->share = (uint32_t)milli;
    }
    if (cards == 0 || !*fields[4] || syn_str_eq(fields[4], "-"))
        return SYN_OK;
    count = split(fields[4], '|', names);
    for (unsigned i = 0; i < count; i++) {
        uint32_t model;
        int rc = *names[i] ? model_of(place, names[i], &model, err) : bad(place, err, "models");

        if (rc < 0)
            return rc;
        ret->models |= UINT64_C(1) << model;
    }
    return SYN_OK;
}

static int
on_model(void *arg, const char *name, bool asked, uint32_t *ret, struct syn_err *err)
{
    (void)asked;
    return model_of(arg, name, ret, err);
}

static int
on_pod(void *arg, const struct syn_trace_pod *pod, struct syn_err *err)
{
    struct place *place = arg;
    struct syn_fleet_ask ask = pod->ask;

    ask.policy = place->policy;
    return syn_fleet_expect(place->fleet, &ask, 1, err);
}

static int
read_mix(struct place *place, const char *path, struct syn_err *err)
{
    const struct syn_trace_sink sink = {.arg = place, .model = on_model, .pod = on_pod};
    SYN_BUF(text);
    int rc = bench_read_file(path, &text, err);

    return rc < 0 ? rc
                  : syn_trace_read_pods(&sink, false, path, syn_buf_text(&text), text.len, err);
}

static int
answer(struct place *place, char **fields, unsigned count, struct syn_err *err)
{
    struct syn_fleet_request request = {.members = 1};
    struct syn_fleet_slot slot = {0};
    int64_t index;
    char plus = ' ';
    int rc;

    if (count != 7)
        return bad(place, err, "expected POD index cpu memory gpus milli models");
    if (!number(fields[1], INT64_C(1) << 40, &index))
        return bad(place, err, "index: no number, or too large");
    rc = read_ask(place, fields + 2, &request.ask, err);
    if (rc < 0)
        return rc;
    request.key = (uint64_t)index;
    rc = syn_fleet_try(place->fleet, &request, &slot, err);
    if (rc < 0)
        return syn_err_wrap(err, rc, "%s:%u", place->file, place->line);
    if (rc == SYN_FLEET_FULL) {
        (void)printf("%" PRId64 " -\n", index);
        return SYN_OK;
    }
    (void)printf("%" PRId64 " %s", index, syn_fleet_node_name(place->fleet, slot.node));
    for (unsigned i = 0; i < SYN_FLEET_CARDS_MAX; i++)
        if (slot.cards & SYN_BIT(i)) {
            (void)printf("%c%u", plus, i);
            plus = '+';
        }
    (void)putchar('\n');
    return SYN_OK;
}

static int
serve(struct place *place, struct syn_err *err)
{
    char line[LINE_MAX_BYTES], *fields[FIELDS_MAX];
    int rc = SYN_OK;

    place->file = "standard input";
    for (place->line = 1; rc == SYN_OK && fgets(line, sizeof(line), stdin); place->line++) {
        unsigned count = split(line, ' ', fields);

        if (syn_str_eq(fields[0], "NODE"))
            rc = read_node(place, fields, count, err);
        else if (syn_str_eq(fields[0], "POD"))
            rc = answer(place, fields, count, err);
        else if (!syn_str_eq(fields[0], "READY"))
            rc = bad(place, err, "expected NODE, READY or POD");
        if (fflush(stdout) != 0 && rc == SYN_OK)
            rc = SYN_FAIL_SYS(err, errno, "answering");
    }
    return rc;
}

static int
usage(void)
{
    (void)fputs("usage: openb-place [--learn] [--policy NAME] [--seed N] [--mix FILE] [--scan]\n",
                stderr);
    return 2;
}

int
main(int argc, char **argv)
{
    struct place place = {.policy = SYN_FLEET_FRAGMENTATION};
    struct syn_fleet_options options = {.learn = true};
    const char *mix = NULL;
    struct syn_err err;
    bool learn = false;
    int64_t seed = 0;
    int rc;

    for (int i = 1; i < argc; i++) {
        int policy = SYN_FLEET_FRAGMENTATION;

        if (syn_str_eq(argv[i], "--learn"))
            learn = true;
        else if (syn_str_eq(argv[i], "--scan"))
            options.scan = true;
        else if (syn_str_eq(argv[i], "--mix") && i + 1 < argc)
            mix = argv[++i];
        else if (syn_str_eq(argv[i], "--policy") && i + 1 < argc)
            policy = syn_fleet_policy_find(argv[++i]);
        else if (!syn_str_eq(argv[i], "--seed") || i + 1 == argc ||
                 !number(argv[++i], INT64_MAX / 16, &seed))
            return usage();
        if (policy < 0)
            return usage();
        if (policy != SYN_FLEET_FRAGMENTATION)
            place.policy = (enum syn_fleet_policy)policy;
    }
    options.seed = (uint64_t)seed;
    rc = syn_fleet_new(&options, &place.fleet, &err);
    if (rc == SYN_OK && mix && !learn)
        rc = read_mix(&place, mix, &err);
    if (rc == SYN_OK)
        rc = serve(&place, &err);
    syn_fleet_free(place.fleet);
    if (rc < 0)
        (void)fprintf(stderr, "openb-place: %s\n", err.msg);
    return rc < 0;
}
