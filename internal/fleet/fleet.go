package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Host is what a host of the fleet is to be.
type Host struct {
	Name, Domain, Role string
	Calls              string               // itself, when that is not its name
	Furnish            func(*Machine) error // before its first boot; may be nil
}

// Options says what fleet is wanted. Dir, Bin, Base and Hosts have no default.
type Options struct {
	Dir      string   // everything of the fleet lies below; a short path: a socket is in it
	Bin      string   // directory with the three programs
	Base     string   // base root of the hosts
	Hosts    []Host   // in this order
	Debian   string   // keyring of Debian's own archive; empty: it is not trusted
	Origins  []Origin // at least one source
	Critical []string // packages that this house adds to the highest class
	Up       []string // further flags of `patchwrit up`
	Env      []string // of the programs beside the hosts: fault points of builds that have some
	HostEnv  []string // of those on the hosts
	Say      io.Writer
}

// Fleet is a running house. Its methods are for one goroutine at a time, but for
// Do and the API.
type Fleet struct {
	Options
	house
	Street   *Street
	Machines []*Machine

	http *http.Client
	ids  map[string]string // fingerprints by host name

	mu        sync.Mutex
	processes map[string]*Process
}

// New founds a house, starts its witnesses and its control plane, boots the
// hosts, and enrols them; StartAgents is the next step. Close it also when it
// fails: it returns what there is.
func New(ctx context.Context, o Options) (*Fleet, error) {
	f := &Fleet{Options: o, processes: map[string]*Process{}, ids: map[string]string{}}
	f.http = f.client()
	var err error
	if f.Street, err = OpenStreet(ctx); err != nil {
		return f, err
	}
	if err := os.MkdirAll(f.In("logs"), 0o755); err != nil {
		return f, err
	}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{{"hosts", f.clone}, {"house", f.found}, {"witnesses", f.startWitnesses}, {"control plane", f.StartControl}, {"enrolment", f.enrol}}
	for _, s := range steps {
		if err := s.do(ctx); err != nil {
			return f, fmt.Errorf("%s: %w", s.what, err)
		}
	}
	return f, nil
}

// In is a path in the fleet's directory.
func (f *Fleet) In(parts ...string) string {
	return filepath.Join(append([]string{f.Dir}, parts...)...)
}

// Data is the control plane's directory.
func (f *Fleet) Data() string { return f.In("data") }

// Machine finds a host by its name.
func (f *Fleet) Machine(name string) *Machine {
	for _, m := range f.Machines {
		if m.Name == name {
			return m
		}
	}
	return nil
}

// clone makes the hosts and boots them.
func (f *Fleet) clone(ctx context.Context) error {
	pid1 := f.In("pid1")
	if err := BuildPid1(ctx, pid1); err != nil {
		return err
	}
	for _, h := range f.Hosts {
		m, err := f.Street.NewMachine(f.Base, f.In("hosts", h.Name), h.Name, pid1)
		if err != nil {
			return err
		}
		f.Machines = append(f.Machines, m)
		if err := m.Install(filepath.Join(f.Bin, "patchwrit-agent"), "patchwrit-agent"); err != nil {
			return err
		}
		if h.Furnish != nil {
			if err := h.Furnish(m); err != nil {
				return fmt.Errorf("furnish %s: %w", h.Name, err)
			}
		}
	}
	return f.Each(func(m *Machine) error { return m.Boot(ctx) })
}

// Each does something on every host at the same time.
func (f *Fleet) Each(do func(*Machine) error) error {
	errs := make([]error, len(f.Machines))
	var all sync.WaitGroup
	for i, m := range f.Machines {
		all.Go(func() { errs[i] = do(m) })
	}
	all.Wait()
	return errors.Join(errs...)
}

func (f *Fleet) startWitnesses(ctx context.Context) error {
	for i := range Witnesses {
		if err := f.StartWitness(ctx, i); err != nil {
			return err
		}
	}
	return nil
}

// StartWitness starts a witness and waits until it answers.
func (f *Fleet) StartWitness(ctx context.Context, i int) error {
	name := WitnessName(i)
	argv := append([]string{"patchwrit-witness", "run", "--dir", f.In(name), "--listen", f.witness[i]}, f.House()...)
	if err := f.start(name, argv); err != nil {
		return err
	}
	return f.Wait(ctx, name+" answers", answering, func() (bool, error) {
		return answers("http://" + f.witness[i] + "/healthz"), f.alive(name)
	})
}

// answering is how long a started program may take until it answers.
const answering = 60 * time.Second

func answers(url string) bool {
	resp, err := http.Get(url)
	if err != nil {
		return false
	}
	resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Control is the name of the control plane's process.
const Control = "control"

// StartControl starts the control plane and waits until it answers.
func (f *Fleet) StartControl(ctx context.Context) error {
	argv := append([]string{"patchwrit", "up", "--data", f.Data(), "--listen", f.Street.Addr.String() + ":8443", "--name", "control",
		"--policy", f.In("policy.tar.gz")}, f.House()...)
	for _, o := range f.Origins {
		if o.Source != "" {
			argv = append(argv, "--source", o.Source)
		}
	}
	if err := f.start(Control, append(argv, f.Up...)); err != nil {
		return err
	}
	return f.Wait(ctx, "the control plane answers", answering, func() (bool, error) {
		var trouble any // answered also while the flow is busy
		return f.Get(ctx, "trouble", &trouble) == nil, f.alive(Control)
	})
}

// start starts one of the three programs on the machine itself.
func (f *Fleet) start(name string, argv []string) error {
	f.say("$ %s &", f.shown(argv))
	p, err := beside(Program{Name: name, Argv: append([]string{f.binary(argv[0])}, argv[1:]...), Env: f.Env}, f.In("logs", name+".log"))
	if err != nil {
		return err
	}
	f.keep(p)
	return nil
}

func (f *Fleet) keep(p *Process) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.processes[p.Name] = p
}

// Process finds a process that was started, by its name.
func (f *Fleet) Process(name string) (*Process, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if p := f.processes[name]; p != nil {
		return p, nil
	}
	return nil, fmt.Errorf("no process %q was started", name)
}

// alive says that a process has ended, with its last words.
func (f *Fleet) alive(name string) error {
	p, err := f.Process(name)
	if err == nil && !p.Running() {
		err = fmt.Errorf("%s has ended: %s\n%s", name, p.cmd.ProcessState, p.Tail())
	}
	return err
}

// binary finds our own programs.
func (f *Fleet) binary(name string) string {
	if strings.HasPrefix(name, "patchwrit") {
		return filepath.Join(f.Bin, name)
	}
	return name
}

func (f *Fleet) say(format string, args ...any) {
	if f.Say != nil {
		fmt.Fprintf(f.Say, format+"\n", args...)
	}
}

// shown is a command line as a person would type it in the fleet's directory.
func (f *Fleet) shown(argv []string) string {
	text := strings.ReplaceAll(strings.Join(argv, " "), f.Dir+"/", "")
	if f.house.Root != "" {
		text = strings.ReplaceAll(text, f.house.Root, f.house.Root[:12]+"…")
	}
	return text
}

// Do runs a program to its end and returns its trimmed output. Another exit code
// than 0 is an [ExitError], with the output beside it.
func (f *Fleet) Do(ctx context.Context, argv ...string) (string, error) {
	f.say("$ %s", f.shown(argv))
	cmd := exec.CommandContext(ctx, f.binary(argv[0]), argv[1:]...)
	cmd.Env = append(os.Environ(), f.Env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	text := strings.TrimSpace(out.String())
	if status := new(exec.ExitError); errors.As(err, &status) {
		return text, &ExitError{Argv: argv, Code: status.ExitCode(), Stderr: errs.String()}
	}
	return text, err
}

// poll is how often Wait looks.
const poll = 100 * time.Millisecond

// Wait looks until something is so, and says what it waited for when it never was.
func (f *Fleet) Wait(ctx context.Context, what string, atMost time.Duration, so func() (bool, error)) error {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	end := time.Now().Add(atMost)
	for {
		yes, err := so()
		switch {
		case err != nil:
			return fmt.Errorf("waiting until %s: %w", what, err)
		case yes:
			return nil
		case time.Now().After(end):
			return fmt.Errorf("waited %s in vain until %s", atMost, what)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}

// Strike ends every process and cuts the hosts' power. The roots stay.
func (f *Fleet) Strike() error {
	f.mu.Lock()
	var errs []error
	for _, p := range f.processes {
		errs = append(errs, p.Kill())
	}
	f.mu.Unlock()
	for _, m := range f.Machines {
		errs = append(errs, m.PowerCut())
	}
	if f.Street != nil {
		errs = append(errs, f.Street.Close())
	}
	return errors.Join(errs...)
}

// Close ends everything and removes the hosts' roots.
func (f *Fleet) Close() error {
	errs := []error{f.Strike()}
	for _, m := range f.Machines {
		errs = append(errs, m.Close())
	}
	return errors.Join(errs...)
}
