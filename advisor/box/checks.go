package box

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// check looks from outside at one layer of a process that waits to become the
// program, and says in a word what is there.
type check struct {
	name string
	look func(*jail) (string, error)
}

// all layers. Landlock cannot be seen from outside: the stage, which is our own
// code, tries it and says so.
var all = []check{
	{"landlock", sawLandlock},
	{"namespaces", ownNamespaces},
	{"user", notRoot},
	{"empty root", sawEmptyRoot},
	{"capabilities", noCapability},
	{"no new privileges", status("NoNewPrivs", "1", "no new privileges")},
	{"seccomp", status("Seccomp", "2", "seccomp allow-list")},
	{"descriptors", oneSocket},
	{"limits", limited},
	{"control group", grouped},
}

func sawLandlock(j *jail) (string, error) {
	if !strings.HasPrefix(j.said, "landlock ") {
		return "", errors.New("it was not tried")
	}
	return j.said, nil
}

var kindsOfNamespace = []string{"user", "pid", "mnt", "net", "ipc", "uts", "cgroup"}

func ownNamespaces(j *jail) (string, error) {
	for _, kind := range kindsOfNamespace {
		ours, err := os.Readlink("/proc/self/ns/" + kind)
		if err != nil {
			return "", err
		}
		theirs, err := os.Readlink(j.proc("ns/" + kind))
		if err != nil {
			return "", err
		}
		if ours == theirs {
			return "", fmt.Errorf("%s is this process's own", kind)
		}
	}
	s, err := j.lines("status")
	if f := strings.Fields(s["NSpid"]); err == nil && (len(f) < 2 || f[len(f)-1] != "1") {
		err = fmt.Errorf("it is not the first process of its pid namespace (%s)", s["NSpid"])
	}
	return "namespaces " + strings.Join(kindsOfNamespace, " "), err
}

func notRoot(j *jail) (string, error) {
	s, err := j.lines("status")
	if err != nil {
		return "", err
	}
	want := strconv.Itoa(attributes().UidMappings[0].HostID)
	for _, id := range strings.Fields(s["Uid"]) {
		if id != want || id == "0" {
			return "", fmt.Errorf("it runs as user %s, not %s", id, want)
		}
	}
	return "user " + want, nil
}

func sawEmptyRoot(j *jail) (string, error) {
	in, err := os.ReadDir(j.proc("root") + "/.")
	if err != nil {
		return "", err
	}
	raw, err := os.ReadFile(j.proc("mountinfo"))
	if err != nil {
		return "", err
	}
	if mounts := strings.Count(string(raw), "\n"); len(in) != 0 || mounts != 1 || !strings.Contains(string(raw), " / / ro,nosuid,nodev,noexec") {
		return "", fmt.Errorf("its root holds %d files, and it sees %d mounts: %s", len(in), mounts, firstLine(string(raw)))
	}
	return "empty root, read-only", nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func noCapability(j *jail) (string, error) {
	s, err := j.lines("status")
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if strings.Trim(s[set], "0") != "" || s[set] == "" {
			return "", errors.Join(err, fmt.Errorf("%s is %s", set, s[set]))
		}
	}
	return "no capability", err
}

func status(key, want, word string) func(*jail) (string, error) {
	return func(j *jail) (string, error) {
		s, err := j.lines("status")
		if err == nil && s[key] != want {
			err = fmt.Errorf("%s is %q in its status, not %s", key, s[key], want)
		}
		return word, err
	}
}

// oneSocket looks at every descriptor: what is not closed when the program begins
// is /dev/null three times, and the socket.
func oneSocket(j *jail) (string, error) {
	list, err := os.ReadDir(j.proc("fd"))
	if err != nil {
		return "", err
	}
	kept := map[string]string{}
	for _, e := range list {
		info, err := j.lines("fdinfo/" + e.Name())
		if err != nil {
			return "", err
		}
		flags, err := strconv.ParseUint(info["flags"], 8, 32)
		if err != nil {
			return "", err
		}
		if flags&unix.O_CLOEXEC != 0 {
			continue
		}
		if kept[e.Name()], err = os.Readlink(j.proc("fd/" + e.Name())); err != nil {
			return "", err
		}
	}
	if len(kept) != 4 || kept["0"] != os.DevNull || kept["1"] != os.DevNull || kept["2"] != os.DevNull || !strings.HasPrefix(kept["3"], "socket:") {
		return "", fmt.Errorf("it would keep %v", kept)
	}
	return "one socket", nil
}

// limited sets the limits, since what made the box may need more than the program,
// and reads them back.
func limited(j *jail) (string, error) {
	pid := j.cmd.Process.Pid
	for _, l := range []struct {
		name string
		what int
		most uint64
	}{
		{"memory", unix.RLIMIT_DATA, j.limits.data}, {"addresses", unix.RLIMIT_AS, 4 << 30}, {"threads", unix.RLIMIT_NPROC, j.limits.threads}, {"processor time", unix.RLIMIT_CPU, j.limits.cpu},
		{"files", unix.RLIMIT_NOFILE, 16}, {"file size", unix.RLIMIT_FSIZE, 0}, {"core", unix.RLIMIT_CORE, 0}, {"locked memory", unix.RLIMIT_MEMLOCK, 0}, {"queues", unix.RLIMIT_MSGQUEUE, 0}, {"signals", unix.RLIMIT_SIGPENDING, 64},
	} {
		want, got := unix.Rlimit{Cur: l.most, Max: l.most}, unix.Rlimit{}
		if err := unix.Prlimit(pid, l.what, &want, nil); err != nil {
			return "", fmt.Errorf("%s: %w", l.name, err)
		}
		if err := unix.Prlimit(pid, l.what, nil, &got); err != nil || got != want {
			return "", fmt.Errorf("%s is %d, not %d (%v)", l.name, got.Max, want.Max, err)
		}
	}
	return fmt.Sprintf("limits: %d MiB, %d s of processor, %d threads, no file", j.limits.data>>20, j.limits.cpu, j.limits.threads), nil
}

func grouped(j *jail) (string, error) {
	if j.group.dirs == nil {
		return "no control group of its own (none can be made here; the limits hold without)", nil
	}
	raw, err := os.ReadFile(j.proc("cgroup"))
	if err == nil && !strings.Contains(string(raw), j.group.name) {
		err = fmt.Errorf("it is not in %s", j.group.name)
	}
	return "control group with limits of memory and threads", err
}
