package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/refusal"
)

// Limits of one question to the control plane.
const (
	patience  = 2 * time.Minute
	maxAnswer = 4 * canon.MaxBytes // bytes: an evidence bundle is the largest
	maxToken  = 4 << 10
)

// server is the control plane as this program asks it. Nothing that it answers
// is believed: what people sign is opened and computed here again, and all of
// its text is cleaned before a terminal sees it.
type server struct {
	http  *http.Client
	base  string
	token string
	name  string // as the person gave it
}

// addServerFlags adds what says where the control plane is.
func addServerFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.String("server", "", "the control plane: unix:/path/api.sock or https://host:port (or PATCHWRIT_SERVER)")
	f.String("server-cert", os.Getenv("PATCHWRIT_SERVER_CERT"), "SHA-256 of the public key of its certificate, in hex (or PATCHWRIT_SERVER_CERT)")
	f.String("token-file", os.Getenv("PATCHWRIT_TOKEN_FILE"), "file with the bearer token for https (or PATCHWRIT_TOKEN_FILE)")
}

// serverName is where the control plane is, or "" when nobody said: the flag,
// the environment, or the socket in the data directory of the environment.
func serverName(cmd *cobra.Command) string {
	if name, _ := cmd.Flags().GetString("server"); name != "" {
		return name
	}
	if name := os.Getenv("PATCHWRIT_SERVER"); name != "" {
		return name
	}
	if data := os.Getenv("PATCHWRIT_DATA"); data != "" {
		socket := filepath.Join(data, "api.sock")
		if _, err := os.Stat(socket); err == nil {
			return "unix:" + socket
		}
	}
	return ""
}

// openServer reads the flags. It does not connect.
func openServer(cmd *cobra.Command) (*server, error) {
	name := serverName(cmd)
	if path, ok := strings.CutPrefix(name, "unix:"); ok {
		dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", path)
		}
		return &server{http: client(&http.Transport{DialContext: dial}), base: "http://control-plane", name: name}, nil
	}
	u, err := url.Parse(name)
	switch {
	case name == "":
		return nil, usagef("say where the control plane is: --server unix:/path/api.sock or https://host:port (or PATCHWRIT_SERVER)")
	case err != nil || u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "":
		return nil, usagef("--server takes unix:/path/api.sock or https://host:port, not %q", name)
	}
	pin, err := cmd.Flags().GetString("server-cert")
	if err != nil {
		return nil, err
	}
	t, err := pinned(canon.Digest(pin))
	if err != nil {
		return nil, err
	}
	token, err := bearer(cmd)
	return &server{http: client(t), base: "https://" + u.Host, token: token, name: name}, err
}

// client follows no redirect: a token goes where the person said.
func client(t *http.Transport) *http.Client {
	return &http.Client{Transport: t, Timeout: patience,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// pinned speaks TLS to who holds the key that the pin names; without a pin, to
// whom the machine's certificate authorities vouch for.
func pinned(pin canon.Digest) (*http.Transport, error) {
	t := &http.Transport{TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13}}
	if pin == "" {
		return t, nil
	}
	if !pin.Valid() {
		return nil, usagef("--server-cert takes 64 lower-case hexadecimal digits, not %q", pin)
	}
	t.TLSClientConfig.InsecureSkipVerify = true // the pin is checked instead
	t.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
		sum := sha256.Sum256(s.PeerCertificates[0].RawSubjectPublicKeyInfo)
		if got := hex.EncodeToString(sum[:]); got != string(pin) {
			return fmt.Errorf("the server's certificate has the key %s, --server-cert wants %s: this is another server, or its certificate was renewed with a new key", got, pin)
		}
		return nil
	}
	return t, nil
}

// bearer reads the token, from a file that only its owner can read.
func bearer(cmd *cobra.Command) (string, error) {
	path, err := cmd.Flags().GetString("token-file")
	if err != nil {
		return "", err
	}
	if path == "" {
		return "", usagef("a bearer token is needed: --token-file FILE (or PATCHWRIT_TOKEN_FILE)")
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "", err
	case info.Mode().Perm()&0o077 != 0:
		return "", fmt.Errorf("others on this machine can read %s (%v). Run: chmod 600 %[1]s", path, info.Mode())
	case info.Size() > maxToken:
		return "", fmt.Errorf("%s has %d bytes; a token has at most %d", path, info.Size(), maxToken)
	}
	raw, err := os.ReadFile(path)
	return strings.TrimSpace(string(raw)), err
}

// get asks for something.
func (s *server) get(ctx context.Context, path string, v any) error {
	raw, err := s.raw(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	return s.read(raw, v)
}

// post hands something over, as canonical JSON. Of an answer that says nothing v is
// nil.
func (s *server) post(ctx context.Context, path string, body, v any) error {
	sent, err := canon.Encode(body)
	if err != nil {
		return err
	}
	raw, err := s.raw(ctx, http.MethodPost, path, sent)
	if err != nil || v == nil {
		return err
	}
	return s.read(raw, v)
}

func (s *server) read(raw []byte, v any) error {
	if err := json.Unmarshal(raw, v); err != nil {
		return fmt.Errorf("the answer of the control plane at %s cannot be read (%v): it may be of another version; compare patchwrit version on both machines", s.name, err)
	}
	return nil
}

// raw asks one question and returns the bytes of the answer.
func (s *server) raw(ctx context.Context, method, path string, body []byte) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, s.base+"/v1/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, unreachable{s.name, err}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, unreachable{s.name, err}
	case len(raw) > maxAnswer:
		return nil, fmt.Errorf("the control plane at %s answers with more than %d bytes", s.name, maxAnswer)
	case resp.StatusCode == http.StatusOK:
		return raw, nil
	}
	return nil, s.refused(resp.StatusCode, raw)
}

// refused is a no of the control plane. One that speaks of keys and signatures
// ends with the exit code of failed verification.
func (s *server) refused(status int, raw []byte) error {
	var no control.Failure
	if err := json.Unmarshal(raw, &no); err != nil {
		no = control.Failure{Detail: http.StatusText(status)}
	}
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return fmt.Errorf("the control plane at %s does not take this token: %s. Use another with --token-file", s.name, no.Detail)
	case no.Code == "":
		return fmt.Errorf("the control plane at %s says no (%d): %s", s.name, status, no.Detail)
	}
	err := refusal.New(refusal.Code(no.Code), "%s", no.Detail)
	if strings.HasPrefix(no.Code, "PW-CONTROL-") {
		return exit{exitFailure, err}
	}
	return err
}

// unreachable says that the control plane did not answer.
type unreachable struct {
	name string
	err  error
}

func (u unreachable) Error() string {
	var inner *url.Error
	err := u.err
	if errors.As(err, &inner) {
		err = inner.Err
	}
	return fmt.Sprintf("the control plane at %s does not answer: %v. See that patchwrit up runs there; hosts change nothing more without it. patchwrit halt works without it", u.name, err)
}

func (u unreachable) Unwrap() error { return u.err }
