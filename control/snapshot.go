package control

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// enough reports whether leases are a quorum of the witness policy. Hosts judge
// again; this is for people who ask why.
func enough(witnesses string, a wire.LeaseAnswer) bool {
	p, err := tlog.ParsePolicy(witnesses)
	if err != nil {
		return false
	}
	times := map[string]int64{}
	for _, text := range a.Leases {
		raw, err := base64.StdEncoding.DecodeString(text)
		var l writ.Lease
		if err == nil && canon.Decode(raw, &l) == nil {
			times[l.Witness] = l.Time
		}
	}
	_, ok := p.QuorumTime(times)
	return ok
}

// maxStatus bounds what one host may tell: a status file of 10,000 packages
// has about 10 MB.
const maxStatus = 24 << 20

// report takes an inventory in: the digest first; then a delta, or all. The
// work is done without the lock, one part of a host at a time.
func (c *Control) report(ctx context.Context, wireKey string, body []byte) ([]byte, error) {
	var q wire.InventoryRequest
	if err := canon.Decode(body, &q); err != nil {
		return nil, refusal.New(codeMessage, "%v", err)
	}
	one := &c.parts[lane(wireKey)]
	one.Lock()
	defer one.Unlock()
	c.mu.Lock()
	h, err := c.asking(wireKey, true)
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	a, err := c.reported(ctx, h, q)
	if err != nil {
		return nil, err
	}
	return canon.Encode(a)
}

// lane spreads wire keys over the locks.
func lane(wireKey string) uint32 {
	sum := fnv.New32a()
	io.WriteString(sum, wireKey)
	return sum.Sum32() % 64
}

func (c *Control) reported(ctx context.Context, h Host, q wire.InventoryRequest) (wire.InventoryAnswer, error) {
	switch {
	case !q.Digest.Valid():
		return wire.InventoryAnswer{}, refusal.New(codeMessage, "inventory %q", q.Digest)
	case q.Digest == h.Snapshot:
		return wire.InventoryAnswer{Want: "nothing"}, c.seen(ctx, h.Wire)
	case q.Part == 0:
		if _, err := c.snapshot(h.Snapshot); err == nil {
			return wire.InventoryAnswer{Want: "delta", Base: h.Snapshot}, nil
		}
		return wire.InventoryAnswer{Want: "all"}, nil
	case q.Part < 0 || q.Rest.Host != h.ID && !q.More:
		return wire.InventoryAnswer{}, refusal.New(codeMessage, "part %d of an inventory of host %s", q.Part, q.Rest.Host.Short())
	}
	s, whole, err := c.joined(h, q)
	if err != nil {
		return wire.InventoryAnswer{}, err
	}
	if !whole {
		return wire.InventoryAnswer{Want: "more"}, nil
	}
	if s.Digest() != q.Digest || s.Type != wire.TypeSnapshot {
		c.forgetParts(h)
		return wire.InventoryAnswer{Want: "all"}, nil
	}
	return wire.InventoryAnswer{Want: "nothing"}, c.take(ctx, h, s)
}

// seen notes that a host has spoken. That it has told what it has after its last
// change is committed: a host that tells it once does not tell it again to a
// control plane that died in between, and would wait for ever.
func (c *Control) seen(ctx context.Context, wireKey string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := c.book.hosts[wireKey]
	h.Seen = c.Now().Unix()
	if !h.Stale {
		c.touch(h)
		return nil
	}
	h.Stale = false
	c.heard()
	return c.note(ctx, "host/"+h.Wire, "told", map[string]canon.Digest{"snapshot": h.Snapshot}, h)
}

func (c *Control) snapshotFile(d canon.Digest) string {
	return filepath.Join(c.Dir, "hosts", string(d)+".snapshot")
}

// partsDir holds the parts of an inventory that is being sent, each in a file
// named by its number; "of" names the inventory.
func (c *Control) partsDir(h Host) string {
	return filepath.Join(c.Dir, "hosts", string(h.ID)+".parts")
}

func (c *Control) forgetParts(h Host) { os.RemoveAll(c.partsDir(h)) }

// joined puts a part to those before it; whole is true once the last one came.
func (c *Control) joined(h Host, q wire.InventoryRequest) (wire.Snapshot, bool, error) {
	status := []canon.Note{}
	if q.Part == 1 {
		c.forgetParts(h)
		if q.Base != "" {
			base, err := c.snapshot(q.Base)
			if err != nil || q.Base != h.Snapshot {
				return wire.Snapshot{}, false, refusal.New(codeMessage, "a delta to an inventory that is not this host's")
			}
			status = without(base.Status, q.Gone)
		}
	} else if of, err := os.ReadFile(filepath.Join(c.partsDir(h), "of")); err != nil || string(of) != string(q.Digest) {
		c.forgetParts(h)
		return wire.Snapshot{}, false, refusal.New(codeMessage, "part %d of an inventory without those before it", q.Part)
	}
	status = append(status, q.Rest.Status...)
	if q.More {
		return wire.Snapshot{}, false, c.keepPart(h, q, status)
	}
	before, err := c.partsBefore(h, q.Part)
	if err != nil {
		return wire.Snapshot{}, false, err
	}
	c.forgetParts(h)
	s := q.Rest
	s.Status = append(before, status...)
	slices.Sort(s.Status)
	return s, true, nil
}

// keepPart writes a part down; the first one names the inventory.
func (c *Control) keepPart(h Host, q wire.InventoryRequest, status []canon.Note) error {
	dir, raw := c.partsDir(h), canon.MustEncode(status)
	size := int64(len(raw))
	for n := 1; n < q.Part; n++ {
		info, err := os.Stat(filepath.Join(dir, strconv.Itoa(n)))
		if err != nil {
			c.forgetParts(h)
			return refusal.New(codeMessage, "part %d of an inventory without part %d", q.Part, n)
		}
		size += info.Size()
	}
	if size > maxStatus || q.Part > maxParts {
		c.forgetParts(h)
		return refusal.New(codeMessage, "an inventory of more than %d bytes, or %d parts", maxStatus, maxParts)
	}
	if q.Part == 1 {
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, "of"), []byte(q.Digest), 0o600)); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(dir, strconv.Itoa(q.Part)), raw, 0o600)
}

// maxParts bounds the parts of one inventory.
const maxParts = 1000

// partsBefore reads the parts before the last one.
func (c *Control) partsBefore(h Host, last int) ([]canon.Note, error) {
	out := []canon.Note{}
	for n := 1; n < last; n++ {
		var part []canon.Note
		raw, err := os.ReadFile(filepath.Join(c.partsDir(h), strconv.Itoa(n)))
		if err == nil {
			err = canon.Decode(raw, &part)
		}
		if err != nil {
			c.forgetParts(h)
			return nil, refusal.New(codeMessage, "part %d of an inventory is not there: %v", n, err)
		}
		out = append(out, part...)
	}
	return out, nil
}

// without takes paragraphs out by their digests.
func without(status []canon.Note, gone []string) []canon.Note {
	out, left := []canon.Note{}, map[string]bool{}
	for _, d := range gone {
		left[d] = true
	}
	for _, p := range status {
		if !left[string(canon.SumFile([]byte(p)))] {
			out = append(out, p)
		}
	}
	return out
}

// snapshot reads a kept snapshot, and looks whether it is still the one.
func (c *Control) snapshot(d canon.Digest) (wire.Snapshot, error) {
	var s wire.Snapshot
	raw, err := os.ReadFile(c.snapshotFile(d))
	if err == nil {
		err = canon.Decode(raw, &s)
	}
	if err == nil && s.Digest() != d {
		err = fmt.Errorf("snapshot %s is damaged", d.Short())
	}
	return s, err
}

// take keeps a whole snapshot, and lays it out so that apt can be asked.
func (c *Control) take(ctx context.Context, h Host, s wire.Snapshot) error {
	d := s.Digest()
	raw, err := canon.Encode(s)
	if err != nil {
		return refusal.New(codeMessage, "%v", err)
	}
	if len(raw) > maxStatus {
		return refusal.New(codeMessage, "an inventory of %d bytes; the most is %d", len(raw), maxStatus)
	}
	inv, err := c.layOut(s)
	if err != nil {
		return err
	}
	if err := keep(c.snapshotFile(d), raw); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, err = c.asking(h.Wire, true); err != nil {
		return err
	}
	old := h.Snapshot
	h.Snapshot, h.Seen = d, c.Now().Unix()
	if inv != h.Inventory || h.Stale {
		h.Inventory, h.Stale = inv, false
		c.heard()
	}
	type told struct {
		Snapshot  canon.Digest `json:"snapshot"`
		Inventory canon.Digest `json:"inventory"`
	}
	if err := c.note(ctx, "host/"+h.Wire, "inventory", told{d, inv}, h); err != nil || old == "" || old == d {
		return err
	}
	return os.Remove(c.snapshotFile(old))
}

// rootOf is the directory with a host's database as apt reads it: hosts with
// the same packages share one.
func (c *Control) rootOf(inv canon.Digest) string { return filepath.Join(c.Dir, "hosts", string(inv)) }

// layOut writes os-release and dpkg's database of a snapshot where the solver
// finds them, and names the inventory they make.
func (c *Control) layOut(s wire.Snapshot) (canon.Digest, error) {
	temp, err := os.MkdirTemp(filepath.Join(c.Dir, "hosts"), ".new-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(temp)
	paragraphs := make([]string, len(s.Status))
	for i, p := range s.Status {
		paragraphs[i] = strings.TrimRight(p.Text(), "\n") + "\n"
	}
	for name, text := range map[string]string{
		"etc/os-release":      s.OSRelease.Text(),
		"var/lib/dpkg/status": strings.Join(paragraphs, "\n"),
		"var/lib/dpkg/arch":   s.Arch + "\n",
	} {
		path := filepath.Join(temp, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	inv, err := inventory.Read(os.DirFS(temp))
	if err != nil {
		return "", refusal.New(codeMessage, "the inventory is none: %v", err)
	}
	d, err := inv.Digest()
	if err != nil {
		return "", refusal.New(codeMessage, "the inventory: %v", err)
	}
	if _, err := os.Stat(c.rootOf(d)); err == nil {
		return d, nil // other hosts have the same
	}
	if err := synced(temp); err != nil {
		return "", err
	}
	if err := os.Rename(temp, c.rootOf(d)); err != nil && !errors.Is(err, os.ErrExist) {
		if _, there := os.Stat(c.rootOf(d)); there != nil {
			return "", err
		}
	}
	return d, nil
}

// synced brings the files below a directory to the disk.
func synced(dir string) error {
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
}
