package debguest

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

func needE2E(t *testing.T) {
	t.Helper()
	if os.Getenv("PATCHWRIT_E2E") == "" {
		t.Skip("PATCHWRIT_E2E is not set: a real Debian guest, minutes")
	}
}

func TestTheNewestKernelIsChosenByVersion(t *testing.T) {
	listing := "/2/040755/0/0/.//\n/12/100644/0/0/vmlinuz-6.1.0-9-cloud-amd64/8000/\n/13/100644/0/0/vmlinuz-6.1.0-50-cloud-amd64/8000/\n" +
		"/14/100644/0/0/config-6.1.0-99-cloud-amd64/10/\n/15/100644/0/0/vmlinuz-6.1.0-99-cloud-amd64.dpkg-new/10/\n"
	if got := newest(listing); got != "6.1.0-50-cloud-amd64" {
		t.Errorf("got %q", got)
	}
	if got := newest("/2/040755/0/0/.//\n"); got != "" {
		t.Errorf("from nothing came %q", got)
	}
}

func TestModulesAreLoadedAfterWhatTheyNeed(t *testing.T) {
	dep := "k/virtio.ko:\nk/virtio_ring.ko: k/virtio.ko\nk/virtio-blk.ko: k/virtio_ring.ko k/virtio.ko\nk/other.ko: k/virtio.ko\n"
	got := loadOrder(dep, []string{"ext4", "virtio_blk"})
	if want := []string{"k/virtio.ko", "k/virtio_ring.ko", "k/virtio-blk.ko"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The guest lives through commands, a power cut that loses only what was not
// written, and a reboot; then nothing of it is left.
func TestAGuestBootsLosesPowerAndReboots(t *testing.T) {
	needE2E(t)
	hand := t.TempDir()
	if err := os.WriteFile(filepath.Join(hand, "word"), []byte("handed over"), 0o644); err != nil {
		t.Fatal(err)
	}
	g := NewGuest(t, hand)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	begin := time.Now()
	lap := func(what string) {
		t.Logf("%-40s %5.1f s", what, time.Since(begin).Seconds())
		begin = time.Now()
	}
	must(g.Boot(ctx))
	lap("boot")
	res, err := g.Exec(ctx, "uname", "-r")
	must(err)
	if strings.TrimSpace(res.Stdout) != g.Release {
		t.Errorf("it runs %q, booted was %q", res.Stdout, g.Release)
	}
	if raw, err := g.ReadFile(Handover + "/word"); err != nil || string(raw) != "handed over" {
		t.Errorf("handed over: %q, %v", raw, err)
	}
	if res, err := g.Exec(ctx, "false"); err == nil || res.Code != 1 {
		t.Errorf("false: %+v, %v", res, err)
	}
	must(g.WriteFile("/root/kept", []byte(strings.Repeat("kept", 1<<19))))
	_, err = g.Exec(ctx, "sync", "/root/kept", "/root")
	must(err)
	must(g.WriteFile("/root/lost", []byte("lost")))
	lap("commands")
	must(g.PowerCut())
	must(g.Boot(ctx))
	lap("power cut and boot")
	if raw, err := g.ReadFile("/root/kept"); err != nil || len(raw) != 4<<19 {
		t.Errorf("what was synced has %d bytes: %v", len(raw), err)
	}
	if raw, err := g.ReadFile("/root/lost"); err == nil && len(raw) > 0 {
		t.Errorf("what was not synced has survived a power cut: %q", raw)
	}
	must(g.Reboot(ctx))
	lap("reboot")
	qemu, dir := g.qemu.cmd.Process.Pid, g.Dir
	must(g.Close())
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the guest's directory is left: %v", err)
	}
	if out, err := exec.Command("kill", "-0", strconv.Itoa(qemu)).CombinedOutput(); err == nil {
		t.Errorf("qemu lives: %s", out)
	}
}
