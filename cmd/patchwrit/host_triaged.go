package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/control"
)

func hostTriagedCmd() *cobra.Command {
	var by, note string
	cmd := &cobra.Command{
		Use:   "triaged HOST",
		Short: "say that you have looked at a host for a compromise, so that it may be changed",
		Long: "CISA BOD 26-04 wants a forensic look at a host before what is exploited, exposed and automatable is patched on it:\n" +
			"a change destroys traces. Until somebody says that it was done, the standard rules hold such plans. Your word stands\n" +
			"in the log; it lifts that hold and permits nothing: people still approve the plan.",
		Example: "  patchwrit host triaged web1 --by alice --note 'no foreign process, logs and hashes compared, case 4711'",
		Args:    exactly(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if by == "" || note == "" {
				return usagef("--by and --note say who looked and what they found")
			}
			s, err := openServer(cmd)
			if err != nil {
				return err
			}
			h, err := s.host(cmd.Context(), args[0], false)
			if err != nil {
				return err
			}
			t := control.Triage{By: canon.NoteOf(by), Note: canon.NoteOf(note)}
			if err := s.post(cmd.Context(), "hosts/"+string(h.ID)+"/triaged", t, nil); err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "noted: host %s was looked at by %s\n", h.ID.Short(), by)
			return err
		},
	}
	addServerFlags(cmd)
	cmd.Flags().StringVar(&by, "by", "", "who looked")
	cmd.Flags().StringVar(&note, "note", "", "what they found; it stands in the log")
	return cmd
}
