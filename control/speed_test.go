package control_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/approval"
	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/controltest"
)

// everybody has all hosts ask at once, a few at a time, and counts those that
// acted.
func (w *town) everybody() (acted int) {
	w.t.Helper()
	var mu sync.Mutex
	var asking sync.WaitGroup
	work := make(chan *controltest.Host)
	for range 8 {
		asking.Go(func() {
			for h := range work {
				next, err := h.Next(context.Background(), w.control.Handle)
				if err == nil && next.Writ != "" {
					_, err = h.Round(context.Background(), w.control.Handle)
				}
				mu.Lock()
				if err != nil {
					w.t.Error(err)
				} else if next.Writ != "" {
					acted++
				}
				mu.Unlock()
			}
		})
	}
	for _, h := range w.hosts {
		work <- h
	}
	close(work)
	asking.Wait()
	return acted
}

// BenchmarkPlanToWrits1000 is one approved plan for 1,000 hosts in 2 domains:
// from the second yes until every host has verified its writ and its receipt
// is stored. Three witnesses cosign; every commit and file is synced.
func BenchmarkPlanToWrits1000(b *testing.B) {
	const n = 1000
	for b.Loop() {
		b.StopTimer()
		w := newTown(b, controltest.Options{Hosts: n})
		w.terms.Settle = 3 * time.Second
		w.start()
		began := time.Now()
		w.enrol(0, n-1, hello)
		b.ReportMetric(time.Since(began).Seconds(), "s/enrolment")
		began = time.Now()
		w.until("a plan for all", func() bool {
			for _, p := range w.plans() {
				if p.State == control.Review && len(p.Hosts) == n {
					return true
				}
			}
			return false
		})
		p := w.plans()[0]
		b.ReportMetric(time.Since(began).Seconds(), "s/plan")
		w.say(p, approval.Approve, 0)
		b.StartTimer()
		began = time.Now()
		w.say(p, approval.Approve, 1)
		for acted := 0; acted < n; {
			acted += w.everybody()
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/writs")
		w.work(p.Digest, control.Finished)
		b.StopTimer()
		w.end()
		b.StartTimer()
	}
}
