// Package update brings feeds from their sources into a depot.
//
// The parties: whoever keeps the configuration and says which sources count, the
// sources, and the depot with its judge. The objects are the Config, one small
// JSON file, and the Outcome of asking for one feed.
//
// The promise: what a source gave is held to the feed's pin or signature before
// anything in it is parsed, and then only the depot's judge lets it count. When
// nothing comes, what is in use stays in use and says how old it is.
//
// Most vendors sign nothing: without pin and signature, the address, TLS and the
// judge are all there is.
package update

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/fetch"
	"github.com/patchwrit/patchwrit/feed/openvex"
	"github.com/patchwrit/patchwrit/feed/seal"
)

// Config says which feeds are kept, and from where.
type Config struct {
	Proxy string   `json:"proxy,omitempty"` // URL, or "none"; "": the environment's
	Feeds []Source `json:"feeds"`
}

// Source is one feed.
type Source struct {
	Name     string       `json:"name"`
	Kind     string       `json:"kind"`                // one of depot.Kinds
	URLs     []string     `json:"urls"`                // the first, then its mirrors
	MaxAge   string       `json:"max_age,omitempty"`   // "72h"; default 14 days
	Shrink   *int         `json:"shrink,omitempty"`    // percent of records that may vanish at once; default 10, of your own OpenVEX 100
	MaxBytes int64        `json:"max_bytes,omitempty"` // default 1 GiB
	SHA256   canon.Digest `json:"sha256,omitempty"`    // pin: nothing but these bytes
	Signers  string       `json:"signers,omitempty"`   // allowed signers file, beside the configuration; the signature is at URL.sig

	age     time.Duration
	signers seal.Signers
}

// Defaults of a Source.
const (
	defaultAge    = 14 * 24 * time.Hour
	defaultShrink = 10
	maxConfig     = 1 << 20
	maxFeeds      = 256
)

// Read reads a configuration file.
func Read(path string) (Config, error) {
	raw, err := readSmall(path)
	if err != nil {
		return Config{}, err
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	var c Config
	if err := d.Decode(&c); err != nil {
		return Config{}, fmt.Errorf("%s, byte %d: %w", path, d.InputOffset(), err)
	}
	if _, err := d.Token(); err != io.EOF {
		return Config{}, fmt.Errorf("%s: something stands behind the configuration", path)
	}
	if len(c.Feeds) == 0 || len(c.Feeds) > maxFeeds {
		return Config{}, fmt.Errorf("%s names %d feeds; 1 to %d can be kept", path, len(c.Feeds), maxFeeds)
	}
	for i := range c.Feeds {
		s := &c.Feeds[i]
		if err := s.complete(filepath.Dir(path)); err != nil {
			return Config{}, fmt.Errorf("%s, feed %d (%q): %w", path, i+1, s.Name, err)
		}
		if slices.ContainsFunc(c.Feeds[:i], func(o Source) bool { return o.Name == s.Name }) {
			return Config{}, fmt.Errorf("%s: two feeds are called %q", path, s.Name)
		}
	}
	return c, nil
}

func readSmall(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err == nil && len(raw) > maxConfig {
		err = fmt.Errorf("%s has more than %d bytes", path, maxConfig)
	}
	return raw, err
}

// complete judges one source and fills what it left out.
func (s *Source) complete(dir string) (err error) {
	s.age = defaultAge
	if s.MaxAge != "" {
		if s.age, err = time.ParseDuration(s.MaxAge); err != nil {
			return fmt.Errorf("max_age: %w", err)
		}
	}
	if s.Shrink == nil {
		share := defaultShrink
		if s.Kind == openvex.Name {
			share = 100
		}
		s.Shrink = &share
	}
	switch {
	case !depot.ValidName(s.Name):
		return errors.New("name: 1 to 64 of a-z 0-9 . _ -, not beginning with a sign")
	case !slices.Contains(depot.Kinds(), s.Kind):
		return fmt.Errorf("kind is one of %s, not %q", strings.Join(depot.Kinds(), ", "), s.Kind)
	case len(s.URLs) == 0 || slices.ContainsFunc(s.URLs, func(u string) bool { return !fetch.Valid(u) }):
		return errors.New("urls: at least one, and each must be an http or https URL")
	case s.age < time.Minute || s.age > 10*365*24*time.Hour:
		return fmt.Errorf("max_age: 1m to 87600h, not %s", s.MaxAge)
	case *s.Shrink < 0 || *s.Shrink > 100:
		return fmt.Errorf("shrink: 0 to 100 percent, not %d", *s.Shrink)
	case s.MaxBytes < 0:
		return fmt.Errorf("max_bytes: not %d", s.MaxBytes)
	case s.SHA256 != "" && !s.SHA256.Valid():
		return errors.New("sha256: 64 lower-case hexadecimal digits")
	case s.Signers == "":
		return nil
	}
	if !filepath.IsAbs(s.Signers) {
		s.Signers = filepath.Join(dir, s.Signers)
	}
	text, err := readSmall(s.Signers)
	if err != nil {
		return err
	}
	if s.signers, err = seal.ReadSigners(text); err != nil {
		return fmt.Errorf("%s: %w", s.Signers, err)
	}
	return nil
}

func (s Source) rules() depot.Rules {
	return depot.Rules{Name: s.Name, Kind: s.Kind, MaxAge: int64(s.age / time.Second), Shrink: *s.Shrink}
}
