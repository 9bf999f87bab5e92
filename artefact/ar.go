package artefact

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/unpack"
)

// The outer archive of a .deb: ar(5), deb(5). The reader is our own because a
// .deb needs three members of it, and because a lenient one (numbers that do
// not parse, sizes below zero) is a way in.

const (
	arMagic  = "!<arch>\n"
	arHeader = 60
	arEnd    = "`\n"
)

// archive is one compressed tar archive inside a .deb.
type archive struct {
	name   string // control.tar.xz
	r      io.ReaderAt
	size   int64
	format unpack.Format
}

// members finds the two archives of a .deb: exactly debian-binary "2.0\n", then
// control.tar, then data.tar, each compressed or not, then nothing.
func members(r io.ReaderAt, size int64) (control, data archive, err error) {
	if size < int64(len(arMagic)) || size > change.MaxArtefact {
		return control, data, refusal.New(codeLimit, "%d bytes; a .deb has %d to %d", size, len(arMagic), int64(change.MaxArtefact))
	}
	magic, err := readAt(r, 0, int64(len(arMagic)))
	if err != nil {
		return control, data, err
	}
	if string(magic) != arMagic {
		return control, data, refusal.New(codeAr, "it begins with %q", magic)
	}
	var found [3]archive
	at := int64(len(arMagic))
	for i := range found {
		if found[i], at, err = arMember(r, at, size); err != nil {
			return control, data, err
		}
	}
	if at < size {
		return control, data, refusal.New(codeMember, "%d bytes follow the third member", size-at)
	}
	if found[0].name != "debian-binary" {
		return control, data, refusal.New(codeMember, "the first is %.20q, not debian-binary", found[0].name)
	}
	const format = "2.0\n"
	text, err := readAt(found[0].r, 0, min(found[0].size, int64(len(format)+1)))
	if err != nil {
		return control, data, err
	}
	if string(text) != format {
		return control, data, refusal.New(codeFormat, "debian-binary says %.20q", text)
	}
	for i, want := range []string{"control.tar", "data.tar"} {
		a := &found[i+1]
		base, format := unpack.FormatOf(a.name)
		if base != want {
			return control, data, refusal.New(codeMember, "member %d is %.20q, not %s, plain or as .gz, .xz or .zst", i+2, a.name, want)
		}
		a.format = format
	}
	return found[1], found[2], nil
}

// arMember reads the header at a place and gives the member and where the next
// begins.
func arMember(r io.ReaderAt, at, size int64) (archive, int64, error) {
	if size-at < arHeader {
		return archive{}, 0, refusal.New(codeMember, "only %d bytes where a member should begin", size-at)
	}
	h, err := readAt(r, at, arHeader)
	if err != nil {
		return archive{}, 0, err
	}
	if string(h[58:]) != arEnd {
		return archive{}, 0, refusal.New(codeAr, "no member header at byte %d", at)
	}
	digits := strings.TrimRight(string(h[48:58]), " ")
	length, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || int64(length) > size-at-arHeader {
		return archive{}, 0, refusal.New(codeAr, "a member of %q bytes at byte %d of %d", digits, at, size)
	}
	name := strings.TrimSuffix(strings.TrimRight(string(h[:16]), " "), "/")
	body := at + arHeader
	next := body + int64(length)
	next += next & 1 // padding to an even place; behind the last member it may be missing
	return archive{name: name, r: io.NewSectionReader(r, body, int64(length)), size: int64(length)}, next, nil
}

// readAt reads n bytes that must be there.
func readAt(r io.ReaderAt, at, n int64) ([]byte, error) {
	b := make([]byte, n)
	if got, err := r.ReadAt(b, at); int64(got) < n {
		return nil, refusal.New(codeRead, "%d of %d bytes at %d: %v", got, n, at, err)
	}
	return b, nil
}

// member is one member of a tar archive with its contents still to be read.
type member struct {
	*tar.Header
	body io.Reader
}

// kinds maps what a .deb can hold; any other type is refused, and so is the PAX
// format, which dpkg does not read.
var kinds = map[byte]Kind{
	tar.TypeReg: Regular, tar.TypeDir: Dir, tar.TypeSymlink: Symlink, tar.TypeLink: Hardlink,
	tar.TypeChar: CharDev, tar.TypeBlock: BlockDev, tar.TypeFifo: Fifo,
}

func (m member) kind() Kind { return kinds[m.Typeflag] }

// text reads the member's contents, at most limit bytes.
func (m member) text(limit int64) ([]byte, error) {
	if m.Size > limit {
		return nil, refusal.New(codeLimit, "%.200q has %d bytes, limit %d", m.Name, m.Size, limit)
	}
	b, err := io.ReadAll(m.body)
	return b, tarError(m.Name, err)
}

// each unpacks the archive, at most so many members and bytes, and calls visit
// for every member, then makes sure that nothing follows the archive's end.
func (a archive) each(most int, bytes int64, visit func(member) error) error {
	in, err := unpack.Open(a.format, a.r, a.size, bytes)
	if err != nil {
		return tarError(a.name, err)
	}
	defer in.Close()
	t := tar.NewReader(in)
	for n := 0; ; n++ {
		h, err := t.Next()
		if err == io.EOF {
			return onlyZeros(a.name, in)
		}
		if err != nil {
			return tarError(a.name, err)
		}
		if n >= most {
			return refusal.New(codeLimit, "%s: more than %d members", a.name, most)
		}
		m := member{h, t}
		if m.kind() == "" || h.Format == tar.FormatPAX || len(h.PAXRecords) > 0 {
			return refusal.New(codeType, "%s: %.200q has type %q in format %v", a.name, h.Name, h.Typeflag, h.Format)
		}
		if err := visit(m); err != nil {
			return err
		}
	}
}

// onlyZeros drains what follows the end of a tar archive: padding, nothing else.
func onlyZeros(name string, in io.Reader) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := in.Read(buf)
		if len(bytes.Trim(buf[:n], "\x00")) > 0 {
			return refusal.New(codeTar, "%s: something follows the end of the archive", name)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return tarError(name, err)
		}
	}
}

// tarError names an error that a decompressor, the tar reader or the source
// gave; nil stays nil.
func tarError(name string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, unpack.ErrLimit):
		return refusal.New(codeLimit, "%.200s: %v", name, err)
	case errors.Is(err, unpack.ErrForm):
		return refusal.New(codeUnpack, "%.200s: %v", name, err)
	case errors.Is(err, tar.ErrHeader), errors.Is(err, tar.ErrFieldTooLong), errors.Is(err, io.ErrUnexpectedEOF):
		return refusal.New(codeTar, "%.200s: %v", name, err)
	}
	return refusal.New(codeRead, "%.200s: %v", name, err)
}
