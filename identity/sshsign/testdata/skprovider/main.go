// Command skprovider is a FIDO security key in software, in the form that
// OpenSSH loads in place of its own (SSH_SK_PROVIDER, openssh/sk-api.h). It lets
// the tests run the real ssh-keygen, ssh-sk-helper and ssh-agent without
// hardware. Its key handle is the private key itself: it protects nothing.
package main

/*
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

struct sk_enroll_response {
	uint8_t flags;
	uint8_t *public_key; size_t public_key_len;
	uint8_t *key_handle; size_t key_handle_len;
	uint8_t *signature; size_t signature_len;
	uint8_t *attestation_cert; size_t attestation_cert_len;
	uint8_t *authdata; size_t authdata_len;
};
struct sk_sign_response {
	uint8_t flags;
	uint32_t counter;
	uint8_t *sig_r; size_t sig_r_len;
	uint8_t *sig_s; size_t sig_s_len;
};
*/
import "C"

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"os"
	"unsafe"
)

const (
	apiVersion  = 0x000a0000 // OpenSSH 8.9 to 9.x and later
	algECDSA    = 0
	algEd25519  = 1
	errGeneral  = -1
	errPIN      = -3
	userPresent = 0x01
	userChecked = 0x04
	pin         = "1234"
)

func main() {}

//export sk_api_version
func sk_api_version() C.uint32_t { return apiVersion }

func give(b []byte) (*C.uint8_t, C.size_t) {
	return (*C.uint8_t)(C.CBytes(b)), C.size_t(len(b))
}

//export sk_enroll
func sk_enroll(alg C.uint32_t, challenge *C.uint8_t, challengeLen C.size_t, application *C.char, flags C.uint8_t, pinText *C.char, options unsafe.Pointer, out **C.struct_sk_enroll_response) C.int {
	r := (*C.struct_sk_enroll_response)(C.calloc(1, C.sizeof_struct_sk_enroll_response))
	r.flags = flags
	switch alg {
	case algEd25519:
		public, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			return errGeneral
		}
		r.public_key, r.public_key_len = give(public)
		r.key_handle, r.key_handle_len = give(private.Seed())
	case algECDSA:
		private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return errGeneral
		}
		public, _ := private.PublicKey.Bytes()
		handle, _ := private.Bytes()
		r.public_key, r.public_key_len = give(public)
		r.key_handle, r.key_handle_len = give(handle)
	default:
		return errGeneral
	}
	r.signature, r.signature_len = give([]byte("none"))
	r.attestation_cert, r.attestation_cert_len = give([]byte("none"))
	r.authdata, r.authdata_len = give([]byte("none"))
	*out = r
	return 0
}

//export sk_sign
func sk_sign(alg C.uint32_t, data *C.uint8_t, dataLen C.size_t, application *C.char, handle *C.uint8_t, handleLen C.size_t, flags C.uint8_t, pinText *C.char, options unsafe.Pointer, out **C.struct_sk_sign_response) C.int {
	set := byte(userPresent)
	if os.Getenv("SKPROVIDER_UNTOUCHED") != "" {
		set = 0
	}
	if flags&userChecked != 0 {
		if pinText == nil || C.GoString(pinText) != pin {
			return errPIN
		}
		set |= userChecked
	}
	app, sum := sha256.Sum256([]byte(C.GoString(application))), sha256.Sum256(C.GoBytes(unsafe.Pointer(data), C.int(dataLen)))
	message := append(app[:], set)
	message = binary.BigEndian.AppendUint32(message, 41)
	message = append(message, sum[:]...)
	key := C.GoBytes(unsafe.Pointer(handle), C.int(handleLen))
	r := (*C.struct_sk_sign_response)(C.calloc(1, C.sizeof_struct_sk_sign_response))
	r.flags, r.counter = C.uint8_t(set), 41
	if alg == algEd25519 {
		r.sig_r, r.sig_r_len = give(ed25519.Sign(ed25519.NewKeyFromSeed(key), message))
		*out = r
		return 0
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), key)
	if err != nil {
		return errGeneral
	}
	digest := sha256.Sum256(message)
	x, y, err := ecdsa.Sign(rand.Reader, private, digest[:])
	if err != nil {
		return errGeneral
	}
	r.sig_r, r.sig_r_len = give(x.Bytes())
	r.sig_s, r.sig_s_len = give(y.Bytes())
	*out = r
	return 0
}

//export sk_load_resident_keys
func sk_load_resident_keys(pinText *C.char, options, keys, count unsafe.Pointer) C.int {
	return errGeneral
}
