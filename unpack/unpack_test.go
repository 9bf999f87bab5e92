package unpack

import (
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os/exec"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
	"pgregory.net/rapid"
)

var formats = []Format{Plain, Gzip, XZ, Zstd}

// pack compresses b; xz streams get a new block every blockSize bytes.
func pack(t testing.TB, f Format, b []byte) []byte {
	const blockSize = 100_000
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch f {
	case Plain:
		return b
	case Gzip:
		w = gzip.NewWriter(&out)
	case XZ:
		w, err = xz.WriterConfig{BlockSize: blockSize, DictCap: 1 << 16}.NewWriter(&out)
	case Zstd:
		w, err = zstd.NewWriter(&out, zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(1<<16))
	}
	if err == nil {
		_, err = w.Write(b)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func unpackAll(f Format, b []byte, limit int64) ([]byte, error) {
	r, err := Open(f, bytes.NewReader(b), int64(len(b)), limit)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(r)
}

func sample(n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "line %d of a text that packs well\n", i*i)
	}
	return b.Bytes()[:n]
}

func TestWhatIsPackedUnpacks(t *testing.T) {
	for _, f := range formats {
		t.Run("as "+string(f), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				want := append(sample(rapid.IntRange(0, 3000).Draw(rt, "text")), rapid.SliceOf(rapid.Byte()).Draw(rt, "noise")...)
				got, err := unpackAll(f, pack(t, f, want), int64(len(want)))
				if err != nil || !bytes.Equal(got, want) {
					rt.Fatalf("%d bytes, want %d: %v", len(got), len(want), err)
				}
			})
		})
	}
}

func TestNothingUnpacksBeyondItsLimit(t *testing.T) {
	want := sample(350_000)
	for _, f := range formats {
		packed := pack(t, f, want)
		if got, err := unpackAll(f, packed, int64(len(want))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q at its limit: %v", f, err)
		}
		got, err := unpackAll(f, packed, int64(len(want))-1)
		if !errors.Is(err, ErrLimit) || len(got) > len(want)-1 {
			t.Errorf("%q one beyond its limit: %d bytes, %v", f, len(got), err)
		}
	}
}

func TestCutStreamsAreErrors(t *testing.T) {
	want := sample(5000)
	for _, f := range formats[1:] {
		packed := pack(t, f, want)
		for n := range packed {
			if got, err := unpackAll(f, packed[:n], 1<<20); err == nil {
				t.Fatalf("%q cut at %d of %d gives %d bytes and no error", f, n, len(packed), len(got))
			}
		}
	}
}

func TestTrailingBytesAreErrors(t *testing.T) {
	for _, f := range formats[1:] {
		if _, err := unpackAll(f, append(pack(t, f, sample(100)), "garbage"...), 1<<20); !errors.Is(err, ErrForm) {
			t.Errorf("%q with something behind it: %v", f, err)
		}
	}
}

func TestFlippedBytesNeverGiveOtherContents(t *testing.T) {
	want := sample(2000)
	for _, f := range []Format{XZ, Zstd} {
		packed := pack(t, f, want)
		for i := range packed {
			b := bytes.Clone(packed)
			b[i] ^= 0x41
			if got, err := unpackAll(f, b, 1<<20); err == nil && !bytes.Equal(got, want) {
				t.Fatalf("%q with byte %d flipped gives other contents and no error", f, i)
			}
		}
	}
}

// forge makes the skeleton of an xz stream: one block with the given header
// fields and chunks, no index.
func forge(flags byte, filter []byte, chunks ...[]byte) []byte {
	b := append(bytes.Clone(xzMagic), 0, 0, 0, 0, 0, 0) // no integrity sum; CRC not looked at here
	header := append([]byte{flags}, filter...)
	for (len(header)+1)%4 != 0 {
		header = append(header, 0)
	}
	header = append([]byte{byte((len(header)+5)/4 - 1)}, header...)
	sum := crc32.ChecksumIEEE(header)
	b = append(append(b, header...), byte(sum), byte(sum>>8), byte(sum>>16), byte(sum>>24))
	return append(b, bytes.Join(chunks, nil)...)
}

// packedChunk claims to unpack to 2 MiB from one byte.
var packedChunk = []byte{0xe0 | 0x1f, 0xff, 0xff, 0, 0, 0x5d, 0}

func TestTheSkeletonOfXZIsJudgedFirst(t *testing.T) {
	lzma2 := func(window byte) []byte { return []byte{xzLZMA2, 1, window} }
	end := []byte{0}
	sound := forge(0, lzma2(22), packedChunk, []byte{1, 0, 2, 'a', 'b', 'c'}, end)
	sound = append(sound, make([]byte, 8)...)
	if err := survey1(sound, 2<<20+3); err != nil {
		t.Fatalf("control: a sound skeleton: %v", err)
	}
	for _, c := range []struct {
		name string
		b    []byte
		want error
	}{
		{"too short", sound[:11], ErrForm},
		{"other magic", append([]byte("\xfd7zXZ\x01"), sound[6:]...), ErrForm},
		{"unknown sum", append(append(bytes.Clone(sound[:7]), 2), sound[8:]...), ErrForm},
		{"reserved flag", append(append(bytes.Clone(sound[:6]), 1), sound[7:]...), ErrForm},
		{"two filters", forge(1, lzma2(22), packedChunk, end), ErrForm},
		{"reserved block flag", forge(4, lzma2(22), packedChunk, end), ErrForm},
		{"another filter", forge(0, []byte{0x04, 1, 0}, packedChunk, end), ErrForm},
		{"a filter of another length", forge(0, []byte{xzLZMA2, 2, 22, 0}, packedChunk, end), ErrForm},
		{"no filter", forge(xzPacked, []byte{0x80, 0x80}, packedChunk, end), ErrForm},
		{"a size without end", forge(xzSize, bytes.Repeat([]byte{0x80}, 12), packedChunk, end), ErrForm},
		{"too large a window", forge(0, lzma2(31), packedChunk, end), ErrLimit},
		{"no window number", forge(0, lzma2(99), packedChunk, end), ErrLimit},
		{"unknown chunk", forge(0, lzma2(22), []byte{0x55}), ErrForm},
		{"a chunk beyond the end", forge(0, lzma2(22), []byte{1, 0xff, 0xff}), ErrForm},
		{"half a block header", append(bytes.Clone(sound[:12]), 9), ErrForm},
		{"a bomb", forge(0, lzma2(22), bytes.Repeat(packedChunk, 20), end), ErrLimit},
	} {
		padded := c.b
		if len(c.b) > len(sound) || !bytes.HasPrefix(sound, c.b) {
			padded = append(bytes.Clone(c.b), make([]byte, 8)...)
		}
		if err := survey1(padded, 20<<20); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := survey1(forge(0, lzma2(30), packedChunk, end, make([]byte, 8)), 20<<20); err != nil {
		t.Errorf("control: the largest window allowed: %v", err)
	}
}

func survey1(b []byte, limit int64) error {
	return surveyXZ(bytes.NewReader(b), int64(len(b)), limit)
}

func TestHalfASkeletonIsNone(t *testing.T) {
	whole := forge(0, []byte{xzLZMA2, 1, 22}, packedChunk, []byte{1, 0, 2, 'a', 'b', 'c'}, []byte{0, 0, 0, 0})
	for n := range whole {
		if err := survey1(whole[:n], 20<<20); !errors.Is(err, ErrForm) {
			t.Errorf("cut at %d of %d: %v", n, len(whole), err)
		}
	}
}

func TestTheLimitHoldsAlsoWhenAskedAgain(t *testing.T) {
	r, err := Open(Plain, bytes.NewReader(sample(10)), 10, 5)
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if got, err := io.ReadAll(r); !errors.Is(err, ErrLimit) || len(got) > 5 {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
}

func TestBlocksWithSizesAreWalked(t *testing.T) {
	if testing.Short() {
		t.Skip("long: runs the xz tool")
	}
	if _, err := exec.LookPath("xz"); err != nil {
		t.Skip("xz is not installed: streams of the usual tool are not compared")
	}
	want := sample(300_000)
	for _, args := range []string{"-T2 --block-size=65536 -0", "-6e", "--check=sha256", "--check=none"} {
		cmd := exec.Command("xz", append(strings.Fields(args), "-c")...)
		cmd.Stdin = bytes.NewReader(want)
		packed, err := cmd.Output()
		if err != nil {
			t.Fatal(err)
		}
		if got, err := unpackAll(XZ, packed, int64(len(want))); err != nil || !bytes.Equal(got, want) {
			t.Errorf("xz %s: %v", args, err)
		}
		if _, err := Open(XZ, bytes.NewReader(packed), int64(len(packed)), int64(len(want))-1); !errors.Is(err, ErrLimit) {
			t.Errorf("xz %s: the walk does not notice the limit: %v", args, err)
		}
	}
}

func TestErrorsOfTheSourceStayErrors(t *testing.T) {
	broken := brokenAt{errors.New("disk on fire")}
	for _, f := range formats {
		r, err := Open(f, broken, 1000, 1000)
		if err == nil {
			_, err = io.ReadAll(r)
		}
		if err == nil {
			t.Errorf("%q: no error from a broken source", f)
		}
	}
	if err := surveyXZ(brokenAt{iotest.ErrTimeout}, 1000, 1000); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("survey: %v", err)
	}
	head := pack(t, XZ, sample(10))
	if err := surveyXZ(goodUntil{head[:13]}, 1000, 1000); !errors.Is(err, iotest.ErrTimeout) {
		t.Errorf("survey of a source that breaks: %v", err)
	}
}

type brokenAt struct{ err error }

func (b brokenAt) ReadAt([]byte, int64) (int, error) { return 0, b.err }

type goodUntil struct{ b []byte }

func (g goodUntil) ReadAt(p []byte, at int64) (int, error) {
	if int(at)+len(p) > len(g.b) {
		return 0, iotest.ErrTimeout
	}
	return copy(p, g.b[at:]), nil
}

func TestFormatOf(t *testing.T) {
	for name, want := range map[string]struct {
		base string
		f    Format
	}{
		"Packages": {"Packages", Plain}, "Packages.gz": {"Packages", Gzip}, "data.tar.xz": {"data.tar", XZ},
		"control.tar.zst": {"control.tar", Zstd}, "data.tar.lzma": {"data.tar.lzma", Plain}, ".xz": {"", XZ},
	} {
		if base, f := FormatOf(name); base != want.base || f != want.f {
			t.Errorf("%s: %q %q", name, base, f)
		}
	}
	if _, err := Open(".lz4", bytes.NewReader(nil), 0, 0); !errors.Is(err, ErrForm) {
		t.Errorf("an unknown format: %v", err)
	}
}

func FuzzOpen(f *testing.F) {
	for i, format := range formats {
		f.Add(uint8(i), pack(f, format, sample(300)))
		f.Add(uint8(i), pack(f, format, nil))
	}
	f.Add(uint8(2), forge(0, []byte{xzLZMA2, 1, 40}, packedChunk, []byte{0}))
	const limit = 1 << 20
	f.Fuzz(func(t *testing.T, which uint8, b []byte) {
		got, err := unpackAll(formats[int(which)%len(formats)], b, limit)
		if len(got) > limit {
			t.Fatalf("%d bytes", len(got))
		}
		if err != nil && !errors.Is(err, ErrForm) && !errors.Is(err, ErrLimit) {
			t.Fatalf("an error without a name: %v", err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	text := sample(20 << 20)
	for _, f := range formats {
		packed := pack(b, f, text)
		b.Run("as"+string(f), func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				r, err := Open(f, bytes.NewReader(packed), int64(len(packed)), int64(len(text)))
				if err != nil {
					b.Fatal(err)
				}
				if _, err := io.Copy(io.Discard, r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
