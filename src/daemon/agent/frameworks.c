/* Which frameworks the machine's own Python can import, read from its folders: starting a Python to
 * ask it would cost more than the agent's whole start. A package counts when its folder is where
 * /usr/bin/python3 looks; its version is in the name of the metadata beside it. What is installed
 * while the agent runs is told with the next heartbeat. */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <synor/base/str.h>

#include "agent_priv.h"

#define FOLDERS     5
#define VERSION_MAX 33

static const struct framework {
    const char *name;
    const char *package; /* what a program imports */
} known[] = {
    {"pytorch", "torch"}, {"tensorflow", "tensorflow"}, {"jax", "jax"}, {"onnx", "onnxruntime"},
    {"onnx", "onnx"},
};

/* Where /usr/bin/python3 looks, of Debian's and of others' making. `python` is "python3.11". */
static void
folder_name(unsigned index, const char *root, const char *python, char *out)
{
    static const char *const formats[FOLDERS][2] = {
        {"/usr/local/lib/", "/dist-packages"}, {"/usr/lib/python3", "/dist-packages"},
        {"/usr/lib/", "/dist-packages"},       {"/usr/local/lib/", "/site-packages"},
        {"/usr/lib/", "/site-packages"},
    };

    (void)snprintf(out, AGT_PATH_MAX, "%s%s%s%s", root, formats[index][0], index == 1 ? "" : python,
                   formats[index][1]);
}

/* "torch-1.13.0a0+gitunknown.egg-info" of torch: "1.13.0a0+gitunknown". */
static bool
version_in(const char *file, const char *package, char *out)
{
    static const char *const ends[] = {".dist-info", ".egg-info"};
    size_t len = strlen(package);

    if (strncmp(file, package, len) != 0 || file[len] != '-' ||
        !isdigit((unsigned char)file[len + 1]))
        return false;
    for (size_t i = 0; i < SYN_LEN(ends); i++) {
        const char *version = file + len + 1;

        if (!syn_str_ends(version, ends[i]))
            continue;
        len = SYN_MIN(strlen(version) - strlen(ends[i]), (size_t)VERSION_MAX - 1);
        memcpy(out, version, len);
        out[len] = '\0';
        /* Of onnxruntime-1.17.1-py3.11.egg-info the version is the first part. */
        out[strcspn(out, "-")] = '\0';
        return true;
    }
    return false;
}

static void
find_version(const char *folder, const char *package, char *out)
{
    DIR *dir = opendir(folder);
    const struct dirent *item;

    out[0] = '\0';
    while (dir != NULL && (item = readdir(dir)) != NULL) {
        if (version_in(item->d_name, package, out))
            break;
    }
    if (dir != NULL)
        (void)closedir(dir);
}

static int
look(const char *folder, json_t *found, struct syn_err *err)
{
    int rc = SYN_OK;

    for (size_t i = 0; rc == SYN_OK && i < SYN_LEN(known); i++) {
        char path[AGT_PATH_MAX + 32];
        char version[VERSION_MAX];
        struct stat st;

        (void)snprintf(path, sizeof(path), "%s/%s/__init__.py", folder, known[i].package);
        if (json_object_get(found, known[i].name) != NULL || stat(path, &st) != 0)
            continue;
        find_version(folder, known[i].package, version);
        rc = syn_json_set_str(found, known[i].name, version, err);
    }
    return rc;
}

int
agt_frameworks(const char *root, json_t **ret, struct syn_err *err)
{
    char path[AGT_PATH_MAX];
    char python[64];
    ssize_t len;
    SYN_JSON(found);
    int rc = SYN_OK;

    found = json_object();
    if (found == NULL)
        return SYN_FAIL(err, SYN_E_NOMEM, "no memory for the inventory");
    (void)snprintf(path, sizeof(path), "%s/usr/bin/python3", root);
    len = readlink(path, python, sizeof(python) - 1);
    python[len > 0 ? len : 0] = '\0';
    for (unsigned i = 0; rc == SYN_OK && len > 0 && strchr(python, '/') == NULL && i < FOLDERS;
         i++) {
        folder_name(i, root, python, path);
        rc = look(path, found, err);
    }
    if (rc == SYN_OK)
        *ret = SYN_TAKE(found);
    return rc;
}
