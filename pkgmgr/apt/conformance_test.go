package apt

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/pkgmgr/pkgmgrtest"
	"github.com/patchwrit/patchwrit/writ"
)

// second is another package that changes along with hello-pw.
func second(version string) debworld.Package {
	return debworld.Package{Name: "second-pw", Version: version, Arch: "all", Files: map[string]debworld.File{"/usr/share/second-pw/v": {Content: version}}}
}

func TestConformance(t *testing.T) {
	needE2E(t)
	pkgmgrtest.Run(t, conforming)
}

// conforming builds a real root in the suite's situations.
func conforming(t *testing.T, s pkgmgrtest.Situation, j pkgmgr.Journal) pkgmgrtest.World {
	olds, news := []debworld.Package{hello("1.0-1"), second("1.0-1")}, []debworld.Package{hello("1.0-2"), second("1.0-2")}
	var extra []debworld.Package
	switch s {
	case pkgmgrtest.ScriptFails:
		news[1].Scripts = map[string]string{"postinst": "#!/bin/sh\nexit 3\n"}
	case pkgmgrtest.FailedYetApplied:
		news[1].Scripts = map[string]string{"postinst": killAptAfterDpkg}
	case pkgmgrtest.Killed:
		news[1].Scripts = map[string]string{"postinst": "#!/bin/sh\ntouch /tmp/configuring\nsleep 600\n"}
	case pkgmgrtest.SolverDiffers: // the new version pushes another package out
		extra = []debworld.Package{{Name: "third-pw", Version: "1"}}
		news[0].Conflicts = "third-pw"
	}
	w := newWorld(t, append(extra, olds...)...)
	w.journal, w.class = j.(*pkgmgrtest.Journal), change.Sensitive
	w.offer(news...)
	forth, back := w.changes(pair{olds[0], news[0]}, pair{olds[1], news[1]})
	switch s {
	case pkgmgrtest.LockHeld:
		hold(t, filepath.Join(w.host.Dir, "var/lib/dpkg/lock-frontend"))
	case pkgmgrtest.NoWayBack:
		w.must(os.Remove(filepath.Join(w.pool, "sha256", string(back[0].Artefact))))
	case pkgmgrtest.DiskFull:
		small(t, filepath.Join(w.host.Dir, "usr/share"), 0)
	case pkgmgrtest.Killed:
		killWhen(t, w.host, "tmp/configuring")
	}
	world := pkgmgrtest.World{Manager: w.manager(), Changes: forth}
	world.Permit = func() (writ.Verified, func() writ.Verified) { return w.permit(forth, back) }
	world.Reopen = func() pkgmgr.Manager {
		w.must(w.host.Write("var/lib/dpkg/info/second-pw.postinst", []byte("#!/bin/sh\nexit 0\n"), 0o755))
		return w.manager()
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the package manager's words:\n%s", w.log)
		}
	})
	return world
}

// killAptAfterDpkg lets dpkg finish and kills apt before it can say so.
const killAptAfterDpkg = `#!/bin/sh
dpkg=$PPID
apt=$(cut -d' ' -f4 /proc/$dpkg/stat)
kill -STOP $apt
( while ! grep -q ') Z' /proc/$dpkg/stat; do sleep 0.1; done; kill -KILL $apt ) </dev/null >/dev/null 2>&1 &
`

// hold holds a lock as another package manager does, from another process.
func hold(t *testing.T, path string) {
	t.Helper()
	helper := startSelf(t, "hold", path)
	t.Cleanup(func() { helper.Process.Kill(); helper.Wait() })
}

// small mounts a tmpfs of about free bytes in place of dir, with what was in it.
func small(t *testing.T, dir string, free int64) {
	t.Helper()
	copyOf := t.TempDir()
	if err := os.CopyFS(copyOf, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	used := int64(0)
	filepath.Walk(copyOf, func(_ string, info os.FileInfo, err error) error {
		if err == nil {
			used += (info.Size()+4095)/4096*4096 + 4096
		}
		return nil
	})
	if err := unix.Mount("small", dir, "tmpfs", 0, "size="+strconv.FormatInt(used+free+1<<20, 10)); err != nil {
		t.Skipf("no tmpfs can be mounted: %v", err)
	}
	t.Cleanup(func() { unix.Unmount(dir, unix.MNT_DETACH) })
	if err := os.CopyFS(dir, os.DirFS(copyOf)); err != nil {
		t.Fatal(err)
	}
	fill(t, dir, free)
}

// fill leaves about free bytes on the file system of dir.
func fill(t *testing.T, dir string, free int64) {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	if n := int64(st.Bavail)*st.Bsize - free; n > 0 {
		if err := os.WriteFile(filepath.Join(dir, "filler"), make([]byte, n), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// fillMore is fill under another name, for a file system that was filled before.
func fillMore(t *testing.T, dir string, free int64) {
	t.Helper()
	if err := os.Rename(filepath.Join(dir, "filler"), filepath.Join(dir, "filler1")); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	fill(t, dir, free)
}

// killWhen kills everything in the host at once, as a power loss would, as soon
// as a file appears in it.
func killWhen(t *testing.T, host debworld.Root, file string) {
	go func() {
		for range 600 {
			if _, err := os.Stat(filepath.Join(host.Dir, file)); err == nil {
				if err := host.Kill(); err != nil {
					t.Error(err)
				}
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
		t.Error("it never came to the point where it was to be killed")
	}()
}
