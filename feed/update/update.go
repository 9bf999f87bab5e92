package update

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/feed/depot"
	"github.com/patchwrit/patchwrit/feed/fetch"
	"github.com/patchwrit/patchwrit/feed/seal"
	"github.com/patchwrit/patchwrit/refusal"
)

// CodePin says that a source gave other bytes than those that are pinned.
const CodePin refusal.Code = "PW-FEED-PIN"

// Options say how sources are asked.
type Options struct {
	Now      func() time.Time
	Client   *http.Client
	Whole    time.Duration           // for one address; 0: the default
	Progress func(done, total int64) // bytes; total is -1 when unknown
	Anyway   bool                    // ask although the sources want to be left alone still
	Retry    Retry
}

// Retry says how often and how long is waited; zero fields are defaults.
type Retry struct {
	Tries         int
	Wait, MaxWait time.Duration
}

// Outcome is what came of asking for one feed.
type Outcome struct {
	Feed  depot.Feed // as it stands now
	Kept  depot.Kept // the snapshot that came, or that is in use still
	Fresh bool       // it came now and was not in use before
	Err   error      // why nothing came; what is in use stays in use
}

// Update asks for one feed and keeps what comes. The error is the depot's or the
// context's; that nothing came is in the Outcome.
func Update(ctx context.Context, d *depot.Depot, s Source, o Options) (Outcome, error) {
	now := o.Now().Unix()
	if err := d.Settle(ctx, s.Name, now); err != nil {
		return Outcome{}, err
	}
	f, _, err := d.Feed(s.Name)
	if err != nil {
		return Outcome{}, err
	}
	if f.Until > now && !o.Anyway {
		last, _ := f.InUse()
		return Outcome{Feed: f, Kept: last, Err: fmt.Errorf("its source asked to be left alone until %s; --now asks all the same", time.Unix(f.Until, 0).UTC().Format(time.RFC3339))}, nil
	}
	out, err := s.update(ctx, d, f, o)
	if err != nil || ctx.Err() != nil {
		return out, errors.Join(err, ctx.Err())
	}
	if out.Err != nil {
		var later *fetch.Later
		until := int64(0)
		if errors.As(out.Err, &later) {
			until = later.Until.Unix()
		}
		if err := d.Missed(s.rules(), o.Now().Unix(), until, out.Err); err != nil {
			return out, err
		}
	}
	if out.Feed, _, err = d.Feed(s.Name); err == nil && out.Kept.Digest == "" {
		out.Kept, _ = out.Feed.InUse()
	}
	return out, err
}

func (s Source) update(ctx context.Context, d *depot.Depot, f depot.Feed, o Options) (out Outcome, err error) {
	staging, err := d.Staging()
	if err != nil {
		return out, err
	}
	r := fetch.Request{URLs: s.URLs, Partial: filepath.Join(staging, s.Name), Limit: s.MaxBytes, Client: o.Client, Progress: o.Progress,
		Whole: o.Whole, Now: o.Now, Tries: o.Retry.Tries, Wait: o.Retry.Wait, MaxWait: o.Retry.MaxWait}
	last, ok := f.InUse()
	if ok && s.proved(last) {
		r.Known = fetch.Known{Address: last.Address, ETag: last.ETag.Text(), Modified: last.Modified}
	}
	res, err := fetch.Fetch(ctx, r)
	if err != nil {
		return Outcome{Err: err}, nil
	}
	if res.Unchanged {
		return out, d.Confirmed(s.rules(), o.Now().Unix())
	}
	a := depot.Arrived{File: res.File, Source: res.Source, Modified: res.Modified, ETag: res.ETag, Address: res.Address}
	if a.Proof, a.Against, err = s.prove(ctx, res, r); err != nil {
		return Outcome{Err: err}, nil
	}
	out.Kept, err = d.Keep(ctx, s.rules(), a, o.Now().Unix())
	out.Fresh = err == nil && out.Kept.Digest != last.Digest
	return out, err
}

// What Proof says.
const (
	pinned   = "sha256 pin"
	signedBy = "signed by "
)

// proved reports whether a snapshot has the proof that is asked for now: only
// then a source is asked whether it changed.
func (s Source) proved(k depot.Kept) bool {
	return (s.SHA256 == "" || k.Digest == s.SHA256) && (s.signers == nil || len(k.Proof) > len(signedBy) && k.Proof[:len(signedBy)] == signedBy)
}

// prove holds what came to the pin and to the signature. An error says that there
// is no signature to be had; what speaks against the bytes is in against.
func (s Source) prove(ctx context.Context, res fetch.Result, r fetch.Request) (proof string, against []depot.Reason, err error) {
	sum, _, err := depot.SumOf(res.File)
	if err != nil {
		return "", nil, err
	}
	if s.SHA256 != "" {
		proof = pinned
		if sum != s.SHA256 {
			against = append(against, depot.Reason{Code: CodePin, Text: canon.NoteOf(fmt.Sprintf("the configuration pins %s", s.SHA256.Short()))})
		}
	}
	if s.signers == nil {
		return proof, against, nil
	}
	who, err := s.signature(ctx, res, r)
	var no *refusal.Refusal
	switch {
	case errors.As(err, &no):
		return proof, append(against, depot.Reason{Code: no.Code, Text: canon.NoteOf(no.Detail)}), nil
	case err != nil:
		return "", nil, err
	}
	return signedBy + who.String(), against, nil
}

// signature fetches the signature beside what came, and checks it.
func (s Source) signature(ctx context.Context, res fetch.Result, r fetch.Request) (seal.Who, error) {
	i := slices.IndexFunc(s.URLs, func(u string) bool { return fetch.Address(u) == res.Address })
	if i < 0 {
		return seal.Who{}, errors.New("it came from no address of the configuration")
	}
	r.URLs, r.Known, r.Limit, r.Progress = []string{fetch.Beside(s.URLs[i], ".sig")}, fetch.Known{}, seal.MaxBlob, nil
	r.Partial += ".sig"
	sig, err := fetch.Fetch(ctx, r)
	if err != nil {
		return seal.Who{}, fmt.Errorf("its signature: %w", err)
	}
	armoured, err := os.ReadFile(sig.File)
	if err = errors.Join(err, os.Remove(sig.File)); err != nil {
		return seal.Who{}, err
	}
	blob, err := seal.Dearmour(armoured)
	if err != nil {
		return seal.Who{}, err
	}
	f, err := os.Open(res.File)
	if err != nil {
		return seal.Who{}, err
	}
	defer f.Close()
	return s.signers.Verify(f, seal.FeedNamespace, blob, r.Now().Unix())
}
