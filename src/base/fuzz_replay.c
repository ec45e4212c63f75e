/* Runs a fuzz target over its corpus in an ordinary build: no libFuzzer, any compiler, TAP.
 *
 *     json_fuzz FOLDER|FILE...
 *
 * Every file is given as it is, then cut short at every length up to CUTS_MAX, then with a few
 * bytes changed in repeatable ways: a little of what a fuzzer does, under whatever sanitizer the
 * build has. Each input lies in a block of exactly its size, so that reading past it is seen. */
#include <dirent.h>
#include <errno.h>
#include <sys/stat.h>

#include <synor/base/core.h>
#include <synor/base/json.h>

#define INPUT_BYTES_MAX ((size_t)8 << 20)
#define CUTS_MAX        ((size_t)256)
#define CHANGED_MAX     128

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned cases;
static unsigned failures;

static void
report(bool ok, const char *path, const char *why)
{
    cases++;
    failures += !ok;
    (void)printf("%s %u - %s%s%s\n", ok ? "ok" : "not ok", cases, path, why[0] != '\0' ? ": " : "",
                 why);
    (void)fflush(stdout);
}

static void
run_copy(const uint8_t *data, size_t size, uint64_t seed)
{
    uint8_t *copy = malloc(size != 0 ? size : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    /* xorshift64; the lowest bits decide how many bytes change */
    for (unsigned left = (unsigned)(seed & 3); seed != 0 && size != 0; left--) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        copy[seed % size] = (uint8_t)(seed >> 32);
        if (left == 0)
            break;
    }
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void
run_input(const uint8_t *data, size_t size)
{
    run_copy(data, size, 0);
    for (size_t cut = 0; cut < SYN_MIN(size, CUTS_MAX); cut++)
        run_copy(data, cut, 0);
    for (uint64_t i = 1; i <= CHANGED_MAX; i++)
        run_copy(data, size, i * 0x9e3779b97f4a7c15U);
}

static void
run_file(const char *path)
{
    uint8_t *data = malloc(INPUT_BYTES_MAX);
    FILE *file = fopen(path, "rbe");
    size_t size;

    if (data == NULL || file == NULL) {
        report(false, path, strerror(errno));
    } else {
        /* Told before, so that after a crash the last line names the file. */
        (void)printf("# %s\n", path);
        (void)fflush(stdout);
        size = fread(data, 1, INPUT_BYTES_MAX, file);
        if (ferror(file))
            report(false, path, "cannot be read");
        else if (!feof(file))
            report(false, path, "larger than 8 MiB");
        else {
            run_input(data, size);
            report(true, path, "");
        }
    }
    if (file != NULL)
        (void)fclose(file);
    free(data);
}

static void
run_path(const char *path)
{
    struct dirent **entries = NULL;
    struct stat st;
    unsigned before = cases;
    int count;

    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        run_file(path);
        return;
    }
    count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        char file[4096];

        if (entries[i]->d_name[0] != '.' &&
            snprintf(file, sizeof(file), "%s/%s", path, entries[i]->d_name) < (int)sizeof(file))
            run_file(file);
        free(entries[i]);
    }
    free(entries);
    if (cases == before)
        report(false, path, "no corpus there");
}

int
main(int argc, char **argv)
{
    syn_json_init();
    for (int i = 1; i < argc; i++)
        run_path(argv[i]);
    if (argc < 2)
        report(false, "no folder given", "");
    (void)printf("1..%u\n", cases);
    return failures == 0 ? 0 : 1;
}
