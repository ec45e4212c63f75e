/* Numbers and units from strangers: what is exact must come back the same from its own spelling,
 * and every result must lie where its parser promises. */
#include <synor/base/str.h>
#include <synor/base/units.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_quantities(const char *text)
{
    char out[SYN_FORMAT_MAX];
    int64_t value, again;

    if (syn_parse_amount(text, "x", &value, NULL) == 0 &&
        (value < 0 || value > SYN_AMOUNT_MAX ||
         syn_parse_amount(syn_format_amount(value, out), "x", &again, NULL) < 0 || again != value))
        abort();
    if (syn_parse_cpus(text, "x", &value, NULL) == 0 &&
        (value < 0 || syn_parse_cpus(syn_format_cpus(value, out), "x", &again, NULL) < 0 ||
         again != value))
        abort();
    if (syn_parse_bytes(text, "x", &value, NULL) == 0 &&
        (value < 0 || syn_format_bytes(value, out)[0] == '\0'))
        abort();
    if (syn_parse_duration_ms(text, "x", &value, NULL) == 0 &&
        (value < 0 || syn_format_duration(value, out)[0] == '\0'))
        abort();
    if (syn_parse_time(text, &value, NULL) == 0 &&
        (value < 0 || syn_parse_time(syn_format_time(value, out), &again, NULL) < 0 ||
         again != value))
        abort();
}

static void
check_numbers(const char *text)
{
    char out[SYN_FORMAT_MAX];
    int64_t i64, i64_again;
    uint64_t u64, u64_again;
    double real;

    if (syn_parse_i64(text, INT64_MIN, INT64_MAX, "x", &i64, NULL) == 0) {
        (void)snprintf(out, sizeof(out), "%lld", (long long)i64);
        if (syn_parse_i64(out, i64, i64, "x", &i64_again, NULL) < 0 || i64_again != i64)
            abort();
    }
    if (syn_parse_u64(text, 0, UINT64_MAX, "x", &u64, NULL) == 0) {
        (void)snprintf(out, sizeof(out), "%llu", (unsigned long long)u64);
        if (syn_parse_u64(out, u64, u64, "x", &u64_again, NULL) < 0 || u64_again != u64)
            abort();
    }
    if (syn_parse_double(text, -1, 1, "x", &real, NULL) == 0 && !(real >= -1 && real <= 1))
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);

    if (text == NULL)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    check_quantities(text);
    check_numbers(text);
    free(text);
    return 0;
}
