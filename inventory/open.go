package inventory

import (
	"errors"
	"io/fs"
)

// errSpecial is told of a pipe, a device or a socket.
var errSpecial = errors.New("it is no regular file")

// Open opens a regular file of a root, through links. Whoever makes the root may put
// a pipe where a list stands: opening that would wait for a writer for ever. The
// error is an *fs.PathError; who can change the root between the look and the opening
// is not kept out.
func Open(fsys fs.FS, path string) (fs.File, error) {
	info, err := fs.Stat(fsys, path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &fs.PathError{Op: "open", Path: path, Err: errSpecial}
	}
	return fsys.Open(path)
}
