package sqlstore

import (
	"errors"
	"fmt"

	"chatd/store"
)

// sqliteBatches are applied on the one connection that writes.
type sqliteBatches struct{ tx tx }

func (b *sqliteBatches) close() error { return errors.Join(b.tx.close(), b.tx.conn.Close()) }

// errHalf is of a write without a savepoint that failed, perhaps in the middle.
var errHalf = errors.New("sqlstore: a write in a batch failed")

// commit applies a batch in one transaction and then answers everybody. An
// answer, also that of a write that failed alone, rests on what the others
// wrote before it, so that a failed commit is everybody's.
func (b *sqliteBatches) commit(batch []write, _ <-chan struct{}) {
	answers := make([]error, len(batch))
	err := b.transact(batch, answers, false)
	if err == errHalf {
		err = b.transact(batch, answers, true)
	}
	for i, job := range batch {
		if err != nil {
			answers[i] = err
		}
		job.done <- answers[i]
	}
}

func (b *sqliteBatches) transact(batch []write, answers []error, careful bool) error {
	err := b.tx.begin()
	if err != nil {
		return err
	}
	if err = b.applyAll(batch, answers, careful); err == nil {
		_, err = b.tx.exec(commitBatch)
	}
	if err != nil {
		// Fails if the database gave the transaction up by itself: then
		// there is nothing to roll back.
		_, _ = b.tx.exec(rollbackBatch)
	}
	return err
}

// applyAll returns an error if the transaction is lost. Messages, which are most of what is written, get a savepoint each only
// where it is careful: they fail in the middle only where something is broken.
func (b *sqliteBatches) applyAll(batch []write, answers []error, careful bool) error {
	for i, job := range batch {
		if answers[i] = job.ctx.Err(); answers[i] != nil {
			continue // its caller has left
		}
		if job.append != nil && !careful {
			if answers[i] = job.apply(&b.tx); answers[i] != nil && answers[i] != store.ErrFull {
				return errHalf
			}
			continue
		}
		if err := b.applyOne(job, &answers[i]); err != nil {
			return err
		}
	}
	return nil
}

// applyOne applies a write or, if that fails, nothing of it.
func (b *sqliteBatches) applyOne(job write, answer *error) error {
	if _, err := b.tx.exec(beginOne); err != nil {
		return err
	}
	if *answer = job.apply(&b.tx); *answer != nil {
		if _, err := b.tx.exec(undoOne); err != nil {
			return fmt.Errorf("transaction lost: %w", *answer)
		}
	}
	_, err := b.tx.exec(keepOne)
	return err
}
