// Package fetch brings one file over HTTP, whole or not at all.
//
// The parties: a publisher and its mirrors, asked in order; the way between; and
// who wants the file. The objects are the Request, the Result, and the partial
// file with a note beside it that says of which answer it is the beginning.
//
// The promise: a Result is the complete bytes of one answer. A download that
// broke off goes on where it stopped only when the server says that it is still
// the same file (If-Range with a strong ETag, or a Last-Modified that can be
// trusted, RFC 9110 §8.8.2.2 and §13.1.5, and a Content-Range that fits); else it
// starts anew. No more than Limit bytes are written. A server that asks for time
// (Retry-After, RFC 9110 §10.2.3) gets it, or is not asked again. Errors and
// results carry no credentials.
//
// It believes no byte: whether the content is right, is for others to judge. Two
// fetches with the same Partial must not run at once; the second is refused.
package fetch

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/canon"
)

// Defaults of a Request.
const (
	DefaultLimit   = 1 << 30          // bytes; the largest official file of one system is below 200 MB
	DefaultTries   = 4                // of each address
	DefaultWait    = 2 * time.Second  // before the second try; doubled each time
	DefaultMaxWait = 2 * time.Minute  // the longest a server may make us wait
	DefaultStall   = time.Minute      // without a byte
	DefaultWhole   = 30 * time.Minute // for one address, waits included
	maxHops        = 5                // redirections
	userAgent      = "patchwrit"
)

// Request is what is wanted.
type Request struct {
	URLs     []string // the first, then its mirrors in order; http or https
	Known    Known    // what the caller has already
	Partial  string   // path of the partial file; the result is renamed by the caller from it
	Limit    int64    // bytes; 0: DefaultLimit
	Tries    int      // of each address; 0: DefaultTries
	Wait     time.Duration
	MaxWait  time.Duration
	Stall    time.Duration
	Whole    time.Duration
	Client   *http.Client                                     // nil: NewClient(nil)
	Progress func(done, total int64)                          // nil: none; total is -1 when unknown
	Sleep    func(ctx context.Context, d time.Duration) error // nil: real time
	Now      func() time.Time                                 // nil: time.Now
}

// Known is a file that is already here, so that an unchanged one is not sent.
type Known struct {
	Address  string // of the URL it came from
	ETag     string
	Modified int64 // Last-Modified, Unix seconds; 0: unknown
}

// Result is what came.
type Result struct {
	Unchanged bool   // what is known still stands; no file
	File      string // Request.Partial
	Size      int64
	Source    string // URL without credentials and query
	Address   string // names the whole URL, but its credentials
	ETag      string
	Modified  int64 // Last-Modified, else Date, Unix seconds; 0: the server says neither
}

// Later is the error of a server that wants to be left alone until a time that is
// further away than MaxWait.
type Later struct {
	Until time.Time
	What  string
}

func (l *Later) Error() string {
	return fmt.Sprintf("%s, and asks to be left alone until %s", l.What, l.Until.UTC().Format(time.RFC3339))
}

var (
	errTooLarge = errors.New("it is larger than the limit")
	errBusy     = errors.New("another process is fetching this feed now")
)

// final marks an error that asking again does not mend.
type final struct{ error }

func (f final) Unwrap() error { return f.error }

// Address names a URL without telling its credentials.
func Address(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.User, u.Fragment = nil, ""
	return string(canon.SumFile([]byte(u.String())))[:16]
}

// Shown is a URL for people: without credentials, query and fragment.
func Shown(raw string) string {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return "a URL that cannot be read" // not quoted: it may hold a password
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// Valid reports whether a URL can be asked.
func Valid(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Host != "" && (u.Scheme == "http" || u.Scheme == "https")
}

// Beside is the URL of what lies beside a file, its path with an ending.
func Beside(raw, ending string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	u.Path, u.RawPath = u.Path+ending, ""
	return u.String()
}

// Fetch asks each address in turn. The error joins what each of them said.
func Fetch(ctx context.Context, r Request) (Result, error) {
	r = r.withDefaults()
	lock, err := os.OpenFile(r.Partial+".lock", os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return Result{}, err
	}
	defer lock.Close()
	if unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB) != nil {
		return Result{}, errBusy
	}
	var errs []error
	for _, raw := range r.URLs {
		u, err := url.Parse(raw)
		if err != nil || !Valid(raw) {
			errs = append(errs, errors.New("an address is no http or https URL")) // not quoted: it may hold a password
			continue
		}
		res, err := r.from(ctx, u)
		if err == nil {
			return res, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", Shown(raw), err))
		if ctx.Err() != nil {
			return Result{}, ctx.Err()
		}
	}
	if len(errs) == 0 {
		return Result{}, errors.New("there is no address to ask")
	}
	return Result{}, errors.Join(errs...)
}

func (r Request) withDefaults() Request {
	r.Limit, r.Tries = cmp.Or(r.Limit, DefaultLimit), cmp.Or(r.Tries, DefaultTries)
	r.Wait, r.MaxWait = cmp.Or(r.Wait, DefaultWait), cmp.Or(r.MaxWait, DefaultMaxWait)
	r.Stall, r.Whole = cmp.Or(r.Stall, DefaultStall), cmp.Or(r.Whole, DefaultWhole)
	if r.Client == nil {
		r.Client = NewClient(nil)
	}
	if r.Progress == nil {
		r.Progress = func(int64, int64) {}
	}
	if r.Now == nil {
		r.Now = time.Now
	}
	if r.Sleep == nil {
		r.Sleep = sleep
	}
	return r
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.C:
		return nil
	}
}

// from asks one address until it answers, or no longer should be asked.
func (r Request) from(ctx context.Context, u *url.URL) (Result, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, r.Whole, fmt.Errorf("it was not complete after %s", r.Whole))
	defer cancel()
	wait := r.Wait
	for try := 1; ; try++ {
		res, pause, err := r.once(ctx, u)
		if err == nil {
			return res, nil
		}
		if ctx.Err() != nil {
			return Result{}, context.Cause(ctx)
		}
		if pause > r.MaxWait {
			return Result{}, &Later{Until: r.Now().Add(pause), What: err.Error()}
		}
		if try == r.Tries || errors.As(err, new(final)) {
			return Result{}, err
		}
		if err := r.Sleep(ctx, max(wait, pause)); err != nil {
			return Result{}, err
		}
		wait = min(2*wait, r.MaxWait)
	}
}

// note is what stands beside a partial file.
type note struct {
	Address   string `json:"address"`
	Validator string `json:"validator"` // strong ETag, or Last-Modified as it was sent: what If-Range may ask with
	ETag      string `json:"etag"`
	Modified  int64  `json:"modified"`
	Total     int64  `json:"total"` // bytes of the whole; -1: not told
}

// begun opens the partial file and says how much of the URL's file it holds.
func (r Request) begun(address string) (f *os.File, n note, have int64, err error) {
	if f, err = os.OpenFile(r.Partial, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
		return nil, n, 0, final{err}
	}
	raw, err := os.ReadFile(r.Partial + ".note")
	if err == nil && json.Unmarshal(raw, &n) == nil && n.Address == address && n.Validator != "" {
		if have, err = f.Seek(0, io.SeekEnd); err == nil && have > 0 && have <= r.Limit && (n.Total < 0 || have < n.Total) {
			return f, n, have, nil
		}
	}
	return f, note{Address: address}, 0, r.anew(f)
}

// anew forgets what the partial file holds. The note goes first, so that it never
// speaks of other bytes.
func (r Request) anew(f *os.File) error {
	err := os.Remove(r.Partial + ".note")
	if errors.Is(err, os.ErrNotExist) {
		err = nil
	}
	_, at := f.Seek(0, io.SeekStart)
	return errors.Join(err, f.Truncate(0), at)
}

// once asks once. pause is what the server wants before the next time.
func (r Request) once(ctx context.Context, u *url.URL) (_ Result, pause time.Duration, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	address := Address(u.String())
	f, n, have, err := r.begun(address)
	if err != nil {
		return Result{}, 0, err
	}
	defer f.Close()
	stalled := time.AfterFunc(r.Stall, func() { cancel(fmt.Errorf("no byte came for %s", r.Stall)) })
	defer stalled.Stop()
	res, err := r.ask(ctx, u, n, have)
	if err != nil {
		return Result{}, 0, cmp.Or(context.Cause(ctx), err)
	}
	defer res.Body.Close()
	out := Result{File: r.Partial, Source: Shown(u.String()), Address: address}
	switch res.StatusCode {
	case http.StatusOK:
		n, have = noteOf(res, address, r.Now()), 0
		if err := r.anew(f); err != nil {
			return Result{}, 0, final{err}
		}
	case http.StatusPartialContent:
		if err := continues(res, &n, have); err != nil {
			return Result{}, 0, errors.Join(err, r.anew(f))
		}
	case http.StatusNotModified:
		if have > 0 || r.Known.Address != address || r.Known.ETag == "" && r.Known.Modified == 0 {
			return Result{}, 0, final{errors.New("it says that nothing changed, which was not asked")}
		}
		out.Unchanged, out.File = true, ""
		return out, 0, r.anew(f)
	default:
		return Result{}, retryAfter(res, r.Now()), errors.Join(status(res, have), r.anewUnless(f, res))
	}
	if res.Header.Get("Content-Encoding") != "" && !strings.EqualFold(res.Header.Get("Content-Encoding"), "identity") {
		return Result{}, 0, final{errors.Join(errors.New("it is packed (Content-Encoding), which was not asked for"), r.anew(f))}
	}
	if err := r.body(ctx, f, res, n, have, stalled); err != nil {
		return Result{}, 0, err
	}
	if out.Size, err = f.Seek(0, io.SeekEnd); err != nil {
		return Result{}, 0, err
	}
	out.ETag, out.Modified = n.ETag, n.Modified
	return out, 0, errors.Join(f.Sync(), os.Remove(r.Partial+".note"))
}

// anewUnless keeps a partial file over answers that say nothing about it.
func (r Request) anewUnless(f *os.File, res *http.Response) error {
	if res.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		return r.anew(f)
	}
	return nil
}

// ask sends the request: for the rest, for a change, or for everything.
func (r Request) ask(ctx context.Context, u *url.URL, n note, have int64) (*http.Response, error) {
	req := (&http.Request{Method: http.MethodGet, URL: u, Header: http.Header{}}).WithContext(ctx)
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept-Encoding", "identity") // the digest is of the bytes that are published
	switch {
	case have > 0:
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", have))
		req.Header.Set("If-Range", n.Validator)
	case r.Known.Address == n.Address:
		if r.Known.ETag != "" {
			req.Header.Set("If-None-Match", r.Known.ETag)
		}
		if r.Known.Modified > 0 {
			req.Header.Set("If-Modified-Since", time.Unix(r.Known.Modified, 0).UTC().Format(http.TimeFormat))
		}
	}
	res, err := r.Client.Do(req)
	if err == nil {
		return res, nil
	}
	if ue := (*url.Error)(nil); errors.As(err, &ue) {
		err = ue.Err // without the URL, which may hold a password
	}
	if errors.Is(err, errRedirect) {
		err = final{err}
	}
	return nil, err
}

// noteOf says what a partial file of this answer can be continued with.
func noteOf(res *http.Response, address string, now time.Time) note {
	n := note{Address: address, ETag: res.Header.Get("ETag"), Total: res.ContentLength}
	said := res.Header.Get("Last-Modified")
	modified, err := http.ParseTime(said)
	date, err2 := http.ParseTime(res.Header.Get("Date"))
	switch {
	case n.ETag != "" && !strings.HasPrefix(n.ETag, "W/"):
		n.Validator = n.ETag
	case n.ETag == "" && err == nil && err2 == nil && date.Sub(modified) > time.Minute: // a strong date, RFC 9110 §8.8.2.2
		n.Validator = said
	}
	if err == nil && modified.Unix() > 0 {
		n.Modified = modified.Unix()
	} else if err2 == nil && date.Unix() > 0 {
		n.Modified = min(date.Unix(), now.Unix())
	}
	return n
}

// continues judges a 206: it must be the rest of the same file.
func continues(res *http.Response, n *note, have int64) error {
	var from, to, total int64
	said := res.Header.Get("Content-Range")
	if have == 0 {
		return errors.New("it sent a part that was not asked for")
	}
	if _, err := fmt.Sscanf(said, "bytes %d-%d/%d", &from, &to, &total); err != nil || from != have || to != total-1 || to < from {
		return fmt.Errorf("it sent another part (%q) than the rest from %d", said, have)
	}
	if tag := res.Header.Get("ETag"); tag != "" && tag != n.ETag {
		return errors.New("the file changed between two parts")
	}
	if n.Total >= 0 && n.Total != total {
		return fmt.Errorf("the file had %d bytes, now %d", n.Total, total)
	}
	n.Total = total
	return nil
}

// status is the error of an answer without the file.
func status(res *http.Response, have int64) error {
	err := fmt.Errorf("it answers %s", res.Status)
	switch c := res.StatusCode; {
	case c == http.StatusRequestedRangeNotSatisfiable && have > 0, c == http.StatusRequestTimeout, c == http.StatusTooEarly, c == http.StatusTooManyRequests:
		return err
	case c >= 500 && c != http.StatusNotImplemented && c != http.StatusHTTPVersionNotSupported:
		return err
	}
	return final{err}
}

// retryAfter reads Retry-After: seconds, or a date.
func retryAfter(res *http.Response, now time.Time) time.Duration {
	said := res.Header.Get("Retry-After")
	if s, err := strconv.ParseUint(said, 10, 31); err == nil {
		return time.Duration(s) * time.Second
	}
	if t, err := http.ParseTime(said); err == nil {
		return max(0, t.Sub(now))
	}
	return 0
}

// body writes the answer behind what is there. What broke off stays, to be
// continued, when it can be.
func (r Request) body(ctx context.Context, f *os.File, res *http.Response, n note, have int64, stalled *time.Timer) error {
	switch {
	case n.Total > r.Limit:
		return final{errors.Join(fmt.Errorf("%w: %d bytes, at most %d are taken", errTooLarge, n.Total, r.Limit), r.anew(f))}
	case res.ContentLength < 0 && res.ProtoMajor == 1 && len(res.TransferEncoding) == 0:
		return final{errors.Join(errors.New("it does not say where its answer ends, so nobody can tell whether it is complete"), r.anew(f))}
	}
	if n.Validator != "" {
		raw, err := json.Marshal(n)
		if err = errors.Join(err, os.WriteFile(r.Partial+".note", raw, 0o600)); err != nil {
			return final{err}
		}
	}
	done := have
	in := reader(func(p []byte) (int, error) {
		m, err := res.Body.Read(p)
		if m > 0 {
			stalled.Reset(r.Stall)
			done += int64(m)
			r.Progress(done, n.Total)
		}
		return m, err
	})
	_, err := io.Copy(f, io.LimitReader(in, r.Limit-have+1))
	switch {
	case done > r.Limit:
		return final{errors.Join(fmt.Errorf("%w: more than %d bytes", errTooLarge, r.Limit), r.anew(f))}
	case err != nil:
		return fmt.Errorf("it broke off after %d bytes: %w", done, cmp.Or(context.Cause(ctx), err))
	case n.Total >= 0 && done != n.Total:
		return errors.Join(fmt.Errorf("%d bytes came, %d were announced", done, n.Total), r.anew(f))
	case n.Validator == "":
		return os.WriteFile(r.Partial+".note", nil, 0o600) // so that the end removes one in every case
	}
	return nil
}

type reader func([]byte) (int, error)

func (r reader) Read(p []byte) (int, error) { return r(p) }
