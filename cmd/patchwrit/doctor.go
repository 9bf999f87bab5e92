package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/tlog"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
	"github.com/patchwrit/patchwrit/witness/ask"
)

func init() { verbs = append(verbs, doctorCmd) }

func doctorCmd() *cobra.Command {
	key := ""
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "look whether everything is in order: trust root, people, witnesses, control plane, keys, sandbox",
		Long: "Looks at what this machine can see and changes nothing: the trust root and whether every quorum can be met, the\n" +
			"witnesses and whether enough of them answer, the control plane and what does not work there, and who else can read\n" +
			"your keys (--key, --data), and whether an advisor can be shut in here (nothing is asked). What is not named is not looked at.\n\n" +
			"Exit codes: 0 all is well, 1 something is wrong, 6 something could not be looked at.",
		Example: "  patchwrit doctor --trust trust --root-sha256 3f2a… --server unix:/var/lib/patchwrit/api.sock\n" +
			"  patchwrit doctor --data /var/lib/patchwrit --key ~/.ssh/id_ed25519 -o json",
		Args: exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error { return examine(cmd, key) },
	}
	addHouseFlags(cmd)
	addServerFlags(cmd)
	addDataFlag(cmd)
	addFormatFlag(cmd)
	cmd.Flags().StringVar(&key, "key", "", "your private key file, to see whether others can read it")
	return cmd
}

// symptom is one thing that was looked at.
type symptom struct {
	What  string `json:"what"`
	State string `json:"state"` // ok, warn, wrong, unknown
	Says  string `json:"says"`
	Next  string `json:"next"` // what to do, "" when all is well
}

type patient struct {
	found []symptom
	named []trust.Host // by the trust root, when it loads
}

func (p *patient) add(what, state, next, format string, args ...any) {
	p.found = append(p.found, symptom{what, state, fmt.Sprintf(format, args...), next})
}

func examine(cmd *cobra.Command, key string) error {
	p := &patient{found: []symptom{}}
	if houseNamed(cmd) {
		if root, err := openHouse(cmd); err != nil {
			p.add("trust root", "wrong", "fetch it again from the keepers; the pin must come another way than the directory", "%s", firstLine(err))
		} else {
			p.named = root.Hosts
			p.house(root)
			p.witnesses(cmd.Context(), root, time.Now())
		}
	} else {
		p.add("trust root", "unknown", "name it with --trust and --root-sha256", "it is not named")
	}
	if serverName(cmd) != "" {
		p.server(cmd)
	} else {
		p.add("control plane", "unknown", "name it with --server", "it is not named")
	}
	p.keys(cmd, key)
	p.sandbox(cmd.Context())
	t := &rows{head: []string{"STATE", "WHAT", "SAYS", "NEXT"}}
	for _, s := range p.found {
		t.add(s.State, s.What, s.Says, s.Next)
	}
	if err := present(cmd, p.found, t); err != nil {
		return err
	}
	has := func(state string) bool {
		return slices.ContainsFunc(p.found, func(s symptom) bool { return s.State == state })
	}
	switch {
	case has("wrong"):
		return errors.New("not everything is in order; the last column says what to do")
	case has("unknown"):
		return exit{exitPartial, errors.New("not everything could be looked at; the last column says why")}
	}
	return nil
}

// house looks at the trust root and at every quorum.
func (p *patient) house(root trust.Root) {
	p.add("trust root", "ok", "", "house %s, versions %+v; %d people, %d hosts", root.ID.Short(), root.Versions, len(root.People), len(root.Hosts))
	if root.Solo {
		p.add("solo mode", "warn", "name a second person when there is one", "one person alone decides")
	}
	for _, q := range root.Quorums {
		able := slices.DeleteFunc(slices.Clone(root.People), func(h trust.Person) bool {
			return !slices.ContainsFunc(h.Credentials, func(c trust.Credential) bool { return !c.Revoked })
		})
		alone := slices.DeleteFunc(slices.Clone(able), func(h trust.Person) bool {
			return !slices.ContainsFunc(h.Credentials, func(c trust.Credential) bool { return !c.Revoked && c.Independent() })
		})
		switch {
		case len(able) < q.People || !q.Met(able):
			p.add("quorum "+q.For, "wrong", "let the keepers add people, roles or keys", "%s are needed, and the roster cannot give them", quorumText(root, q.For))
		case len(alone) == 0:
			p.add("quorum "+q.For, "wrong", "let somebody have an SSH key or a passkey for localhost in the roster", "nobody can sign on an independent view")
		case len(able) == q.People && q.People > 1:
			p.add("quorum "+q.For, "warn", "name one person more, or the loss of one key stops everything", "exactly as many people as are needed")
		default:
			p.add("quorum "+q.For, "ok", "", "%s; %d people could", quorumText(root, q.For), len(able))
		}
	}
}

// maxSkew is how far a witness's clock may be from this one, in seconds.
const maxSkew = 60

// witnesses asks each of them.
func (p *patient) witnesses(ctx context.Context, root trust.Root, now time.Time) {
	policy, err := tlog.ParsePolicy(root.Witnesses)
	if err != nil {
		p.add("witness policy", "wrong", "let the keepers sign one that holds", "%s", firstLine(err))
		return
	}
	answer, machines := []string{}, map[string]string{}
	for _, w := range policy.Witnesses() {
		what := "witness " + w.Name
		if u, err := url.Parse(w.URL); err == nil {
			if other, twice := machines[u.Hostname()]; twice {
				p.add(what, "warn", "let other people run it elsewhere", "it is on the same machine as %s, so the two prove no more than one", other)
			}
			machines[u.Hostname()] = w.Name
		}
		h, err := ask.HealthOf(ctx, w)
		if err != nil {
			p.add(what, "wrong", "call its operator; leases and the log need a quorum of witnesses, halts work with those that answer", "%s", firstLine(err))
			continue
		}
		answer = append(answer, w.Name)
		skew := h.Time - now.Unix()
		switch {
		case h.Trust != root.ID:
			p.add(what, "wrong", "its operator has to start it with this house's --root-sha256", "it serves house %s", h.Trust.Short())
		case h.Versions != root.Versions:
			p.add(what, "warn", "its operator brings the newest trust repository there", "its trust root has versions %+v", h.Versions)
		case max(skew, -skew) > maxSkew:
			p.add(what, "wrong", "set its clock, or this one", "its clock is %d seconds from this one", skew)
		default:
			p.add(what, "ok", "", "it has seen %d leaves, and holds %d halts", h.Checkpoint.Size, h.Halts)
		}
	}
	if lent, err := lending(root, answer); err != nil || !lent {
		p.add("witness quorum", "wrong", "until more answer no host begins a step and nothing is logged; nothing is lost, and patchwrit halt still works on those that answer", "%d of %d answer, which is no quorum", len(answer), len(policy.Witnesses()))
		return
	}
	p.add("witness quorum", "ok", "", "%d of %d answer", len(answer), len(policy.Witnesses()))
}

// server asks the control plane.
func (p *patient) server(cmd *cobra.Command) {
	s, err := openServer(cmd)
	var about struct {
		Version   string `json:"version"`
		Connected int    `json:"connected"`
	}
	if err == nil {
		err = s.get(cmd.Context(), "server", &about)
	}
	if err != nil {
		p.add("control plane", "wrong", "see that patchwrit up runs, and that --server, --server-cert and --token-file are right", "%s", firstLine(err))
		return
	}
	state, next := "ok", ""
	if about.Version != version {
		state, next = "warn", "use the same version on both machines"
	}
	p.add("control plane", state, next, "version %s, this is %s; %d agents connected", about.Version, version, about.Connected)
	var trouble []string
	if err := s.get(cmd.Context(), "trouble", &trouble); err != nil {
		p.add("control plane", "unknown", "try again", "%s", firstLine(err))
	}
	for _, t := range trouble {
		subject, why, _ := strings.Cut(t, ": ")
		next := "see its log; it tries again by itself"
		if strings.HasPrefix(subject, "quarantine of feed ") {
			next = "look at them: patchwrit feed quarantine ls --server …; it is freed by a second source or your word"
		}
		p.add("control plane: "+subject, "wrong", next, "%s", why)
	}
	hosts, err := s.hosts(cmd.Context())
	if err != nil {
		p.add("hosts", "unknown", "try again", "%s", firstLine(err))
		return
	}
	p.hosts(hosts, time.Now().Unix())
}

// absent are the trust root's hosts that this control plane does not serve.
const absent = "of the trust root that are not enrolled here"

// silent is how long a host may not be heard of before a person should look.
const silent = 24 * 3600

func (p *patient) hosts(hosts []control.HostView, now int64) {
	names := map[string][]string{}
	for _, n := range p.named {
		if !slices.ContainsFunc(hosts, func(h control.HostView) bool { return h.ID == n.ID && h.State != wire.Gone }) {
			names[absent] = append(names[absent], n.ID.Short())
		}
	}
	for _, h := range hosts {
		switch {
		case h.State == wire.Gone:
		case h.State != wire.Enrolled:
			names[string(h.State)] = append(names[string(h.State)], h.ID.Short())
		case now-h.Seen > silent:
			names["silent for a day"] = append(names["silent for a day"], h.ID.Short())
		default:
			names["well"] = append(names["well"], h.ID.Short())
		}
	}
	p.add("hosts", "ok", "", "%d are enrolled and were heard of within a day", len(names["well"]))
	for _, c := range []struct{ what, state, next string }{
		{string(wire.Pending), "warn", "the keepers add them (patchwrit trust add-host), or remove them (patchwrit host rm)"},
		{string(wire.Cloned), "wrong", "find the second machine, then patchwrit host accept"},
		{absent, "warn", "nobody patches them: enrol each with a token (patchwrit host token), or have the keepers take it out"},
		{"silent for a day", "warn", "look at the machines; see systemctl status patchwrit-agent there"},
	} {
		if n := names[c.what]; len(n) > 0 {
			p.add("hosts "+c.what, c.state, c.next, "%d: %s", len(n), some(n))
		}
	}
}

// keys looks at who can read what is secret here.
func (p *patient) keys(cmd *cobra.Command, key string) {
	files := []string{}
	if key != "" {
		files = append(files, key)
	}
	if token, _ := cmd.Flags().GetString("token-file"); token != "" {
		files = append(files, token)
	}
	if data, _ := cmd.Flags().GetString("data"); data != "" {
		files = append(files, data)
		for _, name := range []string{"log.key", "tls.key", operatorToken} {
			if _, err := os.Stat(filepath.Join(data, name)); err == nil {
				files = append(files, filepath.Join(data, name))
			}
		}
	}
	for _, path := range files {
		info, err := os.Stat(path)
		switch {
		case err != nil:
			p.add(path, "unknown", "is the path right?", "%v", err)
		case info.Mode().Perm()&0o077 != 0:
			p.add(path, "wrong", cmp.Or(map[bool]string{true: "chmod 700 " + path}[info.IsDir()], "chmod 600 "+path)+"; if others were on this machine, make a new key", "others on this machine can read it (%v)", info.Mode())
		default:
			p.add(path, "ok", "", "only its owner can read it")
		}
	}
}
