package control

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/match"
	"github.com/patchwrit/patchwrit/priority"
	"github.com/patchwrit/patchwrit/proposal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/trust"
)

// BenchmarkClocks has hosts with 200 vulnerabilities each, seen by five looks
// that each saw something else, and starts a control plane over them, at last
// as after an upgrade that folds all of them anew: as many pasts as hosts, or 20. A plan for all hosts is then weighed.
// PATCHWRIT_BENCH_CLOCKS sets how many hosts (1,000).
func BenchmarkClocks(b *testing.B) {
	n := 1000
	if s := os.Getenv("PATCHWRIT_BENCH_CLOCKS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			b.Fatal(err)
		}
	}
	for _, pasts := range []int{20, n} {
		b.Run(map[bool]string{true: "alike", false: "apart"}[pasts == 20], func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				w, ids := fleetOfClocks(b, n, pasts)
				b.StartTimer()
				w.measure(b, ids)
			}
		})
	}
}

// fleetOfClocks stores hosts whose five looks saw the same one after the other:
// as many different times of them as pasts.
func fleetOfClocks(b *testing.B, n, pasts int) (*clockwork, []trust.HostID) {
	w := newClockwork(b)
	looks, lists, none := make([]Glimpse, 5), map[canon.Digest][]spotted{}, []spotted{}
	for i := range looks {
		seen := []spotted{}
		for v := range 200 - i {
			seen = append(seen, spotted{Names: []string{fmt.Sprintf("CVE-2026-%04d", v), fmt.Sprintf("DSA-%d", v)}, Class: "14D", On: []cure{{fmt.Sprintf("p%d", v), "amd64", "2", ""}}})
		}
		var err, bad error
		looks[i].Seen, err = w.blobs.put(canon.MustEncode(seen))
		looks[i].Ended, bad = w.blobs.put(canon.MustEncode(none))
		w.must(errors.Join(err, bad))
		looks[i].Open, lists[looks[i].Seen] = looks[i].Seen, seen
	}
	ids := make([]trust.HostID, n)
	for i := range ids {
		ids[i] = w.host(i)
		s, before, events := priority.NewState(nil), none, []store.Event{}
		var last Glimpse
		for k, g := range looks {
			g.At = w.now.Unix() + int64(k)*24*3600 + int64(i%pasts)
			next, ok := s.Next(w.eventsOf(g.At, before, lists[g.Seen], none))
			if !ok {
				b.Fatal("a usual look does not go on from the state")
			}
			s = next
			before, last = lists[g.Seen], g
			events = append(events, store.Event{Kind: "exposure", At: g.At, Body: canon.MustEncode(g)})
		}
		x, records := w.folds(ids[i], len(looks), last, foldedOf(s))
		w.must(w.put(b.Context(), "exposure/"+string(ids[i]), events, append(records, x)...))
	}
	return w, ids
}

func (w *clockwork) measure(b *testing.B, ids []trust.HostID) {
	began := time.Now()
	w.open()
	b.ReportMetric(time.Since(began).Seconds(), "s/start")
	now, all := w.now.Unix(), group{}
	for _, id := range ids {
		all.hosts = append(all.hosts, trust.Host{ID: id})
	}
	began = time.Now()
	if w.pressing(all, now).Due == 0 {
		b.Fatal("nothing presses")
	}
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/order-locked")
	finding := match.Finding{Advisory: "DSA-7", Aliases: []string{"CVE-2026-0007"}, Package: "p7", Arch: "amd64", State: match.Affected}
	names := map[string]bool{"DSA-7": true, "CVE-2026-0007": true}
	began = time.Now()
	open, err := w.runningOn(b.Context(), ids, names)
	w.must(err)
	b.ReportMetric(time.Since(began).Seconds(), "s/weigh")
	began = time.Now()
	h := proposal.Host{Causes: []proposal.Cause{{Advisories: []string{"DSA-7"}}}}
	for _, h.ID = range ids {
		f, err := w.hostFacts(b.Context(), h, weighed{findings: []match.Finding{finding}, open: open}, now)
		if err != nil || f.Due == 0 {
			b.Fatalf("%+v, %v", f, err)
		}
	}
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/facts-locked")
	began = time.Now()
	x := w.book.exposures[ids[0]]
	past, err := w.glimpses(b.Context(), x.Host)
	w.must(err)
	s, err := w.refold(past)
	w.must(err)
	b.ReportMetric(time.Since(began).Seconds()*1e3, "ms/fold-anew")
	if clocksOf(s).digest != x.Folded {
		b.Fatal("another past")
	}
	for _, id := range ids { // as kept by another version
		x := w.book.exposures[id]
		x.Version = "0"
		w.must(w.put(b.Context(), "", nil, x))
	}
	began = time.Now()
	worked := processTime(b)
	w.open()
	b.ReportMetric(time.Since(began).Seconds(), "s/upgraded")
	b.ReportMetric((processTime(b) - worked).Seconds(), "cpu-s/upgraded")
	if again := w.book.exposures[ids[0]]; again.Version == "0" || again.Folded != x.Folded {
		b.Fatal("not folded anew")
	}
}

// processTime is what this process has spent on all cores.
func processTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
