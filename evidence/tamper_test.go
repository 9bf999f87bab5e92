package evidence_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/evidence"
	"github.com/patchwrit/patchwrit/internal/evidencetest"
)

// found reports whether a check of raw says no.
func found(w *evidencetest.World, raw []byte) bool {
	return !evidence.Run(raw, w.House.Root, w.Decide, true).OK
}

// all runs f for 0 to n-1 on the machine's processors.
func all(n int, f func(i int)) {
	var next atomic.Int64
	var done sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		done.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				f(i)
			}
		})
	}
	done.Wait()
}

// neighbour changes a byte into one of its own kind where it can, so that form
// alone does not give the change away.
func neighbour(c byte) byte {
	switch {
	case c == '9':
		return '0'
	case c == 'f':
		return 'a'
	case c >= '0' && c < '9', c >= 'a' && c < 'f':
		return c + 1
	}
	return c ^ 1
}

// whole asks for every change there is; without it, tests make a part of them.
var whole = os.Getenv("PATCHWRIT_WHOLE") != ""

// TestEveryByteCounts flips each byte of bundles of every kind, one at a time:
// all of them with PATCHWRIT_WHOLE=1 (about 2 ms of CPU each), else some.
func TestEveryByteCounts(t *testing.T) {
	for name, w := range map[string]*evidencetest.World{"people": people(), "grant": grant(), "failed": failed(), "pending": silent()} {
		step := 997
		switch {
		case whole:
			step = 1
		case name == "people":
			step = 101
		}
		raw, began := w.Raw(), time.Now()
		if found(w, raw) {
			t.Fatalf("%s: the bundle itself is refused", name)
		}
		var survivors atomic.Int64
		all(len(raw)/step, func(i int) {
			at := i * step
			flipped := bytes.Clone(raw)
			flipped[at] = neighbour(raw[at])
			if !found(w, flipped) {
				survivors.Add(1)
				t.Errorf("%s: byte %d: %q for %q in …%s…", name, at, flipped[at], raw[at], raw[max(0, at-60):min(len(raw), at+60)])
			}
		})
		spent := time.Since(began)
		t.Logf("%s: %d of %d bytes, %d survivors, %v, %v each", name, len(raw)/step, len(raw), survivors.Load(), spent, spent/time.Duration(len(raw)/step))
	}
}

// change is one change to a bundle's meaning.
type change struct {
	what string
	raw  []byte
}

// changes walks a document and makes every change there is: each string, number
// and boolean another, each element of a list taken out, doubled, and put
// before its neighbour. Of these it makes every step-th.
func changes(raw []byte, step int) []change {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var doc any
	if err := d.Decode(&doc); err != nil {
		panic(err)
	}
	out, n := []change{}, 0
	emit := func(what string) {
		if n++; n%step == 0 {
			out = append(out, change{what, canon.MustEncode(doc)})
		}
	}
	var walk func(path string, v any, put func(any))
	walk = func(path string, v any, put func(any)) {
		switch v := v.(type) {
		case map[string]any:
			for _, key := range slices.Sorted(maps.Keys(v)) {
				walk(path+"."+key, v[key], func(n any) { v[key] = n })
			}
		case []any:
			lists(path, v, put, emit)
			for i, child := range v {
				walk(fmt.Sprintf("%s[%d]", path, i), child, func(n any) { v[i] = n })
			}
		default:
			other := others(v)
			for _, what := range slices.Sorted(maps.Keys(other)) {
				put(other[what])
				emit(path + " " + what)
				put(v)
			}
		}
	}
	walk("", doc, func(n any) { doc = n })
	return out
}

// lists takes out, doubles and moves each element.
func lists(path string, v []any, put func(any), emit func(string)) {
	for i := range v {
		put(append(append([]any{}, v[:i]...), v[i+1:]...))
		emit(fmt.Sprintf("%s[%d] taken out", path, i))
		put(append(append([]any{}, v[:i+1]...), v[i:]...))
		emit(fmt.Sprintf("%s[%d] doubled", path, i))
		if i > 0 && !bytes.Equal(canon.MustEncode(v[i]), canon.MustEncode(v[i-1])) {
			moved := append([]any{}, v...)
			moved[i-1], moved[i] = v[i], v[i-1]
			put(moved)
			emit(fmt.Sprintf("%s[%d] before [%d]", path, i, i-1))
		}
	}
	if len(v) > 0 {
		put([]any{})
		emit(path + " emptied")
	}
	put(v)
}

// others are other values of the same kind.
func others(v any) map[string]any {
	switch v := v.(type) {
	case bool:
		return map[string]any{"turned": !v}
	case json.Number:
		n, err := strconv.ParseInt(string(v), 10, 64)
		if err != nil {
			panic(err)
		}
		out := map[string]any{"one more": n + 1}
		if n > 0 {
			out["one less"], out["none"] = n-1, 0
		}
		return out
	case string:
		out := map[string]any{"longer": v + "a"}
		if v != "" {
			last := len(v) - 1
			out["emptied"], out["shorter"] = "", v[:last]
			out["first"], out["last"] = string(neighbour(v[0]))+v[1:], v[:last]+string(neighbour(v[last]))
		}
		return out
	}
	panic(fmt.Sprintf("%T", v))
}

func TestEveryMeaningCounts(t *testing.T) {
	for name, w := range map[string]*evidencetest.World{"people": people(), "grant": grant(), "failed": failed(), "pending": silent()} {
		step := 37
		if whole {
			step = 1
		}
		began, cs := time.Now(), changes(w.Raw(), step)
		var same, survivors atomic.Int64
		all(len(cs), func(i int) {
			if bytes.Equal(cs[i].raw, w.Raw()) {
				same.Add(1)
			} else if !found(w, cs[i].raw) {
				survivors.Add(1)
				t.Errorf("%s: %s is not found", name, cs[i].what)
			}
		})
		if same.Load() > 0 {
			t.Errorf("%s: %d changes changed nothing", name, same.Load())
		}
		t.Logf("%s: %d changes, %d survivors, %v", name, len(cs), survivors.Load(), time.Since(began))
	}
}
