package witness

import (
	"cmp"
	"slices"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

// asked is when a host last got a lease, and when it was last refused one
// because of a halt, in Unix seconds. It is kept for hosts of the trust root
// alone, and forgotten when the witness ends: it is for people who halt.
type asked struct{ leased, refused int64 }

// reach tells whom a halt has reached.
func (w *Witness) reach(halt canon.Digest) (any, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	held, known := w.halts[halt]
	if !known {
		return nil, refusal.New(CodeRequest, "no halt %q is held here", halt.Short())
	}
	now := w.now()
	r := ask.Reach{Type: ask.TypeReach, Witness: w.key.name, Halt: halt, Time: now, Since: w.since, Live: []ask.Live{}}
	for _, h := range w.root.Hosts {
		if !held.Halt.Scope.Covers(h) {
			continue
		}
		r.Hosts++
		a := w.asked[h.ID]
		if a.refused >= held.Halt.From && a.refused > 0 {
			r.Seen++
		}
		if until := a.leased + writ.LeaseLife; a.leased > 0 && until > now {
			r.Live = append(r.Live, ask.Live{Host: h.ID, Until: until})
		}
	}
	slices.SortFunc(r.Live, func(a, b ask.Live) int { return cmp.Compare[trust.HostID](a.Host, b.Host) })
	return r, nil
}
