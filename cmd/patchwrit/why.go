package main

import (
	"errors"
	"net/url"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
)

func init() { verbs = append(verbs, whyCmd) }

func whyCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "why HOST [PACKAGE]",
		Short: "say why a host, or one package on it, was patched, waits, or was refused",
		Long: "Says for each plan that names the host how it stands there, who can unblock it, and when it can go on at the earliest.\n" +
			"HOST is the host's fingerprint or the beginning of it, or its name when only one host calls itself so.\n\n" +
			"Exit code 4: something waits for people's approval.",
		Example: "  patchwrit why web1\n  patchwrit why 3f2a917c openssl -o json",
		Args:    between(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			return s.why(cmd, args)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func (s *server) why(cmd *cobra.Command, args []string) error {
	h, err := s.host(cmd.Context(), args[0], true)
	if err != nil {
		return err
	}
	q := url.Values{"host": {string(h.ID)}}
	if len(args) > 1 {
		q.Set("package", args[1])
	}
	var reasons []control.Reason
	if err := s.get(cmd.Context(), "why?"+q.Encode(), &reasons); err != nil {
		return err
	}
	t := &pairs{}
	t.add("host", "%s (%s)", h.ID, h.Name.Text())
	for _, r := range reasons {
		whyLines(t, r)
	}
	if err := present(cmd, reasons, t); err != nil {
		return err
	}
	if slices.ContainsFunc(reasons, func(r control.Reason) bool { return r.State == string(control.Review) }) {
		return exit{exitWaits, errors.New("a plan waits for people: patchwrit review ls")}
	}
	return nil
}

func whyLines(t *pairs, r control.Reason) {
	t.add("", "")
	if r.Plan != "" {
		t.add("plan", "%s", r.Plan)
		t.add("packages", "%s", strings.Join(r.Packages, " "))
	}
	t.add("state", "%s", r.State)
	t.add("why", "%s", r.Text)
	if r.Code != "" {
		t.add("refusal", "%s: %s", r.Code, r.Title)
		t.add("what to do", "%s", r.Do)
	}
	if r.Due != 0 {
		late := ""
		if r.Overdue {
			late = " (overdue)"
		}
		t.add("due", "%s%s", when(r.Due), late)
	}
	for _, who := range r.Who {
		t.add("can unblock", "%s", who)
	}
	if r.Next != 0 {
		t.add("next", "%s", when(r.Next))
	}
	for _, line := range r.Advice {
		t.add("advice", "%s", line)
	}
}
