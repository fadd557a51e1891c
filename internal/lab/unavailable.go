package lab

import (
	"os"
	"strings"
)

// hostFacts is what decides whether an ordinary user gets namespaces.
type hostFacts struct {
	root        bool
	usernsClone string // kernel.unprivileged_userns_clone (Debian, Arch hardened); empty: no such switch
	apparmor    string // kernel.apparmor_restrict_unprivileged_userns (Ubuntu 23.10 and later)
	maxUserns   string // user.max_user_namespaces
	container   string // name of the container runtime, where it says so
}

func readHostFacts() hostFacts {
	read := func(path string) string {
		b, err := os.ReadFile(path)
		if err != nil {
			return "" // absent on this kernel: no restriction of this kind
		}
		return strings.TrimSpace(string(b))
	}
	return hostFacts{
		root:        os.Geteuid() == 0,
		usernsClone: read("/proc/sys/kernel/unprivileged_userns_clone"),
		apparmor:    read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
		maxUserns:   read("/proc/sys/user/max_user_namespaces"),
		container:   os.Getenv("container"),
	}
}

func unavailable(err error) *UnavailableError {
	return &UnavailableError{Err: err, Remedy: remedy(readHostFacts())}
}

// remedy names the switch that is most likely in the way.
func remedy(f hostFacts) string {
	const asRoot = "Or run it as root (sudo): root needs no user namespace."
	switch {
	case f.root && f.container != "":
		return "This is a container (" + f.container + "): start it with --privileged, or run on the machine itself."
	case f.root:
		return "You are root without CAP_SYS_ADMIN, or a seccomp filter is in the way, as in containers:\n" +
			"start the container with --privileged, or run on the machine itself."
	case f.usernsClone == "0":
		return "User namespaces are switched off for ordinary users. To allow them until the next boot:\n" +
			"    sudo sysctl kernel.unprivileged_userns_clone=1\n" + asRoot
	case f.apparmor == "1":
		return "AppArmor restricts user namespaces of ordinary users (Ubuntu 23.10 and later). To allow them\n" +
			"until the next boot:\n" +
			"    sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0\n" + asRoot
	case f.maxUserns == "0":
		return "This machine allows no user namespaces at all. To allow some until the next boot:\n" +
			"    sudo sysctl user.max_user_namespaces=1000\n" + asRoot
	}
	return "A security module or a container's seccomp filter is probably in the way. " + asRoot
}
