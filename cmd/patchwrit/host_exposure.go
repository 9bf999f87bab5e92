package main

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
)

func hostExposureCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "exposure HOST",
		Short: "say since when a host is exposed to what, and by when that has to end",
		Long: "Lists one clock for each vulnerability that was ever found on the host. A clock starts when a look first finds the\n" +
			"vulnerability, and stops only when its fix is effective: the packages are at fixed versions, a fixed kernel was booted, and\n" +
			"by a list that was made after that no process uses deleted files of a package built from the same source. A deleted\n" +
			"file of which it is not known whose it was holds every clock of the host: a restart of the process, which is named,\n" +
			"releases them. What is not known stops none; nor does a feed that falls silent. Clocks that run come first, in the order\n" +
			"of work.\n\n" +
			"The day follows from CISA BOD 26-04 and needs a KEV feed (patchwrit up --feeds). Whether the public reaches the\n" +
			"host says its label exposure=internet or exposure=internal in the trust root; unknown counts as internet.\n\n" +
			"Exit code 3: something is overdue.",
		Example: "  patchwrit host exposure web1\n  patchwrit host exposure 3f2a917c -o json",
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
			var clocks []control.ExposureView
			if err := s.get(cmd.Context(), "exposures?"+url.Values{"host": {string(h.ID)}}.Encode(), &clocks); err != nil {
				return err
			}
			return presentClocks(cmd, clocks)
		},
	}
	addServerFlags(cmd)
	addFormatFlag(cmd)
	return cmd
}

func presentClocks(cmd *cobra.Command, clocks []control.ExposureView) error {
	t, late := &rows{head: []string{"VULNERABILITY", "STATE", "FIRST SEEN", "EXPOSED FOR", "DEADLINE", "DUE"}}, 0
	for _, x := range clocks {
		state := "exposed"
		switch {
		case x.Closed != 0:
			state = "fixed " + when(x.Closed)
		case x.Gone != 0:
			state = "not effective yet"
		}
		if x.Overdue {
			state = strings.TrimSuffix("OVERDUE, "+state, ", exposed")
			late++
		}
		if x.Waits != "" {
			state += ": " + x.Waits.Text()
		}
		due := "-"
		if x.Due != 0 {
			due = when(x.Due)
		}
		class := x.Class.Name
		if class == "" {
			class = "-"
		}
		t.add(x.ID, state, when(x.First), (time.Duration(x.Spent) * time.Second).String(), strings.ToLower(class), due)
	}
	if err := present(cmd, clocks, t); err != nil {
		return err
	}
	if late > 0 {
		return exit{exitFindings, fmt.Errorf("%d vulnerabilities are overdue", late)}
	}
	return nil
}
