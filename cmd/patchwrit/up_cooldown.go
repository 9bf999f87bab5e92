package main

import (
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/change"
	"github.com/patchwrit/patchwrit/priority"
)

// cooldownsOf reads ORIGIN:CLASS=WAIT[,CORROBORATED]; nil when there is none.
func cooldownsOf(flags []string, known func(change.Origin) bool) (*priority.Cooldowns, error) {
	if len(flags) == 0 {
		return nil, nil
	}
	waits := []priority.Wait{}
	for _, flag := range flags {
		subject, times, ok := strings.Cut(flag, "=")
		origin, class, two := strings.Cut(subject, ":")
		whole, short, shorter := strings.Cut(times, ",")
		if !ok || !two {
			return nil, usagef("--cooldown takes ORIGIN:CLASS=WAIT[,CORROBORATED], not %q", flag)
		}
		if !known(change.Origin(origin)) {
			return nil, usagef("--cooldown: the trust root knows no origin %q", origin)
		}
		if !shorter {
			short = whole
		}
		w := priority.Wait{Origin: change.Origin(origin), Class: change.Class(class)}
		for i, to := range []*int64{&w.Seconds, &w.Corroborated} {
			text := []string{whole, short}[i]
			d, err := time.ParseDuration(text)
			if err != nil {
				return nil, usagef("--cooldown %s: %q is no time such as 72h", flag, text)
			}
			*to = int64(d / time.Second)
		}
		waits = append(waits, w)
	}
	c, err := priority.NewCooldowns(waits)
	if err != nil {
		return nil, usagef("--cooldown: %v", err)
	}
	return &c, nil
}
