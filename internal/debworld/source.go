package debworld

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"
)

// Source is one APT source of a host.
type Source struct {
	Name      string // names its files: sources.list.d/NAME.sources, keyrings/NAME.gpg
	URL       string // base URL of the repository
	Suite     string // the directory below dists/
	Component string
	Keyring   []byte // who may sign it; nil: the Debian archive's keyring of the host itself
}

// Source returns the repository as a host's source, under the URL where it is
// served.
func (r *Repo) Source(name, url string, keyring []byte) Source {
	return Source{Name: name, URL: url, Suite: r.Config.Codename, Component: r.Config.Component, Keyring: keyring}
}

// Sources returns what a Debian host of this mirror has: main, and security
// where the machine has it.
func (m Mirror) Sources() []Source {
	list := []Source{{Name: "debian", URL: m.Main, Suite: Codename, Component: "main"}}
	if m.Security != "" {
		list = append(list, Source{Name: "debian-security", URL: m.Security, Suite: Codename + "-security", Component: "main"})
	}
	return list
}

// SetSources makes the list the only APT sources of the host and forgets the
// package lists it had.
func (r Root) SetSources(list ...Source) error {
	old, err := filepath.Glob(filepath.Join(r.Dir, "etc/apt/sources.list.d/*"))
	if err != nil {
		return err
	}
	for _, lists := range []string{"var/lib/apt/lists/*_*", "var/lib/apt/lists/partial/*"} {
		found, err := filepath.Glob(filepath.Join(r.Dir, lists))
		if err != nil {
			return err
		}
		old = append(old, found...)
	}
	for _, path := range append(old, filepath.Join(r.Dir, "etc/apt/sources.list")) {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	for _, s := range list {
		keyring := archiveKeyring
		if s.Keyring != nil {
			keyring = "/etc/apt/keyrings/" + s.Name + ".gpg"
			if err := r.Write(keyring, s.Keyring, 0o644); err != nil {
				return err
			}
		}
		text := fmt.Sprintf("Types: deb\nURIs: %s\nSuites: %s\nComponents: %s\nSigned-By: %s\n", s.URL, s.Suite, s.Component, keyring)
		if err := r.Write("/etc/apt/sources.list.d/"+s.Name+".sources", []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// Server serves a directory of repositories on the loopback address, which
// hosts share with the machine.
type Server struct {
	URL string // without a trailing slash

	server *http.Server
	mu     sync.Mutex
	asked  []string // guarded by mu
}

// Serve starts a server for dir on a free port. Close it.
func Serve(dir string) (*Server, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &Server{URL: "http://" + l.Addr().String()}
	files := http.FileServer(http.Dir(dir))
	handler := http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		s.mu.Lock()
		s.asked = append(s.asked, q.URL.Path)
		s.mu.Unlock()
		// HTTP dates have seconds: two publications within one would be one to apt,
		// and half of a refused file would be continued with the next one.
		for _, h := range []string{"If-Modified-Since", "If-Range", "Range"} {
			q.Header.Del(h)
		}
		files.ServeHTTP(w, q)
	})
	s.server = &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	go s.server.Serve(l) // ends with Close
	return s, nil
}

// Asked returns the paths asked for so far, in order.
func (s *Server) Asked() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.asked)
}

// Close stops the server and its connections.
func (s *Server) Close() error { return s.server.Close() }
