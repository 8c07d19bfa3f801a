package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Backup writes one state of the database at path, also while chatd uses it, into a new file, readable by its owner only. All that
// was answered before the call is in it. When it returns nil the file is on disk and has been checked;
// when it fails there is none. It never writes over a file.
//
// It is VACUUM INTO. SQLite's backup API begins anew whenever another process writes, or copies all in one step, with the pages of
// what was deleted. Writers are not held up by either; their log grows until the copy is done.
func Backup(ctx context.Context, path, file string) (Report, error) {
	r, err := backup(ctx, path, file)
	if err != nil {
		return Report{}, fmt.Errorf("sqlstore: backup of %s: %w", path, err)
	}
	return r, nil
}

func backup(ctx context.Context, path, file string) (r Report, err error) {
	if file, err = filepath.Abs(file); err != nil { // or SQLite might take it for a URI
		return r, err
	}
	if _, err := os.Lstat(file); err == nil {
		return r, &fs.PathError{Op: "create", Path: file, Err: fs.ErrExist}
	}
	// Nobody is to take half a copy for a whole one.
	part, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*")
	if err != nil {
		return r, err
	}
	defer func() {
		if err = errors.Join(err, part.Close()); err != nil {
			os.Remove(part.Name())
			os.Remove(part.Name() + "-journal")
		}
	}()
	if err := copyInto(ctx, path, part.Name()); err != nil {
		return r, err
	}
	if err := part.Sync(); err != nil { // SQLite does not
		return r, err
	}
	if r, err = check(ctx, part.Name(), "mode=ro&immutable=1"); err != nil {
		return r, err
	}
	if len(r.Faults) > 0 {
		return r, fmt.Errorf("the copy is damaged: %s", strings.Join(r.Faults, "; "))
	}
	return r, place(part.Name(), file)
}

func copyInto(ctx context.Context, path, file string) (err error) {
	conn, done, err := openToRead(ctx, path, "mode=rw")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, done()) }()
	return run(ctx, conn, "VACUUM INTO ?", file)
}

// place gives a file the name that nobody else has, for good.
func place(part, file string) error {
	mine, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = errors.Join(mine.Close(), os.Rename(part, file))
	if err == nil {
		err = syncDir(filepath.Dir(file))
	}
	if err != nil {
		os.Remove(file)
	}
	return err
}

func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
