package main

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"chatd/api"
)

// Files in the data directory, besides the store's and the certificate's.
const (
	lockFile     = "chatd.lock"
	decoyFile    = "decoy.key"
	apiTokenFile = "api-token.sha256"
)

// lockData makes the directory if need be and takes it for this process. The
// operating system gives it free when the file is closed or the process ends.
func lockData(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, lockFile), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		err = fmt.Errorf("the data directory %s is in use by another chatd", dir)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// decoyKey is the secret from which the SASL exchange of a user who does not
// exist is derived, and clients' tokens: it must stay the same, or such users would stand out. All
// nodes of a cluster have the same.
func decoyKey(cfg *Config) ([]byte, error) {
	if cfg.Cluster.Node != "" && cfg.Cluster.Secret != "" {
		return hkdf.Key(sha256.New, []byte(cfg.Cluster.Secret), nil, "chatd decoy and tokens "+cfg.Domain, 32)
	}
	path := filepath.Join(cfg.Data, decoyFile)
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		key = make([]byte, 32)
		rand.Read(key)
		return key, writeFile(path, key, 0o600)
	}
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("%s must have 32 bytes; remove it to have it made anew", path)
	}
	return key, err
}

// developmentToken is the token that opens the private API in development
// mode. Only its hash is kept: secret is "" but for the first time.
func developmentToken(dir string) (t *api.Token, secret string, err error) {
	t = &api.Token{Name: "development", Scopes: api.Scopes()}
	path := filepath.Join(dir, apiTokenFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		secret = rand.Text()
		t.Hash = sha256.Sum256([]byte(secret))
		return t, secret, writeFile(path, []byte(hex.EncodeToString(t.Hash[:])+"\n"), 0o600)
	}
	if err != nil {
		return nil, "", err
	}
	sum, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil || len(sum) != len(t.Hash) {
		return nil, "", fmt.Errorf("%s is not a SHA-256 in hex; remove it to have a new token made", path)
	}
	copy(t.Hash[:], sum)
	return t, "", nil
}

// writeFile replaces a file as a whole: after a crash it is the old or the new
// one.
func writeFile(path string, data []byte, perm fs.FileMode) error {
	return replaceFile(path, perm, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// replaceFile is writeFile for what write writes.
func replaceFile(path string, perm fs.FileMode, write func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone already if all went well
	err = errors.Join(write(f), f.Chmod(perm), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	return syncFolder(path)
}

// removeFile removes a file for good, also if the power fails now.
func removeFile(path string) error {
	if err := os.Remove(path); err != nil {
		return err
	}
	return syncFolder(path)
}

// syncFolder puts on disk which file path names.
func syncFolder(path string) error {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// checkWritable reports why chatd could not keep its data in dir.
func checkWritable(dir string) error {
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			return fmt.Errorf("%s is not a directory", dir)
		}
		parent := filepath.Dir(dir)
		if errors.Is(err, fs.ErrNotExist) && parent != dir {
			dir = parent // it will be made in here
			continue
		}
		if err != nil {
			return err
		}
		f, err := os.CreateTemp(dir, ".chatd-check-*")
		if err != nil {
			return err
		}
		return errors.Join(f.Close(), os.Remove(f.Name()))
	}
}
