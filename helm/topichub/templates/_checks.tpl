{{/* What cannot work is refused before anything is changed, all of it at once. */}}

{{- define "topichub.check" -}}
{{- $wrong := concat
      (include "topichub.wrongCopies" . | fromJsonArray)
      (include "topichub.wrongVariables" . | fromJsonArray)
      (include "topichub.wrongSecrets" . | fromJsonArray)
      (include "topichub.wrongServer" . | fromJsonArray)
      (include "topichub.wrongRest" . | fromJsonArray) -}}
{{- if $wrong -}}
{{- fail (printf "\n\n%s\n" (join "\n" $wrong)) -}}
{{- end -}}
{{- end -}}

{{- define "topichub.wrongCopies" -}}
{{- $wrong := list -}}
{{- $replicas := int .Values.replicas -}}
{{- if and (gt $replicas 1) (include "topichub.inMemory" .) -}}
{{- $wrong = append $wrong (printf "replicas: %d pods cannot share the broker memory://, which lives in one process. Set replicas to 1, or config.broker.url to redis://host:6379." $replicas) -}}
{{- end -}}
{{- if and (gt $replicas 1) (include "topichub.isSqlite" .) -}}
{{- $wrong = append $wrong (printf "replicas: %d pods cannot share a SQLite file. Set replicas to 1, or config.database.url to postgresql://…, best as ${HUB_DATABASE_URL} from a Secret." $replicas) -}}
{{- end -}}
{{- toJson $wrong -}}
{{- end -}}

{{- define "topichub.wrongVariables" -}}
{{- $wrong := list -}}
{{- $variables := include "topichub.variables" . | fromJson -}}
{{- if not .Values.extraEnvFrom -}}
{{- $missing := list -}}
{{- range include "topichub.named" (list . true) | fromJsonArray -}}
{{- if not (hasKey $variables .) -}}{{- $missing = append $missing . -}}{{- end -}}
{{- end -}}
{{- if $missing -}}
{{- $literals := list -}}
{{- $trials := list -}}
{{- range $missing -}}
{{- $key := get $.Values.secrets.keys . | default (lower . | replace "_" "-") -}}
{{- $random := regexMatch "WEBHOOK" . | ternary "whsec_$(openssl rand -base64 32)" "$(openssl rand -hex 32)" -}}
{{- $value := regexMatch "URL" . | ternary "…" $random -}}
{{- $literals = append $literals (printf "--from-literal=%s=%s" $key $value) -}}
{{- $trials = append $trials (printf "--set secrets.trial.%s=%s" . $value) -}}
{{- end -}}
{{- $names := join ", " $missing -}}
{{- if .Values.secrets.existingSecret -}}
{{- $wrong = append $wrong (printf "config names %s, and nothing sets it. Say in secrets.keys which key of the Secret %s has it, or set it in extraEnv." $names .Values.secrets.existingSecret) -}}
{{- else -}}
{{- $wrong = append $wrong (printf "config names %s, and nothing sets it. Make a Secret and name it as secrets.existingSecret (what is no secret may stand in extraEnv):\n    kubectl create secret generic %s-secrets --namespace %s %s\nFor a trial only: %s" $names (include "topichub.fullname" .) .Release.Namespace (join " " $literals) (join " " $trials)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.secrets.existingSecret .Values.secrets.trial -}}
{{- $wrong = append $wrong "secrets.trial stands in for a Secret, and secrets.existingSecret names one. Keep one of the two." -}}
{{- end -}}
{{- toJson $wrong -}}
{{- end -}}

{{/* A ConfigMap is no place for them. */}}
{{- define "topichub.wrongSecrets" -}}
{{- $wrong := list -}}
{{- $advice := "config lies in a ConfigMap, which is no place for secrets. Write ${%s} in its place, and give the value by secrets.existingSecret." -}}
{{- $config := include "topichub.config" . | fromYaml -}}
{{- $auth := default dict $config.auth -}}
{{- $jwt := default dict $auth.jwt -}}
{{- $found := list (list "auth.jwt.secret" $jwt.secret "HUB_JWT_SECRET") -}}
{{- $found = append $found (list "auth.jwt.previous.secret" (default dict $jwt.previous).secret "HUB_JWT_SECRET_BEFORE") -}}
{{- range $kid, $key := default dict $jwt.keys -}}
{{- $found = append $found (list (printf "auth.jwt.keys.%s.secret" $kid) (default dict $key).secret "HUB_JWT_SECRET") -}}
{{- end -}}
{{- range $name, $entry := default dict $auth.api_keys -}}
{{- $key := toString (default "" (default dict $entry).key) -}}
{{- /* A hash opens nothing. */ -}}
{{- $found = append $found (list (printf "auth.api_keys.%s.key" $name) (hasPrefix "sha256:" $key | ternary "" $key) "HUB_API_KEY") -}}
{{- end -}}
{{- $signing := (default dict $config.webhooks).secrets -}}
{{- range kindIs "slice" $signing | ternary $signing (list $signing) -}}
{{- $found = append $found (list "webhooks.secrets" . "HUB_WEBHOOK_SECRET") -}}
{{- end -}}
{{- range $found -}}
{{- $value := index . 1 -}}
{{- if and $value (not (contains "${" (toString $value))) -}}
{{- $wrong = append $wrong (printf "config.%s: %s" (index . 0) (printf $advice (index . 2))) -}}
{{- end -}}
{{- end -}}
{{- range $section, $variable := dict "broker" "HUB_BROKER_URL" "database" "HUB_DATABASE_URL" -}}
{{- $urls := get (default dict (get $config $section)) "url" -}}
{{- range kindIs "slice" $urls | ternary $urls (list $urls) -}}
{{- if regexMatch `://[^/@]*:[^/@$][^@]*@|[?&](ssl)?password=[^$]` (toString .) -}}
{{- $wrong = append $wrong (printf "config.%s.url has a password in it: %s" $section (printf $advice $variable)) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $wrong -}}
{{- end -}}

{{- define "topichub.wrongServer" -}}
{{- $wrong := list -}}
{{- if not (include "topichub.drain" .) -}}
{{- $wrong = append $wrong "config.server.drain: the pod's time to stop is reckoned from it, so it has to be a duration here, such as 30s." -}}
{{- end -}}
{{- $server := (include "topichub.config" . | fromYaml).server -}}
{{- range $path, $port := dict "port" $server.port "internal.port" $server.internal.port -}}
{{- if or (kindIs "string" $port) (lt (int $port) 1) -}}
{{- $wrong = append $wrong (printf "config.server.%s: probes and Services need to know it, so it has to be a number from 1 here." $path) -}}
{{- end -}}
{{- end -}}
{{- range $name := concat (keys .Values.extraEnv) (keys .Values.secrets.keys) (keys .Values.secrets.trial) | uniq | sortAlpha -}}
{{- if hasPrefix "HUB_SERVER__" $name -}}
{{- $wrong = append $wrong (printf "%s: probes, Services and the time to stop follow config.server. Set it there." $name) -}}
{{- end -}}
{{- end -}}
{{- toJson $wrong -}}
{{- end -}}

{{- define "topichub.wrongRest" -}}
{{- $wrong := list -}}
{{- range $name, $plugin := .Values.config.plugins -}}
{{- if kindIs "invalid" $plugin -}}
{{- $wrong = append $wrong (printf "config.plugins.%s: `null` takes a key away in Helm and switches a plugin on in hub.yaml. Write {enabled: true} or {enabled: false}." $name) -}}
{{- end -}}
{{- end -}}
{{- if hasKey .Values.files "hub.yaml" -}}
{{- $wrong = append $wrong "files: hub.yaml is made from config. Put its options there." -}}
{{- end -}}
{{- $url := include "topichub.url" (list . (get (default dict .Values.config.database) "url") "HUB_DATABASE__URL") -}}
{{- if regexMatch `^sqlite(\+aiosqlite)?://(/|/:memory:)?$` $url -}}
{{- $wrong = append $wrong "config.database.url: what `hub migrate` writes into memory is gone when the hub starts. Name a file: sqlite:///hub.db." -}}
{{- end -}}
{{- if and .Values.ingress.enabled (not .Values.ingress.hosts) -}}
{{- $wrong = append $wrong "ingress.hosts: an Ingress without a host would answer for every name. Say which names clients use." -}}
{{- end -}}
{{- toJson $wrong -}}
{{- end -}}
