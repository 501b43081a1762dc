{{/* hub.yaml, and what the chart has to know of it. */}}

{{/* The operator's map, listening where the cluster can reach it. Takes no part in the rest: the hub checks it. */}}
{{- define "topichub.config" -}}
{{- $config := deepCopy .Values.config -}}
{{- $server := default dict $config.server -}}
{{- $internal := default dict $server.internal -}}
{{- $loopback := list "" "localhost" "127.0.0.1" "::1" -}}
{{- if has (default "" $server.host) $loopback -}}{{- $_ := set $server "host" "0.0.0.0" -}}{{- end -}}
{{- if not (hasKey $server "port") -}}{{- $_ := set $server "port" 8000 -}}{{- end -}}
{{- if has (default "" $internal.host) $loopback -}}{{- $_ := set $internal "host" $server.host -}}{{- end -}}
{{- if not (hasKey $internal "port") -}}{{- $_ := set $internal "port" 9000 -}}{{- end -}}
{{- $_ := set $server "internal" $internal -}}
{{- $_ := set $config "server" $server -}}
{{- /* Helm leaves `null` where an upgrade with --reuse-values takes a key away. */ -}}
{{- range list $config.topics $config.sockets $config.rpc $config.schedule (default dict $config.auth).api_keys -}}
{{- $named := default dict . -}}
{{- range $name, $entry := $named -}}
{{- if kindIs "invalid" $entry -}}{{- $_ := unset $named $name -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- if not (hasKey $config "version") -}}{{- $_ := set $config "version" 1 -}}{{- end -}}
{{- toYaml $config -}}
{{- end -}}

{{/* What lies in the ConfigMap: hub.yaml and the further files. */}}
{{- define "topichub.data" -}}
{{- toYaml (set (deepCopy .Values.files) "hub.yaml" (printf "%s\n" (include "topichub.config" .))) -}}
{{- end -}}

{{/* The names of all ${…} in the configuration and its files; takes (list root requiredOnly). */}}
{{- define "topichub.named" -}}
{{- $root := index . 0 -}}
{{- $text := include "topichub.config" $root -}}
{{- $form := `\$\{[A-Za-z_][A-Za-z0-9_]*\}` -}}
{{- if not (index . 1) -}}
{{- $text = printf "%s\n%s" $text (toYaml $root.Values.files) -}}
{{- $form = `\$\{[A-Za-z_][A-Za-z0-9_]*(:-|\})` -}}
{{- end -}}
{{- $names := list -}}
{{- range regexFindAll $form (replace "$${" "" $text) -1 -}}
{{- $names = append $names (regexFind `[A-Za-z_][A-Za-z0-9_]*` .) -}}
{{- end -}}
{{- uniq $names | sortAlpha | toJson -}}
{{- end -}}

{{/*
The environment as a map, variable -> how the container gets it: `text`, the key of a Secret, or a `from` of the
operator's. Of a Secret only what the configuration names is taken, and what overrides a setting.
*/}}
{{- define "topichub.variables" -}}
{{- $named := include "topichub.named" (list . false) | fromJsonArray -}}
{{- $found := dict -}}
{{- $given := dict -}}
{{- range $name, $key := empty .Values.secrets.existingSecret | ternary dict .Values.secrets.keys -}}
{{- $_ := set $given $name (dict "secret" $.Values.secrets.existingSecret "key" $key) -}}
{{- end -}}
{{- range $name, $text := .Values.secrets.trial -}}
{{- $_ := set $given $name (dict "secret" (include "topichub.fullname" $) "key" $name "known" $text) -}}
{{- end -}}
{{- range $name, $variable := $given -}}
{{- if or (has $name $named) (regexMatch "^HUB_.*__" $name) -}}
{{- $_ := set $found $name $variable -}}
{{- end -}}
{{- end -}}
{{- range $name, $value := .Values.extraEnv -}}
{{- if kindIs "map" $value -}}
{{- $_ := set $found $name (dict "from" $value.valueFrom) -}}
{{- else -}}
{{- $_ := set $found $name (dict "text" $value "known" $value) -}}
{{- end -}}
{{- end -}}
{{- toJson $found -}}
{{- end -}}

{{- define "topichub.env" -}}
{{- $variables := include "topichub.variables" . | fromJson -}}
{{- if $variables }}
env:
  {{- range $name, $variable := $variables }}
  - name: {{ $name }}
    {{- if $variable.secret }}
    valueFrom:
      secretKeyRef: {name: {{ $variable.secret | quote }}, key: {{ $variable.key | quote }}}
    {{- else if $variable.from }}
    valueFrom:
      {{- toYaml $variable.from | nindent 6 }}
    {{- else }}
    value: {{ $variable.text | quote }}
    {{- end }}
  {{- end }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{/*
A URL as the hub will have it, as far as can be known here, else "elsewhere"; takes (list root value variable), where
`variable` is the one that overrides the setting.
*/}}
{{- define "topichub.url" -}}
{{- $root := index . 0 -}}
{{- $value := index . 1 -}}
{{- $value = kindIs "slice" $value | ternary $value (list $value) | first | default "" | toString -}}
{{- $variables := include "topichub.variables" $root | fromJson -}}
{{- $override := get $variables (index . 2) -}}
{{- if $override -}}
{{- get $override "known" | default "elsewhere" -}}
{{- else if regexMatch `^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$` $value -}}
{{- $variable := get $variables (regexFind `[A-Za-z_][A-Za-z0-9_]*` $value) -}}
{{- $default := ternary (regexReplaceAll `^[^:]*:-(.*)\}$` $value "${1}") "elsewhere" (contains ":-" $value) -}}
{{- if $variable -}}{{- get $variable "known" | default "elsewhere" -}}
{{- else if $root.Values.extraEnvFrom -}}elsewhere
{{- else -}}{{- $default -}}{{- end -}}
{{- else -}}
{{- $value -}}
{{- end -}}
{{- end -}}

{{/* "true" with the broker that lives in one process. */}}
{{- define "topichub.inMemory" -}}
{{- $broker := default dict .Values.config.broker -}}
{{- include "topichub.url" (list . (default "memory://" $broker.url) "HUB_BROKER__URL") | hasPrefix "memory:" | ternary "true" "" -}}
{{- end -}}

{{/* "true" with a database that is a file. */}}
{{- define "topichub.isSqlite" -}}
{{- $database := default dict .Values.config.database -}}
{{- include "topichub.url" (list . (default "sqlite:///hub.db" $database.url) "HUB_DATABASE__URL") | hasPrefix "sqlite" | ternary "true" "" -}}
{{- end -}}

{{/* `config.server.drain` in whole seconds, rounded up; empty for what is no duration. */}}
{{- define "topichub.drain" -}}
{{- $server := default dict .Values.config.server -}}
{{- $drain := hasKey $server "drain" | ternary $server.drain "15s" | toString | trim -}}
{{- if regexMatch `^[0-9]+(\.[0-9]+)?\s*(ms|s|m|h|d)?$` $drain -}}
{{- $unit := regexFind `[a-z]+$` $drain | default "s" -}}
{{- $each := get (dict "ms" 0.001 "s" 1.0 "m" 60.0 "h" 3600.0 "d" 86400.0) $unit -}}
{{- mulf (regexFind `^[0-9.]+` $drain | float64) $each | ceil | int -}}
{{- end -}}
{{- end -}}

{{- define "topichub.grace" -}}
{{- add (int .Values.preStopSeconds) (include "topichub.drain" . | int) 10 -}}
{{- end -}}
