package provenance

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/unpack"
	"github.com/patchwrit/patchwrit/version"
)

// ReadPackages reads the Packages file that the release names by path, from its
// bytes as they are published (compressed as the path's ending says). The bytes
// are held in memory and compared with the release's size and SHA-256 before
// anything of them is unpacked or parsed. Every error is a refusal.
func (r Release) ReadPackages(path string, compressed io.Reader) (Index, error) {
	if r.r == nil {
		return Index{}, refusal.New(codeZero, "ReadPackages of a release that nobody verified")
	}
	arch, err := packagesPath(path, r.r.origin.Sections)
	if err != nil {
		return Index{}, err
	}
	file, ok := r.r.files[path]
	if !ok {
		return Index{}, refusal.New(codeUnlisted, "%s of %s", path, r.r.origin.ID)
	}
	raw, err := authentic(file, compressed)
	if err != nil {
		return Index{}, err
	}
	_, format := unpack.FormatOf(path)
	text, err := unpack.Open(format, bytes.NewReader(raw), file.Size, MaxUnpacked)
	in := &index{release: r.r, file: file, arch: arch}
	if err != nil {
		return Index{}, in.unpackError(err)
	}
	defer text.Close()
	if err := in.read(text); err != nil {
		return Index{}, err
	}
	if err := in.sort(); err != nil {
		return Index{}, err
	}
	return Index{in}, nil
}

// authentic reads exactly the bytes that the release names.
func authentic(file File, from io.Reader) ([]byte, error) {
	if file.Size > MaxPackages {
		return nil, refusal.New(codeLimit, "%s of %d bytes, limit %d", file.Path, file.Size, MaxPackages)
	}
	raw, err := io.ReadAll(io.LimitReader(from, file.Size+1))
	if err != nil {
		return nil, refusal.New(codeRead, "%s: %v", file.Path, err)
	}
	if int64(len(raw)) != file.Size {
		return nil, refusal.New(codeSize, "%s: %d bytes or more, the release says %d", file.Path, len(raw), file.Size)
	}
	if got := canon.SumFile(raw); got != file.Digest {
		return nil, refusal.New(codeDigest, "%s: %s, the release says %s", file.Path, got.Short(), file.Digest.Short())
	}
	return raw, nil
}

// read parses stanzas parted by empty lines.
func (in *index) read(text io.Reader) error {
	lines := bufio.NewReaderSize(text, MaxStanza)
	stanza := make([]byte, 0, 64<<10)
	for {
		line, err := lines.ReadSlice('\n')
		if err == bufio.ErrBufferFull || len(stanza)+len(line) > MaxStanza {
			return refusal.New(codeLimit, "a stanza of more than %d bytes", MaxStanza)
		}
		if err != nil && err != io.EOF {
			return in.unpackError(err)
		}
		if len(line) > 1 || (len(line) == 1 && line[0] != '\n') {
			stanza = append(stanza, line...)
		} else if len(stanza) > 0 {
			if err := in.add(stanza); err != nil {
				return err
			}
			stanza = stanza[:0]
		}
		if err == io.EOF && len(stanza) == 0 {
			return nil
		}
	}
}

func (in *index) unpackError(err error) error {
	if errors.Is(err, unpack.ErrLimit) {
		return refusal.New(codeLimit, "%s unpacks to more than %d bytes", in.file.Path, MaxUnpacked)
	}
	return refusal.New(codeUnpack, "%s: %v", in.file.Path, err)
}

// field numbers the fields of a stanza that are kept.
type field int

const (
	fPackage field = iota
	fVersion
	fArch
	fSource
	fFilename
	fSize
	fSHA256
	fSection
	fEssential
	fCount
)

var fieldNames = [fCount]string{"Package", "Version", "Architecture", "Source", "Filename", "Size", "SHA256", "Section", "Essential"}

// known finds the number of a kept field, whatever its case: apt reads field
// names so, and a second spelling must not pass for another field.
func known(name []byte) (field, bool) {
	for f, k := range fieldNames {
		if len(k) == len(name) && strings.EqualFold(k, string(name)) {
			return field(f), true
		}
	}
	return 0, false
}

// add parses one stanza: fields at line starts, lines beginning with white
// space continue the one before.
func (in *index) add(stanza []byte) error {
	var values [fCount][]byte
	var seen [fCount]bool
	bad := func(what string) error {
		return refusal.New(codeStanza, "stanza %d of %s: %s in %.60q", len(in.entries)+1, in.file.Path, what, values[fPackage])
	}
	inKept, first := false, true
	for rest := stanza; len(rest) > 0; first = false {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		if bytes.ContainsAny(line, "\r\x00") {
			return bad("a control character")
		}
		if line[0] == ' ' || line[0] == '\t' {
			if first || inKept || len(bytes.TrimSpace(line)) == 0 {
				return bad("a misplaced continuation line")
			}
			continue
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok || len(name) == 0 || line[0] == '#' || line[0] == '-' {
			return bad("a line that is no field")
		}
		var f field
		if f, inKept = known(name); inKept {
			if seen[f] {
				return bad("a field twice")
			}
			values[f], seen[f] = bytes.TrimSpace(value), true
		}
	}
	return in.keep(values, sha256.Sum256(stanza), bad)
}

// keep checks the values and stores the entry. Its strings share one
// allocation: a large index has many.
func (in *index) keep(values [fCount][]byte, sum [sha256.Size]byte, bad func(string) error) error {
	var text [fCount]string
	all := string(bytes.Join(values[:fSize], nil))
	for f, at := field(0), 0; f < fSize; f++ {
		text[f] = all[at : at+len(values[f])]
		at += len(values[f])
	}
	e := entry{name: text[fPackage], version: text[fVersion], arch: text[fArch], source: text[fSource], filename: text[fFilename],
		section: string(values[fSection]), essential: string(values[fEssential]) == "yes", stanza: sum}
	if !change.Name(e.name) {
		return bad("field Package")
	}
	if version.Valid(version.Deb, e.version) != nil {
		return bad("field Version")
	}
	if e.arch != in.arch && e.arch != "all" {
		return bad("field Architecture")
	}
	if !clean(e.filename) {
		return bad("field Filename")
	}
	size, ok := decimal(string(values[fSize]))
	if !ok || size < 1 || size > change.MaxArtefact {
		return bad("field Size")
	}
	digest := canon.Digest(values[fSHA256]).Bytes()
	if digest == nil {
		return bad("field SHA256")
	}
	if e.source, e.sourceVersion, ok = sourceOf(e); !ok {
		return bad("field Source")
	}
	if len(in.entries) >= MaxEntries {
		return refusal.New(codeLimit, "%s: more than %d stanzas", in.file.Path, MaxEntries)
	}
	e.size = size
	copy(e.digest[:], digest)
	in.entries = append(in.entries, e)
	return nil
}

// sourceOf reads field Source, "name" or "name (version)"; without it, name and
// version are the package's own.
func sourceOf(e entry) (name, v string, ok bool) {
	if e.source == "" {
		return e.name, e.version, true
	}
	name, v, versioned := strings.Cut(e.source, " (")
	if !versioned {
		return name, e.version, change.Name(name)
	}
	v, closed := strings.CutSuffix(v, ")")
	return name, v, closed && change.Name(name) && version.Valid(version.Deb, v) == nil
}
