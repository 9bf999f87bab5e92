package main

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/wire"
)

func init() { verbs = append(verbs, hostCmd) }

func hostCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "host", Short: "see the hosts, let new ones enrol, let old ones go"}
	cmd.AddCommand(hostLsCmd(), hostShowCmd(), hostExposureCmd(), hostTriagedCmd(), hostTokenCmd(),
		hostActCmd("accept", "say that you have looked at a host that seemed to be two machines",
			"Two machines spoke with this host's keys, so it gets nothing. Find out which is which, take the keys off the other\n"+
				"one (enrol it anew), and then accept this one. It is served again once the trust root names it.", "accepted"),
		hostActCmd("rm", "let a host go: its agent is not served any more, and its open plans stop",
			"The host keeps whatever it has. The trust root still names it until the keepers take it out\n"+
				"(patchwrit trust), and a machine that lost its key enrols anew with a token.", "removed"))
	return cmd
}

// hosts lists the hosts, by name and fingerprint.
func (s *server) hosts(ctx context.Context) ([]control.HostView, error) {
	var hosts []control.HostView
	err := s.get(ctx, "hosts", &hosts)
	slices.SortFunc(hosts, func(a, b control.HostView) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Wire, b.Wire))
	})
	return hosts, err
}

// minPrefix is how many digits of a digest name something at least.
const minPrefix = 4

// isPrefix reports whether a person wrote the beginning of the digest.
func isPrefix(text string, digest string) bool {
	return len(text) >= minPrefix && strings.HasPrefix(digest, text)
}

// host finds the one host that a person means: by its fingerprint or the
// beginning of it, or, where nothing is changed by it, by what it calls itself.
func (s *server) host(ctx context.Context, text string, byName bool) (control.HostView, error) {
	hosts, err := s.hosts(ctx)
	if err != nil {
		return control.HostView{}, err
	}
	there := slices.DeleteFunc(hosts, func(h control.HostView) bool { return h.State == wire.Gone })
	var found []control.HostView
	for _, h := range there {
		if isPrefix(text, string(h.ID)) {
			found = append(found, h)
		}
	}
	for _, h := range there {
		if len(found) == 0 && byName && h.Name.Text() == text {
			found = append(found, h)
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return control.HostView{}, usagef("%d hosts are meant by %q; give more of the fingerprint (patchwrit host ls -o json)", len(found), text)
	}
	return control.HostView{}, exit{exitFailure, fmt.Errorf("no enrolled host is meant by %q; patchwrit host ls lists them, and takes the beginning of a fingerprint", text)}
}

func hostLsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list the hosts: who they are, and when they were last heard of",
		Long: "Lists every host that ever enrolled here. Names are what the hosts call themselves; who a host is, is its\n" +
			"fingerprint. A host is pending until the trust root names it, and cloned when two machines spoke with its keys.",
		Example: "  patchwrit host ls --server unix:/var/lib/patchwrit/api.sock\n  patchwrit host ls -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			hosts, err := s.hosts(cmd.Context())
			if err != nil {
				return err
			}
			t := &rows{head: []string{"HOST", "NAME", "STATE", "DOMAIN", "LABELS", "SEEN", "LEASE", "AGENT"}}
			for _, h := range hosts {
				t.add(h.ID.Short(), h.Name.Text(), string(h.State), h.Domain, labels(h.Labels), when(h.Seen), leaseOf(h), h.Version)
			}
			return present(cmd, hosts, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func labels(ls []trust.Label) string {
	out := []string{}
	for _, l := range ls {
		out = append(out, l.Key+"="+l.Value)
	}
	return strings.Join(out, ",")
}

// leaseOf says how the host's last question to the witnesses ended.
func leaseOf(h control.HostView) string {
	switch {
	case h.Refused > h.Leased || h.Why != "": // both may fall into one second
		return "refused " + when(h.Refused)
	case h.Leased > 0:
		return "given " + when(h.Leased)
	}
	return "never asked"
}

func hostShowCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show HOST",
		Short:   "show one host: its keys, what it said, and what the trust root says of it",
		Long:    "HOST is the host's fingerprint or the beginning of it, or its name when only one host calls itself so.",
		Example: "  patchwrit host show 3f2a91\n  patchwrit host show web1 -o json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			h, err := s.host(cmd.Context(), args[0], true)
			if err != nil {
				return err
			}
			t := &pairs{}
			t.add("host", "%s", h.ID)
			t.add("name", "%s (as it calls itself)", h.Name.Text())
			t.add("state", "%s", h.State)
			t.add("domain", "%s", cmp.Or(h.Domain, "- (the trust root does not name it)"))
			t.add("labels", "%s", cmp.Or(labels(h.Labels), "-"))
			t.add("host key", "%s", h.Public)
			t.add("wire key", "%s", h.Wire)
			t.add("agent", "%s", cmp.Or(h.Version, "-"))
			t.add("enrolled", "%s", when(h.Enrolled))
			t.add("seen", "%s", when(h.Seen))
			t.add("inventory", "%s", cmp.Or(h.Inventory, "- (it has not sent one)"))
			t.add("lease", "%s", leaseOf(h))
			if h.Why != "" {
				t.add("", "%s", h.Why.Text())
			}
			return present(cmd, h, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

// token is a token as JSON.
type token struct {
	Token   string `json:"token"`
	Expires int64  `json:"expires"`
}

func hostTokenCmd() *cobra.Command {
	var life time.Duration
	cmd := &cobra.Command{
		Use:   "token",
		Short: "make a secret with which one host may enrol",
		Long: "The token is used once, ends after --life, and tells the new host which server is the right one. It does not carry the\n" +
			"trust root's digest: that comes with the image. An enrolled host stays pending until the keepers add it to the trust root.",
		Example: "  patchwrit host token --life 2h > token\n  patchwrit-agent enroll --token-file token --root-sha256 3f2a…",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			var t token
			seconds := strconv.FormatInt(int64(life/time.Second), 10)
			if err := s.post(cmd.Context(), "tokens?seconds="+url.QueryEscape(seconds), struct{}{}, &t); err != nil {
				return err
			}
			tell(cmd, "for one host, until %s", when(t.Expires))
			return present(cmd, t, line(t.Token))
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	cmd.Flags().DurationVar(&life, "life", time.Hour, "how long it may wait to be used, at most 168h")
	return cmd
}

// hostActCmd is a verb that changes how a host is served. It takes no names: a
// host may call itself whatever it likes.
func hostActCmd(verb, short, long, done string) *cobra.Command {
	cmd := &cobra.Command{
		Use:     verb + " HOST",
		Short:   short,
		Long:    long + "\nHOST is the host's fingerprint or the beginning of it; names do not count, hosts choose them.",
		Example: "  patchwrit host " + verb + " 3f2a917c",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			h, err := s.host(cmd.Context(), args[0], false)
			if err != nil {
				return err
			}
			path := "hosts/" + url.PathEscape(string(h.ID)) + "/" + map[string]string{"accept": "accept", "rm": "remove"}[verb]
			if err := s.post(cmd.Context(), path, struct{}{}, &struct{}{}); err != nil {
				return err
			}
			return say(cmd.OutOrStdout(), "host %s (%s) %s", h.ID.Short(), h.Name.Text(), done)
		},
	}
	addServerFlags(cmd)
	return cmd
}
