package messenger

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/agent/parley"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/wire"
)

// maxStatus bounds dpkg's status file; 10,000 packages have about 12 MB.
const maxStatus = 64 << 20

// snapshot looks at the host.
func (m *Messenger) snapshot() (wire.Snapshot, error) {
	s := wire.Snapshot{Type: wire.TypeSnapshot, Host: m.server.Host, Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: []inventory.Mapping{}}
	root, err := os.OpenRoot(m.server.Root.Text())
	if err != nil {
		return s, refusal.New(codeState, "%v", err)
	}
	defer root.Close()
	inv, err := inventory.Read(root.FS())
	if err != nil {
		return s, refusal.New(codeState, "%s: %v", m.server.Root.Text(), err)
	}
	s.Arch = inv.Arch
	if s.Status, err = paragraphs(root); err != nil {
		return s, refusal.New(codeState, "%v", err)
	}
	for _, name := range []string{"etc/os-release", "usr/lib/os-release"} {
		if raw, err := readFile(root, name, 64<<10); err == nil {
			s.OSRelease = canon.NoteOf(raw)
			break
		}
	}
	if m.server.Root.Text() == "/" {
		var u unix.Utsname
		if err := unix.Uname(&u); err == nil {
			s.Kernel = string(canon.NoteOf(unix.ByteSliceToString(u.Release[:])))
		}
	}
	if raw, err := os.ReadFile("/proc/sys/kernel/random/boot_id"); err == nil {
		s.Boot = strings.TrimSpace(string(raw))
	}
	var f parley.Facts
	raw, err := os.ReadFile(filepath.Join(m.server.Public.Text(), parley.FactsFile))
	if err == nil && canon.Decode(raw, &f) == nil && f.Boot == s.Boot {
		s.Mapped = f.Mapped
	}
	return s, nil
}

func readFile(root *os.Root, name string, limit int64) (string, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(raw)) > limit {
		err = errors.New(name + " is too large")
	}
	return string(raw), err
}

// left are fields of dpkg's status file that nobody asks for.
var left = []string{"Description:", "Conffiles:", "Homepage:"}

// paragraphs are those of dpkg's status file, ascending.
func paragraphs(root *os.Root) ([]canon.Note, error) {
	text, err := readFile(root, "var/lib/dpkg/status", maxStatus)
	if err != nil {
		return nil, err
	}
	out := []canon.Note{}
	for p := range strings.SplitSeq(text, "\n\n") {
		if p = strings.Trim(p, "\n"); p != "" {
			out = append(out, canon.NoteOf(slim(p)))
		}
	}
	slices.Sort(out)
	return out, nil
}

// slim leaves fields out with the lines that go on with them.
func slim(paragraph string) string {
	var b strings.Builder
	skip := false
	for line := range strings.Lines(paragraph) {
		if !strings.HasPrefix(line, " ") && !strings.HasPrefix(line, "\t") {
			skip = slices.ContainsFunc(left, func(f string) bool { return strings.HasPrefix(line, f) })
		}
		if !skip {
			b.WriteString(line)
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// base is the snapshot that the control plane has, by its parts.
type base struct {
	Digest canon.Digest `json:"digest"`
	Status []string     `json:"status"` // SumFile of each paragraph, ascending
}

// report tells what the host has: the digest, and as much as is asked for.
func (m *Messenger) report(ctx context.Context) error {
	s, err := m.snapshot()
	if err != nil {
		return err
	}
	d := s.Digest()
	if d == m.told {
		return nil
	}
	empty := s
	empty.Status = []canon.Note{}
	q := wire.InventoryRequest{Digest: d, Gone: []string{}, Rest: wire.Snapshot{Status: []canon.Note{}, Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: []inventory.Mapping{}}}
	a, err := ask[wire.InventoryAnswer](ctx, m.Wire, wire.Report, q)
	for tries := 0; err == nil && a.Want != "nothing"; tries++ {
		if tries == 3 {
			return refusal.New(codeFetch, "the control plane wants the inventory again and again")
		}
		a, err = m.tell(ctx, s, empty, a)
	}
	if err != nil {
		return err
	}
	m.told = d
	b := base{Digest: d, Status: sums(s.Status)}
	return m.put(snapshotFile, b)
}

func sums(status []canon.Note) []string {
	out := make([]string, len(status))
	for i, p := range status {
		out[i] = string(canon.SumFile([]byte(p)))
	}
	slices.Sort(out)
	return out
}

// maxPart bounds the paragraphs of one part.
const maxPart = wire.MaxBody - 200<<10

// tell sends the whole snapshot, or what has changed, in parts.
func (m *Messenger) tell(ctx context.Context, s, empty wire.Snapshot, want wire.InventoryAnswer) (wire.InventoryAnswer, error) {
	status, gone, from := s.Status, []string{}, canon.Digest("")
	var b base
	if err := m.get(snapshotFile, &b); err == nil && want.Want == "delta" && want.Base == b.Digest {
		from = b.Digest
		now := sums(s.Status)
		gone = slices.DeleteFunc(slices.Clone(b.Status), func(d string) bool { _, ok := slices.BinarySearch(now, d); return ok })
		status = slices.DeleteFunc(slices.Clone(s.Status), func(p canon.Note) bool {
			_, ok := slices.BinarySearch(b.Status, string(canon.SumFile([]byte(p))))
			return ok
		})
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.Logger.Warn("what the control plane has is not known any more", "err", err)
	}
	blank := wire.Snapshot{Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: []inventory.Mapping{}}
	for part := 1; ; part++ {
		n := fits(status)
		q := wire.InventoryRequest{Digest: s.Digest(), Base: from, Part: part, More: n < len(status), Gone: gone, Rest: blank}
		if !q.More {
			q.Rest = empty
		}
		q.Rest.Status = append([]canon.Note{}, status[:n]...)
		a, err := ask[wire.InventoryAnswer](ctx, m.Wire, wire.Report, q)
		if err != nil || !q.More {
			return a, err
		}
		if a.Want != "more" {
			return a, nil
		}
		status, gone, from = status[n:], []string{}, ""
	}
}

// fits is how many paragraphs go into one part; at least one.
func fits(status []canon.Note) int {
	size := 0
	for i, p := range status {
		if size += len(p) + strings.Count(string(p), "\"") + strings.Count(string(p), "\\") + 3; size > maxPart && i > 0 {
			return i
		}
	}
	return len(status)
}
