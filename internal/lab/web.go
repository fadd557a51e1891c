package lab

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
)

const (
	webPort = 80
	getRoot = "GET / HTTP/1.0\r\n\r\n"
)

// Web prepares a web server that answers / with the node's name: Apache if it is installed, otherwise a
// stand-in. Start it with [Service.Start].
func (n *Node) Web() (*Service, error) {
	if _, ok := findApache(); ok {
		return n.Apache()
	}
	return n.builtinWeb(), nil
}

// An apache is an installation of Apache.
type apache struct {
	program, modules string
}

func findApache() (apache, bool) {
	program, ok := lookProgram("apache2", "httpd")
	if !ok {
		return apache{}, false
	}
	for _, dir := range []string{"/usr/lib/apache2/modules", "/usr/lib64/httpd/modules", "/usr/lib/httpd/modules", "/usr/lib64/apache2", "/usr/libexec/apache2"} {
		if _, err := os.Stat(filepath.Join(dir, "mod_status.so")); err == nil {
			return apache{program, dir}, true
		}
	}
	return apache{}, false
}

// Apache prepares a real Apache: prefork, mod_status with ExtendedStatus for this machine, and a page
// made by PHP where libapache2-mod-php is installed.
func (n *Node) Apache() (*Service, error) { return n.apacheWith(5, 24) }

// ApacheForLoad is Apache with room for a [Load], and its processes started beforehand: prefork adds them too
// slowly for a load that begins at once.
func (n *Node) ApacheForLoad() (*Service, error) { return n.apacheWith(100, 200) }

func (n *Node) apacheWith(start, workers int) (*Service, error) {
	a, ok := findApache()
	if !ok {
		return nil, errMissing("Apache", "apache2 (Debian, Ubuntu) or httpd")
	}
	dir, err := n.serviceDir("apache")
	if err != nil {
		return nil, err
	}
	php := a.php()
	conf, err := render(apacheConf, map[string]any{"Dir": dir, "Name": n.Name, "Port": webPort, "Modules": a.load(), "PHP": php,
		"Start": start, "Workers": workers})
	if err != nil {
		return nil, err
	}
	page, text := "index.html", n.Name+"\n"
	if len(php) > 0 {
		page, text = "index.php", fmt.Sprintf("<?php echo %q . \"\\n\";\n", n.Name)
	}
	file := filepath.Join(dir, "apache.conf")
	htdocs := filepath.Join(dir, "htdocs")
	for _, step := range []func() error{
		func() error { return os.Mkdir(htdocs, 0o755) },
		func() error { return os.WriteFile(filepath.Join(htdocs, page), []byte(text), 0o644) },
		func() error { return os.WriteFile(filepath.Join(htdocs, "slow.php"), []byte(slowPage), 0o644) },
		func() error { return os.WriteFile(filepath.Join(htdocs, "sum.php"), []byte(sumPage), 0o644) },
		func() error { return os.WriteFile(file, conf, 0o644) },
		func() error { return giveAway(dir) },
	} {
		if err := step(); err != nil {
			return nil, err
		}
	}
	return &Service{
		Kind: "apache", Label: label("Apache", a.program, "-v"), Real: true, Port: webPort, node: n, name: "apache", hello: getRoot,
		command: func() *exec.Cmd { return exec.Command(a.program, "-f", file, "-DFOREGROUND") },
	}, nil
}

// The pages of a [Load]: a download that takes its time (chunk in load.go has the same bytes), and the checksum of an upload.
const (
	slowPage = `<?php
while (ob_get_level()) ob_end_flush();
$n = (int)$_GET["chunks"];
header("Content-Length: " . $n * 16384);
for ($i = 0; $i < $n; $i++) { echo str_repeat(chr(65 + $i % 26), 16384); flush(); usleep(100000); }
`
	sumPage = `<?php echo hash("sha256", file_get_contents("php://input")), "\n";
`
)

// load lists the modules we need and that this installation has as files; the others are compiled in.
func (a apache) load() []apacheModule {
	var found []apacheModule
	for _, name := range []string{"mpm_prefork", "unixd", "authz_core", "authz_host", "dir", "status", "log_config"} {
		file := filepath.Join(a.modules, "mod_"+name+".so")
		if _, err := os.Stat(file); err == nil {
			found = append(found, apacheModule{name + "_module", file})
		}
	}
	return found
}

// php returns the newest PHP module, if there is one.
func (a apache) php() []apacheModule {
	files, _ := filepath.Glob(filepath.Join(a.modules, "libphp*.so")) // the pattern is well formed
	if len(files) == 0 {
		return nil
	}
	file := slices.MaxFunc(files, func(x, y string) int { return cmp.Or(cmp.Compare(len(x), len(y)), strings.Compare(x, y)) })
	name := "php_module"
	if strings.HasPrefix(filepath.Base(file), "libphp7") {
		name = "php7_module"
	}
	return []apacheModule{{name, file}}
}

type apacheModule struct{ Name, File string }

const apacheConf = `ServerRoot {{.Dir}}
ServerName {{.Name}}
DefaultRuntimeDir {{.Dir}}
PidFile {{.Dir}}/apache.pid
Mutex file:{{.Dir}} default
ErrorLog "|/bin/cat"
Listen {{.Port}}
{{range .Modules}}LoadModule {{.Name}} {{.File}}
{{end}}{{range .PHP}}LoadModule {{.Name}} {{.File}}
{{end}}
StartServers {{.Start}}
MinSpareServers 5
MaxSpareServers {{.Workers}}
MaxRequestWorkers {{.Workers}}
MaxKeepAliveRequests 0
ExtendedStatus On
DocumentRoot {{.Dir}}/htdocs
DirectoryIndex index.php index.html
<Directory {{.Dir}}/htdocs>
	Require all granted
</Directory>
<Location /server-status>
	SetHandler server-status
	Require local
</Location>
{{if .PHP}}<FilesMatch "\.php$">
	SetHandler application/x-httpd-php
</FilesMatch>
{{end}}`

// Nginx prepares a real nginx that answers / with the node's name, or with conf as its whole
// configuration of the http block, where that is not empty.
func (n *Node) Nginx(conf string) (*Service, error) {
	program, ok := lookProgram("nginx")
	if !ok {
		return nil, errMissing("nginx", "nginx")
	}
	dir, err := n.serviceDir("nginx")
	if err != nil {
		return nil, err
	}
	text, err := render(nginxConf, map[string]any{"Dir": dir, "Name": n.Name, "Port": webPort, "HTTP": conf, "IPv6": n.w.IPv6})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "nginx.conf")
	if err := os.WriteFile(file, text, 0o644); err != nil {
		return nil, err
	}
	argv := []string{program, "-e", "stderr", "-p", dir, "-c", file}
	return &Service{
		Kind: "nginx", Label: label("nginx", program, "-v"), Real: true, Port: webPort, node: n, name: "nginx", hello: getRoot, Program: argv,
		command: func() *exec.Cmd { return exec.Command(argv[0], argv[1:]...) },
	}, nil
}

const nginxConf = `daemon off;
pid {{.Dir}}/nginx.pid;
error_log stderr;
worker_processes 1;
events {}
http {
	access_log off;
	client_body_temp_path {{.Dir}}/body;
	proxy_temp_path {{.Dir}}/proxy;
	fastcgi_temp_path {{.Dir}}/fastcgi;
	uwsgi_temp_path {{.Dir}}/uwsgi;
	scgi_temp_path {{.Dir}}/scgi;
{{if .HTTP}}{{.HTTP}}{{else}}	server {
		listen {{.Port}};
		{{if .IPv6}}listen [::]:{{.Port}};{{end}}
		location = /nginx_status { stub_status; allow 127.0.0.1; deny all; }
		location / { default_type text/plain; return 200 "{{.Name}}\n"; }
	}
{{end}}}
`

func render(text string, data any) ([]byte, error) {
	var b bytes.Buffer
	err := template.Must(template.New("").Option("missingkey=error").Parse(text)).Execute(&b, data)
	return b.Bytes(), err
}

// errMissing says what to install. errors.Is(err, exec.ErrNotFound) holds.
func errMissing(what, packages string) error {
	return fmt.Errorf("%s is not installed (package %s): %w", what, packages, exec.ErrNotFound)
}
