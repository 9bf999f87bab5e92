package fleet

import (
	"context"
	"errors"
	"fmt"

	"github.com/patchwrit/patchwrit/control"
)

// exitWaits is the exit code of what waits for more people.
const exitWaits = 4

// waits takes the exit code of waiting for what it is: a success so far.
func waits(err error) error {
	if status := new(ExitError); errors.As(err, &status) && status.Code == exitWaits {
		return nil
	}
	return err
}

// Approve has people say yes to a plan, one after the other, with their software
// keys.
func (f *Fleet) Approve(ctx context.Context, plan string, people ...string) error {
	for _, name := range people {
		argv := append([]string{"patchwrit", "approve", plan, "--key", f.Key(name), "--yes"}, f.House()...)
		if _, err := f.Do(ctx, append(argv, f.Server()...)...); err != nil {
			return err
		}
	}
	return nil
}

// Grant has one person write a grant and two sign it. The terms are flags of
// `patchwrit grant new`.
func (f *Fleet) Grant(ctx context.Context, file string, terms ...string) (control.Grant, error) {
	argv := append([]string{"patchwrit", "grant", "new", "--author", f.house.People["eve-the-author"], "--out", f.In(file)}, f.House()...)
	if _, err := f.Do(ctx, append(argv, terms...)...); err != nil {
		return control.Grant{}, err
	}
	for _, name := range []string{"ann", "bob"} {
		argv := append([]string{"patchwrit", "grant", "sign", f.In(file), "--key", f.Key(name), "--yes"}, f.House()...)
		if _, err := f.Do(ctx, append(argv, f.Server()...)...); waits(err) != nil {
			return control.Grant{}, err
		}
	}
	grants, err := f.GrantsNow(ctx)
	if err != nil || len(grants) == 0 {
		return control.Grant{}, fmt.Errorf("the grant that was signed is not there: %w", err)
	}
	newest := grants[0]
	for _, g := range grants {
		if g.Grant.Created > newest.Grant.Created {
			newest = g
		}
	}
	return newest, nil
}

// GrantsNow asks for the grants.
func (f *Fleet) GrantsNow(ctx context.Context) (grants []control.Grant, err error) {
	return grants, f.Get(ctx, "grants", &grants)
}

// Halt has one person stop every host, straight at the witnesses.
func (f *Fleet) Halt(ctx context.Context, name string) (string, error) {
	argv := append([]string{"patchwrit", "halt", "--all", "--for", "1h", "--note", "halt of the test", "--key", f.Key(name), "--yes"}, f.House()...)
	return f.Do(ctx, append(argv, f.Server()...)...)
}

// Lift has a quorum end a halt.
func (f *Fleet) Lift(ctx context.Context, halt string) error {
	out := f.In("lift-ann.json")
	argv := append([]string{"patchwrit", "halt", "lift", halt, "--yes"}, f.House()...)
	if _, err := f.Do(ctx, append(argv, "--key", f.Key("ann"), "--out", out)...); waits(err) != nil {
		return err
	}
	_, err := f.Do(ctx, append(argv, "--key", f.Key("bob"), "--with", out)...)
	return err
}
