package portable

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"runtime"
	"sync"
	"time"

	"chatd/auth"
	"chatd/stanza"
	"chatd/store"
)

// Importing says how to import.
type Importing struct {
	Domain string // ours, normalized
	// Host is the host of the file whose users become ours, and whose addresses everywhere become addresses of Domain.
	Host    string // "": Domain
	Replace bool   // users who exist become what the file says; else they stay as they are
	// Refused is told of each user who is refused, and why; one call at a time.
	Refused func(user string, why error)
}

// A Report says what an import did.
type Report struct {
	Imported int            // users
	Exist    int            // users who existed and were left as they are
	Refused  int            // users
	OnlySHA1 int            // imported users who cannot log in by SCRAM-SHA-256 until they have another password
	Unproven int            // imported users without a password or credentials that chatd knows
	Messages int            // that wait for users who were imported
	Skipped  map[string]int // what chatd does not keep, by kind
}

const (
	importers = 4   // users at once
	putPage   = 100 // messages written at once
)

// Import reads a file, or all files of a folder, into a store that nobody else writes to. It ends at the first fault of a file
// or of the store, and says what was done until then. A user is written whole, or may not log in.
func Import(ctx context.Context, to store.Store, name string, how Importing) (Report, error) {
	if how.Host == "" {
		how.Host = how.Domain
	}
	host, err := stanza.ParseJID(how.Host)
	if err != nil {
		return Report{}, fmt.Errorf("%q is no domain: %w", how.Host, err)
	}
	i := &importer{how: how, to: to, seed: maphash.MakeSeed(), report: Report{Skipped: make(map[string]int)}}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	users := make(chan *user)
	var all sync.WaitGroup
	for range min(importers, runtime.GOMAXPROCS(0)+1) {
		all.Go(func() {
			for u := range users {
				if err := i.put(ctx, u); err != nil {
					fail(err)
					return
				}
			}
		})
	}
	r := reader{
		hosts: hosts{domain: how.Domain, theirs: host.String()}, now: time.Now(),
		other: i.skipped,
		user: func(u *user) error {
			select {
			case users <- u:
				return nil
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		},
	}
	err = r.read(name)
	close(users)
	all.Wait()
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return i.report, err
}

type importer struct {
	how Importing
	to  store.Store

	// A user may be in the files twice, and is written by one at a time: each lock is that of some names.
	seed  maphash.Seed
	names [4 * importers]sync.Mutex

	mu     sync.Mutex
	report Report
}

func (i *importer) skipped(kind string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.report.Skipped[kind]++
}

// put writes a user and counts what became of it. The error is one of the store.
func (i *importer) put(ctx context.Context, u *user) error {
	exist, err := false, u.fault
	if err == nil {
		exist, err = i.write(ctx, u)
	}
	if err != nil && err != u.fault && !errors.Is(err, auth.ErrBadPassword) {
		return fmt.Errorf("user %q: %w", u.record.User, err)
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err != nil:
		i.report.Refused++
		i.how.Refused(u.record.User, err)
		return nil
	case exist:
		i.report.Exist++
		return nil
	}
	i.report.Imported++
	i.report.Messages += len(u.messages)
	switch creds := u.record.Account.Credentials; {
	case len(creds) == 0:
		i.report.Unproven++
	case len(creds) == 1 && creds[0].Mechanism == "SCRAM-SHA-1":
		i.report.OnlySHA1++
	}
	for kind, n := range u.skipped {
		i.report.Skipped[kind] += n
	}
	return nil
}

// write reports that the user exists and is to be left alone.
func (i *importer) write(ctx context.Context, u *user) (exist bool, err error) {
	name := &i.names[maphash.String(i.seed, u.record.User)%uint64(len(i.names))]
	name.Lock()
	defer name.Unlock()
	there, err := i.to.Record(ctx, u.record.User)
	if err != nil {
		return false, err
	}
	if there.Account != nil && !i.how.Replace {
		return true, nil
	}
	if u.password != "" {
		if u.record.Account.Credentials, err = auth.NewCredentials(u.password); err != nil {
			return false, err
		}
	}
	// What a client may have seen under this name does not come again.
	if there.Roster.Version > 0 || len(u.record.Roster.Items) > 0 {
		u.record.Roster.Version = max(there.Roster.Version+1, time.Now().UnixMicro())
	}
	first := there.LastSeq + 1
	u.record.LastSeq = there.LastSeq + int64(len(u.messages))
	for n := range u.messages {
		u.messages[n].Seq = first + int64(n)
	}
	// Nobody can log in as a user whose messages are not there yet.
	u.record.Account.Disabled = u.disabled || len(u.messages) > 0
	ctx = context.WithoutCancel(ctx) // a user that is begun is finished
	if err := i.to.PutRecord(ctx, u.record); err != nil {
		return false, err
	}
	for rest := u.messages; len(rest) > 0; rest = rest[min(putPage, len(rest)):] {
		if err := i.to.PutOffline(ctx, u.record.User, rest[:min(putPage, len(rest))]); err != nil {
			return false, err
		}
	}
	if u.record.Account.Disabled != u.disabled {
		return false, i.to.SetDisabled(ctx, u.record.User, u.disabled)
	}
	return false, nil
}
