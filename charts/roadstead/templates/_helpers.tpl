{{/* Prefix of every object's name: the release's name, with the chart's in it. */}}
{{- define "roadstead.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/*
What follows is of one component, and takes (dict "root" $ "component" "api" "values" .Values.api).
The selector is immutable in a Deployment, so it holds nothing that a version may change.
*/}}
{{- define "roadstead.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "roadstead.metadata" -}}
name: {{ include "roadstead.fullname" .root }}-{{ .component }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "roadstead.labels" .root | nindent 2 }}
  app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "roadstead.serviceAccount" -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  {{- include "roadstead.metadata" . | nindent 2 }}
automountServiceAccountToken: false
{{- end -}}

{{/* Where there may be several: of a lone pod it would say nothing. An autoscaler's most counts, since more than the values' number may run. */}}
{{- define "roadstead.podDisruptionBudget" -}}
{{- $autoscaling := .values.autoscaling | default dict -}}
{{- if gt (int (ternary $autoscaling.maxReplicas .values.replicas ($autoscaling.enabled | default false))) 1 }}
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  {{- include "roadstead.metadata" . | nindent 2 }}
spec:
  maxUnavailable: 1
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels:
      {{- include "roadstead.selector" . | nindent 6 }}
{{- end }}
{{- end -}}

{{- define "roadstead.metrics" -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ include "roadstead.fullname" .root }}-{{ .component }}-metrics
  namespace: {{ .root.Release.Namespace }}
  labels:
    {{- include "roadstead.labels" .root | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  type: ClusterIP
  {{- if .also }}
  # What a pod counts while it drains is looked at too.
  publishNotReadyAddresses: true
  {{- end }}
  selector:
    {{- include "roadstead.selector" . | nindent 4 }}
  ports:
    - name: metrics
      port: 8080
      targetPort: metrics
      protocol: TCP
{{- if .root.Values.metrics.serviceMonitor.enabled }}
---
apiVersion: monitoring.coreos.com/v1
kind: ServiceMonitor
metadata:
  {{- include "roadstead.metadata" . | nindent 2 }}
    {{- with .root.Values.metrics.serviceMonitor.labels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  selector:
    matchLabels:
      {{- include "roadstead.selector" . | nindent 6 }}
  endpoints:
    - port: metrics
      interval: {{ .root.Values.metrics.serviceMonitor.interval }}
    {{- with .also }}
    - port: metrics
      path: {{ . }}
      interval: {{ $.root.Values.metrics.serviceMonitor.interval }}
    {{- end }}
{{- end }}
{{- end -}}

{{/* Where the pods go: spread over nodes, each version by itself, so that a rolling update ends spread out; then as the values say. */}}
{{- define "roadstead.placement" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "roadstead.selector" . | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
{{- with .values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* When the kubelet asks a component how it is. */}}
{{- define "roadstead.probes" -}}
startupProbe:
  httpGet:
    path: /livez
    port: health
  periodSeconds: 2
  failureThreshold: 30
livenessProbe:
  httpGet:
    path: /livez
    port: health
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 3
readinessProbe:
  httpGet:
    path: /readyz
    port: health
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{/* managed-by stays Helm's: the value "roadstead" marks the children of Workloads, and the operator watches by it. */}}
{{- define "roadstead.labels" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/part-of: roadstead
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "roadstead.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end -}}
{{- end -}}

{{/* Pod Security "restricted", for every pod of the chart. */}}
{{- define "roadstead.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 0
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "roadstead.containerSecurityContext" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end -}}

{{- define "roadstead.envoyImage" -}}
{{- with .Values.gateway.envoy.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
How many pods, or nothing where that is the autoscaler's. A number that this chart has declared before it was, and that the autoscaler hasn't
changed yet, is declared on as it is: left out it would become 1, and a loaded gateway be down to one pod until the autoscaler has looked.
*/}}
{{- define "roadstead.gateway.replicas" -}}
{{- if not .Values.gateway.autoscaling.enabled -}}
{{- .Values.gateway.replicas -}}
{{- else -}}
{{- $live := lookup "apps/v1" "Deployment" .Release.Namespace (printf "%s-gateway" (include "roadstead.fullname" .)) -}}
{{- $declared := false -}}
{{- range ($live.metadata).managedFields -}}
{{- if and (ne (.subresource | default "") "scale") (hasKey (dig "f:spec" (dict) .fieldsV1) "f:replicas") -}}
{{- $declared = true -}}
{{- end -}}
{{- end -}}
{{- if $declared -}}
{{- int $live.spec.replicas -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What the gateway and the writer of its Envoy's configuration must agree on. */}}
{{- define "roadstead.gateway.env" -}}
- name: ROADSTEAD_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: ROADSTEAD_IDENTITY
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: ROADSTEAD_PEER_SERVICE
  value: {{ include "roadstead.fullname" . }}-gateway-peers
- name: ROADSTEAD_CERTIFICATES
  value: /certificates
{{- end -}}

{{/* Metadata of a hook that runs before install and upgrade, and leaves nothing. Takes (dict "root" $ "component" … "weight" …). */}}
{{- define "roadstead.certs.hook" -}}
labels:
  {{- include "roadstead.labels" .root | nindent 2 }}
  app.kubernetes.io/component: certs
annotations:
  helm.sh/hook: pre-install,pre-upgrade
  helm.sh/hook-weight: {{ .weight | quote }}
  helm.sh/hook-delete-policy: before-hook-creation,hook-succeeded
{{- end -}}

{{/* Whether the chart makes the gateway's certificates itself; empty: no. */}}
{{- define "roadstead.certs.own" -}}
{{- if and .Values.gateway.enabled (not .Values.gateway.tls.certManager.enabled) }}yes{{ end -}}
{{- end -}}

{{/* The Roles of `roadstead certs ensure`. Takes (dict "root" $ "name" … "metadata" the YAML of labels and annotations). */}}
{{- define "roadstead.certs.rbac" -}}
{{- $fullname := include "roadstead.fullname" .root -}}
{{- $places := list (dict "namespace" .root.Release.Namespace "secret" (printf "%s-gateway-tls" $fullname)) -}}
{{- if .root.Values.keda.enabled -}}
{{- $places = append $places (dict "namespace" .root.Values.keda.namespace "secret" (printf "%s-scaler-tls" $fullname)) -}}
{{- end -}}
apiVersion: v1
kind: ServiceAccount
metadata:
  name: {{ .name }}
  namespace: {{ .root.Release.Namespace }}
  {{- .metadata | nindent 2 }}
automountServiceAccountToken: false
{{- range $places }}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata:
  name: {{ $.name }}
  namespace: {{ .namespace }}
  {{- $.metadata | nindent 2 }}
rules:
  # get: is anything due? patch: server-side apply. create: the same apply where there is no such Secret yet (the API server asks for it with
  # the object's name, so that resourceNames hold here too).
  - apiGroups: [""]
    resources: [secrets]
    resourceNames: [{{ .secret }}]
    verbs: [get, create, patch]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata:
  name: {{ $.name }}
  namespace: {{ .namespace }}
  {{- $.metadata | nindent 2 }}
roleRef:
  apiGroup: rbac.authorization.k8s.io
  kind: Role
  name: {{ $.name }}
subjects:
  - kind: ServiceAccount
    name: {{ $.name }}
    namespace: {{ $.root.Release.Namespace }}
{{- end }}
{{- end -}}

{{/* The pod that runs it. Takes (dict "root" $ "name" …). */}}
{{- define "roadstead.certs.pod" -}}
{{- $fullname := include "roadstead.fullname" .root -}}
metadata:
  labels:
    {{- include "roadstead.labels" .root | nindent 4 }}
    app.kubernetes.io/component: certs
spec:
  restartPolicy: Never
  serviceAccountName: {{ .name }}
  automountServiceAccountToken: true
  enableServiceLinks: false
  {{- with .root.Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  securityContext:
    {{- include "roadstead.podSecurityContext" .root | nindent 4 }}
  containers:
    - name: certs
      image: {{ include "roadstead.image" .root | quote }}
      imagePullPolicy: {{ .root.Values.image.pullPolicy }}
      args:
        - certs
        - ensure
        - --namespace={{ .root.Release.Namespace }}
        - --secret={{ $fullname }}-gateway-tls
        - --service={{ $fullname }}-gateway
        - --peers-service={{ $fullname }}-gateway-peers
        {{- if .root.Values.keda.enabled }}
        - --keda-namespace={{ .root.Values.keda.namespace }}
        - --keda-secret={{ $fullname }}-scaler-tls
        {{- end }}
      resources:
        requests:
          cpu: 50m
          memory: 64Mi
        limits:
          memory: 256Mi
      securityContext:
        {{- include "roadstead.containerSecurityContext" .root | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
  {{- with .root.Values.operator.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .root.Values.operator.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end -}}
