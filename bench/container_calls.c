/* The bare calls of the Container Runtime Interface that make a container run, for container.py:
 * RunPodSandbox, CreateContainer and StartContainer of a container like that of a given instance.
 *
 *      bench_container_calls ADDRESS INSTANCE FOLDER
 *
 * INSTANCE is the folder of an instance that runs, whose root and requests are used; FOLDER takes
 * the log. Each line of standard input asks for one container, whose milliseconds are printed and
 * which is removed then. */
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "../src/runtime/container/cri_priv.h"
#include "../src/runtime/container/message_priv.h"
#include "../src/runtime/container/pod_priv.h"
#include "../src/runtime/container/request_priv.h"
#include "../src/runtime/native/file_priv.h"

#define NAME         "bench-bare"
#define CGROUP       "/synor-bench"
#define REQUEST_MAX  ((size_t)4 << 20)
#define LINE_MAX_    64
#define MS_OF_SECOND 1000.0
#define NS_OF_MS     1e6

static double
now_ms(void)
{
    struct timespec ts;

    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (double)ts.tv_sec * MS_OF_SECOND + (double)ts.tv_nsec / NS_OF_MS;
}

static int
read_message(const char *dir, const char *file, const ProtobufCMessageDescriptor *kind, void *ret,
             struct syn_err *err)
{
    char path[SYN_PATH_MAX];
    SYN_BUF(data);
    int rc = syn_path_format(path, sizeof(path), err, "%s/%s", dir, file);

    if (rc == SYN_OK)
        rc = syn_file_read(AT_FDCWD, path, REQUEST_MAX, &data, err);
    return rc < 0 ? rc : syn_message_unpack(kind, &data, ret, err);
}

/* One container, from the first call to the end of the last. */
static int
turn(struct syn_cri *cri, Cri__RunPodSandboxRequest *run, Cri__ContainerConfig *config,
     double *ret_ms, struct syn_err *err)
{
    SYN_MESSAGE(Cri__CreateContainerRequest, cri__create_container_request, create);
    char pod[SYN_CRI_ID_MAX] = "", container[SYN_CRI_ID_MAX] = "";
    double begun = now_ms();
    int rc = syn_cri_run_pod(cri, run, pod, err);

    create.pod_sandbox_id = pod;
    create.config = config;
    create.sandbox_config = run->config;
    if (rc == SYN_OK)
        rc = syn_cri_create(cri, &create, container, err);
    if (rc == SYN_OK)
        rc = syn_cri_start(cri, container, err);
    *ret_ms = now_ms() - begun;
    if (pod[0] != '\0' && syn_cri_remove_pod(cri, pod, NULL) < 0)
        (void)fprintf(stderr, "the pod %s stays\n", pod);
    return rc;
}

static int
serve(struct syn_cri *cri, const char *instance, char *folder, struct syn_err *err)
{
    SYN_SCOPED(syn_message_scope) Cri__RunPodSandboxRequest *run = NULL;
    SYN_SCOPED(syn_message_scope) Cri__ContainerConfig *config = NULL;
    char name[] = NAME, cgroup[] = CGROUP, line[LINE_MAX_];
    char *kept[5];
    int rc =
        read_message(instance, SYN_FILE_POD, &cri__run_pod_sandbox_request__descriptor, &run, err);

    if (rc == SYN_OK)
        rc = read_message(instance, SYN_FILE_CONTAINER, &cri__container_config__descriptor, &config,
                          err);
    if (rc < 0)
        return rc;
    /* What was read owns its texts: they are put back before it is freed. */
    char **const slots[] = {&run->config->metadata->name, &run->config->metadata->uid,
                            &run->config->log_directory, &run->config->labels[0]->value,
                            &run->config->linux_config->cgroup_parent};
    char *const given[] = {name, name, folder, name, cgroup};

    for (size_t i = 0; i < SYN_LEN(slots); i++) {
        kept[i] = *slots[i];
        *slots[i] = given[i];
    }
    while (rc == SYN_OK && fgets(line, sizeof(line), stdin) != NULL) {
        double ms = 0;

        rc = turn(cri, run, config, &ms, err);
        if (rc == SYN_OK)
            (void)printf("%.3f\n", ms);
        (void)fflush(stdout);
    }
    for (size_t i = 0; i < SYN_LEN(slots); i++)
        *slots[i] = kept[i];
    return rc;
}

int
main(int argc, char **argv)
{
    SYN_SCOPED(syn_cri_scope) struct syn_cri *cri = NULL;
    struct syn_err err = {0};
    int rc;

    if (argc != 4) {
        (void)fprintf(stderr, "usage: bench_container_calls ADDRESS INSTANCE FOLDER\n");
        return 2;
    }
    rc = syn_cri_open(argv[1], &cri, &err);
    if (rc == SYN_OK)
        rc = serve(cri, argv[2], argv[3], &err);
    if (rc < 0)
        (void)fprintf(stderr, "bench_container_calls: %s\n", err.msg);
    return rc < 0;
}
