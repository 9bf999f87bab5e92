package helper

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/agent/idle"
	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/pkgmgr/apt"
)

// look keeps the facts fresh: it looks again after a while, and soon after
// somebody else has changed packages.
func (h *Helper) look(ctx context.Context) {
	tick := time.NewTicker(packagesEvery)
	defer tick.Stop()
	last, seen := time.Time{}, ""
	for {
		if packages := parley.PackagesOf(h.e.Root.Text()); again(packages != seen, time.Since(last)) {
			h.see()
			last, seen = time.Now(), packages
			idle.Rest()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// again reports whether it is time for another look.
func again(changed bool, since time.Duration) bool { return changed || since >= factsEvery }

// Limits of the facts, in files and in bytes: they are told in one message.
const (
	maxMapped     = 2000
	maxMappedSize = 384 << 10
)

// seenFile is what looks have learned of the files in use, below the helper's
// state.
const seenFile = "seen"

// processes looks for processes on deleted files, and remembers whose the files
// are that others use.
func (h *Helper) processes(boot string) ([]inventory.Mapping, error) {
	h.eyes.Lock()
	defer h.eyes.Unlock()
	file := filepath.Join(h.State, seenFile)
	if h.seen == nil {
		h.seen = &apt.Seen{}
		h.seen.Load(file)
	}
	mapped, err := h.seen.Look(h.e.Root.Text(), boot, func() string { return parley.PackagesOf(h.e.Root.Text()) })
	if err := h.seen.Save(file); err != nil {
		h.Logger.Warn("what was learned of the files in use could not be kept", "err", err)
	}
	return mapped, err
}

// see writes what only root can see to a file that everybody can read.
func (h *Helper) see() {
	f := parley.Facts{Type: parley.TypeFacts, At: h.Now().Unix(), Packages: parley.PackagesOf(h.e.Root.Text()), Mapped: []inventory.Mapping{}}
	if boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		f.Boot = strings.TrimSpace(string(boot))
	}
	mapped, err := h.processes(f.Boot)
	if err != nil {
		f.Why = canon.NoteOf(err.Error())
	}
	size := 0
	for _, d := range mapped {
		d.Path, d.Inode = printable(d.Path), d.Inode%(canon.MaxInt+1)
		if size += len(canon.MustEncode(d)); size > maxMappedSize || len(f.Mapped) == maxMapped {
			f.Why = canon.NoteOf("there are more deleted files in use than are listed")
			break
		}
		f.Mapped = append(f.Mapped, d)
	}
	raw, err := canon.Encode(f)
	if err == nil {
		err = publish(filepath.Join(h.e.Public.Text(), parley.FactsFile), raw)
	}
	if err != nil {
		h.Logger.Warn("the facts could not be written", "err", err)
	}
}

// printable keeps a path that is printable ASCII, and escapes any other.
func printable(path string) string {
	if strings.Trim(path, ascii) == "" {
		return path
	}
	return string(canon.NoteOf(path))
}

var ascii = func() string {
	all := make([]byte, 0, '~'-' '+1)
	for c := byte(' '); c <= '~'; c++ {
		all = append(all, c)
	}
	return string(all)
}()

// publish replaces a file that everybody may read.
func publish(path string, raw []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".facts-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(raw)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return err
}
