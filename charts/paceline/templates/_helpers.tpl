{{- define "paceline.fullname" -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains $name .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Name of the Deployment and of all that belongs to it. */}}
{{- define "paceline.operator" -}}
{{- include "paceline.fullname" . }}-operator
{{- end -}}

{{- define "paceline.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end -}}

{{- define "paceline.labels" -}}
{{- $own := include "paceline.selectorLabels" . | fromYaml -}}
{{- $_ := set $own "helm.sh/chart" (printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") -}}
{{- $_ := set $own "app.kubernetes.io/version" (.Chart.AppVersion | replace "+" "_" | trunc 63) -}}
{{- $_ := set $own "app.kubernetes.io/managed-by" .Release.Service -}}
{{- $_ := set $own "app.kubernetes.io/part-of" "paceline" -}}
{{- merge $own .Values.commonLabels | toYaml -}}
{{- end -}}

{{- define "paceline.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "paceline.operator" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "paceline.image" -}}
{{- $tag := default .Chart.AppVersion .Values.image.tag -}}
{{- .Values.image.repository }}{{ with .Values.image.digest }}@{{ . }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}

{{/* The agent comes from the operator's image unless another one is named; a digest belongs to one repository alone. */}}
{{- define "paceline.agentImage" -}}
{{- $agent := .Values.agentImage -}}
{{- if not (or $agent.repository $agent.tag $agent.digest) -}}
{{- include "paceline.image" . -}}
{{- else -}}
{{- $tag := coalesce $agent.tag .Values.image.tag .Chart.AppVersion -}}
{{- default .Values.image.repository $agent.repository }}{{ with $agent.digest }}@{{ . }}{{ else }}:{{ $tag }}{{ end -}}
{{- end -}}
{{- end -}}

{{- define "paceline.priorityClassName" -}}
{{- if .Values.priorityClassName -}}
{{- .Values.priorityClassName -}}
{{- else if .Values.priorityClass.create -}}
{{- default (include "paceline.operator" .) .Values.priorityClass.name -}}
{{- end -}}
{{- end -}}

{{/* The operator's config.yaml: docs/design/0001-spine.md, "Operator configuration". */}}
{{- define "paceline.config" -}}
{{- $config := dict
  "namespaces" .Values.watchNamespaces
  "agentImage" (include "paceline.agentImage" .)
  "agentImagePullPolicy" (default .Values.image.pullPolicy .Values.agentImage.pullPolicy)
  "accelerators" .Values.workers.accelerators
  "podSecurity" .Values.workers.podSecurity
  "runAsUser" (int64 .Values.workers.runAsUser)
  "tensorboard" (dict "enabled" .Values.tensorboard.enabled)
  "leaderElection" (dict "enabled" true "leaseName" (include "paceline.operator" .) "leaseDurationSeconds" (int64 .Values.leaderElection.leaseDurationSeconds))
  "httpPort" 8080
  "progressPollSeconds" .Values.progressPollSeconds
  "logLevel" .Values.log.level
  "logFormat" .Values.log.format
-}}
{{- with .Values.workers.storage }}
{{- if and .secretRef.key (not .secretRef.name) }}
{{- fail "workers.storage.secretRef.key is set but workers.storage.secretRef.name is empty: set the Secret that has the key, or remove the key" }}
{{- end }}
{{- if .path }}
{{- $storage := dict "path" .path -}}
{{- if .secretRef.name }}
{{- $secret := dict "name" .secretRef.name -}}
{{- with .secretRef.key }}{{ $_ := set $secret "key" . }}{{ end -}}
{{- $_ := set $storage "secretRef" $secret -}}
{{- end -}}
{{- $_ := set $config "defaultStorage" $storage -}}
{{- else if .secretRef.name }}
{{- fail "workers.storage.secretRef.name is set but workers.storage.path is empty: set the path that the Secret is for, or remove the Secret" }}
{{- end }}
{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What the operator may do in a namespace with TrainJobs. No Secrets: pods name them, the kubelet reads them. */}}
{{- define "paceline.rules" -}}
- apiGroups: [paceline.dev]
  resources: [trainjobs]
  # delete: ttlSecondsAfterFinished
  verbs: [get, list, watch, delete]
- apiGroups: [paceline.dev]
  resources: [trainjobs/status]
  verbs: [get, patch]
- apiGroups: [""]
  resources: [pods, services]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [events]
  # list: the reason of a pod that hangs before its containers start stands only there
  verbs: [create, patch, list]
- apiGroups: [scheduling.k8s.io]
  resources: [podgroups]
  # Kubernetes' own gang scheduling, where the API server serves it; without this right, spec.scheduling.gang is Timeout.
  verbs: [get, list, create, delete]
{{- if .Values.tensorboard.enabled }}
- apiGroups: [apps]
  resources: [deployments]
  # spec.tracking.tensorboard.serve
  verbs: [get, create]
{{- end }}
{{- end -}}
