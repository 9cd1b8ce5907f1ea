{{- /* Labels of everything that belongs to one role: (dict "role" "agent"). */}}
{{- define "fairway.labels" -}}
app.kubernetes.io/name: fairway
app.kubernetes.io/component: {{ .role }}
{{- end }}

{{- /* The start of a role's container: (dict "root" $ "role" "agent" "values" .Values.agent). */}}
{{- define "fairway.container" -}}
name: {{ .role }}
image: {{ printf "%s:%s" .root.Values.image.repository .root.Values.image.tag | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
args:
- {{ .role }}
{{- range .flags }}
- {{ . | quote }}
{{- end }}
{{- range .values.args }}
- {{ . | quote }}
{{- end }}
env:
- name: NODE_NAME
  valueFrom: {fieldRef: {fieldPath: spec.nodeName}}
- name: POD_NAME
  valueFrom: {fieldRef: {fieldPath: metadata.name}}
- name: POD_NAMESPACE
  valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
- name: POD_IP
  valueFrom: {fieldRef: {fieldPath: status.podIP}}
{{- range $name, $value := .values.env }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- with .values.resources }}
resources: {{ toJson . }}
{{- end }}
{{- end }}

{{- /* The content of the ConfigMap that every role reads at /etc/fairway. */}}
{{- define "fairway.config" -}}
{{- range $key, $value := .Values.config }}
{{ $key }}: {{ $value | quote }}
{{- end }}
{{- end }}

{{- /* What a process that needs no privilege runs with. */}}
{{- define "fairway.unprivileged" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "fairway.nonroot" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile: {type: RuntimeDefault}
{{- end }}
