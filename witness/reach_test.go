package witness_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/witness"
	"github.com/patchwrit/patchwrit/witness/ask"
	"github.com/patchwrit/patchwrit/writ"
)

// Who halts is told which hosts may still act by an earlier lease, which have
// been told of the halt, and from when on the witness knows.
func TestAHaltTellsWhomItHasReached(t *testing.T) {
	w := newWorld(t)
	dir := w.state(t, 0)
	r := w.run(t, dir)
	started := w.clock.Load()
	one, two := w.Hosts[0].ID, w.Hosts[1].ID
	w.clock.Add(1000)
	must(t, r.lease(one))
	w.clock.Add(10)
	must(t, r.lease(w.Hosts[2].ID)) // outside the scope
	h := w.halt(1, trust.Scope{Hosts: []trust.HostID{one, two}, Domains: []string{}, Labels: []trust.Label{}}, 3600)
	must(t, ask.Err(ask.Halt(t.Context(), []tlog.Witness{r.at()}, h, w.signed(t, h, approval.Stop, 1))))
	digest := h.Statement(approval.Stop).Digest()
	reach := func() ask.Reach {
		t.Helper()
		a := ask.Reaches(t.Context(), []tlog.Witness{r.at()}, digest)
		must(t, a[0].Err)
		return a[0].Reach
	}
	live := []ask.Live{{Host: one, Until: started + 1000 + writ.LeaseLife}}
	if got := reach(); got.Hosts != 2 || got.Seen != 0 || got.Since != started || !slices.Equal(got.Live, live) || got.Halt != digest {
		t.Errorf("%+v", got)
	}
	wants(t, r.lease(one), witness.CodeHalted)
	if got := reach(); got.Seen != 1 || !slices.Equal(got.Live, live) {
		t.Errorf("after one host was refused: %+v", got)
	}
	w.clock.Add(writ.LeaseLife)
	if got := reach(); len(got.Live) != 0 || got.Seen != 1 {
		t.Errorf("after the last lease: %+v", got)
	}
	must(t, r.Close())
	r = w.run(t, dir)
	if got := reach(); got.Since != w.clock.Load() || got.Seen != 0 {
		t.Errorf("a witness that was started again does not say since when it knows: %+v", got)
	}
	if a := ask.Reaches(t.Context(), []tlog.Witness{r.at()}, digest[:10]); a[0].Err == nil {
		t.Error("a halt that is not there has a reach")
	}
}

func TestTheNewestCheckpointIsSignedNow(t *testing.T) {
	w := newWorld(t)
	r := w.run(t, w.state(t, 0))
	at := r.at()
	p, err := tlog.ParsePolicy(w.Root.Witnesses)
	must(t, err)
	at.VKey = p.Witnesses()[0].VKey
	now := func() time.Time { return time.Unix(w.clock.Load(), 0) }
	if _, err := ask.Newest(t.Context(), at, origin, now()); err == nil {
		t.Error("nothing was cosigned, and there is a newest checkpoint")
	}
	for i := range 3 {
		w.log.Append(entry(i))
	}
	r.post("/add-checkpoint", submit("0", nil, w.log.Signed(2)))
	w.clock.Add(3600)
	got, err := ask.Newest(t.Context(), at, origin, now())
	must(t, err)
	if got != w.log.Checkpoint(2) {
		t.Errorf("%+v, want %+v", got, w.log.Checkpoint(2))
	}
	for what, c := range map[string]struct {
		key, origin string
		now         time.Time
		says        string
	}{
		"another witness's key": {p.Witnesses()[1].VKey, origin, now(), "not signed"},
		"another log":           {at.VKey, "log.example/two", now(), "no checkpoint"},
		"an old answer":         {at.VKey, origin, now().Add(time.Hour), "another time"},
		"one of the future":     {at.VKey, origin, now().Add(-time.Hour), "another time"},
	} {
		_, err := ask.Newest(t.Context(), tlog.Witness{Name: at.Name, VKey: c.key, URL: at.URL}, c.origin, c.now)
		if err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
