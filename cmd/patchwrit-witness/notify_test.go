package main

import (
	"bytes"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestSystemdIsToldWhenItAsks(t *testing.T) {
	path := filepath.Join(t.TempDir(), "n")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	notify(log, "READY=1") // nobody asked
	t.Setenv("NOTIFY_SOCKET", path)
	notify(log, "READY=1")
	b := make([]byte, 64)
	l.SetReadDeadline(time.Now().Add(5 * time.Second))
	n, err := l.Read(b)
	if err != nil || string(b[:n]) != "READY=1" || said.Len() > 0 {
		t.Errorf("%q %v, log %q", b[:n], err, &said)
	}
	t.Setenv("NOTIFY_SOCKET", path+"x")
	notify(log, "READY=1")
	if !strings.Contains(said.String(), "tell systemd") {
		t.Errorf("log %q", &said)
	}
}
