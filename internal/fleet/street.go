package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// Street is the network of one run: a bridge with one address, and a cable to
// each host. The cables are isolated from each other, and nothing routes.
type Street struct {
	Addr netip.Addr // what hosts reach: the control plane's

	bridge string
	subnet netip.Prefix
	next   netip.Addr
	cables int
}

// tests is the range that RFC 2544 sets aside for tests of network devices.
var tests = netip.MustParsePrefix("198.18.0.0/15")

// mark begins the alias of every device that a run makes; the maker's process id
// and start time follow, so that another run knows whether it is still in use.
const mark = "patchwrit-fleet "

// OpenStreet makes a street with a name and a subnet that nobody else on this
// machine uses, and sweeps away what dead runs have left.
func OpenStreet(ctx context.Context) (*Street, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("hosts with addresses of their own need root: network namespaces and a bridge are made; run it as root")
	}
	if err := Sweep(ctx); err != nil {
		return nil, err
	}
	owner, err := owner(os.Getpid())
	if err != nil {
		return nil, err
	}
	const tries = 20
	for range tries {
		s := &Street{bridge: fmt.Sprintf("pw%06x", rand.N(1<<24)), subnet: randomSubnet()}
		s.Addr = s.subnet.Addr().Next()
		s.next = s.Addr
		if taken(s.subnet) > 0 {
			continue
		}
		if err := s.make(ctx, mark+owner); err != nil {
			return nil, errors.Join(err, s.Close())
		}
		if taken(s.subnet) == 1 {
			return s, nil
		}
		if err := s.Close(); err != nil { // another run had the same idea: both look again
			return nil, err
		}
	}
	return nil, fmt.Errorf("no free subnet was found in %s", tests)
}

func randomSubnet() netip.Prefix {
	b := tests.Addr().As4()
	b[1] += byte(rand.N(2))
	b[2] = byte(rand.N(256))
	return netip.PrefixFrom(netip.AddrFrom4(b), 24)
}

// taken counts the machine's addresses in a subnet.
func taken(p netip.Prefix) int {
	addrs, _ := net.InterfaceAddrs() // a machine that cannot say has none
	n := 0
	for _, a := range addrs {
		if its, err := netip.ParsePrefix(a.String()); err == nil && p.Overlaps(its) {
			n++
		}
	}
	return n
}

func (s *Street) make(ctx context.Context, alias string) error {
	return errors.Join(
		ip(ctx, "link", "add", "name", s.bridge, "type", "bridge"),
		ip(ctx, "link", "set", "dev", s.bridge, "alias", alias, "addrgenmode", "none"),
		ip(ctx, "addr", "add", netip.PrefixFrom(s.Addr, s.subnet.Bits()).String(), "dev", s.bridge),
		ip(ctx, "link", "set", "dev", s.bridge, "up"))
}

// lay lays a cable to the network namespace of a process, and gives its end
// there an address. The cable ends with the namespace.
func (s *Street) lay(ctx context.Context, pid int, addr netip.Addr) (cable string, err error) {
	s.cables++
	cable = fmt.Sprintf("%sh%d", s.bridge, s.cables)
	inside := func(args ...string) error {
		return run(ctx, append([]string{"nsenter", fmt.Sprintf("--net=/proc/%d/ns/net", pid), "ip"}, args...)...)
	}
	for _, step := range []func() error{
		func() error {
			return ip(ctx, "link", "add", "name", cable, "type", "veth", "peer", "name", "eth0", "netns", strconv.Itoa(pid))
		},
		func() error {
			return ip(ctx, "link", "set", "dev", cable, "master", s.bridge, "addrgenmode", "none", "up")
		},
		func() error { return ip(ctx, "link", "set", "dev", cable, "type", "bridge_slave", "isolated", "on") },
		func() error { return inside("link", "set", "dev", "lo", "up") },
		func() error { return inside("link", "set", "dev", "eth0", "addrgenmode", "none", "up") },
		func() error {
			return inside("addr", "add", netip.PrefixFrom(addr, s.subnet.Bits()).String(), "dev", "eth0")
		},
	} {
		if err := step(); err != nil {
			return cable, err
		}
	}
	return cable, nil
}

// address gives the next host's address.
func (s *Street) address() (netip.Addr, error) {
	s.next = s.next.Next()
	if !s.subnet.Contains(s.next) {
		return s.next, fmt.Errorf("the street %s is full", s.subnet)
	}
	return s.next, nil
}

// plug connects or cuts a cable.
func (s *Street) plug(ctx context.Context, cable string, on bool) error {
	state := "down"
	if on {
		state = "up"
	}
	return ip(ctx, "link", "set", "dev", cable, state)
}

// Close takes the street away. Hosts that are still on it have no network then.
func (s *Street) Close() error { return remove(context.Background(), s.bridge) }

func remove(ctx context.Context, device string) error {
	if _, err := os.Lstat(filepath.Join("/sys/class/net", device)); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return ip(ctx, "link", "del", "dev", device)
}

// Sweep removes the streets of runs that are dead. Their hosts' cables went with
// the hosts.
func Sweep(ctx context.Context) error {
	aliases, err := filepath.Glob("/sys/class/net/*/ifalias")
	if err != nil {
		return err
	}
	var errs []error
	for _, file := range aliases {
		raw, err := os.ReadFile(file)
		alias, ours := strings.CutPrefix(strings.TrimSpace(string(raw)), mark)
		if err != nil || !ours {
			continue
		}
		pid, err := strconv.Atoi(strings.SplitN(alias, " ", 2)[0])
		if err != nil {
			continue
		}
		if lives, err := owner(pid); err != nil || lives != alias {
			errs = append(errs, remove(ctx, filepath.Base(filepath.Dir(file))))
		}
	}
	return errors.Join(errs...)
}

// owner names a living process: its id and when it started.
func owner(pid int) (string, error) {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return "", err
	}
	_, rest, _ := strings.Cut(string(raw), ") ") // after the command's name, which may hold spaces
	f := strings.Fields(rest)
	const started = 19 // field 22 of proc(5)
	if len(f) <= started {
		return "", fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	return fmt.Sprintf("%d %s", pid, f[started]), nil
}

func ip(ctx context.Context, args ...string) error {
	return run(ctx, append([]string{"ip"}, args...)...)
}

// run runs a tool of the machine.
func run(ctx context.Context, argv ...string) error {
	out, err := exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, bytes.TrimSpace(out))
	}
	return nil
}
