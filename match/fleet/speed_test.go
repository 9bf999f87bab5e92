package fleet_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/match/fleet"
	"github.com/patchwrit/patchwrit/match/fleet/synthetic"
)

const rows = 900_000

// BenchmarkFleet measures the index on the synthetic fleet, of 100,000 hosts or
// as many as PATCHWRIT_BENCH_HOSTS says. Times of processors are what counts:
// cpu-s is that of the whole process, with the garbage collector; p50 and p99
// are of the thread that asked.
func BenchmarkFleet(b *testing.B) {
	hosts := 100_000
	if s := os.Getenv("PATCHWRIT_BENCH_HOSTS"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1000 {
			b.Fatalf("PATCHWRIT_BENCH_HOSTS is %q: give a number from 1000 on", s)
		}
		hosts = n
	}
	f := synthetic.New(1)
	x, s := fleet.New(), &fleet.Snapshot{}
	b.Run("build", func(b *testing.B) {
		for range b.N {
			x, s = build(b, f, hosts)
		}
	})
	b.Run("match", func(b *testing.B) { matchAll(b, s) })
	b.Run("advisory", func(b *testing.B) {
		s = newAdvisories(b, x, s, func(i int) *advisory.Advisory {
			return f.Record(fmt.Sprint("ordinary-", i), f.Ordinary(uint64(i)), i%synthetic.Images, 1+i%3, uint64(i)*7919)
		})
	})
	b.Run("advisory_everywhere", func(b *testing.B) {
		s = newAdvisories(b, x, s, func(i int) *advisory.Advisory {
			return f.Record(fmt.Sprint("everywhere-", i), i%synthetic.Base, 0, synthetic.Images, uint64(i)*7919)
		})
	})
	b.Run("change", func(b *testing.B) { s = changes(b, f, x, s, 3000, 1) })
	b.Run("rings", func(b *testing.B) { rings(b, f, x, s) })
	b.Run("ingest_full", func(b *testing.B) { ingest(b, f, x, hosts) })
	b.Run("ingest_delta", func(b *testing.B) { s = changes(b, f, x, s, 200_000, 200_000) })
	b.Run("ingest_delta_50000", func(b *testing.B) { s = changes(b, f, x, s, 200_000, 50_000) }) // to a snapshot
}

// build makes the whole fleet and takes it in, hosts first.
func build(b *testing.B, f *synthetic.Fleet, hosts int) (*fleet.Index, *fleet.Snapshot) {
	before, x := heap(), fleet.New()
	var spent time.Duration
	const chunk = 4096
	for i := 0; i < hosts; i += chunk {
		list := make([]fleet.Host, 0, chunk)
		for j := i; j < min(i+chunk, hosts); j++ {
			list = append(list, f.Host(j))
		}
		start := cpu()
		for _, h := range list {
			x.PutHost(h)
		}
		spent += cpu() - start
	}
	start := cpu()
	x.Commit()
	spent += cpu() - start
	b.ReportMetric(float64(heap()-before)/float64(hosts), "B/host")
	b.ReportMetric(float64(hosts)/spent.Seconds(), "hosts/cpu-s")
	before, spent = heap(), 0
	list := slices.Collect(f.Records(rows))
	start = cpu()
	for _, a := range list {
		x.PutAdvisory(a)
	}
	s := x.Commit()
	spent = cpu() - start
	list = nil
	b.ReportMetric(float64(heap()-before)/rows, "B/row")
	b.ReportMetric(rows/spent.Seconds(), "rows/cpu-s")
	b.ReportMetric(float64(peak())/(1<<20), "peak-MiB")
	return x, s
}

// matchAll asks for every row of every record.
func matchAll(b *testing.B, s *fleet.Snapshot) {
	n, findings := 0, 0
	start := cpu()
	for range b.N {
		n, findings = 0, 0
		for r := range s.Match() {
			n, findings = n+1, findings+r.Affected.Len()
		}
	}
	b.ReportMetric((cpu()-start).Seconds()/float64(b.N), "cpu-s")
	b.ReportMetric(float64(n), "rows")
	b.ReportMetric(float64(findings)/1e6, "million-findings")
}

// newAdvisories measures from a record at hand to the exact set in a new
// snapshot, and takes the record out again.
func newAdvisories(b *testing.B, x *fleet.Index, s *fleet.Snapshot, record func(int) *advisory.Advisory) *fleet.Snapshot {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	const n = 2000
	var list []*advisory.Advisory
	for i := range n {
		list = append(list, record(i))
	}
	hosts := 0
	times := make([]time.Duration, 0, n*b.N)
	runtime.GC()
	for range b.N {
		for _, a := range list {
			start := thread()
			ref := x.PutAdvisory(a)
			s = x.Commit()
			answer, ok := s.Answer(ref)
			times = append(times, thread()-start)
			if !ok {
				b.Fatal("the record is not held")
			}
			hosts += answer.Affected.Len()
			x.RemoveAdvisory(ref)
		}
	}
	report(b, times)
	b.ReportMetric(float64(hosts)/float64(len(times)), "hosts")
	return s
}

// changes measures changes of one package on one host, with a new snapshot
// after so many.
func changes(b *testing.B, f *synthetic.Fleet, x *fleet.Index, s *fleet.Snapshot, n, together int) *fleet.Snapshot {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var list []fleet.Change
	all := s.All().Len()
	seen := map[uint32]bool{}
	for i := 0; len(list) < min(n, all/2); i++ {
		id := uint32(uint64(i) * 2654435761 % uint64(all))
		if h, ok := s.Host(s.Name(id)); ok && !seen[id] {
			seen[id] = true
			went, came := f.Upgrade(h, i)
			list = append(list, fleet.Change{Host: h.Name, Went: []fleet.Package{went}, Came: []fleet.Package{came}})
		}
	}
	const rounds = 3 // there, back and there again
	var times []time.Duration
	runtime.GC()
	begin := cpu()
	for range b.N * rounds {
		for some := range slices.Chunk(list, together) {
			start := thread()
			if _, err := x.Change(some...); err != nil {
				b.Fatal(err)
			}
			s = x.Commit()
			times = append(times, thread()-start)
		}
		for i := range list {
			c := &list[i]
			c.Went, c.Came = c.Came, c.Went
		}
	}
	b.ReportMetric(float64(len(list)*b.N*rounds)/(cpu()-begin).Seconds(), "changes/cpu-s")
	if together > 1 {
		return s
	}
	least := slices.Clone(times[:len(list)]) // of the rounds: what no interruption made longer
	for i, t := range times[len(list):] {
		least[i%len(list)] = min(least[i%len(list)], t)
	}
	slices.Sort(least)
	b.ReportMetric(float64(least[len(least)*99/100].Nanoseconds())/1000, "p99-µs-least-of-3")
	report(b, times)
	alone := counting(times[len(times)/2], len(times))
	b.ReportMetric(float64(alone[len(alone)*99/100].Nanoseconds())/1000, "p99-µs-of-counting")
	return s
}

// counting gives the times of a loop that touches no memory and takes as long as
// asked: what is longer is what the machine does to every thread.
func counting(long time.Duration, n int) []time.Duration {
	x, turns := uint64(1), 1<<10
	count := func() time.Duration {
		start := thread()
		for range turns {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
		}
		return thread() - start
	}
	for slices.Min([]time.Duration{count(), count(), count(), count()}) < long {
		turns += turns / 16
	}
	out := make([]time.Duration, n)
	for i := range out {
		out[i] = count()
	}
	slices.Sort(out)
	runtime.KeepAlive(x)
	return out
}

// rings parts the hosts of records that every release carries into 20 rings.
func rings(b *testing.B, f *synthetic.Fleet, x *fleet.Index, s *fleet.Snapshot) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	parts := s.Rings(20, func(name string) int { return int(hash(name) % 20) })
	var times []time.Duration
	for range b.N {
		for i := range 100 {
			ref := x.PutAdvisory(f.Record("ring", i, 0, synthetic.Images, uint64(i)))
			s = x.Commit()
			answer, _ := s.Answer(ref)
			start, n := thread(), 0
			for _, part := range answer.Affected.Split(parts) {
				n += part.Len()
			}
			times = append(times, thread()-start)
			if n != answer.Affected.Len() {
				b.Fatalf("%d hosts in rings, %d affected", n, answer.Affected.Len())
			}
		}
	}
	report(b, times)
}

func hash(s string) (h uint32) {
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h ^ h>>15
}

// ingest puts whole inventories of hosts that were not there, from text that no
// other host shares, as if just decoded: names and versions are cut from one
// text a host. They are made before, so that only what the index itself leaves
// behind is collected while it is measured.
func ingest(b *testing.B, f *synthetic.Fleet, x *fleet.Index, from int) {
	const n, chunk = 16384, 4096
	var spent time.Duration
	var before, after runtime.MemStats
	made := uint64(0)
	for range b.N {
		for range n / chunk {
			list := make([]fleet.Host, chunk)
			for i := range list {
				list[i] = fresh(f.Host(from + i))
			}
			runtime.GC()
			runtime.ReadMemStats(&before)
			start := cpu()
			for i := range list {
				x.PutHost(list[i])
			}
			spent += cpu() - start
			runtime.ReadMemStats(&after)
			made += after.TotalAlloc - before.TotalAlloc
			from += chunk
		}
		start := cpu()
		x.Commit()
		spent += cpu() - start
		runtime.ReadMemStats(&before)
		made += before.TotalAlloc - after.TotalAlloc
	}
	b.ReportMetric(n*float64(b.N)/spent.Seconds(), "inventories/cpu-s")
	b.ReportMetric(float64(made)/float64(n*b.N), "B-allocated")
}

func fresh(h fleet.Host) fleet.Host {
	var b strings.Builder
	for _, p := range h.Packages {
		b.WriteString(p.Source)
		b.WriteString(p.Version)
	}
	text := b.String()
	for k, p := range h.Packages {
		n, m := len(p.Source), len(p.Source)+len(p.Version)
		h.Packages[k].Source, h.Packages[k].Version, text = text[:n], text[n:m], text[m:]
	}
	return h
}

func report(b *testing.B, times []time.Duration) {
	slices.Sort(times)
	us := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }
	b.ReportMetric(us(times[len(times)/2]), "p50-µs")
	b.ReportMetric(us(times[len(times)*99/100]), "p99-µs")
	b.ReportMetric(us(times[len(times)-1]), "max-µs")
}

// heap is how much memory is in use after a full collection.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// cpu is what the process has used of the processors.
func cpu() time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// peak is the most memory that the process ever had resident, in bytes.
func peak() int64 {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return u.Maxrss << 10
}

// thread is what the calling thread has used. A goroutine that moves between
// two calls would compare two threads; measured calls are short and do not
// wait, and the caller pins itself.
func thread() time.Duration {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &t); err != nil {
		panic(err)
	}
	return time.Duration(t.Nano())
}
