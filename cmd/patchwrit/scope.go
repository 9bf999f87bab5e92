package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/trust"
)

// scoping are the flags that say which hosts are meant.
type scoping struct {
	all                    bool
	hosts, domains, labels []string
}

func (s *scoping) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVar(&s.all, "all", false, "every host")
	f.StringArrayVar(&s.hosts, "host", nil, "a host's fingerprint (repeat)")
	f.StringArrayVar(&s.domains, "domain", nil, "a fault domain (repeat)")
	f.StringArrayVar(&s.labels, "label", nil, "hosts with this label, key=value; any one is enough (repeat)")
}

// scope is what the flags mean under a trust root. A fingerprint may be given
// by its beginning, as the trust root knows it.
func (s scoping) scope(root trust.Root) (trust.Scope, error) {
	out := trust.Scope{All: s.all, Hosts: []trust.HostID{}, Domains: []string{}, Labels: []trust.Label{}}
	if !s.all && len(s.hosts)+len(s.domains)+len(s.labels) == 0 {
		return out, usagef("say which hosts: --all, --host, --domain or --label")
	}
	for _, text := range s.hosts {
		h, err := one(root.Hosts, "host", text, func(h trust.Host) string { return string(h.ID) })
		if err != nil {
			return out, usagef("the trust root names no one host that begins with %q; give the fingerprint as patchwrit trust show has it", text)
		}
		out.Hosts = append(out.Hosts, h.ID)
	}
	out.Domains = append(out.Domains, s.domains...)
	for _, text := range s.labels {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			return out, usagef("--label takes key=value, not %q", text)
		}
		out.Labels = append(out.Labels, trust.Label{Key: key, Value: value})
	}
	slices.Sort(out.Hosts)
	slices.Sort(out.Domains)
	slices.SortFunc(out.Labels, func(a, b trust.Label) int { return cmp.Or(cmp.Compare(a.Key, b.Key), cmp.Compare(a.Value, b.Value)) })
	out.Hosts, out.Domains, out.Labels = slices.Compact(out.Hosts), slices.Compact(out.Domains), slices.Compact(out.Labels)
	if err := out.Valid(); err != nil {
		return out, usagef("%v", err)
	}
	return out, nil
}

// scopeText says a scope on one line.
func scopeText(s trust.Scope) string {
	if s.All {
		return "all hosts"
	}
	parts := []string{}
	for _, h := range s.Hosts {
		parts = append(parts, "host "+h.Short())
	}
	for _, d := range s.Domains {
		parts = append(parts, "domain "+d)
	}
	for _, l := range s.Labels {
		parts = append(parts, "label "+l.Key+"="+l.Value)
	}
	return strings.Join(parts, " or ")
}

// covered are the hosts of the trust root that a scope names.
func covered(root trust.Root, s trust.Scope) []trust.Host {
	return slices.DeleteFunc(slices.Clone(root.Hosts), func(h trust.Host) bool { return !s.Covers(h) })
}

// quorumText says in words whose word a statement of this name needs.
func quorumText(root trust.Root, name string) string {
	q, ok := root.Quorum(name)
	if !ok {
		return "nobody: the trust root has no quorum " + name
	}
	text := plural(q.People, "person", "different people")
	for _, need := range q.Roles {
		text += ", " + plural(need.People, "of role "+need.Role, "of role "+need.Role)
	}
	return text
}

// scopePairs shows a scope under a trust root.
func scopePairs(p *pairs, root trust.Root, s trust.Scope) {
	p.add("scope", "%s", scopeText(s))
	if hosts := covered(root, s); root.Loaded() {
		names := []string{}
		for _, h := range hosts {
			names = append(names, h.ID.Short())
		}
		p.add("today", "%d of the trust root's %d hosts: %s", len(hosts), len(root.Hosts), some(names))
	}
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}
