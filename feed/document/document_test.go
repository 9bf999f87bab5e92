package document

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/patchwrit/patchwrit/canon"
)

func packed(t *testing.T, text string) string {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, text); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestPlainAndPackedReadAlike(t *testing.T) {
	for _, raw := range []string{"hello", packed(t, "hello")} {
		f, err := Open(strings.NewReader(raw), 100)
		if err != nil {
			t.Fatal(err)
		}
		head := make([]byte, 2) // the digest covers what nobody reads
		if _, err := io.ReadFull(f, head); err != nil || string(head) != "he" {
			t.Fatal(string(head), err)
		}
		if d, err := f.Close(); err != nil || d != canon.SumFile([]byte(raw)) {
			t.Errorf("digest %s, %v", d, err)
		}
	}
}

func TestLimitsAndCutsAreErrors(t *testing.T) {
	whole := packed(t, strings.Repeat("x", 10_000))
	for name, c := range map[string]struct {
		raw   string
		limit int64
		want  error
	}{
		"exactly the limit": {"12345", 5, nil},
		"one byte more":     {"123456", 5, ErrTooLarge},
		"a bomb":            {whole, 9_999, ErrTooLarge},
		"no bomb":           {whole, 10_000, nil},
		"a cut gzip":        {whole[:len(whole)-9], 10_000, io.ErrUnexpectedEOF},
		"a wrong checksum":  {whole[:len(whole)-8] + "12345678", 10_000, gzip.ErrChecksum},
		"only a magic":      {"\x1f\x8b", 100, ErrUnusable},
	} {
		t.Run(name, func(t *testing.T) {
			f, err := Open(strings.NewReader(c.raw), c.limit)
			if err == nil {
				var n int64
				n, err = io.Copy(io.Discard, f)
				if n > c.limit {
					t.Errorf("%d bytes", n)
				}
				if _, after := f.Close(); c.want == nil && after != nil {
					t.Error(after)
				}
			}
			if !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func TestGapsAreBounded(t *testing.T) {
	var g Gaps
	if g.List() == nil || len(g.List()) != 0 {
		t.Error("the zero value is not an empty list")
	}
	for range maxGaps + 7 {
		g.Add("r\n", "why")
	}
	if l := g.List(); len(l) != maxGaps+1 || l[maxGaps].Why != "and 7 more gaps" || strings.Contains(l[0].Record, "\n") {
		t.Errorf("%d %v", len(l), l[len(l)-1])
	}
}

func TestWhatCannotBeReadIsUnusable(t *testing.T) {
	if _, err := Open(iotest.ErrReader(io.ErrClosedPipe), 100); !errors.Is(err, ErrUnusable) || !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
