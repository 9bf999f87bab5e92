package fetch

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// errRedirect says that a redirection is not followed.
var errRedirect = errors.New("it redirects where nobody follows")

// NewClient makes a client with time limits for connecting and for the first
// byte. proxy nil is the environment's (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
func NewClient(proxy func(*http.Request) (*url.URL, error)) *http.Client {
	if proxy == nil {
		proxy = http.ProxyFromEnvironment
	}
	return &http.Client{
		Transport: &http.Transport{Proxy: proxy, DialContext: (&net.Dialer{Timeout: 30 * time.Second}).DialContext, ForceAttemptHTTP2: true,
			TLSHandshakeTimeout: 30 * time.Second, ResponseHeaderTimeout: time.Minute, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true},
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= maxHops {
				return fmt.Errorf("%w: more than %d redirections", errRedirect, maxHops)
			}
			if via[0].URL.Scheme == "https" && req.URL.Scheme != "https" {
				return fmt.Errorf("%w: from https to plain http", errRedirect)
			}
			return nil
		},
	}
}

// Proxy reads what a configuration or a flag says: "" is the environment's,
// "none" is no proxy, else an http, https or socks5 URL for every host but those
// that NO_PROXY names.
func Proxy(said string) (func(*http.Request) (*url.URL, error), error) {
	switch said {
	case "":
		return nil, nil
	case "none":
		return func(*http.Request) (*url.URL, error) { return nil, nil }, nil
	}
	u, err := url.Parse(said)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" && u.Scheme != "socks5" {
		return nil, errors.New("the proxy must be an http, https or socks5 URL, or the word none") // not quoted: it may hold a password
	}
	except := os.Getenv("NO_PROXY")
	if except == "" {
		except = os.Getenv("no_proxy")
	}
	return func(r *http.Request) (*url.URL, error) {
		if excepted(r.URL, except) {
			return nil, nil
		}
		return u, nil
	}, nil
}

// excepted reads NO_PROXY as most programs do: names match themselves and what is
// below them, addresses match exactly or by prefix, a port narrows it, * is all.
func excepted(u *url.URL, list string) bool {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[u.Scheme]
	}
	addr, _ := netip.ParseAddr(host)
	for item := range strings.SplitSeq(list, ",") {
		item = strings.ToLower(strings.TrimSpace(item))
		if p, err := netip.ParsePrefix(item); err == nil {
			if p.Contains(addr.Unmap()) {
				return true
			}
			continue
		}
		if h, p, err := net.SplitHostPort(item); err == nil {
			if p != port {
				continue
			}
			item = h
		}
		name := strings.TrimPrefix(strings.TrimPrefix(item, "*"), ".")
		if item == "*" || name != "" && (host == name || strings.HasSuffix(host, "."+name)) {
			return true
		}
	}
	return false
}
