/* Zygotes of a node: at most so many, each of one account, interpreter and host program. One that
 * nobody used for the longest time makes room. */
#include "forked_priv.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include <synor/base/str.h>

#define PROGRAM_MAX ((size_t)1 << 20)

static bool
fits(const struct forked_zygote *row, const char *account, const char *python, const char *program)
{
    return !row->dead && syn_str_eq(row->account, account) && syn_str_eq(row->python, python) &&
           syn_str_eq(row->program, program);
}

/* Under the lock, which is let go while it ends. */
static void
end_one(struct forked_keep *keep, struct forked_zygote *row)
{
    struct syn_zygote *zygote = row->zygote;

    assert(row->users == 0);
    row->zygote = NULL;
    row->dead = true;
    (void)pthread_mutex_unlock(&keep->lock);
    (void)syn_zygote_close(zygote);
    (void)pthread_mutex_lock(&keep->lock);
    row->account[0] = '\0';
    row->dead = false;
    (void)pthread_cond_broadcast(&keep->changed);
}

/* Under the lock. NULL: all are in use. */
static struct forked_zygote *
free_slot(struct forked_keep *keep)
{
    for (;;) {
        struct forked_zygote *oldest = NULL;

        for (size_t i = 0; i < SYN_LEN(keep->rows); i++) {
            struct forked_zygote *row = &keep->rows[i];

            if (row->account[0] == '\0')
                return row;
            if (row->users == 0 && row->zygote &&
                (!oldest || row->idle_since_ms < oldest->idle_since_ms))
                oldest = row;
        }
        if (!oldest)
            return NULL;
        end_one(keep, oldest);
    }
}

static int
open_one(const struct forked_keep *keep, const struct forked_zygote *row, struct syn_zygote **ret,
         struct syn_err *err)
{
    SYN_BUF(program);
    struct syn_zygote_options options = {.root = keep->root, .python = row->python};
    int rc = syn_file_read(AT_FDCWD, row->program, PROGRAM_MAX, &program, err);

    options.program = syn_buf_text(&program);
    options.program_len = program.len;
    return rc < 0 ? rc : syn_zygote_open(&options, ret, err);
}

/* Under the lock: one that is there, or is being started by somebody else. */
static struct forked_zygote *
find(struct forked_keep *keep, const char *account, const char *python, const char *program)
{
    for (size_t i = 0; i < SYN_LEN(keep->rows); i++)
        if (fits(&keep->rows[i], account, python, program))
            return &keep->rows[i];
    return NULL;
}

/* Under the lock, which is let go while it starts. */
static int
start_one(struct forked_keep *keep, struct forked_zygote *row, struct syn_err *err)
{
    struct syn_zygote *zygote = NULL;
    int rc;

    (void)pthread_mutex_unlock(&keep->lock);
    rc = open_one(keep, row, &zygote, err);
    (void)pthread_mutex_lock(&keep->lock);
    row->zygote = zygote;
    row->dead = rc < 0;
    (void)pthread_cond_broadcast(&keep->changed);
    return rc;
}

/* Under the lock. */
static int
take(struct forked_keep *keep, const char *account, const char *python, const char *program,
     struct forked_zygote **ret, struct syn_err *err)
{
    struct forked_zygote *row = find(keep, account, python, program);

    while (row && !row->zygote) { /* somebody starts it; then it is there, or none is */
        (void)pthread_cond_wait(&keep->changed, &keep->lock);
        row = find(keep, account, python, program);
    }
    if (row) {
        row->users++;
        *ret = row;
        return SYN_OK;
    }
    row = free_slot(keep);
    if (!row)
        return SYN_FAIL(err, SYN_E_LIMIT, "this node has %d zygotes, all of them in use",
                        SYN_FORKED_ZYGOTES_MAX);
    *row = (struct forked_zygote){.users = 1};
    if (!syn_str_copy(row->python, sizeof(row->python), python) ||
        !syn_str_copy(row->program, sizeof(row->program), program) ||
        !syn_str_copy(row->account, sizeof(row->account), account)) {
        row->account[0] = '\0';
        return SYN_FAIL(err, SYN_E_INVALID, "a zygote's account or paths are too long");
    }
    *ret = row;
    return start_one(keep, row, err);
}

int
forked_keep_take(struct forked_keep *keep, const char *account, const char *python,
                 const char *program, struct forked_zygote **ret, struct syn_err *err)
{
    struct forked_zygote *row = NULL;
    int rc;

    assert(account[0] != '\0');
    (void)pthread_mutex_lock(&keep->lock);
    rc = take(keep, account, python, program, &row, err);
    (void)pthread_mutex_unlock(&keep->lock);
    if (rc == SYN_OK)
        *ret = row;
    else if (row)
        forked_keep_give(keep, row, true);
    return rc;
}

void
forked_keep_give(struct forked_keep *keep, struct forked_zygote *zygote, bool dead)
{
    (void)pthread_mutex_lock(&keep->lock);
    assert(zygote->users > 0);
    zygote->users--;
    zygote->dead = zygote->dead || dead;
    zygote->idle_since_ms = forked_mono_ms();
    if (zygote->users == 0 && zygote->dead)
        end_one(keep, zygote);
    (void)pthread_mutex_unlock(&keep->lock);
}

int64_t
forked_keep_rest(struct forked_keep *keep, bool all)
{
    int64_t now_ms = forked_mono_ms(), next_ms = FORKED_NEVER;

    (void)pthread_mutex_lock(&keep->lock);
    for (size_t i = 0; i < SYN_LEN(keep->rows); i++) {
        struct forked_zygote *row = &keep->rows[i];
        int64_t due_ms = row->idle_since_ms + keep->idle_ms;

        if (row->account[0] == '\0' || row->users > 0 || !row->zygote)
            continue;
        if (all || due_ms <= now_ms)
            end_one(keep, row);
        else
            next_ms = SYN_MIN(next_ms, due_ms);
    }
    (void)pthread_mutex_unlock(&keep->lock);
    return next_ms;
}

/* Resident pages; 0 when it has ended. */
static int64_t
memory_of(pid_t pid)
{
    char path[64];
    SYN_BUF(text);
    const char *at;
    uint64_t pages;

    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    if (syn_file_read(AT_FDCWD, path, 256, &text, NULL) < 0)
        return 0;
    at = strchr(syn_buf_text(&text), ' ');
    return at && syn_scan_u64(at, 10, &pages, NULL)
               ? (int64_t)SYN_MIN(pages, (uint64_t)INT32_MAX) * sysconf(_SC_PAGESIZE)
               : 0;
}

void
forked_keep_look(struct forked_keep *keep, struct syn_forked_state *ret)
{
    (void)pthread_mutex_lock(&keep->lock);
    for (size_t i = 0; i < SYN_LEN(keep->rows); i++) {
        if (!keep->rows[i].zygote)
            continue;
        ret->zygotes++;
        ret->zygote_bytes += memory_of(syn_zygote_pid(keep->rows[i].zygote));
    }
    (void)pthread_mutex_unlock(&keep->lock);
}
