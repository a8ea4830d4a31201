"""Checks of deploy/, run by tests/deploy.sh: what the files say of each other and of the documentation, and what the tools
that are here say of them. It needs PyYAML and promtool; a tool that is missing beside them is named at the end.

usage: deploy.py FOLDER    a throwaway folder to work in; the working directory is the repository
"""

import fnmatch
import http.server
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import yaml

FOLDER = Path(sys.argv[1])
DEPLOY = Path("deploy")
OPERATIONS = Path("docs/OPERATIONS.md")
RULES = DEPLOY / "prometheus/rules/tollgate.yml"
RULE_TESTS = DEPLOY / "prometheus/rules/tollgate_test.yml"
DASHBOARD = DEPLOY / "grafana/dashboards/tollgate.json"
KUBERNETES = DEPLOY / "kubernetes/fleet"
UNITS = DEPLOY / "systemd"
CONFIGS = [DEPLOY / "compose/tollgate.toml", KUBERNETES / "tollgate.toml", UNITS / "fleet.toml"]
# Labels that Prometheus or a target adds, not the program.
TARGET_LABELS = {"job", "instance", "fleet", "machine", "le"}

passed = 0
failures = []
not_run = []


def check(holds, expected):
    """Counts one check, which says what is expected."""
    refuse(not holds, f"expected: {expected}")


def refuse(wrong, message):
    """Counts one check, which says what is wrong."""
    global passed
    if wrong:
        failures.append(message)
        print(f"FAIL {message}", file=sys.stderr)
    else:
        passed += 1


def run(name, *command, **options):
    """Runs a program and counts whether it ends with 0."""
    done = subprocess.run(
        [str(word) for word in command], stdin=subprocess.DEVNULL, capture_output=True, text=True, **options
    )
    refuse(done.returncode != 0, f"{name}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def tool(name, what):
    """Whether a program is here; notes what is left unchecked where it is not."""
    if shutil.which(name):
        return True
    not_run.append(f"{what} ({name} is not installed)")
    return False


class StrictLoader(yaml.SafeLoader):
    """Refuses a key that stands twice, which YAML forbids and PyYAML takes."""


def mapping(loader, node):
    # `<<` adds what is not there, so only what is written counts.
    keys = [loader.construct_object(key) for key, _ in node.value if key.value != "<<"]
    twice = {str(key) for key in keys if keys.count(key) > 1}
    if twice:
        raise yaml.YAMLError(f"{node.start_mark}: {', '.join(sorted(twice))} stands twice")
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)


def documents(text):
    return [document for document in yaml.load_all(text, StrictLoader) if document is not None]


def load(path):
    found = documents(Path(path).read_text())
    assert len(found) == 1, f"{path}: one document"
    return found[0]


def seconds(text):
    """The seconds of a span as TOML, Compose and systemd files here write them."""
    number, unit = re.fullmatch(r"(\d+)(ms|s|m|h|)", str(text)).groups()
    return int(number) * {"ms": 0.001, "s": 1, "": 1, "m": 60, "h": 3600}[unit]


def size(text):
    number, unit = re.fullmatch(r"(\d+)([KMG]i)B?", text).groups()
    return int(number) << {"Ki": 10, "Mi": 20, "Gi": 30}[unit]


def config(path):
    """A configuration file, and the longest it may take to stop."""
    parsed = tomllib.loads(Path(path).read_text())
    return parsed, seconds(parsed["gateway"].get("drain_timeout", "30s"))


def port(address):
    return int(address.rsplit(":", 1)[1])


# --- metrics, alerts, dashboard ---------------------------------------------------------------------------------------


# A database of the tests, and the cookie of a session.
NO_METRICS = {"tollgate_test", "tollgate_session"}


def documented_metrics():
    """The labels of each metric in docs/METRICS.md."""
    found = {}
    for line in Path("docs/METRICS.md").read_text().splitlines():
        row = re.match(r"\| `(tollgate_\w+)` \| ([^|]*) \|", line)
        if row:
            found[row[1]] = set(re.findall(r"`(\w+)`", row[2]))
    return found


def check_metrics():
    known = documented_metrics()
    check(len(known) > 20, "docs/METRICS.md lists the metrics")
    # What a histogram is read by.
    for name in [name for name in known if name.endswith("_seconds")]:
        for suffix in ("_bucket", "_sum", "_count"):
            known[name + suffix] = known[name]
    for path in (RULES, RULE_TESTS, DASHBOARD, OPERATIONS):
        text = path.read_text().replace('\\"', '"')
        for name in sorted(set(re.findall(r"\btollgate_[a-z_]+\b", text)) - NO_METRICS):
            refuse(name not in known, f"{path}: {name} is not in docs/METRICS.md")
        for name, selector in set(re.findall(r"\b(tollgate_[a-z_]+)\{([^}]*)\}", text)):
            labels = set(re.findall(r"(\w+)\s*[=!]", selector)) - TARGET_LABELS
            unknown = labels - known.get(name, labels)
            refuse(unknown, f"{path}: {name} has no label {', '.join(sorted(unknown))}")


def anchors(path):
    """The anchors of a page's headings, as they are made of them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def check_alerts():
    run("the rules", "promtool", "check", "rules", RULES)
    run("the rules' tests", "promtool", "test", "rules", RULE_TESTS)
    run("prometheus.yml", "promtool", "check", "config", DEPLOY / "prometheus/prometheus.yml")
    kubernetes = load(DEPLOY / "prometheus/kubernetes.yml")
    check(kubernetes["rule_files"] == ["rules/tollgate.yml"], "prometheus/kubernetes.yml names the rules")
    # Debian's Prometheus is built without it.
    not_run.append("prometheus/kubernetes.yml by promtool (Debian's knows no kubernetes_sd_configs): parsed only")

    alerts = [rule for group in load(RULES)["groups"] for rule in group["rules"]]
    fires, quiet = set(), set()
    for test in load(RULE_TESTS)["tests"]:
        for case in test["alert_rule_test"]:
            (fires if case["exp_alerts"] else quiet).add(case["alertname"])
    headings = anchors(OPERATIONS)
    names = [rule["alert"] for rule in alerts]
    check(len(names) == len(set(names)), "each alert has a name of its own")
    for rule in alerts:
        name, notes = rule["alert"], rule.get("annotations", {})
        check(rule.get("labels", {}).get("severity") in ("critical", "warning"), f"{name} has a severity")
        check(notes.get("summary"), f"{name} has a summary")
        check(notes.get("runbook") == f"{OPERATIONS}#{name.lower()}", f"{name} points to its heading")
        refuse(name.lower() not in headings, f"{OPERATIONS} has no heading {name}")
        refuse(name not in fires, f"{RULE_TESTS}: nothing shows that {name} fires")
        refuse(name not in quiet, f"{RULE_TESTS}: nothing shows that {name} keeps quiet")
    for heading in re.findall(r"^#+ (Tollgate[A-Z]\w+)$", OPERATIONS.read_text(), re.MULTILINE):
        refuse(heading not in names, f"{OPERATIONS}: {heading} is no alert")


def check_dashboard():
    dashboard = json.loads(DASHBOARD.read_text())
    panels = dashboard["panels"]
    ids = [panel["id"] for panel in panels]
    check(len(ids) == len(set(ids)), "each panel has an id of its own")
    taken = {}
    expressions = []
    for panel in panels:
        title, place = panel["title"], panel["gridPos"]
        check(place["x"] + place["w"] <= 24, f"panel {title} is within the grid")
        columns = range(place["x"], place["x"] + place["w"])
        rows = range(place["y"], place["y"] + place["h"])
        for cell in itertools.product(columns, rows):
            other = taken.setdefault(cell, title)
            if other != title:
                refuse(True, f"panels {title} and {other} overlap")
                break
        for target in panel.get("targets", []):
            check(target["datasource"]["uid"] == "${datasource}", f"panel {title} asks the chosen Prometheus")
            expressions.append(target["expr"].replace("$fleet", ".*").replace("$__rate_interval", "5m"))
        check(panel["type"] == "row" or panel["targets"], f"panel {title} shows something")
    # promtool parses expressions only as rules.
    rules = [{"record": f"panel:{at}", "expr": expression} for at, expression in enumerate(expressions)]
    path = FOLDER / "dashboard.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    run("the dashboard's expressions", "promtool", "check", "rules", path)
    source = load(DEPLOY / "grafana/provisioning/datasources/prometheus.yml")["datasources"][0]
    check(source["type"] == "prometheus" and source["isDefault"], "Grafana knows Prometheus")
    not_run.append("the dashboard in Grafana: its layout, expressions and metrics are checked, not its looks")


# --- configuration files ----------------------------------------------------------------------------------------------


def check_configs():
    binary = os.environ.get("TOLLGATE_BINARY")
    secrets = FOLDER / "secrets"
    secrets.mkdir()
    (secrets / "database-url").write_text("postgres://tollgate:pw@db.internal/tollgate\n")
    (secrets / "redis-url").write_text("redis://redis.internal:6379\n")
    (secrets / "admin-token").write_text("an-admin-token-for-the-test\n")
    environment = {
        "CREDENTIALS_DIRECTORY": str(secrets),
        "STATE_DIRECTORY": "/var/lib/tollgate-gateway/1",
        "TOLLGATE_INSTANCE": "1",
        "POSTGRES_PASSWORD": "p@ss/word",
        "TOLLGATE_ADMIN_TOKEN": "an-admin-token-for-the-test",
    }
    for path in CONFIGS:
        parsed, _ = config(path)
        store = parsed["store"]
        check({"database", "database_file"} & store.keys(), f"{path}: a fleet's database")
        check({"redis", "redis_file"} & store.keys(), f"{path}: a fleet's Redis")
        check({"token", "token_file"} & parsed["admin"].keys(), f"{path}: a fleet's token")
        check("url" in parsed["admin"] and "spool" in store, f"{path}: where the control plane and the spool are")
        text = path.read_text().replace("/run/secrets/tollgate", str(secrets))
        refuse(set(re.findall(r"\$\{(\w+)\}", text)) - environment.keys(), f"{path}: variables that nobody sets")
        if binary:
            copy = FOLDER / "checked.toml"
            copy.write_text(text)
            run(f"tollgate check {path}", binary, "check", copy, env=environment)
    if not binary:
        not_run.append("configuration files by `tollgate check` (TOLLGATE_BINARY is not set): parsed only")


# --- image ------------------------------------------------------------------------------------------------------------


def ignored(path, patterns):
    """Whether .dockerignore keeps a path out: the last pattern that matches it or a folder of it decides."""
    out = False
    parts = Path(path).parts
    above = ["/".join(parts[: length + 1]) for length in range(len(parts))]
    for pattern in patterns:
        keeps = pattern.startswith("!")
        pattern = pattern.lstrip("!")
        anywhere = pattern.startswith("**/")
        names = [Path(name).name for name in above] if anywhere else above
        if any(fnmatch.fnmatchcase(name, pattern.removeprefix("**/")) for name in names):
            out = not keeps
    return out


def check_image():
    text = (DEPLOY / "image/Dockerfile").read_text()
    lines = re.sub(r"\\\n\s*", " ", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE)).splitlines()
    words = [line.split(None, 1) for line in lines if line.strip()]
    known = "ARG FROM RUN WORKDIR COPY ENV USER VOLUME EXPOSE STOPSIGNAL HEALTHCHECK ENTRYPOINT CMD".split()
    check(all(word in known for word, _ in words), f"Dockerfile: only {known}")
    starts = [at for at, (word, _) in enumerate(words) if word == "FROM"]
    check(len(starts) == 2, "Dockerfile: a stage that builds and one that runs")
    last = {}
    for word, rest in words[starts[-1] :]:
        last[word] = rest
    check(re.fullmatch(r"[1-9]\d*:[1-9]\d*", last["USER"]), "Dockerfile: the user is a number and not root")
    check(
        json.loads(last["ENTRYPOINT"]) == ["tollgate"], "Dockerfile: ENTRYPOINT without a shell, so that signals arrive"
    )
    check(last["STOPSIGNAL"] == "SIGTERM", "Dockerfile: STOPSIGNAL")
    check(json.loads(last["HEALTHCHECK"].split("CMD ")[1]) == ["tollgate-healthcheck"], "Dockerfile: HEALTHCHECK")
    check(json.loads(last["VOLUME"]) == ["/var/lib/tollgate"], "Dockerfile: the one place that is written")

    cargo = tomllib.loads(Path("Cargo.toml").read_text())
    rust = re.search(r"ARG RUST_VERSION=(\S+)", text)[1]
    check(rust == cargo["workspace"]["package"]["rust-version"], "Dockerfile: the Rust that Cargo.toml asks for")
    tools = re.findall(r"packages\+=\(([^)]*)\)", (DEPLOY / "build-tools.sh").read_text())
    for package in " ".join(tools).split():
        check(re.search(rf"install .*\b{package}\b", text), f"Dockerfile: {package}, as in build-tools.sh")

    patterns = [line for line in Path(".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    needed = ["Cargo.toml", "Cargo.lock", "migrations", "deploy/image/healthcheck"]
    for member in [*cargo["workspace"]["members"], "migrations"]:
        for folder, _, names in os.walk(member):
            needed += [f"{folder}/{name}" for name in names if "target" not in Path(folder).parts]
    for path in needed:
        if ignored(path, patterns):
            refuse(True, f".dockerignore keeps {path} out, which the build reads")
    for path in (
        "deploy/.env",
        "tollgate.db",
        "target/release/tollgate",
        "admin-token",
        "crates/cli/x.db",
        ".git/config",
    ):
        refuse(not ignored(path, patterns), f".dockerignore lets {path} into the image's build")

    if tool("hadolint", "the Dockerfile's lint"):
        run("hadolint", "hadolint", DEPLOY / "image/Dockerfile")
    not_run.append("building and running the image (no container engine is used)")
    check_healthcheck()


class Health(http.server.BaseHTTPRequestHandler):
    """Answers as the metrics listener does."""

    def do_GET(self):
        self.send_response({"/healthz": 200, "/readyz": 503}.get(self.path, 404))
        self.end_headers()

    def log_message(self, *_):
        pass


def check_healthcheck():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Health)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    listening = str(server.server_address[1])
    script = str(DEPLOY / "image/healthcheck")
    for arguments, status in ((["/healthz", listening], 0), (["/readyz", listening], 1), (["/what", listening], 1)):
        done = subprocess.run(["bash", script, *arguments], check=False, capture_output=True)
        refuse(done.returncode != status, f"healthcheck {arguments}: {done.returncode} instead of {status}")
    server.shutdown()
    server.server_close()
    done = subprocess.run(["bash", script, "/healthz", listening], check=False, capture_output=True)
    check(done.returncode == 1, "healthcheck where nothing listens")


# --- compose ----------------------------------------------------------------------------------------------------------


def check_compose():
    path = DEPLOY / "compose.yaml"
    text = path.read_text()
    compose = load(path)
    services = compose["services"]
    parsed, drain = config(DEPLOY / "compose/tollgate.toml")
    metrics = port(parsed["metrics"]["listen"])
    spools = []
    for name, service in services.items():
        for network in service["networks"]:
            check(network in compose["networks"], f"{path}: {name} is in the network {network}")
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            if source.startswith("./"):
                refuse(not (DEPLOY / source).is_dir(), f"{path}: {name} mounts {source}, which is no folder")
            else:
                check(source in compose["volumes"], f"{path}: {name} uses the volume {source}")
            if target == "/var/lib/tollgate":
                spools.append(source)
        for published in service.get("ports", []):
            refuse(not published.startswith("127.0.0.1:"), f"{path}: {name} publishes {published} to others")
        needs = service.get("depends_on", {})
        for other in needs:
            check(other in services, f"{path}: {name} depends on {other}")
            healthy = isinstance(needs, dict) and needs[other]["condition"] == "service_healthy"
            check(not healthy or "healthcheck" in services[other], f"{path}: {other} says when it is healthy")
        if service.get("image", "").startswith("tollgate"):
            check(service["read_only"] and service["cap_drop"] == ["ALL"], f"{path}: {name} runs with the least")
            check("no-new-privileges:true" in service["security_opt"], f"{path}: {name} gains no rights")
            check(seconds(service["stop_grace_period"]) > drain, f"{path}: {name} may finish its requests")
            check(service["command"][0] in ("gateway", "admin"), f"{path}: {name} is one of a fleet")
            used = set(re.findall(r"\$\{(\w+)\}", (DEPLOY / "compose/tollgate.toml").read_text()))
            check(used <= service["environment"].keys(), f"{path}: {name} has the variables of tollgate.toml")
            check("./compose:/etc/tollgate:ro" in service["volumes"], f"{path}: {name} reads tollgate.toml")
    gateways = [name for name, service in services.items() if service.get("command") == ["gateway"]]
    check(len(gateways) == 2 and len(set(spools)) == len(spools) == 2, f"{path}: two gateways, each with its own spool")
    for variable in set(re.findall(r"\$\{(\w+)", text)):
        check(re.search(rf"\${{{variable}:\?", text), f"{path}: {variable} must be set")
        check(variable in text.split("name: tollgate")[0], f"{path}: its top says how to set {variable}")
    for url, service in (("database", "postgres"), ("redis", "redis")):
        check(re.search(rf"[@/]{service}:\d+", parsed["store"][url]), f"compose/tollgate.toml: {url} is {service}")
        check(
            services[service]["networks"] == ["data"] and compose["networks"]["data"]["internal"],
            f"{path}: {service} is out of reach",
        )
    for job in load(DEPLOY / "prometheus/prometheus.yml")["scrape_configs"]:
        for target in job["static_configs"][0]["targets"]:
            host, at = target.split(":")
            check(host in services and int(at) == metrics, f"prometheus.yml: {target} is a service's metrics")
            check(
                job["job_name"] == f"tollgate-{services[host]['command'][0]}",
                f"prometheus.yml: {target} is in the right job",
            )
    if tool("dclint", "compose.yaml against the Compose schema"):
        done = subprocess.run(["dclint", "--formatter", "json", path], capture_output=True, text=True, check=False)
        found = [
            message for file in json.loads(done.stdout) for message in file["messages"] if message["type"] == "error"
        ]
        refuse(found, f"dclint: {found}")
    not_run.append("`docker compose config` and `up` (no container engine is used)")


# --- Kubernetes -------------------------------------------------------------------------------------------------------


def matches(selector, labels):
    return selector.items() <= labels.items()


def check_kubernetes():
    if not tool("kubectl", "the Kubernetes manifests as kustomize renders them"):
        for path in KUBERNETES.glob("*.yaml"):
            documents(path.read_text())
        return
    for overlay in (KUBERNETES, DEPLOY / "kubernetes/durable-spool"):
        done = run(f"kubectl kustomize {overlay}", "kubectl", "kustomize", overlay)
        check_objects(str(overlay), documents(done.stdout))
        if tool("kubernetes-validate", f"{overlay} against the Kubernetes schemas"):
            rendered = FOLDER / f"{overlay.name}.yaml"
            rendered.write_text(done.stdout)
            for version in ("1.30", "1.34"):
                run(
                    f"kubernetes-validate {version} {overlay}",
                    "kubernetes-validate",
                    "--strict",
                    "--quiet",
                    "-k",
                    version,
                    rendered,
                )
    not_run.append("applying the manifests (no cluster)")


def check_objects(name, objects):
    """What the rendered objects of an overlay say of each other and of the configuration in them."""
    parsed, _ = config(KUBERNETES / "tollgate.toml")
    by_kind = {}
    for item in objects:
        by_kind.setdefault(item["kind"], {})[item["metadata"]["name"]] = item
        placed = item["kind"] == "Namespace" or item["metadata"]["namespace"] == "tollgate"
        check(placed, f"{name}: {item['metadata']['name']} is in the namespace")
    refuse("Secret" in by_kind, f"{name} holds a secret")
    workloads = {**by_kind.get("Deployment", {}), **by_kind.get("StatefulSet", {})}
    check(workloads.keys() == {"tollgate-gateway", "tollgate-admin"}, f"{name}: gateway and control plane")
    for workload, item in workloads.items():
        where = f"{name}: {workload}"
        check_pod(where, item["spec"]["template"]["spec"])
        check_storage(where, item, by_kind["ConfigMap"], parsed["store"])
        check_reach(where, workload, item, by_kind)

    gateway = workloads["tollgate-gateway"]["spec"]
    check("replicas" not in gateway, f"{name}: the autoscaler owns the number of gateways")
    target = by_kind["HorizontalPodAutoscaler"]["tollgate-gateway"]["spec"]["scaleTargetRef"]
    check(target["name"] in by_kind[target["kind"]], f"{name}: the autoscaler finds the gateways")
    admin_port = by_kind["Service"]["tollgate-admin"]["spec"]["ports"][0]["port"]
    check(parsed["admin"]["url"] == f"http://tollgate-admin:{admin_port}", f"{name}: gateways find the control plane")
    for item in by_kind.get("StatefulSet", {}).values():
        check(item["spec"]["serviceName"] in by_kind["Service"], f"{name}: the set has its Service")
    egress = by_kind["NetworkPolicy"]["tollgate-gateway"]["spec"]["egress"]
    allowed = {entry["port"] for rule in egress for entry in rule["ports"]}
    check(port(parsed["upstream"]["url"]) in allowed, f"{name}: gateways may reach the backend")


def check_pod(where, spec):
    """How a pod runs: with the least, on the ports of tollgate.toml, asked where it answers, stopped with patience."""
    parsed, drain = config(KUBERNETES / "tollgate.toml")
    (container,) = spec["containers"]
    check(spec["securityContext"]["runAsNonRoot"], f"{where} is not root")
    check(spec["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", f"{where} has a seccomp profile")
    check(spec["automountServiceAccountToken"] is False, f"{where} has no token of the cluster")
    safe = container["securityContext"]
    check(safe["readOnlyRootFilesystem"], f"{where} has a read-only root")
    check(not safe["allowPrivilegeEscalation"] and safe["capabilities"]["drop"] == ["ALL"], f"{where} has no rights")
    check("env" not in container, f"{where} has its secrets in files")
    check(container["image"].split(":")[0].endswith("/tollgate"), f"{where} has the image of the kustomization")
    (plane,) = container["args"]
    name, listen = {"gateway": ("http", "gateway"), "admin": ("admin", "admin")}[plane]
    expected = {name: port(parsed[listen]["listen"]), "metrics": port(parsed["metrics"]["listen"])}
    ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
    check(ports == expected, f"{where} has the ports of tollgate.toml")
    for probe, asked in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        check(container[probe]["httpGet"] == {"path": asked, "port": "metrics"}, f"{where}: {probe} asks {asked}")
    wait = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
    check(spec["terminationGracePeriodSeconds"] > wait + drain, f"{where} may finish its requests")


def check_storage(where, item, config_maps, store):
    """What a pod mounts: the file, the secrets where the file looks for them, room for the spool."""
    spec = item["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    claims = {claim["metadata"]["name"]: claim for claim in item["spec"].get("volumeClaimTemplates", [])}
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    check(mounts.keys() == {*volumes, *claims}, f"{where} mounts what there is")
    check(volumes["config"]["configMap"]["name"] in config_maps, f"{where} has the generated file")
    check(volumes["secrets"]["secret"]["secretName"] == "tollgate", f"{where} names the secret")
    for key in ("database_file", "redis_file"):
        check(store[key].startswith(mounts["secrets"] + "/"), f"{where}: tollgate.toml finds {key}")
    if container["args"] == ["gateway"]:
        check(store["spool"].startswith(mounts["spool"] + "/"), f"{where}: the spool is on its volume")
        if claims:
            room = claims["spool"]["spec"]["resources"]["requests"]["storage"]
        else:
            room = volumes["spool"]["emptyDir"]["sizeLimit"]
        check(size(room) > size(store["spool_max"]), f"{where}: the volume is larger than the spool")


def check_reach(where, workload, item, by_kind):
    """Who finds and who may reach a workload's pods."""
    template = item["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {entry["name"] for entry in template["spec"]["containers"][0]["ports"]}
    check(matches(item["spec"]["selector"]["matchLabels"], labels), f"{where} selects its pods")
    budget = by_kind["PodDisruptionBudget"][workload]["spec"]
    check(matches(budget["selector"]["matchLabels"], labels), f"{where} has a disruption budget")
    service = by_kind["Service"][workload]["spec"]
    check(matches(service["selector"], labels), f"{where} has a Service")
    check(service["ports"][0]["targetPort"] in ports, f"{where} has a Service for a port of its own")
    policy = by_kind["NetworkPolicy"][workload]["spec"]
    check(matches(policy["podSelector"]["matchLabels"], labels), f"{where} has a network policy")
    for rule in policy["ingress"]:
        check({entry["port"] for entry in rule["ports"]} <= ports, f"{where} is reached on ports that it has")


# --- systemd ----------------------------------------------------------------------------------------------------------


def unit(path):
    """The settings of a unit, each with all its values."""
    found = {}
    for line in path.read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, value = line.split("=", 1)
            found.setdefault(key, []).append(value)
    return found


def check_systemd():
    services = {path.name: unit(path) for path in UNITS.glob("*.service")}
    _, drain = config(UNITS / "fleet.toml")
    fleet = (UNITS / "fleet.toml").read_text()
    for name, found in services.items():
        check(seconds(found["TimeoutStopSec"][0]) > drain, f"{name}: it may finish its requests")
        for setting in ("DynamicUser=yes", "NoNewPrivileges=yes", "ProtectSystem=strict", "CapabilityBoundingSet="):
            key, value = setting.split("=")
            check(found.get(key) == [value], f"{name}: {setting}")
        check(
            found["ExecStart"][0].split()[0] == found["ExecStartPre"][0].split()[0] == "/usr/local/bin/tollgate",
            f"{name}: one binary",
        )
        if name != "tollgate.service":
            loaded = {entry.split(":")[0] for entry in found["LoadCredential"]}
            check(
                set(re.findall(r"CREDENTIALS_DIRECTORY\}/([\w-]+)", fleet)) == loaded,
                f"{name}: the secrets of fleet.toml",
            )
            check(
                any(entry.startswith("TOLLGATE_INSTANCE=") for entry in found["Environment"]),
                f"{name}: the number for fleet.toml",
            )
    states = [found["StateDirectory"][0] for found in services.values()]
    check(len(states) == len(set(states)), "each unit has a state of its own")
    socket = unit(UNITS / "tollgate-gateway.socket")
    check(socket["FileDescriptorName"] == ["gateway"], "the socket's name")
    check(
        services["tollgate-gateway@.service"]["Sockets"] == ["tollgate-gateway.socket"], "both gateways have the socket"
    )
    check(socket["ListenStream"] == [tomllib.loads(fleet)["gateway"]["listen"]], "fleet.toml: the socket's address")

    if tool("systemd-analyze", "the units by systemd-analyze"):
        # A binary at the place that the units name is not ours to put there.
        copies = FOLDER / "units"
        copies.mkdir()
        stand_in = executable(copies / "tollgate", "#!/bin/sh\n")
        for path in [*UNITS.glob("*.service"), *UNITS.glob("*.socket")]:
            (copies / path.name).write_text(path.read_text().replace("/usr/local/bin/tollgate", str(stand_in)))
        names = [
            "tollgate.service",
            "tollgate-gateway.socket",
            "tollgate-gateway@1.service",
            "tollgate-gateway@2.service",
            "tollgate-admin.service",
        ]
        done = run(
            "systemd-analyze verify", "systemd-analyze", "verify", "--man=no", *(copies / name for name in names)
        )
        refuse(done.stderr.strip(), f"systemd-analyze verify: {done.stderr}")
        for name in ("tollgate.service", "tollgate-gateway@1.service", "tollgate-admin.service"):
            run(
                f"systemd-analyze security {name}",
                "systemd-analyze",
                "security",
                "--offline=true",
                "--no-pager",
                "--threshold=20",
                copies / name,
            )
    not_run.append("the units under a running systemd")
    check_switch()


def executable(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def check_switch():
    """tollgate-switch with stand-ins: a systemctl that keeps who runs in files, a curl that says who is ready."""
    bin_folder = FOLDER / "switch"
    bin_folder.mkdir()
    executable(bin_folder / "sleep", "#!/bin/sh\nexit 0\n")
    executable(
        bin_folder / "curl", '#!/bin/sh\nfor word; do :; done\n[ "$word" = "http://127.0.0.1:946$READY/readyz" ]\n'
    )
    executable(
        bin_folder / "systemctl",
        "#!/bin/sh\n"
        'for word; do case $word in --*) ;; *) set -- "$@" "$word" ;; esac; shift; done\n'
        "case $1 in\n"
        'is-active) [ -e "$STATE/$2" ] ;;\n'
        'start) [ "$2" != "$BROKEN" ] && touch "$STATE/$2" ;;\n'
        'stop) rm -f "$STATE/$2" ;;\n'
        "esac\n",
    )
    one, two = "tollgate-gateway@1.service", "tollgate-gateway@2.service"
    cases = [
        # who runs, who gets ready, whose start fails -> status, who runs then
        ({one}, "2", "", 0, {two}),
        ({two}, "1", "", 0, {one}),
        ({one}, "0", "", 1, {one}),
        ({one}, "2", two, 1, {one}),
        ({one, two}, "2", "", 1, {one, two}),
        (set(), "1", "", 1, set()),
    ]
    for at, (before, ready, broken, status, after) in enumerate(cases):
        state = FOLDER / f"state{at}"
        state.mkdir()
        for name in before:
            (state / name).touch()
        environment = {"PATH": f"{bin_folder}:/usr/bin:/bin", "STATE": str(state), "READY": ready, "BROKEN": broken}
        done = subprocess.run(
            ["sh", UNITS / "tollgate-switch", "3"], env=environment, capture_output=True, text=True, check=False
        )
        runs = {path.name for path in state.iterdir()}
        refuse(
            (done.returncode, runs) != (status, after),
            f"tollgate-switch, case {at}: {done.returncode}, {runs}\n{done.stderr}",
        )
    done = subprocess.run(["sh", UNITS / "tollgate-switch", "soon"], capture_output=True, text=True, check=False)
    check(done.returncode == 2 and "usage:" in done.stderr, "tollgate-switch with a wrong argument")


# --- documents, YAML --------------------------------------------------------------------------------------------------


def check_documents():
    text = OPERATIONS.read_text()
    for target in re.findall(r"\]\(([^)]+)\)", text):
        file, _, anchor = target.partition("#")
        path = OPERATIONS if not file else Path("docs") / file
        if not re.match(r"https?:", target):
            refuse(not path.exists(), f"{OPERATIONS}: {target} is not there")
            refuse(
                path.exists() and anchor and anchor not in anchors(path), f"{OPERATIONS}: {target} has no such heading"
            )
    for name in set(re.findall(r"\bdeploy/[\w./@-]*\w", text)) - {"deploy/.env"}:
        refuse(not Path(name).exists(), f"{OPERATIONS}: {name} is not there")


def check_yaml():
    paths = [path for suffix in ("*.yml", "*.yaml") for path in DEPLOY.rglob(suffix)]
    for path in paths:
        try:
            refuse(not documents(path.read_text()), f"{path} holds nothing")
        except yaml.YAMLError as error:
            refuse(True, f"{path}: {error}")
    if tool("yamllint", "the YAML files' lint"):
        rules = (
            "{extends: default, rules: {line-length: {max: 160}, document-start: disable, comments-indentation: disable, "
            "braces: {max-spaces-inside: 1}}}"
        )
        run("yamllint", "yamllint", "--strict", "-d", rules, *paths)


SUITES = [
    check_yaml,
    check_metrics,
    check_alerts,
    check_dashboard,
    check_configs,
    check_image,
    check_compose,
    check_kubernetes,
    check_systemd,
    check_documents,
]
for suite in SUITES:
    try:
        suite()
    except Exception as error:  # One suite that cannot go on must not hide what the others find.
        refuse(True, f"{suite.__name__}: {type(error).__name__}: {error}")
for entry in dict.fromkeys(not_run):
    print(f"not run: {entry}")
print(f"deploy: {passed} checks passed, {len(failures)} failed")
sys.exit(1 if failures else 0)
