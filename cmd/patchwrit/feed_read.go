package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/advisory"
	"github.com/patchwrit/patchwrit/feed/cve"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/epss"
	"github.com/patchwrit/patchwrit/feed/kev"
	"github.com/patchwrit/patchwrit/feed/nvd"
	"github.com/patchwrit/patchwrit/pkgmgr/apt/solve"
)

// chosen are the feeds of the depot that a command reads.
type chosen struct {
	depot  *depot.Depot
	names  []string
	maxAge int64 // seconds; 0: each feed's own
}

// choose reads the flags: each --feed that names one of the depot and no file;
// the whole depot when there is neither --feed nor --source, or when --feeds
// stands without --feed.
func choose(cmd *cobra.Command) (c chosen, err error) {
	dir, err := depotDir(cmd)
	if err != nil {
		return c, err
	}
	c.depot = depot.Open(dir, nil)
	all, err := c.depot.Names()
	if err != nil {
		return c, err
	}
	f := cmd.Flags()
	given, err := f.GetStringArray("feed")
	if err != nil {
		return c, err
	}
	if c.maxAge, err = depotAge(cmd); err != nil {
		return c, err
	}
	if len(given) == 0 && (!f.Changed("source") || f.Changed("feeds")) {
		c.names = all
		return c, nil
	}
	for _, name := range given {
		if c.takes(name, all) {
			c.names = append(c.names, name)
		}
	}
	return c, nil
}

// takes reports whether a --feed is one of the depot. A file of the name is
// meant first.
func (c chosen) takes(name string, all []string) bool {
	_, err := os.Stat(name)
	return slices.Contains(all, name) && errors.Is(err, fs.ErrNotExist)
}

// sets reads the chosen feeds that tell about packages, as they count, and what
// of them is held.
func (c chosen) sets(ctx context.Context, now time.Time, say func(format string, args ...any)) (out []advisory.Set, held []solve.Held, err error) {
	for _, name := range c.names {
		f, ok, err := c.depot.Feed(name)
		if err != nil {
			return nil, nil, err
		}
		if !ok || depot.IsFact(f.Kind) {
			continue
		}
		say("read feed %s from the depot", name)
		_, content, err := c.depot.Read(ctx, name, now.Unix(), c.maxAge)
		if err != nil {
			return nil, nil, err
		}
		out = append(out, *content.Set)
		held = append(held, heldOf(name, content)...)
	}
	return out, held, nil
}

// heldOf lists what of a feed's content is held.
func heldOf(name string, c depot.Content) (out []solve.Held) {
	for _, h := range c.Held {
		out = append(out, solve.Held{Held: h.Held, Feed: name, Packages: []string{}, Came: h.Came})
	}
	return out
}

// facts are what the chosen feeds tell about vulnerabilities; nil where none does.
type facts struct {
	kev  *kev.Catalogue
	epss *epss.Scores
	cve  chosen       // feeds of CVE records, which are read once it is known of which
	held []solve.Held // entries of KEV
}

func (k facts) none() bool { return k.kev == nil && k.epss == nil && len(k.cve.names) == 0 }

// books reads of the feeds of CVE records those that are wanted, and what of
// these is held.
func (c chosen) books(ctx context.Context, now time.Time, wanted func(cve string) bool) (out []cve.Book, held []solve.Held, err error) {
	for _, name := range c.names {
		_, content, err := c.depot.ReadOf(ctx, name, now.Unix(), c.maxAge, wanted)
		if err != nil {
			return nil, nil, err
		}
		out, held = append(out, *content.CVE), append(held, heldOf(name, content)...)
	}
	return out, held, nil
}

func (c chosen) facts(ctx context.Context, now time.Time) (out facts, err error) {
	out.cve = chosen{depot: c.depot, maxAge: c.maxAge}
	for _, name := range c.names {
		f, ok, err := c.depot.Feed(name)
		if err != nil {
			return out, err
		}
		if !ok || !depot.IsFact(f.Kind) {
			continue
		}
		if f.Kind == cve.Name || f.Kind == nvd.Name {
			out.cve.names = append(out.cve.names, name)
			continue
		}
		_, content, err := c.depot.Read(ctx, name, now.Unix(), c.maxAge)
		if err != nil {
			return out, err
		}
		if content.KEV != nil && out.kev != nil || content.EPSS != nil && out.epss != nil {
			return out, usagef("the depot has two feeds of kind %s; say which to use with --feed NAME", f.Kind)
		}
		if content.KEV != nil {
			out.kev, out.held = content.KEV, heldOf(name, content)
		}
		if content.EPSS != nil {
			out.epss = content.EPSS
		}
	}
	return out, nil
}

// warn says on the standard error which of the chosen feeds cannot say that a
// system is clean, and of which of them records are held.
func (c chosen) warn(cmd *cobra.Command, now time.Time) error {
	var bad, held []string
	for _, name := range c.names {
		f, ok, err := c.depot.Feed(name)
		if err != nil {
			return err
		}
		if s := f.Within(c.maxAge).Standing(now.Unix()); ok && s != depot.OK {
			bad = append(bad, name+" is "+string(s))
		}
		if k, _ := f.InUse(); k.Held > 0 {
			held = append(held, fmt.Sprintf("%d of %s", k.Held, name))
		}
	}
	if len(bad) > 0 {
		tell(cmd, "NOT CLEAN, UNKNOWN: %s. What these feeds do not mention is unknown; patchwrit feed ls says why", strings.Join(bad, ", "))
	}
	if len(held) > 0 {
		tell(cmd, "QUARANTINE: records are held, %s. They count as they did before, or not at all; patchwrit feed quarantine ls says why", strings.Join(held, ", "))
	}
	return nil
}
