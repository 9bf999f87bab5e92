package rego_test

import (
	"context"
	"testing"

	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
)

func TestTheLibrarysOwnTests(t *testing.T) {
	got, err := rego.Test(context.Background(), standard.Rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, one := range got.Tests {
		if one.Is != "passed" {
			t.Errorf("%s:%d: %s: %s %s", one.File, one.Line, one.Name, one.Is, one.Why)
		}
	}
	t.Logf("%d tests, %d %% of the lines; open: %v", got.Passed, got.Percent, got.Uncovers)
	if got.Passed < 31 || got.Percent < 95 {
		t.Errorf("%d tests, %d %%", got.Passed, got.Percent)
	}
}
