package ceremony_test

import (
	"bytes"
	"crypto/ed25519"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/config"
	"github.com/theupdateframework/go-tuf/v2/metadata/updater"

	"github.com/patchwrit/patchwrit/trust/ceremony"
)

// carrier serves the files of a directory to a TUF client.
type carrier struct{ dir string }

const address = "https://carrier.example/"

// DownloadFile finds what the client asks for.
func (c carrier) DownloadFile(url string, limit int64, _ time.Duration) ([]byte, error) {
	root, err := os.OpenRoot(c.dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	b, err := root.ReadFile(strings.TrimPrefix(url, address))
	if err != nil {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: http.StatusNotFound, URL: url}
	}
	if int64(len(b)) > limit {
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: url}
	}
	return b, nil
}

// TestAnyTUFClientReadsIt: the layout is TUF's own. go-tuf's client, which knows
// nothing of this program, follows a rotation and finds every target, the
// delegated one and those in a folder too.
func TestAnyTUFClientReadsIt(t *testing.T) {
	dir, s := settled(t), house.Signing()
	heirs := []ed25519.PrivateKey{newKey(1), newKey(2)}
	s.Keys = append(s.Keys, heirs[0], heirs[1])
	if _, err := ceremony.RotateRoot(dir, s, ceremony.Keepers{Threshold: 2, Keys: publicOf(heirs...)}); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.New(address, house.FS["1.root.json"].Data)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Fetcher, cfg.DisableLocalCache = carrier{dir}, true
	client, err := updater.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	client.UnsafeSetRefTime(house.Now)
	if err := client.Refresh(); err != nil {
		t.Fatal(err)
	}
	if v := client.GetTrustedMetadataSet().Root.Signed.Version; v != 2 {
		t.Errorf("the client stands at root %d", v)
	}
	for _, name := range []string{"roster.json", "hosts.json", "keyrings/vendor.gpg"} {
		info, err := client.GetTargetInfo(name)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		_, b, err := client.DownloadTarget(info, "", "")
		if err != nil || name == "keyrings/vendor.gpg" && !bytes.Equal(b, house.Root.Keyrings["vendor.gpg"]) {
			t.Errorf("%s: %d bytes, %v", name, len(b), err)
		}
	}
}
