package sqlite

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/store"
	"github.com/patchwrit/patchwrit/store/storetest"
)

func must(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := Open(context.Background(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t testing.TB, dir string) store.Store { return must(t, dir) })
}

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("PATCHWRIT_TEST_WRITE"); dir != "" {
		if err := writeForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// writeForEver commits batches of two events and a document, and prints each
// position once it was acknowledged.
func writeForEver(dir string) error {
	s, err := Open(context.Background(), dir)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for n := 0; ; n++ {
				last, err := s.Commit(context.Background(), store.Batch{Stream: "a", Expect: store.Any,
					Events: []store.Event{storetest.Event(n), storetest.Event(n + 1)}, Docs: []store.Doc{{Kind: "k", ID: "last", Body: []byte(strconv.Itoa(n))}}})
				if err != nil {
					fmt.Fprintln(os.Stderr, err)
					return
				}
				fmt.Println(last)
			}
		})
	}
	wg.Wait()
	return nil
}

// TestKilledWhileWriting kills the writer again and again: what it had
// acknowledged is there, and no batch by half.
func TestKilledWhileWriting(t *testing.T) {
	dir, acknowledged := t.TempDir(), int64(0)
	rounds := 6
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		cmd := exec.Command(os.Args[0], "-test.run=^$")
		cmd.Env = append(os.Environ(), "PATCHWRIT_TEST_WRITE="+dir)
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines, want := bufio.NewScanner(out), 5+rand.IntN(60)
		for n := 0; n < want && lines.Scan(); n++ {
			last, err := strconv.ParseInt(lines.Text(), 10, 64)
			if err != nil {
				t.Fatalf("%q: %s", lines.Text(), errs.String())
			}
			acknowledged = max(acknowledged, last)
		}
		cmd.Process.Kill()
		cmd.Wait()
		s := must(t, dir)
		if err := s.Check(t.Context()); err != nil {
			t.Fatal(err)
		}
		var last int64
		for e, err := range s.Events(t.Context(), 0) {
			if err != nil {
				t.Fatal(err)
			}
			last = e.Position
		}
		if last < acknowledged || last%2 != 0 || acknowledged == 0 {
			t.Fatalf("acknowledged %d, there are %d: %s", acknowledged, last, errs.String())
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	s := must(t, dir)
	if _, err := Open(t.Context(), dir); refusal.CodeOf(err) != codeBusy {
		t.Errorf("a second one: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	must(t, dir).Close()
}

// TestTheDatabaseItselfRefuses goes round the package.
func TestTheDatabaseItselfRefuses(t *testing.T) {
	s := must(t, t.TempDir())
	defer s.Close()
	if _, err := s.Commit(t.Context(), store.Batch{Stream: "a", Events: []store.Event{storetest.Event(1)}}); err != nil {
		t.Fatal(err)
	}
	for _, q := range []string{"DELETE FROM events", "UPDATE events SET body = x'00'", "UPDATE events SET version = 2", "UPDATE events SET stream = 'b'", "UPDATE events SET entry = NULL"} {
		if _, err := s.write.Exec(q); err == nil || !strings.Contains(err.Error(), "events are never") {
			t.Errorf("%s: %v", q, err)
		}
	}
	if err := s.Logged(t.Context(), 1, 3, "p"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.write.Exec("UPDATE events SET log_index = 4"); err == nil {
		t.Error("a place in the log was changed")
	}
}

// TestARelativeDirectory opens the record as people name it.
func TestARelativeDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	s := must(t, "data")
	defer s.Close()
	if _, err := s.Commit(t.Context(), store.Batch{Stream: "a", Events: []store.Event{storetest.Event(1)}}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join("data", FileName)); err != nil {
		t.Error(err)
	}
}

func TestAFileOfANewerProgram(t *testing.T) {
	dir := t.TempDir()
	s := must(t, dir)
	if _, err := s.write.Exec("PRAGMA user_version = 99"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := Open(t.Context(), dir); refusal.CodeOf(err) != codeNewer {
		t.Errorf("got %v", err)
	}
}

func TestBackupAndRestore(t *testing.T) {
	s := must(t, t.TempDir())
	defer s.Close()
	for n := range 20 {
		if _, err := s.Commit(t.Context(), store.Batch{Stream: "a", Expect: store.Any, Events: []store.Event{storetest.Event(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	var backup bytes.Buffer
	if err := s.Backup(t.Context(), &backup); err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "restored")
	if err := Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir); err != nil {
		t.Fatal(err)
	}
	r := must(t, dir)
	if err := r.Check(t.Context()); err != nil {
		t.Error(err)
	}
	if last, err := r.Commit(t.Context(), store.Batch{Stream: "a", Expect: 20, Events: []store.Event{storetest.Event(21)}}); err != nil || last != 21 {
		t.Errorf("the restored record goes on at %d: %v", last, err)
	}
	r.Close()
	if err := Restore(t.Context(), bytes.NewReader(backup.Bytes()), dir); err == nil {
		t.Error("a record was written over")
	}
	half := backup.Bytes()[:backup.Len()/2]
	if err := Restore(t.Context(), bytes.NewReader(half), filepath.Join(t.TempDir(), "half")); refusal.CodeOf(err) != codeDamaged {
		t.Errorf("half a backup: %v", err)
	}
}

// TestMissingEventsAreFound removes an event as somebody with the file could.
func TestMissingEventsAreFound(t *testing.T) {
	dir := t.TempDir()
	s := must(t, dir)
	for n := range 3 {
		if _, err := s.Commit(t.Context(), store.Batch{Stream: "a", Expect: store.Any, Events: []store.Event{storetest.Event(n)}}); err != nil {
			t.Fatal(err)
		}
	}
	s.Close()
	db, err := sql.Open("sqlite", filepath.Join(dir, FileName))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("DROP TRIGGER events_stay; DELETE FROM events WHERE position = 2"); err != nil {
		t.Fatal(err)
	}
	db.Close()
	s = must(t, dir)
	defer s.Close()
	if err := s.Check(t.Context()); refusal.CodeOf(err) != codeDamaged {
		t.Errorf("got %v", err)
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("writers=%d", writers), func(b *testing.B) {
			s := must(b, b.TempDir())
			defer s.Close()
			e := storetest.Event(1)
			e.Body = bytes.Repeat([]byte("x"), 512)
			work := make(chan struct{}, b.N)
			for range b.N {
				work <- struct{}{}
			}
			close(work)
			var wg sync.WaitGroup
			began := time.Now()
			for range writers {
				wg.Go(func() {
					for range work {
						if _, err := s.Commit(b.Context(), store.Batch{Stream: "a", Expect: store.Any, Events: []store.Event{e}}); err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wg.Wait()
			b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "events/s")
		})
	}
}
