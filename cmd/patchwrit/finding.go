package main

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/trust"
)

func init() { verbs = append(verbs, findingCmd) }

// findingVerbs are the verbs under finding.
var findingVerbs = []func() *cobra.Command{findingLsCmd, findingHostsCmd, findingExplainCmd}

func findingCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "finding", Short: "see which vulnerabilities concern the hosts, which hosts one concerns, and why"}
	for _, verb := range findingVerbs {
		cmd.AddCommand(verb())
	}
	return cmd
}

func findingLsCmd() *cobra.Command {
	var limit int
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "list the vulnerabilities that concern some host, those of the most hosts first",
		Long: "Lists what the control plane's feeds say about the hosts' packages, from its index of all hosts. Names are the CVE id\n" +
			"where the record has just one, else the record's own id. What only a changelog says is not in it; a plan reads those too.",
		Example: "  patchwrit finding ls --limit 20\n  patchwrit finding ls -o json",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			var list []control.Count
			if err := s.get(cmd.Context(), "findings?limit="+url.QueryEscape(strconv.Itoa(limit)), &list); err != nil {
				return err
			}
			t := &rows{head: []string{"ADVISORY", "AFFECTED", "UNKNOWN", "INVESTIGATED"}}
			for _, c := range list {
				t.add(c.Name, strconv.Itoa(c.Affected), strconv.Itoa(c.Unknown), strconv.Itoa(c.Investigated))
			}
			return present(cmd, list, t)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	cmd.Flags().IntVar(&limit, "limit", 100, "how many to list, at most 10000")
	return cmd
}

func findingHostsCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "hosts ADVISORY",
		Short: "say which hosts a vulnerability concerns",
		Long: "ADVISORY is the id of a record, an alias or the name of an upstream record: a CVE, DSA, USN or RHSA id. A host is affected\n" +
			"when any record of that name says so; where it cannot be told it is unknown, which is not clean.\n\n" +
			"Exit code 6: a host may be missing from the answer, because a feed or an inventory is not whole, or no record has that name.",
		Example: "  patchwrit finding hosts CVE-2026-12345\n  patchwrit finding hosts DSA-5999-1 -o json",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			return s.findingHosts(cmd, args[0])
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func (s *server) findingHosts(cmd *cobra.Command, name string) error {
	var a control.About
	if err := s.get(cmd.Context(), "findings/hosts?name="+url.QueryEscape(name), &a); err != nil {
		return err
	}
	hosts, err := s.hosts(cmd.Context())
	if err != nil {
		return err
	}
	names := map[trust.HostID]control.HostView{}
	for _, h := range hosts {
		names[h.ID] = h
	}
	t := &rows{head: []string{"HOST", "NAME", "STATE", "DOMAIN", "LABELS"}}
	for _, group := range []struct {
		state string
		ids   []trust.HostID
	}{{"affected", a.Affected}, {"unknown", a.Unknown}, {"under investigation", a.Investigated}} {
		for _, id := range group.ids {
			h := names[id]
			t.add(id.Short(), h.Name.Text(), group.state, h.Domain, labels(h.Labels))
		}
	}
	if err := present(cmd, a, t); err != nil {
		return err
	}
	tell(cmd, "%d of %d hosts affected, %d unknown, %d under investigation; feeds read %s", len(a.Affected), a.Hosts, len(a.Unknown), len(a.Investigated), when(a.Read))
	if len(a.Gaps) > 0 {
		return exit{exitPartial, fmt.Errorf("the answer is not complete: %w", errors.New(strings.Join(a.Gaps, "; ")))}
	}
	return nil
}
