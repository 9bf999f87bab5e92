package apt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/pkgmgr"
	"github.com/patchwrit/patchwrit/refusal"
)

// lockdownFile makes every apt run of the host ask a gate that has no
// expectation. The agent's own runs do not read it: they have a configuration
// of their own.
const (
	lockdownDir  = "/etc/apt/apt.conf.d"
	lockdownFile = "99patchwrit-lockdown"
)

// Lock puts a system into lockdown: apt runs that are not the agent's stop
// before anything is unpacked. It is a seat belt: local root can take it off,
// and dpkg alone does not ask. agent is the path of the agent's binary.
func Lock(dir, agent string) error {
	sys, err := openSystem(dir)
	if err != nil {
		return err
	}
	defer sys.close()
	o, err := openOwn(sys)
	if err != nil {
		return err
	}
	defer o.close()
	if err := o.acquire(); err != nil {
		return err
	}
	if err := o.installAgent(agent); err != nil {
		return err
	}
	text := fmt.Sprintf("// Packages change only under a writ here; see patchwrit-agent gate.\nDPkg::Pre-Install-Pkgs { \"%s gate\"; };\n", agentBin)
	parent, err := sys.open(lockdownDir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return refusal.New(pkgmgr.CodeRoot, "%v", err)
	}
	defer parent.Close()
	fd, err := unix.Openat(int(parent.Fd()), lockdownFile, unix.O_WRONLY|unix.O_CREAT|unix.O_TRUNC|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeRoot), "%s/%s: %v", lockdownDir, lockdownFile, err)
	}
	f := os.NewFile(uintptr(fd), lockdownFile)
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return refusal.New(fullOr(err, pkgmgr.CodeRoot), "%v", err)
	}
	return nil
}

// Unlock ends the lockdown. It is no error when there is none.
func Unlock(dir string) error {
	sys, err := openSystem(dir)
	if err != nil {
		return err
	}
	defer sys.close()
	parent, err := sys.open(lockdownDir, unix.O_PATH|unix.O_DIRECTORY)
	if err != nil {
		return refusal.New(pkgmgr.CodeRoot, "%v", err)
	}
	defer parent.Close()
	if err := unix.Unlinkat(int(parent.Fd()), lockdownFile, 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return refusal.New(pkgmgr.CodeRoot, "%s/%s: %v", lockdownDir, lockdownFile, err)
	}
	return nil
}
