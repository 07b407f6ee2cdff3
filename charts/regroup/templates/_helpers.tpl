{{- define "regroup.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "regroup.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains (include "regroup.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "regroup.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "regroup.selectorLabels" -}}
app.kubernetes.io/name: {{ include "regroup.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "regroup.labels" -}}
{{ include "regroup.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "regroup.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- default (include "regroup.fullname" .) .Values.serviceAccount.name }}
{{- else }}
{{- required "set serviceAccount.name, or serviceAccount.create: true" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* The catalogue as the operator reads it (operator/model/catalogue.h). */}}
{{- define "regroup.catalogue" -}}
{{- dict "classes" .Values.cacheNodeTypes "images" .Values.engines | toPrettyJson }}
{{- end }}
