/* The content store beside sha256sum and cp, on the same file, in turns; then the file with a line
 * put in front, of which only the line should be stored.
 *
 *   bench-content [DIR] [MIB]      default: $TMPDIR or /var/tmp, 1024
 *
 * Half of the file is random, half is lines of JSON; the runs take turns, so that a slow spell of
 * the machine hits all of them; medians are compared. put ends on disk (synced); cp does not wait
 * for the disk, and neither does get unless asked to. Lines for machines on standard output, the
 * rest on standard error. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>
#include <synor/infra/content.h>

#define ROUNDS    3
#define MIB       ((size_t)1 << 20)
#define PATH_LEN  512
#define EDIT_GOAL 0.02 /* share of the file that putting a line in front may store again */

enum runner {
    RUN_SHA256SUM,
    RUN_OPENSSL,
    RUN_PUT,
    RUN_CP,
    RUN_GET,
    RUN_EDIT,
    RUN_GET_EDIT,
    RUNNERS
};

static const char *const runner_names[] = {"sha256sum",   "openssl sha256", "content put", "cp",
                                           "content get", "put edited",     "get edited"};

struct bench {
    char root[PATH_LEN];
    char input[PATH_LEN + 32];
    char edited[PATH_LEN + 32];
    size_t mib;
    double seconds[RUNNERS][ROUNDS];
    double processor[RUNNERS][ROUNDS];
    struct syn_content_usage usage;
    uint64_t edit_bytes; /* that the edited file added to the store */
};

static void
die(const char *what, const struct syn_err *err)
{
    (void)fprintf(stderr, "bench-content: %s: %s\n", what,
                  err != NULL ? err->msg : strerror(errno));
    exit(1);
}

static double
now(void)
{
    return (double)syn_mono_ms(syn_world_system()) / 1000.0;
}

/* Processor seconds of this process and of the children that ended. */
static double
processor(void)
{
    double seconds = 0;

    for (int i = 0; i < 2; i++) {
        struct rusage usage;

        (void)getrusage(i == 0 ? RUSAGE_SELF : RUSAGE_CHILDREN, &usage);
        seconds += (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
                   (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
    }
    return seconds;
}

struct timer {
    double begun;
    double processor;
};

static struct timer
start(void)
{
    return (struct timer){now(), processor()};
}

static void
stop(struct bench *bench, enum runner runner, int round, struct timer timer)
{
    bench->seconds[runner][round] = now() - timer.begun;
    bench->processor[runner][round] = processor() - timer.processor;
}

static bool
run(const char *const *argv)
{
    posix_spawn_file_actions_t actions;
    pid_t pid = 0;
    int status = -1;

    (void)posix_spawn_file_actions_init(&actions);
    (void)posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
    if (posix_spawnp(&pid, argv[0], &actions, NULL, (char *const *)(uintptr_t)argv, environ) == 0)
        (void)waitpid(pid, &status, 0);
    (void)posix_spawn_file_actions_destroy(&actions);
    return status == 0;
}

/* Lines as a training log or a table has them. */
static void
fill_text(char *out, size_t len, uint64_t *seed)
{
    for (size_t at = 0; at < len;) {
        char line[160];
        int size;

        *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
        size = snprintf(line, sizeof(line),
                        "{\"step\": %" PRIu64 ", \"epoch\": %u, \"loss\": 0.%04u, \"rate\": 0.001, "
                        "\"worker\": \"node-%u\"}\n",
                        *seed >> 48, (unsigned)(at >> 18), (unsigned)(*seed >> 33) % 10000,
                        (unsigned)(*seed >> 20) % 16);
        memcpy(out + at, line, SYN_MIN((size_t)size, len - at));
        at += SYN_MIN((size_t)size, len - at);
    }
}

static int
make_file(char *path, size_t cap, const struct bench *bench, const char *name)
{
    int fd;

    (void)snprintf(path, cap, "%s/%s", bench->root, name);
    fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        die("making the input", NULL);
    return fd;
}

static void
write_block(int fd, const char *block, size_t len)
{
    if (write(fd, block, len) != (ssize_t)len)
        die("writing the input", NULL);
}

static void
make_input(struct bench *bench)
{
    static const char line[] = "one line more than before\n";
    const struct syn_world *world = syn_world_system();
    char *block = syn_alloc(MIB);
    uint64_t seed = 42;
    int fd = make_file(bench->input, sizeof(bench->input), bench, "input");
    int edited = make_file(bench->edited, sizeof(bench->edited), bench, "edited");

    if (block == NULL)
        die("making the input", NULL);
    write_block(edited, line, sizeof(line) - 1);
    for (size_t i = 0; i < bench->mib; i++) {
        if (i % 2 == 0)
            world->ops->random(world->self, block, MIB);
        else
            fill_text(block, MIB, &seed);
        write_block(fd, block, MIB);
        write_block(edited, block, MIB);
    }
    if (fsync(fd) < 0 || fsync(edited) < 0)
        die("syncing the input", NULL);
    (void)close(fd);
    (void)close(edited);
    syn_free(block);
}

static void
remove_all(const char *path)
{
    const char *const argv[] = {"rm", "-rf", path, NULL};

    if (!run(argv))
        die("removing", NULL);
}

static void
run_peers(struct bench *bench, int round)
{
    const char *const sum[] = {"sha256sum", bench->input, NULL};
    const char *const openssl[] = {"openssl", "dgst", "-sha256", bench->input, NULL};
    struct timer timer = start();

    if (!run(sum))
        die("sha256sum", NULL);
    stop(bench, RUN_SHA256SUM, round, timer);
    timer = start();
    if (run(openssl))
        stop(bench, RUN_OPENSSL, round, timer);
}

static void
run_copy(struct bench *bench, int round)
{
    char copy[PATH_LEN + 32];
    const char *const cp[] = {"cp", bench->input, copy, NULL};
    struct timer timer;

    (void)snprintf(copy, sizeof(copy), "%s/copy", bench->root);
    timer = start();
    if (!run(cp))
        die("cp", NULL);
    stop(bench, RUN_CP, round, timer);
    remove_all(copy);
}

static void
put(struct bench *bench, struct syn_content *store, const char *path, enum runner runner, int round,
    struct syn_cid *ret_cid)
{
    struct syn_err err = {0};
    struct timer timer = start();

    if (syn_content_put_path(store, path, NULL, NULL, ret_cid, NULL, &err) < 0)
        die("put", &err);
    stop(bench, runner, round, timer);
}

static void
get(struct bench *bench, struct syn_content *store, const struct syn_cid *cid, const char *want,
    enum runner runner, int round)
{
    char out[PATH_LEN + 32];
    const char *const cmp[] = {"cmp", want, out, NULL};
    struct syn_err err = {0};
    struct timer timer;

    (void)snprintf(out, sizeof(out), "%s/out", bench->root);
    timer = start();
    if (syn_content_get(store, cid, out, 0, NULL, NULL, &err) < 0)
        die("get", &err);
    stop(bench, runner, round, timer);
    if (round == 0 && !run(cmp))
        die("what came out is not what went in", NULL);
    remove_all(out);
}

static void
run_store(struct bench *bench, int round)
{
    char dir[PATH_LEN + 32];
    struct syn_content_opts opts = {.dir = dir};
    struct syn_content *store = NULL;
    struct syn_content_usage usage;
    struct syn_err err = {0};
    struct syn_cid cid;
    struct syn_cid edited;

    (void)snprintf(dir, sizeof(dir), "%s/store", bench->root);
    if (syn_content_open(&opts, &store, &err) < 0)
        die("opening the store", &err);
    put(bench, store, bench->input, RUN_PUT, round, &cid);
    run_copy(bench, round);
    get(bench, store, &cid, bench->input, RUN_GET, round);
    if (syn_content_usage(store, &bench->usage, &err) < 0)
        die("usage", &err);
    put(bench, store, bench->edited, RUN_EDIT, round, &edited);
    get(bench, store, &edited, bench->edited, RUN_GET_EDIT, round);
    if (syn_content_usage(store, &usage, &err) < 0)
        die("usage", &err);
    bench->edit_bytes = usage.stored_bytes - bench->usage.stored_bytes;
    syn_content_close(store);
    remove_all(dir);
}

static int
compare(const void *left, const void *right)
{
    double a = *(const double *)left;
    double b = *(const double *)right;

    return (a > b) - (a < b);
}

/* MiB a second of the median run; 0 when the runner is not there. */
static double
rate(struct bench *bench, enum runner runner)
{
    double sorted[ROUNDS];

    memcpy(sorted, bench->seconds[runner], sizeof(sorted));
    qsort(sorted, ROUNDS, sizeof(sorted[0]), compare);
    return sorted[ROUNDS / 2] > 0 ? (double)bench->mib / sorted[ROUNDS / 2] : 0;
}

static void
report(struct bench *bench, const char *name, enum runner ours, enum runner peer, double goal)
{
    double ratio = rate(bench, ours) / rate(bench, peer);

    (void)printf("%s\t%.0f\tMiB/s\t%s\t%.0f\t%.2f\t%.2f\t%s\n", name, rate(bench, ours),
                 runner_names[peer], rate(bench, peer), ratio, goal,
                 ratio >= goal ? "ok" : "short");
}

/* What the edited file takes, beside what it takes without the other one. */
static void
report_edit(const struct bench *bench)
{
    double ours = (double)bench->edit_bytes / (double)MIB;
    double whole = (double)bench->usage.stored_bytes / (double)MIB;

    (void)printf("content_edit_stored\t%.2f\tMiB\t%s\t%.0f\t%.4f\t%.2f\t%s\n", ours,
                 "the file alone", whole, ours / whole, EDIT_GOAL,
                 ours / whole <= EDIT_GOAL ? "ok" : "short");
}

int
main(int argc, char **argv)
{
    struct bench bench = {.mib = 1024};
    const char *base = argc > 1 ? argv[1] : getenv("TMPDIR");
    uint64_t mib = 1024;

    if (argc > 2 && syn_parse_u64(argv[2], 1, 1 << 20, "MIB", &mib, NULL) < 0)
        die("MIB must be a number", NULL);
    bench.mib = (size_t)mib;
    (void)snprintf(bench.root, sizeof(bench.root), "%s/synor-bench-XXXXXX",
                   base == NULL ? "/var/tmp" : base);
    if (mkdtemp(bench.root) == NULL)
        die("making a folder", NULL);
    make_input(&bench);
    for (int round = 0; round < ROUNDS; round++) {
        run_peers(&bench, round);
        run_store(&bench, round);
        for (int i = 0; i < RUNNERS; i++)
            (void)fprintf(stderr, "round %d: %-14s %.2f s, %.2f s of processor\n", round + 1,
                          runner_names[i], bench.seconds[i][round], bench.processor[i][round]);
    }
    remove_all(bench.root);
    (void)fprintf(stderr, "stored %.2f of the content's bytes; openssl sha256 %.0f MiB/s\n",
                  (double)bench.usage.stored_bytes / (double)bench.usage.bytes,
                  rate(&bench, RUN_OPENSSL));
    report(&bench, "content_put", RUN_PUT, RUN_SHA256SUM, 0.5);
    report(&bench, "content_get", RUN_GET, RUN_CP, 0.5);
    report(&bench, "content_put_edited", RUN_EDIT, RUN_SHA256SUM, 0.5);
    report_edit(&bench);
    return 0;
}
