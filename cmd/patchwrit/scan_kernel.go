package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/patchwrit/patchwrit/inventory"
)

// runningKernel is the release and build (uname -r, -v) that --kernel gives, or
// that this machine runs when it is what is looked at; "" when it is not known.
func runningKernel(cmd *cobra.Command, bill bool) (release, build string, err error) {
	release, err = cmd.Flags().GetString("kernel")
	if err != nil || release != "" {
		return release, "", err
	}
	root, err := cmd.Flags().GetString("root")
	if err != nil || bill || filepath.Clean(root) != "/" {
		return "", "", err
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", "", fmt.Errorf("what runs cannot be learned: %w", err)
	}
	return unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Version[:]), nil
}

// owns reports whether what runs belongs to what is looked at, though no package of
// it may hold a kernel: a root has its modules or image, and of a bill somebody says
// so with --kernel.
func owns(cmd *cobra.Command, bill bool, release string) (bool, error) {
	if release == "" || bill {
		return release != "", nil
	}
	dir, err := cmd.Flags().GetString("root")
	if err != nil {
		return false, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return false, err
	}
	defer root.Close()
	return inventory.Owns(root.FS(), release), nil
}
