/* The openb trace, which lies beside the project; tests of it are skipped, with a word, where it
 * does not. */
#ifndef SYNOR_ORCHESTRATION_OPENB_TESTING_H
#define SYNOR_ORCHESTRATION_OPENB_TESTING_H

#include <stdio.h>

#include <synor/base/test.h>

#define OPENB_DATA  SYN_TEST_SOURCE_ROOT "/../shared/data/openb/"
#define OPENB_NODES OPENB_DATA "openb_node_list_gpu_node.csv"

/* First in a test: what it has made would be lost. */
static inline void
openb_need(void)
{
    FILE *file = fopen(OPENB_NODES, "r");

    if (file == NULL) {
        print_message("no openb trace in %s\n", OPENB_DATA);
        skip();
    }
    (void)fclose(file);
}

static inline void
openb_read(const char *path, struct syn_buf *out)
{
    FILE *file = fopen(path, "r");
    char block[4096];
    size_t got;

    if (file == NULL)
        fail_msg("%s is not there, though others are", path);
    while ((got = fread(block, 1, sizeof(block), file)) > 0)
        syn_buf_add(out, block, got);
    (void)fclose(file);
}

#endif
