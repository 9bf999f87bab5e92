package debguest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/internal/debworld"
)

// Machine is the address under which the guest sees the machine that runs it.
const Machine = "10.0.2.2"

// Limits of waiting. A boot takes ten seconds on an idle machine with two cores.
const (
	bootWait = 15 * time.Minute
	endWait  = 6 * time.Minute
)

// maxRead bounds what ReadFile brings out of the guest.
const maxRead = 16 << 20

// Guest is one Debian machine. Its methods are not called at the same time.
type Guest struct {
	Dir     string // everything it leaves on the machine
	Release string // of the kernel of the last boot, as taken from its disk

	image string
	qemu  *process
	agent *qga
}

// NewGuest gives a test a guest that is not booted yet, with the directory
// handover ("" for none) readable in it. It is ended and removed with the test;
// when the test has failed, the end of its console is shown.
func NewGuest(t debworld.TB, handover string) *Guest {
	t.Helper()
	if os.Getenv(debworld.RootsEnv) == "no" {
		t.Skip(debworld.RootsEnv + "=no: no tests with real guests")
	}
	image, err := Image(t.Context(), "", os.Stderr)
	debworld.Need(t, err)
	g, err := New(t.Context(), image, handover)
	debworld.Need(t, err)
	t.Cleanup(func() {
		if f, ok := t.(interface{ Failed() bool }); ok && f.Failed() {
			t.Log("the end of the guest's console:\n" + g.Console())
		}
		if err := g.Close(); err != nil {
			t.Error(err)
		}
	})
	return g
}

// New makes a guest of the image in a directory of its own. Close it.
func New(ctx context.Context, image, handover string) (*Guest, error) {
	dir, err := os.MkdirTemp("", "pwguest-") // short: a socket's path has 107 bytes
	if err != nil {
		return nil, err
	}
	g := &Guest{Dir: dir, image: image}
	if handover == "" {
		handover = filepath.Join(dir, "nothing")
		err = os.Mkdir(handover, 0o755)
	}
	if err == nil {
		err = g.Hand(ctx, handover)
	}
	if err == nil {
		var out []byte
		if out, err = exec.CommandContext(ctx, "qemu-img", "create", "-q", "-f", "qcow2", "-b", image, "-F", "raw", g.in("disk")).CombinedOutput(); err != nil {
			err = fmt.Errorf("qemu-img create: %w: %s", err, out)
		}
	}
	if err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return g, nil
}

func (g *Guest) in(name string) string { return filepath.Join(g.Dir, name) }

// Hand makes a directory what the guest sees at Handover from its next boot on.
func (g *Guest) Hand(ctx context.Context, dir string) error {
	size := int64(16 << 20)
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			size += info.Size() + 8<<10
		}
		return err
	})
	if err != nil {
		return err
	}
	return makeDisk(ctx, dir, g.in("handover"), fmt.Sprintf("%dk", size>>10), "handover")
}

// Boot starts the guest with the newest kernel on its disk and waits until its
// systemd says that everything runs.
func (g *Guest) Boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bootWait)
	defer cancel()
	if g.qemu != nil {
		return errors.New("the guest runs already")
	}
	if err := g.takeKernel(ctx); err != nil {
		return err
	}
	for _, socket := range []string{"qga"} {
		if err := os.Remove(g.in(socket)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	var err error
	if g.qemu, err = start(g.in("qemu.log"), g.argv()...); err != nil {
		return err
	}
	if g.agent, err = dialQGA(ctx, g.in("qga")); err != nil {
		return errors.Join(err, g.qemu.said())
	}
	res, err := g.agent.exec(ctx, []string{"systemctl", "is-system-running", "--wait"})
	if state := strings.TrimSpace(res.Stdout); err == nil && state != "running" {
		failed, _ := g.agent.exec(ctx, []string{"systemctl", "--no-pager", "--plain", "list-units", "--state=failed"})
		return fmt.Errorf("the guest is up, but %s: %s", state, failed.Stdout)
	}
	return err
}

// takeKernel finds the newest kernel on the disk as it is now.
func (g *Guest) takeKernel(ctx context.Context) error {
	image := g.image
	if g.Release != "" { // it has run: look at what it has made of its disk
		image = g.in("now.img")
		defer os.Remove(image)
		if out, err := exec.CommandContext(ctx, "qemu-img", "convert", "-O", "raw", g.in("disk"), image).CombinedOutput(); err != nil {
			return fmt.Errorf("qemu-img convert: %w: %s", err, out)
		}
		var exit *exec.ExitError
		out, err := exec.CommandContext(ctx, "e2fsck", "-y", "-E", "journal_only", image).CombinedOutput()
		if err != nil && !(errors.As(err, &exit) && exit.ExitCode() < 4) { // 1: corrected
			return fmt.Errorf("replay the journal of the guest's disk: %w: %s", err, out)
		}
	}
	var err error
	g.Release, err = newestKernel(ctx, image, g.Dir)
	return err
}

func (g *Guest) argv() []string {
	return []string{"qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "q35",
		"-accel", "tcg,thread=multi", "-cpu", "Nehalem", "-smp", "2", "-m", "768", "-no-reboot",
		"-drive", "file=" + g.in("disk") + ",if=none,id=d0,format=qcow2,cache=unsafe", "-device", "virtio-blk-pci,drive=d0",
		"-drive", "file=" + g.in("handover") + ",if=none,id=d1,format=raw,readonly=on", "-device", "virtio-blk-pci,drive=d1",
		"-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,romfile=", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci",
		"-chardev", "socket,path=" + g.in("qga") + ",server=on,wait=off,id=qga0", "-device", "virtserialport,chardev=qga0,name=org.qemu.guest_agent.0",
		"-serial", "file:" + g.in("console"), "-kernel", g.in("vmlinuz"), "-initrd", g.in("initrd"),
		"-append", "root=/dev/vda rw console=ttyS0 net.ifnames=0 quiet panic=-1"}
}

// Console is the end of what the guest's console said, and qemu itself.
func (g *Guest) Console() string {
	out := ""
	for _, name := range []string{"qemu.log", "console"} {
		raw, _ := os.ReadFile(g.in(name))
		out += string(raw[max(0, len(raw)-4096):])
	}
	return out
}

// Exec runs argv in the guest, as root. A non-zero exit status is an error that
// carries what the command said; the Result is there either way.
func (g *Guest) Exec(ctx context.Context, argv ...string) (Result, error) {
	if g.agent == nil {
		return Result{}, errors.New("the guest does not run")
	}
	res, err := g.agent.exec(ctx, argv)
	if err == nil && res.Code != 0 {
		err = fmt.Errorf("in the guest %s: exit status %d\n%s%s", strings.Join(argv, " "), res.Code, res.Stdout, res.Stderr)
	}
	return res, err
}

// ReadFile reads a file of the guest, at most 16 MiB of it.
func (g *Guest) ReadFile(path string) ([]byte, error) {
	if g.agent == nil {
		return nil, errors.New("the guest does not run")
	}
	return g.agent.readFile(path, maxRead)
}

// WriteFile writes a file of the guest.
func (g *Guest) WriteFile(path string, body []byte) error {
	if g.agent == nil {
		return errors.New("the guest does not run")
	}
	return g.agent.writeFile(path, body)
}

// PowerCut ends the guest between two instructions.
func (g *Guest) PowerCut() error {
	if g.qemu == nil {
		return errors.New("the guest does not run")
	}
	g.qemu.cmd.Process.Kill()
	<-g.qemu.done
	g.down()
	return nil
}

func (g *Guest) down() {
	if g.agent != nil {
		g.agent.close()
	}
	g.qemu, g.agent = nil, nil
}

// Reboot lets the guest's systemd reboot, and boots it with the newest kernel
// on its disk.
func (g *Guest) Reboot(ctx context.Context) error {
	if _, err := g.Exec(ctx, "systemctl", "--no-block", "reboot"); err != nil {
		return err
	}
	select {
	case <-g.qemu.done: // -no-reboot: qemu ends where the machine would start again
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(endWait):
		return errors.New("the guest does not go down")
	}
	g.down()
	return g.Boot(ctx)
}

// Close ends the guest and removes what it left. Twice does no harm.
func (g *Guest) Close() error {
	if g.qemu != nil {
		g.PowerCut()
	}
	return os.RemoveAll(g.Dir)
}

// process is a qemu. It dies with this program.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	log  string
}

func start(log string, argv ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	p := &process{cmd: exec.Command(argv[0], argv[1:]...), done: make(chan struct{}), log: log}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread() // the parent-death signal follows the thread; it stays until qemu has ended
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err == nil {
			p.cmd.Wait() // how it ended is nobody's question: a power cut kills it
			close(p.done)
		}
	}()
	return p, <-started
}

// said is what qemu complained about, as an error, or nil.
func (p *process) said() error {
	raw, _ := os.ReadFile(p.log)
	if len(raw) == 0 {
		return nil
	}
	return fmt.Errorf("qemu says: %s", raw[max(0, len(raw)-2048):])
}
