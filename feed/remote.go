package feed

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/patchwrit/patchwrit/canon"
)

const (
	patience  = 10 * time.Minute // for a whole download
	maxHops   = 5                // redirections
	userAgent = "patchwrit"
)

// memo is what the cache remembers of a complete download.
type memo struct {
	URL    string       `json:"url"` // for people, without credentials
	ETag   string       `json:"etag"`
	Digest canon.Digest `json:"digest"`
	Date   int64        `json:"date"` // see dateOf
}

// url downloads a feed, or finds that the cached one still stands, and reads it.
func (r *reading) url(ctx context.Context, source string, o Options) error {
	f, shown, date, err := download(ctx, source, o, r.limits.Download)
	if shown != "" {
		r.snap.Source = shown
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if o.Cache == "" {
		defer os.Remove(f.Name())
	}
	return r.file(ctx, f, r.snap.Source, date)
}

// download is fetch of a URL as it was written. shown is the URL without
// credentials, "" where it cannot be read.
func download(ctx context.Context, source string, o Options, limit int64) (f *os.File, shown string, date int64, err error) {
	u, err := url.Parse(source)
	if err != nil || u.Host == "" {
		return nil, "", 0, unusable("the URL cannot be read") // not quoted: it may hold a password
	}
	bare := *u
	bare.User, bare.RawQuery, bare.Fragment = nil, "", ""
	shown = printable(bare.String())
	f, date, err = fetch(ctx, u, shown, o, limit)
	return f, shown, date, err
}

// Open opens a single file by path or URL: the bytes as they come. The name is
// without credentials. Whoever reads it must Close it. The error is ErrUnusable
// or the context's.
func Open(ctx context.Context, source string, o Options) (in io.ReadCloser, name string, err error) {
	if !remote(source) {
		f, err := regular(source)
		if err != nil {
			return nil, "", unusable("%v", err)
		}
		return f, printable(source), nil
	}
	f, name, _, err := download(ctx, source, o, o.Limits.withDefaults().Download)
	if err == nil && o.Cache == "" {
		os.Remove(f.Name()) // it lives as long as it is open
	}
	if err != nil {
		return nil, name, err
	}
	return f, name, nil
}

// fetch returns an open file with the complete bytes of the URL, and the date
// of its content.
func fetch(ctx context.Context, u *url.URL, shown string, o Options, limit int64) (*os.File, int64, error) {
	body, note := cachePaths(o.Cache, u)
	old, kept := recall(body, note)
	res, err := get(ctx, client(o), u, old.ETag)
	if err == nil {
		defer res.Body.Close()
		if res.StatusCode == http.StatusNotModified && kept != nil {
			return kept, cmp.Or(lastModified(res), old.Date), nil
		}
		if res.StatusCode != http.StatusOK {
			err = unusable("%s answers %s", shown, res.Status)
		}
	}
	if kept != nil {
		kept.Close()
	}
	if err != nil {
		return nil, 0, err
	}
	f, sum, err := save(ctx, filepath.Dir(body), res, limit)
	if err != nil || o.Cache == "" {
		return f, dateOf(res), err
	}
	return f, dateOf(res), remember(f, body, note, memo{shown, res.Header.Get("ETag"), sum, dateOf(res)})
}

func lastModified(res *http.Response) int64 {
	t, err := http.ParseTime(res.Header.Get("Last-Modified"))
	if err != nil || t.Unix() < 0 {
		return 0
	}
	return t.Unix()
}

// dateOf is the server's word on how old an answer's content is: Last-Modified
// or, where it makes each answer anew, Date (RFC 9110, 8.8.2 and 6.6.1). 0 when
// it says neither.
func dateOf(res *http.Response) int64 {
	if t := lastModified(res); t > 0 {
		return t
	}
	t, err := http.ParseTime(res.Header.Get("Date"))
	if err != nil || t.Unix() < 0 {
		return 0
	}
	return t.Unix()
}

func client(o Options) *http.Client {
	c := http.Client{Timeout: patience}
	if o.Client != nil {
		c = *o.Client
	}
	c.CheckRedirect = func(req *http.Request, via []*http.Request) error {
		if len(via) >= maxHops {
			return errors.New("too many redirections")
		}
		if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
			return errors.New("redirected from https to plain http")
		}
		return nil
	}
	return &c
}

func get(ctx context.Context, c *http.Client, u *url.URL, etag string) (*http.Response, error) {
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx)
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity") // the digest is of the bytes that are published
	if etag != "" {
		req.Header.Set("If-None-Match", etag)
	}
	res, err := c.Do(req)
	if err != nil {
		if ue := (*url.Error)(nil); errors.As(err, &ue) {
			err = ue.Err // without the URL, which may hold a password
		}
		return nil, failed(ctx, fmt.Errorf("%s: %w", u.Host, err))
	}
	return res, nil
}

// save writes an answer's body into a new file in dir ("." of the cache, or the
// system's place for temporary files). A body that ends early is an error.
func save(ctx context.Context, dir string, res *http.Response, limit int64) (_ *os.File, _ canon.Digest, err error) {
	if dir == "." {
		dir = ""
	} else {
		err = os.MkdirAll(dir, 0o700)
	}
	var f *os.File
	if err == nil {
		f, err = os.CreateTemp(dir, ".feed-*")
	}
	if err != nil {
		return nil, "", unusable("%v", err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
		}
	}()
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(f, sum), io.LimitReader(res.Body, limit+1))
	switch {
	case err != nil:
		return nil, "", failed(ctx, fmt.Errorf("the download broke off after %d bytes: %w", n, err))
	case n > limit:
		return nil, "", unusable("the answer has more than %d bytes", limit)
	case res.ContentLength < 0 && res.ProtoMajor == 1 && len(res.TransferEncoding) == 0:
		return nil, "", unusable("the server does not say where its answer ends, so it cannot be told whether it is complete")
	}
	_, err = f.Seek(0, io.SeekStart)
	return f, digest(sum), err
}

// cachePaths names the files of one URL in the cache. Credentials are part of
// the name's hash and of nothing else.
func cachePaths(dir string, u *url.URL) (body, note string) {
	if dir == "" {
		return "", ""
	}
	base := filepath.Join(dir, string(canon.SumFile([]byte(u.String())))[:32])
	return base + ".feed", base + ".json"
}

// recall returns what is known of a cached download and its open file, if its
// bytes are still there and still the same.
func recall(body, note string) (memo, *os.File) {
	raw, err := os.ReadFile(note)
	var m memo
	if err != nil || json.Unmarshal(raw, &m) != nil || m.ETag == "" {
		return memo{}, nil
	}
	f, err := os.Open(body)
	sum := sha256.New()
	if err == nil {
		_, err = io.Copy(sum, f)
	}
	if err == nil {
		_, err = f.Seek(0, io.SeekStart)
	}
	if err != nil || digest(sum) != m.Digest {
		f.Close()
		return memo{}, nil
	}
	return m, f
}

// remember puts a complete download into the cache: the body first, then the
// memo, so that a memo never speaks of bytes that are not there.
func remember(f *os.File, body, note string, m memo) error {
	raw, err := json.Marshal(m)
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = os.Rename(f.Name(), body)
	}
	if err == nil {
		err = os.WriteFile(note+".new", raw, 0o600)
	}
	if err == nil {
		err = os.Rename(note+".new", note)
	}
	if err != nil {
		f.Close()
		os.Remove(f.Name())
		return unusable("the download cannot be kept: %v", err)
	}
	return nil
}
