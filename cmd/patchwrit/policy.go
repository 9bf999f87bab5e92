package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/patchwrit/patchwrit/canon"
	"github.com/patchwrit/patchwrit/docs/schema"
	"github.com/patchwrit/patchwrit/policy/rego"
	"github.com/patchwrit/patchwrit/policy/rego/standard"
)

func init() { verbs = append(verbs, policyCmd) }

func policyCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "policy", Short: "sign, test, compare and activate the rules that decide about plans"}
	cmd.AddCommand(policySignCmd(), policyTestCmd(), policyExplainCmd(), policyDiffCmd(), policyReplayCmd(), policyActivateCmd(), policySchemaCmd())
	return cmd
}

func policySchemaCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "print the JSON Schema of what rules see as input",
		Long:  "Prints the JSON Schema (draft 2020-12) of the rules' input: every member with its meaning and unit. Rules are compiled against it.",
		Args:  exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cmd.OutOrStdout().Write(schema.PolicyInput)
			return err
		},
	}
}

func policySignCmd() *cobra.Command {
	var key, rules, out string
	cmd := &cobra.Command{
		Use:   "sign",
		Short: "pack and sign a policy bundle (the standard rules, or your own)",
		Long: "Packs .rego files into a signed bundle. Pin the bundle in the trust repository (patchwrit trust init --policy, later policy activate):\n" +
			"only the pinned file counts. Rules that do not compile, or whose advice_limits could not be read, are not signed. KEY is made when it is not there; its public half is written to KEY.pem.",
		Example: "  patchwrit policy sign --key policy.key --out policy.tar.gz",
		Args:    exactly(0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if key == "" || out == "" {
				return usagef("say with which key and to which file: --key FILE --out FILE")
			}
			k, err := policyKeyAt(key)
			if err != nil {
				return err
			}
			var from fs.FS = standard.Rules
			if rules != "" {
				from = os.DirFS(rules)
			}
			bundle, err := rego.Sign(from, k)
			if err != nil {
				return err
			}
			public, err := rego.PublicPEM(&k.PublicKey)
			if err != nil {
				return err
			}
			e, err := rego.Load(cmd.Context(), bundle, canon.SumFile(bundle), public)
			if err != nil {
				return fmt.Errorf("the rules do not compile: %w", err)
			}
			if err := limitsHold(e, nil); err != nil {
				return err
			}
			if err := errors.Join(os.WriteFile(key+".pem", []byte(public), 0o644), os.WriteFile(out, bundle, 0o644)); err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), canon.SumFile(bundle))
			return err
		},
	}
	cmd.Flags().StringVar(&key, "key", "", "private key file (PEM, P-256); made when it is not there")
	cmd.Flags().StringVar(&rules, "rules", "", "directory of .rego files (default: the standard rules)")
	cmd.Flags().StringVar(&out, "out", "", "file for the signed bundle")
	return cmd
}

// policyKeyAt reads the key at path, or makes one there.
func policyKeyAt(path string) (*ecdsa.PrivateKey, error) {
	raw, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return makePolicyKey(path)
	}
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(raw)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", path)
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if k, ok := key.(*ecdsa.PrivateKey); ok && k.Curve == elliptic.P256() {
		return k, nil
	}
	return nil, fmt.Errorf("%s is no P-256 key", path)
}

func makePolicyKey(path string) (*ecdsa.PrivateKey, error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, err
	}
	return k, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600)
}
