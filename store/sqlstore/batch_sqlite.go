package sqlstore

import (
	"errors"
	"fmt"
)

// sqliteBatches are applied on the one connection that writes.
type sqliteBatches struct{ tx tx }

func (b *sqliteBatches) close() error { return errors.Join(b.tx.close(), b.tx.conn.Close()) }

// commit applies a batch in one transaction and then answers everybody. An
// answer, also that of a write that failed alone, rests on what the others
// wrote before it, so that a failed commit is everybody's.
func (b *sqliteBatches) commit(batch []write, _ <-chan struct{}) {
	answers := make([]error, len(batch))
	err := b.tx.begin()
	if err == nil {
		err = b.applyAll(batch, answers)
		if err == nil {
			_, err = b.tx.exec(commitBatch)
		}
		if err != nil {
			// Fails if the database gave the transaction up by itself: then
			// there is nothing to roll back.
			_, _ = b.tx.exec(rollbackBatch)
		}
	}
	for i, job := range batch {
		if err != nil {
			answers[i] = err
		}
		job.done <- answers[i]
	}
}

// applyAll returns an error if the transaction is lost.
func (b *sqliteBatches) applyAll(batch []write, answers []error) error {
	for i, job := range batch {
		if answers[i] = job.ctx.Err(); answers[i] != nil {
			continue // its caller has left
		}
		if _, err := b.tx.exec(beginOne); err != nil {
			return err
		}
		if answers[i] = job.apply(&b.tx); answers[i] != nil {
			if _, err := b.tx.exec(undoOne); err != nil {
				return fmt.Errorf("transaction lost: %w", answers[i])
			}
		}
		if _, err := b.tx.exec(keepOne); err != nil {
			return err
		}
	}
	return nil
}
