package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/internal/debworld"
	"github.com/patchwrit/patchwrit/internal/fleet"
	"github.com/patchwrit/patchwrit/inventory"
	"github.com/patchwrit/patchwrit/redteam"
)

// stage holds what one scene leaves for the next.
type stage struct {
	ctx     context.Context
	dir     string
	yes     bool
	began   time.Time
	summary summary
	wrong   int // attacks that were not refused as they should be, or whose control did not work

	fleet  *fleet.Fleet
	vendor *redteam.Vendor
	before map[string]map[string]string // versions by host and package
	low    []control.Plan               // they run under the grant
	high   []control.Plan               // they wait for people
}

func newStage(ctx context.Context, dir string) *stage {
	return &stage{ctx: ctx, dir: dir, yes: os.Getenv("PATCHWRIT_DEMO_YES") == "1", began: time.Now(),
		before: map[string]map[string]string{}, summary: summary{Seconds: map[string]float64{}, Attacks: []attack{}, Hosts: []hostSummary{}}}
}

// Times of the demo.
const (
	solving = 5 * time.Minute // from inventories to plans, downloads included
	running = 5 * time.Minute // of a plan, all waves
)

// only are the packages that the demo plans for: few, so that six hosts are done
// in minutes; some routine, some that this house counts as critical.
func only() string {
	return cmp.Or(os.Getenv("PATCHWRIT_DEMO_ONLY"), "libpcre2-8-0,libssl3,openssl")
}

// soak is how long a plan must have stood in the log before the grant lets it
// begin.
func soak() string { return cmp.Or(os.Getenv("PATCHWRIT_DEMO_SOAK"), "3s") }

// hosts are two roles in two fault domains. All have the same packages, one of
// them with a description that is full of orders; one calls itself an order.
func (s *stage) hosts() []fleet.Host {
	hosts := []fleet.Host{
		{Name: "web-1", Domain: "rack-1", Role: "web"}, {Name: "web-2", Domain: "rack-2", Role: "web"}, {Name: "web-3", Domain: "rack-2", Role: "web"},
		{Name: "db-1", Domain: "rack-1", Role: "db"}, {Name: "db-2", Domain: "rack-2", Role: "db", Calls: hostileName}, {Name: "db-3", Domain: "rack-1", Role: "db"}}
	for i := range hosts {
		hosts[i].Furnish = s.hostile
	}
	return hosts
}

// found makes hosts and house.
func (s *stage) found() error {
	fmt.Println("    The approvers' and keepers' keys below are SOFTWARE KEYS made by this demo. They stand in for people and protect nothing.")
	base, err := debworld.BaseRoot(s.ctx, "", os.Stderr)
	if err != nil {
		return err
	}
	mirror, err := debworld.MirrorSources()
	if err != nil {
		return err
	}
	if mirror.Security == "" {
		return errors.New("this machine's apt sources name no security suite, so nothing would be pending; add it and run the demo again")
	}
	if err := os.MkdirAll(s.dir, 0o755); err != nil {
		return err
	}
	attackers, err := s.attackers()
	if err != nil {
		return err
	}
	origins := []fleet.Origin{attackers,
		{Source: "debian=" + mirror.Main + "," + debworld.Codename},
		{Source: "debian-security=" + mirror.Security + "," + debworld.Codename + "-security"}}
	s.fleet, err = fleet.New(s.ctx, fleet.Options{Dir: s.dir, Bin: filepath.Join(filepath.Dir(s.dir), "bin"), Base: base, Hosts: s.hosts(),
		Debian: mirror.Keyring, Origins: origins, Critical: []string{"libssl3", "openssl"}, Say: indented{},
		Up: []string{"--only", only(), "--poll-every", "2s", "--settle", "3s"}})
	if err != nil {
		return err
	}
	s.summary.Trust = "trust"
	for _, m := range s.fleet.Machines {
		if s.before[m.Name], err = versions(m); err != nil {
			return err
		}
		fmt.Printf("    host %-6s %s, %d packages\n", m.Name, m.Addr, len(s.before[m.Name]))
	}
	fmt.Printf("    control plane https://%s:8443\n", s.fleet.Street.Addr)
	return s.show(append([]string{"patchwrit", "trust", "show"}, s.fleet.House()...)...)
}

// versions reads what dpkg says is installed.
func versions(m *fleet.Machine) (map[string]string, error) {
	inv, err := inventory.Read(os.DirFS(m.Root.Dir))
	if err != nil {
		return nil, err
	}
	versions := map[string]string{}
	for _, p := range inv.Packages {
		versions[p.Key()] = p.Version
	}
	return versions, nil
}

func (s *stage) alone() error {
	for _, m := range s.fleet.Machines {
		if err := m.Alone(s.ctx, s.fleet.Machines); err != nil {
			return err
		}
	}
	fmt.Printf("    %d hosts: no route to the world, and no neighbour answers\n", len(s.fleet.Machines))
	return nil
}

// indented is where the fleet says what it does.
type indented struct{}

func (indented) Write(b []byte) (int, error) {
	fmt.Print("    ", string(b))
	return len(b), nil
}

// show runs one of our programs and shows what it prints.
func (s *stage) show(argv ...string) error {
	out, err := s.fleet.Do(s.ctx, argv...)
	fmt.Print(indent(out))
	return err
}

// person runs a program that asks a person, at this terminal.
func (s *stage) person(argv ...string) error {
	if s.yes {
		_, err := s.fleet.Do(s.ctx, append(argv, "--yes")...)
		return err
	}
	cmd := exec.CommandContext(s.ctx, filepath.Join(s.fleet.Bin, argv[0]), argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return cmd.Run()
}

func indent(text string) string {
	if text == "" {
		return ""
	}
	const most = 40 // lines; the files keep the rest
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > most {
		lines = append(lines[:most], fmt.Sprintf("… %d more lines", len(lines)-most))
	}
	return "      " + strings.Join(lines, "\n      ") + "\n"
}

// strike ends what the demo started. The roots stay.
func (s *stage) strike() error {
	if s.fleet == nil {
		return nil
	}
	return s.fleet.Strike()
}
