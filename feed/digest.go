package feed

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
)

// DigestOf gives the Digest that Read would write into the snapshot of a file,
// a zip or a directory as it is now, without reading a record. The error is
// ErrUnusable or the context's.
func DigestOf(ctx context.Context, path string) (canon.Digest, error) {
	sum, limit := sha256.New(), Limits{}.withDefaults().Download
	one := func(f fs.File, to io.Writer) error {
		defer f.Close()
		n, err := io.Copy(to, io.LimitReader(contextReader{ctx, f}, limit+1))
		if err == nil && n > limit {
			return unusable("%s holds a file of more than %d bytes", path, limit)
		}
		return err
	}
	root, err := folder(path)
	if err != nil {
		f, err := regular(path)
		if err == nil {
			err = one(f, sum)
		}
		if err != nil {
			return "", failed(ctx, err)
		}
		return digest(sum), nil
	}
	defer root.Close()
	err = fs.WalkDir(root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(name, ".json") || !d.Type().IsRegular() {
			return nil // Read leaves it out too, and says so
		}
		f, err := root.Open(name)
		if err != nil {
			return nil
		}
		of := sha256.New()
		if err := one(f, of); err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s  %s\n", digest(of), name)
		return nil
	})
	if err != nil {
		return "", failed(ctx, err)
	}
	return digest(sum), nil
}
