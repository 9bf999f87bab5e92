// Package storetest is what every store.Store must do. Implementations call Run
// from a test of their own.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/tlog"
)

// Open gives a record in a directory of its own; calling it again with the same
// directory, after Close, opens the same record.
type Open func(t testing.TB, dir string) store.Store

// Run holds an implementation to the promise.
func Run(t *testing.T, open Open) {
	for name, test := range map[string]func(*testing.T, Open){
		"what was committed is there again": reopened,
		"a conflict leaves nothing behind":  conflict,
		"writers do not overtake":           overtaking,
		"the outbox empties once":           outbox,
		"documents follow their batch":      documents,
		"bounds":                            bounds,
		"as the model":                      likeTheModel,
		"a copy while others write":         copied,
	} {
		t.Run(name, func(t *testing.T) { test(t, open) })
	}
}

// Event is an event with an entry that only it has.
func Event(n int) store.Event {
	body := fmt.Appendf(nil, `{"n":%d}`, n)
	return store.Event{Kind: "test", At: int64(n + 1), Body: body, Entry: tlog.NewEntry("test", canon.SumFile(body), int64(n+1))}
}

func all(t testing.TB, s store.Store) []store.Event {
	t.Helper()
	var out []store.Event
	for e, err := range s.Events(t.Context(), 0) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// gapless fails when numbers are missing or double.
func gapless(t testing.TB, events []store.Event) {
	t.Helper()
	versions := map[string]int64{}
	for i, e := range events {
		versions[e.Stream]++
		if e.Position != int64(i)+1 || e.Version != versions[e.Stream] {
			t.Fatalf("event %d of the record has position %d and version %d of %s", i+1, e.Position, e.Version, e.Stream)
		}
	}
}

func reopened(t *testing.T, open Open) {
	dir := t.TempDir()
	s := open(t, dir)
	last, err := s.Commit(t.Context(), store.Batch{Stream: "a", Events: []store.Event{Event(1), Event(2)}, Docs: []store.Doc{{Kind: "k", ID: "1", Body: []byte("x")}}})
	if err != nil || last != 2 {
		t.Fatalf("position %d, %v", last, err)
	}
	if err := s.Logged(t.Context(), 2, 7, "proof"); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, dir)
	defer s.Close()
	got := all(t, s)
	gapless(t, got)
	if len(got) != 2 || !bytes.Equal(got[0].Body, Event(1).Body) || got[0].Entry != Event(1).Entry || got[0].Index != -1 || got[1].Index != 7 || got[1].Proof != "proof" {
		t.Fatalf("read again: %+v", got)
	}
	if d, err := s.Doc(t.Context(), "k", "1"); err != nil || string(d.Body) != "x" {
		t.Fatalf("document %q, %v", d.Body, err)
	}
	if e, err := s.Subject(t.Context(), Event(2).Entry.Subject); err != nil || e.Position != 2 {
		t.Fatalf("by subject: %+v, %v", e, err)
	}
	if _, err := s.Subject(t.Context(), Event(3).Entry.Subject); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a subject that is not there: %v", err)
	}
}

func conflict(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer s.Close()
	if _, err := s.Commit(t.Context(), store.Batch{Stream: "a", Events: []store.Event{Event(1)}}); err != nil {
		t.Fatal(err)
	}
	for _, expect := range []int64{0, 2} {
		_, err := s.Commit(t.Context(), store.Batch{Stream: "a", Expect: expect, Events: []store.Event{Event(2)}, Docs: []store.Doc{{Kind: "k", ID: "1", Body: []byte("x")}}})
		if !errors.Is(err, store.ErrConflict) {
			t.Fatalf("expect %d: %v", expect, err)
		}
	}
	if _, err := s.Doc(t.Context(), "k", "1"); !errors.Is(err, store.ErrNotFound) || len(all(t, s)) != 1 {
		t.Fatalf("something of a refused batch is there: %v", err)
	}
	if _, err := s.Commit(t.Context(), store.Batch{Stream: "a", Expect: 1, Events: []store.Event{Event(2)}}); err != nil {
		t.Fatalf("the right version: %v", err)
	}
}

func overtaking(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer s.Close()
	const writers, rounds = 8, 10
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for r := range rounds {
				write(t, s, w*rounds+r)
			}
		})
	}
	wg.Wait()
	got := all(t, s)
	gapless(t, got)
	if len(got) != writers*rounds {
		t.Fatalf("%d events of %d", len(got), writers*rounds)
	}
}

// write appends an event to the one stream, trying until nobody was faster.
func write(t testing.TB, s store.Store, n int) {
	for {
		at := int64(0)
		for e, err := range s.Stream(t.Context(), "one") {
			if err != nil {
				t.Error(err)
				return
			}
			at = e.Version
		}
		_, err := s.Commit(t.Context(), store.Batch{Stream: "one", Expect: at, Events: []store.Event{Event(n)}})
		if err == nil {
			return
		}
		if !errors.Is(err, store.ErrConflict) {
			t.Error(err)
			return
		}
	}
}

func outbox(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer s.Close()
	quiet := store.Event{Kind: "quiet", At: 1, Body: []byte("{}")}
	if _, err := s.Commit(t.Context(), store.Batch{Stream: "a", Events: []store.Event{Event(1), quiet, Event(2)}}); err != nil {
		t.Fatal(err)
	}
	if got := waiting(t, s); !slices.Equal(got, []int64{1, 3}) {
		t.Fatalf("waiting: %v", got)
	}
	for _, c := range []struct {
		position, index int64
		ok              bool
	}{{3, 0, true}, {3, 0, true}, {3, 1, false}, {2, 1, false}, {1, -1, false}, {9, 1, false}, {1, 1, true}} {
		if err := s.Logged(t.Context(), c.position, c.index, "p"); (err == nil) != c.ok {
			t.Errorf("event %d at %d: %v", c.position, c.index, err)
		}
	}
	if got := waiting(t, s); len(got) != 0 {
		t.Fatalf("still waiting: %v", got)
	}
}

func waiting(t testing.TB, s store.Store) (out []int64) {
	t.Helper()
	for e, err := range s.Unlogged(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e.Position)
	}
	return out
}

func documents(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer s.Close()
	put := func(docs ...store.Doc) {
		t.Helper()
		if _, err := s.Commit(t.Context(), store.Batch{Expect: store.Any, Docs: docs}); err != nil {
			t.Fatal(err)
		}
	}
	put(store.Doc{Kind: "k", ID: "b", Body: []byte("1")}, store.Doc{Kind: "k", ID: "a", Body: []byte("2")}, store.Doc{Kind: "l", ID: "a", Body: []byte("3")})
	put(store.Doc{Kind: "k", ID: "b", Body: []byte("4")})
	put(store.Doc{Kind: "l", ID: "a"}, store.Doc{Kind: "l", ID: "never there"})
	var got []string
	for d, err := range s.Docs(t.Context(), "k") {
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, d.ID+string(d.Body))
	}
	if !slices.Equal(got, []string{"a2", "b4"}) {
		t.Fatalf("documents %v", got)
	}
	if _, err := s.Doc(t.Context(), "l", "a"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("a removed document: %v", err)
	}
}

func bounds(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer s.Close()
	big := Event(1)
	big.Body = make([]byte, store.MaxBody+1)
	for name, b := range map[string]store.Batch{
		"a large body":     {Stream: "a", Events: []store.Event{big}},
		"a large document": {Docs: []store.Doc{{Kind: "k", ID: "1", Body: big.Body}}},
		"a large batch":    {Stream: "a", Events: make([]store.Event, store.MaxBatch+1)},
		"no stream":        {Events: []store.Event{Event(1)}},
		"no kind":          {Docs: []store.Doc{{ID: "1", Body: []byte("x")}}},
	} {
		if _, err := s.Commit(t.Context(), b); err == nil {
			t.Errorf("%s was taken", name)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range s.Events(ctx, 0) {
		if err == nil {
			t.Error("an event after the end of the context")
		}
	}
}

// likeTheModel compares with the simplest thing that could be right.
func likeTheModel(t *testing.T, open Open) {
	rapid.Check(t, func(r *rapid.T) {
		dir := t.TempDir()
		s := open(t, dir)
		defer func() { s.Close() }()
		versions, docs, total, n := map[string]int64{}, map[string]string{}, int64(0), 0
		for range rapid.IntRange(1, 12).Draw(r, "steps") {
			stream := rapid.SampledFrom([]string{"a", "b"}).Draw(r, "stream")
			expect := rapid.SampledFrom([]int64{store.Any, versions[stream], versions[stream] + 1}).Draw(r, "expect")
			b := store.Batch{Stream: stream, Expect: expect}
			for range rapid.IntRange(0, 3).Draw(r, "events") {
				n++
				b.Events = append(b.Events, Event(n))
			}
			id, body := rapid.SampledFrom([]string{"x", "y"}).Draw(r, "id"), rapid.SampledFrom([]string{"", "1", "2"}).Draw(r, "body")
			d := store.Doc{Kind: "k", ID: id}
			if body != "" {
				d.Body = []byte(body)
			}
			b.Docs = []store.Doc{d}
			_, err := s.Commit(t.Context(), b)
			if expect == versions[stream]+1 {
				if !errors.Is(err, store.ErrConflict) {
					r.Fatalf("a conflict gave %v", err)
				}
				continue
			}
			if err != nil {
				r.Fatal(err)
			}
			versions[stream] += int64(len(b.Events))
			total += int64(len(b.Events))
			docs[id] = body
			if rapid.IntRange(0, 9).Draw(r, "again") == 0 {
				if err := s.Close(); err != nil {
					r.Fatal(err)
				}
				s = open(t, dir)
			}
		}
		got := all(t, s)
		gapless(t, got)
		if int64(len(got)) != total {
			r.Fatalf("%d events, the model has %d", len(got), total)
		}
		for id, body := range docs {
			d, err := s.Doc(t.Context(), "k", id)
			if string(d.Body) != body || errors.Is(err, store.ErrNotFound) != (body == "") {
				r.Fatalf("document %s is %q (%v), the model has %q", id, d.Body, err, body)
			}
		}
	})
}

func copied(t *testing.T, open Open) {
	s := open(t, t.TempDir())
	defer s.Close()
	stop, written := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(written)
		for n := 0; ; n++ {
			select {
			case <-stop:
				return
			default:
				if _, err := s.Commit(context.Background(), store.Batch{Stream: "a", Expect: store.Any, Events: []store.Event{Event(n)}}); err != nil {
					t.Error(err)
					return
				}
			}
		}
	}()
	var out strings.Builder
	err := s.Backup(t.Context(), &out)
	close(stop)
	<-written
	if err != nil || out.Len() == 0 {
		t.Fatalf("a copy of %d bytes: %v", out.Len(), err)
	}
}
