package debworld

import (
	"context"
	"os"
	"testing"
)

func TestBuildBase(t *testing.T) {
	dir, err := BaseRoot(context.Background(), "", os.Stderr)
	Need(t, err)
	t.Log(dir)
}
