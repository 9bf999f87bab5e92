package approval

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/big"
	"slices"
	"testing"

	"github.com/patchwrit/patchwrit/refusal"
	"github.com/patchwrit/patchwrit/trust"
)

func field(b []byte) []byte { return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...) }

// encode writes what readSSHSIG read.
func (s sshsig) encode() []byte {
	inner := slices.Concat(field([]byte(s.algorithm)), field(s.blob), s.authenticator)
	out := append([]byte(magic), 0, 0, 0, 1)
	for _, f := range [][]byte{s.public, []byte(s.namespace), nil, []byte(s.hash), inner} {
		out = append(out, field(f)...)
	}
	return out
}

// FuzzSSHSIG: whatever is read is written back byte for byte, so a signature has
// one encoding; and no bytes pass for a signature of a key that made none.
func FuzzSSHSIG(f *testing.F) {
	plain := sshsig{public: []byte("key"), namespace: "patchwrit-approve@v1", hash: "sha512", algorithm: Ed25519, blob: make([]byte, 64)}
	sk := plain
	sk.algorithm, sk.authenticator = SKECDSA, []byte{5, 0, 0, 0, 7}
	f.Add(plain.encode())
	f.Add(sk.encode())
	f.Add([]byte("SSHSIG\x00\x00\x00\x01\xff\xff\xff\xff"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		if s, ok := readSSHSIG(raw); ok && !bytes.Equal(s.encode(), raw) {
			t.Fatalf("%x is read as %+v", raw, s)
		}
		n := new(big.Int).SetBytes(raw)
		mpint := n.Bytes()
		if len(mpint) > 0 && mpint[0] >= 0x80 {
			mpint = append([]byte{0}, mpint...)
		}
		if right := n.Sign() > 0 && n.BitLen() <= 256 && len(raw) > 0 && raw[0] < 0x80 && bytes.Equal(mpint, raw); shortest(raw) != right {
			t.Fatalf("mpint %x: %v", raw, !right)
		}
	})
}

// FuzzClientData: what is read agrees with encoding/json on every key, and no
// reader who keeps the first of two equal keys would see something else.
func FuzzClientData(f *testing.F) {
	f.Add([]byte(`{"type":"webauthn.get","challenge":"x","origin":"http://localhost:8444","crossOrigin":false}`))
	f.Add([]byte(`{"type":"webauthn.get","challenge":"x","origin":"o","topOrigin":"t","other":{"type":[1]}}`))
	f.Add([]byte(`{"typ\u0065":"a","type":"b"}`))
	f.Add([]byte(`{"type":"\ud800","challenge":"","origin":""}`))
	f.Add([]byte(`{}`))
	f.Add([]byte(``))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, ok := readClient(raw)
		if !ok {
			return
		}
		var all map[string]any
		if err := json.Unmarshal(raw, &all); err != nil {
			t.Fatalf("read what is no JSON: %q", raw)
		}
		if all["type"] != c.kind || all["challenge"] != c.challenge || all["origin"] != c.origin {
			t.Fatalf("%q is read as %+v", raw, c)
		}
		if _, top := all["topOrigin"]; c.framed != (top || all["crossOrigin"] == true) {
			t.Fatalf("%q: framed %v", raw, c.framed)
		}
	})
}

// FuzzAuthenticatorData: nothing but 37 bytes with touch and verification, for
// this party, with no further data announced, passes.
func FuzzAuthenticatorData(f *testing.F) {
	c := trust.Credential{RelyingParty: "localhost"}
	party := []byte("\x49\x96\x0d\xe5\x88\x0e\x8c\x68\x74\x34\x17\x0f\x64\x76\x60\x5b\x8f\xe4\xae\xb9\xa2\x86\x32\xc7\x99\x5c\xf3\xba\x83\x1d\x97\x63")
	f.Add(append(bytes.Clone(party), 0x05, 0, 0, 0, 1))
	f.Add(append(bytes.Clone(party), 0x1d, 0, 0, 0, 0))
	f.Add(append(bytes.Clone(party), 0x85, 0, 0, 0, 0, 0xa0))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		err := checkAuthenticator(c, raw)
		right := len(raw) == 37 && bytes.Equal(raw[:32], party) && raw[32]&0xc5 == 0x05 && raw[32]&0x18 != 0x10
		if right != (err == nil) {
			t.Fatalf("%x: %v", raw, err)
		}
		if err != nil && refusal.CodeOf(err) == "" {
			t.Fatalf("%x: a no without a code: %v", raw, err)
		}
	})
}
