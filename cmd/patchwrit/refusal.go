package main

import (
	"bufio"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/refusal/explain"
)

// refusalCmd explains codes: one, or the whole catalogue.
func refusalCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "refusal [CODE]",
		Short: "explain a refusal code, or list them all",
		Example: "  patchwrit refusal PW-WRIT-EXPIRED\n" +
			"  patchwrit refusal",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out := bufio.NewWriter(cmd.OutOrStdout()) // it keeps its first error
			for _, e := range explain.All() {
				if len(args) == 0 {
					fmt.Fprintf(out, "%-28s %s\n", e.Code, e.Title)
				} else if string(e.Code) == args[0] {
					fmt.Fprintf(out, "%s: %s\n  why:  %s\n  next: %s\n", e.Code, e.Title, e.Text, e.Next)
					return out.Flush()
				}
			}
			if len(args) == 1 {
				return usagef("there is no refusal %q; patchwrit refusal lists them", args[0])
			}
			return out.Flush()
		},
	}
}
