package messenger

import (
	"bytes"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// frame has one block: "abcd" as literals, a match of 12 four bytes back, and the
// literals "xy"; then a block that is not packed, and the end.
const frame = "04224d18" + "40" + "40" + "c0" + "0a000000" + "4861626364" + "0400" + "20" + "7879" + "03000080" + "31320a" + "00000000"

func unlz4(raw []byte) (string, error) {
	l, err := newLZ4(bytes.NewReader(raw))
	if err != nil {
		return "", err
	}
	out, err := io.ReadAll(io.LimitReader(l, 16<<20))
	return string(out), err
}

func TestLZ4(t *testing.T) {
	raw, err := hex.DecodeString(frame)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := unlz4(raw); err != nil || got != "abcdabcdabcdabcdxy12\n" {
		t.Errorf("%q, %v", got, err)
	}
	for n := range raw {
		if got, err := unlz4(raw[:n]); !errors.Is(err, errLZ4) {
			t.Errorf("cut at %d: %q, %v", n, got, err)
		}
	}
	for at, bad := range map[int]byte{0: 5, 4: 0x80, 5: 0x10, 10: 0x7f, 16: 99, 17: 99} {
		spoilt := bytes.Clone(raw)
		spoilt[at] = bad
		if got, err := unlz4(spoilt); !errors.Is(err, errLZ4) {
			t.Errorf("byte %d spoilt: %q, %v", at, got, err)
		}
	}
}

// apt's own files on this machine, against its own helper.
func TestLZ4AsAptWritesIt(t *testing.T) {
	files, err := filepath.Glob("/" + listsDir + "/*_Packages.lz4")
	if err != nil || len(files) == 0 {
		t.Skip("apt keeps no list in LZ4 here")
	}
	for _, name := range files {
		want, err := exec.Command("/usr/lib/apt/apt-helper", "cat-file", name).Output()
		if err != nil {
			t.Skip("no apt-helper that unpacks")
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		l, err := newLZ4(f)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(l)
		f.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, apt says %d, %v", name, len(got), len(want), err)
		}
		if testing.Short() {
			break
		}
	}
}

func FuzzLZ4(f *testing.F) {
	raw, err := hex.DecodeString(frame)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add(raw[:20])
	f.Fuzz(func(t *testing.T, raw []byte) {
		out, err := unlz4(raw)
		if err != nil && !errors.Is(err, errLZ4) && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		if len(out) > 300*len(raw) {
			t.Fatalf("%d bytes of %d", len(out), len(raw)) // one byte of length stands for 255
		}
	})
}

func TestListsInEveryCompression(t *testing.T) {
	raw, err := hex.DecodeString(frame)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, listsDir), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{"x_Packages": "abcdabcdabcdabcdxy12\n", "x_Packages.lz4": string(raw)} {
		if err := os.WriteFile(filepath.Join(dir, listsDir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		in, err := index(os.DirFS(dir), name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(in)
		if err := errors.Join(err, in.Close()); err != nil || string(got) != "abcdabcdabcdabcdxy12\n" {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, listsDir, "x_Packages.rar"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := index(os.DirFS(dir), "x_Packages.rar"); err == nil || !strings.Contains(err.Error(), "not known") {
		t.Errorf("another: %v", err)
	}
}
