package main

import (
	"bytes"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
)

// TestFiguresAreShown: each number that the control plane gives stands in its place.
func TestFiguresAreShown(t *testing.T) {
	path := filepath.Join(t.TempDir(), "api.sock")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	f := control.Figures{With: control.Group{Plans: 6, Failed: 4, Hosts: 5, Restored: 3, Restore: 90}, Without: control.Group{Plans: 8, Failed: 2, Hosts: 7, Restored: 1, Restore: 3700}, Asked: 11, Held: 12, First: 13}
	api := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/figures" {
			t.Errorf("it asks for %s", r.URL.Path)
		}
		out.Write(canon.MustEncode(f))
	})}
	go api.Serve(l)
	t.Cleanup(func() { api.Close() })
	var out bytes.Buffer
	root := newRoot(&out, &out)
	root.SetArgs([]string{"advice", "figures", "--server", "unix:" + path})
	if err := root.Execute(); err != nil {
		t.Fatal(err, out.String())
	}
	lines := strings.Split(out.String(), "\n")
	for i, want := range []string{"PLANS FAILED CHANGE-FAILURE RATE HOSTS FAILED RESTORED MEDIAN TIME TO RESTORE", "with advice 6 4 66.7 % 5 3 1m30s", "without advice 8 2 25.0 % 7 1 1h1m40s", "asked 11, held 12, look now 13"} {
		if got := strings.TrimPrefix(strings.Join(strings.Fields(lines[i]), " "), "- "); got != want {
			t.Errorf("line %d is %q, want %q", i, got, want)
		}
	}
}
