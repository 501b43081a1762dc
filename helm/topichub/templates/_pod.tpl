{{/* What the pods of the chart have in common: no privileges, the configuration, a place for temporary files. */}}

{{- define "topichub.podRestrictions" -}}
automountServiceAccountToken: false
enableServiceLinks: false
{{- with .Values.serviceAccountName }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- end -}}

{{- define "topichub.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "topichub.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{/* Image, environment and files, the same for every container. */}}
{{- define "topichub.container" -}}
image: {{ include "topichub.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  {{- include "topichub.containerSecurity" . | nindent 2 }}
{{- include "topichub.env" . }}
volumeMounts:
  - {name: config, mountPath: /etc/hub, readOnly: true}
  - {name: tmp, mountPath: /tmp}
{{- end -}}

{{- define "topichub.volumes" -}}
- name: config
  configMap: {name: {{ include "topichub.fullname" . }}}
- name: tmp
  emptyDir: {}
{{- end -}}

{{/* Where a relative path of SQLite's leads: the image's working folder. */}}
{{- define "topichub.hubMounts" -}}
{{- if include "topichub.isSqlite" . }}
- {name: data, mountPath: /var/lib/hub}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "topichub.dataVolume" -}}
- name: data
  {{- if .Values.persistence.enabled }}
  persistentVolumeClaim: {claimName: {{ default (include "topichub.fullname" .) .Values.persistence.existingClaim }}}
  {{- else }}
  emptyDir: {}
  {{- end }}
{{- end -}}
