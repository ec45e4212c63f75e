/* Checking: every block is read against its hash, on the workers. The index remembers what was
 * found damaged, so that the next put of the same content repairs it, and so that what is affected
 * can be named without reading everything again. */
#include "content_priv.h"

#include <synor/base/mem.h>

#include "pipe_priv.h"

struct check {
    struct syn_cid cid;
    struct syn_block block;
    uint32_t size;
    unsigned flags;
    int rc;
    struct syn_err why;
};

struct verify {
    struct syn_content *store;
    struct syn_pipe *pipe;
    struct syn_content_verify report;
    syn_content_bad *bad;
    void *bad_arg;
    syn_content_progress *progress;
    void *progress_arg;
};

/* Only trouble of our own ends the check; that of a block is what it is looking for. */
static int
check_work(void *arg, void *job, struct syn_err *err)
{
    struct verify *verify = arg;
    struct check *check = job;

    check->why = (struct syn_err){0};
    check->rc = syn_blocks_get(verify->store->blocks, &check->cid, &check->block, &check->why);
    if (check->rc == SYN_E_NOMEM) {
        *err = check->why;
        return check->rc;
    }
    return SYN_OK;
}

static int
check_collect(void *arg, void *job, struct syn_err *err)
{
    struct verify *verify = arg;
    struct syn_content_verify *report = &verify->report;
    const struct check *check = job;

    if (check->rc == SYN_E_NOTFOUND) /* gc took it meanwhile */
        return SYN_OK;
    report->blocks++;
    report->bytes += check->size;
    if ((check->flags & SYN_RECORD_AES) != 0) {
        report->encrypted++;
        report->old_key += check->rc == 0 && check->block.old_key;
    } else {
        report->plain++;
    }
    if (check->rc < 0) {
        report->bad++;
        if (verify->bad != NULL)
            verify->bad(verify->bad_arg, &check->cid, &check->why);
    }
    if (verify->progress != NULL && verify->progress(verify->progress_arg, report->bytes) != 0)
        return SYN_FAIL(err, SYN_E_CANCELED, "canceled");
    return SYN_OK;
}

static void
check_fini(void *job)
{
    struct check *check = job;

    syn_block_fini(&check->block);
}

static const struct syn_pipe_ops check_ops = {
    .job_size = sizeof(struct check),
    .work = check_work,
    .collect = check_collect,
    .fini = check_fini,
};

static int
verify_row(void *arg, const struct syn_index_row *row, struct syn_err *err)
{
    struct verify *verify = arg;
    struct check *check;
    void *job = NULL;
    int rc = syn_pipe_next(verify->pipe, &job, err);

    if (rc != 0)
        return rc;
    check = job;
    check->cid = row->cid;
    check->size = row->size;
    check->flags = row->flags;
    syn_pipe_submit(verify->pipe);
    return SYN_OK;
}

int
syn_content_verify(struct syn_content *store, syn_content_bad *bad, void *bad_arg,
                   syn_content_progress *progress, void *progress_arg,
                   struct syn_content_verify *ret_report, struct syn_err *err)
{
    struct verify verify = {
        .store = store,
        .bad = bad,
        .bad_arg = bad_arg,
        .progress = progress,
        .progress_arg = progress_arg,
    };
    int rc =
        syn_pipe_new(store->pool, syn_content_jobs(store), &check_ops, &verify, &verify.pipe, err);

    if (rc != 0)
        return rc;
    rc = syn_index_each(syn_blocks_index(store->blocks), SYN_INDEX_BY_PLACE, INT64_MIN, verify_row,
                        &verify, err);
    if (rc == 0)
        rc = syn_pipe_drain(verify.pipe, err);
    syn_pipe_free(verify.pipe);
    if (rc == 0)
        *ret_report = verify.report;
    return rc;
}

/* ---- what damage reaches --------------------------------------------------------------------- */

struct survey {
    struct syn_content *store;
    struct syn_digest_set seen;
    struct syn_cid *todo; /* whole nodes that are not yet looked into */
    size_t todo_count;
    size_t todo_cap;
    uint64_t bad;
};

static SYN_MUST int
survey_cid(struct survey *survey, const struct syn_cid *cid, struct syn_err *err)
{
    struct syn_index_row row;
    size_t item = 0;
    bool is_new = false;
    int rc = syn_digest_set_add(&survey->seen, cid->digest, &item, &is_new, err);

    if (rc < 0 || !is_new)
        return rc;
    rc = syn_index_find(syn_blocks_index(survey->store->blocks), cid->digest, &row, err);
    if (rc < 0)
        return rc;
    if (rc == SYN_INDEX_NONE || row.bad || !syn_blocks_key_given(survey->store->blocks, row.key)) {
        survey->bad++;
        return SYN_OK;
    }
    if (cid->codec == SYN_CODEC_RAW)
        return SYN_OK;
    if (!syn_grow(&survey->todo, &survey->todo_cap, survey->todo_count + 1, sizeof(*survey->todo)))
        return SYN_FAIL(err, SYN_E_NOMEM, "out of memory walking the content store");
    survey->todo[survey->todo_count++] = *cid;
    return SYN_OK;
}

static SYN_MUST int
survey_below(struct survey *survey, struct syn_err *err)
{
    int rc = SYN_OK;

    while (rc == 0 && survey->todo_count > 0) {
        struct syn_cid cid = survey->todo[--survey->todo_count];
        struct syn_dag_node dag;

        rc = syn_dag_node_get(survey->store, &cid, &dag, err);
        if (rc == SYN_E_CORRUPT || rc == SYN_E_UNAVAILABLE || rc == SYN_E_NOTFOUND) {
            survey->bad++;
            rc = SYN_OK;
            continue;
        }
        if (rc != 0)
            break;
        for (size_t i = 0; rc == 0 && i < dag.node.count; i++)
            rc = survey_cid(survey, &dag.node.links[i].cid, err);
        syn_dag_node_fini(&dag);
    }
    return rc;
}

int
syn_content_damage(struct syn_content *store, const struct syn_cid *cid, uint64_t *ret_bad,
                   struct syn_err *err)
{
    struct survey survey = {.store = store};
    int rc = survey_cid(&survey, cid, err);

    if (rc == 0)
        rc = survey_below(&survey, err);
    if (rc == 0)
        *ret_bad = survey.bad;
    syn_digest_set_fini(&survey.seen);
    syn_free(survey.todo);
    return rc;
}
