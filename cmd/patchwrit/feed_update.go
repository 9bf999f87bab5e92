package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/fetch"
	"github.com/patchwrit/patchwrit/feed/seal"
	"github.com/patchwrit/patchwrit/feed/update"
	"github.com/patchwrit/patchwrit/refusal"
)

// configName is the configuration's file in the depot.
const configName = "feeds.json"

type updateFlags struct {
	config, proxy string
	whole         time.Duration
	anyway, quiet bool
}

func feedUpdateCmd() *cobra.Command {
	var u updateFlags
	cmd := &cobra.Command{
		Use:   "update [NAME…]",
		Short: "fetch what is new from the configured sources",
		Long: "Asks each source of the configuration, its mirrors in order, whether there is something new; downloads that broke off go\n" +
			"on where they stopped. What came is held to its pin or signature, then judged, and only then it counts. When nothing\n" +
			"comes, what is in use stays in use. Single records that are not believed are held (patchwrit feed quarantine). HTTP_PROXY, HTTPS_PROXY and NO_PROXY count.\n\n" +
			"The configuration is JSON: {\"feeds\":[{\"name\":…,\"kind\":…,\"urls\":[…],\"max_age\":\"72h\"}]}; docs/operate/feeds.md has every entry.\n" +
			"Kinds: " + strings.Join(depot.Kinds(), ", ") + ".\n\n" +
			"Exit codes: 6 a feed is not ok afterwards, 5 a pin or signature failed, 0 neither.",
		Example: "  patchwrit feed update --feeds /var/lib/patchwrit/feeds\n" +
			"  patchwrit feed update kev --config feeds.json --proxy http://proxy.example:3128",
		RunE: func(cmd *cobra.Command, args []string) error { return u.run(cmd, args) },
	}
	f := cmd.Flags()
	f.StringVar(&u.config, "config", "", "configuration file (default: feeds.json in the depot)")
	f.StringVar(&u.proxy, "proxy", "", "proxy for every address but those in NO_PROXY: URL, or none (default: the configuration's, then the environment's)")
	f.DurationVar(&u.whole, "timeout", fetch.DefaultWhole, "for one address, waits included")
	f.BoolVar(&u.anyway, "now", false, "ask although a source wants to be left alone still (Retry-After)")
	f.BoolVarP(&u.quiet, "quiet", "q", false, "tell no progress")
	addDepotFlag(cmd)
	addFormatFlag(cmd)
	return cmd
}

func (u *updateFlags) run(cmd *cobra.Command, names []string) error {
	if _, err := output(cmd, "table", "json"); err != nil {
		return err
	}
	d, err := openDepot(cmd)
	if err != nil {
		return err
	}
	c, err := update.Read(cmp.Or(u.config, filepath.Join(d.Dir(), configName)))
	if err != nil {
		return usagef("the configuration: %v", err)
	}
	for _, name := range names {
		if !slices.ContainsFunc(c.Feeds, func(s update.Source) bool { return s.Name == name }) {
			return usagef("the configuration has no feed %q", name)
		}
	}
	proxy, err := fetch.Proxy(cmp.Or(u.proxy, c.Proxy))
	if err != nil {
		return usage{err}
	}
	client := fetch.NewClient(proxy)
	var failed error
	for _, s := range c.Feeds {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		bar := &bar{out: cmd.ErrOrStderr(), name: s.Name, began: time.Now(), quiet: u.quiet}
		bar.terminal = bar.out == io.Writer(os.Stderr) && term.IsTerminal(int(os.Stderr.Fd()))
		out, err := update.Update(cmd.Context(), d, s, update.Options{Now: time.Now, Client: client, Whole: u.whole, Anyway: u.anyway, Progress: bar.at})
		bar.end()
		if err != nil {
			return err
		}
		u.tell(cmd, out)
		failed = errors.Join(failed, outcomeError(out))
	}
	if err := d.Reconsider(cmd.Context(), time.Now().Unix()); err != nil {
		return err
	}
	return u.conclude(cmd, d, failed)
}

// tell says in one line what came of a feed, unless only errors are wanted.
func (u *updateFlags) tell(cmd *cobra.Command, out update.Outcome) {
	name, k := out.Feed.Name, out.Kept
	switch {
	case out.Err != nil && k.Digest == "":
		tell(cmd, "%s: nothing came (%s), and nothing is in use", name, oneLine(out.Err.Error()))
	case out.Err != nil:
		tell(cmd, "%s: nothing came (%s); in use stays %s, confirmed %s ago", name, oneLine(out.Err.Error()), k.Digest.Short(), ago(out.Feed.Tried-out.Feed.Checked))
	case k.State == depot.Refused:
		tellRefused(cmd, name, k)
	case u.quiet:
	case out.Fresh:
		tell(cmd, "%s: %d records, newest of %s, are in use now (%s)", name, k.Count, when(k.Newest), k.Digest.Short())
	default:
		tell(cmd, "%s: nothing new; %d records, newest of %s (%s)", name, k.Count, when(k.Newest), k.Digest.Short())
	}
	if k.Held > 0 && k.State == depot.Accepted {
		tell(cmd, "%s: QUARANTINE: %d of these records do not count as they came; patchwrit feed quarantine ls says why", name, k.Held)
	}
}

// tellRefused is the banner of a snapshot that was kept aside.
func tellRefused(cmd *cobra.Command, name string, k depot.Kept) {
	for _, r := range k.Reasons {
		tell(cmd, "%s: REFUSED %s: %s (%s). It is kept aside; until this is settled the feed's answers are unknown", name, k.Digest.Short(), r.Text.Text(), r.Code)
	}
}

// outcomeError is the refusal of a snapshot whose pin or signature failed.
func outcomeError(out update.Outcome) error {
	for _, r := range out.Kept.Reasons {
		if out.Kept.State == depot.Refused && (r.Code == update.CodePin || r.Code == seal.CodeSignature) {
			return refusal.New(r.Code, "feed %s: %s", out.Feed.Name, r.Text.Text())
		}
	}
	return nil
}

// conclude prints how every feed stands, and is the exit code.
func (u *updateFlags) conclude(cmd *cobra.Command, d *depot.Depot, failed error) error {
	list, err := listFeeds(d, time.Now().Unix())
	if err != nil {
		return err
	}
	format, err := output(cmd, "table", "json")
	if err == nil && format == "json" {
		err = printJSON(cmd.OutOrStdout(), list)
	}
	if err = errors.Join(err, failed); err != nil {
		return err
	}
	return notAllOK(list)
}

// notAllOK is exit code 6 when a feed is not ok.
func notAllOK(list []feedRow) error {
	for _, l := range list {
		if l.State != depot.OK {
			return exit{code: exitPartial}
		}
	}
	return nil
}

func oneLine(text string) string { return strings.ReplaceAll(text, "\n", "; ") }

// ago is a time span for people, in seconds.
func ago(seconds int64) string {
	return (time.Duration(seconds) * time.Second).Truncate(time.Second).String()
}

// bar tells how far a download is: on a terminal one line that is written over,
// elsewhere a plain line every few seconds.
type bar struct {
	out             io.Writer
	name            string
	began, told     time.Time
	first           int64 // bytes that were here already
	seen            bool
	quiet, terminal bool
}

const (
	redraw    = 200 * time.Millisecond
	plainLine = 5 * time.Second
)

func (b *bar) at(done, total int64) {
	now := time.Now()
	if !b.seen {
		b.seen, b.first, b.began, b.told = true, done, now, now
		return
	}
	if pause := now.Sub(b.told); b.quiet || pause < redraw || !b.terminal && pause < plainLine {
		return
	}
	b.told = now
	line := fmt.Sprintf("%s: %s", b.name, mib(done))
	if total > 0 {
		line += fmt.Sprintf(" of %s (%d%%)", mib(total), done*100/total)
	}
	line = clean(line + fmt.Sprintf(", %s/s", mib(int64(float64(done-b.first)/now.Sub(b.began).Seconds()))))
	if b.terminal {
		fmt.Fprintf(b.out, "\r%s\x1b[K", line)
		return
	}
	fmt.Fprintln(b.out, "patchwrit:", line)
}

// end takes the line away.
func (b *bar) end() {
	if b.terminal && b.seen && !b.quiet {
		fmt.Fprint(b.out, "\r\x1b[K")
	}
}

func mib(n int64) string { return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20)) }
