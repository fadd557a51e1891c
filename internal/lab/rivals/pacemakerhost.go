package rivals

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/hbagent/hbagent/internal/lab"
)

// ocfRoot is where resource agents are (OCF Resource Agent API 1.1).
const ocfRoot = "/usr/lib/ocf/resource.d"

// A clusterHost gives the programs of a cluster on one machine of the lab their own view of the file system: all
// machines share that of the host, of which nothing may be touched.
type clusterHost struct {
	name   string
	disk   string // what outlives a power cut
	memory string // what does not: /run and /dev/shm
}

func newClusterHost(n *lab.Node) clusterHost {
	return clusterHost{name: n.Name, disk: filepath.Join(n.Dir(), "cluster"), memory: filepath.Join(n.RunDir(), "cluster")}
}

// enter is run by a shell in mount and UTS namespaces of its own: $0 is the machine's name, $1 its disk, $2 its memory.
// The last mount hides both. A daemon of Pacemaker may want to reboot its machine (PCMK_panic_action): it gets neither
// the kernel's trigger nor the right.
const enter = `set -e
hostname "$0"
for dir in etc/corosync etc/pacemaker var/lib/corosync var/lib/pacemaker var/log; do mount --bind "$1/$dir" "/$dir"; done
mount --bind ` + ocfRoot + `/heartbeat "$1/ocf/heartbeat"
mount --rbind "$1/ocf" ` + ocfRoot + `
for trigger in /proc/sysrq-trigger /proc/sys/kernel/sysrq; do [ ! -e $trigger ] || mount --bind /dev/null $trigger; done
mount --bind "$2/shm" /dev/shm
mount --bind "$2/run" /run
shift 2
exec setpriv --bounding-set=-sys_boot -- "$@"`

// daemon is a program of the cluster in a view of the machine of its own. All views are the same.
func (h clusterHost) daemon(program string, args ...string) *exec.Cmd {
	view := []string{"--mount", "--uts", "--", "sh", "-c", enter, h.name, h.disk, h.memory, program}
	cmd := exec.Command("unshare", append(view, args...)...)
	cmd.Env = []string{"PCMK_logfacility=none"} // there is no syslog; pacemaker.log has it all
	return cmd
}

// beside is a program that sees the machine as a running daemon of the cluster does.
func beside(pid int, program string, args ...string) *exec.Cmd {
	return exec.Command("nsenter", append([]string{"--target", strconv.Itoa(pid), "--mount", "--uts", "--", program}, args...)...)
}

// boot makes what is in memory, where it is not there.
func (h clusterHost) boot() error {
	shm := filepath.Join(h.memory, "shm")
	return errors.Join(os.MkdirAll(filepath.Join(h.memory, "run"), 0o755), os.MkdirAll(shm, 0o755), os.Chmod(shm, 0o777|fs.ModeSticky))
}

// install makes the directories of the packages on the machine's disk, with the rights that these have.
func (h clusterHost) install(cluster owner) error {
	for _, dir := range []string{"etc/corosync/uidgid.d", "etc/pacemaker", "var/lib/corosync", "var/log/corosync", "ocf/heartbeat", "ocf/" + ocfProvider} {
		if err := os.MkdirAll(filepath.Join(h.disk, dir), 0o755); err != nil {
			return err
		}
	}
	for _, dir := range []string{"var/log/pacemaker", "var/lib/pacemaker", "var/lib/pacemaker/blackbox", "var/lib/pacemaker/cib", "var/lib/pacemaker/cores", "var/lib/pacemaker/pengine"} {
		path := filepath.Join(h.disk, dir)
		if err := errors.Join(os.MkdirAll(path, 0o750), os.Chown(path, cluster.uid, cluster.gid)); err != nil {
			return err
		}
	}
	return nil
}

// keyBytes is the length of a key of corosync-keygen(8).
const keyBytes = 256

// write puts the whole configuration on every machine's disk.
func (p *pacemaker) write(s Setting) error {
	cluster, err := clusterUser()
	if err != nil {
		return err
	}
	conf, err := p.corosyncConf(s)
	if err != nil {
		return err
	}
	cib, err := p.cib()
	if err != nil {
		return err
	}
	key := make([]byte, keyBytes)
	rand.Read(key) // never fails (crypto/rand)
	p.configs = map[string]string{"corosync.conf": conf, "cib.xml": cib}
	if p.o.Service {
		p.configs[ocfProvider+"-"+ocfType] = askAgent
	}
	for _, node := range p.Nodes() {
		h := p.host(node)
		if err := h.install(cluster); err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
		cibFile := filepath.Join(h.disk, "var/lib/pacemaker/cib/cib.xml")
		err := errors.Join(
			os.WriteFile(filepath.Join(h.disk, "etc/corosync/authkey"), key, 0o400),
			os.WriteFile(filepath.Join(h.disk, "etc/corosync/corosync.conf"), []byte(conf), 0o644),
			os.WriteFile(filepath.Join(h.disk, "ocf", ocfProvider, ocfType), []byte(askAgent), 0o755),
			os.WriteFile(cibFile, []byte(cib), 0o600), os.Chown(cibFile, cluster.uid, cluster.gid))
		if err != nil {
			return fmt.Errorf("%s: %w", node, err)
		}
	}
	return nil
}

func (p *pacemaker) host(node string) clusterHost { return newClusterHost(p.w.Node(node)) }
