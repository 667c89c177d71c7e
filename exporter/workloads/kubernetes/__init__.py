"""Which pods and containers are behind the cgroups of a node, asked of Kubernetes or of the kubelet's directories."""

from exporter.workloads.kubernetes.settings import KubernetesSettings

__all__ = ["KubernetesSettings"]
