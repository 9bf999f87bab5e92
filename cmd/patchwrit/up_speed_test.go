package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/internal/controltest"
	"github.com/patchwrit/patchwrit/wire/dial"
)

// resident is a process's resident memory in MB.
func resident(pid int) (float64, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	var kb float64
	_, err = fmt.Sscan(rest, &kb)
	return kb / 1024, err
}

// BenchmarkUpWith1000Agents is `patchwrit up` as a process of its own with 1,000
// agents, each on a TLS and WebSocket connection of its own from this process,
// after all have said hello and told their inventory: resident memory before
// and after, and how long they took to come.
func BenchmarkUpWith1000Agents(b *testing.B) {
	const n = 1000
	for b.Loop() {
		p := newPlant(b, controltest.Options{Hosts: n}, "--plan-every", "1h")
		began := time.Now()
		p.start()
		b.ReportMetric(time.Since(began).Seconds(), "s/start")
		empty, err := resident(p.cmd.Process.Pid)
		p.must(err)
		hosts := make([]*controltest.Host, n)
		for i := range n {
			hosts[i] = p.Host(i, "hello")
			p.enrol(hosts[i])
		}
		began = time.Now()
		var mu sync.Mutex
		var coming sync.WaitGroup
		work := make(chan *controltest.Host)
		for range 16 {
			coming.Go(func() {
				for h := range work {
					c, err := dial.Dial(p.wire(h.Seed))
					if err == nil {
						mu.Lock()
						p.conns[h.Wire] = c
						mu.Unlock()
						_, err = h.Hello(b.Context(), direct(c))
					}
					if err == nil {
						err = h.Report(b.Context(), direct(c))
					}
					if err != nil {
						b.Errorf("host %s: %v", h.Known.ID.Short(), err)
					}
				}
			})
		}
		for _, h := range hosts {
			work <- h
		}
		close(work)
		coming.Wait()
		b.ReportMetric(time.Since(began).Seconds(), "s/connect")
		full, err := resident(p.cmd.Process.Pid)
		p.must(err)
		b.ReportMetric(empty, "MB/empty")
		b.ReportMetric(full, "MB/1000-agents")
		p.kill()
	}
}
