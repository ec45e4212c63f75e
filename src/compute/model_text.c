/* A model as text, one fact a line:
 *
 *     synor-model 1
 *     class NUMBER NAME                  numbers in the order of the classes, from 0
 *     entry KERNEL SIZE FOOTPRINT        in hexadecimal, the last two
 *     time CLASS SAMPLES NS SPREAD       of the entry above; SPREAD in millionths
 *
 * Times are kept by the class's name, so that a file learnt on another machine serves as far as its
 * processors are here. */
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <synor/base/str.h>

#include "model_priv.h"

#define HEADER   "synor-model 1"
#define LINE_MAX 256
#define SCALE    1e6

void
syn_model_write(const struct syn_model *model, struct syn_buf *out)
{
    size_t cursor = 0;
    void *value = NULL;

    syn_buf_adds(out, HEADER "\n");
    for (uint32_t i = 0; i < model->class_count; i++)
        syn_buf_addf(out, "class %" PRIu32 " %s\n", i, model->class_names[i]);
    while (syn_map_next(model->entries, &cursor, NULL, &value)) {
        const struct syn_model_entry *entry = value;
        bool named = false;

        for (uint32_t i = 0; i < model->class_count; i++) {
            const struct model_cell *cell = &entry->cells[i];

            if (cell->count == 0)
                continue;
            if (!named)
                syn_buf_addf(out, "entry %s %" PRIx64 " %" PRIx64 "\n", entry->kernel->name,
                             entry->size, entry->footprint);
            named = true;
            syn_buf_addf(out, "time %" PRIu32 " %" PRIu64 " %.0f %.0f\n", i, cell->count,
                         round(cell->mean_ns), round(cell->spread * SCALE));
        }
    }
}

struct reader {
    struct syn_model *model;
    struct syn_err *err;
    unsigned line;
    int32_t classes[SYN_CLASSES_MAX]; /* of the text, in the model; -1: not in it */
    uint32_t class_count;
    struct syn_model_entry *entry; /* the last; NULL before the first */
};

/* The next word, at most `cap` - 1 bytes; false: none, or too long. */
static bool
word(const char **text, char *out, size_t cap)
{
    size_t len = strcspn(*text, " ");

    if (len == 0 || len >= cap)
        return false;
    memcpy(out, *text, len);
    out[len] = '\0';
    *text += len;
    if (**text == ' ')
        ++*text;
    return true;
}

static bool
number(const char **text, uint64_t max, uint64_t *ret)
{
    char digits[24];

    return word(text, digits, sizeof(digits)) &&
           syn_parse_u64(digits, 0, max, "number", ret, NULL) == 0;
}

static bool
hexadecimal(const char **text, uint64_t *ret)
{
    char digits[20];
    uint64_t value = 0;

    if (!word(text, digits, sizeof(digits)) || strlen(digits) > 16)
        return false;
    for (const char *at = digits; *at != '\0'; at++) {
        if (*at >= '0' && *at <= '9')
            value = value << 4 | (uint64_t)(*at - '0');
        else if (*at >= 'a' && *at <= 'f')
            value = value << 4 | (uint64_t)(*at - 'a' + 10);
        else
            return false;
    }
    *ret = value;
    return true;
}

static int
corrupt(struct reader *reader, const char *why)
{
    return SYN_FAIL(reader->err, SYN_E_CORRUPT, "model, line %u: %s", reader->line, why);
}

static int
read_class(struct reader *reader, const char *text)
{
    uint64_t index = 0;

    if (reader->class_count == SYN_CLASSES_MAX || !number(&text, SYN_CLASSES_MAX - 1, &index) ||
        index != reader->class_count || *text == '\0' ||
        strlen(text) >= sizeof(reader->model->class_names[0]))
        return corrupt(reader, "not the next class");
    reader->classes[index] = -1;
    for (uint32_t i = 0; i < reader->model->class_count; i++)
        if (strcmp(reader->model->class_names[i], text) == 0)
            reader->classes[index] = (int32_t)i;
    reader->class_count++;
    return SYN_OK;
}

static int
read_entry(struct reader *reader, const char *text)
{
    char kernel[SYN_MODEL_NAME_MAX + 1];
    uint64_t size = 0, footprint = 0;
    int rc;

    if (!word(&text, kernel, sizeof(kernel)) || !hexadecimal(&text, &size) ||
        !hexadecimal(&text, &footprint) || *text != '\0')
        return corrupt(reader, "an entry is: kernel, size, footprint");
    rc = syn_model_entry(reader->model, kernel, size, footprint, &reader->entry, reader->err);
    if (rc == SYN_E_INVALID)
        return corrupt(reader, "a kernel's name is printable ASCII");
    return rc < 0 ? syn_err_wrap(reader->err, rc, "model, line %u", reader->line) : rc;
}

static int
read_time(struct reader *reader, const char *text)
{
    uint64_t class_id = 0, count = 0, ns = 0, spread = 0;

    if (reader->entry == NULL || !number(&text, SYN_CLASSES_MAX - 1, &class_id) ||
        class_id >= reader->class_count || !number(&text, UINT32_MAX, &count) || count == 0 ||
        !number(&text, SYN_MODEL_NS_MAX, &ns) || ns == 0 ||
        !number(&text, (uint64_t)SCALE, &spread) || *text != '\0')
        return corrupt(reader, "a time is: class, samples, ns, spread");
    if (reader->classes[class_id] >= 0)
        model_adopt(reader->entry, (uint32_t)reader->classes[class_id], count, (double)ns,
                    (double)spread / SCALE);
    return SYN_OK;
}

static int
read_line(struct reader *reader, const char *line)
{
    static const struct {
        const char *word;
        int (*read)(struct reader *reader, const char *text);
    } kinds[] = {{"class ", read_class}, {"entry ", read_entry}, {"time ", read_time}};

    for (const char *at = line; *at != '\0'; at++)
        if (*at < ' ' || *at > '~')
            return corrupt(reader, "a control character");
    if (reader->line == 1) {
        if (strcmp(line, HEADER) == 0)
            return SYN_OK;
        if (syn_str_starts(line, "synor-model "))
            return SYN_FAIL(reader->err, SYN_E_INVALID,
                            "the model was written by another version: delete it to learn anew");
        return corrupt(reader, "not a model");
    }
    for (size_t i = 0; i < SYN_LEN(kinds); i++)
        if (syn_str_starts(line, kinds[i].word))
            return kinds[i].read(reader, line + strlen(kinds[i].word));
    return corrupt(reader, "neither class, entry nor time");
}

int
syn_model_read(struct syn_model *model, const char *text, size_t len, struct syn_err *err)
{
    struct reader reader = {.model = model, .err = err};
    size_t at = 0;

    if (len > SYN_MODEL_TEXT_MAX)
        return SYN_FAIL(err, SYN_E_INVALID, "a model of %zu bytes: at most %zu", len,
                        SYN_MODEL_TEXT_MAX);
    do {
        const char *end = len > at ? memchr(text + at, '\n', len - at) : NULL;
        char line[LINE_MAX];
        size_t size;
        int rc;

        reader.line++;
        if (end == NULL) /* every line ends, also the last: what was cut off is seen */
            return corrupt(&reader, "the line has no end");
        size = (size_t)(end - (text + at));
        if (size >= sizeof(line) || memchr(text + at, '\0', size) != NULL)
            return corrupt(&reader, "the line is too long, or has a zero byte");
        memcpy(line, text + at, size);
        line[size] = '\0';
        at += size + 1;
        rc = read_line(&reader, line);
        if (rc < 0)
            return rc;
    } while (at < len);
    return SYN_OK;
}
