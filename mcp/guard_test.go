package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/patchwrit/patchwrit/visit"
)

var errGone = errors.New("the client is gone")

// gone is a client that reads nothing any more.
type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errGone }

// all reads to the end, which has to come soon.
func all(t *testing.T, in io.Reader, out io.Writer) (got []byte, err error) {
	t.Helper()
	ended := make(chan bool)
	go func() {
		got, err = io.ReadAll(guarded(in, &lines{w: out}))
		close(ended)
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Fatal("the reader does not end")
	}
	return got, err
}

// TestALineEndsWithItsReader: a reader that ends or breaks ends the session, and what
// came before is kept.
func TestALineEndsWithItsReader(t *testing.T) {
	ping := `{"jsonrpc":"2.0","id":1,"method":"ping"}` + "\n"
	for want, in := range map[error]io.Reader{nil: strings.NewReader(ping), errGone: io.MultiReader(strings.NewReader(ping), errReader{})} {
		if got, err := all(t, in, io.Discard); string(got) != ping || !errors.Is(err, want) {
			t.Errorf("%q %v", got, err)
		}
	}
}

// TestNobodyReadsTheErrors ends the session: a client that is gone is not read from
// for ever.
func TestNobodyReadsTheErrors(t *testing.T) {
	for what, in := range map[string]string{"no message": "{\n", "too long": strings.Repeat("a", maxLine+1) + "\n"} {
		if _, err := all(t, strings.NewReader(in), gone{}); !errors.Is(err, errGone) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

type errReader struct{}

func (errReader) Read([]byte) (int, error) { return 0, errGone }

type nobody struct{}

func (nobody) Ask(context.Context, string, []byte) ([]byte, error) { return []byte("{}"), nil }

// stubborn cannot be told as JSON.
type stubborn struct{}

func (stubborn) MarshalJSON() ([]byte, error) { return nil, errGone }

// TestAToolThatCannotBeIsNone: the server does not start with a tool whose question
// or answer has no schema, or that is not in the set.
func TestAToolThatCannotBeIsNone(t *testing.T) {
	s, err := New(nobody{}, "test")
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{"no such question": add[chan int, visit.Hosts](s, nobody{}, "host_ls"), "no such answer": add[visit.Page, chan int](s, nobody{}, "host_ls"), "not in the set": add[visit.Page, visit.Hosts](s, nobody{}, "plan_approve")} {
		if err == nil {
			t.Errorf("%s: a tool", what)
		}
	}
	if _, err := answered[visit.Hosts](t.Context(), nobody{}, "host_ls", stubborn{}); !errors.Is(err, errGone) {
		t.Errorf("a question that is none is asked: %v", err)
	}
	set := visit.Tools
	defer func() { visit.Tools = set }()
	visit.Tools = set[1:]
	if err := Serve(t.Context(), strings.NewReader(""), io.Discard, nobody{}, "test"); err == nil || !strings.Contains(err.Error(), set[0].Name) {
		t.Errorf("it serves without %s: %v", set[0].Name, err)
	}
}

// TestACallThatIsTakenBackWhileItWaits is never asked.
func TestACallThatIsTakenBackWhileItWaits(t *testing.T) {
	full := turns{nobody{}, make(chan struct{}, 1), make(chan struct{})}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	said := make(chan error, 1)
	go func() {
		_, err := full.Ask(ctx, "host_ls", nil)
		said <- err
	}()
	select {
	case err := <-said:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(5 * time.Second):
		t.Error("it still waits")
	}
}

// FuzzLines: whatever comes, the reader hands on whole messages of JSON-RPC alone,
// and each other line is answered by one line of JSON.
func FuzzLines(f *testing.F) {
	for _, s := range []string{"", "\n\n", "{}", `{"jsonrpc":"2.0","id":1,"method":"ping"}`, "[]\n{\n", `{"jsonrpc":"2.0","method":"a","params":{"b":"\"}"}}` + "\n" + `{"jsonrpc":"2.0","method":"a","params":[{"b":1,"\u0062":2}]}` + "\n\xff\n" + "\n" + `"x`, strings.Repeat("[", 50)} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		g := guarded(bytes.NewReader(in), &lines{w: &out})
		var passed bytes.Buffer
		_, err := passed.ReadFrom(g)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(passed.Bytes()) {
			if why := unfit(bytes.TrimSpace(line)); why != nil || len(line) < 2 {
				t.Fatalf("%q is let through: %v", line, why)
			}
		}
		for line := range bytes.Lines(out.Bytes()) {
			if !json.Valid(line) || line[len(line)-1] != '\n' {
				t.Fatalf("%q", line)
			}
		}
	})
}
