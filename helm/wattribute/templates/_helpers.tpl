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

{{- /* The agent's configuration: what the chart knows, under what the user says. */ -}}
{{- define "wattribute.agentConfig" -}}
{{- $own := dict }}
{{- $web := dict "listen_addresses" (list (printf ":%v" .Values.agent.port)) }}
{{- if .Values.web.configFile }}
{{- $_ := set $web "config_file" "/etc/wattribute/web-config.yaml" }}
{{- $_ := set $web "health_address" (printf ":%v" .Values.agent.healthPort) }}
{{- end }}
{{- $_ := set $own "web" $web }}
{{- $_ := set $own "ledger" (dict "state_path" "/var/lib/wattribute/state.db") }}
{{- $_ := set $own "kubernetes" (include "wattribute.kubernetesConfig" . | fromYaml) }}
{{- if .Values.gateway.enabled }}
{{- $url := printf "http://%s-gateway.%s.svc:%v" (include "wattribute.fullname" .) (include "wattribute.namespace" .) .Values.gateway.port }}
{{- $_ := set $own "carbon" (dict "providers" (list (dict "kind" "gateway" "url" $url))) }}
{{- end }}
{{- mustMergeOverwrite $own (deepCopy .Values.config) | toYaml }}
{{- end }}

{{- define "wattribute.gatewayConfig" -}}
{{- $own := dict "gateway" (dict "listen_addresses" (list (printf ":%v" .Values.gateway.port)) "state_path" "/var/lib/wattribute/gateway.json") }}
{{- mustMergeOverwrite $own (deepCopy .Values.gateway.config) | toYaml }}
{{- end }}

{{- define "wattribute.secretVolumes" -}}
{{- range .Values.secrets }}
- name: secret-{{ .name | trunc 50 | trimSuffix "-" }}
  secret:
    secretName: {{ .name }}
    defaultMode: 0440
{{- end }}
{{- end }}

{{- define "wattribute.secretMounts" -}}
{{- range .Values.secrets }}
- name: secret-{{ .name | trunc 50 | trimSuffix "-" }}
  mountPath: /etc/wattribute/secrets/{{ .name }}
  readOnly: true
{{- end }}
{{- end }}

{{- /* Labels that Prometheus's operator adds to each target: the node, and the cluster if it is named. */ -}}
{{- define "wattribute.relabelings" -}}
- sourceLabels: [__meta_kubernetes_pod_node_name]
  targetLabel: node
{{- with .Values.clusterName }}
- targetLabel: cluster
  replacement: {{ . | quote }}
{{- end }}
{{- end }}

{{- define "wattribute.kubernetesConfig" -}}
enabled: "true"
{{- end }}
