package writer_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/tlogtest"
	"github.com/patchwrit/patchwrit/tlog/writer"
)

const origin = "log.example/one"

func entry(i int) tlog.Entry {
	return tlog.NewEntry("plan", canon.SumFile(fmt.Appendf(nil, "event %d", i)), int64(1000+i))
}

// witness is a c2sp.org/tlog-witness in memory. The one that people run is
// hall witness; this one can also be down, slow or false.
type witness struct {
	keys   *tlogtest.Log
	name   string
	policy tlog.Policy

	mu    sync.Mutex // guards the fields below
	last  tlog.Checkpoint
	delay time.Duration
	down  bool
	liar  bool
	asked int
}

func (w *witness) set(f func(w *witness)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w)
}

func (w *witness) size() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last.Size
}

func (w *witness) ServeHTTP(rw http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	w.mu.Lock()
	delay := w.delay
	w.mu.Unlock()
	select {
	case <-time.After(delay): // a slow machine
	case <-r.Context().Done(): // which stops when nobody waits any more
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	if w.down {
		http.Error(rw, "down for maintenance", http.StatusServiceUnavailable)
		return
	}
	head, signed, _ := strings.Cut(string(body), "\n\n")
	lines := strings.Split(head, "\n")
	old, _ := strconv.ParseInt(strings.TrimPrefix(lines[0], "old "), 10, 64)
	if old != w.last.Size {
		rw.Header().Set("Content-Type", "text/x.tlog.size")
		rw.WriteHeader(http.StatusConflict)
		fmt.Fprintf(rw, "%d\n", w.last.Size)
		return
	}
	proof := []canon.Digest{}
	for _, l := range lines[1:] {
		b, _ := base64.StdEncoding.DecodeString(l)
		proof = append(proof, canon.Digest(fmt.Sprintf("%x", b)))
	}
	c, n, err := w.policy.Signed([]byte(signed))
	if err == nil {
		err = tlog.Consistent(w.last, c, proof)
	}
	if err != nil {
		http.Error(rw, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	text := n.Text
	w.last = c
	if w.liar {
		text += "and more\n"
	}
	io.WriteString(rw, w.keys.Line(w.name, text, time.Now().Unix()))
}

// world is a log's keys and running witnesses.
type world struct {
	keys      *tlogtest.Log
	witnesses []*witness
	text      string
	policy    tlog.Policy
	dir       string
}

func newWorld(t testing.TB, witnesses, quorum int) *world {
	w := &world{keys: tlogtest.New(origin, witnesses, quorum), dir: filepath.Join(t.TempDir(), "log")}
	urls := []string{}
	for _, name := range w.keys.Witnesses() {
		wit := &witness{keys: w.keys, name: name}
		srv := httptest.NewServer(http.StripPrefix("/w", wit))
		t.Cleanup(srv.Close)
		w.witnesses, urls = append(w.witnesses, wit), append(urls, srv.URL+"/w")
	}
	w.text = w.keys.Policy(urls...)
	p, err := tlog.ParsePolicy(w.text)
	if err != nil {
		t.Fatal(err)
	}
	w.policy = p
	for _, wit := range w.witnesses {
		wit.policy = p
	}
	return w
}

func (w *world) config() writer.Config {
	return writer.Config{Dir: w.dir, Signer: w.keys.Signer(), Policy: w.text, WitnessTimeout: 2 * time.Second, BatchSize: 1}
}

func (w *world) open(t testing.TB) *writer.Log {
	t.Helper()
	l, err := writer.Open(t.Context(), w.config())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		l.Close(ctx) // a second close, or one with witnesses down, is an error that says so
	})
	return l
}

func (w *world) verify(t testing.TB, e tlog.Entry, p tlog.Proof) tlog.Verified {
	t.Helper()
	v, err := w.policy.Verify(e, p)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func wants(t *testing.T, err error, code refusal.Code) {
	t.Helper()
	if refusal.CodeOf(err) != code {
		t.Errorf("got %v, want %q", err, code)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestWhatIsAppendedIsProved(t *testing.T) {
	w := newWorld(t, 2, 2)
	l := w.open(t)
	ctx := within(t, 20*time.Second)

	_, err := l.Append(ctx, tlog.Entry{Kind: "plan"})
	wants(t, err, tlog.CodeEntry)

	const n = 30
	var group sync.WaitGroup
	proofs := make([]tlog.Proof, n)
	for i := range n {
		group.Go(func() { // every entry by two callers at once
			p, err := l.Append(ctx, entry(i/2))
			if err != nil {
				t.Errorf("entry %d: %v", i, err)
			}
			proofs[i] = p
		})
	}
	group.Wait()
	if t.Failed() {
		return
	}
	seen := map[int64]bool{}
	for i, p := range proofs {
		v := w.verify(t, entry(i/2), p)
		seen[v.Index] = true
		if at, ok := l.Find(entry(i / 2)); !ok || at != v.Index || len(v.Witnesses) != 2 || time.Now().Unix()-v.Time > 30 {
			t.Errorf("entry %d: %+v, found at %d %v", i/2, v, at, ok)
		}
	}
	signed, top, err := l.Checkpoint(ctx)
	must(t, err)
	if v, err := w.policy.Checkpoint(signed); err != nil || v.Checkpoint != top.Checkpoint {
		t.Errorf("%v", err)
	}
	if len(seen) != n/2 || top.Checkpoint.Size != n/2 {
		t.Errorf("%d different entries have %d places in a log of %d", n/2, len(seen), top.Checkpoint.Size)
	}
	again, err := l.Append(ctx, entry(3))
	must(t, err)
	if v := w.verify(t, entry(3), again); v.Checkpoint.Size != n/2 {
		t.Errorf("appended again, the log has grown to %d", v.Checkpoint.Size)
	}

	i := 0
	for e, err := range l.Entries(ctx) {
		must(t, err)
		if at, ok := l.Find(e); !ok || at != int64(i) {
			t.Errorf("entry %d is found at %d %v", i, at, ok)
		}
		i++
	}
	if i != n/2 {
		t.Errorf("%d entries", i)
	}
	_, err = l.Prove(ctx, entry(999), 0)
	wants(t, err, writer.CodeAbsent)
	_, err = l.Consistency(ctx, 5, 4)
	wants(t, err, writer.CodeAbsent)
	must(t, l.Close(ctx))
	_, err = l.Append(ctx, entry(1))
	wants(t, err, writer.CodeClosed)
}

// Consistency is proved between any two sizes, also those that were never
// published, and while the log grows beyond a tile's width.
func TestConsistencyBetweenAnySizes(t *testing.T) {
	w := newWorld(t, 1, 1)
	cfg := w.config()
	cfg.BatchSize = 300
	l, err := writer.Open(t.Context(), cfg)
	must(t, err)
	ctx := within(t, 20*time.Second)
	shadow := tlogtest.New(origin, 1, 1)
	const n = 300
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			if _, err := l.Append(ctx, entry(i)); err != nil {
				t.Errorf("entry %d: %v", i, err)
			}
		})
	}
	group.Wait()
	for e, err := range l.Entries(ctx) {
		must(t, err)
		shadow.Append(e)
	}
	for _, newer := range []int64{1, 2, 77, 255, 256, 257, 299, 300} {
		for _, older := range []int64{0, 1, 2, 77, 128, 255, 256, 257, 300} {
			if older > newer {
				continue
			}
			proof, err := l.Consistency(ctx, older, newer)
			must(t, err)
			if err := tlog.Consistent(shadow.Checkpoint(older), shadow.Checkpoint(newer), proof); err != nil {
				t.Errorf("%d to %d: %v", older, newer, err)
			}
		}
	}
	for _, i := range []int{0, 100, 255, 256, 299} {
		p, err := l.Prove(ctx, entry(i), 0)
		must(t, err)
		w.verify(t, entry(i), p)
	}
	must(t, l.Close(ctx))
}

func TestWitnessesShortOfAQuorumStopTheLog(t *testing.T) {
	w := newWorld(t, 3, 2)
	l := w.open(t)
	w.witnesses[0].set(func(w *witness) { w.down = true })
	p, err := l.Append(within(t, 10*time.Second), entry(1))
	must(t, err)
	if v := w.verify(t, entry(1), p); !slices.Equal(v.Witnesses, []string{"w2." + origin, "w3." + origin}) {
		t.Errorf("cosigned by %v", v.Witnesses)
	}

	w.witnesses[1].set(func(w *witness) { w.liar = true })
	p, err = l.Append(within(t, 600*time.Millisecond), entry(2))
	wants(t, err, writer.CodeWitnesses)
	if p != "" || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "w1."+origin+": 503") {
		t.Errorf("got proof %q and %v", p, err)
	}
	if _, top, err := l.Checkpoint(t.Context()); err != nil || top.Checkpoint.Size != 1 {
		t.Errorf("published %+v %v, and nobody cosigned it", top, err)
	}
	ctx := within(t, 300*time.Millisecond)
	_, err = l.Prove(ctx, entry(2), 0)
	wants(t, err, writer.CodeWitnesses)
	_, err = l.Consistency(ctx, 1, 2)
	wants(t, err, writer.CodeWitnesses)
	wants(t, l.Close(ctx), writer.CodeWitnesses)

	w.witnesses[0].set(func(w *witness) { w.down = false })
	w.witnesses[1].set(func(w *witness) { w.liar = false })
	l = w.open(t)
	p, err = l.Append(within(t, 10*time.Second), entry(2))
	must(t, err)
	if v := w.verify(t, entry(2), p); v.Index != 1 {
		t.Errorf("after the witnesses came back the entry stands at %d", v.Index)
	}
}

func TestALogBeginsBeforeItsWitnesses(t *testing.T) {
	w := newWorld(t, 1, 1)
	w.witnesses[0].set(func(w *witness) { w.down = true })
	l := w.open(t)
	_, _, err := l.Checkpoint(within(t, 150*time.Millisecond))
	wants(t, err, writer.CodeWitnesses)
	for _, err := range l.Entries(within(t, 50*time.Millisecond)) {
		wants(t, err, writer.CodeWitnesses)
	}
	w.witnesses[0].set(func(w *witness) { w.down = false })
	p, err := l.Append(within(t, 10*time.Second), entry(1))
	must(t, err)
	w.verify(t, entry(1), p)
}

// A witness that is slower than the quorum is not cut off, and keeps up.
func TestASlowWitnessKeepsUp(t *testing.T) {
	w := newWorld(t, 3, 2)
	l := w.open(t)
	w.witnesses[2].set(func(w *witness) { w.delay = 250 * time.Millisecond })
	for i := range 3 {
		p, err := l.Append(within(t, 10*time.Second), entry(i))
		must(t, err)
		w.verify(t, entry(i), p)
	}
	for deadline := time.Now().Add(5 * time.Second); w.witnesses[2].size() == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the slow witness has seen nothing")
		}
	}
}

func TestReopenedLogGoesOn(t *testing.T) {
	w := newWorld(t, 2, 2)
	l := w.open(t)
	ctx := within(t, 20*time.Second)
	var before tlog.Verified
	for i := range 3 {
		p, err := l.Append(ctx, entry(i))
		must(t, err)
		before = w.verify(t, entry(i), p)
	}
	_, err := writer.Open(ctx, w.config())
	wants(t, err, writer.CodeBusy)
	must(t, l.Close(ctx))

	l = w.open(t)
	if at, ok := l.Find(entry(1)); !ok || at != 1 {
		t.Errorf("found at %d %v", at, ok)
	}
	for i := range 5 {
		p, err := l.Append(ctx, entry(i))
		must(t, err)
		after := w.verify(t, entry(i), p)
		if after.Index != int64(i) {
			t.Errorf("entry %d is at %d", i, after.Index)
		}
		proof, err := l.Consistency(ctx, before.Checkpoint.Size, after.Checkpoint.Size)
		must(t, err)
		must(t, tlog.Consistent(before.Checkpoint, after.Checkpoint, proof))
	}
	must(t, l.Close(ctx))
}

func TestForeignDirectoriesAndKeysAreRefused(t *testing.T) {
	w := newWorld(t, 1, 1)
	ctx := within(t, 20*time.Second)
	l := w.open(t)
	_, err := l.Append(ctx, entry(1))
	must(t, err)
	must(t, l.Close(ctx))

	other := newWorld(t, 1, 1)
	other.keys = tlogtest.New("log.example/two", 1, 1)
	cfg := w.config()
	cfg.Policy = other.keys.Policy()
	cfg.Dir = filepath.Join(t.TempDir(), "new")
	_, err = writer.Open(ctx, cfg)
	wants(t, err, writer.CodeForeign) // key of another log than the policy's
	cfg.Dir = w.dir
	cfg.Signer = other.keys.Signer()
	_, err = writer.Open(ctx, cfg)
	wants(t, err, writer.CodeForeign) // directory of another log
	cfg.Signer = nil
	_, err = writer.Open(ctx, cfg)
	wants(t, err, writer.CodeForeign)
	cfg.Policy = "quorum none\n"
	_, err = writer.Open(ctx, cfg)
	wants(t, err, tlog.CodePolicyOpen)

	must(t, os.WriteFile(filepath.Join(w.dir, "checkpoint"), []byte(origin+"\n1\n"), 0o600))
	_, err = writer.Open(ctx, w.config())
	wants(t, err, writer.CodeForeign)
}

// After a change of the policy the published checkpoint lacks the new
// witness's cosignature; it is asked at once, not when the log next grows.
func TestNewWitnessesCosignAtOnce(t *testing.T) {
	w := newWorld(t, 2, 2)
	both, ctx := w.text, within(t, 20*time.Second)
	w.text = strings.Replace(strings.Replace(both, "all-of-them 2 w1 w2", "all-of-them 1 w1", 1), "witness w2", "#", 1)
	l := w.open(t)
	_, err := l.Append(ctx, entry(1))
	must(t, err)
	must(t, l.Close(ctx))

	w.text = both
	l = w.open(t)
	p, err := l.Prove(within(t, 5*time.Second), entry(1), 0)
	must(t, err)
	if v := w.verify(t, entry(1), p); len(v.Witnesses) != 2 {
		t.Errorf("cosigned by %v", v.Witnesses)
	}
}

// A directory restored from an older copy is behind the witnesses: it proves
// nothing new, and the refusal says why.
func TestAnOlderCopyCannotGoOn(t *testing.T) {
	w := newWorld(t, 1, 1)
	ctx := within(t, 20*time.Second)
	l := w.open(t)
	_, err := l.Append(ctx, entry(1))
	must(t, err)
	must(t, l.Close(ctx))
	old := filepath.Join(t.TempDir(), "old")
	must(t, os.CopyFS(old, os.DirFS(w.dir)))
	l = w.open(t)
	for i := range 4 {
		_, err = l.Append(ctx, entry(2+i))
		must(t, err)
	}
	must(t, l.Close(ctx))
	w.dir = old
	l = w.open(t)
	_, err = l.Append(within(t, 500*time.Millisecond), entry(9))
	wants(t, err, writer.CodeWitnesses)
	if !strings.Contains(err.Error(), "has seen size 5") {
		t.Errorf("got %v", err)
	}
}

func BenchmarkAppend(b *testing.B) {
	for _, c := range []struct {
		name       string
		batch      uint
		concurrent int
	}{{"one", 1, 1}, {"64 at once", 64, 64}} {
		b.Run(c.name, func(b *testing.B) {
			w := newWorld(b, 2, 2)
			cfg := w.config()
			cfg.BatchSize = c.batch
			l, err := writer.Open(b.Context(), cfg)
			must(b, err)
			var took []time.Duration
			n := 0
			for b.Loop() {
				var mu sync.Mutex
				var group sync.WaitGroup
				for range c.concurrent {
					e := entry(n)
					n++
					group.Go(func() {
						began := time.Now()
						if _, err := l.Append(b.Context(), e); err != nil {
							b.Error(err)
						}
						mu.Lock()
						defer mu.Unlock()
						took = append(took, time.Since(began))
					})
				}
				group.Wait()
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			must(b, l.Close(b.Context()))
		})
	}
}

// A disk that fails is an error, never a proof, and does no harm afterwards.
func TestAFailingDiskProvesNothing(t *testing.T) {
	w := newWorld(t, 1, 1)
	ctx := within(t, 20*time.Second)
	l := w.open(t)
	_, err := l.Append(ctx, entry(1))
	must(t, err)
	entries, aside := filepath.Join(w.dir, "tile", "entries"), filepath.Join(w.dir, "aside")
	must(t, os.Rename(entries, aside))
	must(t, os.WriteFile(entries, nil, 0o600)) // no directory: nothing can be written below
	p, err := l.Append(ctx, entry(2))
	if err == nil || p != "" {
		t.Fatalf("got proof %q, %v", p, err)
	}
	must(t, os.Remove(entries))
	must(t, os.Rename(aside, entries))
	p, err = l.Append(ctx, entry(2))
	must(t, err)
	if v := w.verify(t, entry(2), p); v.Index != 1 {
		t.Errorf("at %d", v.Index)
	}
	must(t, l.Close(ctx))
}
