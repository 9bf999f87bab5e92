package inventory

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
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
}

// errMaps says that a text is not what proc_pid_maps(5) describes.
var errMaps = errors.New("not the text of a maps file")

// DeletedMappings reads the text of one /proc/PID/maps and returns the deleted
// files in it, once each, ascending. Memory that never was a file of a package
// is left out: memfd, System V shared memory, /dev, and what has no path.
// Any line that cannot be read is an error: then it is unknown what is mapped.
func DeletedMappings(r io.Reader) ([]Mapping, error) {
	in := bufio.NewScanner(r)
	in.Buffer(make([]byte, 0, 4096), maxMapLine)
	found := map[string]Mapping{}
	n := 0
	for in.Scan() {
		if n++; n > maxMappings {
			return nil, fmt.Errorf("%w: more than %d lines", errMaps, maxMappings)
		}
		m, err := parseMapping(in.Text())
		if err != nil {
			return nil, fmt.Errorf("%w: line %d: %v", errMaps, n, err)
		}
		if m.Path == "" {
			continue
		}
		key := m.Path + "\x00" + strconv.FormatUint(m.Inode, 10)
		m.Exec = m.Exec || found[key].Exec
		found[key] = m
	}
	if err := in.Err(); err != nil {
		return nil, fmt.Errorf("%w: line %d: %v", errMaps, n+1, err)
	}
	out := make([]Mapping, 0, len(found))
	for _, m := range found {
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Mapping) int {
		if c := strings.Compare(a.Path, b.Path); c != 0 {
			return c
		}
		return strings.Compare(fmt.Sprintf("%020d", a.Inode), fmt.Sprintf("%020d", b.Inode))
	})
	return out, nil
}

// parseMapping reads "start-end perms offset dev inode path". The Path of the
// result is empty unless the mapping is of a deleted file.
func parseMapping(line string) (Mapping, error) {
	var f [5]string
	rest := line
	for i := range f {
		f[i], rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
	}
	start, end, ok := strings.Cut(f[0], "-")
	if !ok || !isHex(start) || !isHex(end) || len(f[1]) != 4 || !isHex(f[2]) || !strings.Contains(f[3], ":") {
		return Mapping{}, fmt.Errorf("%+q does not begin like a mapping", cap64(line))
	}
	inode, err := strconv.ParseUint(f[4], 10, 64)
	if err != nil {
		return Mapping{}, fmt.Errorf("%+q has no inode number", cap64(line))
	}
	path, deleted := strings.CutSuffix(strings.TrimLeft(rest, " "), " (deleted)")
	if !deleted || inode == 0 || !filePath(path) {
		return Mapping{}, nil
	}
	return Mapping{Path: strings.ToValidUTF8(path, "?"), Inode: inode, Exec: f[1][2] == 'x'}, nil
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
