package checks

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// freePort is a TCP port of the loopback interface that nobody used a moment ago.
func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

const apacheConfig = `
ServerRoot %[1]q
ServerName localhost
Listen 127.0.0.1:%[2]d
PidFile %[1]s/pid
ErrorLog %[1]s/error.log
User nobody
Group nogroup
LoadModule mpm_prefork_module %[3]s/mod_mpm_prefork.so
LoadModule authz_core_module %[3]s/mod_authz_core.so
LoadModule status_module %[3]s/mod_status.so
LoadModule php_module %[4]s
DocumentRoot %[1]s/htdocs
StartServers 2
MinSpareServers 2
MaxSpareServers 2
ServerLimit %[5]d
MaxRequestWorkers 2
<Location "/server-status">
  SetHandler server-status
</Location>
<FilesMatch "\.php$">
  SetHandler application/x-httpd-php
</FilesMatch>
`

func TestRealApache(t *testing.T) {
	apache := program(t, "apache2", "apache2")
	const modules = "/usr/lib/apache2/modules"
	php, _ := filepath.Glob(modules + "/libphp*.so")
	if len(php) == 0 {
		skip(t, "mod_php is missing: install the package libapache2-mod-php")
	}
	dir := serverDir(t)
	must(t, os.Mkdir(filepath.Join(dir, "htdocs"), 0o755))
	write(t, filepath.Join(dir, "htdocs", "ok.php"), `<?php echo "sum=", 6*7;`, 0o644)
	write(t, filepath.Join(dir, "htdocs", "broken.php"), `<?php http_response_code(500); echo "no database";`, 0o644)
	// A page that takes until its visitor at the given port says so.
	write(t, filepath.Join(dir, "htdocs", "busy.php"), `<?php fread(fsockopen("127.0.0.1", $_GET["port"]), 1);`, 0o644)
	port := freePort(t)
	conf := filepath.Join(dir, "apache.conf")
	const serverLimit = 5 // more than MaxRequestWorkers: the scoreboard must not take the rest for room
	write(t, conf, fmt.Sprintf(apacheConfig, dir, port, modules, php[0], serverLimit), 0o644)

	at := func(path string, s Spec) Checker {
		s.Type, s.URL = "apache", fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
		return mustNew(t, s)
	}
	status := at("/server-status?auto", Spec{Saturated: time.Nanosecond})
	ready := func() error { // both workers, that is: the second may take its time
		if r := probe(t, status, patience); r.Message != "1 busy, 1 idle workers" {
			return errors.New(r.Message)
		}
		return nil
	}
	cmd := start(t, ready, apache, "-f", conf, "-DFOREGROUND")

	check(t, probe(t, at("/server-status", Spec{Body: "Apache Server Status"}), patience), true, "200 OK")
	check(t, probe(t, at("/ok.php?auto", Spec{}), patience), false, "200 OK, but the page is not mod_status's*")
	check(t, probe(t, at("/ok.php", Spec{Body: "^sum=42$"}), patience), true, "200 OK")
	check(t, probe(t, at("/broken.php", Spec{}), patience), false, "500 Internal Server Error")
	check(t, probe(t, at("/missing", Spec{}), patience), false, "404 Not Found")

	// Two workers: one held by a slow page, the other by the probe.
	release, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer release.Close()
	done := make(chan error, 1)
	go func() {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/busy.php?port=%d", port, release.Addr().(*net.TCPAddr).Port))
		if err == nil {
			resp.Body.Close()
		}
		done <- err
	}()
	held, err := release.Accept()
	must(t, err)
	check(t, probe(t, status, patience), true, "2 busy, 0 idle workers: MaxRequestWorkers reached")
	check(t, probe(t, status, patience), false, "2 busy, 0 idle workers: MaxRequestWorkers reached for 0s")
	limited := at("/server-status?auto", Spec{MaxBusy: 1})
	check(t, probe(t, limited, patience), false, "2 busy, 0 idle workers: MaxRequestWorkers reached; at most 1 may be busy")
	held.Close()
	must(t, <-done)
	soon(t, ready) // a worker closes its connection before it is idle

	// Stopped, it leaves its visitors in the kernel's queue.
	must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGSTOP))
	check(t, probe(t, status, short), false, "no answer within 200ms")
	must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT))
	soon(t, ready)
}

const nginxConfig = `
daemon off;
pid %[1]s/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path %[1]s/body;
  proxy_temp_path %[1]s/proxy;
  fastcgi_temp_path %[1]s/fastcgi;
  uwsgi_temp_path %[1]s/uwsgi;
  scgi_temp_path %[1]s/scgi;
  server {
    listen 127.0.0.1:%[2]d;
    location = /status { stub_status; }
    location = /ok { return 200 "fine"; }
    location = /moved { return 301 http://192.0.2.1/; }
    location = /bad { proxy_pass http://127.0.0.1:%[3]d; }
  }
}
`

func TestRealNginx(t *testing.T) {
	nginx := program(t, "nginx", "nginx")
	dir := serverDir(t)
	port := freePort(t)
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, fmt.Sprintf(nginxConfig, dir, port, freePort(t)), 0o644)
	at := func(path string) Checker {
		return mustNew(t, Spec{Type: "nginx", URL: fmt.Sprintf("http://127.0.0.1:%d%s", port, path)})
	}
	cmd := start(t, answers(t, at("/ok")), nginx, "-p", dir, "-e", "stderr", "-c", conf)
	check(t, probe(t, at("/status"), patience), true, "1 active connections, 0 waiting")
	limited := mustNew(t, Spec{Type: "nginx", URL: fmt.Sprintf("http://127.0.0.1:%d/status", port), MaxActive: 2, MaxDropped: 1})
	check(t, probe(t, limited, patience), true, "1 active connections, 0 waiting")
	for range 2 {
		conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		must(t, err)
		defer conn.Close()
	}
	soon(t, func() error { // nginx counts a connection when it accepts it
		if r := probe(t, limited, patience); r.OK || r.Message != "3 active connections, 2 waiting: at most 2 may be active" {
			return errors.New(r.Message)
		}
		return nil
	})
	check(t, probe(t, at("/ok"), patience), true, "200 OK")
	check(t, probe(t, at("/moved"), patience), true, "301 Moved Permanently")
	check(t, probe(t, at("/bad"), patience), false, "502 Bad Gateway")

	must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGSTOP))
	check(t, probe(t, at("/ok"), short), false, "no answer within 200ms")
	must(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGCONT))
	check(t, probe(t, at("/ok"), patience), true, "200 OK")
}

// serverDir is a directory that a server can use after it has given up root, and
// with a path short enough for a Unix socket.
func serverDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "hbagent-test-")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
