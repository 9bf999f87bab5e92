package debworld

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// Mounts returns the mount points at dir and below it, in the order they were
// made, as this process sees them.
func Mounts(dir string) ([]string, error) {
	dir, err := realPath(dir)
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var points []string
	for line := range strings.Lines(string(raw)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		point := unescapeMount(f[4])
		if point == dir || strings.HasPrefix(point, strings.TrimRight(dir, "/")+"/") {
			points = append(points, point)
		}
	}
	return points, nil
}

// Unmount takes away every mount at dir and below it, the newest first, such as
// those a killed test left behind. It is no error when there are none, or when
// dir does not exist.
func Unmount(dir string) error {
	points, err := Mounts(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	slices.Reverse(points)
	var errs []error
	for _, p := range points {
		err := syscall.Unmount(p, 0)
		if err == syscall.EBUSY { // somebody still has a file open: it goes when they do
			err = syscall.Unmount(p, syscall.MNT_DETACH)
		}
		if err != nil && err != syscall.EINVAL { // EINVAL: already gone
			errs = append(errs, fmt.Errorf("unmount %s: %w", p, err))
		}
	}
	return errors.Join(errs...)
}

// removeTree removes dir, unless something is still mounted below it: to remove
// through a mount would remove somebody else's files.
func removeTree(dir string) error {
	points, err := Mounts(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if len(points) > 0 {
		return fmt.Errorf("%s is left alone because %s is still mounted; unmount it, then remove the directory", dir, points[len(points)-1])
	}
	return os.RemoveAll(dir)
}

func realPath(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(abs)
}

// unescapeMount undoes the octal escapes of /proc/self/mountinfo (proc(5)).
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace
