package control

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/writ"
)

// Standing is how far the changes of a receipt have come since: what the host's
// newest inventory says, which nobody signs. A receipt is never changed by it.
type Standing struct {
	Running writ.Fact `json:"running"`
	Stale   []string  `json:"stale"` // what still runs on the old files: "kernel RELEASE", or a path
	Seen    int64     `json:"seen"`  // when the inventory came, Unix seconds; 0: the receipt's own word
}

// ReceiptView is a receipt as operators see it.
type ReceiptView struct {
	Receipt
	Now Standing `json:"now"`
}

// own is what a receipt itself says.
func own(r writ.Receipt) Standing {
	s := Standing{Running: r.Effective.Running, Stale: []string{}}
	for _, line := range r.Effective.Stale {
		s.Stale = append(s.Stale, what(line))
	}
	slices.Sort(s.Stale)
	s.Stale = slices.Compact(s.Stale)
	return s
}

// what is still old, of a receipt's line "PID NAME PATH" or "0 kernel RELEASE".
func what(line string) string {
	f := strings.SplitN(line, " ", 3)
	switch {
	case len(f) != 3:
		return line
	case f[0] == "0":
		return "kernel " + f[2]
	}
	return f[2]
}

// standing looks again at what a receipt called not running. An inventory that
// does not have the versions of the receipt is older, or there were other
// changes since: then the receipt's own word stands.
func standing(r writ.Receipt, s wire.Snapshot, inv inventory.Inventory, seen int64) Standing {
	if r.Effective.Running != writ.No {
		return own(r)
	}
	for _, st := range r.States {
		if !slices.ContainsFunc(inv.Packages, func(p inventory.Package) bool {
			return p.Name == st.Package && p.Arch == st.Arch && p.Version == st.After
		}) && st.After != "" {
			return own(r)
		}
	}
	out := Standing{Running: writ.Yes, Stale: []string{}, Seen: seen}
	_, listed := s.Listed()
	for _, line := range r.Effective.Stale {
		f := strings.SplitN(line, " ", 3) // pid, name, path; 0 kernel RELEASE
		switch {
		case len(f) != 3:
			out.Stale = append(out.Stale, line)
		case f[0] == "0":
			if oldKernel(s, inv) != "" {
				out.Stale = append(out.Stale, "kernel "+string(canon.NoteOf(s.Kernel)))
			}
		case !listed || slices.ContainsFunc(s.Mapped, func(m inventory.Mapping) bool { return strings.HasSuffix(m.Path, strings.TrimPrefix(f[2], "/usr")) }):
			out.Stale = append(out.Stale, f[2])
		}
	}
	slices.Sort(out.Stale)
	if out.Stale = slices.Compact(out.Stale); len(out.Stale) > 0 {
		out.Running = writ.No
	}
	return out
}

// now is the standing of a receipt by its host's newest inventory.
func (c *Control) now(r writ.Receipt) (Standing, error) {
	if r.Effective.Running != writ.No {
		return own(r), nil
	}
	h, ok := c.book.host(r.Host)
	if !ok || h.Snapshot == "" {
		return own(r), nil // a host that was removed says nothing any more
	}
	s, err := c.snapshot(h.Snapshot)
	if err != nil {
		return own(r), err
	}
	inv, err := inventory.Read(os.DirFS(c.rootOf(h.Inventory)))
	if err != nil {
		return own(r), err
	}
	return standing(r, s, inv, h.Seen), nil
}

// receiptsNow are all receipts with how they stand.
func (c *Control) receiptsNow(ctx context.Context) ([]ReceiptView, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	list, err := all[Receipt](ctx, c.Store, kindReceipt)
	if err != nil {
		return nil, err
	}
	out := []ReceiptView{}
	for _, r := range list {
		s, err := c.now(r.Receipt)
		if err != nil {
			return nil, err
		}
		out = append(out, ReceiptView{r, s})
	}
	return out, nil
}

// effective says in words how far a finished plan has come on a host.
func (c *Control) effective(ctx context.Context, p Plan, id trust.HostID) (string, error) {
	for _, d := range c.book.ofPlan[p.Digest] {
		w := c.book.writs[d]
		if w.Host != id || w.State != Done {
			continue
		}
		r, err := get[Receipt](ctx, c.Store, kindReceipt, string(w.Receipts[len(w.Receipts)-1]))
		if err != nil {
			return "", err
		}
		s, err := c.now(r.Receipt)
		switch {
		case err != nil:
			return "", err
		case s.Running == writ.Yes:
			return "; installed and running", nil
		case s.Running == writ.No:
			return "; installed, not effective: still on the old files: " + strings.Join(s.Stale, ", "), nil
		}
	}
	return "", nil
}
