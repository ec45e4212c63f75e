#include <synor/workload/manifest.h>

#include <synor/base/str.h>
#include <synor/base/test.h>

static json_t *
parse(const char *text)
{
    struct syn_err err;
    json_t *value;

    assert_done(syn_json_parse(text, strlen(text), &value, &err), &err);
    return value;
}

static json_t *
read_file(const char *text, const json_t *variables)
{
    struct syn_err err;
    json_t *value = NULL;

    assert_done(syn_manifest_read(text, strlen(text), variables, &value, &err), &err);
    return value;
}

static void
assert_json(const json_t *value, const char *expected)
{
    SYN_JSON(wanted);
    SYN_BUF(text);
    struct syn_err err;

    wanted = parse(expected);
    assert_done(syn_json_write(value, &text, &err), &err);
    if (!json_equal(value, wanted))
        fail_msg("expected %s\ngot      %s", expected, syn_buf_text(&text));
}

/* What a file with one thing in it comes to. */
static void
assert_spec(const char *file, const char *expected)
{
    SYN_JSON(read);

    read = read_file(file, NULL);
    assert_int_equal(json_array_size(json_object_get(read, "items")), 1);
    assert_json(json_object_get(json_array_get(json_object_get(read, "items"), 0), "spec"),
                expected);
    assert_json(json_object_get(read, "unknown"), "[]");
}

static void
assert_refused(const char *file, const char *expected)
{
    SYN_JSON(value);
    struct syn_err err;
    int rc = syn_manifest_read(file, strlen(file), NULL, &value, &err);

    assert_int_equal(rc, SYN_E_INVALID);
    if (strstr(err.msg, expected) == NULL)
        fail_msg("expected \"%s\", got \"%s\"", expected, err.msg);
}

static void
test_own_documents(void **state)
{
    SYN_JSON(read);

    (void)state;
    read = read_file("kind: service\nname: web\napp: shop\nafter: [db]\nspec: {image: synor://w}\n"
                     "---\n# nothing\n---\nkind: service\nname: db\nspec: {image: synor://d}\n",
                     NULL);
    assert_json(read, "{\"app\":\"shop\",\"unknown\":[],\"notes\":[],\"items\":["
                      "{\"kind\":\"service\",\"name\":\"db\",\"spec\":{\"image\":\"synor://d\"},"
                      "\"from\":\"document 2\",\"after\":[]},"
                      "{\"kind\":\"service\",\"name\":\"web\",\"spec\":{\"image\":\"synor://w\"},"
                      "\"from\":\"document 1\",\"after\":[{\"name\":\"db\",\"ready\":true}]}]}");
}

/* Where what is not understood stands. */
static void
assert_paths(const json_t *read, const char *expected)
{
    SYN_BUF(paths);
    json_t *row;
    size_t i;

    json_array_foreach (json_object_get(read, "unknown"), i, row)
        syn_buf_addf(&paths, "%s ", syn_json_str(row, "path", "?"));
    assert_string_equal(syn_buf_text(&paths), expected);
}

static const char compose[] = "name: shop\n"
                              "version: '3.9'\n"
                              "x-common: {a: 1}\n"
                              "services:\n"
                              "  web:\n"
                              "    image: synor://images/${IMAGE:-web}\n"
                              "    command: serve --title 'a b' \"c \\\" d\" \\$HOME\n"
                              "    environment: [A=1, 'B=$${x}', C]\n"
                              "    ports: ['80:8080']\n"
                              "    depends_on: {db: {condition: service_healthy}}\n"
                              "    healthcheck: {test: [CMD, curl, -f, "
                              "'http://localhost:8080/up'], interval: 10s, retries: 4}\n"
                              "    deploy:\n"
                              "      replicas: 3\n"
                              "      resources: {limits: {cpus: 0.5, memory: 64M}}\n"
                              "      update_config: {order: start-first, parallelism: 2}\n"
                              "    x-own: 1\n"
                              "  db:\n"
                              "    image: synor://images/db\n"
                              "    environment: {N: 5, T: true, E: }\n"
                              "    healthcheck: {disable: true}\n"
                              "    restart: always\n";

static void
test_compose(void **state)
{
    SYN_JSON(read);
    SYN_JSON(variables);
    const json_t *items;

    (void)state;
    variables = parse("{\"C\":\"3\",\"HOME\":\"/root\"}");
    read = read_file(compose, variables);
    items = json_object_get(read, "items");
    assert_json(json_object_get(read, "unknown"), "[]");
    assert_int_equal(json_array_size(json_object_get(read, "notes")), 1); /* the published port */
    assert_string_equal(syn_json_str(read, "app", ""), "shop");
    assert_json(json_object_get(json_array_get(items, 0), "spec"),
                "{\"image\":\"synor://images/db\",\"env\":{\"N\":\"5\",\"T\":\"true\",\"E\":\"\"},"
                "\"health\":{\"kind\":\"none\"},\"restart\":\"always\"}");
    assert_json(json_object_get(json_array_get(items, 1), "spec"),
                "{\"image\":\"synor://images/web\","
                "\"args\":[\"serve\",\"--title\",\"a b\",\"c \\\" d\",\"/root\"],"
                "\"env\":{\"A\":\"1\",\"B\":\"${x}\",\"C\":\"3\"},\"port\":8080,"
                "\"health\":{\"path\":\"/up\",\"port\":8080,\"interval_ms\":\"10s\","
                "\"unhealthy\":4},\"replicas\":3,\"cpu_millicores\":\"0.5\","
                "\"memory_bytes\":\"64M\",\"max_surge\":2,\"max_unavailable\":0}");
}

/* Users, mounts and signals, as docker-compose and Kubernetes say them. */
static void
test_what_a_container_is_given(void **state)
{
    SYN_JSON(read);

    (void)state;
    assert_spec(
        "services:\n  web:\n    image: w\n    user: '1001:1002'\n    working_dir: /app\n"
        "    hostname: web-1\n    tmpfs: [/run, '/cache:size=16m']\n"
        "    secrets: [db, {source: key, target: /etc/key}]\n    stop_signal: QUIT\n"
        "    read_only: true\n    cap_drop: [ALL]\n"
        "    security_opt: ['no-new-privileges:true']\nsecrets: {db: {external: true}}\n",
        "{\"image\":\"w\",\"user\":\"1001:1002\",\"workdir\":\"/app\",\"hostname\":\"web-1\","
        "\"mounts\":[{\"path\":\"/run\",\"kind\":\"tmpfs\"},"
        "{\"path\":\"/cache\",\"kind\":\"tmpfs\",\"size_bytes\":\"16m\"},"
        "{\"path\":\"/run/secrets/db\",\"kind\":\"secret\",\"source\":\"db\"},"
        "{\"path\":\"/etc/key\",\"kind\":\"secret\",\"source\":\"key\"}],"
        "\"stop_signal\":\"SIGQUIT\"}");
    assert_spec("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
                "  template:\n    spec:\n      containers:\n      - image: w\n"
                "        workingDir: /app\n"
                "        securityContext: {runAsUser: 7, allowPrivilegeEscalation: false, "
                "capabilities: {drop: [ALL]}}\n"
                "        volumeMounts: [{name: c, mountPath: /c}]\n"
                "      securityContext: {runAsUser: 5, runAsNonRoot: true}\n"
                "      volumes: [{name: c, emptyDir: {medium: Memory, sizeLimit: 8Mi}}]\n",
                "{\"user\":\"7\",\"image\":\"w\",\"workdir\":\"/app\",\"mounts\":[{\"path\":\"/c\","
                "\"kind\":\"tmpfs\",\"size_bytes\":8388608}]}");
    assert_spec("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
                "  template:\n    spec:\n      containers:\n      - image: w\n"
                "        volumeMounts: [{name: c, mountPath: /c}]\n"
                "      volumes: [{name: c, emptyDir: {}}]\n",
                "{\"image\":\"w\",\"mounts\":[{\"path\":\"/c\",\"kind\":\"scratch\"}]}");
    assert_spec("services:\n  w:\n    image: w\n    volumes: [/c]\n",
                "{\"image\":\"w\",\"mounts\":[{\"path\":\"/c\",\"kind\":\"scratch\"}]}");
    read = read_file("services:\n  w:\n    image: w\n    user: root\n    tmpfs: '/a:uid=5'\n"
                     "    secrets: [{source: s, mode: 292}, Bad_Name]\n    stop_signal: SIGKILL\n"
                     "    cap_add: [NET_ADMIN]\n    read_only: false\n"
                     "    security_opt: ['seccomp:unconfined']\nsecrets: {s: {file: ./s}}\n",
                     NULL);
    assert_paths(read, "services.w.user services.w.tmpfs services.w.secrets[0].mode "
                       "services.w.secrets[1] services.w.stop_signal services.w.cap_add "
                       "services.w.read_only services.w.security_opt[0] secrets.s ");
}

static void
test_volumes(void **state)
{
    SYN_JSON(read);

    (void)state;
    assert_spec("services:\n  w:\n    image: w\n    volumes: ['data:/d', 'data:/e:ro', "
                "{type: volume, source: other, target: /o, read_only: true}]\n"
                "volumes: {data: {}, other: {external: true}, more: }\n",
                "{\"image\":\"w\",\"mounts\":["
                "{\"path\":\"/d\",\"kind\":\"volume\",\"source\":\"data\"},"
                "{\"path\":\"/e\",\"kind\":\"volume\",\"source\":\"data\",\"read_only\":true},"
                "{\"path\":\"/o\",\"kind\":\"volume\",\"source\":\"other\",\"read_only\":true}]}");
    assert_spec("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
                "  template:\n    spec:\n      containers:\n      - image: w\n"
                "        volumeMounts: [{name: c, mountPath: /c, readOnly: true}, "
                "{name: c, mountPath: /d}]\n"
                "      volumes: [{name: c, persistentVolumeClaim: {claimName: data}}]\n",
                "{\"image\":\"w\",\"mounts\":["
                "{\"path\":\"/c\",\"kind\":\"volume\",\"source\":\"data\",\"read_only\":true},"
                "{\"path\":\"/d\",\"kind\":\"volume\",\"source\":\"data\"}]}");
    read = read_file("services:\n  w:\n    image: w\n    volumes: ['/a:/b', c, 'd:/e:z', 'F:/g', "
                     "{type: bind, source: /h, target: /i, bind: {}}]\n"
                     "volumes: {d: {driver: nfs}}\n",
                     NULL);
    assert_paths(read, "services.w.volumes[0] services.w.volumes[1] services.w.volumes[2] "
                       "services.w.volumes[3] services.w.volumes[4].bind services.w.volumes[4] "
                       "volumes.d ");
}

static void
test_checks(void **state)
{
    (void)state;
    assert_spec("services: {w: {image: w, healthcheck: {test: [CMD, pg_isready, -q]}}}\n",
                "{\"image\":\"w\",\"health\":{\"command\":[\"pg_isready\",\"-q\"]}}");
    assert_spec("services: {w: {image: w, healthcheck: {test: 'test -f /x && y'}}}\n",
                "{\"image\":\"w\",\"health\":{\"command\":[\"/bin/sh\",\"-c\",\"test -f /x && "
                "y\"]}}");
    assert_spec("services: {w: {image: w, healthcheck: {test: [CMD-SHELL, 'a b']}}}\n",
                "{\"image\":\"w\",\"health\":{\"command\":[\"/bin/sh\",\"-c\",\"a b\"]}}");
    assert_spec("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
                "  template:\n    spec:\n      containers:\n      - image: w\n"
                "        readinessProbe: {tcpSocket: {port: 5}, successThreshold: 2}\n"
                "        livenessProbe: {exec: {command: [a, b]}, failureThreshold: 4}\n"
                "        startupProbe: {httpGet: {path: /s, port: 5, httpHeaders: "
                "[{name: Host, value: h}, {name: X, value: y}]}, periodSeconds: 2, "
                "failureThreshold: 30}\n",
                "{\"image\":\"w\",\"health\":{\"kind\":\"tcp\",\"port\":5,\"healthy\":2,"
                "\"ends\":false,\"start_ms\":60000},"
                "\"liveness\":{\"kind\":\"exec\",\"command\":[\"a\",\"b\"],\"unhealthy\":4},"
                "\"startup\":{\"kind\":\"http\",\"path\":\"/s\",\"port\":5,\"host\":\"h\","
                "\"headers\":{\"X\":\"y\"},\"interval_ms\":2000}}");
    assert_spec("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
                "  template:\n    spec:\n      containers:\n      - image: w\n"
                "        lifecycle: {preStop: {httpGet: {path: /bye, port: 5}}}\n",
                "{\"image\":\"w\",\"pre_stop\":{\"kind\":\"http\",\"path\":\"/bye\",\"port\":5}}");
    assert_spec("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
                "  template:\n    spec:\n      containers:\n      - image: w\n"
                "        livenessProbe: {tcpSocket: {port: 5}}\n",
                "{\"image\":\"w\",\"liveness\":{\"kind\":\"tcp\",\"port\":5},"
                "\"health\":{\"kind\":\"none\"}}");
    assert_spec("apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec:\n"
                "  template:\n    spec:\n      containers:\n      - image: w\n"
                "        readinessProbe: {grpc: {port: 5, service: pkg.A}}\n"
                "        startupProbe: {grpc: {port: 6}}\n",
                "{\"image\":\"w\",\"startup\":{\"kind\":\"grpc\",\"port\":6},\"health\":{\"kind\":"
                "\"grpc\",\"port\":5,\"service\":\"pkg.A\",\"start_ms\":30000,\"ends\":false}}");
}

static void
test_what_is_not_understood_is_named(void **state)
{
    SYN_JSON(read);

    (void)state;
    read = read_file("services:\n  web:\n    image: synor://w\n    privileged: true\n"
                     "    volumes: [./a:/b]\n    replica: 2\n    enviroment: {}\n"
                     "    ports: ['53:53/udp', 80, 81]\n    depends_on: {}\n"
                     "    healthcheck: {test: [CMD, pg_isready]}\n    restart: "
                     "'on-failure:3'\nconfigs: {a: {}}\n",
                     NULL);
    assert_json(
        json_object_get(read, "unknown"),
        "[{\"path\":\"services.web.privileged\",\"message\":\"true is not to be had; here it is "
        "always false\"},"
        "{\"path\":\"services.web.volumes[0]\",\"message\":\"./a:/b: folders of the machine cannot "
        "be had; use a volume: synor compute volume create\"},"
        "{\"path\":\"services.web.replica\",\"message\":\"is not understood\"},"
        "{\"path\":\"services.web.enviroment\",\"message\":\"is not understood; environment is\"},"
        "{\"path\":\"services.web.ports[0]\",\"message\":\"services speak TCP\"},"
        "{\"path\":\"services.web.ports[2]\",\"message\":\"a service has one port; this one has "
        "80\"},"
        "{\"path\":\"services.web.restart\",\"message\":\"on-failure:3 is not to be had; here it "
        "is no|always|on-failure|unless-stopped, and what fails is started again as often as it "
        "takes\"},"
        "{\"path\":\"configs\",\"message\":\"use environment, or put the file into the image\"}]");
}

static void
test_compose_restarts(void **state)
{
    static const struct {
        const char *line, *restart;
    } rows[] = {{"restart: no", "never"},
                {"restart: on-failure", "on-failure"},
                {"restart: unless-stopped", "always"},
                {"deploy: {restart_policy: {condition: none}}", "never"},
                {"deploy: {restart_policy: {condition: on-failure}}", "on-failure"},
                {"deploy: {restart_policy: {condition: any}}", "always"},
                {"init: true", "?"}};

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        char text[160];
        SYN_JSON(read);

        (void)snprintf(text, sizeof(text), "services:\n  web:\n    image: synor://w\n    %s\n",
                       rows[i].line);
        read = read_file(text, NULL);
        assert_string_equal(
            syn_json_str(json_object_get(json_array_get(json_object_get(read, "items"), 0), "spec"),
                         "restart", "?"),
            rows[i].restart);
        assert_json(json_object_get(read, "unknown"), "[]");
    }
}

static const char deployment[] =
    "apiVersion: apps/v1\n"
    "kind: Deployment\n"
    "metadata: {name: web, labels: {app: w}}\n"
    "spec:\n"
    "  strategy: {type: RollingUpdate, rollingUpdate: {maxSurge: 25%, maxUnavailable: 25%}}\n"
    "  replicas: 5\n"
    "  selector: {matchLabels: {app: w}}\n"
    "  template:\n"
    "    metadata: {labels: {app: w, tier: front}}\n"
    "    spec:\n"
    "      terminationGracePeriodSeconds: 20\n"
    "      containers:\n"
    "      - name: web\n"
    "        image: synor://images/web\n"
    "        args: [serve, 1]\n"
    "        readinessProbe: {httpGet: {path: /up, port: http}, periodSeconds: 3}\n"
    "        ports: [{containerPort: 9000}, {name: http, containerPort: 8080}]\n"
    "        env: [{name: A, value: x}, {name: B}]\n"
    "        resources: {requests: {cpu: 250m, memory: 128Mi}}\n";

#define SPEC(port_)                                                                              \
    "{\"replicas\":5,\"max_surge\":2,\"max_unavailable\":1,\"stop_grace_ms\":20000,"             \
    "\"image\":\"synor://images/web\",\"args\":[\"serve\",\"1\"],\"health\":{\"kind\":\"http\"," \
    "\"path\":\"/up\",\"port\":8080,\"interval_ms\":3000,\"ends\":false},\"port\":" port_        \
    ",\"env\":{\"A\":\"x\",\"B\":\"\"},\"cpu_millicores\":\"250m\",\"memory_bytes\":134217728}"

static void
test_kubernetes(void **state)
{
    SYN_JSON(read);
    SYN_BUF(both);

    (void)state;
    assert_spec(deployment, SPEC("9000"));
    syn_buf_addf(&both,
                 "apiVersion: v1\nkind: Service\nmetadata: {name: front}\nspec:\n"
                 "  selector: {app: w}\n  ports: [{port: 80, targetPort: http}]\n---\n%s",
                 deployment);
    assert_spec(syn_buf_text(&both), SPEC("8080"));
    read = read_file("apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: NodePort, "
                     "selector: {app: x}, ports: [{port: 1}]}\n---\n"
                     "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c}\n---\n"
                     "kind: service\nname: web\nspec: {image: synor://w}\n",
                     NULL);
    assert_json(json_object_get(read, "unknown"),
                "[{\"path\":\"document 2\",\"message\":\"ConfigMap of v1: Deployment and Service "
                "are understood\"},"
                "{\"path\":\"Service a.type\",\"message\":\"the platform gives the address\"},"
                "{\"path\":\"Service a\",\"message\":\"selects no Deployment of this file\"}]");
}

static void
test_refused(void **state)
{
    static const struct {
        const char *file, *expected;
    } rows[] = {
        {"", "there is nothing in the file"},
        {"a: 1\n", "document 1: expected kind, name and spec"},
        {"kind: service\n", "document 1.name"},
        {"kind: service\nname: Web\nspec: {}\n", "\"Web\" is no name"},
        {"kind: service\nname: w\nspec: 1\n", "document 1.spec: expected an object"},
        {"kind: service\nname: w\nspecs: {}\nspec: {}\n", "specs"},
        {"kind: service\nname: w\nafter: [x]\nspec: {}\n", "w comes after x, which is not there"},
        {"kind: service\nname: w\nspec: {}\n---\nkind: service\nname: w\nspec: {}\n",
         "w is in the file twice"},
        {"kind: service\nname: a\nafter: [b]\nspec: {}\n---\nkind: service\nname: b\nafter: [a]\n"
         "spec: {}\n",
         "round in a circle"},
        {"kind: service\nname: a\napp: x\nspec: {}\n---\nkind: service\nname: b\napp: y\nspec: "
         "{}\n",
         "of one app"},
        {"services: {w: {}}\n", "services.w: has no image"},
        {"services: {w: {image: a, command: 'x \"y'}}\n", "command: expected a quote to end"},
        {"services: {w: {image: '${A'}}\n", "services.w.image: ${A: expected }"},
        {"services: {w: {image: '$1'}}\n", "$$ is a dollar"},
        {"services: {w: {image: '${A:?say which}'}}\n", "A is not set: say which"},
        {"services: {w: {image: a, ports: [80:x]}}\n", "services.w.ports[0]"},
        {"services: {w: {image: a, deploy: {replicas: -1.5}}}\n", "expected a whole number"},
        {"services: [1]\n", "services: expected an object"},
        {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w}\nspec: {template: {spec: "
         "{containers: []}}}\n",
         "one container"},
        {"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: w}\nspec: {template: {spec: "
         "{containers: [{image: a, resources: {limits: {memory: 1Qi}}}]}}}\n",
         "a quantity such as 128Mi"},
        {"&a kind: service\n", "anchors are not supported"},
    };

    (void)state;
    for (size_t i = 0; i < SYN_LEN(rows); i++)
        assert_refused(rows[i].file, rows[i].expected);
}

static void
test_variables(void **state)
{
    static const struct {
        const char *text, *expected;
    } rows[] = {
        {"$SET", "is"},
        {"${SET}x", "isx"},
        {"${SET:-no}", "is"},
        {"${EMPTY:-no}", "no"},
        {"${EMPTY-no}", ""},
        {"${NONE-no}", "no"},
        {"${NONE:-}", ""},
        {"${SET:+yes}", "yes"},
        {"${EMPTY:+yes}", ""},
        {"${EMPTY+yes}", "yes"},
        {"${NONE+yes}", ""},
        {"$$SET", "$SET"},
        {"a${SET:?must}b", "aisb"},
        {"100$$", "100$"},
    };
    SYN_JSON(variables);

    (void)state;
    variables = parse("{\"SET\":\"is\",\"EMPTY\":\"\"}");
    for (size_t i = 0; i < SYN_LEN(rows); i++) {
        SYN_BUF(file);
        SYN_JSON(read);

        syn_buf_addf(&file, "services: {w: {image: 'i', environment: {A: '%s'}}}\n", rows[i].text);
        read = read_file(syn_buf_text(&file), variables);
        assert_string_equal(
            syn_json_str(syn_json_at(json_array_get(json_object_get(read, "items"), 0), "spec.env"),
                         "A", "?"),
            rows[i].expected);
    }
}

static void
test_diff(void **state)
{
    SYN_JSON(a);
    SYN_JSON(b);
    SYN_JSON(rows);
    struct syn_err err;

    (void)state;
    a = parse("{\"x\":1,\"o\":{\"p\":1,\"q\":[1]},\"gone\":{\"k\":2}}");
    b = parse("{\"x\":1,\"o\":{\"p\":2,\"q\":[1,2]},\"new\":\"n\"}");
    assert_done(syn_manifest_diff(a, b, &rows, &err), &err);
    assert_json(rows, "[{\"path\":\"o.p\",\"from\":1,\"to\":2},"
                      "{\"path\":\"o.q\",\"from\":[1],\"to\":[1,2]},"
                      "{\"path\":\"gone.k\",\"from\":2,\"to\":null},"
                      "{\"path\":\"new\",\"from\":null,\"to\":\"n\"}]");
    (void)json_decref(rows);
    rows = NULL;
    assert_done(syn_manifest_diff(a, a, &rows, &err), &err);
    assert_json(rows, "[]");
}

static int
scenario(void *arg, struct syn_err *err)
{
    SYN_JSON(variables);
    SYN_JSON(read);
    const char *text = arg;
    int rc = syn_json_pack(&variables, err, "{s:s}", "C", "3");

    return rc < 0 ? rc : syn_manifest_read(text, strlen(text), variables, &read, err);
}

static void
test_sweep(void **state)
{
    (void)state;
    assert_true(syn_test_sweep_alloc(scenario, (void *)(uintptr_t)compose) > 100);
    assert_true(syn_test_sweep_alloc(scenario, (void *)(uintptr_t)deployment) > 100);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_documents),
        cmocka_unit_test(test_compose),
        cmocka_unit_test(test_what_a_container_is_given),
        cmocka_unit_test(test_volumes),
        cmocka_unit_test(test_checks),
        cmocka_unit_test(test_what_is_not_understood_is_named),
        cmocka_unit_test(test_compose_restarts),
        cmocka_unit_test(test_kubernetes),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_diff),
        cmocka_unit_test(test_sweep),
    };

    syn_json_init();
    return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
