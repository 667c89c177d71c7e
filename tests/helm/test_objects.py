"""What the chart renders is understood: by Kubernetes, by the agent and by the gateway."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import kubernetes_validate  # type: ignore[import-untyped]
import pytest
import yaml

from exporter import __version__
from exporter.cli.arguments import make_parser
from exporter.config.gateway_problems import gateway_only_problems
from exporter.config.load import load_settings
from tests.helm.chart import (
    CHART,
    HELMS,
    KUBERNETES,
    MATRIX,
    ROOT,
    Object,
    agents,
    configuration,
    container,
    find,
    pods,
    render,
    run_helm,
)

pytestmark = pytest.mark.system

EXAMPLES = re.findall(r"```yaml\n(.*?)```", (ROOT / "docs" / "how-to" / "kubernetes.md").read_text(), re.DOTALL)
OPERATOR_KINDS = {"PodMonitor", "ServiceMonitor", "PrometheusRule"}


@pytest.mark.parametrize("helm", HELMS)
def test_the_linter_finds_nothing(helm: str) -> None:
    """Neither the strict linter of this Helm nor its renderer complains."""
    done = run_helm(helm, "lint", "--strict", str(CHART))

    assert done.returncode == 0, done.stdout
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("helm", HELMS)
def test_the_package_holds_rules_and_dashboards(helm: str, tmp_path: Path) -> None:
    """A packaged chart needs nothing of the repository: files behind its link are in it."""
    done = run_helm(helm, "package", str(CHART), "--destination", str(tmp_path))
    assert done.returncode == 0, done.stderr
    (package,) = tmp_path.glob("*.tgz")
    with tarfile.open(package) as archive:
        names = set(archive.getnames())
    files = [path.relative_to(ROOT) for path in (ROOT / "dashboards").rglob("wattribute-*") if path.is_file()]

    assert package.name == f"wattribute-{__version__}.tgz"
    assert len(files) >= 6
    assert {f"wattribute/files/{path}" for path in files} <= names


@pytest.mark.parametrize("case", MATRIX)
def test_both_helms_render_the_same(case: str) -> None:
    """Nothing in the templates depends on the version of Helm."""
    assert render(MATRIX[case], helm="v3") == render(MATRIX[case], helm="v4")


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("case", MATRIX)
def test_every_object_has_the_form_that_kubernetes_wants(case: str, kubernetes: str) -> None:
    """Each object holds to the schema of its kind, with no key that this Kubernetes does not know."""
    for item in render(MATRIX[case], kubernetes=kubernetes):
        if item["kind"] not in OPERATOR_KINDS:
            _validate(json.dumps(item), kubernetes)


@functools.cache
def _validate(item: str, kubernetes: str) -> None:
    kubernetes_validate.validate(json.loads(item), kubernetes, strict=True)


def test_a_wrong_object_is_found() -> None:
    """The check of forms sees a key that does not exist."""
    daemon_set = find(render({}), "DaemonSet")
    daemon_set["spec"]["template"]["spec"]["hostPids"] = True

    with pytest.raises(kubernetes_validate.ValidationError, match="hostPids"):
        _validate(json.dumps(daemon_set), "1.35")


@pytest.mark.parametrize("case", MATRIX)
def test_no_two_objects_have_the_same_name(case: str) -> None:
    """Kind and name tell an object, so that none overwrites another."""
    names = [(item["kind"], item["metadata"]["name"]) for item in render(MATRIX[case])]

    assert len(names) == len(set(names))


@pytest.mark.parametrize("case", MATRIX)
def test_agent_and_gateway_accept_their_configuration(case: str) -> None:
    """The files in the ConfigMaps are good by the word of the program that reads them."""
    objects = render(MATRIX[case])
    files = [o["data"]["wattribute.yaml"] for o in objects if "wattribute.yaml" in o.get("data", {})]

    assert len(files) == 1 + bool(MATRIX[case].get("gateway"))
    for text in files:
        assert _complaints(text) == ""


@functools.cache
def _complaints(text: str) -> str:
    command = (sys.executable, "-m", "exporter.cli", "config", "--config.file=/dev/stdin")
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False).stderr


@pytest.mark.parametrize("case", [case for case in MATRIX if "gateway" in MATRIX[case]])
def test_a_gateway_can_do_its_work(case: str, tmp_path: Path) -> None:
    """The gateway's own file also holds to what only the gateway minds."""
    file = tmp_path / "wattribute.yaml"
    file.write_text(configuration(render(MATRIX[case]), "wattribute-gateway"))

    assert gateway_only_problems(load_settings(file)) == []


@pytest.mark.parametrize("case", MATRIX)
def test_programs_know_their_flags(case: str) -> None:
    """The arguments of every container are a command and flags that it has."""
    for pod in pods(render(MATRIX[case])):
        command, *flags = container(pod)["args"]

        make_parser(command).parse_args(flags)


@pytest.mark.parametrize("text", EXAMPLES)
def test_examples_of_the_guide_work(text: str) -> None:
    """The values that docs/how-to/kubernetes.md shows are taken, and so is the configuration they make."""
    objects = render(yaml.safe_load(text))

    files = [o["data"]["wattribute.yaml"] for o in objects if "wattribute.yaml" in o.get("data", {})]

    assert [_complaints(file) for file in files] == [""] * (1 + ("gateway" in text))


def test_a_wrong_configuration_is_found() -> None:
    """The check of configurations names a key that does not exist."""
    assert "grid_zonne" in _complaints(configuration(render({"config": {"carbon": {"grid_zonne": "DE"}}})))


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ("defaults", {"enabled": "true", "sources": ["kubelet"]}),
        ("api-server", {"enabled": "true", "sources": ["api_server"]}),
        ("logs", {"enabled": "true", "sources": ["log_directories"], "log_directory": "/host/var/log/pods"}),
        ("no-identity", {"enabled": "false"}),
        (
            "kubelet-ca",
            {"enabled": "true", "sources": ["kubelet"], "kubelet_ca_file": "/etc/wattribute/kubelet-ca/ca.crt"},
        ),
    ],
)
def test_the_source_of_names_is_set(case: str, expected: Object) -> None:
    """``kubernetes.identity`` becomes the agent's own settings, and what they name is mounted."""
    objects = render(MATRIX[case])
    section = yaml.safe_load(configuration(objects))["kubernetes"]
    socket = section.pop("pod_resources_socket", None)
    mounts = {mount["mountPath"] for mount in container(agents(objects)[0])["volumeMounts"]}

    assert section == expected
    assert (socket is not None) == (case not in ("no-identity", "kubelet-ca"))
    assert ("/var/lib/kubelet/pod-resources" in mounts) == (socket is not None)
    assert ({"/host/var/log/pods", "/host/var/log/containers"} <= mounts) == (case == "logs")
    assert ("/etc/wattribute/kubelet-ca" in mounts) == (case == "kubelet-ca")


def test_the_agent_is_told_its_node() -> None:
    """The variables that say where the kubelet is come from the pod's own fields."""
    variables = {v["name"]: v["valueFrom"]["fieldRef"]["fieldPath"] for v in _environment({}) if "valueFrom" in v}

    assert variables == {"NODE_NAME": "spec.nodeName", "HOST_IP": "status.hostIP"}


def _environment(values: Object) -> list[Object]:
    found: list[Object] = container(agents(render(values))[0])["env"]
    return found


def test_the_users_configuration_comes_before_the_charts() -> None:
    """What ``config`` says holds, and what it leaves out is the chart's."""
    values = {
        **MATRIX["gateway"],
        "config": {"carbon": {"providers": [{"kind": "gb_carbon_intensity"}]}, "ledger": {"retention_s": 60}},
    }
    document = yaml.safe_load(configuration(render(values)))

    assert document["carbon"]["providers"] == [{"kind": "gb_carbon_intensity"}]
    assert document["ledger"] == {"retention_s": 60, "state_path": "/var/lib/wattribute/state.db"}


def test_agents_ask_the_gateway() -> None:
    """With a gateway its Service is the agents' only provider, and only the gateway has the key."""
    objects = render(MATRIX["gateway"])
    service = find(objects, "Service", "wattribute-gateway")
    deployment = find(objects, "Deployment")
    url = f"http://wattribute-gateway.monitoring.svc:{service['spec']['ports'][0]['port']}"
    gateway = container(deployment["spec"]["template"]["spec"])
    document = yaml.safe_load(configuration(objects, "wattribute-gateway"))

    assert yaml.safe_load(configuration(objects))["carbon"]["providers"] == [{"kind": "gateway", "url": url}]
    assert url.endswith(":10188")
    assert service["spec"]["selector"].items() <= deployment["spec"]["template"]["metadata"]["labels"].items()
    assert document["gateway"]["listen_addresses"] == [f":{gateway['ports'][0]['containerPort']}"]
    assert document["carbon"]["providers"][0]["key_file"].startswith(_mount(gateway, "secret-grid"))
    assert document["gateway"]["state_path"].startswith(_mount(gateway, "state"))
    assert gateway["livenessProbe"]["httpGet"]["path"] == "/-/healthy"
    assert gateway["readinessProbe"]["httpGet"]["path"] == "/-/ready"
    assert gateway["resources"]["requests"] == {"cpu": "50m", "memory": "64Mi"}
    assert "secret-grid" not in {volume["name"] for volume in agents(objects)[0]["volumes"]}


def _mount(item: Object, name: str) -> str:
    (path,) = (mount["mountPath"] for mount in item["volumeMounts"] if mount["name"] == name)
    return f"{path}/"


def test_a_gateways_volume_is_for_one_pod() -> None:
    """Two pods never write the same state: the old one ends before the new one starts, and two are refused."""
    objects = render(MATRIX["gateway"])

    assert find(objects, "Deployment")["spec"]["strategy"] == {"type": "Recreate"}
    assert find(objects, "PersistentVolumeClaim")["spec"]["storageClassName"] == "fast"
    assert "gateway.replicas" in _refusal("--set=gateway.replicas=2,gateway.volumeSize=1Gi")


def test_a_gateway_without_a_provider_is_refused() -> None:
    """A gateway that could not start is refused before anything is changed."""
    done = run_helm("v3", "template", "x", str(CHART), "--set=gateway.enabled=true")

    assert "gateway.config.carbon.providers" in done.stderr


def _refusal(*arguments: str) -> str:
    providers = '--set-json=gateway.config={"carbon":{"providers":[{"kind":"gb_carbon_intensity"}]}}'
    done = run_helm("v3", "template", "x", str(CHART), "--set=gateway.enabled=true", providers, *arguments)
    assert done.returncode != 0
    return done.stderr


def test_gpu_nodes_get_agents_of_their_own() -> None:
    """Of two DaemonSets, one runs on the nodes of the selector with the runtime class, the other on all others."""
    objects = render(MATRIX["nvidia-nodes"])
    others, nvidia = agents(objects)

    assert nvidia["runtimeClassName"] == "nvidia"
    assert nvidia["nodeSelector"] == {"kubernetes.io/os": "linux", "nvidia.com/gpu.present": "true"}
    assert "runtimeClassName" not in others
    assert "nvidia.com/gpu.present" not in others["nodeSelector"]
    assert _terms(others) == [[{"key": "nvidia.com/gpu.present", "operator": "NotIn", "values": ["true"]}]]
    assert _gpus_asked_for(nvidia) == "all"
    assert _gpus_asked_for(others) is None


def test_one_daemon_set_asks_for_gpus_everywhere() -> None:
    """Where nothing tells nodes with GPUs, every agent asks for them, be it with a runtime class or without."""
    (agent,) = agents(render(MATRIX["nvidia"]))
    (plain,) = agents(render({}))

    assert agent["runtimeClassName"] == "nvidia"
    assert _gpus_asked_for(agent) == _gpus_asked_for(plain) == "all"
    assert _gpus_asked_for(agents(render({"nvidia": {"allDevices": False}}))[0]) is None


def test_the_users_affinity_holds_on_other_nodes_too() -> None:
    """Each alternative of the user's is narrowed by each label that keeps the agents off the GPU nodes."""
    zones = [{"matchExpressions": [{"key": "zone", "operator": "In", "values": [zone]}]} for zone in "ab"]
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": zones}}
    values = {**MATRIX["nvidia-nodes"], "agent": {"affinity": {"nodeAffinity": required}}}
    others, nvidia = agents(render(values))
    off = {"key": "nvidia.com/gpu.present", "operator": "NotIn", "values": ["true"]}

    assert _terms(nvidia) == [zone["matchExpressions"] for zone in zones]
    assert _terms(others) == [[*zone["matchExpressions"], off] for zone in zones]


def _terms(pod: Object) -> list[list[Object]]:
    required = pod["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    return [term["matchExpressions"] for term in required["nodeSelectorTerms"]]


def _gpus_asked_for(pod: Object) -> str | None:
    variables = {v["name"]: v.get("value") for v in container(pod)["env"]}
    assert ("NVIDIA_DRIVER_CAPABILITIES" in variables) == ("NVIDIA_VISIBLE_DEVICES" in variables)
    return variables.get("NVIDIA_VISIBLE_DEVICES")


def test_an_upgrade_never_changes_a_selector() -> None:
    """Selectors cannot be changed: whatever values come later, a DaemonSet of the same name keeps its own."""
    before = find(render({}), "DaemonSet", "wattribute")
    after = find(render(MATRIX["nvidia-nodes"]), "DaemonSet", "wattribute")

    assert before["spec"]["selector"] == after["spec"]["selector"]


@pytest.mark.parametrize("case", MATRIX)
def test_selectors_fit_their_pods(case: str) -> None:
    """Each DaemonSet selects its own pods and no other's; new configuration makes new pods."""
    sets = [item for item in render(MATRIX[case]) if item["kind"] in ("DaemonSet", "Deployment")]
    for item in sets:
        template = item["spec"]["template"]["metadata"]
        fitting = [s for s in sets if s["spec"]["selector"]["matchLabels"].items() <= template["labels"].items()]
        assert fitting == [item]
        assert template["annotations"]["checksum/config"]


def test_the_image_is_this_version() -> None:
    """Chart, image and package are released together; a digest wins over the tag."""
    other = container(agents(render(MATRIX["everything-else"]))[0])["image"]

    assert container(agents(render({}))[0])["image"] == f"wattribute/wattribute:{__version__}"
    assert other == f"registry.example/wattribute/wattribute@sha256:{'0' * 64}"


def test_the_agent_listens_where_it_is_asked() -> None:
    """Port of the configuration, of the container, of the probes and of the Service are one."""
    objects = render({"agent": {"port": 11187}})
    agent = container(agents(objects)[0])

    assert yaml.safe_load(configuration(objects))["web"]["listen_addresses"] == [":11187"]
    assert agent["ports"] == [{"name": "metrics", "containerPort": 11187}]
    assert {agent[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")} == {
        "metrics"
    }
    assert find(objects, "Service")["spec"]["ports"][0]["port"] == 11187
    assert find(objects, "Pod")["spec"]["containers"][0]["args"][-1].endswith(".monitoring.svc:11187")
