package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"time"
)

// client speaks to the control plane's socket, as the CLI does.
func (f *Fleet) client() *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(f.Data(), "api.sock"))
	}
	// Each question has its own connection: the server is killed all the time.
	return &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}}
}

// maxAnswer bounds an answer: an evidence bundle is the largest.
const maxAnswer = 64 << 20

// Get asks the operators' API.
func (f *Fleet) Get(ctx context.Context, path string, v any) error {
	return f.ask(ctx, http.MethodGet, path, v)
}

// Post tells the operators' API something without a body.
func (f *Fleet) Post(ctx context.Context, path string) error {
	return f.ask(ctx, http.MethodPost, path, nil)
}

func (f *Fleet) ask(ctx context.Context, method, path string, v any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://control-plane/v1/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := f.http.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s: %s", path, resp.Status, raw)
	}
	if v == nil {
		return nil
	}
	return json.Unmarshal(raw, v)
}
