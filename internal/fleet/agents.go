package fleet

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"syscall"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/wire"
)

// User is the messenger's user on a host.
const User = "patchwrit"

// Messenger names the network side of a host's agent.
func Messenger(host string) string { return "messenger@" + host }

// Helper names the side that is root.
func Helper(host string) string { return "helper@" + host }

// enrol has every host enrol with a token of its own, and has the keepers enter
// them all.
func (f *Fleet) enrol(ctx context.Context) error {
	if err := f.Each(func(m *Machine) error { return f.Enrol(ctx, m) }); err != nil {
		return err
	}
	for i, m := range f.Machines {
		if err := f.enter(ctx, m, f.Hosts[i]); err != nil {
			return err
		}
	}
	for i := range Witnesses { // they read the trust root every minute, or when they are told
		p, err := f.Process(WitnessName(i))
		if err != nil {
			return err
		}
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			return fmt.Errorf("%s: %w", p.Name, err)
		}
	}
	return nil
}

// StartAgents starts the agents of all hosts and waits until each has told what
// it has.
func (f *Fleet) StartAgents(ctx context.Context) error {
	if err := f.Each(f.StartAgent); err != nil {
		return err
	}
	return f.Wait(ctx, "every host has told what it has", answering, func() (bool, error) {
		hosts, err := f.HostsNow(ctx)
		if err != nil {
			return false, err
		}
		told := 0
		for _, h := range hosts {
			if h.State == wire.Enrolled && h.Inventory != "" {
				told++
			}
		}
		return told == len(f.Machines), f.allAlive()
	})
}

// Enrol has one host make its keys and bind itself to this house.
func (f *Fleet) Enrol(ctx context.Context, m *Machine) error {
	if _, err := m.Run(ctx, Program{Argv: []string{"/usr/sbin/useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", User}}); err != nil {
		return err
	}
	token, err := f.Do(ctx, append([]string{"patchwrit", "host", "token", "--life", "10m"}, f.Server()...)...)
	if err != nil {
		return err
	}
	if err := m.Root.Write("/root/token", []byte(token+"\n"), 0o600); err != nil {
		return err
	}
	argv := []string{filepath.Join(Tools, "patchwrit-agent"), "enroll", "--root-sha256", f.house.Root,
		"--server", "https://control:8443", "--token", "/root/token", "--name", f.calls(m.Name)}
	f.say("%s# %s", m.Name, f.shown(argv))
	id, err := m.Run(ctx, Program{Argv: argv, Env: f.HostEnv})
	if err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ids[m.Name] = id[:len(id)-1]
	return nil
}

// calls is what a host calls itself.
func (f *Fleet) calls(name string) string {
	for _, h := range f.Hosts {
		if h.Name == name && h.Calls != "" {
			return h.Calls
		}
	}
	return name
}

// enter has the keepers name a host in the trust root.
func (f *Fleet) enter(ctx context.Context, m *Machine, h Host) error {
	hosts, err := f.HostsNow(ctx)
	if err != nil {
		return err
	}
	for _, known := range hosts {
		if string(known.ID) == f.ID(m.Name) {
			spec := fmt.Sprintf("%s:%s:autonomy=L4,exposure=internal,role=%s", known.Public, h.Domain, h.Role)
			_, err := f.Do(ctx, append([]string{"patchwrit", "trust", "add-host", spec}, f.keepers()...)...)
			return err
		}
	}
	return fmt.Errorf("the control plane does not know %s", m.Name)
}

// ID is the fingerprint of an enrolled host.
func (f *Fleet) ID(name string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ids[name]
}

// NameOf is the name of the host with a fingerprint.
func (f *Fleet) NameOf(id string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	for name, its := range f.ids {
		if its == id {
			return name
		}
	}
	return ""
}

// StartAgent starts the two processes of a host's agent.
func (f *Fleet) StartAgent(m *Machine) error {
	return errors.Join(f.StartHelper(m), f.StartMessenger(m))
}

// StartHelper starts the side that is root.
func (f *Fleet) StartHelper(m *Machine) error {
	return f.startOn(m, Program{Name: Helper(m.Name), Argv: []string{filepath.Join(Tools, "patchwrit-agent"), "helper"}, Env: f.HostEnv})
}

// StartMessenger starts the network side, as its own user.
func (f *Fleet) StartMessenger(m *Machine) error {
	return f.startOn(m, Program{Name: Messenger(m.Name), Argv: []string{filepath.Join(Tools, "patchwrit-agent"), "run"}, User: User, Env: f.HostEnv})
}

func (f *Fleet) startOn(m *Machine, p Program) error {
	process, err := m.Start(p, f.In("logs", p.Name+".log"))
	if err == nil {
		f.keep(process)
	}
	return err
}

// allAlive says which process has ended.
func (f *Fleet) allAlive() error {
	f.mu.Lock()
	names := []string{}
	for name := range f.processes {
		names = append(names, name)
	}
	f.mu.Unlock()
	var errs []error
	for _, name := range names {
		errs = append(errs, f.alive(name))
	}
	return errors.Join(errs...)
}

// Kill kills a process by its name, as a crash does.
func (f *Fleet) Kill(name string) error {
	p, err := f.Process(name)
	if err != nil {
		return err
	}
	return p.Kill()
}

// HostsNow asks for the hosts as operators see them.
func (f *Fleet) HostsNow(ctx context.Context) (hosts []control.HostView, err error) {
	return hosts, f.Get(ctx, "hosts", &hosts)
}

// PlansNow asks for the plans, the oldest first.
func (f *Fleet) PlansNow(ctx context.Context) (plans []control.Plan, err error) {
	return plans, f.Get(ctx, "plans", &plans)
}

// planning is how long a plan may take to be made: downloads, the solver and a
// look into every artefact.
const planning = 5 * time.Minute

// AwaitPlan waits for a plan of a kind and returns the first that is.
func (f *Fleet) AwaitPlan(ctx context.Context, what string, atMost time.Duration, like func(control.Plan) bool) (p control.Plan, err error) {
	seen := ""
	err = f.Wait(ctx, what, atMost, func() (bool, error) {
		plans, err := f.PlansNow(ctx)
		if err != nil {
			return false, err
		}
		seen = ""
		for _, p = range plans {
			if like(p) {
				return true, nil
			}
			seen += fmt.Sprintf("\n  plan %s for %d hosts, %v: %s, %s", p.Digest.Short(), len(p.Hosts), p.Packages, p.State, p.Why.Text())
		}
		return false, nil
	})
	if err != nil {
		err = fmt.Errorf("%w; plans:%s", err, seen)
	}
	return p, err
}
