package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/agent"
	"github.com/patchwrit/patchwrit/agent/helper"
	"github.com/patchwrit/patchwrit/agent/messenger"
	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/wire/dial"
)

// Where the agent keeps what, unless it is told otherwise.
const (
	helperState    = "/var/lib/patchwrit-helper"
	messengerState = "/var/lib/patchwrit-messenger"
	publicDir      = "/run/patchwrit"
	messengerUser  = "patchwrit"
)

// codeEnrolled says that the host is enrolled otherwise.
const codeEnrolled refusal.Code = "PW-AGENT-ENROLLED"

// enrolment is one run of enroll.
type enrolment struct {
	*program
	pinned                    canon.Digest
	server                    string
	token                     wire.Token
	state, mstate, root, name string
	public                    string
	uid, gid                  int
	host                      trust.Host
	sign                      func([]byte) []byte
}

// enroll binds this host to a trust root and a control plane.
func (p *program) enroll(args []string) error {
	f := p.flags("enroll", "--root-sha256 HEX --server https://HOST:PORT --token FILE|-")
	e := enrolment{program: p}
	pinned := f.String("root-sha256", "", "SHA-256 of the trust repository's 1.root.json, as it came with this host's image or its configuration management; never from the control plane")
	f.StringVar(&e.server, "server", "", "the control plane, https://HOST:PORT")
	token := f.String("token", "", `file with the token that "patchwrit host token" printed; "-" is standard input`)
	f.StringVar(&e.state, "state", helperState, "the helper's directory: host key, journal, receipts; root's alone")
	f.StringVar(&e.mstate, "messenger-state", messengerState, "the messenger's directory: wire key, what was fetched")
	f.StringVar(&e.public, "public", publicDir, "directory of the helper's socket and of the facts that everybody may read")
	f.StringVar(&e.root, "root", "/", `top directory of the system to keep patched; "/" is the running one`)
	as := f.String("user", messengerUser, "user of the messenger: a name, or UID:GID")
	f.StringVar(&e.name, "name", "", "what the host calls itself; its hostname")
	if err := parse(f, args, "root-sha256", "server", "token"); err != nil {
		return err
	}
	if e.pinned = canon.Digest(*pinned); !e.pinned.Valid() {
		return errUsage{"--root-sha256 takes 64 lower-case hexadecimal digits"}
	}
	for _, step := range []func() error{
		func() error { return e.readToken(*token) }, func() error { return e.lookUp(*as) }, e.prepare, e.keys, e.bind,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// maxToken bounds a token file.
const maxToken = 4 << 10

func (e *enrolment) readToken(name string) error {
	in := io.Reader(os.Stdin)
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return errUsage{err.Error()}
		}
		defer f.Close()
		in = f
	}
	raw, err := io.ReadAll(io.LimitReader(in, maxToken))
	if err != nil {
		return errUsage{err.Error()}
	}
	e.token, err = wire.ParseToken(strings.TrimSpace(string(raw)))
	return err
}

// lookUp finds the messenger's user.
func (e *enrolment) lookUp(name string) error {
	u, g, both := strings.Cut(name, ":")
	if !both {
		found, err := user.Lookup(name)
		if err != nil {
			return errUsage{fmt.Sprintf("--user %s: %v; systemd-sysusers makes the user (deploy/systemd/patchwrit.sysusers)", name, err)}
		}
		u, g = found.Uid, found.Gid
	}
	var err error
	if e.uid, err = strconv.Atoi(u); err == nil {
		e.gid, err = strconv.Atoi(g)
	}
	if err != nil || e.uid < 0 || e.gid < 0 {
		return errUsage{"--user takes a name or UID:GID"}
	}
	return nil
}

// prepare makes the directories.
func (e *enrolment) prepare() error {
	for _, dir := range []*string{&e.state, &e.mstate, &e.root, &e.public} {
		abs, err := filepath.Abs(*dir)
		if err != nil {
			return errUsage{err.Error()}
		}
		*dir = abs
	}
	if os.Geteuid() != 0 {
		return errUsage{"enroll makes root's host key: run it as root"}
	}
	old, err := helper.ReadEnrolled(e.state)
	if err == nil && old.Pinned != e.pinned {
		return refusal.New(codeEnrolled, "this host is enrolled to %s, not to %s", old.Pinned.Short(), e.pinned.Short())
	}
	if e.name == "" {
		e.name, _ = os.Hostname() // a host without a name enrols as well
		if raw, err := os.ReadFile(filepath.Join(e.root, "etc/hostname")); err == nil && e.root != "/" {
			e.name = cmp.Or(strings.TrimSpace(string(raw)), e.name)
		}
	}
	if err := os.MkdirAll(e.mstate, 0o700); err != nil {
		return refusal.New(codeEnrolled, "%v", err)
	}
	st, err := os.Lstat(e.mstate)
	if err == nil && !st.IsDir() {
		err = fmt.Errorf("%s is no directory", e.mstate)
	}
	if err == nil {
		err = errors.Join(os.Lchown(e.mstate, e.uid, e.gid), os.Chmod(e.mstate, 0o700))
	}
	if err != nil {
		return refusal.New(codeEnrolled, "%v", err)
	}
	return nil
}

// keys makes the host key, where none was.
func (e *enrolment) keys() error {
	var err error
	e.host, e.sign, err = agent.Signer(e.state)
	return err
}

// as runs f with the files of another user: root writes nothing itself into a
// directory that is not its own, where names may lead anywhere.
func as(uid, gid int, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocks it: the thread ends with this goroutine
		unix.SetfsgidRetGid(gid)
		unix.SetfsuidRetUid(uid)
		if now, err := unix.SetfsuidRetUid(uid); err != nil || now != uid {
			done <- fmt.Errorf("become user %d: it is still %d: %v", uid, now, err)
			return
		}
		done <- f()
	}()
	return <-done
}

// enrolTime is how long an enrolment may take.
const enrolTime = 2 * time.Minute

// bind enrols at the control plane, fetches the trust repository where that is
// possible already, and writes down what the host is bound to.
func (e *enrolment) bind() error {
	ctx, cancel := context.WithTimeout(e.ctx, enrolTime)
	defer cancel()
	err := as(e.uid, e.gid, func() error { return e.bindMessenger(ctx) })
	if err != nil {
		return err
	}
	record := helper.Enrolled{Type: helper.TypeEnrolled, Pinned: e.pinned, Root: canon.NoteOf(e.root),
		Messenger: canon.NoteOf(e.mstate), Public: canon.NoteOf(e.public), UID: e.uid}
	if err := record.Save(e.state); err != nil {
		return err
	}
	fmt.Fprintf(e.stderr, "host %s is bound to trust root %s\n", e.host.ID, e.pinned)
	fmt.Fprintln(e.stdout, e.host.ID)
	return nil
}

func (e *enrolment) bindMessenger(ctx context.Context) error {
	seed, err := messenger.KeepSeed(e.mstate, dial.NewSeed)
	if err != nil {
		return err
	}
	s := messenger.Server{Type: messenger.TypeServer, URL: canon.NoteOf(e.server), Cert: e.token.Server, Host: e.host.ID, Name: canon.NoteOf(e.name),
		Pinned: e.pinned, Root: canon.NoteOf(e.root), Public: canon.NoteOf(e.public), UID: e.uid, GID: e.gid}
	c := dial.Config{URL: e.server, CertSHA256: e.token.Server, Seed: seed}
	old, err := messenger.ReadServer(e.mstate)
	if known := err == nil && old.URL == s.URL && old.Cert == s.Cert && old.Host == s.Host; !known || dial.Known(ctx, c) != nil {
		if err := dial.Enrol(ctx, c, e.token.Secret, e.name, e.host, e.sign); err != nil {
			return err
		}
	}
	if err := e.check(ctx, c, s); err != nil {
		return err
	}
	return s.Save(e.mstate)
}

// check looks whether the control plane's trust repository is under the pinned
// root, if it already serves this host.
func (e *enrolment) check(ctx context.Context, c dial.Config, s messenger.Server) error {
	conn, err := dial.Dial(c)
	if err != nil {
		return err
	}
	defer conn.Close()
	a, err := messenger.Check(ctx, messenger.Config{State: e.mstate, Version: version, Wire: conn, Now: time.Now}, s)
	if err != nil {
		return err
	}
	switch a.State {
	case wire.Enrolled:
		fmt.Fprintln(e.stderr, "the control plane's trust repository is under the pinned root")
	case wire.Pending:
		fmt.Fprintf(e.stderr, "pending: the keepers add this host to the trust root (public key %s); until then the control plane gives it nothing\n", e.host.Public)
	default:
		fmt.Fprintf(e.stderr, "the control plane sees this host as %s\n", a.State)
	}
	return nil
}

// became makes a process that was started as root the messenger's user, for
// good.
func became(uid, gid int) error {
	if os.Geteuid() == 0 && uid != 0 {
		if err := errors.Join(unix.Setgroups([]int{}), unix.Setgid(gid), unix.Setuid(uid)); err != nil {
			return fmt.Errorf("become user %d: %w", uid, err)
		}
	}
	if os.Geteuid() != uid {
		return refusal.New(codeEnrolled, "the messenger of this host is user %d, this is user %d", uid, os.Geteuid())
	}
	return nil
}
