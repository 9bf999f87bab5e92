package debguest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/patchwrit/patchwrit/version"
)

// wanted are the modules without which the guest's disk is not seen.
var wanted = []string{"virtio_pci", "virtio_blk", "ext4"}

// initScript is process 1 until the guest's disk is there.
const initScript = `#!/bin/busybox sh
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for m in $(/bin/busybox cat /order); do /bin/busybox insmod /modules/$m || echo "initrd: $m did not load"; done
for i in 1 2 3 4 5 6 7 8 9 10; do
  [ -b /dev/vda ] && break
  /bin/busybox sleep 1
done
/bin/busybox mount -t ext4 -o rw /dev/vda /disk || echo "initrd: no disk"
/bin/busybox umount /proc
exec /bin/busybox switch_root /disk /sbin/init
`

// newestKernel takes the newest kernel out of a disk image into dir, as
// dir/vmlinuz and dir/initrd, and returns its release.
func newestKernel(ctx context.Context, image, dir string) (string, error) {
	out, err := debugfs(ctx, image, "ls -p /boot")
	if err != nil {
		return "", err
	}
	release := newest(out)
	if release == "" {
		return "", fmt.Errorf("no kernel in /boot of %s", image)
	}
	modules := "/usr/lib/modules/" + release + "/"
	tmp := filepath.Join(dir, "modules")
	if err := errors.Join(os.RemoveAll(tmp), os.Mkdir(tmp, 0o700)); err != nil {
		return "", err
	}
	dep := filepath.Join(tmp, "modules.dep")
	if _, err := debugfs(ctx, image, "dump /boot/vmlinuz-"+release+" "+filepath.Join(dir, "vmlinuz"), "dump "+modules+"modules.dep "+dep); err != nil {
		return "", err
	}
	raw, err := os.ReadFile(dep)
	if err != nil {
		return "", fmt.Errorf("kernel %s has no modules: %w", release, err)
	}
	order := loadOrder(string(raw), wanted)
	var dumps []string
	for _, m := range order {
		dumps = append(dumps, "dump "+modules+m+" "+filepath.Join(tmp, path.Base(m)))
	}
	if _, err := debugfs(ctx, image, dumps...); err != nil {
		return "", err
	}
	return release, writeInitrd(filepath.Join(dir, "initrd"), tmp, order)
}

// newest finds the newest release in what debugfs lists of /boot, by the order
// of versions; the links /vmlinuz and /vmlinuz.old may be wrong after a crash.
func newest(listing string) string {
	best := ""
	for line := range strings.Lines(listing) {
		f := strings.Split(line, "/") // "", inode, mode, user, group, name, size, ""
		if len(f) < 7 {
			continue
		}
		release, ok := strings.CutPrefix(f[5], "vmlinuz-")
		if !ok || strings.HasSuffix(release, ".dpkg-new") {
			continue
		}
		if n, err := version.Compare(version.Deb, release, best); best == "" || err == nil && n > 0 {
			best = release
		}
	}
	return best
}

// loadOrder lists the files of modules with all they depend on, what is needed
// first. A name that is not in modules.dep is built in.
func loadOrder(dep string, names []string) []string {
	files, needs := map[string]string{}, map[string][]string{}
	for line := range strings.Lines(dep) {
		file, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		name := strings.ReplaceAll(strings.TrimSuffix(path.Base(file), ".ko"), "-", "_")
		files[name], needs[file] = file, strings.Fields(rest)
	}
	var order []string
	var add func(file string)
	add = func(file string) {
		if slices.Contains(order, file) {
			return
		}
		for _, n := range needs[file] {
			add(n)
		}
		order = append(order, file)
	}
	for _, name := range names {
		if file, ok := files[name]; ok {
			add(file)
		}
	}
	return order
}

// debugfs reads a file system image without mounting it.
func debugfs(ctx context.Context, image string, commands ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "debugfs", "-f", "-", image)
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("debugfs %s: %w: %s", image, err, errs.Bytes())
	}
	return out.String(), nil
}

// writeInitrd packs busybox, the modules in dir and the init script.
func writeInitrd(file, dir string, order []string) error {
	busybox, err := exec.LookPath("busybox")
	if err != nil {
		return err
	}
	program, err := os.ReadFile(busybox)
	if err != nil {
		return err
	}
	var b cpio
	for _, d := range []string{"bin", "dev", "proc", "disk", "modules"} {
		b.add(d, 0o040755, nil)
	}
	b.add("bin/busybox", 0o100755, program)
	b.add("init", 0o100755, []byte(initScript))
	var names []string
	for _, m := range order {
		raw, err := os.ReadFile(filepath.Join(dir, path.Base(m)))
		if err != nil {
			return err
		}
		names = append(names, path.Base(m))
		b.add("modules/"+path.Base(m), 0o100644, raw)
	}
	b.add("order", 0o100644, []byte(strings.Join(names, "\n")+"\n"))
	b.add("TRAILER!!!", 0, nil)
	return os.WriteFile(file, b.buf.Bytes(), 0o600)
}

// cpio writes the "newc" format that the kernel unpacks.
type cpio struct {
	buf   bytes.Buffer
	inode int
}

func (c *cpio) add(name string, mode int, body []byte) {
	c.inode++
	// magic, ino, mode, uid, gid, nlink, mtime, size, dev (2), rdev (2), length of the name, check
	fmt.Fprintf(&c.buf, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", c.inode, mode, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(name)+1, 0)
	c.buf.WriteString(name + "\x00")
	c.pad()
	c.buf.Write(body)
	c.pad()
}

func (c *cpio) pad() {
	for c.buf.Len()%4 != 0 {
		c.buf.WriteByte(0)
	}
}
