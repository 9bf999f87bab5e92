package inventory

import (
	"bufio"
	"cmp"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
)

// Limits of one /proc/PID/maps file. The kernel allows 65,530 mappings a
// process by default; databases ask for up to four times that. A path has at most 4 KB
// before escaping.
const (
	maxMappings = 500_000
	maxMapLine  = 64 << 10
)

// Mapping is a file that a process still uses although no name leads to it any
// more: after an upgrade, the old library.
type Mapping struct {
	Path  string `json:"path"`  // as the kernel writes it: newline, space and such are \ooo; without " (deleted)"
	Inode uint64 `json:"inode"` // tells a file whose own name ends in " (deleted)" from one that is gone
	Exec  bool   `json:"exec"`  // at least one of its mappings is executable

	// What is absent is not known.
	Process canon.Note `json:"process,omitempty"` // the one with the lowest id that uses it: "nginx (pid 812)"
	Owners  []Owner    `json:"owners,omitempty"`  // packages that the file was of while a name led to it, ascending
}

// Owner is a package that a file is, or was, of.
type Owner struct {
	Package string `json:"package"` // name:arch
	Source  string `json:"source"`  // that it was built from
}

// Owned reports whether it is known which packages the file was of.
func (m Mapping) Owned() bool {
	return len(m.Owners) > 0 && !slices.ContainsFunc(m.Owners, func(o Owner) bool { return o.Package == "" || o.Source == "" })
}

// Use is a file that a process maps.
type Use struct {
	Path    string // as in Mapping
	Dev     string // "08:01"
	Inode   uint64
	Exec    bool
	Deleted bool // no name leads to it any more
}

// errMaps says that a text is not what proc_pid_maps(5) describes.
var errMaps = errors.New("not the text of a maps file")

// DeletedMappings reads the text of one /proc/PID/maps and returns the deleted
// files in it, once each, ascending. Any line that cannot be read is an error:
// then it is unknown what is mapped.
func DeletedMappings(r io.Reader) ([]Mapping, error) {
	uses, err := Mappings(r)
	if err != nil {
		return nil, err
	}
	out := []Mapping{}
	for _, u := range uses {
		if u.Deleted {
			out = append(out, Mapping{Path: u.Path, Inode: u.Inode, Exec: u.Exec})
		}
	}
	return out, nil
}

// Mappings reads the text of one /proc/PID/maps and returns the files in it,
// once each, ascending by path, inode and device. Memory that never was a file
// of a package is left out: memfd, System V shared memory, /dev, and what has no
// path. Any line that cannot be read is an error.
func Mappings(r io.Reader) ([]Use, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 4096), maxMapLine)
	found := map[Use]bool{} // executable
	n := 0
	for in.Scan() {
		if n++; n > maxMappings {
			return nil, fmt.Errorf("%w: more than %d lines", errMaps, maxMappings)
		}
		u, err := parseMapping(in.Text())
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %v", errMaps, n, err)
		}
		if u.Path == "" {
			continue
		}
		exec := u.Exec
		u.Exec = false
		found[u] = found[u] || exec
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%w: line %d: %v", errMaps, n+1, err)
	}
	out := make([]Use, 0, len(found))
	for u, exec := range found {
		u.Exec = exec
		out = append(out, u)
	}
	slices.SortFunc(out, func(a, b Use) int {
		return cmp.Or(strings.Compare(a.Path, b.Path), cmp.Compare(a.Inode, b.Inode), strings.Compare(a.Dev, b.Dev), strings.Compare(fmt.Sprint(a.Deleted), fmt.Sprint(b.Deleted)))
	})
	return out, nil
}

// parseMapping reads "start-end perms offset dev inode path". The Path of the
// result is empty unless the mapping is of a file.
func parseMapping(line string) (Use, error) {
	var f [5]string
	rest := line
	for i := range f {
		f[i], rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
	}
	start, end, ok := strings.Cut(f[0], "-")
	if !ok || !isHex(start) || !isHex(end) || len(f[1]) != 4 || !isHex(f[2]) || !strings.Contains(f[3], ":") {
		return Use{}, fmt.Errorf("%+q does not begin like a mapping", cap64(line))
	}
	inode, err := strconv.ParseUint(f[4], 10, 64)
	if err != nil {
		return Use{}, fmt.Errorf("%+q has no inode number", cap64(line))
	}
	path, deleted := strings.CutSuffix(strings.TrimLeft(rest, " "), " (deleted)")
	if inode == 0 || !filePath(path) {
		return Use{}, nil
	}
	return Use{Path: strings.ToValidUTF8(path, "?"), Dev: f[3], Inode: inode, Exec: f[1][2] == 'x', Deleted: deleted}, nil
}

// filePath reports whether path can be a file on a disk.
func filePath(path string) bool {
	for _, p := range []string{"/memfd:", "/SYSV", "/dev/", "/[", "/anon_hugepage", "/drm", "/i915"} {
		if strings.HasPrefix(path, p) {
			return false
		}
	}
	return strings.HasPrefix(path, "/")
}

func isHex(s string) bool {
	return s != "" && strings.Trim(s, "0123456789abcdef") == ""
}

func cap64(s string) string { return s[:min(len(s), 64)] }
