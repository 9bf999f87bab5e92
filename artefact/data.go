package artefact

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"hash"
	"io"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
)

// tree gathers the data archive.
type tree struct {
	files   []File
	at      map[string]int // index into files by path
	objects []Object
	unread  []string
	left    int64 // bytes that paths may still take
	names   int64 // bytes that symbols may still take
	sum     hash.Hash
	buffer  []byte
}

// clean gives the absolute path of a tar member's name, which begins with "./"
// or a plain name. Anything that leads elsewhere or has a second spelling is
// refused.
func clean(name string) (string, error) {
	p := strings.TrimPrefix(strings.TrimSuffix(name, "/"), "./")
	if p == "." || p == "" {
		return "/", nil
	}
	if len(p) > MaxPath || strings.IndexByte(p, 0) >= 0 || path.Clean("/"+p) != "/"+p {
		return "", refusal.New(codePath, "%.200q", name)
	}
	depth := 0
	for part := range strings.SplitSeq(p, "/") {
		if depth++; depth > MaxDepth || len(part) > MaxName {
			return "", refusal.New(codePath, "%.200q: a name of %d bytes at depth %d", name, len(part), depth)
		}
	}
	return "/" + p, nil
}

// add takes one member of the data archive.
func (t *tree) add(m member) error {
	p, err := clean(m.Name)
	if err != nil {
		return err
	}
	if p == "/" && m.kind() != Dir {
		return refusal.New(codePath, "%.200q is a %s", m.Name, m.kind())
	}
	if t.left -= int64(len(p) + len(m.Linkname)); t.left < 0 {
		return refusal.New(codeLimit, "paths of more than %d bytes", MaxPaths)
	}
	f := File{Path: p, Kind: m.kind(), Mode: uint32(m.Mode & 0o7777), Owner: who(m.Uname, m.Uid), Group: who(m.Gname, m.Gid)}
	switch f.Kind {
	case Regular:
		err = t.body(&f, m)
	case Symlink:
		f.Link = m.Linkname
	case Hardlink:
		err = t.link(&f, m.Linkname)
	case CharDev, BlockDev:
		f.Link = strconv.FormatInt(m.Devmajor, 10) + ":" + strconv.FormatInt(m.Devminor, 10)
	}
	if err != nil {
		return err
	}
	if i, twice := t.at[p]; twice {
		if t.files[i] != f || f.Kind != Dir {
			return refusal.New(codeTwice, "%.200q", p)
		}
		return nil
	}
	t.at[p] = len(t.files)
	t.files = append(t.files, f)
	return nil
}

// who prefers the name, as dpkg does.
func who(name string, number int) string { return cmp.Or(name, strconv.Itoa(number)) }

// link copies what a hard link shares with its target, which must be a file
// that came before.
func (t *tree) link(f *File, target string) error {
	p, err := clean(target)
	if err != nil {
		return err
	}
	i, ok := t.at[p]
	if !ok || (t.files[i].Kind != Regular && t.files[i].Kind != Hardlink) {
		return refusal.New(codeLink, "%.200q links to %.200q, which is no file before it", f.Path, p)
	}
	o := t.files[i]
	f.Mode, f.Owner, f.Group, f.Size, f.Digest, f.Link = o.Mode, o.Owner, o.Group, o.Size, o.Digest, p
	return nil
}

// body hashes a regular file and looks into it when it is ELF.
func (t *tree) body(f *File, m member) error {
	if t.sum == nil {
		t.sum, t.buffer = sha256.New(), make([]byte, 64<<10)
	}
	t.sum.Reset()
	head := t.buffer[:len(elf.ELFMAG)]
	n, _ := io.ReadFull(m.body, head) // the end of a short file, or an error that the next read meets again
	t.sum.Write(head[:n])
	f.Size = m.Size
	var err error
	if m.Size > MaxELF || string(head[:n]) != elf.ELFMAG {
		if m.Size > MaxELF && string(head[:n]) == elf.ELFMAG {
			t.unread = append(t.unread, f.Path)
		}
		_, err = io.CopyBuffer(onlyWriter{t.sum}, m.body, t.buffer)
	} else {
		err = t.object(f.Path, m)
	}
	f.Digest = canon.Digest(hex.EncodeToString(t.sum.Sum(nil)))
	return tarError(m.Name, err)
}

// onlyWriter hides every method but Write, so that the copy uses our buffer.
type onlyWriter struct{ io.Writer }

// object reads an ELF file whose magic was read already.
func (t *tree) object(p string, m member) error {
	whole := bytes.NewBuffer(make([]byte, 0, m.Size))
	whole.WriteString(elf.ELFMAG)
	_, err := io.Copy(io.MultiWriter(whole, t.sum), m.body)
	if err == nil {
		t.look(p, whole.Bytes())
	}
	return err
}

// look keeps what an ELF file is linked with, or that it cannot be read.
func (t *tree) look(p string, b []byte) {
	o, linked, err := readObject(bytes.NewReader(b), int64(len(b)), &t.names)
	switch {
	case err != nil:
		t.unread = append(t.unread, p)
	case linked:
		o.Path = p
		t.objects = append(t.objects, o)
	}
}

// check refuses a path that passes through something else than a directory of
// the same archive.
func (t *tree) check() error {
	seen := map[string]bool{"/": true}
	for _, f := range t.files {
		for dir := path.Dir(f.Path); !seen[dir]; dir = path.Dir(dir) {
			seen[dir] = true
			if i, ok := t.at[dir]; ok && t.files[i].Kind != Dir {
				return refusal.New(codeLink, "%.200q passes through %.200q, a %s", f.Path, dir, t.files[i].Kind)
			}
		}
	}
	return nil
}

// sorted gives files (without the root), objects and unread in one order.
func (t *tree) sorted() ([]File, []Object, []string) {
	files := slices.DeleteFunc(t.files, func(f File) bool { return f.Path == "/" })
	slices.SortFunc(files, func(a, b File) int { return cmp.Compare(a.Path, b.Path) })
	slices.SortFunc(t.objects, func(a, b Object) int { return cmp.Compare(a.Path, b.Path) })
	slices.Sort(t.unread)
	return files, t.objects, t.unread
}
