"""Checks what is deployed: against the schemas of Compose and Kubernetes, and against itself.

Ports, names, secrets, images and times stand in several files each; here they are held together.
The settings are read by the program itself, for which its path is the one argument. Needs the
packages check-jsonschema and kubernetes-validate; `scripts/test` installs them.
"""

import os
import pathlib
import re
import subprocess
import sys
import tomllib

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
BASE = ROOT / "deploy/kubernetes/base"
TLS = ROOT / "deploy/kubernetes/tls"
COMPOSE = ROOT / "deploy/compose"
# The oldest that is still maintained somewhere, and the newest that the package knows.
KUBERNETES = ["1.30", "1.37"]

faults: list[str] = []
checks = 0


def hold(what: str, is_so: bool, found: object = "") -> None:
    """Notes a fault unless it is so."""
    global checks
    checks += 1
    if not is_so:
        faults.append(f"{what}: {found}" if found != "" else what)


def equal(what: str, *values: object) -> None:
    hold(f"{what} agree", all(value == values[0] for value in values), values)


def load(path: pathlib.Path) -> dict:
    return yaml.safe_load(path.read_text())


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)(ms|s|m)", text).groups()
    return int(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


def merge(into: dict, patch: dict) -> dict:
    """What kustomize makes of a strategic patch, as far as ours go: lists merge by `name`, and null
    takes away."""
    merged = dict(into)
    for key, value in patch.items():
        there = merged.get(key)
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict) and isinstance(there, dict):
            merged[key] = merge(there, value)
        elif isinstance(value, list) and isinstance(there, list):
            named = {entry["name"]: entry for entry in there}
            for entry in value:
                named[entry["name"]] = merge(named.get(entry["name"], {}), entry)
            merged[key] = list(named.values())
        else:
            merged[key] = value
    return merged


def settings_are_sound(program: str, path: pathlib.Path, environment: dict) -> None:
    """As `streamgate config check` says, with all that the container sets."""
    own = {name: text for name, text in os.environ.items() if not name.startswith("STREAMGATE_")}
    run = subprocess.run(
        [program, "config", "check", "--config", str(path)],
        env=own | environment,
        capture_output=True,
        text=True,
    )
    hold(f"{path.relative_to(ROOT)} is sound", run.returncode == 0, run.stderr)


def env_named_in(settings: pathlib.Path) -> set[str]:
    """Variables from which the settings take secrets."""
    return set(re.findall(r'env = "(\w+)"', settings.read_text()))


def dockerfile() -> dict:
    text = (ROOT / "Dockerfile").read_text()
    joined = text.replace("\\\n", " ")
    env = re.search(r"^ENV (.*)$", joined, re.MULTILINE).group(1)
    return {
        "env": dict(pair.split("=", 1) for pair in env.split()),
        "ports": [int(port) for port in re.search(r"^EXPOSE (.*)$", text, re.MULTILINE)[1].split()],
        "user": int(re.search(r"^USER (\d+):", text, re.MULTILINE)[1]),
        "made_user": int(re.search(r"--uid (\d+)", text)[1]),
        "has_health_check": "HEALTHCHECK" in text,
        "entry_point": re.search(r"^ENTRYPOINT (.*)$", text, re.MULTILINE)[1],
    }


def port_of(address: str) -> int:
    return int(address.rsplit(":", 1)[1])


def check_kubernetes(program: str, image: dict) -> None:
    kustomization = load(BASE / "kustomization.yaml")
    manifests = {}
    for name in [*kustomization["resources"], "secret.example.yaml"]:
        manifests[name] = load(BASE / name)
    on_tls = {}
    for patch in load(TLS / "kustomization.yaml")["patches"]:
        on_tls[patch["path"]] = merge(manifests[patch["path"]], load(TLS / patch["path"]))
    for where, found in [("base", manifests), ("tls", on_tls)]:
        for name, manifest in found.items():
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(manifest, version, strict=True)
                    hold(f"{where}/{name} is valid", True)
                except kubernetes_validate.ValidationError as error:
                    place = ".".join(str(part) for part in error.path)
                    hold(f"{where}/{name} is valid in {version}", False, f"{place} {error.message}")
    listed = {path.name for path in BASE.glob("*.yaml")}
    equal("the files of base and those that are named", listed,
          set(manifests) | {"kustomization.yaml"})

    deployment, service = manifests["deployment.yaml"], manifests["service.yaml"]
    pod = deployment["spec"]["template"]
    [container] = pod["spec"]["containers"]
    labels = pod["metadata"]["labels"]
    equal("labels of the pods and selectors", labels,
          deployment["spec"]["selector"]["matchLabels"], service["spec"]["selector"],
          manifests["disruption-budget.yaml"]["spec"]["selector"]["matchLabels"],
          *[spread["labelSelector"]["matchLabels"]
            for spread in pod["spec"]["topologySpreadConstraints"]])
    target = manifests["autoscaler.yaml"]["spec"]["scaleTargetRef"]
    equal("the autoscaler and its target", (target["kind"], target["name"]),
          (deployment["kind"], deployment["metadata"]["name"]))
    hold("the service is headless", service["spec"]["clusterIP"] == "None")

    with open(BASE / "streamgate.toml", "rb") as file:
        settings = tomllib.load(file)["server"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    equal("ports of settings, container, service, image and image's environment",
          [port_of(settings["listen"]), port_of(settings["http_listen"])],
          [ports["grpc"], ports["http"]],
          [port["port"] for port in service["spec"]["ports"]],
          image["ports"],
          [port_of(image["env"]["STREAMGATE_SERVER__LISTEN"]),
           port_of(image["env"]["STREAMGATE_SERVER__HTTP_LISTEN"])])
    hold("the service finds its ports by name",
         all(port["targetPort"] in ports for port in service["spec"]["ports"]))
    probes = [container[f"{kind}Probe"] for kind in ["startup", "readiness", "liveness"]]
    hold("probes ask the health service", all(probe["grpc"]["port"] == ports["grpc"]
                                              for probe in probes), probes)
    equal("the port that is scraped", pod["metadata"]["annotations"]["prometheus.io/port"],
          str(ports["http"]))
    stop = seconds(settings["drain_delay"]) + seconds(settings["grace_period"])
    hold("the pod may take as long as its stop",
         pod["spec"]["terminationGracePeriodSeconds"] > stop, stop)
    readiness = container["readinessProbe"]
    unready = readiness["periodSeconds"] * readiness["failureThreshold"]
    hold("a pod is found not ready before it closes", seconds(settings["drain_delay"]) > unready)
    equal("the user of image and pod", image["user"], image["made_user"],
          pod["spec"]["securityContext"]["runAsUser"])

    [generated] = kustomization["configMapGenerator"]
    [volume] = pod["spec"]["volumes"]
    [mount] = container["volumeMounts"]
    equal("the settings' names", generated["name"], volume["configMap"]["name"])
    equal("the settings' volume", volume["name"], mount["name"])
    equal("the settings' path", container["env"],
          [{"name": "STREAMGATE_CONFIG",
            "value": f"{mount['mountPath']}/{generated['files'][0]}"}])
    equal("the image's names", container["image"], kustomization["images"][0]["name"])
    secret = manifests["secret.example.yaml"]
    equal("the secret's names", secret["metadata"]["name"],
          container["envFrom"][0]["secretRef"]["name"])
    missing = env_named_in(BASE / "streamgate.toml") - set(secret["stringData"])
    hold("the secret holds what the settings take from it", not missing, missing)
    settings_are_sound(program, BASE / "streamgate.toml", image["env"] | secret["stringData"])

    pod = on_tls["deployment.yaml"]["spec"]["template"]["spec"]
    [container] = pod["containers"]
    env = {entry["name"]: entry["value"] for entry in container["env"]}
    folders = [mount["mountPath"] for mount in container["volumeMounts"]]
    files = [text for name, text in env.items() if name.endswith("_FILE")]
    hold("files of certificates lie where the secret is mounted", len(files) == 3 and all(
        path.rsplit("/", 1)[0] in folders for path in files), files)
    hold("no probe asks over gRPC what TLS would not let in",
         all("grpc" not in container[f"{kind}Probe"]
             for kind in ["startup", "readiness", "liveness"]))
    hold("nothing allows to do without TLS", env["STREAMGATE_SERVER__INSECURE"] == "false")
    settings_are_sound(program, BASE / "streamgate.toml",
                       image["env"] | secret["stringData"] | env)


def check_compose(program: str, image: dict) -> None:
    path = ROOT / "compose.yaml"
    run = subprocess.run(
        [pathlib.Path(sys.executable).parent / "check-jsonschema", "--builtin-schema",
         "vendor.compose-spec", str(path)], capture_output=True, text=True)
    hold("compose.yaml is valid", run.returncode == 0, run.stdout + run.stderr)
    services = load(path)["services"]
    proxies = {name: service for name, service in services.items()
               if name.startswith("proxy-")}
    hold("there are three proxies", len(proxies) == 3, list(proxies))
    settings = COMPOSE / "streamgate.toml"
    with open(settings, "rb") as file:
        server = tomllib.load(file)["server"]
    for name, proxy in proxies.items():
        environment = proxy["environment"]
        missing = env_named_in(settings) - set(environment)
        hold(f"{name} has what its settings take from the environment", not missing, missing)
        hold(f"{name} waits for services that are there", set(proxy["depends_on"]) <= set(services))
        [mount] = proxy["volumes"]
        equal("the mounted settings", mount,
              f"./{settings.relative_to(ROOT)}:{environment['STREAMGATE_CONFIG']}:ro")
        stop = seconds(server["drain_delay"]) + seconds(server["grace_period"])
        hold(f"{name} may take as long as its stop",
             seconds(proxy["stop_grace_period"]) > stop, stop)
        settings_are_sound(program, settings, image["env"] | environment)
    waited_for = {needed for service in services.values() for needed, how in
                  service.get("depends_on", {}).items() if how["condition"] == "service_healthy"}
    for name in waited_for:
        hold(f"{name} says whether it is healthy", "healthcheck" in services[name]
             or (name in proxies and image["has_health_check"]))
    hosts = set(re.findall(r"://(?:[\w:]+@)?([a-z0-9-]+):\d+", str(proxies) + settings.read_text()))
    hold("every host is a service", hosts <= set(services), hosts)

    balancer = (COMPOSE / "nginx.conf").read_text()
    equal("the proxies and those that the load balancer knows",
          re.findall(r"^\s*server ([\w.:-]+) ", balancer, re.MULTILINE),
          [f"{name}:{port_of(server['listen'])}" for name in proxies])
    [published] = services["load-balancer"]["ports"]
    equal("the port of the load balancer", re.search(r"listen (\d+)", balancer)[1],
          published.rsplit(":", 1)[1])
    hold("it is published to this machine alone", published.startswith("127.0.0.1:"), published)
    # The tests run against these.
    installed = dict(re.findall(r"^(\w+)_version=(\S+)", (ROOT / "scripts/install").read_text(),
                                re.MULTILINE))
    hold("azurite is the one that is tested",
         f"azurite@{installed['azurite']}" in services["azurite"]["build"]["dockerfile_inline"])


def main() -> int:
    program = sys.argv[1]
    image = dockerfile()
    for part in [check_kubernetes, check_compose]:
        try:
            part(program, image)
        except (KeyError, TypeError, ValueError) as error:
            # Something is not where it should be; what was found before that says more.
            hold(f"{part.__name__} finds what it looks for", False, repr(error))
    for fault in faults:
        print(f"FAULT: {fault}")
    print(f"deployment: {checks - len(faults)} checks passed, {len(faults)} failed")
    return 1 if faults else 0


sys.exit(main())
