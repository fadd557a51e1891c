package rivals

import (
	"strings"
	"text/template"
)

// Names of our own resource agent: ocf:site:answers.
const (
	ocfProvider = "site"
	ocfType     = "answers"
)

var corosyncConfTemplate = template.Must(template.New("").Parse(`totem {
	version: 2
	cluster_name: site
	transport: knet
	crypto_cipher: aes256
	crypto_hash: sha256
{{- if .Token}}
	token: {{.Token}}
	token_coefficient: 0
{{- end}}
}
nodelist {
{{- range $i, $n := .Nodes}}
	node {
		name: {{$n.Name}}
		nodeid: {{$n.ID}}
		ring0_addr: {{$n.Address}}
	}
{{- end}}
}
quorum {
	provider: corosync_votequorum
}
logging {
	to_stderr: yes
	to_syslog: no
	timestamp: hires
}
system {
	# Left alone is the host's tree of control groups.
	move_to_root_cgroup: no
}
`))

func (p *pacemaker) corosyncConf(s Setting) (string, error) {
	type node struct {
		Name    string
		ID      int
		Address string
	}
	data := struct {
		Token int64 // ms; 0: as it comes
		Nodes []node
	}{}
	if s.Value != tokenDefault {
		data.Token = s.Value.Milliseconds()
	}
	for i, name := range p.Nodes() {
		data.Nodes = append(data.Nodes, node{name, i + 1, p.w.Node(name).Addr4.Addr().String()})
	}
	var text strings.Builder
	err := corosyncConfTemplate.Execute(&text, data)
	return text.String(), err
}

// In the CIB, which is of a version that every Pacemaker 2 reads:
//
//   - dc-deadtime, the time that the first node waits for others before it decides alone, is 5 s instead of 20 s: every
//     run begins with that wait. Nothing that is measured has it in it.
//   - The service is a clone on both machines that watches and does not start anything, and the addresses run where it
//     does (colocation). A monitor that fails has the agent started again, and that fails, too, while the web server
//     does not answer: two failures. The node is then out for this resource (start-failure-is-fatal) until
//     failure-timeout has passed, when the start is tried again.
var cibTemplate = template.Must(template.New("").Parse(`<cib crm_feature_set="3.0.14" validate-with="pacemaker-3.0" admin_epoch="0" epoch="1" num_updates="0">
  <configuration>
    <crm_config>
      <cluster_property_set id="cib-bootstrap-options">
        <nvpair id="option-stonith-enabled" name="stonith-enabled" value="false"/>
        <nvpair id="option-no-quorum-policy" name="no-quorum-policy" value="stop"/>
        <nvpair id="option-dc-deadtime" name="dc-deadtime" value="5s"/>
      </cluster_property_set>
    </crm_config>
    <nodes/>
    <resources>
      <group id="addresses">
{{- range $i, $a := .Addresses}}
        <primitive id="address-{{$i}}" class="ocf" provider="heartbeat" type="IPaddr2">
          <instance_attributes id="address-{{$i}}-params">
            <nvpair id="address-{{$i}}-ip" name="ip" value="{{$a.Addr}}"/>
            <nvpair id="address-{{$i}}-cidr_netmask" name="cidr_netmask" value="{{$a.Bits}}"/>
            <nvpair id="address-{{$i}}-nic" name="nic" value="eth0"/>
          </instance_attributes>
          <operations>
            <op id="address-{{$i}}-start" name="start" interval="0s" timeout="20s"/>
            <op id="address-{{$i}}-stop" name="stop" interval="0s" timeout="20s"/>
            <op id="address-{{$i}}-monitor" name="monitor" interval="10s" timeout="20s"/>
          </operations>
        </primitive>
{{- end}}
      </group>
{{- if .Service}}
      <clone id="web-clone">
        <primitive id="web" class="ocf" provider="{{.Provider}}" type="{{.Type}}">
          <meta_attributes id="web-meta">
            <nvpair id="web-migration-threshold" name="migration-threshold" value="2"/>
            <nvpair id="web-failure-timeout" name="failure-timeout" value="3s"/>
          </meta_attributes>
          <operations>
            <op id="web-start" name="start" interval="0s" timeout="5s"/>
            <op id="web-stop" name="stop" interval="0s" timeout="5s"/>
            <op id="web-monitor" name="monitor" interval="200ms" timeout="5s"/>
          </operations>
        </primitive>
      </clone>
{{- end}}
    </resources>
    <constraints>
      <rsc_location id="addresses-first-web1" rsc="addresses" node="web1" score="50"/>
      <rsc_location id="addresses-never-db1" rsc="addresses" node="db1" score="-INFINITY"/>
{{- if .Service}}
      <rsc_location id="web-never-db1" rsc="web-clone" node="db1" score="-INFINITY"/>
      <rsc_colocation id="addresses-with-web" rsc="addresses" with-rsc="web-clone" score="INFINITY"/>
{{- end}}
    </constraints>
    <rsc_defaults>
      <meta_attributes id="rsc-options">
        <nvpair id="rsc-options-resource-stickiness" name="resource-stickiness" value="100"/>
      </meta_attributes>
    </rsc_defaults>
  </configuration>
  <status/>
</cib>
`))

func (p *pacemaker) cib() (string, error) {
	var text strings.Builder
	err := cibTemplate.Execute(&text, map[string]any{
		"Addresses": p.o.Addresses, "Service": p.o.Service, "Provider": ocfProvider, "Type": ocfType})
	return text.String(), err
}

// askAgent is a resource agent (OCF Resource Agent API 1.1) that asks the web server of its machine. The web server is
// started by others, as by systemd on a real machine: to "run" is to have been started and not stopped.
const askAgent = `#!/bin/bash
running=/run/resource-agents/$OCF_RESOURCE_INSTANCE
ask() {
	exec 3<>/dev/tcp/127.0.0.1/80 || return 1
	printf 'GET / HTTP/1.0\r\n\r\n' >&3
	read -r -t 1 -u 3 line && [[ $line == *" 200 "* ]]
}
case $1 in
start) ask && mkdir -p "${running%/*}" && : >"$running" ;; # 1, OCF_ERR_GENERIC, where it does not answer
stop) rm -f "$running" ;;
monitor) [ -e "$running" ] || exit 7 # OCF_NOT_RUNNING
	ask ;;
meta-data) cat <<'END'
<?xml version="1.0"?>
<resource-agent name="answers" version="1.0">
  <version>1.1</version>
  <longdesc lang="en">Whether the web server of this machine answers.</longdesc>
  <shortdesc lang="en">web server answers</shortdesc>
  <parameters/>
  <actions>
    <action name="start" timeout="5s"/>
    <action name="stop" timeout="5s"/>
    <action name="monitor" timeout="5s" interval="10s"/>
    <action name="meta-data" timeout="5s"/>
  </actions>
</resource-agent>
END
	;;
*) exit 3 ;; # OCF_ERR_UNIMPLEMENTED
esac
`
