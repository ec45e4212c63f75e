/* The content store beside sha256sum and cp, on the same file, in turns.
 *
 *   bench-content [DIR] [MIB]      default: $TMPDIR or /var/tmp, 1024
 *
 * Half of the file is random, half is text-like; the runs take turns, so that a slow spell of the
 * machine hits all of them; medians are compared. put ends on disk (synced); cp does not wait for
 * the disk, and neither does get unless asked to. Lines for machines on standard output, the rest
 * on standard error. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/base/world.h>
#include <synor/infra/content.h>

#define ROUNDS   3
#define MIB      ((size_t)1 << 20)
#define PATH_LEN 512

enum runner { RUN_SHA256SUM, RUN_OPENSSL, RUN_PUT, RUN_CP, RUN_GET, RUNNERS };

static const char *const runner_names[] = {"sha256sum", "openssl sha256", "content put", "cp",
                                           "content get"};

struct bench {
    char root[PATH_LEN];
    char input[PATH_LEN + 32];
    size_t mib;
    double seconds[RUNNERS][ROUNDS];
    struct syn_content_usage usage;
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

/* Words from a small vocabulary: compresses about as well as source text. */
static void
fill_text(uint8_t *out, size_t len, uint64_t *seed)
{
    static const char *const words[] = {"tensor ", "batch ",  "epoch ",  "loss ", "gradient ",
                                        "layer ",  "weight ", "model\n", "0.0",   "shard "};

    for (size_t at = 0; at < len;) {
        const char *word;
        size_t take;

        *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407U;
        word = words[(*seed >> 33) % SYN_LEN(words)];
        take = SYN_MIN(strlen(word), len - at);
        memcpy(out + at, word, take);
        at += take;
        if (at < len && (*seed >> 60) == 0)
            out[at++] = (uint8_t)('a' + (*seed >> 40) % 26);
    }
}

static void
make_input(struct bench *bench)
{
    const struct syn_world *world = syn_world_system();
    uint8_t *block = syn_alloc(MIB);
    uint64_t seed = 42;
    int fd;

    (void)snprintf(bench->input, sizeof(bench->input), "%s/input", bench->root);
    fd = open(bench->input, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || block == NULL)
        die("making the input", NULL);
    for (size_t i = 0; i < bench->mib; i++) {
        if (i % 2 == 0)
            world->ops->random(world->self, block, MIB);
        else
            fill_text(block, MIB, &seed);
        if (write(fd, block, MIB) != (ssize_t)MIB)
            die("writing the input", NULL);
    }
    if (fsync(fd) < 0)
        die("syncing the input", NULL);
    (void)close(fd);
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
    double begun = now();

    if (!run(sum))
        die("sha256sum", NULL);
    bench->seconds[RUN_SHA256SUM][round] = now() - begun;
    begun = now();
    if (run(openssl))
        bench->seconds[RUN_OPENSSL][round] = now() - begun;
}

static void
run_copy(struct bench *bench, int round)
{
    char copy[PATH_LEN + 32];
    const char *const cp[] = {"cp", bench->input, copy, NULL};
    double begun;

    (void)snprintf(copy, sizeof(copy), "%s/copy", bench->root);
    begun = now();
    if (!run(cp))
        die("cp", NULL);
    bench->seconds[RUN_CP][round] = now() - begun;
    remove_all(copy);
}

static void
run_store(struct bench *bench, int round)
{
    char dir[PATH_LEN + 32];
    char out[PATH_LEN + 32];
    struct syn_content_opts opts = {.dir = dir};
    struct syn_content *store = NULL;
    struct syn_err err = {0};
    struct syn_cid cid;
    double begun;

    (void)snprintf(dir, sizeof(dir), "%s/store", bench->root);
    (void)snprintf(out, sizeof(out), "%s/out", bench->root);
    if (syn_content_open(&opts, &store, &err) < 0)
        die("opening the store", &err);
    begun = now();
    if (syn_content_put_path(store, bench->input, NULL, NULL, &cid, NULL, &err) < 0)
        die("put", &err);
    bench->seconds[RUN_PUT][round] = now() - begun;
    run_copy(bench, round);
    begun = now();
    if (syn_content_get(store, &cid, out, 0, NULL, NULL, &err) < 0)
        die("get", &err);
    bench->seconds[RUN_GET][round] = now() - begun;
    if (round == 0) {
        const char *const cmp[] = {"cmp", bench->input, out, NULL};

        if (!run(cmp))
            die("what came out is not what went in", NULL);
        if (syn_content_usage(store, &bench->usage, &err) < 0)
            die("usage", &err);
    }
    syn_content_close(store);
    remove_all(dir);
    remove_all(out);
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
            (void)fprintf(stderr, "round %d: %-14s %.2f s\n", round + 1, runner_names[i],
                          bench.seconds[i][round]);
    }
    remove_all(bench.root);
    (void)fprintf(stderr, "stored %.2f of the content's bytes; openssl sha256 %.0f MiB/s\n",
                  (double)bench.usage.stored_bytes / (double)bench.usage.bytes,
                  rate(&bench, RUN_OPENSSL));
    report(&bench, "content_put", RUN_PUT, RUN_SHA256SUM, 0.5);
    report(&bench, "content_get", RUN_GET, RUN_CP, 0.5);
    return 0;
}
