package main

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
)

// check is chatd check: all that can be known to be wrong before starting.
func check(_ context.Context, e environment, args []string) error {
	fs := flag.NewFlagSet("check", flag.ContinueOnError)
	file := fs.String("config", "", "")
	rest, err := parse(fs, args)
	switch {
	case err != nil:
		return err
	case len(rest) > 0:
		return usagef("check takes no argument, not %q", rest[0])
	case *file == "":
		return usagef("check needs -config FILE")
	}
	cfg, err := loadConfig(*file, e.getenv)
	if err == nil {
		err = checkFiles(cfg)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(e.stdout, "%s: ok\n", *file)
	return nil
}

// checkFiles looks at the files that a configuration names.
func checkFiles(cfg *Config) error {
	var errs configErrors
	if cfg.C2S.CertFile != "" && cfg.C2S.TLS != "off" {
		if _, err := tls.LoadX509KeyPair(cfg.C2S.CertFile, cfg.C2S.KeyFile); err != nil {
			errs = append(errs, cfg.wrong("c2s.cert_file", err.Error()))
		}
	}
	if _, err := tokenKeys(cfg); err != nil {
		errs = append(errs, cfg.wrong("auth.token.jwks_file", err.Error()))
	}
	cfg.checkStoreFiles(func(key, what string) { errs = append(errs, cfg.wrong(key, what)) })
	if err := checkWritable(cfg.Data); err != nil {
		errs = append(errs, cfg.wrong("data", err.Error()))
	}
	if len(errs) > 0 {
		return errs
	}
	return nil
}
