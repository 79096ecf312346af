{{- /* One release per cluster, so names are fixed: they are those of the accounts in RBAC and of the tests. */ -}}

{{- define "cloudroute.labels" -}}
app.kubernetes.io/name: cloudroute
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "cloudroute.image" -}}
{{- with .Values.image -}}
{{- .repository -}}{{- if .digest -}}@{{ .digest }}{{- else -}}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- define "cloudroute.affinity" -}}
# Nodes that bring a network of their own: the controller leaves them alone, too.
nodeAffinity:
  requiredDuringSchedulingIgnoredDuringExecution:
    nodeSelectorTerms:
      - matchExpressions:
          - {key: eks.amazonaws.com/compute-type, operator: NotIn, values: [fargate, hybrid, auto]}
{{- end -}}

{{- /* What no schema can say. */ -}}
{{- define "cloudroute.check" -}}
{{- if not (index .Values.settings "cluster-cidr") -}}
{{- fail "settings.cluster-cidr is missing: name the pool that the nodes' pod CIDRs come from, as --set 'settings.cluster-cidr={10.244.0.0/16}'" -}}
{{- end -}}
{{- if eq (int .Values.controller.port) (int .Values.agent.port) -}}
{{- fail (printf "controller.port and agent.port are both %v: both are ports of the node, so they must differ" .Values.agent.port) -}}
{{- end -}}
{{- if and .Values.networkPolicies.enabled (has (int .Values.networkPolicies.port) (list (int .Values.controller.port) (int .Values.agent.port))) -}}
{{- fail (printf "networkPolicies.port is %v, as controller.port or agent.port: all are ports of the node, so they must differ" .Values.networkPolicies.port) -}}
{{- end -}}
{{- if and (index .Values.controller.settings "gateway-nodes") (not .Values.admissionPolicy.enabled) -}}
{{- fail "controller.settings.gateway-nodes needs admissionPolicy.enabled=true: without the policy each agent could renew the Leases of all gateways, and that of the leader" -}}
{{- end -}}
{{- end -}}

{{- /*
The flags of a map of settings, in the order of their names; a list is a flag given several times. YAML reads the words
on and off as true and false, and a whole number as one with a fraction, which would be shown as 1e+06.
*/ -}}
{{- define "cloudroute.flags" -}}
{{- range $key, $value := . -}}
{{- range kindIs "slice" $value | ternary $value (list $value) -}}
{{- $shown := toString . -}}
{{- if kindIs "bool" . }}{{ $shown = ternary "on" "off" . }}{{ end -}}
{{- if kindIs "float64" . }}{{ if eq . (floor .) }}{{ $shown = int64 . | toString }}{{ end }}{{ end -}}
{{- if $shown }}
- {{ printf "--%s=%s" $key $shown | quote }}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
