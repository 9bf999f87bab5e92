package main

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/control"
	"github.com/patchwrit/patchwrit/priority"
)

func TestExposureSaysWhatIsOverdue(t *testing.T) {
	class := priority.Class{Key: "14D", Name: "14 Days", Days: 14}
	late := control.ExposureView{Exposure: priority.Exposure{ID: "CVE-2026-0001", First: 1000, Opened: 1000, Class: class, Due: 1210600}, Spent: 2000000, Overdue: true}
	fixed := control.ExposureView{Exposure: priority.Exposure{ID: "CVE-2026-0002", First: 1000, Opened: 1000, Closed: 5000}, Spent: 4000}
	gone := control.ExposureView{Exposure: priority.Exposure{ID: "CVE-2026-0003", First: 1000, Opened: 1000, Gone: 5000}, Spent: 4000, Waits: "process nginx (pid 812) still uses it"}
	held := control.ExposureView{Exposure: priority.Exposure{ID: "CVE-2026-0004", First: 1000, Opened: 1000, Gone: 5000, Class: class, Due: 1210600}, Spent: 2000000, Overdue: true, Waits: "a process still uses that"}
	var out bytes.Buffer
	cmd := &cobra.Command{}
	addFormatFlag(cmd)
	cmd.SetOut(&out)
	var code exit
	if err := presentClocks(cmd, []control.ExposureView{late, gone, fixed, held}); !errors.As(err, &code) || code.code != exitFindings {
		t.Errorf("something overdue: %v", err)
	}
	for _, want := range []string{"OVERDUE", "14 days", "not effective yet: process nginx (pid 812) still uses it", "OVERDUE, not effective yet: a process still uses that", "fixed 1970-01-01"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is not in:\n%s", want, out.String())
		}
	}
	if err := presentClocks(cmd, []control.ExposureView{fixed}); err != nil {
		t.Errorf("nothing overdue: %v", err)
	}
}
