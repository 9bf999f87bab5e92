package pipe_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/patchwrit/patchwrit/advice"
	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisor/pipe"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/internal/advicetest"
)

var kinds = map[pipe.Kind]int{pipe.Hello: 0, pipe.Ask: 2, pipe.Call: 3, pipe.Reply: 3, pipe.Said: 3}

// FuzzRead: whatever comes, a frame is what Write would have written, or an error.
func FuzzRead(f *testing.F) {
	for k, n := range kinds {
		var b bytes.Buffer
		if err := pipe.Write(&b, k, slices.Repeat([][]byte{[]byte("x")}, n)...); err != nil {
			f.Fatal(err)
		}
		f.Add(b.Bytes())
		f.Add(b.Bytes()[:b.Len()/2])
	}
	f.Add([]byte("s\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		for k := range kinds {
			r := bytes.NewReader(raw)
			fields, err := pipe.Read(r, k)
			if err != nil {
				if fields != nil {
					t.Fatal("fields with an error")
				}
				continue
			}
			var b bytes.Buffer
			if err := pipe.Write(&b, k, fields...); err != nil || !bytes.Equal(b.Bytes(), raw[:len(raw)-r.Len()]) {
				t.Fatalf("%q: %v", b.Bytes(), err)
			}
		}
	})
}

func TestLimitsHoldBothWays(t *testing.T) {
	long := bytes.Repeat([]byte("x"), 17)
	if err := pipe.Write(io.Discard, pipe.Said, long, nil, nil); !errors.Is(err, pipe.ErrFrame) {
		t.Error(err)
	}
	if err := pipe.Write(io.Discard, pipe.Said, nil, nil); !errors.Is(err, pipe.ErrFrame) {
		t.Error(err)
	}
	if err := pipe.Write(io.Discard, 'x'); !errors.Is(err, pipe.ErrFrame) {
		t.Error(err)
	}
	if _, err := pipe.Read(strings.NewReader("x"), 'x'); !errors.Is(err, pipe.ErrFrame) {
		t.Error(err)
	}
	for raw, want := range map[string]error{"": io.EOF, "s": io.ErrUnexpectedEOF, "s\x00\x00": io.ErrUnexpectedEOF, "s\x00\x00\x00\x02x": io.ErrUnexpectedEOF, "s" + strings.Repeat("\x00", 8) + "\x00\x00\x00\x02x": io.ErrUnexpectedEOF, "c": pipe.ErrFrame, "s\x00\x00\x00\x11" + string(long): pipe.ErrFrame} {
		if _, err := pipe.Read(strings.NewReader(raw), pipe.Said); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", raw, err, want)
		}
	}
}

// TestALyingLengthHoldsNothing: sixteen mebibytes are claimed, one byte comes.
func TestALyingLengthHoldsNothing(t *testing.T) {
	raw := "r\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00x"
	if n := testing.AllocsPerRun(1, func() { pipe.Read(strings.NewReader(raw), pipe.Reply) }); n > 50 {
		t.Errorf("%v allocations", n)
	}
	r := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range min(b.N, 100) {
			pipe.Read(strings.NewReader(raw), pipe.Reply)
		}
	})
	if r.AllocedBytesPerOp() > 1<<16 {
		t.Errorf("%d bytes", r.AllocedBytesPerOp())
	}
}

// TestAdviseIsEncodeAndDecode plays the broker.
func TestAdviseIsEncodeAndDecode(t *testing.T) {
	m := dialect.Model{Type: dialect.TypeModel, Provider: dialect.Ollama, Name: "m", Endpoint: "http://127.0.0.1:1", Sampling: dialect.Zero, MaxTokens: 1, Seconds: 1, MaxBytes: 1 << 20}
	request := advice.Request(advicetest.Dossier(advicetest.Material()))
	reply := dialect.Reply{Status: 200, Body: []byte(`{"model":"m","message":{"role":"assistant","content":"hi"},"done":true,"done_reason":"stop"}`)}
	ours, theirs := net.Pipe()
	ended := make(chan error)
	go func() { ended <- pipe.Advise(theirs) }()
	if _, err := pipe.Read(ours, pipe.Hello); err != nil {
		t.Fatal(err)
	}
	if err := pipe.Write(ours, pipe.Ask, canon.MustEncode(m), request); err != nil {
		t.Fatal(err)
	}
	f, err := pipe.Read(ours, pipe.Call)
	if want, _ := dialect.Encode(m, request); err != nil || string(f[0]) != want.Method || string(f[1]) != want.Path || !bytes.Equal(f[2], want.Body) {
		t.Fatalf("%q, %v", f, err)
	}
	if err := pipe.WriteReply(ours, reply); err != nil {
		t.Fatal(err)
	}
	f, err = pipe.Read(ours, pipe.Said)
	if want := dialect.Decode(m, reply); err != nil || string(f[0]) != string(want.Outcome) || string(f[1]) != want.Why || string(f[2]) != "hi" {
		t.Fatalf("%q, %v", f, err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

var errCut = errors.New("the socket is gone")

// broker is one that has said all it will say, and does not hear one frame.
type broker struct {
	io.Reader
	deaf  int    // the how many-th; 0: it hears all
	heard []byte // kinds of the frames that came
}

func (b *broker) Write(p []byte) (int, error) {
	if b.deaf--; b.deaf == 0 {
		return 0, errCut
	}
	b.heard = append(b.heard, p[0])
	return len(p), nil
}

// TestAdviseEndsWhereTheBrokerGoesWrong: each turn of it that is none ends the
// advisor there, with that turn's error and no further frame.
func TestAdviseEndsWhereTheBrokerGoesWrong(t *testing.T) {
	m := dialect.Model{Type: dialect.TypeModel, Provider: dialect.Ollama, Name: "m", Endpoint: "http://127.0.0.1:1", Sampling: dialect.Zero, MaxTokens: 1, Seconds: 1, MaxBytes: 1 << 20}
	request := advice.Request(advicetest.Dossier(advicetest.Material()))
	frame := func(kind pipe.Kind, fields ...[]byte) string {
		var b bytes.Buffer
		if err := pipe.Write(&b, kind, fields...); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	asks := frame(pipe.Ask, canon.MustEncode(m), request)
	reply := func(status string) string { return frame(pipe.Reply, []byte(status), nil, []byte("{}")) }
	for name, x := range map[string]struct {
		says  string
		deaf  int
		heard string
		want  error
	}{
		"whole":                {asks + reply("200"), 0, "hcs", nil},
		"hears nothing":        {asks + reply("200"), 1, "", errCut},
		"asks nothing":         {"", 0, "h", io.EOF},
		"answers first":        {reply("200"), 0, "h", pipe.ErrFrame},
		"a model of two":       {frame(pipe.Ask, []byte("{}{}"), request), 0, "h", canon.ErrForm},
		"no request":           {frame(pipe.Ask, canon.MustEncode(m), []byte("{}")), 0, "h", dialect.ErrRequest},
		"hears no call":        {asks + reply("200"), 2, "h", errCut},
		"brings nothing":       {asks, 0, "hc", io.EOF},
		"a status in words":    {asks + reply("ok"), 0, "hc", pipe.ErrFrame},
		"does not hear it out": {asks + reply("200"), 3, "hc", errCut},
	} {
		b := &broker{Reader: strings.NewReader(x.says), deaf: x.deaf}
		if err := pipe.Advise(b); !errors.Is(err, x.want) || string(b.heard) != x.heard {
			t.Errorf("%s: %v after frames %q, want %v after %q", name, err, b.heard, x.want, x.heard)
		}
	}
}
