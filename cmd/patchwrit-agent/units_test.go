package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// unit reads a unit file as "Section.Key" and its values in order.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("../../deploy/systemd", name))
	if err != nil {
		t.Fatal(err)
	}
	out, section := map[string][]string{}, ""
	for line := range strings.Lines(string(raw)) {
		line = strings.TrimSpace(line)
		switch key, value, ok := strings.Cut(line, "="); {
		case line == "" || line[0] == '#':
		case line[0] == '[':
			section = strings.Trim(line, "[]")
		case !ok:
			t.Errorf("%s: %q", name, line)
		default:
			out[section+"."+key] = append(out[section+"."+key], value)
		}
	}
	return out
}

// What the units promise to the rest of the house.
func TestTheUnitsKeepTheirPromises(t *testing.T) {
	helper, agent := unit(t, "patchwrit-helper.service"), unit(t, "patchwrit-agent.service")
	for _, c := range []struct {
		of   map[string][]string
		key  string
		want string
	}{
		{helper, "Service.ExecStart", "/usr/bin/patchwrit-agent helper"},
		{helper, "Service.KillMode", "process"}, // a running dpkg is never cut
		{helper, "Service.OOMPolicy", "continue"},
		{helper, "Service.UMask", "0022"}, // inherited by maintainer scripts
		{helper, "Service.StateDirectoryMode", "0700"},
		{helper, "Unit.ConditionPathExists", helperState + "/enrolled"},
		{agent, "Service.ExecStart", "/usr/bin/patchwrit-agent run"},
		{agent, "Service.User", messengerUser},
		{agent, "Service.NoNewPrivileges", "yes"},
		{agent, "Service.CapabilityBoundingSet", ""},
		{agent, "Service.ProtectSystem", "strict"},
		{agent, "Service.SocketBindDeny", "any"},
		{helper, "Service.SocketBindDeny", "any"},
		{agent, "Unit.ConditionPathExists", messengerState + "/server"},
	} {
		if got := c.of[c.key]; !slices.Equal(got, []string{c.want}) {
			t.Errorf("%s is %q, want %q", c.key, got, c.want)
		}
	}
	// A mount namespace would be taken from a dpkg that outlives the helper, and
	// packages must be able to write everywhere.
	for _, key := range []string{"PrivateTmp", "ProtectSystem", "ProtectHome", "ProtectKernelModules", "RestrictSUIDSGID", "NoNewPrivileges", "PrivateNetwork", "MemoryDenyWriteExecute"} {
		if got := helper["Service."+key]; got != nil {
			t.Errorf("the helper has %s=%s", key, got)
		}
	}
	// The kernel's /proc/sys/kernel/random/boot_id must stay visible.
	if got := agent["Service.ProcSubset"]; got != nil {
		t.Errorf("the messenger has ProcSubset=%s", got)
	}
	users, err := os.ReadFile("../../deploy/systemd/patchwrit.sysusers")
	if err != nil || !strings.Contains(string(users), "u "+messengerUser+" ") {
		t.Errorf("%s, %v", users, err)
	}
	files, err := os.ReadFile("../../deploy/systemd/patchwrit.tmpfiles")
	for _, line := range []string{"d " + helperState + " 0700 root root", "d " + messengerState + " 0700 patchwrit patchwrit", "d " + publicDir + " 0755 root root"} {
		if err != nil || !strings.Contains(string(files), line) {
			t.Errorf("no line %q, %v", line, err)
		}
	}
}
