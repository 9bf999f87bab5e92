package messenger

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

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
func (m *Messenger) snapshot(ctx context.Context) (wire.Snapshot, error) {
	s := wire.Snapshot{Type: wire.TypeSnapshot, Host: m.server.Host, Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: []inventory.Mapping{}}
	packages := parley.PackagesOf(m.server.Root.Text())
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
	if s.Origins, err = origins(root.FS(), inv.Packages); err != nil {
		m.Logger.Warn("where packages came from is known in part only", "err", err)
	}
	if m.server.Root.Text() == "/" {
		s.Kernel, s.KernelBuild = kernel()
		s.KernelAt, s.Booted = imageAt("/", s.Kernel), booted("/proc/stat")
		s.Services = services(ctx)
	}
	s.Boot = bootID()
	m.sight(&s, packages)
	return s.In(m.spoken), nil
}

func (m *Messenger) factsFile() string {
	return filepath.Join(m.server.Public.Text(), parley.FactsFile)
}

// lookEvery is how old the last look may be when no file has changed: services
// come and go without one.
const lookEvery = 10 * time.Minute

// look is a snapshot, when there may be another than the one that was told last.
func (m *Messenger) look(ctx context.Context) (s wire.Snapshot, fresh bool, err error) {
	mark := m.mark()
	if m.told != "" && mark == m.marked && m.Now().Sub(m.looked) < lookEvery {
		return s, false, nil
	}
	if s, err = m.snapshot(ctx); err == nil {
		m.marked, m.looked = mark, m.Now()
	}
	return s, true, err
}

// mark changes when one of the files does that a snapshot is made of.
func (m *Messenger) mark() string {
	var b strings.Builder
	root := m.server.Root.Text()
	for _, name := range []string{filepath.Join(root, "var/lib/dpkg/status"), filepath.Join(root, "var/lib/apt/lists"),
		filepath.Join(root, "etc/os-release"), filepath.Join(root, "usr/lib/os-release"), m.factsFile()} {
		var st unix.Stat_t
		if err := unix.Stat(name, &st); err == nil {
			fmt.Fprintln(&b, st.Ino, st.Size, st.Mtim.Sec, st.Mtim.Nsec)
		}
	}
	return b.String()
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
	s, fresh, err := m.look(ctx)
	if err != nil || !fresh {
		return err
	}
	d := s.Digest()
	if d == m.told {
		return nil
	}
	m.told = ""
	q := wire.InventoryRequest{Digest: d, Gone: []string{}, Rest: blank()}
	a, err := ask[wire.InventoryAnswer](ctx, m.Wire, wire.Report, q)
	for tries := 0; err == nil && a.Want != "nothing"; tries++ {
		if tries == 3 {
			return refusal.New(codeFetch, "the control plane wants the inventory again and again: %s", a.Want)
		}
		a, err = m.tell(ctx, s, a)
	}
	if err != nil {
		return err
	}
	m.told = d
	m.Logger.Info("inventory told", "snapshot", d.Short(), "packages", len(s.Status))
	return m.put(snapshotFile, base{Digest: d, Status: sums(s.Status)})
}

func blank() wire.Snapshot {
	return wire.Snapshot{Status: []canon.Note{}, Origins: []wire.PackageOrigin{}, Services: []wire.Service{}, Mapped: []inventory.Mapping{}}
}

func sums(status []canon.Note) []string {
	out := make([]string, len(status))
	for i, p := range status {
		out[i] = string(canon.SumFile([]byte(p)))
	}
	slices.Sort(out)
	return out
}

// changed is what the paragraphs have that the base has not, and the digests of
// what they have no more.
func (b base) changed(status []canon.Note) (fresh []canon.Note, gone []string) {
	now := sums(status)
	gone = slices.DeleteFunc(append([]string{}, b.Status...), func(d string) bool { _, ok := slices.BinarySearch(now, d); return ok })
	fresh = slices.DeleteFunc(slices.Clone(status), func(p canon.Note) bool {
		_, ok := slices.BinarySearch(b.Status, string(canon.SumFile([]byte(p))))
		return ok
	})
	return fresh, gone
}

// tell sends the whole snapshot, or what has changed, in parts.
func (m *Messenger) tell(ctx context.Context, s wire.Snapshot, want wire.InventoryAnswer) (wire.InventoryAnswer, error) {
	q := wire.InventoryRequest{Digest: s.Digest(), Gone: []string{}, Rest: blank()}
	status := s.Status
	var b base
	if err := m.get(snapshotFile, &b); err == nil && want.Want == "delta" && want.Base == b.Digest {
		q.Base = b.Digest
		status, q.Gone = b.changed(status)
	}
	rest := s
	rest.Status = []canon.Note{}
	parts := split(status, maxPart-len(canon.MustEncode(q)), maxPart-len(canon.MustEncode(rest)))
	for i, part := range parts {
		q.Part, q.More, q.Rest = i+1, i < len(parts)-1, blank()
		if !q.More {
			q.Rest = rest
		}
		q.Rest.Status = append([]canon.Note{}, part...)
		a, err := ask[wire.InventoryAnswer](ctx, m.Wire, wire.Report, q)
		if err != nil || !q.More || a.Want != "more" {
			return a, err
		}
		q.Base, q.Gone = "", []string{}
	}
	return wire.InventoryAnswer{}, nil // not reached: there is a last part
}

// maxPart bounds a part, with room for its own fields.
const maxPart = wire.MaxBody - 16<<10

// split cuts paragraphs into parts of at most most bytes, the last of at most
// last bytes; the last may be empty. A paragraph is never cut.
func split(status []canon.Note, most, last int) [][]canon.Note {
	var parts [][]canon.Note
	from, size := 0, 0
	for i, p := range status {
		n := len(canon.MustEncode(p)) + 1
		if size += n; size > most && i > from {
			parts = append(parts, status[from:i])
			from, size = i, n
		}
	}
	parts = append(parts, status[from:])
	if size > last {
		parts = append(parts, nil)
	}
	return parts
}
