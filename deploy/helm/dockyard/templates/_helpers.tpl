{{- define "dockyard.name" -}}
{{- if contains .Chart.Name .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{- define "dockyard.selector" -}}
app.kubernetes.io/name: dockyard
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end }}

{{- define "dockyard.labels" -}}
{{ include "dockyard.selector" . }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end }}

{{- define "dockyard.image" -}}
{{ .image.repository }}:{{ .image.tag | default .root.Chart.AppVersion }}
{{- end }}

{{- define "dockyard.secret" -}}
{{ .Values.secrets.existing | default (include "dockyard.name" .) }}
{{- end }}

{{- define "dockyard.builds" -}}
{{ .Values.builds.namespace | default .Release.Namespace }}
{{- end }}
{{- define "dockyard.users" -}}
{{ .Values.users.namespace | default .Release.Namespace }}
{{- end }}

{{- define "dockyard.owner" -}}
{{ include "dockyard.name" . }}-pods
{{- end }}

{{- /* The secret that images are pushed and pulled with; empty where the registry asks for none. */}}
{{- define "dockyard.pushSecret" -}}
{{- if .Values.registry.existingSecret }}{{ .Values.registry.existingSecret }}
{{- else if .Values.registry.username }}{{ include "dockyard.name" . }}-registry
{{- end }}
{{- end }}

{{- define "dockyard.registryUrl" -}}
{{- if .Values.registry.bundled.enabled }}http://{{ include "dockyard.name" . }}-registry.{{ .Release.Namespace }}.svc.cluster.local:5000{{ else }}{{ .Values.registry.url }}{{ end }}
{{- end }}
{{- define "dockyard.imagePrefix" -}}
{{- if .Values.registry.imagePrefix }}{{ .Values.registry.imagePrefix }}{{ else if .Values.registry.bundled.enabled }}127.0.0.1:{{ .Values.registry.bundled.nodePort }}/r2d-{{ end }}
{{- end }}

{{- define "dockyard.hubUrl" -}}
{{- if .Values.hub.enabled }}http://{{ include "dockyard.name" . }}-hub.{{ .Release.Namespace }}.svc.cluster.local:8081/hub/api/{{ else }}{{ .Values.hub.url }}{{ end }}
{{- end }}

{{- /* What is wrong with the values, in sentences. */}}
{{- define "dockyard.check" -}}
{{- $v := .Values }}
{{- if not (or $v.database.url $v.postgresql.enabled $v.secrets.existing) }}{{ fail "Set database.url (or database-url in secrets.existing), or postgresql.enabled=true to try Dockyard out." }}{{ end }}
{{- if not (or $v.redis.url $v.valkey.enabled $v.secrets.existing) }}{{ fail "Set redis.url (or redis-url in secrets.existing), or valkey.enabled=true to try Dockyard out." }}{{ end }}
{{- if not (or $v.registry.url $v.registry.bundled.enabled) }}{{ fail "Set registry.url and registry.imagePrefix, or registry.bundled.enabled=true to try Dockyard out." }}{{ end }}
{{- if not (include "dockyard.imagePrefix" .) }}{{ fail "Set registry.imagePrefix: what images are named by, such as registry.example.org/binder/r2d-." }}{{ end }}
{{- if not (or $v.hub.enabled $v.hub.url) }}{{ fail "Set hub.url to the API of your JupyterHub, such as http://hub.jhub:8081/hub/api/, or hub.enabled=true." }}{{ end }}
{{- if and (or $v.ingress.enabled $v.httpRoute.enabled) (or (not $v.url) (and $v.hub.enabled (not $v.hubUrl))) }}{{ fail "An ingress or route needs url and hubUrl: the hosts of the front door and of the user servers." }}{{ end }}
{{- if and $v.url (eq (urlParse $v.url).host (urlParse ($v.hubUrl | default "http://-")).host) }}{{ fail "url and hubUrl need different hosts: user servers run strangers' JavaScript." }}{{ end }}
{{- end }}

{{- /* The settings that the chart works out, as the TOML file of docs/settings.md. */}}
{{- define "dockyard.settings" -}}
{{- $v := .Values }}
{{- $hosts := list }}
{{- if not $v.url }}{{ $hosts = list "*" }}{{ end }}
{{- $front := dict "host" "0.0.0.0" "port" 8000 "public_url" $v.url "hosts" $hosts }}
{{- $hub := dict "url" (include "dockyard.hubUrl" .) "public_url" ($v.hubUrl | default "http://localhost:8001/") "exclusive" $v.hub.enabled }}
{{- $builds := dict "image_prefix" (include "dockyard.imagePrefix" .) "timeout" $v.builds.timeoutSeconds "concurrency" $v.worker.concurrency }}
{{- $registry := dict "url" (include "dockyard.registryUrl" .) }}
{{- $requests := $v.builds.resources.requests }}{{ $limits := $v.builds.resources.limits }}
{{- $push := include "dockyard.pushSecret" . }}
{{- $secrets := $v.imagePullSecrets }}
{{- $kube := dict
  "namespace" (include "dockyard.builds" .) "users" (include "dockyard.users" .) "instance" .Release.Name "owner" (include "dockyard.owner" .)
  "build_image" (include "dockyard.image" (dict "root" . "image" $v.buildImage)) "pull_policy" $v.buildImage.pullPolicy
  "pull_secrets" $secrets "push_secret" $push "builder" $v.builds.builder
  "cpu_request" (toString (get $requests "cpu" | default "")) "memory_request" (get $requests "memory" | default "") "disk_request" (get $requests "ephemeral-storage" | default "")
  "cpu_limit" (toString (get $limits "cpu" | default "")) "memory_limit" (get $limits "memory" | default "") "disk_limit" (get $limits "ephemeral-storage" | default "")
  "node_selector" $v.builds.nodeSelector "tolerations" $v.builds.tolerations "sticky" $v.builds.sticky "seccomp" $v.builds.seccomp
  "user_namespace" $v.builds.userNamespace "priority_class" $v.builds.priorityClass "runtime_class" $v.builds.runtimeClass
  "registries_configmap" $v.builds.registriesConfigMap "ca_configmap" $v.builds.caConfigMap "idle" $v.builds.idleSeconds "schedule" $v.builds.scheduleSeconds
  "server_memory_request" $v.users.resources.memoryRequest "server_memory_limit" $v.users.resources.memoryLimit
  "server_cpu_request" $v.users.resources.cpuRequest "server_cpu_limit" $v.users.resources.cpuLimit "server_node_selector" $v.users.nodeSelector
  "server_tolerations" $v.users.tolerations "server_runtime_class" $v.users.runtimeClass "server_start" $v.users.startSeconds "server_selector" $v.users.selector
  "server_pull_secrets" (ternary (list $push) (list) (ne $push "")) }}
{{- $all := dict "front" $front "hub" $hub "builds" $builds "registry" $registry "kubernetes" $kube "runtime" (dict "name" "kubernetes") "limits" (dict "servers_total" $v.users.maxServers) "log" (dict "format" "json") "home" (dict "path" "/var/lib/dockyard") }}
{{- mustMergeOverwrite $all (deepCopy $v.settings) | toToml }}
{{- end }}

{{- /* The secret with the logins of the forges, or "". Its keys are variables of the group `providers`. */}}
{{- define "dockyard.providers" -}}
{{- .Values.secrets.providersSecret | default (empty .Values.secrets.providers | ternary "" (printf "%s-providers" (include "dockyard.name" .))) -}}
{{- end }}

{{- /* Variables of a process: the settings file, and the secrets that it needs and no others. Takes root, needs and drain. */}}
{{- define "dockyard.env" -}}
{{- $root := .root }}{{ $secret := include "dockyard.secret" .root }}
- {name: DOCKYARD_CONFIG, value: /etc/dockyard/dockyard.toml}
- {name: DOCKYARD_HOME, value: /var/lib/dockyard}
- {name: HOME, value: /tmp}
- {name: PYTHONDONTWRITEBYTECODE, value: "1"}
- {name: PYTHONUNBUFFERED, value: "1"}
{{- with .drain }}
- {name: DOCKYARD_LEASES_DRAIN, value: {{ . | quote }}}
{{- end }}
{{- range $name, $key := .needs }}
- name: {{ $name }}
  valueFrom: {secretKeyRef: {name: {{ $secret }}, key: {{ $key }}}}
{{- end }}
{{- if .metrics }}
- {name: DOCKYARD_OBSERVE_METRICS_ADDRESS, value: "0.0.0.0:9100"}
{{- end }}
{{- if and .registry (include "dockyard.pushSecret" $root) }}
- {name: DOCKYARD_REGISTRY_DOCKER_CONFIG, value: /run/secrets/registry/config.json}
{{- end }}
{{- range $name, $value := $root.Values.extraEnv }}
- {name: {{ $name }}, value: {{ $value | quote }}}
{{- end }}
{{- end }}

{{- define "dockyard.podSecurity" -}}
runAsNonRoot: true
runAsUser: 1000
runAsGroup: 1000
fsGroup: 1000
seccompProfile: {type: RuntimeDefault}
{{- end }}
{{- define "dockyard.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{- define "dockyard.mounts" -}}
- {name: settings, mountPath: /etc/dockyard, readOnly: true}
- {name: tmp, mountPath: /tmp}
- {name: tmp, mountPath: /var/lib/dockyard, subPath: home}
{{- if and .registry (include "dockyard.pushSecret" .root) }}
- {name: registry, mountPath: /run/secrets/registry, readOnly: true}
{{- end }}
{{- end }}
{{- define "dockyard.volumes" -}}
- name: settings
  configMap: {name: {{ include "dockyard.name" .root }}}
- name: tmp
  emptyDir: {sizeLimit: 256Mi}
{{- if and .registry (include "dockyard.pushSecret" .root) }}
- name: registry
  secret:
    secretName: {{ include "dockyard.pushSecret" .root }}
    items: [{key: .dockerconfigjson, path: config.json}]
{{- end }}
{{- end }}

{{- /* Waits until the schema is the one of this image, or newer: a rolled back process runs on the newer one. */}}
{{- define "dockyard.waitForSchema" -}}
- name: wait-for-schema
  image: {{ include "dockyard.image" (dict "root" .root "image" .root.Values.image) }}
  imagePullPolicy: {{ .root.Values.image.pullPolicy }}
  command: [python, -P, -c]
  args:
    - |
      import asyncio, signal, sys, time
      signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
      from services.db import migrate
      from services.settings import load
      url = load().database.url.get_secret_value()
      too_old = migrate.too_old()
      while True:
          try:
              found = asyncio.run(migrate.current(url))
          except Exception as error:
              print("The database does not answer:", type(error).__name__, flush=True)
          else:
              if found and found not in too_old:
                  break
              print("The schema is", found or "not made yet", flush=True)
          time.sleep(2)
  env: {{- include "dockyard.env" (dict "root" .root "needs" (dict "DOCKYARD_DATABASE_URL" "database-url")) | nindent 4 }}
  resources: {requests: {cpu: 20m, memory: 96Mi}, limits: {cpu: "1", memory: 256Mi}}
  securityContext: {{- include "dockyard.security" . | nindent 4 }}
  volumeMounts: {{- include "dockyard.mounts" (dict "root" .root) | nindent 4 }}
{{- end }}

{{- /* Spread over the nodes, unless an affinity is given. */}}
{{- define "dockyard.placement" -}}
{{- with .values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- if .values.affinity }}
affinity: {{- toYaml .values.affinity | nindent 2 }}
{{- else }}
affinity:
  podAntiAffinity:
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "dockyard.selector" . | nindent 14 }}
{{- end }}
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- range . }}
  - {name: {{ . }}}
{{- end }}
{{- end }}
{{- end }}

{{- define "dockyard.checksums" -}}
checksum/settings: {{ include "dockyard.settings" .root | sha256sum }}
checksum/values: {{ (list .root.Values.secrets .root.Values.database .root.Values.redis .root.Values.registry) | toJson | sha256sum }}
{{- end }}

{{- define "dockyard.out" }}
# Names: the cluster's DNS, and a node-local cache where there is one.
- to:
    - namespaceSelector: {}
      podSelector: {matchLabels: {k8s-app: kube-dns}}
    {{- range .dns }}
    - ipBlock: {cidr: {{ . }}}
    {{- end }}
  ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
# The public network, without what is private, link-local or the clouds' metadata.
- to:
    - ipBlock:
        cidr: {{ .cidr }}
        except: {{- toYaml .except | nindent 10 }}
  {{- with .ports }}
  ports: {{- range . }}
    - {port: {{ . }}, protocol: TCP}
  {{- end }}
  {{- end }}
{{- end }}

{{- define "dockyard.claim" }}
{{- if .persistence.enabled }}
volumeClaimTemplates:
  - metadata: {name: data}
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .persistence.storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources: {requests: {storage: {{ .persistence.size }}}}
{{- end }}
{{- end }}
