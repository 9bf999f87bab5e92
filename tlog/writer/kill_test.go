package writer_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/tlog/tlogtest"
	"github.com/patchwrit/patchwrit/tlog/writer"
)

const (
	envDir    = "PATCHWRIT_WRITER_DIR" // makes the test binary a writer that is to be killed
	envPolicy = "PATCHWRIT_WRITER_POLICY"
	envFrom   = "PATCHWRIT_WRITER_FROM"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		child(dir)
	}
	os.Exit(m.Run())
}

// child appends entries from envFrom on, three at a time, without end, and
// prints each one that it has a proof for.
func child(dir string) {
	from, _ := strconv.Atoi(os.Getenv(envFrom))
	l, err := writer.Open(context.Background(), writer.Config{
		Dir: dir, Signer: tlogtest.New(origin, 0, 0).Signer(), Policy: os.Getenv(envPolicy), BatchSize: 1,
	})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	var mu sync.Mutex
	for worker := range 3 {
		go func() {
			for i := from + worker; ; i += 3 {
				p, err := l.Append(context.Background(), entry(i))
				mu.Lock()
				if err != nil {
					fmt.Println("error", err)
					os.Exit(1)
				}
				fmt.Println(i, p)
				mu.Unlock()
			}
		}()
	}
	select {}
}

// However often a writer is killed in the middle of appending, every entry it
// has acknowledged stands where its proof says, in a log that only grew.
func TestKilledWriterLosesNothingItAcknowledged(t *testing.T) {
	w := newWorld(t, 2, 2)
	acked := map[int]tlog.Proof{}
	for round, lines := range []int{1, 4, 7, 2} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), envDir+"="+w.dir, envPolicy+"="+w.text, envFrom+"="+strconv.Itoa(1000*round))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		in := bufio.NewScanner(out)
		for n := 0; in.Scan(); n++ {
			key, proof, _ := strings.Cut(in.Text(), " ")
			i, err := strconv.Atoi(key)
			if err != nil {
				t.Fatalf("the writer says %q", in.Text())
			}
			acked[i] = tlog.Proof(proof)
			if n == lines {
				time.AfterFunc(time.Duration(round)*13*time.Millisecond, func() { cmd.Process.Kill() })
			}
		}
		if err := cmd.Wait(); err == nil || !strings.Contains(err.Error(), "killed") {
			t.Fatalf("the writer was not killed: %v", err)
		}
	}
	l := w.open(t)
	ctx := within(t, 20*time.Second)
	_, err := l.Append(ctx, entry(9999))
	must(t, err)
	_, top, err := l.Checkpoint(ctx)
	must(t, err)
	for i, p := range acked {
		v := w.verify(t, entry(i), p)
		if at, ok := l.Find(entry(i)); !ok || at != v.Index {
			t.Errorf("entry %d was acknowledged at %d and is found at %d %v", i, v.Index, at, ok)
		}
		proof, err := l.Consistency(ctx, v.Checkpoint.Size, top.Checkpoint.Size)
		must(t, err)
		if err := tlog.Consistent(v.Checkpoint, top.Checkpoint, proof); err != nil {
			t.Errorf("the log was cut since entry %d: %v", i, err)
		}
	}
	if len(acked) < 14 {
		t.Errorf("only %d entries were acknowledged", len(acked))
	}
	seen := map[tlog.Entry]bool{}
	for e, err := range l.Entries(ctx) {
		must(t, err)
		if seen[e] {
			t.Errorf("%v stands twice", e)
		}
		seen[e] = true
	}
	must(t, l.Close(ctx))
}
