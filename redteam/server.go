package redteam

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/dial"
)

// server is a running control plane over the stolen data directory: hostile or
// not, it is the same program.
type server struct {
	cmd    *exec.Cmd
	url    string
	key    canon.Digest // of its TLS certificate
	http   *http.Client // over the operators' socket
	socket string
	said   *bytes.Buffer
}

// startTime bounds how long a control plane may take to say where it listens.
const startTime = 30 * time.Second

// up starts the house's control plane over a data directory.
func (p *play) up(data string) (err error) {
	p.server, err = p.start(data, p.Trust, p.Pinned)
	return err
}

// down ends it.
func (p *play) down() error {
	s := p.server
	p.server = nil
	return s.stop()
}

// start starts a control plane. Its first lines say where it listens.
func (p *play) start(data, trust string, pinned canon.Digest) (*server, error) {
	cmd := exec.Command(p.CLI, "up", "--data", data, "--trust", trust, "--root-sha256", string(pinned), "--listen", "127.0.0.1:0", "--plan-every", "24h")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	s := &server{cmd: cmd, said: &bytes.Buffer{}, socket: filepath.Join(data, "api.sock")}
	cmd.Stderr = s.said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	late := time.AfterFunc(startTime, func() { cmd.Process.Kill() })
	defer late.Stop()
	lines := bufio.NewScanner(out)
	for s.url == "" || s.key == "" {
		if !lines.Scan() {
			return nil, errors.Join(errors.New("the control plane does not start"), s.stop())
		}
		switch f := strings.Fields(lines.Text()); {
		case len(f) == 2 && f[0] == "listen":
			s.url = f[1]
		case len(f) == 2 && f[0] == "key":
			s.key = canon.Digest(f[1])
		}
	}
	go io.Copy(io.Discard, out)
	s.http = &http.Client{Timeout: startTime, Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", s.socket)
	}}}
	return s, nil
}

// stop ends a control plane, if there is one.
func (s *server) stop() error {
	if s == nil {
		return nil
	}
	s.cmd.Process.Signal(syscall.SIGTERM)
	late := time.AfterFunc(startTime, func() { s.cmd.Process.Kill() })
	defer late.Stop()
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the control plane: %w\n%s", err, s.said)
	}
	return nil
}

// ask asks the operators' API; a nil question is a GET.
func (s *server) ask(ctx context.Context, path string, q, a any) error {
	method, body := http.MethodGet, []byte(nil)
	if q != nil {
		method, body = http.MethodPost, canon.MustEncode(q)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://control-plane/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 16<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		return fmt.Errorf("%s %s: %s %s", method, path, resp.Status, raw)
	case a == nil:
		return nil
	}
	return json.Unmarshal(raw, a)
}

// dialing is how an agent with this wire key connects.
func (s *server) dialing(seed []byte) dial.Config {
	return dial.Config{URL: s.url, CertSHA256: s.key, Seed: seed, Proxy: func(*http.Request) (*url.URL, error) { return nil, nil }}
}

// way posts to one of the ways in, as anybody on the network may.
func (s *server) way(ctx context.Context, path string, q, a any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url+path, bytes.NewReader(canon.MustEncode(q)))
	if err != nil {
		return err
	}
	anybody := &http.Client{Timeout: startTime, Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} // whom the attacker speaks to is his own business
	resp, err := anybody.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK:
		var no wire.No
		if err := canon.Decode(raw, &no); err != nil {
			return fmt.Errorf("%s: %s %s", path, resp.Status, raw)
		}
		return no.Err()
	case a == nil:
		return nil
	}
	return canon.Decode(raw, a)
}

// hostKey reads a host's own key, for steps that only the host can do.
func (t *target) hostKey() ([]byte, error) { return os.ReadFile(filepath.Join(t.State, "host.key")) }
