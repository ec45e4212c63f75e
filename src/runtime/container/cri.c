#include "cri_priv.h"

#include <poll.h>
#include <string.h>

#include <synor/base/json.h>
#include <synor/base/mem.h>
#include <synor/base/str.h>
#include <synor/infra/grpc.h>

#include "message_priv.h"

#define RUNTIME         "/runtime.v1.RuntimeService/"
#define IMAGES          "/runtime.v1.ImageService/"
#define QUICK_MS        10000
#define START_MS        60000 /* a start took 21 s once on a loaded machine */
#define REMOVE_MS       30000
#define REMOVE_TRIES    50
#define REMOVE_PAUSE_MS 100

struct syn_cri {
    struct syn_grpc *grpc;
    const char *root; /* NULL: every pod with our label is ours */
};

int
syn_cri_open(const char *address, struct syn_cri **ret_cri, struct syn_err *err)
{
    const struct syn_grpc_options options = {.address = address,
                                             .message_bytes_max = SYN_GRPC_MESSAGE_BYTES_MAX};
    struct syn_cri *cri = syn_calloc(1, sizeof(*cri));
    int rc;

    if (!cri)
        return SYN_FAIL(err, SYN_E_NOMEM, "a container runtime's client");
    rc = syn_grpc_new(&options, &cri->grpc, err);
    if (rc < 0) {
        syn_free(cri);
        return rc;
    }
    *ret_cri = cri;
    return SYN_OK;
}

struct syn_cri *
syn_cri_close(struct syn_cri *cri)
{
    if (cri) {
        cri->grpc = syn_grpc_free(cri->grpc);
        syn_free(cri);
    }
    return NULL;
}

void
syn_cri_scope(struct syn_cri **slot)
{
    *slot = syn_cri_close(*slot);
}

void
syn_cri_root_watch(struct syn_cri *cri, const char *root)
{
    cri->root = root;
}

/* One call. `kind` NULL: what is answered does not matter. */
static int
ask(struct syn_cri *cri, const char *method, const void *request, int64_t timeout_ms,
    const ProtobufCMessageDescriptor *kind, void *ret, struct syn_err *err)
{
    SYN_BUF(out);
    SYN_BUF(in);
    int rc;

    syn_message_pack(request, &out);
    rc = syn_buf_ok(&out, err);
    if (rc == SYN_OK)
        rc = syn_grpc_ask(cri->grpc, method, &out, timeout_ms, &in, err);
    if (rc == SYN_OK && kind)
        rc = syn_message_unpack(kind, &in, ret, err);
    return rc;
}

int
syn_cri_ask_version(struct syn_cri *cri, Cri__VersionResponse **ret, struct syn_err *err)
{
    SYN_MESSAGE(Cri__VersionRequest, cri__version_request, request);

    return ask(cri, RUNTIME "Version", &request, QUICK_MS, &cri__version_response__descriptor, ret,
               err);
}

int
syn_cri_version(struct syn_cri *cri, char *out, size_t cap, struct syn_err *err)
{
    SYN_SCOPED(syn_message_scope) Cri__VersionResponse *answer = NULL;
    int rc = syn_cri_ask_version(cri, &answer, err);

    if (rc == SYN_OK)
        (void)snprintf(out, cap, "%s %s", answer->runtime_name, answer->runtime_version);
    return rc;
}

int
syn_cri_info(struct syn_cri *cri, Cri__StatusResponse **ret, struct syn_err *err)
{
    SYN_MESSAGE(Cri__StatusRequest, cri__status_request, request);

    request.verbose = true;
    return ask(cri, RUNTIME "Status", &request, QUICK_MS, &cri__status_response__descriptor, ret,
               err);
}

const char *
syn_cri_entry(Cri__Label *const *list, size_t count, const char *key)
{
    for (size_t i = 0; i < count; i++) {
        if (syn_str_eq(list[i]->key, key))
            return list[i]->value;
    }
    return "";
}

static int
keep_id(const char *id, char ret[SYN_CRI_ID_MAX], struct syn_err *err)
{
    if (id[0] == '\0' || strchr(id, '/') || !syn_str_copy(ret, SYN_CRI_ID_MAX, id))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the container runtime answers with the id \"%.40s\"",
                        id);
    return SYN_OK;
}

int
syn_cri_run_pod(struct syn_cri *cri, const Cri__RunPodSandboxRequest *request,
                char ret_id[SYN_CRI_ID_MAX], struct syn_err *err)
{
    SYN_SCOPED(syn_message_scope) Cri__RunPodSandboxResponse *answer = NULL;
    int rc = ask(cri, RUNTIME "RunPodSandbox", request, START_MS,
                 &cri__run_pod_sandbox_response__descriptor, &answer, err);

    if (rc < 0)
        return rc;
    assert(answer != NULL);
    return keep_id(answer->pod_sandbox_id, ret_id, err);
}

int
syn_cri_create(struct syn_cri *cri, const Cri__CreateContainerRequest *request,
               char ret_id[SYN_CRI_ID_MAX], struct syn_err *err)
{
    SYN_SCOPED(syn_message_scope) Cri__CreateContainerResponse *answer = NULL;
    int rc = ask(cri, RUNTIME "CreateContainer", request, START_MS,
                 &cri__create_container_response__descriptor, &answer, err);

    if (rc < 0)
        return rc;
    assert(answer != NULL);
    return keep_id(answer->container_id, ret_id, err);
}

int
syn_cri_start(struct syn_cri *cri, const char *container, struct syn_err *err)
{
    SYN_MESSAGE(Cri__StartContainerRequest, cri__start_container_request, request);

    request.container_id = syn_message_text(container);
    return ask(cri, RUNTIME "StartContainer", &request, START_MS, NULL, NULL, err);
}

int
syn_cri_stop(struct syn_cri *cri, const char *container, struct syn_err *err)
{
    SYN_MESSAGE(Cri__StopContainerRequest, cri__stop_container_request, request);

    request.container_id = syn_message_text(container);
    return ask(cri, RUNTIME "StopContainer", &request, QUICK_MS, NULL, NULL, err);
}

/* The pid out of what the runtime adds for people: {"info": "{\"pid\": 123, ...}"}. */
static int
find_pid(const Cri__ContainerStatusResponse *answer)
{
    for (size_t i = 0; i < answer->n_info; i++) {
        const Cri__Label *entry = answer->info[i];
        SYN_JSON(doc);
        int64_t pid = 0;

        if (!syn_str_eq(entry->key, "info") ||
            syn_json_parse_object(entry->value, strlen(entry->value), &doc, NULL) < 0)
            continue;
        pid = syn_json_i64(doc, "pid", 0);
        return pid > 0 && pid <= INT32_MAX ? (int)pid : 0;
    }
    return 0;
}

int
syn_cri_status(struct syn_cri *cri, const char *container, struct syn_cri_status *ret,
               struct syn_err *err)
{
    static const enum syn_cri_state states[] = {
        [CRI__CONTAINER_STATE__CONTAINER_CREATED] = SYN_CRI_CREATED,
        [CRI__CONTAINER_STATE__CONTAINER_RUNNING] = SYN_CRI_RUNNING,
        [CRI__CONTAINER_STATE__CONTAINER_EXITED] = SYN_CRI_EXITED,
        [CRI__CONTAINER_STATE__CONTAINER_UNKNOWN] = SYN_CRI_UNKNOWN,
    };
    SYN_MESSAGE(Cri__ContainerStatusRequest, cri__container_status_request, request);
    SYN_SCOPED(syn_message_scope) Cri__ContainerStatusResponse *answer = NULL;
    int rc;

    request.container_id = syn_message_text(container);
    request.verbose = true;
    rc = ask(cri, RUNTIME "ContainerStatus", &request, QUICK_MS,
             &cri__container_status_response__descriptor, &answer, err);
    if (rc < 0)
        return rc;
    assert(answer != NULL);
    if (!answer->status || (unsigned)answer->status->state >= SYN_LEN(states))
        return SYN_FAIL(err, SYN_E_CORRUPT, "the container runtime answers without a state");
    *ret = (struct syn_cri_status){
        .state = states[answer->status->state],
        .pid = find_pid(answer),
        .exit_code = answer->status->exit_code,
        .out_of_memory = syn_str_eq(answer->status->reason, "OOMKilled"),
    };
    return SYN_OK;
}

static int
missing_is_fine(int rc)
{
    return rc == SYN_E_NOTFOUND ? SYN_OK : rc;
}

static int
remove_once(struct syn_cri *cri, const char *pod, struct syn_err *err)
{
    SYN_MESSAGE(Cri__PodSandboxRequest, cri__pod_sandbox_request, request);
    int rc;

    request.pod_sandbox_id = syn_message_text(pod);
    rc = missing_is_fine(ask(cri, RUNTIME "StopPodSandbox", &request, REMOVE_MS, NULL, NULL, err));
    return rc < 0 ? rc
                  : missing_is_fine(
                        ask(cri, RUNTIME "RemovePodSandbox", &request, REMOVE_MS, NULL, NULL, err));
}

/* A runtime that is just told of the end of a container refuses to remove it for a moment. */
int
syn_cri_remove_pod(struct syn_cri *cri, const char *pod, struct syn_err *err)
{
    int rc = remove_once(cri, pod, err);

    for (int i = 0; i < REMOVE_TRIES && (rc == SYN_E_IO || rc == SYN_E_CONFLICT); i++) {
        (void)poll(NULL, 0, REMOVE_PAUSE_MS);
        rc = remove_once(cri, pod, err);
    }
    return rc;
}

static int
list_pods(struct syn_cri *cri, const char *name, Cri__ListPodSandboxResponse **ret,
          struct syn_err *err)
{
    SYN_MESSAGE(Cri__ListPodSandboxRequest, cri__list_pod_sandbox_request, request);
    SYN_MESSAGE(Cri__PodSandboxFilter, cri__pod_sandbox_filter, filter);
    SYN_MESSAGE(Cri__Label, cri__label, label);
    Cri__Label *labels[] = {&label};

    label.key = syn_message_text(SYN_CRI_LABEL);
    if (name) {
        label.value = syn_message_text(name);
        filter.label_selector = labels;
        filter.n_label_selector = 1;
        request.filter = &filter;
    }
    return ask(cri, RUNTIME "ListPodSandbox", &request, QUICK_MS,
               &cri__list_pod_sandbox_response__descriptor, ret, err);
}

/* Whose it is, or NULL for a pod of somebody else's. */
static const char *
owner(const struct syn_cri *cri, const Cri__PodSandbox *pod)
{
    const char *name = syn_cri_entry(pod->labels, pod->n_labels, SYN_CRI_LABEL);
    const char *root = syn_cri_entry(pod->labels, pod->n_labels, SYN_CRI_ROOT);

    return name[0] != '\0' && (!cri->root || syn_str_eq(root, cri->root)) ? name : NULL;
}

static int
remove_listed(struct syn_cri *cri, const char *name, bool (*keep)(void *arg, const char *name),
              void *arg, struct syn_err *err)
{
    SYN_SCOPED(syn_message_scope) Cri__ListPodSandboxResponse *pods = NULL;
    int first = list_pods(cri, name, &pods, err);

    for (size_t i = 0; pods && i < pods->n_items; i++) {
        const char *whose = owner(cri, pods->items[i]);
        int rc;

        if (!whose || (name && !syn_str_eq(whose, name)) || (keep && keep(arg, whose)))
            continue;
        rc = syn_cri_remove_pod(cri, pods->items[i]->id, first < 0 ? NULL : err);
        first = first < 0 ? first : rc;
    }
    return first;
}

int
syn_cri_remove_pods(struct syn_cri *cri, const char *name, struct syn_err *err)
{
    return remove_listed(cri, name, NULL, NULL, err);
}

int
syn_cri_sweep(struct syn_cri *cri, bool (*keep)(void *arg, const char *name), void *arg,
              struct syn_err *err)
{
    return remove_listed(cri, NULL, keep, arg, err);
}

int
syn_cri_count_pods(struct syn_cri *cri, size_t *ret_count, struct syn_err *err)
{
    SYN_SCOPED(syn_message_scope) Cri__ListPodSandboxResponse *pods = NULL;
    size_t count = 0;
    int rc = list_pods(cri, NULL, &pods, err);

    for (size_t i = 0; rc == SYN_OK && i < pods->n_items; i++)
        count += owner(cri, pods->items[i]) != NULL;
    if (rc == SYN_OK)
        *ret_count = count;
    return rc;
}

int
syn_cri_count_kubelets(struct syn_cri *cri, size_t *ret_count, struct syn_err *err)
{
    SYN_SCOPED(syn_message_scope) Cri__ListPodSandboxResponse *pods = NULL;
    size_t count = 0;
    int rc = list_pods(cri, NULL, &pods, err);

    for (size_t i = 0; rc == SYN_OK && i < pods->n_items; i++) {
        const Cri__PodSandbox *pod = pods->items[i];

        count += syn_cri_entry(pod->labels, pod->n_labels, SYN_CRI_KUBE)[0] != '\0';
    }
    if (rc == SYN_OK)
        *ret_count = count;
    return rc;
}

int
syn_cri_has_image(struct syn_cri *cri, const char *name, struct syn_err *err)
{
    SYN_MESSAGE(Cri__ImageStatusRequest, cri__image_status_request, request);
    SYN_MESSAGE(Cri__ImageSpec, cri__image_spec, spec);
    SYN_SCOPED(syn_message_scope) Cri__ImageStatusResponse *answer = NULL;
    int rc;

    spec.image = syn_message_text(name);
    request.image = &spec;
    rc = ask(cri, IMAGES "ImageStatus", &request, QUICK_MS, &cri__image_status_response__descriptor,
             &answer, err);
    if (rc == SYN_OK && !answer->image)
        return SYN_FAIL(err, SYN_E_NOTFOUND, "the container runtime has no image %s", name);
    return rc;
}
