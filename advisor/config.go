package advisor

import (
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/patchwrit/patchwrit/advisor/dialect"
	"github.com/patchwrit/patchwrit/advisory/strictjson"
	"github.com/patchwrit/patchwrit/canon"
)

// Config is a model file: who is asked, and where what belongs to this machine
// lies. Paths are as they stand; whoever opens them resolves them.
type Config struct {
	Model      dialect.Model
	KeyFile    string // one line, the provider's key, readable by its owner only; "": none is sent
	CAFile     string // certificates in PEM that the endpoint's must come from; "": the system's
	Proxy      string // http://host:port or https://host:port for CONNECT; "": none. The environment is not heard
	Recordings string // of provider replay: a file of exchanges, one a line
}

// Deterministic is the configuration of who has none.
var Deterministic = Config{Model: dialect.Model{Type: dialect.TypeModel, Provider: dialect.Deterministic, Name: "none", Sampling: dialect.Plain}}

// maxConfig is the most bytes of a model file.
const maxConfig = 16 << 10

const maxPath = 4 << 10

// ReadConfig reads a model file, a JSON object:
//
//	{"type": "patchwrit/model/v1", "provider": "ollama", "name": "…", "endpoint": "http://127.0.0.1:11434",
//	 "sampling": "zero", "seed": 1, "max_tokens": 8192, "context": 32768, "seconds": 120, "max_bytes": 1048576,
//	 "key_file": "…", "ca_file": "…", "proxy": "…", "recordings": "…"}
//
// type, provider and name must be there; what is left out is sampling zero (plain
// for anthropic), seed 1, 8192 tokens, 120 seconds, 1 MiB, and nothing. A key that
// is not known is refused, as is a key (of a provider) in the file itself. The
// error is dialect.ErrModel.
func ReadConfig(raw []byte) (Config, error) {
	c := Config{Model: dialect.Model{Seed: 1}}
	if len(raw) > maxConfig {
		return c, fmt.Errorf("%w has %d bytes, the limit is %d", dialect.ErrModel, len(raw), maxConfig)
	}
	d := strictjson.Of(raw)
	err := d.Whole(func() error {
		return d.Object(func(key string) error {
			read := c.field(&d, raw, key)
			if read == nil {
				return d.Fail("there is no key %.40q here", key)
			}
			return read()
		})
	})
	var at *strictjson.Syntax
	if errors.As(err, &at) {
		return c, fmt.Errorf("%w, at byte %d: %s", dialect.ErrModel, at.Offset, at.Reason)
	}
	c.defaults()
	if err := c.Model.Check(); err != nil {
		return c, err
	}
	return c, c.check()
}

func (c *Config) field(d *strictjson.Doc, raw []byte, key string) func() error {
	text := func(to *string) func() error {
		return func() (err error) { *to, err = d.Str(maxPath); return err }
	}
	number := func(to *int64) func() error {
		return func() error {
			d.Peek()
			start := d.At()
			if err := d.Skip(); err != nil {
				return err
			}
			n, err := strconv.ParseInt(string(raw[start:d.At()]), 10, 64)
			if err != nil || n < 0 || n > canon.MaxInt {
				return d.Fail("%.40q is no integer from 0 to 2^53-1", raw[start:d.At()])
			}
			*to = n
			return nil
		}
	}
	m := &c.Model
	return map[string]func() error{"type": text(&m.Type), "provider": text((*string)(&m.Provider)), "name": text(&m.Name), "endpoint": text(&m.Endpoint),
		"sampling": text((*string)(&m.Sampling)), "seed": number(&m.Seed), "max_tokens": number(&m.MaxTokens), "context": number(&m.Context),
		"seconds": number(&m.Seconds), "max_bytes": number(&m.MaxBytes),
		"key_file": text(&c.KeyFile), "ca_file": text(&c.CAFile), "proxy": text(&c.Proxy), "recordings": text(&c.Recordings)}[key]
}

func (c *Config) defaults() {
	m := &c.Model
	if m.Sampling == "" {
		m.Sampling = dialect.Zero
		if m.Provider == dialect.Anthropic || !m.Provider.Remote() {
			m.Sampling = dialect.Plain
		}
	}
	if !m.Provider.Remote() {
		return
	}
	for to, n := range map[*int64]int64{&m.MaxTokens: 8192, &m.Seconds: 120, &m.MaxBytes: 1 << 20} {
		if *to == 0 {
			*to = n
		}
	}
}

// check judges what belongs to this machine.
func (c Config) check() error {
	bad := func(format string, args ...any) error {
		return fmt.Errorf("%w: %s", dialect.ErrModel, fmt.Sprintf(format, args...))
	}
	if c.Proxy != "" {
		u, err := url.Parse(c.Proxy)
		if err != nil || u.Hostname() == "" || (u.Scheme != "http" && u.Scheme != "https") || (&url.URL{Scheme: u.Scheme, Host: u.Host}).String() != c.Proxy {
			return bad("proxy: http://host:port or https://host:port and nothing else")
		}
	}
	switch {
	case (c.Recordings != "") != (c.Model.Provider == dialect.Replay):
		return bad("recordings name the file of provider %s, and only of that", dialect.Replay)
	case !c.Model.Provider.Remote() && c.KeyFile+c.CAFile+c.Proxy != "":
		return bad("%s speaks to nobody: no key_file, ca_file or proxy", c.Model.Provider)
	case c.CAFile != "" && strings.HasPrefix(c.Model.Endpoint, "http://"):
		return bad("ca_file: the endpoint is no https")
	}
	return nil
}
