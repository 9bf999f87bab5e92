package control

import (
	"context"
	"os"
	"strings"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/policy"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
	"github.com/patchwrit/patchwrit/trust/ceremony"
)

// takeOver says why the rules that the trust root names are not taken over:
// they are, or may be, weaker than those that gave the last verdict, and one
// keeper alone has signed for them. With that many signatures as the ceremony
// wants, nothing is compared: two people have looked.
func (c *Control) takeOver(ctx context.Context, next Rules, root trust.Root) error {
	n, err := ceremony.Signers(os.DirFS(c.Trust), root)
	if err != nil || n >= ceremony.WeakerSigners {
		return err
	}
	digest, file, err := c.rulesBefore()
	if err != nil || digest == "" || digest == next.Digest() {
		return err
	}
	if c.weaker.old == digest && c.weaker.now == next.Digest() { // asked before: the repository is looked at every few seconds
		return c.weaker.err
	}
	old, err := rego.OpenUnverified(ctx, file) // it was verified when it was taken over
	if err != nil {
		return err
	}
	now, err := rego.OpenUnverified(ctx, next.Bundle())
	if err != nil {
		return err
	}
	// More inputs could only tell weaker from may_be_weaker, which is refused alike.
	found, err := rego.Compare(ctx, old, now, policy.Situations())
	if err != nil || found.Is.Harmless() {
		return err
	}
	c.weaker.old, c.weaker.now = digest, next.Digest()
	c.weaker.err = refusal.New(ceremony.CodeWeaker, "rules %s after %s, signed for by %d keeper, are %s: %s", next.Digest().Short(), digest.Short(), n, found.Is, strings.Join(found.Why, "; "))
	return c.weaker.err
}

// refused are rules that were not taken over after others, and why.
type refused struct {
	old, now canon.Digest
	err      error
}

// rulesBefore are the rules in use, or else those of the newest verdict; an
// empty digest when no rules have ever spoken here.
func (c *Control) rulesBefore() (canon.Digest, []byte, error) {
	if c.rules != nil {
		return c.rules.Digest(), c.rules.Bundle(), nil
	}
	newest := policy.Verdict{}
	for _, p := range c.book.plans {
		for _, v := range p.Verdict {
			if newest.Bundle == "" || v.At > newest.At || v.At == newest.At && v.Bundle < newest.Bundle {
				newest = v
			}
		}
	}
	if newest.Bundle == "" {
		return "", nil, nil
	}
	file, err := c.blobs.get(newest.Bundle)
	return newest.Bundle, file, err
}
