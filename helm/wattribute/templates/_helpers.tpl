{{- define "wattribute.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "wattribute.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "wattribute.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "wattribute.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "wattribute.namespace" -}}
{{- default .Release.Namespace .Values.namespaceOverride }}
{{- end }}

{{- define "wattribute.selectorLabels" -}}
app.kubernetes.io/name: {{ include "wattribute.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "wattribute.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "wattribute.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: wattribute
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "wattribute.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "wattribute.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- define "wattribute.image" -}}
{{- $registry := default .Values.image.registry .Values.global.imageRegistry }}
{{- $name := .Values.image.repository }}
{{- if $registry }}{{ $name = printf "%s/%s" $registry $name }}{{ end }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $name .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $name (default .Chart.AppVersion .Values.image.tag) }}
{{- end }}
{{- end }}

{{- define "wattribute.pullSecrets" -}}
{{- range concat .Values.global.imagePullSecrets .Values.imagePullSecrets }}
- name: {{ if kindIs "map" . }}{{ .name }}{{ else }}{{ . }}{{ end }}
{{- end }}
{{- end }}

{{- /* Whether the agent talks to an API and so needs a token. */ -}}
{{- define "wattribute.usesApi" -}}
{{- if has .Values.kubernetes.identity (list "kubelet" "api-server") }}true{{ end }}
{{- end }}

{{- /* The kubelet tells devices by pods' names, which are of no use to an agent that knows none. */ -}}
{{- define "wattribute.readsPodResources" -}}
{{- if and .Values.kubernetes.podResources (ne .Values.kubernetes.identity "none") }}true{{ end }}
{{- end }}

{{- /* A mount that is read-only also where other file systems are mounted below it, if cluster and runtime can do that. */ -}}
{{- define "wattribute.readOnly" -}}
readOnly: true
{{- if semverCompare ">=1.31.0-0" .Capabilities.KubeVersion.Version }}
recursiveReadOnly: IfPossible
{{- end }}
{{- end }}

{{- /* The agent's configuration: what the chart knows, under what the user says. */ -}}
{{- define "wattribute.agentConfig" -}}
{{- $own := dict }}
{{- $_ := set $own "web" (dict "listen_addresses" (list (printf ":%v" .Values.agent.port))) }}
{{- $_ := set $own "ledger" (dict "state_path" "/var/lib/wattribute/state.db") }}
{{- $_ := set $own "kubernetes" (include "wattribute.kubernetesConfig" . | fromYaml) }}
{{- if .Values.gateway.enabled }}
{{- $url := printf "http://%s-gateway.%s.svc:%v" (include "wattribute.fullname" .) (include "wattribute.namespace" .) .Values.gateway.port }}
{{- $_ := set $own "carbon" (dict "providers" (list (dict "kind" "gateway" "url" $url))) }}
{{- end }}
{{- mustMergeOverwrite $own (deepCopy .Values.config) | toYaml }}
{{- end }}

{{- define "wattribute.kubernetesConfig" -}}
{{- $sources := dict "kubelet" "kubelet" "api-server" "api_server" "logs" "log_directories" }}
{{- if eq .Values.kubernetes.identity "none" -}}
enabled: "false"
{{- else -}}
enabled: "true"
sources: [{{ get $sources .Values.kubernetes.identity }}]
{{- if eq .Values.kubernetes.identity "logs" }}
log_directory: /host/var/log/pods
{{- end }}
{{- if and .Values.kubernetes.kubeletCaConfigMap (eq .Values.kubernetes.identity "kubelet") }}
kubelet_ca_file: /etc/wattribute/kubelet-ca/ca.crt
{{- end }}
{{- if eq (include "wattribute.readsPodResources" .) "true" }}
pod_resources_socket: /var/lib/kubelet/pod-resources/kubelet.sock
{{- end }}
{{- end }}
{{- end }}

{{- define "wattribute.gatewayConfig" -}}
{{- $own := dict "gateway" (dict "listen_addresses" (list (printf ":%v" .Values.gateway.port)) "state_path" "/var/lib/wattribute/gateway.json") }}
{{- mustMergeOverwrite $own (deepCopy .Values.gateway.config) | toYaml }}
{{- end }}

{{- /* What cannot work is refused before anything is changed. */ -}}
{{- define "wattribute.checkGateway" -}}
{{- if not (dig "carbon" "providers" list .Values.gateway.config) }}
{{- fail "gateway.config.carbon.providers: expected at least one provider for the gateway to ask, found none; see docs/how-to/gateway.md." }}
{{- end }}
{{- if and .Values.gateway.volumeSize (gt (int .Values.gateway.replicas) 1) }}
{{- fail (printf "gateway.replicas: expected at most 1 with gateway.volumeSize, found %v: every pod keeps a state of its own; leave gateway.volumeSize empty." .Values.gateway.replicas) }}
{{- end }}
{{- end }}

{{- /* Volumes and mounts of the list of Secrets. */ -}}
{{- define "wattribute.secretVolumes" -}}
{{- range . }}
- name: secret-{{ .name | trunc 50 | trimSuffix "-" }}
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "wattribute.secretMounts" -}}
{{- range . }}
- name: secret-{{ .name | trunc 50 | trimSuffix "-" }}
  mountPath: /etc/wattribute/secrets/{{ .name }}
  readOnly: true
{{- end }}
{{- end }}

{{- /* The agents' affinity, and none of the nodes of nvidia.nodeSelector. Terms are alternatives: each of the user's,
       with each label that makes a node another than the selector's. */ -}}
{{- define "wattribute.otherNodes" -}}
{{- $affinity := deepCopy .Values.agent.affinity }}
{{- $given := dig "nodeAffinity" "requiredDuringSchedulingIgnoredDuringExecution" "nodeSelectorTerms" (list dict) $affinity }}
{{- $terms := list }}
{{- range $term := $given }}
{{- range $label, $value := $.Values.nvidia.nodeSelector }}
{{- $other := dict "key" $label "operator" "NotIn" "values" (list $value) }}
{{- $terms = append $terms (set (deepCopy $term) "matchExpressions" (append (default list $term.matchExpressions) $other)) }}
{{- end }}
{{- end }}
{{- mustMergeOverwrite $affinity (dict "nodeAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (dict "nodeSelectorTerms" $terms))) | toYaml }}
{{- end }}

{{- /* Labels of each agent. The rules name the job, and count on an instance that outlives its pod: so the node. What
       the operator says of the agent's own pod would make new series with every pod. */ -}}
{{- define "wattribute.agentRelabelings" -}}
- targetLabel: job
  replacement: wattribute
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: instance
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: node
{{ include "wattribute.commonRelabelings" . }}
{{- end }}

{{- /* Labels of each gateway, of which a node may have several. */ -}}
{{- define "wattribute.gatewayRelabelings" -}}
- targetLabel: job
  replacement: wattribute-gateway
{{ include "wattribute.commonRelabelings" . }}
{{- end }}

{{- define "wattribute.commonRelabelings" -}}
- action: labeldrop
  regex: namespace|pod|container|service|endpoint
{{- with .Values.clusterName }}
- targetLabel: cluster
  replacement: {{ . | quote }}
{{- end }}
{{- end }}
