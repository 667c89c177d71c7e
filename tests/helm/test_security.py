"""What the chart's pods may do, and no more."""

from __future__ import annotations

import pytest

from tests.helm.chart import MATRIX, Object, agents, container, find, pods, render

pytestmark = pytest.mark.system

API_RULES: dict[str, list[Object]] = {
    "kubelet": [{"apiGroups": [""], "resources": ["nodes/pods"], "verbs": ["get"]}],
    "api-server": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list"]}],
    "logs": [],
    "none": [],
}


@pytest.mark.parametrize("case", MATRIX)
def test_agents_are_root_with_no_capability(case: str) -> None:
    """Root reads power counters by owning them; all capabilities are dropped, so that it can do little else."""
    for pod in agents(render(MATRIX[case])):
        own = container(pod)["securityContext"]

        assert pod["securityContext"] == {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}}
        assert own["privileged"] is False
        assert own["allowPrivilegeEscalation"] is False
        assert own["readOnlyRootFilesystem"] is True
        assert own["capabilities"]["drop"] == ["ALL"]
        added = ["SYS_PTRACE", "DAC_READ_SEARCH"] if case == "environments" else []
        assert own["capabilities"].get("add", []) == added


@pytest.mark.parametrize("case", MATRIX)
def test_all_mounts_but_the_state_are_read_only(case: str) -> None:
    """A pod writes its state and nothing else, of the node least of all."""
    for pod in pods(render(MATRIX[case])):
        writable = {m["name"] for m in container(pod).get("volumeMounts", []) if not m.get("readOnly")}

        assert writable <= {"state"}


@pytest.mark.parametrize("kubernetes", ["1.30", "1.31"])
def test_what_is_mounted_below_is_read_only_where_that_is_possible(kubernetes: str) -> None:
    """From 1.31 on, cgroups and whatever else is mounted below /sys are not writable either."""
    (pod,) = agents(render({}, kubernetes=kubernetes))
    mounts = {m["name"]: m for m in container(pod)["volumeMounts"]}
    paths = {v["name"] for v in pod["volumes"] if "hostPath" in v} - {"state"}

    assert paths == {"proc", "sys", "pod-resources"}
    for name in paths:
        assert mounts[name].get("recursiveReadOnly") == ("IfPossible" if kubernetes == "1.31" else None)
        assert "mountPropagation" not in mounts[name]


@pytest.mark.parametrize("case", MATRIX)
def test_gateway_and_test_are_nobody(case: str) -> None:
    """Pods that need nothing of the node hold to the level ``restricted`` and have no token."""
    objects = render(MATRIX[case])
    for pod in pods(objects):
        if pod in agents(objects):
            continue
        own = container(pod)["securityContext"]

        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] == 65532
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert own == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is False
        assert not any("hostPath" in volume for volume in pod.get("volumes", []))


@pytest.mark.parametrize("identity", API_RULES)
def test_rights_are_those_of_the_source_of_names(identity: str) -> None:
    """One right for one source, the token only with it; never nodes/proxy, which allows commands in containers."""
    objects = render({"kubernetes": {"identity": identity}})
    roles = [item for item in objects if item["kind"] == "ClusterRole"]

    assert [rule for role in roles for rule in role["rules"]] == API_RULES[identity]
    assert [pod["automountServiceAccountToken"] for pod in agents(objects)] == [bool(API_RULES[identity])]
    assert find(objects, "ServiceAccount")["automountServiceAccountToken"] is False
    assert "nodes/proxy" not in str(objects)


def test_the_right_is_given_to_the_agents() -> None:
    """The binding names the role and the service account of the agents."""
    objects = render({})
    binding = find(objects, "ClusterRoleBinding")

    assert binding["roleRef"]["name"] == find(objects, "ClusterRole")["metadata"]["name"]
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": "wattribute", "namespace": "monitoring"}]
    assert agents(objects)[0]["serviceAccountName"] == "wattribute"


def test_rights_and_account_may_be_made_elsewhere() -> None:
    """With both off the chart makes neither, and the agents use the account that is named."""
    objects = render(MATRIX["no-rbac"])

    assert not {"ClusterRole", "ClusterRoleBinding", "ServiceAccount"} & {item["kind"] for item in objects}
    assert agents(objects)[0]["serviceAccountName"] == "given"


def test_the_nodes_process_ids_can_be_left_out() -> None:
    """They are shared by default, because NVIDIA's driver needs it, and not when switched off."""
    assert agents(render({}))[0]["hostPID"] is True
    assert agents(render(MATRIX["no-host-pid"]))[0]["hostPID"] is False


def test_the_network_policy_lets_in_who_is_named() -> None:
    """Peers and the chart's own test reach the agents; agents and peers reach the gateway."""
    objects = render(MATRIX["network-policy"])
    peer = MATRIX["network-policy"]["networkPolicy"]["from"][0]
    labels = {"app.kubernetes.io/name": "wattribute", "app.kubernetes.io/instance": "wattribute"}
    test = {"podSelector": {"matchLabels": {**labels, "app.kubernetes.io/component": "test"}}}
    own = {"podSelector": {"matchLabels": labels}}

    assert find(objects, "NetworkPolicy", "wattribute")["spec"]["ingress"] == [
        {"ports": [{"port": "metrics"}], "from": [test, peer]}
    ]
    assert find(objects, "NetworkPolicy", "wattribute-gateway")["spec"]["ingress"] == [
        {"ports": [{"port": "http"}], "from": [own, peer]}
    ]
